//! The lean policy on whole nodes: what it holds, when pods wait, and what it costs in calls.

#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod world;

use freeboard_address::Addresses;
use freeboard_pool::{
    AllocationMode, Choice, CloudOperation, Decision, NodeFacts, Policy, PoolSettings, Reason, Signal,
};
use jiff::SignedDuration;
use world::{World, facts, settings};

fn lean() -> PoolSettings {
    PoolSettings { policy: Policy::Lean, ..settings() }
}

fn m5_xlarge() -> NodeFacts {
    facts(4, 15, 58)
}

fn idle(world: &World) -> u32 {
    let tally = world.pool.view().tally;
    tally.total - tally.assigned
}

#[test]
fn an_idle_node_holds_one_address() {
    let mut world = World::started(lean(), m5_xlarge(), "10.0.0.0/16");
    assert_eq!(world.figures(), "1/1/1");
    world.pass(3600);
    assert_eq!(world.figures(), "1/1/1");
}

/// The loads of anchors A8: (type, pods, addresses that WARM_ENI_TARGET=1 holds).
#[test]
fn at_rest_it_holds_at_most_a_quarter_of_the_idle_addresses_of_a_warm_interface() {
    for (node, pods, held) in [
        (facts(3, 10, 29), 5, 18),
        (facts(3, 10, 29), 20, 27),
        (facts(4, 15, 58), 10, 28),
        (facts(8, 30, 234), 10, 58),
        (facts(8, 30, 234), 29, 58),
        (facts(15, 50, 737), 10, 98),
    ] {
        let mut world = World::started(lean(), node, "10.0.0.0/16");
        for n in 0..pods {
            world.pod(&format!("pod-{n}"));
            world.pass(2);
        }
        world.pass(1800);
        let idle = idle(&world);
        assert!(4 * idle <= held - pods, "{idle} idle with {pods} pods, of {held} by WARM_ENI_TARGET=1");
        assert!(idle >= 1, "the next pod finds an address");
    }
}

#[test]
fn forty_pods_at_once_get_interfaces_in_flight_together_and_hardly_more_than_they_need() {
    let mut world = World::started(lean(), m5_xlarge(), "10.0.0.0/16");
    let requests: Vec<_> = (0..40).map(|n| world.add(&format!("pod-{n}"))).collect();
    world.drain();
    let creating =
        world.in_flight.iter().filter(|(_, call)| matches!(call, CloudOperation::CreateInterface { .. })).count();
    assert_eq!(creating, 2, "14 fit the primary interface, 26 need two more:\n{}", world.trace);
    world.settle();
    assert!(requests.iter().all(|request| world.is_assigned(*request)), "{}", world.trace);
    world.pass(600);
    assert!(idle(&world) <= 2, "{}\n{}", world.figures(), world.trace);
}

#[test]
fn pods_that_arrive_one_by_one_while_calls_run_get_no_interface_beyond_those_they_need() {
    let mut world = World::started(lean(), m5_xlarge(), "10.0.0.0/16");
    let mut requests = Vec::new();
    for n in 0..40 {
        requests.push(world.add(&format!("pod-{n}")));
        world.drain();
        if n == 5 {
            world.answer(0);
        }
    }
    while !requests.iter().all(|request| world.is_assigned(*request)) {
        world.answer(0);
        world.drain();
    }
    let creations = world.calls.iter().filter(|call| call.starts_with("Create")).count();
    assert_eq!(creations, 2, "14 fit the primary interface, 26 need two more:\n{}", world.trace);
}

