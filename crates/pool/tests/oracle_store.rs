//! The tables of aws-vpc-cni §11.1 (datastore) and the rows of §11.2 about reconciling, as far as IPv4 and the pool go.

#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod world;

use std::net::Ipv4Addr;

use freeboard_address::{Addresses, Cidr, EniId, MacAddress, Prefixes, SubnetId};
use freeboard_pool::{AllocationMode, Cause, InterfaceState, ObservedInterface, Policy, PoolSettings, Reply, Targets};
use jiff::SignedDuration;
use world::{Fault, Interface, World, facts, settings};

/// The store alone: nothing is asked of the cloud, so that the rows decide what is there.
fn store_only() -> PoolSettings {
    PoolSettings { provisioning_disabled: true, ..settings() }
}

fn address(text: &str) -> Ipv4Addr {
    text.parse().unwrap()
}

/// A world of interfaces with the given blocks: the first is the primary one, and the others follow by device index.
fn with_interfaces(settings: PoolSettings, interfaces: &[&[&str]]) -> World {
    let mut world = World::new(settings, facts(8, 15, 110), "10.0.0.0/16");
    for (index, blocks) in (0_u8..).zip(interfaces) {
        let id = EniId::new(format!("eni-{index}"));
        if index > 0 {
            let seen = ObservedInterface {
                id: id.clone(),
                mac: MacAddress::local([2, 0, 0, 0, 1, index]),
                device_index: u32::from(index),
                network_card: 0,
                subnet: SubnetId::new("subnet-a"),
                primary_address: Ipv4Addr::new(10, 0, 255, index),
                secondary_addresses: Vec::new(),
                prefixes: Vec::new(),
                tags: std::collections::BTreeMap::new(),
                attached: true,
                special: false,
            };
            world.interfaces.insert(id.clone(), Interface { seen, on_instance: true, token: format!("test-{index}") });
        }
        for block in *blocks {
            carry(&mut world, &id, block);
        }
    }
    world.pool.handle_restore(Vec::new(), Vec::new(), world.now);
    world.settle();
    world
}

fn carry(world: &mut World, id: &EniId, block: &str) {
    let cidr: Cidr = block.parse().unwrap_or_else(|_| Cidr::host(address(block)));
    let known = world.interfaces.get_mut(id).unwrap();
    assert!(world.subnets.get_mut(&known.seen.subnet).unwrap().space.take(cidr), "{block} is taken");
    if cidr.length() == 32 {
        known.seen.secondary_addresses.push(cidr.network());
    } else {
        known.seen.prefixes.push(cidr);
    }
}

/// Shows the pool what the cloud has now, twice and apart in time, as a removal needs.
fn look(world: &mut World) {
    for _ in 0..2 {
        world.pool.handle_interfaces(world.observed_interfaces(), world.now);
        world.settle();
        world.pass(11);
    }
}

fn total(world: &World) -> u32 {
    world.pool.view().tally.total
}

fn refused(world: &mut World, name: &str) -> Cause {
    let request = world.add(name);
    world.pass(21);
    world.refusal(request).cause
}

/// `AddENI`, `AddENIIPv4Address`, `AddENIIPv4AddressWithPDEnabled`: (blocks per interface → total).
#[test]
fn addresses_of_interfaces_are_counted_once() {
    for (interfaces, expected) in [
        (&[&["10.0.1.1"][..]][..], 1),
        (&[&["10.0.1.1", "10.0.1.2"]], 2),
        (&[&["10.0.1.1", "10.0.1.2"], &["10.0.2.2"]], 3),
        (&[&["10.0.1.0/28"]], 16),
        (&[&["10.0.1.0/28", "10.0.2.0/28"]], 32),
        (&[&["10.0.1.0/28", "10.0.2.0/28"], &["10.0.3.0/28"]], 48),
        (&[&[], &[], &[]], 0),
    ] {
        let mut world = with_interfaces(store_only(), interfaces);
        assert_eq!((world.pool.view().interfaces.len(), total(&world)), (interfaces.len(), expected), "{interfaces:?}");
        look(&mut world);
        assert_eq!(total(&world), expected, "seen again, nothing is counted twice: {interfaces:?}");
    }
}

