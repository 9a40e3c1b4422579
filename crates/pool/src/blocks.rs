//! The blocks of one interface, with running sums and an order, so that no event has to look at every address.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use freeboard_address::Cidr;
use jiff::Timestamp;

use crate::store::{Block, Cell};
use crate::view::Tally;

/// What one block adds to the sums and to the order.
#[derive(Clone, Copy)]
struct Share {
    tally: Tally,
    is_open: bool,
    is_prefix: u32,
    unused: u32,
    place: Option<Place>,
}

impl Share {
    fn of(cidr: Cidr, block: &Block) -> Self {
        let is_prefix = u32::from(cidr.length() < 32);
        Self {
            tally: block.tally(),
            is_open: block.is_open(),
            is_prefix,
            unused: u32::from(block.is_unused()) * is_prefix,
            place: place(cidr, block),
        }
    }
}

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

/// The blocks of one interface. A block is changed only through this, which keeps the sums and the order in step; the audit counts
/// them anew.
#[derive(Clone, Debug, Default)]
pub(crate) struct Blocks {
    blocks: BTreeMap<Cidr, Block>,
    sums: Sums,
    giving: BTreeSet<Place>,
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

    /// The free address that is to be given next.
    pub(crate) fn next(&self) -> Option<Ipv4Addr> {
        let (.., cidr) = self.giving.first()?;
        next_of(self.blocks.get(cidr)?).map(|(_, address)| address)
    }

    /// Blocks with nothing on them that may be given; no look at any other.
    pub(crate) fn unused(&self) -> impl Iterator<Item = Cidr> {
        let without_pods = self.giving.iter().rev().take_while(|(Reverse(assigned), ..)| *assigned == 0);
        let cidrs = without_pods.map(|(.., cidr)| *cidr);
        cidrs.filter(|cidr| self.blocks.get(cidr).is_some_and(Block::is_unused))
    }

    /// Adds a block that is not there yet.
    pub(crate) fn insert(&mut self, cidr: Cidr, block: Block) {
        if !self.blocks.contains_key(&cidr) {
            self.sums.count(&Share::of(cidr, &block));
            self.giving.extend(place(cidr, &block));
            self.blocks.insert(cidr, block);
        }
    }

    pub(crate) fn remove(&mut self, cidr: Cidr) -> Option<Block> {
        let block = self.blocks.remove(&cidr)?;
        let share = Share::of(cidr, &block);
        self.sums.discount(&share);
        if let Some(place) = share.place {
            self.giving.remove(&place);
        }
        Some(block)
    }

    /// Changes what is known of a block, if it is there; the states of its addresses stay.
    pub(crate) fn change(&mut self, cidr: Cidr, change: impl FnOnce(&mut Block)) {
        if let Some(block) = self.blocks.get_mut(&cidr) {
            let before = Share::of(cidr, block);
            change(block);
            let after = Share::of(cidr, block);
            self.replace(before, after);
        }
    }

    /// The same for each block.
    pub(crate) fn change_each(&mut self, mut change: impl FnMut(Cidr, &mut Block)) {
        let mut reopened = Vec::new();
        for (cidr, block) in &mut self.blocks {
            let was_open = block.is_open();
            change(*cidr, block);
            if block.is_open() != was_open {
                reopened.push(*cidr);
            }
        }
        for cidr in reopened {
            if let Some(block) = self.blocks.get(&cidr) {
                let after = Share::of(cidr, block);
                let place = next_of(block).map(|(released, _)| place_of(cidr, block, released));
                let before = Share { is_open: !after.is_open, place: place.filter(|_| !after.is_open), ..after };
                let after = Share::of(cidr, block);
                self.replace(before, after);
            }
        }
    }

    /// Puts an address of a block into another state; returns the one before.
    pub(crate) fn set(&mut self, cidr: Cidr, address: Ipv4Addr, cell: Cell) -> Option<Cell> {
        let block = self.blocks.get_mut(&cidr)?;
        let before = Share::of(cidr, block);
        let previous = block.set(address, cell)?;
        let after = Share::of(cidr, block);
        self.replace(before, after);
        Some(previous)
    }

    fn replace(&mut self, before: Share, after: Share) {
        self.sums.discount(&before);
        self.sums.count(&after);
        if before.place != after.place {
            if let Some(place) = before.place {
                self.giving.remove(&place);
            }
            self.giving.extend(after.place);
        }
    }

    /// Whether sums and order are what a count from scratch gives.
    pub(crate) fn is_consistent(&self) -> bool {
        let mut fresh = Self::default();
        for (cidr, block) in &self.blocks {
            fresh.insert(*cidr, block.clone());
        }
        fresh.sums == self.sums && fresh.giving == self.giving
    }
}

impl Sums {
    /// The sums over two sets of blocks together.
    pub(crate) fn add(&mut self, other: &Self) {
        self.all.add(other.all);
        self.open.add(other.open);
        self.open_blocks += other.open_blocks;
        self.open_prefixes += other.open_prefixes;
        self.unused_open_prefixes += other.unused_open_prefixes;
        self.unused_prefixes += other.unused_prefixes;
    }

    pub(crate) fn subtract(&mut self, other: &Self) {
        self.all.subtract(other.all);
        self.open.subtract(other.open);
        self.open_blocks -= other.open_blocks;
        self.open_prefixes -= other.open_prefixes;
        self.unused_open_prefixes -= other.unused_open_prefixes;
        self.unused_prefixes -= other.unused_prefixes;
    }

    fn count(&mut self, share: &Share) {
        self.all.add(share.tally);
        self.unused_prefixes += share.unused;
        if share.is_open {
            self.open.add(share.tally);
            self.open_blocks += 1;
            self.open_prefixes += share.is_prefix;
            self.unused_open_prefixes += share.unused;
        }
    }

    fn discount(&mut self, share: &Share) {
        self.all.subtract(share.tally);
        self.unused_prefixes -= share.unused;
        if share.is_open {
            self.open.subtract(share.tally);
            self.open_blocks -= 1;
            self.open_prefixes -= share.is_prefix;
            self.unused_open_prefixes -= share.unused;
        }
    }
}

fn place(cidr: Cidr, block: &Block) -> Option<Place> {
    if !block.is_open() || block.tally().free == 0 {
        return None;
    }
    next_of(block).map(|(released, _)| place_of(cidr, block, released))
}

fn place_of(cidr: Cidr, block: &Block, released: Option<Timestamp>) -> Place {
    (Reverse(block.tally().assigned), block.tally().total, released, cidr)
}

/// The free address of a block to give next: never used, longest released, lowest.
fn next_of(block: &Block) -> Option<(Option<Timestamp>, Ipv4Addr)> {
    let free = block.cells().filter_map(|(address, cell)| match cell {
        Cell::Free { released } => Some((*released, address)),
        Cell::Assigned(_) | Cell::Cooling { .. } | Cell::Quarantined => None,
    });
    free.min()
}
