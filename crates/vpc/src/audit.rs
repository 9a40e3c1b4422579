//! The books must close: every address in exactly one place, every count and limit right.

use std::collections::{BTreeMap, BTreeSet};

use freeboard_address::{Cidr, EniId, FreeSpace, SubnetId};

use crate::cloud::{Cloud, SubnetRecord};
use crate::links::Link;
use crate::model::{InstanceState, InterfaceStatus, NetworkInterface, ReservationType};
use crate::subnet_space::{RESERVED_BY_EC2, is_reserved_by_ec2};

impl Cloud {
    /// Checks that the cloud's books close. For tests, and for whoever suspects the simulation.
    ///
    /// # Errors
    /// One sentence per violation, joined by line feeds.
    pub fn audit(&self) -> Result<(), String> {
        let mut found = Vec::new();
        for (id, record) in &self.subnets {
            self.audit_subnet(id, record, &mut found);
        }
        self.audit_interfaces(&mut found);
        self.audit_instances(&mut found);
        self.audit_blocks(&mut found);
        if found.is_empty() { Ok(()) } else { Err(found.join("\n")) }
    }

    /// Free + owned + kept by EC2 = size; nothing is owned twice, or both owned and free.
    fn audit_subnet(&self, id: &SubnetId, record: &SubnetRecord, found: &mut Vec<String>) {
        let block = record.subnet.cidr_block;
        let mut expected = FreeSpace::all_free(block);
        for address in block.addresses().filter(|address| is_reserved_by_ec2(block, *address)) {
            expected.take(Cidr::host(address));
        }
        let mut owned = 0;
        for interface in self.interfaces.values().filter(|interface| interface.subnet_id == *id) {
            for cidr in interface.cidrs() {
                owned += cidr.size();
                if !expected.take(cidr) {
                    let eni = &interface.network_interface_id;
                    found.push(format!("{cidr} of {eni} is outside {id} ({block}), kept by EC2, or owned twice"));
                }
            }
        }
        if expected != *record.space.free() {
            found.push(format!("the free addresses of {id} are not those that nobody owns"));
        }
        if record.space.free().free_addresses() + owned + RESERVED_BY_EC2 != block.size() {
            found.push(format!("{id}: free + owned + kept by EC2 is not {}", block.size()));
        }
        let in_prefix_reservation = |address: &std::net::Ipv4Addr| {
            let mut prefix = record.reservations.iter().filter(|r| r.reservation_type == ReservationType::Prefix);
            prefix.any(|reservation| reservation.cidr.contains(*address))
        };
        let available = block
            .addresses()
            .filter(|address| expected.is_free(Cidr::host(*address)) && !in_prefix_reservation(address))
            .count();
        if u64::try_from(available) != Ok(record.space.available()) {
            found.push(format!("{id} shows {} available addresses, not {available}", record.space.available()));
        }
    }

    fn audit_interfaces(&self, found: &mut Vec<String>) {
        let mut hardware = BTreeSet::new();
        for (id, interface) in &self.interfaces {
            if !hardware.insert(interface.mac_address) {
                found.push(format!("{id} shares the hardware address {}", interface.mac_address));
            }
            let primary = interface.private_ip_addresses.iter().filter(|address| address.primary).count();
            let first = interface.private_ip_addresses.first().map(|address| address.private_ip_address);
            if primary != 1 || first != Some(interface.private_ip_address) {
                found.push(format!("{id} does not have exactly one primary address, in the first place"));
            }
            if interface.attachment.is_some() != (interface.status == InterfaceStatus::InUse) {
                found.push(format!("{id} is {} but its attachment says otherwise", interface.status));
            }
            if !self.subnets.contains_key(&interface.subnet_id) {
                found.push(format!("{id} is in {}, which does not exist", interface.subnet_id));
            }
        }
        for (id, link) in &self.links {
            let instance = self.interfaces.get(id).and_then(NetworkInterface::instance_id);
            let alive = instance
                .and_then(|instance| self.instances.get(instance))
                .is_some_and(|instance| matches!(instance.state, InstanceState::Running | InstanceState::ShuttingDown));
            if !alive {
                found.push(format!("{id} has a link ({link:?}) in no running machine"));
            }
        }
        self.audit_link_states(found);
    }

