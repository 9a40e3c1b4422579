//! How the pool spends the account's request limits: its part of them, more slowly after a throttle, and no more than a share.

mod world;

use freeboard_address::Addresses;
use freeboard_pool::{CallLimit, Cause, FailureKind, PoolSettings, Share};
use jiff::SignedDuration;
use world::{Fault, World, facts, settings, targets};

const ASSIGN: &str = "AssignPrivateIpAddresses";

fn one_spare() -> PoolSettings {
    let mut settings = settings();
    targets(&mut settings).warm_ip = Some(Addresses(1));
    settings.max_eni = Some(1);
    settings
}

fn narrow() -> PoolSettings {
    let mut settings = one_spare();
    // The node's part alone: one call at once, and 2 in a minute.
    settings.pacing.limits.assign = CallLimit { burst: 2, per_minute: 5 };
    settings
}

#[test]
fn a_pod_that_waits_for_the_nodes_share_is_told_so_and_served_when_it_comes() {
    let mut settings = narrow();
    settings.add_wait = SignedDuration::from_secs(5);
    let mut world = World::started(settings, facts(3, 30, 100), "10.0.0.0/24");
    world.pod("first");
    let before = world.count(ASSIGN);
    let request = world.add("second");
    world.pass(6);
    if !world.is_assigned(request) {
        let refusal = world.refusal(request);
        assert_eq!(refusal.cause, Cause::Throttled, "{refusal}");
        assert!(refusal.message.contains("waits for its share of AssignPrivateIpAddresses"), "{refusal}");
    }
    let request = world.add("third");
    world.pass(6);
    let refusal = world.refusal(request);
    assert_eq!(refusal.cause, Cause::Throttled, "{refusal}");
    assert!(refusal.message.contains("waits for its share of AssignPrivateIpAddresses"), "{refusal}");
    world.pass(60);
    world.pod("third");
    assert!(world.count(ASSIGN) <= before + 4, "two in a minute: {:?}", world.calls);
}

#[test]
fn the_timeout_wakes_a_pool_that_waits_for_its_share() {
    let mut world = World::started(narrow(), facts(3, 30, 100), "10.0.0.0/24");
    world.pod("first");
    world.add("second");
    world.add("third");
    world.settle();
    let (at, why) = world.pool.poll_timeout().unwrap();
    assert!(at > world.now && at <= world.now + SignedDuration::from_secs(31), "{at}: {why}");
}

#[test]
fn throttled_calls_come_at_longer_and_longer_intervals_up_to_half_a_minute() {
    let mut world = World::started(one_spare(), facts(3, 30, 100), "10.0.0.0/24");
    world.standing_fault = Some((ASSIGN, Fault::Fail(FailureKind::Throttled)));
    world.pod("first");
    world.add("second");
    let mut calls = Vec::new();
    for _ in 0..4 {
        let before = world.count(ASSIGN);
        world.pass(60);
        calls.push(world.count(ASSIGN) - before);
    }
    assert!(calls[0] > calls[3], "{calls:?}");
    assert!((1..=3).contains(&calls[3]), "never silent, never a storm: {calls:?}");
    world.standing_fault = None;
    world.pass(60);
    world.pod("second");
}

#[test]
fn a_share_of_a_controller_holds_until_it_ends() {
    let mut world = World::started(one_spare(), facts(3, 30, 100), "10.0.0.0/24");
    let until = world.now + SignedDuration::from_mins(5);
    world.pool.handle_budget(Share { nodes: 5_000, until }, world.now);
    world.settle();
    world.pod("first");
    let before = world.count(ASSIGN);
    for n in 0..5 {
        world.add(&format!("pod-{n}"));
        world.pass(50);
    }
    assert!(world.count(ASSIGN) <= before + 1, "one call in a thousand seconds: {:?}", world.calls);
    world.pass(60);
    for n in 0..5 {
        world.pod(&format!("pod-{n}"));
    }
}

/// What is throttled is the creation; the subnet has room, and reading it again tells nothing new.
#[test]
fn subnets_are_not_read_again_and_again_while_another_call_is_what_is_throttled() {
    let mut settings = settings();
    targets(&mut settings).warm_eni = 0;
    let mut world = World::started(settings, facts(3, 4, 100), "10.0.0.0/24");
    world.standing_fault = Some(("CreateNetworkInterface", Fault::Fail(FailureKind::Throttled)));
    for n in 0..8 {
        world.add(&format!("pod-{n}"));
    }
    world.pass(10);
    let before = world.count("DescribeSubnets");
    for n in 0..30 {
        world.add(&format!("pod-{}", n % 8));
        world.pass(10);
    }
    let reads = world.count("DescribeSubnets") - before;
    assert!((4..=6).contains(&reads), "every minute: {reads} in five minutes");
}

/// Thousands of nodes may wait for the same full subnet: reads that are refused give way.
#[test]
fn reads_of_a_full_subnet_back_off_when_they_are_what_is_throttled() {
    let mut world = World::started(settings(), facts(3, 30, 100), "10.0.0.0/28");
    for n in 0..14 {
        world.add(&format!("pod-{n}"));
    }
    world.pass(60);
    let reads_in = |world: &mut World, minutes: u64| {
        let before = world.count("DescribeSubnets");
        for n in 0..minutes * 6 {
            world.add(&format!("more-{n}"));
            world.pass(10);
        }
        world.count("DescribeSubnets") - before
    };
    let calm = reads_in(&mut world, 5);
    assert!(calm >= 30, "pods wait for room, so the node watches out for it: {calm}");
    world.standing_fault = Some(("DescribeSubnets", Fault::Fail(FailureKind::Throttled)));
    reads_in(&mut world, 10);
    let throttled = reads_in(&mut world, 10);
    assert!((3..=6).contains(&throttled), "every two or three minutes: {throttled} in ten");
}
