//! The controllers that give blocks to nodes, each on a real API server of its own: how soon all of many nodes have a block, what
//! that takes, and how soon a freed block serves a node that waits.
#![expect(clippy::print_stderr, reason = "the progress is for a person")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use freeboard_kubernetes::client::{Access, ClientOptions, connect};
use freeboard_kubernetes::k8s_openapi::api::core::v1::Node;
use freeboard_kubernetes::kube::api::{DeleteParams, PostParams, WatchEvent, WatchParams};
use freeboard_kubernetes::kube::{Api, Client};
use freeboard_kubernetes::lean_node::LeanNode;
use freeboard_kubernetes::resources::{PodRange, PodRangeSpec};
use freeboard_lab::Program;
use freeboard_lab::kubernetes::BareCluster;
use futures::{StreamExt, TryStreamExt};
use serde::Serialize;
use tokio::runtime::Runtime;

use crate::process::processor_time;

/// The addresses that both give blocks from; each node gets a /24.
const ADDRESSES: &str = "10.0.0.0/8";
/// Addresses for the second measure: two blocks of /24.
const FEW_ADDRESSES: &str = "10.0.0.0/23";
/// Nodes that are created at the same time.
const AT_ONCE: usize = 64;
/// How long anything may take.
const LIMIT: Duration = Duration::from_secs(1_800);
/// For so long a node waits before a block is freed: in that time kube-controller-manager's pauses have grown.
const WAITS: Duration = Duration::from_secs(20);

/// Who gives the blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Peer {
    /// Freeboard's controller at its defaults.
    Freeboard,
    /// kube-controller-manager at its defaults.
    Manager,
    /// kube-controller-manager without the limits of its client.
    UnlimitedManager,
}

impl Peer {
    const ALL: [Self; 3] = [Self::Freeboard, Self::Manager, Self::UnlimitedManager];

    /// The name in the table.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Freeboard => "freeboard-controller",
            Self::Manager => "kube-controller-manager",
            Self::UnlimitedManager => "kube-controller-manager, client limits lifted",
        }
    }
}

/// What one controller did.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Figures {
    /// Who it was.
    pub peer: Peer,
    /// Nodes that were created at once.
    pub nodes: usize,
    /// From the first node's creation until all had a block.
    pub seconds_until_all: f64,
    /// From the creation of the last node until all had a block.
    pub seconds_after_last: f64,
    /// Requests about nodes that the API server had, besides their creation, for each node; other components have their part.
    pub requests_per_node: f64,
    /// Processor time that it used.
    pub processor_seconds: f64,
    /// Its memory at the end.
    pub resident_mebibytes: f64,
    /// From the deletion of a node until its block was given to one that had waited for 20 s.
    pub seconds_until_freed_block_is_given: f64,
}

/// Measures each controller with so many nodes.
///
/// # Errors
/// When a program is missing or fails, or blocks are not given in time.
pub fn measure(nodes: usize) -> Result<Vec<Figures>> {
    let tools = std::env::var_os("FREEBOARD_TOOLS").map(PathBuf::from).context("FREEBOARD_TOOLS is not set")?;
    let programs = std::env::current_exe()?.parent().map(Path::to_owned).context("this program is in no directory")?;
    let mut figures = Vec::new();
    for peer in Peer::ALL {
        eprintln!("• {nodes} nodes at once, {}", peer.name());
        let place = Place::start(&tools, &programs)?;
        figures.push(place.burst(peer, nodes)?);
        drop(place);
        eprintln!("• a freed block, {}", peer.name());
        let place = Place::start(&tools, &programs)?;
        let seconds = place.freed_block(peer)?;
        figures
            .iter_mut()
            .filter(|one| one.peer == peer)
            .for_each(|one| one.seconds_until_freed_block_is_given = seconds);
    }
    Ok(figures)
}

/// A control plane, and a client of it.
struct Place<'a> {
    bare: BareCluster,
    /// With the rights of our controller.
    kubeconfig: PathBuf,
    client: Client,
    programs: &'a Path,
    /// Ends with the place: its tasks hold the network of the lab, and there is one at a time.
    runtime: Runtime,
}

