//! Route tables and security groups.

use std::collections::BTreeMap;

use freeboard_address::{AssociationId, Cidr, EniId, RouteTableId, SecurityGroupId, SubnetId, VpcId};
use serde::Deserialize;

use super::{Done, PAGE_SIZE, SMALL_PAGE_SIZE, page};
use crate::action::Action;
use crate::client::{Ec2Client, Operation};
use crate::error::Ec2Error;
use crate::query::{Filter, Parameters};
use crate::xml::{items, open_enum, tags};

open_enum! {
    /// Whether a route leads anywhere.
    RouteState {
        /// It does.
        Active = "active",
        /// Its target is gone.
        Blackhole = "blackhole",
    }
}

/// A route; one of the targets is set.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Route {
    /// The destination, unless it is an IPv6 block or a prefix list.
    #[serde(rename = "destinationCidrBlock", default)]
    pub destination: Option<Cidr>,
    /// `local`, an internet gateway or a virtual private gateway.
    #[serde(default)]
    pub gateway_id: Option<String>,
    /// A NAT gateway.
    #[serde(default)]
    pub nat_gateway_id: Option<String>,
    /// A transit gateway.
    #[serde(default)]
    pub transit_gateway_id: Option<String>,
    /// A peering.
    #[serde(default)]
    pub vpc_peering_connection_id: Option<String>,
    /// An interface.
    #[serde(default)]
    pub network_interface_id: Option<EniId>,
    /// A list of destinations.
    #[serde(default)]
    pub destination_prefix_list_id: Option<String>,
    /// Whether it leads anywhere.
    pub state: RouteState,
}

/// The association of a route table with a subnet.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RouteTableAssociation {
    /// Its id.
    #[serde(rename = "routeTableAssociationId")]
    pub id: AssociationId,
    /// The subnet; none for the main association and for gateways.
    #[serde(rename = "subnetId", default)]
    pub subnet: Option<SubnetId>,
    /// Whether it makes the table the VPC's main one.
    #[serde(default)]
    pub main: bool,
}

/// A route table.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RouteTable {
    /// Its id.
    #[serde(rename = "routeTableId")]
    pub id: RouteTableId,
    /// Its VPC.
    #[serde(rename = "vpcId")]
    pub vpc: VpcId,
    /// Its routes.
    #[serde(rename = "routeSet", default, deserialize_with = "items")]
    pub routes: Vec<Route>,
    /// Its explicit associations; a subnet on the main table by default is in none.
    #[serde(rename = "associationSet", default, deserialize_with = "items")]
    pub associations: Vec<RouteTableAssociation>,
    /// Its tags.
    #[serde(rename = "tagSet", default, deserialize_with = "tags")]
    pub tags: BTreeMap<String, String>,
}

/// Lists route tables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DescribeRouteTables {
    /// Only these; all when empty.
    pub route_tables: Vec<RouteTableId>,
    /// Only those that pass.
    pub filters: Vec<Filter>,
}

page!(DescribeRouteTablesAnswer, "routeTableSet", RouteTable);

impl Operation for DescribeRouteTables {
    const ACTION: Action = Action::DescribeRouteTables;
    type Answer = DescribeRouteTablesAnswer;

    fn parameters(&self) -> Parameters {
        Parameters::describe("RouteTableId", &self.route_tables, &self.filters, Some(SMALL_PAGE_SIZE))
    }
}

/// Puts a subnet on a route table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssociateRouteTable {
    /// The route table.
    pub route_table: RouteTableId,
    /// The subnet.
    pub subnet: SubnetId,
}

/// The answer of `AssociateRouteTable`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AssociateRouteTableAnswer {
    association_id: AssociationId,
}

impl Operation for AssociateRouteTable {
    const ACTION: Action = Action::AssociateRouteTable;
    type Answer = AssociateRouteTableAnswer;

    fn parameters(&self) -> Parameters {
        let mut parameters = Parameters::default();
        parameters.set("RouteTableId", &self.route_table);
        parameters.set("SubnetId", &self.subnet);
        parameters
    }
}

/// Puts a subnet back on the VPC's main route table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DisassociateRouteTable {
    /// The association.
    pub association: AssociationId,
}

