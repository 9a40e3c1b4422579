//! Requests to route netlink, as values that print as phrases and encode as messages.

use std::fmt;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use freeboard_address::{Cidr, MacAddress};
use nix::errno::Errno;

use super::facts::{InterfaceAddress, Neighbour, Route, Rule, Scope, write_selectors};
use super::kernel as k;
use crate::names::MAIN_TABLE;
use crate::wire::Writer;

/// Asks for an acknowledgement, creation, and no replacement.
const CREATE: u16 = 0x400 | 0x200;
/// Asks for creation or replacement.
const REPLACE: u16 = 0x400 | 0x100;

/// One end of a veth pair.
#[derive(Clone, Debug)]
pub struct VethEnd {
    /// Its name.
    pub name: String,
    /// Its hardware address; given at creation, so that no policy of udev changes it later.
    pub mac: MacAddress,
    /// The namespace in which it is born; none means the socket's own.
    pub namespace: Option<Arc<OwnedFd>>,
}

/// A veth pair.
#[derive(Clone, Debug)]
pub struct Veth {
    /// The end of which the answer speaks.
    pub near: VethEnd,
    /// The other end.
    pub far: VethEnd,
    /// Largest packet of both ends, in bytes.
    pub mtu_bytes: u32,
}

/// Which rules a request to delete means: every field that is set must be equal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuleSelector {
    /// Its place.
    pub priority: Option<u32>,
    /// Source block.
    pub from: Option<Cidr>,
    /// Destination block.
    pub to: Option<Cidr>,
    /// Mark and mask.
    pub mark: Option<(u32, u32)>,
    /// The table that is asked.
    pub table: Option<u32>,
}

/// One request. A batch of them is carried out in order.
#[derive(Clone, Debug)]
pub enum Request {
    /// Make a veth pair, both ends in their final namespaces, down.
    AddVeth(Veth),
    /// Say what is known about the link of this name; the outcome carries it.
    GetLink(String),
    /// Say which route leads to this address; the outcome carries it.
    GetRoute(Ipv4Addr),
    /// Set a link up and, when given, its MTU in bytes.
    SetLinkUp {
        /// The link's number.
        index: u32,
        /// Largest packet in bytes; none leaves it.
        mtu_bytes: Option<u32>,
    },
    /// Set a link down.
    SetLinkDown(u32),
    /// Remove the link of this name, and with it the other end of a veth pair.
    DeleteLink(String),
    /// Give an address to a link.
    AddAddress(InterfaceAddress),
    /// Take an address from a link.
    DeleteAddress(InterfaceAddress),
    /// Make this the route to its destination in its table.
    ReplaceRoute(Route),
    /// Remove a route; a missing interface or gateway matches any.
    DeleteRoute(Route),
    /// Make packets to this block vanish, in the main table, where no narrower route leads elsewhere.
    ReplaceBlackhole(Cidr),
    /// Stop that.
    DeleteBlackhole(Cidr),
    /// Add a policy rule.
    AddRule(Rule),
    /// Remove the first policy rule that matches.
    DeleteRule(RuleSelector),
    /// Make this the neighbour's hardware address, for good.
    ReplaceNeighbour(Neighbour),
}

impl From<&Rule> for RuleSelector {
    fn from(rule: &Rule) -> Self {
        Self { priority: Some(rule.priority), from: rule.from, to: rule.to, mark: rule.mark, table: Some(rule.table) }
    }
}

impl RuleSelector {
    /// Every rule on this source block, at any priority and for any table.
    #[must_use]
    pub fn from_block(block: Cidr) -> Self {
        Self { from: Some(block), ..Self::default() }
    }

    /// Every rule on this destination block, at any priority and for any table.
    #[must_use]
    pub fn to_block(block: Cidr) -> Self {
        Self { to: Some(block), ..Self::default() }
    }
}

