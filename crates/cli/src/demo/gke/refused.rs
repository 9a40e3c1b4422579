//! Act 1: two nodes fill the pod range, and the third is refused.

use anyhow::{Context, Result};
use freeboard_gcp::{ClusterScaler, PendingPod, ScalerTiming};
use freeboard_vpc_server::{node_pool_json, subnetwork_json};
use serde_json::json;

use super::scene::Scene;
use super::words;
use crate::demo::story::Story;

/// The pod that waits, named as in the seed.
const POD: &str = "alpine-curl-648f8f669c-wltzt";
/// How long after the last event the seed looks at its pod, in seconds.
const LOOKS_AFTER_SECONDS: i64 = 42;
/// Where a reader finds the same objects.
const WORLD: &str = "--world worlds/gke-demo.yaml";
/// What the seed shows of its subnetwork.
const SUBNET_FIELDS: [&str; 2] = ["ipCidrRange", "secondaryIpRanges"];
/// What the seed shows of its pool.
const POOL_FIELDS: [&str; 3] = ["maxPodsConstraint", "networkConfig", "podIpv4CidrSize"];

/// Tells the act; gives the pod that waits.
pub(super) fn act(story: &mut Story, scene: &mut Scene) -> Result<PendingPod> {
    story.act(
        "A third node is needed, and does not come",
        "On GKE a node takes a whole block of pod addresses when it is made, out of the one secondary range that its pool has for \
         life. The cloud is simulated; its rules and words are Google's.",
    );
    let shown = subnetwork_json(&scene.cloud, scene.subnetwork()?, false);
    story.did(&format!("freeboard vpc describe subnet cluster {WORLD} --fields {}", SUBNET_FIELDS.join(",")));
    story.show(&words::fields(&shown, &SUBNET_FIELDS));
    let pool = scene.original_pool()?.clone();
    let cluster = scene.cloud.cluster(&scene.original.cluster)?;
    let shown = node_pool_json(&scene.cloud, cluster, &pool, scene.now);
    story.did(&format!(
        "freeboard vpc describe node-pool {} --cluster {} {WORLD} --fields {}",
        pool.name,
        cluster.key.name,
        POOL_FIELDS.join(",")
    ));
    story.show(&words::fields(&shown, &POOL_FIELDS));
    let (pods, length) = (pool.max_pods.get(), pool.block_length());
    let usage = scene.usage(&pool.pod_range)?;
    let (block, holds) = (1_u64 << (32 - length), usage.cidr.subdivide(length).count());
    story.say(&format!(
        "GKE keeps twice as many addresses as a node may have pods: {pods} pods make {block} addresses, a /{length}, and the \
         {} addresses of {} hold {holds} of them.",
        usage.cidr.size(),
        pool.pod_range,
    ));
    let nodes = scene.nodes(&scene.original)?;
    for node in &nodes {
        story.show(&format!("    {:<44} {}", node.name, node.block));
    }
    let blocks: Vec<String> = nodes.iter().map(|node| node.block.to_string()).collect();
    story.check("the two nodes have 10.0.0.0/27 and 10.0.0.32/27", blocks == ["10.0.0.0/27", "10.0.0.32/27"]);
    story.check("podIpv4CidrSize is 27", shown["podIpv4CidrSize"] == 27);
    story.fact("pod_ipv4_cidr_size", length);
    story.fact("blocks", blocks);

    third_node(story, scene)
}

/// One more pod comes, and the autoscaler wants a third node.
fn third_node(story: &mut Story, scene: &mut Scene) -> Result<PendingPod> {
    let bounds = scene.original_pool()?.autoscaling.context("the demo's pool has no autoscaling")?;
    story.say(&format!(
        "Both nodes have all the pods they may have. One more pod comes, and the autoscaler may make up to {} nodes:",
        bounds.max_node_count
    ));
    let mut scaler = ClusterScaler::new(scene.original.clone(), ScalerTiming::default());
    let pod = scaler.handle_pod_without_node(&mut scene.cloud, scene.now)?;
    let last = pod.events.last().context("nothing was said of the waiting pod")?.last;
    scene.now = last + jiff::SignedDuration::from_secs(LOOKS_AFTER_SECONDS);
    story.did(&format!("kubectl describe pod {POD}    # Events"));
    story.show(&words::events(&pod, scene.now));
    story.did(&format!("kubectl get pod {POD} -o yaml | yq .metadata.annotations"));
    for (name, value) in &pod.annotations {
        story.show(&format!("  {name}: {value}"));
    }
    let events = pod.events.iter().map(|event| {
        json!({
            "type": words::kind(event),
            "reason": event.reason,
            "age": words::age(event, scene.now),
            "from": event.source,
            "message": event.message,
        })
    });
    story.fact("events", events.collect::<Vec<_>>());
    story.fact("annotations", json!(pod.annotations));
    let reasons: Vec<&str> = pod.events.iter().map(|event| event.reason).collect();
    story.check(
        "the events are those of the original demo, in its order",
        reasons == ["TriggeredScaleUp", "FailedScaleUp", "FailedScheduling", "NotTriggerScaleUp"],
    );
    story.check("there is no third node", scene.nodes_of(&scene.original)? == 2 && !pod.has_node);
    Ok(pod)
}
