//! The programs of a node and of a person, built as they are shipped.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::{command, image, tools};

/// Builds `freeboard`, `freeboard-agent`, `freeboard-controller` and the static plugin `aws-cni` in release, whole. In one go: apart
/// they would each have their own features of what they share, and build it twice.
pub(crate) fn build() -> Result<()> {
    build_with(&["-p", "freeboard-cli", "-p", "freeboard-agent", "-p", "freeboard-controller"])
}

/// The programs of the demo, without what it does not show: whoever tries it waits for it.
fn build_without_cluster() -> Result<()> {
    build_with(&["-p", "freeboard-cli", "-p", "freeboard-agent", "--no-default-features"])
}

fn build_with(what: &[&str]) -> Result<()> {
    command::step("build the programs", || {
        command::run(command::cargo().args(["build", "--locked", "--release"]).args(what))
    })?;
    command::step("build the plugin aws-cni, static", || build_static("freeboard-cni", "aws-cni"))
}

/// Builds one program alone, static: the plugin, because it is copied to the host and runs there with whatever C library the
/// host has, and what an image has no libraries for. It is built apart, so that it is linked with the few features it needs
/// and starts fast; and for a fixed place in memory, so that the start has no addresses to relocate.
pub(crate) fn build_static(package: &str, program: &str) -> Result<()> {
    command::run(
        command::cargo().args(["rustc", "--locked", "--release", "-p", package, "--bin", program, "--"]).args([
            "-C",
            "target-feature=+crt-static",
            "-C",
            "relocation-model=static",
        ]),
    )
}

/// Where the programs are built.
pub(crate) fn directory() -> PathBuf {
    command::target_directory().join("release")
}

/// Builds what `freeboard <subcommand>` needs and becomes it; with `--kubernetes` among the arguments that includes the cluster.
pub(crate) fn run_in_lab(subcommand: &str, arguments: &[String]) -> Result<()> {
    if !arguments.iter().take_while(|argument| *argument != "--").any(|argument| argument == "--kubernetes") {
        return run_freeboard(subcommand, arguments);
    }
    tools::install_kubernetes()?;
    image::write_all(None)?;
    let mut freeboard = Command::new(directory().join("freeboard"));
    freeboard.arg(subcommand).args(arguments);
    freeboard.env("FREEBOARD_TOOLS", tools::bin_directory()).env("FREEBOARD_IMAGES", image::directory(&directory()));
    command::become_program(&mut freeboard)
}

/// Builds the programs, without what only a cluster needs, and becomes `freeboard <subcommand> <arguments>`.
fn run_freeboard(subcommand: &str, arguments: &[String]) -> Result<()> {
    build_without_cluster()?;
    let program = directory().join("freeboard");
    command::become_program(Command::new(program).arg(subcommand).args(arguments))
}

/// Builds the programs and the peers and becomes `freeboard-bench <subcommand> <arguments>`.
pub(crate) fn run_bench(subcommand: &[&str], arguments: &[String]) -> Result<()> {
    tools::install_peers()?;
    build()?;
    run_bench_alone(subcommand, arguments)
}

/// Builds the controller and the cluster's programs and becomes `freeboard-bench node-ipam <arguments>`.
pub(crate) fn run_node_ipam_bench(arguments: &[String]) -> Result<()> {
    tools::install_kubernetes()?;
    command::step("build freeboard-controller", || {
        command::run(command::cargo().args(["build", "--locked", "--release", "-p", "freeboard-controller"]))
    })?;
    run_bench_alone(&["node-ipam"], arguments)
}

/// Builds everything that a cluster with either agent needs and becomes `freeboard-bench kubernetes <arguments>`.
pub(crate) fn run_kubernetes_bench(arguments: &[String]) -> Result<()> {
    tools::install_kubernetes()?;
    tools::install_peers()?;
    image::write_all(None)?;
    run_bench_alone(&["kubernetes"], arguments)
}

/// Builds `freeboard` and becomes `freeboard-bench doctor <arguments>`.
pub(crate) fn run_doctor_bench(arguments: &[String]) -> Result<()> {
    command::step("build freeboard", || {
        command::run(command::cargo().args(["build", "--locked", "--release", "-p", "freeboard-cli"]))
    })?;
    run_bench_alone(&["doctor"], arguments)
}

/// The same for a bench that needs neither programs nor peers.
pub(crate) fn run_bench_alone(subcommand: &[&str], arguments: &[String]) -> Result<()> {
    command::step("build freeboard-bench", || {
        command::run(command::cargo().args(["build", "--locked", "--release", "-p", "freeboard-bench"]))
    })?;
    let program = directory().join("freeboard-bench");
    command::become_program(
        Command::new(program)
            .args(subcommand)
            .args(arguments)
            .env("FREEBOARD_TOOLS", tools::bin_directory())
            .env("FREEBOARD_IMAGES", image::directory(&directory()))
            .current_dir(command::workspace_root()),
    )
}
