//! The steady-state tables of aws-vpc-cni §4.8 and the decision tables of §11.2: the targets mean what they mean there.

mod world;

use freeboard_address::{Addresses, Prefixes};
use freeboard_pool::{AllocationMode, PoolSettings, Targets};
use world::{World, facts, settings, targets};

fn with(change: impl FnOnce(&mut Targets)) -> PoolSettings {
    let mut settings = settings();
    change(targets(&mut settings));
    settings
}

fn warm_ip(warm: u32, minimum: u32) -> PoolSettings {
    with(|targets| {
        targets.warm_ip = Some(Addresses(warm));
        targets.minimum_ip = Some(Addresses(minimum));
    })
}

fn prefixes(mut settings: PoolSettings, warm: u32) -> PoolSettings {
    settings.mode = AllocationMode::Prefixes;
    targets(&mut settings).warm_prefix = Prefixes(warm);
    settings
}

/// Adds pods one by one and compares at the given numbers of pods.
fn steady(settings: PoolSettings, node: (u32, u32, u32), expected: &[(u32, &str)]) {
    let (interfaces, per_interface, max_pods) = node;
    let mut world = World::started(settings, facts(interfaces, per_interface, max_pods), "10.0.0.0/16");
    let mut pods = 0;
    for (count, figures) in expected {
        while pods < *count {
            pods += 1;
            world.pod(&format!("pod-{pods}"));
        }
        assert_eq!(world.figures(), *figures, "with {count} pods:\n{}", world.trace);
    }
}

const P3DN: (u32, u32, u32) = (15, 50, 737);
const T3_SMALL_PREFIXES: (u32, u32, u32) = (3, 4, 110);
const P3DN_PREFIXES: (u32, u32, u32) = (15, 50, 250);
const T3_SMALL: (u32, u32, u32) = (3, 4, 11);
const M5_LARGE: (u32, u32, u32) = (3, 10, 29);
const M5_LARGE_PREFIXES: (u32, u32, u32) = (3, 10, 110);

#[test]
fn warm_eni_targets_on_a_small_instance() {
    steady(
        with(|t| t.warm_eni = 1),
        T3_SMALL,
        &[(0, "1/3/3"), (1, "2/6/5"), (3, "2/6/3"), (4, "3/9/5"), (5, "3/9/4"), (8, "3/9/1"), (9, "3/9/0")],
    );
    steady(
        with(|t| t.warm_eni = 0),
        T3_SMALL,
        &[(0, "1/3/3"), (1, "1/3/2"), (3, "2/6/3"), (4, "2/6/2"), (5, "2/6/1"), (8, "3/9/1"), (9, "3/9/0")],
    );
}

#[test]
fn warm_ip_targets_on_a_small_instance() {
    steady(
        warm_ip(1, 0),
        T3_SMALL,
        &[(0, "1/1/1"), (1, "1/2/1"), (3, "2/4/1"), (4, "2/5/1"), (5, "2/6/1"), (8, "3/9/1"), (9, "3/9/0")],
    );
    steady(
        warm_ip(2, 0),
        T3_SMALL,
        &[(0, "1/2/2"), (1, "1/3/2"), (3, "2/5/2"), (4, "2/6/2"), (5, "3/7/2"), (8, "3/9/1"), (9, "3/9/0")],
    );
    steady(
        warm_ip(1, 5),
        T3_SMALL,
        &[(0, "2/5/5"), (1, "2/5/4"), (3, "2/5/2"), (4, "2/5/1"), (5, "2/6/1"), (8, "3/9/1"), (9, "3/9/0")],
    );
}

/// The Amazon VPC CNI is stuck with five pods here (#3685): its shortfall ignores pods that wait. Ours differs on purpose.
#[test]
fn a_minimum_without_a_warm_target_does_not_stall_at_the_minimum() {
    steady(
        warm_ip(0, 5),
        T3_SMALL,
        &[(0, "2/5/5"), (1, "2/5/4"), (3, "2/5/2"), (4, "2/5/1"), (5, "2/5/0"), (8, "3/8/0"), (9, "3/9/0")],
    );
}

