//! The world files that ship, and world files that make no sense.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use freeboard_address::{EniId, SubnetId, VpcId};
use freeboard_vpc::{CloudEffect, Describe, Filter, World};
use support::{BENCH, EKS, EMPTY, NODE, NODE_ENI, VPC, at, cloud, node, refused, subnet, world};

#[test]
fn every_shipped_world_loads_and_its_books_close() {
    for text in [EKS, BENCH, EMPTY] {
        cloud(text).audit().unwrap();
    }
}

#[test]
fn a_world_survives_being_written_and_read() {
    let before = world(EKS);
    let text = serde_json::to_string(&before).unwrap();
    assert_eq!(serde_json::from_str::<World>(&text).unwrap(), before);
}

#[test]
fn the_demo_starts_as_the_seeds_show_it() {
    let cloud = cloud(EKS);
    let vpc = cloud.describe_vpcs(&Describe::by_id([VpcId::new(VPC)])).unwrap().items.remove(0);
    assert_eq!(vpc.cidr_block.to_string(), "10.0.0.0/16");
    assert_eq!(vpc.tags[0].value, "eks-demo-ip-vpc-stack-VPC");
    for (id, cidr, zone, used) in [
        ("subnet-0cd55c38980375d58", "10.0.208.0/27", "ap-southeast-2a", 3),
        ("subnet-0a0bce6a1c1f38c54", "10.0.224.0/27", "ap-southeast-2b", 3),
        ("subnet-0bae4d2bf017995b8", "10.0.186.0/27", "ap-southeast-2a", 1),
        ("subnet-06d8153845fa5e9cb", "10.0.192.0/27", "ap-southeast-2b", 1),
    ] {
        let subnet = subnet(&cloud, id);
        assert_eq!((subnet.cidr_block.to_string().as_str(), subnet.availability_zone.as_str()), (cidr, zone));
        assert_eq!(subnet.available_ip_address_count, 27 - used, "{id}");
    }
    let control_plane = Describe::by_filter([Filter::new("description", ["Amazon EKS *"])]);
    let found = cloud.describe_network_interfaces(&control_plane).unwrap().items;
    assert_eq!(found.len(), 2);
    assert!(found.iter().all(|eni| eni.requester_managed));
    let reservation = cloud.describe_instances(&Describe::by_id([node()])).unwrap().items.remove(0);
    let instance = &reservation.instances[0];
    assert_eq!(instance.private_dns_name, "ip-10-0-208-27.ap-southeast-2.compute.internal");
    assert_eq!(instance.network_interfaces[0].network_interface_id, EniId::new(NODE_ENI));
}

#[test]
fn the_demo_s_metadata_is_there_once_the_links_are() {
    let mut starting = freeboard_vpc::Cloud::from_world(&world(EKS), at(0)).unwrap();
    assert_eq!(starting.metadata(&node(), at(0)).unwrap().interfaces, []);
    support::run_to(&mut starting, 0);
    let view = starting.metadata(&node(), at(0)).unwrap();
    assert_eq!(view.local_ipv4.to_string(), "10.0.208.27");
    assert_eq!(view.region, "ap-southeast-2");
    let [interface] = view.interfaces.as_slice() else { panic!("{view:?}") };
    assert_eq!(interface.interface_id, EniId::new(NODE_ENI));
    assert_eq!(interface.vpc_ipv4_cidr_blocks, ["10.0.0.0/16".parse().unwrap()]);
    assert_eq!(interface.subnet_id, SubnetId::new("subnet-0cd55c38980375d58"));
}

#[test]
fn the_first_effects_are_the_vpcs_then_the_machines_with_their_links() {
    let mut cloud = freeboard_vpc::Cloud::from_world(&world(EKS), at(0)).unwrap();
    let effects: Vec<CloudEffect> = std::iter::from_fn(|| cloud.poll_effect()).collect();
    let kinds: Vec<&str> = effects
        .iter()
        .map(|effect| match effect {
            CloudEffect::VpcCidrsChanged { .. } => "vpc",
            CloudEffect::InstanceLaunched(_) => "instance",
            CloudEffect::InterfaceAttaching(_) => "link",
            CloudEffect::InterfaceDetached { .. }
            | CloudEffect::AddressesChanged { .. }
            | CloudEffect::InstanceTerminated { .. } => "other",
        })
        .collect();
    let mut expected = vec!["vpc", "vpc"];
    expected.extend(["instance", "link"].repeat(6));
    assert_eq!(kinds, expected);
}

/// The world text with one part replaced, and the message that refuses it.
fn refusal(part: &str, replacement: &str) -> String {
    assert!(EKS.contains(part), "the demo's world has no {part:?}");
    refused(&EKS.replacen(part, replacement, 1)).to_string()
}

#[test]
fn overlapping_subnets_are_refused_with_both_named() {
    assert_eq!(
        refusal("cidr: 10.0.224.0/27", "cidr: 10.0.208.16/28"),
        "subnet subnet-0cd55c38980375d58 (10.0.208.0/27) and subnet subnet-0a0bce6a1c1f38c54 (10.0.208.16/28) overlap"
    );
}

