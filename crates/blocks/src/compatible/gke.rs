//! How GKE gives a new node pool its range, as observed (peers §3.5, §3.10).

use freeboard_address::RangeName;

use crate::assign::{PoolDemand, RangeRoom};

/// Nodes that a new pool counts with when the next range is chosen: its default initial size, whatever it is resized to at once.
pub const NODES_COUNTED: u64 = 3;

/// The range of each pool, created one after the other: the range with the lowest utilisation, the first of equals. A pool's maximum
/// does not count. Pools that are bound keep their range; `None` when no range is for the pool.
#[must_use]
pub fn assign_in_order(ranges: &[RangeRoom], pools: &[PoolDemand]) -> Vec<Option<RangeName>> {
    let mut used: Vec<u64> = ranges
        .iter()
        .map(|range| range.cidr.size().saturating_sub(range.free.iter().map(|free| free.size()).sum()))
        .collect();
    let mut assigned = Vec::new();
    for pool in pools {
        if let Some(bound) = &pool.range {
            assigned.push(Some(bound.clone()));
            continue;
        }
        let block = |index: usize| {
            ranges.get(index)?.block_size.block_length(pool.max_pods).map(|l| 1u64 << (32 - u32::from(l)))
        };
        let allowed = ranges.iter().enumerate().filter(|(index, range)| {
            range.selector.as_ref().is_none_or(|selector| selector.matches(&pool.labels)) && block(*index).is_some()
        });
        // used / size as parts of 2³², without rounding: sizes are powers of two.
        let utilisation =
            |index: usize, range: &RangeRoom| u128::from(used.get(index).copied().unwrap_or(0)) << range.cidr.length();
        let best = allowed.min_by_key(|(index, range)| utilisation(*index, range)).map(|(index, _)| index);
        assigned.push(best.and_then(|index| ranges.get(index)).map(|range| range.name.clone()));
        if let Some(index) = best
            && let (Some(used), Some(block)) = (used.get_mut(index), block(index))
        {
            *used += NODES_COUNTED * block;
        }
    }
    assigned
}
