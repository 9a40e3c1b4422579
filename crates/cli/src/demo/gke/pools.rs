//! Act 4: eight pools on three ranges, as GKE puts them and as they fit.

use std::fmt::Write;

use anyhow::{Context, Result, ensure};
use freeboard_blocks::{Assignment, PoolDemand, RangeRoom, Shortfall, assign_pools, predict, rooms_of_empty_ranges};
use freeboard_gcp::{PodRangeRequest, RangeName};
use serde_json::json;

use super::scene::{NewPool, Scene};
use super::words;
use crate::demo::story::Story;

/// The ranges of the seed's screenshot.
const RANGES: [(&str, &str); 3] =
    [("pods-a", "10.0.128.0/17"), ("pods-b", "192.168.4.0/22"), ("pods-c", "192.168.0.0/22")];
/// The seed makes pools 1 to 8.
const POOLS: u32 = 8;
/// Pods per node of each.
const MAX_PODS: u32 = 32;
/// The prefix length of a node's block that follows from it.
const BLOCK_LENGTH: u8 = 26;

/// The largest size of pool `i`, as the seed's loop computes it.
fn max_nodes(i: u32) -> u32 {
    (6 + i) * i
}

/// Tells the act.
pub(super) fn act(story: &mut Story, scene: &Scene) -> Result<()> {
    let sizes: Vec<u32> = (1..=POOLS).map(max_nodes).collect();
    let total: u32 = sizes.iter().sum();
    story.act(
        "Eight pools, three ranges: where GKE puts them, and where they fit",
        "The original demo gives the cluster three ranges and makes eight pools. GKE puts each new pool on the range with the \
         lowest share in use, and does not look at how large the pool may become.",
    );
    let ready = with_ranges(story, scene)?;
    let mut gke = ready.clone();
    story.did(
        "for i in {1..8}; do gcloud container node-pools create nodepool-$i --max-pods-per-node=32 --enable-autoscaling \
         --max-nodes=$(( (6+i)*i )) …; gcloud container clusters resize … --num-nodes=0; done",
    );
    let given = make_pools(&mut gke, |_| PodRangeRequest::ChosenByGke, 3)?;
    let empty: Vec<(&str, freeboard_address::Cidr)> =
        RANGES.iter().map(|(name, cidr)| Ok((*name, cidr.parse()?))).collect::<Result<_>>()?;
    for (name, _) in RANGES {
        let used = gke.usage(&RangeName::new(name))?.allocated_addresses;
        ensure!(used == 0, "range {name} should be empty when the pools are, and {used} of its addresses are used");
    }
    let rooms = rooms_of_empty_ranges(&empty);
    let bound = demands(Some(&given));
    let shortfalls = predict(&rooms, &bound);
    let assignment = assign_pools(&rooms, &demands(None));
    story.show(&table(&gke, &given, &shortfalls, &assignment)?);
    for shortfall in &shortfalls {
        story.say(&format!("✗ {shortfall}."));
    }
    let expected = ["pods-a", "pods-b", "pods-c", "pods-a", "pods-a", "pods-a", "pods-a", "pods-a"];
    let names: Vec<&str> = given.iter().map(RangeName::as_str).collect();
    story.check("GKE puts the pools where the original demo's screenshot shows them", names == expected);
    let predicted = shortfalls.first().filter(|_| shortfalls.len() == 1);
    story.check(
        "one failure is coming: nodepool-3 at its 17th node",
        predicted.is_some_and(|one| one.pool.as_str() == "nodepool-3" && one.fails_at_node == 17),
    );
    let real = grow_all(&mut gke)?;
    let spare = gke.subnetwork()?.range(&RangeName::new("pods-a")).context("pods-a is gone")?.free_blocks(BLOCK_LENGTH);
    let third = real.iter().find(|one| one.pool == 3).context("there is no third pool")?;
    story.say(&format!(
        "On a copy of the cloud all pools grow to their maxima, {total} nodes. nodepool-3 comes to {} of {}, while {} has {spare} \
         blocks to spare.",
        third.nodes,
        max_nodes(3),
        RANGES[0].1,
    ));
    let short: Vec<u32> = real.iter().filter(|one| one.nodes < max_nodes(one.pool)).map(|one| one.pool).collect();
    story.check(
        "so it happens on the simulated cloud: 16 nodes, and no other pool falls short",
        short == [3] && third.nodes == 16,
    );
    let ours = joint(story, &ready, &rooms, &assignment, total)?;
    story.show(&use_at_maximum(&gke, &ours)?);
    story.fact(
        "eight_pools",
        json!({
            "max_nodes": sizes,
            "total_nodes": total,
            "by_gke": given.iter().map(|range| cidr_of(range.as_str())).collect::<Vec<_>>(),
            "shortfalls": serde_json::to_value(&shortfalls)?,
            "spare_blocks_elsewhere": spare,
            "by_freeboard": assignment.placements.iter().map(|one| one.range.as_ref().map(|range| cidr_of(range.as_str()))).collect::<Vec<_>>(),
            "assignment": serde_json::to_value(&assignment)?,
        }),
    );
    Ok(())
}

/// A copy of the cloud whose cluster has the three ranges.
fn with_ranges(story: &Story, scene: &Scene) -> Result<Scene> {
    let mut ready = scene.clone();
    for (name, cidr) in RANGES {
        story.did(&format!("gcloud compute networks subnets update cluster --add-secondary-ranges={name}={cidr}"));
        ready.add_ranges(&[(name, cidr)])?;
    }
    let names = RANGES.map(|(name, _)| name).join(",");
    story.did(&format!("gcloud container clusters update demo-ip --additional-pod-ipv4-ranges={names}"));
    ready.give_to_cluster(&RANGES)?;
    Ok(ready)
}

