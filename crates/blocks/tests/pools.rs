//! Joint assignment of node pools to ranges: the seed's eight pools, GKE's own choice and its coming failure, and proofs.

#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use freeboard_address::{Cidr, NodePoolName, RangeName};
use freeboard_blocks::compatible::gke;
use freeboard_blocks::{
    BlockSize, Method, NodeSelector, PoolDemand, RangeRoom, assign_pools, predict, rooms_of_empty_ranges,
};
use proptest::prelude::*;

const A: &str = "10.0.128.0/17";
const B: &str = "192.168.4.0/22";
const C: &str = "192.168.0.0/22";

fn cidr(text: &str) -> Cidr {
    text.parse().unwrap()
}

fn ranges_of_the_seed() -> Vec<RangeRoom> {
    rooms_of_empty_ranges(&[("range-a", cidr(A)), ("range-b", cidr(B)), ("range-c", cidr(C))])
}

/// nodepool-1 to nodepool-8 of the seed: (6 + i) · i nodes of 32 pods each, 420 in all.
fn pools_of_the_seed() -> Vec<PoolDemand> {
    (1..=8).map(|i| PoolDemand::new(&format!("nodepool-{i}"), 32, (6 + i) * i)).collect()
}

fn bind(pools: &mut [PoolDemand], ranges: &[Option<RangeName>]) {
    for (pool, range) in pools.iter_mut().zip(ranges) {
        pool.range.clone_from(range);
    }
}

#[test]
fn all_420_nodes_of_the_seed_fit() {
    let pools = pools_of_the_seed();
    assert_eq!(pools.iter().map(|pool| pool.max_nodes).collect::<Vec<_>>(), [7, 16, 27, 40, 55, 72, 91, 112]);
    let assignment = assign_pools(&ranges_of_the_seed(), &pools);
    assert!(assignment.fits_all() && assignment.is_optimal());
    assert_eq!(assignment.method, Method::MeetsBound);
    assert_eq!(assignment.placements.iter().map(|placement| placement.nodes_that_fit).sum::<u64>(), 420);
    let mut bound = pools;
    let ranges: Vec<_> = assignment.placements.iter().map(|placement| placement.range.clone()).collect();
    bind(&mut bound, &ranges);
    assert_eq!(predict(&ranges_of_the_seed(), &bound), [], "nothing is predicted to fail");
}

#[test]
fn gke_gives_the_ranges_of_the_screenshot_and_pool_3_fails_at_its_17th_node() {
    let mut pools = pools_of_the_seed();
    let given = gke::assign_in_order(&ranges_of_the_seed(), &pools);
    let names: Vec<&str> = given.iter().map(|range| range.as_ref().unwrap().as_str()).collect();
    let (a, b, c) = ("range-a", "range-b", "range-c");
    assert_eq!(names, [a, b, c, a, a, a, a, a]);
    bind(&mut pools, &given);
    let shortfalls = predict(&ranges_of_the_seed(), &pools);
    let texts: Vec<String> = shortfalls.iter().map(ToString::to_string).collect();
    assert_eq!(
        texts,
        [
            "pool nodepool-3 will fail at node 17 of 27: range range-c has no block left for it, although range range-a has 135 to spare"
        ]
    );
    assert_eq!((shortfalls[0].fails_at_node, shortfalls[0].is_certain), (17, true));
}

#[test]
fn a_pool_that_has_nodes_already_keeps_its_range_and_counts_with_what_it_may_still_need() {
    let mut ranges = ranges_of_the_seed();
    ranges.truncate(2);
    // Ten of the sixteen blocks of B are taken by the first pool.
    ranges[1].free = vec![cidr("192.168.6.128/25"), cidr("192.168.7.0/24")];
    let mut pools = vec![PoolDemand::new("old", 32, 14), PoolDemand::new("new", 32, 3)];
    (pools[0].current_nodes, pools[0].range) = (10, Some(RangeName::new("range-b")));
    let assignment = assign_pools(&ranges, &pools);
    assert!(assignment.fits_all());
    let new = &assignment.placements[1];
    assert_eq!(new.range, Some(RangeName::new("range-a")), "only two blocks of B are nobody's");
    pools[1].range = Some(RangeName::new("range-b"));
    let shortfalls = predict(&ranges, &pools);
    let found: Vec<(&NodePoolName, u64, bool)> =
        shortfalls.iter().map(|s| (&s.pool, s.fails_at_node, s.is_certain)).collect();
    assert_eq!(found, [(&pools[0].name, 14, false), (&pools[1].name, 3, false)], "either may fail, by who grows first");
}

