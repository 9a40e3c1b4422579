//! Documents: JSON and YAML of kubectl, the aws CLI, gcloud, the agent's own endpoints and cloud logs, told apart by their keys.

mod agent;
mod autoscaler;
mod collected;
mod ec2;
mod google;
mod kubernetes;
mod trail;

pub use ec2::short_name;
pub(crate) use ec2::{add_subnet, add_vpc};
pub(crate) use kubernetes::{about, add_node, add_pod};

use std::sync::Arc;

use freeboard_diagnosis::{Citation, Kind};
use serde_json::Value;

use crate::collector::Collector;
use crate::{excerpt, tree};

/// Nested lists deeper than this are not a dump.
const DEEPEST: u8 = 8;
/// How far a word is looked for: objects come in the order of the text, and none is larger than an API server takes.
const FARTHEST_BYTES: usize = 4 << 20;
/// How much of the text around a word may be quoted.
const QUOTED_BYTES: usize = 1024;

/// A document while it is read: its file, and where things stand in it.
pub(crate) struct Document<'a> {
    pub(crate) file: &'a Arc<str>,
    text: &'a str,
    /// Up to where things were found, and the line there: objects come in the order of the text.
    cursor: usize,
    line: u64,
    /// Whether the text is one line, so that to name it says nothing.
    is_one_line: bool,
    /// Whether the text breaks off.
    pub(crate) truncated: bool,
    /// The command that printed it, where a transcript shows it.
    command: &'a str,
}

impl<'a> Document<'a> {
    fn new(part: &Part<'a>, truncated: bool) -> Self {
        let Part { file, text, first_line, command } = *part;
        let is_one_line = part.is_whole() && !text.trim_end().contains('\n');
        Self { file, text, cursor: 0, line: first_line, is_one_line, truncated, command }
    }

    /// The name after `describe` in the command, for answers that were cut to a few keys.
    pub(crate) fn described(&self) -> Option<&'a str> {
        let mut words = self.command.split_whitespace().skip_while(|word| *word != "describe");
        words.nth(1).filter(|name| !name.starts_with(['-', '|', '$']))
    }

    /// A citation of the place where `word` stands next by itself, and not as a part of a longer name or of an ARN.
    pub(crate) fn cite(&mut self, kind: Kind, word: &str) -> Citation {
        let is_found = self.seek(word, is_alone) || self.seek(word, |_, _| true);
        let excerpt = if is_found { excerpt::around(self.around_cursor(), word) } else { word.into() };
        Citation { file: Arc::clone(self.file), line: self.line_if(is_found), kind, excerpt }
    }

    /// The line where `word` stands next, from the last one found on.
    pub(crate) fn find(&mut self, word: &str) -> Option<u64> {
        let is_found = self.seek(word, |_, _| true);
        self.line_if(is_found)
    }

    fn line_if(&self, is_found: bool) -> Option<u64> {
        (is_found && !self.is_one_line).then_some(self.line)
    }

    /// Moves to where `word` stands next between bytes that `fits` accepts, if that is not far.
    fn seek(&mut self, word: &str, fits: impl Fn(Option<u8>, Option<u8>) -> bool) -> bool {
        let bytes = self.text.as_bytes();
        let end = bytes.len().min(self.cursor.saturating_add(FARTHEST_BYTES));
        let Some(near) = bytes.get(self.cursor..end).filter(|_| !word.is_empty()) else { return false };
        let is_it = |at: &usize| {
            let start = self.cursor + at;
            let before = start.checked_sub(1).and_then(|index| bytes.get(index)).copied();
            fits(before, bytes.get(start + word.len()).copied())
        };
        let Some(found) = memchr::memmem::find_iter(near, word.as_bytes()).find(is_it) else { return false };
        let passed = near.get(..found).unwrap_or_default();
        self.line += u64::try_from(memchr::memchr_iter(b'\n', passed).count()).unwrap_or(0);
        self.cursor += found;
        true
    }

    /// The line that the cursor is in, or as much of a long one as may be quoted.
    fn around_cursor(&self) -> &'a str {
        let start = self.text.floor_char_boundary(self.cursor.saturating_sub(QUOTED_BYTES));
        let end = self.text.ceil_char_boundary(self.cursor.saturating_add(QUOTED_BYTES).min(self.text.len()));
        let before = self.text.get(start..self.cursor).unwrap_or_default();
        let start = before.rfind('\n').map_or(start, |index| start + index + 1);
        self.text.get(start..end).unwrap_or_default().split('\n').next().unwrap_or_default().trim()
    }
}

/// Whether what stands before and after a word is no part of the same name, number, block or ARN.
fn is_alone(before: Option<u8>, after: Option<u8>) -> bool {
    let goes_on = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'/');
    // A key and its value may stand without a blank between them; an ARN and a path may not be taken for one.
    !before.is_some_and(goes_on) && !after.is_some_and(goes_on)
}

