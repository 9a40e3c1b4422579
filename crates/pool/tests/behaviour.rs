//! What the pool does when pods come faster than addresses, subnets run full, calls fail, and the disk does.

mod world;

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use freeboard_address::{Addresses, Cidr, EniId, Prefixes, SubnetId};
use freeboard_pool::{
    AllocationMode, Cause, CloudOperation, FailureKind, Place, PoolSettings, RangePreference, Reply,
    RestoredAllocation, RestoredCooling, Signal,
};
use jiff::SignedDuration;
use world::{Fault, World, facts, settings, targets};

const ROLE: (&str, &str) = ("kubernetes.io/role/cni", "1");

fn warm_ip(warm: u32) -> PoolSettings {
    let mut settings = settings();
    targets(&mut settings).warm_ip = Some(Addresses(warm));
    settings
}

fn m5_xlarge() -> freeboard_pool::NodeFacts {
    facts(4, 15, 58)
}

#[test]
fn forty_pods_at_once_on_a_cold_node_are_all_served_by_few_calls() {
    for settings in [settings(), warm_ip(5)] {
        let mut world = World::started(settings, m5_xlarge(), "10.0.0.0/16");
        let requests: Vec<_> = (0..40).map(|n| world.add(&format!("pod-{n}"))).collect();
        world.settle();
        assert!(requests.iter().all(|request| world.is_assigned(*request)), "{}", world.trace);
        assert_eq!(world.count("CreateNetworkInterface"), 3);
        assert_eq!(world.count("AttachNetworkInterface"), 3);
        assert!(world.count("AssignPrivateIpAddresses") <= 3, "{:?}", world.calls);
    }
}

#[test]
fn interfaces_for_a_burst_are_created_at_the_same_time() {
    let mut world = World::started(warm_ip(5), m5_xlarge(), "10.0.0.0/16");
    for n in 0..40 {
        world.add(&format!("pod-{n}"));
    }
    world.drain();
    while world.in_flight.iter().all(|(_, operation)| !matches!(operation, CloudOperation::CreateInterface { .. })) {
        world.answer(0);
        world.drain();
    }
    let creating = world.in_flight.iter().filter(|(_, o)| matches!(o, CloudOperation::CreateInterface { .. })).count();
    assert_eq!(creating, 3);
}

#[test]
fn what_is_left_of_a_subnet_is_taken() {
    let mut world = World::started(warm_ip(1), facts(3, 15, 58), "10.0.0.0/27");
    world.fill("subnet-a", 5);
    world.pass(61);
    let requests: Vec<_> = (0..15).map(|n| world.add(&format!("pod-{n}"))).collect();
    world.settle();
    let served = requests.iter().filter(|request| world.is_assigned(**request)).count();
    assert_eq!(served, 6, "one was warm, five were left:\n{}", world.trace);
    assert_eq!(world.refusal(requests[14]).cause, Cause::SubnetExhausted);
}

#[test]
fn what_is_left_is_taken_also_when_the_known_figure_is_wrong() {
    let mut world = World::started(warm_ip(1), facts(3, 15, 58), "10.0.0.0/26");
    world.fill("subnet-a", 5);
    let requests: Vec<_> = (0..14).map(|n| world.add(&format!("pod-{n}"))).collect();
    world.settle();
    let served = requests.iter().filter(|request| world.is_assigned(**request)).count();
    assert!(served >= 5, "one more may go to a new interface itself:\n{}", world.trace);
}

#[test]
fn a_full_subnet_is_refused_at_once_with_place_figures_and_remedy() {
    let mut world = World::started(warm_ip(1), facts(3, 6, 17), "10.0.208.0/27");
    world.add_subnet("subnet-p", "10.0.186.0/27", true, &[]);
    world.fill("subnet-a", 0);
    world.pod("first");
    let request = world.add("second");
    world.settle();
    let refusal = world.refusal(request).clone();
    assert_eq!(refusal.cause, Cause::SubnetExhausted);
    assert_eq!(refusal.place, Place::Subnet { id: SubnetId::new("subnet-a"), cidr: "10.0.208.0/27".parse().unwrap() });
    assert_eq!(
        refusal.message,
        "subnet 10.0.208.0/27 is full (0 of 27 free); 2 interface slots left but no other subnet in ap-southeast-2a allows pods"
    );
    assert!(
        refusal.remedy.contains("tag subnet-p (10.0.186.0/27, 27 free) with kubernetes.io/role/cni=1"),
        "{refusal}"
    );
    assert_eq!(world.pool.can_give(world.now).unwrap_err().cause, Cause::SubnetExhausted);
}