#[test]
fn what_cannot_fit_is_counted_and_proven() {
    let ranges = rooms_of_empty_ranges(&[("one", cidr("10.0.0.0/22")), ("two", cidr("10.1.0.0/22"))]);
    // 16 nodes fit into each. Three pools of 11 would fit cut in pieces (33 > 32 by one), whole only two do.
    let pools: Vec<PoolDemand> = (0..3).map(|i| PoolDemand::new(&format!("p{i}"), 32, 11)).collect();
    let assignment = assign_pools(&ranges, &pools);
    assert!(!assignment.fits_all() && assignment.is_optimal(), "{assignment:?}");
    let fits: Vec<u64> = assignment.placements.iter().map(|placement| placement.nodes_that_fit).collect();
    assert_eq!((fits.iter().sum::<u64>(), assignment.missing_addresses), (27, 6 * 64));
    assert_eq!(assignment.method, Method::Exhausted);
}

#[test]
fn mixed_block_sizes_are_counted_by_what_is_aligned() {
    let mut ranges = rooms_of_empty_ranges(&[("broken", cidr("10.0.0.0/23")), ("whole", cidr("10.0.2.0/24"))]);
    // 384 addresses are free in "broken", and no /24 among them.
    ranges[0].free = vec![cidr("10.0.0.0/25"), cidr("10.0.0.128/26"), cidr("10.0.1.0/26"), cidr("10.0.1.128/25")];
    let pools = [PoolDemand::new("large", 110, 1), PoolDemand::new("small", 32, 6)];
    let assignment = assign_pools(&ranges, &pools);
    assert!(assignment.fits_all(), "{assignment:?}");
    assert_eq!(assignment.placements[0].range, Some(RangeName::new("whole")));
}

#[test]
fn selectors_and_fixed_blocks_limit_the_choice() {
    let mut ranges = ranges_of_the_seed();
    ranges[0].selector = Some(NodeSelector::label("pool", "gpu"));
    ranges[1].block_size = BlockSize::Fixed(27);
    let mut gpu = PoolDemand::new("gpu", 32, 20);
    gpu.labels.insert("pool".to_owned(), "gpu".to_owned());
    let pools = [gpu, PoolDemand::new("web", 32, 30), PoolDemand::new("huge", 300, 1_000)];
    let assignment = assign_pools(&ranges, &pools);
    let got: Vec<(Option<&str>, u64)> =
        assignment.placements.iter().map(|p| (p.range.as_ref().map(RangeName::as_str), p.nodes_that_fit)).collect();
    assert_eq!(got[0], (Some("range-a"), 20));
    assert_eq!(got[1], (Some("range-b"), 30), "32 blocks of /27");
    assert_eq!(got[2].1, 1, "one /22 holds one node of 300 pods");
    assert!(assignment.is_optimal(), "{assignment:?}");
}

/// Every assignment, one after the other.
fn brute_force(ranges: &[RangeRoom], pools: &[PoolDemand]) -> u64 {
    let choices = ranges.len();
    let count = choices.pow(u32::try_from(pools.len()).unwrap());
    let one = |mut number: usize| {
        let mut bound = pools.to_vec();
        for pool in &mut bound {
            pool.range = Some(ranges[number % choices].name.clone());
            number /= choices;
        }
        assign_pools(ranges, &bound).missing_addresses
    };
    (0..count).map(one).min().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn no_assignment_is_better_than_the_one_that_is_called_optimal(
        lengths in prop::collection::vec(21u8..26, 1..4),
        pools in prop::collection::vec((prop::sample::select(vec![16u32, 32, 64, 110]), 1u64..14), 1..6),
    ) {
        let cidrs: Vec<(String, Cidr)> = lengths
            .iter()
            .enumerate()
            .map(|(index, length)| (format!("r{index}"), cidr(&format!("10.{index}.0.0/{length}"))))
            .collect();
        let ranges = rooms_of_empty_ranges(&cidrs.iter().map(|(name, c)| (name.as_str(), *c)).collect::<Vec<_>>());
        let pools: Vec<PoolDemand> =
            pools.iter().enumerate().map(|(i, (max_pods, nodes))| PoolDemand::new(&format!("p{i}"), *max_pods, *nodes)).collect();
        let assignment = assign_pools(&ranges, &pools);
        let best = brute_force(&ranges, &pools);
        prop_assert!(assignment.missing_at_least <= best, "the bound is proven: {assignment:?}, best {best}");
        prop_assert!(assignment.missing_addresses >= best);
        if assignment.is_optimal() {
            prop_assert_eq!(assignment.missing_addresses, best);
        }
        prop_assert!(assignment.is_optimal(), "a problem as small as this is solved: {assignment:?}");
    }
}
