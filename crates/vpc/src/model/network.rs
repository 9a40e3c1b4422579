//! VPCs, subnets, CIDR reservations, zones, security groups.

use freeboard_address::{AssociationId, Cidr, ReservationId, SecurityGroupId, SubnetId, VpcId};
use serde::Serialize;

use super::{Tag, words};

words! {
    /// The state of a VPC.
    VpcState {
        /// Being made.
        Pending = "pending",
        /// Usable.
        Available = "available",
    }
}

words! {
    /// The state of a CIDR block's association with a VPC.
    CidrBlockState {
        /// Being added; not usable yet.
        Associating = "associating",
        /// Usable.
        Associated = "associated",
        /// Being removed.
        Disassociating = "disassociating",
        /// Removed.
        Disassociated = "disassociated",
        /// About to fail.
        Failing = "failing",
        /// Not added; the status message says why.
        Failed = "failed",
    }
}

words! {
    /// How a subnet CIDR reservation may be used.
    ReservationType {
        /// Automatic /28 prefixes are taken from it.
        Prefix = "prefix",
        /// Only addresses that a caller names are taken from it.
        Explicit = "explicit",
    }
}

/// A virtual private cloud.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Vpc {
    /// Its id.
    pub vpc_id: VpcId,
    /// The account.
    pub owner_id: String,
    /// Its state.
    pub state: VpcState,
    /// The primary block.
    pub cidr_block: Cidr,
    /// All blocks with their states, the primary one first.
    pub cidr_block_associations: Vec<VpcCidrBlockAssociation>,
    /// The DHCP option set.
    pub dhcp_options_id: String,
    /// `default` or `dedicated`.
    pub instance_tenancy: String,
    /// Whether it is the account's default VPC.
    pub is_default: bool,
    /// Its tags.
    pub tags: Vec<Tag>,
}

impl Vpc {
    /// The blocks that are usable now, the primary one first.
    pub fn usable_cidrs(&self) -> impl Iterator<Item = Cidr> + '_ {
        self.cidr_block_associations.iter().filter(|a| a.state == CidrBlockState::Associated).map(|a| a.cidr_block)
    }
}

/// A block of a VPC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VpcCidrBlockAssociation {
    /// `vpc-cidr-assoc-…`.
    pub association_id: AssociationId,
    /// The block.
    pub cidr_block: Cidr,
    /// Whether it is usable.
    pub state: CidrBlockState,
    /// Why it failed, when it did.
    pub status_message: Option<String>,
}

/// The answer of AssociateVpcCidrBlock and DisassociateVpcCidrBlock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VpcCidrBlockAssociationResult {
    /// The VPC.
    pub vpc_id: VpcId,
    /// The block and its new state.
    pub association: VpcCidrBlockAssociation,
}

/// A subnet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Subnet {
    /// Its id.
    pub subnet_id: SubnetId,
    /// Its ARN.
    pub subnet_arn: String,
    /// `available`.
    pub state: String,
    /// Its VPC.
    pub vpc_id: VpcId,
    /// The account.
    pub owner_id: String,
    /// Its block.
    pub cidr_block: Cidr,
    /// Addresses that can still be given, counted as EC2 does: five per subnet never can, and what lies in a `prefix`
    /// reservation is not counted.
    pub available_ip_address_count: u64,
    /// The zone's name.
    pub availability_zone: String,
    /// The zone's id.
    pub availability_zone_id: String,
    /// Whether it is the zone's default subnet.
    pub default_for_az: bool,
    /// Whether new instances get a public address.
    pub map_public_ip_on_launch: bool,
    /// Whether new interfaces get an IPv6 address.
    pub assign_ipv6_address_on_creation: bool,
    /// Whether the resolver answers with synthetic IPv6 addresses.
    pub enable_dns64: bool,
    /// `ip-name` or `resource-name`.
    pub hostname_type: String,
    /// Its tags.
    pub tags: Vec<Tag>,
}

/// A part of a subnet kept for one use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SubnetCidrReservation {
    /// `scr-…`.
    pub subnet_cidr_reservation_id: ReservationId,
    /// The subnet.
    pub subnet_id: SubnetId,
    /// The part.
    pub cidr: Cidr,
    /// Its use.
    pub reservation_type: ReservationType,
    /// The account.
    pub owner_id: String,
    /// The caller's note.
    pub description: Option<String>,
    /// Its tags.
    pub tags: Vec<Tag>,
}

/// An availability zone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AvailabilityZone {
    /// For example `ap-southeast-2a`.
    pub zone_name: String,
    /// For example `apse2-az3`.
    pub zone_id: String,
    /// `available`.
    pub zone_state: String,
    /// The region.
    pub region_name: String,
    /// `availability-zone`.
    pub zone_type: String,
    /// The zone group.
    pub group_name: String,
    /// `opt-in-not-required`.
    pub opt_in_status: String,
    /// The network border group.
    pub network_border_group: String,
}

/// A security group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SecurityGroup {
    /// Its id.
    pub group_id: SecurityGroupId,
    /// Its name, unique in its VPC.
    pub group_name: String,
    /// The caller's note.
    pub group_description: String,
    /// Its VPC.
    pub vpc_id: VpcId,
    /// The account.
    pub owner_id: String,
    /// Its ARN.
    pub security_group_arn: String,
    /// What may come in.
    pub ip_permissions: Vec<IpPermission>,
    /// What may go out.
    pub ip_permissions_egress: Vec<IpPermission>,
    /// Its tags.
    pub tags: Vec<Tag>,
}

/// One rule of a security group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct IpPermission {
    /// `-1` (all), `tcp`, `udp`, `icmp` or a number.
    pub ip_protocol: String,
    /// First port, where the protocol has ports.
    pub from_port: Option<i32>,
    /// Last port, where the protocol has ports.
    pub to_port: Option<i32>,
    /// Groups whose members may.
    pub groups: Vec<SecurityGroupId>,
    /// Blocks that may.
    pub ip_ranges: Vec<Cidr>,
}

/// A security group where another resource refers to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GroupIdentifier {
    /// Its id.
    pub group_id: SecurityGroupId,
    /// Its name.
    pub group_name: String,
}
