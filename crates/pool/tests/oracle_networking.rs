//! The tables of aws-vpc-cni §4.8 (custom networking), §4.9 (tags), §5.1, §5.2, §5.4 (subnets), and the rows of §11.1 and
//! §11.2 about trunk and EFA interfaces, network cards, modes, cordon and removal by force.

#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod world;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use freeboard_address::{Addresses, EniId, MacAddress, Prefixes, SecurityGroupId, SubnetId};
use freeboard_pool::{
    AllocationMode, Cause, CloudOperation, EniConfig, EniConfigChoice, ObservedInterface, PodSubnets, PoolSettings,
};
use world::{Interface, World, facts, settings, targets};

const M5_LARGE: (u32, u32) = (3, 10);

fn config(name: &str, subnet: &str, groups: &[&str]) -> EniConfig {
    let groups = groups.iter().map(|group| SecurityGroupId::new(*group)).collect();
    EniConfig { name: name.to_owned(), subnet: SubnetId::new(subnet), groups }
}

/// A node under custom networking, with an ENIConfig for 100.64.0.0/20; nothing is restored yet.
fn reserved(settings: PoolSettings, max_pods: u32) -> World {
    let mut world = World::new(settings, facts(M5_LARGE.0, M5_LARGE.1, max_pods), "10.0.0.0/16");
    world.add_subnet("subnet-pods", "100.64.0.0/20", false, &[]);
    let pods = PodSubnets::Configured(config("default", "subnet-pods", &["sg-pods"]));
    world.pool.handle_pod_subnets(pods, world.now);
    world
}

fn start(world: &mut World) {
    world.pool.handle_restore(Vec::new(), Vec::new(), world.now);
    world.settle();
}

/// Puts an interface on the instance that the pool did not make.
fn attach(world: &mut World, index: u8, change: impl FnOnce(&mut ObservedInterface)) -> EniId {
    let id = EniId::new(format!("eni-foreign-{index}"));
    let mut seen = ObservedInterface {
        id: id.clone(),
        mac: MacAddress::local([2, 0, 0, 0, 2, index]),
        device_index: u32::from(index),
        network_card: 0,
        subnet: SubnetId::new("subnet-a"),
        primary_address: Ipv4Addr::new(10, 0, 255, index),
        secondary_addresses: Vec::new(),
        prefixes: Vec::new(),
        tags: BTreeMap::new(),
        attached: true,
        special: false,
    };
    change(&mut seen);
    world.interfaces.insert(id.clone(), Interface { seen, on_instance: true, token: format!("test-{index}") });
    id
}

/// §4.8, the row of custom networking, and others by its formulas: the primary interface is counted and carries nothing.
#[test]
fn custom_networking_keeps_the_primary_interface_for_the_node() {
    let with_warm_ip = |warm| {
        let mut settings = settings();
        targets(&mut settings).warm_ip = Some(Addresses(warm));
        settings
    };
    let mut prefixes = settings();
    prefixes.mode = AllocationMode::Prefixes;
    targets(&mut prefixes).warm_prefix = Prefixes(1);
    for (settings, max_pods, expected) in [
        (settings(), 20, &[(0, "2/9/9"), (1, "3/18/17"), (18, "3/18/0")][..]),
        (with_warm_ip(5), 20, &[(0, "2/5/5"), (1, "2/6/5"), (4, "2/9/5"), (5, "3/10/5"), (18, "3/18/0")]),
        (prefixes, 110, &[(0, "2/16/16"), (1, "2/32/31"), (17, "2/48/31")]),
    ] {
        let mut world = reserved(settings, max_pods);
        start(&mut world);
        let mut pods = 0;
        for (count, figures) in expected {
            while pods < *count {
                pods += 1;
                assert_eq!(world.pod(&format!("pod-{pods}")).octets()[..2], [100, 64]);
            }
            assert_eq!(world.figures(), *figures, "with {count} pods:\n{}", world.trace);
        }
        let primary = &world.interfaces[&EniId::new("eni-0")].seen;
        assert_eq!((primary.secondary_addresses.len(), primary.prefixes.len()), (0, 0));
    }
}

