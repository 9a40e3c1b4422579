//! `freeboard-bench`: measures Freeboard and its peers side by side, in one run.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "the figures and the progress are for a person")]

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use freeboard_bench::engine_run;
use freeboard_bench::fleet;
use freeboard_bench::kubernetes;
use freeboard_bench::node_ipam;
use freeboard_bench::place::Place;
use freeboard_bench::report::Run;
use freeboard_bench::run;

/// Measures Freeboard and its peers side by side, in one run.
#[derive(Debug, Parser)]
#[command(name = "freeboard-bench")]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// The life of a pod's address on one node
    Cni {
        /// The world that the peers live in
        #[arg(long, default_value = "worlds/bench-m5.yaml")]
        world: PathBuf,
        /// Where the figures go
        #[arg(long, default_value = "target/bench/cni.json")]
        output: PathBuf,
    },
    /// Fleets in simulated time: thousands of engines under the request limits of their accounts
    Fleet {
        /// Fleets of so many nodes run for an hour
        #[arg(long, value_delimiter = ',', default_value = "1000,5000,20000,100000")]
        hours: Vec<u32>,
        /// Where the figures go
        #[arg(long, default_value = "target/bench/fleet.json")]
        output: PathBuf,
        /// Where the curve goes
        #[arg(long, default_value = "docs/fleet.svg")]
        plot: PathBuf,
    },
    /// The pool engine alone: events per second, the longest step, and the cost over the addresses held
    Pool {
        /// More is longer and steadier
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..))]
        rounds: u16,
        /// Where the figures go
        #[arg(long, default_value = "target/bench/pool.json")]
        output: PathBuf,
        /// Where the curve goes
        #[arg(long, default_value = "target/bench/pool.svg")]
        plot: PathBuf,
    },
    /// The blocks engine by itself: allocations and releases, and the joint assignment of pools
    Blocks {
        /// Where the figures go
        #[arg(long, default_value = "target/bench/blocks.json")]
        output: PathBuf,
    },
    /// Doctor on a large log of an agent, beside grep
    Doctor {
        /// How large the log is
        #[arg(long, value_name = "MEGABYTES", default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..=100_000))]
        size: u64,
        /// Where the figures go; the log lies beside them, and stays
        #[arg(long, default_value = "target/bench/doctor.json")]
        output: PathBuf,
    },
    /// Controllers that give blocks to nodes, side by side on a real API server
    NodeIpam {
        /// Nodes that are created at once
        #[arg(long, default_value_t = 1_000)]
        nodes: usize,
        /// Where the figures go
        #[arg(long, default_value = "target/bench/node-ipam.json")]
        output: PathBuf,
    },
    /// Agents on the node of a real cluster, from a Deployment to Running pods
    Kubernetes {
        /// Pods of the Deployment
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=200))]
        pods: u16,
        /// Where the figures go
        #[arg(long, default_value = "target/bench/kubernetes.json")]
        output: PathBuf,
    },
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().what {
        What::Cni { world, output } => {
            freeboard_lab::isolate().context("cannot make the lab").and_then(|()| bench(&world, &output))
        }
        What::Blocks { output } => freeboard_bench::blocks::bench(&output),
        What::Doctor { size, output } => freeboard_bench::doctor::bench(size, &output),
        What::NodeIpam { nodes, output } => {
            freeboard_lab::isolate().context("cannot make the lab").and_then(|()| bench_node_ipam(nodes, &output))
        }
        What::Kubernetes { pods, output } => {
            freeboard_lab::isolate().context("cannot make the lab").and_then(|()| bench_kubernetes(pods, &output))
        }
        What::Fleet { hours, output, plot } => bench_fleet(&hours, &output, &plot),
        What::Pool { rounds, output, plot } => bench_pool(usize::from(rounds), &output, &plot),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nfreeboard-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn bench_node_ipam(nodes: usize, output: &Path) -> Result<()> {
    let figures = node_ipam::measure(nodes)?;
    show(&figures, &node_ipam::table(&figures), &node_ipam::missed(&figures), output)
}

fn bench_kubernetes(pods: u16, output: &Path) -> Result<()> {
    let figures = kubernetes::measure(usize::from(pods))?;
    show(&figures, &kubernetes::table(&figures), &kubernetes::missed(&figures), output)
}

/// Writes the figures to a file, prints them, and fails when a target is missed.
fn show(figures: &impl serde::Serialize, table: &str, missed: &[String], output: &Path) -> Result<()> {
    make_room_for(output)?;
    let text = serde_json::to_string_pretty(figures).context("cannot write the figures")?;
    std::fs::write(output, text + "\n").with_context(|| format!("cannot write {}", output.display()))?;
    println!("{table}\n\nfigures: {}", output.display());
    if !missed.is_empty() {
        bail!("{}", missed.join("; "));
    }
    Ok(())
}

fn bench_fleet(hours: &[u32], output: &Path, plot: &Path) -> Result<()> {
    let run = fleet::measure(hours, |what| eprintln!("• {what}"))?;
    make_room_for(output)?;
    let text = serde_json::to_string_pretty(&run).context("cannot write the figures")?;
    std::fs::write(output, text + "\n").with_context(|| format!("cannot write {}", output.display()))?;
    make_room_for(plot)?;
    run.plot(plot)?;
    println!("{}\n\nfigures: {}, curve: {}", run.table(), output.display(), plot.display());
    let missed = run.missed();
    if !missed.is_empty() {
        bail!("{}", missed.join("; "));
    }
    Ok(())
}

fn bench_pool(rounds: usize, output: &Path, plot: &Path) -> Result<()> {
    let run = engine_run::measure(rounds)?;
    make_room_for(output)?;
    let mut text = serde_json::to_value(&run).context("cannot write the figures")?;
    text["verdicts"] = serde_json::to_value(run.verdicts()).context("cannot write the verdicts")?;
    let text = serde_json::to_string_pretty(&text).context("cannot write the figures")?;
    std::fs::write(output, text + "\n").with_context(|| format!("cannot write {}", output.display()))?;
    make_room_for(plot)?;
    run.plot(plot)?;
    println!("{}\n\nfigures: {}, curve: {}", run.table(), output.display(), plot.display());
    if !run.is_optimised {
        bail!("this program was built without optimisation, so its figures mean nothing: build it with --release");
    }
    let missed = run.verdicts().iter().filter(|verdict| !verdict.is_met).count();
    if missed > 0 {
        bail!("{missed} targets are missed");
    }
    Ok(())
}

fn make_room_for(file: &Path) -> Result<()> {
    match file.parent() {
        Some(directory) => {
            std::fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))
        }
        None => Ok(()),
    }
}

fn bench(world: &Path, output: &Path) -> Result<()> {
    let runtime = tokio::runtime::Runtime::new().context("cannot start a runtime")?;
    let run = runtime.block_on(async {
        let place = Place::start(world, 1.0).await?;
        run::run(&place).await
    })?;
    write(&run, output)?;
    println!("\n{}\n", run.table());
    println!("machine: {} processors, Linux {}", run.computer.processors, run.computer.kernel);
    println!("figures: {}", output.display());
    let missed = run.verdicts().iter().filter(|verdict| !verdict.is_met).count();
    if missed > 0 {
        bail!("{missed} targets are missed");
    }
    Ok(())
}

fn write(run: &Run, output: &Path) -> Result<()> {
    make_room_for(output)?;
    let mut text = serde_json::to_value(run).context("cannot write the figures")?;
    text["verdicts"] = serde_json::to_value(run.verdicts()).context("cannot write the verdicts")?;
    let text = serde_json::to_string_pretty(&text).context("cannot write the figures")?;
    std::fs::write(output, text + "\n").with_context(|| format!("cannot write {}", output.display()))
}
