//! Instances, reservations and instance types.

use std::net::Ipv4Addr;

use freeboard_address::{InstanceId, SubnetId, VpcId};
use jiff::Timestamp;
use serde::Serialize;

use super::{GroupIdentifier, NetworkInterface, Tag, words};
use crate::ids::ImageId;

words! {
    /// The state of an instance.
    InstanceState {
        /// Starting.
        Pending = "pending",
        /// Up.
        Running = "running",
        /// On the way down.
        ShuttingDown = "shutting-down",
        /// Gone; still listed for an hour.
        Terminated = "terminated",
    }
}

impl InstanceState {
    /// EC2's number for the state.
    #[must_use]
    pub fn code(self) -> u16 {
        match self {
            Self::Pending => 0,
            Self::Running => 16,
            Self::ShuttingDown => 32,
            Self::Terminated => 48,
        }
    }
}

/// A machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Instance {
    /// Its id.
    pub instance_id: InstanceId,
    /// The launch it belongs to.
    pub reservation_id: String,
    /// The account.
    pub owner_id: String,
    /// Its image.
    pub image_id: ImageId,
    /// Its state.
    pub state: InstanceState,
    /// The DNS name of its first address; empty once it is terminated.
    pub private_dns_name: String,
    /// Its place in the launch.
    pub ami_launch_index: u32,
    /// Its type, for example `t3.medium`.
    pub instance_type: String,
    /// When it was launched.
    pub launch_time: Timestamp,
    /// The zone's name.
    pub availability_zone: String,
    /// The zone's id.
    pub availability_zone_id: String,
    /// The subnet of its first interface; none once it is terminated.
    pub subnet_id: Option<SubnetId>,
    /// Its VPC; none once it is terminated.
    pub vpc_id: Option<VpcId>,
    /// Its first address; none once it is terminated.
    pub private_ip_address: Option<Ipv4Addr>,
    /// Whether its first interface drops traffic for other addresses.
    pub source_dest_check: bool,
    /// The groups of its first interface.
    pub groups: Vec<GroupIdentifier>,
    /// Why it is in this state, when a caller brought it there.
    pub state_reason: Option<StateReason>,
    /// `x86_64` or `arm64`.
    pub architecture: String,
    /// `nitro`, `xen`, or none where the type's is not known.
    pub hypervisor: Option<String>,
    /// The token it was launched with.
    pub client_token: String,
    /// Its interfaces, by device index; filled in by the Describe actions.
    pub network_interfaces: Vec<NetworkInterface>,
    /// Its instance profile.
    pub iam_instance_profile: Option<IamInstanceProfile>,
    /// How its metadata service answers.
    pub metadata_options: MetadataOptions,
    /// The text it was launched with, for the metadata service.
    pub user_data: Option<String>,
    /// Its tags.
    pub tags: Vec<Tag>,
}

/// Why an instance is in its state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StateReason {
    /// For example `Client.UserInitiatedShutdown`.
    pub code: String,
    /// The text.
    pub message: String,
}

/// The role of an instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct IamInstanceProfile {
    /// Its ARN.
    pub arn: String,
    /// Its id.
    pub id: String,
}

/// How the metadata service of an instance answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MetadataOptions {
    /// `required` or `optional`: whether a request needs a token.
    pub http_tokens: HttpTokens,
    /// The IP TTL of the answer that carries a token, 1 to 64.
    pub http_put_response_hop_limit: u8,
    /// Whether the service answers at all.
    pub http_endpoint_enabled: bool,
}

impl Default for MetadataOptions {
    fn default() -> Self {
        Self { http_tokens: HttpTokens::Required, http_put_response_hop_limit: 2, http_endpoint_enabled: true }
    }
}

words! {
    /// Whether a metadata request needs a token.
    HttpTokens {
        /// It does.
        Required = "required",
        /// It may have one.
        Optional = "optional",
    }
}

/// The machines of one launch, as RunInstances and DescribeInstances show them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reservation {
    /// `r-…`.
    pub reservation_id: String,
    /// The account.
    pub owner_id: String,
    /// The machines.
    pub instances: Vec<Instance>,
}

/// How TerminateInstances changed one machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InstanceStateChange {
    /// The machine.
    pub instance_id: InstanceId,
    /// The state after the call.
    pub current_state: InstanceState,
    /// The state before it.
    pub previous_state: InstanceState,
}

/// An instance type and its network limits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InstanceType {
    /// Its name, for example `t3.medium`.
    pub instance_type: String,
    /// Its virtual CPUs, where known.
    pub vcpus: Option<u32>,
    /// `nitro` or `xen`, where known.
    pub hypervisor: Option<String>,
    /// Whether it is bare metal.
    pub bare_metal: bool,
    /// Interfaces over all cards.
    pub maximum_network_interfaces: u32,
    /// Addresses per interface, the primary one included.
    pub ipv4_addresses_per_interface: u32,
    /// The card of the first interface.
    pub default_network_card_index: u32,
    /// Interfaces per card, by card index.
    pub interfaces_per_network_card: Vec<u32>,
}

impl InstanceType {
    /// Whether its interfaces can hold /28 prefixes (nitro and bare metal only).
    #[must_use]
    pub fn supports_prefixes(&self) -> bool {
        self.bare_metal || self.hypervisor.as_deref() == Some("nitro")
    }
}
