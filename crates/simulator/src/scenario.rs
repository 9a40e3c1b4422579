//! A scenario: what exists, how nodes are set, what pods do, what goes wrong, and for how long.

use std::collections::BTreeMap;

use freeboard_address::{Addresses, Cidr, Prefixes};
use freeboard_pool::{AllocationMode, Pacing, Policy, PoolSettings, RangePreference, Targets};
use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use crate::fault::FaultSettings;
use crate::node_blocks::BlockSettings;
use crate::scenario_check::ScenarioError;
use crate::workload::Workload;

/// A scenario file (YAML). Made with [`Scenario::parse`], which checks it as a whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Its name, for messages.
    pub name: String,
    /// The VPC and the cloud's times.
    #[serde(default)]
    pub world: WorldSettings,
    /// The nodes.
    pub nodes: NodeSettings,
    /// How each node's pool is set.
    #[serde(default)]
    pub pool: PoolChoice,
    /// What pods do; several run side by side.
    pub workloads: Vec<Workload>,
    /// New settings for every node's pool while it runs.
    #[serde(default)]
    pub changes: Vec<PoolChange>,
    /// What goes wrong.
    #[serde(default)]
    pub faults: FaultSettings,
    /// The safety phase: workload and faults.
    pub duration_seconds: f64,
    /// The liveness phase after it, on a healthy cloud: by its end everything must be served and at rest.
    #[serde(default = "default_settle")]
    pub settle_seconds: f64,
    /// A sample of the time series is taken this often.
    #[serde(default = "default_sample")]
    pub sample_seconds: f64,
    /// Whether the invariants are checked after every step; a bench of thousands of nodes leaves them out.
    #[serde(default)]
    pub checking: Checking,
}

/// New settings at a moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PoolChange {
    /// So long after the start.
    pub at_seconds: f64,
    /// The settings from then on, as a whole: what is left out has its default, not its value before.
    pub pool: PoolChoice,
}

/// How much is checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Checking {
    /// Every invariant after every step.
    #[default]
    EveryStep,
    /// Replies as they are given, and the end of the run; not the books after every step.
    Replies,
}

/// The VPC, and how the cloud behaves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WorldSettings {
    /// The VPC's primary block.
    pub vpc_cidr: Cidr,
    /// Further blocks of the VPC.
    pub secondary_cidrs: Vec<Cidr>,
    /// The subnets, all in the zone of the nodes.
    pub subnets: Vec<SubnetSettings>,
    /// Every EC2 call takes so long.
    pub api_latency_milliseconds: f64,
    /// From AttachNetworkInterface until the device is made.
    pub attach_seconds: f64,
    /// From DetachNetworkInterface until the device is removed.
    pub detach_seconds: f64,
    /// From the device until the host sees and has set up its link.
    pub link_milliseconds: f64,
    /// Whether EC2's request limits hold.
    pub throttling: bool,
    /// EC2's request limits are multiplied by this.
    pub throttling_scale: f64,
}

impl Default for WorldSettings {
    fn default() -> Self {
        // A block of the documentation's private range; parsing it cannot fail, and a failure would show in every test.
        let cidr = |text: &str| text.parse().unwrap_or_else(|_| Cidr::host(std::net::Ipv4Addr::UNSPECIFIED));
        Self {
            vpc_cidr: cidr("10.0.0.0/16"),
            secondary_cidrs: Vec::new(),
            subnets: vec![SubnetSettings::new(cidr("10.0.0.0/22"))],
            api_latency_milliseconds: 100.0,
            attach_seconds: 2.0,
            detach_seconds: 2.0,
            link_milliseconds: 100.0,
            throttling: true,
            throttling_scale: 1.0,
        }
    }
}

/// One subnet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SubnetSettings {
    /// Its block.
    pub cidr: Cidr,
    /// Its tags, for example `kubernetes.io/role/cni: "1"`.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// Whether nodes stand in it; they are spread over all that say so, or stand in the first when none does.
    #[serde(default)]
    pub nodes: bool,
    /// Addresses that somebody else holds for the whole run.
    #[serde(default)]
    pub taken_by_others: u32,
}

