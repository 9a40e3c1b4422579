//! Which pool will not reach its maximum on the range it is bound to, and at which node it fails.

use std::fmt;

use freeboard_address::{NodePoolName, RangeName};
use serde::Serialize;

use super::room::{Figures, Room, size};
use super::{PoolDemand, RangeRoom};

/// A pool that cannot, or may not, reach its maximum where it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Shortfall {
    /// The pool.
    pub pool: NodePoolName,
    /// Its range.
    pub range: RangeName,
    /// How many nodes it may grow to.
    pub max_nodes: u64,
    /// The node at which there is no block: the 17th of a pool whose range holds 16.
    pub fails_at_node: u64,
    /// It fails even if no other pool grows; otherwise it fails when the others of the range grow to their maxima.
    pub is_certain: bool,
    /// The range that would still hold all of the pool beside the pools that it has, and how many blocks it has to spare now; the one with the most.
    pub elsewhere: Option<Elsewhere>,
}

/// Room in another range, with all of its pools at their maxima.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Elsewhere {
    /// The range.
    pub range: RangeName,
    /// Blocks of the pool's size that nobody there will need.
    pub spare_blocks: u64,
}

impl fmt::Display for Shortfall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pool, range, max_nodes, fails_at_node, is_certain, elsewhere } = self;
        let when =
            if *is_certain { "will fail" } else { "fails, when the other pools of the range grow to their maxima," };
        write!(f, "pool {pool} {when} at node {fails_at_node} of {max_nodes}: range {range} has no block left for it")?;
        match elsewhere {
            Some(Elsewhere { range, spare_blocks }) => {
                write!(f, ", although range {range} has {spare_blocks} to spare")
            }
            None => Ok(()),
        }
    }
}

/// Tells of the pools that are bound to a range which of them will fall short, in the order of the pools.
#[must_use]
pub fn predict(ranges: &[RangeRoom], pools: &[PoolDemand]) -> Vec<Shortfall> {
    let figures = Figures::of(ranges, pools);
    let bound = |pool: &PoolDemand| {
        let name = pool.range.as_ref()?;
        ranges.iter().position(|range| range.name == *name)
    };
    let places: Vec<Option<usize>> = pools.iter().map(bound).collect();
    let mut shortfalls = Vec::new();
    for (index, pool) in pools.iter().enumerate() {
        let Some(range) = places.get(index).copied().flatten() else { continue };
        let (Some(room), Some(declared)) = (figures.rooms.get(range), ranges.get(range)) else { continue };
        let (alone, beside) = match figures.length(index, Some(range)) {
            Some(length) => (room.blocks(length), rest(&figures, &places, range, Some(index)).blocks(length)),
            // No block of the range suits its nodes: the next node fails.
            None => (0, 0),
        };
        let wanted = figures.blocks(index);
        let is_certain = alone < wanted;
        let reached = if is_certain { alone } else { beside };
        if reached < wanted {
            shortfalls.push(Shortfall {
                pool: pool.name.clone(),
                range: declared.name.clone(),
                max_nodes: pool.max_nodes,
                fails_at_node: pool.current_nodes + reached + 1,
                is_certain,
                elsewhere: elsewhere(ranges, pool, &figures, &places, range),
            });
        }
    }
    shortfalls
}

/// What is left of a range when its pools, but for one, are at their maxima.
fn rest(figures: &Figures, places: &[Option<usize>], range: usize, without: Option<usize>) -> Room {
    let mut room = figures.rooms.get(range).cloned().unwrap_or_else(|| Room::new(&[]));
    let here = places.iter().enumerate().filter(|(index, place)| **place == Some(range) && Some(*index) != without);
    let mut others: Vec<(u8, u64)> =
        here.filter_map(|(index, _)| Some((figures.length(index, Some(range))?, figures.blocks(index)))).collect();
    others.sort_unstable();
    for (length, blocks) in others {
        room.place(length, room.blocks(length).min(blocks));
    }
    room
}

fn elsewhere(
    ranges: &[RangeRoom],
    pool: &PoolDemand,
    figures: &Figures,
    places: &[Option<usize>],
    own: usize,
) -> Option<Elsewhere> {
    let other = |(index, range): (usize, &RangeRoom)| {
        let is_allowed = range.selector.as_ref().is_none_or(|selector| selector.matches(&pool.labels));
        let length = range.block_size.block_length(pool.max_pods).filter(|_| is_allowed && index != own)?;
        let spare_blocks = rest(figures, places, index, None).blocks(length);
        // A pool cannot be moved in part.
        (spare_blocks >= pool.max_nodes).then(|| (spare_blocks * size(length), index, spare_blocks))
    };
    let (_, index, spare_blocks) = ranges.iter().enumerate().filter_map(other).max()?;
    ranges.get(index).map(|range| Elsewhere { range: range.name.clone(), spare_blocks })
}
