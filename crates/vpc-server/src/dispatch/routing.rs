//! Actions about route tables, internet gateways and peering connections.

use freeboard_address::{AssociationId, EniId, InstanceId, RouteTableId, SubnetId, VpcId};
use freeboard_vpc::{
    ApiError, AssociateRouteTable, Cloud, CreateInternetGateway, CreateRoute, CreateRouteTable,
    CreateVpcPeeringConnection, DeleteInternetGateway, DeleteRoute, DeleteRouteTable, DisassociateRouteTable,
    GatewayId, InternetGatewayAttachment, PeeringId, ReplaceRouteTableAssociation, RouteTarget,
    VpcPeeringConnectionRef,
};

use super::network::exactly_one;
use super::{Action, change, confirm, describe, show, tag_specifications};
use crate::encode::association_state;
use crate::query::Query;

pub(super) const ACTIONS: &[Action] = &[
    Action::new("DescribeRouteTables", |query| {
        let request = describe(query, "RouteTableId", |id| RouteTableId::new(id))?;
        Ok(show(request, Cloud::describe_route_tables, "routeTableSet"))
    }),
    Action::new("CreateRouteTable", |query| {
        // SDKs send one on their own; a repeated request makes a second table here.
        query.ignore("ClientToken");
        let vpc_id = VpcId::new(query.required("VpcId")?);
        let request = CreateRouteTable { vpc_id, tag_specifications: tag_specifications(query)? };
        Ok(change(request, Cloud::create_route_table, |table, xml| xml.value("routeTable", table)))
    }),
    Action::new("DeleteRouteTable", |query| {
        Ok(confirm(DeleteRouteTable { route_table_id: route_table(query)? }, Cloud::delete_route_table))
    }),
    Action::new("AssociateRouteTable", |query| {
        let subnet_id = SubnetId::new(query.required("SubnetId")?);
        let request = AssociateRouteTable { route_table_id: route_table(query)?, subnet_id };
        Ok(change(request, Cloud::associate_route_table, |association, xml| {
            xml.text("associationId", &association.association_id);
            association_state(xml);
        }))
    }),
    Action::new("DisassociateRouteTable", |query| {
        let request = DisassociateRouteTable { association_id: association(query)? };
        Ok(confirm(request, Cloud::disassociate_route_table))
    }),
    Action::new("ReplaceRouteTableAssociation", |query| {
        let request =
            ReplaceRouteTableAssociation { association_id: association(query)?, route_table_id: route_table(query)? };
        Ok(change(request, Cloud::replace_route_table_association, |association, xml| {
            xml.text("newAssociationId", &association.association_id);
            association_state(xml);
        }))
    }),
    Action::new("CreateRoute", |query| Ok(confirm(create_route(query)?, Cloud::create_route))),
    Action::new("DeleteRoute", |query| {
        let destination_cidr_block = destination(query)?;
        Ok(confirm(DeleteRoute { route_table_id: route_table(query)?, destination_cidr_block }, Cloud::delete_route))
    }),
    Action::new("DescribeInternetGateways", |query| {
        let request = describe(query, "InternetGatewayId", |id| GatewayId::new(id))?;
        Ok(show(request, Cloud::describe_internet_gateways, "internetGatewaySet"))
    }),
    Action::new("CreateInternetGateway", |query| {
        let request = CreateInternetGateway { tag_specifications: tag_specifications(query)? };
        Ok(change(request, Cloud::create_internet_gateway, |gateway, xml| xml.value("internetGateway", gateway)))
    }),
    Action::new("AttachInternetGateway", |query| {
        Ok(confirm(gateway_attachment(query)?, Cloud::attach_internet_gateway))
    }),
    Action::new("DetachInternetGateway", |query| {
        Ok(confirm(gateway_attachment(query)?, Cloud::detach_internet_gateway))
    }),
    Action::new("DeleteInternetGateway", |query| {
        let internet_gateway_id = GatewayId::new(query.required("InternetGatewayId")?);
        Ok(confirm(DeleteInternetGateway { internet_gateway_id }, Cloud::delete_internet_gateway))
    }),
    Action::new("DescribeVpcPeeringConnections", |query| {
        let request = describe(query, "VpcPeeringConnectionId", |id| PeeringId::new(id))?;
        Ok(show(request, Cloud::describe_vpc_peering_connections, "vpcPeeringConnectionSet"))
    }),
    Action::new("CreateVpcPeeringConnection", |query| {
        Ok(change(create_peering(query)?, Cloud::create_vpc_peering_connection, |peering, xml| {
            xml.value("vpcPeeringConnection", peering);
        }))
    }),
    Action::new("AcceptVpcPeeringConnection", |query| {
        Ok(change(peering(query)?, Cloud::accept_vpc_peering_connection, |peering, xml| {
            xml.value("vpcPeeringConnection", peering);
        }))
    }),
    Action::new("DeleteVpcPeeringConnection", |query| {
        Ok(confirm(peering(query)?, Cloud::delete_vpc_peering_connection))
    }),
];

fn route_table(query: &Query) -> Result<RouteTableId, ApiError> {
    query.required("RouteTableId").map(RouteTableId::new)
}

fn association(query: &Query) -> Result<AssociationId, ApiError> {
    query.required("AssociationId").map(AssociationId::new)
}

fn destination(query: &Query) -> Result<freeboard_address::Cidr, ApiError> {
    query.block("DestinationCidrBlock")?.ok_or_else(|| ApiError::missing_parameter("DestinationCidrBlock"))
}

fn create_route(query: &Query) -> Result<CreateRoute, ApiError> {
    let target = exactly_one([
        query.text("GatewayId").map(|id| RouteTarget::Gateway(GatewayId::new(id))),
        query.text("NatGatewayId").map(|id| RouteTarget::NatGateway(id.to_owned())),
        query.text("TransitGatewayId").map(|id| RouteTarget::TransitGateway(id.to_owned())),
        query.text("VpcPeeringConnectionId").map(|id| RouteTarget::Peering(PeeringId::new(id))),
        query.text("NetworkInterfaceId").map(|id| RouteTarget::Interface(EniId::new(id))),
        query.text("InstanceId").map(|id| RouteTarget::Instance(InstanceId::new(id))),
    ])?;
    Ok(CreateRoute { route_table_id: route_table(query)?, destination_cidr_block: destination(query)?, target })
}

fn gateway_attachment(query: &Query) -> Result<InternetGatewayAttachment, ApiError> {
    let internet_gateway_id = GatewayId::new(query.required("InternetGatewayId")?);
    Ok(InternetGatewayAttachment { internet_gateway_id, vpc_id: VpcId::new(query.required("VpcId")?) })
}

fn create_peering(query: &Query) -> Result<CreateVpcPeeringConnection, ApiError> {
    query.ignore("PeerRegion");
    query.ignore("PeerOwnerId");
    Ok(CreateVpcPeeringConnection {
        vpc_id: VpcId::new(query.required("VpcId")?),
        peer_vpc_id: VpcId::new(query.required("PeerVpcId")?),
        tag_specifications: tag_specifications(query)?,
    })
}

fn peering(query: &Query) -> Result<VpcPeeringConnectionRef, ApiError> {
    let vpc_peering_connection_id = PeeringId::new(query.required("VpcPeeringConnectionId")?);
    Ok(VpcPeeringConnectionRef { vpc_peering_connection_id })
}