/// `DelENIIPv4Address`: a free one goes (3 → 2, 48 → 32); one in use is never forgotten, but quarantined.
#[test]
fn what_the_cloud_took_away_goes_and_what_is_in_use_is_kept() {
    for (mode, blocks, before, after) in [
        (AllocationMode::SecondaryAddresses, ["10.0.1.1", "10.0.1.2", "10.0.1.3"], 3, 2),
        (AllocationMode::Prefixes, ["10.0.1.0/28", "10.0.2.0/28", "10.0.3.0/28"], 48, 32),
    ] {
        let mut world = with_interfaces(PoolSettings { mode, ..store_only() }, &[&blocks]);
        let held = world.pod("a");
        assert_eq!(total(&world), before);
        let seen = &mut world.interfaces.get_mut(&EniId::new("eni-0")).unwrap().seen;
        seen.secondary_addresses.retain(|known| *known != address("10.0.1.3"));
        seen.prefixes.retain(|known| known.to_string() != "10.0.3.0/28");
        look(&mut world);
        assert_eq!((total(&world), world.pool.view().tally.quarantined), (after, 0), "the free one is gone");
        let seen = &mut world.interfaces.get_mut(&EniId::new("eni-0")).unwrap().seen;
        seen.secondary_addresses.retain(|known| *known != held);
        seen.prefixes.retain(|known| !known.contains(held));
        look(&mut world);
        assert_eq!(world.pool.view().tally.quarantined, 1, "the one in use");
        assert_eq!(world.pool.holds(&World::key("a")).unwrap().address, held);
    }
}

/// `DeleteENI`: 3 interfaces, one vanishes → 2; the addresses of pods on it stay theirs.
#[test]
fn an_interface_that_is_gone_is_dropped() {
    let mut world = with_interfaces(store_only(), &[&["10.0.1.1"], &["10.0.2.1"], &["10.0.3.1"]]);
    assert_eq!(world.pod("a"), address("10.0.1.1"));
    assert_eq!(world.pool.holds(&World::key("a")).unwrap().device_index, Some(0));
    world.interfaces.remove(&EniId::new("eni-2"));
    look(&mut world);
    assert_eq!((world.pool.view().interfaces.len(), total(&world)), (2, 2));
}

/// `TogglePD`: an address of each kind serves; what is left of the other kind is counted and goes when it is unused.
#[test]
fn single_addresses_and_prefixes_live_beside_each_other() {
    let mut world = with_interfaces(store_only(), &[&["10.0.1.1"]]);
    assert_eq!(world.pod("a"), address("10.0.1.1"));
    carry(&mut world, &EniId::new("eni-0"), "10.0.2.0/28");
    world.pool.handle_settings(PoolSettings { mode: AllocationMode::Prefixes, ..store_only() }, world.now).unwrap_err();
    let targets = Targets { warm_prefix: Prefixes(1), ..Targets::default() };
    let prefixes = PoolSettings { mode: AllocationMode::Prefixes, policy: Policy::Compatible(targets), ..store_only() };
    world.pool.handle_settings(prefixes, world.now).unwrap();
    look(&mut world);
    assert_eq!(total(&world), 17);
    assert_eq!(world.pod("b"), address("10.0.2.0"));
    world.pool.handle_settings(store_only(), world.now).unwrap();
    world.del("a");
    world.settle();
    world.pass(31);
    assert_eq!(world.pod("c"), address("10.0.2.1"), "the fullest block first");
}

