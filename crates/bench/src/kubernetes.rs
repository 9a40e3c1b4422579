//! Freeboard and the incumbent, one after the other, on the one node of a real cluster: a Deployment from nothing to all Running.
#![expect(clippy::print_stderr, reason = "the progress is for a person")]

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use freeboard_kubernetes::client::{Access, ClientOptions, connect};
use freeboard_kubernetes::k8s_openapi::api::core::v1::Pod;
use freeboard_kubernetes::kube::api::{WatchEvent, WatchParams};
use freeboard_kubernetes::kube::{Api, Client};
use freeboard_lab::kubernetes::{Cluster, ClusterOptions};
use freeboard_lab::runtime::PluginList;
use freeboard_lab::{Lab, LabOptions, Machine, Program};
use futures::{StreamExt, TryStreamExt};
use serde::Serialize;
use serde_json::json;
use tokio::runtime::Runtime;

use crate::incumbent::{self, tools_directory};
use crate::process;

const WORLD: &str = include_str!("../../../worlds/bench-kubernetes.yaml");
/// The definition that the incumbent's agent asks for.
const ENI_CONFIG: &str = include_str!("../../../deploy/kubernetes/crds/eniconfigs.crd.k8s.amazonaws.com.yaml");
/// Where the incumbent's plugins are on the node.
const PLUGINS: &str = "/opt/cni/bin";
/// How long anything may take.
const LIMIT: Duration = Duration::from_secs(600);
/// The port of both agents' metrics.
const METRICS: u16 = 61678;
/// What kubelet tells of the time that sandboxes took.
const SANDBOXES: &str = "kubelet_run_podsandbox_duration_seconds_bucket";

/// Who gives the pods their addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Peer {
    /// Freeboard's agent as a DaemonSet, at its defaults.
    Freeboard,
    /// The Amazon VPC CNI's agent as a process of the node, at its defaults.
    Incumbent,
}

impl Peer {
    const ALL: [Self; 2] = [Self::Freeboard, Self::Incumbent];

    /// The name in the table.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Freeboard => "Freeboard",
            Self::Incumbent => "Amazon VPC CNI",
        }
    }
}

/// What came of one Deployment.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Figures {
    /// Who gave the addresses.
    pub peer: Peer,
    /// Pods of the Deployment.
    pub pods: usize,
    /// From its creation until all its pods ran.
    pub seconds_until_running: f64,
    /// How long 99 of 100 sandboxes took at most, between two borders of kubelet's histogram.
    pub sandbox_p99_seconds: f64,
    /// Sandboxes that could not be made, and were made anew.
    pub failed_sandboxes: f64,
    /// Requests that the API server had meanwhile, of all components, for each pod.
    pub requests_per_pod: f64,
    /// EC2 calls of the agent meanwhile.
    pub ec2_calls: u64,
    /// The agent's memory with all pods.
    pub agent_mebibytes: f64,
}

/// Measures each agent with so many pods.
///
/// # Errors
/// When a program is missing or fails, or pods do not run in time.
pub fn measure(pods: usize) -> Result<Vec<Figures>> {
    let one = |peer: Peer| {
        // The cloud's tasks hold sockets of their nodes, and end with the runtime: the next lab needs the same addresses.
        let runtime = Runtime::new().context("cannot start a runtime")?;
        Place::start(&runtime, peer)?.deployment(pods)
    };
    Peer::ALL.into_iter().map(one).collect()
}

/// A cluster with one node, on which an agent serves.
struct Place<'a> {
    runtime: &'a Runtime,
    peer: Peer,
    client: Client,
    node: Machine,
    // Dropped in this order: the agent, the cluster, the lab.
    _agent: Option<Program>,
    cluster: Cluster,
    lab: Lab,
}

