//! The status for people.

use std::fmt::Write;

use freeboard_capacity::{RangeKind, RangeStatus, Use};

use super::{NodeStatus, Status};
use crate::input::Input;
use crate::layout::{counted, grouped, item, wrap};
use crate::tree::bar;

const WIDTH: usize = 80;
const WIDE: usize = 160;
/// The width of the first column.
const NAME: usize = 27;
const WIDE_NAME: usize = 46;
/// With fewer free addresses nobody expects a free /28.
const WORTH_A_WORD: u64 = 32;
/// Nodes and pods that are listed within 80 columns; all of them when it may be wide.
const MOST_LISTED: usize = 10;

/// The page.
pub(super) fn page(input: &Input, status: &Status, wide: bool) -> String {
    let mut text = String::new();
    if status.ranges.is_empty() {
        text.push_str("No range is known: add the output of `aws ec2 describe-subnets`, or of gcloud.\n");
    } else {
        let (name, zone) = if wide { (WIDE_NAME, "ZONE · WHAT FITS · NOTES") } else { (NAME, "") };
        let _ = writeln!(
            text,
            "{:<name$} {:<18}{:>9} {:<8} {:>7} {:>7}  {zone}",
            "RANGE", "CIDR", "USE", "", "FREE", "LARGEST"
        );
        trim(&mut text);
        for range in &status.ranges {
            row(&mut text, range, "", "", wide);
        }
    }
    nodes(&mut text, &status.nodes, wide);
    waiting(&mut text, input, status, wide);
    text
}

fn row(text: &mut String, range: &RangeStatus, branch: &str, below: &str, wide: bool) {
    let name = if wide { WIDE_NAME } else { NAME };
    let title = match (&range.name, wide) {
        (Some(short), true) => format!("{branch}{short} ({})", range.id),
        (Some(short), false) => format!("{branch}{short}"),
        (None, _) => format!("{branch}{}", range.id),
    };
    let cidr = if range.kind == RangeKind::NodePool { String::new() } else { range.cidr.to_string() };
    let usage = range.usage.map_or_else(|| "?".to_owned(), |usage| usage.to_string());
    let free = range.free_addresses.map(grouped);
    let free = if range.kind == RangeKind::NodePool { String::new() } else { free.unwrap_or_else(|| "?".to_owned()) };
    let largest = match (range.largest_free_length, range.is_full()) {
        (Some(length), _) => format!("/{length}"),
        (None, true) => "–".to_owned(),
        (None, false) => String::new(),
    };
    let _ = write!(
        text,
        "{:<name$} {cidr:<18}{usage:>9} {:<8} {free:>7} {largest:>7}",
        cut(&title, name),
        range.usage.map(bar).unwrap_or_default()
    );
    let notes = notes(range);
    if wide && !notes.is_empty() {
        let _ = write!(text, "  {notes}");
    }
    text.push('\n');
    trim(text);
    if !wide && !notes.is_empty() {
        let lead = format!("{below}{}  ", if range.inside.is_empty() { "" } else { "│" });
        let _ = writeln!(text, "{}", wrap(&notes, WIDTH, &lead));
    }
    for (index, inside) in range.inside.iter().enumerate() {
        let is_last = index + 1 == range.inside.len();
        let (branch, rest) = if is_last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        row(text, inside, &format!("{below}{branch}"), &format!("{below}{rest}"), wide);
    }
}

