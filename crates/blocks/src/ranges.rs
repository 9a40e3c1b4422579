//! Ranges come, grow, drain and go; and which of them are for which nodes.

use std::collections::BTreeMap;

use freeboard_address::{Cidr, RangeName};
use jiff::Timestamp;

use crate::effect::Effect;
use crate::engine::Blocks;
use crate::input::RestoredCooling;
use crate::nodes::State;
use crate::range::{Exclusion, RangeRefused, RangeSpec};
use crate::selector::Labels;
use crate::table::NodeId;
use crate::territory::{Summary, Territory};

/// Nodes that no selector tells apart, and the ranges for them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Class {
    /// Ranges that give blocks, the most preferred first.
    pub(crate) giving: Vec<usize>,
    /// Ranges that are for these nodes and give no blocks: draining or being removed.
    pub(crate) draining: Vec<usize>,
    /// The labels, as far as any selector looks at them, when room is kept somewhere: whose it is depends on them.
    pub(crate) labels: Labels,
}

/// All classes that were met since the ranges changed last.
#[derive(Clone, Debug, Default)]
pub(crate) struct Classes {
    /// The labels that any selector looks at.
    keys: Vec<String>,
    /// The values of those labels → index of the class.
    index: BTreeMap<Vec<Option<String>>, u32>,
    pub(crate) all: Vec<Class>,
}

impl Blocks {
    /// A range was declared, or its declaration changed: added, grown, drained, preferred, re-sized. Waiting nodes are served at
    /// once from what it brings.
    ///
    /// # Errors
    /// When the declaration cannot stand, also beside the other ranges; then nothing changes.
    pub fn handle_range(&mut self, spec: RangeSpec, now: Timestamp) -> Result<(), RangeRefused> {
        spec.check(&self.settings.excluded)?;
        for other in self.territories.iter().filter(|other| other.spec.name != spec.name) {
            if other.spec.cidr.overlaps(spec.cidr) {
                let (other, other_cidr) = (other.spec.name.clone(), other.spec.cidr);
                return Err(RangeRefused::Overlap { name: spec.name, cidr: spec.cidr, other, other_cidr });
            }
        }
        let known = self.territories.iter().position(|territory| territory.spec.name == spec.name);
        if let Some(known) = known.and_then(|index| self.territories.get(index)) {
            let from = known.spec.cidr;
            if known.is_removing {
                return Err(RangeRefused::Removing(spec.name));
            }
            if !spec.cidr.contains_block(from) {
                return Err(RangeRefused::NoGrowth { name: spec.name, from, to: spec.cidr });
            }
        }
        self.begin(now);
        match known.and_then(|index| self.territories.get_mut(index)) {
            Some(territory) => territory.spec = spec,
            None => self.territories.push(Territory::new(spec)),
        }
        self.ranges_changed();
        self.advance();
        Ok(())
    }

    /// The range is to be removed. It gives no more blocks, and goes ([`Effect::ForgetRange`]) as soon as no node has one of it:
    /// [`Blocks::view`] says for whom it waits.
    pub fn handle_range_removed(&mut self, name: &RangeName, now: Timestamp) {
        self.begin(now);
        match self.territories.iter_mut().find(|territory| territory.spec.name == *name) {
            Some(territory) => {
                territory.is_removing = true;
                self.ranges_changed();
            }
            // Nobody waits for a range that never stood, or is gone already.
            None => self.effects.push_back(Effect::ForgetRange(name.clone())),
        }
        self.advance();
    }

    /// The addresses that no node may have, in all ranges: service ranges, reservations. A block that lies in them and that a node
    /// has is reported, and stays the node's.
    pub fn handle_exclusions(&mut self, excluded: Vec<Exclusion>, now: Timestamp) {
        self.begin(now);
        self.settings.excluded = excluded;
        self.ranges_changed();
        self.advance();
    }

    /// The index of the range that contains `cidr`.
    pub(crate) fn range_of(&self, cidr: Cidr) -> Option<usize> {
        let (_, index) = self.by_address.range(..=u32::from(cidr.network())).next_back()?;
        self.territories.get(*index)?.spec.cidr.contains_block(cidr).then_some(*index)
    }

    /// The ranges that share addresses with `cidr`.
    pub(crate) fn ranges_touching(&self, cidr: Cidr) -> Vec<usize> {
        match self.range_of(cidr) {
            Some(index) => vec![index],
            None => {
                let inside = self.by_address.range(u32::from(cidr.network())..=u32::from(cidr.last()));
                inside.map(|(_, index)| *index).collect()
            }
        }
    }

    /// Everything that follows from a change of the ranges: order, free space, classes, judgements, and who waits where.
    fn ranges_changed(&mut self) {
        self.open_hold();
        self.hold = None;
        self.drop_empty_ranges();
        self.territories.sort_by(|a, b| b.spec.priority.cmp(&a.spec.priority).then(a.spec.name.cmp(&b.spec.name)));
        let by_address = |(index, territory): (usize, &Territory)| (u32::from(territory.spec.cidr.network()), index);
        self.by_address = self.territories.iter().enumerate().map(by_address).collect();
        self.summaries = self.territories.iter().map(Summary::of).collect();
        for index in 0..self.territories.len() {
            self.rebuild(index);
        }
        self.is_removing = self.territories.iter().any(|territory| territory.is_removing);
        self.is_exhausted = self.territories.iter().any(|territory| territory.is_exhausted);
        self.recount_cooling();
        self.rejudge_all();
        self.judge_excluded();
        self.classify_again();
    }