impl<'a> Place<'a> {
    fn start(runtime: &'a Runtime, peer: Peer) -> Result<Self> {
        eprintln!("• a cluster with {}", peer.name());
        let tools = tools_directory()?;
        let images = std::env::var_os("FREEBOARD_IMAGES").map(PathBuf::from).context("FREEBOARD_IMAGES is not set")?;
        let world = freeboard_vpc_server::parse_world("worlds/bench-kubernetes.yaml", WORLD)?;
        // The agents are no programs of the lab here.
        let options = LabOptions { agent: PathBuf::new(), plugin: PathBuf::new(), speed: 1.0 };
        let lab = runtime.block_on(Lab::start(world, options))?;
        let cluster = Cluster::start(&lab, ClusterOptions { tools, images })?;
        let access = Access::Kubeconfig(cluster.kubeconfig().to_owned());
        let options = ClientOptions { access, server: None, user_agent: "freeboard-bench/1".to_owned() };
        let client = runtime.block_on(connect(&options))?;
        let node = lab.machines().into_iter().next().context("the world has no machine")?;
        let agent = match peer {
            Peer::Freeboard => {
                cluster.install_agent(&lab, &[])?;
                None
            }
            Peer::Incumbent => Some(runtime.block_on(start_incumbent(&cluster, &node))?),
        };
        cluster.wait_until_ready(LIMIT)?;
        Ok(Self { runtime, peer, client, node, _agent: agent, cluster, lab })
    }

    /// Until all pods of a Deployment run, which is there at once, from the pool as it is just after the start.
    fn deployment(&self, pods: usize) -> Result<Figures> {
        eprintln!("• a Deployment of {pods} pods");
        let (requests, calls) = (self.requests()?, self.ec2_calls());
        let (sandboxes, failed) = (self.sandboxes()?, self.failed_sandboxes()?);
        let started = Instant::now();
        let running = self.runtime.spawn(until_running(self.client.clone(), pods));
        self.cluster.apply(&deployment(pods))?;
        let last = self.runtime.block_on(running)??;
        let after = self.sandboxes()?;
        Ok(Figures {
            peer: self.peer,
            pods,
            seconds_until_running: (last - started).as_secs_f64(),
            sandbox_p99_seconds: quantile(&difference(&after, &sandboxes), 0.99).context("kubelet made no sandbox")?,
            failed_sandboxes: self.failed_sandboxes()? - failed,
            requests_per_pod: (self.requests()? - requests) / pods as f64,
            ec2_calls: self.ec2_calls() - calls,
            agent_mebibytes: self.agent_memory()? / f64::from(1 << 20),
        })
    }

    fn ec2_calls(&self) -> u64 {
        self.lab.server().calls().values().map(|count| count.calls).sum()
    }

    /// Requests that the API server has had.
    fn requests(&self) -> Result<f64> {
        let text = self.cluster.kubectl(&["get", "--raw", "/metrics"])?;
        Ok(series(&text, "apiserver_request_total").map(|(_, value)| value).sum())
    }

    fn kubelet(&self) -> Result<String> {
        let path = format!("/api/v1/nodes/{}/proxy/metrics", self.node.name);
        Ok(self.cluster.kubectl(&["get", "--raw", &path])?)
    }

    /// Sandboxes that took no longer than each border, in seconds.
    fn sandboxes(&self) -> Result<Vec<Bucket>> {
        let text = self.kubelet()?;
        let mut buckets: Vec<Bucket> = Vec::new();
        for (labels, count) in series(&text, SANDBOXES) {
            let border = labels.split("le=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or_default();
            let seconds = if border == "+Inf" { f64::INFINITY } else { border.parse().unwrap_or(f64::NAN) };
            ensure!(!seconds.is_nan(), "kubelet's {SANDBOXES} has the border {border:?}: expected a number");
            // One series for each way to run containers.
            match buckets.iter_mut().find(|bucket| bucket.seconds == seconds) {
                Some(bucket) => bucket.count += count,
                None => buckets.push(Bucket { seconds, count }),
            }
        }
        buckets.sort_by(|left, right| left.seconds.total_cmp(&right.seconds));
        Ok(buckets)
    }

    fn failed_sandboxes(&self) -> Result<f64> {
        Ok(series(&self.kubelet()?, "kubelet_run_podsandbox_errors_total").map(|(_, value)| value).sum())
    }

    /// As the agent itself tells it, in bytes.
    fn agent_memory(&self) -> Result<f64> {
        let text = self.node.get(METRICS, "/metrics")?;
        let memory = series(&text, "process_resident_memory_bytes").map(|(_, value)| value).next();
        memory.context("the agent does not tell its memory")
    }
}

/// A border of a histogram.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Bucket {
    seconds: f64,
    /// How many took no longer.
    count: f64,
}

