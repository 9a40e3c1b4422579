//! What the pool remembers beside the cloud's lists: what it gave back, what still rests, and who has asked.

mod world;

use std::net::Ipv4Addr;

use freeboard_address::{Addresses, EniId};
use freeboard_pool::{AddressState, PoolSettings, RestoredAllocation};
use world::{Fault, World, facts, settings, targets};

fn warm_ip(warm: u32) -> PoolSettings {
    let mut settings = settings();
    targets(&mut settings).warm_ip = Some(Addresses(warm));
    settings
}

/// Six pods come, and end at this moment.
fn six_pods_have_ended() -> World {
    let mut world = World::started(warm_ip(1), facts(2, 10, 20), "10.0.0.0/24");
    for n in 0..6 {
        world.pod(&format!("pod-{n}"));
    }
    for n in 0..6 {
        world.del(&format!("pod-{n}"));
    }
    world.settle();
    world
}

#[test]
fn a_restarted_agent_does_not_believe_a_late_list_of_what_was_given_back() {
    let mut world = six_pods_have_ended();
    let (before, late) = (world.pool.view().tally.total, world.observed_interfaces());
    world.pass(75);
    let held = world.pool.view().tally.total;
    assert!(held < before, "{held} of {before}");
    let disk = world.disk.clone();
    world.restart(warm_ip(1), facts(2, 10, 20), disk);
    world.pool.handle_interfaces(late, world.now);
    world.drain();
    assert_eq!(world.pool.view().tally.total, held, "{:?}", world.pool.view().interfaces);
}

#[test]
fn what_a_pod_was_given_since_is_not_taken_for_given_back() {
    let address = Ipv4Addr::new(10, 0, 0, 5);
    let mut world = World::new(warm_ip(1), facts(2, 4, 11), "10.0.0.0/24");
    world.own(address);
    let block = freeboard_address::Cidr::host(address);
    world.pool.handle_returned(vec![freeboard_pool::ReturnedBlock { block, returned: world.now }], world.now);
    let allocation = RestoredAllocation { key: World::key("a"), pod: None, address, since: world.now };
    world.pool.handle_restore(vec![allocation], Vec::new(), world.now);
    world.settle();
    assert_eq!(world.pool.holds(&World::key("a")).unwrap().interface, Some(EniId::new("eni-0")));
}

#[test]
fn nothing_is_given_back_before_the_disk_knows_of_it() {
    let mut world = six_pods_have_ended();
    world.persist_held = true;
    world.pass(90);
    assert_eq!(world.count("UnassignPrivateIpAddresses"), 0);
    world.persist_held = false;
    world.write_disk();
    world.settle();
    assert_eq!(world.count("UnassignPrivateIpAddresses"), 1);
}

#[test]
fn what_the_disk_cannot_be_told_of_stays() {
    let mut world = six_pods_have_ended();
    let before = world.pool.view().tally;
    world.disk_fails = true;
    world.pass(90);
    assert_eq!(world.count("UnassignPrivateIpAddresses"), 0);
    assert_eq!(world.pool.view().tally.free, before.total, "all of it can be given");
    world.disk_fails = false;
    world.pass(90);
    assert!(world.count("UnassignPrivateIpAddresses") > 0);
}

#[test]
fn an_address_that_comes_back_before_it_has_rested_rests_on() {
    let address = Ipv4Addr::new(10, 0, 0, 5);
    let mut world = World::new(warm_ip(1), facts(2, 4, 11), "10.0.0.0/24");
    world.own(address);
    let whole = world.observed_interfaces();
    let allocation = RestoredAllocation { key: World::key("a"), pod: None, address, since: world.now };
    world.pool.handle_restore(vec![allocation], Vec::new(), world.now);
    world.settle();
    let primary = EniId::new("eni-0");
    world.interfaces.get_mut(&primary).unwrap().seen.secondary_addresses.retain(|known| *known != address);
    world.pass(75);
    assert_eq!(world.pool.view().tally.quarantined, 1, "two looks do not show it: its pod's claim is contained");
    world.del("a");
    world.settle();
    assert!(world.disk.cooling.iter().any(|cooling| cooling.address == address), "the disk knows that it rests");
    world.pool.handle_interfaces(whole, world.now);
    world.drain();
    let view = world.pool.view();
    let blocks = view.interfaces.iter().flat_map(|interface| &interface.blocks);
    let state = blocks.flat_map(|block| &block.addresses).find(|known| known.address == address).map(|a| &a.state);
    assert!(matches!(state, Some(AddressState::Cooling { .. })), "{state:?}");
}

#[test]
fn an_attachment_that_never_completes_is_given_back_and_made_anew() {
    let mut world = World::started(warm_ip(1), facts(3, 4, 11), "10.0.0.0/24");
    for n in 0..2 {
        world.pod(&format!("pod-{n}"));
    }
    world.standing_fault = Some(("AttachNetworkInterface", Fault::LoseAnswer));
    world.add("late-0");
    world.add("late-1");
    for _ in 0..50 {
        world.drain();
        world.answer(0);
        for interface in world.interfaces.values_mut().filter(|interface| interface.seen.id != EniId::new("eni-0")) {
            interface.seen.attached = false;
        }
    }
    let stuck: Vec<EniId> = world.interfaces.keys().filter(|id| **id != EniId::new("eni-0")).cloned().collect();
    assert!(!stuck.is_empty(), "{}", world.trace);
    world.standing_fault = None;
    world.pass(400);
    assert!(stuck.iter().all(|id| !world.interfaces.contains_key(id)), "{stuck:?}");
    assert!(!world.pod("later").is_unspecified(), "another interface serves");
}

#[test]
fn an_add_that_brought_nothing_is_remembered_until_its_del() {
    let mut world = World::started(settings(), facts(2, 4, 11), "10.0.0.0/28");
    world.fill("subnet-a", 0);
    for n in 0..30 {
        world.add(&format!("pod-{n}"));
    }
    world.pass(30);
    let refused = World::key("pod-29");
    assert!(world.pool.holds(&refused).is_none());
    assert!(world.pool.has_asked(&refused));
    assert!(!world.pool.has_asked(&World::key("another")));
    world.del("pod-29");
    world.settle();
    assert!(!world.pool.has_asked(&refused));
}

#[test]
fn an_input_that_seems_earlier_than_the_one_before_comes_with_it() {
    let mut world = World::started(warm_ip(0), facts(2, 4, 11), "10.0.0.0/26");
    world.pod("a");
    world.del("a");
    world.settle();
    let released = world.now;
    world.pool.handle_timeout(released - jiff::SignedDuration::from_hours(1));
    world.settle();
    assert_eq!(world.pool.view().tally.cooling, 1, "{}", world.figures());
    world.pass(31);
    assert_eq!(world.pool.view().tally.cooling, 0, "{}", world.figures());
}

#[test]
fn an_add_that_could_not_be_written_was_asked() {
    let mut world = World::started(warm_ip(1), facts(2, 4, 11), "10.0.0.0/26");
    world.disk_fails = true;
    world.add("a");
    world.settle();
    assert!(world.pool.holds(&World::key("a")).is_none());
    assert!(world.pool.has_asked(&World::key("a")), "what was rebuilt under its name is not its");
}
