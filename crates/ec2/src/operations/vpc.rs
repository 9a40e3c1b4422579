//! VPCs, their CIDR blocks, peerings, and availability zones.

use std::collections::BTreeMap;

use freeboard_address::{AssociationId, Cidr, VpcId};
use serde::Deserialize;

use super::{PAGE_SIZE, page};
use crate::action::Action;
use crate::client::{Ec2Client, Operation};
use crate::error::Ec2Error;
use crate::query::{Filter, Parameters};
use crate::xml::{items, open_enum, tags};

open_enum! {
    /// How far the association of a CIDR block with a VPC has come.
    CidrBlockState {
        /// On its way; subnets cannot be created in it yet.
        Associating = "associating",
        /// Usable.
        Associated = "associated",
        /// On its way out.
        Disassociating = "disassociating",
        /// Gone; shown for a while.
        Disassociated = "disassociated",
        /// About to be refused.
        Failing = "failing",
        /// Refused.
        Failed = "failed",
    }
}

/// A virtual private cloud.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Vpc {
    /// Its id.
    #[serde(rename = "vpcId")]
    pub id: VpcId,
    /// The primary block.
    #[serde(rename = "cidrBlock")]
    pub primary_cidr: Cidr,
    /// All IPv4 blocks, the primary included.
    #[serde(rename = "cidrBlockAssociationSet", default, deserialize_with = "items")]
    pub cidr_associations: Vec<VpcCidrAssociation>,
    /// `pending`, `available` or `deleting`.
    #[serde(default)]
    pub state: String,
    /// Whether it is the Region's default VPC.
    #[serde(default)]
    pub is_default: bool,
    /// The account that owns it.
    #[serde(default)]
    pub owner_id: String,
    /// Its tags.
    #[serde(rename = "tagSet", default, deserialize_with = "tags")]
    pub tags: BTreeMap<String, String>,
}

impl Vpc {
    /// The blocks that can be used, in the order in which EC2 gives them.
    pub fn associated_cidrs(&self) -> impl Iterator<Item = Cidr> + '_ {
        self.cidr_associations
            .iter()
            .filter(|association| association.state.state == CidrBlockState::Associated)
            .map(|association| association.cidr)
    }
}

/// The association of an IPv4 block with a VPC.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct VpcCidrAssociation {
    /// Its id.
    #[serde(rename = "associationId")]
    pub id: AssociationId,
    /// The block.
    #[serde(rename = "cidrBlock")]
    pub cidr: Cidr,
    /// How far it has come.
    #[serde(rename = "cidrBlockState")]
    pub state: CidrBlockStatus,
}

/// The state of an association, with EC2's explanation.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CidrBlockStatus {
    /// The state.
    pub state: CidrBlockState,
    /// Why it failed, if it did.
    #[serde(default)]
    pub status_message: Option<String>,
}

/// Lists VPCs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DescribeVpcs {
    /// Only these; all when empty.
    pub vpcs: Vec<VpcId>,
    /// Only those that pass.
    pub filters: Vec<Filter>,
}

page!(DescribeVpcsAnswer, "vpcSet", Vpc);

impl Operation for DescribeVpcs {
    const ACTION: Action = Action::DescribeVpcs;
    type Answer = DescribeVpcsAnswer;

    fn parameters(&self) -> Parameters {
        Parameters::describe("VpcId", &self.vpcs, &self.filters, Some(PAGE_SIZE))
    }
}

/// Adds an IPv4 block to a VPC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssociateVpcCidrBlock {
    /// The VPC.
    pub vpc: VpcId,
    /// The block, /16 to /28.
    pub cidr: Cidr,
}

/// The answer of both CIDR block actions.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CidrAssociationAnswer {
    cidr_block_association: VpcCidrAssociation,
}

impl Operation for AssociateVpcCidrBlock {
    const ACTION: Action = Action::AssociateVpcCidrBlock;
    type Answer = CidrAssociationAnswer;

    fn parameters(&self) -> Parameters {
        let mut parameters = Parameters::default();
        parameters.set("VpcId", &self.vpc);
        parameters.set("CidrBlock", self.cidr);
        parameters
    }
}

/// Takes an IPv4 block away from a VPC; no subnet may be left in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DisassociateVpcCidrBlock {
    /// The association.
    pub association: AssociationId,
}

impl Operation for DisassociateVpcCidrBlock {
    const ACTION: Action = Action::DisassociateVpcCidrBlock;
    type Answer = CidrAssociationAnswer;

    fn parameters(&self) -> Parameters {
        let mut parameters = Parameters::default();
        parameters.set("AssociationId", &self.association);
        parameters
    }
}

/// One side of a peering.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PeeringSide {
    /// The VPC.
    #[serde(default)]
    pub vpc_id: Option<VpcId>,
    /// The account.
    #[serde(default)]
    pub owner_id: String,
    /// The Region.
    #[serde(default)]
    pub region: String,
    /// All its IPv4 blocks; empty before the peering is accepted.
    #[serde(rename = "cidrBlockSet", default, deserialize_with = "items")]
    pub cidrs: Vec<PeeringCidr>,
}

