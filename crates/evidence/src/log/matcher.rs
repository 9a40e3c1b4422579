//! Finds the signals in a line or a message, and adds up what was seen.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};
use freeboard_diagnosis::{Citation, Kind, Lead, SIGNALS, Sighting, Signal, Subject};
use jiff::Timestamp;

use crate::collector::Collector;
use crate::{excerpt, subject};

/// Signals that prove nothing and are looked at all the same: they say who wrote the log, and how full the pool was.
const LOOKED_AT: [&str; 13] = [
    "IP stats",
    "Found subnet-id:",
    "Found vpc-id:",
    "Found instance-id:",
    "Found instance-type:",
    "Found availability zone:",
    "the instance primary IPv4 address",
    "Creating ENI with security groups",
    "Skipping ENI allocation as the max ENI limit",
    "pod triggered scale-up",
    "found this instance",
    "Failed to CreateNetworkInterface",
    "Failed to allocate a private IP/Prefix addresses on ENI",
];
/// Short pieces that many signals hold and healthy logs hardly do. The first look at a block is for these: their automaton is
/// small enough for the processor's cache, and therefore several times as fast as one of all signals.
const PIECES: [&str; 27] = [
    "ailed",
    "nsufficient",
    "xceeded",
    "xhausted",
    "EXHAUSTED",
    "no available",
    "scale-up",
    "scale.up",
    "nauthorized",
    "api error ",
    "nd delete ",
    "Rejecting ",
    "Error received",
    "Force ",
    "IPv4 and IPv6",
    "per host",
    "[No",
    "[T",
    "[S",
    "[C",
    "enough ",
    "remaining CIDRs",
    "no IP addresses available",
    "Could not ",
    "No ",
    "nable to",
    "-id:",
];
/// How much of a signal without a shared piece is looked for at first.
const LONGEST_PIECE: usize = 12;
/// Different subjects of one signal that are kept apart in one file.
const MOST_SUBJECTS: usize = 500;

/// Finds signals.
#[derive(Debug)]
pub(crate) struct Matcher {
    /// Finds lines that may show a signal.
    pieces: Option<AhoCorasick>,
    /// Finds the signals.
    automaton: Option<AhoCorasick>,
    signals: Vec<&'static Signal>,
}

/// The one matcher, built once.
pub(crate) static MATCHER: LazyLock<Matcher> = LazyLock::new(Matcher::new);

impl Matcher {
    fn new() -> Self {
        let signals: Vec<&'static Signal> = SIGNALS
            .iter()
            .copied()
            .filter(|signal| !matches!(signal.lead, Lead::Context) || LOOKED_AT.contains(&signal.text))
            .collect();
        let automaton = automaton(signals.iter().map(|signal| signal.text));
        Self { pieces: self::automaton(pieces(&signals)), automaton, signals }
    }

    /// The end of the first piece of a signal in the bytes.
    pub(crate) fn first_end(&self, bytes: &[u8]) -> Option<usize> {
        self.pieces.as_ref()?.find(bytes).map(|found| found.end())
    }

    /// Whether a line holds a signal.
    pub(crate) fn is_signal_in(&self, line: &[u8]) -> bool {
        self.automaton.as_ref().is_some_and(|automaton| automaton.is_match(line))
    }

    /// Every signal that a line shows, once.
    pub(crate) fn signals_in(&self, line: &str) -> Vec<&'static Signal> {
        let Some(automaton) = &self.automaton else { return Vec::new() };
        let mut found: Vec<usize> = automaton.find_overlapping_iter(line).map(|one| one.pattern().as_usize()).collect();
        found.sort_unstable();
        found.dedup();
        found
            .into_iter()
            .filter_map(|index| self.signals.get(index).copied())
            .filter(|signal| signal.holds_in(line))
            .collect()
    }
}

