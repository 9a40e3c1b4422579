//! Addresses and prefixes: counted as EC2 counts them, given all or nothing, refused with EC2's words.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::net::Ipv4Addr;

use freeboard_address::{Addresses, Cidr, EniId, Prefixes, SubnetId};
use freeboard_vpc::{
    AddressWish, ApiError, AssignPrivateIpAddresses, Cloud, CloudEffect, CreateNetworkInterface,
    DeleteNetworkInterface, Fault, RunInstances, UnassignPrivateIpAddresses,
};
use support::{EKS, LARGE, NODE_ENI, PRIVATE_A, PUBLIC_A, assign, at, attach, cloud, interface, run_to, secondaries};
use support::{subnet, wanted};

fn free(cloud: &Cloud, id: &str) -> u64 {
    subnet(cloud, id).available_ip_address_count
}

fn prefixes(count: u32) -> AddressWish {
    AddressWish { ipv4_prefix_count: Some(Prefixes(count)), ..AddressWish::default() }
}

fn named(addresses: &[&str]) -> AddressWish {
    let private_ip_addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
    AddressWish { private_ip_addresses, ..AddressWish::default() }
}

fn create(cloud: &mut Cloud, subnet: &str, secondaries: u32) -> Result<EniId, ApiError> {
    cloud.create_network_interface(&wanted(subnet, secondaries), at(0)).map(|eni| eni.network_interface_id)
}

/// Checks that an action is refused with this code, and that the cloud is what it was.
fn assert_refused<T: std::fmt::Debug>(
    cloud: &mut Cloud,
    code: &str,
    action: impl FnOnce(&mut Cloud) -> Result<T, ApiError>,
) -> String {
    let before = cloud.clone();
    let error = action(cloud).unwrap_err();
    assert_eq!(error.code, code, "{error}");
    assert_eq!(*cloud, before, "a refused action changed something");
    error.message
}

#[test]
fn the_demo_s_nodes_fill_a_27_exactly_and_the_next_request_is_refused() {
    let mut cloud = cloud(EKS);
    let nodes = [
        ("i-0a31c7d5e9f208b46", NODE_ENI),
        ("i-0b42d8e6fa0319c57", "eni-0b42d8e6fa0319c57"),
        ("i-0c53e9f70b142ad68", "eni-0c53e9f70b142ad68"),
    ];
    for (instance, primary) in &nodes[..2] {
        cloud.assign_private_ip_addresses(&assign(&EniId::new(*primary), secondaries(5)), at(0)).unwrap();
        let request =
            CreateNetworkInterface { description: Some(format!("aws-K8S-{instance}")), ..wanted(PUBLIC_A, 5) };
        let eni = cloud.create_network_interface(&request, at(0)).unwrap().network_interface_id;
        let instance = freeboard_address::InstanceId::new(*instance);
        cloud.attach_network_interface(&attach(&eni, &instance, 1), at(0)).unwrap();
        run_to(&mut cloud, 3_000);
    }
    assert_eq!(free(&cloud, PUBLIC_A), 2);
    let third = EniId::new(nodes[2].1);
    let message = assert_refused(&mut cloud, "InsufficientFreeAddressesInSubnet", |cloud| {
        cloud.assign_private_ip_addresses(&assign(&third, secondaries(3)), at(3_000))
    });
    assert_eq!(message, "The specified subnet does not have enough free addresses to satisfy the request.");
    cloud.assign_private_ip_addresses(&assign(&third, secondaries(2)), at(3_000)).unwrap();
    assert_eq!(free(&cloud, PUBLIC_A), 0);
    assert!(interface(&cloud, &EniId::new("eni-07ae7b7cd90520202")).attachment.is_some());
}