/// The series of a metric, each as its labels and its value.
fn series<'a>(text: &'a str, name: &'a str) -> impl Iterator<Item = (&'a str, f64)> {
    text.lines().filter_map(move |line| {
        let rest = line.strip_prefix(name)?;
        let (labels, value) = rest.rsplit_once(' ')?;
        (labels.is_empty() || labels.starts_with('{')).then_some((labels, value.parse().ok()?))
    })
}

fn difference(after: &[Bucket], before: &[Bucket]) -> Vec<Bucket> {
    let earlier = |seconds: f64| before.iter().find(|bucket| bucket.seconds == seconds).map_or(0.0, |one| one.count);
    after.iter().map(|one| Bucket { count: one.count - earlier(one.seconds), ..*one }).collect()
}

/// The value below which the share `q` lies, between two borders in proportion, as Prometheus has it.
fn quantile(buckets: &[Bucket], q: f64) -> Option<f64> {
    let total = buckets.last().map(|bucket| bucket.count).filter(|count| *count > 0.0)?;
    let mut lower = Bucket { seconds: 0.0, count: 0.0 };
    for bucket in buckets {
        if bucket.count >= q * total {
            if bucket.seconds.is_infinite() {
                return Some(lower.seconds);
            }
            let share = (q * total - lower.count) / (bucket.count - lower.count);
            return Some(lower.seconds + (bucket.seconds - lower.seconds) * share);
        }
        lower = *bucket;
    }
    None
}

/// Starts the incumbent's agent on the node, and puts its plugins and their list there as its container does once the agent is
/// healthy.
async fn start_incumbent(cluster: &Cluster, node: &Machine) -> Result<Program> {
    cluster.apply(ENI_CONFIG)?;
    let tools = tools_directory()?;
    let kubeconfig = std::fs::read_to_string(cluster.kubeconfig()).context("cannot read the kubeconfig")?;
    let options = incumbent::agent_of_cluster(node, &tools, &kubeconfig)?;
    let (program, _) = process::start(node, &options).await?;
    let list = incumbent::shipped_list(&[PathBuf::from(PLUGINS)]);
    node.namespace().run(|| install_plugins(&tools, &list))?.context("cannot install the incumbent's plugins")?;
    Ok(program)
}

fn install_plugins(tools: &std::path::Path, list: &PluginList) -> std::io::Result<()> {
    std::fs::create_dir_all(PLUGINS)?;
    for name in ["aws-cni", "egress-cni", "portmap", "host-local"] {
        std::fs::copy(tools.join(name), PathBuf::from(PLUGINS).join(name))?;
    }
    std::fs::create_dir_all("/etc/cni/net.d")?;
    let list =
        json!({"cniVersion": list.cni_version, "name": list.name, "disableCheck": true, "plugins": list.plugins});
    std::fs::write("/etc/cni/net.d/10-aws.conflist", list.to_string())
}

/// Watches until so many pods of the Deployment run; returns when the last one did.
async fn until_running(client: Client, pods: usize) -> Result<Instant> {
    let api: Api<Pod> = Api::namespaced(client, "default");
    let mut running = BTreeSet::new();
    let watched = async {
        loop {
            let mut events = api.watch(&WatchParams::default().labels("app=web"), "0").await?.boxed();
            while let Some(event) = events.try_next().await? {
                let (WatchEvent::Added(pod) | WatchEvent::Modified(pod)) = event else { continue };
                let is_running = pod.status.and_then(|status| status.phase).as_deref() == Some("Running");
                if is_running && let Some(name) = pod.metadata.name {
                    running.insert(name);
                }
                if running.len() == pods {
                    return anyhow::Ok(Instant::now());
                }
            }
        }
    };
    match tokio::time::timeout(LIMIT, watched).await {
        Ok(outcome) => outcome,
        Err(_) => bail!("after {LIMIT:?} only {} of {pods} pods run", running.len()),
    }
}

