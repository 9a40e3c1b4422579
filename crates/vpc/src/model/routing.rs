//! Route tables, internet gateways, peering connections.

use freeboard_address::{AssociationId, Cidr, EniId, InstanceId, RouteTableId, SubnetId, VpcId};
use jiff::Timestamp;
use serde::Serialize;

use super::{Tag, words};
use crate::ids::{GatewayId, PeeringId};

words! {
    /// Whether a route leads anywhere.
    RouteState {
        /// It does.
        Active = "active",
        /// Its target is gone.
        Blackhole = "blackhole",
    }
}

words! {
    /// What made a route.
    RouteOrigin {
        /// It came with the table.
        CreateRouteTable = "CreateRouteTable",
        /// A caller.
        CreateRoute = "CreateRoute",
    }
}

words! {
    /// The state of a peering connection.
    PeeringStatus {
        /// Asked for.
        InitiatingRequest = "initiating-request",
        /// Waits for the other side.
        PendingAcceptance = "pending-acceptance",
        /// Being made.
        Provisioning = "provisioning",
        /// Carries traffic.
        Active = "active",
        /// Deleted.
        Deleted = "deleted",
        /// Cannot be, for example because blocks overlap.
        Failed = "failed",
    }
}

impl PeeringStatus {
    /// The text EC2 shows with the status.
    #[must_use]
    pub fn message(self) -> &'static str {
        match self {
            Self::InitiatingRequest => "Initiating Request",
            Self::PendingAcceptance => "Pending Acceptance",
            Self::Provisioning => "Provisioning",
            Self::Active => "Active",
            Self::Deleted => "Deleted",
            Self::Failed => "Failed due to incorrect VPC-ID, Account ID, or overlapping CIDR range",
        }
    }
}

/// A route table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RouteTable {
    /// Its id.
    pub route_table_id: RouteTableId,
    /// Its VPC.
    pub vpc_id: VpcId,
    /// The account.
    pub owner_id: String,
    /// Its routes; one `local` route per block of the VPC.
    pub routes: Vec<Route>,
    /// The subnets that use it by name, and the `main` association. A subnet on the main table by default is not listed.
    pub associations: Vec<RouteTableAssociation>,
    /// Its tags.
    pub tags: Vec<Tag>,
}

/// One route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Route {
    /// Where to.
    pub destination_cidr_block: Cidr,
    /// Through what.
    pub target: RouteTarget,
    /// Whether it leads anywhere.
    pub state: RouteState,
    /// What made it.
    pub origin: RouteOrigin,
}

/// Through what a route leads.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RouteTarget {
    /// The VPC itself (`gatewayId` = `local`).
    Local,
    /// An internet gateway.
    Gateway(GatewayId),
    /// A NAT gateway; not simulated, its id is taken as it is.
    NatGateway(String),
    /// A transit gateway; not simulated, its id is taken as it is.
    TransitGateway(String),
    /// A peering connection.
    Peering(PeeringId),
    /// An interface.
    Interface(EniId),
    /// An instance, by its first interface.
    Instance(InstanceId),
}

/// That a subnet uses a table, or that a table is the VPC's main one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RouteTableAssociation {
    /// `rtbassoc-…`.
    pub association_id: AssociationId,
    /// The table.
    pub route_table_id: RouteTableId,
    /// The subnet; none for the main association.
    pub subnet_id: Option<SubnetId>,
    /// Whether this makes the table the VPC's main one.
    pub main: bool,
}

/// An internet gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InternetGateway {
    /// Its id.
    pub internet_gateway_id: GatewayId,
    /// The account.
    pub owner_id: String,
    /// The VPC it is attached to.
    pub vpc_id: Option<VpcId>,
    /// Its tags.
    pub tags: Vec<Tag>,
}

/// A peering connection between two VPCs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PeeringConnection {
    /// Its id.
    pub vpc_peering_connection_id: PeeringId,
    /// Its state.
    pub status: PeeringStatus,
    /// The side that asked.
    pub requester: PeeringSide,
    /// The side that was asked.
    pub accepter: PeeringSide,
    /// When an unanswered request ends.
    pub expiration_time: Option<Timestamp>,
    /// Its tags.
    pub tags: Vec<Tag>,
}

/// One side of a peering connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PeeringSide {
    /// The account.
    pub owner_id: String,
    /// The VPC.
    pub vpc_id: VpcId,
    /// The region.
    pub region: String,
    /// The VPC's primary block.
    pub cidr_block: Cidr,
    /// All blocks of the VPC.
    pub cidr_blocks: Vec<Cidr>,
}
