//! Plans by the engine alone: the first seed, wishes that cannot be met, exports that other tools can read.

#![allow(clippy::unwrap_used, reason = "in a test a failed step is a failed test")]

use std::collections::BTreeMap;

use freeboard_address::{NodeName, SubnetId, VpcId};
use freeboard_capacity::{
    Inventory, Limit, NewBlock, NoPlan, Node, Plan, Subnet, TypeLimits, TypeTable, Vpc, Warm, WayKind, Wishes, export,
    plan,
};

fn types() -> TypeTable {
    let limits = |interfaces, addresses_per_interface, prefixes_supported| TypeLimits {
        interfaces,
        addresses_per_interface,
        processors: Some(2),
        prefixes_supported,
    };
    TypeTable::from([
        ("t3.small".into(), limits(3, 4, true)),
        ("t3.medium".into(), limits(3, 6, true)),
        ("m4.large".into(), limits(2, 10, false)),
    ])
}

fn node(name: &str, zone: &str, instance_type: &str, address: &str, pods: u64) -> Node {
    Node {
        name: NodeName::new(name),
        instance_type: Some(instance_type.into()),
        zone: Some(zone.into()),
        address: Some(address.parse().unwrap()),
        pool: None,
        pods_allowed: None,
        pods,
        pod_blocks: Vec::new(),
        ready: None,
    }
}

fn subnet(id: &str, zone: &str, cidr: &str, free: u64) -> Subnet {
    Subnet {
        id: SubnetId::new(id),
        name: None,
        zone: Some(zone.into()),
        cidr: cidr.parse().unwrap(),
        vpc: Some(VpcId::new("vpc-1")),
        free_addresses: Some(free),
        cni_role: None,
        of_eni_config: false,
        route_table: None,
        holdings: Vec::new(),
        is_mapped: false,
    }
}

/// The network of the first seed: two small subnets that are full, two that are idle.
fn seed() -> Inventory {
    Inventory {
        cluster: Some("demo-ip".into()),
        region: Some("ap-southeast-2".into()),
        vpcs: vec![Vpc {
            id: VpcId::new("vpc-1"),
            name: None,
            blocks: vec!["10.0.0.0/16".parse().unwrap()],
            peers: Vec::new(),
            routes: Vec::new(),
        }],
        subnets: vec![
            subnet("public-a", "a", "10.0.208.0/27", 0),
            subnet("public-b", "b", "10.0.224.0/27", 0),
            subnet("private-a", "a", "10.0.186.0/27", 26),
            subnet("private-b", "b", "10.0.192.0/27", 26),
        ],
        nodes: vec![
            node("a1", "a", "t3.medium", "10.0.208.27", 9),
            node("a2", "a", "t3.small", "10.0.208.20", 8),
            node("b1", "b", "t3.medium", "10.0.224.11", 9),
            node("b2", "b", "t3.small", "10.0.224.6", 8),
        ],
        ..Inventory::default()
    }
}

fn new_block() -> Wishes {
    Wishes { block: Some(NewBlock::Chosen), ..Wishes::default() }
}

fn planned(wishes: &Wishes) -> Plan {
    plan(&seed(), &types(), wishes).unwrap()
}

#[test]
fn the_first_seed_gets_the_block_and_the_subnets_that_its_authors_chose() {
    let plan = planned(&new_block());
    let way = plan.chosen().unwrap();
    assert_eq!(way.kind, WayKind::Wished);
    let expansion = way.expansion.as_ref().unwrap();
    let subnets: Vec<String> = expansion.subnets.iter().map(|one| format!("{} {}", one.zone, one.cidr)).collect();
    assert_eq!(expansion.block.to_string(), "100.64.0.0/20");
    assert_eq!(subnets, ["a 100.64.1.0/24", "b 100.64.2.0/24"]);
    let most: BTreeMap<&str, _> =
        way.max_pods.iter().map(|one| (one.instance_type.as_str(), (one.before, one.after))).collect();
    assert_eq!(most["t3.medium"], (Some(17), Some(12)));
    assert_eq!(most["t3.small"], (Some(11), Some(8)));
    assert!(way.after.pods_for_certain >= plan.wanted_pods);
}

#[test]
fn the_smallest_change_that_suffices_is_chosen() {
    let plan = planned(&Wishes::default());
    assert_eq!(plan.wanted_pods, 68, "twice the pods of today");
    let kinds: Vec<WayKind> = plan.ways.iter().map(|way| way.kind).collect();
    assert_eq!(kinds, [WayKind::Nodes, WayKind::IdleSubnets, WayKind::NewBlock]);
    assert!(!plan.ways[0].fits, "more nodes do not help where subnets are full: {:?}", plan.ways[0]);
    // The idle subnets are enough for these, and for ten times as many they are not.
    assert_eq!(plan.chosen().unwrap().kind, WayKind::IdleSubnets);
    let plan = planned(&Wishes { pods: Some(340), ..Wishes::default() });
    assert_eq!(plan.chosen().unwrap().kind, WayKind::NewBlock);
}