#[test]
fn a_new_range_serves_the_next_try_without_a_restart() {
    let mut world = World::started(warm_ip(1), facts(3, 6, 17), "10.0.208.0/27");
    world.fill("subnet-a", 0);
    world.pod("first");
    let request = world.add("second");
    world.settle();
    assert_eq!(world.refusal(request).cause, Cause::SubnetExhausted);
    world.add_subnet("subnet-s", "100.64.1.0/24", false, &[ROLE]);
    world.pass(6);
    assert!(world.pool.view().interfaces.iter().any(|i| i.subnet == SubnetId::new("subnet-s")), "{}", world.trace);
    let range: Cidr = "100.64.1.0/24".parse().unwrap();
    assert!(range.contains(world.pod("second")));
}

#[test]
fn a_waiting_add_is_served_when_somebody_else_gives_addresses_back() {
    let mut world = World::started(warm_ip(1), facts(3, 6, 17), "10.0.208.0/27");
    world.fill("subnet-a", 0);
    world.pod("first");
    world.add("second");
    world.pass(3);
    let free = world.subnets.get_mut(&SubnetId::new("subnet-a")).unwrap();
    free.space.give(Cidr::host(Ipv4Addr::new(10, 0, 208, 30)));
    world.pass(6);
    assert_eq!(world.pod("second"), Ipv4Addr::new(10, 0, 208, 30));
}

#[test]
fn ranges_are_preferred_and_spill_over_when_full() {
    let mut settings = warm_ip(1);
    settings.preference = RangePreference::SecondaryFirst;
    let mut world = World::new(settings, facts(3, 4, 11), "10.0.0.0/27");
    world.add_subnet("subnet-s", "100.64.1.0/28", false, &[ROLE]);
    world.fill("subnet-s", 3);
    world.pool.handle_restore(Vec::new(), Vec::new(), world.now);
    world.settle();
    let secondary: Cidr = "100.64.1.0/28".parse().unwrap();
    let addresses: Vec<_> = (0..5).map(|n| world.pod(&format!("pod-{n}"))).collect();
    let kinds: Vec<_> = addresses.iter().map(|address| secondary.contains(*address)).collect();
    assert_eq!(kinds, [true, true, false, false, false], "{}", world.trace);

    let mut settings = warm_ip(1);
    settings.preference = RangePreference::PrimaryFirst;
    let mut world = World::new(settings, facts(3, 4, 11), "10.0.0.0/27");
    world.add_subnet("subnet-s", "100.64.1.0/24", false, &[ROLE]);
    world.pool.handle_restore(Vec::new(), Vec::new(), world.now);
    world.fill("subnet-a", 2);
    world.settle();
    let addresses: Vec<_> = (0..4).map(|n| world.pod(&format!("pod-{n}"))).collect();
    let in_primary = addresses.iter().filter(|address| address.octets()[0] == 10).count();
    assert_eq!(in_primary, 2);
}

#[test]
fn a_fragmented_subnet_serves_single_addresses() {
    let mut settings = settings();
    settings.mode = AllocationMode::Prefixes;
    targets(&mut settings).warm_prefix = Prefixes(1);
    let mut world = World::new(settings, facts(3, 10, 110), "10.0.0.0/26");
    let space = &mut world.subnets.get_mut(&SubnetId::new("subnet-a")).unwrap().space;
    for low in [20, 40, 50] {
        space.take(Cidr::host(Ipv4Addr::new(10, 0, 0, low)));
    }
    world.pool.handle_restore(Vec::new(), Vec::new(), world.now);
    world.settle();
    for n in 0..7 {
        world.pod(&format!("pod-{n}"));
    }
    assert_eq!(world.pool.view().prefixes, 0);
    assert!(world.figures().ends_with("/8/1"), "{}: one spare, no more", world.figures());
    assert!(world.pool.view().subnets[0].fragmented_until.is_some());
}

