//! Plans for GKE: node pools and their ranges, all pools at their maxima at once.

use std::fmt::Write;
use std::process::ExitCode;

use anyhow::{Result, bail};
use freeboard_address::{Cidr, NodePoolName, RangeName};
use freeboard_blocks::{Assignment, BlockSize, Placement, PoolDemand, RangeRoom, Shortfall, assign_pools, predict};
use freeboard_capacity::export::{GooglePlan, NewRange, PlacedPool, gcloud, terraform_google};
use freeboard_capacity::{Inventory, NodePool, Purpose, block_length, free_space};
use serde_json::json;

use super::{Export, PlanArguments};
use crate::input::{Input, print_value};
use crate::layout::{counted, grouped, item, wrap};

const WIDTH: usize = 80;
/// The widest range that is proposed.
const WIDEST: u8 = 10;

/// Reads `NAME=CIDR`.
pub(super) fn new_range(text: &str) -> Result<NewRange, String> {
    let (name, cidr) = text
        .split_once('=')
        .filter(|(name, _)| !name.is_empty())
        .ok_or_else(|| format!("{text:?} is not a range: expected NAME=CIDR, like pods-b=192.168.4.0/22"))?;
    let cidr = cidr.parse().map_err(|error| format!("{error}"))?;
    Ok(NewRange { name: RangeName::new(name), cidr })
}

/// Reads `NAME:MAX_PODS:MAX_NODES`.
pub(super) fn new_pool(text: &str) -> Result<NodePool, String> {
    let parts: Vec<&str> = text.split(':').collect();
    let read = || {
        let [name, max_pods, max_nodes] = parts.as_slice() else { return None };
        let max_pods: u32 = max_pods.parse().ok().filter(|pods| (8..=256).contains(pods))?;
        let name = NodePoolName::new(*name);
        Some(NodePool { name, range: None, max_pods, max_nodes: max_nodes.parse().ok()?, nodes: Some(0) })
    };
    read().ok_or_else(|| {
        format!(
            "{text:?} is not a node pool: expected NAME:MAX_PODS:MAX_NODES with 8 to 256 pods, like nodepool-9:32:40"
        )
    })
}

/// What comes out.
struct GoogleAnswer {
    rooms: Vec<RangeRoom>,
    pools: Vec<NodePool>,
    /// Pools that will not reach their maxima on the ranges that they have.
    shortfalls: Vec<Shortfall>,
    assignment: Assignment,
    /// A range with which every pool fits, when not all do.
    proposal: Option<NewRange>,
}