fn automaton(words: impl IntoIterator<Item = &'static str>) -> Option<AhoCorasick> {
    // The words are declared: that they make an automaton is tested.
    AhoCorasick::builder().match_kind(MatchKind::Standard).kind(Some(AhoCorasickKind::DFA)).build(words).ok()
}

/// The pieces to look for: of each signal a short one that it shares with others, or its beginning.
fn pieces(signals: &[&'static Signal]) -> BTreeSet<&'static str> {
    let beginning = |text: &'static str| text.get(..LONGEST_PIECE).unwrap_or(text);
    let piece = |signal: &&'static Signal| {
        PIECES.into_iter().find(|piece| signal.text.contains(piece)).unwrap_or_else(|| beginning(signal.text))
    };
    signals.iter().map(piece).collect()
}

/// What was seen in one file.
#[derive(Debug, Default)]
pub(crate) struct Sightings {
    seen: BTreeMap<(&'static str, &'static str, Subject), Sighting>,
}

impl Sightings {
    /// Adds one.
    pub(crate) fn add(&mut self, sighting: Sighting) {
        let mut key = (sighting.signal.text, sighting.signal.and, sighting.subject.clone());
        if self.seen.len() >= MOST_SUBJECTS && !self.seen.contains_key(&key) {
            key.2 = Subject::default();
        }
        match self.seen.get_mut(&key) {
            Some(known) => {
                known.count += sighting.count;
                known.first = match (known.first, sighting.first) {
                    (Some(one), Some(other)) => Some(one.min(other)),
                    (one, other) => one.or(other),
                };
                known.last = known.last.max(sighting.last);
            }
            None => {
                self.seen.insert(key, sighting);
            }
        }
    }

    /// Hands them on.
    pub(crate) fn finish(self, collector: &mut Collector) {
        for sighting in self.seen.into_values() {
            collector.see(sighting);
        }
    }
}

/// A message that stands in a document: an event, a condition, an audit entry.
pub(crate) struct Message<'a> {
    pub(crate) file: &'a Arc<str>,
    pub(crate) line: Option<u64>,
    pub(crate) kind: Kind,
    pub(crate) text: &'a str,
    /// What the document says that the message is about, beside what the message itself names.
    pub(crate) about: Subject,
    pub(crate) first: Option<Timestamp>,
    pub(crate) last: Option<Timestamp>,
    pub(crate) count: u64,
}

/// Adds the signals of a message.
pub(crate) fn note(collector: &mut Collector, message: &Message<'_>) {
    for signal in MATCHER.signals_in(message.text) {
        let mut subject = subject::of(message.text);
        complete(&mut subject, &message.about);
        collector.see(Sighting {
            signal,
            subject,
            count: message.count.max(1),
            first: message.first.or(message.last),
            last: message.last.or(message.first),
            citation: Citation {
                file: Arc::clone(message.file),
                line: message.line,
                kind: message.kind,
                excerpt: excerpt::around(message.text, signal.text),
            },
        });
    }
}

/// Fills what a message does not name.
fn complete(subject: &mut Subject, about: &Subject) {
    use crate::collector::fill;
    fill(&mut subject.node, &about.node);
    fill(&mut subject.pod, &about.pod);
    fill(&mut subject.subnet, &about.subnet);
    fill(&mut subject.interface, &about.interface);
    fill(&mut subject.action, &about.action);
    fill(&mut subject.range, &about.range);
    fill(&mut subject.block, &about.block);
    fill(&mut subject.name, &about.name);
}

#[cfg(test)]
mod tests {
    use super::MATCHER;

    #[test]
    fn every_signal_is_found_by_the_first_look() {
        for signal in &MATCHER.signals {
            let line = format!("before {} {} after", signal.text, signal.and);
            assert!(MATCHER.first_end(line.as_bytes()).is_some(), "{}", signal.text);
            assert!(MATCHER.signals_in(&line).iter().any(|found| found.text == signal.text), "{}", signal.text);
        }
    }
}
