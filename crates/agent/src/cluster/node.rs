//! The agent's own Node: whether it is cordoned, and what it says about its ENIConfig.

use std::collections::BTreeMap;

use freeboard_kubernetes::conditions::{self, Condition};
use freeboard_kubernetes::k8s_openapi::api::core::v1::{Node, ObjectReference, Taint};
use freeboard_kubernetes::kube::Api;
use freeboard_kubernetes::watch::{Seen, object};
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
            cordoned: spec.unschedulable.unwrap_or(false),
            taints: spec.taints.unwrap_or_default(),
            labels: node.metadata.labels.unwrap_or_default(),
            annotations: node.metadata.annotations.unwrap_or_default(),
        }
    }
}

/// Follows the Node until the end of the process.
pub(super) async fn follow(common: Common, known: watch::Sender<Option<KnownNode>>) {
    let mut seen = object(Api::<Node>::all(common.client.clone()), common.node.as_str());
    let mut reach = Reach::new("this node's object");
    let mut is_missing = false;
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
