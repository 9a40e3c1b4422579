//! When a range will be full: a straight line through the usage history, with the uncertainty that the history shows.

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::Sample;

/// Fewer samples show no trend.
const FEWEST_SAMPLES: usize = 4;
/// Half the width of the band in standard errors: nine of ten samples to come lie in it, if growth goes on as it did.
const BAND: f64 = 1.645;
/// Nobody plans further.
const HORIZON_DAYS: f64 = 3_650.0;
const SECONDS_PER_DAY: f64 = 86_400.0;

/// A straight line through a usage history.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Forecast {
    /// The latest sample.
    pub from: Timestamp,
    /// What the line says for that moment, in pods.
    pub level: f64,
    /// Pods more every day.
    pub per_day: f64,
    /// The standard error of `per_day`.
    pub per_day_error: f64,
    /// The standard deviation of samples around the line, in pods.
    pub scatter: f64,
    /// How many samples it is drawn through.
    pub samples: usize,
    /// Days between the first and the latest sample.
    pub days: f64,
}

/// When a ceiling is reached. Each moment is absent when it lies beyond ten years, or never comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Exhaustion {
    /// The line meets the ceiling.
    pub expected: Option<Timestamp>,
    /// The upper edge of the band meets it.
    pub earliest: Option<Timestamp>,
    /// The lower edge of the band meets it.
    pub latest: Option<Timestamp>,
}

/// Why there is no forecast.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoForecast {
    /// There are too few samples.
    #[error("a forecast needs at least {FEWEST_SAMPLES} samples of the number of pods, and there are {0}")]
    TooFew(usize),
    /// All samples are of one moment.
    #[error("all samples of the number of pods are of the same moment")]
    OneMoment,
}

impl Forecast {
    /// Draws the line, by least squares.
    ///
    /// # Errors
    /// [`NoForecast`].
    pub fn of(history: &[Sample]) -> Result<Self, NoForecast> {
        let mut samples = history.to_vec();
        samples.sort_unstable();
        samples.dedup_by_key(|sample| sample.at);
        let (Some(first), Some(last)) = (samples.first().copied(), samples.last().copied()) else {
            return Err(NoForecast::TooFew(0));
        };
        if first.at == last.at {
            return Err(if samples.len() == history.len() { NoForecast::TooFew(1) } else { NoForecast::OneMoment });
        }
        if samples.len() < FEWEST_SAMPLES {
            return Err(NoForecast::TooFew(samples.len()));
        }
        // Days before the latest sample: the numbers stay small.
        let points: Vec<(f64, f64)> =
            samples.iter().map(|sample| (days_between(last.at, sample.at), as_f64(sample.pods))).collect();
        let count = as_f64(u64::try_from(points.len()).unwrap_or(u64::MAX));
        let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
        let (mean_day, mean_pods) = (mean(|point| point.0), mean(|point| point.1));
        let spread: f64 = points.iter().map(|(day, _)| (day - mean_day).powi(2)).sum();
        let joint: f64 = points.iter().map(|(day, pods)| (day - mean_day) * (pods - mean_pods)).sum();
        let per_day = joint / spread;
        let level = mean_pods - per_day * mean_day;
        let rest: f64 = points.iter().map(|(day, pods)| (pods - level - per_day * day).powi(2)).sum();
        let scatter = (rest / (count - 2.0)).sqrt();
        Ok(Self {
            from: last.at,
            level,
            per_day,
            per_day_error: scatter / spread.sqrt(),
            scatter,
            samples: points.len(),
            days: days_between(first.at, last.at),
        })
    }

    /// Whether the history shows growth, beyond its own scatter.
    #[must_use]
    pub fn is_growing(&self) -> bool {
        self.per_day > 0.0 && self.per_day > BAND * self.per_day_error
    }

    /// When so many pods are reached.
    #[must_use]
    pub fn reaches(&self, ceiling: u64) -> Exhaustion {
        let missing = as_f64(ceiling) - self.level;
        let at = |per_day: f64, offset: f64| {
            let rest = missing - offset;
            if rest <= 0.0 {
                return Some(self.from);
            }
            let days = rest / per_day;
            (per_day > 0.0 && days < HORIZON_DAYS).then(|| after_days(self.from, days)).flatten()
        };
        let (slope, scatter) = (BAND * self.per_day_error, BAND * self.scatter);
        Exhaustion {
            expected: at(self.per_day, 0.0),
            earliest: at(self.per_day + slope, scatter),
            latest: at(self.per_day - slope, -scatter),
        }
    }
}

fn days_between(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64() / SECONDS_PER_DAY
}

fn after_days(from: Timestamp, days: f64) -> Option<Timestamp> {
    let seconds = SignedDuration::try_from_secs_f64(days * SECONDS_PER_DAY).ok()?;
    from.checked_add(seconds).ok()
}

/// Counts of pods are far below 2^52, where every whole number is exact.
#[expect(clippy::as_conversions, reason = "there is no other way from a count to a float")]
fn as_f64(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(pods: impl IntoIterator<Item = u64>) -> Vec<Sample> {
        let start: Timestamp = "2026-11-01T00:00:00Z".parse().unwrap();
        let at = |day: usize| start + SignedDuration::from_hours(24 * i64::try_from(day).unwrap());
        pods.into_iter().enumerate().map(|(day, pods)| Sample { at: at(day), pods }).collect()
    }

    fn day(moment: Option<Timestamp>) -> String {
        moment.map_or_else(|| "never".to_owned(), |moment| moment.to_string()[..10].to_owned())
    }

    #[test]
    fn steady_growth_meets_the_ceiling_on_the_day_that_one_can_count() {
        let forecast = Forecast::of(&history((0..10).map(|day| 100 + 5 * day))).unwrap();
        assert!(forecast.is_growing());
        // 145 on the 10th, five a day: 200 on the 21st, without doubt.
        let full = forecast.reaches(200);
        assert_eq!([full.earliest, full.expected, full.latest].map(day), ["2026-11-21"; 3]);
        assert_eq!(day(forecast.reaches(100).expected), "2026-11-10", "the past is now");
    }

    #[test]
    fn scatter_widens_the_interval_around_the_expected_day() {
        let noise = [0, 6, -4, 3, -6, 5, -2, 4, -5, 1];
        let forecast = Forecast::of(&history(
            (0..10).map(|day| (100 + 5 * i64::from(day) + noise[usize::try_from(day).unwrap()]) as u64),
        ))
        .unwrap();
        let full = forecast.reaches(300);
        assert!(full.earliest < full.expected && full.expected < full.latest, "{full:?}");
    }

    #[test]
    fn no_growth_gives_no_date_and_too_little_history_no_forecast() {
        let flat = Forecast::of(&history([50, 52, 48, 51, 49, 50])).unwrap();
        assert!(!flat.is_growing());
        assert_eq!(flat.reaches(1_000).latest, None);
        assert_eq!(Forecast::of(&history([1, 2, 3])), Err(NoForecast::TooFew(3)));
        assert_eq!(Forecast::of(&[]), Err(NoForecast::TooFew(0)));
        let text = NoForecast::TooFew(3).to_string();
        assert_eq!(text, "a forecast needs at least 4 samples of the number of pods, and there are 3");
    }
}
