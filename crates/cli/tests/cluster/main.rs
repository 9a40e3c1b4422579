//! The commands that look at a living cluster, on a real API server: read in pages, with few rights, into an archive and back.

#![allow(clippy::print_stderr, clippy::unwrap_used, reason = "a test may say why it cannot run, and panic")]

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output};

use freeboard_kubernetes::client::{Access, ClientOptions, connect};
use freeboard_kubernetes::k8s_openapi::api::core::v1::Node;
use freeboard_kubernetes::kube::{Api, api::PostParams};
use freeboard_lab::kubernetes::BareCluster;
use futures::StreamExt;
use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::{Value, json};

type Problem = Box<dyn std::error::Error + Send + Sync>;
type Outcome<T = ()> = Result<T, Problem>;

/// More than two pages of a list.
const NODES: usize = 1_100;
/// What only the spec of a pod holds, and must not be in any archive.
const SECRET: &str = "hunter22-of-the-database";

fn main() -> ExitCode {
    if let Err(error) = freeboard_lab::isolate() {
        eprintln!("{error}");
        return ExitCode::FAILURE;
    }
    let trials = vec![
        Trial::test("a_living_cluster_is_read_like_a_dump_of_it", trial(living)),
        Trial::test("lists_of_many_pages_are_read_to_their_end", trial(pages)),
    ];
    // All control planes have the same address in the lab.
    let arguments = Arguments { test_threads: Some(1), ..Arguments::from_args() };
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn trial(test: fn(&Stage) -> Outcome) -> impl FnOnce() -> Result<(), Failed> {
    move || Stage::set().and_then(|stage| test(&stage)).map_err(|error| Failed::from(error.to_string()))
}

struct Stage {
    bare: BareCluster,
    runtime: tokio::runtime::Runtime,
    directory: tempfile::TempDir,
}

fn require(holds: bool, what: impl std::fmt::Display) -> Outcome {
    if holds { Ok(()) } else { Err(format!("does not hold: {what}").into()) }
}

impl Stage {
    fn set() -> Outcome<Self> {
        let tools = std::env::var_os("FREEBOARD_TOOLS").map(PathBuf::from).ok_or(
            "FREEBOARD_TOOLS is not set: run the tests with `cargo xtask test`, which builds the API server and names it",
        )?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let bare = BareCluster::start(runtime.handle(), &tools)?;
        Ok(Self { bare, runtime, directory: tempfile::tempdir()? })
    }

    fn run(&self, arguments: &[&str]) -> Outcome<Output> {
        Ok(Command::new(env!("CARGO_BIN_EXE_freeboard"))
            .args(arguments)
            .current_dir(self.directory.path())
            .env("KUBECONFIG", self.bare.cluster().kubeconfig())
            .env("HOME", self.directory.path())
            .output()?)
    }

    /// What a command prints, when it ends with the code.
    fn said(&self, arguments: &[&str], code: i32) -> Outcome<String> {
        let output = self.run(arguments)?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        require(output.status.code() == Some(code), format!("{arguments:?} ends with {code}: {said}{errors}"))?;
        Ok(said + &errors)
    }
}

/// The second seed, as far as Kubernetes shows it: two nodes have the two blocks of the pod range, and the third cannot come.
fn gke() -> String {
    let node = |name: &str, block: &str| {
        json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": {"name": name, "labels": {"cloud.google.com/gke-nodepool": "original-nodepool"}},
            "spec": {"podCIDR": block, "podCIDRs": [block], "providerID": format!("gce://demo-project/australia-southeast1-b/{name}")},
        })
    };
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "alpine-curl-1", "namespace": "default"},
        "spec": {
            "automountServiceAccountToken": false,
            "containers": [{"name": "curl", "image": "localhost/curl", "env": [{"name": "DATABASE", "value": SECRET}]}],
            "nodeSelector": {"nowhere": "yet"},
        },
    });
    let event = |name: &str, kind: &str, reason: &str, message: &str| {
        json!({
            "apiVersion": "v1", "kind": "Event", "metadata": {"name": name, "namespace": "default"},
            "type": kind, "reason": reason, "message": message, "count": 1,
            "source": {"component": "cluster-autoscaler"},
            "firstTimestamp": "2023-11-04T10:41:07Z", "lastTimestamp": "2023-11-04T10:41:07Z",
            "involvedObject": {"kind": "Pod", "namespace": "default", "name": "alpine-curl-1"},
        })
    };
    json!({"apiVersion": "v1", "kind": "List", "items": [
        node("gke-demo-ip-original-nodepool-1", "10.0.0.0/27"),
        node("gke-demo-ip-original-nodepool-2", "10.0.0.32/27"),
        pod,
        event("one", "Normal", "TriggeredScaleUp", "pod triggered scale-up: [{gke-demo-ip-original-nodepool-grp 2->3 (max: 7)}]"),
        event("two", "Warning", "FailedScaleUp", "Node scale up in zones australia-southeast1-b associated with this pod \
              failed: IP space exhausted. Pod is at risk of not being scheduled."),
    ]})
    .to_string()
}

