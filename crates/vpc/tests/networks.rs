//! VPCs, their blocks, subnets, routes, peerings, tags and groups.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use freeboard_address::{Cidr, SubnetId, VpcId};
use freeboard_vpc::{
    ApiError, AssociateRouteTable, AssociateVpcCidrBlock, CidrBlockState, Cloud, CloudEffect, CreateRoute,
    CreateSecurityGroup, CreateSubnet, CreateSubnetCidrReservation, CreateTags, CreateVpc, CreateVpcPeeringConnection,
    DeleteSecurityGroup, DeleteSubnet, DeleteTags, DeleteVpc, Describe, DisassociateVpcCidrBlock, Filter,
    PeeringStatus, ReservationType, RouteState, RouteTarget, Subnet, Tag, TagKey, TagSpecification,
    VpcPeeringConnectionRef, VpcState,
};
use support::{EKS, EMPTY, PUBLIC_A, at, cloud, run_to, subnet, vpc_id};

fn cidr(text: &str) -> Cidr {
    text.parse().unwrap()
}

fn associate(cloud: &mut Cloud, block: &str) -> Result<freeboard_address::AssociationId, ApiError> {
    let request = AssociateVpcCidrBlock { vpc_id: vpc_id(), cidr_block: cidr(block) };
    cloud.associate_vpc_cidr_block(&request, at(0)).map(|answer| answer.association.association_id)
}

fn create_subnet(cloud: &mut Cloud, block: &str, zone: &str) -> Result<Subnet, ApiError> {
    let request = CreateSubnet {
        vpc_id: vpc_id(),
        cidr_block: cidr(block),
        availability_zone: Some(zone.to_owned()),
        availability_zone_id: None,
        tag_specifications: Vec::new(),
    };
    cloud.create_subnet(&request, at(10_000))
}

fn block_states(cloud: &Cloud) -> Vec<(String, CidrBlockState)> {
    let vpc = cloud.describe_vpcs(&Describe::by_id([vpc_id()])).unwrap().items.remove(0);
    vpc.cidr_block_associations.iter().map(|a| (a.cidr_block.to_string(), a.state)).collect()
}

#[test]
fn the_demo_s_way_out_gives_the_seeds_subnets() {
    let mut cloud = cloud(EKS);
    associate(&mut cloud, "100.64.0.0/20").unwrap();
    assert_eq!(block_states(&cloud)[1], ("100.64.0.0/20".to_owned(), CidrBlockState::Associating));
    let early = create_subnet(&mut cloud.clone(), "100.64.1.0/24", "ap-southeast-2a");
    assert!(early.is_ok(), "ten seconds later the block is associated: {early:?}");
    let effects = run_to(&mut cloud, 5_000);
    assert!(effects.contains(&CloudEffect::VpcCidrsChanged {
        vpc: vpc_id(),
        cidrs: vec![cidr("10.0.0.0/16"), cidr("100.64.0.0/20")]
    }));
    assert_eq!(block_states(&cloud)[1].1, CidrBlockState::Associated);
    for (block, zone, id) in [
        ("100.64.1.0/24", "ap-southeast-2a", "subnet-04a932dfaf2e3c8f3"),
        ("100.64.2.0/24", "ap-southeast-2b", "subnet-0aca140a7597f7cb0"),
    ] {
        let made = create_subnet(&mut cloud, block, zone).unwrap();
        assert_eq!(made.subnet_id, SubnetId::new(id));
        assert_eq!(made.available_ip_address_count, 251);
    }
    let tables = cloud.describe_route_tables(&Describe::default()).unwrap().items;
    let of_vpc = tables.iter().filter(|table| table.vpc_id == vpc_id());
    for table in of_vpc {
        let locals: Vec<Cidr> =
            table.routes.iter().filter(|r| r.target == RouteTarget::Local).map(|r| r.destination_cidr_block).collect();
        assert_eq!(locals, [cidr("10.0.0.0/16"), cidr("100.64.0.0/20")]);
    }
}

