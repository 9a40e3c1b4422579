//! The engine's time: it goes as fast as the world does, whatever is done to the machine's clock.

use std::time::Instant;

use jiff::{SignedDuration, Timestamp};

/// The machine's time at the agent's start, and what a monotonic clock has counted since. A clock that is set while the agent runs
/// neither ends a cool-down early nor makes a pod wait; the next start goes by it.
#[derive(Clone, Copy, Debug)]
pub struct SteadyClock {
    start: Timestamp,
    since: Instant,
}

impl SteadyClock {
    /// A clock that shows the machine's time now.
    #[must_use]
    pub fn start() -> Self {
        Self { start: Timestamp::now(), since: Instant::now() }
    }

    /// The time, never earlier than at the call before.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let passed = SignedDuration::try_from(self.since.elapsed()).unwrap_or(SignedDuration::MAX);
        self.start.checked_add(passed).unwrap_or(Timestamp::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_starts_at_the_machines_time_and_does_not_go_back() {
        let before = Timestamp::now();
        let clock = SteadyClock::start();
        let (first, second) = (clock.now(), clock.now());
        assert!(before <= first && first <= second);
    }
}
