//! What comes in from the API server, as the engine takes it.

use std::collections::BTreeMap;
use std::sync::Arc;

use freeboard_address::{NodeName, NodeUid};
use freeboard_blocks::{Answer, ObservedNode, OperationId, ResourceVersion};
use freeboard_kubernetes::lean_node::LeanNode;
use freeboard_kubernetes::resources::PodRange;

/// The condition that a node has while it waits for a block.
pub(crate) const NODE_CONDITION: &str = "PodBlockAvailable";

/// One thing that came in.
#[derive(Debug)]
pub(crate) enum Input {
    /// All nodes, and the version of the list.
    Nodes(Vec<SeenNode>, ResourceVersion),
    /// A node was added or changed.
    Node(SeenNode),
    /// A node is really gone.
    NodeDeleted(NodeName, NodeUid),
    /// All ranges by name, as they are now.
    Ranges(BTreeMap<String, PodRange>),
    /// What became of an operation.
    Answer(OperationId, Answer),
    /// The API server cannot be asked for this, and why. It is asked again.
    Lost(&'static str, String),
}

/// A node, and what people were told about it.
#[derive(Clone, Debug)]
pub(crate) struct SeenNode {
    pub(crate) node: ObservedNode,
    /// Its condition says that it waits.
    pub(crate) is_told_to_wait: bool,
}

/// A Node as the engine takes it; none when it lacks what every object has.
pub(crate) fn observed(node: LeanNode) -> Option<SeenNode> {
    let LeanNode { metadata, spec, status } = node;
    let version = version(metadata.resource_version.as_deref())?;
    let pod_cidrs = if spec.pod_cidrs.is_empty() { spec.pod_cidr.into_iter().collect() } else { spec.pod_cidrs };
    let is_told_to_wait =
        status.conditions.iter().any(|condition| condition.kind == NODE_CONDITION && condition.status == "False");
    let node = ObservedNode {
        name: NodeName::new(metadata.name?),
        uid: NodeUid::new(metadata.uid?),
        version,
        labels: Arc::new(metadata.labels.unwrap_or_default()),
        max_pods: status.capacity.get("pods").map(|pods| max_pods(pods)),
        pod_cidrs,
        is_deleting: metadata.deletion_timestamp.is_some(),
    };
    Some(SeenNode { node, is_told_to_wait })
}

/// A resource version as a number, which the API's contract makes it.
pub(crate) fn version(text: Option<&str>) -> Option<ResourceVersion> {
    text?.parse().ok().map(ResourceVersion)
}

/// A quantity of pods. What is no whole number is no number of pods, and is refused by the engine as the −1 that it becomes.
fn max_pods(quantity: &str) -> i64 {
    let (digits, factor) = match quantity.strip_suffix('k') {
        Some(thousands) => (thousands, 1000),
        None => (quantity, 1),
    };
    digits.parse::<i64>().ok().and_then(|pods| pods.checked_mul(factor)).unwrap_or(-1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(json: serde_json::Value) -> Option<SeenNode> {
        observed(serde_json::from_value(json).unwrap())
    }

    #[test]
    fn a_node_is_read_as_it_is() {
        let seen = node(serde_json::json!({
            "metadata": {"name": "a", "uid": "u", "resourceVersion": "17", "labels": {"pool": "x"}},
            "spec": {"podCIDR": "10.0.0.0/24"},
            "status": {"capacity": {"pods": "110"}, "conditions": [{"type": "PodBlockAvailable", "status": "False"}]},
        }))
        .unwrap();
        assert_eq!((seen.node.max_pods, seen.node.version), (Some(110), ResourceVersion(17)));
        assert_eq!(seen.node.pod_cidrs, ["10.0.0.0/24"]);
        assert!(seen.is_told_to_wait && !seen.node.is_deleting);
    }

    #[test]
    fn max_pods_may_be_missing_or_nonsense() {
        let pods = |capacity: serde_json::Value| {
            let metadata = serde_json::json!({"name": "a", "uid": "u", "resourceVersion": "1"});
            node(serde_json::json!({"metadata": metadata, "status": {"capacity": capacity}})).unwrap().node.max_pods
        };
        assert_eq!(pods(serde_json::json!({})), None);
        assert_eq!(pods(serde_json::json!({"pods": "1k"})), Some(1000));
        assert_eq!(pods(serde_json::json!({"pods": "1.5"})), Some(-1));
    }
}