impl fmt::Display for RuleSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rule")?;
        write_selectors(f, self.from, self.to, self.mark)?;
        if let Some(table) = self.table {
            write!(f, " look up {table}")?;
        }
        if let Some(priority) = self.priority {
            write!(f, " priority {priority}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AddVeth(veth) => write!(f, "make the veth pair {} and {}", veth.near.name, veth.far.name),
            Self::GetLink(name) => write!(f, "look up link {name}"),
            Self::GetRoute(address) => write!(f, "look up the route to {address}"),
            Self::SetLinkUp { index, mtu_bytes: None } => write!(f, "set link {index} up"),
            Self::SetLinkUp { index, mtu_bytes: Some(mtu) } => write!(f, "set link {index} up with MTU {mtu}"),
            Self::SetLinkDown(index) => write!(f, "set link {index} down"),
            Self::DeleteLink(name) => write!(f, "delete link {name}"),
            Self::AddAddress(a) => write!(f, "add address {}/{} to link {}", a.address, a.prefix_length, a.interface),
            Self::DeleteAddress(a) => {
                write!(f, "delete address {}/{} from link {}", a.address, a.prefix_length, a.interface)
            }
            Self::ReplaceRoute(route) => write!(f, "set {route}"),
            Self::DeleteRoute(route) => write!(f, "delete {route}"),
            Self::ReplaceBlackhole(block) => write!(f, "set {block} to be dropped"),
            Self::DeleteBlackhole(block) => write!(f, "stop dropping {block}"),
            Self::AddRule(rule) => write!(f, "add {rule}"),
            Self::DeleteRule(selector) => write!(f, "delete {selector}"),
            Self::ReplaceNeighbour(n) => write!(f, "set neighbour {} at {} on link {}", n.address, n.mac, n.interface),
        }
    }
}

impl Request {
    /// Whether this error number only says that what was wished holds already.
    pub(super) fn is_satisfied_by(&self, errno: Errno) -> bool {
        match self {
            Self::DeleteLink(_) => matches!(errno, Errno::ENODEV | Errno::ENOENT),
            Self::DeleteAddress(_) => matches!(errno, Errno::EADDRNOTAVAIL | Errno::ENODEV),
            Self::DeleteRoute(_) | Self::DeleteBlackhole(_) => {
                matches!(errno, Errno::ESRCH | Errno::ENODEV | Errno::ENOENT)
            }
            Self::DeleteRule(_) => errno == Errno::ENOENT,
            Self::AddAddress(_) | Self::AddRule(_) => errno == Errno::EEXIST,
            Self::SetLinkDown(_) => errno == Errno::ENODEV,
            Self::GetLink(_) => matches!(errno, Errno::ENODEV | Errno::ENOENT),
            Self::GetRoute(_) => {
                matches!(errno, Errno::ENETUNREACH | Errno::EHOSTUNREACH | Errno::ESRCH | Errno::EACCES)
            }
            Self::AddVeth(_)
            | Self::SetLinkUp { .. }
            | Self::ReplaceRoute(_)
            | Self::ReplaceBlackhole(_)
            | Self::ReplaceNeighbour(_) => false,
        }
    }

