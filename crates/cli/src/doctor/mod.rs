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

#[cfg(feature = "cluster")]
use crate::cluster::ClusterArguments;
use crate::input::{self, Bar, Sources, shown};
use crate::live::Live;

/// What to read, and how to tell.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 nothing found (advice at most), 1 findings, 2 bad usage or input that cannot be read."
)]
pub(crate) struct DoctorArguments {
    /// Files, directories and archives: logs, kubectl, aws and gcloud output of any kind; `-` is the standard input
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    #[cfg(feature = "cluster")]
    #[command(flatten)]
    cluster: ClusterArguments,
    #[command(flatten)]
    live: Live,
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

impl DoctorArguments {
    /// Whether nothing is named to look at.
    fn names_nothing(&self) -> bool {
        #[cfg(feature = "cluster")]
        let is_cluster_named = self.cluster.is_named();
        #[cfg(not(feature = "cluster"))]
        let is_cluster_named = false;
        self.paths.is_empty() && !is_cluster_named && !self.live.asks_anything()
    }

    /// Reads what is named, and gives the words that name it.
    fn read(&self) -> Result<(Evidence, String)> {
        let sources = Sources {
            paths: self.paths.clone(),
            described: None,
            #[cfg(feature = "cluster")]
            cluster: self.cluster.clone(),
        };
        if self.paths.is_empty() {
            let output = if self.output == Output::Text { input::Output::Text } else { input::Output::Json };
            let input = self.live.or_read(&sources, "doctor", output)?;
            return Ok((input.evidence, input.named));
        }
        self.live.refuse_beside_files(&sources)?;
        let mut progress = Bar::new(self.output == Output::Text);
        let read = gather(&self.paths, &mut stdin(), &mut progress);
        progress.end();
        Ok((read?, shown(&self.paths)))
    }
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
    if let Some(declaration) = explained.filter(|_| arguments.names_nothing()) {
        anstream::print!("{}", reference::page(declaration));
        return Ok(0);
    }
    let started = Instant::now();
    let (evidence, named) = arguments.read()?;
    let diagnosis = diagnose(&evidence.facts);
    let took = started.elapsed();
    match arguments.output {
        Output::Json => anstream::println!("{}", serde_json::to_string_pretty(&as_json(&evidence, &diagnosis, took))?),
        Output::Text => tell(arguments, explained, &evidence, &diagnosis, took, &named),
    }
    if evidence.files > 0 && evidence.kinds.is_empty() {
        bail!("nothing in {named} could be understood; the reasons: freeboard doctor -v …");
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
    named: &str,
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
    anstream::print!("{}", overview::text(evidence, diagnosis, took, named, arguments.verbose));
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