/// §5.2: secondary addresses that are on the primary interface already are used.
#[test]
fn what_the_primary_interface_carries_already_is_used() {
    let mut world = reserved(settings(), 20);
    world.own(Ipv4Addr::new(10, 0, 0, 77));
    start(&mut world);
    let given: Vec<_> = (0..10).map(|n| world.pod(&format!("pod-{n}"))).collect();
    assert!(given.contains(&Ipv4Addr::new(10, 0, 0, 77)), "{given:?}");
    assert_eq!(world.interfaces[&EniId::new("eni-0")].seen.secondary_addresses.len(), 1, "and no more are taken on it");
}

/// §5.1: the security groups are the ENIConfig's; empty ones mean the primary interface's.
#[test]
fn new_interfaces_get_the_security_groups_of_the_eniconfig() {
    for groups in [&["sg-1", "sg-2"][..], &[]] {
        let mut world = reserved(settings(), 20);
        world.pool.handle_pod_subnets(PodSubnets::Configured(config("a", "subnet-pods", groups)), world.now);
        world.pool.handle_restore(Vec::new(), Vec::new(), world.now);
        let mut asked = None;
        while asked.is_none() {
            world.drain();
            asked = world.in_flight.iter().find_map(|(_, call)| {
                let CloudOperation::CreateInterface { groups, .. } = call else { return None };
                Some(groups.clone())
            });
            assert!(asked.is_some() || !world.in_flight.is_empty(), "nothing is created:\n{}", world.trace);
            world.answer(0);
        }
        assert_eq!(asked.unwrap(), groups.iter().map(|group| SecurityGroupId::new(*group)).collect::<Vec<_>>());
    }
}

/// §5.1: which ENIConfig a node has.
#[test]
fn the_eniconfig_is_chosen_by_label_and_annotation() {
    const EXTERNAL: &str = "vpc.amazonaws.com/externalEniConfig";
    const KEY: &str = "k8s.amazonaws.com/eniConfig";
    const ZONE: &str = "topology.kubernetes.io/zone";
    type Pairs = &'static [(&'static str, &'static str)];
    let rows: [(Pairs, Pairs, &str, &str, &str); 9] = [
        (&[], &[], KEY, KEY, "default"),
        (&[(KEY, "by-label")], &[], KEY, KEY, "by-label"),
        (&[(KEY, "by-label")], &[(KEY, "by-annotation")], KEY, KEY, "by-annotation"),
        (&[(EXTERNAL, "external"), (KEY, "by-label")], &[(KEY, "by-annotation")], KEY, KEY, "external"),
        (&[(ZONE, "us-west-2a")], &[], KEY, ZONE, "us-west-2a"),
        (&[(ZONE, "us-west-2a")], &[], KEY, KEY, "default"),
        (&[(ZONE, "us-west-2a")], &[("mine", "by-annotation")], "mine", ZONE, "by-annotation"),
        (&[], &[(EXTERNAL, "not-a-label")], KEY, KEY, "default"),
        (&[(KEY, "")], &[(KEY, "")], KEY, KEY, "default"),
    ];
    for (labels, annotations, annotation_key, label_key, expected) in rows {
        let map = |pairs: Pairs| pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let (labels, annotations) = (map(labels), map(annotations));
        let choice = EniConfigChoice { labels: &labels, annotations: &annotations, annotation_key, label_key };
        assert_eq!(choice.name(), expected, "{labels:?} {annotations:?}");
        let configs = [config("default", "subnet-1", &[]), config("by-label", "subnet-2", &[])];
        match expected {
            "default" => assert_eq!(choice.among(&configs), PodSubnets::Configured(configs[0].clone())),
            "by-label" => assert_eq!(choice.among(&configs), PodSubnets::Configured(configs[1].clone())),
            name => assert_eq!(choice.among(&configs), PodSubnets::Missing { name: name.to_owned() }),
        }
    }
}

/// `eniconfig is not available`, and a subnet of another zone (not validated there, #2683): told with a remedy; healed when the
/// object is right.
#[test]
fn a_wrong_eniconfig_is_named_and_a_right_one_heals() {
    for (pod_subnets, says) in [
        (PodSubnets::Missing { name: "us-west-2a".to_owned() }, "there is no ENIConfig named \"us-west-2a\""),
        (
            PodSubnets::Configured(config("far", "subnet-elsewhere", &[])),
            "ENIConfig \"far\" names subnet-elsewhere, which is no subnet of ap-southeast-2a",
        ),
    ] {
        let mut world = reserved(settings(), 20);
        world.pool.handle_pod_subnets(pod_subnets, world.now);
        start(&mut world);
        let request = world.add("a");
        world.pass(21);
        let refusal = world.refusal(request);
        assert_eq!(refusal.cause, Cause::NoSubnetAllowed);
        assert!(refusal.message.contains(says), "{refusal}");
        assert!(refusal.remedy.contains("ENIConfig"), "{refusal}");
        let waiting = world.add("b");
        world.settle();
        world.pool.handle_pod_subnets(PodSubnets::Configured(config("near", "subnet-pods", &[])), world.now);
        world.settle();
        let request = world.add("c");
        world.settle();
        assert!(world.is_assigned(request), "{}", world.trace);
        let _ = waiting;
    }
}

