//! Tidiness: sizes and heads of files, links of documents, reasons of dependencies, and nothing that only this place knows.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::Findings;
use super::metadata::Metadata;
use crate::command;

/// A file that is longer does more than one thing.
const LONGEST_FILE_LINES: usize = 900;
/// Endings of the files that people write and read line by line.
const WRITTEN_BY_HAND: &[&str] = &["rs", "md", "py", "proto", "yaml", "toml", "go"];
/// Files that a tool writes, which may hold what the tool puts there.
const WRITTEN_BY_TOOLS: &[&str] = &["Cargo.lock", "go.sum", "go.mod"];
/// Where the reason of each dependency stands.
const REASONS: &str = "docs/dependencies.md";

/// Words that must not be in a file, in pieces so that this file does not hold them: hosts of registries (a build must follow
/// the configuration of its machine) and paths of the machines that the project is built on.
const FORBIDDEN: &[&[&str]] = &[
    &["crates", ".io"],
    &["pypi", ".org"],
    &["python", "hosted.org"],
    &["proxy.", "golang.org"],
    &["sum.", "golang.org"],
    &["registry.", "npmjs.org"],
    &["deb.", "debian.org"],
    &["/work", "/main"],
    &["/work", "/shared"],
    &["/work", "/.library"],
];

/// Checks every file that is, or is about to be, part of the repository.
pub(crate) fn check(root: &Path) -> Result<Findings> {
    let listing = command::output(
        Command::new("git").args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]).current_dir(root),
    )
    .context("cannot list the files of the repository")?;
    let mut findings = Findings::new();
    for name in listing.split('\0').filter(|name| !name.is_empty()) {
        let path = root.join(name);
        // A file may be listed and already deleted, and not every file is text; neither can be untidy.
        let Ok(text) = fs::read_to_string(&path) else { continue };
        check_file(name, &text, &mut findings);
        if has_ending(name, "md") {
            check_links(root, name, &text, &mut findings);
        }
    }
    for needed in ["LICENSE", "README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"] {
        if !root.join(needed).is_file() {
            findings.push(format!("{needed} is missing"));
        }
    }
    Ok(findings)
}

fn has_ending(name: &str, ending: &str) -> bool {
    Path::new(name).extension().is_some_and(|extension| extension == ending)
}

fn check_file(name: &str, text: &str, findings: &mut Findings) {
    let lines = text.lines().count();
    if lines > LONGEST_FILE_LINES && WRITTEN_BY_HAND.iter().any(|ending| has_ending(name, ending)) {
        findings.push(format!("{name} has {lines} lines; {LONGEST_FILE_LINES} are allowed: split it"));
    }
    if has_ending(name, "rs") && !text.trim_start_matches("#!/usr/bin/env rust\n").starts_with("//! ") {
        findings.push(format!("{name} does not start with a `//!` sentence that says what the file is"));
    }
    let base = Path::new(name).file_name().unwrap_or_default();
    if WRITTEN_BY_TOOLS.iter().any(|tool| base == *tool) {
        return;
    }
    for pieces in FORBIDDEN {
        let word = pieces.concat();
        if let Some(index) = text.lines().position(|line| line.contains(&word)) {
            findings.push(format!("{name}:{} names {word}, which only this place knows", index + 1));
        }
    }
}

/// Checks that each link of a document to another file of the repository, or to a heading, leads somewhere.
fn check_links(root: &Path, name: &str, text: &str, findings: &mut Findings) {
    let directory = root.join(name).parent().unwrap_or(root).to_path_buf();
    for (number, target) in links(text) {
        if target.contains("://") || target.starts_with("mailto:") {
            continue;
        }
        let (file, heading) = target.split_once('#').unwrap_or((target, ""));
        let path: PathBuf = if file.is_empty() { root.join(name) } else { directory.join(file) };
        if !path.exists() {
            findings.push(format!("{name}:{number} links to {target}, which does not exist"));
        } else if !heading.is_empty() && !fs::read_to_string(&path).is_ok_and(|text| headings(&text).contains(heading))
        {
            findings.push(format!("{name}:{number} links to {target}, where there is no such heading"));
        }
    }
}

/// The targets of `[text](target)` outside code, with their line numbers.
fn links(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    for (number, line) in lines_outside_code(text) {
        for part in line.split("](").skip(1) {
            if let Some((target, _)) = part.split_once(')') {
                found.push((number, target));
            }
        }
    }
    found
}

