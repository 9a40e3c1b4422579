//! `freeboard demo`: the story of IP exhaustion and the way out of it: on EKS by the production programs in the lab, on GKE by the
//! engines on the simulated cloud.

mod checks;
mod cluster;
mod eks;
mod gke;
mod story;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use freeboard_vpc::World;

/// The network of the EKS demo that the seeds describe.
const EKS_WORLD: &str = include_str!("../../../../worlds/eks-demo.yaml");

/// Watch pods run out of addresses, and the way out, on a simulated cloud; on EKS with real packets.
#[derive(Debug, Args)]
pub(crate) struct DemoArguments {
    /// Which story.
    #[arg(value_enum, default_value_t = StoryName::Eks)]
    story: StoryName,
    /// EKS: leave the lab up at the end, with a shell in it.
    #[arg(long)]
    keep: bool,
    /// GKE: on a real API server and scheduler, in namespaces of their own; needs what `cargo xtask tools` makes.
    #[arg(long)]
    kubernetes: bool,
    /// Print one JSON document with all facts instead of the story.
    #[arg(long)]
    json: bool,
    /// EKS: how many times faster than the world says the cloud works (attaching an interface takes 2 s in the world).
    #[arg(long, default_value_t = 4.0)]
    speed: f64,
    /// EKS: another world file instead of the story's own.
    #[arg(long)]
    world: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum StoryName {
    /// Two full /27 subnets on EKS, and a second range.
    Eks,
    /// A pod range that holds two nodes on GKE, eight pools on three ranges, and a pool that grows onto a second one.
    Gke,
}

/// Runs the command.
pub(crate) fn run(arguments: &DemoArguments) -> Result<()> {
    match arguments.story {
        StoryName::Gke if arguments.kubernetes => gke::tell_on_kubernetes(arguments),
        // Sends no packets, so it needs neither namespaces nor rights.
        StoryName::Gke => gke::tell(arguments),
        StoryName::Eks if arguments.kubernetes => {
            bail!(
                "--kubernetes is for the GKE story: `cargo xtask lab --kubernetes` brings up a cluster on the EKS story's nodes"
            )
        }
        StoryName::Eks => {
            freeboard_lab::isolate()?;
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build()?;
            runtime.block_on(eks::tell(arguments))
        }
    }
}

/// Reads a world file; the EKS demo's when none is named.
pub(crate) fn read_world(path: Option<&Path>) -> Result<World> {
    let (name, text) = match path {
        Some(path) => {
            let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
            (path.display().to_string(), text)
        }
        None => ("worlds/eks-demo.yaml".to_owned(), EKS_WORLD.to_owned()),
    };
    freeboard_vpc_server::parse_world(&name, &text).map_err(Into::into)
}
