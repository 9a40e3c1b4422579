//! `freeboard migrate check`: what would change on nodes of the Amazon VPC CNI when Freeboard takes its place.

mod cluster;
mod files;
mod node;
mod verdict;

use std::io::stdin;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use freeboard_evidence::gather;
use serde_json::json;

use crate::input::{Bar, Output, print_value, shown};
use crate::layout::{item, wrap};
use files::NodeFiles;
use verdict::{Line, Verdict};

const WIDTH: usize = 80;

/// Moving from the Amazon VPC CNI.
#[derive(Debug, Subcommand)]
pub(crate) enum MigrateCommand {
    /// What would change, what is not supported and what is safe when Freeboard takes the place of the Amazon VPC CNI.
    Check(CheckArguments),
}

/// What to look at.
#[derive(Debug, Args)]
#[command(
    after_help = "Understood are the DaemonSet aws-node, CNI configurations (*.conflist), the agent's checkpoint (ipam.json), \
                  ENIConfigs, /v1/enis, and what the aws CLI lists. Nothing is changed.\n\
                  Exit codes: 0 nothing changes that a person would notice, 1 something does, 2 something is not supported, or \
                  the input cannot be read."
)]
pub(crate) struct CheckArguments {
    /// Files and directories: kubectl and aws output, *.conflist, ipam.json; `-` is the standard input
    #[arg(value_name = "PATH", required_unless_present = "root")]
    paths: Vec<PathBuf>,
    /// Look at a node's own files below this directory; `/` on the node itself
    #[arg(long, value_name = "DIRECTORY")]
    root: Option<PathBuf>,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

/// Runs a command.
pub(crate) fn run(command: &MigrateCommand) -> Result<ExitCode> {
    let MigrateCommand::Check(arguments) = command;
    let lines = look(arguments)?;
    let worst = lines.iter().map(|line| line.verdict).max().unwrap_or(Verdict::Safe);
    if arguments.output.is_text() {
        anstream::print!("{}", page(&lines, worst));
    } else {
        print_value(&json!({ "verdict": worst, "lines": lines }), arguments.output)?;
    }
    Ok(ExitCode::from(match worst {
        Verdict::Safe => 0,
        Verdict::Changes => 1,
        Verdict::Unsupported => 2,
    }))
}

fn look(arguments: &CheckArguments) -> Result<Vec<Line>> {
    let mut progress = Bar::new(arguments.output.is_text());
    let read = gather(&arguments.paths, &mut stdin(), &mut progress);
    progress.end();
    let facts = read?.facts;
    let mut files = NodeFiles::default();
    for path in arguments.paths.iter().filter(|path| path.as_os_str() != "-") {
        files.find(path)?;
    }
    if let Some(root) = &arguments.root {
        files.read_node(root)?;
    }
    let mut lines = cluster::look(&facts);
    lines.extend(node::look(&facts, &files));
    if lines.is_empty() {
        let named = shown(&arguments.paths);
        let named = arguments.root.as_deref().map_or(named, |root: &Path| root.display().to_string());
        bail!(
            "nothing in {named} tells of an Amazon VPC CNI: expected the DaemonSet aws-node (kubectl get daemonset aws-node -n \
             kube-system -o yaml), a node's /etc/cni/net.d or its /var/run/aws-node/ipam.json"
        );
    }
    lines.extend(missing(&facts, &files));
    lines.sort_by_key(|line| std::cmp::Reverse(line.verdict));
    Ok(lines)
}

/// What nobody has shown, so that an answer is not taken for more than it is.
fn missing(facts: &freeboard_diagnosis::Facts, files: &NodeFiles) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut ask = |what: &str, how: &str| {
        lines.push(
            Line::changes(what, "not looked at: there is nothing of it in the input".to_owned()).with_remedy(how),
        );
    };
    if facts.agents.is_empty() {
        ask("settings", "add the output of `kubectl get daemonset aws-node -n kube-system -o yaml`");
    }
    if files.lists.is_empty() {
        ask("CNI configuration", "add a node's /etc/cni/net.d, or run this on the node with --root /");
    }
    if files.checkpoints.is_empty() {
        ask("checkpoint", "add a node's /var/run/aws-node/ipam.json, or run this on the node with --root /");
    }
    lines
}

fn page(lines: &[Line], worst: Verdict) -> String {
    let mut text = String::new();
    let mut last = None;
    for line in lines {
        if last != Some(line.verdict) {
            let gap = if last.is_some() { "\n" } else { "" };
            text.push_str(&format!("{gap}{}\n", line.verdict.title()));
            last = Some(line.verdict);
        }
        let first = format!("  {} ", line.verdict.mark());
        text.push_str(&format!("{}\n", item(&first, &format!("{}: {}.", line.subject, line.says), WIDTH)));
        if let Some(place) = &line.place {
            text.push_str(&format!("{}\n", wrap(&format!("· {place}"), WIDTH, "    ")));
        }
        if let Some(remedy) = &line.remedy {
            text.push_str(&format!("{}\n", item("    → ", remedy, WIDTH)));
        }
    }
    text.push_str(&format!("\n{}\n", wrap(worst.summary(), WIDTH, "")));
    text
}
