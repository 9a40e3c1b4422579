//! An explanation: sentences from the symptom to the remedy, each with the places in the evidence that show it.

use std::fmt::Write;
use std::process::ExitCode;

use anyhow::Result;
use freeboard_diagnosis::{AppliedRemedy, Citation, Finding};
use serde::Serialize;

use crate::input::{Output, print_value};
use crate::layout::{item, wrap};

const WIDTH: usize = 80;
const INDENT: &str = "           ";
/// Places in the evidence that are shown for one link.
const MOST_CITED: usize = 3;

/// What a link of the chain says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Role {
    /// What is seen.
    What,
    /// Why it is so.
    Why,
    /// Figures and further facts.
    Known,
    /// What it is not.
    Not,
}

impl Role {
    fn word(self) -> &'static str {
        match self {
            Self::What => "  what     ",
            Self::Why => "  why      ",
            Self::Known => "  known    ",
            Self::Not => "  not      ",
        }
    }
}

/// One link.
#[derive(Debug, Serialize)]
pub(super) struct Link {
    pub(super) role: Role,
    /// A sentence.
    pub(super) says: String,
    /// Where it stands.
    pub(super) evidence: Vec<Citation>,
}

/// The whole.
#[derive(Debug, Serialize)]
pub(super) struct Explanation {
    /// The first sentence: what there is to explain.
    pub(super) title: String,
    /// Whether something is wrong.
    pub(super) is_wrong: bool,
    pub(super) links: Vec<Link>,
    pub(super) remedies: Vec<AppliedRemedy>,
}

impl Explanation {
    /// An explanation that only has its title.
    pub(super) fn new(title: String) -> Self {
        Self { title, is_wrong: false, links: Vec::new(), remedies: Vec::new() }
    }

    /// Adds a link.
    pub(super) fn say(&mut self, role: Role, says: impl Into<String>, evidence: &[&Citation]) {
        let evidence = evidence.iter().map(|citation| (*citation).clone()).collect();
        self.links.push(Link { role, says: says.into(), evidence });
    }

    /// Adds what a finding knows, its remedies included.
    pub(super) fn add_finding(&mut self, finding: &Finding) {
        self.is_wrong = true;
        let cause = format!("{}, {}: {}.", finding.declaration.id, finding.place, finding.summary);
        let evidence: Vec<&Citation> = finding.evidence.iter().take(MOST_CITED).collect();
        self.say(Role::Why, cause, &evidence);
        self.say(Role::Why, finding.declaration.means, &[]);
        if !finding.figures.is_empty() {
            let figures: Vec<String> = finding.figures.iter().map(ToString::to_string).collect();
            self.say(Role::Known, format!("{}.", figures.join("; ")), &[]);
        }
        for note in finding.notes.iter().chain(&finding.contradictions) {
            self.say(Role::Known, note.as_str(), &[]);
        }
        if !finding.ruled_out.is_empty() {
            self.say(Role::Not, format!("{}.", finding.ruled_out.join("; ")), &[]);
        }
        for remedy in &finding.remedies {
            if !self.remedies.contains(remedy) {
                self.remedies.push(remedy.clone());
            }
        }
    }

    /// Prints it, and gives the exit code that says whether something is wrong.
    pub(super) fn print(&self, output: Output) -> Result<ExitCode> {
        if output.is_text() {
            anstream::print!("{}", self.page());
        } else {
            print_value(self, output)?;
        }
        Ok(if self.is_wrong { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }

    fn page(&self) -> String {
        let mut text = format!("{}\n", wrap(&self.title, WIDTH, ""));
        let mut last = None;
        for link in &self.links {
            let first = if last == Some(link.role) { INDENT } else { link.role.word() };
            last = Some(link.role);
            let _ = writeln!(text, "{}", item(first, &link.says, WIDTH));
            for citation in &link.evidence {
                let place = match citation.line {
                    Some(line) => format!("{}:{line}", citation.file),
                    None => citation.file.to_string(),
                };
                let _ = writeln!(text, "{INDENT}· {place} ({})", citation.kind);
                let _ = writeln!(text, "{}", wrap(&citation.excerpt, WIDTH, &format!("{INDENT}  ")));
            }
        }
        for (index, remedy) in self.remedies.iter().enumerate() {
            let first = if index == 0 { "  remedy   " } else { INDENT };
            let _ = writeln!(text, "{}", item(&format!("{first}{}. ", index + 1), &remedy.what, WIDTH));
            // Commands are to be copied: they are never broken.
            for command in &remedy.commands {
                let _ = writeln!(text, "{INDENT}   {command}");
            }
        }
        text
    }
}