fn deployment(pods: usize) -> String {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "default"},
        "spec": {
            "replicas": pods,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {
                    "terminationGracePeriodSeconds": 1,
                    "automountServiceAccountToken": false,
                    "containers": [{"name": "web", "image": "localhost/pause:1", "imagePullPolicy": "Never"}],
                },
            },
        },
    })
    .to_string()
}

/// The figures as a table.
#[must_use]
pub fn table(figures: &[Figures]) -> String {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(["agent", "all Running", "sandbox p99", "failed", "requests/pod", "EC2 calls", "memory"]);
    for one in figures {
        table.add_row([
            one.peer.name().to_owned(),
            format!("{:.1} s", one.seconds_until_running),
            format!("{:.2} s", one.sandbox_p99_seconds),
            format!("{:.0}", one.failed_sandboxes),
            format!("{:.1}", one.requests_per_pod),
            one.ec2_calls.to_string(),
            format!("{:.0} MiB", one.agent_mebibytes),
        ]);
    }
    table.to_string()
}

/// What is missed of the targets: all pods run, and a sandbox is made, in half of the time, with a fifth of the memory.
#[must_use]
pub fn missed(figures: &[Figures]) -> Vec<String> {
    let of = |peer: Peer| figures.iter().find(|one| one.peer == peer);
    let (Some(ours), Some(theirs)) = (of(Peer::Freeboard), of(Peer::Incumbent)) else {
        return vec!["not both agents were measured".to_owned()];
    };
    let ratios = [
        ("all pods run", theirs.seconds_until_running / ours.seconds_until_running, 2.0, "times sooner"),
        ("99 of 100 sandboxes are made", theirs.sandbox_p99_seconds / ours.sandbox_p99_seconds, 2.0, "times sooner"),
        ("the agent is", theirs.agent_mebibytes / ours.agent_mebibytes, 5.0, "times smaller"),
    ];
    let missed = ratios.iter().filter(|(_, ratio, target, _)| ratio < target);
    missed.map(|(what, ratio, target, how)| format!("{what} {ratio:.1} {how}, not {target:.0}")).collect()
}

#[cfg(test)]
mod tests {
    use super::{Bucket, difference, quantile, series};

    fn buckets(counts: [f64; 3]) -> Vec<Bucket> {
        [0.5, 1.0, f64::INFINITY].into_iter().zip(counts).map(|(seconds, count)| Bucket { seconds, count }).collect()
    }

    #[test]
    fn a_quantile_lies_between_two_borders_in_proportion() {
        assert_eq!(quantile(&buckets([50.0, 100.0, 100.0]), 0.75), Some(0.75));
        assert_eq!(quantile(&buckets([50.0, 60.0, 100.0]), 0.99), Some(1.0), "above the last border nothing is known");
        assert_eq!(quantile(&buckets([0.0, 0.0, 0.0]), 0.99), None);
        let since = difference(&buckets([50.0, 100.0, 100.0]), &buckets([40.0, 60.0, 60.0]));
        assert_eq!(since, buckets([10.0, 40.0, 40.0]));
    }

    #[test]
    fn series_are_those_of_the_metric_and_not_of_a_longer_name() {
        let text = "# TYPE a counter\na{x=\"1\"} 2\na{x=\"2\"} 3e1\na_total 7\na 1\n";
        let found: Vec<_> = series(text, "a").collect();
        assert_eq!(found, [("{x=\"1\"}", 2.0), ("{x=\"2\"}", 30.0), ("", 1.0)]);
    }
}