/// §5.1: interfaces that are there are not moved when the ENIConfig changes.
#[test]
fn a_changed_eniconfig_counts_for_new_interfaces_only() {
    let mut world = reserved(settings(), 20);
    world.add_subnet("subnet-later", "100.65.0.0/20", false, &[]);
    start(&mut world);
    world.pool.handle_pod_subnets(PodSubnets::Configured(config("default", "subnet-later", &[])), world.now);
    world.settle();
    world.pass(600);
    assert_eq!(world.figures(), "2/9/9", "nothing moves");
    let ranges: Vec<u8> = (0..18).map(|n| world.pod(&format!("pod-{n}")).octets()[1]).collect();
    assert_eq!(ranges.iter().filter(|range| **range == 64).count(), 9);
    assert_eq!(ranges.iter().filter(|range| **range == 65).count(), 9);
}

/// §5.4: which subnets may be used (the value table and the cluster table of the subnet tags).
#[test]
fn subnets_are_used_by_their_tags() {
    const OURS: &str = "cni.networking.k8s.aws/cluster/demo";
    const OTHERS: &str = "cni.networking.k8s.aws/cluster/other";
    type Tags = &'static [&'static str];
    // Tag kubernetes.io/role/cni, cluster tags, CLUSTER_NAME → the primary subnet, another one.
    type Row = (Option<&'static str>, Tags, Option<&'static str>, bool, bool);
    let rows: [Row; 14] = [
        (None, &[], None, true, false),
        (Some(""), &[], None, true, false),
        (Some("0"), &[], None, false, false),
        (Some("1"), &[], None, true, true),
        (Some("true"), &[], None, true, true),
        (Some("1"), &[], Some("demo"), true, true),
        (Some("1"), &[OURS], Some("demo"), true, true),
        (Some("1"), &[OTHERS], Some("demo"), false, false),
        (Some("1"), &[OURS, OTHERS], Some("demo"), true, true),
        (Some("1"), &[OTHERS], None, true, true),
        (Some("0"), &[OURS], Some("demo"), false, false),
        (None, &[OURS], Some("demo"), true, false),
        (None, &[OTHERS], Some("demo"), true, false),
        (Some(""), &[OTHERS], Some("demo"), true, false),
    ];
    for (role, clusters, cluster_name, primary, other) in rows {
        let cluster_name = cluster_name.map(str::to_owned);
        let mut world = World::new(PoolSettings { cluster_name, ..settings() }, facts(3, 10, 29), "10.0.0.0/24");
        world.add_subnet("subnet-s", "100.64.0.0/24", false, &[]);
        for subnet in world.subnets.values_mut() {
            let role = role.map(|role| ("kubernetes.io/role/cni".to_owned(), role.to_owned()));
            subnet.tags =
                role.into_iter().chain(clusters.iter().map(|key| ((*key).to_owned(), String::new()))).collect();
        }
        start(&mut world);
        let allowed: Vec<bool> = world.pool.view().subnets.iter().map(|subnet| subnet.allowed).collect();
        assert_eq!(allowed, [primary, other], "{role:?} {clusters:?}: {:#?}", world.pool.view().subnets);
    }
}

/// §5.4: with discovery off only the primary subnet counts; of several the one with the most free addresses comes first.
#[test]
fn discovery_can_be_switched_off_and_prefers_room() {
    for (discovery, expected) in [(true, 100), (false, 10)] {
        let mut world =
            World::new(PoolSettings { subnet_discovery: discovery, ..settings() }, facts(2, 4, 11), "10.0.0.0/24");
        world.add_subnet("subnet-s", "100.64.0.0/20", false, &[("kubernetes.io/role/cni", "1")]);
        start(&mut world);
        let pods: Vec<_> = (0..6).map(|n| world.pod(&format!("pod-{n}")).octets()[0]).collect();
        assert_eq!(pods, [10, 10, 10, expected, expected, expected]);
    }
}