#[test]
fn a_thousand_pods_of_churn_at_constant_size_cost_hardly_a_call() {
    let mut world = World::started(lean(), m5_xlarge(), "10.0.0.0/16");
    for n in 0..20 {
        world.pod(&format!("pod-{n}"));
        world.pass(3);
    }
    let changes = |world: &World| world.calls.iter().filter(|call| !call.starts_with("Describe")).count();
    let churn = |world: &mut World, from: u32, count: u32| {
        for n in from..from + count {
            world.del(&format!("pod-{}", n - 20));
            world.pass(1);
            world.pod(&format!("pod-{n}"));
            world.pass(2);
        }
    };
    churn(&mut world, 20, 60);
    let before = changes(&world);
    churn(&mut world, 80, 1000);
    let calls = changes(&world) - before;
    assert!(calls <= 10, "{calls} calls for 1,000 pods:\n{:?}", world.calls);
}

#[test]
fn prefixes_are_held_by_the_same_rule() {
    let mut settings = lean();
    settings.mode = AllocationMode::Prefixes;
    let mut world = World::started(settings, facts(3, 10, 110), "10.0.0.0/16");
    assert_eq!(world.figures(), "1/16/16");
    for n in 0..14 {
        world.pod(&format!("pod-{n}"));
        world.pass(60);
    }
    assert_eq!(world.figures(), "1/16/2");
    world.pod("pod-14");
    world.pod("pod-15");
    assert_eq!(world.figures(), "1/32/16", "the next pod finds an address");
    for n in 0..16 {
        world.del(&format!("pod-{n}"));
    }
    world.pass(600);
    assert_eq!(world.figures(), "1/16/16");
}

#[test]
fn what_pods_leave_is_given_back_after_a_while_and_interfaces_with_it() {
    let mut world = World::started(lean(), m5_xlarge(), "10.0.0.0/16");
    for n in 0..30 {
        world.pod(&format!("pod-{n}"));
        world.pass(1);
    }
    for n in 0..30 {
        world.del(&format!("pod-{n}"));
    }
    world.pass(90);
    assert!(idle(&world) >= 30, "they may come back soon");
    world.pass(900);
    assert_eq!(world.figures(), "1/1/1", "{}", world.trace);
}

#[test]
fn every_decision_tells_its_figures() {
    let mut world = World::started(lean(), m5_xlarge(), "10.0.0.0/16");
    world.pod("a");
    world.pod("b");
    world.del("a");
    world.pass(600);
    let whys: Vec<_> = world
        .signals
        .iter()
        .filter_map(|signal| match signal {
            Signal::Decision { what, why } => Some(format!("{what}: {why}")),
            Signal::Waiting { .. } | Signal::Alarm { .. } => None,
        })
        .collect();
    assert!(
        whys.iter().any(|why| why.contains("take 1 address for eni-0: 0 available; the lean policy holds 1 free:")),
        "{whys:#?}"
    );
    assert!(
        whys.iter().any(|why| why.contains("give back 1 address of eni-0: it was over for two minutes:")),
        "{whys:#?}"
    );
    let log: Vec<_> = world.pool.decisions().collect();
    assert_eq!(log.iter().map(ToString::to_string).collect::<Vec<_>>(), whys, "the log says what was told");
    assert!(log.is_sorted_by_key(|decision| decision.at), "{log:#?}");
    let gave_one_back = |decision: &&Decision| {
        matches!(
            (&decision.what, &decision.why),
            (Choice::GiveBackBlocks { addresses: Addresses(1), .. }, Reason::OverForecast { forecast, .. })
                if forecast.warm == 1 && forecast.spare >= 1
        )
    };
    assert!(log.iter().any(gave_one_back), "as values: {log:#?}");
}

#[test]
fn the_same_history_gives_the_same_trace() {
    let run = || {
        let mut world = World::started(lean(), m5_xlarge(), "10.0.0.0/16");
        for n in 0..200_u32 {
            world.add(&format!("pod-{}", n % 45));
            world.pass(i64::from(n * 37 % 9));
            if n % 3 == 0 {
                world.del(&format!("pod-{}", n % 31));
            }
        }
        world.pass(600);
        world.trace
    };
    assert_eq!(run(), run());
}