impl<'a> Place<'a> {
    fn start(tools: &Path, programs: &'a Path) -> Result<Self> {
        let runtime = Runtime::new().context("cannot start a runtime")?;
        let bare = BareCluster::start(runtime.handle(), tools)?;
        let kubeconfig = bare.install_controller()?;
        let access = Access::Kubeconfig(bare.cluster().kubeconfig().to_owned());
        let options = ClientOptions { access, server: None, user_agent: "freeboard-bench/1".to_owned() };
        let client = runtime.block_on(connect(&options))?;
        Ok(Self { bare, kubeconfig, client, programs, runtime })
    }

    /// Starts a controller and waits until it gives blocks, which a first node shows.
    fn start_peer(&self, peer: Peer, addresses: &str) -> Result<Program> {
        let program = match peer {
            Peer::Freeboard => {
                let range = PodRange::new("pods", PodRangeSpec::new(addresses.parse()?));
                let ranges: Api<PodRange> = Api::all(self.client.clone());
                self.runtime.block_on(ranges.create(&PostParams::default(), &range))?;
                let program = self.programs.join("freeboard-controller");
                // kube-controller-manager gives a freed block again without a rest.
                let kubeconfig = format!("--kubeconfig={}", self.kubeconfig.display());
                let arguments = [kubeconfig.as_str(), "--identity=bench", "--cooldown-seconds=0"].map(str::to_owned);
                self.bare.start_program(&program, "freeboard-controller", &arguments)?
            }
            Peer::Manager => self.bare.start_node_ipam(addresses, &[])?,
            Peer::UnlimitedManager => {
                self.bare.start_node_ipam(addresses, &["--kube-api-qps=10000", "--kube-api-burst=10000"])?
            }
        };
        self.create(&["first".to_owned()])?;
        self.runtime.block_on(self.until_served(BTreeSet::from(["first".to_owned()])))?;
        Ok(program)
    }

    fn burst(&self, peer: Peer, nodes: usize) -> Result<Figures> {
        let program = self.start_peer(peer, ADDRESSES)?;
        let names: Vec<String> = (0..nodes).map(|index| format!("node-{index:05}")).collect();
        let (requests, processor) = (self.requests()?, processor_time(&program)?);
        let started = Instant::now();
        let (created, served) = self.runtime.block_on(async {
            let served = tokio::spawn(until_all_served(self.client.clone(), names.iter().cloned().collect()));
            self.create_at_once(&names).await?;
            let created = started.elapsed();
            served.await??;
            anyhow::Ok((created, started.elapsed()))
        })?;
        let requests = self.requests()? - requests - nodes as f64;
        Ok(Figures {
            peer,
            nodes,
            seconds_until_all: served.as_secs_f64(),
            seconds_after_last: (served - created).as_secs_f64(),
            requests_per_node: requests / nodes as f64,
            processor_seconds: (processor_time(&program)? - processor).as_secs_f64(),
            resident_mebibytes: program.resident_kibibytes().context("the controller has ended")? as f64 / 1024.0,
            seconds_until_freed_block_is_given: 0.0,
        })
    }

    fn freed_block(&self, peer: Peer) -> Result<f64> {
        let _program = self.start_peer(peer, FEW_ADDRESSES)?;
        self.create(&["second".to_owned()])?;
        self.runtime.block_on(self.until_served(BTreeSet::from(["second".to_owned()])))?;
        self.create(&["waiting".to_owned()])?;
        let api: Api<LeanNode> = Api::all(self.client.clone());
        // The one wait for time here: how long a node has waited is what decides how often it is looked at.
        std::thread::sleep(WAITS);
        let waiting = self.runtime.block_on(api.get("waiting"))?;
        ensure!(waiting.spec.pod_cidrs.is_empty(), "the third node got {:?} of two blocks", waiting.spec.pod_cidrs);
        let started = Instant::now();
        self.runtime.block_on(api.delete("first", &DeleteParams::default()))?;
        self.runtime.block_on(self.until_served(BTreeSet::from(["waiting".to_owned()])))?;
        Ok(started.elapsed().as_secs_f64())
    }

    fn create(&self, names: &[String]) -> Result<()> {
        self.runtime.block_on(self.create_at_once(names))
    }