fn living(stage: &Stage) -> Outcome {
    let cluster = stage.bare.cluster();
    cluster.kubectl(&["wait", "--for=create", "serviceaccount/default", "--timeout=60s"])?;
    cluster.apply(&gke())?;
    // A pod waits: that is what the code says.
    let status: Value = serde_json::from_str(&stage.said(&["status", "-o", "json"], 1)?)?;
    require(status["nodes"].as_array().map(Vec::len) == Some(2), format!("two nodes are shown: {status}"))?;
    let watched = watch(stage)?;
    require(watched.contains("gke-demo-ip-original-nodepool-1"), format!("the watch shows them: {watched}"))?;
    // Without the network's listings it is known that some range is full, and not which.
    let said = stage.said(&["doctor"], 1)?;
    require(said.contains("✗ IpSpaceExhausted"), format!("the API server alone tells of it: {said}"))?;
    require(
        said.contains("kubectl get events -A") || !said.contains("not understood"),
        format!("all is understood: {said}"),
    )?;
    plugin(stage)?;
    refusals(stage)?;
    archive(stage)
}

/// `kubectl freeboard …` is the same program, by a link in the PATH.
fn plugin(stage: &Stage) -> Outcome {
    let tools = PathBuf::from(std::env::var_os("FREEBOARD_TOOLS").unwrap_or_default());
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_freeboard"), stage.directory.path().join("kubectl-freeboard"))?;
    let run = |arguments: &[&str]| {
        Command::new(tools.join("kubectl"))
            .arg("freeboard")
            .args(arguments)
            .env("KUBECONFIG", stage.bare.cluster().kubeconfig())
            .env("HOME", stage.directory.path())
            .env("PATH", stage.directory.path())
            .output()
    };
    let said = String::from_utf8_lossy(&run(&["doctor"])?.stdout).into_owned();
    require(said.contains("✗ IpSpaceExhausted"), format!("kubectl freeboard doctor finds it too: {said}"))?;
    let said = String::from_utf8_lossy(&run(&["--help"])?.stdout).into_owned();
    require(said.contains("Usage: kubectl freeboard"), format!("and is called by that name: {said}"))
}

/// What may not be seen is told, and what cannot be asked is an error that says what to do.
fn refusals(stage: &Stage) -> Outcome {
    let cluster = stage.bare.cluster();
    cluster.kubectl(&["create", "serviceaccount", "-n", "kube-system", "reader"])?;
    cluster.kubectl(&["create", "clusterrole", "nodes-only", "--verb=list", "--resource=nodes"])?;
    cluster.kubectl(&[
        "create",
        "clusterrolebinding",
        "nodes-only",
        "--clusterrole=nodes-only",
        "--serviceaccount=kube-system:reader",
    ])?;
    let reader = stage.bare.kubeconfig_of("reader")?.display().to_string();
    let said = stage.said(&["doctor", "-v", "--kubeconfig", &reader], 0)?;
    require(
        said.contains("kubectl get pods -A") && said.contains("forbidden"),
        format!("what may not be seen is told: {said}"),
    )?;
    cluster.kubectl(&["create", "serviceaccount", "-n", "kube-system", "nobody"])?;
    let nobody = stage.bare.kubeconfig_of("nobody")?.display().to_string();
    let said = stage.said(&["status", "--kubeconfig", &nobody], 2)?;
    require(said.contains("the cluster shows nothing"), format!("no right at all is an error: {said}"))?;
    let said = stage.said(&["status", "--context", "no-such"], 2)?;
    require(said.contains("no-such"), format!("a context that is not there is named: {said}"))?;
    let said = stage.said(&["status", "--kubeconfig", &reader, "."], 2)?;
    require(said.contains("one at a time"), format!("files and a cluster are two things: {said}"))?;
    let output = Command::new(env!("CARGO_BIN_EXE_freeboard"))
        .arg("status")
        .env_remove("KUBECONFIG")
        .env("HOME", stage.directory.path())
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    require(
        output.status.code() == Some(2) && said.contains("freeboard status ./dump") && said.contains("KUBECONFIG"),
        format!("without a cluster it is said what to do: {said}"),
    )
}

