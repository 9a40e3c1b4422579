//! Which event is to be written when: repeats are gathered, and writes have a budget. Without I/O, so that it can be tested.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::jiff::Timestamp;

use super::{Occurrence, Severity};
use crate::conditions::shortened;

/// A repeated event is written again at most this often.
const REPEAT: Duration = Duration::from_secs(10);
/// A series to which nothing came for this long is forgotten; the next occurrence begins a new one.
const MEMORY: Duration = Duration::from_secs(900);
/// Writes that may come at once.
const BURST: u32 = 25;
/// After that, one write in this time.
const PERIOD: Duration = Duration::from_secs(1);
/// Series that are remembered.
const MOST: usize = 256;
/// `events.k8s.io` refuses longer texts.
const LONGEST_MESSAGE_BYTES: usize = 1024;

/// What makes two occurrences repeats of one another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    object: [String; 4],
    severity: Severity,
    reason: String,
    name: Option<String>,
}

impl Key {
    fn of(occurrence: &Occurrence) -> Self {
        let text = |part: &Option<String>| part.clone().unwrap_or_default();
        let ObjectReference { kind, namespace, name, uid, .. } = &occurrence.regarding;
        Self {
            object: [text(kind), text(namespace), text(name), text(uid)],
            severity: occurrence.severity,
            reason: occurrence.reason.clone(),
            name: occurrence.name.clone(),
        }
    }
}

#[derive(Debug)]
struct Series {
    newest: Occurrence,
    name: String,
    count: u32,
    /// How many of them the event in the API server counts; 0 is "there is no event yet".
    written: u32,
    written_at: Option<Instant>,
    first: Timestamp,
    last: Timestamp,
    came_at: Instant,
}

impl Series {
    fn due(&self) -> Option<Instant> {
        (self.count > self.written).then(|| self.written_at.map_or(self.came_at, |at| at + REPEAT))
    }
}

/// One event to be written.
#[derive(Clone, Debug)]
pub(super) struct Write {
    key: Key,
    pub(super) regarding: ObjectReference,
    pub(super) severity: Severity,
    pub(super) reason: String,
    pub(super) message: String,
    /// The event's name.
    pub(super) name: String,
    pub(super) count: u32,
    pub(super) first: Timestamp,
    pub(super) last: Timestamp,
    /// Whether the event is to be made, and not changed.
    pub(super) is_first: bool,
}

/// What is to be done now.
#[derive(Debug)]
pub(super) enum Step {
    Write(Box<Write>),
    Wait(Instant),
    Idle,
}

/// The series, and the budget for writes.
#[derive(Debug, Default)]
pub(super) struct Table {
    series: BTreeMap<Key, Series>,
    paused_until: Option<Instant>,
    /// When the budget would be full again; far in the future means that little is left.
    full_at: Option<Instant>,
}

impl Table {
    /// Takes an occurrence in; false when there is no room for it.
    pub(super) fn take(&mut self, mut occurrence: Occurrence, now: Instant, at: Timestamp) -> bool {
        self.series.retain(|_, series| series.due().is_some() || now < series.came_at + MEMORY);
        occurrence.message = shortened(&occurrence.message, LONGEST_MESSAGE_BYTES).into_owned();
        let key = Key::of(&occurrence);
        if let Some(series) = self.series.get_mut(&key) {
            series.count = series.count.saturating_add(1);
            (series.newest, series.last, series.came_at) = (occurrence, at, now);
            return true;
        }
        if self.series.len() >= MOST && !self.forget_one() {
            return false;
        }
        let object = occurrence.regarding.name.as_deref().unwrap_or("object");
        let name = occurrence.name.clone().unwrap_or_else(|| format!("{object}.{:x}", at.as_nanosecond()));
        let series = Series {
            newest: occurrence,
            name,
            count: 1,
            written: 0,
            written_at: None,
            first: at,
            last: at,
            came_at: now,
        };
        self.series.insert(key, series);
        true
    }

    /// Makes room: the oldest series that is written goes.
    fn forget_one(&mut self) -> bool {
        let written = self.series.iter().filter(|(_, series)| series.due().is_none());
        let oldest = written.min_by_key(|(_, series)| series.came_at).map(|(key, _)| key.clone());
        oldest.is_some_and(|key| self.series.remove(&key).is_some())
    }

    /// What is to be done now.
    pub(super) fn next(&self, now: Instant) -> Step {
        let due = self.series.iter().filter_map(|(key, series)| Some((series.due()?, key, series)));
        let Some((at, key, series)) = due.min_by_key(|(at, _, _)| *at) else { return Step::Idle };
        // As much of the budget is used as is missing until it is full.
        let affordable = self.full_at.and_then(|full| full.checked_sub(PERIOD * (BURST - 1)));
        let at = [Some(at), self.paused_until, affordable].into_iter().flatten().max().unwrap_or(at);
        if at > now {
            return Step::Wait(at);
        }
        Step::Write(Box::new(Write {
            key: key.clone(),
            regarding: series.newest.regarding.clone(),
            severity: series.newest.severity,
            reason: series.newest.reason.clone(),
            message: series.newest.message.clone(),
            name: series.name.clone(),
            count: series.count,
            first: series.first,
            last: series.last,
            is_first: series.written == 0,
        }))
    }

