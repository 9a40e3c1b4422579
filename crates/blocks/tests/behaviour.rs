//! What the engine does with nodes and ranges, one behaviour at a time.

#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod world;

use freeboard_address::{NodeName, RangeName};
use freeboard_blocks::{
    BlockSize, Cause, Exclusion, NodeSelector, Place, RangeSpec, RangeState, RestoredCooling, Signal,
};
use jiff::SignedDuration;
use world::{Fate, World, cidr, range, settings};

#[test]
fn the_third_node_of_the_seed_is_refused_with_place_figures_and_remedy_and_served_when_a_range_is_added() {
    let mut world = World::new(settings(), &[range("pod-range", "10.0.0.0/26")]);
    for name in ["node-1", "node-2", "node-3"] {
        world.create(name, 16);
    }
    assert_eq!(
        [world.block("node-1"), world.block("node-2"), world.block("node-3")],
        ["10.0.0.0/27", "10.0.0.32/27", ""]
    );
    let refusal = world.refusal("node-3");
    assert_eq!(refusal.cause, Cause::RangeExhausted);
    assert_eq!(refusal.place, Place::Range { name: RangeName::new("pod-range"), cidr: cidr("10.0.0.0/26") });
    assert_eq!(refusal.message, "range pod-range 10.0.0.0/26 is full: 2 of 2 blocks of /27 are taken");
    assert!(refusal.remedy.contains("add a range"), "{}", refusal.remedy);
    let told = world.signals.iter().filter(|signal| matches!(signal, Signal::Waiting { .. })).count();
    assert_eq!(told, 1, "one event, not one for each try");
    assert!(world.engine.range(&RangeName::new("pod-range")).unwrap().is_exhausted);

    world.engine.handle_range(range("more", "192.168.64.0/18"), world.now).unwrap();
    world.settle();
    assert_eq!(world.block("node-3"), "192.168.64.0/27");
    assert!(!world.engine.range(&RangeName::new("pod-range")).unwrap().is_exhausted);
    assert!(world.signals.iter().any(|s| matches!(s, Signal::RangeExhausted { is_exhausted: false, .. })));
}

#[test]
fn a_released_block_rests_and_goes_to_the_waiting_node_as_soon_as_it_may() {
    let mut world = World::new(settings(), &[range("pods", "10.0.0.0/26")]);
    for name in ["a", "b", "c"] {
        world.create(name, 16);
    }
    world.pass(100);
    world.delete("a");
    assert_eq!(world.block("c"), "", "not used again at once");
    assert_eq!(world.refusal("c").cause, Cause::CoolingDown);
    world.pass(9);
    assert_eq!(world.block("c"), "");
    world.pass(1);
    assert_eq!(world.block("c"), "10.0.0.0/27", "under pressure down to the floor");
}

#[test]
fn without_pressure_a_block_rests_for_its_whole_cooldown() {
    let mut world = World::new(settings(), &[range("pods", "10.0.0.0/26")]);
    world.create("a", 16);
    world.delete("a");
    world.pass(59);
    assert_eq!(world.engine.range_views()[0].cooling_addresses, 32);
    world.create("b", 16);
    assert_eq!(world.block("b"), "10.0.0.32/27", "there is another");
    world.pass(1);
    assert_eq!(world.engine.range_views()[0].cooling_addresses, 0);
    assert_eq!(world.engine.range_views()[0].free_addresses, 32);
}

#[test]
fn under_pressure_the_longest_cooled_block_is_given_first() {
    let mut world = World::new(settings(), &[range("pods", "10.0.0.0/25")]);
    for name in ["a", "b", "c", "d"] {
        world.create(name, 16);
    }
    for name in ["c", "a", "d"] {
        world.delete(name);
        world.pass(1);
    }
    world.pass(20);
    for name in ["e", "f", "g"] {
        world.create(name, 16);
    }
    assert_eq!([world.block("e"), world.block("f"), world.block("g")], ["10.0.0.64/27", "10.0.0.0/27", "10.0.0.96/27"]);
}