/// `PodIPv4Address`, step by step.
#[test]
fn pods_get_and_release_single_addresses() {
    let mut world = with_interfaces(store_only(), &[&["10.0.1.1"], &["10.0.2.2"]]);
    assert_eq!(world.pod("1"), address("10.0.1.1"));
    assert_eq!(world.pod("1"), address("10.0.1.1"), "the same key");
    world.disk_fails = true;
    let failed = world.add("2");
    world.settle();
    assert_eq!(world.refusal(failed).cause, Cause::CheckpointFailed);
    assert_eq!(world.disk.allocations.len(), 1, "the checkpoint is unchanged");
    world.disk_fails = false;
    world.pass(6);
    assert_eq!(world.pod("2"), address("10.0.2.2"));
    carry(&mut world, &EniId::new("eni-0"), "10.0.1.2");
    look(&mut world);
    assert_eq!(world.pod("3"), address("10.0.1.2"));
    let none = refused(&mut world, "4");
    assert_eq!(none, Cause::ProvisioningDisabled);
    let unknown = world.del("5");
    let second = world.del("2");
    world.settle();
    assert_eq!(world.replies[&unknown], Reply::UnknownPod);
    assert_eq!(world.replies[&second], Reply::Released { address: address("10.0.2.2"), device_index: 1 });
    // MINIMUM_IP_TARGET=2 is met without the second interface, which goes when it has cooled down and is old enough.
    let targets = Targets { minimum_ip: Some(Addresses(2)), ..Targets::default() };
    world.pool.handle_settings(PoolSettings { policy: Policy::Compatible(targets), ..settings() }, world.now).unwrap();
    world.settle();
    world.pass(10);
    assert_eq!(world.pool.view().interfaces.len(), 2, "it is cooling");
    world.pass(120);
    let tally = world.pool.view().tally;
    assert_eq!((world.pool.view().interfaces.len(), tally.total, tally.assigned), (1, 2, 2), "{}", world.trace);
}

/// `PodIPv4AddressWithPDEnabled`.
#[test]
fn pods_get_and_release_addresses_of_a_prefix() {
    let mut world =
        with_interfaces(PoolSettings { mode: AllocationMode::Prefixes, ..store_only() }, &[&["10.0.1.0/28"]]);
    assert_eq!(world.pod("1"), address("10.0.1.0"));
    assert_eq!(world.pod("1"), address("10.0.1.0"));
    world.disk_fails = true;
    let failed = world.add("2");
    world.settle();
    assert_eq!(world.refusal(failed).cause, Cause::CheckpointFailed);
    world.disk_fails = false;
    world.pass(6);
    assert_eq!(world.pod("2"), address("10.0.1.1"));
    assert_eq!(world.pod("3"), address("10.0.1.2"));
    world.del("2");
    world.settle();
    let tally = world.pool.view().tally;
    assert_eq!((tally.total, tally.assigned), (16, 2));
}

/// `GetIPStatsV4` (±PD), with a cool-down of one second.
#[test]
fn a_released_address_counts_as_cooling_until_it_has_cooled_down() {
    for (mode, blocks, total, prefixes) in [
        (AllocationMode::SecondaryAddresses, &["10.0.1.1", "10.0.1.2"][..], 2, 0),
        (AllocationMode::Prefixes, &["10.0.1.0/28"], 16, 1),
    ] {
        let cooldown = SignedDuration::from_secs(1);
        let mut world = with_interfaces(PoolSettings { mode, cooldown, ..store_only() }, &[blocks]);
        world.pod("1");
        world.pod("2");
        let counted = |world: &World| {
            let view = world.pool.view();
            (view.tally.total, view.prefixes, view.tally.assigned, view.tally.cooling)
        };
        assert_eq!(counted(&world), (total, prefixes, 2, 0));
        world.del("2");
        world.settle();
        assert_eq!(counted(&world), (total, prefixes, 1, 1));
        world.pass(1);
        assert_eq!(counted(&world), (total, prefixes, 1, 0));
    }
}

