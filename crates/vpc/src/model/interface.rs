//! Network interfaces and their attachments.

use std::net::Ipv4Addr;

use freeboard_address::{AttachmentId, Cidr, EniId, InstanceId, MacAddress, SubnetId, VpcId};
use jiff::Timestamp;
use serde::Serialize;

use super::{GroupIdentifier, Tag, words};

words! {
    /// The state of a network interface.
    InterfaceStatus {
        /// In no machine.
        Available = "available",
        /// In a machine, or on the way into one.
        InUse = "in-use",
        /// On the way out of a machine, as the `status` filter also knows it.
        Detaching = "detaching",
    }
}

words! {
    /// The state of an attachment.
    AttachmentStatus {
        /// On the way in; the machine may not see the device yet.
        Attaching = "attaching",
        /// In.
        Attached = "attached",
        /// On the way out.
        Detaching = "detaching",
        /// Out.
        Detached = "detached",
    }
}

/// An elastic network interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NetworkInterface {
    /// Its id.
    pub network_interface_id: EniId,
    /// Its subnet; it never changes.
    pub subnet_id: SubnetId,
    /// Its VPC.
    pub vpc_id: VpcId,
    /// Its zone.
    pub availability_zone: String,
    /// The caller's note; agents write `aws-K8S-<instance>` here.
    pub description: String,
    /// The account.
    pub owner_id: String,
    /// Which service or user made it.
    pub requester_id: Option<String>,
    /// Whether a service manages it; then nobody else may.
    pub requester_managed: bool,
    /// Its state.
    pub status: InterfaceStatus,
    /// Its hardware address.
    pub mac_address: MacAddress,
    /// `interface`, or what the caller asked for.
    pub interface_type: String,
    /// Its primary address.
    pub private_ip_address: Ipv4Addr,
    /// The DNS name of the primary address.
    pub private_dns_name: String,
    /// Whether traffic for other addresses is dropped.
    pub source_dest_check: bool,
    /// Its security groups.
    pub groups: Vec<GroupIdentifier>,
    /// Where it is attached.
    pub attachment: Option<InterfaceAttachment>,
    /// Its single addresses, the primary one first; addresses inside prefixes are not listed.
    pub private_ip_addresses: Vec<PrivateIpAddress>,
    /// Its /28 prefixes.
    pub ipv4_prefixes: Vec<Cidr>,
    /// Its tags (`tagSet` on the wire).
    pub tags: Vec<Tag>,
}

impl NetworkInterface {
    /// All that it owns: single addresses as /32 (the primary one first), then prefixes.
    #[must_use]
    pub fn cidrs(&self) -> Vec<Cidr> {
        let singles = self.private_ip_addresses.iter().map(|a| Cidr::host(a.private_ip_address));
        singles.chain(self.ipv4_prefixes.iter().copied()).collect()
    }

    /// How many of the instance type's addresses per interface it uses; a prefix counts as one, the primary address too.
    #[must_use]
    pub fn used_slots(&self) -> usize {
        self.private_ip_addresses.len() + self.ipv4_prefixes.len()
    }

    /// The machine it is in, or on the way into or out of.
    #[must_use]
    pub fn instance_id(&self) -> Option<&InstanceId> {
        self.attachment.as_ref()?.instance_id.as_ref()
    }
}

/// One single address of an interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PrivateIpAddress {
    /// The address.
    pub private_ip_address: Ipv4Addr,
    /// Whether it is the interface's primary address.
    pub primary: bool,
    /// Its DNS name.
    pub private_dns_name: String,
}

/// The attachment of an interface to a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InterfaceAttachment {
    /// `eni-attach-…`; `ela-attach-…` when a service manages the interface.
    pub attachment_id: AttachmentId,
    /// The machine; none when a service's own machine has it.
    pub instance_id: Option<InstanceId>,
    /// The account of the machine.
    pub instance_owner_id: String,
    /// Its device index in the machine.
    pub device_index: u32,
    /// The network card it sits on.
    pub network_card_index: u32,
    /// Its state.
    pub status: AttachmentStatus,
    /// When the attachment was asked for.
    pub attach_time: Timestamp,
    /// Whether the interface is deleted with the machine.
    pub delete_on_termination: bool,
}

/// The answer of AttachNetworkInterface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AttachResult {
    /// The new attachment.
    pub attachment_id: AttachmentId,
    /// The network card the interface sits on.
    pub network_card_index: u32,
}

/// The answer of AssignPrivateIpAddresses: only what is newly assigned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AssignResult {
    /// The interface.
    pub network_interface_id: EniId,
    /// The new single addresses.
    pub assigned_private_ip_addresses: Vec<Ipv4Addr>,
    /// The new prefixes.
    pub assigned_ipv4_prefixes: Vec<Cidr>,
}
