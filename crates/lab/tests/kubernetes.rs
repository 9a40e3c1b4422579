//! A real cluster on the lab's nodes: the agent as a DaemonSet makes them Ready, pods get addresses of the VPC and reach each
//! other, and what they leave is given back.

#![allow(clippy::print_stderr, clippy::unwrap_used, reason = "a test may say why it cannot run, and panic")]

#[allow(dead_code, reason = "the cluster starts its agents itself")]
mod support;

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use freeboard_address::PodKey;
use freeboard_lab::kubernetes::{Cluster, ClusterOptions};
use freeboard_lab::ping;
use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::Value;
use support::{LIMIT, Outcome, Stage, held, require, wait_until};

/// The network of the demo.
const WORLD: &str = include_str!("../../../worlds/eks-demo.yaml");
/// How long anything in a cluster may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(180);
/// Pods of the Deployment: two or more on each node.
const PODS: usize = 18;

fn main() -> ExitCode {
    if let Err(error) = freeboard_lab::isolate() {
        eprintln!("{error}");
        return ExitCode::FAILURE;
    }
    let trials = vec![Trial::test("pods_of_a_real_cluster_get_addresses_of_the_vpc_and_give_them_back", || {
        Stage::play(WORLD, life_of_a_deployment).map_err(|error| Failed::from(error.to_string()))
    })];
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn life_of_a_deployment(stage: &Stage) -> Outcome {
    let started = Instant::now();
    let mut cluster = start(stage)?;
    cluster.install_agent(&stage.lab, &[("IP_COOLDOWN_PERIOD", "1")])?;
    cluster.wait_until_ready(PATIENCE)?;
    eprintln!("six nodes Ready after {:?}", started.elapsed());
    agents_run_as_a_daemon_set(&cluster, stage)?;

    let deployed = Instant::now();
    cluster.apply(&deployment(PODS))?;
    let pods = running(&cluster, PODS)?;
    eprintln!("{PODS} pods Running after {:?}", deployed.elapsed());
    addresses_are_the_vpcs(&pods, stage)?;
    pods_reach_each_other(&cluster, &pods)?;
    eprintln!("{}", cluster.kubectl(&["get", "pods", "-o", "wide"])?);

    cluster.kubectl(&["scale", "deployment/web", "--replicas=0"])?;
    for machine in stage.lab.machines() {
        wait_until(format!("{} gets back the addresses of its pods", machine.name), || {
            let held = held(&machine)?;
            Ok(if held.assigned.is_empty() { Ok(()) } else { Err(format!("still assigned: {:?}", held.assigned)) })
        })?;
    }

    let last = cluster.node_names().pop().ok_or("the cluster has no node")?;
    cluster.remove_node(&last)?;
    let names = cluster.kubectl(&["get", "nodes", "-o", "name"])?;
    require(!names.contains(&last), format!("{last} is gone from {names}"))?;
    let machine = stage.lab.machines().into_iter().find(|machine| machine.name == last).ok_or("its machine is gone")?;
    cluster.add_node(&machine)?;
    cluster.wait_until_ready(PATIENCE)?;
    Ok(())
}

fn start(stage: &Stage) -> Outcome<Cluster> {
    let directory = |variable: &str| {
        std::env::var_os(variable)
            .map(PathBuf::from)
            .ok_or(format!("{variable} is not set: run the tests with `cargo xtask test`, which builds what it names"))
    };
    let options = ClusterOptions { tools: directory("FREEBOARD_TOOLS")?, images: directory("FREEBOARD_IMAGES")? };
    Ok(Cluster::start(&stage.lab, options)?)
}

/// The agent's pods are there, one on each node, by their DaemonSet.
fn agents_run_as_a_daemon_set(cluster: &Cluster, stage: &Stage) -> Outcome {
    let nodes = stage.lab.machines().len().to_string();
    let ready = ["get", "daemonset", "aws-node", "-n", "kube-system", "-o", "jsonpath={.status.numberReady}"];
    cluster.wait_for("an agent is ready on every node", &ready, PATIENCE, |text| text == nodes)?;
    Ok(())
}

/// A Deployment whose pods spread over the nodes and do nothing.
fn deployment(replicas: usize) -> String {
    format!(
        "
apiVersion: apps/v1
kind: Deployment
metadata: {{ name: web }}
spec:
  replicas: {replicas}
  selector: {{ matchLabels: {{ app: web }} }}
  template:
    metadata: {{ labels: {{ app: web }} }}
    spec:
      terminationGracePeriodSeconds: 1
      automountServiceAccountToken: false
      topologySpreadConstraints:
        - maxSkew: 1
          topologyKey: kubernetes.io/hostname
          whenUnsatisfiable: DoNotSchedule
          labelSelector: {{ matchLabels: {{ app: web }} }}
      containers:
        - {{ name: web, image: 'localhost/pause:1', imagePullPolicy: Never }}
"
    )
}

/// A pod of the Deployment as the API server shows it.
struct Shown {
    name: String,
    node: String,
    address: Ipv4Addr,
}

/// Waits until that many pods are Running.
fn running(cluster: &Cluster, count: usize) -> Outcome<Vec<Shown>> {
    let arguments = ["get", "pods", "-l", "app=web", "--field-selector", "status.phase=Running", "-o", "json"];
    let parse = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_default();
    let text = cluster.wait_for("all pods are Running", &arguments, PATIENCE, |text| {
        parse(text)["items"].as_array().is_some_and(|pods| pods.len() == count)
    })?;
    let shown = |pod: &Value| {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Ok(Shown {
            name: text(&pod["metadata"]["name"]),
            node: text(&pod["spec"]["nodeName"]),
            address: text(&pod["status"]["podIP"]).parse()?,
        })
    };
    parse(&text)["items"].as_array().into_iter().flatten().map(shown).collect()
}

/// Every pod has an address of its own that its node's agent holds for it by name.
fn addresses_are_the_vpcs(pods: &[Shown], stage: &Stage) -> Outcome {
    let addresses: BTreeSet<Ipv4Addr> = pods.iter().map(|pod| pod.address).collect();
    require(addresses.len() == pods.len(), format!("{} pods have {} addresses", pods.len(), addresses.len()))?;
    for machine in stage.lab.machines() {
        let held = held(&machine)?;
        for pod in pods.iter().filter(|pod| pod.node == machine.name) {
            let name = held.assigned.get(&pod.address);
            require(
                name == Some(&pod.name),
                format!("{} holds {} for {}, not {name:?}", machine.name, pod.address, pod.name),
            )?;
        }
    }
    Ok(())
}

/// From one pod of each node to all pods.
fn pods_reach_each_other(cluster: &Cluster, pods: &[Shown]) -> Outcome {
    let nodes: BTreeSet<&str> = pods.iter().map(|pod| pod.node.as_str()).collect();
    for node in &nodes {
        let from = pods.iter().find(|pod| pod.node == *node).ok_or("a node has no pod")?;
        let network = cluster.pod_network(&PodKey::new("default", &from.name))?;
        for to in pods {
            let answered = ping(&network, to.address, LIMIT)?;
            require(answered, format!("{} ({node}) reaches {} on {}", from.name, to.address, to.node))?;
        }
    }
    Ok(())
}