/// `AssignPodIPv4AddressWithExcludedENI`, `GetIPStatsWithExcludedENI`: subnet-s is excluded from pods.
#[test]
fn an_excluded_interface_serves_nobody() {
    let mut world = World::new(store_only(), facts(8, 15, 110), "10.0.0.0/24");
    world.subnets.get_mut(&SubnetId::new("subnet-a")).unwrap().tags =
        [("kubernetes.io/role/cni".to_owned(), "0".to_owned())].into();
    world.own(address("10.0.0.77"));
    world.own(address("10.0.0.78"));
    world.pool.handle_restore(Vec::new(), Vec::new(), world.now);
    world.settle();
    assert!(world.pool.view().interfaces[0].excluded);
    refused(&mut world, "1");
    assert_eq!(world.pool.view().tally.assigned, 0);
}

/// `NodeIPPoolReconcile` (±prefix): what appears in the cloud is taken in; `BadIMDSData`: what EC2 shows counts.
#[test]
fn what_the_cloud_shows_is_taken_in() {
    for (mode, first, second, size) in [
        (AllocationMode::SecondaryAddresses, "10.0.1.1", "10.0.1.2", 1),
        (AllocationMode::Prefixes, "10.0.1.0/28", "10.0.2.0/28", 16),
    ] {
        let mut world = with_interfaces(PoolSettings { mode, ..store_only() }, &[&[first]]);
        assert_eq!(total(&world), size);
        carry(&mut world, &EniId::new("eni-0"), second);
        world.pool.handle_interfaces(world.observed_interfaces(), world.now);
        world.settle();
        assert_eq!(total(&world), 2 * size, "one look is enough for what is new");
        world.interfaces.get_mut(&EniId::new("eni-0")).unwrap().seen.prefixes.pop();
        world.interfaces.get_mut(&EniId::new("eni-0")).unwrap().seen.secondary_addresses.pop();
        world.pool.handle_interfaces(world.observed_interfaces(), world.now);
        world.settle();
        assert_eq!(total(&world), 2 * size, "one look is not enough for what is gone");
        look(&mut world);
        assert_eq!(total(&world), size);
        let corrections = world.pool.view().corrections;
        assert_eq!((corrections.blocks_found, corrections.blocks_gone), (1, 1), "reconcile_count");
    }
}

/// An address that cools down and shows in the cloud keeps cooling: it is not taken in anew as free.
#[test]
fn a_look_does_not_end_a_cool_down() {
    let mut world = with_interfaces(store_only(), &[&["10.0.1.1"]]);
    world.pod("1");
    world.del("1");
    world.settle();
    world.pool.handle_interfaces(world.observed_interfaces(), world.now);
    world.settle();
    assert_eq!(world.pool.view().tally.cooling, 1);
}

/// `IncreaseIPPool` with subnet discovery: the first interface's subnet fails, the next interface serves.
#[test]
fn growth_goes_on_where_the_first_interface_fails() {
    let targets = Targets { warm_ip: Some(Addresses(1)), ..Targets::default() };
    let mut world =
        World::new(PoolSettings { policy: Policy::Compatible(targets), ..settings() }, facts(3, 4, 11), "10.0.0.0/24");
    world.fill("subnet-a", 0);
    world.add_subnet("subnet-s", "100.64.1.0/24", false, &[("kubernetes.io/role/cni", "1")]);
    world.pool.handle_restore(Vec::new(), Vec::new(), world.now);
    world.settle();
    assert_eq!(world.pod("1").octets()[0], 100);
    assert!(world.pool.view().interfaces.iter().all(|interface| interface.state == InterfaceState::Ready));
    world.standing_fault = Some(("AssignPrivateIpAddresses", Fault::Fail(freeboard_pool::FailureKind::SubnetShort)));
    let request = world.add("2");
    world.pass(1);
    world.standing_fault = None;
    world.pass(20);
    assert!(world.is_assigned(request), "{}", world.trace);
}
