//! The story as Kubernetes sees it, in four acts: two nodes take the range's two blocks, a third gets none, it is said why, and a
//! range is added.
//!
//! API server, scheduler, kube-controller-manager and Freeboard's controller are the real ones.

mod nodes;
mod place;
mod scaler;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use freeboard_address::{Cidr, NodeName};
use freeboard_kubernetes::conditions::of_node;
use freeboard_kubernetes::k8s_openapi::api::core::v1::{Node, Pod};
use freeboard_kubernetes::kube::api::{ListParams, PostParams};
use freeboard_kubernetes::kube::{Api, Client, ResourceExt};
use freeboard_kubernetes::resources::{PodRange, PodRangeSpec};
use freeboard_kubernetes::watch::{Seen, object};
use futures::StreamExt;
use serde_json::json;

use super::scene::Scene;
use super::words;
use crate::demo::story::Story;
use place::{Place, until};
use scaler::Helped;

/// The range that makes room.
const ADDED: (&str, &str) = ("pods-b", "192.168.4.0/22");
/// The Deployment, named as in the seed.
const DEPLOYMENT: &str = "alpine-curl";
/// What a node is told that waits for a block.
const CONDITION: &str = "PodBlockAvailable";
/// How soon a waiting node joins when a range is added.
const SOON: Duration = Duration::from_secs(1);

/// Tells the story; fails when something that must hold does not.
pub(super) fn tell(mut story: Story, mut scene: Scene) -> Result<()> {
    let place = two_nodes(&mut story, &scene)?;
    let helped = third_node(&mut story, &mut scene, &place)?;
    explained(&mut story, &place, &helped)?;
    joins(&mut story, &place, &helped)?;
    story.show("");
    story.say(
        "You saw a real scheduler and GKE's autoscaler say that a pod has no node, and not why; the range and its figures on the \
         node that waits; and the same node join as soon as a range was declared.",
    );
    story.end()
}

/// Act 1: the range's two blocks.
fn two_nodes(story: &mut Story, scene: &Scene) -> Result<Place> {
    story.act(
        "Two nodes take the two blocks of their range",
        "API server, scheduler and Freeboard's controller are the real programs, in namespaces of their own. The machines are the \
         simulated cloud's; what their kubelets would report is written by this command.",
    );
    let waiting = story.waiting("the control plane starts");
    let place = Place::start(scene)?;
    drop(waiting);
    let range = scene.cloud.cluster(&scene.original.cluster)?.pod_range.clone();
    let cidr = scene.usage(&range)?.cidr;
    add_range(story, &place, range.as_str(), cidr)?;
    let machines = scene.nodes(&scene.original)?;
    place.runtime.spawn(nodes::keep_alive(place.client.clone()));
    let api: Api<Node> = Api::all(place.client.clone());
    let waiting = story.waiting("two nodes register");
    place.runtime.block_on(async {
        for machine in &machines {
            nodes::register(&place.client, scene, &machine.name).await?;
            // GKE's machines have their blocks in the order in which they were made.
            until("the node takes pods", async || Ok(Some(api.get(&machine.name).await?).filter(nodes::takes_pods)))
                .await?;
        }
        anyhow::Ok(())
    })?;
    drop(waiting);
    story.did("kubectl describe nodes | grep PodCIDR");
    story.show(&place.pod_cidrs()?);
    let given = place.runtime.block_on(blocks(&place.client))?;
    let expected: Vec<Option<String>> = machines.iter().map(|machine| Some(machine.block.to_string())).collect();
    let ours: Vec<Option<String>> = machines.iter().map(|machine| given.get(&machine.name).cloned()).collect();
    story.check("the controller gives the two nodes 10.0.0.0/27 and 10.0.0.32/27, as GKE does", ours == expected);
    story.fact("blocks", json!(given));
    fill(story, scene, &place, machines.len())?;
    Ok(place)
}

