//! `freeboard collect`: a dump of a living cluster in one archive, for `freeboard doctor` or for somebody else; masked.

mod archive;
mod mask;
mod nodes;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Args;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::cluster::{self, ClusterArguments, Told};
use crate::ec2_answers;
use crate::input::Bar;
use crate::layout::{counted, item};
use crate::live::Live;
use archive::Archive;
use mask::Mask;
use nodes::Named;

const WIDTH: usize = 80;
/// Larger files are no listings of a cloud.
const MOST_ADDED_BYTES: u64 = 256 << 20;

/// What to collect, and where to.
#[derive(Debug, Args)]
#[command(
    after_help = "Asked for: nodes, pods, events, the agent's DaemonSet and ConfigMaps, ENIConfigs, Freeboard's objects, IP pools; of \
                  some nodes the end of the CNI's logs (this needs the right to nodes/proxy) and what the agent shows; with --aws \
                  what EC2 says of the network. Secrets are never asked for. Account ids, variables and arguments of containers, and \
                  what looks like a key or a password, are masked; look at the archive before you give it away all the same.\n\
                  On GKE add the network by hand: gcloud compute networks subnets describe … > subnet.yaml, and --with subnet.yaml.\n\
                  Exit codes: 0 written, 2 nothing written."
)]
pub(crate) struct CollectArguments {
    #[command(flatten)]
    cluster: ClusterArguments,
    #[command(flatten)]
    live: Live,
    /// The archive to write [default: freeboard-collect-TIME.tar.gz]
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Ask so many nodes for logs, those with pods that wait first
    #[arg(long, value_name = "COUNT", default_value_t = 20)]
    nodes: usize,
    /// Take so much of the end of each log
    #[arg(long, value_name = "MEBIBYTES", default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=100))]
    log_size: u64,
    /// Put this file into the archive too, masked: what gcloud or the aws CLI printed; may be repeated
    #[arg(long, value_name = "FILE")]
    with: Vec<PathBuf>,
}

/// What goes into the archive, while it is gathered.
struct Gathering {
    archive: Archive,
    mask: Mask,
    named: Named,
    /// How many answers of each name there are.
    written: BTreeMap<String, u64>,
    /// What could not be had, and why.
    missing: BTreeMap<String, String>,
}

/// Runs the command.
pub(crate) fn run(arguments: &CollectArguments) -> Result<ExitCode> {
    let now = Timestamp::now();
    let file = arguments
        .file
        .clone()
        .unwrap_or_else(|| PathBuf::from(format!("freeboard-collect-{}.tar.gz", now.strftime("%Y-%m-%dT%H-%M-%SZ"))));
    let runtime = cluster::runtime()?;
    let client = arguments.cluster.connect(&runtime).context("name a cluster (--kubeconfig, KUBECONFIG)")?;
    let seconds = u64::try_from(now.as_second()).unwrap_or(0);
    let mut gathering = Gathering {
        archive: Archive::create(&file, seconds)?,
        mask: Mask::new()?,
        named: Named::default(),
        written: BTreeMap::new(),
        missing: BTreeMap::new(),
    };
    let bar = Bar::new(true);
    let asked = cluster::ask(&runtime, &client, |told| match told {
        Told::Answer { name, text } => {
            bar.tell(name);
            gathering.cluster_answer(name, &text)
        }
        Told::Withheld { name, why } => {
            gathering.missing.insert(name.to_owned(), why);
            Ok(())
        }
    });
    bar.tell("logs of nodes");
    let most = arguments.nodes;
    let told = asked.map(|()| runtime.block_on(gathering.named.ask(&client, most, arguments.log_size << 20)));
    bar.end();
    for answer in told? {
        let name = format!("nodes/{}/{}", answer.node, answer.file);
        gathering.node_answer(name, answer.text)?;
    }
    if arguments.live.asks_ec2() {
        gathering.ec2_answers(&arguments.live)?;
    }
    for file in &arguments.with {
        gathering.given_file(file)?;
    }
    gathering.finish(&file, now, most)?;
    Ok(ExitCode::SUCCESS)
}

impl Gathering {
    fn cluster_answer(&mut self, name: &str, text: &str) -> Result<()> {
        let mut document: Value =
            serde_json::from_str(text).with_context(|| format!("the API server's answer to `{name}` is no JSON"))?;
        self.named.note(&document);
        let short = name.rsplit(' ').find(|word| !word.starts_with('-')).unwrap_or(name);
        self.document(&format!("kubernetes/{short}"), &mut document)
    }

