//! Keeps the node's condition, its taints and its `NodeAddresses` as the pool is, with few writes.

use std::time::{Duration, Instant};

use freeboard_kubernetes::client::{is_not_found, sentence};
use freeboard_kubernetes::conditions::{self, Condition, ConditionStatus};
use freeboard_kubernetes::kube::api::{Api, Patch, PatchParams};
use freeboard_kubernetes::kube::{Client, Error};
use freeboard_kubernetes::resources::{GROUP, NodeAddresses, NodeAddressesStatus};
use freeboard_kubernetes::taints;
use freeboard_pool::Refusal;
use jiff::Timestamp;
use serde_json::json;
use tokio::sync::watch;

use super::node::KnownNode;
use super::verdict::{self, CONDITION};
use super::{Common, PROGRAM, Reach};
use crate::pool_handle::Command;

/// Between two looks at the pool, unless it says that something has changed.
const LOOK: Duration = Duration::from_secs(5);
/// The same on a node that has the taint of a full one: while it stays too long, new pods crowd on the other nodes.
const LOOK_WHEN_FULL: Duration = Duration::from_secs(1);
/// Between two writes at least, so that a pool that flaps does not flood the API server.
const PAUSE: Duration = Duration::from_secs(1);
/// Figures that have changed, but nothing else, are written this often at most.
const FIGURES: Duration = Duration::from_secs(10);
/// The same for the figures in the text of the condition, which is the node's and read by many.
const TEXT: Duration = Duration::from_secs(60);
/// A node that is full hopes for an address at each try; only when the hope has lasted this long is it believed.
const BELIEVED: Duration = Duration::from_secs(15);
/// What has not changed is written again after this long, so that an old object shows that its agent is gone.
const HEARTBEAT: Duration = Duration::from_secs(300);

/// Keeps them until the end of the process.
pub(super) async fn keep(common: Common, node: watch::Receiver<Option<KnownNode>>) {
    let mut pool = common.pool.status();
    let mut report = Report {
        common,
        node,
        reach: Reach::new("what the agent says of this node"),
        uid: None,
        condition: None,
        hopes_since: None,
        figures: None,
    };
    loop {
        if let Err(error) = report.turn().await {
            report.reach.lost(&sentence(&error));
        } else {
            report.reach.found();
        }
        tokio::time::sleep(PAUSE).await;
        let look = if report.is_full() { LOOK_WHEN_FULL } else { LOOK };
        let changed = tokio::time::timeout(look, pool.changed()).await;
        if matches!(changed, Ok(Err(_))) {
            return;
        }
    }
}

/// What was written, and when.
#[derive(Debug)]
struct Written<T> {
    what: T,
    at: Instant,
}

impl<T> Written<T> {
    fn now(what: T) -> Self {
        Self { what, at: Instant::now() }
    }
}

struct Report {
    common: Common,
    node: watch::Receiver<Option<KnownNode>>,
    reach: Reach,
    /// Of the Node about which all this was written. One that was deleted and made again is another, and knows nothing.
    uid: Option<String>,
    condition: Option<Written<Condition>>,
    hopes_since: Option<Instant>,
    figures: Option<Written<NodeAddressesStatus>>,
}

impl Report {
    async fn turn(&mut self) -> Result<(), Error> {
        // Before the Node was seen, its own condition and its uid are not known.
        let Some(node) = self.node.borrow().clone() else { return Ok(()) };
        let Some(Answer { can_give, shown }) = self.ask().await else { return Ok(()) };
        if self.uid != node.reference.uid {
            self.condition = None;
            self.figures = None;
        }
        let now = Timestamp::now();
        let before = self.condition.as_ref().map(|written| &written.what).or(node.condition.as_ref());
        let condition = verdict::condition(&can_give, &shown.view, now).following(before);
        let hope = verdict::is_hope(before, &condition);
        let hopes_since = hope.then(|| self.hopes_since.unwrap_or_else(Instant::now));
        self.hopes_since = hopes_since;
        let condition = match (before, hopes_since) {
            (Some(before), Some(since)) if since.elapsed() < BELIEVED => before.clone(),
            _ => condition,
        };
        self.write_condition(&condition, node.condition.as_ref()).await?;
        self.write_taints(&condition, &node).await?;
        self.write_figures(verdict::status(&shown.view, &condition, now), &node).await?;
        self.uid.clone_from(&node.reference.uid);
        Ok(())
    }

