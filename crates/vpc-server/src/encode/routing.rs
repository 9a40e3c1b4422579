//! Route tables, internet gateways and peering connections on the wire.

use freeboard_vpc::{
    InternetGateway, PeeringConnection, PeeringSide, Route, RouteTable, RouteTableAssociation, RouteTarget,
};

use super::tags;
use crate::xml::{Encode, Xml, time};

impl Encode for RouteTable {
    fn encode(&self, xml: &mut Xml) {
        xml.text("routeTableId", &self.route_table_id);
        xml.text("vpcId", &self.vpc_id);
        xml.text("ownerId", &self.owner_id);
        xml.values("routeSet", &self.routes);
        xml.values("associationSet", &self.associations);
        xml.element("propagatingVgwSet", |_| ());
        tags(xml, &self.tags);
    }
}

impl Encode for Route {
    fn encode(&self, xml: &mut Xml) {
        xml.text("destinationCidrBlock", self.destination_cidr_block);
        match &self.target {
            RouteTarget::Local => xml.text("gatewayId", "local"),
            RouteTarget::Gateway(id) => xml.text("gatewayId", id),
            RouteTarget::NatGateway(id) => xml.text("natGatewayId", id),
            RouteTarget::TransitGateway(id) => xml.text("transitGatewayId", id),
            RouteTarget::Peering(id) => xml.text("vpcPeeringConnectionId", id),
            RouteTarget::Interface(id) => xml.text("networkInterfaceId", id),
            RouteTarget::Instance(id) => xml.text("instanceId", id),
        }
        xml.text("state", self.state);
        xml.text("origin", self.origin);
    }
}

impl Encode for RouteTableAssociation {
    fn encode(&self, xml: &mut Xml) {
        xml.text("routeTableAssociationId", &self.association_id);
        xml.text("routeTableId", &self.route_table_id);
        xml.optional("subnetId", self.subnet_id.as_ref());
        xml.text("main", self.main);
        association_state(xml);
    }
}

/// Associations of route tables take effect at once, so there is one state only.
pub(crate) fn association_state(xml: &mut Xml) {
    xml.element("associationState", |xml| xml.text("state", "associated"));
}

impl Encode for InternetGateway {
    fn encode(&self, xml: &mut Xml) {
        xml.text("internetGatewayId", &self.internet_gateway_id);
        xml.text("ownerId", &self.owner_id);
        xml.list("attachmentSet", &self.vpc_id, |xml, vpc| {
            xml.text("vpcId", vpc);
            xml.text("state", "available");
        });
        tags(xml, &self.tags);
    }
}

impl Encode for PeeringConnection {
    fn encode(&self, xml: &mut Xml) {
        xml.text("vpcPeeringConnectionId", &self.vpc_peering_connection_id);
        xml.element("status", |xml| {
            xml.text("code", self.status);
            xml.text("message", self.status.message());
        });
        xml.value("requesterVpcInfo", &self.requester);
        xml.value("accepterVpcInfo", &self.accepter);
        xml.optional("expirationTime", self.expiration_time.map(time));
        tags(xml, &self.tags);
    }
}

impl Encode for PeeringSide {
    fn encode(&self, xml: &mut Xml) {
        xml.text("ownerId", &self.owner_id);
        xml.text("vpcId", &self.vpc_id);
        xml.text("region", &self.region);
        xml.text("cidrBlock", self.cidr_block);
        xml.list("cidrBlockSet", &self.cidr_blocks, |xml, block| xml.text("cidrBlock", block));
    }
}
