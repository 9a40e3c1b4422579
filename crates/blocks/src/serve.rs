//! Nodes that wait, first come first served, and where their blocks are found.
//!
//! Nodes that need the same size from the same ranges wait in one queue. Queues are served in the order of their first nodes; one
//! that cannot be served steps aside, so that a small block behind a large one that does not fit is given all the same. Whatever
//! makes room (a release, a cool-down that ends, a new or grown range) wakes all of them at once.

use std::collections::{BTreeMap, BTreeSet};
use std::num::TryFromIntError;

use freeboard_address::{Cidr, PodBits};
use jiff::Timestamp;

use crate::cause::Cause;
use crate::effect::Signal;
use crate::engine::{Blocks, later};
use crate::input::RestoredCooling;
use crate::nodes::State;
use crate::ranges::Class;
use crate::reservation::Cut;
use crate::table::NodeId;
use crate::writes::Write;

/// What a queue's nodes have in common: all that decides which block they get.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct GroupKey {
    /// The class of their labels.
    pub(crate) class: u32,
    /// Their max-pods, as far as it matters; none when they do not tell it.
    pub(crate) pods: Option<PodBits>,
}

/// The nodes of one queue.
#[derive(Clone, Debug, Default)]
struct Group {
    queue: BTreeMap<u64, NodeId>,
    /// Nodes that were not told yet what they wait for.
    fresh: Vec<NodeId>,
    /// What the others were told.
    announced: Option<Cause>,
}

/// All queues.
#[derive(Clone, Debug, Default)]
pub(crate) struct Queues {
    groups: BTreeMap<GroupKey, Group>,
    last_ticket: u64,
    /// Queues to be looked at.
    due: BTreeSet<GroupKey>,
    /// A queue has vanished, so that ranges may not be short any more.
    has_emptied: bool,
    /// A pool's node took a block, so that less is kept for the pool than before: others may find room.
    has_less_kept: bool,
}

impl Queues {
    /// Has all queues looked at.
    pub(crate) fn wake(&mut self) {
        self.due.extend(self.groups.keys());
    }

    /// Empties the queues: who waited, in the order of arrival.
    pub(crate) fn take_all(&mut self) -> BTreeMap<u64, NodeId> {
        self.due.clear();
        std::mem::take(&mut self.groups).into_values().flat_map(|group| group.queue).collect()
    }

    fn insert(&mut self, key: GroupKey, ticket: Option<u64>, id: NodeId) -> u64 {
        let ticket = ticket.unwrap_or_else(|| {
            self.last_ticket += 1;
            self.last_ticket
        });
        let group = self.groups.entry(key).or_default();
        group.fresh.push(id);
        group.queue.insert(ticket, id);
        self.due.insert(key);
        ticket
    }

    pub(crate) fn remove(&mut self, key: GroupKey, ticket: u64) {
        let Some(group) = self.groups.get_mut(&key) else { return };
        group.queue.remove(&ticket);
        if group.queue.is_empty() {
            self.groups.remove(&key);
            self.due.remove(&key);
            self.has_emptied = true;
        }
    }

    /// How many nodes wait, by queue.
    pub(crate) fn lengths(&self) -> impl Iterator<Item = (GroupKey, usize)> + '_ {
        self.groups.iter().map(|(key, group)| (*key, group.queue.len()))
    }

    /// The waiting nodes in the order of arrival.
    pub(crate) fn in_order(&self) -> BTreeMap<u64, NodeId> {
        self.groups.values().flat_map(|group| group.queue.iter().map(|(ticket, id)| (*ticket, *id))).collect()
    }

    /// The head of a queue.
    fn head(&self, key: GroupKey) -> Option<(u64, GroupKey)> {
        self.first(key).map(|(ticket, _)| (ticket, key))
    }

    /// The head of all queues: who has waited longest.
    fn oldest(&self) -> Option<(u64, GroupKey)> {
        self.groups.keys().filter_map(|key| self.head(*key)).min()
    }

    pub(crate) fn first(&self, key: GroupKey) -> Option<(u64, NodeId)> {
        self.groups.get(&key)?.queue.first_key_value().map(|(ticket, id)| (*ticket, *id))
    }
}

/// Where a block would be cut.
struct Room {
    index: usize,
    length: u8,
}