/// Runs the command for a cluster of GKE.
pub(super) fn run(arguments: &PlanArguments, input: &Input) -> Result<ExitCode> {
    let mut inventory = input.inventory.clone();
    refuse_overlaps(&inventory, &arguments.add_range)?;
    for range in &arguments.add_range {
        inventory.ranges.push(freeboard_capacity::Range {
            name: range.name.clone(),
            subnet: String::new(),
            cidr: range.cidr,
            purpose: Purpose::Pods,
            allocated: None,
        });
    }
    for pool in &arguments.add_pool {
        if inventory.pools.iter().any(|known| known.name == pool.name) {
            bail!("--add-pool {}: there is a node pool of this name already", pool.name);
        }
        inventory.pools.push(pool.clone());
    }
    let answer = answer(&inventory);
    let google = google_plan(arguments, input, &answer);
    match arguments.export {
        Some(Export::Gcloud) => anstream::print!("{}", gcloud(&google)),
        Some(Export::Terraform) => anstream::print!("{}", terraform_google(&google)),
        Some(Export::Aws | Export::Kubectl | Export::Eksctl | Export::Expansion) => {
            bail!("{} shows a cluster of GKE: export for gcloud or terraform", input.named)
        }
        None if arguments.output.is_text() => anstream::print!("{}", page(input, &answer)),
        None => print_value(
            &json!({
                "cluster": inventory.cluster,
                "shortfalls": answer.shortfalls,
                "assignment": answer.assignment,
                "proposal": answer.proposal.as_ref().map(|range| json!({ "name": range.name, "cidr": range.cidr })),
            }),
            arguments.output,
        )?,
    }
    Ok(if answer.assignment.fits_all() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn refuse_overlaps(inventory: &Inventory, added: &[NewRange]) -> Result<()> {
    for (index, range) in added.iter().enumerate() {
        if let Some(known) = inventory.ranges.iter().find(|known| known.cidr.overlaps(range.cidr)) {
            bail!(
                "--add-range {}={}: it overlaps {} ({}); all ranges of a network are disjoint",
                range.name,
                range.cidr,
                known.cidr,
                known.name
            );
        }
        if let Some(other) = added.iter().take(index).find(|other| other.cidr.overlaps(range.cidr)) {
            bail!("--add-range {}={}: it overlaps --add-range {}={}", range.name, range.cidr, other.name, other.cidr);
        }
    }
    Ok(())
}

fn answer(inventory: &Inventory) -> GoogleAnswer {
    let rooms = rooms(inventory);
    let bound: Vec<PoolDemand> = inventory.pools.iter().map(|pool| demand(pool, true)).collect();
    // A pool without nodes can be made anew with another range; one with nodes keeps what it has.
    let open: Vec<PoolDemand> = inventory.pools.iter().map(|pool| demand(pool, keeps_range(pool))).collect();
    let shortfalls = predict(&rooms, &bound);
    let assignment = assign_pools(&rooms, &open);
    let movable: Vec<PoolDemand> = open.iter().filter(|pool| pool.range.is_none()).cloned().collect();
    let is_short = |placement: &&Placement| placement.nodes_that_fit < placement.max_nodes;
    let short: Vec<&Placement> = assignment.placements.iter().filter(is_short).collect();
    let is_movable = |placement: &&&Placement| movable.iter().any(|pool| pool.name == placement.pool);
    let proposal = if short.iter().any(|placement| is_movable(&placement)) {
        proposal(inventory, &rooms, &open, &movable, &assignment)
    } else {
        None
    };
    GoogleAnswer { rooms, pools: inventory.pools.clone(), shortfalls, assignment, proposal }
}

/// Whether a pool has nodes, or may have: those keep the pool on its range.
fn keeps_range(pool: &NodePool) -> bool {
    pool.nodes != Some(0)
}

fn demand(pool: &NodePool, keeps_range: bool) -> PoolDemand {
    PoolDemand {
        current_nodes: pool.nodes.unwrap_or(0),
        range: pool.range.clone().filter(|_| keeps_range),
        ..PoolDemand::new(pool.name.as_str(), pool.max_pods, pool.max_nodes)
    }
}

/// The pod ranges and what of them is free.
fn rooms(inventory: &Inventory) -> Vec<RangeRoom> {
    let room = |range: &freeboard_capacity::Range| RangeRoom {
        name: range.name.clone(),
        cidr: range.cidr,
        block_size: BlockSize::GKE,
        selector: None,
        free: free_space(inventory, range).blocks().collect(),
    };
    inventory.ranges.iter().filter(|range| range.purpose == Purpose::Pods).map(room).collect()
}

/// The narrowest range of 100.64.0.0/10 with which all pools fit.
fn proposal(
    inventory: &Inventory,
    rooms: &[RangeRoom],
    pools: &[PoolDemand],
    movable: &[PoolDemand],
    short: &Assignment,
) -> Option<NewRange> {
    let shared: Cidr = "100.64.0.0/10".parse().ok()?;
    let narrowest = (WIDEST..=29).rev().find(|length| 1_u64 << (32 - length) >= short.missing_addresses)?;
    let name = (1..)
        .map(|number| RangeName::new(format!("pods-{number}")))
        .find(|name| !rooms.iter().any(|room| room.name == *name))?;
    let fits = |length: &u8| {
        let is_free = |block: &Cidr| !inventory.ranges.iter().any(|range| range.cidr.overlaps(*block));
        let cidr = shared.subdivide(*length).find(is_free)?;
        let mut more = rooms.to_vec();
        more.push(RangeRoom { name: name.clone(), cidr, block_size: BlockSize::GKE, selector: None, free: vec![cidr] });
        let found = assign_pools(&more, pools);
        let is_movable = |one: &&Placement| movable.iter().any(|pool| pool.name == one.pool);
        let all_fit = found.placements.iter().filter(is_movable).all(|one| one.nodes_that_fit >= one.max_nodes);
        all_fit.then(|| NewRange { name: name.clone(), cidr })
    };
    (WIDEST..=narrowest).rev().find_map(|length| fits(&length))
}

fn google_plan(arguments: &PlanArguments, input: &Input, answer: &GoogleAnswer) -> GooglePlan {
    let cluster = input.facts().google_clusters.iter().next();
    let subnet = input.facts().google_subnets.iter().next();
    let placed = answer.pools.iter().zip(&answer.assignment.placements).filter(|(pool, _)| !keeps_range(pool));
    let pools = placed.filter_map(|(pool, placement)| {
        let moved = placement.range.clone().filter(|range| pool.range.as_ref() != Some(range));
        Some(PlacedPool { pool: pool.clone(), range: moved? })
    });
    GooglePlan {
        cluster: input.inventory.cluster.clone(),
        location: cluster.and_then(|(_, cluster)| cluster.location.clone()),
        subnet: subnet.map(|(name, _)| name.clone()),
        region: subnet.and_then(|(_, subnet)| subnet.region.clone()),
        new_ranges: arguments.add_range.clone(),
        cluster_ranges: arguments.add_range.iter().map(|range| range.name.clone()).collect(),
        pools: pools.collect(),
    }
}

fn page(input: &Input, answer: &GoogleAnswer) -> String {
    let mut text = String::new();
    let cluster = input.inventory.cluster.as_deref().map_or_else(String::new, |name| format!("cluster {name}, "));
    let pools = u64::try_from(answer.pools.len()).unwrap_or(0);
    let most: u64 = answer.pools.iter().map(|pool| pool.max_nodes).sum();
    let _ = writeln!(
        text,
        "{cluster}{}, {} at their maxima\n",
        counted(pools, "node pool", "node pools"),
        counted(most, "node", "nodes")
    );
    let _ = writeln!(text, "  {:<24} {:<18} {:>11} {:>9}", "POD RANGE", "CIDR", "ADDRESSES", "FREE");
    for room in &answer.rooms {
        let free: u64 = room.free.iter().map(|block| block.size()).sum();
        let _ = writeln!(
            text,
            "  {:<24} {:<18} {:>11} {:>9}",
            room.name.as_str(),
            room.cidr,
            grouped(room.cidr.size()),
            grouped(free)
        );
    }
    let _ =
        writeln!(text, "\n  {:<18} {:>5} {:>5} {:<5} {:<16} PLANNED", "NODE POOL", "NODES", "MAX", "BLOCK", "TODAY");
    for (pool, placement) in answer.pools.iter().zip(&answer.assignment.placements) {
        let Placement { range, nodes_that_fit, max_nodes, .. } = placement;
        let short = answer.shortfalls.iter().find(|one| one.pool == pool.name);
        let named = |range: Option<&RangeName>| range.map_or_else(|| "–".to_owned(), ToString::to_string);
        let today = match short {
            Some(short) => format!("✗ fails at {}", short.fails_at_node),
            None => named(pool.range.as_ref()),
        };
        let verdict =
            if nodes_that_fit < max_nodes { format!(" ✗ {nodes_that_fit} of {max_nodes}") } else { String::new() };
        let _ = writeln!(
            text,
            "  {:<18} {:>5} {:>5} /{:<4} {:<16} {}{verdict}",
            pool.name.as_str(),
            pool.nodes.map_or_else(|| "?".to_owned(), grouped),
            grouped(pool.max_nodes),
            block_length(pool.max_pods),
            today,
            named(range.as_ref())
        );
    }
    text.push('\n');
    for short in &answer.shortfalls {
        let _ = writeln!(text, "{}", item("✗ today: ", &format!("{short}."), WIDTH));
    }
    text.push_str(&wrap(&verdict(answer), WIDTH, ""));
    text.push('\n');
    text
}

fn verdict(answer: &GoogleAnswer) -> String {
    let assignment = &answer.assignment;
    if assignment.fits_all() {
        return String::from(
            "✓ planned: every pool can grow to its maximum. Carry it out: the same command with --export gcloud (or terraform)",
        );
    }
    let missing = grouped(assignment.missing_addresses);
    let proven = if assignment.is_optimal() {
        "no assignment misses fewer, which is proven".to_owned()
    } else {
        format!("no assignment misses fewer than {}", grouped(assignment.missing_at_least))
    };
    let mut said = vec![format!("✗ planned: {missing} addresses are missing ({proven}).")];
    for (pool, placement) in answer.pools.iter().zip(&assignment.placements) {
        if keeps_range(pool) && placement.nodes_that_fit < placement.max_nodes {
            said.push(format!(
                "{} has nodes and keeps its range for life, which gives it {} of {}: the rest needs another pool, --add-pool \
                 NAME:{}:{}.",
                pool.name,
                placement.nodes_that_fit,
                placement.max_nodes,
                pool.max_pods,
                placement.max_nodes - placement.nodes_that_fit
            ));
        }
    }
    let is_open = |(pool, one): &(&NodePool, &Placement)| !keeps_range(pool) && one.nodes_that_fit < one.max_nodes;
    let open = answer.pools.iter().zip(&assignment.placements).filter(is_open).count();
    match &answer.proposal {
        Some(range) => said.push(format!(
            "The smallest range of 100.64.0.0/10 that makes the others fit: --add-range {}={}.",
            range.name, range.cidr
        )),
        None if open > 0 => {
            said.push("No range of 100.64.0.0/10 makes them fit: lower the maxima, or pods per node.".to_owned());
        }
        None => said.push("Every other pool can grow to its maximum.".to_owned()),
    }
    said.join(" ")
}