#[test]
fn a_subnet_outside_its_vpc_is_refused_with_the_vpc_s_blocks() {
    assert_eq!(
        refusal("cidr: 10.0.186.0/27", "cidr: 10.1.186.0/27"),
        "subnet subnet-0bae4d2bf017995b8 has 10.1.186.0/27, which lies in no block of vpc-0f3a9ca141c0acd04 (10.0.0.0/16)"
    );
}

#[test]
fn an_unknown_instance_type_is_refused_with_near_names() {
    let message = refusal("type: t3.medium", "type: t3.mediun");
    assert!(
        message.starts_with(
            "instance i-0a31c7d5e9f208b46 has the type \"t3.mediun\", which is not one of the 1391 known types: did you mean "
        ),
        "{message}"
    );
    assert!(message.contains("t3.medium"), "{message}");
}

#[test]
fn ids_must_be_unique_and_well_formed() {
    assert_eq!(
        refusal("id: i-0b42d8e6fa0319c57", "id: i-0a31c7d5e9f208b46"),
        "the id i-0a31c7d5e9f208b46 is used twice (instance, instance): ids are unique in a world"
    );
    assert_eq!(
        refusal("id: i-0b42d8e6fa0319c57", "id: node-2"),
        "instance id \"node-2\" is malformed: expected i- and 8 or 17 hexadecimal digits"
    );
}

#[test]
fn an_address_outside_its_subnet_or_reserved_or_given_twice_is_refused() {
    for (address, reason) in [
        ("10.0.209.14", "does not fall within the subnet's address range 10.0.208.0/27"),
        ("10.0.208.2", "reserved address range"),
        ("10.0.208.31", "reserved address range"),
        ("10.0.208.27", "Address 10.0.208.27 is in use."),
    ] {
        let message = refusal("address: 10.0.208.14", &format!("address: {address}"));
        assert!(message.starts_with("network interface eni-0b42d8e6fa0319c57: "), "{message}");
        assert!(message.contains(address) && message.contains(reason), "{message}");
    }
}

#[test]
fn references_must_lead_somewhere() {
    for (part, replacement, expected) in [
        ("zone: ap-southeast-2b", "zone: ap-southeast-2z", "names the zone ap-southeast-2z"),
        ("subnet: subnet-0cd55c38980375d58", "subnet: subnet-00000000000000000", "names the subnet subnet-00000"),
        ("accepter: vpc-0c99d8e7f6a5b4321", "accepter: vpc-00000000000000000", "names the VPC vpc-00000"),
        ("via: igw-0d1c5a7b3e9f24680", "via: igw-00000000000000000", "The internetGateway ID 'igw-00000"),
        ("via: igw-0d1c5a7b3e9f24680", "via: elsewhere", "names the target elsewhere"),
        (
            "security_groups: [sg-0c7e5b3a1f9d24680]",
            "security_groups: [sg-00000000]",
            "The security group 'sg-00000000'",
        ),
    ] {
        let message = refusal(part, replacement);
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn numbers_must_be_in_range() {
    for (part, replacement, expected) in [
        ("seed: 2023", "seed: 2023\nspeed: 0", "speed is 0: expected a number above 0"),
        ("attach_seconds: 2", "attach_seconds: -1", "timing.attach_seconds is -1: expected a number from 0"),
        ("account_id: \"111122223333\"", "account_id: \"12\"", "account_id is 12: expected twelve digits"),
    ] {
        let message = refusal(part, replacement);
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn an_unknown_key_is_refused_when_the_text_is_read() {
    let text = EMPTY.replacen("region:", "colour: red\nregion:", 1);
    let message = serde_saphyr::from_str::<World>(&text).unwrap_err().to_string();
    assert!(message.contains("colour"), "{message}");
}

#[test]
fn peers_must_not_overlap() {
    let text =
        EKS.replace("cidr: 10.99.0.0/16", "cidr: 10.0.0.0/16").replace("cidr: 10.99.1.0/24", "cidr: 10.0.1.0/24");
    let message = refused(&text).to_string();
    assert!(message.contains("VPC vpc-0f3a9ca141c0acd04 (10.0.0.0/16)") && message.contains("overlap"), "{message}");
}

#[test]
fn a_scheduled_fault_must_make_sense() {
    let text =
        format!("{EKS}\nfaults:\n  - after_seconds: 5\n    inject: {{ release_subnet: {{ subnet: subnet-0 }} }}\n");
    assert_eq!(
        refused(&text).to_string(),
        "fault 1 (counted from 1): no subnet subnet-0: expected the id of one that exists"
    );
}

#[test]
fn more_interfaces_or_addresses_than_the_type_allows_are_refused() {
    let many = "    interfaces:\n      - { subnet: subnet-0cd55c38980375d58, secondary_address_count: 6 }\n      - id: eni-0b42";
    let message = refusal("    interfaces:\n      - id: eni-0b42", many);
    assert!(message.contains("PrivateIpAddressLimitExceeded"), "{message}");
    let extra = "      - { subnet: subnet-0cd55c38980375d58 }\n".repeat(3);
    let message =
        refusal("    interfaces:\n      - id: eni-0b42", &format!("    interfaces:\n{extra}      - id: eni-0b42"));
    assert!(
        message.contains("AttachmentLimitExceeded: Interface count 4 exceeds the limit for t3.medium"),
        "{message}"
    );
    assert!(!message.contains(NODE));
}
