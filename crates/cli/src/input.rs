//! What the commands look at: files of any kind, a described cluster, or the API of a simulated cloud; read into facts and an
//! inventory.

use std::io::{IsTerminal, Read, stdin};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use freeboard_capacity::{Inventory, TypeLimits, TypeTable};
use freeboard_diagnosis::Facts;
use freeboard_evidence::{Evidence, Progress, gather, inventory};
use freeboard_vpc::LimitTable;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

#[cfg(feature = "cluster")]
use crate::cluster::ClusterArguments;

/// Where to look.
#[derive(Clone, Debug, Args)]
pub(crate) struct Sources {
    /// Files, directories and archives: logs, kubectl, aws and gcloud output of any kind; `-` is the standard input
    #[arg(value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,
    /// A cluster described in YAML or JSON, for questions about one that does not exist (see docs/plan.md)
    #[arg(long, value_name = "FILE", conflicts_with = "paths")]
    pub(crate) described: Option<PathBuf>,
    #[cfg(feature = "cluster")]
    #[command(flatten)]
    pub(crate) cluster: ClusterArguments,
}

/// How to print.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people, within 80 columns
    #[default]
    Text,
    /// For people with a wider terminal
    Wide,
    /// For programs
    Json,
    /// For programs and people
    Yaml,
}

impl Output {
    /// Whether people read it.
    pub(crate) fn is_text(self) -> bool {
        matches!(self, Self::Text | Self::Wide)
    }
}

/// What was read.
#[derive(Debug)]
pub(crate) struct Input {
    pub(crate) evidence: Evidence,
    pub(crate) inventory: Inventory,
    /// The words of the command line that name it, to be used in hints.
    pub(crate) named: String,
}

impl Input {
    /// The facts.
    pub(crate) fn facts(&self) -> &Facts {
        &self.evidence.facts
    }
}

impl Sources {
    /// Files alone.
    pub(crate) fn of_paths(paths: &[PathBuf]) -> Self {
        Self {
            paths: paths.to_vec(),
            described: None,
            #[cfg(feature = "cluster")]
            cluster: ClusterArguments::default(),
        }
    }

    /// Reads what is named.
    ///
    /// # Errors
    /// Nothing is named, cannot be read, or nothing of it is understood.
    pub(crate) fn read(&self, command: &str, output: Output) -> Result<Input> {
        if let Some(file) = &self.described {
            return described(file);
        }
        if self.paths.is_empty() {
            bail!("name what to look at, for example: freeboard {command} ./dump (or `-` for the standard input)");
        }
        let mut progress = Bar::new(output.is_text());
        let read = gather(&self.paths, &mut stdin(), &mut progress);
        progress.end();
        let evidence = read?;
        let named = shown(&self.paths);
        if evidence.kinds.is_empty() {
            bail!("nothing in {named} could be understood; the reasons: freeboard doctor -v {named}");
        }
        let inventory = inventory(&evidence.facts);
        Ok(Input { evidence, inventory, named })
    }
}

/// Larger descriptions are none.
const MOST_BYTES: u64 = 256 << 20;

fn described(file: &Path) -> Result<Input> {
    let open = || -> Result<String> {
        let mut text = String::new();
        if file.as_os_str() == "-" {
            stdin().take(MOST_BYTES).read_to_string(&mut text)?;
        } else {
            std::fs::File::open(file)?.take(MOST_BYTES).read_to_string(&mut text)?;
        }
        Ok(text)
    };
    let text = open().with_context(|| format!("cannot read {}", file.display()))?;
    let inventory: Inventory = serde_saphyr::from_str(&text)
        .with_context(|| format!("{} does not describe a cluster (see docs/plan.md)", file.display()))?;
    let named = format!("--described {}", file.display());
    Ok(Input { evidence: Evidence::default(), inventory, named })
}

/// The limits of every instance type that is known.
pub(crate) fn type_table() -> TypeTable {
    let limits = |known: &freeboard_vpc::InstanceType| {
        let card = usize::try_from(known.default_network_card_index).unwrap_or(usize::MAX);
        let on_card = known.interfaces_per_network_card.get(card).copied();
        let limits = TypeLimits {
            interfaces: u64::from(on_card.unwrap_or(known.maximum_network_interfaces)),
            addresses_per_interface: u64::from(known.ipv4_addresses_per_interface),
            processors: known.vcpus.map(u64::from),
            prefixes_supported: known.supports_prefixes(),
        };
        (known.instance_type.clone(), limits)
    };
    LimitTable::embedded().iter().map(limits).collect()
}

/// Prints a value for programs.
pub(crate) fn print_value<T: Serialize>(value: &T, output: Output) -> Result<()> {
    let value = serde_json::to_value(value)?;
    match output {
        Output::Yaml => anstream::print!("{}", crate::yaml::show(&value)),
        Output::Json | Output::Text | Output::Wide => anstream::println!("{}", serde_json::to_string_pretty(&value)?),
    }
    Ok(())
}

/// Paths as a person would type them again.
pub(crate) fn shown(paths: &[PathBuf]) -> String {
    let names: Vec<String> = paths.iter().take(3).map(|path| path.display().to_string()).collect();
    let more = if paths.len() > 3 { " …" } else { "" };
    format!("{}{more}", names.join(" "))
}

/// Progress on a terminal; silent elsewhere.
pub(crate) struct Bar {
    bar: ProgressBar,
}

impl Bar {
    /// A bar, if one is wanted and somebody sees it.
    pub(crate) fn new(is_wanted: bool) -> Self {
        let is_seen = is_wanted && std::io::stderr().is_terminal();
        let bar = if is_seen { ProgressBar::new(0) } else { ProgressBar::hidden() };
        // Known at the time of writing to be a valid template; a bar without a style is a bar too.
        if let Ok(style) = ProgressStyle::with_template("{bar:24} {bytes}/{total_bytes} {bytes_per_sec} {wide_msg}") {
            bar.set_style(style);
        }
        Self { bar }
    }

    /// Shows what is read now, where its size is not known.
    pub(crate) fn tell(&self, what: &str) {
        self.bar.set_message(what.to_owned());
        self.bar.tick();
    }

    /// Takes the bar away.
    pub(crate) fn end(&self) {
        self.bar.finish_and_clear();
    }
}

impl Progress for Bar {
    fn found(&mut self, _: usize, bytes: u64) {
        self.bar.set_length(bytes);
    }

    fn begin(&mut self, file: &str) {
        self.bar.set_message(file.to_owned());
    }

    fn advance(&mut self, bytes: u64) {
        self.bar.inc(bytes);
    }
}
