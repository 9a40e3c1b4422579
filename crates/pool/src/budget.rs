//! The node's budget of EC2 calls: a token bucket per action, slowed by each throttle, quickened by calls that pass.
//!
//! The account's limits are shared by all its nodes, and none of them sees the others. Alone, a node may use a part of the
//! account's bucket that leaves room for others, and halves its pace for an action with each throttle of it. A controller that
//! knows how many nodes want calls gives each its exact part ([`Share`]). All nodes' parts begin at different moments, which
//! follow from the node's name, so that a fleet that starts at once does not call at once, and a replay does the same.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::backoff::{Action, later, name_hash};
use crate::growth::Obstacle;
use crate::pool::Pool;

/// One call, in the bucket's unit: fine enough for a node in a hundred thousand.
const CALL: i128 = 1_000_000_000;
/// The full pace.
const FULL: u32 = 4096;
/// A node that serves waiting pods tries at least this often, however often it was throttled.
const LONGEST_GROWTH_PAUSE: SignedDuration = SignedDuration::from_secs(25);
/// A node that waits for room in a subnet looks at least this often. Thousands of nodes that wait for the same subnet then stay
/// below the account's rate of reads; a subnet that was full is tried without a look, too.
const LONGEST_WATCH_PAUSE: SignedDuration = SignedDuration::from_mins(2);
/// What can wait tries at least this often.
const LONGEST_HOUSEKEEPING_PAUSE: SignedDuration = SignedDuration::from_mins(10);
/// The pace doubles after each time of this length without a throttle.
const QUIET: SignedDuration = SignedDuration::from_mins(10);

/// How many calls of one action an account may make.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallLimit {
    /// At once, after a pause.
    pub burst: u32,
    /// In the long run.
    pub per_minute: u32,
}

/// The limits of the account, per action; the defaults are those that EC2 documents (cloud-rules B.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CallLimits {
    /// `DescribeSubnets` and `DescribeNetworkInterfaces` with a filter, each.
    pub describe: CallLimit,
    /// `CreateNetworkInterface`.
    pub create: CallLimit,
    /// `AttachNetworkInterface`.
    pub attach: CallLimit,
    /// `AssignPrivateIpAddresses`.
    pub assign: CallLimit,
    /// `UnassignPrivateIpAddresses`.
    pub unassign: CallLimit,
    /// `DetachNetworkInterface` and `DeleteNetworkInterface`, of which the narrower counts.
    pub release: CallLimit,
}

impl Default for CallLimits {
    fn default() -> Self {
        let narrow = CallLimit { burst: 50, per_minute: 300 };
        let wide = CallLimit { burst: 100, per_minute: 300 };
        Self {
            describe: CallLimit { burst: 100, per_minute: 1_200 },
            create: wide,
            attach: narrow,
            assign: wide,
            unassign: wide,
            release: narrow,
        }
    }
}

/// The part of the account's limits that a controller gives this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// How many nodes want calls at this time: the node gets one part of so many. At least 1.
    pub nodes: u32,
    /// Until when this holds; a controller that falls silent must not hold its nodes back for ever.
    pub until: Timestamp,
}

/// What a call is for. The earlier one goes before the later one: those leave something in a bucket that all of them use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Priority {
    Growth,
    /// A read that may show room for pods that wait. It is repeated while they wait and no call hangs on it.
    Watch,
    Release,
    Housekeeping,
}

impl Priority {
    /// How much of the bucket's size must be left after the call: none, a quarter, a half.
    fn reserve(self, capacity: i128) -> i128 {
        match self {
            Self::Growth => 0,
            Self::Watch | Self::Release => capacity / 4,
            Self::Housekeeping => capacity / 2,
        }
    }

