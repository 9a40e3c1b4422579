//! Replays of a node's own log: what its agent told the pool, told to the same engine again, with the state at each step.

use std::collections::BTreeMap;

use freeboard_pool::{Input, LOG_VERSION, Origin, Pool, Record};
use serde::Deserialize;

use crate::check::Check;
use crate::record::{Step, Violation};
use crate::replay::{Shown, diff, tell};

/// The log of a node's agent (`FREEBOARD_INPUT_LOG`).
#[derive(Clone, Debug, PartialEq)]
pub struct NodeLog {
    origin: Origin,
    records: Vec<Record>,
}

/// Why a log cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub enum NodeLogError {
    /// The file has no line.
    #[error("the log is empty; expected a first line of version {LOG_VERSION}")]
    Empty,
    /// Of another version.
    #[error("the log is of version {0:?}; expected {LOG_VERSION}: replay it with the release that wrote it")]
    Version(String),
    /// A line that is none of a log.
    #[error(
        "line {line} of the log is cut short or not one ({error}); leave out the lines from it on to replay what is before"
    )]
    Line {
        /// Its number, from 1.
        line: usize,
        /// What is wrong.
        error: serde_json::Error,
    },
    /// The log is shorter.
    #[error("there is no step {wanted}: the log has {last}")]
    NoSuchStep {
        /// The step asked for.
        wanted: u64,
        /// The last one.
        last: u64,
    },
    /// The engine did something else than it did then.
    #[error(
        "step {step}: the engine did {done} things here, and {noted} when the log was written: it is another engine; replay it \
         with the release that wrote it"
    )]
    Another {
        /// The step.
        step: u64,
        /// What it did now.
        done: u64,
        /// What it did then.
        noted: u64,
    },
}

impl NodeLog {
    /// Whether a file is such a log, by its first line.
    #[must_use]
    pub fn is_one(text: &str) -> bool {
        version(text).is_some_and(|version| version.starts_with("freeboard-inputs/"))
    }

    /// Reads a log.
    ///
    /// # Errors
    /// When it is of another version, or a line is none of a log.
    pub fn parse(text: &str) -> Result<Self, NodeLogError> {
        let mut lines = text.lines().enumerate().map(|(place, text)| (place + 1, text));
        let (_, first) = lines.next().ok_or(NodeLogError::Empty)?;
        if let Some(version) = version(first).filter(|version| version != LOG_VERSION) {
            return Err(NodeLogError::Version(version));
        }
        let origin = serde_json::from_str(first).map_err(|error| NodeLogError::Line { line: 1, error })?;
        let records = lines
            .map(|(line, text)| serde_json::from_str(text).map_err(|error| NodeLogError::Line { line, error }))
            .collect::<Result<_, _>>()?;
        Ok(Self { origin, records })
    }

    /// How many steps it has: an input, or the taking out of what inputs led to, is one.
    #[must_use]
    pub fn steps(&self) -> u64 {
        u64::try_from(self.records.len()).unwrap_or(u64::MAX)
    }

    /// Makes the run again up to this step, or whole; shows the step, the state after it and what it changed.
    ///
    /// # Errors
    /// When the log is shorter, or the engine does something else than it did then.
    pub fn until(&self, number: Option<u64>) -> Result<Shown, NodeLogError> {
        let last = self.steps();
        let number = number.unwrap_or(last);
        if number == 0 || number > last {
            return Err(NodeLogError::NoSuchStep { wanted: number, last });
        }
        let mut pool = Pool::of_origin(&self.origin);
        let mut before = BTreeMap::new();
        for (step, record) in (1..).zip(&self.records) {
            if step == number {
                before = state(&pool);
            }
            let mut effects = Vec::new();
            pool.handle(record.input.clone(), record.at);
            if let Input::Taken { effects: noted } = record.input {
                while let Some(effect) = pool.poll_effect() {
                    effects.push(format!("{effect:?}"));
                }
                let done = u64::try_from(effects.len()).unwrap_or(u64::MAX);
                if done != noted {
                    return Err(NodeLogError::Another { step, done, noted });
                }
            }
            let audit = pool.audit();
            let violation = (!audit.is_empty()).then(|| Violation { check: Check::PoolAudit, what: audit.join("; ") });
            if step == number || violation.is_some() {
                let state = state(&pool);
                let diff = diff(&before, &state);
                let what = format!("{:?}", record.input);
                return Ok(Shown { step: Step { number: step, at: record.at, what, effects, violation }, state, diff });
            }
        }
        Err(NodeLogError::NoSuchStep { wanted: number, last })
    }
}

