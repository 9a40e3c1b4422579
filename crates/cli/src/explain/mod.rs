//! `freeboard explain`: why something is as it is: from the symptom to the cause to the remedy, each link with its evidence.

mod chain;
mod node;
mod pod;
mod range;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand};

use crate::input::{Output, Sources};
use crate::live::Live;

pub(crate) use node::ask;

/// What to explain.
#[derive(Debug, Subcommand)]
pub(crate) enum ExplainCommand {
    /// Why a node's address pool holds what it holds: its latest decisions, with the figures behind them
    Node(node::NodeArguments),
    /// Why a pod has no address, or from which range it has the one that it has
    Pod(NamedArguments),
    /// How a range is used, by whom, and what keeps pods from using it: a subnet's or secondary range's id, name or block
    Range(NamedArguments),
}

/// What it is called, and where to look.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 nothing is wrong with it, 1 something is, 2 bad usage or input that cannot be read."
)]
pub(crate) struct NamedArguments {
    /// Its name; a pod's may begin with its namespace, like test/alpine-1
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    sources: Sources,
    #[command(flatten)]
    live: Live,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

/// Runs the command.
pub(crate) fn run(command: &ExplainCommand) -> Result<ExitCode> {
    match command {
        ExplainCommand::Node(arguments) => node::run(arguments).map(|()| ExitCode::SUCCESS),
        ExplainCommand::Pod(arguments) => {
            let input = arguments.live.or_read(&arguments.sources, "explain pod NAME", arguments.output)?;
            pod::explain(&input, &arguments.name)?.print(arguments.output)
        }
        ExplainCommand::Range(arguments) => {
            let input = arguments.live.or_read(&arguments.sources, "explain range NAME", arguments.output)?;
            range::explain(&input, &arguments.name)?.print(arguments.output)
        }
    }
}
