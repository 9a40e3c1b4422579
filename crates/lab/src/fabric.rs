//! The fabric: a router namespace that behaves as a VPC does towards its interfaces and its neighbours.
//!
//! Each interface is a veth pair between the router and a node. The router holds one route per address that EC2 has assigned,
//! answers ARP for everything it can reach, drops packets whose source does not belong to the interface they came from (strict
//! reverse-path filter), and drops what no interface owns (a blackhole route per VPC block).

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::Ipv4Addr;

use freeboard_address::{Cidr, EniId, MacAddress, VpcId};

use crate::error::LabError;
use crate::namespace::Namespace;
use crate::netlink::{Netlink, NextHop, VethEnd, link_index};

/// The hardware address of the router on every link: a node that moves between links meets the same one.
const ROUTER_MAC: [u8; 6] = [0x02, 0xfb, 0, 0, 0, 0x01];
/// The largest packet in a VPC, in bytes.
pub(crate) const MTU_BYTES: u32 = 9001;
/// The network of the internet host; TEST-NET-3.
const INTERNET: (Ipv4Addr, Ipv4Addr, u8) = (Ipv4Addr::new(203, 0, 113, 1), Ipv4Addr::new(203, 0, 113, 10), 24);
/// The network of the peered host.
const PEER: (Ipv4Addr, Ipv4Addr, u8) = (Ipv4Addr::new(10, 99, 0, 1), Ipv4Addr::new(10, 99, 0, 10), 24);

/// The network of the Kubernetes control plane; TEST-NET-2.
const CONTROL_PLANE: (Ipv4Addr, Ipv4Addr, u8) = (Ipv4Addr::new(198, 51, 100, 1), Ipv4Addr::new(198, 51, 100, 10), 24);

/// The router, and the hosts outside the VPC that it knows.
pub(crate) struct Fabric {
    router: Namespace,
    netlink: Netlink,
    links: BTreeMap<EniId, FabricLink>,
    blocks: BTreeMap<VpcId, Vec<Cidr>>,
    internet: Namespace,
    peer: Namespace,
}

/// The router's end of one interface.
struct FabricLink {
    name: String,
    index: u32,
    primary_address: Ipv4Addr,
    owned: Vec<Cidr>,
    aliases: Vec<Cidr>,
}

/// One interface to be plugged into a node.
pub(crate) struct Plug<'a> {
    pub(crate) eni: &'a EniId,
    pub(crate) mac: MacAddress,
    pub(crate) name: &'a str,
    pub(crate) node: &'a Namespace,
    pub(crate) subnet: Cidr,
    pub(crate) primary_address: Ipv4Addr,
    pub(crate) owned: &'a [Cidr],
}

