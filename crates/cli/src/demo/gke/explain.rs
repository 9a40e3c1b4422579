//! Act 2: what the event does not say.

use anyhow::{Context, Result};
use freeboard_blocks::Cause;
use freeboard_gcp::PendingPod;
use serde_json::json;

use super::own_way::Controller;
use super::scene::Scene;
use super::words;
use crate::demo::story::Story;

/// Tells the act.
pub(super) fn act(story: &mut Story, scene: &Scene, waiting: &PendingPod) -> Result<()> {
    story.act(
        "What \"IP space exhausted\" does not say",
        "Nodes and pods have ranges of their own. The event names neither; the cloud's answer to the instance group does, for \
         those who can read it.",
    );
    let message = waiting.refusal.as_deref().context("the cloud refused nothing")?;
    story.did("gcloud compute instance-groups managed list-errors gke-demo-ip-original-nodepool-22330990-grp");
    story.show(&words::message(message));
    let place = scene.cloud.exhausted_place(message).context("the message names no range that is known")?;
    let range = place.range.clone().context("the message names the range of the nodes")?;
    let subnetwork = scene.cloud.subnetwork(&place.subnetwork)?;
    let primary = subnetwork.usages().into_iter().next().context("the subnetwork has no primary range")?;
    let pods = scene.usage(&range)?;
    let length = scene.original_pool()?.block_length();
    let blocks = pods.cidr.subdivide(length).count();
    let free_blocks = subnetwork.range(&range).map_or(0, |range| range.free_blocks(length));
    story.say(&format!(
        "Where a subnet's name is expected, Google writes subnet, secondary range and a hash. So it is the pod range {range} \
         ({}), not the node range ({}: {} of its addresses are free).",
        pods.cidr,
        primary.cidr,
        primary.free_addresses,
    ));
    let utilization = pods.utilization();
    story.say(&format!(
        "{range} has {blocks} blocks of /{length}, {free_blocks} of them free. Its utilisation is {} of {} addresses, \
         {utilization:.1} in the API, whatever the pods use: a node of {} pods takes {}.",
        pods.allocated_addresses,
        pods.cidr.size(),
        scene.original_pool()?.max_pods.get(),
        1_u64 << (32 - length),
    ));
    // Freeboard's own controller, on the same facts: two nodes with their blocks, and one that waits.
    let mut controller = Controller::of(scene)?;
    let node = controller.register("the-third-node", scene.original_pool()?.max_pods.get(), scene.now);
    controller.settle(None, scene.now)?;
    let refusal = controller.engine.explain(&node).context("Freeboard sees no node that waits")?;
    story.say(&format!("Freeboard says of the same node: {refusal}."));
    story.check(
        "the refusal speaks of the pod range",
        range.as_str() == "pod-range" && pods.cidr.to_string() == "10.0.0.0/26",
    );
    story.check(
        "utilisation is 1.0, two of two blocks are taken",
        (utilization - 1.0).abs() < f64::EPSILON && blocks == 2 && free_blocks == 0,
    );
    story.check("Freeboard gives the same cause", refusal.cause == Cause::RangeExhausted);
    story.fact(
        "exhausted",
        json!({
            "subnetwork": place.subnetwork.name.as_str(),
            "range": range.as_str(),
            "cidr": pods.cidr.to_string(),
            "blocks": blocks,
            "free_blocks": free_blocks,
            "utilization": utilization,
            "free_node_addresses": primary.free_addresses,
            "cloud_said": message,
            "freeboard_says": refusal.to_string(),
        }),
    );
    Ok(())
}