impl Blocks {
    /// Puts a node into its queue, behind those that wait already, or notes why it cannot wait.
    pub(crate) fn enqueue(&mut self, id: NodeId, ticket: Option<u64>) {
        let Some(node) = self.nodes.get(id) else { return };
        let ticket = match node.state {
            // Its place stays its own when it changes the queue.
            State::Waiting { ticket, group } => {
                self.queues.remove(group, ticket);
                Some(ticket)
            }
            State::Refused { .. } | State::Granted { .. } | State::Held { .. } | State::Unusable => ticket,
        };
        let (labels, is_deleting) = (node.labels.clone(), node.is_deleting);
        let refused = match self.pods(node.max_pods) {
            Ok(pods) if !is_deleting => {
                let group = GroupKey { class: self.class_of(&labels), pods };
                if self.serve_at_once(id, group) {
                    return;
                }
                let ticket = self.queues.insert(group, ticket, id);
                self.set_state(id, State::Waiting { ticket, group });
                return;
            }
            Ok(_) => Cause::Deleting,
            Err(_) => Cause::MaxPodsInvalid,
        };
        if node.state != (State::Refused { cause: refused }) {
            self.set_state(id, State::Refused { cause: refused });
            if refused != Cause::Deleting {
                self.announce(id);
            }
        }
    }

    /// Max-pods as far as it matters for the size of a block; an error when it is no number of pods.
    fn pods(&self, max_pods: Option<i64>) -> Result<Option<PodBits>, TryFromIntError> {
        let Some(pods) = max_pods.or(self.settings.default_max_pods.map(i64::from)) else { return Ok(None) };
        let limit = i64::from(self.settings.max_pods_limit);
        // Zero, negative and absurd numbers all end as the error of a conversion that cannot be done.
        let pods = u32::try_from(if pods > limit || pods == 0 { -1 } else { pods })?;
        Ok(PodBits::of(pods))
    }

    /// Serves the queues that are due.
    pub(crate) fn serve(&mut self) {
        if self.queues.due.is_empty() {
            if std::mem::take(&mut self.queues.has_emptied) || self.queues.groups.is_empty() {
                self.mark_exhausted();
            }
            return;
        }
        self.queues.has_emptied = false;
        let mut stuck = BTreeSet::new();
        if self.is_ready() {
            self.serve_in_order(&mut stuck);
            while std::mem::take(&mut self.queues.has_less_kept) {
                self.queues.wake();
                stuck.clear();
                self.serve_in_order(&mut stuck);
            }
        } else {
            stuck.clone_from(&self.queues.due);
        }
        self.queues.due.clear();
        for key in stuck {
            self.announce_group(key);
        }
        self.mark_exhausted();
    }

    /// Serves the queues that are due in the order of their first nodes; those that cannot be served are `stuck`.
    fn serve_in_order(&mut self, stuck: &mut BTreeSet<GroupKey>) {
        let due = self.queues.due.iter().filter_map(|key| self.queues.head(*key));
        let mut heads: BTreeSet<(u64, GroupKey)> = due.collect();
        if heads.first().copied() == self.queues.oldest() {
            self.open_hold();
        }
        while let Some((ticket, key)) = heads.pop_first() {
            if self.serve_first(key, ticket) {
                heads.extend(self.queues.head(key));
                continue;
            }
            if self.queues.oldest() == Some((ticket, key)) {
                let needs_less = |(_, other): &(u64, GroupKey)| other.pods < key.pods;
                self.keep_room(ticket, key, heads.iter().any(needs_less));
            }
            stuck.insert(key);
        }
    }

    /// Serves the first node of a queue, if there is room.
    fn serve_first(&mut self, key: GroupKey, ticket: u64) -> bool {
        let Some(cidr) = self.place(key) else { return false };
        let Some((_, id)) = self.queues.first(key) else { return false };
        self.queues.remove(key, ticket);
        self.grant(id, cidr);
        true
    }

    /// Serves a node for which nobody has to step aside: nobody waits, nothing has changed since the last look.
    fn serve_at_once(&mut self, id: NodeId, key: GroupKey) -> bool {
        if !self.is_ready() || self.is_listing || !self.queues.groups.is_empty() {
            return false;
        }
        let Some(cidr) = self.place(key) else { return false };
        self.grant(id, cidr);
        true
    }

    fn grant(&mut self, id: NodeId, cidr: Cidr) {
        self.claims.insert(cidr, id, true);
        self.outbox.push_back(id);
        self.set_state(id, State::Granted { cidr, write: Write::queued() });
    }

    /// Takes a block for a node of this queue.
    fn place(&mut self, key: GroupKey) -> Option<Cidr> {
        let room = self.room(key);
        let room = match room {
            Some(room) => room,
            None => self.press(key)?,
        };
        let class = self.classes.all.get(usize::try_from(key.class).ok()?)?;
        let territory = self.territories.get_mut(room.index)?;
        let cidr = territory.space.allocate(room.length)?;
        territory.claims += 1;
        self.queues.has_less_kept |= territory.count_reserved(&class.labels, true);
        self.summarise(room.index);
        Some(cidr)
    }