    /// Judges the blocks that nodes have in addresses which are excluded, perhaps only now.
    fn judge_excluded(&mut self) {
        let own = self.territories.iter().flat_map(|territory| &territory.spec.excluded);
        let excluded = own.chain(&self.settings.excluded);
        let held: Vec<(Cidr, NodeId)> = excluded.flat_map(|exclusion| self.claims_touching(exclusion.cidr)).collect();
        for (cidr, node) in held {
            self.claims.mark_irregular(cidr);
            self.rejudge_node(node, cidr);
        }
    }

    /// Counts the free space of a range from scratch.
    pub(crate) fn rebuild(&mut self, index: usize) {
        self.reopen_hold();
        let Some(cidr) = self.territories.get(index).map(|territory| territory.spec.cidr) else { return };
        let claims: Vec<Cidr> = self.claims_touching(cidr).map(|(claim, _)| claim).collect();
        let inside = claims.iter().filter(|claim| cidr.contains_block(**claim)).count();
        if let Some(territory) = self.territories.get_mut(index) {
            territory.rebuild(&self.settings.excluded, claims.iter());
            territory.claims = u64::try_from(inside).unwrap_or(u64::MAX);
        }
        self.recount_reserved(index);
        self.summarise(index);
    }

    /// Called after every change of a range's free space.
    pub(crate) fn summarise(&mut self, index: usize) {
        if let (Some(summary), Some(territory)) = (self.summaries.get_mut(index), self.territories.get(index)) {
            *summary = Summary::of(territory);
        }
    }

    /// Puts the cooling blocks of all ranges in the order of their release again.
    pub(crate) fn recount_cooling(&mut self) {
        let cooling = self.territories.iter().flat_map(|territory| &territory.cooling);
        let mut cooling: Vec<RestoredCooling> =
            cooling.map(|(cidr, released)| RestoredCooling { cidr: *cidr, released: *released }).collect();
        cooling.sort_by_key(|block| (block.released, block.cidr));
        self.cooling = cooling.into();
    }

    /// Lets ranges go that are to be removed and that no node uses.
    pub(crate) fn drop_empty_ranges(&mut self) -> bool {
        let is_gone = |territory: &Territory| territory.is_removing && territory.claims == 0;
        if !self.territories.iter().any(is_gone) {
            return false;
        }
        let gone: Vec<RangeName> =
            self.territories.iter().filter(|t| is_gone(t)).map(|territory| territory.spec.name.clone()).collect();
        self.territories.retain(|territory| !is_gone(territory));
        self.effects.extend(gone.into_iter().map(Effect::ForgetRange));
        true
    }

    /// Called after a release: a range whose last block was given back may go.
    pub(crate) fn after_release(&mut self) {
        if self.is_removing && self.territories.iter().any(|territory| territory.is_removing && territory.claims == 0) {
            self.ranges_changed();
        }
    }

    fn classify_again(&mut self) {
        let mut keys: Vec<String> = Vec::new();
        let reservations = self.territories.iter().flat_map(|territory| &territory.spec.reservations);
        let of_pools = reservations.map(|reservation| &reservation.selector);
        let of_ranges = self.territories.iter().filter_map(|territory| territory.spec.selector.as_ref());
        for selector in of_ranges.chain(of_pools) {
            keys.extend(selector.keys().into_iter().map(str::to_owned));
        }
        keys.sort_unstable();
        keys.dedup();
        self.classes = Classes { keys, index: BTreeMap::new(), all: Vec::new() };
        let waiting = self.queues.take_all();
        for (ticket, id) in waiting {
            self.enqueue(id, Some(ticket));
        }
        // What was refused before anything was looked for may be served now.
        let refused = |node: &crate::nodes::Node| matches!(node.state, State::Refused { .. });
        let refused: Vec<NodeId> = self.nodes.iter().filter(|(_, node)| refused(node)).map(|(id, _)| id).collect();
        for id in refused {
            self.enqueue(id, None);
        }
        self.queues.wake();
    }

    /// The class of nodes with these labels.
    pub(crate) fn class_of(&mut self, labels: &Labels) -> u32 {
        let values: Vec<Option<String>> = self.classes.keys.iter().map(|key| labels.get(key).cloned()).collect();
        if let Some(index) = self.classes.index.get(&values) {
            return *index;
        }
        let mut class = Class::default();
        let seen = self.classes.keys.iter().zip(&values);
        class.labels = seen.filter_map(|(key, value)| Some((key.clone(), value.clone()?))).collect();
        for (index, territory) in self.territories.iter().enumerate() {
            if territory.spec.selector.as_ref().is_some_and(|selector| !selector.matches(labels)) {
                continue;
            }
            if territory.is_giving() {
                class.giving.push(index);
            } else {
                class.draining.push(index);
            }
        }
        let index = u32::try_from(self.classes.all.len()).unwrap_or(u32::MAX);
        self.classes.all.push(class);
        self.classes.index.insert(values, index);
        index
    }
}