#[test]
fn cooling_pieces_make_up_a_large_block_under_pressure_and_only_where_that_helps() {
    let mut world = World::new(settings(), &[range("pods", "10.0.0.0/25")]);
    for name in ["a", "b", "c", "d"] {
        world.create(name, 16);
    }
    for name in ["b", "c"] {
        world.delete(name);
    }
    world.pass(15);
    world.create("large", 32);
    assert_eq!(world.block("large"), "", "10.0.0.32/27 and 10.0.0.64/27 make no /26");
    assert_eq!(world.engine.range_views()[0].cooling_addresses, 64, "no cool-down was shortened for nothing");
    world.delete("a");
    world.pass(10);
    assert_eq!(world.block("large"), "10.0.0.0/26");
    assert_eq!(world.engine.range_views()[0].cooling_addresses, 32, "10.0.0.64/27 rests on");
}

#[test]
fn a_block_is_released_when_its_node_is_really_gone_and_not_before() {
    let mut world = World::new(settings(), &[range("pods", "10.0.0.0/27")]);
    world.create("a", 16);
    world.create("b", 16);
    world.api.edit("a", |node| node.is_deleting = true);
    world.pass(3_600);
    assert_eq!((world.block("a"), world.block("b")), ("10.0.0.0/27".to_owned(), String::new()));
    world.delete("a");
    world.pass(60);
    assert_eq!(world.block("b"), "10.0.0.0/27");
}

#[test]
fn a_small_node_behind_a_large_one_that_cannot_be_served_is_served() {
    let mut world = World::new(settings(), &[range("pods", "10.0.0.0/26")]);
    world.create("large", 110);
    world.create("small", 8);
    assert_eq!((world.block("large").as_str(), world.block("small").as_str()), ("", "10.0.0.0/28"));
    assert_eq!(world.refusal("large").cause, Cause::RangeExhausted);
    assert!(world.refusal("large").message.contains("smaller than one block of /24"), "{}", world.refusal("large"));
}

#[test]
fn nodes_of_one_size_are_served_in_the_order_of_their_arrival() {
    let mut world = World::new(settings(), &[range("pods", "10.0.0.0/27")]);
    for name in ["first", "z-second", "a-third"] {
        world.create(name, 16);
    }
    // A label that nobody looks at does not cost a place.
    world.api.edit("z-second", |node| node.max_pods = Some(15));
    world.settle();
    let waiting: Vec<String> = world.engine.waiting().into_iter().map(|waiting| waiting.node.to_string()).collect();
    assert_eq!(waiting, ["z-second", "a-third"]);
    world.delete("first");
    world.pass(10);
    assert_eq!((world.block("z-second").as_str(), world.block("a-third").as_str()), ("10.0.0.0/27", ""));
}

#[test]
fn mixed_sizes_do_not_shred_a_range() {
    let mut world = World::new(settings(), &[range("pods", "10.0.0.0/21")]);
    for index in 0..8 {
        world.create(&format!("small-{index}"), 8);
        if index < 6 {
            world.create(&format!("large-{index}"), 110);
        }
    }
    let view = &world.engine.range_views()[0];
    assert_eq!(view.largest_free_block, Some(24), "eight /28 lie in one /24, six /24 beside it, one is whole");
    assert!((0..6).all(|index| world.block(&format!("large-{index}")).ends_with("/24")));
}

#[test]
fn a_full_range_spills_to_the_next_by_priority_then_by_fit() {
    let mut ranges = [range("first", "10.0.0.0/27"), range("second", "10.1.0.0/16"), range("third", "10.2.0.0/26")];
    ranges[0].priority = 10;
    let mut world = World::new(settings(), &ranges);
    for index in 0..4 {
        world.create(&format!("n{index}"), 16);
    }
    let blocks: Vec<String> = (0..4).map(|index| world.block(&format!("n{index}"))).collect();
    assert_eq!(
        blocks,
        ["10.0.0.0/27", "10.2.0.0/27", "10.2.0.32/27", "10.1.0.0/27"],
        "the small range is filled first"
    );
}