#[test]
fn every_failure_has_its_cause() {
    for (kind, call, cause) in [
        (FailureKind::Throttled, "AssignPrivateIpAddresses", Cause::Throttled),
        (FailureKind::NotAuthorized, "AssignPrivateIpAddresses", Cause::NotAuthorized),
        (FailureKind::Other, "AssignPrivateIpAddresses", Cause::CloudUnavailable),
    ] {
        let mut settings = warm_ip(1);
        settings.max_eni = Some(1);
        let mut world = World::started(settings, facts(3, 10, 29), "10.0.0.0/24");
        world.standing_fault = Some((call, Fault::Fail(kind)));
        world.pod("first");
        let request = world.add("second");
        world.pass(21);
        let refusal = world.refusal(request);
        assert_eq!(refusal.cause, cause, "{refusal}");
        assert!(refusal.message.contains(call), "{refusal}");
        world.standing_fault = None;
        world.pass(120);
        world.pod("second");
    }
}

#[test]
fn an_interface_limit_says_how_many_slots_there_are() {
    let mut world = World::started(settings(), facts(2, 3, 11), "10.0.0.0/24");
    for n in 0..4 {
        world.pod(&format!("pod-{n}"));
    }
    let request = world.add("fifth");
    world.settle();
    let refusal = world.refusal(request);
    assert_eq!(refusal.cause, Cause::InterfaceLimit);
    assert!(refusal.message.contains("2 of 2 interfaces, each with 2 slots"), "{refusal}");
}

#[test]
fn a_lower_attachment_limit_is_learned_and_the_interface_given_back() {
    let mut world = World::new(settings(), facts(4, 3, 11), "10.0.0.0/24");
    world.attachment_limit = 2;
    world.pool.handle_restore(Vec::new(), Vec::new(), world.now);
    world.settle();
    for n in 0..4 {
        world.pod(&format!("pod-{n}"));
    }
    world.pass(60);
    assert_eq!(world.pool.view().interface_limit, 2);
    assert_eq!(world.interfaces.len(), 2, "nothing is left behind in the cloud:\n{}", world.trace);
    assert_eq!(world.count("CreateNetworkInterface"), 2);
}

#[test]
fn a_lost_answer_leaks_nothing_and_takes_nothing_twice() {
    for call in ["CreateNetworkInterface", "AttachNetworkInterface", "AssignPrivateIpAddresses"] {
        let mut world = World::started(warm_ip(1), facts(3, 3, 11), "10.0.0.0/24");
        world.pod("a");
        world.standing_fault = Some((call, Fault::LoseAnswer));
        let requests = [world.add("b"), world.add("c")];
        world.settle();
        world.standing_fault = None;
        world.pass(15);
        assert!(requests.iter().all(|request| world.is_assigned(*request)), "{call}:\n{}", world.trace);
        assert!(world.interfaces.values().all(|interface| interface.on_instance), "{call}");
    }
}

#[test]
fn a_released_address_cools_down_and_then_returns_longest_released_first() {
    let mut settings = settings();
    targets(&mut settings).warm_eni = 0;
    let mut world = World::started(settings, facts(1, 4, 11), "10.0.0.0/24");
    let first = world.pod("a");
    world.pod("b");
    world.pod("c");
    world.del("a");
    world.settle();
    world.pass(1);
    world.del("b");
    world.settle();
    let request = world.add("d");
    world.pass(3);
    assert!(!world.is_assigned(request), "four seconds are less than the floor of five");
    world.pass(2);
    assert_eq!(world.pool.holds(&World::key("d")).unwrap().address, first);
    assert!(world.is_assigned(request));
}

#[test]
fn a_cooling_address_is_not_given_while_others_are_free() {
    let mut world = World::started(settings(), facts(2, 4, 11), "10.0.0.0/24");
    let first = world.pod("a");
    world.del("a");
    world.settle();
    assert_ne!(world.pod("b"), first);
    world.pass(31);
    assert_eq!(world.pool.view().tally.cooling, 0);
}