#[test]
fn an_assignment_lists_only_what_is_new_and_the_hypervisor_hears_of_all() {
    let mut cloud = cloud(EKS);
    let eni = EniId::new(NODE_ENI);
    let answer = cloud.assign_private_ip_addresses(&assign(&eni, secondaries(2)), at(0)).unwrap();
    assert_eq!(answer.assigned_private_ip_addresses.len(), 2);
    assert!(!answer.assigned_private_ip_addresses.contains(&Ipv4Addr::new(10, 0, 208, 27)));
    let Some(CloudEffect::AddressesChanged { cidrs, .. }) = cloud.poll_effect() else { panic!() };
    assert_eq!(cidrs.len(), 3);
    assert_eq!(cidrs[0], "10.0.208.27/32".parse::<Cidr>().unwrap());
}

#[test]
fn an_interface_holds_no_more_addresses_than_its_type_allows_and_a_prefix_counts_as_one() {
    let mut cloud = cloud(LARGE);
    let eni = EniId::new("eni-0b000000000000001");
    cloud.assign_private_ip_addresses(&assign(&eni, prefixes(10)), at(0)).unwrap();
    cloud.assign_private_ip_addresses(&assign(&eni, secondaries(4)), at(0)).unwrap();
    let message = assert_refused(&mut cloud, "PrivateIpAddressLimitExceeded", |cloud| {
        cloud.assign_private_ip_addresses(&assign(&eni, secondaries(1)), at(0))
    });
    assert_eq!(message, "Number of private addresses will exceed limit.");
    assert_eq!(free(&cloud, "subnet-0b0b0b0b0b0b0b0b0"), 4_091 - 4 - 160 - 4);
}

#[test]
fn the_fifty_first_slot_of_the_largest_interface_is_refused() {
    let mut cloud = cloud(LARGE);
    let launch = RunInstances::one("m5.24xlarge", SubnetId::new("subnet-0b0b0b0b0b0b0b0b0"));
    let launched = cloud.run_instances(&launch, at(0)).unwrap();
    run_to(&mut cloud, 60_000);
    let eni = launched.instances[0].network_interfaces[0].network_interface_id.clone();
    cloud.assign_private_ip_addresses(&assign(&eni, prefixes(49)), at(60_000)).unwrap();
    assert_refused(&mut cloud, "PrivateIpAddressLimitExceeded", |cloud| {
        cloud.assign_private_ip_addresses(&assign(&eni, prefixes(1)), at(60_000))
    });
}

#[test]
fn prefixes_need_a_nitro_or_bare_metal_machine() {
    let mut cloud = cloud(LARGE);
    let subnet = "subnet-0b0b0b0b0b0b0b0b0";
    let launched = cloud.run_instances(&RunInstances::one("t2.medium", SubnetId::new(subnet)), at(0)).unwrap();
    run_to(&mut cloud, 60_000);
    let instance = launched.instances[0].instance_id.clone();
    let eni = launched.instances[0].network_interfaces[0].network_interface_id.clone();
    let message = assert_refused(&mut cloud, "InvalidParameterValue", |cloud| {
        cloud.assign_private_ip_addresses(&assign(&eni, prefixes(1)), at(60_000))
    });
    assert!(message.contains("t2.medium does not support IPv4 prefixes"), "{message}");
    let request = CreateNetworkInterface { addresses: prefixes(1), ..wanted(subnet, 0) };
    let loose = cloud.create_network_interface(&request, at(60_000)).unwrap().network_interface_id;
    assert_refused(&mut cloud, "InvalidParameterValue", |cloud| {
        cloud.attach_network_interface(&attach(&loose, &instance, 1), at(60_000))
    });
}

#[test]
fn a_fragmented_subnet_has_addresses_and_no_prefix() {
    let text = LARGE.replace("cidr: 10.0.0.0/20", "cidr: 10.0.0.0/26");
    let mut cloud = cloud(&text);
    let subnet_id = "subnet-0b0b0b0b0b0b0b0b0";
    let eni = EniId::new("eni-0b000000000000001");
    // The two inner /28 each lose one address; the outer two never were free blocks.
    let strays = named(&["10.0.0.20", "10.0.0.40"]);
    cloud.assign_private_ip_addresses(&assign(&eni, strays), at(0)).unwrap();
    assert_eq!(free(&cloud, subnet_id), 59 - 4 - 2);
    let message = assert_refused(&mut cloud, "InsufficientCidrBlocks", |cloud| {
        cloud.assign_private_ip_addresses(&assign(&eni, prefixes(1)), at(0))
    });
    assert_eq!(message, "The specified subnet does not have enough free cidr blocks to satisfy the request.");
    cloud.assign_private_ip_addresses(&assign(&eni, secondaries(5)), at(0)).unwrap();
}

