//! The search for an assignment: constructed, improved, and, where that does not meet the bound, searched exactly within a budget.

use std::cmp::Reverse;

use super::bound::missing_at_least;
use super::room::{Figures, Filled, Room, size};
use super::{Assignment, Method, Placement, PoolDemand, RangeRoom};

/// Positions that the exact search looks at, at most: some ten milliseconds.
const BUDGET: u32 = 100_000;
/// Rounds of improvement, at most.
const ROUNDS: usize = 40;
/// Units in which the subsets that fill a range are counted, at most.
const UNITS: u64 = 1 << 16;

/// Where each pool goes.
type Places = Vec<Option<usize>>;

pub(super) fn assign(ranges: &[RangeRoom], pools: &[PoolDemand]) -> Assignment {
    let figures = Figures::of(ranges, pools);
    let bound = missing_at_least(&figures);
    let mut best: Option<(Filled, Places)> = None;
    for start in [tightest_first(&figures), fullest_ranges(&figures)] {
        let found = improve(&figures, start, bound);
        if best.as_ref().is_none_or(|(filled, _)| rank(&found.0) < rank(filled)) {
            best = Some(found);
        }
    }
    let (filled, places) = best.unwrap_or_else(|| (figures.fill(&[]), Vec::new()));
    if filled.missing <= bound {
        return answer(ranges, pools, &filled, &places, bound, Method::MeetsBound);
    }
    let mut search = Search::new(&figures, filled.missing, places, bound);
    let exhausted = search.run();
    let filled = figures.fill(&search.best);
    // A search that was not cut short has proven that nothing is better than what it found.
    let (bound, method) = if filled.missing <= bound {
        (filled.missing, Method::MeetsBound)
    } else if exhausted {
        (filled.missing, Method::Exhausted)
    } else {
        (bound, Method::Budget)
    };
    answer(ranges, pools, &filled, &search.best, bound, method)
}

fn answer(
    ranges: &[RangeRoom],
    pools: &[PoolDemand],
    filled: &Filled,
    places: &[Option<usize>],
    missing_at_least: u64,
    method: Method,
) -> Assignment {
    let placement = |(index, pool): (usize, &PoolDemand)| {
        let range = places.get(index).copied().flatten().and_then(|range| ranges.get(range));
        Placement {
            pool: pool.name.clone(),
            range: range.map(|range| range.name.clone()),
            max_nodes: pool.max_nodes,
            nodes_that_fit: pool.current_nodes.min(pool.max_nodes) + filled.blocks.get(index).copied().unwrap_or(0),
        }
    };
    let placements = pools.iter().enumerate().map(placement).collect();
    Assignment { placements, missing_addresses: filled.missing, missing_at_least, method }
}

fn rank(filled: &Filled) -> (u64, u64) {
    (filled.missing, filled.short)
}

/// Pools in the order in which they are placed: larger blocks first, so that smaller ones take what is left; then those with fewer
/// ranges to choose from, then the larger ones.
fn order(figures: &Figures) -> Vec<usize> {
    let mut order: Vec<usize> = (0..figures.pools.len()).collect();
    order.sort_by_key(|index| {
        let addresses = figures.blocks(*index) * figures.smallest(*index);
        (Reverse(figures.smallest(*index)), Reverse(addresses), *index)
    });
    order
}

/// The largest pool first, each into the range that it leaves the least room in.
fn tightest_first(figures: &Figures) -> Places {
    let mut rooms = figures.rooms.clone();
    let mut places: Places = vec![None; figures.pools.len()];
    for index in order(figures) {
        let blocks = figures.blocks(index);
        let choice = |(range, room): (usize, &Room)| {
            let length = figures.length(index, Some(range))?;
            let fit = room.blocks(length).min(blocks);
            // Whole before in part; of those where it is whole, the tightest; of the others, where the most of it fits.
            (fit > 0).then(|| (Reverse(fit), room.total() - fit * size(length), range, length))
        };
        let Some((Reverse(fit), _, range, length)) = rooms.iter().enumerate().filter_map(choice).min() else {
            continue;
        };
        if let Some(room) = rooms.get_mut(range) {
            room.place(length, fit);
        }
        if let Some(place) = places.get_mut(index) {
            *place = Some(range);
        }
    }
    places
}

