//! A real cluster on the lab's nodes: the agent as a DaemonSet makes them Ready, pods get addresses of the VPC and reach each
//! other, and what they leave is given back.

#![allow(clippy::print_stderr, clippy::unwrap_used, reason = "a test may say why it cannot run, and panic")]

mod support;
#[path = "cluster/view.rs"]
mod view;

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use freeboard_address::PodKey;
use freeboard_lab::kubernetes::{Cluster, Containerd};
use freeboard_lab::{Machine, ping};
use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::Value;
use support::{LIMIT, Outcome, Stage, held, require, wait_until};
use view::{PATIENCE, deployment, options};

/// The network of the demo.
const WORLD: &str = include_str!("../../../worlds/eks-demo.yaml");
/// Pods of the Deployment: two or more on each node.
const PODS: usize = 18;

fn main() -> ExitCode {
    if let Err(error) = freeboard_lab::isolate() {
        eprintln!("{error}");
        return ExitCode::FAILURE;
    }
    let trials = vec![
        Trial::test("the_images_run_on_a_nodes_containerd_and_leave_nothing", trial(images)),
        Trial::test("pods_of_a_real_cluster_get_addresses_of_the_vpc_and_give_them_back", trial(life_of_a_deployment)),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn trial(test: fn(&Stage) -> Outcome) -> impl FnOnce() -> Result<(), Failed> {
    move || Stage::play(WORLD, test).map_err(|error| Failed::from(error.to_string()))
}

/// Without Kubernetes: the images that were written without a container engine are containers to a real one.
fn images(stage: &Stage) -> Outcome {
    let machine = stage.lab.machines().into_iter().next().ok_or("the lab has no machine")?;
    let containerd = Containerd::start(&machine, &options()?)?;
    let group = containerd.group().to_owned();
    containerd.ctr(&["run", "--detach", "--cgroup", &format!("{group}/pause"), "localhost/pause:1", "pause"])?;
    let mut run: Vec<String> =
        ["run", "--detach", "--net-host", "--privileged", "--cgroup"].map(str::to_owned).to_vec();
    run.push(format!("{group}/agent"));
    for (from, to) in [
        ("/opt/cni", "/host/opt/cni"),
        ("/etc/cni", "/host/etc/cni"),
        ("/var/log", "/host/var/log"),
        ("/run", "/var/run"),
    ] {
        run.extend(["--mount".to_owned(), format!("type=bind,src={from},dst={to},options=rbind:rw")]);
    }
    for (name, value) in stage.lab.environment(&machine) {
        // Where the image has its files is the image's own business, and the node's directories are under /host.
        if name.starts_with("AWS_") && name != "AWS_VPC_K8S_CNI_LOG_FILE" || name == "MY_NODE_NAME" {
            run.extend(["--env".to_owned(), format!("{name}={value}")]);
        }
    }
    run.extend(["localhost/freeboard-agent:latest", "agent"].map(str::to_owned));
    containerd.ctr(&run.iter().map(String::as_str).collect::<Vec<_>>())?;
    wait_until("the agent writes the CNI configuration", || {
        let written = machine.namespace().run(|| std::path::Path::new("/etc/cni/net.d/10-aws.conflist").is_file())?;
        let tasks = containerd.ctr(&["task", "ls"])?;
        Ok(if written { Ok(()) } else { Err(format!("{tasks}\n{}", log_of_the_agent(&machine))) })
    })?;
    let installed = machine.namespace().run(|| std::path::Path::new("/opt/cni/bin/aws-cni").is_file())?;
    require(installed, "the agent installs the plugin on the node")?;
    let (mut pod, address) = support::start_pod(&machine, "first")?;
    require(held(&machine)?.assigned.contains_key(&address), format!("the agent in the container holds {address}"))?;
    pod.delete()?;

    let processes = containerd.processes();
    let tasks = containerd.ctr(&["task", "ls"])?;
    require(tasks.matches("RUNNING").count() == 2, format!("both containers run: {tasks}"))?;
    require(processes.len() >= 5, format!("containerd, two shims and two containers: {processes:?}\n{tasks}"))?;
    drop(containerd);
    let alive: Vec<&i32> =
        processes.iter().filter(|id| std::path::Path::new(&format!("/proc/{id}")).exists()).collect();
    require(alive.is_empty(), format!("no process is left: {alive:?}"))?;
    let left = groups_named(group.rsplit('/').next().unwrap_or_default());
    require(left.is_empty(), format!("no control group is left: {left:?}"))
}

/// The end of the agent's log on a machine.
fn log_of_the_agent(machine: &Machine) -> String {
    machine.output("tail", &["-n", "20", "/var/log/aws-routed-eni/ipamd.log"]).unwrap_or_else(|error| error.to_string())
}

/// The control groups of all labs' nodes with this name.
fn groups_named(node: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![PathBuf::from("/sys/fs/cgroup")];
    while let Some(directory) = open.pop() {
        let Ok(entries) = std::fs::read_dir(&directory) else { continue };
        for entry in entries.filter_map(Result::ok).filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
            if entry.file_name() == node && own_lab(&directory) {
                found.push(entry.path());
            }
            open.push(entry.path());
        }
    }
    found
}

/// Whether a control group is the one of this very lab, and not of another that runs beside it.
fn own_lab(directory: &std::path::Path) -> bool {
    std::env::var("FREEBOARD_LAB_CGROUP").is_ok_and(|own| directory.ends_with(own))
}

fn life_of_a_deployment(stage: &Stage) -> Outcome {
    let started = Instant::now();
    let mut cluster = Cluster::start(&stage.lab, options()?)?;
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

/// The agent's pods are there, one on each node, by their DaemonSet.
fn agents_run_as_a_daemon_set(cluster: &Cluster, stage: &Stage) -> Outcome {
    let nodes = stage.lab.machines().len().to_string();
    let ready = ["get", "daemonset", "aws-node", "-n", "kube-system", "-o", "jsonpath={.status.numberReady}"];
    cluster.wait_for("an agent is ready on every node", &ready, PATIENCE, |text| text == nodes)?;
    Ok(())
}

/// A pod of the Deployment as the API server shows it.
struct Shown {
    name: String,
    node: String,
    address: Ipv4Addr,
}

/// Waits until that many pods are Running.
fn running(cluster: &Cluster, count: usize) -> Outcome<Vec<Shown>> {
    let pods = view::running(cluster, count)?;
    let shown = |pod: &Value| {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Ok(Shown {
            name: text(&pod["metadata"]["name"]),
            node: text(&pod["spec"]["nodeName"]),
            address: text(&pod["status"]["podIP"]).parse()?,
        })
    };
    view::items(&pods).map(shown).collect()
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