impl Fabric {
    /// Builds the router, the internet host and the peered host.
    ///
    /// # Errors
    /// When the kernel refuses a step.
    pub(crate) fn build() -> Result<Self, LabError> {
        let router = Namespace::create("fabric")?;
        let mut netlink = Netlink::open_in(&router)?;
        let failed = |what: &'static str| {
            let router = router.clone();
            move |source| LabError::network(&router, what, source)
        };
        netlink.set_up("lo").map_err(failed("set the loopback up"))?;
        set_all(
            &router,
            &[
                ("net/ipv4/ip_forward", "1"),
                ("net/ipv4/conf/default/proxy_arp", "1"),
                // Inherited from the machine; a 2 here would make every link's strict filter a loose one.
                ("net/ipv4/conf/all/rp_filter", "0"),
            ],
        )?;
        let internet = outside_host(&router, &mut netlink, "internet", INTERNET)?;
        let peer = outside_host(&router, &mut netlink, "peer", PEER)?;
        in_host(&internet, |netlink, index| {
            netlink.replace_route(default_route(), NextHop::Gateway(index, INTERNET.0))
        })?;
        router
            .run(|| crate::firewall::refuse_new_connections_from("internet"))?
            .map_err(failed("refuse connections from the internet"))?;
        Ok(Self { router, netlink, links: BTreeMap::new(), blocks: BTreeMap::new(), internet, peer })
    }

    /// The host on the internet.
    pub(crate) fn internet(&self) -> &Namespace {
        &self.internet
    }

    /// The host in the peered network.
    pub(crate) fn peer(&self) -> &Namespace {
        &self.peer
    }

    /// The address of the host on the internet.
    pub(crate) const INTERNET_HOST: Ipv4Addr = INTERNET.1;
    /// The address of the host in the peered network.
    pub(crate) const PEERED_HOST: Ipv4Addr = PEER.1;

    /// Where the control plane is, once it is linked.
    pub(crate) const CONTROL_PLANE_HOST: Ipv4Addr = CONTROL_PLANE.1;

    /// Links the caller's own namespace to the router, as the host of the Kubernetes control plane.
    pub(crate) fn link_control_plane(&mut self) -> Result<(), LabError> {
        let host = Namespace::current("control-plane")?;
        let router = self.router.clone();
        link_outside_host(&router, &mut self.netlink, &host, CONTROL_PLANE)?;
        in_host(&host, |netlink, index| {
            netlink.replace_route(default_route(), NextHop::Gateway(index, CONTROL_PLANE.0))
        })
    }

    /// Follows a VPC's blocks, the primary one first: what no interface owns in them is dropped; the peered network has a route
    /// to the primary one and to no other.
    pub(crate) fn set_blocks(&mut self, vpc: &VpcId, blocks: &[Cidr]) -> Result<(), LabError> {
        // The peered VPC of a world is the peered host's own network.
        if blocks.iter().any(|block| block.contains(Self::PEERED_HOST)) {
            return Ok(());
        }
        let before = self.blocks.insert(vpc.clone(), blocks.to_vec()).unwrap_or_default();
        for block in before.into_iter().filter(|old| !blocks.contains(old)) {
            self.route("forget a VPC block", |netlink| netlink.delete_route(block, NextHop::Blackhole))?;
        }
        for block in blocks.iter().copied() {
            self.route("add a VPC block", |netlink| netlink.replace_route(block, NextHop::Blackhole))?;
        }
        match blocks.first().copied() {
            Some(primary) => {
                in_host(&self.peer, |netlink, index| netlink.replace_route(primary, NextHop::Gateway(index, PEER.0)))
            }
            None => Ok(()),
        }
    }

    /// Plugs an interface into a node: the link appears there under `plug.name`, down and without an address.
    pub(crate) fn plug(&mut self, plug: &Plug<'_>) -> Result<(), LabError> {
        let name = link_name(plug.eni);
        let router = self.router.clone();
        let near = VethEnd { name: &name, mac: MacAddress::new(ROUTER_MAC), namespace: &router };
        let far = VethEnd { name: plug.name, mac: plug.mac, namespace: plug.node };
        self.route("make a link", |netlink| netlink.add_veth(&near, &far, MTU_BYTES))?;
        let index = self.index_of(&name)?;
        set_all(
            &self.router,
            &[
                (&format!("net/ipv4/conf/{name}/rp_filter"), "1"),
                (&format!("net/ipv4/conf/{name}/proxy_arp"), "1"),
                (&format!("net/ipv4/neigh/{name}/proxy_delay"), "0"),
            ],
        )?;
        self.route("set a link up", |netlink| netlink.set_up(&name))?;
        if let Some(gateway) = plug.subnet.nth(1) {
            let lo = self.index_of("lo")?;
            self.route("add a subnet's router", |netlink| netlink.add_address(lo, gateway, 32))?;
        }
        self.route("add a neighbour", |netlink| netlink.replace_neighbour(index, plug.primary_address, plug.mac))?;
        let link =
            FabricLink { name, index, primary_address: plug.primary_address, owned: Vec::new(), aliases: Vec::new() };
        self.links.insert(plug.eni.clone(), link);
        self.set_owned(plug.eni, plug.owned)
    }

    /// Follows what an interface owns: its primary address first, then secondary addresses and prefixes.
    pub(crate) fn set_owned(&mut self, eni: &EniId, owned: &[Cidr]) -> Result<(), LabError> {
        let Some(before) = self.links.get(eni).map(|link| link.owned.clone()) else { return Ok(()) };
        self.route_to(eni, &before, owned)?;
        if let Some(link) = self.links.get_mut(eni) {
            link.owned = owned.to_vec();
        }
        Ok(())
    }

    /// Follows the blocks that lead to an interface beside what it owns, as alias ranges do on Google's cloud.
    pub(crate) fn set_aliases(&mut self, eni: &EniId, aliases: &[Cidr]) -> Result<(), LabError> {
        let Some(before) = self.links.get(eni).map(|link| link.aliases.clone()) else { return Ok(()) };
        self.route_to(eni, &before, aliases)?;
        if let Some(link) = self.links.get_mut(eni) {
            link.aliases = aliases.to_vec();
        }
        Ok(())
    }

    fn route_to(&mut self, eni: &EniId, before: &[Cidr], owned: &[Cidr]) -> Result<(), LabError> {
        let Some(link) = self.links.get(eni) else { return Ok(()) };
        let (index, primary_address) = (link.index, link.primary_address);
        let hop = |block: Cidr| {
            if block == Cidr::host(primary_address) {
                NextHop::Link(index)
            } else {
                NextHop::Gateway(index, primary_address)
            }
        };
        for block in before.iter().copied().filter(|block| !owned.contains(block)) {
            self.route("forget an address", |netlink| netlink.delete_route(block, hop(block)))?;
        }
        for block in owned.iter().copied().filter(|block| !before.contains(block)) {
            self.route("add an address", |netlink| netlink.replace_route(block, hop(block)))?;
        }
        Ok(())
    }

    /// Pulls an interface out: its link vanishes from the node, its routes from the router.
    pub(crate) fn unplug(&mut self, eni: &EniId) -> Result<(), LabError> {
        match self.links.remove(eni) {
            Some(link) => self.route("remove a link", |netlink| netlink.delete_link(&link.name)),
            None => Ok(()),
        }
    }

    fn index_of(&self, name: &str) -> Result<u32, LabError> {
        self.router
            .run(|| link_index(name))?
            .map_err(|source| LabError::network(&self.router, format!("find the link {name}"), source))
    }

    fn route(&mut self, what: &str, work: impl FnOnce(&mut Netlink) -> io::Result<()>) -> Result<(), LabError> {
        work(&mut self.netlink).map_err(|source| LabError::network(&self.router, what, source))
    }
}