    /// A write is done.
    pub(super) fn written(&mut self, write: &Write, now: Instant) {
        self.full_at = Some(self.full_at.unwrap_or(now).max(now) + PERIOD);
        if let Some(series) = self.series.get_mut(&write.key) {
            (series.written, series.written_at) = (write.count, Some(now));
        }
    }

    /// The event of a series is gone: it is made anew.
    pub(super) fn begin_again(&mut self, write: &Write) {
        if let Some(series) = self.series.get_mut(&write.key) {
            series.written = 0;
            // The name of the event that is gone may be taken by another program's.
            if series.newest.name.is_none() {
                series.name = format!(
                    "{}.{:x}",
                    series.newest.regarding.name.as_deref().unwrap_or("object"),
                    series.last.as_nanosecond()
                );
            }
        }
    }

    /// Nothing is written before this time.
    pub(super) fn pause(&mut self, until: Instant) {
        self.paused_until = Some(until);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn occurrence(object: &str, message: &str) -> Occurrence {
        let regarding = ObjectReference {
            kind: Some("Pod".to_owned()),
            name: Some(object.to_owned()),
            namespace: Some("test".to_owned()),
            ..ObjectReference::default()
        };
        Occurrence {
            regarding,
            severity: Severity::Warning,
            reason: "SubnetExhausted".to_owned(),
            message: message.to_owned(),
            name: None,
        }
    }

    struct Bench {
        table: Table,
        now: Instant,
    }

    impl Bench {
        fn new() -> Self {
            Self { table: Table::default(), now: Instant::now() }
        }

        fn tell(&mut self, object: &str, message: &str) -> bool {
            self.table.take(occurrence(object, message), self.now, Timestamp::UNIX_EPOCH)
        }

        /// All writes that come without waiting, as name, count and text.
        fn writes(&mut self) -> Vec<(String, u32, String)> {
            let mut writes = Vec::new();
            while let Step::Write(write) = self.table.next(self.now) {
                self.table.written(&write, self.now);
                writes.push((write.regarding.name.unwrap_or_default(), write.count, write.message));
            }
            writes
        }
    }

    #[test]
    fn repeats_are_one_event_that_follows_the_newest_text_at_most_every_ten_seconds() {
        let mut bench = Bench::new();
        bench.tell("a", "0 of 27 free");
        assert_eq!(bench.writes(), [("a".to_owned(), 1, "0 of 27 free".to_owned())]);
        bench.tell("a", "1 of 27 free");
        bench.tell("a", "2 of 27 free");
        assert_eq!(bench.writes(), []);
        bench.now += REPEAT;
        assert_eq!(bench.writes(), [("a".to_owned(), 3, "2 of 27 free".to_owned())]);
        bench.now += REPEAT;
        assert_eq!(bench.writes(), [], "nothing new is nothing to write");
    }

    #[test]
    fn a_burst_is_written_up_to_the_budget_and_the_rest_one_by_one() {
        let mut bench = Bench::new();
        for index in 0..40 {
            assert!(bench.tell(&format!("pod-{index}"), "full"));
        }
        assert_eq!(bench.writes().len(), BURST as usize);
        bench.now += PERIOD;
        assert_eq!(bench.writes().len(), 1);
        bench.now += PERIOD * 10;
        assert_eq!(bench.writes().len(), 10);
        bench.now += PERIOD * 100;
        assert_eq!(bench.writes().len(), 4);
    }

    #[test]
    fn more_different_events_than_fit_are_refused_until_some_are_written() {
        let mut bench = Bench::new();
        for index in 0..MOST {
            assert!(bench.tell(&format!("pod-{index}"), "full"));
        }
        assert!(!bench.tell("one-more", "full"));
        assert!(bench.tell("pod-7", "full"), "a repeat needs no room");
        bench.writes();
        assert!(bench.tell("one-more", "full"));
    }

    #[test]
    fn while_the_api_server_is_away_nothing_is_lost() {
        let mut bench = Bench::new();
        bench.tell("a", "full");
        bench.table.pause(bench.now + Duration::from_secs(5));
        assert_eq!(bench.writes(), []);
        assert!(matches!(bench.table.next(bench.now), Step::Wait(at) if at == bench.now + Duration::from_secs(5)));
        bench.now += Duration::from_secs(5);
        assert_eq!(bench.writes().len(), 1);
    }

    #[test]
    fn a_series_whose_event_is_gone_is_written_as_a_new_one() {
        let mut bench = Bench::new();
        bench.tell("a", "full");
        bench.writes();
        bench.tell("a", "full");
        bench.now += REPEAT;
        let Step::Write(write) = bench.table.next(bench.now) else { panic!("a repeat is due") };
        assert!(!write.is_first);
        bench.table.begin_again(&write);
        let Step::Write(write) = bench.table.next(bench.now) else { panic!("it is written anew") };
        assert!(write.is_first && write.count == 2);
    }
}