/// From the archive alone, which holds no secret, the second seed's range is found.
fn archive(stage: &Stage) -> Outcome {
    let seed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../evidence/tests/dumps/broken/gke-seed");
    let with = |name: &str| seed.join(name).display().to_string();
    let arguments =
        ["collect", "--file", "dump.tar.gz", "--with", &with("subnet.yaml"), "--with", &with("node-pool.yaml")];
    let said = stage.said(&arguments, 0)?;
    eprintln!("{said}");
    let on_one_line = said.split_whitespace().collect::<Vec<_>>().join(" ");
    for words in ["variables of containers: 1", "Next: freeboard doctor dump.tar.gz"] {
        require(on_one_line.contains(words), format!("it says {words:?}: {said}"))?;
    }
    require(said.lines().all(|line| line.chars().count() <= 80), format!("it fits 80 columns: {said}"))?;
    let said = stage.said(&["doctor", "-v", "dump.tar.gz"], 1)?;
    let first = said.lines().find(|line| line.starts_with('✗')).unwrap_or_default();
    require(
        first.contains("PodRangeExhausted") && first.contains("range pod-range 10.0.0.0/26"),
        format!("the archive alone names the range: {said}"),
    )?;
    require(!said.contains("not understood"), format!("everything in it is understood: {said}"))?;
    let file = std::fs::File::open(stage.directory.path().join("dump.tar.gz"))?;
    let mut whole = String::new();
    flate2::read::GzDecoder::new(file).read_to_string(&mut whole)?;
    require(whole.contains("alpine-curl-1"), "the archive holds the pod")?;
    require(!whole.contains(SECRET), "and not what its containers are told")?;
    let said = stage.said(&arguments, 2)?;
    require(said.contains("exists already"), format!("an archive is not overwritten: {said}"))
}

/// The first page of `status --watch`, which goes on until it is killed.
fn watch(stage: &Stage) -> Outcome<String> {
    use std::io::{BufRead, BufReader};
    let mut child = Command::new(env!("CARGO_BIN_EXE_freeboard"))
        .args(["status", "--watch=1"])
        .current_dir(stage.directory.path())
        .env("KUBECONFIG", stage.bare.cluster().kubeconfig())
        .stdout(std::process::Stdio::piped())
        .spawn()?;
    let output = child.stdout.take().ok_or("the program has no standard output")?;
    let mut pages = 0;
    let mut text = String::new();
    for line in BufReader::new(output).lines() {
        let line = line?;
        pages += usize::from(line.ends_with("every 1 s"));
        text.push_str(&line);
        text.push('\n');
        if pages == 2 {
            break;
        }
    }
    child.kill()?;
    child.wait()?;
    require(pages == 2, format!("it looks again: {text}"))?;
    Ok(text)
}

fn pages(stage: &Stage) -> Outcome {
    let access = Access::Kubeconfig(stage.bare.cluster().kubeconfig().to_owned());
    let options = ClientOptions { access, server: None, user_agent: "freeboard-test/1".to_owned() };
    let client = stage.runtime.block_on(connect(&options))?;
    let api: Api<Node> = Api::all(client);
    let create = |index: usize| {
        let node = serde_json::from_value::<Node>(json!({
            "metadata": {"name": format!("node-{index:04}")}, "status": {"allocatable": {"pods": "110"}},
        }));
        let api = api.clone();
        async move { api.create(&PostParams::default(), &node.unwrap_or_default()).await.map(drop) }
    };
    let creating = futures::stream::iter((0..NODES).map(create)).buffer_unordered(32).collect::<Vec<_>>();
    for outcome in stage.runtime.block_on(creating) {
        outcome?;
    }
    let started = std::time::Instant::now();
    let status: Value = serde_json::from_str(&stage.said(&["status", "-o", "json"], 0)?)?;
    let shown = status["nodes"].as_array().map_or(0, Vec::len);
    eprintln!("status shows {shown} nodes after {:?}", started.elapsed());
    require(shown == NODES, format!("all {NODES} nodes are shown: {shown}"))
}
