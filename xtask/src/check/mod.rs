//! `cargo xtask check`: everything that can be proved without running the product.

mod deploy;
mod floors;
mod licences;
mod metadata;
mod tidy;

use anyhow::{Result, bail};

use crate::command;

/// What a check found wrong, one sentence each; empty when all is well.
pub(crate) type Findings = Vec<String>;

/// Runs all checks and reports everything that is wrong, not only the first.
pub(crate) fn run() -> Result<()> {
    let mut failed = Vec::new();
    let mut attempt = |name: &'static str, check: &mut dyn FnMut() -> Result<()>| {
        if let Err(error) = command::step(name, check) {
            eprintln!("  ✗ {error:#}");
            failed.push(name);
        }
    };
    attempt("format", &mut || command::run(command::cargo().args(["fmt", "--all", "--check"])));
    attempt("floors, purity and licences of dependencies", &mut check_dependencies);
    attempt("tidiness of files and documents", &mut || report(&tidy::check(&command::workspace_root())?));
    attempt("what deploy/ says of the programs", &mut || report(&deploy::check(&command::workspace_root())?));
    attempt("lints", &mut || {
        let clippy = ["clippy", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings"];
        command::run(command::cargo().args(clippy))
    });
    if failed.is_empty() {
        return Ok(());
    }
    bail!("failed: {}", failed.join("; "))
}

fn check_dependencies() -> Result<()> {
    let metadata = metadata::read()?;
    let root = command::workspace_root();
    let mut findings = floors::check(&metadata);
    findings.extend(floors::check_bans(&root)?);
    findings.extend(licences::check(&metadata));
    findings.extend(tidy::check_reasons(&root, &metadata)?);
    report(&findings)
}

fn report(findings: &Findings) -> Result<()> {
    if findings.is_empty() {
        return Ok(());
    }
    bail!("{} findings\n    {}", findings.len(), findings.join("\n    "))
}