#[test]
fn selectors_choose_and_a_node_that_none_matches_is_told_so() {
    let mut gpu = range("gpu", "10.0.0.0/24");
    gpu.selector = Some(NodeSelector::label("pool", "gpu"));
    let mut world = World::new(settings(), &[gpu]);
    world.api.create("g", &[("pool", "gpu")], Some(16));
    world.api.create("w", &[("pool", "web")], Some(16));
    world.settle();
    assert_eq!((world.block("g").as_str(), world.block("w").as_str()), ("10.0.0.0/27", ""));
    assert_eq!(world.refusal("w").cause, Cause::NoRangeMatches);
    world.api.edit("w", |node| node.labels = std::sync::Arc::new([("pool".to_owned(), "gpu".to_owned())].into()));
    world.settle();
    assert_eq!(world.block("w"), "10.0.0.32/27", "a new label is enough");
}

#[test]
fn a_full_range_names_one_with_room_that_does_not_match_or_is_draining() {
    let mut other = range("other", "10.1.0.0/24");
    other.selector = Some(NodeSelector::label("pool", "gpu"));
    let mut world = World::new(settings(), &[range("pods", "10.0.0.0/28"), other.clone()]);
    world.create("a", 8);
    world.create("b", 8);
    assert!(
        world.refusal("b").remedy.contains("range other (10.1.0.0/24) has room but its node selector"),
        "{}",
        world.refusal("b")
    );
    (other.selector, other.state) = (None, RangeState::Draining);
    world.engine.handle_range(other, world.now).unwrap();
    world.settle();
    assert!(world.refusal("b").remedy.contains("set range other (10.1.0.0/24) to Active"), "{}", world.refusal("b"));
}

#[test]
fn a_draining_range_gives_nothing_and_shows_its_progress_and_a_removed_one_waits_for_its_users() {
    let mut pods = range("old", "10.0.0.0/24");
    let mut world = World::new(settings(), &[pods.clone(), range("new", "10.1.0.0/24")]);
    world.create("a", 100);
    pods.state = RangeState::Draining;
    let (old, held) =
        if world.block("a").starts_with("10.0") { ("old", "10.0.0.0/24") } else { ("new", "10.1.0.0/24") };
    assert_eq!((old, held), ("new", "10.1.0.0/24"), "of equals the first by name");
    let mut new = range("new", "10.1.0.0/24");
    new.state = RangeState::Draining;
    world.engine.handle_range(new, world.now).unwrap();
    world.create("b", 100);
    assert_eq!(world.block("b"), "10.0.0.0/24");
    let name = RangeName::new("new");
    assert_eq!(world.engine.range(&name).unwrap().nodes, 1);
    let users: Vec<String> = world.engine.users(&name, 0).map(|(block, node)| format!("{block} {node}")).collect();
    assert_eq!(users, ["10.1.0.0/24 a"]);

    world.engine.handle_range_removed(&name, world.now);
    world.settle();
    assert!(world.forgotten.is_empty(), "a still uses it");
    let refused = world.engine.handle_range(range("new", "10.1.0.0/24"), world.now).unwrap_err().to_string();
    assert!(refused.contains("is being removed"), "{refused}");
    world.delete("a");
    assert_eq!(world.forgotten, std::slice::from_ref(&name));
    assert!(world.engine.range(&name).is_none());
    world.engine.handle_range_removed(&name, world.now);
    world.settle();
    assert_eq!(world.forgotten.len(), 2, "who asks again is told again");
}

#[test]
fn a_range_grows_under_its_nodes_and_never_shrinks_or_moves() {
    let mut world = World::new(settings(), &[range("pods", "10.0.0.0/27")]);
    world.create("a", 16);
    world.create("b", 16);
    for wrong in ["10.0.0.0/28", "10.0.1.0/24", "10.1.0.0/24"] {
        let refused = world.engine.handle_range(range("pods", wrong), world.now).unwrap_err().to_string();
        assert!(refused.contains("may only grow") && refused.contains(wrong), "{refused}");
    }
    world.engine.handle_range(range("pods", "10.0.0.0/26"), world.now).unwrap();
    world.settle();
    assert_eq!((world.block("a").as_str(), world.block("b").as_str()), ("10.0.0.0/27", "10.0.0.32/27"));
}