#[test]
fn an_add_is_the_same_for_the_same_key() {
    let mut world = World::started(settings(), facts(2, 4, 11), "10.0.0.0/24");
    let first = world.pod("a");
    assert_eq!(world.pod("a"), first);
    let (one, two) = (world.add("b"), world.add("b"));
    world.settle();
    assert_eq!(world.replies[&one], world.replies[&two]);
}

#[test]
fn nothing_is_promised_before_it_is_durable() {
    let mut world = World::started(settings(), facts(2, 4, 11), "10.0.0.0/24");
    let request = world.add("a");
    while let Some(effect) = world.pool.poll_effect() {
        assert!(!matches!(effect, freeboard_pool::Effect::Reply(..)), "{effect:?}");
    }
    let state = world.pool.checkpoint();
    assert_eq!(state.allocations.len(), 1);
    world.pool.handle_persisted(Ok(state.revision), world.now);
    world.settle();
    assert!(world.is_assigned(request));
}

#[test]
fn a_full_disk_undoes_adds_and_dels_and_says_so() {
    let mut world = World::started(settings(), facts(2, 4, 11), "10.0.0.0/24");
    let first = world.pod("a");
    world.disk_fails = true;
    let requests = [world.add("b"), world.del("a")];
    world.settle();
    for request in requests {
        assert_eq!(world.refusal(request).cause, Cause::CheckpointFailed);
    }
    assert_eq!(world.pool.holds(&World::key("a")).unwrap().address, first);
    assert!(world.pool.holds(&World::key("b")).is_none());
    assert!(world.pool.alarms().iter().any(|alarm| alarm.what.contains("no space left")));
    world.disk_fails = false;
    world.pass(6);
    assert!(world.pool.alarms().is_empty());
    assert_eq!(world.disk.allocations.len(), 1);
    world.pod("b");
}

#[test]
fn an_address_that_the_cloud_does_not_show_is_quarantined_and_comes_back() {
    let stray = Ipv4Addr::new(10, 0, 0, 200);
    let mut world = World::new(warm_ip(2), facts(2, 4, 11), "10.0.0.0/24");
    let since = world.now;
    let allocation = RestoredAllocation { key: World::key("a"), pod: None, address: stray, since };
    world.pool.handle_restore(vec![allocation.clone()], Vec::new(), world.now);
    world.settle();
    assert_eq!(world.pool.view().tally.quarantined, 1);
    assert_eq!(world.pool.checkpoint().allocations, [allocation], "it is never dropped");
    assert!(world.pool.alarms()[0].what.contains("10.0.0.200"));
    world.own(stray);
    world.pass(61);
    assert_eq!(world.pool.view().tally.quarantined, 0);
    assert_eq!(world.pool.holds(&World::key("a")).unwrap().interface, Some(EniId::new("eni-0")));
}

#[test]
fn of_two_claims_on_one_address_the_newer_counts() {
    let address = Ipv4Addr::new(10, 0, 0, 5);
    let mut world = World::new(warm_ip(2), facts(2, 4, 11), "10.0.0.0/24");
    world.own(address);
    let older = RestoredAllocation { key: World::key("old"), pod: None, address, since: world.now };
    let since = world.now + SignedDuration::from_secs(1);
    let newer = RestoredAllocation { key: World::key("new"), pod: None, address, since };
    world.pool.handle_restore(vec![older.clone(), newer.clone()], Vec::new(), world.now);
    world.settle();
    let state = world.pool.checkpoint();
    assert_eq!((state.allocations, state.conflicting), (vec![newer], vec![older]));
    world.del("new");
    world.settle();
    world.pass(120);
    assert_eq!(world.pool.holds(&World::key("old")).unwrap().address, address, "the older sandbox may still use it");
    world.del("old");
    world.settle();
    world.pass(40);
    assert_eq!(world.pool.view().tally.quarantined, 0);
}

#[test]
fn cool_downs_survive_a_restart() {
    let address = Ipv4Addr::new(10, 0, 0, 5);
    let mut world = World::new(warm_ip(1), facts(2, 4, 11), "10.0.0.0/24");
    world.own(address);
    let cooling = vec![RestoredCooling { address, released: world.now }];
    world.pool.handle_restore(Vec::new(), cooling.clone(), world.now);
    world.settle();
    assert_eq!(world.pool.checkpoint().cooling, cooling);
    assert_ne!(world.pod("a"), address);
}