/// Makes a host outside the VPC: a namespace with one link to the router, which has `network.0` there.
fn outside_host(
    router: &Namespace,
    netlink: &mut Netlink,
    name: &str,
    network: (Ipv4Addr, Ipv4Addr, u8),
) -> Result<Namespace, LabError> {
    let host = Namespace::create(name)?;
    link_outside_host(router, netlink, &host, network)?;
    Ok(host)
}

/// Links a host outside the VPC to the router; its end is `eth0`, the router's has the host's name.
fn link_outside_host(
    router: &Namespace,
    netlink: &mut Netlink,
    host: &Namespace,
    network: (Ipv4Addr, Ipv4Addr, u8),
) -> Result<(), LabError> {
    let (gateway, address, length) = network;
    let name = host.name();
    let near = VethEnd { name, mac: MacAddress::new(ROUTER_MAC), namespace: router };
    let mac = address.octets();
    let far =
        VethEnd { name: "eth0", mac: MacAddress::local([0x02, 0xfe, mac[0], mac[1], mac[2], mac[3]]), namespace: host };
    let failed = |source| LabError::network(router, format!("link the {name} host"), source);
    netlink.add_veth(&near, &far, MTU_BYTES).map_err(failed)?;
    netlink.set_up(name).map_err(failed)?;
    let index = router.run(|| link_index(name))?.map_err(failed)?;
    netlink.add_address(index, gateway, length).map_err(failed)?;
    in_host(host, |netlink, index| {
        netlink.set_up("lo")?;
        netlink.set_up("eth0")?;
        netlink.add_address(index, address, length)
    })
}

/// Does work on a host's own network; it gets the index of the host's `eth0`.
pub(crate) fn in_host(
    host: &Namespace,
    work: impl FnOnce(&mut Netlink, u32) -> io::Result<()> + Send,
) -> Result<(), LabError> {
    host.run(|| work(&mut Netlink::open()?, link_index("eth0")?))?
        .map_err(|source| LabError::network(host, "set up its network", source))
}

/// Writes kernel settings of a namespace.
pub(crate) fn set_all(namespace: &Namespace, settings: &[(&str, &str)]) -> Result<(), LabError> {
    for (setting, value) in settings {
        namespace
            .run(|| fs::write(format!("/proc/sys/{setting}"), value))?
            .map_err(|source| LabError::network(namespace, format!("set {setting} to {value}"), source))?;
    }
    Ok(())
}

/// 0.0.0.0/0.
pub(crate) fn default_route() -> Cidr {
    // The length is in range, so the block exists.
    Cidr::containing(Ipv4Addr::UNSPECIFIED, 0).unwrap_or(Cidr::host(Ipv4Addr::UNSPECIFIED))
}

/// The router's name of an interface: as much of the id as fits in the kernel's 15 characters.
fn link_name(eni: &EniId) -> String {
    let id = eni.as_str().trim_start_matches("eni-");
    format!("f{}", &id[id.len().saturating_sub(14)..])
}