    fn audit_link_states(&self, found: &mut Vec<String>) {
        use crate::model::AttachmentStatus::{Attached, Detaching};
        for (id, interface) in &self.interfaces {
            let Some(attachment) = interface.attachment.as_ref().filter(|a| a.instance_id.is_some()) else { continue };
            let link = self.links.get(id);
            if attachment.status == Attached && link != Some(&Link::Ready) && link.is_some_and(|l| *l == Link::Leaving)
            {
                found.push(format!("{id} is attached but its link is leaving"));
            }
            if link == Some(&Link::Leaving) && attachment.status != Detaching {
                found.push(format!("the link of {id} is leaving but it is not detaching"));
            }
        }
    }

    fn audit_instances(&self, found: &mut Vec<String>) {
        let mut by_instance: BTreeMap<&str, Vec<&NetworkInterface>> = BTreeMap::new();
        for interface in self.interfaces.values() {
            if let Some(instance) = interface.instance_id() {
                by_instance.entry(instance.as_str()).or_default().push(interface);
            }
        }
        for (id, instance) in &self.instances {
            let interfaces = by_instance.remove(id.as_str()).unwrap_or_default();
            let Some(limits) = self.limits.get(&instance.instance_type) else {
                found.push(format!("{id} has the unknown type {}", instance.instance_type));
                continue;
            };
            let attachments = || interfaces.iter().filter_map(|interface| interface.attachment.as_ref());
            let places: BTreeSet<(u32, u32)> = attachments().map(|a| (a.network_card_index, a.device_index)).collect();
            if places.len() != interfaces.len() {
                found.push(format!("two interfaces of {id} have the same device index"));
            }
            if over(interfaces.len(), limits.maximum_network_interfaces) {
                found.push(format!("{id} has {} interfaces, too many for {}", interfaces.len(), limits.instance_type));
            }
            let crowded = |eni: &&&NetworkInterface| over(eni.used_slots(), limits.ipv4_addresses_per_interface);
            let crowded: Vec<&EniId> =
                interfaces.iter().filter(crowded).map(|interface| &interface.network_interface_id).collect();
            if !crowded.is_empty() {
                found.push(format!("{crowded:?} of {id} have more addresses than {} allows", limits.instance_type));
            }
            if instance.state == InstanceState::Terminated && !interfaces.is_empty() {
                found.push(format!("{id} is terminated and has interfaces"));
            }
        }
        for instance in by_instance.keys() {
            found.push(format!("an interface is attached to {instance}, which does not exist"));
        }
    }

    /// Subnets lie in blocks of their VPC and are disjoint.
    fn audit_blocks(&self, found: &mut Vec<String>) {
        for (id, record) in &self.subnets {
            let block = record.subnet.cidr_block;
            let vpc = self.vpcs.get(&record.subnet.vpc_id);
            if !vpc.is_some_and(|vpc| vpc.usable_cidrs().any(|cidr| cidr.contains_block(block))) {
                found.push(format!("{id} ({block}) lies in no block of its VPC"));
            }
            let clash = |(other_id, other): &(&SubnetId, &SubnetRecord)| {
                *other_id > id && other.subnet.vpc_id == record.subnet.vpc_id && other.subnet.cidr_block.overlaps(block)
            };
            if let Some((other, _)) = self.subnets.iter().find(clash) {
                found.push(format!("{id} and {other} overlap"));
            }
        }
    }
}

fn over(count: usize, limit: u32) -> bool {
    count > usize::try_from(limit).unwrap_or(usize::MAX)
}
