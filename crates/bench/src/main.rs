//! `freeboard-bench`: measures Freeboard and its peers side by side, in one run.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "the figures and the progress are for a person")]

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
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
    /// The blocks engine by itself: allocations and releases, and the joint assignment of pools
    Blocks {
        /// Where the figures go
        #[arg(long, default_value = "target/bench/blocks.json")]
        output: PathBuf,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let What::Blocks { output } = &arguments.what {
        return finish(freeboard_bench::blocks::bench(output));
    }
    if let Err(error) = freeboard_lab::isolate() {
        eprintln!("freeboard-bench: {error}");
        return ExitCode::FAILURE;
    }
    let What::Cni { world, output } = arguments.what else { return ExitCode::FAILURE };
    finish(bench(&world, &output))
}

fn finish(outcome: Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nfreeboard-bench: {error:#}");
            ExitCode::FAILURE
        }
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
    if let Some(directory) = output.parent() {
        std::fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    }
    let mut text = serde_json::to_value(run).context("cannot write the figures")?;
    text["verdicts"] = serde_json::to_value(run.verdicts()).context("cannot write the verdicts")?;
    let text = serde_json::to_string_pretty(&text).context("cannot write the figures")?;
    std::fs::write(output, text + "\n").with_context(|| format!("cannot write {}", output.display()))
}
