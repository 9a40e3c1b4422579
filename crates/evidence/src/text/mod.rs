//! Text for people: tables and descriptions of kubectl, tables of the aws CLI, metrics, and terminal transcripts of all of them.

mod aws;
mod describe;
mod metrics;
mod tables;

use std::sync::Arc;

use freeboard_diagnosis::{Kind, Subject};

use crate::collector::Collector;
use crate::document;
use crate::log::{Message, note};

/// A part of a text, with the number of its first line and the command that printed it, where a transcript shows it.
pub(crate) struct Block<'a> {
    pub(crate) file: &'a Arc<str>,
    pub(crate) text: &'a str,
    pub(crate) first_line: u64,
    pub(crate) command: &'a str,
}

impl<'a> Block<'a> {
    fn part(&self) -> document::Part<'a> {
        document::Part { file: self.file, text: self.text, first_line: self.first_line, command: self.command }
    }
}

/// Reads a text; says whether anything in it was known.
pub(crate) fn read(collector: &mut Collector, file: &Arc<str>, text: &str) -> bool {
    let mut is_known = false;
    for block in blocks(file, text) {
        is_known |= read_block(collector, &block);
    }
    is_known
}

fn read_block(collector: &mut Collector, block: &Block<'_>) -> bool {
    if block.text.trim().is_empty() {
        return false;
    }
    // A part of a transcript may be a document; a whole text has been tried as one.
    let is_part = block.first_line > 1 || !block.command.is_empty();
    if is_part && document::read(collector, &block.part()) {
        return true;
    }
    metrics::read(collector, block)
        || aws::read(collector, block)
        || describe::read(collector, block)
        || tables::read(collector, block)
        || messages(collector, block)
}

/// Cuts a transcript at its prompts and at the fences of a document; a text without any is one block.
fn blocks<'a>(file: &'a Arc<str>, text: &'a str) -> Vec<Block<'a>> {
    let mut blocks = Vec::new();
    let mut start = 0;
    let mut first_line = 1;
    let mut command = "";
    let mut offset = 0;
    let mut number = 0;
    for line in text.split_inclusive('\n') {
        number += 1;
        let end = offset + line.len();
        if let Some(new) = command_in(line.trim_end()) {
            blocks.push(Block { file, text: text.get(start..offset).unwrap_or_default(), first_line, command });
            start = end;
            first_line = number + 1;
            command = new;
        }
        offset = end;
    }
    blocks.push(Block { file, text: text.get(start..).unwrap_or_default(), first_line, command });
    blocks
}

/// The command after a prompt; a fence is an empty one.
fn command_in(line: &str) -> Option<&str> {
    if line.trim_start().starts_with("```") {
        return Some("");
    }
    let programs = ["kubectl ", "k ", "aws ", "gcloud ", "curl ", "cat ", "sudo "];
    let is_command = |rest: &str| programs.iter().any(|program| rest.trim_start().starts_with(program));
    if let Some(rest) = line.strip_prefix("+ ").filter(|rest| is_command(rest)) {
        return Some(rest);
    }
    // `[root@ip-10-0-208-27 ~]# curl …`, `~ % k get po`, `$ kubectl …`
    ["$ ", "% ", "# "].iter().find_map(|mark| {
        let index = line.find(mark)?;
        let rest = line.get(index + mark.len()..)?;
        (index < 80 && is_command(rest)).then_some(rest)
    })
}

/// Lines of no known form may still hold known words: a pasted error, a chat, a ticket.
fn messages(collector: &mut Collector, block: &Block<'_>) -> bool {
    let before = collector.evidence.facts.sightings.len();
    for (index, line) in block.text.lines().enumerate() {
        let message = Message {
            file: block.file,
            line: Some(block.first_line + u64::try_from(index).unwrap_or(0)),
            kind: Kind::OtherLog,
            text: line,
            about: Subject::default(),
            first: None,
            last: None,
            count: 1,
        };
        note(collector, &message);
    }
    let is_known = collector.evidence.facts.sightings.len() > before;
    if is_known {
        collector.count(Kind::OtherLog);
    }
    is_known
}

#[cfg(test)]
mod tests {
    use super::command_in;

    #[test]
    fn prompts_are_told_from_prose() {
        assert_eq!(command_in("% k describe po alpine | grep Events"), Some("k describe po alpine | grep Events"));
        assert_eq!(
            command_in("[root@ip-10-0-208-27 ~]# curl -s http://localhost:61679/v1/enis"),
            Some("curl -s http://localhost:61679/v1/enis")
        );
        assert_eq!(command_in("+ aws ec2 describe-subnets"), Some("aws ec2 describe-subnets"));
        assert_eq!(command_in("```sh"), Some(""));
        assert_eq!(command_in("This costs 5 $ or so"), None);
        assert_eq!(command_in("# A heading"), None);
    }
}
