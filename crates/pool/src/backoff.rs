//! Pauses after failures: per action, per subnet, per interface; doubled up to a limit, without jitter (the shell adds its own).

use std::fmt;

use jiff::{SignedDuration, Timestamp};

use crate::effect::CloudOperation;
use crate::input::FailureKind;

/// `now` and `duration` added; the end of time when that overflows.
pub(crate) fn later(now: Timestamp, duration: SignedDuration) -> Timestamp {
    now.checked_add(duration).unwrap_or(Timestamp::MAX)
}

/// A pause that runs, or ran last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Backoff {
    pub(crate) since: Timestamp,
    pub(crate) until: Timestamp,
    delay: SignedDuration,
}

impl Backoff {
    /// The pause after one more failure: twice the last one, between `min` and `max`.
    pub(crate) fn after(last: Option<&Self>, now: Timestamp, min: SignedDuration, max: SignedDuration) -> Self {
        let delay = last.map_or(min, |last| last.delay.saturating_mul(2)).clamp(min.min(max), max);
        Self { since: now, until: later(now, delay), delay }
    }

    /// Lets the pause run for its length from `now` on, and `more`.
    pub(crate) fn renew(&mut self, now: Timestamp, more: SignedDuration) {
        self.until = self.until.max(later(later(now, self.delay), more));
    }
}

/// The kinds of call that are paused one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Action {
    DescribeSubnets,
    DescribeInterfaces,
    Create,
    Attach,
    Prepare,
    Assign,
    Unassign,
    Release,
}

impl Action {
    pub(crate) fn of(operation: &CloudOperation) -> Self {
        match operation {
            CloudOperation::DescribeSubnets => Self::DescribeSubnets,
            CloudOperation::DescribeInterfaces => Self::DescribeInterfaces,
            CloudOperation::CreateInterface { .. } => Self::Create,
            CloudOperation::AttachInterface { .. } => Self::Attach,
            CloudOperation::PrepareInterface { .. } => Self::Prepare,
            CloudOperation::AssignAddresses { .. } | CloudOperation::AssignPrefixes { .. } => Self::Assign,
            CloudOperation::Unassign { .. } => Self::Unassign,
            CloudOperation::ReleaseInterface { .. } => Self::Release,
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::DescribeSubnets => "DescribeSubnets",
            Self::DescribeInterfaces => "DescribeNetworkInterfaces",
            Self::Create => "CreateNetworkInterface",
            Self::Attach => "AttachNetworkInterface",
            Self::Prepare => "preparing the host for an interface",
            Self::Assign => "AssignPrivateIpAddresses",
            Self::Unassign => "UnassignPrivateIpAddresses",
            Self::Release => "DeleteNetworkInterface",
        })
    }
}

/// Why an action is paused, and how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pause {
    pub(crate) backoff: Backoff,
    pub(crate) kind: FailureKind,
    /// The API action as the shell named it.
    pub(crate) action: String,
    pub(crate) detail: String,
}
