//! Act 5: a range is added, and the same pool grows: Freeboard gives the blocks, the cloud routes them.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use freeboard_address::{Cidr, NodeName, NodeUid};
use freeboard_blocks::{
    Answer, ApiOperation, Blocks, BlocksSettings, Effect, Exclusion, ObservedNode, RangeSpec, ResourceVersion, Signal,
};
use freeboard_gcp::{AliasRequest, AliasSize, InsertInstance, InstanceKey, InstanceName, RangeName};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::scene::{Node, Scene};
use crate::demo::story::Story;

/// The range that makes room.
const ADDED: (&str, &str) = ("pods-b", "192.168.4.0/22");

/// The engine of Freeboard's controller, and what it has seen of the API so far.
pub(super) struct Controller {
    pub(super) engine: Blocks,
    version: u64,
    served: Vec<Served>,
}

/// A node that got its block.
struct Served {
    node: NodeName,
    block: Cidr,
    range: String,
    waited: SignedDuration,
}

impl Controller {
    /// A controller that takes over the demo's cluster as it stands: its range, and its nodes with their blocks.
    pub(super) fn of(scene: &Scene) -> Result<Self> {
        let subnetwork = scene.subnetwork()?;
        let cluster = scene.cloud.cluster(&scene.original.cluster)?;
        let exclude = |cidr, purpose: &str| Exclusion { cidr, purpose: purpose.to_owned() };
        let services = cluster.services_range.as_ref().and_then(|name| subnetwork.range(name));
        let mut excluded = vec![exclude(subnetwork.primary, "the range of the nodes")];
        excluded.extend(services.map(|range| exclude(range.cidr, "the range of the services")));
        // The cluster's former controller is gone, so nobody else's write can still land.
        let settings = BlocksSettings { takeover_wait: SignedDuration::ZERO, excluded, ..BlocksSettings::default() };
        let mut engine = Blocks::new(settings, scene.now);
        let pods = scene.usage(&cluster.pod_range)?;
        engine.handle_range(RangeSpec::new(cluster.pod_range.as_str(), pods.cidr), scene.now)?;
        let max_pods = scene.original_pool()?.max_pods.get();
        let mut controller = Self { engine, version: 0, served: Vec::new() };
        let nodes = scene.nodes(&scene.original)?.into_iter();
        let seen = nodes.map(|node| controller.observe(&node.name, max_pods, vec![node.block.to_string()])).collect();
        let version = ResourceVersion(controller.version);
        controller.engine.handle_nodes(seen, version, scene.now);
        Ok(controller)
    }

    fn observe(&mut self, name: &str, max_pods: u16, pod_cidrs: Vec<String>) -> ObservedNode {
        self.version += 1;
        ObservedNode {
            name: NodeName::new(name),
            uid: NodeUid::new(format!("uid-of-{name}")),
            version: ResourceVersion(self.version),
            labels: Arc::new(BTreeMap::new()),
            max_pods: Some(i64::from(max_pods)),
            pod_cidrs,
            is_deleting: false,
        }
    }

    /// A node registers without a block.
    pub(super) fn register(&mut self, name: &str, max_pods: u16, now: Timestamp) -> NodeName {
        let node = self.observe(name, max_pods, Vec::new());
        let name = node.name.clone();
        self.engine.handle_node(node, now);
        name
    }

    /// Carries out what the engine asks for: a block becomes the node's alias range in `cloud`, then its podCIDR.
    pub(super) fn settle(&mut self, mut scene: Option<&mut Scene>, now: Timestamp) -> Result<()> {
        while let Some(effect) = self.engine.poll_effect() {
            match effect {
                Effect::Api(id, ApiOperation::SetPodCidrs { node, cidr, .. }) => {
                    let scene = scene.as_mut().context("a block was given where none can be")?;
                    route(scene, &node, cidr)?;
                    self.engine.handle_answer(id, Answer::Written, now);
                }
                Effect::Api(_, ApiOperation::ReadNode { node }) => {
                    bail!("the story's API contradicts itself about {node}")
                }
                Effect::Signal(Signal::Served { node, cidr, range, waited }) => {
                    self.served.push(Served { node, block: cidr, range: range.to_string(), waited });
                }
                Effect::Signal(_) | Effect::ForgetRange(_) | Effect::ListNodes => {}
            }
        }
        Ok(())
    }
}

/// Lets a block lead to a node's machine.
fn route(scene: &mut Scene, node: &NodeName, cidr: Cidr) -> Result<()> {
    let key = machine(scene, node.as_str())?;
    let nic = &scene.cloud.instance(&key)?.interface;
    let fingerprint = nic.fingerprint;
    let range = scene.subnetwork()?.secondary.iter().find(|range| range.cidr.contains_block(cidr));
    let range = range.with_context(|| format!("{cidr} lies in no range of the subnetwork"))?.name.clone();
    let wanted = [AliasRequest { size: AliasSize::Block(cidr), range: Some(range) }];
    let operation = scene.cloud.update_network_interface(&key, fingerprint, "as just read", &wanted, scene.now);
    scene.done(operation)
}

fn machine(scene: &Scene, name: &str) -> Result<InstanceKey> {
    let zone = scene.original_pool()?.locations.first().context("the pool has no zone")?.clone();
    Ok(InstanceKey::new(zone, InstanceName::new(name)))
}

