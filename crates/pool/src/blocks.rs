//! The blocks of one interface, with running sums and orders, so that no event has to look at every address.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use freeboard_address::Cidr;
use jiff::Timestamp;

use crate::store::{Block, Cell};
use crate::view::Tally;

/// Sums over the blocks of an interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sums {
    pub(crate) all: Tally,
    /// Over the blocks of which addresses may be given.
    pub(crate) open: Tally,
    pub(crate) open_blocks: usize,
    pub(crate) open_prefixes: u32,
    pub(crate) unused_open_prefixes: u32,
    pub(crate) unused_prefixes: u32,
}

/// Place of a block in the order in which blocks are used: fullest first, single address before prefix, never used before
/// longest released, lowest address.
type Place = (Reverse<u32>, u32, Option<Timestamp>, Cidr);

/// The blocks of one interface. A block is changed only through this, which keeps the sums and orders in step; the audit counts
/// them anew.
#[derive(Clone, Debug, Default)]
pub(crate) struct Blocks {
    blocks: BTreeMap<Cidr, Block>,
    sums: Sums,
    giving: BTreeSet<Place>,
    cooling: BTreeSet<(Timestamp, Ipv4Addr, bool)>,
}

impl Blocks {
    pub(crate) fn sums(&self) -> Sums {
        self.sums
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Cidr, &Block)> {
        self.blocks.iter()
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &Cidr> {
        self.blocks.keys()
    }

    pub(crate) fn get(&self, cidr: Cidr) -> Option<&Block> {
        self.blocks.get(&cidr)
    }

    pub(crate) fn contains_key(&self, cidr: &Cidr) -> bool {
        self.blocks.contains_key(cidr)
    }

    pub(crate) fn len(&self) -> usize {
        self.blocks.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// The /32 or /28 that carries an address.
    pub(crate) fn carrying(&self, address: Ipv4Addr) -> Option<Cidr> {
        [Some(Cidr::host(address)), Cidr::containing(address, 28).ok()]
            .into_iter()
            .flatten()
            .find(|cidr| self.blocks.contains_key(cidr))
    }

    pub(crate) fn overlaps(&self, cidr: Cidr) -> bool {
        cidr.addresses().any(|address| self.carrying(address).is_some())
    }

    /// The free address that is to be given next.
    pub(crate) fn next(&self) -> Option<Ipv4Addr> {
        let (.., cidr) = self.giving.first()?;
        next_of(self.blocks.get(cidr)?).map(|(_, address)| address)
    }

    /// The cooling addresses, longest released first, and whether the release is durable.
    pub(crate) fn cooling(&self) -> impl DoubleEndedIterator<Item = (Timestamp, Ipv4Addr, bool)> {
        self.cooling.iter().copied()
    }

    /// Adds a block that is not there yet.
    pub(crate) fn insert(&mut self, cidr: Cidr, block: Block) {
        if !self.blocks.contains_key(&cidr) {
            self.count(cidr, &block);
            self.blocks.insert(cidr, block);
        }
    }

    pub(crate) fn remove(&mut self, cidr: Cidr) -> Option<Block> {
        let block = self.blocks.remove(&cidr)?;
        self.discount(cidr, &block);
        Some(block)
    }

    /// Changes a block, if it is there.
    pub(crate) fn change(&mut self, cidr: Cidr, change: impl FnOnce(&mut Block)) {
        if let Some(mut block) = self.remove(cidr) {
            change(&mut block);
            self.insert(cidr, block);
        }
    }

    /// Whether sums and orders are what a count from scratch gives.
    pub(crate) fn is_consistent(&self) -> bool {
        let mut fresh = Self::default();
        for (cidr, block) in &self.blocks {
            fresh.insert(*cidr, block.clone());
        }
        fresh.sums == self.sums && fresh.giving == self.giving && fresh.cooling == self.cooling
    }

    fn count(&mut self, cidr: Cidr, block: &Block) {
        let (is_prefix, tally) = (u32::from(cidr.length() < 32), block.tally());
        let unused = u32::from(block.is_unused()) * is_prefix;
        self.sums.all.add(tally);
        self.sums.unused_prefixes += unused;
        if block.is_open() {
            self.sums.open.add(tally);
            self.sums.open_blocks += 1;
            self.sums.open_prefixes += is_prefix;
            self.sums.unused_open_prefixes += unused;
        }
        self.giving.extend(place(cidr, block));
        self.cooling.extend(resting(block));
    }

    fn discount(&mut self, cidr: Cidr, block: &Block) {
        let (is_prefix, tally) = (u32::from(cidr.length() < 32), block.tally());
        let unused = u32::from(block.is_unused()) * is_prefix;
        self.sums.all.subtract(tally);
        self.sums.unused_prefixes -= unused;
        if block.is_open() {
            self.sums.open.subtract(tally);
            self.sums.open_blocks -= 1;
            self.sums.open_prefixes -= is_prefix;
            self.sums.unused_open_prefixes -= unused;
        }
        if let Some(place) = place(cidr, block) {
            self.giving.remove(&place);
        }
        for rest in resting(block) {
            self.cooling.remove(&rest);
        }
    }
}

fn place(cidr: Cidr, block: &Block) -> Option<Place> {
    let (released, _) = next_of(block).filter(|_| block.is_open())?;
    Some((Reverse(block.tally().assigned), block.tally().total, released, cidr))
}

/// The free address of a block to give next: never used, longest released, lowest.
fn next_of(block: &Block) -> Option<(Option<Timestamp>, Ipv4Addr)> {
    let free = block.cells().filter_map(|(address, cell)| match cell {
        Cell::Free { released } => Some((*released, address)),
        Cell::Assigned(_) | Cell::Cooling { .. } | Cell::Quarantined => None,
    });
    free.min()
}

fn resting(block: &Block) -> impl Iterator<Item = (Timestamp, Ipv4Addr, bool)> {
    block.cells().filter_map(|(address, cell)| match cell {
        Cell::Cooling { released, durable } => Some((*released, address, *durable)),
        Cell::Free { .. } | Cell::Assigned(_) | Cell::Quarantined => None,
    })
}