    /// The best range for a node of this queue: one that keeps room for it; else of those with the highest priority that have room,
    /// the one where the block is cut from the smallest free block; of those, the fullest, so that others stay whole or become empty.
    fn room(&self, key: GroupKey) -> Option<Room> {
        let class = self.classes.all.get(usize::try_from(key.class).ok()?)?;
        let is_own = |index: &usize| {
            let territory = self.territories.get(*index).filter(|one| !one.spec.reservations.is_empty());
            territory.is_some_and(|territory| territory.own_reservation(&class.labels).is_some())
        };
        let own = class.giving.iter().copied().filter(is_own);
        self.room_among(own, class, key).or_else(|| self.room_among(class.giving.iter().copied(), class, key))
    }

    /// The best of these ranges, which are in the order of their priority.
    fn room_among(&self, ranges: impl Iterator<Item = usize>, class: &Class, key: GroupKey) -> Option<Room> {
        let mut best: Option<(i32, u8, u64, Room)> = None;
        for index in ranges {
            let Some(summary) = self.summaries.get(index) else { continue };
            if best.as_ref().is_some_and(|(priority, ..)| *priority > summary.priority) {
                break;
            }
            let Some(length) = summary.block_size.length_of(key.pods) else { continue };
            let Some(fit) = summary.lengths.best_fit(length) else { continue };
            if summary.is_reserving && !self.leaves_room(index, class, Cut { length, from: fit }) {
                continue;
            }
            let (waste, free) = (length - fit, summary.free_addresses);
            if best.as_ref().is_none_or(|(_, least, fewest, _)| (waste, free) < (*least, *fewest)) {
                best = Some((summary.priority, waste, free, Room { index, length }));
            }
        }
        best.map(|(.., room)| room)
    }

    fn leaves_room(&self, index: usize, class: &Class, cut: Cut) -> bool {
        let Some(territory) = self.territories.get(index) else { return false };
        territory.leaves_room(cut, territory.own_reservation(&class.labels))
    }

    /// Whether a node of this queue could be served now without ending a cool-down.
    pub(crate) fn could_serve(&self, key: GroupKey) -> bool {
        self.room(key).is_some()
    }

    /// Ends cool-downs early, the longest-cooled first, where that makes a block for a node of this queue; nothing otherwise.
    fn press(&mut self, key: GroupKey) -> Option<Room> {
        let class = self.classes.all.get(usize::try_from(key.class).ok()?)?;
        let mut found = None;
        for RestoredCooling { cidr, released } in &self.cooling {
            if later(*released, self.settings.cooldown_floor) > self.now {
                break;
            }
            let Some(index) = self.range_of(*cidr).filter(|index| class.giving.contains(index)) else { continue };
            if self.is_held_from(key, *cidr) {
                continue;
            }
            let Some(territory) = self.territories.get(index) else { continue };
            // What cools down is kept too; only those for whom it is kept may have it early.
            if !territory.spec.reservations.is_empty() && territory.own_reservation(&class.labels).is_none() {
                continue;
            }
            let Some(length) = length_for(territory, key.pods) else { continue };
            if let Some(blocks) = self.ripe(index, *cidr, length) {
                found = Some((Room { index, length }, blocks));
                break;
            }
        }
        let (room, blocks) = found?;
        let territory = self.territories.get_mut(room.index)?;
        for block in blocks {
            territory.warm(block);
        }
        self.summarise(room.index);
        Some(room)
    }

    /// The cooling blocks whose end would make the block of `length` bits around `cidr` free; none when it takes more than that.
    fn ripe(&self, index: usize, cidr: Cidr, length: u8) -> Option<Vec<Cidr>> {
        let territory = self.territories.get(index)?;
        // The order of release remembers blocks that were given out again since.
        let released = territory.cooling.get(&cidr)?;
        let is_ripe = |released: Timestamp| later(released, self.settings.cooldown_floor) <= self.now;
        if cidr.length() <= length {
            return is_ripe(*released).then(|| vec![cidr]);
        }
        let around = Cidr::containing(cidr.network(), length).ok()?;
        let ripe: Vec<Cidr> =
            territory.cooling_in(around).filter(|(_, released)| is_ripe(*released)).map(|(block, _)| block).collect();
        let free: u64 = territory.space.blocks_in(around).map(Cidr::size).sum();
        let cooling: u64 = ripe.iter().map(|block| block.size()).sum();
        (free + cooling == around.size()).then_some(ripe)
    }

