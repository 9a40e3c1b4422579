//! Fleets that start at once under one account's request limits: as fast as the limits allow, the same on any number of threads.

use freeboard_address::Prefixes;
use freeboard_pool::{Policy, Targets};
use freeboard_simulator::{Fleet, FleetResult, Shape};
use jiff::SignedDuration;

fn mass_start(policy: Policy, shared: bool) -> Fleet {
    Fleet {
        accounts: 1,
        nodes: 500,
        pods: 20,
        shape: Shape { interfaces: 8, addresses: 30 },
        policy,
        start_within: SignedDuration::ZERO,
        lifetime: None,
        length: SignedDuration::from_mins(30),
        shared,
        seed: 7,
    }
}

fn incumbent() -> Policy {
    Policy::Compatible(Targets { warm_eni: 1, warm_ip: None, minimum_ip: None, warm_prefix: Prefixes(0) })
}

fn seconds(result: &FleetResult) -> f64 {
    result.complete_after_milliseconds.expect("every pod has an address") as f64 / 1_000.0
}

#[test]
fn a_fleet_with_shares_is_done_within_a_fifth_of_the_bound_and_is_hardly_throttled() {
    let result = mass_start(Policy::Lean, true).run(1).unwrap();
    assert_eq!(result.served, 10_000);
    assert!(seconds(&result) <= 1.2 * result.bound_seconds() + 10.0, "{result:?}");
    // A node that left its share unused for an interval adds its token to those of others; 166 of 2,964 are refused for that.
    assert!(result.throttled() * 15 <= result.all_calls(), "one in fifteen: {result:?}");
}

#[test]
fn a_fleet_without_a_controller_is_done_within_a_fifth_of_the_bound() {
    let result = mass_start(Policy::Lean, false).run(1).unwrap();
    assert_eq!(result.served, 10_000);
    assert!(seconds(&result) <= 1.2 * result.bound_seconds() + 30.0, "{result:?}");
}

#[test]
fn the_lean_policy_starts_a_fleet_with_fewer_calls_than_the_incumbents_targets() {
    for shared in [false, true] {
        let lean = mass_start(Policy::Lean, shared).run(1).unwrap();
        let theirs = mass_start(incumbent(), shared).run(1).unwrap();
        assert!(lean.changes() < theirs.changes(), "{} and {}", lean.changes(), theirs.changes());
    }
}

#[test]
fn the_same_fleet_brings_the_same_events_on_any_number_of_threads() {
    let fleet = Fleet {
        accounts: 3,
        nodes: 40,
        lifetime: Some(SignedDuration::from_mins(2)),
        length: SignedDuration::from_mins(20),
        ..mass_start(Policy::Lean, false)
    };
    let one = fleet.run(1).unwrap();
    assert!(one.served > 3 * 40 * 20, "pods come and go: {one:?}");
    assert_eq!(one, fleet.run(2).unwrap());
    assert_eq!(one, fleet.run(5).unwrap());
    assert_ne!(one.digest, Fleet { seed: 8, ..fleet }.run(1).unwrap().digest);
}

/// A node that slept past its time, or was never woken again, would leave its pods waiting to the end.
#[test]
fn every_pod_of_a_thousand_nodes_is_served_under_the_incumbents_targets() {
    let fleet =
        Fleet { nodes: 1_000, length: SignedDuration::from_hours(2), seed: 1, ..mass_start(incumbent(), false) };
    let result = fleet.run(1).unwrap();
    assert_eq!((result.served, result.waiting), (20_000, 0), "{result:?}");
    assert!(seconds(&result) <= 1.2 * result.bound_seconds() + 30.0, "{result:?}");
}
