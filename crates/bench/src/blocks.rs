//! The blocks engine by itself: how many nodes it serves and releases in a second, whether that depends on how many there are, and how
//! fast it assigns many pools at once.
#![expect(clippy::print_stdout, reason = "the figures are for a person")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use freeboard_address::{Cidr, NodeName, NodeUid};
use freeboard_blocks::{
    Answer, ApiOperation, Blocks, BlocksSettings, Effect, Labels, ObservedNode, OperationId, PoolDemand, RangeRoom, RangeSpec,
    ResourceVersion, assign_pools, rooms_of_empty_ranges,
};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

/// Nodes in the cluster, and a curve below it.
const NODES: [usize; 4] = [1_000, 10_000, 50_000, 100_000];
/// Nodes that go and come in the measured time.
const CHURN: usize = 200_000;
/// Allocations and releases per second, at least, with the most nodes.
const WANTED_PER_SECOND: f64 = 1_000_000.0;
/// What one allocation may cost with the most nodes, in times of what it costs with the fewest.
const WANTED_GROWTH: f64 = 3.0;
/// What the joint assignment of 100 pools on 20 ranges may take.
const WANTED_ASSIGNMENT: Duration = Duration::from_millis(100);
/// Problems of that size that are solved.
const PROBLEMS: u64 = 100;
const MAX_PODS: [i64; 5] = [8, 16, 32, 64, 110];

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    /// Allocations and releases, by the number of nodes in the cluster.
    pub churn: BTreeMap<usize, Churn>,
    /// The joint assignment of pools.
    pub assignment: AssignmentFigures,
}

/// Nodes that go and come while others stay.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Churn {
    /// Allocations and releases in a second: a node that is seen, given a block, written and confirmed is one, a node that is gone
    /// is another.
    pub operations_per_second: f64,
    /// What one of them took on average.
    pub nanoseconds_per_operation: f64,
}

/// Many problems of 100 pools on 20 ranges.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct AssignmentFigures {
    /// How many were solved.
    pub problems: u64,
    /// The longest of them.
    pub longest_milliseconds: f64,
    /// For so many the answer is proven to be the best.
    pub proven_optimal: u64,
    /// The largest share of all demand by which an answer may be worse than the best, proven, in per cent.
    pub largest_gap_percent: f64,
}

/// Measures, prints, writes the figures.
///
/// # Errors
/// When a figure cannot be taken or a target is missed.
pub fn bench(output: &Path) -> Result<()> {
    let mut churn = BTreeMap::new();
    for nodes in NODES {
        let figures = measure_churn(nodes)?;
        println!(
            "{nodes:>7} nodes, 64 ranges, mixed sizes: {:>9.0} allocations and releases/s ({:.0} ns each)",
            figures.operations_per_second, figures.nanoseconds_per_operation
        );
        churn.insert(nodes, figures);
    }
    let assignment = measure_assignment();
    println!(
        "100 pools on 20 ranges, {} problems: longest {:.1} ms, {} proven optimal, largest proven gap {:.3} %",
        assignment.problems, assignment.longest_milliseconds, assignment.proven_optimal, assignment.largest_gap_percent
    );
    let figures = Figures { churn, assignment };
    if let Some(directory) = output.parent() {
        std::fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    }
    let text = serde_json::to_string_pretty(&figures).context("cannot write the figures")?;
    std::fs::write(output, text + "\n").with_context(|| format!("cannot write {}", output.display()))?;
    println!("figures: {}", output.display());
    figures.judge()
}

impl Figures {
    fn judge(&self) -> Result<()> {
        let (Some((_, fewest)), Some((_, most))) = (self.churn.first_key_value(), self.churn.last_key_value()) else {
            bail!("nothing was measured")
        };
        let growth = most.nanoseconds_per_operation / fewest.nanoseconds_per_operation;
        let mut missed = Vec::new();
        if most.operations_per_second < WANTED_PER_SECOND {
            missed.push(format!("{:.0} operations per second are below {WANTED_PER_SECOND:.0}", most.operations_per_second));
        }
        if growth > WANTED_GROWTH {
            missed.push(format!("an operation costs {growth:.1} times as much with the most nodes as with the fewest"));
        }
        if self.assignment.longest_milliseconds > WANTED_ASSIGNMENT.as_secs_f64() * 1000.0 {
            missed.push(format!("an assignment took {:.0} ms", self.assignment.longest_milliseconds));
        }
        ensure!(missed.is_empty(), "{}", missed.join("; "));
        Ok(())
    }
}

/// 64 ranges of four sizes in 10.0.0.0/8, room for 15.7 million addresses.
fn ranges() -> Result<Vec<RangeSpec>> {
    let mut network = u32::from(std::net::Ipv4Addr::new(10, 0, 0, 0));
    let mut ranges = Vec::new();
    for length in [13, 14, 15, 16] {
        for index in 0..16 {
            let cidr = Cidr::containing(std::net::Ipv4Addr::from(network), length)?;
            ranges.push(RangeSpec::new(&format!("range-{length}-{index}"), cidr));
            network += 1u32 << (32 - u32::from(length));
        }
    }
    Ok(ranges)
}

fn node(index: usize, rng: &mut fastrand::Rng, labels: &Arc<Labels>) -> ObservedNode {
    ObservedNode {
        name: NodeName::new(format!("ip-10-{}-{}.ap-southeast-2.compute.internal", index >> 8, index & 255)),
        uid: NodeUid::new(format!("8f2a7c1e-0000-4000-8000-{index:012x}")),
        version: ResourceVersion(u64::try_from(index).unwrap_or(0)),
        labels: labels.clone(),
        max_pods: rng.choice(MAX_PODS),
        pod_cidrs: Vec::new(),
        is_deleting: false,
    }
}

