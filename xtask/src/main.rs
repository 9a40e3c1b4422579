//! `cargo xtask`: the tasks of this workspace, from the first demo to the bench.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a task talks to the person who started it")]

mod check;
mod command;
mod image;
mod programs;
mod tests;
mod tools;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The tasks of the Freeboard workspace.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Build everything in release and tell the story of IP exhaustion: on EKS in about a minute, `demo gke` at once
    #[command(disable_help_flag = true)]
    Demo {
        /// Passed on to `freeboard demo` (try --help)
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Check format, lints, the floors of the house, the purity of the engines, and the tidiness of files and documents
    Check,
    /// Install what the tests need and run them all
    Test {
        /// Run only the tests whose name contains this
        filter: Option<String>,
    },
    /// Build or install the pinned peers and clients into .cache/ (all, or those named)
    Tools {
        /// Names of tools; see the list that an unknown name prints
        names: Vec<String>,
    },
    /// Build the agent's container image and the one of its lab's pods, without a container engine
    Image {
        /// Take the programs from this directory instead of building them in release
        #[arg(long)]
        programs: Option<PathBuf>,
    },
    /// Build everything in release and open the lab, to look around in; with --kubernetes a real cluster on it
    #[command(disable_help_flag = true)]
    Lab {
        /// Passed on to `freeboard lab` (try --help)
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Measure Freeboard and its peers side by side
    Bench {
        #[command(subcommand)]
        what: Bench,
    },
}

#[derive(Debug, Subcommand)]
enum Bench {
    /// Fleets in simulated time: thousands of engines under the request limits of their accounts
    #[command(disable_help_flag = true)]
    Fleet {
        /// Passed on to `freeboard-bench fleet` (try --help)
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// The life of a pod's address on one node: ADD, DEL, bursts, start, memory, size
    #[command(disable_help_flag = true)]
    Cni {
        /// Passed on to `freeboard-bench cni` (try --help)
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// The blocks engine by itself: allocations and releases, joint assignment of pools
    #[command(disable_help_flag = true)]
    Blocks {
        /// Passed on to `freeboard-bench blocks` (try --help)
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Doctor on a log of 1 GB, beside grep
    #[command(disable_help_flag = true)]
    Doctor {
        /// Passed on to `freeboard-bench doctor` (try --help)
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Controllers that give blocks to nodes, side by side on a real API server
    #[command(disable_help_flag = true)]
    NodeIpam {
        /// Passed on to `freeboard-bench node-ipam` (try --help)
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Agents on the node of a real cluster, from a Deployment to Running pods
    #[command(disable_help_flag = true)]
    Kubernetes {
        /// Passed on to `freeboard-bench kubernetes` (try --help)
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// The pool engine alone: events per second, the longest step, and the cost over the addresses held
    #[command(disable_help_flag = true)]
    Pool {
        /// Passed on to `freeboard-bench pool` (try --help)
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match arguments.task {
        Task::Demo { arguments } => programs::run_in_lab("demo", &arguments),
        Task::Lab { arguments } => programs::run_in_lab("lab", &arguments),
        Task::Image { programs } => image::write_all(programs.as_deref()),
        Task::Check => check::run(),
        Task::Test { filter } => tests::run(filter.as_deref()),
        Task::Tools { names } => tools::install(&names),
        Task::Bench { what: Bench::Fleet { arguments } } => programs::run_bench_alone(&["fleet"], &arguments),
        Task::Bench { what: Bench::Cni { arguments } } => programs::run_bench(&["cni"], &arguments),
        Task::Bench { what: Bench::Blocks { arguments } } => programs::run_bench(&["blocks"], &arguments),
        Task::Bench { what: Bench::Doctor { arguments } } => programs::run_doctor_bench(&arguments),
        Task::Bench { what: Bench::NodeIpam { arguments } } => programs::run_node_ipam_bench(&arguments),
        Task::Bench { what: Bench::Kubernetes { arguments } } => programs::run_kubernetes_bench(&arguments),
        Task::Bench { what: Bench::Pool { arguments } } => programs::run_bench_alone(&["pool"], &arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nxtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