/// What fits, and what else is to be said; the sign repeats what the words say.
pub(crate) fn notes(range: &RangeStatus) -> String {
    let mut notes = Vec::new();
    let is_bad = range.is_full() && range.for_pods || range.remarks.iter().any(|one| one.starts_with("fails"));
    if let Some(zone) = &range.zone {
        notes.push(zone.clone());
    }
    if !range.fits.is_empty() && !range.is_full() {
        let fits: Vec<String> = range.fits.iter().map(|fit| format!("{} {}", grouped(fit.count), fit.of)).collect();
        notes.push(format!("fits {}", fits.join(" or ")));
    }
    match (range.fragmentation_percent, range.free_prefixes) {
        (Some(percent), Some(prefixes)) if range.for_pods && range.free_addresses >= Some(WORTH_A_WORD) => {
            let free = counted(prefixes, "aligned /28 free", "aligned /28s free");
            notes.push(format!("{free}, fragmented by {percent} %"));
        }
        _ => {}
    }
    notes.extend(range.remarks.iter().cloned());
    if range.waiting > 0 {
        notes.push(format!("{} waiting", counted(range.waiting, "pod", "pods")));
    }
    let text = notes.join(" · ");
    if is_bad { format!("✗ {text}") } else { text }
}

fn nodes(text: &mut String, nodes: &[NodeStatus], wide: bool) {
    if nodes.is_empty() {
        return;
    }
    let most = if wide { usize::MAX } else { MOST_LISTED };
    let _ = writeln!(text, "\n{:<40} {:<14} {:>9} {:>5} {:>7}", "NODE", "TYPE", "PODS", "WARM", "COOLING");
    for node in nodes.iter().take(most) {
        let allowed = node.pods_allowed.map_or_else(String::new, |allowed| format!("/{allowed}"));
        let of = |used_for: Use| node.addresses.get(&used_for).map_or_else(|| "–".to_owned(), |count| grouped(*count));
        let state = if node.ready == Some(false) { " ✗ not ready" } else { "" };
        let _ = writeln!(
            text,
            "{:<40} {:<14} {:>9} {:>5} {:>7}{state}",
            cut(node.name.as_str(), 40),
            cut(node.instance_type.as_deref().unwrap_or("?"), 14),
            format!("{}{allowed}", grouped(node.pods)),
            of(Use::Warm),
            of(Use::Cooling)
        );
    }
    if nodes.len() > most {
        let _ =
            writeln!(text, "… and {} more (all with -o wide)", grouped(u64::try_from(nodes.len() - most).unwrap_or(0)));
    }
}

fn waiting(text: &mut String, input: &Input, status: &Status, wide: bool) {
    let Some(first) = status.waiting.first() else {
        text.push_str("\nNo pod is known to wait for an address.\n");
        return;
    };
    let count = u64::try_from(status.waiting.len()).unwrap_or(u64::MAX);
    let verb = if count == 1 { "waits" } else { "wait" };
    let _ = writeln!(text, "\n{} {verb} for an address.", counted(count, "pod", "pods"));
    let most = if wide { usize::MAX } else { MOST_LISTED };
    for one in status.waiting.iter().take(most) {
        let why = match (&one.finding, &one.place) {
            (Some(finding), Some(place)) => format!("{finding}, {place}"),
            _ => "nothing in the evidence says why".to_owned(),
        };
        let first = format!("  {}  ", one.pod);
        let width = if wide { WIDE } else { WIDTH };
        if first.chars().count() > 44 {
            let _ = writeln!(text, "  {}\n{}", one.pod, wrap(&why, width, "    "));
        } else {
            let _ = writeln!(text, "{}", item(&first, &why, width));
        }
    }
    if status.waiting.len() > most {
        let _ = writeln!(
            text,
            "  … and {} more (all with -o wide)",
            grouped(u64::try_from(status.waiting.len() - most).unwrap_or(0))
        );
    }
    let _ = writeln!(text, "Next: freeboard explain pod {} {}", first.pod, input.named);
}

/// A text that fits, its end cut off visibly.
fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let kept: String = text.chars().take(width.saturating_sub(1)).collect();
    format!("{kept}…")
}

/// Takes the spaces at the end of the last line away.
fn trim(text: &mut String) {
    let end = text.trim_end_matches([' ', '\n']).len();
    text.truncate(end);
    text.push('\n');
}
