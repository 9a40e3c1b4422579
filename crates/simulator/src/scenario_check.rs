//! A scenario must make sense as a whole before it starts.

use freeboard_address::Cidr;
use freeboard_pool::AllocationMode;
use freeboard_vpc::{InstanceType, LimitTable};

use crate::scenario::{PoolChoice, Scenario};
use crate::workload::{self, WorkloadError};

/// Addresses of each subnet that EC2 keeps.
const RESERVED_BY_EC2: u64 = 5;

/// Why a scenario cannot be run. Nothing was started.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ScenarioError {
    /// Not a scenario at all, or an unknown field.
    #[error("not a scenario: {reason}; see docs for its fields")]
    Text {
        /// What the reader says, with line and column.
        reason: String,
    },
    /// A figure out of its range.
    #[error("{field} is {value}: expected {expected}")]
    Value {
        /// The field.
        field: String,
        /// Its value as text.
        value: String,
        /// What it must be, and what to do.
        expected: String,
    },
    /// A workload's own trouble.
    #[error(transparent)]
    Workload(#[from] WorkloadError),
    /// More pods on a node than its type has addresses for.
    #[error(
        "workloads ask for {pods} pods at once on node {node}: a {instance_type} can carry {room} in this mode; lower the pods, \
         take a larger instance type, or use mode: prefixes"
    )]
    NodeTooSmall {
        /// The node.
        node: u32,
        /// Pods at the peak.
        pods: u32,
        /// The type.
        instance_type: String,
        /// Addresses that it can carry for pods.
        room: u32,
    },
    /// More pods than the subnets have addresses.
    #[error(
        "workloads ask for {pods} pods at once: the subnets have {room} addresses beside those of the nodes themselves and \
         of others; lower the pods or add a subnet"
    )]
    VpcTooSmall {
        /// Pods at the peak.
        pods: u64,
        /// Addresses that there are.
        room: u64,
    },
    /// The cloud refuses the world that the scenario describes.
    #[error("world is refused: {reason}")]
    World {
        /// Why.
        reason: String,
    },
}

#[expect(clippy::needless_pass_by_value, reason = "figures and texts alike, without a & at each of twenty calls")]
fn value(field: impl Into<String>, value: impl ToString, expected: impl Into<String>) -> ScenarioError {
    ScenarioError::Value { field: field.into(), value: value.to_string(), expected: expected.into() }
}

impl Scenario {
    /// Checks the scenario as a whole.
    ///
    /// # Errors
    /// The first thing that makes no sense.
    pub fn check(&self) -> Result<(), ScenarioError> {
        self.check_figures()?;
        self.check_subnets()?;
        self.check_blocks()?;
        for workload in &self.workloads {
            workload.check(self.nodes.count)?;
        }
        if self.workloads.is_empty() {
            return Err(value("workloads", "[]", "at least one; without pods nothing happens"));
        }
        self.faults.check()?;
        self.check_room()
    }

    fn check_figures(&self) -> Result<(), ScenarioError> {
        let world = &self.world;
        let figures = [
            ("duration_seconds", self.duration_seconds, 31_536_000.0),
            ("settle_seconds", self.settle_seconds, 31_536_000.0),
            ("sample_seconds", self.sample_seconds, 31_536_000.0),
            ("world.api_latency_milliseconds", world.api_latency_milliseconds, 60_000.0),
            ("world.attach_seconds", world.attach_seconds, 3_600.0),
            ("world.detach_seconds", world.detach_seconds, 3_600.0),
            ("world.link_milliseconds", world.link_milliseconds, 3_600_000.0),
            ("world.throttling_scale", world.throttling_scale, 1_000_000.0),
        ];
        for (field, figure, most) in figures {
            if !figure.is_finite() || !(0.0..=most).contains(&figure) {
                return Err(value(field, figure, format!("a number from 0 to {most}")));
            }
        }
        for (field, figure) in [
            ("duration_seconds", self.duration_seconds),
            ("sample_seconds", self.sample_seconds),
            ("world.throttling_scale", world.throttling_scale),
        ] {
            if figure == 0.0 {
                return Err(value(field, figure, "more than 0"));
            }
        }
        if self.nodes.count == 0 {
            return Err(value("nodes.count", 0, "at least 1 node"));
        }
        if self.nodes.max_pods == Some(0) {
            return Err(value("nodes.max_pods", 0, "at least 1, or leave it out for EKS's rule"));
        }
        self.check_pool("pool", &self.pool)?;
        for (index, change) in self.changes.iter().enumerate() {
            if !change.at_seconds.is_finite() || !(0.0..self.duration_seconds).contains(&change.at_seconds) {
                let field = format!("changes[{index}].at_seconds");
                let expected = format!("a number from 0 to less than duration_seconds, {}", self.duration_seconds);
                return Err(value(field, change.at_seconds, expected));
            }
            self.check_pool(&format!("changes[{index}].pool"), &change.pool)?;
        }
        Ok(())
    }

