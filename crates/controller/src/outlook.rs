//! How the use of a range grows: samples that are kept in its status, and when it will be full.

use freeboard_blocks::RangeView;
use freeboard_capacity::{Forecast, Sample};
use freeboard_kubernetes::conditions::{Condition, ConditionStatus};
use freeboard_kubernetes::resources::{RangeForecast, UsageSample};
use jiff::{SignedDuration, Timestamp};

/// The condition that says whether the range lasts.
const LASTS: &str = "LastsBeyondHorizon";
/// Samples that are kept.
const SAMPLES: usize = 96;

/// How the future is looked at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outlook {
    /// The time between two samples.
    pub(crate) every: SignedDuration,
    /// A range that will be full within this time is told of.
    pub(crate) horizon: SignedDuration,
}

impl Outlook {
    /// The history with a sample of now, if one is due.
    pub(crate) fn sampled(&self, history: &[UsageSample], allocated: u64, now: Timestamp) -> Vec<UsageSample> {
        let mut samples = history.to_vec();
        if samples.last().is_none_or(|last| now.duration_since(last.at) >= self.every) {
            samples.push(UsageSample { at: now, allocated_addresses: allocated });
        }
        samples.drain(..samples.len().saturating_sub(SAMPLES));
        samples
    }

    /// Whether the range lasts beyond the horizon, and what to do when it does not. The sample that was taken last says when
    /// that was found, so that it changes only with a sample.
    pub(crate) fn condition(
        &self,
        view: &RangeView,
        forecast: Option<&RangeForecast>,
        history: &[UsageSample],
        now: Timestamp,
    ) -> Condition {
        let sampled = history.last().map_or(now, |sample| sample.at);
        let soon = forecast.filter(|forecast| forecast.earliest_full.duration_since(sampled) < self.horizon);
        let RangeView { name, cidr, .. } = view;
        match soon {
            Some(RangeForecast { addresses_per_day, expected_full, earliest_full }) => {
                let day = |time: &Timestamp| time.strftime("%Y-%m-%d %H:%M UTC").to_string();
                let message = format!(
                    "at {addresses_per_day} addresses more every day range {name} {cidr} is full on {}, perhaps on {}: add a range (PodRange) before",
                    day(expected_full),
                    day(earliest_full)
                );
                Condition::new(LASTS, ConditionStatus::False, "FullSoon", message, now)
            }
            None => {
                let days = self.horizon.as_hours() / 24;
                let message = format!("the history of range {name} {cidr} does not lead to its end within {days} days");
                Condition::new(LASTS, ConditionStatus::True, "NotFullSoon", message, now)
            }
        }
    }
}

/// When a range of so many addresses will be full; none while its history is short or shows no growth.
pub(crate) fn forecast(history: &[UsageSample], capacity: u64) -> Option<RangeForecast> {
    // The line is drawn through any count over time.
    let samples: Vec<Sample> =
        history.iter().map(|sample| Sample { at: sample.at, pods: sample.allocated_addresses }).collect();
    let line = Forecast::of(&samples).ok().filter(Forecast::is_growing)?;
    let full = line.reaches(capacity);
    let expected_full = full.expected?;
    let earliest_full = full.earliest.unwrap_or(expected_full);
    Some(RangeForecast { addresses_per_day: line.per_day.round() as i64, expected_full, earliest_full })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hours: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + hours * 3600).unwrap()
    }

    fn hourly(allocated: impl IntoIterator<Item = u64>) -> Vec<UsageSample> {
        (0..)
            .zip(allocated)
            .map(|(hour, allocated_addresses)| UsageSample { at: at(hour), allocated_addresses })
            .collect()
    }

    #[test]
    fn steady_growth_leads_to_the_hour_that_one_can_count() {
        let forecast = forecast(&hourly((0..6).map(|hour| hour * 32)), 1024).unwrap();
        assert_eq!((forecast.addresses_per_day, forecast.expected_full, forecast.earliest_full), (768, at(32), at(32)));
        assert_eq!(super::forecast(&hourly([64; 6]), 1024), None, "no growth");
        assert_eq!(super::forecast(&hourly([0, 32, 64]), 1024), None, "a short history");
    }

    #[test]
    fn a_sample_is_taken_when_it_is_due_and_the_oldest_are_forgotten() {
        let outlook = Outlook { every: SignedDuration::from_hours(1), horizon: SignedDuration::from_hours(24) };
        let one = outlook.sampled(&[], 5, at(0));
        assert_eq!(outlook.sampled(&one, 9, at(0) + SignedDuration::from_mins(59)), one);
        let mut samples = one;
        for hour in 1..200 {
            samples = outlook.sampled(&samples, 7, at(hour));
        }
        assert_eq!((samples.len(), samples[0].at), (SAMPLES, at(200 - 96)));
    }
}