#[test]
fn a_del_before_the_start_is_finished_is_kept() {
    let address = Ipv4Addr::new(10, 0, 0, 5);
    let mut world = World::new(warm_ip(1), facts(2, 4, 11), "10.0.0.0/24");
    world.own(address);
    let request = world.del("a");
    let allocation = RestoredAllocation { key: World::key("a"), pod: None, address, since: world.now };
    world.pool.handle_restore(vec![allocation], Vec::new(), world.now);
    world.settle();
    assert_eq!(world.replies[&request], Reply::Released { address, device_index: 0 });
}

#[test]
fn an_interface_that_vanishes_under_pods_is_contained_after_two_looks() {
    let mut world = World::started(settings(), facts(3, 4, 11), "10.0.0.0/24");
    for n in 0..4 {
        world.pod(&format!("pod-{n}"));
    }
    let id = world.pool.holds(&World::key("pod-3")).unwrap().interface.unwrap();
    world.remove_interface(&id);
    world.pass(61);
    assert_eq!(world.pool.view().tally.quarantined, 0, "one look is not enough");
    world.pass(11);
    assert_eq!(world.pool.view().tally.quarantined, 1, "{}", world.trace);
    assert!(world.signals.iter().any(|s| matches!(s, Signal::Alarm { what, .. } if what.contains("pod-3"))));
    let request = world.del("pod-3");
    world.settle();
    assert!(matches!(world.replies[&request], Reply::Released { .. }));
}

#[test]
fn unused_interfaces_are_given_back_when_they_are_old_enough() {
    let mut world = World::started(settings(), facts(3, 4, 11), "10.0.0.0/24");
    for n in 0..5 {
        world.pod(&format!("pod-{n}"));
    }
    assert_eq!(world.interfaces.len(), 3);
    for n in 0..5 {
        world.del(&format!("pod-{n}"));
    }
    world.pass(200);
    assert_eq!(world.figures(), "1/3/3", "{}", world.trace);
    assert_eq!(world.interfaces.len(), 1);
}

#[test]
fn pods_are_packed() {
    let mut world = World::started(settings(), facts(3, 4, 11), "10.0.0.0/24");
    for n in 0..3 {
        world.pod(&format!("pod-{n}"));
    }
    let on_primary = world.pool.view().interfaces[0].tally.assigned;
    assert_eq!(on_primary, 3);
}

#[test]
fn an_empty_interface_in_a_full_subnet_makes_way() {
    let mut world = World::started(warm_ip(0), facts(2, 4, 11), "10.0.0.0/26");
    world.pod("a");
    world.pod("b");
    world.pod("c");
    world.pod("d");
    world.del("d");
    world.pass(31);
    world.fill("subnet-a", 0);
    world.pass(65);
    let secondary = world.pool.view().interfaces.iter().any(|interface| interface.device_index == 1);
    assert!(secondary || world.interfaces.len() == 1);
    world.add_subnet("subnet-s", "100.64.1.0/24", false, &[ROLE]);
    world.add("e");
    world.add("f");
    world.pass(30);
    world.pod("e");
    world.pod("f");
}

#[test]
fn a_cordoned_node_is_not_grown_and_says_so() {
    let mut world = World::started(warm_ip(1), facts(2, 4, 11), "10.0.0.0/24");
    world.pool.handle_schedulable(false, world.now);
    world.pod("a");
    let request = world.add("b");
    world.settle();
    assert_eq!(world.refusal(request).cause, Cause::NodeCordoned);
    world.pool.handle_schedulable(true, world.now);
    world.settle();
    world.pod("b");
}

#[test]
fn a_terminating_agent_refuses_adds_and_serves_dels() {
    let mut world = World::started(settings(), facts(2, 4, 11), "10.0.0.0/24");
    world.pod("a");
    world.pool.handle_terminating(world.now);
    let (add, del) = (world.add("b"), world.del("a"));
    world.settle();
    assert_eq!(world.refusal(add).cause, Cause::Terminating);
    assert!(matches!(world.replies[&del], Reply::Released { .. }));
}

