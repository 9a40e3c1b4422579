//! Steps as lines of text, and what a broken invariant looks like.

use std::fmt;

use jiff::Timestamp;
use serde::Serialize;

use crate::check::Check;
use crate::fault::FaultSettings;
use crate::run::Run;

/// One step of a run; one line of its trace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// Its number, from 1.
    pub number: u64,
    /// When, in virtual time.
    pub at: Timestamp,
    /// What happened; empty in a quiet run.
    pub what: String,
    /// What engines and shell did about it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub effects: Vec<String>,
    /// The invariant that it broke, if it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub violation: Option<Violation>,
}

impl Step {
    /// The step as one line of JSON, without the line feed.
    #[must_use]
    pub fn line(&self) -> String {
        // A struct of texts and numbers has no form that JSON lacks.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// A broken invariant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// Which.
    pub check: Check,
    /// What was found.
    pub what: String,
}

/// A run that broke an invariant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
pub struct Failure {
    /// The scenario's name.
    pub scenario: String,
    /// The seed.
    pub seed: u64,
    /// The rate of every class of fault, when the scenario's own faults were replaced by such.
    pub faults_per_hour: Option<String>,
    /// The step that broke it.
    pub step: u64,
    /// When, in virtual time.
    pub at: Timestamp,
    /// What was broken.
    pub violation: Violation,
}

impl Failure {
    pub(crate) fn new(run: &Run, violation: Violation) -> Self {
        let scenario = run.scenario.name.clone();
        let faults = &run.scenario.faults;
        let everywhere = faults.per_hour.values().next().filter(|rate| *faults == FaultSettings::all(**rate, true));
        let faults_per_hour = everywhere.map(ToString::to_string);
        Self { scenario, seed: run.seed, faults_per_hour, step: run.steps, at: run.now, violation }
    }

    /// The command that replays it, for a scenario that comes with the program.
    #[must_use]
    pub fn command(&self) -> String {
        let faults = self.faults_per_hour.as_ref().map(|rate| format!(" --faults-per-hour {rate}")).unwrap_or_default();
        format!("freeboard simulate --seed {} --scenario {}{faults}", self.seed, self.scenario)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Violation { check, what } = &self.violation;
        write!(f, "{check} broken at step {} ({}): {what}; replay: {}", self.step, self.at, self.command())
    }
}
