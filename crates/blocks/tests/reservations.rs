//! Room that is kept for the nodes of a pool, up to its maximum.

#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod world;

use freeboard_address::{NodePoolName, RangeName};
use freeboard_blocks::{Cause, NodeSelector, RangeSpec, Reservation};
use world::{World, range, settings};

fn keeping(cidr: &str, pools: &[(&str, u32, u64)]) -> RangeSpec {
    let reservation = |(pool, max_pods, max_nodes): &(&str, u32, u64)| Reservation {
        pool: NodePoolName::new(*pool),
        selector: NodeSelector::label("pool", pool),
        max_pods: *max_pods,
        max_nodes: *max_nodes,
    };
    RangeSpec { reservations: pools.iter().map(reservation).collect(), ..range("pods", cidr) }
}

fn join(world: &mut World, name: &str, pool: &str, max_pods: i64) {
    world.api.create(name, &[("pool", pool)], Some(max_pods));
    world.settle();
}

#[test]
fn others_get_what_a_pool_will_not_need_and_no_more() {
    let mut world = World::new(settings(), &[keeping("10.0.0.0/25", &[("gpu", 16, 3)])]);
    join(&mut world, "gpu-1", "gpu", 16);
    join(&mut world, "web-1", "web", 16);
    join(&mut world, "web-2", "web", 16);
    assert_eq!(world.block("web-1"), "10.0.0.32/27");
    assert_eq!(world.refusal("web-2").cause, Cause::RoomReserved);
    let said = world.refusal("web-2").to_string();
    assert!(
        said.contains("2 blocks of /27 are free in range pods 10.0.0.0/25, and all are kept for gpu (1 of 3 nodes"),
        "{said}"
    );
    join(&mut world, "gpu-2", "gpu", 16);
    join(&mut world, "gpu-3", "gpu", 16);
    assert_eq!((world.block("gpu-2").as_str(), world.block("gpu-3").as_str()), ("10.0.0.64/27", "10.0.0.96/27"));
    assert_eq!(world.refusal("web-2").cause, Cause::RangeExhausted, "nothing is left");
}

#[test]
fn small_nodes_do_not_shred_the_block_that_a_large_one_will_need() {
    let mut world = World::new(settings(), &[keeping("10.0.0.0/24", &[("large", 64, 1)])]);
    for node in 0..12 {
        join(&mut world, &format!("small-{node}"), "web", 8);
    }
    let waiting = (0..12).filter(|node| world.block(&format!("small-{node}")).is_empty()).count();
    assert_eq!(waiting, 4, "eight blocks of /28 make up the half that is not kept");
    join(&mut world, "large", "large", 64);
    assert_eq!(world.block("large"), "10.0.0.128/25");
}

#[test]
fn a_pools_node_that_goes_leaves_its_room_to_the_pool() {
    let mut world = World::new(settings(), &[keeping("10.0.0.0/26", &[("gpu", 16, 1)])]);
    join(&mut world, "gpu-1", "gpu", 16);
    join(&mut world, "web-1", "web", 16);
    join(&mut world, "web-2", "web", 16);
    world.delete("gpu-1");
    world.pass(600);
    assert_eq!(world.block("web-2"), "");
    join(&mut world, "gpu-2", "gpu", 16);
    assert_eq!(world.block("gpu-2"), "10.0.0.0/27");
}

#[test]
fn a_pool_beyond_its_maximum_is_as_any_other() {
    let mut world = World::new(settings(), &[keeping("10.0.0.0/25", &[("a", 16, 1), ("b", 16, 2)])]);
    for node in 1..=3 {
        join(&mut world, &format!("a-{node}"), "a", 16);
    }
    assert_eq!(world.block("a-2"), "10.0.0.32/27", "one block is nobody's");
    assert_eq!(world.refusal("a-3").cause, Cause::RoomReserved);
}

#[test]
fn what_is_kept_no_longer_serves_who_waits_at_once_and_a_restart_counts_anew() {
    let mut world = World::new(settings(), &[keeping("10.0.0.0/26", &[("gpu", 16, 2)])]);
    join(&mut world, "gpu-1", "gpu", 16);
    join(&mut world, "web-1", "web", 16);
    world.restart(settings(), &[keeping("10.0.0.0/26", &[("gpu", 16, 2)])]);
    let view = world.engine.range(&RangeName::new("pods")).unwrap();
    assert_eq!((view.reservations[0].nodes, view.reservations[0].max_nodes), (1, 2));
    assert_eq!(world.refusal("web-1").cause, Cause::RoomReserved);
    world.engine.handle_range(keeping("10.0.0.0/26", &[("gpu", 16, 1)]), world.now).unwrap();
    world.settle();
    assert_eq!(world.block("web-1"), "10.0.0.32/27");
}

#[test]
fn a_node_that_changes_its_pool_is_counted_where_it_is() {
    let mut world = World::new(settings(), &[keeping("10.0.0.0/26", &[("gpu", 16, 1)])]);
    join(&mut world, "gpu-1", "gpu", 16);
    join(&mut world, "web-1", "web", 16);
    assert_eq!(world.block("web-1"), "10.0.0.32/27");
    world.delete("web-1");
    world.pass(600);
    world.api.edit("gpu-1", |node| node.labels = std::sync::Arc::new([("pool".to_owned(), "web".to_owned())].into()));
    world.settle();
    join(&mut world, "web-2", "web", 16);
    assert_eq!(
        world.refusal("web-2").cause,
        Cause::RoomReserved,
        "the pool has no node any more, so one block is kept"
    );
}

#[test]
fn a_promise_beyond_the_room_is_seen_and_one_that_no_block_keeps_is_refused() {
    let mut world = World::new(settings(), &[keeping("10.0.0.0/26", &[("gpu", 16, 2)])]);
    let name = RangeName::new("pods");
    assert!(world.engine.reservations_fit(&name));
    world.engine.handle_range(keeping("10.0.0.0/26", &[("gpu", 16, 3)]), world.now).unwrap();
    assert!(!world.engine.reservations_fit(&name));
    join(&mut world, "gpu-1", "gpu", 16);
    assert_eq!(world.block("gpu-1"), "10.0.0.0/27", "the pool itself gets what there is");
    let refused = world.engine.handle_range(keeping("10.0.0.0/26", &[("gpu", 110, 1)]), world.now).unwrap_err();
    assert!(refused.to_string().contains("has no block for 110 pods, so it keeps no room for pool gpu"), "{refused}");
}
