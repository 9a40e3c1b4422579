//! Which filters each type of resource has.

use crate::filters::Filterable;
use crate::model::{
    AvailabilityZone, GroupIdentifier, Instance, InstanceType, InternetGateway, NetworkInterface, PeeringConnection,
    RouteTable, SecurityGroup, Subnet, SubnetCidrReservation, Tag, TagDescription, Vpc,
};

fn one<Value: ToString + ?Sized>(value: &Value) -> Vec<String> {
    vec![value.to_string()]
}

fn each<Item: ToString>(values: impl IntoIterator<Item = Item>) -> Vec<String> {
    values.into_iter().map(|value| value.to_string()).collect()
}

fn group_ids(groups: &[GroupIdentifier]) -> Vec<String> {
    each(groups.iter().map(|group| &group.group_id))
}

fn group_names(groups: &[GroupIdentifier]) -> Vec<String> {
    each(groups.iter().map(|group| &group.group_name))
}

impl Filterable for Vpc {
    fn filter_values(&self, name: &str) -> Option<Vec<String>> {
        let associations = &self.cidr_block_associations;
        Some(match name {
            "vpc-id" => one(&self.vpc_id),
            "owner-id" => one(&self.owner_id),
            "cidr" | "cidr-block" | "cidrBlock" => one(&self.cidr_block),
            "cidr-block-association.cidr-block" => each(associations.iter().map(|a| a.cidr_block)),
            "cidr-block-association.association-id" => each(associations.iter().map(|a| &a.association_id)),
            "cidr-block-association.state" => each(associations.iter().map(|a| a.state)),
            "state" => one(&self.state),
            "is-default" | "isDefault" => one(&self.is_default),
            "dhcp-options-id" => one(&self.dhcp_options_id),
            _ => return None,
        })
    }

    fn tags(&self) -> Option<&[Tag]> {
        Some(&self.tags)
    }
}

impl Filterable for Subnet {
    fn filter_values(&self, name: &str) -> Option<Vec<String>> {
        Some(match name {
            "subnet-id" => one(&self.subnet_id),
            "subnet-arn" => one(&self.subnet_arn),
            "vpc-id" => one(&self.vpc_id),
            "owner-id" => one(&self.owner_id),
            "availability-zone" | "availabilityZone" => one(&self.availability_zone),
            "availability-zone-id" | "availabilityZoneId" => one(&self.availability_zone_id),
            "cidr-block" | "cidr" | "cidrBlock" => one(&self.cidr_block),
            "state" => one(&self.state),
            "available-ip-address-count" => one(&self.available_ip_address_count),
            "default-for-az" | "defaultForAz" => one(&self.default_for_az),
            "map-public-ip-on-launch" => one(&self.map_public_ip_on_launch),
            _ => return None,
        })
    }

    fn tags(&self) -> Option<&[Tag]> {
        Some(&self.tags)
    }
}

impl Filterable for SubnetCidrReservation {
    fn filter_values(&self, name: &str) -> Option<Vec<String>> {
        Some(match name {
            "reservationType" => one(&self.reservation_type),
            "subnet-id" => one(&self.subnet_id),
            _ => return None,
        })
    }

    fn tags(&self) -> Option<&[Tag]> {
        Some(&self.tags)
    }
}

impl Filterable for NetworkInterface {
    fn filter_values(&self, name: &str) -> Option<Vec<String>> {
        if let Some(name) = name.strip_prefix("attachment.") {
            return self.attachment_values(name);
        }
        Some(match name {
            "network-interface-id" => one(&self.network_interface_id),
            "addresses.private-ip-address" => each(self.private_ip_addresses.iter().map(|a| a.private_ip_address)),
            "addresses.primary" => each(self.private_ip_addresses.iter().map(|a| a.primary)),
            "private-ip-address" => one(&self.private_ip_address),
            "private-dns-name" => one(&self.private_dns_name),
            "ipv4-prefix" | "ipv4-prefixes" => each(&self.ipv4_prefixes),
            "subnet-id" => one(&self.subnet_id),
            "vpc-id" => one(&self.vpc_id),
            "availability-zone" => one(&self.availability_zone),
            "status" => one(&self.status),
            "description" => one(&self.description),
            "group-id" => group_ids(&self.groups),
            "group-name" => group_names(&self.groups),
            "mac-address" => one(&self.mac_address),
            "interface-type" => one(&self.interface_type),
            "owner-id" => one(&self.owner_id),
            "requester-id" => each(&self.requester_id),
            "requester-managed" => one(&self.requester_managed),
            "source-dest-check" => one(&self.source_dest_check),
            _ => return None,
        })
    }

