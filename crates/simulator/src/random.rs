//! The one source of chance: seeded, the same sequence in every run of one commit.

use jiff::SignedDuration;

/// A seeded generator. Each purpose has its own, so that one more draw for one does not change the others.
#[derive(Clone, Debug)]
pub(crate) struct Random(fastrand::Rng);

impl Random {
    /// The generator of one purpose of a run.
    pub(crate) fn new(seed: u64, purpose: &str) -> Self {
        // FNV-1a: any stable mix of the purpose's name will do.
        let mixed = purpose
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
        Self(fastrand::Rng::with_seed(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ mixed))
    }

    /// Evenly from `0.0..1.0`.
    pub(crate) fn unit(&mut self) -> f64 {
        self.0.f64()
    }

    /// Evenly from `low..high`.
    pub(crate) fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// A duration, evenly from `low..high` seconds.
    pub(crate) fn seconds(&mut self, low: f64, high: f64) -> SignedDuration {
        duration(self.between(low, high))
    }

    /// An index below `count`; 0 when there is none.
    pub(crate) fn index(&mut self, count: usize) -> usize {
        if count == 0 { 0 } else { self.0.usize(0..count) }
    }

    /// One of these; `None` of none.
    pub(crate) fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        items.get(self.index(items.len()))
    }

    /// True with this probability.
    pub(crate) fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// A waiting time with this mean, as between calls that have nothing to do with each other.
    pub(crate) fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.unit()).ln()
    }
}

/// Seconds as a duration, to the microsecond.
pub(crate) fn duration(seconds: f64) -> SignedDuration {
    // The cast saturates; lengths of time are checked when a scenario is read.
    SignedDuration::from_micros((seconds * 1e6).round() as i64)
}
