//! The agent's own Node: whether it is cordoned, and what it says about its ENIConfig.

use std::collections::BTreeMap;

use freeboard_address::Cidr;
use freeboard_kubernetes::conditions::{self, Condition};
use freeboard_kubernetes::k8s_openapi::api::core::v1::{Node, NodeSpec, ObjectReference, Taint};
use freeboard_kubernetes::kube::Api;
use freeboard_kubernetes::watch::{Seen, object};
use freeboard_settings::AddressSource;
use futures::StreamExt;
use tokio::sync::watch;

use super::{Common, Reach, objects, verdict};
use crate::pool_handle::Command;

/// What of the Node matters; the rest, which is most of it, is not kept.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct KnownNode {
    pub(super) reference: ObjectReference,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) annotations: BTreeMap<String, String>,
    pub(super) cordoned: bool,
    /// The IPv4 blocks of `spec.podCIDRs`.
    blocks: Vec<Cidr>,
    /// `PodAddressesAvailable` as it stands.
    pub(super) condition: Option<Condition>,
    /// Its taints.
    pub(super) taints: Vec<Taint>,
}

impl KnownNode {
    fn of(node: Node) -> Self {
        let spec = node.spec.clone().unwrap_or_default();
        Self {
            reference: objects::node(&node),
            condition: conditions::of_node(&node, verdict::CONDITION),
            blocks: blocks(&spec),
            cordoned: spec.unschedulable.unwrap_or(false),
            taints: spec.taints.unwrap_or_default(),
            labels: node.metadata.labels.unwrap_or_default(),
            annotations: node.metadata.annotations.unwrap_or_default(),
        }
    }
}

/// The IPv4 blocks that the Node has; a text that is no IPv4 block is one of IPv6, which is not for us.
fn blocks(spec: &NodeSpec) -> Vec<Cidr> {
    let listed = spec.pod_cidrs.iter().flatten();
    let mut blocks: Vec<Cidr> = listed.chain(&spec.pod_cidr).filter_map(|text| text.parse().ok()).collect();
    let mut seen = std::collections::BTreeSet::new();
    blocks.retain(|block| seen.insert(*block));
    blocks
}

/// Follows the Node until the end of the process.
pub(super) async fn follow(common: Common, known: watch::Sender<Option<KnownNode>>) {
    let mut seen = object(Api::<Node>::all(common.client.clone()), common.node.as_str());
    let mut reach = Reach::new("this node's object");
    let mut is_missing = false;
    let gives_blocks = {
        let settings = common.settings.borrow();
        settings.source == AddressSource::Blocks && settings.node_blocks_file.is_none()
    };
    let mut known_blocks = Vec::new();
    while let Some(seen) = seen.next().await {
        let node = match seen {
            Seen::Now(node) => node,
            Seen::Lost(why) => {
                reach.lost(&why);
                continue;
            }
        };
        reach.found();
        let Some(node) = node else {
            if !std::mem::replace(&mut is_missing, true) {
                tracing::warn!(node = %common.node, "there is no Node of this name (MY_NODE_NAME); what was known of it still counts");
            }
            continue;
        };
        is_missing = false;
        let node = KnownNode::of(node);
        let cordoned = node.cordoned;
        // A Node that has none yet, or none any more because it was made anew, takes nothing from its pods.
        if gives_blocks && !node.blocks.is_empty() && node.blocks != known_blocks {
            known_blocks.clone_from(&node.blocks);
            // The pool's end is the end of the process.
            let _ = common.pool.blocks(node.blocks.clone()).await;
        }
        let was_cordoned = known.borrow().as_ref().is_some_and(|before| before.cordoned);
        known.send_if_modified(|before| {
            let changed = before.as_ref() != Some(&node);
            *before = Some(node);
            changed
        });
        if cordoned != was_cordoned {
            tracing::info!(cordoned, "the node's schedulability has changed");
            // The pool's end is the end of the process.
            let _ = common.pool.tell(Command::Schedulable(!cordoned)).await;
        }
    }
}
