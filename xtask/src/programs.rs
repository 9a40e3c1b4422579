//! The programs of a node and of a person, built as they are shipped.

use std::process::Command;

use anyhow::Result;

use crate::{command, tools};

/// Builds `freeboard`, `freeboard-agent` and the static plugin `aws-cni` in release.
pub(crate) fn build() -> Result<()> {
    command::step("build freeboard and freeboard-agent", || {
        command::run(command::cargo().args([
            "build",
            "--locked",
            "--release",
            "-p",
            "freeboard-cli",
            "-p",
            "freeboard-agent",
        ]))
    })?;
    command::step("build the plugin aws-cni, static", build_plugin)
}

/// Builds the plugin alone. It is static, because it is copied to the host and runs there with whatever C library the
/// host has; and it is built apart, so that it is linked with the few features it needs and starts fast.
fn build_plugin() -> Result<()> {
    command::run(
        command::cargo()
            .args(["rustc", "--locked", "--release", "-p", "freeboard-cni", "--bin", "aws-cni", "--"])
            .args(["-C", "target-feature=+crt-static"]),
    )
}

/// Builds the programs and becomes `freeboard <subcommand> <arguments>`.
pub(crate) fn run_freeboard(subcommand: &[&str], arguments: &[String]) -> Result<()> {
    build()?;
    let program = command::target_directory().join("release/freeboard");
    command::become_program(Command::new(program).args(subcommand).args(arguments))
}

/// Builds the programs and the peers and becomes `freeboard-bench <subcommand> <arguments>`.
pub(crate) fn run_bench(subcommand: &[&str], arguments: &[String]) -> Result<()> {
    tools::install(&[])?;
    build()?;
    run_bench_alone(subcommand, arguments)
}

/// The same for a bench that needs neither programs nor peers.
pub(crate) fn run_bench_alone(subcommand: &[&str], arguments: &[String]) -> Result<()> {
    command::step("build freeboard-bench", || {
        command::run(command::cargo().args(["build", "--locked", "--release", "-p", "freeboard-bench"]))
    })?;
    let program = command::target_directory().join("release/freeboard-bench");
    command::become_program(
        Command::new(program)
            .args(subcommand)
            .args(arguments)
            .env("FREEBOARD_TOOLS", tools::bin_directory())
            .current_dir(command::workspace_root()),
    )
}