    /// The longest pause after a throttle.
    fn longest_pause(self) -> SignedDuration {
        match self {
            Self::Growth => LONGEST_GROWTH_PAUSE,
            Self::Watch => LONGEST_WATCH_PAUSE,
            Self::Release | Self::Housekeeping => LONGEST_HOUSEKEEPING_PAUSE,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bucket {
    left: i128,
    as_of: Timestamp,
    pace: u32,
    /// When the pace was last lowered, or raised by quiet.
    paced_at: Timestamp,
}

/// A bucket per action; the actions of which none was called have a full one.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    buckets: Vec<(Action, Bucket)>,
    limits: CallLimits,
    share: Option<Share>,
    /// How far into its first interval the node begins, as a part of `CALL`.
    phase: i128,
}

impl Budget {
    /// A full budget. The phase follows from the node's name.
    pub(crate) fn new(node: &str, limits: CallLimits) -> Self {
        let phase = (CALL * i128::from(name_hash(node, 0) >> 44)) >> 20;
        Self { buckets: Vec::new(), limits, share: None, phase }
    }

    /// Other limits, for what is called from now on.
    pub(crate) fn set_limits(&mut self, limits: CallLimits) {
        self.limits = limits;
    }

    /// The part of the account's limit that the node may use: a divisor of its burst, and a numerator and divisor of its rate.
    fn part(&self, now: Timestamp) -> Part {
        match self.share.filter(|share| share.until > now) {
            Some(Share { nodes, .. }) => Part { burst_over: nodes.max(1), rate: 1, rate_over: nodes.max(1) },
            // Alone: half of the burst and two fifths of the rate, so that no single node can starve the account.
            None => Part { burst_over: 2, rate: 2, rate_over: 5 },
        }
    }

    fn limit(&self, action: Action) -> Option<CallLimit> {
        let limits = &self.limits;
        match action {
            Action::DescribeSubnets | Action::DescribeInterfaces => Some(limits.describe),
            Action::Create => Some(limits.create),
            Action::Attach => Some(limits.attach),
            Action::Assign => Some(limits.assign),
            Action::Unassign => Some(limits.unassign),
            Action::Release => Some(limits.release),
            Action::Prepare => None,
        }
    }

    fn capacity(&self, limit: CallLimit, now: Timestamp) -> i128 {
        (CALL * i128::from(limit.burst) / i128::from(self.part(now).burst_over)).max(CALL)
    }

    /// What a pace brings in a minute.
    fn per_minute(&self, limit: CallLimit, pace: u32, now: Timestamp) -> i128 {
        let part = self.part(now);
        let full = CALL * i128::from(limit.per_minute) * i128::from(part.rate) / i128::from(part.rate_over);
        (full * i128::from(pace) / i128::from(FULL)).max(1)
    }

    fn bucket(&self, action: Action, limit: CallLimit, now: Timestamp) -> Bucket {
        let capacity = self.capacity(limit, now);
        let Some((_, bucket)) = self.buckets.iter().find(|(known, _)| *known == action) else {
            return Bucket { left: capacity, as_of: now, pace: FULL, paced_at: now };
        };
        let mut bucket = *bucket;
        let quiet = now.duration_since(bucket.paced_at).as_secs() / QUIET.as_secs();
        if quiet > 0 {
            bucket.pace = bucket.pace.checked_shl(u32::try_from(quiet).unwrap_or(32).min(12)).unwrap_or(FULL).min(FULL);
            bucket.paced_at = now;
        }
        let elapsed = now.duration_since(bucket.as_of).as_millis().max(0);
        let brought = self.per_minute(limit, bucket.pace, now).saturating_mul(elapsed) / 60_000;
        bucket.left = bucket.left.saturating_add(brought).min(capacity);
        bucket.as_of = bucket.as_of.max(now);
        bucket
    }

    fn put(&mut self, action: Action, bucket: Bucket) {
        match self.buckets.iter_mut().find(|(known, _)| *known == action) {
            Some((_, known)) => *known = bucket,
            None => self.buckets.push((action, bucket)),
        }
    }

    /// When the next call of this kind may be made; `None`: now.
    pub(crate) fn opens_at(&self, action: Action, priority: Priority, now: Timestamp) -> Option<Timestamp> {
        let limit = self.limit(action)?;
        let bucket = self.bucket(action, limit, now);
        let capacity = self.capacity(limit, now);
        let missing = CALL.saturating_add(priority.reserve(capacity)).min(capacity) - bucket.left;
        if missing <= 0 {
            return None;
        }
        let rate = self.per_minute(limit, bucket.pace, now);
        let milliseconds = i64::try_from(missing.saturating_mul(60_000) / rate).unwrap_or(i64::MAX / 2) + 1;
        let at = later(now, SignedDuration::from_millis(milliseconds));
        // What a share withholds may be free when it ends.
        Some(self.share.filter(|share| share.until > now).map_or(at, |share| at.min(share.until)))
    }

    pub(crate) fn take(&mut self, action: Action, now: Timestamp) {
        let Some(limit) = self.limit(action) else { return };
        let mut bucket = self.bucket(action, limit, now);
        bucket.left -= CALL;
        self.put(action, bucket);
    }

    /// A call passed: the pace rises by an eighth.
    pub(crate) fn passed(&mut self, action: Action, now: Timestamp) {
        let Some(limit) = self.limit(action) else { return };
        let mut bucket = self.bucket(action, limit, now);
        bucket.pace = (bucket.pace + (bucket.pace / 8).max(1)).min(FULL);
        self.put(action, bucket);
    }

    /// A call that was started at `started` was throttled: the pace is lowered, once for all calls that were in flight
    /// together, and one call is left to try with. Returns how long to pause before it.
    pub(crate) fn throttled(
        &mut self,
        action: Action,
        priority: Priority,
        started: Timestamp,
        now: Timestamp,
    ) -> Option<SignedDuration> {
        let limit = self.limit(action)?;
        let mut bucket = self.bucket(action, limit, now);
        if started >= bucket.paced_at || bucket.pace == FULL {
            let divisor = if priority == Priority::Growth { 2 } else { 4 };
            bucket.pace = (bucket.pace / divisor).max(1);
            bucket.paced_at = now;
        }
        bucket.left = match priority {
            Priority::Growth | Priority::Watch => CALL + priority.reserve(self.capacity(limit, now)),
            // Nobody waits for it: it goes on at the lower pace.
            Priority::Release | Priority::Housekeeping => 0,
        };
        // With a share a throttle is an accident, and the bucket is filled for who tries again soon: the pause is that of a node
        // alone, whose pace says how often it happened.
        let alone = Self { share: None, buckets: Vec::new(), ..*self }.per_minute(limit, bucket.pace, now);
        let milliseconds = (CALL * 60_000 / alone).min(priority.longest_pause().as_millis());
        self.put(action, bucket);
        Some(SignedDuration::from_millis(i64::try_from(milliseconds).unwrap_or(0)))
    }

    fn set_share(&mut self, share: Share, now: Timestamp) {
        let first = self.share.is_none_or(|known| known.until <= now);
        self.share = Some(share);
        for action in Action::ALL {
            let Some(limit) = self.limit(action) else { continue };
            let mut bucket = self.bucket(action, limit, now);
            if first {
                // The fleet's tokens of this moment go to the few nodes whose first interval is about to end.
                let burst = CALL * i128::from(limit.burst) / i128::from(share.nodes.max(1));
                bucket.left = bucket.left.min(self.phase + burst);
                bucket.pace = FULL;
                bucket.paced_at = now;
            }
            bucket.left = bucket.left.min(self.capacity(limit, now));
            self.put(action, bucket);
        }
    }
}

/// A part of the account's limit.
struct Part {
    burst_over: u32,
    rate: u32,
    rate_over: u32,
}

/// What calls of this kind are usually for.
pub(crate) fn usual_priority(action: Action) -> Priority {
    match action {
        Action::Create | Action::Attach | Action::Prepare | Action::Assign => Priority::Growth,
        Action::Unassign | Action::Release => Priority::Release,
        Action::DescribeSubnets | Action::DescribeInterfaces => Priority::Housekeeping,
    }
}

impl Pool {
    /// A controller's word on the part of the account's request limits that this node may use. It replaces the one before.
    pub fn handle_budget(&mut self, share: Share, now: Timestamp) {
        let now = self.begin(now);
        self.budget.set_share(share, now);
        self.decide(
            format!("use one part of {} of the account's request limits until {}", share.nodes.max(1), share.until),
            "a controller shares them out".to_owned(),
        );
        self.advance(now);
    }

    /// What this call is for: the reads that the start, a call for pods, or an interface whose state is open, waits for are not
    /// housekeeping.
    pub(crate) fn priority(&self, action: Action) -> Priority {
        let is_awaited = match action {
            Action::DescribeInterfaces => {
                let interfaces = &self.store.interfaces;
                let is_settled = || interfaces.are_steady() || interfaces.values().all(|i| i.unsettled.is_none());
                !self.is_ready() || !is_settled()
            }
            Action::DescribeSubnets => !self.subnets_answered || self.subnets.is_look_wanted(),
            Action::Create | Action::Attach | Action::Prepare | Action::Assign | Action::Unassign | Action::Release => {
                false
            }
        };
        if is_awaited {
            Priority::Growth
        } else if action == Action::DescribeSubnets && self.waiting.demand() > 0 {
            Priority::Watch
        } else {
            usual_priority(action)
        }
    }

    /// Whether the node has to wait for its share before it makes such a call.
    pub(crate) fn waits_for_share(&self, action: Action, now: Timestamp) -> Option<Obstacle> {
        let until = self.budget.opens_at(action, self.priority(action), now)?;
        Some(Obstacle::Share { action, until })
    }

    /// Whether a call to give something back may be made now; when not, the pool looks again when it may.
    pub(crate) fn may_release(&mut self, action: Action, why: &'static str, now: Timestamp) -> bool {
        let Some(obstacle) = self.paused(action, now) else { return true };
        if let Some(at) = self.gone_at(&obstacle) {
            self.wake(at, why, now);
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_secs(seconds)
    }

    fn alone() -> Budget {
        Budget::new("i-1", CallLimits::default())
    }

    fn burst(budget: &mut Budget, priority: Priority, now: Timestamp) -> usize {
        let action = Action::Assign;
        (0..1_000)
            .take_while(|_| {
                let open = budget.opens_at(action, priority, now).is_none();
                if open {
                    budget.take(action, now);
                }
                open
            })
            .count()
    }

    #[test]
    fn a_node_alone_uses_half_of_the_burst_and_two_fifths_of_the_rate() {
        let mut budget = alone();
        assert_eq!(burst(&mut budget, Priority::Growth, at(0)), 50);
        assert_eq!(burst(&mut budget, Priority::Growth, at(5)), 10);
        assert_eq!(burst(&mut budget, Priority::Growth, at(3_600)), 50);
    }

    #[test]
    fn what_can_wait_leaves_room_for_what_cannot() {
        let mut budget = alone();
        assert_eq!(burst(&mut budget, Priority::Housekeeping, at(0)), 25);
        assert_eq!(burst(&mut budget, Priority::Release, at(0)), 12);
        assert_eq!(burst(&mut budget, Priority::Growth, at(0)), 13);
    }

    #[test]
    fn each_throttle_halves_the_pace_and_calls_that_pass_raise_it_again() {
        let mut budget = alone();
        let mut pauses = Vec::new();
        for call in 0..8 {
            let now = at(call * 100);
            budget.take(Action::Create, now);
            pauses.extend(budget.throttled(Action::Create, Priority::Growth, now, now).map(|pause| pause.as_secs()));
            assert_eq!(budget.opens_at(Action::Create, Priority::Growth, now), None, "one call is left to try with");
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 25, 25, 25]);
        let mut watching = alone();
        let mut watch = |call| watching.throttled(Action::DescribeSubnets, Priority::Watch, at(call), at(call));
        let pauses: Vec<_> = (0..8).filter_map(&mut watch).map(|pause| pause.as_secs()).collect();
        assert_eq!(pauses, [0, 2, 8, 32, 120, 120, 120, 120], "a look gives way to what pods wait for");
        let pace = |budget: &Budget| budget.buckets.first().map(|(_, bucket)| bucket.pace);
        let slowest = pace(&budget);
        budget.passed(Action::Create, at(701));
        assert!(pace(&budget) > slowest);
        assert_eq!(burst(&mut budget, Priority::Growth, at(900)), 50, "other actions are not slowed");
    }

    #[test]
    fn calls_that_were_in_flight_together_lower_the_pace_once() {
        let mut budget = alone();
        let first = budget.throttled(Action::Create, Priority::Growth, at(1), at(2));
        let second = budget.throttled(Action::Create, Priority::Growth, at(1), at(3));
        assert_eq!(first, second);
    }

    #[test]
    fn the_shares_of_a_fleet_add_up_to_the_accounts_limit() {
        let share = Share { nodes: 1_000, until: at(10_000) };
        let mut fleet: Vec<_> =
            (0..1_000).map(|node| Budget::new(&format!("i-{node:08x}"), CallLimits::default())).collect();
        for budget in &mut fleet {
            budget.set_share(share, at(0));
        }
        for (second, most) in [(0, 140), (20, 260), (100, 660), (180, 1_000)] {
            let open = fleet.iter().filter(|b| b.opens_at(Action::Create, Priority::Growth, at(second)).is_none());
            let open = open.count();
            assert!(open <= most && open * 13 >= most * 8, "{open} nodes may have called after {second} s");
        }
    }

    #[test]
    fn a_share_ends_when_its_controller_falls_silent() {
        let mut budget = alone();
        budget.set_share(Share { nodes: 100_000, until: at(60) }, at(0));
        budget.take(Action::Create, at(1));
        assert_eq!(budget.opens_at(Action::Create, Priority::Growth, at(1)), Some(at(60)));
        assert_eq!(budget.opens_at(Action::Create, Priority::Growth, at(62)), None);
    }
}