#[test]
fn a_long_queue_is_cut() {
    let mut settings = warm_ip(1);
    settings.add_queue = 2;
    let mut world = World::started(settings, facts(2, 15, 58), "10.0.0.0/24");
    world.pod("a");
    let requests: Vec<_> = (0..4).map(|n| world.add(&format!("pod-{n}"))).collect();
    world.settle();
    assert_eq!(world.refusal(requests[3]).cause, Cause::QueueFull);
    assert!(world.is_assigned(requests[0]));
}

#[test]
fn a_caller_that_is_gone_leaves_the_queue() {
    let mut world = World::started(warm_ip(1), facts(2, 15, 58), "10.0.0.0/24");
    world.pod("a");
    world.add("b");
    let request = world.add("c");
    world.pool.handle_cancel(request, world.now);
    world.settle();
    assert!(world.pool.holds(&World::key("c")).is_none());
}

#[test]
fn garbage_collection_releases_what_the_runtime_does_not_know() {
    let mut world = World::started(settings(), facts(2, 4, 11), "10.0.0.0/24");
    world.pod("a");
    world.pod("b");
    let valid = BTreeSet::from([World::key("a")]);
    let released = world.pool.handle_collect("aws-cni", &valid, world.now);
    assert_eq!(released.len(), 1);
    assert_eq!(released[0].key, World::key("b"));
    assert!(world.pool.handle_collect("other", &BTreeSet::new(), world.now).is_empty());
    world.settle();
    assert!(world.pool.holds(&World::key("b")).is_none());
    assert_eq!(world.disk.allocations.len(), 1);
}

#[test]
fn addresses_on_an_excluded_subnet_are_not_given_and_are_given_back() {
    let mut world = World::new(settings(), facts(3, 4, 11), "10.0.0.0/24");
    world.add_subnet("subnet-s", "100.64.1.0/24", false, &[ROLE]);
    let tags = &mut world.subnets.get_mut(&SubnetId::new("subnet-a")).unwrap().tags;
    tags.insert("kubernetes.io/role/cni".to_owned(), "0".to_owned());
    world.own(Ipv4Addr::new(10, 0, 0, 77));
    world.pool.handle_restore(Vec::new(), Vec::new(), world.now);
    world.settle();
    let range: Cidr = "100.64.1.0/24".parse().unwrap();
    assert!(range.contains(world.pod("a")));
    world.pass(40);
    assert!(world.interfaces[&EniId::new("eni-0")].seen.secondary_addresses.is_empty(), "{}", world.trace);
}

#[test]
fn a_subnet_that_could_not_be_used_for_a_moment_is_tried_again() {
    let mut world = World::new(warm_ip(1), facts(2, 4, 11), "10.0.0.0/27");
    world.fill("subnet-a", 0);
    world.add_subnet("subnet-s", "100.64.1.0/24", false, &[ROLE]);
    world.standing_fault = Some(("CreateNetworkInterface", Fault::Fail(FailureKind::NotFound)));
    world.pool.handle_restore(Vec::new(), Vec::new(), world.now);
    world.pass(10);
    world.standing_fault = None;
    world.pass(120);
    assert_eq!(world.pod("a").octets()[0], 100);
}

#[test]
fn an_interface_in_a_full_subnet_is_emptied_and_replaced_by_one_where_there_is_room() {
    let mut world = World::started(warm_ip(3), facts(2, 5, 100), "10.0.0.0/27");
    // One more for the first interface; the second one gets its own address and two for pods.
    world.fill("subnet-a", 4);
    for name in ["first-0", "first-1", "first-2", "first-3", "second-0", "second-1"] {
        world.pod(name);
    }
    world.add_subnet("subnet-b", "100.64.0.0/24", false, &[("kubernetes.io/role/cni", "1")]);
    world.pass(120);
    assert!(world.figures().starts_with("2/"), "{}", world.figures());
    let before = world.pool.view();
    assert!(before.interfaces.iter().all(|i| i.tally.assigned > 0), "nobody is evicted");
    for name in ["second-0", "second-1"] {
        world.del(name);
    }
    world.pass(300);
    let view = world.pool.view();
    assert!(view.interfaces.iter().any(|i| i.subnet.to_string() == "subnet-b"), "{}", world.figures());
    assert_eq!(view.tally.assigned, 4, "the other pods keep their addresses");
    let decided = |text: &str| {
        world
            .signals
            .iter()
            .any(|s| matches!(s, freeboard_pool::Signal::Decision { what, .. } if what.to_string().contains(text)))
    };
    assert!(decided("prefer other interfaces than"), "steering is explained");
}