#[test]
fn a_subnet_in_a_block_that_is_still_associating_is_refused() {
    let mut cloud = cloud(EKS);
    associate(&mut cloud, "100.64.0.0/20").unwrap();
    let request = CreateSubnet {
        vpc_id: vpc_id(),
        cidr_block: cidr("100.64.1.0/24"),
        availability_zone: None,
        availability_zone_id: None,
        tag_specifications: Vec::new(),
    };
    let error = cloud.create_subnet(&request, at(1_000)).unwrap_err();
    assert_eq!(
        (error.code.as_str(), error.message.as_str()),
        ("InvalidSubnet.Range", "The CIDR '100.64.1.0/24' is invalid.")
    );
}

#[test]
fn blocks_that_a_vpc_may_not_have_are_refused() {
    let mut cloud = cloud(EKS);
    for (block, code, text) in [
        ("10.0.4.0/24", "InvalidVpc.Range", "is restricted"),
        ("172.20.0.0/16", "InvalidVpc.Range", "is restricted"),
        ("100.64.0.0/10", "InvalidVpc.Range", "The CIDR '100.64.0.0/10' is invalid."),
        ("10.99.4.0/24", "CidrConflict", "10.99.0.0/16"),
    ] {
        let before = cloud.clone();
        let error = associate(&mut cloud, block).unwrap_err();
        assert_eq!(error.code, code, "{error}");
        assert!(error.message.contains(text), "{error}");
        assert_eq!(cloud, before);
    }
    associate(&mut cloud, "100.64.0.0/20").unwrap();
    assert_eq!(associate(&mut cloud, "100.64.8.0/24").unwrap_err().code, "CidrConflict");
    for block in ["100.65.0.0/16", "100.66.0.0/16", "100.67.0.0/16"] {
        associate(&mut cloud, block).unwrap();
    }
    let error = associate(&mut cloud, "100.68.0.0/16").unwrap_err();
    assert_eq!(error.message, "This network vpc-0f3a9ca141c0acd04 has met its maximum number of allowed CIDRs: 5");
}

#[test]
fn a_route_forbids_the_block_it_leads_to_and_wider_ones_only() {
    let mut cloud = cloud(EKS);
    let table = freeboard_address::RouteTableId::new("rtb-0f9e8d7c6b5a41302");
    let target = RouteTarget::TransitGateway("tgw-00000000".to_owned());
    let request = CreateRoute { route_table_id: table, destination_cidr_block: cidr("100.64.4.0/24"), target };
    cloud.create_route(&request, at(0)).unwrap();
    assert_eq!(cloud.create_route(&request, at(0)).unwrap_err().code, "RouteAlreadyExists");
    assert_eq!(associate(&mut cloud, "100.64.0.0/20").unwrap_err().code, "CidrConflict");
    assert_eq!(associate(&mut cloud, "100.64.4.0/24").unwrap_err().code, "CidrConflict");
    associate(&mut cloud, "100.64.4.0/25").unwrap();
}

#[test]
fn a_block_goes_only_without_subnets_and_the_primary_never() {
    let mut cloud = cloud(EKS);
    let association_id = associate(&mut cloud, "100.64.0.0/20").unwrap();
    run_to(&mut cloud, 5_000);
    let made = create_subnet(&mut cloud, "100.64.1.0/24", "ap-southeast-2a").unwrap();
    let request = DisassociateVpcCidrBlock { association_id };
    let error = cloud.disassociate_vpc_cidr_block(&request, at(10_000)).unwrap_err();
    assert_eq!(error.code, "InvalidCidrBlock.InUse");
    cloud.delete_subnet(&DeleteSubnet { subnet_id: made.subnet_id }, at(10_000)).unwrap();
    cloud.disassociate_vpc_cidr_block(&request, at(10_000)).unwrap();
    assert_eq!(block_states(&cloud)[1].1, CidrBlockState::Disassociating);
    run_to(&mut cloud, 15_000);
    assert_eq!(block_states(&cloud).len(), 1);
    let error = cloud.disassociate_vpc_cidr_block(&request, at(15_000)).unwrap_err();
    assert_eq!(error.code, "InvalidVpcCidrBlockAssociationID.NotFound");
    let vpc = cloud.describe_vpcs(&Describe::by_id([vpc_id()])).unwrap().items.remove(0);
    let primary = DisassociateVpcCidrBlock { association_id: vpc.cidr_block_associations[0].association_id.clone() };
    assert_eq!(cloud.disassociate_vpc_cidr_block(&primary, at(15_000)).unwrap_err().code, "OperationNotPermitted");
}

