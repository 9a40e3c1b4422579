//! Act 3: GKE's three ways to more pod addresses, each tried on a copy of the cloud.

use std::fmt::Write;

use anyhow::{Context, Result};
use freeboard_gcp::{PodRangeRequest, RangeName, RangeSize};
use serde_json::json;

use super::scene::{NewPool, Scene};
use crate::demo::story::Story;

/// The range that the user adds in the first and third way.
const ADDED: [(&str, &str); 1] = [("more-pods", "10.0.128.0/17")];
/// The size of the range that GKE makes in the second.
const MADE_BY_GKE: u8 = 22;
/// The pool that each way ends in.
const NEW_POOL: &str = "second-nodepool";

/// What a way came to.
struct Outcome {
    title: &'static str,
    steps: Vec<String>,
    who: &'static str,
    range: String,
    holds: u64,
    new_nodes: u32,
    old_nodes: u32,
    old_is_refused: bool,
}

/// Tells the act.
pub(super) fn act(story: &mut Story, scene: &Scene) -> Result<()> {
    story.act(
        "Three ways out on GKE, and each is another pool",
        "\"Discontiguous multi-Pod CIDR\" adds a range to the cluster, in one of three ways. Each was carried out on a copy of \
         this cloud. A range bound to a pool stays with it, so the full pool gains nothing.",
    );
    let outcomes = [through_the_cluster(scene)?, made_by_gke(scene)?, made_by_the_user(scene)?];
    for (index, outcome) in outcomes.iter().enumerate() {
        story.say(&format!("{}. {}:", index + 1, outcome.title));
        outcome.steps.iter().for_each(|step| story.did(step));
    }
    story.show(&table(&outcomes));
    story.check(
        "in each way the waiting pods get a node in a new pool",
        outcomes.iter().all(|outcome| outcome.new_nodes > 0),
    );
    story.check(
        "in none does the old pool get its third node",
        outcomes.iter().all(|outcome| outcome.old_is_refused && outcome.old_nodes == 2),
    );
    let facts = outcomes.iter().map(|outcome| {
        json!({
            "title": outcome.title,
            "who_chooses_the_range": outcome.who,
            "range": outcome.range,
            "nodes_it_holds": outcome.holds,
            "nodes_of_the_new_pool": outcome.new_nodes,
            "nodes_of_the_old_pool": outcome.old_nodes,
        })
    });
    story.fact("three_ways", facts.collect::<Vec<_>>());
    Ok(())
}

fn through_the_cluster(scene: &Scene) -> Result<Outcome> {
    let mut copy = scene.clone();
    copy.add_ranges(&ADDED)?;
    copy.give_to_cluster(&ADDED)?;
    let steps = vec![
        add_range(),
        format!("gcloud container clusters update demo-ip --additional-pod-ipv4-ranges={}", ADDED[0].0),
        create(scene, "")?,
    ];
    try_it(copy, PodRangeRequest::ChosenByGke, "Give the cluster a range; GKE puts new pools on it", steps, "GKE")
}

fn made_by_gke(scene: &Scene) -> Result<Outcome> {
    let range = PodRangeRequest::New { name: None, size: RangeSize::Length(MADE_BY_GKE) };
    let steps = vec![create(scene, &format!(" --create-pod-ipv4-range=range=/{MADE_BY_GKE}"))?];
    try_it(scene.clone(), range, "Make a pool with a new range, which GKE makes and keeps", steps, "GKE")
}

fn made_by_the_user(scene: &Scene) -> Result<Outcome> {
    let mut copy = scene.clone();
    copy.add_ranges(&ADDED)?;
    let range = PodRangeRequest::Existing(RangeName::new(ADDED[0].0));
    let steps = vec![add_range(), create(scene, &format!(" --pod-ipv4-range={}", ADDED[0].0))?];
    try_it(copy, range, "Make a pool with a range of yours", steps, "you")
}

fn add_range() -> String {
    let (name, cidr) = ADDED[0];
    format!("gcloud compute networks subnets update cluster --add-secondary-ranges={name}={cidr}")
}

fn create(scene: &Scene, range: &str) -> Result<String> {
    let pods = scene.original_pool()?.max_pods.get();
    Ok(format!("gcloud container node-pools create {NEW_POOL} --max-pods-per-node={pods}{range}"))
}

/// Makes the pool, then asks for the old pool's third node once more.
fn try_it(
    mut copy: Scene,
    range: PodRangeRequest,
    title: &'static str,
    steps: Vec<String>,
    who: &'static str,
) -> Result<Outcome> {
    let max_pods = i64::from(copy.original_pool()?.max_pods.get());
    copy.create_pool(&NewPool { name: NEW_POOL, max_pods, nodes: 1, max_nodes: 7, range })?;
    let pool = copy.pool(NEW_POOL);
    let (name, length) = (copy.cloud.pool(&pool)?.pod_range.clone(), copy.cloud.pool(&pool)?.block_length());
    let new_nodes = copy.nodes_of(&pool)?;
    let cidr = copy.subnetwork()?.range(&name).context("the new pool has no range")?.cidr;
    let original = copy.original.clone();
    let old_is_refused = copy.resize(&original, 3)?.is_some();
    Ok(Outcome {
        title,
        steps,
        who,
        range: cidr.to_string(),
        holds: cidr.size() >> (32 - length),
        new_nodes,
        old_nodes: copy.nodes_of(&original)?,
        old_is_refused,
    })
}

fn table(outcomes: &[Outcome]) -> String {
    let row = |what: &str, cell: &dyn Fn(&Outcome) -> String| {
        outcomes.iter().fold(format!("    {what:<29}"), |mut line, outcome| {
            // Writing to a string cannot fail.
            let _ = write!(line, " {:<14}", cell(outcome));
            line
        })
    };
    let refused = |outcome: &Outcome| if outcome.old_is_refused { "✗ refused" } else { "comes" }.to_owned();
    let lines = [
        row("", &|outcome| {
            let number = outcomes.iter().position(|one| one.title == outcome.title).map_or(0, |index| index + 1);
            format!("way {number}")
        }),
        row("who chooses the pool's range", &|outcome| outcome.who.to_owned()),
        row("range of the new pool", &|outcome| outcome.range.clone()),
        row("nodes it holds", &|outcome| outcome.holds.to_string()),
        row("nodes of the new pool", &|outcome| outcome.new_nodes.to_string()),
        row("nodes of the old pool", &|outcome| outcome.old_nodes.to_string()),
        row("third node of the old pool", &refused),
    ];
    lines.iter().map(|line| line.trim_end()).collect::<Vec<_>>().join("\n")
}
