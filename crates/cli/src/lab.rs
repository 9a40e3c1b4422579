//! `freeboard lab`: the demo's nodes and agents, to look around in.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use clap::Args;
use freeboard_lab::{Lab, LabOptions};

use crate::agents::Node;
use crate::demo::read_world;
use crate::programs;

/// Bring up the demo's nodes and agents to look around in.
#[derive(Debug, Args)]
pub(crate) struct LabArguments {
    /// The world file; the EKS demo's network when none.
    #[arg(long)]
    world: Option<PathBuf>,
    /// How many times faster than the world says the cloud works.
    #[arg(long, default_value_t = 4.0)]
    speed: f64,
    /// Bring up a real Kubernetes cluster on the nodes, with the agent as a DaemonSet. Needs root, and what `cargo xtask tools`
    /// and `cargo xtask image` make.
    #[arg(long)]
    kubernetes: bool,
    /// A command to run in the lab instead of a shell.
    #[arg(last = true)]
    command: Vec<String>,
}

/// Runs the command.
pub(crate) fn run(arguments: &LabArguments) -> Result<()> {
    freeboard_lab::isolate()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let programs = programs::find()?;
        let world = read_world(arguments.world.as_deref())?;
        let options = LabOptions { agent: programs.agent, plugin: programs.plugin, speed: arguments.speed };
        let lab = Lab::start(world, options).await?;
        if arguments.kubernetes {
            return tokio::task::block_in_place(|| crate::kubernetes::run(&lab, &arguments.command));
        }
        let machines = lab.machines();
        let nodes: Vec<Node> = tokio::task::block_in_place(|| {
            machines.iter().map(|machine| Node::start(&lab, machine, &[])).collect::<Result<_>>()
        })?;
        anstream::println!("{}", how_to_look_around(&lab, &nodes));
        tokio::task::block_in_place(|| shell(&lab, &arguments.command, &[]))
    })
}

/// What to type to see the lab from inside.
pub(crate) fn how_to_look_around(lab: &Lab, nodes: &[Node]) -> String {
    let mut text = format!(
        "The lab is up; it ends with the shell below.\n\n  export AWS_ENDPOINT_URL_EC2={}   # then: aws ec2 describe-subnets\n",
        lab.ec2_endpoint()
    );
    for node in nodes {
        text.push_str(&format!(
            "  nsenter --target {} --net --mount   # {} ({})\n",
            node.agent.id(),
            node.machine.name,
            node.machine.instance_type
        ));
    }
    text.push_str(
        "\non a node: curl -s http://localhost:61679/v1/enis · ip rule · cat /var/log/aws-routed-eni/ipamd.log\n",
    );
    text
}

/// Runs the person's command, or a shell, inside the lab, with `environment` besides what leads to the lab's cloud.
pub(crate) fn shell(lab: &Lab, command: &[String], environment: &[(&str, String)]) -> Result<()> {
    let shell = std::env::var("SHELL").unwrap_or_else(|_| "/bin/sh".to_owned());
    let (program, arguments) =
        command.split_first().map_or((shell.as_str(), &[][..]), |(program, rest)| (program, rest));
    let status = Command::new(program)
        .args(arguments)
        .env("AWS_ENDPOINT_URL_EC2", lab.ec2_endpoint())
        .env("AWS_REGION", lab.region())
        .env("AWS_ACCESS_KEY_ID", "lab")
        .env("AWS_SECRET_ACCESS_KEY", "lab")
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .status()
        .with_context(|| format!("cannot start {program}"))?;
    if !status.success() {
        anyhow::bail!("{program} ended with {status}");
    }
    Ok(())
}
