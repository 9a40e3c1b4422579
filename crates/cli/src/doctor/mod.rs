//! `freeboard doctor`: findings from any pile of files, nothing else needed.

mod detail;
mod overview;

use std::io::stdin;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use freeboard_diagnosis::{Declaration, Diagnosis, catalogue, diagnose, reference};
use freeboard_evidence::{Evidence, gather};
use serde_json::json;

use crate::input::{Bar, shown};

/// What to read, and how to tell.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 nothing found (advice at most), 1 findings, 2 bad usage or input that cannot be read."
)]
pub(crate) struct DoctorArguments {
    /// Files, directories and archives: logs, kubectl, aws and gcloud output of any kind; `-` is the standard input
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Tell all about one finding; without a PATH, what it means in general
    #[arg(long, value_name = "ID")]
    explain: Option<String>,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
    /// All details, and what was not understood
    #[arg(short, long)]
    verbose: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people, within 80 columns
    #[default]
    Text,
    /// Everything, for programs
    Json,
}

/// Runs the command, and gives the exit code that says whether something was found.
pub(crate) fn run(arguments: &DoctorArguments) -> ExitCode {
    match doctor(arguments) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            anstream::eprintln!("freeboard doctor: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Gives how many findings there are.
fn doctor(arguments: &DoctorArguments) -> Result<usize> {
    let explained = arguments.explain.as_deref().map(find).transpose()?;
    if arguments.paths.is_empty() {
        let Some(declaration) = explained else {
            bail!("name the files to look at, for example: freeboard doctor ./dump (or `-` for the standard input)");
        };
        anstream::print!("{}", reference::page(declaration));
        return Ok(0);
    }
    let started = Instant::now();
    let mut progress = Bar::new(arguments.output == Output::Text);
    let read = gather(&arguments.paths, &mut stdin(), &mut progress);
    progress.end();
    let evidence = read?;
    let diagnosis = diagnose(&evidence.facts);
    let took = started.elapsed();
    match arguments.output {
        Output::Json => anstream::println!("{}", serde_json::to_string_pretty(&as_json(&evidence, &diagnosis, took))?),
        Output::Text => tell(arguments, explained, &evidence, &diagnosis, took),
    }
    if evidence.files > 0 && evidence.kinds.is_empty() {
        bail!("nothing in {} could be understood; the reasons: freeboard doctor -v …", shown(&arguments.paths));
    }
    Ok(diagnosis.findings())
}

fn find(id: &str) -> Result<&'static Declaration> {
    catalogue::find(id).with_context(|| {
        let all: Vec<&str> = catalogue::all().map(|declaration| declaration.id).collect();
        format!("there is no finding {id:?}; there are: {}", all.join(", "))
    })
}

fn tell(
    arguments: &DoctorArguments,
    explained: Option<&Declaration>,
    evidence: &Evidence,
    diagnosis: &Diagnosis,
    took: Duration,
) {
    if let Some(declaration) = explained {
        let mut found = diagnosis.findings.iter().filter(|finding| finding.declaration.id == declaration.id).peekable();
        if found.peek().is_none() {
            anstream::println!(
                "{} was not found in this evidence.\n\n{}",
                declaration.id,
                crate::layout::wrap(declaration.means, 80, "")
            );
        }
        for finding in found {
            anstream::println!("{}", detail::text(finding));
        }
        return;
    }
    anstream::print!("{}", overview::text(evidence, diagnosis, took, &shown(&arguments.paths), arguments.verbose));
    if arguments.verbose {
        for finding in &diagnosis.findings {
            anstream::println!("\n{}", detail::text(finding));
        }
        anstream::print!("{}", overview::not_understood(evidence));
    }
}

fn as_json(evidence: &Evidence, diagnosis: &Diagnosis, took: Duration) -> serde_json::Value {
    json!({
        "read": {
            "files": evidence.files,
            "bytes": evidence.bytes,
            "seconds": took.as_secs_f64(),
            "kinds": evidence.kinds,
            "not_understood": evidence.not_understood,
            "problems": evidence.problems,
        },
        "findings": diagnosis.findings,
        "ruled_out": diagnosis.ruled_out,
    })
}
