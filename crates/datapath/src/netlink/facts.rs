//! What the kernel says about links, addresses, routes, rules and neighbours.

use std::fmt;
use std::net::Ipv4Addr;

use freeboard_address::{Cidr, MacAddress};

use super::kernel as k;
use crate::names::MAIN_TABLE;
use crate::wire::{Attributes, u16_at, u32_at};

/// A link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its number in its namespace.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its hardware address; none for links that have no Ethernet address.
    pub mac: Option<MacAddress>,
    /// Largest packet, in bytes.
    pub mtu_bytes: u32,
    /// Whether it was set up by the administrator.
    pub is_up: bool,
    /// The number of the other end of a veth pair, in that end's namespace.
    pub peer_index: Option<u32>,
    /// What made it, for example `veth`; none for hardware.
    pub kind: Option<String>,
}

/// An IPv4 address of a link.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct InterfaceAddress {
    /// The link's number.
    pub interface: u32,
    /// The address.
    pub address: Ipv4Addr,
    /// Prefix length, 0 to 32.
    pub prefix_length: u8,
    /// Whether the kernel keeps a connected route for it.
    pub connected_route: bool,
}

/// How far away a route's destination is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Behind a gateway.
    Universe,
    /// On the link.
    Link,
    /// Any other scope, by the kernel's number.
    Other(u8),
}

/// A unicast IPv4 route.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    /// The table's number.
    pub table: u32,
    /// Destinations.
    pub destination: Cidr,
    /// The next hop, when there is one.
    pub gateway: Option<Ipv4Addr>,
    /// The number of the outgoing link; none in a request to delete means any.
    pub interface: Option<u32>,
    /// How far away the destination is.
    pub scope: Scope,
}

/// An IPv4 policy rule that sends a lookup to a table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rule {
    /// Its place; lower is asked first.
    pub priority: u32,
    /// Source block; none means any.
    pub from: Option<Cidr>,
    /// Destination block; none means any.
    pub to: Option<Cidr>,
    /// Mark and mask; none means any.
    pub mark: Option<(u32, u32)>,
    /// Incoming link; none means any.
    pub input_interface: Option<String>,
    /// The table that is asked.
    pub table: u32,
}

/// A neighbour with a fixed hardware address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// The link's number.
    pub interface: u32,
    /// The neighbour's address.
    pub address: Ipv4Addr,
    /// Its hardware address.
    pub mac: MacAddress,
}

impl Route {
    /// `destination` directly on a link, in the main table: how a pod is reached.
    #[must_use]
    pub fn on_link(destination: Cidr, interface: u32) -> Self {
        Self { table: MAIN_TABLE, destination, gateway: None, interface: Some(interface), scope: Scope::Link }
    }
}

impl Rule {
    /// A rule on the source block alone.
    #[must_use]
    pub fn from_block(from: Cidr, table: u32, priority: u32) -> Self {
        Self { priority, from: Some(from), to: None, mark: None, input_interface: None, table }
    }

    /// A rule on the destination block alone.
    #[must_use]
    pub fn to_block(to: Cidr, table: u32, priority: u32) -> Self {
        Self { priority, from: None, to: Some(to), mark: None, input_interface: None, table }
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "route {}", self.destination)?;
        if let Some(gateway) = self.gateway {
            write!(f, " via {gateway}")?;
        }
        if let Some(interface) = self.interface {
            write!(f, " on link {interface}")?;
        }
        write!(f, " in table {}", self.table)
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rule")?;
        write_selectors(f, self.from, self.to, self.mark)?;
        write!(f, " look up {} priority {}", self.table, self.priority)
    }
}

pub(super) fn write_selectors(
    f: &mut fmt::Formatter<'_>,
    from: Option<Cidr>,
    to: Option<Cidr>,
    mark: Option<(u32, u32)>,
) -> fmt::Result {
    if let Some(from) = from {
        write!(f, " from {from}")?;
    }
    if let Some(to) = to {
        write!(f, " to {to}")?;
    }
    if let Some((value, mask)) = mark {
        write!(f, " mark {value:#x}/{mask:#x}")?;
    }
    Ok(())
}

pub(super) fn address_in(value: &[u8]) -> Option<Ipv4Addr> {
    <[u8; 4]>::try_from(value).ok().map(Ipv4Addr::from)
}

fn block(attributes: Attributes<'_>, kind: u16, length: u8) -> Option<Cidr> {
    let address = match attributes.find(kind) {
        Some(value) => address_in(value)?,
        None => Ipv4Addr::UNSPECIFIED,
    };
    Cidr::containing(address, length).ok()
}