#[test]
fn targets_on_a_larger_instance() {
    steady(
        with(|t| t.warm_eni = 1),
        M5_LARGE,
        &[(0, "1/9/9"), (1, "2/18/17"), (5, "2/18/13"), (9, "2/18/9"), (10, "3/27/17"), (20, "3/27/7"), (27, "3/27/0")],
    );
    steady(
        with(|t| t.warm_eni = 0),
        M5_LARGE,
        &[(0, "1/9/9"), (1, "1/9/8"), (5, "1/9/4"), (9, "2/18/9"), (10, "2/18/8"), (20, "3/27/7"), (27, "3/27/0")],
    );
    steady(
        warm_ip(5, 0),
        M5_LARGE,
        &[(0, "1/5/5"), (1, "1/6/5"), (5, "2/10/5"), (9, "2/14/5"), (10, "2/15/5"), (20, "3/25/5"), (27, "3/27/0")],
    );
}

#[test]
fn prefix_targets() {
    steady(
        prefixes(settings(), 1),
        M5_LARGE_PREFIXES,
        &[
            (0, "1/16/16"),
            (1, "1/32/31"),
            (5, "1/32/27"),
            (16, "1/32/16"),
            (17, "1/48/31"),
            (33, "1/64/31"),
            (100, "1/112/12"),
        ],
    );
    steady(
        prefixes(settings(), 0),
        M5_LARGE_PREFIXES,
        &[
            (0, "1/16/16"),
            (1, "1/16/15"),
            (5, "1/16/11"),
            (16, "1/32/16"),
            (17, "1/32/15"),
            (33, "1/48/15"),
            (100, "1/112/12"),
        ],
    );
    steady(
        prefixes(warm_ip(5, 0), 0),
        M5_LARGE_PREFIXES,
        &[
            (0, "1/16/16"),
            (1, "1/16/15"),
            (5, "1/16/11"),
            (16, "1/32/16"),
            (17, "1/32/15"),
            (33, "1/48/15"),
            (100, "1/112/12"),
        ],
    );
}

/// The rows of anchors D6 that §4.8 does not have.
#[test]
fn rows_of_the_projects_own_documents() {
    steady(with(|t| t.warm_eni = 1), P3DN, &[(0, "1/49/49"), (3, "2/98/95"), (95, "3/147/52")]);
    steady(warm_ip(2, 5), T3_SMALL, &[(0, "2/5/5"), (5, "3/7/2"), (9, "3/9/0")]);
    steady(
        prefixes(settings(), 1),
        T3_SMALL_PREFIXES,
        &[(0, "1/16/16"), (5, "1/32/27"), (16, "1/32/16"), (17, "1/48/31"), (58, "2/80/22")],
    );
}

/// Rows in which those documents disagree with the formulas; the formulas count.
#[test]
fn rows_in_which_the_documents_are_wrong() {
    steady(prefixes(warm_ip(7, 20), 0), T3_SMALL_PREFIXES, &[(0, "1/32/32")]);
    steady(prefixes(settings(), 1), P3DN_PREFIXES, &[(3, "1/32/29"), (95, "1/112/17")]);
    steady(prefixes(warm_ip(5, 10), 0), P3DN_PREFIXES, &[(45, "1/64/19")]);
}

/// Growth stops at max pods even if a target is short, and goes on for pods that wait.
#[test]
fn what_the_pool_does_on_the_way_to_max_pods() {
    steady(warm_ip(5, 0), (3, 10, 12), &[(0, "1/5/5"), (7, "2/12/5"), (10, "2/12/2"), (12, "2/12/0"), (13, "2/13/0")]);
}

