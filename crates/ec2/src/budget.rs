//! Client-side call budgets: one token bucket per action, so that one node cannot use up the account's quota.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use crate::action::Action;

/// A token bucket; pure: the time comes in as the duration since an origin of the caller's choice.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenBucket {
    capacity: f64,
    refill_per_second: f64,
    /// Below zero when calls have been promised a place in the future.
    tokens: f64,
    updated: Duration,
}

/// The wait for a place in the budget would be longer than the caller can wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the client's own call budget is used up: the next call of this action may be made in {} ms", wait.as_millis())]
pub struct BudgetExhausted {
    /// When the next call could be made.
    pub wait: Duration,
}

impl TokenBucket {
    /// A full bucket. Capacity is at least one call and the refill at least one call in 100 s, so that it never blocks forever.
    #[must_use]
    pub fn new(capacity_calls: f64, refill_calls_per_second: f64) -> Self {
        let capacity = capacity_calls.max(1.0);
        Self {
            capacity,
            refill_per_second: refill_calls_per_second.max(0.01),
            tokens: capacity,
            updated: Duration::ZERO,
        }
    }

    /// Takes one token and tells how long to wait before the call may be made; first come, first served.
    ///
    /// # Errors
    /// [`BudgetExhausted`] when that would be longer than `patience`; nothing is taken then.
    pub fn reserve(&mut self, now: Duration, patience: Duration) -> Result<Duration, BudgetExhausted> {
        self.refill(now);
        let missing = (1.0 - self.tokens).max(0.0);
        let wait = Duration::from_secs_f64(missing / self.refill_per_second);
        if wait > patience {
            return Err(BudgetExhausted { wait });
        }
        self.tokens -= 1.0;
        Ok(wait)
    }

    /// Empties the bucket: the cloud said that the account's own bucket is empty.
    pub fn drain(&mut self, now: Duration) {
        self.refill(now);
        self.tokens = self.tokens.min(0.0);
    }

    fn refill(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.updated).as_secs_f64();
        self.tokens = (self.tokens + passed * self.refill_per_second).min(self.capacity);
        self.updated = self.updated.max(now);
    }
}

/// The budgets of one client.
#[derive(Debug)]
pub struct Budgets {
    share: Option<f64>,
    origin: Instant,
    buckets: Mutex<BTreeMap<Action, TokenBucket>>,
}

impl Budgets {
    /// Budgets of `share` (0 to 1) of what EC2 grants an account per action. EC2's quota is the account's: all nodes of all
    /// clusters share it, so a node should not be able to use it up alone.
    #[must_use]
    pub fn share_of_account(share: f64) -> Self {
        Self { share: Some(share.clamp(0.0, 1.0)), origin: Instant::now(), buckets: Mutex::default() }
    }

    /// No budgets: for tests and for clouds of one's own.
    #[must_use]
    pub fn unlimited() -> Self {
        Self { share: None, origin: Instant::now(), buckets: Mutex::default() }
    }

    /// Waits for a place in the action's budget, at most `patience`.
    pub(crate) async fn acquire(&self, action: Action, patience: Duration) -> Result<(), BudgetExhausted> {
        let wait =
            self.with_bucket(action, |bucket, now| bucket.reserve(now, patience)).unwrap_or(Ok(Duration::ZERO))?;
        if !wait.is_zero() {
            tracing::debug!(action = action.as_str(), wait_ms = wait.as_millis(), "waiting for the call budget");
            tokio::time::sleep(wait).await;
        }
        Ok(())
    }

    /// Empties the action's budget after the cloud has throttled it.
    pub(crate) fn drain(&self, action: Action) {
        self.with_bucket(action, TokenBucket::drain);
    }

    fn with_bucket<R>(&self, action: Action, act: impl FnOnce(&mut TokenBucket, Duration) -> R) -> Option<R> {
        let share = self.share?;
        let now = self.origin.elapsed();
        let mut buckets = self.buckets.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let bucket = buckets.entry(action).or_insert_with(|| {
            let limit = action.limit();
            TokenBucket::new(limit.capacity_calls * share, limit.refill_calls_per_second * share)
        });
        Some(act(bucket, now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    #[test]
    fn a_burst_passes_and_then_the_refill_sets_the_pace() {
        let mut bucket = TokenBucket::new(2.0, 1.0);
        let patience = seconds(60.0);
        let waits: Vec<u64> = (0..4).map(|_| bucket.reserve(Duration::ZERO, patience).unwrap().as_secs()).collect();
        assert_eq!(waits, [0, 0, 1, 2]);
        assert_eq!(bucket.reserve(seconds(4.0), patience), Ok(Duration::ZERO));
    }

    #[test]
    fn impatience_takes_nothing() {
        let mut bucket = TokenBucket::new(1.0, 0.5);
        assert_eq!(bucket.reserve(Duration::ZERO, Duration::ZERO), Ok(Duration::ZERO));
        for _ in 0..3 {
            assert_eq!(bucket.reserve(Duration::ZERO, seconds(1.0)), Err(BudgetExhausted { wait: seconds(2.0) }));
        }
        assert_eq!(bucket.reserve(Duration::ZERO, seconds(2.0)), Ok(seconds(2.0)));
    }

    #[test]
    fn it_fills_to_its_capacity_and_no_further() {
        let mut bucket = TokenBucket::new(3.0, 10.0);
        let patience = Duration::ZERO;
        let now = seconds(1000.0);
        assert_eq!((0..5).filter(|_| bucket.reserve(now, patience).is_ok()).count(), 3);
    }

    #[test]
    fn a_clock_that_goes_back_gives_nothing() {
        let mut bucket = TokenBucket::new(1.0, 1.0);
        assert!(bucket.reserve(seconds(10.0), Duration::ZERO).is_ok());
        assert!(bucket.reserve(seconds(5.0), Duration::ZERO).is_err());
        assert!(bucket.reserve(seconds(10.5), Duration::ZERO).is_err());
        assert!(bucket.reserve(seconds(11.0), Duration::ZERO).is_ok());
    }

    #[test]
    fn throttling_by_the_cloud_empties_the_bucket() {
        let mut bucket = TokenBucket::new(50.0, 5.0);
        bucket.drain(Duration::ZERO);
        assert_eq!(bucket.reserve(Duration::ZERO, seconds(1.0)), Ok(seconds(0.2)));
    }

    #[test]
    fn a_share_of_nothing_still_lets_a_call_through() {
        let mut bucket = TokenBucket::new(0.0, 0.0);
        assert_eq!(bucket.reserve(Duration::ZERO, Duration::ZERO), Ok(Duration::ZERO));
        assert_eq!(bucket.reserve(Duration::ZERO, Duration::ZERO), Err(BudgetExhausted { wait: seconds(100.0) }));
    }
}
