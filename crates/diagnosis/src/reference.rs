//! The reference pages of the findings, written from their declarations.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::draft::fill;
use crate::{Declaration, Lead, SIGNALS, catalogue};

/// The page of one finding, in Markdown.
#[must_use]
pub fn page(declaration: &Declaration) -> String {
    let mut text = format!(
        "# {}\n\n{}. Severity: {} {}.\n\n{}\n",
        declaration.id,
        declaration.title,
        declaration.severity.mark(),
        declaration.severity,
        declaration.means
    );
    if !declaration.remedies.is_empty() {
        text.push_str("\n## What to do\n\n");
        for (index, remedy) in declaration.remedies.iter().enumerate() {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{}. {}", index + 1, fill(remedy.what, &BTreeMap::new()));
            if !remedy.commands.is_empty() {
                text.push_str("\n   ```sh\n");
                for command in remedy.commands {
                    let _ = writeln!(text, "   {}", fill(command, &BTreeMap::new()));
                }
                text.push_str("   ```\n\n");
            }
        }
        while text.ends_with("\n\n") {
            text.pop();
        }
    }
    if !declaration.apart_from.is_empty() {
        let names: Vec<&str> = declaration.apart_from.iter().map(|one| one.as_str()).collect();
        let _ = write!(
            text,
            "\n## What looks the same\n\n`freeboard doctor` tells it apart from {}, where the evidence allows.\n",
            names.join(", ")
        );
    }
    signals(declaration, &mut text);
    text
}

fn signals(declaration: &Declaration, text: &mut String) {
    let mut rows = Vec::new();
    for signal in SIGNALS.iter() {
        let (found, least) = match signal.lead {
            Lead::Proves(found) => (found, 1),
            Lead::Repeated(found, least) => (found, least),
            Lead::NoAddress | Lead::NoNode | Lead::Context => continue,
        };
        if found.id == declaration.id {
            let words = if signal.and.is_empty() {
                format!("`{}`", signal.text)
            } else {
                format!("`{}` with `{}`", signal.text, signal.and)
            };
            let kinds: Vec<&str> = signal.written_to.iter().map(|kind| kind.as_str()).collect();
            rows.push(format!("| {words} | {} | {} | {least} |", kinds.join(", "), signal.shows));
        }
    }
    if !rows.is_empty() {
        text.push_str("\n## Words that show it\n\n| words | mostly in | what they show | from so many times |\n|---|---|---|---|\n");
        for row in rows {
            text.push_str(&row);
            text.push('\n');
        }
    }
}

/// The list of all findings, in Markdown.
#[must_use]
pub fn index() -> String {
    let mut text = String::from(
        "# Findings\n\nWhat `freeboard doctor` can find, in the order in which it tells them. These pages are written from\nthe declarations in `crates/diagnosis/src/catalogue`; the test `pages_are_as_declared` in `crates/evidence` compares them, and writes\nthem when `FREEBOARD_WRITE_DOCS=1` is set.\n\n✗ broken now · ! will break, or is wrong · i advice\n\n| | finding | |\n|---|---|---|\n",
    );
    for declaration in catalogue::all() {
        let _ = writeln!(
            text,
            "| {} | [{}]({}.md) | {} |",
            declaration.severity.mark(),
            declaration.id,
            declaration.id,
            declaration.title
        );
    }
    text
}
