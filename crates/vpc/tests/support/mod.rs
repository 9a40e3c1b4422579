//! What the tests of the cloud share: worlds, time, and a hypervisor that makes every link at once.

#![allow(dead_code, reason = "every test file uses a part of this")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use freeboard_address::{Addresses, EniId, InstanceId, SubnetId, VpcId};
use freeboard_vpc::{
    AddressWish, AssignPrivateIpAddresses, AttachNetworkInterface, Cloud, CloudEffect, CreateNetworkInterface,
    Describe, NetworkInterface, Subnet, World, WorldError,
};
use jiff::{SignedDuration, Timestamp};

pub(crate) const EKS: &str = include_str!("../../../../worlds/eks-demo.yaml");
pub(crate) const BENCH: &str = include_str!("../../../../worlds/bench-m5.yaml");
/// A world for tests that need a roomy subnet.
pub(crate) const LARGE: &str = include_str!("large.yaml");
pub(crate) const EMPTY: &str = include_str!("../../../../worlds/empty.yaml");

pub(crate) const VPC: &str = "vpc-0f3a9ca141c0acd04";
pub(crate) const PUBLIC_A: &str = "subnet-0cd55c38980375d58";
pub(crate) const PUBLIC_B: &str = "subnet-0a0bce6a1c1f38c54";
pub(crate) const PRIVATE_A: &str = "subnet-0bae4d2bf017995b8";
pub(crate) const NODE: &str = "i-0a31c7d5e9f208b46";
pub(crate) const NODE_ENI: &str = "eni-00259388be69d244d";

pub(crate) fn world(text: &str) -> World {
    serde_saphyr::from_str(text).unwrap()
}

/// The cloud of a world text, at the start of time, after its links are made.
pub(crate) fn cloud(text: &str) -> Cloud {
    let mut cloud = Cloud::from_world(&world(text), at(0)).unwrap();
    run_to(&mut cloud, 0);
    cloud
}

pub(crate) fn refused(text: &str) -> WorldError {
    Cloud::from_world(&world(text), at(0)).unwrap_err()
}

/// A moment, in milliseconds after the start.
pub(crate) fn at(milliseconds: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_millis(milliseconds)
}

/// Plays the hypervisor until `milliseconds`: every link is made and removed as soon as it is asked for.
pub(crate) fn run_to(cloud: &mut Cloud, milliseconds: i64) -> Vec<CloudEffect> {
    let mut seen = Vec::new();
    loop {
        let due = cloud.poll_timeout().map(|(due, _)| due).filter(|due| *due <= at(milliseconds));
        let now = due.unwrap_or(at(milliseconds));
        cloud.handle_timeout(now);
        while let Some(effect) = cloud.poll_effect() {
            match &effect {
                CloudEffect::InterfaceAttaching(link) => cloud.handle_link_ready(&link.eni, now),
                CloudEffect::InterfaceDetached { eni, .. } => cloud.handle_link_gone(eni, now),
                CloudEffect::VpcCidrsChanged { .. }
                | CloudEffect::InstanceLaunched(_)
                | CloudEffect::AddressesChanged { .. }
                | CloudEffect::InstanceTerminated { .. } => {}
            }
            seen.push(effect);
        }
        if due.is_none() {
            cloud.audit().unwrap();
            return seen;
        }
    }
}

pub(crate) fn subnet(cloud: &Cloud, id: &str) -> Subnet {
    cloud.describe_subnets(&Describe::by_id([SubnetId::new(id)])).unwrap().items.remove(0)
}

pub(crate) fn interface(cloud: &Cloud, id: &EniId) -> NetworkInterface {
    cloud.describe_network_interfaces(&Describe::by_id([id.clone()])).unwrap().items.remove(0)
}

pub(crate) fn vpc_id() -> VpcId {
    VpcId::new(VPC)
}

pub(crate) fn node() -> InstanceId {
    InstanceId::new(NODE)
}

pub(crate) fn secondaries(count: u32) -> AddressWish {
    AddressWish { secondary_private_ip_address_count: Some(Addresses(count)), ..AddressWish::default() }
}

/// CreateNetworkInterface with so many secondary addresses.
pub(crate) fn wanted(subnet: &str, count: u32) -> CreateNetworkInterface {
    CreateNetworkInterface {
        addresses: if count == 0 { AddressWish::default() } else { secondaries(count) },
        ..CreateNetworkInterface::in_subnet(SubnetId::new(subnet))
    }
}

pub(crate) fn assign(eni: &EniId, addresses: AddressWish) -> AssignPrivateIpAddresses {
    AssignPrivateIpAddresses { network_interface_id: eni.clone(), addresses, allow_reassignment: false }
}

pub(crate) fn attach(eni: &EniId, instance: &InstanceId, device_index: u32) -> AttachNetworkInterface {
    AttachNetworkInterface {
        network_interface_id: eni.clone(),
        instance_id: instance.clone(),
        device_index,
        network_card_index: None,
    }
}