    /// Appends the request as one message that asks for an acknowledgement.
    pub(super) fn write(&self, writer: &mut Writer, sequence: u32) {
        let (kind, flags) = self.kind();
        writer.message(kind, flags | super::transport::REQUEST_ACKNOWLEDGED, sequence, |w| match self {
            Self::AddVeth(veth) => write_veth(w, veth),
            Self::GetLink(name) => {
                link_header(w, 0, 0, 0);
                w.text(k::IFLA_IFNAME, name);
                w.number(k::IFLA_EXT_MASK, k::EXT_MASK_SKIP_STATISTICS);
            }
            Self::GetRoute(address) => {
                w.raw(&[k::FAMILY_IPV4, 32, 0, 0, 0, 0, 0, 0]);
                w.raw(&k::ROUTE_MATCH.to_ne_bytes());
                w.attribute(k::RTA_DST, &address.octets());
            }
            Self::DeleteLink(name) => {
                link_header(w, 0, 0, 0);
                w.text(k::IFLA_IFNAME, name);
            }
            Self::SetLinkUp { index, mtu_bytes } => {
                link_header(w, *index, k::LINK_UP, k::LINK_UP);
                if let Some(mtu) = mtu_bytes {
                    w.number(k::IFLA_MTU, *mtu);
                }
            }
            Self::SetLinkDown(index) => link_header(w, *index, 0, k::LINK_UP),
            Self::AddAddress(address) | Self::DeleteAddress(address) => write_address(w, address),
            Self::ReplaceRoute(route) => {
                write_route(w, route, k::ROUTE_BY_ADMINISTRATOR, route.scope.to_kernel(), k::ROUTE_UNICAST);
            }
            Self::DeleteRoute(route) => write_route(w, route, 0, k::SCOPE_NOWHERE, 0),
            Self::ReplaceBlackhole(block) => {
                write_route(w, &everywhere(*block), k::ROUTE_BY_ADMINISTRATOR, k::SCOPE_UNIVERSE, k::ROUTE_BLACKHOLE);
            }
            Self::DeleteBlackhole(block) => {
                write_route(w, &everywhere(*block), 0, k::SCOPE_NOWHERE, k::ROUTE_BLACKHOLE);
            }
            Self::AddRule(rule) => {
                write_rule(w, &RuleSelector::from(rule), rule.input_interface.as_deref(), k::RULE_TO_TABLE);
            }
            Self::DeleteRule(selector) => write_rule(w, selector, None, 0),
            Self::ReplaceNeighbour(neighbour) => write_neighbour(w, neighbour),
        });
    }

    fn kind(&self) -> (u16, u16) {
        match self {
            Self::AddVeth(_) => (k::NEW_LINK, CREATE),
            Self::GetLink(_) => (k::GET_LINK, 0),
            Self::GetRoute(_) => (k::GET_ROUTE, 0),
            Self::SetLinkUp { .. } | Self::SetLinkDown(_) => (k::NEW_LINK, 0),
            Self::DeleteLink(_) => (k::DEL_LINK, 0),
            Self::AddAddress(_) => (k::NEW_ADDRESS, CREATE),
            Self::DeleteAddress(_) => (k::DEL_ADDRESS, 0),
            Self::ReplaceRoute(_) | Self::ReplaceBlackhole(_) => (k::NEW_ROUTE, REPLACE),
            Self::DeleteRoute(_) | Self::DeleteBlackhole(_) => (k::DEL_ROUTE, 0),
            Self::AddRule(_) => (k::NEW_RULE, CREATE),
            Self::DeleteRule(_) => (k::DEL_RULE, 0),
            Self::ReplaceNeighbour(_) => (k::NEW_NEIGHBOUR, REPLACE),
        }
    }
}

fn link_header(w: &mut Writer, index: u32, flags: u32, change: u32) {
    w.raw(&[k::FAMILY_ANY, 0, 0, 0]);
    w.raw(&index.to_ne_bytes());
    w.raw(&flags.to_ne_bytes());
    w.raw(&change.to_ne_bytes());
}

fn write_veth(w: &mut Writer, veth: &Veth) {
    let end = |w: &mut Writer, end: &VethEnd| {
        link_header(w, 0, 0, 0);
        w.text(k::IFLA_IFNAME, &end.name);
        w.attribute(k::IFLA_ADDRESS, &end.mac.bytes());
        w.number(k::IFLA_MTU, veth.mtu_bytes);
        // The kernel else makes a queue per processor, takes all but one back, and waits for every processor to notice, twice
        // per pair and with the routing lock held.
        w.number(k::IFLA_NUM_TX_QUEUES, 1);
        w.number(k::IFLA_NUM_RX_QUEUES, 1);
        if let Some(namespace) = &end.namespace {
            w.attribute(k::IFLA_NET_NS_FD, &namespace.as_raw_fd().to_ne_bytes());
        }
    };
    end(w, &veth.near);
    w.nested(k::IFLA_LINKINFO, |w| {
        w.text(k::IFLA_INFO_KIND, "veth");
        w.nested(k::IFLA_INFO_DATA, |w| w.nested(k::VETH_INFO_PEER, |w| end(w, &veth.far)));
    });
}