    /// Makes free what has cooled down.
    pub(crate) fn warm_up(&mut self) {
        let mut is_warmer = false;
        while let Some(RestoredCooling { cidr, released }) = self.cooling.front().copied()
            && later(released, self.settings.cooldown) <= self.now
        {
            self.cooling.pop_front();
            let index = self.range_of(cidr);
            let Some(territory) = index.and_then(|index| self.territories.get_mut(index)) else { continue };
            // It may have been given early and released again since.
            if territory.cooling.get(&cidr) == Some(&released) {
                is_warmer |= territory.warm(cidr);
                if let Some(index) = index {
                    self.summarise(index);
                    self.note_free(index, cidr);
                }
            }
        }
        if is_warmer {
            self.queues.wake();
        }
    }

    /// When the next cooling block may be given to a waiting node.
    pub(crate) fn next_pressed(&self) -> Option<Timestamp> {
        if self.queues.groups.is_empty() {
            return None;
        }
        let ripe_at = |block: &RestoredCooling| later(block.released, self.settings.cooldown_floor);
        let first = self.cooling.partition_point(|block| ripe_at(block) <= self.now);
        self.cooling.get(first).map(ripe_at)
    }

    /// Takes in blocks that cooled down under an earlier leader.
    pub(crate) fn restore_cooling(&mut self, cooling: &[RestoredCooling]) {
        self.reopen_hold();
        for RestoredCooling { cidr, released } in cooling {
            let released = (*released).min(self.now);
            let Some(index) = self.range_of(*cidr) else { continue };
            let Some(territory) = self.territories.get_mut(index) else { continue };
            let free: Vec<Cidr> = territory.space.blocks_in(*cidr).collect();
            for part in free {
                let part = if part.contains_block(*cidr) { *cidr } else { part };
                territory.space.take(part);
                territory.cool(part, released);
            }
            self.summarise(index);
        }
        self.recount_cooling();
    }

    /// Tells the nodes of a queue what they wait for, if they do not know it yet.
    fn announce_group(&mut self, key: GroupKey) {
        let refusal = self.explain_group(key);
        let Some(group) = self.queues.groups.get_mut(&key) else { return };
        let fresh = std::mem::take(&mut group.fresh);
        let is_same = group.announced.replace(refusal.cause) == Some(refusal.cause);
        let told: Vec<NodeId> = if is_same { fresh } else { group.queue.values().copied().collect() };
        for id in told {
            // Fresh ones may have been served or may have gone in the meantime.
            let Some(node) = self.nodes.get(id) else { continue };
            if matches!(node.state, State::Waiting { group, .. } if group == key) {
                let signal = Signal::Waiting { node: node.name.clone(), refusal: refusal.clone() };
                self.signal(signal);
            }
        }
    }

    fn announce(&mut self, id: NodeId) {
        let Some(node) = self.nodes.get(id).map(|node| node.name.clone()) else { return };
        if let Some(refusal) = self.explain(&node) {
            self.signal(Signal::Waiting { node, refusal });
        }
    }

    /// Tells which ranges have no room for nodes that wait, and which have again.
    fn mark_exhausted(&mut self) {
        if self.queues.groups.is_empty() && !self.is_exhausted {
            return;
        }
        let mut short = BTreeSet::new();
        if self.is_ready() {
            for key in self.queues.groups.keys() {
                let class = usize::try_from(key.class).ok().and_then(|class| self.classes.all.get(class));
                let giving = class.map_or(&[][..], |class| &class.giving);
                let sized = |index: &&usize| {
                    self.territories.get(**index).is_some_and(|territory| length_for(territory, key.pods).is_some())
                };
                short.extend(giving.iter().filter(sized).copied());
            }
        }
        self.is_exhausted = !short.is_empty();
        for (index, territory) in self.territories.iter_mut().enumerate() {
            let is_exhausted = short.contains(&index);
            if territory.is_exhausted != is_exhausted {
                territory.is_exhausted = is_exhausted;
                let name = territory.spec.name.clone();
                self.effects.push_back(crate::effect::Effect::Signal(Signal::RangeExhausted { name, is_exhausted }));
            }
        }
    }
}

/// The length of the block that a node with so many pods has in this range.
pub(crate) fn length_for(territory: &crate::territory::Territory, pods: Option<PodBits>) -> Option<u8> {
    territory.spec.block_size.length_of(pods)
}