    async fn create_at_once(&self, names: &[String]) -> Result<()> {
        let api: Api<Node> = Api::all(self.client.clone());
        let create = |name: &String| {
            let node = serde_json::from_value::<Node>(serde_json::json!({
                "metadata": {"name": name}, "status": {"capacity": {"pods": "110"}},
            }));
            let api = api.clone();
            async move { anyhow::Ok(api.create(&PostParams::default(), &node?).await.map(drop)?) }
        };
        futures::stream::iter(names.iter().map(create)).buffer_unordered(AT_ONCE).try_collect().await
    }

    async fn until_served(&self, names: BTreeSet<String>) -> Result<()> {
        until_all_served(self.client.clone(), names).await
    }

    /// Requests about nodes that the API server has had.
    fn requests(&self) -> Result<f64> {
        let text = self.bare.cluster().kubectl(&["get", "--raw", "/metrics"])?;
        let of_nodes =
            |line: &&str| line.starts_with("apiserver_request_total{") && line.contains("resource=\"nodes\"");
        let count = |line: &str| line.rsplit(' ').next().and_then(|count| count.parse::<f64>().ok()).unwrap_or(0.0);
        Ok(text.lines().filter(of_nodes).map(count).sum())
    }
}

/// Watches until all of these nodes have a block.
async fn until_all_served(client: Client, mut names: BTreeSet<String>) -> Result<()> {
    let api: Api<LeanNode> = Api::all(client);
    let watched = async {
        loop {
            let mut events = api.watch(&WatchParams::default(), "0").await?.boxed();
            while let Some(event) = events.try_next().await? {
                if let WatchEvent::Added(node) | WatchEvent::Modified(node) = event
                    && !node.spec.pod_cidrs.is_empty()
                    && let Some(name) = node.metadata.name
                {
                    names.remove(&name);
                    if names.is_empty() {
                        return anyhow::Ok(());
                    }
                }
            }
        }
    };
    match tokio::time::timeout(LIMIT, watched).await {
        Ok(outcome) => outcome,
        Err(_) => bail!("after {LIMIT:?} nodes are still without a block"),
    }
}

/// The figures as a table.
#[must_use]
pub fn table(figures: &[Figures]) -> String {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(["controller", "all served", "after the last", "requests/node", "CPU", "memory", "freed block"]);
    for one in figures {
        table.add_row([
            one.peer.name().to_owned(),
            format!("{:.1} s", one.seconds_until_all),
            format!("{:.2} s", one.seconds_after_last),
            format!("{:.1}", one.requests_per_node),
            format!("{:.1} s", one.processor_seconds),
            format!("{:.0} MiB", one.resident_mebibytes),
            format!("{:.2} s", one.seconds_until_freed_block_is_given),
        ]);
    }
    table.to_string()
}

/// What is missed of the targets: three times sooner than kube-controller-manager at its defaults, not slower than without its
/// client's limits (a tenth is noise), a third of its memory, and a freed block given within a second.
#[must_use]
pub fn missed(figures: &[Figures]) -> Vec<String> {
    let of = |peer: Peer| figures.iter().find(|one| one.peer == peer);
    let (Some(ours), Some(theirs), Some(unlimited)) =
        (of(Peer::Freeboard), of(Peer::Manager), of(Peer::UnlimitedManager))
    else {
        return vec!["not all controllers were measured".to_owned()];
    };
    let mut missed = Vec::new();
    let sooner = theirs.seconds_until_all / ours.seconds_until_all;
    if sooner < 3.0 {
        missed.push(format!(
            "all nodes are served {sooner:.1} times sooner than by kube-controller-manager, not 3 times"
        ));
    }
    if ours.seconds_until_all > unlimited.seconds_until_all * 1.1 {
        missed.push(format!(
            "all nodes are served after {:.1} s, and by kube-controller-manager without limits after {:.1} s",
            ours.seconds_until_all, unlimited.seconds_until_all
        ));
    }
    if ours.resident_mebibytes * 3.0 > theirs.resident_mebibytes {
        missed.push(format!(
            "memory is {:.0} MiB, more than a third of {:.0} MiB",
            ours.resident_mebibytes, theirs.resident_mebibytes
        ));
    }
    if ours.seconds_until_freed_block_is_given > 1.0 {
        missed.push(format!("a freed block is given after {:.2} s", ours.seconds_until_freed_block_is_given));
    }
    missed
}
