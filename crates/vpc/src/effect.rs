//! What the hypervisor under the cloud must do: make and remove links, follow addresses.

use std::net::Ipv4Addr;

use freeboard_address::{Cidr, EniId, InstanceId, MacAddress, SubnetId, VpcId};
use serde::Serialize;

/// One thing for the shell to carry out, in the order in which they come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CloudEffect {
    /// The blocks of a VPC are now these (also told once per VPC at the start).
    VpcCidrsChanged {
        /// The VPC.
        vpc: VpcId,
        /// Its usable blocks, the primary one first.
        cidrs: Vec<Cidr>,
    },
    /// A machine must exist now; its interfaces follow as [`CloudEffect::InterfaceAttaching`].
    InstanceLaunched(LaunchedInstance),
    /// Make this link now, then call [`Cloud::handle_link_ready`](crate::Cloud::handle_link_ready).
    InterfaceAttaching(InterfaceLink),
    /// Remove this link now, then call [`Cloud::handle_link_gone`](crate::Cloud::handle_link_gone).
    InterfaceDetached {
        /// The machine that had the link.
        instance: InstanceId,
        /// The interface.
        eni: EniId,
        /// Its hardware address.
        mac: MacAddress,
    },
    /// What an attached interface owns is now this: single addresses as /32 (the primary one first) and /28 prefixes.
    AddressesChanged {
        /// The machine that has the link.
        instance: InstanceId,
        /// The interface.
        eni: EniId,
        /// All that it owns.
        cidrs: Vec<Cidr>,
    },
    /// The machine and all its links must be gone now; no `handle_link_gone` is expected for them.
    InstanceTerminated {
        /// The machine.
        instance: InstanceId,
        /// The interfaces that it had.
        interfaces: Vec<EniId>,
    },
}

/// A machine that must exist.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LaunchedInstance {
    /// Its id.
    pub instance: InstanceId,
    /// Its type, for example `t3.medium`.
    pub instance_type: String,
    /// Its zone, for example `ap-southeast-2a`.
    pub availability_zone: String,
    /// The address of its first interface.
    pub primary_address: Ipv4Addr,
    /// Its private DNS name, for example `ip-10-0-208-27.ap-southeast-2.compute.internal`.
    pub private_dns_name: String,
}

/// A link that must be made: one interface in one machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InterfaceLink {
    /// The machine.
    pub instance: InstanceId,
    /// The interface.
    pub eni: EniId,
    /// Its hardware address.
    pub mac: MacAddress,
    /// Its device index in the machine; 0 is the first.
    pub device_index: u32,
    /// The network card it sits on.
    pub network_card_index: u32,
    /// Its subnet.
    pub subnet: SubnetId,
    /// The subnet's block.
    pub subnet_cidr: Cidr,
    /// The VPC.
    pub vpc: VpcId,
    /// Its primary address.
    pub primary_address: Ipv4Addr,
    /// All that it owns: single addresses as /32 (the primary one first) and /28 prefixes.
    pub cidrs: Vec<Cidr>,
}
