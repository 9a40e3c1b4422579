//! When a failed request may be made again, and after which pause: a pure function, so that every row can be tested.

use std::time::Duration;

use crate::action::Repeat;

/// How often and how patiently a call is retried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Requests per call, the first included.
    pub max_attempts: u32,
    /// The longest pause before the second request; it doubles with each further one.
    pub base_pause: Duration,
    /// The longest pause at all.
    pub max_pause: Duration,
}

impl Default for RetryPolicy {
    /// Four requests, pauses of at most 0.2, 0.4 and 0.8 s.
    fn default() -> Self {
        Self { max_attempts: 4, base_pause: Duration::from_millis(200), max_pause: Duration::from_secs(5) }
    }
}

/// How one request failed, as far as retrying is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// No connection came about: the request never left.
    NotSent,
    /// The request left, and no complete answer came back.
    AnswerLost,
    /// The cloud refused the call because there are too many.
    Throttled,
    /// HTTP 503 that is not throttling: the service did not take the request on.
    NotAccepted,
    /// Another HTTP 5xx: the service failed with the request in its hands.
    ServerError,
    /// The signature was refused because of the clock; a fresh signature may pass.
    ClockSkew,
    /// A refusal that a second request would meet again.
    Refused,
}

/// What to do about a failed request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Make the request again after a pause drawn evenly from zero to this ("full jitter").
    RetryWithin(Duration),
    /// Report the failure.
    GiveUp,
}

impl RetryPolicy {
    /// What to do after the `attempt`-th request (from 1) of a call failed this way.
    ///
    /// A request that surely had no effect is made again for every action. After a lost answer or a server error the effect
    /// may have happened, so only calls whose repetition is harmless are repeated (cloud-rules A.5).
    #[must_use]
    pub fn decide(&self, attempt: u32, failure: Failure, repeat: Repeat) -> Decision {
        let harmless = match failure {
            Failure::NotSent | Failure::Throttled | Failure::NotAccepted | Failure::ClockSkew => true,
            Failure::AnswerLost | Failure::ServerError => repeat != Repeat::Never,
            Failure::Refused => false,
        };
        if harmless && attempt < self.max_attempts {
            Decision::RetryWithin(self.pause_limit(attempt))
        } else {
            Decision::GiveUp
        }
    }

    /// The longest pause after the `attempt`-th request (from 1).
    #[must_use]
    pub fn pause_limit(&self, attempt: u32) -> Duration {
        let doublings = attempt.saturating_sub(1).min(20);
        self.base_pause.saturating_mul(1 << doublings).min(self.max_pause)
    }
}

/// A number drawn evenly from `0.0..1.0`.
pub(crate) fn unit_random() -> f64 {
    // Without entropy the middle is taken: a retry must not fail for lack of jitter.
    let bits = getrandom::u32().unwrap_or(u32::MAX / 2);
    f64::from(bits) / (f64::from(u32::MAX) + 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Failure; 7] = [
        Failure::NotSent,
        Failure::AnswerLost,
        Failure::Throttled,
        Failure::NotAccepted,
        Failure::ServerError,
        Failure::ClockSkew,
        Failure::Refused,
    ];

    #[test]
    fn a_call_that_must_not_happen_twice_is_repeated_only_when_it_did_not_happen() {
        let retried: Vec<Failure> = ALL
            .into_iter()
            .filter(|failure| RetryPolicy::default().decide(1, *failure, Repeat::Never) != Decision::GiveUp)
            .collect();
        assert_eq!(retried, [Failure::NotSent, Failure::Throttled, Failure::NotAccepted, Failure::ClockSkew]);
    }

    #[test]
    fn a_harmless_call_is_repeated_after_everything_but_a_refusal() {
        for repeat in [Repeat::Same, Repeat::GoneMeansDone] {
            for failure in ALL {
                let given_up = RetryPolicy::default().decide(1, failure, repeat) == Decision::GiveUp;
                assert_eq!(given_up, failure == Failure::Refused, "{failure:?}");
            }
        }
    }

    #[test]
    fn the_last_attempt_is_the_last() {
        let policy = RetryPolicy { max_attempts: 3, ..RetryPolicy::default() };
        assert_ne!(policy.decide(2, Failure::Throttled, Repeat::Same), Decision::GiveUp);
        assert_eq!(policy.decide(3, Failure::Throttled, Repeat::Same), Decision::GiveUp);
    }

    #[test]
    fn pauses_double_up_to_the_limit() {
        let policy = RetryPolicy {
            max_attempts: 99,
            base_pause: Duration::from_millis(100),
            max_pause: Duration::from_millis(500),
        };
        let pauses: Vec<u128> = [1, 2, 3, 4, 60].map(|attempt| policy.pause_limit(attempt).as_millis()).to_vec();
        assert_eq!(pauses, [100, 200, 400, 500, 500]);
    }

    #[test]
    fn jitter_is_drawn_from_the_whole_unit() {
        let drawn: Vec<f64> = (0..200).map(|_| unit_random()).collect();
        assert!(drawn.iter().all(|value| (0.0..1.0).contains(value)));
        assert!(drawn.iter().any(|value| *value < 0.3) && drawn.iter().any(|value| *value > 0.7));
    }
}
