//! The few rtnetlink requests that build the lab's network. A [`Netlink`] speaks to the namespace of the thread that opened it.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsRawFd;

use freeboard_address::{Cidr, MacAddress};
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage};
use netlink_packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use nix::net::if_::if_nametoindex;

use crate::error::LabError;
use crate::namespace::Namespace;

/// A route socket of one network namespace.
pub(crate) struct Netlink {
    socket: Socket,
    sequence: u32,
}

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
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Opens a socket in `namespace`.
    pub(crate) fn open_in(namespace: &Namespace) -> Result<Self, LabError> {
        namespace.run(Self::open)?.map_err(|source| LabError::network(namespace, "open a netlink socket", source))
    }

    /// Makes a veth pair, each end at once in its own namespace, with its own MAC, down.
    pub(crate) fn add_veth(&mut self, near: &VethEnd<'_>, far: &VethEnd<'_>, mtu: u32) -> io::Result<()> {
        let end = |end: &VethEnd<'_>| {
            vec![
                LinkAttribute::IfName(end.name.to_owned()),
                LinkAttribute::Address(end.mac.bytes().to_vec()),
                LinkAttribute::Mtu(mtu),
                LinkAttribute::NetNsFd(end.namespace.network().as_raw_fd()),
            ]
        };
        let mut peer = LinkMessage::default();
        peer.attributes = end(far);
        let mut message = LinkMessage::default();
        message.attributes = end(near);
        message.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
        ]));
        self.request(RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL)
    }

    /// Removes a link of this namespace; one that is gone already is no error.
    pub(crate) fn delete_link(&mut self, name: &str) -> io::Result<()> {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.to_owned()));
        match self.request(RouteNetlinkMessage::DelLink(message), 0) {
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(()),
            other => other,
        }
    }

    /// Sets a link up.
    pub(crate) fn set_up(&mut self, name: &str) -> io::Result<()> {
        let mut message = LinkMessage::default();
        message.header.flags = LinkFlags::Up;
        message.header.change_mask = LinkFlags::Up;
        message.attributes.push(LinkAttribute::IfName(name.to_owned()));
        self.request(RouteNetlinkMessage::SetLink(message), 0)
    }

    /// Gives a link an address with its mask.
    pub(crate) fn add_address(&mut self, index: u32, address: Ipv4Addr, length: u8) -> io::Result<()> {
        let mut message = AddressMessage::default();
        message.header.family = AddressFamily::Inet;
        message.header.prefix_len = length;
        message.header.index = index;
        message.attributes =
            vec![AddressAttribute::Local(IpAddr::V4(address)), AddressAttribute::Address(IpAddr::V4(address))];
        self.request(RouteNetlinkMessage::NewAddress(message), NLM_F_CREATE | NLM_F_REPLACE)
    }

    /// Sets where packets for `block` go.
    pub(crate) fn replace_route(&mut self, block: Cidr, hop: NextHop) -> io::Result<()> {
        self.request(RouteNetlinkMessage::NewRoute(route(block, hop)), NLM_F_CREATE | NLM_F_REPLACE)
    }

    /// Forgets where packets for `block` go; a route that is gone already is no error.
    pub(crate) fn delete_route(&mut self, block: Cidr, hop: NextHop) -> io::Result<()> {
        tolerate(self.request(RouteNetlinkMessage::DelRoute(route(block, hop)), 0), libc::ESRCH)
    }

    /// Sets the hardware address of `address` on a link, for good: nobody is asked by ARP.
    pub(crate) fn replace_neighbour(&mut self, index: u32, address: Ipv4Addr, mac: MacAddress) -> io::Result<()> {
        let mut message = neighbour(index, address);
        message.attributes.push(NeighbourAttribute::LinkLayerAddress(mac.bytes().to_vec()));
        self.request(RouteNetlinkMessage::NewNeighbour(message), NLM_F_CREATE | NLM_F_REPLACE)
    }

    fn request(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        self.sequence += 1;
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
        header.sequence_number = self.sequence;
        let mut packet = NetlinkMessage::new(header, NetlinkPayload::from(message));
        packet.finalize();
        let mut buffer = vec![0; packet.buffer_len()];
        packet.serialize(&mut buffer);
        self.socket.send(&buffer, 0)?;
        loop {
            let (answer, _) = self.socket.recv_from_full()?;
            let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer).map_err(io::Error::other)?;
            if answer.header.sequence_number != self.sequence {
                continue;
            }
            if let NetlinkPayload::Error(error) = answer.payload {
                return if error.code.is_some() { Err(error.to_io()) } else { Ok(()) };
            }
        }
    }
}

/// The number of a link in the calling thread's namespace.
pub(crate) fn link_index(name: &str) -> io::Result<u32> {
    Ok(if_nametoindex(name)?)
}

fn tolerate(outcome: io::Result<()>, errno: i32) -> io::Result<()> {
    match outcome {
        Err(error) if error.raw_os_error() == Some(errno) => Ok(()),
        other => other,
    }
}

fn route(block: Cidr, hop: NextHop) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = AddressFamily::Inet;
    message.header.destination_prefix_length = block.length();
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.header.protocol = RouteProtocol::Static;
    message.header.scope = RouteScope::Universe;
    message.header.kind = RouteType::Unicast;
    if block.length() > 0 {
        message.attributes.push(RouteAttribute::Destination(RouteAddress::Inet(block.network())));
    }
    match hop {
        NextHop::Link(index) => {
            message.header.scope = RouteScope::Link;
            message.attributes.push(RouteAttribute::Oif(index));
        }
        NextHop::Gateway(index, gateway) => {
            message.attributes.push(RouteAttribute::Oif(index));
            message.attributes.push(RouteAttribute::Gateway(RouteAddress::Inet(gateway)));
        }
        NextHop::Blackhole => message.header.kind = RouteType::BlackHole,
    }
    message
}

fn neighbour(index: u32, address: Ipv4Addr) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Inet;
    message.header.ifindex = index;
    message.header.state = NeighbourState::Permanent;
    message.attributes.push(NeighbourAttribute::Destination(NeighbourAddress::Inet(address)));
    message
}
