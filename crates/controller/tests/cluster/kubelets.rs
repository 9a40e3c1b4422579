//! Real kubelets and agents on nodes with blocks of the controller: two take the two blocks of a range, a third waits and joins when a
//! range is added, and pods of both ranges reach each other.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use freeboard_address::{Cidr, PodKey};
use freeboard_kubernetes::k8s_openapi::api::core::v1::Pod;
use freeboard_kubernetes::kube::Api;
use freeboard_kubernetes::kube::api::ListParams;
use freeboard_lab::kubernetes::BareCluster;
use freeboard_lab::{Machine, ping_all};
use serde_json::json;

use crate::node_condition;
use crate::stage::{LIMIT, Outcome, Stage, require};

const WORLD: &str = include_str!("kubelets.yaml");
/// How long a node may take until it is Ready, on a busy machine.
const READY: Duration = Duration::from_secs(180);
/// Two on each node.
const PODS: usize = 6;

/// Nodes of real kubelets.
pub(crate) fn set() -> Outcome<Stage> {
    let images = std::env::var_os("FREEBOARD_IMAGES").map(PathBuf::from).ok_or(
        "FREEBOARD_IMAGES is not set: run the tests with `cargo xtask test`, which builds the images and names them",
    )?;
    let world = freeboard_vpc_server::parse_world("the test's world", WORLD)?;
    Stage::set_on(|runtime, tools| BareCluster::start_for_kubelets(runtime, tools, &images, world))
}

pub(crate) fn play(mut stage: Stage) -> Outcome {
    stage.add_range("pod-range", "10.0.0.0/26")?;
    let _controller = stage.start_controller("controller-a", 8081, &["--reserved-range=10.1.0.0/16"])?;
    stage.bare.install_agent(&[("FREEBOARD_SOURCE", "block")])?;
    let machines = stage.lab().machines();
    let [first, second, third] = machines.as_slice() else { return Err("the world has three machines".into()) };
    for (machine, block) in [(first, "10.0.0.0/27"), (second, "10.0.0.32/27")] {
        stage.bare.add_node(machine)?;
        let given = given(&stage, machine)?;
        require(given.to_string() == block, format!("{} has {given}, not {block}", machine.name))?;
        // Beyond the API server's news the network must lead there, as Google's does by alias ranges.
        stage.lab().set_node_blocks(machine, &[given])?;
    }
    stage.cluster().wait_until_ready(READY)?;

    stage.bare.add_node(third)?;
    stage.wait("the third node is told why it waits", |stage| {
        let told = node_condition(stage, &third.name).unwrap_or_default();
        let is_told = told == Some(("False".to_owned(), "RangeExhausted".to_owned()));
        Ok(if is_told { Ok(()) } else { Err(format!("{told:?}")) })
    })?;
    stage.add_range("pods-b", "192.168.4.0/22")?;
    let given = given(&stage, third)?;
    require(given.to_string() == "192.168.4.0/27", format!("the third node has {given}"))?;
    stage.lab().set_node_blocks(third, &[given])?;
    stage.cluster().wait_until_ready(READY)?;
    let described = stage.cluster().kubectl(&["describe", "nodes"])?;
    let shown = described.lines().filter(|line| line.starts_with("PodCIDR:")).count();
    require(shown == 3, "kubectl describe nodes shows a PodCIDR for each node")?;
    all_reach_all(&stage)
}

/// The block of a machine's node, once it has one.
fn given(stage: &Stage, machine: &Machine) -> Outcome<Cidr> {
    let block = |stage: &Stage| -> Outcome<Option<String>> {
        Ok(stage.blocks()?.into_iter().find(|(name, _)| *name == machine.name).and_then(|(_, block)| block))
    };
    stage.wait(format!("{} has a block", machine.name), |stage| {
        Ok(block(stage)?.map(drop).ok_or_else(|| "it has none".to_owned()))
    })?;
    Ok(block(stage)?.ok_or("the block is gone")?.parse()?)
}

/// Pods on all nodes, of both ranges, ping each other.
fn all_reach_all(stage: &Stage) -> Outcome {
    let labels = json!({"app": "web"});
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {"replicas": PODS, "selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": {
            "automountServiceAccountToken": false,
            "topologySpreadConstraints": [{
                "maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "DoNotSchedule",
                "labelSelector": {"matchLabels": labels},
            }],
            "containers": [{"name": "web", "image": "localhost/pause:1", "imagePullPolicy": "Never"}],
        }}},
    });
    stage.cluster().apply(&deployment.to_string())?;
    let api: Api<Pod> = Api::default_namespaced(stage.client.clone());
    let addresses = |stage: &Stage| -> Outcome<Vec<(PodKey, Ipv4Addr)>> {
        let listed = stage.do_it(api.list(&ListParams::default().labels("app=web")))?.items;
        let address = |pod: Pod| {
            let key = PodKey::new("default", pod.metadata.name?);
            Some((key, pod.status?.pod_ip?.parse().ok()?))
        };
        Ok(listed.into_iter().filter_map(address).collect())
    };
    stage.wait("the pods have addresses", |stage| {
        let pods = addresses(stage)?;
        Ok(if pods.len() == PODS { Ok(()) } else { Err(format!("{pods:?}\n{}", stage.cluster().trouble())) })
    })?;
    let pods = addresses(stage)?;
    let new: Cidr = "192.168.4.0/27".parse()?;
    let of_new = pods.iter().filter(|(_, address)| new.contains(*address)).count();
    require(of_new == 2, format!("two pods have addresses of the added range: {pods:?}"))?;
    let targets: Vec<Ipv4Addr> = pods.iter().map(|(_, address)| *address).collect();
    for (pod, address) in &pods {
        let network = stage.cluster().pod_network(pod)?;
        let echoes = ping_all(&network, &targets, LIMIT)?;
        let silent: Vec<Ipv4Addr> = echoes.iter().filter(|echo| !echo.answered).map(|echo| echo.target).collect();
        require(silent.is_empty(), format!("{address} reaches all; silent: {silent:?}"))?;
    }
    Ok(())
}
