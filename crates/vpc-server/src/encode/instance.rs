//! Instances, reservations and instance types on the wire.

use freeboard_vpc::{Instance, InstanceState, InstanceStateChange, InstanceType, Reservation};

use super::{interface, tags};
use crate::xml::{Encode, Xml, time};

impl Encode for Reservation {
    fn encode(&self, xml: &mut Xml) {
        xml.text("reservationId", &self.reservation_id);
        xml.text("ownerId", &self.owner_id);
        xml.element("groupSet", |_| ());
        xml.values("instancesSet", &self.instances);
    }
}

impl Encode for Instance {
    fn encode(&self, xml: &mut Xml) {
        xml.text("instanceId", &self.instance_id);
        xml.text("imageId", &self.image_id);
        state(xml, "instanceState", self.state);
        xml.text("privateDnsName", &self.private_dns_name);
        xml.element("dnsName", |_| ());
        xml.text("reason", self.state_reason.as_ref().map_or("", |reason| reason.message.as_str()));
        xml.text("amiLaunchIndex", self.ami_launch_index);
        xml.text("instanceType", &self.instance_type);
        xml.text("launchTime", time(self.launch_time));
        xml.element("placement", |xml| {
            xml.text("availabilityZone", &self.availability_zone);
            xml.text("availabilityZoneId", &self.availability_zone_id);
            xml.element("groupName", |_| ());
            xml.text("tenancy", "default");
        });
        xml.element("monitoring", |xml| xml.text("state", "disabled"));
        xml.optional("subnetId", self.subnet_id.as_ref());
        xml.optional("vpcId", self.vpc_id.as_ref());
        xml.optional("privateIpAddress", self.private_ip_address);
        xml.text("sourceDestCheck", self.source_dest_check);
        xml.values("groupSet", &self.groups);
        if let Some(reason) = &self.state_reason {
            xml.element("stateReason", |xml| {
                xml.text("code", &reason.code);
                xml.text("message", &reason.message);
            });
        }
        xml.text("architecture", &self.architecture);
        // The instance's own element speaks of xen even for nitro machines; the type's element tells them apart.
        xml.text("hypervisor", "xen");
        xml.text("rootDeviceType", "ebs");
        xml.text("rootDeviceName", "/dev/xvda");
        xml.text("clientToken", &self.client_token);
        xml.list("networkInterfaceSet", &self.network_interfaces, interface::of_instance);
        if let Some(profile) = &self.iam_instance_profile {
            xml.element("iamInstanceProfile", |xml| {
                xml.text("arn", &profile.arn);
                xml.text("id", &profile.id);
            });
        }
        metadata_options(self, xml);
        tags(xml, &self.tags);
    }
}

fn metadata_options(instance: &Instance, xml: &mut Xml) {
    let options = &instance.metadata_options;
    xml.element("metadataOptions", |xml| {
        xml.text("state", "applied");
        xml.text("httpTokens", options.http_tokens);
        xml.text("httpPutResponseHopLimit", options.http_put_response_hop_limit);
        xml.text("httpEndpoint", if options.http_endpoint_enabled { "enabled" } else { "disabled" });
    });
}

fn state(xml: &mut Xml, name: &str, state: InstanceState) {
    xml.element(name, |xml| {
        xml.text("code", state.code());
        xml.text("name", state);
    });
}

impl Encode for InstanceStateChange {
    fn encode(&self, xml: &mut Xml) {
        xml.text("instanceId", &self.instance_id);
        state(xml, "currentState", self.current_state);
        state(xml, "previousState", self.previous_state);
    }
}

impl Encode for InstanceType {
    fn encode(&self, xml: &mut Xml) {
        xml.text("instanceType", &self.instance_type);
        xml.text("bareMetal", self.bare_metal);
        xml.optional("hypervisor", self.hypervisor.as_deref());
        if let Some(vcpus) = self.vcpus {
            xml.element("vCpuInfo", |xml| xml.text("defaultVCpus", vcpus));
        }
        xml.element("networkInfo", |xml| {
            xml.text("maximumNetworkInterfaces", self.maximum_network_interfaces);
            xml.text("maximumNetworkCards", self.interfaces_per_network_card.len());
            xml.text("defaultNetworkCardIndex", self.default_network_card_index);
            xml.list(
                "networkCards",
                self.interfaces_per_network_card.iter().enumerate(),
                |xml, (index, interfaces)| {
                    xml.text("networkCardIndex", index);
                    xml.text("maximumNetworkInterfaces", interfaces);
                },
            );
            xml.text("ipv4AddressesPerInterface", self.ipv4_addresses_per_interface);
            xml.text("ipv6AddressesPerInterface", 0);
            xml.text("ipv6Supported", false);
        });
    }
}
