//! Gathers what the readers find into one set of facts, and keeps count of what was read and what was not understood.

use std::collections::BTreeMap;
use std::sync::Arc;

use freeboard_diagnosis::{Citation, Cited, Facts, Identity, Kind, Sighting};
use serde::Serialize;

use crate::limits;

/// How many things that were not understood are kept by name; the rest is counted.
const MOST_KEPT: usize = 10_000;
/// How many sightings are kept in all.
const MOST_SIGHTINGS: usize = 200_000;

/// A piece that was not understood, with the reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NotUnderstood {
    /// The file.
    pub file: Arc<str>,
    /// Why, as a phrase.
    pub reason: String,
}

/// Something in a piece that could not be read, though the rest was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The file.
    pub file: Arc<str>,
    /// The line.
    pub line: Option<u64>,
    /// What is wrong, as a phrase.
    pub what: String,
}

/// What was read.
#[derive(Debug, Default)]
pub struct Evidence {
    /// The facts.
    pub facts: Facts,
    /// How many files, members of archives included.
    pub files: u64,
    /// How many bytes, after decompression.
    pub bytes: u64,
    /// How many pieces of each kind.
    pub kinds: BTreeMap<Kind, u64>,
    /// What was not understood.
    pub not_understood: Vec<NotUnderstood>,
    /// How many pieces were not understood; more than are kept by name, if there are very many.
    pub not_understood_count: u64,
    /// What could be read in part only.
    pub problems: Vec<Problem>,
}

/// Takes pieces of evidence, one after the other.
#[derive(Debug, Default)]
pub struct Collector {
    pub(crate) evidence: Evidence,
}

impl Collector {
    /// A collector without evidence.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Ends the reading.
    #[must_use]
    pub fn finish(mut self) -> Evidence {
        limits::add(&mut self.evidence.facts);
        self.evidence
    }

    /// The facts, to add to.
    pub(crate) fn facts(&mut self) -> &mut Facts {
        &mut self.evidence.facts
    }

    /// Counts a piece of a kind.
    pub(crate) fn count(&mut self, kind: Kind) {
        *self.evidence.kinds.entry(kind).or_default() += 1;
        self.evidence.facts.kinds.insert(kind);
    }

    /// Notes that a piece was not understood.
    pub(crate) fn not_understood(&mut self, file: &Arc<str>, reason: impl Into<String>) {
        self.evidence.not_understood_count += 1;
        if self.evidence.not_understood.len() < MOST_KEPT {
            self.evidence.not_understood.push(NotUnderstood { file: Arc::clone(file), reason: reason.into() });
        }
    }

    /// Notes that a part of a piece could not be read.
    pub(crate) fn problem(&mut self, file: &Arc<str>, line: Option<u64>, what: impl Into<String>) {
        if self.evidence.problems.len() < MOST_KEPT {
            self.evidence.problems.push(Problem { file: Arc::clone(file), line, what: what.into() });
        }
    }

    /// Adds a sighting, to the same one of the same file if there is one at its end.
    pub(crate) fn see(&mut self, sighting: Sighting) {
        if self.evidence.facts.sightings.len() < MOST_SIGHTINGS {
            self.evidence.facts.sightings.push(sighting);
        }
    }

    /// Adds who wrote a log.
    pub(crate) fn identify(&mut self, file: &Arc<str>, identity: Identity) {
        self.evidence.facts.logs.insert(Arc::clone(file), identity);
    }
}

/// Puts a fact in its place; of two that differ, the later one is kept and the difference noted where it matters.
pub(crate) fn merge<K: Ord, T>(
    into: &mut BTreeMap<K, Cited<T>>,
    key: K,
    fact: T,
    citation: Citation,
    keep: impl FnOnce(&mut T, &T),
) {
    let mut new = Cited { fact, citation };
    if let Some(old) = into.get(&key) {
        keep(&mut new.fact, &old.fact);
    }
    into.insert(key, new);
}

/// Fills what is missing from what is known.
pub(crate) fn fill<T: Clone>(missing: &mut Option<T>, known: &Option<T>) {
    if missing.is_none() {
        missing.clone_from(known);
    }
}