#[test]
fn a_short_subnet_at_create_is_refused_as_the_world_says() {
    let fill = |cloud: &mut Cloud| {
        let subnet = SubnetId::new(PRIVATE_A);
        cloud.inject(&Fault::FillSubnet { subnet, take: None, leave_free: Some(3) }, at(0)).unwrap();
    };
    let mut usual = cloud(EKS);
    fill(&mut usual);
    assert_refused(&mut usual, "InsufficientFreeAddressesInSubnet", |cloud| create(cloud, PRIVATE_A, 3));
    let mut other = cloud(&format!("{EKS}\nbehaviour: {{ shortage_at_create: invalid_parameter_value }}\n"));
    fill(&mut other);
    let message = assert_refused(&mut other, "InvalidParameterValue", |cloud| create(cloud, PRIVATE_A, 3));
    assert_eq!(message, "There aren't sufficient free Ipv4 addresses or prefixes");
    create(&mut other, PRIVATE_A, 2).unwrap();
    assert_eq!(free(&other, PRIVATE_A), 0);
    let launch = RunInstances::one("t3.small", SubnetId::new(PRIVATE_A));
    let message =
        assert_refused(&mut other, "InsufficientFreeAddressesInSubnet", |cloud| cloud.run_instances(&launch, at(0)));
    assert_eq!(
        message,
        "There are not enough free addresses in subnet 'subnet-0bae4d2bf017995b8' to satisfy the requested number of instances."
    );
}

#[test]
fn a_named_address_is_checked_against_its_subnet_and_its_owners() {
    let mut cloud = cloud(EKS);
    let eni = EniId::new(NODE_ENI);
    for (address, code) in [
        ("10.0.209.5", "InvalidParameterValue"),
        ("10.0.208.1", "InvalidParameterValue"),
        ("10.0.208.14", "Resource.AlreadyAssigned"),
    ] {
        let message = assert_refused(&mut cloud, code, |cloud| {
            cloud.assign_private_ip_addresses(&assign(&eni, named(&[address])), at(0))
        });
        assert!(message.contains(address), "{message}");
    }
    let request =
        CreateNetworkInterface { primary_address: Some(Ipv4Addr::new(10, 0, 208, 14)), ..wanted(PUBLIC_A, 0) };
    let message =
        assert_refused(&mut cloud, "InvalidIPAddress.InUse", |cloud| cloud.create_network_interface(&request, at(0)));
    assert_eq!(message, "Address 10.0.208.14 is in use.");
}

#[test]
fn ways_of_asking_exclude_each_other() {
    let mut cloud = cloud(EKS);
    let eni = EniId::new(NODE_ENI);
    let both = AddressWish { secondary_private_ip_address_count: Some(Addresses(1)), ..named(&["10.0.208.9"]) };
    let mixed = AddressWish { ipv4_prefix_count: Some(Prefixes(1)), ..secondaries(1) };
    for (wish, code) in [
        (both, "InvalidParameterCombination"),
        (mixed, "InvalidParameterCombination"),
        (AddressWish::default(), "MissingParameter"),
        (secondaries(0), "InvalidParameterValue"),
        (named(&["10.0.208.9", "10.0.208.9"]), "InvalidParameterValue"),
        (
            AddressWish { ipv4_prefixes: vec!["10.0.208.0/27".parse().unwrap()], ..AddressWish::default() },
            "InvalidParameterValue",
        ),
    ] {
        assert_refused(&mut cloud, code, |cloud| cloud.assign_private_ip_addresses(&assign(&eni, wish), at(0)));
    }
}