#[test]
fn ranges_that_cannot_stand_are_refused_with_the_reason_and_change_nothing() {
    let services = Exclusion { cidr: cidr("172.16.0.0/20"), purpose: "service range".to_owned() };
    let mut world = World::new(
        freeboard_blocks::BlocksSettings { excluded: vec![services], ..settings() },
        &[range("pods", "10.0.0.0/16")],
    );
    let fixed = |length| RangeSpec { block_size: BlockSize::Fixed(length), ..range("x", "10.9.0.0/24") };
    let empty = RangeSpec { selector: Some(NodeSelector::default()), ..range("x", "10.9.0.0/24") };
    for (spec, reason) in [
        (range("x", "10.0.4.0/24"), "range x (10.0.4.0/24) overlaps range pods (10.0.0.0/16)"),
        (range("x", "10.0.0.0/8"), "overlaps range pods"),
        (range("x", "172.16.4.0/24"), "lies wholly in 172.16.0.0/20, which is excluded as service range"),
        (fixed(33), "33 is not in 1..=32"),
        (fixed(20), "smaller than one node's block (/20)"),
        (empty, "matches no node"),
    ] {
        let refused = world.engine.handle_range(spec, world.now).unwrap_err().to_string();
        assert!(refused.contains(reason), "{refused}");
    }
    assert_eq!(world.engine.range_views().len(), 1);
}

#[test]
fn service_ranges_and_reservations_are_never_given() {
    let services = Exclusion { cidr: cidr("127.123.234.0/26"), purpose: "service range".to_owned() };
    let mut pods = range("pods", "127.123.234.0/24");
    pods.block_size = BlockSize::Fixed(30);
    pods.excluded = vec![Exclusion { cidr: cidr("127.123.234.64/30"), purpose: "load balancers".to_owned() }];
    let mut world = World::new(freeboard_blocks::BlocksSettings { excluded: vec![services], ..settings() }, &[pods]);
    world.create("a", 4);
    assert_eq!(world.block("a"), "127.123.234.68/30");
    let view = &world.engine.range_views()[0];
    assert_eq!((view.capacity_addresses, view.excluded_addresses, view.free_addresses), (188, 68, 184));
    // Exclusions may come later; what a node has stays its own and is reported.
    let more = Exclusion { cidr: cidr("127.123.234.0/25"), purpose: "service range".to_owned() };
    world.engine.handle_exclusions(vec![more], world.now);
    world.settle();
    assert_eq!(world.engine.findings()[0].problem.as_str(), "BlockExcluded");
    world.create("b", 4);
    assert_eq!(world.block("b"), "127.123.234.128/30");
    world.delete("a");
    world.pass(60);
    assert_eq!(world.engine.range_views()[0].free_addresses, 124, "what is excluded does not become free");
    assert!(world.engine.findings().is_empty());
}

#[test]
fn max_pods_decide_the_size_and_impossible_ones_are_refused_by_value() {
    let mut world = World::new(settings(), &[range("pods", "10.0.0.0/16")]);
    for (name, max_pods, length) in
        [("a", 8, "/28"), ("b", 16, "/27"), ("c", 110, "/24"), ("d", 225, "/23"), ("e", 256, "/23")]
    {
        world.create(name, max_pods);
        assert!(world.block(name).ends_with(length), "{max_pods}: {}", world.block(name));
    }
    for max_pods in [0, -1, 257, i64::MAX, i64::MIN] {
        world.create("bad", max_pods);
        let refusal = world.refusal("bad");
        assert_eq!(refusal.cause, Cause::MaxPodsInvalid);
        assert!(refusal.message.contains(&max_pods.to_string()), "{refusal}");
        world.delete("bad");
    }
    world.api.create("silent", &[], None);
    world.settle();
    assert!(world.refusal("silent").message.contains("missing"), "{}", world.refusal("silent"));
    world.api.edit("silent", |node| node.max_pods = Some(30));
    world.settle();
    assert!(world.block("silent").ends_with("/26"), "the kubelet reported it at last");
}

