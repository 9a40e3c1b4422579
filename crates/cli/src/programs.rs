//! Finds the programs that the lab runs on its nodes.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

/// The executables of a node.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    pub(crate) agent: PathBuf,
    pub(crate) plugin: PathBuf,
}

/// The programs next to this one; `FREEBOARD_AGENT` and `FREEBOARD_PLUGIN` name others.
pub(crate) fn find() -> Result<Programs> {
    Ok(Programs {
        agent: one("FREEBOARD_AGENT", "freeboard-agent", "cargo xtask demo")?,
        plugin: one("FREEBOARD_PLUGIN", "aws-cni", "cargo xtask demo")?,
    })
}

/// The controller, found likewise; `FREEBOARD_CONTROLLER` names another.
#[cfg(feature = "cluster")]
pub(crate) fn controller() -> Result<PathBuf> {
    one("FREEBOARD_CONTROLLER", "freeboard-controller", "cargo xtask demo gke --kubernetes")
}

/// The program that a variable names, or the one with this name beside this one, where `command` builds it.
fn one(variable: &str, name: &str, command: &str) -> Result<PathBuf> {
    let path = match std::env::var_os(variable) {
        Some(path) => PathBuf::from(path),
        None => {
            let this = std::env::current_exe().context("cannot find out where this program lies")?;
            this.parent().map(|directory| directory.join(name)).unwrap_or_default()
        }
    };
    if !path.is_file() {
        bail!("there is no {name} at {}: build it with `{command}`, or name one in {variable}", path.display());
    }
    Ok(path)
}
