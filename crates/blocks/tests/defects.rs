//! Each defect of kube-controller-manager (peers §1.6) and of node-ipam-controller (peers §2.5), and bad blocks on nodes: what
//! Freeboard does instead.

#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod world;

use freeboard_address::{NodeName, RangeName};
use freeboard_blocks::{BlockSize, BlocksSettings, Cause, Exclusion, NodeSelector, Signal};
use world::{Fate, World, cidr, range, settings};

fn problems(world: &World) -> Vec<String> {
    world.engine.findings().iter().map(|f| format!("{} {} {}", f.node, f.block, f.problem.as_str())).collect()
}

fn set(world: &mut World, name: &str, blocks: &[&str]) {
    world.api.create(name, &[], Some(16));
    world.api.edit(name, |node| node.pod_cidrs = blocks.iter().map(|block| (*block).to_owned()).collect());
    world.api.watch.retain(|event| match event {
        world::Event::Changed(node) => !node.pod_cidrs.is_empty(),
        world::Event::Deleted(..) => true,
    });
    world.settle();
}

#[test]
fn kcm_1_a_second_family_costs_no_block_of_the_first() {
    let mut world = World::new(settings(), &[range("pods", "10.0.0.0/26")]);
    set(&mut world, "dual", &["10.0.0.0/27", "fd00::/64"]);
    set(&mut world, "six", &["fd00:1::/64"]);
    assert_eq!(problems(&world), Vec::<String>::new());
    assert_eq!(world.refusal("six").cause, Cause::BlockUnusable);
    world.delete("dual");
    world.delete("six");
    world.pass(60);
    assert_eq!(world.engine.range_views()[0].free_addresses, 64);
}

#[test]
fn kcm_2_a_release_cannot_fail_and_needs_no_retry() {
    let mut world = World::new(settings(), &[range("pods", "10.0.0.0/26")]);
    for odd in ["10.0.0.0/8", "192.168.0.0/24", "10.0.0.7/27", "nonsense"] {
        set(&mut world, "odd", &[odd]);
        world.delete("odd");
        world.pass(60);
        assert_eq!(world.engine.range_views()[0].free_addresses, 64, "after {odd}");
        assert_eq!(problems(&world), Vec::<String>::new(), "after {odd}");
    }
}

#[test]
fn kcm_3_a_block_is_not_used_again_at_once_after_a_restart_either() {
    let ranges = [range("pods", "10.0.0.0/24")];
    let mut world = World::new(settings(), &ranges);
    world.create("a", 16);
    world.create("b", 16);
    world.delete("a");
    let cooling = world.engine.cooling();
    world.restart(settings(), &ranges);
    world.engine.handle_cooling(&cooling, world.now);
    world.create("c", 16);
    assert_eq!(world.block("c"), "10.0.0.64/27", "the lowest free block rests");
}

#[test]
fn kcm_4_the_size_of_a_block_follows_max_pods() {
    let mut world = World::new(settings(), &[range("pods", "10.0.0.0/16")]);
    world.create("small", 8);
    world.create("large", 250);
    assert_eq!((world.block("small").as_str(), world.block("large").as_str()), ("10.0.0.0/28", "10.0.2.0/23"));
}

#[test]
fn kcm_5_a_server_timeout_leaks_nothing_nor_does_a_node_that_vanishes() {
    let mut world = World::new(settings(), &[range("pods", "10.0.0.0/26")]);
    for fate in [Fate::AnswerLost, Fate::RequestLost] {
        world.api.create("a", &[], Some(16));
        world.deliver();
        world.answer(fate);
        world.api.delete("a");
        world.pass(100);
        assert_eq!(world.engine.range_views()[0].free_addresses, 64, "{fate:?}");
    }
    // Gone before the write, and the watch says so only after the answer.
    world.api.create("b", &[], Some(16));
    world.deliver();
    world.api.delete("b");
    world.answer(Fate::Done);
    world.pass(100);
    assert_eq!(world.engine.range_views()[0].free_addresses, 64);
}

#[test]
fn kcm_6_every_range_shows_its_figures_and_a_condition() {
    let mut world = World::new(settings(), &[range("pods", "10.0.0.0/24")]);
    world.create("a", 110);
    world.create("b", 16);
    let view = world.engine.range(&RangeName::new("pods")).unwrap();
    assert_eq!((view.capacity_addresses, view.allocated_addresses, view.free_addresses), (256, 256, 0));
    assert!(view.is_exhausted && view.fits.iter().all(|fit| fit.nodes == 0));
    assert_eq!(view.fits.iter().find(|fit| fit.max_pods == 16).unwrap().capacity_nodes, 8);
    assert_eq!(world.engine.waiting_nodes(), 1);
}