impl Operation for DisassociateRouteTable {
    const ACTION: Action = Action::DisassociateRouteTable;
    type Answer = Done;

    fn parameters(&self) -> Parameters {
        let mut parameters = Parameters::default();
        parameters.set("AssociationId", &self.association);
        parameters
    }
}

/// A source or destination of a security group rule.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CidrRule {
    /// The block; text, because a rule may hold host bits.
    pub cidr_ip: String,
    /// The description given with it.
    #[serde(default)]
    pub description: Option<String>,
}

/// Another group as source or destination of a rule.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupRule {
    /// The group.
    #[serde(default)]
    pub group_id: Option<SecurityGroupId>,
    /// Its account.
    #[serde(default)]
    pub user_id: Option<String>,
}

/// What a security group lets pass.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Permission {
    /// `tcp`, `udp`, `icmp`, a protocol number, or `-1` for all.
    pub ip_protocol: String,
    /// The first port, or the ICMP type; none for all.
    #[serde(default)]
    pub from_port: Option<i32>,
    /// The last port, or the ICMP code; none for all.
    #[serde(default)]
    pub to_port: Option<i32>,
    /// IPv4 blocks.
    #[serde(rename = "ipRanges", default, deserialize_with = "items")]
    pub cidrs: Vec<CidrRule>,
    /// Groups.
    #[serde(default, deserialize_with = "items")]
    pub groups: Vec<GroupRule>,
}

/// A security group.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecurityGroup {
    /// Its id.
    #[serde(rename = "groupId")]
    pub id: SecurityGroupId,
    /// Its name.
    #[serde(rename = "groupName")]
    pub name: String,
    /// Its description.
    #[serde(rename = "groupDescription", default)]
    pub description: String,
    /// Its VPC.
    #[serde(rename = "vpcId", default)]
    pub vpc: Option<VpcId>,
    /// What may come in.
    #[serde(rename = "ipPermissions", default, deserialize_with = "items")]
    pub ingress: Vec<Permission>,
    /// What may go out.
    #[serde(rename = "ipPermissionsEgress", default, deserialize_with = "items")]
    pub egress: Vec<Permission>,
    /// Its tags.
    #[serde(rename = "tagSet", default, deserialize_with = "tags")]
    pub tags: BTreeMap<String, String>,
}

/// Lists security groups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DescribeSecurityGroups {
    /// Only these; all when empty.
    pub groups: Vec<SecurityGroupId>,
    /// Only those that pass.
    pub filters: Vec<Filter>,
}

page!(DescribeSecurityGroupsAnswer, "securityGroupInfo", SecurityGroup);

impl Operation for DescribeSecurityGroups {
    const ACTION: Action = Action::DescribeSecurityGroups;
    type Answer = DescribeSecurityGroupsAnswer;

    fn parameters(&self) -> Parameters {
        Parameters::describe("GroupId", &self.groups, &self.filters, Some(PAGE_SIZE))
    }
}

impl Ec2Client {
    /// Lists route tables.
    ///
    /// # Errors
    /// Any [`Ec2Error`]; `NotFound` when a table that was asked for does not exist.
    pub async fn describe_route_tables(&self, request: &DescribeRouteTables) -> Result<Vec<RouteTable>, Ec2Error> {
        self.pages(request).await
    }

    /// Puts a subnet on a route table; returns the association.
    ///
    /// # Errors
    /// Any [`Ec2Error`]; `Conflict` when the subnet has an explicit association already.
    pub async fn associate_route_table(&self, request: &AssociateRouteTable) -> Result<AssociationId, Ec2Error> {
        self.call(request).await.map(|answer| answer.association_id)
    }

    /// Puts a subnet back on the VPC's main route table.
    ///
    /// # Errors
    /// Any [`Ec2Error`].
    pub async fn disassociate_route_table(&self, request: &DisassociateRouteTable) -> Result<(), Ec2Error> {
        self.call(request).await.map(|Done {}| ())
    }

    /// Lists security groups.
    ///
    /// # Errors
    /// Any [`Ec2Error`]; `NotFound` when a group that was asked for does not exist.
    pub async fn describe_security_groups(
        &self,
        request: &DescribeSecurityGroups,
    ) -> Result<Vec<SecurityGroup>, Ec2Error> {
        self.pages(request).await
    }
}
