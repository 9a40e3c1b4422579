//! The scaler of the pool's node group: a pod for which no node has room asks the simulated cloud for one more machine, and learns
//! in GKE's words what came of it.

use anyhow::{Context, Result};
use freeboard_gcp::{ClusterScaler, EventKind, PodEvent, ScalerTiming};
use freeboard_kubernetes::events::{Occurrence, Recorder, Reporter, Severity};
use freeboard_kubernetes::k8s_openapi::api::core::v1::{Event, Pod};
use freeboard_kubernetes::kube::api::{ListParams, Patch, PatchParams};
use freeboard_kubernetes::kube::{Api, Client, Resource, ResourceExt};
use jiff::Timestamp;
use serde_json::json;

use super::nodes;
use super::place::until;
use crate::demo::gke::own_way::add_machine;
use crate::demo::gke::scene::Scene;
use crate::demo::gke::words::EventLine;

/// Who speaks of scale-ups.
const AUTOSCALER: &str = "cluster-autoscaler";
/// The scheduler's word for a pod that fits nowhere.
const FAILED_SCHEDULING: &str = "FailedScheduling";
/// The scaler's last word on a pod.
const NOT_TRIGGERED: &str = "NotTriggerScaleUp";

/// A pod that was looked after.
pub(super) struct Helped {
    pub(super) pod: Pod,
    /// The node that came, and has no block.
    pub(super) node: String,
    /// What the cloud said to the group.
    pub(super) refusal: String,
}

/// Waits for a pod that fits on no node, and looks after it: the group asks the cloud for its next machine as GKE does, with a block
/// of the pool's own range, and gets none. Then the machine comes without a block, because here the controller gives it, and
/// registers.
pub(super) async fn help_next(client: &Client, scene: &mut Scene) -> Result<Helped> {
    let reporter = Reporter { component: AUTOSCALER.to_owned(), instance: AUTOSCALER.to_owned() };
    let recorder = Recorder::start(client.clone(), reporter);
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    let pod = until("a pod fits on no node", async || {
        let unplaced = pods.list(&ListParams::default().fields("spec.nodeName=")).await?;
        Ok(unplaced.items.into_iter().find(is_unschedulable))
    })
    .await?;
    // What takes a minute on GKE is not waited for.
    let timing =
        ScalerTiming { scan_seconds: 0, provisioning_seconds: 0, reschedule_seconds: 0, ..ScalerTiming::default() };
    let number = scene.nodes_of(&scene.original)? + 1;
    scene.now = Timestamp::now();
    let pending =
        ClusterScaler::new(scene.original.clone(), timing).handle_pod_without_node(&mut scene.cloud, scene.now)?;
    let refusal = pending.refusal.clone().context("the cloud had a block for the third machine")?;
    let (last, before): (Vec<&PodEvent>, Vec<&PodEvent>) = pending
        .events
        .iter()
        // The scheduler speaks for itself.
        .filter(|event| event.source == AUTOSCALER)
        .partition(|event| event.reason == NOT_TRIGGERED);
    let mut newest = 0;
    for event in before {
        newest = say(client, &recorder, &pod, event).await?;
    }
    let node = add_machine(scene, number)?;
    nodes::register(client, scene, &node).await?;
    until("the scheduler looks again", async || {
        let said = events_of(client, &pod).await?;
        Ok(said.iter().any(|event| is(event, FAILED_SCHEDULING) && version(event) > newest).then_some(()))
    })
    .await?;
    for event in last {
        say(client, &recorder, &pod, event).await?;
    }
    let notes = json!({"metadata": {"annotations": pending.annotations}});
    let pod = pods.patch(&pod.name_any(), &PatchParams::default(), &Patch::Merge(notes)).await?;
    Ok(Helped { pod, node, refusal })
}

fn is_unschedulable(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|condition| condition.reason.as_deref() == Some("Unschedulable"))
}

/// Says something on the pod; returns the version of what is written.
async fn say(client: &Client, recorder: &Recorder, pod: &Pod, event: &PodEvent) -> Result<u64> {
    recorder.record(Occurrence {
        regarding: pod.object_ref(&()),
        severity: match event.kind {
            EventKind::Normal => Severity::Normal,
            EventKind::Warning => Severity::Warning,
        },
        reason: event.reason.to_owned(),
        message: event.message.clone(),
        name: None,
    });
    until("the event is written", async || {
        let said = events_of(client, pod).await?;
        Ok(said.iter().find(|said| is(said, event.reason)).map(version))
    })
    .await
}

/// The events of a pod, in the order in which they were said last.
pub(super) async fn events_of(client: &Client, pod: &Pod) -> Result<Vec<Event>> {
    let events: Api<Event> = Api::default_namespaced(client.clone());
    let uid = pod.uid().context("the pod has no uid")?;
    let mut said = events.list(&ListParams::default().fields(&format!("involvedObject.uid={uid}"))).await?.items;
    said.sort_by_key(version);
    Ok(said)
}

/// An event as it is shown now.
pub(super) fn line(event: &Event) -> EventLine {
    let time = event.last_timestamp.as_ref().map(|time| time.0.as_second());
    let time = time.or(event.event_time.as_ref().map(|time| time.0.as_second()));
    let age = time.map_or(0, |time| (Timestamp::now().as_second() - time).max(0));
    let source = event.source.as_ref().and_then(|source| source.component.clone());
    EventLine {
        kind: event.type_.clone().unwrap_or_default(),
        reason: event.reason.clone().unwrap_or_default(),
        age: format!("{age}s"),
        source: source.or(event.reporting_component.clone()).unwrap_or_default(),
        message: event.message.clone().unwrap_or_default(),
    }
}

fn is(event: &Event, reason: &str) -> bool {
    event.reason.as_deref() == Some(reason)
}

fn version(event: &Event) -> u64 {
    event.resource_version().and_then(|version| version.parse().ok()).unwrap_or(0)
}
