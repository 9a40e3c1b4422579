//! `freeboard lab --kubernetes`: a real cluster on the lab's nodes.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use freeboard_lab::Lab;
use freeboard_lab::kubernetes::{Cluster, ClusterOptions};

use crate::lab::shell;

/// How long the nodes may take until they are Ready.
const READY: Duration = Duration::from_secs(120);
/// How often the nodes follow the machines of the cloud.
const FOLLOW: Duration = Duration::from_secs(1);

/// Brings the cluster up, gives a shell or runs a command, and lets the nodes follow what EC2 launches and terminates.
pub(crate) fn run(lab: &Lab, command: &[String]) -> Result<()> {
    let started = Instant::now();
    let options = ClusterOptions {
        tools: tools("lab --kubernetes")?,
        images: named("FREEBOARD_IMAGES", "the images (`cargo xtask image`)", "lab --kubernetes")?,
    };
    let tools = options.tools.clone();
    let mut cluster = Cluster::start(lab, options)?;
    cluster.install_agent(lab, &[])?;
    cluster.wait_until_ready(READY)?;
    anstream::println!(
        "The cluster is up after {:.0} s; it ends with the shell below.\n\n  export KUBECONFIG={}\n  export AWS_ENDPOINT_URL_EC2={}\n\n{}",
        started.elapsed().as_secs_f64(),
        cluster.kubeconfig().display(),
        lab.ec2_endpoint(),
        cluster.kubectl(&["get", "nodes", "-o", "wide"])?,
    );
    let path = format!("{}:{}", tools.display(), std::env::var("PATH").unwrap_or_default());
    let mut environment = cluster.environment().to_vec();
    environment.push(("PATH", path));
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                if let Err(error) = cluster.follow(lab) {
                    anstream::eprintln!("freeboard: the nodes do not follow the machines: {error}");
                }
                std::thread::sleep(FOLLOW);
            }
        });
        let outcome = shell(lab, command, &environment);
        ended.store(true, Ordering::Relaxed);
        outcome
    })
}

/// The directory with the programs of Kubernetes, for `cargo xtask <command>`.
pub(crate) fn tools(command: &str) -> Result<PathBuf> {
    named("FREEBOARD_TOOLS", "the programs of Kubernetes (`cargo xtask tools`)", command)
}

/// A directory that a variable names, and that `cargo xtask <command>` fills and names.
fn named(variable: &str, what: &str, command: &str) -> Result<PathBuf> {
    let path = std::env::var_os(variable).with_context(|| {
        format!(
            "{variable} must name the directory with {what}; `cargo xtask {command}` makes it and sets the variable"
        )
    })?;
    Ok(PathBuf::from(path))
}