/// The smallest range first, each with the set of pools that fills it best: finds the exact fits that a greedy order misses.
fn fullest_ranges(figures: &Figures) -> Places {
    let mut places: Places = vec![None; figures.pools.len()];
    let mut ranges: Vec<usize> = (0..figures.rooms.len()).collect();
    ranges.sort_by_key(|range| figures.rooms.get(*range).map_or(0, Room::total));
    let order = order(figures);
    for range in ranges {
        let Some(room) = figures.rooms.get(range) else { continue };
        let open = order.iter().copied().filter(|index| places.get(*index) == Some(&None));
        let candidates: Vec<(usize, u64)> = open
            .filter_map(|index| {
                let length = figures.length(index, Some(range))?;
                let fits = room.blocks(length) >= figures.blocks(index) && figures.blocks(index) > 0;
                fits.then(|| (index, figures.blocks(index) * size(length)))
            })
            .collect();
        for index in best_subset(&candidates, room.total()) {
            if let Some(place) = places.get_mut(index) {
                *place = Some(range);
            }
        }
    }
    // What is left over goes where the most of it fits.
    for index in order {
        if places.get(index) != Some(&None) {
            continue;
        }
        let filled = |range: usize| {
            let mut tried = places.clone();
            if let Some(place) = tried.get_mut(index) {
                *place = Some(range);
            }
            figures.fill(&tried).missing
        };
        let allowed = (0..figures.rooms.len()).filter(|range| figures.length(index, Some(*range)).is_some());
        let best = allowed.min_by_key(|range| filled(*range));
        if let Some(place) = places.get_mut(index) {
            *place = best;
        }
    }
    places
}

/// The subset of candidates with the largest sum that is at most `room`; the empty one when the numbers are too large to count.
fn best_subset(candidates: &[(usize, u64)], room: u64) -> Vec<usize> {
    if candidates.iter().map(|(_, addresses)| addresses).sum::<u64>() <= room {
        return candidates.iter().map(|(index, _)| *index).collect();
    }
    let unit = candidates.iter().map(|(_, addresses)| addresses).copied().fold(0, gcd).max(1);
    let units = room / unit;
    if units > UNITS {
        return Vec::new();
    }
    let count = usize::try_from(units).unwrap_or(0) + 1;
    // For each sum: the candidate that reached it first, and so the chain of a subset without repetition.
    let mut last: Vec<Option<usize>> = vec![None; count];
    let mut reached = vec![false; count];
    if let Some(zero) = reached.first_mut() {
        *zero = true;
    }
    for (position, (_, addresses)) in candidates.iter().enumerate() {
        let step = usize::try_from(addresses / unit).unwrap_or(usize::MAX);
        for sum in (step..count).rev() {
            let is_new = reached.get(sum) == Some(&false) && reached.get(sum - step) == Some(&true);
            if is_new && let (Some(reached), Some(last)) = (reached.get_mut(sum), last.get_mut(sum)) {
                (*reached, *last) = (true, Some(position));
            }
        }
    }
    let mut sum = reached.iter().rposition(|reached| *reached).unwrap_or(0);
    let mut chosen = Vec::new();
    while let Some((index, addresses)) = last.get(sum).copied().flatten().and_then(|p| candidates.get(p)) {
        chosen.push(*index);
        sum -= usize::try_from(addresses / unit).unwrap_or(sum).min(sum);
    }
    chosen
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// Moves single pools, and exchanges pairs, while that leaves less missing.
fn improve(figures: &Figures, mut places: Places, bound: u64) -> (Filled, Places) {
    let mut filled = figures.fill(&places);
    for _ in 0..ROUNDS {
        if filled.missing <= bound {
            break;
        }
        let Some((better, better_places)) = better_neighbour(figures, &places, &filled) else { break };
        (filled, places) = (better, better_places);
    }
    (filled, places)
}

/// A neighbour of the assignment that is better: one short pool moved, or exchanged with another pool.
fn better_neighbour(figures: &Figures, places: &Places, filled: &Filled) -> Option<(Filled, Places)> {
    let is_short = |index: &usize| filled.blocks.get(*index).is_some_and(|fit| *fit < figures.blocks(*index));
    let all = 0..figures.pools.len();
    for index in all.clone().filter(is_short) {
        let from = places.get(index).copied().flatten();
        for to in (0..figures.rooms.len()).filter(|to| Some(*to) != from && figures.length(index, Some(*to)).is_some())
        {
            let mut moved = places.clone();
            *moved.get_mut(index)? = Some(to);
            let tried = figures.fill(&moved);
            if rank(&tried) < rank(filled) {
                return Some((tried, moved));
            }
            for other in
                all.clone().filter(|other| places.get(*other).copied().flatten() == Some(to) && *other != index)
            {
                if from.is_some_and(|_| figures.length(other, from).is_none()) {
                    continue;
                }
                let mut exchanged = moved.clone();
                *exchanged.get_mut(other)? = from;
                let tried = figures.fill(&exchanged);
                if rank(&tried) < rank(filled) {
                    return Some((tried, exchanged));
                }
            }
        }
    }
    None
}

/// The exact search: depth first, in the fixed order of the pools, cut where nothing better can come.
struct Search<'a> {
    figures: &'a Figures,
    order: Vec<usize>,
    /// For each depth: addresses that the pools from there on need, at least.
    needs_from: Vec<u64>,
    bound: u64,
    best_missing: u64,
    best: Places,
    rooms: Vec<Room>,
    places: Places,
    budget: u32,
}