impl Link {
    pub(super) fn read(payload: &[u8]) -> Option<Self> {
        let attributes = Attributes(payload.get(16..)?);
        let mac = attributes.find(k::IFLA_ADDRESS).and_then(|value| <[u8; 6]>::try_from(value).ok());
        Some(Self {
            index: u32_at(payload, 4)?,
            name: attributes.text(k::IFLA_IFNAME)?,
            mac: mac.map(MacAddress::new),
            mtu_bytes: attributes.number(k::IFLA_MTU).unwrap_or(0),
            is_up: u32_at(payload, 8)? & k::LINK_UP != 0,
            peer_index: attributes.number(k::IFLA_LINK),
            kind: attributes.nested(k::IFLA_LINKINFO).text(k::IFLA_INFO_KIND),
        })
    }
}

impl InterfaceAddress {
    pub(super) fn read(payload: &[u8]) -> Option<Self> {
        let attributes = Attributes(payload.get(8..)?);
        let address = attributes.find(k::IFA_LOCAL).or_else(|| attributes.find(k::IFA_ADDRESS))?;
        Some(Self {
            interface: u32_at(payload, 4)?,
            address: address_in(address)?,
            prefix_length: payload[1],
            connected_route: attributes.number(k::IFA_FLAGS).unwrap_or(0) & k::ADDRESS_WITHOUT_ROUTE == 0,
        })
    }
}

impl Route {
    /// Reads a unicast route; `None` for other kinds (local, broadcast, blackhole).
    pub(super) fn read(payload: &[u8]) -> Option<Self> {
        let attributes = Attributes(payload.get(12..)?);
        if payload[0] != k::FAMILY_IPV4 || payload[7] != k::ROUTE_UNICAST {
            return None;
        }
        Some(Self {
            table: attributes.number(k::RTA_TABLE).unwrap_or_else(|| u32::from(payload[4])),
            destination: block(attributes, k::RTA_DST, payload[1])?,
            gateway: attributes.find(k::RTA_GATEWAY).and_then(address_in),
            interface: attributes.number(k::RTA_OIF),
            scope: Scope::from_kernel(payload[6]),
        })
    }
}

impl Scope {
    pub(super) fn from_kernel(number: u8) -> Self {
        match number {
            k::SCOPE_UNIVERSE => Self::Universe,
            k::SCOPE_LINK => Self::Link,
            other => Self::Other(other),
        }
    }

    pub(super) fn to_kernel(self) -> u8 {
        match self {
            Self::Universe => k::SCOPE_UNIVERSE,
            Self::Link => k::SCOPE_LINK,
            Self::Other(number) => number,
        }
    }
}

impl Rule {
    /// Reads a rule that looks up a table; `None` for other actions.
    pub(super) fn read(payload: &[u8]) -> Option<Self> {
        let attributes = Attributes(payload.get(12..)?);
        if payload[0] != k::FAMILY_IPV4 || payload[7] != k::RULE_TO_TABLE {
            return None;
        }
        let block_of = |kind, length: u8| if length == 0 { None } else { block(attributes, kind, length) };
        let mark = attributes.number(k::FRA_FWMARK).filter(|mark| *mark != 0);
        Some(Self {
            priority: attributes.number(k::FRA_PRIORITY).unwrap_or(0),
            from: block_of(k::FRA_SRC, payload[2]),
            to: block_of(k::FRA_DST, payload[1]),
            mark: mark.map(|mark| (mark, attributes.number(k::FRA_FWMASK).unwrap_or(u32::MAX))),
            input_interface: attributes.text(k::FRA_IIFNAME),
            table: attributes.number(k::FRA_TABLE).unwrap_or_else(|| u32::from(payload[4])),
        })
    }
}

impl Neighbour {
    /// Reads a permanent IPv4 neighbour; `None` for learned ones.
    pub(super) fn read(payload: &[u8]) -> Option<Self> {
        let attributes = Attributes(payload.get(12..)?);
        if payload[0] != k::FAMILY_IPV4 || u16_at(payload, 8)? & k::NEIGHBOUR_PERMANENT == 0 {
            return None;
        }
        let mac = <[u8; 6]>::try_from(attributes.find(k::NDA_LLADDR)?).ok()?;
        Some(Self {
            interface: u32_at(payload, 4)?,
            address: address_in(attributes.find(k::NDA_DST)?)?,
            mac: MacAddress::new(mac),
        })
    }
}