fn write_address(w: &mut Writer, address: &InterfaceAddress) {
    w.raw(&[k::FAMILY_IPV4, address.prefix_length, 0, k::SCOPE_UNIVERSE]);
    w.raw(&address.interface.to_ne_bytes());
    w.attribute(k::IFA_LOCAL, &address.address.octets());
    w.attribute(k::IFA_ADDRESS, &address.address.octets());
    if !address.connected_route {
        w.number(k::IFA_FLAGS, k::ADDRESS_WITHOUT_ROUTE);
    }
}

fn write_route(w: &mut Writer, route: &Route, protocol: u8, scope: u8, kind: u8) {
    // Table numbers above a byte travel only in the attribute; the byte then says "see there".
    let table = u8::try_from(route.table).unwrap_or(k::ROUTE_TABLE_COMPATIBLE);
    w.raw(&[k::FAMILY_IPV4, route.destination.length(), 0, 0, table, protocol, scope, kind]);
    w.raw(&[0; 4]);
    w.number(k::RTA_TABLE, route.table);
    if route.destination.length() > 0 {
        w.attribute(k::RTA_DST, &route.destination.network().octets());
    }
    if let Some(gateway) = route.gateway {
        w.attribute(k::RTA_GATEWAY, &gateway.octets());
    }
    if let Some(interface) = route.interface {
        w.number(k::RTA_OIF, interface);
    }
}

/// A route of the main table to a block, by no link.
fn everywhere(destination: Cidr) -> Route {
    Route { table: MAIN_TABLE, destination, gateway: None, interface: None, scope: Scope::Universe }
}

fn write_rule(w: &mut Writer, selector: &RuleSelector, input_interface: Option<&str>, action: u8) {
    let length = |block: Option<Cidr>| block.map_or(0, Cidr::length);
    let table = selector.table.map_or(0, |table| u8::try_from(table).unwrap_or(k::ROUTE_TABLE_COMPATIBLE));
    w.raw(&[k::FAMILY_IPV4, length(selector.to), length(selector.from), 0, table, 0, 0, action]);
    w.raw(&[0; 4]);
    if let Some(to) = selector.to {
        w.attribute(k::FRA_DST, &to.network().octets());
    }
    if let Some(from) = selector.from {
        w.attribute(k::FRA_SRC, &from.network().octets());
    }
    if let Some(name) = input_interface {
        w.text(k::FRA_IIFNAME, name);
    }
    if let Some((value, mask)) = selector.mark {
        w.number(k::FRA_FWMARK, value);
        w.number(k::FRA_FWMASK, mask);
    }
    if let Some(priority) = selector.priority {
        w.number(k::FRA_PRIORITY, priority);
    }
    if let Some(table) = selector.table {
        w.number(k::FRA_TABLE, table);
    }
}

fn write_neighbour(w: &mut Writer, neighbour: &Neighbour) {
    w.raw(&[k::FAMILY_IPV4, 0, 0, 0]);
    w.raw(&neighbour.interface.to_ne_bytes());
    w.raw(&k::NEIGHBOUR_PERMANENT.to_ne_bytes().iter().copied().chain([0, 0]).collect::<Vec<u8>>());
    w.attribute(k::NDA_DST, &neighbour.address.octets());
    w.attribute(k::NDA_LLADDR, &neighbour.mac.bytes());
}