/// A block of one side of a peering.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct PeeringCidr {
    /// The block.
    #[serde(rename = "cidrBlock")]
    pub cidr: Cidr,
}

/// The state of a peering, with EC2's explanation.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct PeeringStatus {
    /// `active`, `pending-acceptance`, `deleted` …
    pub code: String,
    /// The explanation.
    #[serde(default)]
    pub message: String,
}

/// A peering of two VPCs.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VpcPeering {
    /// Its id, `pcx-…`.
    #[serde(rename = "vpcPeeringConnectionId")]
    pub id: String,
    /// Its state.
    pub status: PeeringStatus,
    /// The side that asked for it.
    #[serde(rename = "requesterVpcInfo")]
    pub requester: PeeringSide,
    /// The side that was asked.
    #[serde(rename = "accepterVpcInfo")]
    pub accepter: PeeringSide,
    /// Its tags.
    #[serde(rename = "tagSet", default, deserialize_with = "tags")]
    pub tags: BTreeMap<String, String>,
}

/// Lists VPC peerings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DescribeVpcPeeringConnections {
    /// Only those that pass.
    pub filters: Vec<Filter>,
}

page!(DescribeVpcPeeringConnectionsAnswer, "vpcPeeringConnectionSet", VpcPeering);

impl Operation for DescribeVpcPeeringConnections {
    const ACTION: Action = Action::DescribeVpcPeeringConnections;
    type Answer = DescribeVpcPeeringConnectionsAnswer;

    fn parameters(&self) -> Parameters {
        Parameters::describe("VpcPeeringConnectionId", &[] as &[String], &self.filters, Some(PAGE_SIZE))
    }
}

/// An availability zone.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AvailabilityZone {
    /// Its name in this account, for example `ap-southeast-2a`.
    pub zone_name: String,
    /// Its id in all accounts, for example `apse2-az1`.
    #[serde(default)]
    pub zone_id: String,
    /// `available`, `information`, `impaired` or `unavailable`.
    #[serde(default)]
    pub zone_state: String,
    /// Its Region.
    #[serde(default)]
    pub region_name: String,
    /// `availability-zone`, `local-zone` or `wavelength-zone`.
    #[serde(default)]
    pub zone_type: String,
}

/// Lists availability zones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DescribeAvailabilityZones {
    /// Only zones of these names; all when empty.
    pub zone_names: Vec<String>,
    /// Only those that pass.
    pub filters: Vec<Filter>,
}

/// The zones; this action has no pages.
#[derive(Debug, Deserialize)]
pub(crate) struct DescribeAvailabilityZonesAnswer {
    #[serde(rename = "availabilityZoneInfo", default, deserialize_with = "items")]
    zones: Vec<AvailabilityZone>,
}

impl Operation for DescribeAvailabilityZones {
    const ACTION: Action = Action::DescribeAvailabilityZones;
    type Answer = DescribeAvailabilityZonesAnswer;

    fn parameters(&self) -> Parameters {
        Parameters::describe("ZoneName", &self.zone_names, &self.filters, None)
    }
}

impl Ec2Client {
    /// Lists VPCs.
    ///
    /// # Errors
    /// Any [`Ec2Error`]; `NotFound` when a VPC that was asked for does not exist.
    pub async fn describe_vpcs(&self, request: &DescribeVpcs) -> Result<Vec<Vpc>, Ec2Error> {
        self.pages(request).await
    }

    /// Adds an IPv4 block to a VPC. The answer's state is usually `associating`: describe until it is `associated`.
    ///
    /// # Errors
    /// Any [`Ec2Error`]; after `Uncertain`, describe the VPC before trying again.
    pub async fn associate_vpc_cidr_block(
        &self,
        request: &AssociateVpcCidrBlock,
    ) -> Result<VpcCidrAssociation, Ec2Error> {
        self.call(request).await.map(|answer| answer.cidr_block_association)
    }

    /// Takes an IPv4 block away from a VPC.
    ///
    /// # Errors
    /// Any [`Ec2Error`]; `InUse` while a subnet is left in it.
    pub async fn disassociate_vpc_cidr_block(
        &self,
        request: &DisassociateVpcCidrBlock,
    ) -> Result<VpcCidrAssociation, Ec2Error> {
        self.call(request).await.map(|answer| answer.cidr_block_association)
    }

    /// Lists VPC peerings.
    ///
    /// # Errors
    /// Any [`Ec2Error`].
    pub async fn describe_vpc_peering_connections(
        &self,
        request: &DescribeVpcPeeringConnections,
    ) -> Result<Vec<VpcPeering>, Ec2Error> {
        self.pages(request).await
    }

    /// Lists availability zones.
    ///
    /// # Errors
    /// Any [`Ec2Error`].
    pub async fn describe_availability_zones(
        &self,
        request: &DescribeAvailabilityZones,
    ) -> Result<Vec<AvailabilityZone>, Ec2Error> {
        self.call(request).await.map(|answer| answer.zones)
    }
}