#[test]
fn subnets_are_refused_with_the_services_words() {
    let mut cloud = cloud(EKS);
    for (block, zone, code, text) in [
        ("192.168.1.0/24", "ap-southeast-2a", "InvalidSubnet.Range", "The CIDR '192.168.1.0/24' is invalid."),
        ("10.0.1.0/29", "ap-southeast-2a", "InvalidSubnet.Range", "The CIDR '10.0.1.0/29' is invalid."),
        (
            "10.0.208.16/28",
            "ap-southeast-2a",
            "InvalidSubnet.Conflict",
            "The CIDR '10.0.208.16/28' conflicts with another subnet",
        ),
        (
            "10.0.1.0/24",
            "us-x-9z",
            "InvalidParameterValue",
            "Value (us-x-9z) for parameter availabilityZone is invalid. Subnets can currently only be created in the \
             following availability zones: ap-southeast-2a, ap-southeast-2b.",
        ),
    ] {
        let before = cloud.clone();
        let error = create_subnet(&mut cloud, block, zone).unwrap_err();
        assert_eq!((error.code.as_str(), error.message.as_str()), (code, text));
        assert_eq!(cloud, before);
    }
    let error = cloud.delete_subnet(&DeleteSubnet { subnet_id: SubnetId::new(PUBLIC_A) }, at(0)).unwrap_err();
    assert_eq!(error.message, format!("The subnet '{PUBLIC_A}' has dependencies and cannot be deleted."));
}

#[test]
fn a_vpc_is_pending_then_available_and_goes_with_what_it_came_with() {
    let mut cloud = cloud(EMPTY);
    let request = CreateVpc { cidr_block: cidr("10.0.0.0/16"), instance_tenancy: None, tag_specifications: Vec::new() };
    let vpc = cloud.create_vpc(&request, at(0)).unwrap();
    assert_eq!(vpc.state, VpcState::Pending);
    run_to(&mut cloud, 1_000);
    let shown = cloud.describe_vpcs(&Describe::default()).unwrap().items.remove(0);
    assert_eq!(shown.state, VpcState::Available);
    assert_eq!(cloud.describe_security_groups(&Describe::default()).unwrap().items.len(), 1);
    assert_eq!(cloud.describe_route_tables(&Describe::default()).unwrap().items.len(), 1);
    cloud.delete_vpc(&DeleteVpc { vpc_id: vpc.vpc_id.clone() }, at(2_000)).unwrap();
    assert!(cloud.describe_security_groups(&Describe::default()).unwrap().items.is_empty());
    assert_eq!(
        cloud.delete_vpc(&DeleteVpc { vpc_id: vpc.vpc_id }, at(2_000)).unwrap_err().code,
        "InvalidVpcID.NotFound"
    );
    for _ in 0..5 {
        cloud.create_vpc(&request, at(3_000)).unwrap();
    }
    assert_eq!(cloud.create_vpc(&request, at(3_000)).unwrap_err().code, "VpcLimitExceeded");
    let wide = CreateVpc { cidr_block: cidr("10.0.0.0/8"), ..request };
    assert_eq!(cloud.create_vpc(&wide, at(3_000)).unwrap_err().message, "The CIDR '10.0.0.0/8' is invalid.");
}

