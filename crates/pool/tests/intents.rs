//! An interface is recorded before it is created, so that a restarted agent finds what its predecessor made.

mod world;

use freeboard_address::Addresses;
use freeboard_pool::{CloudOperation, FailureKind, NodeFacts, PoolSettings};
use jiff::SignedDuration;
use world::{Fault, World, facts, settings, targets};

const CREATE: &str = "CreateNetworkInterface";

fn one_spare() -> PoolSettings {
    let mut settings = settings();
    targets(&mut settings).warm_ip = Some(Addresses(1));
    settings
}

fn small() -> NodeFacts {
    facts(3, 4, 100)
}

fn is_creating(world: &World) -> bool {
    world.in_flight.iter().any(|(_, operation)| matches!(operation, CloudOperation::CreateInterface { .. }))
}

/// A node that has just begun to create its second interface.
fn creating() -> World {
    let mut world = World::started(one_spare(), small(), "10.0.0.0/24");
    world.pod("first");
    world.add("second");
    world.add("third");
    until_created(&mut world);
    world
}

fn until_created(world: &mut World) {
    for _ in 0..100 {
        world.drain();
        if is_creating(world) {
            return;
        }
        if world.in_flight.is_empty() {
            world.pass(1);
        } else {
            world.answer(0);
        }
    }
    panic!("no interface is created: {:?}", world.calls);
}

#[test]
fn nothing_is_created_before_the_disk_knows_of_it() {
    let mut world = World::started(one_spare(), small(), "10.0.0.0/24");
    world.pod("first");
    world.pod("second");
    world.persist_held = true;
    world.add("third");
    world.add("fourth");
    world.pass(10);
    assert_eq!(world.count(CREATE), 0, "{:?}", world.calls);
    world.persist_held = false;
    world.pass(20);
    assert_eq!(world.count(CREATE), 1, "{:?}", world.calls);
}

#[test]
fn nothing_is_created_while_the_disk_fails_and_all_is_well_when_it_does_not() {
    let mut world = World::started(one_spare(), small(), "10.0.0.0/24");
    world.pod("first");
    world.pod("second");
    world.disk_fails = true;
    world.add("third");
    world.add("fourth");
    world.pass(120);
    assert_eq!(world.count(CREATE), 0, "{:?}", world.calls);
    world.disk_fails = false;
    world.pass(60);
    world.pod("third");
    world.pod("fourth");
    assert_eq!(world.count(CREATE), 1, "{:?}", world.calls);
}

#[test]
fn a_restarted_agent_takes_on_the_interface_that_was_created_before_it_died() {
    let mut world = creating();
    assert_eq!(world.disk.creating.len(), 1, "the disk knows of it");
    while is_creating(&world) {
        world.answer_nobody();
    }
    world.in_flight.clear();
    assert_eq!(world.interfaces.len(), 2, "it was created");
    let disk = world.disk.clone();
    world.restart(one_spare(), small(), disk);
    world.pass(10);
    assert_eq!(world.interfaces.len(), 2, "no other one is created");
    assert!(world.interfaces.values().all(|interface| interface.on_instance), "it is attached: {:?}", world.calls);
    assert_eq!(world.disk.creating.len(), 0, "what is attached needs no record");
    world.check();
}

#[test]
fn a_repetition_that_is_refused_for_now_is_made_again_later() {
    let mut world = creating();
    while is_creating(&world) {
        world.answer_nobody();
    }
    world.in_flight.clear();
    let disk = world.disk.clone();
    world.standing_fault = Some((CREATE, Fault::Fail(FailureKind::Throttled)));
    world.restart(one_spare(), small(), disk);
    world.pass(120);
    assert!(world.interfaces.values().any(|interface| !interface.on_instance));
    world.standing_fault = None;
    world.add("third");
    world.add("fourth");
    world.pass(60);
    assert_eq!(world.interfaces.len(), 2, "no other one is created: {:?}", world.calls);
    assert!(world.interfaces.values().all(|interface| interface.on_instance), "{:?}", world.calls);
}

/// EC2 forgets client tokens some day; a repetition would create a second one.
#[test]
fn a_record_that_is_hours_old_is_not_repeated() {
    let mut world = creating();
    world.in_flight.clear();
    let (disk, before) = (world.disk.clone(), world.count(CREATE));
    world.now += SignedDuration::from_hours(2);
    world.restart(one_spare(), small(), disk);
    world.settle();
    assert_eq!(world.count(CREATE), before, "{:?}", world.calls);
}