#[test]
fn kcm_7_a_changed_block_size_makes_no_overlap() {
    let mut pods = range("pods", "10.0.0.0/22");
    pods.block_size = BlockSize::Fixed(24);
    let mut world = World::new(settings(), std::slice::from_ref(&pods));
    world.create("a", 100);
    for (name, length, expected) in [("b", 26, "10.0.1.0/26"), ("c", 23, "10.0.2.0/23"), ("d", 25, "10.0.1.128/25")] {
        pods.block_size = BlockSize::Fixed(length);
        world.engine.handle_range(pods.clone(), world.now).unwrap();
        world.create(name, 60);
        assert_eq!(world.block(name), expected);
    }
    assert_eq!(problems(&world), Vec::<String>::new());
}

#[test]
fn kcm_a_node_whose_block_lies_in_no_range_is_reported_and_stops_nobody() {
    let mut world = World::new(settings(), &[range("pods", "10.0.0.0/26")]);
    set(&mut world, "old", &["172.20.3.0/24"]);
    set(&mut world, "odd", &["not a block"]);
    assert_eq!(problems(&world), ["odd not a block BlockUnparsable", "old 172.20.3.0/24 BlockForeign"]);
    let mut ranges = [range("pods", "10.0.0.0/26"), range("former", "172.20.0.0/16")];
    world.restart(settings(), &ranges[..1]);
    world.create("new", 16);
    assert_eq!(world.block("new"), "10.0.0.0/27");
    // A range that contains the block adopts it.
    ranges[1].priority = 1;
    world.engine.handle_range(ranges[1].clone(), world.now).unwrap();
    world.settle();
    assert_eq!(problems(&world), ["odd not a block BlockUnparsable"]);
    world.create("more", 16);
    assert_eq!(
        (world.engine.range(&RangeName::new("former")).unwrap().nodes, world.block("more").as_str()),
        (2, "172.20.2.0/27")
    );
}

#[test]
fn kcm_a_waiting_node_is_woken_by_a_release_and_told_of_as_a_warning() {
    let mut world = World::new(settings(), &[range("pods", "10.0.0.0/27")]);
    world.create("a", 16);
    world.create("b", 16);
    world.pass(7_200);
    world.delete("a");
    assert_eq!(world.engine.poll_timeout().unwrap().0, world.now + jiff::SignedDuration::from_secs(10));
    world.pass(10);
    assert_eq!(world.block("b"), "10.0.0.0/27", "and not after up to 16.7 minutes");
    let is_served = |signal: &Signal| matches!(signal, Signal::Served { node, waited, .. } if node.as_str() == "b" && waited.as_secs() == 7_210);
    assert!(world.signals.iter().any(is_served), "{:?}", world.signals);
}

#[test]
fn kcm_27_duplicates_are_reported_and_no_third_node_gets_the_block() {
    let mut world = World::new(settings(), &[range("pods", "10.0.0.0/26")]);
    set(&mut world, "a", &["10.0.0.0/27"]);
    set(&mut world, "b", &["10.0.0.0/27"]);
    set(&mut world, "c", &["10.0.0.16/28"]);
    let all = ["a 10.0.0.0/27 BlockOverlaps", "b 10.0.0.0/27 BlockDuplicate", "c 10.0.0.16/28 BlockOverlaps"];
    assert_eq!(problems(&world), all);
    world.delete("a");
    world.pass(100);
    assert_eq!(world.engine.range_views()[0].free_addresses, 32, "b and c still have it");
    let rest = ["b 10.0.0.0/27 BlockOverlaps", "c 10.0.0.16/28 BlockOverlaps"];
    assert_eq!(problems(&world), rest, "b has it alone now, and c a part of it");
    world.delete("b");
    world.pass(100);
    assert_eq!(world.engine.range_views()[0].free_addresses, 48);
    assert_eq!(problems(&world), Vec::<String>::new());
    world.delete("c");
    world.pass(100);
    assert_eq!(world.engine.range_views()[0].free_addresses, 64);
}