#[test]
fn peering_goes_through_its_states_and_shows_all_blocks() {
    let mut cloud = cloud(EKS);
    let create = CreateVpc { cidr_block: cidr("10.50.0.0/16"), instance_tenancy: None, tag_specifications: Vec::new() };
    let peer = cloud.create_vpc(&create, at(0)).unwrap().vpc_id;
    let request =
        CreateVpcPeeringConnection { vpc_id: peer.clone(), peer_vpc_id: vpc_id(), tag_specifications: Vec::new() };
    let made = cloud.create_vpc_peering_connection(&request, at(0)).unwrap();
    assert_eq!(made.status, PeeringStatus::InitiatingRequest);
    let blocked = AssociateVpcCidrBlock { vpc_id: peer, cidr_block: cidr("10.51.0.0/16") };
    assert_eq!(cloud.associate_vpc_cidr_block(&blocked, at(0)).unwrap_err().code, "OperationNotPermitted");
    let accept = VpcPeeringConnectionRef { vpc_peering_connection_id: made.vpc_peering_connection_id.clone() };
    assert_eq!(cloud.accept_vpc_peering_connection(&accept, at(0)).unwrap().status, PeeringStatus::Provisioning);
    associate(&mut cloud, "100.64.0.0/20").unwrap();
    run_to(&mut cloud, 5_000);
    let shown = cloud
        .describe_vpc_peering_connections(&Describe::by_id([made.vpc_peering_connection_id]))
        .unwrap()
        .items
        .remove(0);
    assert_eq!(shown.status, PeeringStatus::Active);
    assert_eq!(shown.accepter.cidr_blocks, [cidr("10.0.0.0/16"), cidr("100.64.0.0/20")]);
    cloud.delete_vpc_peering_connection(&accept, at(6_000)).unwrap();
    assert_eq!(cloud.accept_vpc_peering_connection(&accept, at(6_000)).unwrap_err().code, "InvalidStateTransition");
    let overlapping =
        CreateVpc { cidr_block: cidr("10.0.0.0/20"), instance_tenancy: None, tag_specifications: Vec::new() };
    let twin = cloud.create_vpc(&overlapping, at(6_000)).unwrap().vpc_id;
    let request = CreateVpcPeeringConnection { vpc_id: twin, peer_vpc_id: vpc_id(), tag_specifications: Vec::new() };
    assert_eq!(cloud.create_vpc_peering_connection(&request, at(6_000)).unwrap().status, PeeringStatus::Failed);
}

#[test]
fn a_route_to_a_deleted_peering_is_a_black_hole() {
    let mut cloud = cloud(EKS);
    let peering = freeboard_vpc::PeeringId::new("pcx-0e5d4c3b2a1908f76");
    let delete = VpcPeeringConnectionRef { vpc_peering_connection_id: peering.clone() };
    cloud.delete_vpc_peering_connection(&delete, at(0)).unwrap();
    let tables = cloud.describe_route_tables(&Describe::default()).unwrap().items;
    let through: Vec<RouteState> = tables
        .iter()
        .flat_map(|table| &table.routes)
        .filter(|route| route.target == RouteTarget::Peering(peering.clone()))
        .map(|route| route.state)
        .collect();
    assert_eq!(through, [RouteState::Blackhole; 3]);
}

#[test]
fn a_subnet_uses_one_route_table() {
    let mut cloud = cloud(EKS);
    let request = AssociateRouteTable {
        route_table_id: freeboard_address::RouteTableId::new("rtb-0b1a2c3d4e5f60718"),
        subnet_id: SubnetId::new(PUBLIC_A),
    };
    assert_eq!(cloud.associate_route_table(&request, at(0)).unwrap_err().code, "Resource.AlreadyAssociated");
    let private = AssociateRouteTable { subnet_id: SubnetId::new(support::PRIVATE_A), ..request };
    let made = cloud.associate_route_table(&private, at(0)).unwrap();
    let by_subnet = Describe::by_filter([Filter::new("association.subnet-id", [support::PRIVATE_A])]);
    assert_eq!(cloud.describe_route_tables(&by_subnet).unwrap().items[0].route_table_id, made.route_table_id);
}

#[test]
fn reservations_are_checked_and_counted() {
    let mut cloud = cloud(EKS);
    let reserve = |block: &str| CreateSubnetCidrReservation {
        subnet_id: SubnetId::new(support::PRIVATE_A),
        cidr: cidr(block),
        reservation_type: ReservationType::Prefix,
        description: None,
        tag_specifications: Vec::new(),
    };
    cloud.create_subnet_cidr_reservation(&reserve("10.0.186.16/29"), at(0)).unwrap();
    assert_eq!(subnet(&cloud, support::PRIVATE_A).available_ip_address_count, 26 - 8);
    let error = cloud.create_subnet_cidr_reservation(&reserve("10.0.186.20/30"), at(0)).unwrap_err();
    assert_eq!(error.message, "Reservation CIDR 10.0.186.20/30 has overlap with existing reserved CIDR block");
    let error = cloud.create_subnet_cidr_reservation(&reserve("10.0.187.0/28"), at(0)).unwrap_err();
    assert_eq!(error.message, "Reservation CIDR should be within subnet CIDR block (10.0.186.0/27)");
}

