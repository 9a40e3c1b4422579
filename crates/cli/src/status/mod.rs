//! `freeboard status`: ranges as a tree with what is used, free and still fits; nodes; pods that wait.

mod show;

pub(crate) use show::notes;

use std::collections::{BTreeMap, BTreeSet};
use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use freeboard_address::{NodeName, PodKey, SubnetId};
use freeboard_capacity::{RangeStatus, Use, status};
use freeboard_diagnosis::{Diagnosis, Severity, diagnose};
use serde::Serialize;

use crate::input::{Input, Output, Sources, print_value, type_table};
use crate::live::Live;

/// Where to look, and how to print.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 no range that pods use is full and no pod waits, 1 otherwise, 2 bad usage or input that cannot be read."
)]
pub(crate) struct StatusArguments {
    #[command(flatten)]
    sources: Sources,
    #[command(flatten)]
    live: Live,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
    /// Look again every so many seconds, until Ctrl-C
    #[arg(short, long, value_name = "SECONDS", num_args = 0..=1, require_equals = true, default_missing_value = "10",
        value_parser = clap::value_parser!(u64).range(1..=3600))]
    watch: Option<u64>,
}

/// What is shown.
#[derive(Debug, Serialize)]
pub(crate) struct Status {
    /// The cluster.
    pub(crate) cluster: Option<String>,
    /// The ranges, each under the one around it.
    pub(crate) ranges: Vec<RangeStatus>,
    /// The nodes, the fullest first.
    pub(crate) nodes: Vec<NodeStatus>,
    /// Pods without an address.
    pub(crate) waiting: Vec<WaitingPod>,
}

/// One node.
#[derive(Debug, Serialize)]
pub(crate) struct NodeStatus {
    pub(crate) name: NodeName,
    pub(crate) instance_type: Option<String>,
    pub(crate) zone: Option<String>,
    /// Pods with an address of their own.
    pub(crate) pods: u64,
    /// Pods that its kubelet accepts.
    pub(crate) pods_allowed: Option<u64>,
    /// Addresses that it holds for pods, by what they are for.
    pub(crate) addresses: BTreeMap<Use, u64>,
    pub(crate) ready: Option<bool>,
}

/// A pod without an address.
#[derive(Debug, Serialize)]
pub(crate) struct WaitingPod {
    pub(crate) pod: PodKey,
    pub(crate) node: Option<NodeName>,
    /// The finding that explains it.
    pub(crate) finding: Option<&'static str>,
    /// Where that is.
    pub(crate) place: Option<String>,
}

/// Runs the command.
pub(crate) fn run(arguments: &StatusArguments) -> Result<ExitCode> {
    let Some(seconds) = arguments.watch else { return show(arguments) };
    loop {
        let is_terminal = std::io::stdout().is_terminal();
        if is_terminal {
            // To the first line, and away with what stands below.
            anstream::print!("\u{1b}[H\u{1b}[2J");
        }
        if let Err(error) = show(arguments) {
            // What is away may come back: that is what one watches for.
            anstream::eprintln!("freeboard status: {error:#}");
        }
        if arguments.output.is_text() {
            anstream::println!("\n{}, every {seconds} s", jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M:%S UTC"));
        }
        std::thread::sleep(Duration::from_secs(seconds));
    }
}

fn show(arguments: &StatusArguments) -> Result<ExitCode> {
    let input = arguments.live.or_read(&arguments.sources, "status", arguments.output)?;
    let status = of(&input);
    if arguments.output.is_text() {
        anstream::print!("{}", show::page(&input, &status, arguments.output == Output::Wide));
    } else {
        print_value(&status, arguments.output)?;
    }
    let is_full = status.ranges.iter().flat_map(RangeStatus::flat).any(|range| range.for_pods && range.is_full());
    Ok(if is_full || !status.waiting.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Puts the status together.
pub(crate) fn of(input: &Input) -> Status {
    let diagnosis = diagnose(input.facts());
    let mut by_subnet: BTreeMap<SubnetId, u64> = BTreeMap::new();
    for finding in diagnosis.findings.iter().filter(|finding| finding.severity != Severity::Advice) {
        if let Some(id) = finding.place.subnet() {
            let count = u64::try_from(finding.waiting_pods.len()).unwrap_or(u64::MAX);
            let most = by_subnet.entry(id.clone()).or_default();
            *most = (*most).max(count);
        }
    }
    Status {
        cluster: input.inventory.cluster.clone(),
        ranges: status(&input.inventory, &type_table(), &by_subnet),
        nodes: nodes(input),
        waiting: waiting(input, &diagnosis),
    }
}

fn nodes(input: &Input) -> Vec<NodeStatus> {
    let mut held: BTreeMap<&NodeName, BTreeMap<Use, u64>> = BTreeMap::new();
    for one in input.inventory.subnets.iter().flat_map(|subnet| &subnet.holdings) {
        if let Some(node) = &one.node {
            *held.entry(node).or_default().entry(one.used_for).or_default() += one.block.size();
        }
    }
    let one = |node: &freeboard_capacity::Node| NodeStatus {
        name: node.name.clone(),
        instance_type: node.instance_type.clone(),
        zone: node.zone.clone(),
        pods: node.pods,
        pods_allowed: node.pods_allowed,
        addresses: held.get(&node.name).cloned().unwrap_or_default(),
        ready: node.ready,
    };
    let mut nodes: Vec<NodeStatus> = input.inventory.nodes.iter().map(one).collect();
    nodes.sort_by(|one, other| (other.pods, &one.name).cmp(&(one.pods, &other.name)));
    nodes
}

fn waiting(input: &Input, diagnosis: &Diagnosis) -> Vec<WaitingPod> {
    let explained = diagnosis.findings.iter().flat_map(|finding| finding.waiting_pods.iter());
    let all: BTreeSet<&PodKey> = input.inventory.waiting.iter().chain(explained).collect();
    let one = |pod: &PodKey| {
        let finding = diagnosis.findings.iter().find(|finding| finding.waiting_pods.contains(pod));
        WaitingPod {
            node: input.facts().pods.get(pod).and_then(|known| known.node.clone()),
            pod: pod.clone(),
            finding: finding.map(|finding| finding.declaration.id),
            place: finding.map(|finding| finding.place.to_string()),
        }
    };
    all.into_iter().map(one).collect()
}