fn measure_churn(nodes: usize) -> Result<Churn> {
    let mut rng = fastrand::Rng::with_seed(6);
    let labels: Arc<Labels> = Arc::new(Labels::new());
    let mut now = Timestamp::from_second(1_800_000_000)?;
    let settings = BlocksSettings { takeover_wait: SignedDuration::ZERO, ..BlocksSettings::default() };
    let mut engine = Blocks::new(settings, now);
    for range in ranges()? {
        engine.handle_range(range, now)?;
    }
    engine.handle_nodes(Vec::new(), ResourceVersion(0), now);
    let mut live: Vec<(NodeName, NodeUid)> = Vec::new();
    for index in 1..=nodes {
        let node = node(index, &mut rng, &labels);
        live.push((node.name.clone(), node.uid.clone()));
        engine.handle_node(node, now);
        confirm_all(&mut engine, now)?;
    }
    let coming: Vec<ObservedNode> = (1..=CHURN).map(|index| node(nodes + index, &mut rng, &labels)).collect();
    let started = Instant::now();
    for node in coming {
        // A hundred nodes go and come in a second of the cluster's time, so that cool-downs begin and end as well.
        now += SignedDuration::from_millis(10);
        let place = rng.usize(0..live.len());
        let successor = (node.name.clone(), node.uid.clone());
        let (name, uid) = std::mem::replace(&mut live[place], successor);
        engine.handle_node_deleted(&name, &uid, now);
        engine.handle_node(node, now);
        confirm_all(&mut engine, now)?;
    }
    let elapsed = started.elapsed().as_secs_f64();
    let violations = engine.audit();
    ensure!(violations.is_empty(), "the engine is not in order: {violations:?}");
    let view = engine.view();
    ensure!(view.nodes_served == nodes, "{} of {nodes} nodes have a block", view.nodes_served);
    let operations = (CHURN * 2) as f64;
    Ok(Churn { operations_per_second: operations / elapsed, nanoseconds_per_operation: elapsed * 1e9 / operations })
}

/// Takes the engine's effects and answers each write at once: an API without any latency.
fn confirm_all(engine: &mut Blocks, now: Timestamp) -> Result<()> {
    let mut write: Option<OperationId> = None;
    loop {
        while let Some(effect) = engine.poll_effect() {
            match effect {
                Effect::Api(id, ApiOperation::SetPodCidrs { .. }) => write = Some(id),
                Effect::Api(_, ApiOperation::ReadNode { .. }) => bail!("nothing is to be read here"),
                Effect::ForgetRange(_) | Effect::ListNodes | Effect::Signal(_) => {}
            }
        }
        let Some(id) = write.take() else { return Ok(()) };
        engine.handle_answer(id, Answer::Written, now);
    }
}

/// Pools and ranges as a large company has them: some problems have room to spare, some are tight to the last block, some cannot
/// be solved whole.
fn problem(seed: u64) -> (Vec<RangeRoom>, Vec<PoolDemand>) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let cidrs: Vec<(String, Option<Cidr>)> = (0..20u8)
        .map(|index| {
            let network = std::net::Ipv4Addr::new(10, index * 4, 0, 0);
            (format!("range-{index}"), Cidr::containing(network, rng.u8(16..21)).ok())
        })
        .collect();
    let cidrs: Vec<(&str, Cidr)> = cidrs.iter().filter_map(|(name, cidr)| Some((name.as_str(), (*cidr)?))).collect();
    let room: u64 = cidrs.iter().map(|(_, cidr)| cidr.size()).sum();
    // Demand of 80 to 105 per cent of the room.
    let wanted = room * rng.u64(80..106) / 100;
    let shares: Vec<u64> = (0..100).map(|_| rng.u64(1..100)).collect();
    let all: u64 = shares.iter().sum();
    let pool = |(index, share): (usize, &u64)| {
        let (max_pods, block) = [(16, 32), (32, 64), (64, 128), (110, 256)][index % 4];
        PoolDemand::new(&format!("pool-{index}"), max_pods, (wanted * share / all / block).max(1))
    };
    (rooms_of_empty_ranges(&cidrs), shares.iter().enumerate().map(pool).collect())
}

fn measure_assignment() -> AssignmentFigures {
    let mut figures =
        AssignmentFigures { problems: PROBLEMS, longest_milliseconds: 0.0, proven_optimal: 0, largest_gap_percent: 0.0 };
    for seed in 0..PROBLEMS {
        let (ranges, pools) = problem(seed);
        let started = Instant::now();
        let assignment = assign_pools(&ranges, &pools);
        figures.longest_milliseconds = figures.longest_milliseconds.max(started.elapsed().as_secs_f64() * 1000.0);
        figures.proven_optimal += u64::from(assignment.is_optimal());
        let demand: u64 = pools.iter().filter_map(addresses).sum();
        let gap = (assignment.missing_addresses - assignment.missing_at_least) as f64 / demand as f64 * 100.0;
        figures.largest_gap_percent = figures.largest_gap_percent.max(gap);
    }
    figures
}

fn addresses(pool: &PoolDemand) -> Option<u64> {
    let length = freeboard_blocks::BlockSize::GKE.block_length(pool.max_pods)?;
    Some(pool.max_nodes << (32 - u32::from(length)))
}
