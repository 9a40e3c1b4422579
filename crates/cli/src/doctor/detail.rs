//! One finding with everything that is known of it.

use std::fmt::Write;

use freeboard_diagnosis::{Citation, Finding};

use super::overview::moment;
use crate::layout::{counted, item, mark, wrap};

const WIDTH: usize = 80;
const INDENT: &str = "           ";
/// Waiting pods that are named.
const MOST_PODS: usize = 8;

/// The finding: what, why, figures, evidence, what it is not, and what to do.
pub(super) fn text(finding: &Finding) -> String {
    let mut text = format!("{} {}  {}\n", mark(finding.severity), finding.declaration.id, finding.place);
    let _ = writeln!(text, "{}", item("  what     ", &format!("{}.", capital(&finding.summary)), WIDTH));
    let _ = writeln!(text, "{}", wrap(finding.declaration.means, WIDTH, INDENT));
    times(finding, &mut text);
    if !finding.figures.is_empty() {
        let figures: Vec<String> = finding.figures.iter().map(ToString::to_string).collect();
        let _ = writeln!(text, "{}", item("  figures  ", &figures.join(" · "), WIDTH));
    }
    if !finding.waiting_pods.is_empty() {
        let mut pods: Vec<String> = finding.waiting_pods.iter().take(MOST_PODS).map(ToString::to_string).collect();
        if finding.waiting_pods.len() > MOST_PODS {
            pods.push(format!("and {} more", finding.waiting_pods.len() - MOST_PODS));
        }
        let _ = writeln!(text, "{}", item("  waiting  ", &pods.join(", "), WIDTH));
    }
    for (index, note) in finding.notes.iter().enumerate() {
        let _ = writeln!(text, "{}", item(if index == 0 { "  known    " } else { INDENT }, note, WIDTH));
    }
    for contradiction in &finding.contradictions {
        let _ = writeln!(text, "{}", item("  but      ", contradiction, WIDTH));
    }
    if !finding.ruled_out.is_empty() {
        let _ = writeln!(text, "{}", item("  not      ", &finding.ruled_out.join(" · "), WIDTH));
    }
    if !finding.not_ruled_out.is_empty() {
        let open = format!("{} (nothing in the evidence would show it)", finding.not_ruled_out.join(", "));
        let _ = writeln!(text, "{}", item("  open     ", &open, WIDTH));
    }
    for (index, citation) in finding.evidence.iter().enumerate() {
        evidence(citation, index == 0, &mut text);
    }
    for (index, remedy) in finding.remedies.iter().enumerate() {
        let first = if index == 0 { "  remedy   " } else { INDENT };
        let _ = writeln!(text, "{}", item(&format!("{first}{}. ", index + 1), &remedy.what, WIDTH));
        // Commands are to be copied: they are never broken.
        for command in &remedy.commands {
            let _ = writeln!(text, "{INDENT}   {command}");
        }
    }
    text
}

fn times(finding: &Finding, text: &mut String) {
    let line = match (finding.since, finding.until) {
        (Some(since), Some(until)) if since != until => format!("from {} to {}", moment(since), moment(until)),
        (Some(at), _) | (None, Some(at)) => format!("at {}", moment(at)),
        (None, None) => return,
    };
    let sources = counted(u64::try_from(finding.sources).unwrap_or(u64::MAX), "kind of evidence", "kinds of evidence");
    let _ = writeln!(text, "{}", item("  seen     ", &format!("{line}, in {sources}"), WIDTH));
}

fn evidence(citation: &Citation, is_first: bool, text: &mut String) {
    let place = match citation.line {
        Some(line) => format!("{}:{line}", citation.file),
        None => citation.file.to_string(),
    };
    let first = if is_first { "  evidence " } else { INDENT };
    let _ = writeln!(text, "{first}{place} ({})", citation.kind);
    let _ = writeln!(text, "{}", wrap(&citation.excerpt, WIDTH, &format!("{INDENT}  ")));
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}