    fn tags(&self) -> Option<&[Tag]> {
        Some(&self.tags)
    }
}

impl NetworkInterface {
    fn attachment_values(&self, name: &str) -> Option<Vec<String>> {
        let attachment = self.attachment.iter();
        Some(match name {
            "attachment-id" => each(attachment.map(|a| &a.attachment_id)),
            "instance-id" => each(attachment.filter_map(|a| a.instance_id.as_ref())),
            "instance-owner-id" => each(attachment.map(|a| &a.instance_owner_id)),
            "device-index" => each(attachment.map(|a| a.device_index)),
            "status" => each(attachment.map(|a| a.status)),
            "delete-on-termination" => each(attachment.map(|a| a.delete_on_termination)),
            "attach-time" => each(attachment.map(|a| a.attach_time)),
            _ => return None,
        })
    }
}

impl Filterable for Instance {
    fn filter_values(&self, name: &str) -> Option<Vec<String>> {
        if let Some(name) = name.strip_prefix("network-interface.") {
            return self.interface_values(name);
        }
        Some(match name {
            "instance-id" => one(&self.instance_id),
            "instance-state-name" => one(&self.state),
            "instance-state-code" => one(&self.state.code()),
            "instance-type" => one(&self.instance_type),
            "image-id" => one(&self.image_id),
            "private-dns-name" => one(&self.private_dns_name),
            "private-ip-address" => each(self.private_ip_address),
            "vpc-id" => each(&self.vpc_id),
            "subnet-id" => each(&self.subnet_id),
            "availability-zone" => one(&self.availability_zone),
            "availability-zone-id" => one(&self.availability_zone_id),
            "owner-id" => one(&self.owner_id),
            "reservation-id" => one(&self.reservation_id),
            "client-token" => one(&self.client_token),
            "architecture" => one(&self.architecture),
            "instance.group-id" => group_ids(&self.groups),
            "instance.group-name" => group_names(&self.groups),
            "launch-time" => one(&self.launch_time),
            _ => return None,
        })
    }

    fn tags(&self) -> Option<&[Tag]> {
        Some(&self.tags)
    }
}

impl Instance {
    fn interface_values(&self, name: &str) -> Option<Vec<String>> {
        let mut values = Vec::new();
        if let Some(name) = name.strip_prefix("addresses.") {
            for address in self.network_interfaces.iter().flat_map(|eni| &eni.private_ip_addresses) {
                values.push(match name {
                    "private-ip-address" => address.private_ip_address.to_string(),
                    "primary" => address.primary.to_string(),
                    _ => return None,
                });
            }
            return Some(values);
        }
        for interface in &self.network_interfaces {
            values.extend(interface.filter_values(name)?);
        }
        Some(values)
    }
}

impl Filterable for InstanceType {
    fn filter_values(&self, name: &str) -> Option<Vec<String>> {
        Some(match name {
            "instance-type" => one(&self.instance_type),
            "hypervisor" => each(&self.hypervisor),
            "bare-metal" => one(&self.bare_metal),
            "network-info.maximum-network-interfaces" => one(&self.maximum_network_interfaces),
            "network-info.ipv4-addresses-per-interface" => one(&self.ipv4_addresses_per_interface),
            "network-info.maximum-network-cards" => one(&self.interfaces_per_network_card.len()),
            "vcpu-info.default-vcpus" => each(self.vcpus),
            _ => return None,
        })
    }

    fn tags(&self) -> Option<&[Tag]> {
        None
    }
}

