//! Room that is kept for the node that has waited longest, when smaller ones would take it piece by piece.
//!
//! A large block comes free in parts. Were each part given at once to whoever fits into it, a large node could wait for ever while
//! small ones come and go. So one aligned block of its size is chosen, and what becomes free in it is kept until all of it is, for a
//! bounded time. What was free before stays open to all.

use std::collections::BTreeMap;

use freeboard_address::Cidr;
use jiff::Timestamp;

use crate::engine::{Blocks, later};
use crate::serve::{GroupKey, length_for};

/// The room that is kept.
#[derive(Clone, Debug)]
pub(crate) struct Hold {
    /// For the node with this ticket in this queue.
    pub(crate) ticket: u64,
    pub(crate) key: GroupKey,
    /// The index of the range, and the block that is to become free in it.
    pub(crate) index: usize,
    pub(crate) region: Cidr,
    /// What became free of it since.
    pub(crate) blocks: Vec<Cidr>,
    /// Whether `blocks` are taken out of the range's free space.
    is_closed: bool,
    /// It is given up then, and another is chosen.
    until: Timestamp,
}

impl Blocks {
    /// When the room that is kept is given up.
    pub(crate) fn hold_until(&self) -> Option<Timestamp> {
        self.hold.as_ref().map(|hold| hold.until)
    }

    /// Gives up what is kept for a node that does not wait any more, or too long.
    pub(crate) fn review_hold(&mut self) {
        let Some(hold) = &self.hold else { return };
        let is_waiting = self.queues.first(hold.key).is_some_and(|(ticket, _)| ticket == hold.ticket);
        if !is_waiting || hold.until <= self.now {
            self.open_hold();
            self.hold = None;
            self.queues.wake();
        }
    }

    /// Puts what is kept back before the free space is changed from outside; the next look at the queues keeps what is left of it.
    pub(crate) fn reopen_hold(&mut self) {
        if self.hold.as_ref().is_some_and(|hold| hold.is_closed) {
            self.open_hold();
            self.queues.wake();
        }
    }

    /// Puts what is kept back into the free space.
    pub(crate) fn open_hold(&mut self) {
        let Some(hold) = self.hold.as_mut().filter(|hold| hold.is_closed) else { return };
        hold.is_closed = false;
        if let Some(territory) = self.territories.get_mut(hold.index) {
            for block in &hold.blocks {
                territory.space.give(*block);
            }
            territory.held_addresses = 0;
        }
        let index = hold.index;
        self.summarise(index);
    }

    /// Takes what is kept out of the free space again. What was given or claimed in the meantime is not kept any more.
    fn close_hold(&mut self) {
        let Some(hold) = self.hold.as_mut().filter(|hold| !hold.is_closed) else { return };
        hold.is_closed = true;
        if let Some(territory) = self.territories.get_mut(hold.index) {
            hold.blocks.retain(|block| territory.space.take(*block));
            territory.held_addresses = hold.blocks.iter().map(|block| block.size()).sum();
        }
        let index = hold.index;
        self.summarise(index);
    }

    /// A block became free: it is kept when it lies where room is kept.
    pub(crate) fn note_free(&mut self, index: usize, block: Cidr) {
        let is_here = |hold: &Hold| hold.index == index && hold.region.contains_block(block);
        if self.hold.as_ref().is_some_and(is_here) {
            self.reopen_hold();
            self.hold.iter_mut().for_each(|hold| hold.blocks.push(block));
            self.queues.wake();
        }
    }

    /// What is kept, and taken out of the free space of this range.
    pub(crate) fn held_in(&self, index: usize) -> &[Cidr] {
        let held = self.hold.as_ref().filter(|hold| hold.index == index && hold.is_closed);
        held.map_or(&[], |hold| &hold.blocks)
    }

    /// Whether a cooling block must not be pressed for this queue.
    pub(crate) fn is_held_from(&self, key: GroupKey, block: Cidr) -> bool {
        self.hold.as_ref().is_some_and(|hold| hold.key != key && hold.region.overlaps(block))
    }

    /// The oldest of those that cannot be served keeps its room, or chooses some when `is_pressed`: others wait that need less.
    pub(crate) fn keep_room(&mut self, ticket: u64, key: GroupKey, is_pressed: bool) {
        let is_kept = self.hold.as_ref().is_some_and(|hold| hold.ticket == ticket && hold.key == key);
        if !is_kept && is_pressed && self.settings.hold_for.is_positive() {
            self.open_hold();
            let until = later(self.now, self.settings.hold_for);
            self.hold = self.choose_region(key).map(|(index, region)| Hold {
                ticket,
                key,
                index,
                region,
                blocks: Vec::new(),
                is_closed: false,
                until,
            });
        }
        self.close_hold();
    }

    /// The block of the size that this queue needs of which nodes have the least.
    fn choose_region(&self, key: GroupKey) -> Option<(usize, Cidr)> {
        let class = self.classes.all.get(usize::try_from(key.class).ok()?)?;
        let mut best: Option<(u64, usize, Cidr)> = None;
        for index in class.giving.iter().copied() {
            // Where room is kept for pools, none is kept from them.
            let Some(territory) = self.territories.get(index).filter(|one| one.spec.reservations.is_empty()) else {
                continue;
            };
            let Some(length) = length_for(territory, key.pods).filter(|l| *l >= territory.spec.cidr.length()) else {
                continue;
            };
            let around = |block: Cidr| Cidr::containing(block.network(), length).ok();
            let mut taken: BTreeMap<Cidr, u64> =
                territory.cooling.keys().filter_map(|block| Some((around(*block)?, 0))).collect();
            for (block, _) in self.claims_touching(territory.spec.cidr) {
                if let Some(region) = around(block).filter(|region| territory.spec.cidr.contains_block(*region)) {
                    *taken.entry(region).or_default() += block.size();
                }
            }
            let excluded = territory.spec.excluded.iter().chain(&self.settings.excluded);
            let excluded: Vec<Cidr> = excluded.map(|exclusion| exclusion.cidr).collect();
            let candidates = taken.into_iter().filter(|(region, _)| !excluded.iter().any(|e| e.overlaps(*region)));
            let least = candidates.map(|(region, taken)| (taken, index, region)).min();
            best = [best, least].into_iter().flatten().min();
        }
        best.map(|(_, index, region)| (index, region))
    }
}