/// How long each pod waited, in milliseconds, when they come at these times and the cloud takes its time.
fn waits(world: &mut World, arrivals: &[i64]) -> Vec<i64> {
    let start = world.now;
    let mut open = Vec::new();
    let mut done: Vec<i64> = Vec::new();
    let mut due: Vec<(i64, freeboard_pool::OperationId)> = Vec::new();
    let mut clock = 0;
    let mut next = 0;
    while done.len() < arrivals.len() {
        world.now = start + SignedDuration::from_millis(clock);
        while arrivals.get(next).is_some_and(|at| *at <= clock) {
            open.push((world.add(&format!("pod-{next}")), clock));
            next += 1;
        }
        while let Some(place) = due.iter().position(|(at, _)| *at <= clock) {
            let (_, id) = due.remove(place);
            let index = world.in_flight.iter().position(|(known, _)| *known == id).unwrap();
            world.answer(index);
        }
        if world.pool.poll_timeout().is_some_and(|(at, _)| at <= world.now) {
            world.pool.handle_timeout(world.now);
        }
        world.drain();
        for (id, call) in &world.in_flight {
            if due.iter().all(|(_, known)| known != id) {
                due.push((clock + takes(call), *id));
            }
        }
        open.retain(|(request, since)| {
            let served = world.is_assigned(*request);
            done.extend(served.then_some(clock - since));
            !served
        });
        let timeout = world.pool.poll_timeout().map(|(at, _)| {
            let left = at.duration_since(world.now).as_millis();
            clock + i64::try_from(left).unwrap() + 1
        });
        let events = due.iter().map(|(at, _)| *at).chain(timeout).chain(arrivals.get(next).copied());
        clock = events.filter(|at| *at > clock).min().unwrap();
        assert!(clock < 24 * 3_600_000, "pods wait for ever");
    }
    done.sort_unstable();
    done
}

fn takes(call: &CloudOperation) -> i64 {
    match call {
        CloudOperation::AttachInterface { .. } => 4_000,
        CloudOperation::CreateInterface { .. } => 900,
        CloudOperation::AssignAddresses { .. } | CloudOperation::AssignPrefixes { .. } => 500,
        CloudOperation::DescribeSubnets
        | CloudOperation::DescribeInterfaces
        | CloudOperation::PrepareInterface { .. }
        | CloudOperation::Unassign { .. }
        | CloudOperation::ReleaseInterface { .. } => 100,
    }
}

/// Arrivals independent of each other, with this mean distance; the same every time.
fn independent(count: usize, mean_milliseconds: u64) -> Vec<i64> {
    let mut state = 88_172_645_463_325_252_u64;
    let mut at = 0;
    let mut arrivals = Vec::new();
    while arrivals.len() < count {
        at += 50;
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        if state % mean_milliseconds < 50 {
            arrivals.push(at);
        }
    }
    arrivals
}

/// Side by side with WARM_ENI_TARGET=1 in the same engine, which already grows by events and not by ticks.
#[test]
fn of_pods_that_come_one_by_one_as_many_find_an_address_at_once_as_with_a_warm_interface() {
    for mean in [2_000, 10_000, 60_000, 300_000] {
        let arrivals = independent(200, mean);
        let p99 = |settings| {
            let mut world = World::started(settings, facts(8, 30, 234), "10.0.0.0/16");
            let waits = waits(&mut world, &arrivals);
            waits[waits.len() * 99 / 100 - 1]
        };
        let (lean, warm_interface) = (p99(lean()), p99(settings()));
        assert!(lean <= warm_interface, "every {mean} ms: {lean} ms against {warm_interface} ms");
    }
}

#[test]
fn a_burst_after_idle_waits_no_longer_than_one_interface_takes() {
    let mut world = World::started(lean(), m5_xlarge(), "10.0.0.0/16");
    let waits = waits(&mut world, &[0; 40]);
    assert_eq!(waits.iter().filter(|wait| **wait == 0).count(), 1);
    assert!(*waits.last().unwrap() <= 900 + 4_000 + 200, "{waits:?}");
}