#[test]
fn a_secondary_address_moves_when_reassignment_is_allowed_and_a_primary_never() {
    let mut cloud = cloud(EKS);
    let (loser, gainer) = (EniId::new(NODE_ENI), EniId::new("eni-0b42d8e6fa0319c57"));
    cloud.assign_private_ip_addresses(&assign(&loser, named(&["10.0.208.9"])), at(0)).unwrap();
    let moving = |address| AssignPrivateIpAddresses { allow_reassignment: true, ..assign(&gainer, named(&[address])) };
    cloud.assign_private_ip_addresses(&moving("10.0.208.9"), at(0)).unwrap();
    cloud.audit().unwrap();
    assert_eq!(interface(&cloud, &loser).private_ip_addresses.len(), 1);
    assert_eq!(interface(&cloud, &gainer).private_ip_addresses.len(), 2);
    assert_refused(&mut cloud, "InvalidParameterValue", |cloud| {
        cloud.assign_private_ip_addresses(&moving("10.0.208.27"), at(0))
    });
}

#[test]
fn what_is_unassigned_is_free_again_and_the_rest_is_refused() {
    let mut cloud = cloud(LARGE);
    let eni = EniId::new("eni-0b000000000000001");
    let before = free(&cloud, "subnet-0b0b0b0b0b0b0b0b0");
    let prefix =
        cloud.assign_private_ip_addresses(&assign(&eni, prefixes(1)), at(0)).unwrap().assigned_ipv4_prefixes[0];
    let address =
        cloud.assign_private_ip_addresses(&assign(&eni, secondaries(1)), at(0)).unwrap().assigned_private_ip_addresses
            [0];
    let giving = |addresses: Vec<Ipv4Addr>, prefixes: Vec<Cidr>| UnassignPrivateIpAddresses {
        network_interface_id: eni.clone(),
        private_ip_addresses: addresses,
        ipv4_prefixes: prefixes,
    };
    let stranger = Ipv4Addr::new(10, 0, 9, 9);
    let message = assert_refused(&mut cloud, "InvalidParameterValue", |cloud| {
        cloud.unassign_private_ip_addresses(&giving(vec![address, stranger], vec![prefix]), at(0))
    });
    assert_eq!(message, format!("Some of the specified addresses are not assigned to interface {eni}"));
    assert_refused(&mut cloud, "InvalidParameterValue", |cloud| {
        cloud.unassign_private_ip_addresses(&giving(vec![Ipv4Addr::new(10, 0, 0, 10)], Vec::new()), at(0))
    });
    cloud.unassign_private_ip_addresses(&giving(vec![address], vec![prefix]), at(0)).unwrap();
    assert_eq!(free(&cloud, "subnet-0b0b0b0b0b0b0b0b0"), before);
}

#[test]
fn a_deleted_interface_gives_everything_back() {
    let mut cloud = cloud(EKS);
    let before = free(&cloud, PUBLIC_A);
    let eni = create(&mut cloud, PUBLIC_A, 5).unwrap();
    assert_eq!(free(&cloud, PUBLIC_A), before - 6);
    cloud.delete_network_interface(&DeleteNetworkInterface { network_interface_id: eni.clone() }, at(0)).unwrap();
    assert_eq!(free(&cloud, PUBLIC_A), before);
    let message = assert_refused(&mut cloud, "InvalidNetworkInterfaceID.NotFound", |cloud| {
        cloud.delete_network_interface(&DeleteNetworkInterface { network_interface_id: eni.clone() }, at(0))
    });
    assert_eq!(message, format!("The networkInterface ID '{eni}' does not exist"));
}

#[test]
fn a_client_token_makes_a_repeated_create_harmless() {
    let mut cloud = cloud(EKS);
    let request = CreateNetworkInterface { client_token: Some("once".to_owned()), ..wanted(PUBLIC_A, 1) };
    let first = cloud.create_network_interface(&request, at(0)).unwrap();
    assert_eq!(cloud.create_network_interface(&request, at(0)).unwrap(), first);
    let other = CreateNetworkInterface { client_token: Some("once".to_owned()), ..wanted(PUBLIC_A, 2) };
    assert_refused(&mut cloud, "IdempotentParameterMismatch", |cloud| cloud.create_network_interface(&other, at(0)));
}
