//! EC2's errors and what follows from each (aws-vpc-cni §4.7, the code tables of §11.2). Which code is which kind is a table of
//! `freeboard-ec2`; here is which kind leads to which behaviour: one action is paused, the other ways stay open.

mod world;

use freeboard_pool::{Cause, FailureKind, PoolSettings};
use world::{Fault, World, facts, settings, targets};

fn bare() -> PoolSettings {
    let mut settings = settings();
    targets(&mut settings).warm_eni = 0;
    settings
}

/// A node whose every call of one action fails in one way.
fn failing(settings: PoolSettings, action: &'static str, kind: FailureKind) -> World {
    let mut world = World::new(settings, facts(3, 4, 11), "10.0.0.0/24");
    world.standing_fault = Some((action, Fault::Fail(kind)));
    world.pool.handle_restore(Vec::new(), Vec::new(), world.now);
    world.settle();
    world
}

/// A pod that comes now: its address's first octet, or the cause of its refusal.
fn outcome(world: &mut World, name: &str) -> Result<(), Cause> {
    let request = world.add(name);
    world.pass(21);
    if world.is_assigned(request) { Ok(()) } else { Err(world.refusal(request).cause) }
}

/// AssignPrivateIpAddresses fails: as long as another interface may be made, it serves; where none may be, the cause is told.
#[test]
fn assign_errors() {
    for (codes, kind, otherwise, alone) in [
        (
            "InsufficientFreeAddressesInSubnet, InsufficientCidrBlocks for single addresses",
            FailureKind::SubnetShort,
            Err(Cause::SubnetExhausted),
            Cause::SubnetExhausted,
        ),
        ("PrivateIpAddressLimitExceeded", FailureKind::AddressLimit, Ok(()), Cause::InterfaceLimit),
        ("RequestLimitExceeded, Throttling", FailureKind::Throttled, Ok(()), Cause::Throttled),
        ("UnauthorizedOperation", FailureKind::NotAuthorized, Ok(()), Cause::NotAuthorized),
        ("InternalError, no connection", FailureKind::Unavailable, Ok(()), Cause::CloudUnavailable),
        ("InvalidParameterValue, anything else", FailureKind::Other, Ok(()), Cause::CloudUnavailable),
    ] {
        let mut world = failing(bare(), "AssignPrivateIpAddresses", kind);
        assert_eq!(outcome(&mut world, "a"), otherwise, "{codes}:\n{}", world.trace);
        let only_one = PoolSettings { max_eni: Some(1), ..bare() };
        let mut world = failing(only_one, "AssignPrivateIpAddresses", kind);
        assert_eq!(outcome(&mut world, "a"), Err(alone), "{codes}, MAX_ENI=1:\n{}", world.trace);
        let before = world.count("AssignPrivateIpAddresses");
        world.pass(600);
        let calls = world.count("AssignPrivateIpAddresses") - before;
        assert!(calls <= 60, "{codes}: {calls} calls in ten minutes");
        world.standing_fault = None;
        world.pass(61);
        assert_eq!(outcome(&mut world, "b"), Ok(()), "{codes}: the cloud has healed");
    }
}

/// CreateNetworkInterface fails when the first interface is full. The shortage with the all-purpose code (#3105) is one like any
/// other; its pause is the subnet's, so another subnet serves.
#[test]
fn create_errors() {
    for (codes, kind, cause, elsewhere) in [
        (
            "InsufficientFreeAddressesInSubnet; InvalidParameterValue \"There aren't sufficient free Ipv4 addresses\"",
            FailureKind::SubnetShort,
            Cause::SubnetExhausted,
            true,
        ),
        ("InvalidSubnetID.NotFound", FailureKind::NotFound, Cause::SubnetExhausted, true),
        ("RequestLimitExceeded", FailureKind::Throttled, Cause::Throttled, false),
        ("UnauthorizedOperation", FailureKind::NotAuthorized, Cause::NotAuthorized, false),
        ("InternalError, no connection", FailureKind::Unavailable, Cause::CloudUnavailable, false),
        ("anything else", FailureKind::Other, Cause::CloudUnavailable, false),
    ] {
        let mut world = failing(bare(), "CreateNetworkInterface", kind);
        for n in 0..3 {
            assert_eq!(outcome(&mut world, &format!("pod-{n}")), Ok(()), "{codes}");
        }
        assert_eq!(outcome(&mut world, "beyond"), Err(cause), "{codes}:\n{}", world.trace);
        let before = world.count("CreateNetworkInterface");
        world.pass(600);
        let calls = world.count("CreateNetworkInterface") - before;
        assert!(calls <= 60, "{codes}: {calls} calls in ten minutes");
        world.standing_fault = None;
        if elsewhere {
            world.fill("subnet-a", 0);
            world.add_subnet("subnet-s", "100.64.0.0/24", false, &[("kubernetes.io/role/cni", "1")]);
        }
        world.pass(61);
        assert_eq!(outcome(&mut world, "after"), Ok(()), "{codes}: {}", world.trace);
    }
}

/// AttachNetworkInterface fails: what was created is attached later, or given back when there is no slot (#2309: no storm).
#[test]
fn attach_errors() {
    for (codes, kind, cause, released) in [
        ("AttachmentLimitExceeded", FailureKind::AttachmentLimit, Cause::InterfaceLimit, true),
        ("RequestLimitExceeded", FailureKind::Throttled, Cause::Throttled, false),
        ("UnauthorizedOperation", FailureKind::NotAuthorized, Cause::NotAuthorized, false),
        ("InternalError, no connection", FailureKind::Unavailable, Cause::CloudUnavailable, false),
    ] {
        let mut world = failing(bare(), "AttachNetworkInterface", kind);
        for n in 0..3 {
            assert_eq!(outcome(&mut world, &format!("pod-{n}")), Ok(()), "{codes}");
        }
        assert_eq!(outcome(&mut world, "beyond"), Err(cause), "{codes}:\n{}", world.trace);
        world.pass(300);
        assert_eq!(world.count("CreateNetworkInterface"), 1, "{codes}: no interface after interface");
        assert_eq!(world.count("DeleteNetworkInterface"), usize::from(released), "{codes}");
        assert!(world.count("AttachNetworkInterface") <= 30, "{codes}");
    }
}

/// UnassignPrivateIpAddresses for an address that is not there any more is refused as a whole: the others are still there, are
/// found by a look, and go with the next call. Nothing is lost, nothing is given twice.
#[test]
fn an_unassign_that_is_refused_loses_nothing() {
    for (codes, kind) in [
        ("InvalidParameterValue \"are not assigned to interface\"", FailureKind::NotFound),
        ("RequestLimitExceeded", FailureKind::Throttled),
        ("InternalError, no connection", FailureKind::Unavailable),
        ("anything else", FailureKind::Other),
    ] {
        let mut wide = bare();
        targets(&mut wide).warm_ip = Some(freeboard_address::Addresses(3));
        let mut world = World::started(wide, facts(3, 10, 29), "10.0.0.0/24");
        world.pod("a");
        world.standing_fault = Some(("UnassignPrivateIpAddresses", Fault::Fail(kind)));
        let mut narrow = bare();
        targets(&mut narrow).warm_ip = Some(freeboard_address::Addresses(1));
        assert!(world.pool.handle_settings(narrow, world.now).is_ok());
        world.pass(60);
        assert_eq!(world.owned().len(), 4, "{codes}: still assigned in the cloud");
        world.standing_fault = None;
        world.pass(180);
        assert_eq!((world.figures().as_str(), world.owned().len()), ("1/2/1", 2), "{codes}:\n{}", world.trace);
    }
}
