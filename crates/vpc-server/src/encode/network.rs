//! VPCs, subnets, reservations, zones, security groups on the wire.

use freeboard_vpc::{
    AvailabilityZone, IpPermission, SecurityGroup, Subnet, SubnetCidrReservation, Vpc, VpcCidrBlockAssociation,
    VpcCidrBlockAssociationResult,
};

use super::tags;
use crate::xml::{Encode, Xml};

impl Encode for Vpc {
    fn encode(&self, xml: &mut Xml) {
        xml.text("vpcId", &self.vpc_id);
        xml.text("ownerId", &self.owner_id);
        xml.text("state", self.state);
        xml.text("cidrBlock", self.cidr_block);
        xml.values("cidrBlockAssociationSet", &self.cidr_block_associations);
        xml.element("ipv6CidrBlockAssociationSet", |_| ());
        xml.text("dhcpOptionsId", &self.dhcp_options_id);
        xml.text("instanceTenancy", &self.instance_tenancy);
        xml.text("isDefault", self.is_default);
        tags(xml, &self.tags);
    }
}

impl Encode for VpcCidrBlockAssociation {
    fn encode(&self, xml: &mut Xml) {
        xml.text("associationId", &self.association_id);
        xml.text("cidrBlock", self.cidr_block);
        xml.element("cidrBlockState", |xml| {
            xml.text("state", self.state);
            xml.optional("statusMessage", self.status_message.as_deref());
        });
    }
}

impl Encode for VpcCidrBlockAssociationResult {
    fn encode(&self, xml: &mut Xml) {
        xml.text("vpcId", &self.vpc_id);
        xml.value("cidrBlockAssociation", &self.association);
    }
}

impl Encode for Subnet {
    fn encode(&self, xml: &mut Xml) {
        xml.text("subnetId", &self.subnet_id);
        xml.text("subnetArn", &self.subnet_arn);
        xml.text("state", &self.state);
        xml.text("vpcId", &self.vpc_id);
        xml.text("ownerId", &self.owner_id);
        xml.text("cidrBlock", self.cidr_block);
        xml.text("availableIpAddressCount", self.available_ip_address_count);
        xml.text("availabilityZone", &self.availability_zone);
        xml.text("availabilityZoneId", &self.availability_zone_id);
        xml.text("defaultForAz", self.default_for_az);
        xml.text("mapPublicIpOnLaunch", self.map_public_ip_on_launch);
        xml.text("assignIpv6AddressOnCreation", self.assign_ipv6_address_on_creation);
        xml.text("mapCustomerOwnedIpOnLaunch", false);
        xml.text("enableDns64", self.enable_dns64);
        xml.text("ipv6Native", false);
        xml.element("privateDnsNameOptionsOnLaunch", |xml| {
            xml.text("hostnameType", &self.hostname_type);
            xml.text("enableResourceNameDnsARecord", false);
            xml.text("enableResourceNameDnsAAAARecord", false);
        });
        xml.element("ipv6CidrBlockAssociationSet", |_| ());
        tags(xml, &self.tags);
    }
}

impl Encode for SubnetCidrReservation {
    fn encode(&self, xml: &mut Xml) {
        xml.text("subnetCidrReservationId", &self.subnet_cidr_reservation_id);
        xml.text("subnetId", &self.subnet_id);
        xml.text("cidr", self.cidr);
        xml.text("reservationType", self.reservation_type);
        xml.text("ownerId", &self.owner_id);
        xml.optional("description", self.description.as_deref());
        tags(xml, &self.tags);
    }
}

impl Encode for AvailabilityZone {
    fn encode(&self, xml: &mut Xml) {
        xml.text("zoneName", &self.zone_name);
        xml.text("zoneId", &self.zone_id);
        xml.text("zoneState", &self.zone_state);
        xml.text("regionName", &self.region_name);
        xml.text("zoneType", &self.zone_type);
        xml.text("groupName", &self.group_name);
        xml.text("optInStatus", &self.opt_in_status);
        xml.text("networkBorderGroup", &self.network_border_group);
        xml.element("messageSet", |_| ());
    }
}

impl Encode for SecurityGroup {
    fn encode(&self, xml: &mut Xml) {
        xml.text("groupId", &self.group_id);
        xml.text("groupName", &self.group_name);
        xml.text("groupDescription", &self.group_description);
        xml.text("vpcId", &self.vpc_id);
        xml.text("ownerId", &self.owner_id);
        xml.text("securityGroupArn", &self.security_group_arn);
        xml.list("ipPermissions", &self.ip_permissions, |xml, rule| permission(xml, rule, &self.owner_id));
        xml.list("ipPermissionsEgress", &self.ip_permissions_egress, |xml, rule| permission(xml, rule, &self.owner_id));
        tags(xml, &self.tags);
    }
}

fn permission(xml: &mut Xml, rule: &IpPermission, owner_id: &str) {
    xml.text("ipProtocol", &rule.ip_protocol);
    xml.optional("fromPort", rule.from_port);
    xml.optional("toPort", rule.to_port);
    xml.list("groups", &rule.groups, |xml, group| {
        xml.text("userId", owner_id);
        xml.text("groupId", group);
    });
    xml.list("ipRanges", &rule.ip_ranges, |xml, range| xml.text("cidrIp", range));
    xml.element("ipv6Ranges", |_| ());
    xml.element("prefixListIds", |_| ());
}