    /// Adds a document; pages of one list are numbered.
    fn document(&mut self, name: &str, document: &mut Value) -> Result<()> {
        let count = self.written.entry(name.to_owned()).or_default();
        *count += 1;
        let file = if *count == 1 { format!("{name}.json") } else { format!("{name}-{count}.json") };
        let text = self.mask.document(document)?;
        self.archive.add(&file, text.as_bytes())
    }

    fn node_answer(&mut self, name: String, text: Result<String, String>) -> Result<()> {
        match text {
            Ok(text) => {
                let masked = self.mask.text(&text);
                self.archive.add(&name, masked.as_bytes())?;
                *self.written.entry(name).or_default() += 1;
            }
            Err(why) => {
                self.missing.insert(name, why);
            }
        }
        Ok(())
    }

    fn ec2_answers(&mut self, live: &Live) -> Result<()> {
        let client = live.client()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        for one in runtime.block_on(ec2_answers::ask(&client)) {
            let name = format!("aws/{}", one.what);
            match one.answer {
                Ok(mut answer) => self.document(&name, &mut answer)?,
                Err(error) => {
                    self.missing.insert(format!("aws ec2 describe-{}", one.what), error.to_string());
                }
            }
        }
        Ok(())
    }

    fn given_file(&mut self, file: &Path) -> Result<()> {
        let metadata = fs::metadata(file).with_context(|| format!("cannot read {}", file.display()))?;
        if metadata.len() > MOST_ADDED_BYTES {
            bail!("{} is larger than {} MiB: give it to doctor by itself", file.display(), MOST_ADDED_BYTES >> 20);
        }
        let text = fs::read_to_string(file)
            .with_context(|| format!("cannot add {}: only text can be masked", file.display()))?;
        let short = file.file_name().map_or_else(|| "file".into(), |name| name.to_string_lossy());
        let position = self.written.keys().filter(|name| name.starts_with("with/")).count() + 1;
        self.node_answer(format!("with/{position}-{short}"), Ok(text))
    }

    /// Writes what was done and closes the archive, and tells the person.
    fn finish(mut self, file: &Path, now: Timestamp, most_nodes: usize) -> Result<()> {
        if self.written.is_empty() {
            let reasons: Vec<String> = self.missing.into_values().collect();
            bail!("the cluster shows nothing: {}", reasons.join("; "));
        }
        let masked = self.mask.counts().clone();
        let about = json!({"freeboardCollect": {
            "version": env!("CARGO_PKG_VERSION"),
            "at": now.to_string(),
            "written": self.written,
            "missing": self.missing,
            "masked": masked,
        }});
        self.archive.add("collect.json", serde_json::to_string_pretty(&about)?.as_bytes())?;
        let nodes = self.named.count();
        let bytes = self.archive.finish()?;
        let answers: u64 = self.written.values().sum();
        anstream::println!(
            "{}: {}, {} KiB",
            file.display(),
            counted(answers, "answer", "answers"),
            bytes.div_ceil(1024)
        );
        let list: Vec<String> = masked.iter().map(|(what, count)| format!("{what}: {count}")).collect();
        let list = if list.is_empty() { "nothing".to_owned() } else { list.join(", ") };
        anstream::println!("{}", item("  masked:  ", &list, WIDTH));
        if nodes > most_nodes {
            let left = u64::try_from(nodes - most_nodes).unwrap_or(u64::MAX);
            anstream::println!(
                "{}",
                item("  left out: ", &format!("logs of {} (--nodes)", counted(left, "node", "nodes")), WIDTH)
            );
        }
        for (reason, what) in by_reason(&self.missing) {
            anstream::println!("{}", item("  not had: ", &format!("{what}: {reason}"), WIDTH));
        }
        anstream::println!("Next: freeboard doctor {}", file.display());
        Ok(())
    }
}

/// What is missing, gathered by the reason: of many nodes, one and the number of the others.
fn by_reason(missing: &BTreeMap<String, String>) -> BTreeMap<&str, String> {
    let mut reasons: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (what, why) in missing {
        reasons.entry(why.as_str()).or_default().push(what);
    }
    let shown = |all: Vec<&str>| match all.as_slice() {
        [first, others @ ..] if !others.is_empty() => format!("{first} and {} more", others.len()),
        all => all.join(""),
    };
    reasons.into_iter().map(|(why, all)| (why, shown(all))).collect()
}