#[test]
fn what_gives_out_first_is_named() {
    let plan = planned(&Wishes::default());
    let zone = &plan.before.zones[0];
    assert_eq!((zone.limit, zone.pods_by_nodes, zone.pods_at_most), (Limit::Addresses, 24, 21));
    let first = plan.before.breaks_first.as_ref().unwrap();
    assert_eq!((first.zone.as_str(), first.limit, first.pods), ("a", Limit::Addresses, 42));
    // One node more needs an address of its own, and brings none.
    let mut inventory = seed();
    inventory.nodes.push(node("a3", "a", "t3.medium", "10.0.208.14", 0));
    let plan = freeboard_capacity::plan(&inventory, &types(), &Wishes::default()).unwrap();
    let zone = &plan.before.zones[0];
    assert_eq!((zone.limit, zone.pods_by_nodes, zone.pods_at_most), (Limit::Addresses, 39, 20));
}

#[test]
fn impossible_wishes_say_what_is_missing_and_the_nearest_possible() {
    let plan = planned(&Wishes { pods: Some(1_000_000), ..Wishes::default() });
    assert!(plan.chosen.is_none());
    let missing = plan.ways[2].missing.join(" ");
    assert!(missing.contains("a /16 at most, give 32763 to each of 2 zones"), "{missing}");
    let refused =
        planned(&Wishes { block: Some(NewBlock::Given("172.20.0.0/16".parse().unwrap())), ..Wishes::default() });
    let missing = refused.ways[0].missing.join(" ");
    assert!(missing.contains("10.0.0.0/8 may not add a block of 172.16.0.0/12"), "{missing}");
    assert!(missing.contains("the nearest possible: --add-cidr 100.64.0.0/16"), "{missing}");
    let narrow =
        planned(&Wishes { block: Some(NewBlock::Given("100.64.0.0/28".parse().unwrap())), ..Wishes::default() });
    assert!(narrow.ways[0].missing[0].contains("a /27 or wider would"), "{:?}", narrow.ways[0].missing);
}

#[test]
fn wishes_that_cannot_be_meant_are_refused() {
    let refusal = |wishes: Wishes| plan(&seed(), &types(), &wishes).unwrap_err().to_string();
    let unknown = refusal(Wishes { instance_type: Some("t3.mediun".into()), ..Wishes::default() });
    assert_eq!(unknown, "there is no instance type \"t3.mediun\" in the table of 3");
    let xen = Wishes { instance_type: Some("m4.large".into()), prefixes: Some(true), ..Wishes::default() };
    assert_eq!(refusal(xen), "m4.large cannot carry prefixes: only Nitro and bare-metal types can");
    let most = refusal(Wishes { max_pods: Some(30), ..Wishes::default() });
    assert!(most.contains("max-pods 30 is more than a t3.medium has addresses for: 17 at most"), "{most}");
    assert_eq!(plan(&Inventory::default(), &types(), &Wishes::default()), Err(NoPlan::NoNodes));
}

#[test]
fn fewer_warm_addresses_make_room_in_the_subnets_that_are_there() {
    let lean = Wishes { warm: Some(Warm::Addresses { warm: 1, minimum: 0 }), pods: Some(34), ..Wishes::default() };
    let before = planned(&lean).before.pods_for_certain;
    let plan = planned(&lean);
    let after = plan.chosen().expect("34 pods fit with one warm address each").after.pods_for_certain;
    assert!(after > before, "{after} > {before}");
}

#[test]
fn the_exports_name_every_subnet_and_what_kubernetes_must_be_told() {
    let plan = planned(&new_block());
    let way = plan.chosen().unwrap();
    let inventory = seed();
    let aws = export::aws(&inventory, way);
    assert!(aws.contains("associate-vpc-cidr-block --vpc-id vpc-1 --cidr-block 100.64.0.0/20"), "{aws}");
    let kubectl = export::kubectl(&inventory, way);
    assert!(kubectl.contains("AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG=true"), "{kubectl}");
    assert!(
        kubectl.find("kubectl apply").unwrap() < kubectl.find("set env").unwrap(),
        "ENIConfigs come first: {kubectl}"
    );
    let eksctl = export::eksctl(&inventory, way);
    assert!(eksctl.contains("kind: ClusterConfig") && eksctl.contains("maxPodsPerNode: 12"), "{eksctl}");
    let terraform = export::terraform(&inventory, way);
    for said in [
        "vpc_id            = aws_vpc_ipv4_cidr_block_association.pods.vpc_id",
        "cidr_block        = \"100.64.2.0/24\"",
        "\"a\" = { id = aws_subnet.pods_a.id }",
    ] {
        assert!(terraform.contains(said), "{said} is not in {terraform}");
    }
    assert_eq!(terraform.matches('{').count(), terraform.matches('}').count());
}