/// §4.9: whose interface is the pool's. One that is not takes its slot all the same.
#[test]
fn interfaces_are_managed_by_their_tags() {
    const NO_MANAGE: &str = "node.k8s.amazonaws.com/no_manage";
    const INSTANCE: &str = "node.k8s.amazonaws.com/instance_id";
    type Tags = &'static [(&'static str, &'static str)];
    let rows: [(Tags, bool, bool); 10] = [
        (&[], true, true),
        (&[], false, false),
        (&[(INSTANCE, "i-0a")], true, true),
        (&[(INSTANCE, "i-0a")], false, true),
        (&[(INSTANCE, "i-0b")], true, true),
        (&[(INSTANCE, "i-0b")], false, false),
        (&[(NO_MANAGE, "true")], true, false),
        (&[(NO_MANAGE, "true"), (INSTANCE, "i-0a")], true, false),
        (&[(NO_MANAGE, "false")], false, true),
        (&[(NO_MANAGE, "")], false, true),
    ];
    for (tags, manage_untagged, managed) in rows {
        let mut settings = PoolSettings { manage_untagged, ..settings() };
        targets(&mut settings).warm_eni = 3;
        let mut world = World::new(settings, facts(3, 4, 110), "10.0.0.0/16");
        let own = [(INSTANCE.to_owned(), "i-0a".to_owned())];
        world.interfaces.get_mut(&EniId::new("eni-0")).unwrap().seen.tags =
            [(NO_MANAGE.to_owned(), "true".to_owned())].into();
        let id = attach(&mut world, 1, |seen| {
            seen.tags = tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        });
        start(&mut world);
        let view = world.pool.view();
        let ids: Vec<_> = view.interfaces.iter().map(|interface| interface.id.clone()).collect();
        assert!(ids.contains(&EniId::new("eni-0")), "the primary interface is always managed");
        assert_eq!(ids.contains(&id), managed, "{tags:?} MANAGE_UNTAGGED_ENI={manage_untagged}");
        assert_eq!(view.unmanaged_interfaces, u32::from(!managed));
        let made = world.interfaces.len() - 2;
        assert_eq!(made, 1, "three slots: the primary one, this one, and one more; {own:?}");
    }
}

/// `WarmENIInteractions`, `GetTrunkENI`, `GetEFAENIs`, `isUnmanagedNIC`: trunk and EFA interfaces carry no pods and are never given
/// back; they take a slot on their own network card only.
#[test]
fn trunk_and_efa_interfaces_and_other_cards_are_left_alone() {
    for (special, card, managed_at_most) in [(true, 0, 2), (false, 1, 3), (true, 1, 3)] {
        let mut wanting = settings();
        targets(&mut wanting).warm_eni = 3;
        let mut world = World::new(wanting, facts(3, 4, 110), "10.0.0.0/16");
        world.attachment_limit = 4;
        let id = attach(&mut world, 1, |seen| {
            (seen.special, seen.network_card) = (special, card);
            seen.secondary_addresses = vec![Ipv4Addr::new(10, 0, 200, 1)];
        });
        start(&mut world);
        assert_eq!(world.pool.view().interfaces.len(), managed_at_most, "special {special} card {card}");
        let indices: Vec<u32> = world.pool.view().interfaces.iter().map(|interface| interface.device_index).collect();
        let expected: Vec<u32> = if card == 0 { vec![0, 2] } else { vec![0, 1, 2] };
        assert_eq!(indices, expected, "each card counts its devices by itself");
        let given: Vec<_> = (0..6).map(|n| world.pod(&format!("pod-{n}"))).collect();
        assert!(!given.contains(&Ipv4Addr::new(10, 0, 200, 1)), "{given:?}");
        let mut modest = settings();
        targets(&mut modest).minimum_ip = Some(Addresses(2));
        for n in 0..6 {
            world.del(&format!("pod-{n}"));
        }
        world.pool.handle_settings(modest, world.now).unwrap();
        world.pass(600);
        assert!(world.interfaces.contains_key(&id), "it is not the pool's to give back");
        assert_eq!(world.pool.view().interfaces.len(), 1);
    }
}

