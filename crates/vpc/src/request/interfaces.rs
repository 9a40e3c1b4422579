//! Requests about instances and network interfaces.

use std::net::Ipv4Addr;

use freeboard_address::{Addresses, AttachmentId, Cidr, EniId, InstanceId, Prefixes, SecurityGroupId, SubnetId};

use super::TagSpecification;
use crate::ids::ImageId;
use crate::model::MetadataOptions;

/// Which addresses besides the primary one an interface gets: named, counted, or prefixes.
///
/// Named addresses exclude a count, named prefixes exclude a prefix count (`InvalidParameterCombination`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressWish {
    /// These secondary addresses.
    pub private_ip_addresses: Vec<Ipv4Addr>,
    /// So many secondary addresses.
    pub secondary_private_ip_address_count: Option<Addresses>,
    /// These /28 prefixes.
    pub ipv4_prefixes: Vec<Cidr>,
    /// So many /28 prefixes.
    pub ipv4_prefix_count: Option<Prefixes>,
}

/// CreateNetworkInterface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateNetworkInterface {
    /// The subnet.
    pub subnet_id: SubnetId,
    /// The caller's note.
    pub description: Option<String>,
    /// The groups; the VPC's default group when empty.
    pub security_group_ids: Vec<SecurityGroupId>,
    /// The primary address; the cloud chooses when none.
    pub primary_address: Option<Ipv4Addr>,
    /// Further addresses and prefixes.
    pub addresses: AddressWish,
    /// `interface` when none.
    pub interface_type: Option<String>,
    /// Same token and same parameters: same answer.
    pub client_token: Option<String>,
    /// Tags (`network-interface`).
    pub tag_specifications: Vec<TagSpecification>,
}

impl CreateNetworkInterface {
    /// An interface in this subnet with one address of the cloud's choice.
    #[must_use]
    pub fn in_subnet(subnet_id: SubnetId) -> Self {
        Self {
            subnet_id,
            description: None,
            security_group_ids: Vec::new(),
            primary_address: None,
            addresses: AddressWish::default(),
            interface_type: None,
            client_token: None,
            tag_specifications: Vec::new(),
        }
    }
}

/// AttachNetworkInterface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttachNetworkInterface {
    /// The interface.
    pub network_interface_id: EniId,
    /// The machine, in the interface's zone.
    pub instance_id: InstanceId,
    /// Its device index there; must be unused.
    pub device_index: u32,
    /// The network card; the type's default card when none.
    pub network_card_index: Option<u32>,
}

/// ModifyNetworkInterfaceAttribute: exactly one attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModifyNetworkInterfaceAttribute {
    /// The interface.
    pub network_interface_id: EniId,
    /// What changes.
    pub attribute: InterfaceAttribute,
}

/// The attribute of an interface that changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InterfaceAttribute {
    /// `Attachment.DeleteOnTermination` of this attachment.
    DeleteOnTermination {
        /// The interface's attachment.
        attachment_id: AttachmentId,
        /// Whether the interface is deleted with the machine.
        delete_on_termination: bool,
    },
    /// `SecurityGroupId.N`: the new groups.
    SecurityGroups(Vec<SecurityGroupId>),
    /// `SourceDestCheck.Value`.
    SourceDestCheck(bool),
    /// `Description.Value`.
    Description(String),
}

/// DetachNetworkInterface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DetachNetworkInterface {
    /// The attachment; not that of a machine's first interface.
    pub attachment_id: AttachmentId,
    /// Do not wait for the machine.
    pub force: bool,
}

/// DeleteNetworkInterface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteNetworkInterface {
    /// The interface; it must be `available`.
    pub network_interface_id: EniId,
}

/// AssignPrivateIpAddresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssignPrivateIpAddresses {
    /// The interface.
    pub network_interface_id: EniId,
    /// What it gets: exactly one of the four ways.
    pub addresses: AddressWish,
    /// Take named secondary addresses away from other interfaces.
    pub allow_reassignment: bool,
}

/// UnassignPrivateIpAddresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnassignPrivateIpAddresses {
    /// The interface.
    pub network_interface_id: EniId,
    /// Secondary addresses to give back.
    pub private_ip_addresses: Vec<Ipv4Addr>,
    /// Prefixes to give back.
    pub ipv4_prefixes: Vec<Cidr>,
}

/// RunInstances.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunInstances {
    /// The image; any text that starts with `ami-`.
    pub image_id: ImageId,
    /// The type, one of the known ones.
    pub instance_type: String,
    /// Refuse to launch fewer.
    pub min_count: u32,
    /// Launch at most so many.
    pub max_count: u32,
    /// The subnet of the first interface; excludes `network_interfaces`.
    pub subnet_id: Option<SubnetId>,
    /// The groups of the first interface; excludes `network_interfaces`.
    pub security_group_ids: Vec<SecurityGroupId>,
    /// The address of the first interface, for one machine; excludes `network_interfaces`.
    pub private_ip_address: Option<Ipv4Addr>,
    /// The interfaces, one of them at device index 0.
    pub network_interfaces: Vec<LaunchInterface>,
    /// Same token and same parameters: same answer.
    pub client_token: Option<String>,
    /// The text for the metadata service's `user-data`, decoded.
    pub user_data: Option<String>,
    /// The name of the instance profile.
    pub iam_instance_profile: Option<String>,
    /// How the metadata service answers.
    pub metadata_options: MetadataOptions,
    /// Tags (`instance`, `network-interface`, `volume`).
    pub tag_specifications: Vec<TagSpecification>,
}

impl RunInstances {
    /// One machine of this type in this subnet.
    #[must_use]
    pub fn one(instance_type: impl Into<String>, subnet_id: SubnetId) -> Self {
        Self {
            image_id: ImageId::new("ami-0123456789abcdef0"),
            instance_type: instance_type.into(),
            min_count: 1,
            max_count: 1,
            subnet_id: Some(subnet_id),
            security_group_ids: Vec::new(),
            private_ip_address: None,
            network_interfaces: Vec::new(),
            client_token: None,
            user_data: None,
            iam_instance_profile: None,
            metadata_options: MetadataOptions::default(),
            tag_specifications: Vec::new(),
        }
    }
}

/// An interface of a launch: a new one in a subnet, or an existing one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LaunchInterface {
    /// Its device index.
    pub device_index: u32,
    /// An existing, `available` interface; excludes the rest.
    pub network_interface_id: Option<EniId>,
    /// The subnet of a new interface.
    pub subnet_id: Option<SubnetId>,
    /// The caller's note.
    pub description: Option<String>,
    /// Its groups; the VPC's default group when empty.
    pub security_group_ids: Vec<SecurityGroupId>,
    /// Its primary address; the cloud chooses when none.
    pub primary_address: Option<Ipv4Addr>,
    /// Further addresses and prefixes.
    pub addresses: AddressWish,
    /// Whether it is deleted with the machine; true for a new interface when none is said.
    pub delete_on_termination: Option<bool>,
    /// The network card; the type's default card when none.
    pub network_card_index: Option<u32>,
}

/// TerminateInstances: all or, if one is unknown, none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TerminateInstances {
    /// The machines.
    pub instance_ids: Vec<InstanceId>,
}
