//! The few changes that build the lab's network, each by the datapath's own requests. A [`Netlink`] speaks to the namespace of
//! the thread that opened it.

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;

use freeboard_address::{Cidr, MacAddress};
use freeboard_datapath::names::MAIN_TABLE;
use freeboard_datapath::netlink::{self, InterfaceAddress, Neighbour, Request, Route, RouteSocket, Scope, Veth};
use nix::net::if_::if_nametoindex;

use crate::error::LabError;
use crate::namespace::Namespace;

/// A route socket of one network namespace.
pub(crate) struct Netlink(RouteSocket);

/// One end of a veth pair.
pub(crate) struct VethEnd<'a> {
    pub(crate) name: &'a str,
    pub(crate) mac: MacAddress,
    pub(crate) namespace: &'a Namespace,
}

/// Where packets for a block go.
#[derive(Clone, Copy, Debug)]
pub(crate) enum NextHop {
    /// Out of a link, straight to the address.
    Link(u32),
    /// Out of a link, to a router.
    Gateway(u32, Ipv4Addr),
    /// Nowhere, silently.
    Blackhole,
}

impl Netlink {
    /// Opens a socket in the calling thread's namespace.
    pub(crate) fn open() -> io::Result<Self> {
        RouteSocket::open().map(Self).map_err(io::Error::other)
    }

    /// Opens a socket in `namespace`.
    pub(crate) fn open_in(namespace: &Namespace) -> Result<Self, LabError> {
        namespace.run(Self::open)?.map_err(|source| LabError::network(namespace, "open a netlink socket", source))
    }

    /// Makes a veth pair, each end at once in its own namespace, with its own MAC, down.
    pub(crate) fn add_veth(&mut self, near: &VethEnd<'_>, far: &VethEnd<'_>, mtu_bytes: u32) -> io::Result<()> {
        let end = |end: &VethEnd<'_>| netlink::VethEnd {
            name: end.name.to_owned(),
            mac: end.mac,
            namespace: Some(Arc::clone(end.namespace.network())),
        };
        self.execute(Request::AddVeth(Veth { near: end(near), far: end(far), mtu_bytes }))
    }

    /// Removes a link of this namespace; one that is gone already is no error.
    pub(crate) fn delete_link(&mut self, name: &str) -> io::Result<()> {
        self.execute(Request::DeleteLink(name.to_owned()))
    }

    /// Sets a link up.
    pub(crate) fn set_up(&mut self, name: &str) -> io::Result<()> {
        let link = self.0.link(name).map_err(io::Error::other)?;
        let link = link.ok_or_else(|| io::Error::other(format!("there is no link {name:?}")))?;
        self.execute(Request::SetLinkUp { index: link.index, mtu_bytes: None })
    }

    /// Gives a link an address with its mask.
    pub(crate) fn add_address(&mut self, interface: u32, address: Ipv4Addr, prefix_length: u8) -> io::Result<()> {
        self.execute(Request::AddAddress(InterfaceAddress { interface, address, prefix_length, connected_route: true }))
    }

    /// Sets where packets for `block` go.
    pub(crate) fn replace_route(&mut self, block: Cidr, hop: NextHop) -> io::Result<()> {
        self.execute(route(block, hop).map_or(Request::ReplaceBlackhole(block), Request::ReplaceRoute))
    }

    /// Forgets where packets for `block` go; a route that is gone already is no error.
    pub(crate) fn delete_route(&mut self, block: Cidr, hop: NextHop) -> io::Result<()> {
        self.execute(route(block, hop).map_or(Request::DeleteBlackhole(block), Request::DeleteRoute))
    }

    /// Sets the hardware address of `address` on a link, for good: nobody is asked by ARP.
    pub(crate) fn replace_neighbour(&mut self, interface: u32, address: Ipv4Addr, mac: MacAddress) -> io::Result<()> {
        self.execute(Request::ReplaceNeighbour(Neighbour { interface, address, mac }))
    }

    fn execute(&mut self, request: Request) -> io::Result<()> {
        self.0.execute(&[request]).map(|_| ()).map_err(io::Error::other)
    }
}

/// The number of a link in the calling thread's namespace.
pub(crate) fn link_index(name: &str) -> io::Result<u32> {
    Ok(if_nametoindex(name)?)
}

/// The route of the main table; none for a block that leads nowhere.
fn route(destination: Cidr, hop: NextHop) -> Option<Route> {
    let (interface, gateway, scope) = match hop {
        NextHop::Link(index) => (index, None, Scope::Link),
        NextHop::Gateway(index, gateway) => (index, Some(gateway), Scope::Universe),
        NextHop::Blackhole => return None,
    };
    Some(Route { table: MAIN_TABLE, destination, gateway, interface: Some(interface), scope })
}
