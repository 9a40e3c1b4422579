//! The overview: what was read, one entry per finding, what was ruled out.

use std::fmt::Write;
use std::time::Duration;

use freeboard_diagnosis::{Diagnosis, Finding, Severity};
use freeboard_evidence::Evidence;

use crate::layout::{counted, grouped, item, mark, wrap};

const WIDTH: usize = 80;
/// Findings of one id that are listed one by one.
const MOST_OF_ONE_KIND: usize = 8;

/// The overview, within 80 columns.
pub(super) fn text(evidence: &Evidence, diagnosis: &Diagnosis, took: Duration, paths: &str, verbose: bool) -> String {
    let mut text = wrap(&head(evidence, took, verbose), WIDTH, "");
    text.push('\n');
    let mut of_one_kind = 0;
    let mut left_out = 0;
    let mut last = "";
    for finding in &diagnosis.findings {
        of_one_kind = if finding.declaration.id == last { of_one_kind + 1 } else { 0 };
        last = finding.declaration.id;
        if of_one_kind >= MOST_OF_ONE_KIND && !verbose {
            left_out += 1;
            continue;
        }
        text.push('\n');
        text.push_str(&entry(finding));
    }
    if left_out > 0 {
        let _ = write!(text, "\n  … and {} more of these kinds (all with -v)\n", grouped(left_out));
    }
    if !diagnosis.ruled_out.is_empty() {
        let _ = write!(text, "\n{}\n", item("  ruled out: ", &diagnosis.ruled_out.join(", "), WIDTH));
    }
    for contradiction in &evidence.facts.contradictions {
        let sentence = format!("{} The later one was used.", contradiction.fact);
        let _ = write!(text, "\n{}\n", item("  sources differ: ", &sentence, WIDTH));
    }
    text.push_str(&foot(diagnosis, paths));
    text
}

fn head(evidence: &Evidence, took: Duration, verbose: bool) -> String {
    let mut kinds: Vec<(u64, &str)> = evidence.kinds.iter().map(|(kind, count)| (*count, kind.as_str())).collect();
    kinds.sort_by(|one, other| other.cmp(one));
    let shown: Vec<String> = kinds.iter().take(8).map(|(count, kind)| format!("{} {kind}", grouped(*count))).collect();
    let more = if kinds.len() > 8 { ", …" } else { "" };
    let mut head = format!("read {} in {:.1} s", counted(evidence.files, "file", "files"), took.as_secs_f64());
    if !shown.is_empty() {
        let _ = write!(head, ": {}{more}", shown.join(", "));
    }
    let hint = if verbose { "listed below" } else { "listed with -v" };
    if evidence.not_understood_count > 0 {
        let _ = write!(head, "; {} not understood ({hint})", counted(evidence.not_understood_count, "file", "files"));
    }
    if !evidence.problems.is_empty() {
        let problems = u64::try_from(evidence.problems.len()).unwrap_or(u64::MAX);
        let _ = write!(head, "; {} read in part only ({hint})", counted(problems, "file", "files"));
    }
    head
}

fn entry(finding: &Finding) -> String {
    let sources = match (finding.severity, finding.sources, finding.computed) {
        (Severity::Advice, ..) => "advice".to_owned(),
        (_, _, true) => "computed".to_owned(),
        (_, 1, false) => "1 source".to_owned(),
        (_, count, false) => format!("{count} sources agree"),
    };
    let title = format!("{} {}  {}", finding.severity.mark(), finding.declaration.id, finding.place);
    let used = title.chars().count() + sources.chars().count() + 2;
    let first = if used < WIDTH { format!("{title}{}[{sources}]", " ".repeat(WIDTH - used)) } else { title };
    // The sign is coloured only after everything is measured.
    let first = first.replacen(finding.severity.mark(), &mark(finding.severity), 1);
    let mut second = finding.summary.clone();
    if let Some(since) = finding.since {
        let _ = write!(second, ", since {}", moment(since));
    }
    if !finding.waiting_pods.is_empty() {
        let waiting = u64::try_from(finding.waiting_pods.len()).unwrap_or(u64::MAX);
        let _ = write!(second, ", {} waiting", counted(waiting, "pod", "pods"));
    }
    if used >= WIDTH {
        let _ = write!(second, " [{sources}]");
    }
    let mut text = format!("{first}\n{}\n", wrap(&second, WIDTH, "    "));
    for contradiction in &finding.contradictions {
        let _ = writeln!(text, "{}", item("    but: ", contradiction, WIDTH));
    }
    text
}

/// To the second: nobody reads more of a time.
pub(super) fn moment(time: freeboard_diagnosis::Moment) -> String {
    let text = time.to_string();
    text.get(..19).map_or_else(|| text.clone(), |short| format!("{}Z", short))
}

fn foot(diagnosis: &Diagnosis, paths: &str) -> String {
    let count = |number: usize, one, many| counted(u64::try_from(number).unwrap_or(u64::MAX), one, many);
    let (findings, advice) = (diagnosis.findings(), diagnosis.advice());
    let Some(first) = diagnosis.findings.first() else {
        return "\nNothing wrong was found.\n".to_owned();
    };
    let mut line = match findings {
        0 => "Nothing wrong was found".to_owned(),
        findings => count(findings, "finding", "findings"),
    };
    if advice > 0 {
        let _ = write!(line, ", {}", count(advice, "piece of advice", "pieces of advice"));
    }
    let hint = format!("freeboard doctor {paths} --explain {}", first.declaration.id);
    format!("\n{line}. Details:\n  {hint}\n")
}

/// What was not understood, and what was read in part.
pub(super) fn not_understood(evidence: &Evidence) -> String {
    let mut text = String::new();
    if !evidence.not_understood.is_empty() {
        text.push_str("\nnot understood\n");
        for piece in &evidence.not_understood {
            let _ = writeln!(text, "{}", item("  ", &format!("{}: {}", piece.file, piece.reason), WIDTH));
        }
    }
    if !evidence.problems.is_empty() {
        text.push_str("\nread in part\n");
        for problem in &evidence.problems {
            let line = problem.line.map(|line| format!(":{line}")).unwrap_or_default();
            let _ = writeln!(text, "{}", item("  ", &format!("{}{line}: {}", problem.file, problem.what), WIDTH));
        }
    }
    text
}
