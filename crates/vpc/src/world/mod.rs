//! World files: what exists in the cloud at the start, how fast it is, and what will go wrong.

mod check;
mod defaults;
mod error;
mod interface;
mod knobs;
mod load;
mod load_machines;

pub(crate) use check::check_speed;
pub use error::WorldError;
pub use interface::{WorldInstance, WorldInterface, WorldMetadataOptions};
pub use knobs::{
    AddressOrder, Behaviour, FullPrefixReservation, Quotas, ScheduledFault, ShortageAtCreate, Throttling, Timing,
    UpcomingIds, UpcomingInterface,
};

use std::collections::BTreeMap;

use freeboard_address::{Cidr, ReservationId, RouteTableId, SecurityGroupId, SubnetId, VpcId};
use serde::{Deserialize, Serialize};

use crate::ids::{GatewayId, PeeringId};

/// A world file. `worlds/README.md` documents every key.
///
/// Only the types live here; a program reads the text (YAML or JSON) with serde. [`Cloud::from_world`](crate::Cloud::from_world)
/// checks that the whole makes sense.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct World {
    /// The region, for example `ap-southeast-2`.
    pub region: String,
    /// The account, twelve digits.
    #[serde(default = "defaults::account_id")]
    pub account_id: String,
    /// What ids, hardware addresses and the choice of addresses follow from.
    #[serde(default)]
    pub seed: u64,
    /// How many times faster than configured the cloud is; can be changed at run time.
    #[serde(default = "defaults::speed")]
    pub speed: f64,
    /// The zones of the region.
    pub availability_zones: Vec<WorldZone>,
    /// How long things take.
    #[serde(default)]
    pub timing: Timing,
    /// The token buckets of the request limits.
    #[serde(default)]
    pub throttling: Throttling,
    /// The account's limits.
    #[serde(default)]
    pub quotas: Quotas,
    /// Choices where EC2's behaviour is not documented or varies.
    #[serde(default)]
    pub behaviour: Behaviour,
    /// The VPCs.
    #[serde(default)]
    pub vpcs: Vec<WorldVpc>,
    /// The peering connections.
    #[serde(default)]
    pub peerings: Vec<WorldPeering>,
    /// The machines, running at the start.
    #[serde(default)]
    pub instances: Vec<WorldInstance>,
    /// Interfaces that are in no machine of this world.
    #[serde(default)]
    pub interfaces: Vec<WorldInterface>,
    /// Ids for resources that will be created later.
    #[serde(default)]
    pub upcoming_ids: UpcomingIds,
    /// What goes wrong, and when.
    #[serde(default)]
    pub faults: Vec<ScheduledFault>,
}

/// A zone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorldZone {
    /// Its name, for example `ap-southeast-2a`.
    pub name: String,
    /// Its id, for example `apse2-az3`.
    pub id: String,
}

/// A VPC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorldVpc {
    /// Its id.
    pub id: VpcId,
    /// Its primary block.
    pub cidr: Cidr,
    /// Its `Name` tag.
    #[serde(default)]
    pub name: Option<String>,
    /// Further tags.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// Blocks associated besides the primary one.
    #[serde(default)]
    pub secondary_cidrs: Vec<Cidr>,
    /// The id of its internet gateway, if it has one.
    #[serde(default)]
    pub internet_gateway: Option<GatewayId>,
    /// The id of its default security group.
    #[serde(default)]
    pub default_security_group: Option<SecurityGroupId>,
    /// Its other security groups.
    #[serde(default)]
    pub security_groups: Vec<WorldSecurityGroup>,
    /// Its route tables; without one that is `main`, one is made.
    #[serde(default)]
    pub route_tables: Vec<WorldRouteTable>,
    /// Its subnets.
    #[serde(default)]
    pub subnets: Vec<WorldSubnet>,
}

/// A subnet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorldSubnet {
    /// Its id.
    pub id: SubnetId,
    /// Its block.
    pub cidr: Cidr,
    /// The name of its zone.
    pub zone: String,
    /// Its `Name` tag.
    #[serde(default)]
    pub name: Option<String>,
    /// Further tags.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// Whether new instances get a public address.
    #[serde(default)]
    pub map_public_ip_on_launch: bool,
    /// Parts of it kept for one use.
    #[serde(default)]
    pub reservations: Vec<WorldReservation>,
}

/// A CIDR reservation of a subnet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorldReservation {
    /// Its id; made when none.
    #[serde(default)]
    pub id: Option<ReservationId>,
    /// The part of the subnet.
    pub cidr: Cidr,
    /// `prefix` or `explicit`.
    #[serde(rename = "type")]
    pub kind: WorldReservationType,
}

/// The use of a CIDR reservation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorldReservationType {
    /// Automatic /28 prefixes are taken from it.
    Prefix,
    /// Only named addresses are taken from it.
    Explicit,
}

/// A security group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorldSecurityGroup {
    /// Its id.
    pub id: SecurityGroupId,
    /// Its name.
    pub name: String,
    /// A note.
    #[serde(default)]
    pub description: String,
    /// Its tags.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
}

/// A route table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorldRouteTable {
    /// Its id.
    pub id: RouteTableId,
    /// Whether it is the VPC's main table.
    #[serde(default)]
    pub main: bool,
    /// Its `Name` tag.
    #[serde(default)]
    pub name: Option<String>,
    /// Further tags.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// The subnets that use it by name.
    #[serde(default)]
    pub subnets: Vec<SubnetId>,
    /// Its routes besides the local ones.
    #[serde(default)]
    pub routes: Vec<WorldRoute>,
}

/// A route: a destination and a target id (`igw-…`, `pcx-…`, `nat-…`, `tgw-…`, `eni-…`, `i-…`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorldRoute {
    /// Where to.
    pub to: Cidr,
    /// Through what.
    pub via: String,
}

/// A peering connection between two VPCs of the world, active at the start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorldPeering {
    /// Its id.
    pub id: PeeringId,
    /// The VPC that asked.
    pub requester: VpcId,
    /// The VPC that accepted.
    pub accepter: VpcId,
    /// Its `Name` tag.
    #[serde(default)]
    pub name: Option<String>,
}