/// As many pods as the nodes may have.
fn fill(story: &mut Story, scene: &Scene, place: &Place, nodes: usize) -> Result<()> {
    let room = nodes * usize::from(scene.original_pool()?.max_pods.get());
    let labels = json!({"app": DEPLOYMENT});
    place.apply(&json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": DEPLOYMENT},
        "spec": {"replicas": room, "selector": {"matchLabels": labels}, "template": {
            "metadata": {"labels": labels},
            "spec": {"automountServiceAccountToken": false, "containers": [{"name": "curl", "image": "localhost/pause:1"}]},
        }},
    }))?;
    story.did(&format!("kubectl create deployment {DEPLOYMENT} --replicas={room} …"));
    let waiting = story.waiting(format!("{room} pods get their nodes"));
    place.runtime.block_on(placed(&place.client, room))?;
    drop(waiting);
    story.say(&format!("{room} pods are on the two nodes, which may have no more."));
    Ok(())
}

/// Act 2: one more pod, and the words of the seed.
fn third_node(story: &mut Story, scene: &mut Scene, place: &Place) -> Result<Helped> {
    story.act(
        "A third node is needed",
        "One more pod comes. The autoscaler asks the cloud for a machine with a block of the pool's range, as GKE does, and there is \
         none. Then a machine comes without a block, because here the controller gives it, and its node registers.",
    );
    let count = place.kubectl(&["get", "deployment", DEPLOYMENT, "-o", "jsonpath={.spec.replicas}"])?;
    let more = count.trim().parse::<u32>().with_context(|| format!("{count:?} is no number of replicas"))? + 1;
    let replicas = format!("--replicas={more}");
    place.kubectl(&["scale", "deployment", DEPLOYMENT, &replicas])?;
    story.did(&format!("kubectl scale deployment {DEPLOYMENT} {replicas}"));
    let waiting = story.waiting("the pod finds no node");
    let helped = place.runtime.block_on(scaler::help_next(&place.client, scene))?;
    let events = place.runtime.block_on(scaler::events_of(&place.client, &helped.pod))?;
    drop(waiting);
    story.did(&format!("kubectl describe pod {}    # Events", helped.pod.name_any()));
    let lines: Vec<_> = events.iter().map(scaler::line).collect();
    story.show(&words::event_table(&lines));
    story.did("gcloud compute instance-groups managed list-errors …    # what the cloud said");
    story.show(&words::message(&helped.refusal));
    let said: Vec<(&str, &str)> = lines.iter().map(|line| (line.reason.as_str(), line.source.as_str())).collect();
    let of_the_seed = [
        ("TriggeredScaleUp", "cluster-autoscaler"),
        ("FailedScaleUp", "cluster-autoscaler"),
        ("FailedScheduling", "default-scheduler"),
        ("NotTriggerScaleUp", "cluster-autoscaler"),
    ];
    story.check("the scheduler and the autoscaler say what the seed shows, in its order", said.ends_with(&of_the_seed));
    story.fact(
        "events",
        json!(
            lines
                .iter()
                .map(|line| json!({
                    "type": line.kind, "reason": line.reason, "from": line.source, "message": line.message,
                }))
                .collect::<Vec<_>>()
        ),
    );
    story.fact("annotations", json!(helped.pod.annotations()));
    Ok(helped)
}

/// Act 3: what the node and the range say.
fn explained(story: &mut Story, place: &Place, helped: &Helped) -> Result<()> {
    story.act(
        "What no event of the pod says, the node does",
        "The controller tells on the node why it has no block: which range, its figures, and what helps.",
    );
    let api: Api<Node> = Api::all(place.client.clone());
    let told = place.runtime.block_on(until("the node is told why it waits", async || {
        Ok(of_node(&api.get(&helped.node).await?, CONDITION))
    }))?;
    story.did(&format!("kubectl describe node {}    # condition {CONDITION}", helped.node));
    story.say(&format!("{}: {}.", told.reason, told.message));
    let status = place.runtime.block_on(until("the range is told", async || {
        let ranges: Api<PodRange> = Api::all(place.client.clone());
        let range = ranges.list(&ListParams::default()).await?.items.pop();
        Ok(range.and_then(|range| range.status).filter(|status| status.waiting_nodes > 0))
    }))?;
    let columns = "custom-columns=NAME:.metadata.name,CIDR:.spec.cidr,NODES:.status.nodes,FREE:.status.freeAddresses,WAITING:.status.waitingNodes";
    story.did("kubectl get podranges -o custom-columns=…");
    for line in place.kubectl(&["get", "podranges", "-o", columns])?.lines() {
        story.show(&format!("    {line}"));
    }
    story.check(
        "the node and the range name the pod range as full: two of two blocks",
        told.reason == "RangeExhausted"
            && told.message.contains("10.0.0.0/26 is full: 2 of 2 blocks of /27 are taken")
            && (status.nodes, status.free_addresses, status.waiting_nodes) == (2, 0, 1),
    );
    story.fact("refusal", format!("{}: {}", told.reason, told.message));
    Ok(())
}

