//! Ranges for node pools: several at once, each pool with its *maximum* size on one range for life, as GKE binds them.
//!
//! Blocks are powers of two and aligned, so what fits into a range is a set of nested limits (`room`): a set of pools fits exactly
//! when, for every length L, the blocks of length L or shorter fit into the free blocks of length L or shorter. What remains is to
//! spread pools over ranges, a packing problem that is hard in general; `search` solves it and proves how far from the best it may be.
//! See `docs/decisions/0007-joint-pool-assignment.md`.

mod bound;
mod predict;
mod room;
mod search;

use freeboard_address::{AlignedSpace, BlockSize, Cidr, NodePoolName, RangeName};
use serde::Serialize;

use crate::engine::Blocks;
use crate::selector::{Labels, NodeSelector};

pub use predict::{Shortfall, predict};

/// A node pool and what it may need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolDemand {
    /// The pool.
    pub name: NodePoolName,
    /// Max-pods of its nodes.
    pub max_pods: u32,
    /// How many nodes it may grow to, in all zones.
    pub max_nodes: u64,
    /// How many of them have a block already: those are not free any more.
    pub current_nodes: u64,
    /// The labels of its nodes, for the selectors of ranges.
    pub labels: Labels,
    /// The range that it is bound to, if it is; it is not moved.
    pub range: Option<RangeName>,
}

impl PoolDemand {
    /// A pool that is empty and bound to no range.
    #[must_use]
    pub fn new(name: &str, max_pods: u32, max_nodes: u64) -> Self {
        let (name, labels) = (NodePoolName::new(name), Labels::new());
        Self { name, max_pods, max_nodes, current_nodes: 0, labels, range: None }
    }
}

/// A range and what of it can be given to pools.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeRoom {
    /// The range.
    pub name: RangeName,
    /// Its addresses.
    pub cidr: Cidr,
    /// How large a node's block is.
    pub block_size: BlockSize,
    /// Which nodes it is for.
    pub selector: Option<NodeSelector>,
    /// Its free space, as aligned blocks that do not overlap.
    pub free: Vec<Cidr>,
}

/// Which range each pool gets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Assignment {
    /// One for each pool, in the order of the pools.
    pub placements: Vec<Placement>,
    /// Addresses of blocks that pools would need at their maximum and that have no place.
    pub missing_addresses: u64,
    /// No assignment of these pools to these ranges misses fewer: proven.
    pub missing_at_least: u64,
    /// How the assignment was found, and its bound proven.
    pub method: Method,
}

impl Assignment {
    /// Whether every pool can grow to its maximum.
    #[must_use]
    pub fn fits_all(&self) -> bool {
        self.missing_addresses == 0
    }

    /// Whether no assignment is better: proven.
    #[must_use]
    pub fn is_optimal(&self) -> bool {
        self.missing_addresses == self.missing_at_least
    }
}

/// Where one pool goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Placement {
    /// The pool.
    pub pool: NodePoolName,
    /// Its range; none when no range is for it, or none has room for a single node.
    pub range: Option<RangeName>,
    /// How many nodes it may grow to.
    pub max_nodes: u64,
    /// How many it can reach beside the other pools of the range at their maxima (those with larger blocks come first).
    pub nodes_that_fit: u64,
}

/// How an assignment was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// A constructed assignment meets the bound of the relaxed problem.
    MeetsBound,
    /// The search looked at every assignment that could be better.
    Exhausted,
    /// The search ended at its budget: the bound is that of the relaxed problem.
    Budget,
}

/// Finds a range for every pool that has none, with as few missing addresses as it can: all pools at their maxima at the same time.
/// The same input gives the same answer; the work is bounded.
#[must_use]
pub fn assign_pools(ranges: &[RangeRoom], pools: &[PoolDemand]) -> Assignment {
    search::assign(ranges, pools)
}

/// The rooms of ranges in which nothing is given yet, each for every node with GKE's block sizes: for plans on paper.
#[must_use]
pub fn rooms_of_empty_ranges(ranges: &[(&str, Cidr)]) -> Vec<RangeRoom> {
    let room = |(name, cidr): &(&str, Cidr)| RangeRoom {
        name: RangeName::new(*name),
        cidr: *cidr,
        block_size: BlockSize::GKE,
        selector: None,
        free: vec![*cidr],
    };
    ranges.iter().map(room).collect()
}

impl Blocks {
    /// What the ranges that give blocks have for pools: what is free, and what cools down and will be free.
    #[must_use]
    pub fn rooms(&self) -> Vec<RangeRoom> {
        let giving = self.territories.iter().filter(|territory| territory.is_giving());
        let room = |territory: &crate::territory::Territory| {
            let mut space: AlignedSpace = territory.space.clone();
            for block in territory.cooling.keys() {
                space.give(*block);
            }
            RangeRoom {
                name: territory.spec.name.clone(),
                cidr: territory.spec.cidr,
                block_size: territory.spec.block_size,
                selector: territory.spec.selector.clone(),
                free: space.blocks().collect(),
            }
        };
        giving.map(room).collect()
    }
}
