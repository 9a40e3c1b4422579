//! The program `freeboard`: demonstrates, explains, and starts the simulated cloud.

mod agents;
#[cfg(all(feature = "cluster", feature = "whole"))]
mod cluster;
#[cfg(all(feature = "cluster", feature = "whole"))]
mod collect;
#[cfg(feature = "whole")]
mod dashboard;
mod demo;
mod describe;
#[cfg(feature = "whole")]
mod doctor;
#[cfg(feature = "whole")]
mod ec2_answers;
#[cfg(feature = "cluster")]
mod expand;
#[cfg(feature = "whole")]
mod explain;
#[cfg(feature = "whole")]
mod input;
mod kubernetes;
mod lab;
#[cfg(feature = "whole")]
mod layout;
#[cfg(feature = "whole")]
mod leaks;
#[cfg(feature = "whole")]
mod live;
#[cfg(feature = "whole")]
mod manual;
#[cfg(feature = "whole")]
mod migrate;
#[cfg(feature = "whole")]
mod plan;
mod programs;
#[cfg(feature = "whole")]
mod simulate;
#[cfg(feature = "whole")]
mod status;
#[cfg(feature = "whole")]
mod top;
mod tree;
mod vpc;
mod yaml;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

/// Keeps Kubernetes clusters from running out of pod IPv4 addresses.
#[derive(Debug, Parser)]
#[command(
    name = "freeboard",
    version,
    after_help = "Commands that look (doctor, status, explain, plan, leaks) end with 0 when they find nothing wrong, 1 when they do, and 2 on \
                  bad usage or input that cannot be read. NO_COLOR is honoured; `-` is the standard input."
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Watch pods run out of addresses, and the way out, on a simulated cloud; on EKS with real packets.
    Demo(demo::DemoArguments),
    /// Ranges as a tree with what is used, free and still fits; nodes; pods that wait.
    #[cfg(feature = "whole")]
    Status(status::StatusArguments),
    /// Pages on the loopback: ranges, maps of their addresses, pods that wait, what was found.
    #[cfg(feature = "whole")]
    Dashboard(dashboard::DashboardArguments),
    /// The expansions of a cluster: more room for its pods, proposed, approved and carried out.
    #[cfg(feature = "cluster")]
    Expand(expand::ExpandArguments),
    /// Say why something is as it is.
    #[command(subcommand)]
    #[cfg(feature = "whole")]
    Explain(explain::ExplainCommand),
    /// Bring up the demo's nodes and agents to look around in.
    Lab(lab::LabArguments),
    /// What is held and nothing uses: interfaces and addresses, seen in two looks; repair is a dry run unless confirmed.
    #[cfg(feature = "whole")]
    Leaks(leaks::LeaksArguments),
    /// Moving from the Amazon VPC CNI: what would change on its nodes, beforehand.
    #[command(subcommand)]
    #[cfg(feature = "whole")]
    Migrate(migrate::MigrateCommand),
    /// Find out from logs, dumps and cloud listings why pods get no address, and what to do.
    #[cfg(feature = "whole")]
    Doctor(doctor::DoctorArguments),
    /// Put what a living cluster shows into one archive, masked, for `doctor` or for somebody else.
    #[cfg(all(feature = "cluster", feature = "whole"))]
    Collect(collect::CollectArguments),
    /// What a change brings, where it breaks first, and the smallest change that gives so many pods room.
    #[cfg(feature = "whole")]
    Plan(Box<plan::PlanArguments>),
    /// Completions for a shell.
    #[cfg(feature = "whole")]
    Completions(manual::CompletionsArguments),
    /// Manual pages.
    #[cfg(feature = "whole")]
    Man(manual::ManArguments),
    /// Run the real pool engines on the simulated VPC under virtual time, and check every invariant after every step.
    #[cfg(feature = "whole")]
    Simulate(simulate::SimulateArguments),
    /// Ranges, nodes and waiting pods at a terminal, live.
    #[cfg(feature = "whole")]
    Top(top::TopArguments),
    /// The simulated clouds, alone.
    #[command(subcommand)]
    Vpc(vpc::VpcCommand),
}

/// How kubectl finds a plugin for `kubectl freeboard`: an executable or a link of this name in the PATH.
const KUBECTL_PLUGIN: &str = "kubectl-freeboard";

/// The command line; in usage and errors the program has the name that it was called by.
fn parse() -> Arguments {
    let called = std::env::args_os().next().map(std::path::PathBuf::from).unwrap_or_default();
    let mut command = Arguments::command();
    if called.file_stem().is_some_and(|name| name == KUBECTL_PLUGIN) {
        command = command.bin_name("kubectl freeboard");
    }
    Arguments::from_arg_matches(&command.get_matches()).unwrap_or_else(|error| error.exit())
}

fn main() -> ExitCode {
    let outcome = match parse().command {
        Command::Demo(arguments) => demo::run(&arguments),
        #[cfg(feature = "whole")]
        Command::Explain(command) => return with_code("explain", explain::run(&command)),
        #[cfg(feature = "cluster")]
        Command::Expand(arguments) => expand::run(&arguments),
        Command::Lab(arguments) => lab::run(&arguments),
        #[cfg(feature = "whole")]
        Command::Dashboard(arguments) => return with_code("dashboard", dashboard::run(&arguments)),
        #[cfg(feature = "whole")]
        Command::Leaks(arguments) => return with_code("leaks", leaks::run(&arguments)),
        #[cfg(feature = "whole")]
        Command::Migrate(command) => return with_code("migrate", migrate::run(&command)),
        #[cfg(feature = "whole")]
        Command::Doctor(arguments) => return doctor::run(&arguments),
        #[cfg(all(feature = "cluster", feature = "whole"))]
        Command::Collect(arguments) => return with_code("collect", collect::run(&arguments)),
        #[cfg(feature = "whole")]
        Command::Plan(arguments) => return with_code("plan", plan::run(&arguments)),
        #[cfg(feature = "whole")]
        Command::Status(arguments) => return with_code("status", status::run(&arguments)),
        #[cfg(feature = "whole")]
        Command::Completions(arguments) => {
            return with_code("completions", manual::completions(&arguments, Arguments::command()));
        }
        #[cfg(feature = "whole")]
        Command::Man(arguments) => return with_code("man", manual::man(&arguments, Arguments::command())),
        #[cfg(feature = "whole")]
        Command::Simulate(arguments) => simulate::run(&arguments),
        #[cfg(feature = "whole")]
        Command::Top(arguments) => return with_code("top", top::run(&arguments)),
        Command::Vpc(command) => vpc::run(command),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            anstream::eprintln!("freeboard: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The exit code of a command that looks: 0 nothing found, 1 something found, 2 bad usage or input that cannot be read.
#[cfg(feature = "whole")]
fn with_code(command: &str, outcome: anyhow::Result<ExitCode>) -> ExitCode {
    outcome.unwrap_or_else(|error| {
        anstream::eprintln!("freeboard {command}: {error:#}");
        ExitCode::from(2)
    })
}
