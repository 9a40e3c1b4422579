//! How the acts show events, objects and tables within 80 columns.

use std::fmt::Write;

use freeboard_gcp::{EventKind, PendingPod, PodEvent};
use jiff::Timestamp;
use serde_json::Value;

/// Lines are broken here.
const WIDTH: usize = 78;
/// Where the text of an event begins.
const MESSAGE_COLUMN: usize = 12;
/// Cells of a full bar.
const CELLS: u64 = 8;

/// An event of a pod as it is shown.
pub(super) struct EventLine {
    pub(super) kind: String,
    pub(super) reason: String,
    pub(super) age: String,
    pub(super) source: String,
    pub(super) message: String,
}

/// The events of a pod as `kubectl describe pod` orders them, seen at `now`.
pub(super) fn events(pod: &PendingPod, now: Timestamp) -> String {
    let line = |event: &PodEvent| EventLine {
        kind: kind(event).to_owned(),
        reason: event.reason.to_owned(),
        age: age(event, now),
        source: event.source.to_owned(),
        message: event.message.clone(),
    };
    event_table(&pod.events.iter().map(line).collect::<Vec<_>>())
}

/// Events under one another.
pub(super) fn event_table(events: &[EventLine]) -> String {
    let mut text = format!("    {:<8} {:<18} {:<20} {}\n", "Type", "Reason", "Age", "From");
    for EventLine { kind, reason, age, source, message } in events {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "    {kind:<8} {reason:<18} {age:<20} {source}");
        for line in hard_wrap(message, WIDTH - MESSAGE_COLUMN) {
            let _ = writeln!(text, "{}{line}", " ".repeat(MESSAGE_COLUMN));
        }
    }
    text
}

/// The type of an event.
pub(super) fn kind(event: &PodEvent) -> &'static str {
    match event.kind {
        EventKind::Normal => "Normal",
        EventKind::Warning => "Warning",
    }
}

/// How long ago, as kubectl says it: `42s`, or `42s (x2 over 102s)` for what was said again.
pub(super) fn age(event: &PodEvent, now: Timestamp) -> String {
    let seconds = |then: Timestamp| now.duration_since(then).as_secs();
    if event.count == 1 {
        return format!("{}s", seconds(event.last));
    }
    format!("{}s (x{} over {}s)", seconds(event.last), event.count, seconds(event.first))
}

/// These fields of an object as YAML, indented.
pub(super) fn fields(object: &Value, names: &[&str]) -> String {
    let text = crate::yaml::show(&crate::yaml::select(object, names));
    text.lines().fold(String::new(), |mut all, line| {
        let _ = writeln!(all, "    {line}");
        all
    })
}

/// A bar of eight cells for the whole.
pub(super) fn bar(used: u64, all: u64) -> String {
    let eighths = (used * CELLS * 8).div_ceil(all.max(1));
    let whole = usize::try_from(eighths / 8).unwrap_or(0);
    let part = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"][usize::try_from(eighths % 8).unwrap_or(0)];
    format!("{}{part}", "█".repeat(whole))
}

/// A message of the cloud, indented; its paths are longer than a line.
pub(super) fn message(text: &str) -> String {
    hard_wrap(text, WIDTH - 4).iter().map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n")
}

/// Breaks a text at blanks, and a word that is longer than a line wherever the line ends.
fn hard_wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let mut rest: Vec<char> = word.chars().collect();
        while !rest.is_empty() {
            let used = lines.last().map_or(0, |line| line.chars().count());
            let gap = usize::from(used > 0);
            if used > 0 && used + gap + rest.len() > width {
                lines.push(String::new());
                continue;
            }
            let part: String = rest.drain(..rest.len().min(width - used - gap)).collect();
            if let Some(line) = lines.last_mut() {
                line.push_str(&" ".repeat(gap));
                line.push_str(&part);
            }
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::hard_wrap;

    #[test]
    fn long_words_are_broken_and_nothing_is_lost() {
        assert_eq!(hard_wrap("ab abcdefgh cd", 4), ["ab", "abcd", "efgh", "cd"]);
        assert_eq!(hard_wrap("one two three", 7), ["one two", "three"]);
    }
}