/// The joint assignment, carried out on a copy of the cloud in which no pool has a range yet.
fn joint(story: &mut Story, ready: &Scene, rooms: &[RangeRoom], assignment: &Assignment, total: u32) -> Result<Scene> {
    let mut copy = ready.clone();
    let mut ranges = Vec::new();
    for placement in &assignment.placements {
        let range = placement.range.as_ref().with_context(|| format!("{} has no range", placement.pool))?;
        ranges.push(RangeName::new(range.as_str()));
    }
    let on =
        |index: usize| PodRangeRequest::Existing(ranges.get(index).cloned().unwrap_or_else(|| RangeName::new("none")));
    make_pools(&mut copy, on, 0)?;
    let grown = grow_all(&mut copy)?;
    let nodes: u32 = grown.iter().map(|one| one.nodes).sum();
    story.say(&format!(
        "Freeboard looks at all pools and their maxima at once, on {} ranges. Each pool made with its range \
         (--pod-ipv4-range, way 3) and grown to its maximum: {nodes} of {total} nodes.",
        rooms.len(),
    ));
    story.check("Freeboard's assignment fits all 420 nodes", nodes == 420 && nodes == total && assignment.fits_all());
    Ok(copy)
}

/// How full each range is when all pools are at their maxima, or as far as they come.
fn use_at_maximum(gke: &Scene, ours: &Scene) -> Result<String> {
    let mut text = format!("    {:<22} {:<24} {}\n", "AT THE MAXIMA", "AS GKE PUT THEM", "AS FREEBOARD PUTS THEM");
    for (name, cidr) in RANGES {
        let cell = |scene: &Scene| -> Result<String> {
            let usage = scene.usage(&RangeName::new(name))?;
            let block = 1_u64 << (32 - BLOCK_LENGTH);
            let (used, all) = (usage.allocated_addresses / block, usage.cidr.size() / block);
            Ok(format!("{:<8} {used:>3} of {all:>3}", words::bar(used, all)))
        };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "    {name} {cidr:<15} {:<24} {}", cell(gke)?, cell(ours)?);
    }
    Ok(text)
}

/// Makes the eight pools one after the other, each with `nodes` nodes that are taken away at once, as the seed does.
fn make_pools(scene: &mut Scene, range: impl Fn(usize) -> PodRangeRequest, nodes: u32) -> Result<Vec<RangeName>> {
    let mut given = Vec::new();
    for i in 1..=POOLS {
        let name = pool_name(i);
        let range = range(given.len());
        scene.create_pool(&NewPool {
            name: &name,
            max_pods: i64::from(MAX_PODS),
            nodes,
            max_nodes: max_nodes(i),
            range,
        })?;
        let key = scene.pool(&name);
        scene.resize(&key, 0)?;
        given.push(scene.cloud.pool(&key)?.pod_range.clone());
    }
    Ok(given)
}

/// How far a pool came.
struct Grown {
    pool: u32,
    nodes: u32,
}

/// Grows every pool to its maximum, as far as it goes.
fn grow_all(scene: &mut Scene) -> Result<Vec<Grown>> {
    let mut grown = Vec::new();
    for pool in 1..=POOLS {
        let key = scene.pool(&pool_name(pool));
        scene.resize(&key, max_nodes(pool))?;
        grown.push(Grown { pool, nodes: scene.nodes_of(&key)? });
    }
    Ok(grown)
}

fn pool_name(i: u32) -> String {
    format!("nodepool-{i}")
}

/// The pools as the blocks engine knows them: bound to ranges, or free.
fn demands(given: Option<&[RangeName]>) -> Vec<PoolDemand> {
    let demand = |i: u32| {
        let index = usize::try_from(i - 1).unwrap_or(usize::MAX);
        let range = given.and_then(|given| given.get(index));
        PoolDemand {
            range: range.map(|range| freeboard_address::RangeName::new(range.as_str())),
            ..PoolDemand::new(&pool_name(i), MAX_PODS, u64::from(max_nodes(i)))
        }
    };
    (1..=POOLS).map(demand).collect()
}

fn cidr_of(range: &str) -> &str {
    RANGES.iter().find(|(name, _)| *name == range).map_or(range, |(_, cidr)| cidr)
}

fn table(scene: &Scene, given: &[RangeName], shortfalls: &[Shortfall], assignment: &Assignment) -> Result<String> {
    let mut text = format!(
        "    {:<11} {:>4}   {:<15} {:>5} {:<15} {}\n",
        "POOL", "MAX", "GKE GIVES", "HOLDS", "AT ITS MAXIMUM", "FREEBOARD GIVES"
    );
    for (i, (range, placement)) in (1..=POOLS).zip(given.iter().zip(&assignment.placements)) {
        let name = pool_name(i);
        let length = scene.cloud.pool(&scene.pool(&name))?.block_length();
        let cidr = scene.usage(range)?.cidr;
        let holds = cidr.size() >> (32 - length);
        let short = shortfalls.iter().find(|one| one.pool.as_str() == name);
        let verdict = match short {
            Some(shortfall) => format!("✗ fails at {}", shortfall.fails_at_node),
            None if holds == u64::from(max_nodes(i)) => "fits exactly".to_owned(),
            None => "fits".to_owned(),
        };
        let ours = placement.range.as_ref().map_or("none", |range| cidr_of(range.as_str()));
        // Writing to a string cannot fail.
        let _ = writeln!(text, "    {name:<11} {:>4}   {cidr:<15} {holds:>5} {verdict:<15} {ours}", max_nodes(i));
    }
    Ok(text)
}