/// Burst bound of anchors D6: on m5.xlarge 56 pods at once need the three interfaces that are left, created together.
#[test]
fn a_burst_to_the_limit_takes_every_interface_at_once() {
    let mut world = World::started(settings(), facts(4, 15, 58), "10.0.0.0/16");
    assert_eq!(world.figures(), "1/14/14");
    let requests: Vec<_> = (0..56).map(|n| world.add(&format!("pod-{n}"))).collect();
    world.drain();
    assert_eq!(requests.iter().filter(|request| world.is_assigned(**request)).count(), 14);
    assert_eq!(world.in_flight.iter().filter(|(_, call)| world::name(call) == "CreateNetworkInterface").count(), 3);
    world.settle();
    assert!(requests.iter().all(|request| world.is_assigned(*request)));
}

/// `nodeIPPoolTooLow` ends with `total ≥ max pods → no`; ours also caps the size of the request (#2793).
#[test]
fn max_pods_caps_what_is_asked_for() {
    steady(with(|t| t.warm_eni = 1), (3, 4, 5), &[(0, "1/3/3"), (1, "2/5/4"), (5, "2/5/0")]);
    steady(warm_ip(5, 0), (4, 15, 3), &[(0, "1/3/3"), (3, "1/3/0")]);
    let per_prefix = (3, 10, 40);
    steady(prefixes(settings(), 5), per_prefix, &[(0, "1/48/48"), (10, "1/48/38")]);
}

#[test]
fn warm_and_minimum_of_the_integration_suites() {
    for (settings, expected) in [
        (warm_ip(2, 0), "1/2/2"),
        (warm_ip(16, 0), "2/16/16"),
        (warm_ip(0, 2), "1/2/2"),
        (warm_ip(0, 16), "2/16/16"),
        (warm_ip(6, 10), "1/10/10"),
        (prefixes(warm_ip(2, 0), 0), "1/16/16"),
        (prefixes(warm_ip(16, 0), 0), "1/16/16"),
        (prefixes(settings(), 2), "1/32/32"),
    ] {
        steady(settings, (4, 15, 58), &[(0, expected)]);
    }
    for (warm_eni, max_eni, interfaces) in [(3, 2, 2), (3, 4, 3), (2, 2, 2)] {
        let mut settings = with(|t| t.warm_eni = warm_eni);
        settings.max_eni = Some(max_eni);
        let world = World::started(settings, facts(4, 15, 58), "10.0.0.0/16");
        assert_eq!(world.pool.view().interfaces.len(), interfaces, "WARM_ENI_TARGET={warm_eni} MAX_ENI={max_eni}");
    }
}

/// `DecreaseIPPool`: four addresses, two assigned, WARM_IP_TARGET=1: one is over; one call gives it back.
#[test]
fn one_address_over_the_target_is_given_back_by_one_call() {
    let mut world = World::started(warm_ip(2, 0), facts(3, 10, 29), "10.0.0.0/16");
    world.pod("a");
    world.pod("b");
    assert_eq!(world.figures(), "1/4/2");
    world.pool.handle_settings(warm_ip(1, 0), world.now).unwrap();
    world.settle();
    assert_eq!(world.figures(), "1/3/1");
    assert_eq!(world.count("UnassignPrivateIpAddresses"), 1);
}

/// Cooling addresses are not available (§12 pain 2); the Amazon VPC CNI would find its target met by them.
#[test]
fn cooling_addresses_do_not_meet_a_target() {
    let mut world = World::started(warm_ip(2, 0), facts(3, 10, 29), "10.0.0.0/16");
    world.pod("a");
    assert_eq!(world.figures(), "1/3/2");
    world.del("a");
    world.settle();
    world.pod("b");
    assert_eq!(world.figures(), "1/4/2", "one assigned, one cooling, two free");
    world.pass(120);
    assert_eq!(world.figures(), "1/3/2", "when it has cooled down it is over the target");
}
