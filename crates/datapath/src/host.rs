//! The node's own interfaces, routes and rules: observe → plan → apply, so that a restart changes nothing that is right.

mod apply;
mod observe;
mod plan;

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use freeboard_address::{Cidr, MacAddress};

pub use apply::apply;
pub use observe::{ObservedHost, Witness};
pub use plan::{Change, HostPlan, plan};

/// How the node's network should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesiredHost {
    /// The primary network interface. Its address and routes are the operating system's; only MTU and reverse-path filter
    /// are set.
    pub primary: PrimaryInterface,
    /// Every managed secondary network interface.
    pub secondaries: Vec<SecondaryInterface>,
    /// Every pod that holds an address.
    pub pods: Vec<PodRoute>,
    /// The mark bit whose traffic looks up the main table; none when neither node ports nor source NAT need it.
    pub mark: Option<u32>,
    /// Blocks that are reached by the primary interface (AWS_EXTERNAL_SERVICE_CIDRS).
    pub external_service_cidrs: BTreeSet<Cidr>,
    /// Whether rules of addresses that are no pod's and have no route to a link are deleted. Only safe while no plugin can be
    /// adding a pod: at start, before the agent serves.
    pub remove_orphans: bool,
}

/// The primary network interface, as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrimaryInterface {
    /// Its hardware address, by which its link is found.
    pub mac: MacAddress,
    /// Largest packet, in bytes.
    pub mtu_bytes: u32,
}

/// A secondary network interface, as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecondaryInterface {
    /// Its hardware address, by which its link is found.
    pub mac: MacAddress,
    /// Its primary address.
    pub address: Ipv4Addr,
    /// The subnet it is in; the router is the address after the network address.
    pub subnet: Cidr,
    /// Its routing table ([`crate::names::interface_table`]).
    pub table: u32,
    /// Largest packet, in bytes.
    pub mtu_bytes: u32,
}

/// The way to one pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodRoute {
    /// The pod's address.
    pub address: Ipv4Addr,
    /// The routing table of the interface that holds it.
    pub table: u32,
    /// The host end of its veth pair; when the link exists, a lost route to it is restored.
    pub host_interface: String,
}