fn state(pool: &Pool) -> BTreeMap<String, String> {
    let mut state = BTreeMap::new();
    tell(&pool.view(), "", &mut state);
    state
}

fn version(text: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Head {
        version: String,
    }
    serde_json::from_str::<Head>(text.lines().next()?).ok().map(|head| head.version)
}

#[cfg(test)]
mod tests {
    use freeboard_address::{AttachmentKey, PodKey};
    use freeboard_pool::{AddRequest, RequestId, Revision};
    use jiff::{SignedDuration, Timestamp};

    use super::*;
    use crate::scenario::PoolChoice;

    /// A log as an agent writes it: each input, and each taking out, in the order in which they came.
    fn log() -> String {
        let at = Timestamp::UNIX_EPOCH;
        let settings = PoolChoice { lean: true, ..PoolChoice::default() }.settings();
        let origin = Origin { version: LOG_VERSION.to_owned(), at, settings, facts: None };
        let mut pool = Pool::of_origin(&origin);
        let mut lines = vec![serde_json::to_string(&origin).unwrap()];
        let key = |name: &str| AttachmentKey { network: "n".into(), container: name.into(), interface: "eth0".into() };
        let add = |name: &str| AddRequest { key: key(name), pod: Some(PodKey::new("default", name)) };
        let inputs = [
            Input::Restore { allocations: Vec::new(), cooling: Vec::new() },
            Input::Blocks { blocks: vec!["10.4.0.0/30".parse().unwrap()] },
            Input::Add { request: RequestId(1), add: add("a") },
            Input::Persisted { outcome: Ok(Revision(2)) },
            Input::Add { request: RequestId(2), add: add("b") },
            Input::Persisted { outcome: Err("full".to_owned()) },
        ];
        for (second, input) in (0..).zip(inputs) {
            let at = at + SignedDuration::from_secs(second);
            pool.handle(input.clone(), at);
            let effects = std::iter::from_fn(|| pool.poll_effect()).count() as u64;
            for input in [input, Input::Taken { effects }] {
                lines.push(serde_json::to_string(&Record { at, input }).unwrap());
            }
        }
        lines.join("\n") + "\n"
    }

    #[test]
    fn a_log_makes_the_same_run_again_and_shows_each_step() {
        let text = log();
        assert!(NodeLog::is_one(&text));
        let log = NodeLog::parse(&text).unwrap();
        assert_eq!(log.steps(), 12);
        let given = log.until(Some(6)).unwrap();
        assert!(given.diff.iter().any(|line| line.starts_with("+ block 10.4.0.0/30 10.4.0.0: assigned")), "{given:?}");
        let undone = log.until(None).unwrap();
        assert!(undone.step.effects.iter().any(|effect| effect.contains("CheckpointFailed")), "{undone:?}");
        assert!(!undone.state.contains_key("block 10.4.0.0/30 10.4.0.1"), "{undone:?}");
        assert!(log.until(Some(13)).unwrap_err().to_string().contains("no step 13: the log has 12"));
    }

    #[test]
    fn a_log_of_another_engine_or_version_or_cut_short_is_refused() {
        let text = log();
        let other = text.replacen(LOG_VERSION, "freeboard-inputs/9", 1);
        assert!(NodeLog::is_one(&other));
        let message = NodeLog::parse(&other).unwrap_err().to_string();
        assert!(message.contains("freeboard-inputs/9") && message.contains("expected freeboard-inputs/1"), "{message}");
        let cut = &text[..text.len() - 20];
        let message = NodeLog::parse(cut).unwrap_err().to_string();
        assert!(message.contains("line 13 of the log is cut short"), "{message}");
        let (head, tail) = text.rsplit_once("\"effects\":").unwrap();
        let changed = format!("{head}\"effects\":7{}", &tail[1..]);
        let message = NodeLog::parse(&changed).unwrap().until(None).unwrap_err().to_string();
        assert!(message.contains("and 7 when the log was written"), "{message}");
    }
}