#[test]
fn tags_are_set_on_all_resources_or_on_none() {
    let mut cloud = cloud(EKS);
    let tag = |resources: &[&str], key: &str| CreateTags {
        resources: resources.iter().map(|id| (*id).to_owned()).collect(),
        tags: vec![Tag::new(key, "1")],
    };
    cloud.create_tags(&tag(&[PUBLIC_A, support::NODE_ENI], "kubernetes.io/role/cni"), at(0)).unwrap();
    let found =
        cloud.describe_subnets(&Describe::by_filter([Filter::new("tag:kubernetes.io/role/cni", ["1"])])).unwrap();
    assert_eq!(found.items.len(), 1);
    for (request, code) in [
        (tag(&[PUBLIC_A, "subnet-00000000000000000"], "x"), "InvalidID"),
        (tag(&[PUBLIC_A], "aws:mine"), "InvalidTagKey.Malformed"),
        (tag(&[], "x"), "MissingParameter"),
    ] {
        let before = cloud.clone();
        assert_eq!(cloud.create_tags(&request, at(0)).unwrap_err().code, code);
        assert_eq!(cloud, before);
    }
    for number in 0..48 {
        cloud.create_tags(&tag(&[support::NODE_ENI], &format!("k{number}")), at(0)).unwrap();
    }
    let many = CreateTags {
        resources: vec![support::NODE_ENI.to_owned()],
        tags: vec![Tag::new("one", ""), Tag::new("two", "")],
    };
    assert_eq!(cloud.create_tags(&many, at(0)).unwrap_err().code, "TagLimitExceeded");
    let key = TagKey { key: "kubernetes.io/role/cni".to_owned(), value: Some("0".to_owned()) };
    let delete = DeleteTags { resources: vec![PUBLIC_A.to_owned()], tags: vec![key] };
    cloud.delete_tags(&delete, at(0)).unwrap();
    let all = Describe::by_filter([Filter::new("resource-id", [PUBLIC_A]), Filter::new("key", ["kubernetes.io/*"])]);
    assert_eq!(cloud.describe_tags(&all).unwrap().items.len(), 2, "a tag with another value stays");
}

#[test]
fn tags_on_create_must_be_for_what_is_created() {
    let mut cloud = cloud(EMPTY);
    let tagged = |kind: &str| CreateVpc {
        cidr_block: cidr("10.0.0.0/16"),
        instance_tenancy: None,
        tag_specifications: vec![TagSpecification {
            resource_type: kind.to_owned(),
            tags: vec![Tag::new("Name", "mine")],
        }],
    };
    let error = cloud.create_vpc(&tagged("subnet"), at(0)).unwrap_err();
    assert!(error.message.contains("'subnet' is not a valid taggable resource type"), "{error}");
    assert_eq!(cloud.create_vpc(&tagged("vpc"), at(0)).unwrap().tags, [Tag::new("Name", "mine")]);
}

#[test]
fn a_group_in_use_stays_and_names_are_unique_per_vpc() {
    let mut cloud = cloud(EKS);
    let used = DeleteSecurityGroup { group_id: freeboard_address::SecurityGroupId::new("sg-0c7e5b3a1f9d24680") };
    assert_eq!(cloud.delete_security_group(&used, at(0)).unwrap_err().code, "DependencyViolation");
    let create = CreateSecurityGroup {
        group_name: "pods".to_owned(),
        description: "for pods".to_owned(),
        vpc_id: vpc_id(),
        tag_specifications: Vec::new(),
    };
    let made = cloud.create_security_group(&create, at(0)).unwrap();
    assert_eq!(cloud.create_security_group(&create, at(0)).unwrap_err().code, "InvalidGroup.Duplicate");
    let elsewhere = CreateSecurityGroup { vpc_id: VpcId::new("vpc-0c99d8e7f6a5b4321"), ..create };
    cloud.create_security_group(&elsewhere, at(0)).unwrap();
    cloud.delete_security_group(&DeleteSecurityGroup { group_id: made.group_id }, at(0)).unwrap();
}
