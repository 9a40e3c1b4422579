//! What fits into a range: nested limits, one for each block length.

use freeboard_address::Cidr;

use super::{PoolDemand, RangeRoom};

/// Prefix lengths, /0 to /32.
const LENGTHS: usize = 33;

/// How much can be placed into one range, and how much is.
///
/// A block of length l needs free space in pieces of length l or shorter. Since sizes divide one another, a set of blocks fits
/// exactly when for every L: addresses of the blocks of length ≤ L  ≤  addresses of the free pieces of length ≤ L.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Room {
    /// For each L: addresses in free pieces of length ≤ L that are not taken by placed blocks of length ≤ L.
    left: [u64; LENGTHS],
}

impl Room {
    pub(super) fn new(free: &[Cidr]) -> Self {
        let mut left = [0; LENGTHS];
        for piece in free {
            for slot in left.iter_mut().skip(usize::from(piece.length())) {
                *slot += piece.size();
            }
        }
        Self { left }
    }

    /// Addresses left in pieces that hold a block of `length`.
    pub(super) fn addresses(&self, length: u8) -> u64 {
        self.left.get(usize::from(length)).copied().unwrap_or(0)
    }

    /// Addresses left altogether.
    pub(super) fn total(&self) -> u64 {
        self.addresses(32)
    }

    /// How many blocks of `length` fit beside those that are placed.
    pub(super) fn blocks(&self, length: u8) -> u64 {
        let least = self.left.iter().skip(usize::from(length)).min().copied().unwrap_or(0);
        least / size(length)
    }

    /// Places so many blocks of `length`, which must fit.
    pub(super) fn place(&mut self, length: u8, blocks: u64) {
        let addresses = blocks * size(length);
        for slot in self.left.iter_mut().skip(usize::from(length)) {
            *slot = slot.saturating_sub(addresses);
        }
    }

    /// Takes so many blocks of `length` away again.
    pub(super) fn remove(&mut self, length: u8, blocks: u64) {
        let addresses = blocks * size(length);
        for slot in self.left.iter_mut().skip(usize::from(length)) {
            *slot += addresses;
        }
    }
}

/// Addresses of one block.
pub(super) fn size(length: u8) -> u64 {
    1u64 << (32 - u32::from(length.min(32)))
}

/// The problem in figures: pools and ranges by index.
#[derive(Clone, Debug)]
pub(super) struct Figures {
    pub(super) rooms: Vec<Room>,
    pub(super) pools: Vec<Pool>,
}

/// One pool in figures.
#[derive(Clone, Debug)]
pub(super) struct Pool {
    /// Blocks that it needs beside those that it has.
    pub(super) blocks: u64,
    /// For each range the length of its nodes' blocks there; none where it may not go.
    pub(super) lengths: Vec<Option<u8>>,
}

impl Figures {
    pub(super) fn of(ranges: &[RangeRoom], pools: &[PoolDemand]) -> Self {
        let pool = |demand: &PoolDemand| Pool {
            blocks: demand.max_nodes.saturating_sub(demand.current_nodes),
            lengths: ranges.iter().map(|range| length(range, demand)).collect(),
        };
        Self {
            rooms: ranges.iter().map(|range| Room::new(&range.free)).collect(),
            pools: pools.iter().map(pool).collect(),
        }
    }

    /// Puts the pools where `places` says and counts what is missing, those with larger blocks first: so the fewest are missing.
    pub(super) fn fill(&self, places: &[Option<usize>]) -> Filled {
        let mut rooms = self.rooms.clone();
        let mut order: Vec<usize> = (0..self.pools.len()).collect();
        let length = |index: usize| self.length(index, places.get(index).copied().flatten());
        order.sort_by_key(|index| (length(*index), std::cmp::Reverse(self.blocks(*index))));
        let mut filled = Filled { blocks: vec![0; self.pools.len()], missing: 0, short: 0 };
        for index in order {
            let wanted = self.blocks(index);
            let range = places.get(index).copied().flatten();
            let fit = match (range.and_then(|range| rooms.get_mut(range)), length(index)) {
                (Some(room), Some(length)) => {
                    let fit = room.blocks(length).min(wanted);
                    room.place(length, fit);
                    fit
                }
                (None, _) | (_, None) => 0,
            };
            filled.short += u64::from(fit < wanted);
            filled.missing += (wanted - fit) * self.smallest(index);
            if let Some(slot) = filled.blocks.get_mut(index) {
                *slot = fit;
            }
        }
        filled
    }

    pub(super) fn length(&self, pool: usize, range: Option<usize>) -> Option<u8> {
        self.pools.get(pool)?.lengths.get(range?).copied().flatten()
    }

    pub(super) fn blocks(&self, pool: usize) -> u64 {
        self.pools.get(pool).map_or(0, |pool| pool.blocks)
    }

    /// Addresses of one block of the pool where it is smallest: by this every missing block counts, wherever the pool is.
    pub(super) fn smallest(&self, pool: usize) -> u64 {
        let lengths = self.pools.get(pool).into_iter().flat_map(|pool| pool.lengths.iter().flatten());
        // A pool that no range is for misses its blocks all the same.
        lengths.max().map_or(16, |length| size(*length))
    }
}

/// What came of an assignment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Filled {
    /// Blocks of each pool that have a place.
    pub(super) blocks: Vec<u64>,
    /// Addresses of the blocks that have none.
    pub(super) missing: u64,
    /// How many pools miss any.
    pub(super) short: u64,
}

fn length(range: &RangeRoom, demand: &PoolDemand) -> Option<u8> {
    let is_allowed = match &demand.range {
        Some(bound) => *bound == range.name,
        None => range.selector.as_ref().is_none_or(|selector| selector.matches(&demand.labels)),
    };
    is_allowed.then(|| range.block_size.block_length(demand.max_pods)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_nested_by_length() {
        let free: Vec<Cidr> = ["10.0.0.0/24", "10.0.1.0/26", "10.0.1.128/26"].map(|t| t.parse().unwrap()).to_vec();
        let mut room = Room::new(&free);
        assert_eq!((room.blocks(25), room.blocks(26), room.blocks(23)), (2, 6, 0));
        room.place(26, 3);
        // Three /26 go into the two loose /26 and half a /25.
        assert_eq!((room.blocks(25), room.blocks(26)), (1, 3));
        room.remove(26, 3);
        assert_eq!(room, Room::new(&free));
    }
}
