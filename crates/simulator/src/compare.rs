//! Policies side by side: the same arrivals and the same cloud, under the lean policy and under targets of the Amazon VPC CNI.
//!
//! Both run in the same engine, so what differs is only how much each holds, and when. The targets are computed by the formulas
//! of the Amazon VPC CNI; its own defects are not re-created here.

use serde::Serialize;

use crate::record::Failure;
use crate::run::Run;
use crate::scenario::{Checking, NodeSettings, PoolChoice, Scenario};
use crate::scenario_check::ScenarioError;
use crate::summary::{Summary, TimeToAddress};
use crate::workload::Workload;

/// Why policies could not be compared.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    /// The scenario makes no sense.
    #[error(transparent)]
    Scenario(#[from] ScenarioError),
    /// A run broke an invariant.
    #[error(transparent)]
    Failure(#[from] Box<Failure>),
}

/// How one policy did.
#[derive(Clone, Debug, Serialize)]
pub struct Standing {
    /// The policy, by the settings that choose it.
    pub policy: &'static str,
    /// Addresses held, on average over the time after the first third of the load.
    pub held: f64,
    /// Those that no pod had: free and cooling down.
    pub idle: f64,
    /// How long pods waited, over the whole run.
    pub time_to_address: TimeToAddress,
    /// Requests to EC2, over the whole run.
    pub calls: u64,
    /// Those of them that change something.
    pub changing_calls: u64,
    /// The run.
    #[serde(skip)]
    pub summary: Summary,
}

impl Standing {
    /// Requests to EC2 for each pod that got an address.
    #[must_use]
    pub fn calls_per_pod(&self) -> f64 {
        self.calls as f64 / self.time_to_address.count.max(1) as f64
    }
}

/// Policies under one load.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// The load.
    pub scenario: String,
    /// The Amazon VPC CNI's default.
    pub default: Standing,
    /// Targets that its users set to save addresses.
    pub targets: Standing,
    /// The lean policy.
    pub lean: Standing,
}

impl Comparison {
    /// Runs a scenario under each policy; its own choice of a policy is not looked at.
    ///
    /// # Errors
    /// [`CompareError`]: the scenario makes no sense, or a run broke an invariant.
    pub fn of(scenario: &Scenario, seed: u64) -> Result<Self, CompareError> {
        let base = PoolChoice { lean: false, warm_ip_target: None, minimum_ip_target: None, ..scenario.pool.clone() };
        let run = |policy, pool| {
            let scenario = Scenario { pool, changes: Vec::new(), ..scenario.clone() };
            let load_seconds = scenario.duration_seconds;
            Ok::<_, CompareError>(standing(policy, Run::new(&scenario, seed)?.quiet().finish()?, load_seconds))
        };
        Ok(Self {
            scenario: scenario.name.clone(),
            default: run(
                "WARM_ENI_TARGET=1",
                PoolChoice { warm_eni_target: 1, warm_prefix_target: 1, ..base.clone() },
            )?,
            targets: run(
                "WARM_IP=2 MINIMUM_IP=10",
                PoolChoice { warm_ip_target: Some(2), minimum_ip_target: Some(10), ..base.clone() },
            )?,
            lean: run("lean", PoolChoice { lean: true, ..base })?,
        })
    }

    /// Each policy: the default, targets, lean.
    #[must_use]
    pub fn standings(&self) -> [&Standing; 3] {
        [&self.default, &self.targets, &self.lean]
    }
}

fn standing(policy: &'static str, summary: Summary, load_seconds: f64) -> Standing {
    let counted: Vec<_> = summary
        .samples
        .iter()
        .filter(|sample| (load_seconds / 3.0..=load_seconds).contains(&sample.at_seconds))
        .collect();
    let mean = |of: fn(&crate::summary::Sample) -> u32| {
        counted.iter().map(|sample| f64::from(of(sample))).sum::<f64>() / counted.len().max(1) as f64
    };
    let changing = summary.calls.iter().filter(|(action, _)| !action.starts_with("Describe"));
    Standing {
        policy,
        held: mean(|sample| sample.held),
        idle: mean(|sample| sample.held.saturating_sub(sample.used)),
        time_to_address: summary.time_to_address,
        calls: summary.calls.values().sum(),
        changing_calls: changing.map(|(_, count)| count).sum(),
        summary,
    }
}

/// A type of node and the pods on each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Load {
    /// The instance type.
    pub instance_type: &'static str,
    /// Pods on each node.
    pub pods: u32,
}

impl Load {
    /// The loads at which address efficiency is reported for the Amazon VPC CNI.
    pub const ALL: [Self; 6] = [
        Self { instance_type: "m5.large", pods: 5 },
        Self { instance_type: "m5.large", pods: 20 },
        Self { instance_type: "m5.xlarge", pods: 10 },
        Self { instance_type: "m5.4xlarge", pods: 10 },
        Self { instance_type: "m5.4xlarge", pods: 29 },
        Self { instance_type: "m5.24xlarge", pods: 10 },
    ];
    /// Nodes of each load, so that chance evens out.
    pub const NODES: u32 = 4;

    /// The load as a scenario of an hour: its pods come one after the other within ten minutes, and each is replaced by another
    /// after a random life of a quarter of an hour.
    #[must_use]
    pub fn scenario(&self) -> Scenario {
        let Self { instance_type, pods } = *self;
        let mut world = crate::scenario::WorldSettings::default();
        world.subnets.iter_mut().for_each(|subnet| subnet.nodes = true);
        Scenario {
            name: format!("{instance_type}, {pods} pods"),
            world,
            nodes: NodeSettings {
                count: Self::NODES,
                instance_type: instance_type.to_owned(),
                max_pods: None,
                blocks: Vec::new(),
            },
            pool: PoolChoice::default(),
            workloads: vec![Workload::Steady { pods_per_node: pods, lifetime_seconds: 900.0, ramp_seconds: 600.0 }],
            changes: Vec::new(),
            faults: crate::fault::FaultSettings::default(),
            duration_seconds: 3_600.0,
            settle_seconds: 600.0,
            sample_seconds: 5.0,
            checking: Checking::EveryStep,
        }
    }
}

/// Policies under each of the loads.
#[derive(Clone, Debug, Serialize)]
pub struct Loads {
    /// In the order of [`Load::ALL`].
    pub comparisons: Vec<Comparison>,
}

impl Loads {
    /// Runs all loads under all policies.
    ///
    /// # Errors
    /// [`CompareError`]: a run broke an invariant.
    pub fn run(seed: u64) -> Result<Self, CompareError> {
        let comparisons = Load::ALL.iter().map(|load| Comparison::of(&load.scenario(), seed));
        Ok(Self { comparisons: comparisons.collect::<Result<_, _>>()? })
    }

    /// Idle addresses of the lean policy for each one of the default, over all loads.
    #[must_use]
    pub fn idle_ratio(&self) -> f64 {
        let sum = |of: fn(&Comparison) -> f64| self.comparisons.iter().map(of).sum::<f64>();
        sum(|comparison| comparison.lean.idle) / sum(|comparison| comparison.default.idle)
    }
}
