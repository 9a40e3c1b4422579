//! How the story is told: numbered acts in sentences for a person, one document of facts for a machine.

use std::fmt::Display;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Map, Value, json};

const BOLD: &str = "\x1b[1m";
const DIM: &str = "\x1b[2m";
const RESET: &str = "\x1b[0m";
/// Lines are broken here.
const WIDTH: usize = 78;

/// Tells the story.
pub(crate) struct Story {
    is_silent: bool,
    act: usize,
    facts: Map<String, Value>,
    failures: Vec<String>,
}

impl Story {
    /// A story for a person, or (silent) for a machine.
    pub(crate) fn new(is_silent: bool) -> Self {
        Self { is_silent, act: 0, facts: Map::new(), failures: Vec::new() }
    }

    /// Begins the next act: what happens, and why it matters.
    pub(crate) fn act(&mut self, title: &str, why: &str) {
        self.act += 1;
        self.print(&format!("\n{BOLD}{}. {title}{RESET}", self.act));
        self.say(why);
    }

    /// Says a sentence, broken to fit 80 columns.
    pub(crate) fn say(&self, sentence: &str) {
        for line in wrap(sentence, WIDTH) {
            self.print(&format!("  {line}"));
        }
    }

    /// Shows what was really done.
    pub(crate) fn did(&self, command: &str) {
        let mut lines = wrap(command, WIDTH - 4).into_iter();
        self.print(&format!("  {DIM}$ {}{RESET}", lines.next().unwrap_or_default()));
        for line in lines {
            self.print(&format!("      {DIM}{line}{RESET}"));
        }
    }

    /// Shows a picture or a table as it is.
    pub(crate) fn show(&self, picture: &str) {
        self.print(picture.trim_end_matches('\n'));
    }

    /// Keeps a fact for the document.
    pub(crate) fn fact(&mut self, name: &str, value: impl Into<Value>) {
        self.facts.insert(name.to_owned(), value.into());
    }

    /// Notes whether something that must hold does.
    pub(crate) fn check(&mut self, what: &str, holds: bool) {
        let mut lines = wrap(what, WIDTH - 4).into_iter();
        self.print(&format!("  {} {}", if holds { "✓" } else { "✗" }, lines.next().unwrap_or_default()));
        lines.for_each(|line| self.print(&format!("    {line}")));
        let checks = self.facts.entry("checks").or_insert_with(|| json!({}));
        checks[what] = json!(holds);
        if !holds {
            self.failures.push(what.to_owned());
        }
    }

    /// Shows a spinner with the elapsed time until it is dropped.
    pub(crate) fn waiting(&self, what: impl Display) -> Waiting {
        if self.is_silent {
            return Waiting(ProgressBar::hidden());
        }
        let bar = ProgressBar::new_spinner().with_message(what.to_string());
        if let Ok(style) = ProgressStyle::with_template("  {spinner} {msg} {elapsed}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(120));
        Waiting(bar)
    }

    /// Ends the story.
    ///
    /// # Errors
    /// When something that must hold did not; the message names it.
    pub(crate) fn end(mut self) -> anyhow::Result<()> {
        if self.is_silent {
            self.facts.insert("ok".into(), json!(self.failures.is_empty()));
            anstream::println!("{}", serde_json::to_string_pretty(&self.facts)?);
        }
        if self.failures.is_empty() {
            return Ok(());
        }
        anyhow::bail!("the demo did not show what it should: {}", self.failures.join("; "))
    }

    fn print(&self, text: &str) {
        if !self.is_silent {
            anstream::println!("{text}");
        }
    }
}

/// A spinner; gone when dropped.
pub(crate) struct Waiting(ProgressBar);

impl Waiting {
    /// Changes what it says.
    pub(crate) fn now(&self, what: impl Display) {
        self.0.set_message(what.to_string());
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// Breaks a sentence at blanks.
fn wrap(sentence: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in sentence.split_whitespace() {
        let line =
            lines.last_mut().filter(|line| line.is_empty() || line.chars().count() + 1 + word.chars().count() <= width);
        match line {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) => {
                line.push(' ');
                line.push_str(word);
            }
            None => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_are_broken_at_blanks_and_nothing_is_lost() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("unbreakableword x", 5), ["unbreakableword", "x"]);
    }
}
