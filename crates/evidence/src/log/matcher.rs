//! Finds the signals in a line or a message, and adds up what was seen.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::{Arc, LazyLock};

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind, packed};
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
/// Short pieces that many signals hold and healthy logs hardly do. The first look at a block is for these: so few of at least four
/// bytes are found by vector instructions, many times as fast as all signals by an automaton.
const PIECES: [&str; 21] = [
    "ailed ",
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
    "enough ",
    "remaining CIDRs",
    "no IP addresses available",
    "Could not ",
    "nable to ",
];
/// How much of a signal without a shared piece is looked for at first.
const LONGEST_PIECE: usize = 8;
/// Different subjects of one signal that are kept apart in one file.
const MOST_SUBJECTS: usize = 500;

/// Finds signals.
#[derive(Debug)]
pub(crate) struct Matcher {
    /// Finds lines that may show a signal.
    pieces: Option<Pieces>,
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
        Self { pieces: Pieces::new(&pieces(&signals)), automaton, signals }
    }

    /// Where the first piece of a signal at or after `from` stands.
    pub(crate) fn first_piece(&self, bytes: &[u8], from: usize) -> Option<Range<usize>> {
        match self.pieces.as_ref()? {
            Pieces::Vectors(searcher) => {
                searcher.find_in(bytes, (from..bytes.len()).into()).map(|found| found.start()..found.end())
            }
            Pieces::Automaton(automaton) => {
                automaton.find(aho_corasick::Input::new(bytes).range(from..)).map(|found| found.start()..found.end())
            }
        }
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

/// What finds pieces.
#[derive(Debug)]
enum Pieces {
    /// Vector instructions, where the processor has them.
    Vectors(packed::Searcher),
    /// An automaton anywhere else.
    Automaton(AhoCorasick),
}

impl Pieces {
    fn new(pieces: &BTreeSet<&'static str>) -> Option<Self> {
        let mut builder = packed::Config::new().heuristic_pattern_limits(false).builder();
        let vectors = builder.extend(pieces).build().map(Self::Vectors);
        vectors.or_else(|| automaton(pieces.iter().copied()).map(Self::Automaton))
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

/// What was seen in one file: each signal about each thing once, at a place of its own.
#[derive(Debug, Default)]
pub(crate) struct Sightings {
    seen: Vec<Sighting>,
    /// The places, by signal and then by what it is about.
    places: BTreeMap<(&'static str, &'static str), BTreeMap<Subject, usize>>,
}

impl Sightings {
    /// Adds one, and gives its place; what it is cited by is asked only for the first of its kind.
    pub(crate) fn add(
        &mut self,
        signal: &'static Signal,
        subject: &Subject,
        time: Option<Timestamp>,
        cite: impl FnOnce() -> Citation,
    ) -> usize {
        let places = self.places.entry((signal.text, signal.and)).or_default();
        let unnamed = Subject::default();
        let is_kept = self.seen.len() < MOST_SUBJECTS || places.contains_key(subject);
        let subject = if is_kept { subject } else { &unnamed };
        if let Some(place) = places.get(subject).copied() {
            self.again(place, time);
            return place;
        }
        let place = self.seen.len();
        places.insert(subject.clone(), place);
        let subject = subject.clone();
        self.seen.push(Sighting { signal, subject, count: 1, first: time, last: time, citation: cite() });
        place
    }

    /// Counts one more of what stands at a place.
    pub(crate) fn again(&mut self, place: usize, time: Option<Timestamp>) {
        let Some(known) = self.seen.get_mut(place) else { return };
        known.count += 1;
        known.first = match (known.first, time) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        known.last = known.last.max(time);
    }

    /// Hands them on, in the order of signals and of what they are about.
    pub(crate) fn finish(self, collector: &mut Collector) {
        let mut seen: Vec<Option<Sighting>> = self.seen.into_iter().map(Some).collect();
        for place in self.places.into_values().flat_map(BTreeMap::into_values) {
            if let Some(sighting) = seen.get_mut(place).and_then(Option::take) {
                collector.see(sighting);
            }
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
    fn no_piece_is_so_short_that_the_first_look_is_slow() {
        let shortest = super::pieces(&MATCHER.signals).into_iter().min_by_key(|piece| piece.len());
        assert!(shortest.is_some_and(|piece| piece.len() >= 4), "{shortest:?}");
    }

    #[test]
    fn every_signal_is_found_by_the_first_look() {
        for signal in &MATCHER.signals {
            let line = format!("before {} {} after", signal.text, signal.and);
            assert!(MATCHER.first_piece(line.as_bytes(), 0).is_some(), "{}", signal.text);
            assert!(MATCHER.signals_in(&line).iter().any(|found| found.text == signal.text), "{}", signal.text);
        }
    }
}