/// Act 4: a range is added, and the node joins.
fn joins(story: &mut Story, place: &Place, helped: &Helped) -> Result<()> {
    story.act(
        "A range is added, and the node that waits joins",
        "A pool is not bound to a range here. The controller gives the waiting node a block of the new range at once; nobody makes \
         another pool or node.",
    );
    let node = NodeName::new(helped.node.as_str());
    let watched = place.runtime.spawn(given(place.client.clone(), node));
    let started = Instant::now();
    add_range(story, place, ADDED.0, ADDED.1.parse()?)?;
    let (block, at) = place.runtime.block_on(watched)??;
    let took = at.saturating_duration_since(started);
    story.say(&format!("{} has {block} {} ms after the range was declared.", helped.node, took.as_millis()));
    let waiting = story.waiting("the pod gets its node");
    let pods: Api<Pod> = Api::default_namespaced(place.client.clone());
    let on = place.runtime.block_on(until("the waiting pod has a node", async || {
        let pod = pods.get(&helped.pod.name_any()).await?;
        Ok(pod.spec.and_then(|spec| spec.node_name))
    }))?;
    drop(waiting);
    story.did("kubectl describe nodes | grep PodCIDR");
    story.show(&place.pod_cidrs()?);
    let range: Cidr = ADDED.1.parse()?;
    story.check("the waiting node joins within a second of the range", took < SOON && range.contains_block(block));
    story.check("and takes the waiting pod", on == helped.node);
    story.fact("milliseconds_until_joined", u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
    story.fact("block_of_the_third", block.to_string());
    Ok(())
}

fn add_range(story: &Story, place: &Place, name: &str, cidr: Cidr) -> Result<()> {
    story.did(&format!("kubectl apply -f -    # kind: PodRange, metadata.name: {name}, spec.cidr: {cidr}"));
    let ranges: Api<PodRange> = Api::all(place.client.clone());
    let range = PodRange::new(name, PodRangeSpec::new(cidr));
    place.runtime.block_on(ranges.create(&PostParams::default(), &range))?;
    Ok(())
}

/// The blocks of all nodes.
async fn blocks(client: &Client) -> Result<std::collections::BTreeMap<String, String>> {
    let listed = Api::<Node>::all(client.clone()).list(&ListParams::default()).await?;
    Ok(listed.iter().filter_map(|node| Some((node.name_any(), nodes::block(node)?.to_owned()))).collect())
}

/// Waits until so many pods have a node.
async fn placed(client: &Client, count: usize) -> Result<()> {
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    until("the pods have nodes", async || {
        let placed = pods.list(&ListParams::default().fields("spec.nodeName!=")).await?.items.len();
        Ok((placed == count).then_some(()))
    })
    .await
}

/// The block that a node is given, and when it was seen.
async fn given(client: Client, name: NodeName) -> Result<(Cidr, Instant)> {
    let mut seen = object(Api::<Node>::all(client), name.as_str());
    let limit = tokio::time::sleep(Duration::from_secs(60));
    tokio::pin!(limit);
    loop {
        tokio::select! {
            seen = seen.next() => {
                if let Some(Seen::Now(Some(node))) = seen
                    && let Some(block) = nodes::block(&node)
                {
                    return Ok((block.parse()?, Instant::now()));
                }
            }
            () = &mut limit => bail!("{name} has no block a minute after the range was declared"),
        }
    }
}