#[test]
fn a_fixed_block_is_for_every_node_that_it_can_hold() {
    let mut pods = range("pods", "10.0.0.0/16");
    pods.block_size = BlockSize::Fixed(26);
    let mut world = World::new(settings(), &[pods]);
    world.api.create("silent", &[], None);
    world.create("fits", 62);
    world.create("large", 225);
    assert_eq!((world.block("silent").as_str(), world.block("fits").as_str()), ("10.0.0.0/26", "10.0.0.64/26"));
    assert_eq!(world.refusal("large").cause, Cause::BlockTooSmall, "62 addresses for 225 pods would break it later");
}

#[test]
fn nothing_is_given_before_the_nodes_are_listed_and_earlier_writes_have_landed() {
    let mut world = World::new(settings(), &[range("pods", "10.0.0.0/26")]);
    world.api.create("a", &[], Some(16));
    world.deliver();
    let late = world.calls.pop_first().unwrap().1;
    let takeover = freeboard_blocks::BlocksSettings { takeover_wait: SignedDuration::from_secs(10), ..settings() };
    world.restart(takeover, &[range("pods", "10.0.0.0/26")]);
    world.api.create("b", &[], Some(16));
    world.settle();
    assert_eq!(world.refusal("b").cause, Cause::NotReady);
    // The write of the earlier leader lands now, and the watch tells it in time.
    world.api.call(&late);
    world.pass(10);
    assert_eq!((world.block("a").as_str(), world.block("b").as_str()), ("10.0.0.0/27", "10.0.0.32/27"));
}

#[test]
fn cooling_survives_a_change_of_the_leader() {
    let ranges = [range("pods", "10.0.0.0/26")];
    let mut world = World::new(settings(), &ranges);
    world.create("a", 16);
    world.delete("a");
    let cooling = world.engine.cooling();
    assert_eq!(cooling, [RestoredCooling { cidr: cidr("10.0.0.0/27"), released: world.now }]);
    world.now += SignedDuration::from_secs(5);
    world.restart(settings(), &ranges);
    world.engine.handle_cooling(&cooling, world.now);
    world.create("b", 16);
    assert_eq!(world.block("b"), "10.0.0.32/27");
    world.pass(55);
    assert_eq!(world.engine.range_views()[0].free_addresses, 32);
}

#[test]
fn a_lost_answer_is_settled_by_writing_the_same_block_again() {
    for fate in [Fate::AnswerLost, Fate::RequestLost, Fate::Refused, Fate::Conflict] {
        let mut world = World::new(settings(), &[range("pods", "10.0.0.0/26")]);
        world.api.create("a", &[], Some(16));
        world.deliver();
        world.answer(fate);
        world.pass(2);
        assert_eq!(world.block("a"), "10.0.0.0/27", "{fate:?}");
        let view = &world.engine.range_views()[0];
        assert_eq!((view.allocated_addresses, view.free_addresses), (32, 32), "nothing leaks after {fate:?}");
        assert!(world.engine.node(&NodeName::new("a")).unwrap().is_confirmed);
    }
}

#[test]
fn a_block_that_somebody_else_wrote_first_is_accepted_and_ours_is_free_again() {
    let mut world = World::new(settings(), &[range("pods", "10.0.0.0/26")]);
    world.api.create("a", &[], Some(16));
    world.deliver();
    world.api.edit("a", |node| node.pod_cidrs = vec!["10.0.0.32/27".to_owned()]);
    world.answer(Fate::Done);
    world.settle();
    let view = &world.engine.range_views()[0];
    assert_eq!((view.allocated_addresses, view.free_addresses, view.cooling_addresses), (32, 32, 0));
    assert_eq!(world.engine.node(&NodeName::new("a")).unwrap().blocks, [cidr("10.0.0.32/27")]);
}