/// A whole text, or a part of a transcript.
#[derive(Clone, Copy)]
pub(crate) struct Part<'a> {
    pub(crate) file: &'a Arc<str>,
    pub(crate) text: &'a str,
    pub(crate) first_line: u64,
    pub(crate) command: &'a str,
}

impl Part<'_> {
    /// Whether it is the whole text: then what is not known in it is told.
    fn is_whole(&self) -> bool {
        self.first_line == 1 && self.command.is_empty()
    }

    fn line(&self, line: u64) -> u64 {
        self.first_line - 1 + line
    }
}

/// Reads a text as JSON or YAML; says whether it was either, and known.
pub(crate) fn read(collector: &mut Collector, part: &Part<'_>) -> bool {
    let start = part.text.trim_start();
    if start.starts_with('{') || start.starts_with('[') {
        return read_json(collector, part);
    }
    if looks_like_yaml(start) {
        return read_yaml(collector, part);
    }
    false
}

fn read_json(collector: &mut Collector, part: &Part<'_>) -> bool {
    let file = part.file;
    let json = tree::json(part.text.as_bytes());
    if json.values.is_empty() {
        let Some(broken) = json.broken.filter(|_| part.is_whole()) else { return false };
        collector.not_understood(file, broken.what);
        return true;
    }
    let mut document = Document::new(part, json.broken.is_some());
    let mut is_known = false;
    for value in &json.values {
        is_known |= dispatch(collector, &mut document, value, 0);
    }
    if let Some(broken) = json.broken.filter(|_| is_known) {
        collector.problem(file, Some(part.line(broken.line)), broken.what);
    }
    if !is_known && part.is_whole() {
        let keys = json.values.first().map(keys).unwrap_or_default();
        collector.not_understood(file, format!("JSON of a kind that is not known{keys}"));
        return true;
    }
    is_known
}

/// The first line that is not empty or a comment is a key, a list item or a document mark, and no table.
fn looks_like_yaml(text: &str) -> bool {
    let mut lines = text.lines().filter(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#'));
    let Some(first) = lines.next() else { return false };
    if first.trim_end() == "---" || first.starts_with("- ") {
        return true;
    }
    // `kubectl describe` aligns its values with more than one space.
    let Some((key, value)) = first.split_once(':') else { return false };
    let is_key = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-./".contains(&byte));
    is_key && (value.trim().is_empty() || (value.starts_with(' ') && !value.starts_with("  "))) && key != "Name"
}

fn read_yaml(collector: &mut Collector, part: &Part<'_>) -> bool {
    let file = part.file;
    let documents = tree::yaml(part.text);
    let mut is_known = false;
    let mut problems = Vec::new();
    let mut document = Document::new(part, false);
    for (line, value) in documents {
        match value {
            Ok(value) if value.is_object() || value.is_array() => {
                if dispatch(collector, &mut document, &value, 0) {
                    is_known = true;
                } else {
                    problems.push((line, format!("YAML of a kind that is not known{}", keys(&value))));
                }
            }
            Ok(_) => {}
            Err(error) => problems.push((line, format!("YAML breaks: {error}"))),
        }
    }
    if is_known {
        for (line, what) in problems {
            collector.problem(file, Some(part.line(line)), what);
        }
        return true;
    }
    if !part.is_whole() {
        return false;
    }
    match problems.into_iter().next() {
        Some((_, what)) if what.starts_with("YAML of") => {
            collector.not_understood(file, what);
            true
        }
        // It may be a text that only begins like YAML.
        Some((line, what)) if looks_like_manifest(part.text) => {
            collector.not_understood(file, format!("{what} (line {line})"));
            true
        }
        _ => false,
    }
}

fn looks_like_manifest(text: &str) -> bool {
    text.lines().any(|line| line.starts_with("apiVersion:") || line.starts_with("kind:"))
}

fn keys(value: &Value) -> String {
    let Some(object) = value.as_object() else { return String::new() };
    let names: Vec<&str> = object.keys().take(4).map(String::as_str).collect();
    if names.is_empty() { String::new() } else { format!(" (keys {})", names.join(", ")) }
}

/// Gives a value to the reader that knows its keys; says whether there was one.
pub(crate) fn dispatch(collector: &mut Collector, document: &mut Document<'_>, value: &Value, depth: u8) -> bool {
    if depth > DEEPEST {
        return false;
    }
    match value {
        Value::Array(values) => {
            if ec2::read_list(collector, document, values) {
                return true;
            }
            let mut is_known = false;
            for value in values {
                is_known |= dispatch(collector, document, value, depth + 1);
            }
            // `gcloud … list` of nothing.
            is_known || (depth == 0 && values.is_empty())
        }
        Value::Object(object) => {
            let has = |key: &str| object.contains_key(key);
            if has("kind") && has("apiVersion") {
                return kubernetes::read(collector, document, value, depth);
            }
            agent::read(collector, document, value)
                || ec2::read(collector, document, value)
                || trail::read(collector, document, value)
                || google::read(collector, document, value)
                || autoscaler::read(collector, document, value)
                || collected::read(collector, document, value)
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}
