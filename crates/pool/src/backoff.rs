//! Pauses after failures: per action, per subnet, per interface; doubled up to a limit, and spread over a fleet.

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

    /// A pause of this length.
    pub(crate) fn lasting(delay: SignedDuration, now: Timestamp) -> Self {
        Self { since: now, until: later(now, delay), delay }
    }

    /// Makes the pause up to half longer, by an amount that follows from `seed` and the time: the nodes of a fleet that were
    /// throttled together do not come back together, and the same node does the same in a replay.
    pub(crate) fn spread(mut self, seed: &str) -> Self {
        let hash = name_hash(seed, self.since.as_millisecond());
        let share = i32::try_from(hash >> 54).unwrap_or(0);
        self.until = later(self.until, self.delay / 2048 * share);
        self
    }

    /// Lets the pause run for its length from `now` on, and `more`.
    pub(crate) fn renew(&mut self, now: Timestamp, more: SignedDuration) {
        self.until = self.until.max(later(later(now, self.delay), more));
    }
}

/// A number that follows from a name and another number, in all bits.
pub(crate) fn name_hash(name: &str, number: i64) -> u64 {
    let hash = name.bytes().chain(number.to_le_bytes()).fold(0xcbf2_9ce4_8422_2325_u64, mix);
    // Names that differ in their last letter must differ in the first bits too.
    let hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^ (hash >> 33)
}

/// One step of FNV-1a.
fn mix(hash: u64, byte: u8) -> u64 {
    (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
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
    /// All of them.
    pub(crate) const ALL: [Self; 8] = [
        Self::DescribeSubnets,
        Self::DescribeInterfaces,
        Self::Create,
        Self::Attach,
        Self::Prepare,
        Self::Assign,
        Self::Unassign,
        Self::Release,
    ];

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_throttled_together_come_back_apart_and_each_the_same_in_a_replay() {
        let second = SignedDuration::from_secs(1);
        let back = |node: u32| {
            Backoff::after(None, Timestamp::UNIX_EPOCH, second * 8, second * 60).spread(&format!("i-{node:08x}")).until
        };
        let times: std::collections::BTreeSet<_> = (0..1_000).map(back).collect();
        assert!(times.len() > 500, "{} different times", times.len());
        assert!(times.iter().all(|at| (8..=12).contains(&at.as_second())), "never earlier, at most half later");
        let early = (0..1_000).filter(|node| back(*node).as_second() < 10).count();
        assert!((300..=700).contains(&early), "{early} in the first half");
        assert_eq!(back(7), back(7));
    }
}