impl<'a> Search<'a> {
    fn new(figures: &'a Figures, best_missing: u64, best: Places, bound: u64) -> Self {
        let order = order(figures);
        let mut needs_from = vec![0; order.len() + 1];
        for (depth, index) in order.iter().enumerate().rev() {
            let after = needs_from.get(depth + 1).copied().unwrap_or(0);
            if let Some(slot) = needs_from.get_mut(depth) {
                *slot = after + figures.blocks(*index) * figures.smallest(*index);
            }
        }
        let (rooms, places) = (figures.rooms.clone(), vec![None; figures.pools.len()]);
        Self { figures, order, needs_from, bound, best_missing, best, rooms, places, budget: BUDGET }
    }

    /// Whether every assignment that could be better was looked at.
    fn run(&mut self) -> bool {
        self.descend(0, 0);
        self.budget > 0
    }

    fn descend(&mut self, depth: usize, missing: u64) {
        if self.budget == 0 || self.best_missing <= self.bound {
            return;
        }
        self.budget -= 1;
        let left: u64 = self.rooms.iter().map(Room::total).sum();
        let needed = self.needs_from.get(depth).copied().unwrap_or(0);
        if missing + needed.saturating_sub(left) >= self.best_missing {
            return;
        }
        let Some(index) = self.order.get(depth).copied() else {
            (self.best_missing, self.best) = (missing, self.places.clone());
            return;
        };
        let blocks = self.figures.blocks(index);
        let mut choices: Vec<(Reverse<u64>, u64, usize, u8)> = Vec::new();
        for (range, room) in self.rooms.iter().enumerate() {
            let Some(length) = self.figures.length(index, Some(range)) else { continue };
            let fit = room.blocks(length).min(blocks);
            // Ranges with the same room and the same use by the pools to come are one choice.
            let is_new = |other: &(Reverse<u64>, u64, usize, u8)| {
                self.rooms.get(other.2) != Some(room) || !self.is_alike(depth, other.2, range)
            };
            if choices.iter().all(is_new) {
                choices.push((Reverse(fit), room.total() - fit * size(length), range, length));
            }
        }
        choices.sort_unstable();
        if choices.is_empty() {
            self.descend(depth + 1, missing + blocks * self.figures.smallest(index));
        }
        for (Reverse(fit), _, range, length) in choices {
            self.step(index, range, |room| room.place(length, fit), Some(range));
            self.descend(depth + 1, missing + (blocks - fit) * self.figures.smallest(index));
            self.step(index, range, |room| room.remove(length, fit), None);
        }
    }

    fn step(&mut self, pool: usize, range: usize, change: impl FnOnce(&mut Room), place: Option<usize>) {
        if let Some(room) = self.rooms.get_mut(range) {
            change(room);
        }
        if let Some(slot) = self.places.get_mut(pool) {
            *slot = place;
        }
    }

    /// Whether the pools from `depth` on may use both ranges alike.
    fn is_alike(&self, depth: usize, one: usize, other: usize) -> bool {
        let rest = self.order.iter().skip(depth);
        rest.copied().all(|pool| self.figures.length(pool, Some(one)) == self.figures.length(pool, Some(other)))
    }
}
