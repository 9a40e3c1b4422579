//! Lines in the usual form of the agent's log, known again without a parser: most of a large log are the counts of every few seconds
//! and the same few messages again and again.

use std::collections::HashMap;

use freeboard_diagnosis::PoolSample;
use jiff::Timestamp;

use super::line::timestamp;

/// How a line begins, as the Amazon VPC CNI's agent and Freeboard's write it.
const LEVEL: &[u8] = b"{\"level\":\"";
const TIME: &[u8] = b"\",\"ts\":\"";
/// `2023-11-04T10:00:00.000Z`
const TIME_BYTES: usize = 24;
/// Longer levels there are not.
const LONGEST_LEVEL_BYTES: usize = 8;
/// Messages that are remembered, and how long one may be.
const MOST_REMEMBERED: usize = 1_000;
const LONGEST_REMEMBERED_BYTES: usize = 1_024;

/// A line in the usual form.
#[derive(Clone, Copy, Debug)]
pub(super) struct Usual<'a> {
    time: &'a [u8],
    /// What follows the time: caller, message, and whatever else.
    pub(super) rest: &'a [u8],
}

impl<'a> Usual<'a> {
    /// Takes a line apart, if it has the form.
    pub(super) fn of(line: &'a [u8]) -> Option<Self> {
        let after = line.strip_prefix(LEVEL)?;
        let level = after.iter().take(LONGEST_LEVEL_BYTES).position(|byte| *byte == b'"')?;
        let (time, rest) = after.get(level..)?.strip_prefix(TIME)?.split_at_checked(TIME_BYTES)?;
        rest.starts_with(b"\"").then_some(Self { time, rest })
    }

    /// When it was written.
    pub(super) fn time(&self) -> Option<Timestamp> {
        timestamp(std::str::from_utf8(self.time).ok()?)
    }

    /// The counts of `IP stats … - total IPs: 10, assigned IPs: 6, cooldown IPs: 0`, if the line ends with them.
    pub(super) fn counts(&self) -> Option<PoolSample> {
        let message = memchr::memmem::find(self.rest, b"\"msg\":\"IP stats ")?;
        let counts = self.rest.get(message..)?;
        let start = memchr::memmem::find(counts, b" - total IPs: ")?;
        let (total, rest) = number(counts.get(start..)?.strip_prefix(b" - total IPs: ")?)?;
        let (assigned, rest) = number(rest.strip_prefix(b", assigned IPs: ")?)?;
        let (cooling, rest) = number(rest.strip_prefix(b", cooldown IPs: ")?)?;
        let ends = rest == b"\"}" || rest == b"\"}\r";
        ends.then(|| PoolSample { at: self.time(), total, assigned, cooling })
    }
}

/// The number at the beginning, and what follows it.
fn number(text: &[u8]) -> Option<(u64, &[u8])> {
    let end = text.iter().position(|byte| !byte.is_ascii_digit())?;
    let (digits, rest) = text.split_at_checked(end)?;
    Some((std::str::from_utf8(digits).ok()?.parse().ok()?, rest))
}

/// What lines of the same words showed.
#[derive(Debug, Default)]
pub(super) struct Remembered {
    shown: HashMap<Box<[u8]>, Box<[usize]>>,
}

impl Remembered {
    /// The sightings, by their places, that a line of these words showed before.
    pub(super) fn get(&self, words: &[u8]) -> Option<&[usize]> {
        self.shown.get(words).map(AsRef::as_ref)
    }

    /// Remembers what a line showed, if there is room.
    pub(super) fn put(&mut self, words: &[u8], shown: Vec<usize>) {
        if self.shown.len() < MOST_REMEMBERED && words.len() <= LONGEST_REMEMBERED_BYTES {
            self.shown.insert(words.into(), shown.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Remembered, Usual};

    const USUAL: &str = r#"{"level":"debug","ts":"2023-11-04T10:00:05.685Z","caller":"ipamd/ipamd.go:811","msg":"IP stats for Network Card 0 - total IPs: 10, assigned IPs: 6, cooldown IPs: 1"}"#;

    fn counts(line: &str) -> Option<(u64, u64, u64)> {
        let read = Usual::of(line.as_bytes())?.counts()?;
        assert_eq!(read.at, "2023-11-04T10:00:05.685Z".parse().ok());
        Some((read.total, read.assigned, read.cooling))
    }

    #[test]
    fn the_usual_counts_are_read_and_any_other_line_is_left_to_the_parser() {
        assert_eq!(counts(USUAL), Some((10, 6, 1)));
        assert_eq!(counts(&format!("{USUAL}\r")), Some((10, 6, 1)));
        for (from, to) in [
            ("\"}", "\"}{\"level\""),
            ("\"}", "\",\"error\":\"x\"}"),
            ("cooldown IPs: 1", "cooldown IPs: "),
            ("total IPs: 10", "total IPs: 99999999999999999999"),
            ("{\"level\":\"debug\"", "2023 {\"level\":\"debug\""),
            ("685Z\"", "685Z, late\""),
            ("\"msg\":\"IP", "\"msg\":\"an IP"),
        ] {
            assert_eq!(counts(&USUAL.replace(from, to)), None, "{to}");
        }
    }

    #[test]
    fn no_more_is_remembered_than_there_is_room_for() {
        let mut remembered = Remembered::default();
        for index in 0..5_000_u32 {
            remembered.put(&index.to_le_bytes(), vec![1]);
        }
        remembered.put(&[0; 5_000], vec![2]);
        assert_eq!(remembered.shown.len(), super::MOST_REMEMBERED);
        assert_eq!(remembered.get(&7_u32.to_le_bytes()), Some(&[1][..]));
        assert_eq!(remembered.get(&[0; 5_000]), None);
    }
}