impl SubnetSettings {
    /// A subnet with this block and nothing else said.
    #[must_use]
    pub fn new(cidr: Cidr) -> Self {
        Self { cidr, tags: BTreeMap::new(), nodes: false, taken_by_others: 0 }
    }
}

/// The nodes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeSettings {
    /// How many.
    pub count: u32,
    /// Their type, one that EC2 has.
    #[serde(default = "default_type")]
    pub instance_type: String,
    /// Pods that each may run; by EKS's rule when none is said.
    #[serde(default)]
    pub max_pods: Option<u32>,
    /// The blocks that they have of their own, in the order in which they are used. With any, pods have addresses of these, and
    /// no network interface is taken.
    #[serde(default)]
    pub blocks: Vec<BlockSettings>,
}

/// The settings of every node's pool, by the words of the Amazon VPC CNI.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PoolChoice {
    /// Single addresses or prefixes.
    pub mode: AllocationMode,
    /// The lean policy; the targets are not looked at then.
    pub lean: bool,
    /// `WARM_ENI_TARGET`.
    pub warm_eni_target: u32,
    /// `WARM_IP_TARGET`.
    pub warm_ip_target: Option<u32>,
    /// `MINIMUM_IP_TARGET`.
    pub minimum_ip_target: Option<u32>,
    /// `WARM_PREFIX_TARGET`.
    pub warm_prefix_target: u32,
    /// `MAX_ENI`.
    pub max_eni: Option<u32>,
    /// Which range is preferred.
    pub preference: RangePreference,
    /// `IP_COOLDOWN_PERIOD`.
    pub cooldown_seconds: u32,
    /// `FREEBOARD_ADD_WAIT_SECONDS`.
    pub add_wait_seconds: u32,
    /// ADDs that may wait at once.
    pub add_queue: usize,
}

impl Default for PoolChoice {
    fn default() -> Self {
        Self {
            mode: AllocationMode::SecondaryAddresses,
            lean: false,
            warm_eni_target: 1,
            warm_ip_target: None,
            minimum_ip_target: None,
            warm_prefix_target: 1,
            max_eni: None,
            preference: RangePreference::MostFree,
            cooldown_seconds: 30,
            add_wait_seconds: 20,
            add_queue: 256,
        }
    }
}

impl PoolChoice {
    /// The engine's settings.
    #[must_use]
    pub fn settings(&self) -> PoolSettings {
        let seconds = |seconds: u32| SignedDuration::from_secs(i64::from(seconds));
        let targets = Targets {
            warm_eni: self.warm_eni_target,
            warm_ip: self.warm_ip_target.map(Addresses),
            minimum_ip: self.minimum_ip_target.map(Addresses),
            warm_prefix: Prefixes(self.warm_prefix_target),
        };
        PoolSettings {
            mode: self.mode,
            policy: if self.lean { Policy::Lean } else { Policy::Compatible(targets) },
            max_eni: self.max_eni,
            cooldown: seconds(self.cooldown_seconds),
            preference: self.preference,
            add_wait: seconds(self.add_wait_seconds),
            add_queue: self.add_queue,
            subnet_discovery: true,
            cluster_name: None,
            manage_untagged: true,
            manage_non_schedulable: false,
            provisioning_disabled: false,
            pacing: Pacing::default(),
        }
    }
}

impl Scenario {
    /// The settings that are in force at the end.
    #[must_use]
    pub fn final_pool(&self) -> &PoolChoice {
        let last = self.changes.iter().max_by(|a, b| a.at_seconds.total_cmp(&b.at_seconds));
        last.map_or(&self.pool, |change| &change.pool)
    }

    /// Reads a scenario and checks it as a whole.
    ///
    /// # Errors
    /// [`ScenarioError`]: the text is not a scenario, or a value of it makes no sense; it names field and value.
    pub fn parse(text: &str) -> Result<Self, ScenarioError> {
        let scenario: Self =
            serde_saphyr::from_str(text).map_err(|error| ScenarioError::Text { reason: error.to_string() })?;
        scenario.check()?;
        Ok(scenario)
    }
}

fn default_settle() -> f64 {
    600.0
}

fn default_sample() -> f64 {
    10.0
}

fn default_type() -> String {
    "m5.large".to_owned()
}