#[test]
fn a_block_wider_than_its_range_takes_the_range_and_gives_it_back() {
    let mut world = World::new(settings(), &[range("pods", "10.0.0.0/26"), range("next", "10.0.1.0/26")]);
    set(&mut world, "wide", &["10.0.0.0/23"]);
    assert_eq!(problems(&world), ["wide 10.0.0.0/23 BlockWiderThanRange"]);
    world.create("a", 16);
    assert_eq!(world.block("a"), "");
    world.delete("wide");
    world.pass(10);
    assert_eq!(world.block("a"), "10.0.0.0/27");
}

#[test]
fn nic_1_a_deletion_timestamp_releases_nothing() {
    let mut world = World::new(settings(), &[range("pods", "10.0.0.0/27")]);
    world.create("a", 16);
    world.api.edit("a", |node| node.is_deleting = true);
    world.create("b", 16);
    world.pass(600);
    assert_eq!(world.block("b"), "");
    // And a node that is being deleted before it had a block gets none.
    world.api.edit("b", |node| node.is_deleting = true);
    world.delete("a");
    world.pass(600);
    assert_eq!((world.block("b").as_str(), world.refusal("b").cause), ("", Cause::Deleting));
}

#[test]
fn nic_2_writes_do_not_wait_for_one_another() {
    let mut world = World::new(settings(), &[range("pods", "10.0.0.0/24")]);
    for name in ["a", "b", "c"] {
        world.api.create(name, &[], Some(16));
    }
    world.deliver();
    assert_eq!(world.calls.len(), 3);
    let (last, operation) = world.calls.pop_last().unwrap();
    let answer = world.api.call(&operation);
    world.engine.handle_answer(last, answer, world.now);
    assert!(world.engine.node(&NodeName::new("c")).unwrap().is_confirmed, "the last may be answered first");
}

#[test]
fn nic_3_a_resync_changes_nothing_and_says_nothing() {
    let mut world = World::new(settings(), &[range("pods", "10.0.0.0/26")]);
    for name in ["a", "b", "c"] {
        world.create(name, 16);
    }
    set(&mut world, "d", &["10.0.0.0/27"]);
    world.signals.clear();
    let (nodes, version) = world.api.list();
    for node in &nodes {
        world.engine.handle_node(node.clone(), world.now);
    }
    world.engine.handle_nodes(nodes, version, world.now);
    world.collect();
    assert_eq!((world.signals.len(), world.calls.len()), (0, 0), "{:?}", world.signals);
}

#[test]
fn nic_4_a_range_that_was_changed_before_the_start_is_not_taken_for_a_dying_one() {
    let mut pods = range("pods", "10.0.0.0/27");
    let mut world = World::new(settings(), std::slice::from_ref(&pods));
    pods.cidr = cidr("10.0.0.0/26");
    world.engine.handle_range(pods.clone(), world.now).unwrap();
    world.restart(settings(), &[pods]);
    world.create("a", 16);
    assert_eq!(world.block("a"), "10.0.0.0/27");
}

#[test]
fn nic_5_a_range_that_is_added_later_needs_no_restart() {
    let mut world = World::new(settings(), &[]);
    world.create("a", 16);
    assert_eq!(world.refusal("a").cause, Cause::NoRange);
    world.engine.handle_range(range("late", "10.0.0.0/26"), world.now).unwrap();
    world.settle();
    assert_eq!(world.block("a"), "10.0.0.0/27");
}

#[test]
fn nic_6_terms_of_a_selector_are_ored() {
    let mut pods = range("pods", "10.0.0.0/26");
    let mut selector = NodeSelector::label("pool", "a");
    selector.node_selector_terms.extend(NodeSelector::label("pool", "b").node_selector_terms);
    pods.selector = Some(selector);
    let mut world = World::new(settings(), &[pods]);
    world.api.create("n", &[("pool", "b")], Some(16));
    world.settle();
    assert_eq!(world.block("n"), "10.0.0.0/27");
}

#[test]
fn nic_7_service_addresses_are_given_to_no_node() {
    let services = Exclusion { cidr: cidr("10.0.0.0/27"), purpose: "services".to_owned() };
    let mut world =
        World::new(BlocksSettings { excluded: vec![services], ..settings() }, &[range("pods", "10.0.0.0/26")]);
    world.create("a", 16);
    world.create("b", 16);
    assert_eq!((world.block("a").as_str(), world.block("b").as_str()), ("10.0.0.32/27", ""));
    assert_eq!(world.engine.range_views()[0].capacity_addresses, 32);
}