/// The clean-up rows of §11.2: leftover single addresses with prefixes, and leftover prefixes without (there only at a restart,
/// §1.8). What a pod has stays until its DEL.
#[test]
fn what_is_left_of_the_other_mode_goes_when_it_is_unused() {
    let mut prefixes = settings();
    prefixes.mode = AllocationMode::Prefixes;
    targets(&mut prefixes).warm_prefix = Prefixes(1);
    let mut singles = settings();
    targets(&mut singles).warm_ip = Some(Addresses(2));
    for (first, then) in [(singles.clone(), prefixes.clone()), (prefixes, singles)] {
        let kind = |world: &World, of_first: bool| {
            let seen = &world.interfaces[&EniId::new("eni-0")].seen;
            let in_prefixes = (first.mode == AllocationMode::Prefixes) == of_first;
            if in_prefixes { seen.prefixes.len() } else { seen.secondary_addresses.len() }
        };
        let mut world = World::started(first.clone(), facts(3, 10, 29), "10.0.0.0/24");
        let kept = world.pod("kept");
        world.pod("going");
        world.del("going");
        world.settle();
        world.pool.handle_settings(then, world.now).unwrap();
        world.pass(300);
        assert_eq!(kind(&world, true), 1, "only what a pod has is left of the first kind:\n{}", world.trace);
        assert_eq!(world.pool.holds(&World::key("kept")).unwrap().address, kept);
        world.del("kept");
        world.settle();
        world.pass(300);
        assert_eq!(kind(&world, true), 0, "and nothing when it has gone:\n{}", world.trace);
        assert!(kind(&world, false) > 0, "the second kind meets the target");
    }
}

/// `IncreaseIPPool` on a node that is not schedulable: no calls, unless AWS_MANAGE_ENIS_NON_SCHEDULABLE says so.
#[test]
fn a_cordoned_node_grows_only_when_told_to() {
    for (manage, served) in [(false, 3), (true, 9)] {
        let mut lone = PoolSettings { manage_non_schedulable: manage, ..settings() };
        targets(&mut lone).warm_eni = 0;
        let mut world = World::started(lone, facts(3, 4, 11), "10.0.0.0/16");
        world.pool.handle_schedulable(false, world.now);
        world.settle();
        let requests: Vec<_> = (0..9).map(|n| world.add(&format!("pod-{n}"))).collect();
        world.pass(30);
        let assigned = requests.iter().filter(|request| world.is_assigned(**request)).count();
        assert_eq!(assigned, served, "AWS_MANAGE_ENIS_NON_SCHEDULABLE={manage}");
        assert_eq!(world.count("CreateNetworkInterface"), if manage { 2 } else { 0 });
        if !manage {
            assert_eq!(world.refusal(requests[8]).cause, Cause::NodeCordoned);
            world.pool.handle_schedulable(true, world.now);
            world.settle();
            world.pod("later");
        }
    }
}

/// `ForceRemovalMetrics` and #2041: an interface that goes away under its pods is never forced out. They keep their addresses, which
/// nobody else gets; nothing is subtracted twice; when it shows again all is as before.
#[test]
fn an_interface_that_vanishes_under_pods_is_contained_and_counted_once() {
    let mut world = World::started(settings(), facts(3, 4, 11), "10.0.0.0/16");
    let given: Vec<_> = (0..6).map(|n| world.pod(&format!("pod-{n}"))).collect();
    let second = world.pool.view().interfaces[1].id.clone();
    let gone = world.interfaces.remove(&second).unwrap();
    for _ in 0..2 {
        world.pool.handle_interfaces(world.observed_interfaces(), world.now);
        world.settle();
        world.pass(11);
    }
    let view = world.pool.view();
    assert!(view.interfaces.iter().all(|interface| interface.id != second));
    assert_eq!((view.tally.assigned, view.tally.quarantined), (3, 3), "{view:#?}");
    assert_eq!(world.pool.alarms().len(), 3);
    for (n, address) in given.iter().enumerate() {
        assert_eq!(world.pool.holds(&World::key(&format!("pod-{n}"))).unwrap().address, *address);
    }
    world.interfaces.insert(second, gone);
    world.pool.handle_interfaces(world.observed_interfaces(), world.now);
    world.settle();
    let tally = world.pool.view().tally;
    assert_eq!((tally.assigned, tally.quarantined), (6, 0), "{}", world.trace);
    assert_eq!(world.pool.alarms(), []);
}
