//! What people are told about nodes and ranges: events, and a condition on each node that waits.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use freeboard_address::{NodeName, NodeUid};
use freeboard_blocks::Refusal;
use freeboard_kubernetes::client::{is_not_found, sentence};
use freeboard_kubernetes::conditions::{Condition, ConditionStatus, apply_to_node};
use freeboard_kubernetes::events::{Occurrence, Recorder, Severity};
use freeboard_kubernetes::k8s_openapi::api::core::v1::ObjectReference;
use freeboard_kubernetes::kube::{Client, Resource};
use freeboard_kubernetes::resources::PodRange;
use jiff::Timestamp;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::MANAGER;
use crate::input::NODE_CONDITION;

/// The pause after the API server refused a condition or did not answer.
const PAUSE: Duration = Duration::from_secs(2);
/// The reason of the condition of a node that has its block.
const ASSIGNED: &str = "BlockAssigned";

/// Tells people. Its tasks end with it.
#[derive(Debug)]
pub(crate) struct Reports {
    recorder: Recorder,
    conditions: Arc<Conditions>,
    writer: JoinHandle<()>,
}

/// The newest condition of each node that is still to be written.
#[derive(Debug, Default)]
struct Conditions {
    queue: Mutex<BTreeMap<NodeName, Condition>>,
    is_filled: Notify,
}

impl Reports {
    /// Starts what writes.
    pub(crate) fn start(client: Client, recorder: Recorder) -> Self {
        let conditions = Arc::new(Conditions::default());
        let writer = tokio::spawn(Arc::clone(&conditions).write(client));
        Self { recorder, conditions, writer }
    }

    /// A node waits, or waits for another reason than before.
    pub(crate) fn waits(&self, node: &NodeName, uid: Option<&NodeUid>, refusal: &Refusal) {
        let message = format!("{}; {}", refusal.message, refusal.remedy);
        self.recorder.record(Occurrence {
            regarding: node_reference(node, uid),
            severity: Severity::Warning,
            reason: refusal.cause.as_str().to_owned(),
            message: message.clone(),
            name: None,
        });
        self.set(node, ConditionStatus::False, refusal.cause.as_str(), message);
    }

    /// A node that was told to wait has its block.
    pub(crate) fn served(&self, node: &NodeName, message: String) {
        self.set(node, ConditionStatus::True, ASSIGNED, message);
    }

    /// Something is wrong with a node's block.
    pub(crate) fn found(&self, node: &NodeName, uid: Option<&NodeUid>, reason: &str, message: String) {
        let (regarding, reason) = (node_reference(node, uid), reason.to_owned());
        self.recorder.record(Occurrence { regarding, severity: Severity::Warning, reason, message, name: None });
    }

    /// Something is to be known about a range.
    pub(crate) fn range(&self, range: &PodRange, severity: Severity, reason: &str, message: String) {
        let (regarding, reason) = (range.object_ref(&()), reason.to_owned());
        self.recorder.record(Occurrence { regarding, severity, reason, message, name: None });
    }

    fn set(&self, node: &NodeName, status: ConditionStatus, reason: &str, message: String) {
        let condition = Condition::new(NODE_CONDITION, status, reason, message, Timestamp::now());
        self.conditions.put(node.clone(), condition);
    }
}

impl Drop for Reports {
    fn drop(&mut self) {
        self.writer.abort();
    }
}

impl Conditions {
    fn put(&self, node: NodeName, condition: Condition) {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).insert(node, condition);
        self.is_filled.notify_one();
    }

    fn take(&self) -> Option<(NodeName, Condition)> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).pop_first()
    }

    async fn write(self: Arc<Self>, client: Client) {
        loop {
            let Some((node, condition)) = self.take() else {
                self.is_filled.notified().await;
                continue;
            };
            match apply_to_node(&client, &node, &condition, MANAGER).await {
                Ok(()) => {}
                Err(error) if is_not_found(&error) => {}
                Err(error) => {
                    tracing::warn!(%node, "the node's condition cannot be written: {}", sentence(&error));
                    tokio::time::sleep(PAUSE).await;
                    // A newer one has come in the meantime, or this one is tried again.
                    self.queue.lock().unwrap_or_else(PoisonError::into_inner).entry(node).or_insert(condition);
                }
            }
        }
    }
}

fn node_reference(node: &NodeName, uid: Option<&NodeUid>) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Node".to_owned()),
        name: Some(node.to_string()),
        uid: uid.map(ToString::to_string),
        ..ObjectReference::default()
    }
}