#[test]
fn a_node_that_was_created_again_under_its_name_does_not_get_the_old_ones_block() {
    let mut world = World::new(settings(), &[range("pods", "10.0.0.0/25")]);
    world.api.create("a", &[], Some(16));
    world.deliver();
    world.api.delete("a");
    world.api.create("a", &[], Some(16));
    // The watch is late: the write still carries the old uid.
    world.answer(Fate::Done);
    world.settle();
    assert_eq!(world.block("a"), "10.0.0.32/27");
    assert_eq!(world.engine.range_views()[0].cooling_addresses, 32, "the old one may have been used");
}

#[test]
fn late_lists_and_events_take_nothing_away() {
    let mut world = World::new(settings(), &[range("pods", "10.0.0.0/26")]);
    world.api.create("a", &[], Some(16));
    let (old, old_version) = world.api.list();
    world.settle();
    world.create("b", 16);
    let (nodes, version) = world.api.list();
    world.engine.handle_nodes(nodes, version, world.now);
    world.engine.handle_nodes(old.clone(), old_version, world.now);
    world.collect();
    assert!(world.signals.contains(&Signal::StaleListIgnored));
    world.engine.handle_node(old[0].clone(), world.now);
    world.settle();
    assert_eq!(world.engine.range_views()[0].free_addresses, 0);
    // A deleted node that a late event shows again does not come to life.
    world.delete("a");
    world.engine.handle_node(old[0].clone(), world.now);
    world.settle();
    assert_eq!(world.engine.view().nodes, 1);
}

#[test]
fn writes_in_flight_are_bounded_and_not_one_by_one() {
    let mut world = World::new(settings(), &[range("pods", "10.0.0.0/16")]);
    for index in 0..100 {
        world.api.create(&format!("n{index}"), &[], Some(16));
    }
    world.deliver();
    assert_eq!(world.calls.len(), 64);
    world.answer(Fate::Done);
    assert_eq!(world.calls.len(), 64);
    world.settle();
    assert_eq!(world.engine.view().nodes_served, 100);
}

/// Small nodes come as fast as others go: without room that is kept, a large node would wait for ever.
fn waits_of_a_large_node_under_churn(hold_for: SignedDuration) -> Option<usize> {
    let settings = freeboard_blocks::BlocksSettings { hold_for, ..settings() };
    let mut world = World::new(settings, &[range("pods", "10.0.0.0/24")]);
    let mut small: Vec<String> = (0..8).map(|index| format!("small-{index}")).collect();
    for name in &small {
        world.create(name, 16);
    }
    world.create("large", 32);
    world.create("next-0", 16);
    assert!(world.block("large").is_empty() && world.block("next-0").is_empty());
    for round in 1..40 {
        // In an order that frees no two neighbours in a row.
        let gone = small.remove(round * 3 % small.len());
        world.delete(&gone);
        small.push(format!("next-{}", round - 1));
        world.create(&format!("next-{round}"), 16);
        world.pass(10);
        if !world.block("large").is_empty() {
            return Some(round);
        }
    }
    None
}

#[test]
fn a_large_node_is_not_starved_by_small_ones() {
    assert_eq!(waits_of_a_large_node_under_churn(SignedDuration::ZERO), None, "this is what keeping room is for");
    let rounds = waits_of_a_large_node_under_churn(SignedDuration::from_mins(10));
    assert!(rounds.is_some_and(|rounds| rounds <= 20), "{rounds:?}");
}

#[test]
fn room_that_is_kept_in_vain_is_given_to_the_small_ones() {
    let mut world = World::new(settings(), &[range("pods", "10.0.0.0/26")]);
    world.create("a", 16);
    world.create("b", 16);
    world.create("large", 32);
    world.create("small", 16);
    world.delete("a");
    world.pass(60);
    let refusal = world.refusal("small");
    assert!(refusal.message.contains("32 of them are kept for a larger node"), "{refusal}");
    assert_eq!(world.engine.range_views()[0].held_addresses, 32);
    world.pass(600);
    assert_eq!((world.block("small").as_str(), world.block("large").as_str()), ("10.0.0.0/27", ""));
}
