//! One range with its free space and the blocks that cool down in it.

use std::collections::BTreeMap;

use freeboard_address::{AlignedSpace, BlockSize, Cidr, FreeLengths};
use jiff::Timestamp;

use crate::range::{Exclusion, RangeSpec, RangeState};

/// What the choice of a range looks at, small and side by side for all ranges: with many of them this is what an allocation costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) priority: i32,
    pub(crate) block_size: BlockSize,
    pub(crate) lengths: FreeLengths,
    pub(crate) free_addresses: u64,
    /// Room is kept in it.
    pub(crate) is_reserving: bool,
}

impl Summary {
    pub(crate) fn of(territory: &Territory) -> Self {
        Self {
            priority: territory.spec.priority,
            block_size: territory.spec.block_size,
            lengths: territory.space.lengths(),
            free_addresses: territory.space.free_addresses(),
            is_reserving: !territory.spec.reservations.is_empty(),
        }
    }
}

/// A range, and what of it is free. What is neither free nor cooling nor excluded is claimed by nodes.
#[derive(Clone, Debug)]
pub(crate) struct Territory {
    pub(crate) spec: RangeSpec,
    /// Its removal was asked for; it goes when no node has a block of it.
    pub(crate) is_removing: bool,
    /// Nodes wait for room in it; people were told.
    pub(crate) is_exhausted: bool,
    pub(crate) space: AlignedSpace,
    /// Blocks that cool down, and since when.
    pub(crate) cooling: BTreeMap<Cidr, Timestamp>,
    /// Addresses of `cooling`.
    pub(crate) cooling_addresses: u64,
    /// Addresses that are free and kept for a node that waits; they are not in `space`.
    pub(crate) held_addresses: u64,
    /// Blocks in the range that nodes have.
    pub(crate) claims: u64,
    /// Addresses that no node may have.
    pub(crate) excluded_addresses: u64,
    /// How many nodes of each pool, for which room is kept, have a block here; in the order of the spec.
    pub(crate) reserved_nodes: Vec<u64>,
}

impl Territory {
    pub(crate) fn new(spec: RangeSpec) -> Self {
        let space = AlignedSpace::none_free(spec.cidr);
        Self {
            spec,
            is_removing: false,
            is_exhausted: false,
            space,
            cooling: BTreeMap::new(),
            cooling_addresses: 0,
            held_addresses: 0,
            claims: 0,
            excluded_addresses: 0,
            reserved_nodes: Vec::new(),
        }
    }

    /// Whether nodes get new blocks from it.
    pub(crate) fn is_giving(&self) -> bool {
        self.spec.state == RangeState::Active && !self.is_removing
    }

    /// Addresses that nodes have.
    pub(crate) fn allocated_addresses(&self) -> u64 {
        self.spec.cidr.size() - self.excluded_addresses - self.cooling_addresses - self.free_addresses()
    }

    /// Addresses that nobody has, those that are kept for a node that waits included.
    pub(crate) fn free_addresses(&self) -> u64 {
        self.space.free_addresses() + self.held_addresses
    }

    /// Counts the free space from scratch: everything but what is excluded, claimed or cooling.
    pub(crate) fn rebuild<'a>(&mut self, excluded: &[Exclusion], claims: impl Iterator<Item = &'a Cidr>) {
        let mut space = AlignedSpace::all_free(self.spec.cidr);
        for exclusion in self.spec.excluded.iter().chain(excluded) {
            space.take_any(exclusion.cidr);
        }
        self.excluded_addresses = self.spec.cidr.size() - space.free_addresses();
        for cidr in claims {
            space.take_any(*cidr);
        }
        // A block cools only as far as nothing else is known of its addresses.
        let mut cooling = BTreeMap::new();
        for (block, released) in &self.cooling {
            let parts: Vec<Cidr> = space.blocks_in(*block).collect();
            for part in parts {
                let part = if part.contains_block(*block) { *block } else { part };
                space.take(part);
                cooling.insert(part, *released);
            }
        }
        self.cooling = cooling;
        self.cooling_addresses = self.cooling.keys().map(|block| block.size()).sum();
        self.space = space;
    }

    /// Lets a block that was taken cool down.
    pub(crate) fn cool(&mut self, block: Cidr, released: Timestamp) {
        if self.cooling.insert(block, released).is_none() {
            self.cooling_addresses += block.size();
        }
    }

    /// Makes a cooling block free; false when it does not cool (any more).
    pub(crate) fn warm(&mut self, block: Cidr) -> bool {
        if self.cooling.remove(&block).is_none() {
            return false;
        }
        self.cooling_addresses -= block.size();
        self.space.give(block)
    }

    /// The blocks inside `part` that cool down.
    pub(crate) fn cooling_in(&self, part: Cidr) -> impl Iterator<Item = (Cidr, Timestamp)> + '_ {
        let last = Cidr::host(part.last());
        self.cooling.range(part..=last).filter(move |(block, _)| part.contains_block(**block)).map(|(b, t)| (*b, *t))
    }

    /// How many blocks of `length` bits could ever be in it, were it empty.
    pub(crate) fn capacity_in_blocks(&self, excluded: &[Exclusion], length: u8) -> u64 {
        let around = self.spec.excluded.iter().chain(excluded).map(|exclusion| exclusion.cidr);
        let inside: Vec<Cidr> = around.filter(|cidr| cidr.overlaps(self.spec.cidr)).collect();
        if inside.is_empty() {
            return match length.checked_sub(self.spec.cidr.length()) {
                Some(bits) => 1u64 << bits,
                None => 0,
            };
        }
        let mut space = AlignedSpace::all_free(self.spec.cidr);
        for cidr in inside {
            space.take_any(cidr);
        }
        space.free_blocks(length)
    }
}
