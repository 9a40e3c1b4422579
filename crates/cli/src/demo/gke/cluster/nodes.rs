//! Nodes of machines that the simulated cloud has and that do not run: registered and kept alive as their kubelets would.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use freeboard_address::NodeName;
use freeboard_kubernetes::conditions::{Condition, ConditionStatus, apply_to_node, of_node};
use freeboard_kubernetes::k8s_openapi::api::core::v1::Node;
use freeboard_kubernetes::kube::api::PostParams;
use freeboard_kubernetes::kube::runtime::watcher::Config;
use freeboard_kubernetes::kube::{Api, Client, ResourceExt};
use freeboard_kubernetes::watch::{Seen, collection};
use futures::StreamExt;
use jiff::Timestamp;
use serde_json::json;

use crate::demo::gke::scene::Scene;

/// How often a node says that it is there; after 50 s without a word it counts as lost.
const BEAT: Duration = Duration::from_secs(10);
/// The condition of a node that takes pods.
const READY: &str = "Ready";
/// Who writes what a kubelet reports.
const KUBELET: &str = "kubelet";

/// Registers the node of a machine of the scene's pool. It is not Ready: its pods have no network yet.
pub(super) async fn register(client: &Client, scene: &Scene, name: &str) -> Result<()> {
    let pool = scene.original_pool()?;
    let zone = pool.locations.first().context("the pool has no zone")?;
    let room = json!({"pods": pool.max_pods.get().to_string(), "cpu": "2", "memory": "8Gi"});
    let node: Node = serde_json::from_value(json!({
        "metadata": {"name": name, "labels": {
            "kubernetes.io/hostname": name,
            "topology.kubernetes.io/zone": zone.to_string(),
            "cloud.google.com/gke-nodepool": pool.name.to_string(),
        }},
        "spec": {"providerID": format!("gce://{}/{zone}/{name}", scene.cloud.project())},
        "status": {
            "capacity": room, "allocatable": room,
            "conditions": [{
                "type": READY, "status": "False", "reason": "KubeletNotReady",
                "message": "container runtime network not ready: the node has no block of pod addresses yet",
            }],
        },
    }))?;
    let nodes: Api<Node> = Api::all(client.clone());
    nodes.create(&PostParams::default(), &node).await.with_context(|| format!("node {name} cannot be registered"))?;
    Ok(())
}

/// Lets every node that has its block be Ready, and stay so.
pub(super) async fn keep_alive(client: Client) {
    let mut seen = collection(Api::<Node>::all(client.clone()), Config::default());
    let mut beat = tokio::time::interval(BEAT);
    let mut nodes = BTreeMap::new();
    loop {
        let is_due = tokio::select! {
            seen = seen.next() => match seen {
                Some(Seen::Now(now)) => {
                    nodes = now;
                    false
                }
                Some(Seen::Lost(_)) => false,
                None => return,
            },
            _ = beat.tick() => true,
        };
        for node in nodes.values().filter(|node| has_block(node) && (is_due || !is_ready(node))) {
            let message = "kubelet is posting ready status";
            let condition = Condition::new(READY, ConditionStatus::True, "KubeletReady", message, Timestamp::now())
                .following(of_node(node, READY).as_ref());
            // What could not be written is written with the next beat.
            let _ = apply_to_node(&client, &NodeName::new(node.name_any()), &condition, KUBELET).await;
        }
    }
}

/// The block of a node.
pub(super) fn block(node: &Node) -> Option<&str> {
    node.spec.as_ref()?.pod_cidr.as_deref()
}

fn has_block(node: &Node) -> bool {
    block(node).is_some()
}

fn is_ready(node: &Node) -> bool {
    of_node(node, READY).is_some_and(|condition| condition.status == ConditionStatus::True)
}

/// Whether the scheduler gives pods to a node.
pub(super) fn takes_pods(node: &Node) -> bool {
    is_ready(node) && node.spec.as_ref().and_then(|spec| spec.taints.as_ref()).is_none_or(Vec::is_empty)
}
