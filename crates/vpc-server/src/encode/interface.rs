//! Network interfaces on the wire, as themselves and as part of an instance.

use freeboard_vpc::{AssignResult, AttachResult, InterfaceAttachment, NetworkInterface, PrivateIpAddress};

use super::tags;
use crate::xml::{Encode, Xml, time};

impl Encode for NetworkInterface {
    fn encode(&self, xml: &mut Xml) {
        common(self, xml);
        xml.text("availabilityZone", &self.availability_zone);
        xml.optional("requesterId", self.requester_id.as_deref());
        xml.text("requesterManaged", self.requester_managed);
        if let Some(attachment) = &self.attachment {
            xml.element("attachment", |xml| {
                xml.optional("instanceId", attachment.instance_id.as_ref());
                xml.text("instanceOwnerId", &attachment.instance_owner_id);
                attachment.encode(xml);
            });
        }
        tags(xml, &self.tags);
    }
}

/// An interface as an item of an instance's `networkInterfaceSet`: without zone, requester and tags, and with an attachment
/// that does not repeat the instance.
pub(super) fn of_instance(xml: &mut Xml, interface: &NetworkInterface) {
    common(interface, xml);
    if let Some(attachment) = &interface.attachment {
        xml.value("attachment", attachment);
    }
}

fn common(interface: &NetworkInterface, xml: &mut Xml) {
    xml.text("networkInterfaceId", &interface.network_interface_id);
    xml.text("subnetId", &interface.subnet_id);
    xml.text("vpcId", &interface.vpc_id);
    xml.text("description", &interface.description);
    xml.text("ownerId", &interface.owner_id);
    xml.text("status", interface.status);
    xml.text("macAddress", interface.mac_address);
    xml.text("interfaceType", &interface.interface_type);
    xml.text("privateIpAddress", interface.private_ip_address);
    xml.text("privateDnsName", &interface.private_dns_name);
    xml.text("sourceDestCheck", interface.source_dest_check);
    xml.values("groupSet", &interface.groups);
    xml.values("privateIpAddressesSet", &interface.private_ip_addresses);
    if !interface.ipv4_prefixes.is_empty() {
        xml.list("ipv4PrefixSet", &interface.ipv4_prefixes, |xml, prefix| xml.text("ipv4Prefix", prefix));
    }
    xml.element("ipv6AddressesSet", |_| ());
}

impl Encode for InterfaceAttachment {
    fn encode(&self, xml: &mut Xml) {
        xml.text("attachmentId", &self.attachment_id);
        xml.text("deviceIndex", self.device_index);
        xml.text("networkCardIndex", self.network_card_index);
        xml.text("status", self.status);
        xml.text("attachTime", time(self.attach_time));
        xml.text("deleteOnTermination", self.delete_on_termination);
    }
}

impl Encode for PrivateIpAddress {
    fn encode(&self, xml: &mut Xml) {
        xml.text("privateIpAddress", self.private_ip_address);
        xml.text("primary", self.primary);
        xml.text("privateDnsName", &self.private_dns_name);
    }
}

impl Encode for AttachResult {
    fn encode(&self, xml: &mut Xml) {
        xml.text("attachmentId", &self.attachment_id);
        xml.text("networkCardIndex", self.network_card_index);
    }
}

impl Encode for AssignResult {
    fn encode(&self, xml: &mut Xml) {
        xml.text("networkInterfaceId", &self.network_interface_id);
        xml.list("assignedPrivateIpAddressesSet", &self.assigned_private_ip_addresses, |xml, address| {
            xml.text("privateIpAddress", address);
        });
        xml.list("assignedIpv4PrefixSet", &self.assigned_ipv4_prefixes, |xml, prefix| xml.text("ipv4Prefix", prefix));
        xml.done();
    }
}
