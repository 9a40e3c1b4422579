//! How much must be missing at least, whatever the assignment: from problems that are easier than the real one.

use super::room::{Figures, size};

/// Addresses that no assignment can place.
///
/// Two relaxations together. A pool can never have more blocks than fit into its best range when that is empty: the rest is missing
/// for sure. And if pools could be cut in pieces and spread over all ranges that they may use, it would be a flow: for each
/// length L the pools with blocks of length ≤ L draw on the free pieces of length ≤ L; what the largest flow leaves is missing in
/// the real problem as well, where pools cannot be cut.
pub(super) fn missing_at_least(figures: &Figures) -> u64 {
    let mut forced = 0;
    let mut needs: Vec<Need> = Vec::new();
    for (index, pool) in figures.pools.iter().enumerate() {
        let most = figures.rooms.iter().zip(&pool.lengths);
        let most = most.filter_map(|(room, length)| length.map(|length| room.blocks(length))).max().unwrap_or(0);
        let smallest = figures.smallest(index);
        forced += pool.blocks.saturating_sub(most) * smallest;
        let Some(longest) = pool.lengths.iter().flatten().max() else { continue };
        let ranges = pool.lengths.iter().map(Option::is_some).collect();
        needs.push(Need { addresses: pool.blocks.min(most) * size(*longest), length: *longest, ranges });
    }
    let mut levels: Vec<u8> = needs.iter().map(|need| need.length).collect();
    levels.sort_unstable();
    levels.dedup();
    let missing = levels.into_iter().map(|level| {
        let drawing: Vec<&Need> = needs.iter().filter(|need| need.length <= level).collect();
        let capacities = figures.rooms.iter().map(|room| room.addresses(level)).collect();
        missing_in_flow(&drawing, capacities)
    });
    forced + missing.max().unwrap_or(0)
}

/// What a pool needs where its blocks are smallest.
struct Need {
    addresses: u64,
    length: u8,
    /// Which ranges it may use.
    ranges: Vec<bool>,
}

/// What the largest flow from the needs into the ranges leaves unserved.
fn missing_in_flow(needs: &[&Need], mut capacities: Vec<u64>) -> u64 {
    let count = capacities.len();
    let mut flows = vec![vec![0u64; count]; needs.len()];
    let mut missing = 0;
    for (index, need) in needs.iter().enumerate() {
        let mut open = need.addresses;
        while open > 0 {
            let moved = augment(needs, &mut flows, &mut capacities, index, open);
            if moved == 0 {
                break;
            }
            open -= moved;
        }
        missing += open;
    }
    missing
}

/// Sends as much as one path takes from the need at `start`, moving others' flow aside where that makes room; breadth first.
fn augment(needs: &[&Need], flows: &mut [Vec<u64>], capacities: &mut [u64], start: usize, open: u64) -> u64 {
    // For each range: the need that reached it. A need other than the start is reached through the range that it uses.
    let mut reached_by: Vec<Option<usize>> = vec![None; capacities.len()];
    let mut came_through: Vec<Option<usize>> = vec![None; needs.len()];
    let mut waiting = std::collections::VecDeque::from([start]);
    let mut target = None;
    'search: while let Some(need) = waiting.pop_front() {
        for (range, allowed) in needs.get(need).into_iter().flat_map(|need| need.ranges.iter().enumerate()) {
            if !allowed || reached_by.get(range).copied().flatten().is_some() {
                continue;
            }
            if let Some(slot) = reached_by.get_mut(range) {
                *slot = Some(need);
            }
            if capacities.get(range).is_some_and(|left| *left > 0) {
                target = Some(range);
                break 'search;
            }
            for (other, flow) in flows.iter().enumerate() {
                let uses = flow.get(range).is_some_and(|flow| *flow > 0);
                if uses && other != start && came_through.get(other).copied().flatten().is_none() {
                    if let Some(slot) = came_through.get_mut(other) {
                        *slot = Some(range);
                    }
                    waiting.push_back(other);
                }
            }
        }
    }
    let Some(target) = target else { return 0 };
    // Walk back from the target: (need, range) pairs, with the range that each need other than the start gives up.
    let mut steps = Vec::new();
    let mut range = target;
    let mut moved = open.min(capacities.get(target).copied().unwrap_or(0));
    while let Some(need) = reached_by.get(range).copied().flatten() {
        let gives_up = came_through.get(need).copied().flatten().filter(|_| need != start);
        steps.push((need, range, gives_up));
        let Some(previous) = gives_up else { break };
        moved = moved.min(flows.get(need).and_then(|flow| flow.get(previous)).copied().unwrap_or(0));
        range = previous;
    }
    if let Some(left) = capacities.get_mut(target) {
        *left -= moved;
    }
    for (need, range, gives_up) in steps {
        let Some(flow) = flows.get_mut(need) else { continue };
        if let Some(flow) = flow.get_mut(range) {
            *flow += moved;
        }
        if let Some(flow) = gives_up.and_then(|range| flow.get_mut(range)) {
            *flow -= moved;
        }
    }
    moved
}
