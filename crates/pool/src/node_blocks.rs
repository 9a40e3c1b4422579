//! The node's own blocks of addresses: pods have their addresses from them, and no network interface is taken for that.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use freeboard_address::Cidr;
use jiff::Timestamp;

use crate::store::{Block, Cell, Step, sum};
use crate::view::Tally;

/// One block, with an order over its free addresses, so that no event has to look at each of them.
#[derive(Clone, Debug)]
pub(crate) struct NodeBlock {
    pub(crate) cidr: Cidr,
    pub(crate) block: Block,
    /// The free addresses that were held before, the longest released first.
    released: BTreeSet<(Timestamp, Ipv4Addr)>,
    /// No address before this place is free and was never held.
    fresh: usize,
    /// Since when nothing of it is given, because it is no longer one of the node's blocks.
    pub(crate) draining_since: Option<Timestamp>,
}

impl NodeBlock {
    fn new(cidr: Cidr, known: Step) -> Self {
        Self { cidr, block: Block::new(cidr, known), released: BTreeSet::new(), fresh: 0, draining_since: None }
    }

    /// Whether its free addresses may be given.
    pub(crate) fn is_open(&self) -> bool {
        self.draining_since.is_none()
    }

    /// The free address that is to be given next: never held before longest released, then the lowest.
    fn next(&self) -> Option<Ipv4Addr> {
        if !self.is_open() {
            return None;
        }
        let fresh = || self.block.nth(self.fresh).map(|(address, _)| address);
        fresh().or_else(|| self.released.first().map(|(_, address)| *address))
    }

    fn set(&mut self, address: Ipv4Addr, cell: Cell) -> Option<Cell> {
        let place = self.block.index(address)?;
        let freed = free_since(&cell);
        let previous = self.block.set(address, cell)?;
        if let Some(Some(released)) = free_since(&previous) {
            self.released.remove(&(released, address));
        }
        match freed {
            Some(Some(released)) => drop(self.released.insert((released, address))),
            Some(None) => self.fresh = self.fresh.min(place),
            None => {}
        }
        while self.block.nth(self.fresh).is_some_and(|(_, cell)| free_since(cell) != Some(None)) {
            self.fresh += 1;
        }
        Some(previous)
    }

    /// Whether the order is what a look at each address gives.
    fn is_consistent(&self) -> bool {
        let free = || self.block.cells().filter_map(|(address, cell)| Some((free_since(cell)?, address)));
        let released: BTreeSet<_> = free().filter_map(|(since, address)| Some((since?, address))).collect();
        let fresh = free().find(|(since, _)| since.is_none()).map(|(_, address)| address);
        released == self.released && fresh == self.block.nth(self.fresh).map(|(address, _)| address)
    }
}

/// When a free address was released, if it ever was; `None` when it is not free.
fn free_since(cell: &Cell) -> Option<Option<Timestamp>> {
    match cell {
        Cell::Free { released } => Some(*released),
        Cell::Assigned(_) | Cell::Cooling { .. } | Cell::Quarantined => None,
    }
}

/// The blocks in the order in which they are used; those that drain come last. There are only a few, and they never overlap.
#[derive(Clone, Debug, Default)]
pub(crate) struct NodeBlocks {
    blocks: Vec<NodeBlock>,
}

impl NodeBlocks {
    pub(crate) fn iter(&self) -> impl Iterator<Item = &NodeBlock> {
        self.blocks.iter()
    }

    pub(crate) fn get(&self, cidr: Cidr) -> Option<&NodeBlock> {
        self.blocks.iter().find(|block| block.cidr == cidr)
    }

    /// The block that an address lies in.
    pub(crate) fn locate(&self, address: Ipv4Addr) -> Option<&NodeBlock> {
        self.blocks.iter().find(|block| block.cidr.contains(address))
    }

    /// The free address that is to be given next: of the first block that has one.
    pub(crate) fn next(&self) -> Option<Ipv4Addr> {
        self.blocks.iter().find_map(NodeBlock::next)
    }

    /// The addresses by state, over all blocks.
    pub(crate) fn tally(&self) -> Tally {
        sum(self.blocks.iter().map(|block| block.block.tally()))
    }

    /// Puts an address of a block into another state; returns the block and the state before.
    pub(crate) fn set(&mut self, address: Ipv4Addr, cell: Cell) -> Option<(&NodeBlock, Cell)> {
        let block = self.blocks.iter_mut().find(|block| block.cidr.contains(address))?;
        let previous = block.set(address, cell)?;
        Some((block, previous))
    }

    /// Adds a block, unless it overlaps one that is there.
    pub(crate) fn insert(&mut self, cidr: Cidr, known: Step) -> bool {
        let is_new = !self.blocks.iter().any(|block| block.cidr.overlaps(cidr));
        if is_new {
            self.blocks.push(NodeBlock::new(cidr, known));
        }
        is_new
    }

    pub(crate) fn remove(&mut self, cidr: Cidr) -> Option<Block> {
        let place = self.blocks.iter().position(|block| block.cidr == cidr)?;
        Some(self.blocks.remove(place).block)
    }

    /// From now on nothing of a block is given; or, with `None`, its addresses are given again.
    pub(crate) fn set_draining(&mut self, cidr: Cidr, since: Option<Timestamp>) {
        if let Some(block) = self.blocks.iter_mut().find(|block| block.cidr == cidr) {
            block.draining_since = since;
        }
    }

    /// Brings the blocks into the order of this list.
    pub(crate) fn sort_as(&mut self, order: &[Cidr]) {
        let place = |cidr: Cidr| order.iter().position(|other| *other == cidr).unwrap_or(order.len());
        self.blocks.sort_by_key(|block| (place(block.cidr), block.cidr));
    }

    /// Whether the orders are what a look at each address gives.
    pub(crate) fn is_consistent(&self) -> bool {
        self.blocks.iter().all(NodeBlock::is_consistent)
    }
}