    fn check_pool(&self, field: &str, pool: &PoolChoice) -> Result<(), ScenarioError> {
        if pool.max_eni == Some(0) {
            return Err(value(format!("{field}.max_eni"), 0, "at least 1: the primary interface counts"));
        }
        if pool.add_queue == 0 {
            return Err(value(format!("{field}.add_queue"), 0, "at least 1"));
        }
        let none = |target: Option<u32>| target.unwrap_or(0) == 0;
        let prefixes = pool.mode == AllocationMode::Prefixes;
        let without_target =
            pool.warm_prefix_target == 0 && none(pool.warm_ip_target) && none(pool.minimum_ip_target) && !pool.lean;
        if prefixes && without_target {
            return Err(value(
                format!("{field}.warm_prefix_target"),
                0,
                "with mode: prefixes at least one of warm_prefix_target, warm_ip_target and minimum_ip_target above 0",
            ));
        }
        if prefixes && self.instance_type()?.supports_prefixes() {
            return Ok(());
        }
        if prefixes {
            return Err(value(
                format!("{field}.mode"),
                "prefixes",
                format!("a nitro type for it; {} is none", self.nodes.instance_type),
            ));
        }
        Ok(())
    }

    fn check_subnets(&self) -> Result<(), ScenarioError> {
        if self.world.subnets.is_empty() {
            return Err(value("world.subnets", "[]", "at least one subnet"));
        }
        for (index, subnet) in self.world.subnets.iter().enumerate() {
            let room = subnet.cidr.size().saturating_sub(RESERVED_BY_EC2);
            if u64::from(subnet.taken_by_others) > room {
                let field = format!("world.subnets[{index}].taken_by_others");
                return Err(value(field, subnet.taken_by_others, format!("at most {room}, what {} has", subnet.cidr)));
            }
        }
        Ok(())
    }

    fn check_blocks(&self) -> Result<(), ScenarioError> {
        let nodes = usize::try_from(self.nodes.count).unwrap_or(usize::MAX);
        for (place, blocks) in self.nodes.blocks.iter().enumerate() {
            let field = |name: &str| format!("nodes.blocks[{place}].{name}");
            if !(16..=32).contains(&blocks.length) || blocks.length < blocks.range.length() {
                let expected = format!("a prefix length from 16 to 32, and at least that of {}", blocks.range);
                return Err(value(field("length"), blocks.length, expected));
            }
            if nodes.checked_sub(1).is_none_or(|last| blocks.of(last).is_none()) {
                let expected = format!("a range with a /{} for each of {nodes} nodes", blocks.length);
                return Err(value(field("range"), blocks.range, expected));
            }
            if let Some(time) = blocks.changes().find(|time| !(0.0..self.duration_seconds).contains(time)) {
                let expected = format!("a number from 0 to less than duration_seconds, {}", self.duration_seconds);
                return Err(value(field("from_seconds or until_seconds"), time, expected));
            }
            let others = self.nodes.blocks.iter().take(place);
            if let Some(other) = others.map(|other| other.range).find(|other| other.overlaps(blocks.range)) {
                return Err(value(field("range"), blocks.range, format!("one that does not overlap {other}")));
            }
        }
        Ok(())
    }

    /// The type of the nodes.
    pub(crate) fn instance_type(&self) -> Result<InstanceType, ScenarioError> {
        let table = LimitTable::embedded();
        let name = &self.nodes.instance_type;
        table.get(name).cloned().ok_or_else(|| {
            let near = table.near(name).join(", ");
            value("nodes.instance_type", name, format!("a type that EC2 has, for example m5.large; near to it: {near}"))
        })
    }

    /// Addresses for pods that one node can carry.
    pub(crate) fn node_room(&self) -> Result<u32, ScenarioError> {
        if !self.nodes.blocks.is_empty() {
            let lengths = self.nodes.blocks.iter().map(|blocks| blocks.length);
            return Ok(lengths.map(|length| 1_u32 << 32_u8.saturating_sub(length).min(16)).sum());
        }
        let limits = self.instance_type()?;
        // They must fit whatever settings are in force.
        let pools = std::iter::once(&self.pool).chain(self.changes.iter().map(|change| &change.pool));
        Ok(pools.map(|pool| room_of(&limits, pool)).min().unwrap_or(0))
    }

    fn check_room(&self) -> Result<(), ScenarioError> {
        let node_room = self.node_room()?;
        let room = self.nodes.max_pods.map_or(node_room, |most| most.min(node_room));
        let peaks = workload::peaks(&self.workloads, self.nodes.count)?;
        for (node, pods) in (0_u32..).zip(&peaks) {
            if *pods > room {
                let instance_type = self.nodes.instance_type.clone();
                return Err(ScenarioError::NodeTooSmall { node, pods: *pods, instance_type, room });
            }
        }
        if !self.nodes.blocks.is_empty() {
            return Ok(());
        }
        let usable = |cidr: Cidr, others: u32| cidr.size().saturating_sub(RESERVED_BY_EC2 + u64::from(others));
        let usable: u64 = self.world.subnets.iter().map(|s| usable(s.cidr, s.taken_by_others)).sum();
        let room = usable.saturating_sub(u64::from(self.nodes.count));
        let pods = peaks.iter().map(|pods| u64::from(*pods)).sum();
        if pods > room { Err(ScenarioError::VpcTooSmall { pods, room }) } else { Ok(()) }
    }
}

/// Addresses for pods that a node of this type can carry under these settings.
fn room_of(limits: &InstanceType, pool: &PoolChoice) -> u32 {
    let card = limits.interfaces_per_network_card.first().copied();
    let interfaces = card.unwrap_or(limits.maximum_network_interfaces);
    let interfaces = pool.max_eni.map_or(interfaces, |most| most.min(interfaces));
    let slots = interfaces.saturating_mul(limits.ipv4_addresses_per_interface.saturating_sub(1));
    match pool.mode {
        AllocationMode::SecondaryAddresses => slots,
        AllocationMode::Prefixes => slots.saturating_mul(16),
    }
}
