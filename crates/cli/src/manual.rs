//! `freeboard completions` and `freeboard man`: what shells and `man` want to know of the commands.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Args, Command};
use clap_complete::Shell;

/// Which shell.
#[derive(Debug, Args)]
#[command(after_help = "For example: freeboard completions bash > /etc/bash_completion.d/freeboard")]
pub(crate) struct CompletionsArguments {
    /// The shell
    shell: Shell,
}

/// Where to.
#[derive(Debug, Args)]
pub(crate) struct ManArguments {
    /// Write one page per command into this directory; without it, the page of the whole program is printed
    #[arg(long, value_name = "DIRECTORY")]
    directory: Option<PathBuf>,
}

/// Prints the completions of a shell.
pub(crate) fn completions(arguments: &CompletionsArguments, mut command: Command) -> Result<ExitCode> {
    let mut text = Vec::new();
    clap_complete::generate(arguments.shell, &mut command, "freeboard", &mut text);
    anstream::print!("{}", String::from_utf8(text).context("the completions are no text")?);
    Ok(ExitCode::SUCCESS)
}

/// Prints or writes manual pages.
pub(crate) fn man(arguments: &ManArguments, command: Command) -> Result<ExitCode> {
    match &arguments.directory {
        Some(directory) => {
            fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
            clap_mangen::generate_to(command, directory)
                .with_context(|| format!("cannot write pages into {}", directory.display()))?;
        }
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(command).render(&mut page)?;
            anstream::print!("{}", String::from_utf8(page).context("the page is no text")?);
        }
    }
    Ok(ExitCode::SUCCESS)
}