impl Filterable for AvailabilityZone {
    fn filter_values(&self, name: &str) -> Option<Vec<String>> {
        Some(match name {
            "zone-name" => one(&self.zone_name),
            "zone-id" => one(&self.zone_id),
            "zone-type" => one(&self.zone_type),
            "region-name" => one(&self.region_name),
            "state" => one(&self.zone_state),
            "group-name" => one(&self.group_name),
            "opt-in-status" => one(&self.opt_in_status),
            _ => return None,
        })
    }

    fn tags(&self) -> Option<&[Tag]> {
        None
    }
}

impl Filterable for SecurityGroup {
    fn filter_values(&self, name: &str) -> Option<Vec<String>> {
        Some(match name {
            "group-id" => one(&self.group_id),
            "group-name" => one(&self.group_name),
            "description" => one(&self.group_description),
            "vpc-id" => one(&self.vpc_id),
            "owner-id" => one(&self.owner_id),
            _ => return None,
        })
    }

    fn tags(&self) -> Option<&[Tag]> {
        Some(&self.tags)
    }
}

impl Filterable for RouteTable {
    fn filter_values(&self, name: &str) -> Option<Vec<String>> {
        let associations = self.associations.iter();
        Some(match name {
            "route-table-id" => one(&self.route_table_id),
            "vpc-id" => one(&self.vpc_id),
            "owner-id" => one(&self.owner_id),
            "association.main" => each(associations.map(|a| a.main)),
            "association.subnet-id" => each(associations.filter_map(|a| a.subnet_id.as_ref())),
            "association.route-table-association-id" => each(associations.map(|a| &a.association_id)),
            "association.route-table-id" => each(associations.map(|a| &a.route_table_id)),
            "route.destination-cidr-block" => each(self.routes.iter().map(|route| route.destination_cidr_block)),
            "route.state" => each(self.routes.iter().map(|route| route.state)),
            "route.origin" => each(self.routes.iter().map(|route| route.origin)),
            _ => return None,
        })
    }

    fn tags(&self) -> Option<&[Tag]> {
        Some(&self.tags)
    }
}

impl Filterable for InternetGateway {
    fn filter_values(&self, name: &str) -> Option<Vec<String>> {
        Some(match name {
            "internet-gateway-id" => one(&self.internet_gateway_id),
            "owner-id" => one(&self.owner_id),
            "attachment.vpc-id" => each(&self.vpc_id),
            "attachment.state" => each(self.vpc_id.as_ref().map(|_| "available")),
            _ => return None,
        })
    }

    fn tags(&self) -> Option<&[Tag]> {
        Some(&self.tags)
    }
}

impl Filterable for PeeringConnection {
    fn filter_values(&self, name: &str) -> Option<Vec<String>> {
        Some(match name {
            "vpc-peering-connection-id" => one(&self.vpc_peering_connection_id),
            "status-code" => one(&self.status),
            "status-message" => one(&self.status.message()),
            "requester-vpc-info.vpc-id" => one(&self.requester.vpc_id),
            "requester-vpc-info.cidr-block" => one(&self.requester.cidr_block),
            "requester-vpc-info.owner-id" => one(&self.requester.owner_id),
            "accepter-vpc-info.vpc-id" => one(&self.accepter.vpc_id),
            "accepter-vpc-info.cidr-block" => one(&self.accepter.cidr_block),
            "accepter-vpc-info.owner-id" => one(&self.accepter.owner_id),
            _ => return None,
        })
    }

    fn tags(&self) -> Option<&[Tag]> {
        Some(&self.tags)
    }
}

impl Filterable for TagDescription {
    fn filter_values(&self, name: &str) -> Option<Vec<String>> {
        if let Some(key) = name.strip_prefix("tag:") {
            return Some(if self.key == key { one(&self.value) } else { Vec::new() });
        }
        Some(match name {
            "key" => one(&self.key),
            "value" => one(&self.value),
            "resource-id" => one(&self.resource_id),
            "resource-type" => one(&self.resource_type),
            _ => return None,
        })
    }

    fn tags(&self) -> Option<&[Tag]> {
        None
    }
}