/// Makes the pool's next machine, which has no block yet; gives its name.
pub(super) fn add_machine(scene: &mut Scene, number: u32) -> Result<String> {
    let pool = scene.original_pool()?;
    let machine_type = pool.machine_type.clone();
    let name = format!("{}-{}-{number}", scene.original.cluster.name, pool.name);
    let request = InsertInstance {
        key: machine(scene, &name)?,
        machine_type,
        subnetwork: scene.subnetwork.clone(),
        address: None,
        alias_ranges: Vec::new(),
        labels: BTreeMap::from([("goog-k8s-node-pool-name".to_owned(), scene.original.name.to_string())]),
    };
    let operation = scene.cloud.insert_instance(&request, scene.now);
    scene.done(operation)?;
    Ok(name)
}

/// Makes the pool's next machine, and registers its node.
fn add_node(scene: &mut Scene, controller: &mut Controller, number: u32) -> Result<NodeName> {
    let name = add_machine(scene, number)?;
    let max_pods = scene.original_pool()?.max_pods.get();
    Ok(controller.register(&name, max_pods, scene.now))
}

/// Tells the act.
pub(super) fn act(story: &mut Story, scene: &mut Scene) -> Result<()> {
    story.act(
        "Freeboard's way: a range is added, and the same pool grows",
        "Where Freeboard gives nodes their blocks, a pool is not bound to a range. It takes over the cluster as it stands; the \
         third node registers, waits, and is served when a range comes. (On GKE itself the service binds its pools.)",
    );
    let before = scene.nodes(&scene.original)?;
    let largest = scene.original_pool()?.autoscaling.context("the demo's pool has no autoscaling")?.max_node_count;
    let mut controller = Controller::of(scene)?;
    let taken_over = controller.engine.view();
    story.say(&format!(
        "Taken over: {} nodes with their blocks, {} findings, nothing changed.",
        taken_over.nodes_served,
        taken_over.findings.len()
    ));
    let third = add_node(scene, &mut controller, 3)?;
    let registered = scene.now;
    let now = scene.now;
    controller.settle(Some(scene), now)?;
    let refusal = controller.engine.explain(&third).context("the third node should wait")?;
    story.say(&format!("{third} waits: {refusal}."));

    scene.now += SignedDuration::from_secs(60);
    story
        .did(&format!("gcloud compute networks subnets update cluster --add-secondary-ranges={}={}", ADDED.0, ADDED.1));
    scene.add_ranges(&[ADDED])?;
    story.did(&format!("kubectl apply -f -    # kind: PodRange, metadata.name: {}, spec.cidr: {}", ADDED.0, ADDED.1));
    let applied = scene.now;
    let spec = RangeSpec::new(ADDED.0, ADDED.1.parse()?);
    controller.engine.handle_range(spec, applied)?;
    controller.settle(Some(scene), applied)?;
    let first = controller.served.first().context("the third node is not served")?;
    let since_range = (registered + first.waited).duration_since(applied);
    story.say(&format!(
        "{} has {} at once: {} s after the range was declared, {} s after the node registered.",
        first.node,
        first.block,
        since_range.as_secs(),
        first.waited.as_secs()
    ));
    story.check("the waiting node is served the moment the range comes", since_range.is_zero());
    for number in 4..=largest {
        add_node(scene, &mut controller, number)?;
        let now = scene.now;
        controller.settle(Some(scene), now)?;
    }
    prove(story, scene, &controller, &before, largest)?;
    story.fact("refusal_before_the_range", refusal.to_string());
    Ok(())
}

/// The pool as it is now, and what must hold of it.
fn prove(story: &mut Story, scene: &Scene, controller: &Controller, before: &[Node], largest: u32) -> Result<()> {
    let mut rows: Vec<(String, Cidr, String)> =
        before.iter().map(|node| (node.name.clone(), node.block, node.range.to_string())).collect();
    rows.extend(controller.served.iter().map(|one| (one.node.to_string(), one.block, one.range.clone())));
    for (name, block, range) in &rows {
        story.show(&format!("    {name:<44} {:<16} {range}", block.to_string()));
    }
    let added: Cidr = ADDED.1.parse()?;
    let nodes = u32::try_from(rows.len()).unwrap_or(u32::MAX);
    let after = scene.nodes(&scene.original)?;
    let kept =
        before.iter().zip(&after).all(|(before, after)| before.block == after.block && before.name == after.name);
    let view = controller.engine.view();
    story.check(
        &format!("the pool has all {largest} nodes it may have, on two ranges"),
        nodes == largest && view.nodes_served == rows.len(),
    );
    story.check(
        "the new nodes' blocks come from the added range",
        controller.served.iter().all(|one| added.contains_block(one.block)),
    );
    story.check("the first two nodes were not touched", kept && before.len() == after.len());
    story.check("no node waits", view.waiting.is_empty() && view.findings.is_empty());
    let free = scene.usage(&RangeName::new(ADDED.0))?;
    story.fact(
        "own_way",
        json!({
            "nodes": rows.iter().map(|(name, block, range)| json!({"node": name, "block": block.to_string(), "range": range})).collect::<Vec<_>>(),
            "free_addresses_of_the_added_range": free.free_addresses,
        }),
    );
    Ok(())
}
