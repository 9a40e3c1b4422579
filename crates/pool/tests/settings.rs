//! New settings on a live node: contradictions are refused whole, by name and value; what changes is told.

#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod world;

use freeboard_address::{Addresses, Prefixes};
use freeboard_pool::{AllocationMode, Policy, PoolSettings, RangePreference, SettingsConflict, Signal};
use world::{World, facts, settings, targets};

fn decisions(world: &World) -> Vec<String> {
    let told = world.signals.iter().filter_map(|signal| match signal {
        Signal::Decision { what, why } => Some(format!("{what}: {why}")),
        Signal::Waiting { .. } | Signal::Alarm { .. } => None,
    });
    told.collect()
}

/// Tries settings on a node with two interfaces in use, and returns the refusal.
fn refusal(change: impl FnOnce(&mut PoolSettings)) -> String {
    let mut world = World::started(settings(), facts(3, 4, 11), "10.0.0.0/24");
    for n in 0..4 {
        world.pod(&format!("pod-{n}"));
    }
    let (figures, calls) = (world.figures(), world.calls.len());
    let mut new = settings();
    change(&mut new);
    // Something in order goes with what is not: it must not be obeyed either.
    new.add_queue = 1;
    let refused = world.pool.handle_settings(new, world.now).unwrap_err();
    world.settle();
    assert_eq!((world.figures(), world.calls.len()), (figures, calls), "nothing changes");
    let again = world.pool.handle_settings(settings(), world.now).unwrap();
    assert_eq!(again, [], "the old settings stayed in force");
    let told = format!("keep the old settings: {refused}");
    assert!(decisions(&world).contains(&told), "{told}");
    refused.to_string()
}

#[test]
fn prefixes_with_all_targets_zero_are_refused() {
    let message = refusal(|new| {
        new.mode = AllocationMode::Prefixes;
        targets(new).minimum_ip = Some(Addresses(0));
    });
    assert_eq!(
        message,
        "the new settings are refused and the old ones stay: ENABLE_PREFIX_DELEGATION=true contradicts WARM_ENI_TARGET=1 WARM_IP_TARGET=0 MINIMUM_IP_TARGET=0 WARM_PREFIX_TARGET=0: expected a target above zero; set WARM_PREFIX_TARGET to at least 1, or FREEBOARD_POLICY=lean"
    );
}

#[test]
fn fewer_interfaces_than_are_in_use_are_refused() {
    let message = refusal(|new| new.max_eni = Some(1));
    assert!(message.contains("MAX_ENI=1 is below the 2 interfaces that are in use: expected at least 2"), "{message}");
}

#[test]
fn a_preference_for_a_range_that_does_not_exist_is_refused() {
    let message = refusal(|new| new.preference = RangePreference::SecondaryFirst);
    assert!(
        message.contains("FREEBOARD_RANGE_PREFERENCE=secondary-first prefers a range that does not exist: expected a subnet for pods in ap-southeast-2a in a secondary CIDR of the VPC, and there is none among subnet-a (10.0.0.0/24)"),
        "{message}"
    );
}

#[test]
fn all_contradictions_are_named_at_once() {
    let message = refusal(|new| {
        new.mode = AllocationMode::Prefixes;
        new.max_eni = Some(1);
        new.preference = RangePreference::SecondaryFirst;
    });
    for name in ["ENABLE_PREFIX_DELEGATION=true", "MAX_ENI=1", "FREEBOARD_RANGE_PREFERENCE=secondary-first"] {
        assert!(message.contains(name), "{message}");
    }
}

#[test]
fn what_fits_is_obeyed_at_once_and_told_with_its_effect() {
    let mut world = World::started(settings(), facts(3, 10, 29), "10.0.0.0/24");
    let mut new = settings();
    targets(&mut new).warm_ip = Some(Addresses(12));
    new.max_eni = Some(2);
    let changes = world.pool.handle_settings(new, world.now).unwrap();
    let names: Vec<_> = changes.iter().map(|change| (change.name, change.from.as_str(), change.to.as_str())).collect();
    assert_eq!(names, [("WARM_IP_TARGET", "", "12"), ("MAX_ENI", "", "2")]);
    world.settle();
    assert_eq!(world.figures(), "2/12/12");
    let told = "obey new settings: WARM_IP_TARGET=\"12\" (was \"\") MAX_ENI=\"2\" (was \"\"): the pool is to grow by 3 addresses: 9 available of 9 with WARM_IP_TARGET=12 and MINIMUM_IP_TARGET=0";
    assert!(decisions(&world).contains(&told.to_owned()), "{:#?}", decisions(&world));
}

#[test]
fn the_policy_and_the_mode_change_under_live_pods() {
    let mut world = World::started(settings(), facts(3, 10, 29), "10.0.0.0/24");
    for n in 0..5 {
        world.pod(&format!("pod-{n}"));
    }
    assert_eq!(world.figures(), "2/18/13");
    let lean = PoolSettings { policy: Policy::Lean, ..settings() };
    world.pool.handle_settings(lean, world.now).unwrap();
    world.pass(600);
    assert_eq!(world.figures(), "1/6/1", "{}", world.trace);
    let mut prefixes = settings();
    prefixes.mode = AllocationMode::Prefixes;
    targets(&mut prefixes).warm_prefix = Prefixes(1);
    world.pool.handle_settings(prefixes, world.now).unwrap();
    world.pass(60);
    let view = world.pool.view();
    assert_eq!((view.prefixes, view.tally.assigned), (1, 5), "{}", world.trace);
}

/// A value that was in force before is not held against a change of something else.
#[test]
fn an_old_contradiction_does_not_stand_in_the_way_of_another_change() {
    let mut with_limit = settings();
    with_limit.preference = RangePreference::SecondaryFirst;
    let mut world = World::started(with_limit.clone(), facts(3, 4, 11), "10.0.0.0/24");
    with_limit.add_queue = 7;
    let changes = world.pool.handle_settings(with_limit.clone(), world.now).unwrap();
    assert_eq!(changes.len(), 1);
    with_limit.preference = RangePreference::PrimaryFirst;
    world.pool.handle_settings(with_limit.clone(), world.now).unwrap();
    with_limit.preference = RangePreference::SecondaryFirst;
    let refused = world.pool.handle_settings(with_limit, world.now).unwrap_err();
    assert!(matches!(refused.conflicts[..], [SettingsConflict::NoSuchRange { .. }]), "{refused}");
}
