//! Knobs of a world file: timing, request limits, quotas, choices, ids to come, faults to come.

use std::collections::BTreeMap;

use freeboard_address::{Cidr, EniId, SubnetId};
use serde::{Deserialize, Serialize};

use crate::faults::Fault;

/// How long things take, before division by the world's speed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Timing {
    /// Every request of the EC2 API takes at least so long.
    pub api_latency_milliseconds: f64,
    /// From AttachNetworkInterface until the device is made.
    pub attach_seconds: f64,
    /// From DetachNetworkInterface until the device is removed.
    pub detach_seconds: f64,
    /// How long a CIDR block is `associating` or `disassociating`.
    pub cidr_association_seconds: f64,
    /// How long a new VPC is `pending`.
    pub vpc_creation_seconds: f64,
    /// How long a new instance is `pending`.
    pub instance_start_seconds: f64,
    /// How long an instance is `shutting-down`.
    pub instance_stop_seconds: f64,
    /// How long a terminated instance is still listed.
    pub terminated_instance_visible_seconds: f64,
    /// By how much the metadata service lags behind the control plane.
    pub metadata_lag_seconds: f64,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            api_latency_milliseconds: 0.0,
            attach_seconds: 2.0,
            detach_seconds: 2.0,
            cidr_association_seconds: 5.0,
            vpc_creation_seconds: 1.0,
            instance_start_seconds: 5.0,
            instance_stop_seconds: 5.0,
            terminated_instance_visible_seconds: 3600.0,
            metadata_lag_seconds: 1.0,
        }
    }
}

/// The request limits: a token bucket per action.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Throttling {
    /// Whether requests are limited at all.
    pub enabled: bool,
    /// Capacity and refill of every bucket are multiplied by this.
    pub scale: f64,
}

impl Default for Throttling {
    fn default() -> Self {
        Self { enabled: true, scale: 1.0 }
    }
}

/// The account's limits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Quotas {
    /// VPCs in the region.
    pub vpcs: u32,
    /// CIDR blocks per VPC, the primary one included.
    pub cidrs_per_vpc: u32,
    /// Subnets per VPC.
    pub subnets_per_vpc: u32,
    /// Interfaces in the region.
    pub interfaces: u32,
    /// Security groups per interface.
    pub security_groups_per_interface: u32,
    /// Security groups in the region.
    pub security_groups: u32,
    /// Route tables per VPC.
    pub route_tables_per_vpc: u32,
    /// Routes per route table, local ones included.
    pub routes_per_table: u32,
    /// Machines that are not terminated.
    pub instances: u32,
    /// Tags per resource.
    pub tags_per_resource: u32,
}

impl Default for Quotas {
    fn default() -> Self {
        Self {
            vpcs: 5,
            cidrs_per_vpc: 5,
            subnets_per_vpc: 200,
            interfaces: 5_000,
            security_groups_per_interface: 5,
            security_groups: 2_500,
            route_tables_per_vpc: 200,
            routes_per_table: 50,
            instances: 1_000,
            tags_per_resource: 50,
        }
    }
}

/// Choices where EC2's behaviour is not documented or varies.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Behaviour {
    /// Which free address the cloud chooses.
    pub address_order: AddressOrder,
    /// What CreateNetworkInterface answers when the subnet is short.
    pub shortage_at_create: ShortageAtCreate,
    /// Where automatic prefixes come from when every `prefix` reservation is full.
    pub full_prefix_reservation: FullPrefixReservation,
}

/// Which free address the cloud chooses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AddressOrder {
    /// Any of them, as EC2 does; which one follows from the seed.
    #[default]
    Scattered,
    /// The lowest one.
    Lowest,
}

/// What CreateNetworkInterface answers when the subnet is short. Both have been seen of the service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ShortageAtCreate {
    /// `InsufficientFreeAddressesInSubnet` for addresses, `InsufficientCidrBlocks` for prefixes, as AssignPrivateIpAddresses.
    #[default]
    Insufficient,
    /// `InvalidParameterValue`, "There aren't sufficient free Ipv4 addresses or prefixes".
    InvalidParameterValue,
}

/// Where automatic prefixes come from when every `prefix` reservation of the subnet is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FullPrefixReservation {
    /// From nowhere: the call fails.
    #[default]
    Fail,
    /// From the rest of the subnet.
    FallThrough,
}

/// Ids for resources that will be created later, so that a story can show known ones.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UpcomingIds {
    /// The id of the first subnet created with this block.
    pub subnets: BTreeMap<Cidr, SubnetId>,
    /// The ids of interfaces, each used once, by the first interface that fits.
    pub interfaces: Vec<UpcomingInterface>,
}

/// The id of an interface to come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpcomingInterface {
    /// The id.
    pub id: EniId,
    /// The block of the subnet that the interface is created in.
    pub subnet_cidr: Cidr,
    /// A text that the interface's description holds, for example an instance id; any description fits when none.
    #[serde(default)]
    pub description_contains: Option<String>,
}

/// A fault and when it happens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScheduledFault {
    /// So long after the start; like all times of faults, not divided by the world's speed.
    #[serde(default)]
    pub after_seconds: f64,
    /// What happens.
    pub inject: Fault,
}
