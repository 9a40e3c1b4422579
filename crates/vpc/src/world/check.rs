//! Checks of a world file that need no cloud: numbers in range, ids well formed and unique, references that exist.

use std::collections::{BTreeMap, BTreeSet};

use super::{Timing, World, WorldError};

/// The longest time a knob may name: a year.
const LONGEST_SECONDS: f64 = 31_536_000.0;

/// Whether a speed makes sense.
pub(crate) fn check_speed(speed: f64) -> Result<(), WorldError> {
    in_range("speed", speed, f64::MIN_POSITIVE, 1e6, "a number above 0, at most 1000000")
}

/// Checks numbers, ids and names.
pub(super) fn check(world: &World) -> Result<(), WorldError> {
    check_speed(world.speed)?;
    check_timing(&world.timing)?;
    in_range("throttling.scale", world.throttling.scale, 1e-3, 1e6, "a number from 0.001 to 1000000")?;
    for (index, fault) in world.faults.iter().enumerate() {
        seconds(&format!("faults[{index}].after_seconds"), fault.after_seconds)?;
    }
    let digits = world.account_id.len() == 12 && world.account_id.bytes().all(|b| b.is_ascii_digit());
    if !digits {
        return Err(out_of_range("account_id", &world.account_id, "twelve digits, in quotes"));
    }
    if world.region.is_empty() {
        return Err(out_of_range("region", "empty", "a name like ap-southeast-2"));
    }
    if world.availability_zones.is_empty() {
        return Err(out_of_range("availability_zones", "empty", "at least one zone"));
    }
    check_ids(world)
}

fn check_timing(timing: &Timing) -> Result<(), WorldError> {
    seconds("timing.api_latency_milliseconds", timing.api_latency_milliseconds)?;
    seconds("timing.attach_seconds", timing.attach_seconds)?;
    seconds("timing.detach_seconds", timing.detach_seconds)?;
    seconds("timing.cidr_association_seconds", timing.cidr_association_seconds)?;
    seconds("timing.vpc_creation_seconds", timing.vpc_creation_seconds)?;
    seconds("timing.instance_start_seconds", timing.instance_start_seconds)?;
    seconds("timing.instance_stop_seconds", timing.instance_stop_seconds)?;
    seconds("timing.terminated_instance_visible_seconds", timing.terminated_instance_visible_seconds)?;
    seconds("timing.metadata_lag_seconds", timing.metadata_lag_seconds)
}

fn seconds(key: &str, value: f64) -> Result<(), WorldError> {
    in_range(key, value, 0.0, LONGEST_SECONDS, "a number from 0 to 31536000")
}

fn in_range(key: &str, value: f64, low: f64, high: f64, expected: &'static str) -> Result<(), WorldError> {
    if value.is_finite() && (low..=high).contains(&value) {
        Ok(())
    } else {
        Err(out_of_range(key, &value.to_string(), expected))
    }
}

fn out_of_range(key: &str, value: &str, expected: &'static str) -> WorldError {
    WorldError::OutOfRange { key: key.to_owned(), value: value.to_owned(), expected }
}

/// The ids of a world: what each of them names.
#[derive(Default)]
struct Ids(BTreeMap<String, &'static str>);

impl Ids {
    fn add(&mut self, id: &str, prefix: &'static str, kind: &'static str) -> Result<(), WorldError> {
        let digits = id.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('-')).unwrap_or_default();
        if !matches!(digits.len(), 8 | 17) || !digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(WorldError::MalformedId { id: id.to_owned(), kind, prefix });
        }
        match self.0.insert(id.to_owned(), kind) {
            Some(first) => Err(WorldError::DuplicateId { id: id.to_owned(), first, second: kind }),
            None => Ok(()),
        }
    }
}

fn check_ids(world: &World) -> Result<(), WorldError> {
    let mut ids = Ids::default();
    let mut zones = BTreeSet::new();
    for name in world.availability_zones.iter().flat_map(|zone| [&zone.name, &zone.id]) {
        if !zones.insert(name) {
            return Err(WorldError::DuplicateId { id: name.clone(), first: "zone", second: "zone" });
        }
    }
    for vpc in &world.vpcs {
        ids.add(vpc.id.as_str(), "vpc", "VPC")?;
        for subnet in &vpc.subnets {
            ids.add(subnet.id.as_str(), "subnet", "subnet")?;
            for id in subnet.reservations.iter().filter_map(|reservation| reservation.id.as_ref()) {
                ids.add(id.as_str(), "scr", "subnet CIDR reservation")?;
            }
        }
        let groups = vpc.security_groups.iter().map(|group| &group.id);
        for id in vpc.default_security_group.iter().chain(groups) {
            ids.add(id.as_str(), "sg", "security group")?;
        }
        for table in &vpc.route_tables {
            ids.add(table.id.as_str(), "rtb", "route table")?;
        }
        if let Some(gateway) = &vpc.internet_gateway {
            ids.add(gateway.as_str(), "igw", "internet gateway")?;
        }
    }
    for peering in &world.peerings {
        ids.add(peering.id.as_str(), "pcx", "peering connection")?;
    }
    for instance in &world.instances {
        ids.add(instance.id.as_str(), "i", "instance")?;
    }
    let of_instances = world.instances.iter().flat_map(|instance| &instance.interfaces);
    let interfaces = of_instances.chain(&world.interfaces).filter_map(|interface| interface.id.as_ref());
    for id in interfaces.chain(world.upcoming_ids.interfaces.iter().map(|upcoming| &upcoming.id)) {
        ids.add(id.as_str(), "eni", "network interface")?;
    }
    for id in world.upcoming_ids.subnets.values() {
        ids.add(id.as_str(), "subnet", "subnet")?;
    }
    Ok(())
}
