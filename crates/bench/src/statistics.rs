//! Percentiles of a sample.

use std::time::Duration;

use serde::Serialize;

/// What a sample of durations comes to, in milliseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Summary {
    /// How many were measured.
    pub count: usize,
    /// Half of them took at most this.
    pub p50_milliseconds: f64,
    /// Ninety-nine in a hundred took at most this.
    pub p99_milliseconds: f64,
    /// The longest.
    pub longest_milliseconds: f64,
}

/// A duration in milliseconds.
#[must_use]
pub fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

impl Summary {
    /// Summarises a sample; none when it is empty.
    #[must_use]
    pub fn of(mut sample: Vec<Duration>) -> Option<Self> {
        sample.sort_unstable();
        let longest = *sample.last()?;
        Some(Self {
            count: sample.len(),
            p50_milliseconds: milliseconds(percentile(&sample, 50)),
            p99_milliseconds: milliseconds(percentile(&sample, 99)),
            longest_milliseconds: milliseconds(longest),
        })
    }
}

/// The smallest value that at least `percent` of a sorted, non-empty sample does not exceed.
fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or_default()
}

#[cfg(test)]
mod unit {
    use std::time::Duration;

    use super::Summary;

    #[test]
    fn percentiles_are_values_of_the_sample() {
        let sample: Vec<Duration> = (1..=200).rev().map(Duration::from_millis).collect();
        let summary = Summary::of(sample).unwrap();
        let figures = [summary.p50_milliseconds, summary.p99_milliseconds, summary.longest_milliseconds];
        assert_eq!(figures.map(|figure| figure.round() as u64), [100, 198, 200]);
        assert!(Summary::of(Vec::new()).is_none());
    }
}