#[test]
fn switching_to_prefixes_and_back_leaves_live_pods_alone_and_drains_the_other_kind() {
    let singles = warm_ip(2);
    let mut prefixes = warm_ip(2);
    prefixes.mode = AllocationMode::Prefixes;
    let mut world = World::started(singles.clone(), facts(2, 10, 100), "10.0.0.0/24");
    let before: Vec<_> = (0..5).map(|n| world.pod(&format!("single-{n}"))).collect();
    world.pool.handle_settings(prefixes, world.now).unwrap();
    for n in 0..12 {
        world.pod(&format!("prefix-{n}"));
    }
    let holds = |world: &World, name: &str| world.pool.holds(&World::key(name)).unwrap().address;
    let now: Vec<_> = (0..5).map(|n| holds(&world, &format!("single-{n}"))).collect();
    assert_eq!(before, now, "live pods keep their addresses");
    assert!(world.pool.view().prefixes > 0);
    for n in 0..5 {
        world.del(&format!("single-{n}"));
    }
    world.pass(300);
    let view = world.pool.view();
    let mut singles_left = view.interfaces.iter().flat_map(|i| &i.blocks).filter(|block| !block.is_prefix);
    assert!(singles_left.all(|block| block.tally.assigned == 1), "single addresses without a pod drain");
    world.pool.handle_settings(singles, world.now).unwrap();
    for n in 0..12 {
        world.del(&format!("prefix-{n}"));
    }
    world.pass(300);
    let view = world.pool.view();
    assert!(view.prefixes <= 1, "leftover prefixes drain, but for one that meets the warm target");
    assert_eq!(view.tally.assigned, 0, "every pod is gone");
}

#[test]
fn lowering_max_eni_and_targets_converges_without_touching_live_pods() {
    let mut world = World::started(warm_ip(6), facts(4, 5, 100), "10.0.0.0/24");
    let before: Vec<_> = (0..10).map(|n| world.pod(&format!("pod-{n}"))).collect();
    assert!(world.pool.view().interfaces.len() >= 4, "{}", world.figures());
    let mut less = warm_ip(1);
    less.max_eni = Some(2);
    assert!(world.pool.handle_settings(less.clone(), world.now).is_err(), "more interfaces are in use than MAX_ENI=2");
    less.max_eni = None;
    world.pool.handle_settings(less.clone(), world.now).unwrap();
    world.pass(300);
    let after: Vec<_> = (0..10).map(|n| world.pool.holds(&World::key(&format!("pod-{n}"))).unwrap().address).collect();
    assert_eq!(before, after, "nobody is moved");
    for n in 5..10 {
        world.del(&format!("pod-{n}"));
    }
    world.pass(600);
    assert_eq!(world.pool.view().interfaces.len(), 2, "{}", world.figures());
    less.max_eni = Some(2);
    world.pool.handle_settings(less, world.now).unwrap();
    world.pod("another");
}

#[test]
fn a_foreign_attachment_takes_a_slot_and_the_pool_lives_with_it() {
    let mut world = World::started(warm_ip(1), facts(3, 4, 100), "10.0.0.0/24");
    world.pod("a");
    world.attachment_limit = 2;
    let requests: Vec<_> = (0..8).map(|n| world.add(&format!("pod-{n}"))).collect();
    world.pass(60);
    let served = requests.iter().filter(|request| world.is_assigned(**request)).count();
    assert_eq!(served, 5, "two interfaces of three addresses, one of them taken: {}", world.figures());
    world.attachment_limit = 3;
    world.pass(3700);
    let late = world.add("late");
    world.settle();
    assert!(world.is_assigned(late), "the limit is not believed for ever: {}", world.figures());
}