/// The anchors that a reader's tool makes of the headings: lower case, hyphens for spaces, punctuation dropped.
fn headings(text: &str) -> BTreeSet<String> {
    lines_outside_code(text)
        .filter(|(_, line)| line.starts_with('#'))
        .map(|(_, line)| {
            let title = line.trim_start_matches('#').trim().to_lowercase();
            let kept = title.chars().filter(|letter| letter.is_alphanumeric() || matches!(letter, ' ' | '-' | '_'));
            kept.map(|letter| if letter == ' ' { '-' } else { letter }).collect()
        })
        .collect()
}

fn lines_outside_code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut is_code = false;
    text.lines().enumerate().filter_map(move |(index, line)| {
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
            return None;
        }
        (!is_code).then_some((index + 1, line))
    })
}

/// Checks that every direct dependency has its reason, and that no reason is left behind by a dependency that went.
pub(crate) fn check_reasons(root: &Path, metadata: &Metadata) -> Result<Findings> {
    let text = fs::read_to_string(root.join(REASONS)).with_context(|| format!("cannot read {REASONS}"))?;
    let used: BTreeSet<&str> = metadata
        .members()
        .flat_map(|package| &package.dependencies)
        .filter(|dependency| dependency.source.is_some())
        .map(|dependency| dependency.name.as_str())
        .collect();
    let explained = explained(&text);
    let missing =
        used.difference(&explained).map(|name| format!("{name} is a dependency without a reason in {REASONS}"));
    let left =
        explained.difference(&used).map(|name| format!("{REASONS} explains {name}, which is no dependency any more"));
    Ok(missing.chain(left).collect())
}

/// The names in rows such as `` | `serde` | reason | `` whose reason is not empty; a row may name several that belong together.
fn explained(text: &str) -> BTreeSet<&str> {
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `")?.split_once(" | "));
    rows.filter(|(_, reason)| reason.chars().any(char::is_alphabetic))
        .flat_map(|(names, _)| names.split('`').filter(|name| name.starts_with(char::is_alphanumeric)))
        .collect()
}

#[cfg(test)]
mod unit {
    use super::{FORBIDDEN, Findings, LONGEST_FILE_LINES, check_file, check_links, explained, headings};

    fn findings_of(name: &str, text: &str) -> Findings {
        let mut findings = Findings::new();
        check_file(name, text, &mut findings);
        findings
    }

    #[test]
    fn a_long_file_and_a_file_without_a_head_are_found() {
        assert_eq!(findings_of("a.rs", "//! A file.\n"), Findings::new());
        assert!(findings_of("a.rs", "use x;\n")[0].contains("does not start with"));
        assert!(findings_of("a.md", &"x\n".repeat(LONGEST_FILE_LINES + 1))[0].contains("split it"));
    }

    #[test]
    fn a_registry_host_is_found_except_in_a_lock_file() {
        let text = format!("see {}\n", FORBIDDEN[0].concat());
        assert!(findings_of("README.md", &text)[0].starts_with("README.md:1 names"));
        assert_eq!(findings_of("tools/go/go.sum", &text), Findings::new());
    }

    #[test]
    fn links_that_lead_nowhere_are_found() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("there.md"), "# A Heading, twice\n").unwrap();
        let text =
            "[a](there.md) [b](there.md#a-heading-twice) [c](gone.md)\n```\n[d](code.md)\n```\n[e](there.md#gone)\n";
        let mut findings = Findings::new();
        check_links(root.path(), "x.md", text, &mut findings);
        assert_eq!(
            findings,
            [
                "x.md:1 links to gone.md, which does not exist",
                "x.md:5 links to there.md#gone, where there is no such heading"
            ]
        );
    }

    #[test]
    fn headings_become_anchors() {
        assert!(headings("## What is *in* the box?\n").contains("what-is-in-the-box"));
    }

    #[test]
    fn a_dependency_is_explained_only_by_a_row_with_a_reason() {
        let text = "| crate | reason |\n| `serde`, `serde_json` | reads files |\n| `anyhow` |  |\n";
        assert_eq!(explained(text).into_iter().collect::<Vec<_>>(), ["serde", "serde_json"]);
    }
}
