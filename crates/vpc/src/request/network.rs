//! Requests about VPCs, subnets, reservations, security groups, routing and peering.

use freeboard_address::{AssociationId, Cidr, ReservationId, RouteTableId, SecurityGroupId, SubnetId, VpcId};

use super::TagSpecification;
use crate::ids::{GatewayId, PeeringId};
use crate::model::{ReservationType, RouteTarget};

/// CreateVpc.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateVpc {
    /// The primary block, /16 to /28.
    pub cidr_block: Cidr,
    /// `default` when none.
    pub instance_tenancy: Option<String>,
    /// Tags (`vpc`).
    pub tag_specifications: Vec<TagSpecification>,
}

/// DeleteVpc.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteVpc {
    /// The VPC; nothing but its default group and main table may be left in it.
    pub vpc_id: VpcId,
}

/// AssociateVpcCidrBlock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssociateVpcCidrBlock {
    /// The VPC.
    pub vpc_id: VpcId,
    /// The new block, /16 to /28.
    pub cidr_block: Cidr,
}

/// DisassociateVpcCidrBlock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DisassociateVpcCidrBlock {
    /// The association, not the primary one; no subnet may be left in the block.
    pub association_id: AssociationId,
}

/// CreateSubnet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateSubnet {
    /// The VPC.
    pub vpc_id: VpcId,
    /// Its block, inside one usable block of the VPC.
    pub cidr_block: Cidr,
    /// The zone's name; the first zone when neither name nor id is given.
    pub availability_zone: Option<String>,
    /// The zone's id.
    pub availability_zone_id: Option<String>,
    /// Tags (`subnet`).
    pub tag_specifications: Vec<TagSpecification>,
}

/// DeleteSubnet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteSubnet {
    /// The subnet; no interface may be left in it.
    pub subnet_id: SubnetId,
}

/// ModifySubnetAttribute: exactly one attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModifySubnetAttribute {
    /// The subnet.
    pub subnet_id: SubnetId,
    /// What changes.
    pub attribute: SubnetAttribute,
}

/// The attribute of a subnet that changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubnetAttribute {
    /// `MapPublicIpOnLaunch`.
    MapPublicIpOnLaunch(bool),
    /// `AssignIpv6AddressOnCreation`.
    AssignIpv6AddressOnCreation(bool),
    /// `EnableDns64`.
    EnableDns64(bool),
    /// `PrivateDnsHostnameTypeOnLaunch`: `ip-name` or `resource-name`.
    PrivateDnsHostnameTypeOnLaunch(String),
}

/// CreateSubnetCidrReservation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateSubnetCidrReservation {
    /// The subnet.
    pub subnet_id: SubnetId,
    /// The part of it.
    pub cidr: Cidr,
    /// Its use.
    pub reservation_type: ReservationType,
    /// The caller's note.
    pub description: Option<String>,
    /// Tags (`subnet-cidr-reservation`).
    pub tag_specifications: Vec<TagSpecification>,
}

/// GetSubnetCidrReservations: of one subnet, with filters and paging.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GetSubnetCidrReservations {
    /// The subnet.
    pub subnet_id: SubnetId,
    /// Filters and paging; its `ids` must be empty.
    pub describe: super::Describe<ReservationId>,
}

/// DeleteSubnetCidrReservation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteSubnetCidrReservation {
    /// The reservation.
    pub subnet_cidr_reservation_id: ReservationId,
}

/// CreateSecurityGroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateSecurityGroup {
    /// Its name, unique in the VPC, not starting with `sg-`.
    pub group_name: String,
    /// The caller's note; required.
    pub description: String,
    /// The VPC.
    pub vpc_id: VpcId,
    /// Tags (`security-group`).
    pub tag_specifications: Vec<TagSpecification>,
}

/// DeleteSecurityGroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteSecurityGroup {
    /// The group; no interface may use it.
    pub group_id: SecurityGroupId,
}

/// CreateRouteTable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateRouteTable {
    /// The VPC.
    pub vpc_id: VpcId,
    /// Tags (`route-table`).
    pub tag_specifications: Vec<TagSpecification>,
}

/// DeleteRouteTable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteRouteTable {
    /// The table; not the main one, and no subnet may be associated.
    pub route_table_id: RouteTableId,
}

/// AssociateRouteTable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssociateRouteTable {
    /// The table.
    pub route_table_id: RouteTableId,
    /// The subnet; it must not be associated yet.
    pub subnet_id: SubnetId,
}

/// DisassociateRouteTable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DisassociateRouteTable {
    /// The association; not the main one.
    pub association_id: AssociationId,
}

/// ReplaceRouteTableAssociation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplaceRouteTableAssociation {
    /// The association; the main one makes the new table the main one.
    pub association_id: AssociationId,
    /// The new table, of the same VPC.
    pub route_table_id: RouteTableId,
}

/// CreateRoute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateRoute {
    /// The table.
    pub route_table_id: RouteTableId,
    /// Where to.
    pub destination_cidr_block: Cidr,
    /// Through what; not [`RouteTarget::Local`].
    pub target: RouteTarget,
}

/// DeleteRoute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteRoute {
    /// The table.
    pub route_table_id: RouteTableId,
    /// Exactly the route's destination; not that of a local route.
    pub destination_cidr_block: Cidr,
}

/// CreateInternetGateway.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CreateInternetGateway {
    /// Tags (`internet-gateway`).
    pub tag_specifications: Vec<TagSpecification>,
}

/// AttachInternetGateway and DetachInternetGateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InternetGatewayAttachment {
    /// The gateway.
    pub internet_gateway_id: GatewayId,
    /// The VPC.
    pub vpc_id: VpcId,
}

/// DeleteInternetGateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteInternetGateway {
    /// The gateway; it must be attached to no VPC.
    pub internet_gateway_id: GatewayId,
}

/// CreateVpcPeeringConnection, between two VPCs of this cloud.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateVpcPeeringConnection {
    /// The requester.
    pub vpc_id: VpcId,
    /// The accepter.
    pub peer_vpc_id: VpcId,
    /// Tags (`vpc-peering-connection`).
    pub tag_specifications: Vec<TagSpecification>,
}

/// AcceptVpcPeeringConnection and DeleteVpcPeeringConnection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VpcPeeringConnectionRef {
    /// The connection.
    pub vpc_peering_connection_id: PeeringId,
}
