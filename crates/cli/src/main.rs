//! The program `freeboard`: demonstrates, explains, and starts the simulated cloud.

mod agents;
mod demo;
mod describe;
mod doctor;
#[cfg(feature = "cluster")]
mod expand;
mod explain;
mod kubernetes;
mod lab;
mod programs;
mod simulate;
mod tree;
mod vpc;
mod yaml;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Keeps Kubernetes clusters from running out of pod IPv4 addresses.
#[derive(Debug, Parser)]
#[command(name = "freeboard", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Watch pods run out of addresses, and the way out, on a simulated cloud; on EKS with real packets.
    Demo(demo::DemoArguments),
    /// The expansions of a cluster: more room for its pods, proposed, approved and carried out.
    #[cfg(feature = "cluster")]
    Expand(expand::ExpandArguments),
    /// Say why something is as it is.
    #[command(subcommand)]
    Explain(explain::ExplainCommand),
    /// Bring up the demo's nodes and agents to look around in.
    Lab(lab::LabArguments),
    /// Find out from logs, dumps and cloud listings why pods get no address, and what to do.
    Doctor(doctor::DoctorArguments),
    /// Run the real pool engines on the simulated VPC under virtual time, and check every invariant after every step.
    Simulate(simulate::SimulateArguments),
    /// The simulated clouds, alone.
    #[command(subcommand)]
    Vpc(vpc::VpcCommand),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Demo(arguments) => demo::run(&arguments),
        #[cfg(feature = "cluster")]
        Command::Expand(arguments) => expand::run(&arguments),
        Command::Explain(command) => explain::run(&command),
        Command::Lab(arguments) => lab::run(&arguments),
        Command::Doctor(arguments) => return doctor::run(&arguments),
        Command::Simulate(arguments) => simulate::run(&arguments),
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
