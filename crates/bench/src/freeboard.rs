//! Freeboard's own agent and plugin, as a node runs them.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use freeboard_lab::runtime::PluginList;
use freeboard_lab::{Machine, ProgramOptions};
use serde_json::json;

use crate::place::Place;

/// Where the built programs are: beside the calling one, or where `cargo xtask test` says.
///
/// # Errors
/// When one of a node's is missing: with what to do.
pub fn programs_directory() -> Result<PathBuf> {
    let directory = directory()?;
    for name in ["freeboard-agent", "aws-cni"] {
        require(&directory.join(name))?;
    }
    Ok(directory)
}

/// The program `freeboard`.
///
/// # Errors
/// When it is missing: with what to do.
pub fn program() -> Result<PathBuf> {
    let path = directory()?.join("freeboard");
    require(&path)?;
    Ok(path)
}

fn directory() -> Result<PathBuf> {
    let beside = || Some(std::env::current_exe().ok()?.parent()?.to_path_buf());
    let directory = std::env::var_os("FREEBOARD_PROGRAMS").map(PathBuf::from).or_else(beside);
    directory.context("cannot tell where the programs are")
}

fn require(path: &Path) -> Result<()> {
    anyhow::ensure!(path.is_file(), "{} is missing: start this by `cargo xtask`, which builds it", path.display());
    Ok(())
}

/// Freeboard's agent, as the lab runs it on its nodes.
///
/// # Errors
/// When a program is missing.
pub fn agent(place: &Place, machine: &Machine, settings: &[(&str, &str)]) -> Result<ProgramOptions> {
    let mut environment = place.lab().environment(machine);
    environment.extend(settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    Ok(ProgramOptions {
        executable: programs_directory()?.join("freeboard-agent"),
        arguments: Vec::new(),
        environment,
        log: PathBuf::from("/var/log/aws-routed-eni/freeboard-output.log"),
    })
}

/// Freeboard's plugin, which does the work of the incumbent's whole list in one process.
#[must_use]
pub fn plugin(directories: &[PathBuf]) -> PluginList {
    PluginList {
        cni_version: "1.1.0".to_owned(),
        name: "aws-cni".to_owned(),
        plugins: vec![json!({
            "name": "aws-cni", "type": "aws-cni", "vethPrefix": "eni", "mtu": "9001", "podSGEnforcingMode": "strict",
            "pluginLogFile": "/var/log/aws-routed-eni/plugin.log", "pluginLogLevel": "DEBUG",
            "capabilities": {"io.kubernetes.cri.pod-annotations": true, "portMappings": true},
        })],
        directories: directories.to_vec(),
    }
}
