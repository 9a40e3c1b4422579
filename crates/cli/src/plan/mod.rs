//! `freeboard plan`: what a change brings, where it breaks first, and the smallest change that gives so many pods room.

mod google;
mod show;
mod types;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use freeboard_address::Cidr;
use freeboard_capacity::{NewBlock, Plan, Sample, Warm, Wishes, export, plan};
use serde_json::json;

use crate::input::{Input, Output, Sources, print_value, type_table};
use crate::live::Live;

/// What to ask.
#[derive(Debug, Args)]
#[command(
    after_help = "Without a change asked for, the ways to make room are compared: for twice today's pods, or for --pods.\n\
                  Exit codes: 0 it fits, 1 it does not, 2 bad usage or input that cannot be read."
)]
pub(crate) struct PlanArguments {
    #[command(flatten)]
    sources: Sources,
    #[command(flatten)]
    live: Live,
    /// Room for so many pods with addresses of their own
    #[arg(long, value_name = "COUNT", conflicts_with = "times")]
    pods: Option<u64>,
    /// Room for so many times today's pods
    #[arg(long, value_name = "FACTOR")]
    times: Option<u64>,
    /// Add a block to the VPC: this one, or `auto` for one that nothing speaks against
    #[arg(long, value_name = "CIDR", value_parser = new_block)]
    add_cidr: Option<NewBlock>,
    /// The prefix length of the new block's subnets
    #[arg(long, value_name = "LENGTH", requires = "add_cidr", value_parser = clap::value_parser!(u8).range(16..=28))]
    subnet_length: Option<u8>,
    /// Pods from other subnets than their node's, by ENIConfig (a new block brings it, unless this says false)
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    custom_networking: Option<bool>,
    /// Nodes take /28 prefixes
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    prefixes: Option<bool>,
    /// Nodes keep so many single addresses ready (WARM_IP_TARGET)
    #[arg(long, value_name = "COUNT")]
    warm_addresses: Option<u64>,
    /// Max-pods of every node
    #[arg(long, value_name = "COUNT")]
    max_pods: Option<u64>,
    /// Every node is of this type
    #[arg(long, value_name = "TYPE")]
    instance_type: Option<String>,
    /// So many more nodes, spread over the zones
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    add_nodes: u64,
    /// GKE: one more secondary range for pods
    #[arg(long, value_name = "NAME=CIDR", value_parser = google::new_range)]
    add_range: Vec<export::NewRange>,
    /// GKE: one more node pool: its name, pods per node and nodes at most
    #[arg(long, value_name = "NAME:MAX_PODS:MAX_NODES", value_parser = google::new_pool)]
    add_pool: Vec<freeboard_capacity::NodePool>,
    /// How many pods there were: lines of `time,pods`
    #[arg(long, value_name = "FILE")]
    history: Option<PathBuf>,
    /// Print the chosen way as text for another tool
    #[arg(long, value_enum)]
    export: Option<Export>,
    /// Print max-pods of every instance type whose name contains this, and nothing else
    #[arg(long, value_name = "PART", num_args = 0..=1, default_missing_value = "")]
    types: Option<String>,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

/// A tool that carries a plan out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Export {
    /// A script for the aws CLI
    Aws,
    /// A script for kubectl, to be run after the one for the aws CLI
    Kubectl,
    /// A configuration file of eksctl
    Eksctl,
    /// A script for gcloud
    Gcloud,
    /// Terraform resources, of AWS or Google
    Terraform,
    /// An Expansion object for freeboard-controller: kubectl apply -f - takes it, freeboard expand --approve starts it
    Expansion,
}

fn new_block(text: &str) -> Result<NewBlock, String> {
    if text == "auto" {
        return Ok(NewBlock::Chosen);
    }
    text.parse::<Cidr>().map(NewBlock::Given).map_err(|error| format!("{error}; or `auto`"))
}

/// Runs the command.
pub(crate) fn run(arguments: &PlanArguments) -> Result<ExitCode> {
    if let Some(part) = &arguments.types {
        return types::run(part, arguments.output);
    }
    let mut input = arguments.live.or_read(&arguments.sources, "plan", arguments.output)?;
    if let Some(file) = &arguments.history {
        input.inventory.history = history(file)?;
    }
    let has_google = !input.inventory.pools.is_empty() || !input.inventory.ranges.is_empty();
    if has_google && input.inventory.own_vpc().is_none() {
        return google::run(arguments, &input);
    }
    if !arguments.add_range.is_empty() || !arguments.add_pool.is_empty() {
        bail!("--add-range and --add-pool are for GKE, and {} shows no GKE cluster", input.named);
    }
    let wishes = wishes(arguments, &input);
    let plan = plan(&input.inventory, &type_table(), &wishes)?;
    match arguments.export {
        Some(tool) => return self::export(tool, &input, &plan),
        None if arguments.output.is_text() => anstream::print!("{}", show::page(&input, &plan, arguments.output)),
        None => print_value(&json!({ "cluster": input.inventory.cluster, "plan": plan }), arguments.output)?,
    }
    Ok(if plan.chosen.is_some() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn wishes(arguments: &PlanArguments, input: &Input) -> Wishes {
    let today = input.inventory.pods() + u64::try_from(input.inventory.waiting.len()).unwrap_or(0);
    Wishes {
        pods: arguments.pods.or_else(|| arguments.times.map(|factor| today.saturating_mul(factor))),
        block: arguments.add_cidr,
        subnet_length: arguments.subnet_length,
        custom_networking: arguments.custom_networking,
        prefixes: arguments.prefixes,
        warm: arguments.warm_addresses.map(|warm| Warm::Addresses { warm, minimum: 0 }),
        max_pods: arguments.max_pods,
        instance_type: arguments.instance_type.clone(),
        more_nodes: arguments.add_nodes,
    }
}

fn export(tool: Export, input: &Input, plan: &Plan) -> Result<ExitCode> {
    let Some(way) = plan.chosen() else {
        let missing: Vec<&str> = plan.ways.iter().flat_map(|way| &way.missing).map(String::as_str).collect();
        bail!("nothing is exported, because no way gives {} pods room: {}", plan.wanted_pods, missing.join("; "));
    };
    let text = match tool {
        Export::Aws => export::aws(&input.inventory, way),
        Export::Kubectl => export::kubectl(&input.inventory, way),
        Export::Eksctl => export::eksctl(&input.inventory, way),
        Export::Terraform => export::terraform(&input.inventory, way),
        Export::Expansion => match export::expansion(way) {
            Some(text) => text,
            None => {
                bail!("the chosen way adds no block, so there is no Expansion to make of it: export for aws or kubectl")
            }
        },
        Export::Gcloud => bail!("{} shows a cluster on EC2: export for aws, kubectl, eksctl or terraform", input.named),
    };
    anstream::print!("{text}");
    Ok(ExitCode::SUCCESS)
}

/// Reads `time,pods` lines; a first line of words is a heading.
fn history(file: &Path) -> Result<Vec<Sample>> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let mut samples = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let sample = line
            .split_once(',')
            .and_then(|(at, pods)| Some(Sample { at: at.trim().parse().ok()?, pods: pods.trim().parse().ok()? }));
        match sample {
            Some(sample) => samples.push(sample),
            None if index == 0 => {}
            None => bail!(
                "{}:{}: {line:?} is not a sample: expected a time and a number of pods, like 2026-11-30T00:00:00Z,420",
                file.display(),
                index + 1
            ),
        }
    }
    Ok(samples)
}
