//! The way out of a full network with Freeboard: pods wait, a person approves an expansion, and the pods run on the nodes that they
//! are on, without any of them being replaced.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use freeboard_lab::kubernetes::Cluster;
use freeboard_lab::{LAB_DIRECTORY, Namespace, Program, ProgramOptions};
use serde_json::Value;

use crate::support::{Outcome, Stage, require};
use crate::view::{self, PATIENCE, event, get, items, running, wait_for};

/// One node in a subnet of 11 addresses.
pub(crate) const WORLD: &str = one_node!("[]", "");
/// More than the subnet has, and as many as a t3.medium takes.
const PODS: usize = 14;
const DEFINITION: &str = include_str!("../../../../deploy/kubernetes/crds/expansions.ipam.freeboard.dev.yaml");
const RANGES: &str = include_str!("../../../../deploy/kubernetes/crds/podranges.ipam.freeboard.dev.yaml");
const EXPANSION: &str = "
apiVersion: ipam.freeboard.dev/v1alpha1
kind: Expansion
metadata: { name: more }
spec:
  vpc: vpc-0a0000000000000a1
  block: 100.64.0.0/20
  subnets: [{ zone: ap-southeast-2a, cidr: 100.64.1.0/24 }]
";

pub(crate) fn play(stage: &Stage) -> Outcome {
    let cluster = Cluster::start(&stage.lab, view::options()?)?;
    for definition in [DEFINITION, RANGES] {
        cluster.apply(definition)?;
    }
    cluster.kubectl(&["wait", "--for=condition=Established", "crd", "--all", "--timeout=120s"])?;
    cluster.install_agent(&stage.lab, &[("FREEBOARD_ADD_WAIT_SECONDS", "5")])?;
    cluster.wait_until_ready(PATIENCE)?;
    let _controller = start_controller(stage, &cluster)?;
    let before = nodes(&cluster)?;
    cluster.apply(&view::deployment(PODS))?;
    let told = event(&cluster, "Pod", "SubnetExhausted", &["10.0.16.0/28"])?;
    eprintln!("event on a pod: {told}");
    let early = pods(&cluster)?;
    require(early.len() < PODS, format!("not all pods have an address: {early:?}"))?;
    cluster.apply(EXPANSION)?;
    wait_for(&cluster, "the expansion is proposed", &["expansion", "more"], |object| {
        object["status"]["phase"] == "Proposed"
    })?;
    let approved = Instant::now();
    let said = freeboard(&cluster, &["expand", "more", "--approve", "--wait"])?;
    eprintln!("{said}");
    running(&cluster, PODS)?;
    view::tell_time("with one approval", approved.elapsed());
    let all = pods(&cluster)?;
    require(early.is_subset(&all), format!("pods that had an address keep it: {early:?}, {all:?}"))?;
    let secondary = all.iter().filter(|(_, address)| address.octets()[0] == 100).count();
    require((1..PODS).contains(&secondary), format!("pods of both ranges: {all:?}"))?;
    require(nodes(&cluster)? == before, "the nodes are the same")?;
    wait_for(&cluster, "the first pod is told", &["expansion", "more"], |object| {
        object["status"]["phase"] == "Done" && object["status"]["pods"] == secondary
    })?;
    let shown = freeboard(&cluster, &["expand"])?;
    require(shown.contains("100.64.0.0/20") && shown.contains("Done"), format!("it is in the list: {shown}"))
}

fn start_controller(stage: &Stage, cluster: &Cluster) -> Outcome<Program> {
    let arguments = vec![
        format!("--kubeconfig={}", cluster.kubeconfig().display()),
        "--identity=controller".to_owned(),
        "--expansions".to_owned(),
    ];
    let variable = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let environment = vec![
        variable("AWS_ENDPOINT_URL_EC2", &stage.lab.ec2_endpoint()),
        variable("AWS_REGION", stage.lab.region()),
        variable("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
        variable("AWS_SECRET_ACCESS_KEY", "example"),
    ];
    let log = PathBuf::from(LAB_DIRECTORY).join("freeboard-controller.log");
    let options = ProgramOptions { executable: program("freeboard-controller")?, arguments, environment, log };
    Ok(Program::start(&Namespace::current("control-plane")?, &options)?)
}

/// What `cargo xtask test` has built.
pub(crate) fn program(name: &str) -> Outcome<PathBuf> {
    let directory = std::env::var_os("FREEBOARD_PROGRAMS")
        .ok_or("FREEBOARD_PROGRAMS is not set: run the tests with `cargo xtask test`, which builds the programs")?;
    Ok(PathBuf::from(directory).join(name))
}

/// What `freeboard …` prints, as a person with the cluster's kubeconfig.
fn freeboard(cluster: &Cluster, arguments: &[&str]) -> Outcome<String> {
    let mut command = Command::new(program("freeboard")?);
    let output = command.args(arguments).env("KUBECONFIG", cluster.kubeconfig()).output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    require(
        output.status.success(),
        format!("freeboard {arguments:?}: {text}{}", String::from_utf8_lossy(&output.stderr)),
    )?;
    Ok(text)
}

/// The pods that run, each with its address.
pub(crate) fn pods(cluster: &Cluster) -> Outcome<BTreeSet<(String, Ipv4Addr)>> {
    let list = get(cluster, &["pods", "-l", "app=web", "--field-selector", "status.phase=Running"])?;
    let named = |pod: &Value| {
        let name = pod["metadata"]["name"].as_str()?.to_owned();
        Some((name, pod["status"]["podIP"].as_str()?.parse().ok()?))
    };
    Ok(items(&list).filter_map(named).collect())
}

/// The nodes by uid: one that is replaced has another.
fn nodes(cluster: &Cluster) -> Outcome<BTreeSet<String>> {
    let list = get(cluster, &["nodes"])?;
    Ok(items(&list).filter_map(|node| Some(node["metadata"]["uid"].as_str()?.to_owned())).collect())
}
