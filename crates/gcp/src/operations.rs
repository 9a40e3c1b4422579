//! Operations: what was asked for, whether it is done, and how it ended.

use jiff::Timestamp;

use crate::error::Status;
use crate::ids::{Location, Region, Zone};

/// One change, asked for and carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Its name.
    pub name: String,
    /// Its number.
    pub id: u64,
    /// Where it is looked up.
    pub scope: Scope,
    /// What is done: `insert`, `patch`, `CREATE_NODE_POOL`, …
    pub operation_type: &'static str,
    /// The path of the resource that it changes.
    pub target: String,
    /// The number of that resource.
    pub target_id: u64,
    /// When it was asked for.
    pub requested: Timestamp,
    /// When it is done.
    pub ends: Timestamp,
    /// How it fails, known to callers when it is done.
    pub error: Option<OperationError>,
}

/// Where an operation is looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Compute, global.
    Global,
    /// Compute, a region.
    Region(Region),
    /// Compute, a zone.
    Zone(Zone),
    /// Container, a location.
    Location(Location),
}

/// How far an operation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OperationStatus {
    /// Under way.
    Running,
    /// Ended, well or not.
    Done,
}

/// Why an operation failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperationError {
    /// The kind; its reason is the operation's error code.
    pub status: Status,
    /// The text for a person.
    pub message: String,
}

impl Operation {
    /// How far it is at `now`.
    #[must_use]
    pub fn status(&self, now: Timestamp) -> OperationStatus {
        if now < self.ends { OperationStatus::Running } else { OperationStatus::Done }
    }

    /// Why it failed, when it is done at `now` and has failed.
    #[must_use]
    pub fn failure(&self, now: Timestamp) -> Option<&OperationError> {
        self.error.as_ref().filter(|_| self.status(now) == OperationStatus::Done)
    }
}