    /// Whether the node says of itself that it has no address to give.
    fn is_full(&self) -> bool {
        self.condition.as_ref().is_some_and(|written| written.what.status == ConditionStatus::False)
    }

    /// What the pool says; nothing before it runs.
    async fn ask(&self) -> Option<Answer> {
        let can_give = self.common.pool.ask(Command::CanGive).await.ok()?;
        let shown = self.common.pool.ask(Command::Show).await.ok()?;
        Some(Answer { can_give, shown })
    }

    async fn write_condition(&mut self, condition: &Condition, on_node: Option<&Condition>) -> Result<(), Error> {
        let says =
            |other: &Condition| (other.status, other.reason.clone()) == (condition.status, condition.reason.clone());
        let is_fresh = self.condition.as_ref().is_some_and(|written| {
            let is_same = written.what.message == condition.message || written.at.elapsed() < TEXT;
            is_same && says(&written.what) && written.at.elapsed() < HEARTBEAT
        });
        // Somebody may have made the Node anew.
        if is_fresh && on_node.is_some_and(says) {
            return Ok(());
        }
        conditions::apply_to_node(&self.common.client, &self.common.node, condition, PROGRAM).await?;
        if self.condition.as_ref().is_none_or(|written| !says(&written.what)) {
            tracing::info!(status = %condition.status, reason = condition.reason, "{CONDITION}: {}", condition.message);
        }
        self.condition = Some(Written::now(condition.clone()));
        Ok(())
    }

    async fn write_taints(&self, condition: &Condition, node: &KnownNode) -> Result<(), Error> {
        let setting = self.common.settings.borrow().full_node_taint;
        for wanted in verdict::taints(condition, setting) {
            // The watch shows what is there; the API server is asked only when something seems to be wrong.
            if wanted.change(&node.taints).is_some()
                && taints::ensure(&self.common.client, &self.common.node, &wanted).await?
            {
                tracing::info!(?wanted, "changed the node's taints");
            }
        }
        Ok(())
    }

    async fn write_figures(&mut self, status: NodeAddressesStatus, node: &KnownNode) -> Result<(), Error> {
        if let Some(written) = &self.figures {
            let age = written.at.elapsed();
            let is_same = is_same(&written.what, &status);
            if age < FIGURES || is_same && age < HEARTBEAT {
                return Ok(());
            }
        }
        let is_new = self.uid != node.reference.uid;
        apply(&self.common.client, &status, node, is_new).await?;
        self.figures = Some(Written::now(status));
        Ok(())
    }
}

struct Answer {
    can_give: Result<(), Refusal>,
    shown: Box<crate::pool_handle::Shown>,
}

/// Whether only the time of writing differs.
fn is_same(one: &NodeAddressesStatus, other: &NodeAddressesStatus) -> bool {
    NodeAddressesStatus { observed_at: other.observed_at, ..one.clone() } == *other
}

/// Writes the object; makes it when it is not there. It is the node's, and goes with it: that of an earlier Node of this name is
/// given to the new one, before it is collected as the old one's.
async fn apply(
    client: &Client,
    status: &NodeAddressesStatus,
    node: &KnownNode,
    is_new_node: bool,
) -> Result<(), Error> {
    let objects: Api<NodeAddresses> = Api::all(client.clone());
    let name = node.reference.name.clone().unwrap_or_default();
    let (version, kind) = (format!("{GROUP}/v1alpha1"), "NodeAddresses");
    let parameters = PatchParams::apply(PROGRAM).force();
    let with_status = json!({"apiVersion": version, "kind": kind, "metadata": {"name": name}, "status": status});
    if !is_new_node {
        match objects.patch_status(&name, &parameters, &Patch::Apply(&with_status)).await {
            Err(error) if is_not_found(&error) => {}
            outcome => return outcome.map(drop),
        }
    }
    let object = json!({
        "apiVersion": version, "kind": kind,
        "metadata": {"name": name, "ownerReferences": [{
            "apiVersion": "v1", "kind": "Node", "name": name, "uid": node.reference.uid,
        }]},
        "spec": {"nodeName": name},
    });
    objects.patch(&name, &parameters, &Patch::Apply(&object)).await?;
    objects.patch_status(&name, &parameters, &Patch::Apply(&with_status)).await.map(drop)
}
