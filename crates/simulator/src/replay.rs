//! Replays: a file names scenario and seed; a run is made again up to a step, with its state and what the step changed.

use std::collections::BTreeMap;

use freeboard_pool::{AddressState, AddressView, PoolView};
use serde::{Deserialize, Serialize};

use crate::record::Step;
use crate::run::Run;
use crate::scenario::Scenario;
use crate::scenario_check::ScenarioError;

/// The version of the file that this program writes and reads.
pub const REPLAY_VERSION: &str = "freeboard-replay/1";

/// A replay file: one JSON object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Replay {
    version: String,
    /// The seed.
    pub seed: u64,
    /// The scenario.
    pub scenario: Scenario,
}

/// Why a replay file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// Cut short, or not a replay file.
    #[error("the replay file is cut short or not one ({0}); expected one JSON object of version {REPLAY_VERSION}")]
    Text(#[from] serde_json::Error),
    /// Of another version.
    #[error("the replay file is of version {0:?}; expected {REPLAY_VERSION}: replay it with the commit that wrote it")]
    Version(String),
    /// Its scenario makes no sense.
    #[error(transparent)]
    Scenario(#[from] ScenarioError),
    /// The run is shorter.
    #[error("there is no step {wanted}: the run ends at step {last}")]
    NoSuchStep {
        /// The step asked for.
        wanted: u64,
        /// The last one.
        last: u64,
    },
}

/// A step, the state after it, and what it changed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Shown {
    /// The step.
    pub step: Step,
    /// The state, one line per fact, by its name.
    pub state: BTreeMap<String, String>,
    /// What is different from the state before the step, one line per fact: `- ` was, `+ ` is.
    pub diff: Vec<String>,
}

impl Replay {
    /// The replay of a run.
    #[must_use]
    pub fn new(scenario: Scenario, seed: u64) -> Self {
        Self { version: REPLAY_VERSION.to_owned(), seed, scenario }
    }

    /// Reads a file.
    ///
    /// # Errors
    /// [`ReplayError`]: cut short, of another version, or its scenario makes no sense.
    pub fn parse(text: &str) -> Result<Self, ReplayError> {
        #[derive(Deserialize)]
        struct Head {
            version: String,
        }
        // The version first: another version may have another form.
        let head: Head = serde_json::from_str(text)?;
        if head.version != REPLAY_VERSION {
            return Err(ReplayError::Version(head.version));
        }
        let replay: Self = serde_json::from_str(text)?;
        replay.scenario.check()?;
        Ok(replay)
    }

    /// The text of the file.
    ///
    /// # Errors
    /// Never in practice; a scenario has no form that JSON lacks.
    pub fn text(&self) -> Result<String, ReplayError> {
        Ok(serde_json::to_string(self)?)
    }

    /// Makes the run again up to this step.
    ///
    /// # Errors
    /// [`ReplayError::NoSuchStep`] when the run is shorter.
    pub fn until(&self, number: u64) -> Result<Shown, ReplayError> {
        let mut run = Run::new(&self.scenario, self.seed)?;
        let mut before = run.state();
        while let Some(step) = run.step() {
            if step.number >= number {
                let state = run.state();
                let diff = diff(&before, &state);
                return Ok(Shown { step, state, diff });
            }
            if step.number + 1 == number {
                before = run.state();
            }
        }
        Err(ReplayError::NoSuchStep { wanted: number, last: run.steps() })
    }
}

pub(crate) fn diff(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) -> Vec<String> {
    let gone = before.iter().filter(|(name, was)| after.get(*name) != Some(was));
    let new = after.iter().filter(|(name, is)| before.get(*name) != Some(is));
    let mut lines: Vec<(&String, String)> = gone.map(|(name, was)| (name, format!("- {name}: {was}"))).collect();
    lines.extend(new.map(|(name, is)| (name, format!("+ {name}: {is}"))));
    lines.sort_by_key(|(name, _)| *name);
    lines.into_iter().map(|(_, line)| line).collect()
}

impl Run {
    /// The state of all nodes, one line per fact, by its name.
    #[must_use]
    pub fn state(&self) -> BTreeMap<String, String> {
        let mut state = BTreeMap::new();
        for (index, node) in self.nodes.iter().enumerate() {
            for (key, sandbox) in &node.sandboxes {
                let address = sandbox.address.map(|address| address.to_string()).unwrap_or_default();
                let stranded = if sandbox.stranded { " stranded" } else { "" };
                let text = format!("{} {:?} {address}{stranded}", sandbox.pod, sandbox.state);
                state.insert(format!("node {index} sandbox {}", key.container), text);
            }
            let Some(pool) = &node.pool else {
                state.insert(format!("node {index} agent"), "down".to_owned());
                continue;
            };
            tell(&pool.view(), &format!("node {index} "), &mut state);
        }
        state
    }
}

/// What a pool holds, one line per fact, each name after `prefix`.
pub(crate) fn tell(view: &PoolView, prefix: &str, state: &mut BTreeMap<String, String>) {
    let ready = if view.ready { "ready" } else { "starting" };
    state.insert(format!("{prefix}agent"), format!("{ready}, {} wait, {:?}", view.waiting, view.tally));
    for operation in &view.operations {
        let text = format!("{:?} since {}", operation.operation, operation.since);
        state.insert(format!("{prefix}operation {}", operation.id.0), text);
    }
    for interface in &view.interfaces {
        let name = format!("{prefix}{}", interface.id);
        let text = format!("{:?} in {} {:?}", interface.state, interface.subnet, interface.tally);
        tell_addresses(&name, interface.blocks.iter().flat_map(|block| &block.addresses), state);
        state.insert(name, text);
    }
    for block in &view.node_blocks {
        let name = format!("{prefix}block {}", block.cidr);
        let drains = if block.draining_since.is_some() { "draining " } else { "" };
        tell_addresses(&name, block.addresses.iter(), state);
        state.insert(name, format!("{drains}{:?}", block.tally));
    }
}

fn tell_addresses<'a>(
    of: &str,
    addresses: impl Iterator<Item = &'a AddressView>,
    state: &mut BTreeMap<String, String>,
) {
    for address in addresses {
        let text = match &address.state {
            AddressState::Free { .. } => "free".to_owned(),
            AddressState::Assigned { key, .. } => format!("assigned to {key}"),
            AddressState::Cooling { released } => format!("cooling since {released}"),
            AddressState::Quarantined => "quarantined".to_owned(),
        };
        state.insert(format!("{of} {}", address.address), text);
    }
}
