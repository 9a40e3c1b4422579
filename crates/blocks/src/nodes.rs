//! What is known of each node, and what follows from the blocks that it has.

use std::sync::Arc;

use freeboard_address::{Cidr, NodeName, NodeUid, RangeName};
use jiff::Timestamp;

use crate::cause::Cause;
use crate::claims::Withdrawn;
use crate::effect::Signal;
use crate::engine::Blocks;
use crate::findings::Problem;
use crate::input::{ObservedNode, ResourceVersion, RestoredCooling};
use crate::selector::Labels;
use crate::serve::GroupKey;
use crate::table::{Entry, NodeId};
use crate::writes::Write;

/// One node.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) name: NodeName,
    pub(crate) uid: NodeUid,
    pub(crate) version: ResourceVersion,
    pub(crate) labels: Arc<Labels>,
    pub(crate) max_pods: Option<i64>,
    pub(crate) is_deleting: bool,
    /// Since when it is known.
    pub(crate) since: Timestamp,
    pub(crate) state: State,
}

/// Where a node stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// It waits for a block.
    Waiting { ticket: u64, group: GroupKey },
    /// It cannot be served as it is; for `MaxPodsInvalid` and `Deleting`.
    Refused { cause: Cause },
    /// A block is chosen for it and is being written.
    Granted { cidr: Cidr, write: Write },
    /// It has a block, confirmed by the API; `more` is empty unless somebody gave it several.
    Held { cidr: Cidr, more: Vec<Cidr> },
    /// Its `podCIDRs` are set and none of them can be used.
    Unusable,
}

impl Blocks {
    /// Takes in what is seen of a node. Gives nothing: that is done when all that came in is known.
    pub(crate) fn observe(&mut self, seen: ObservedNode) {
        let mut id = None;
        match self.nodes.look_up(&seen.name) {
            Some((_, Entry::Departed(gone))) if gone.uid == seen.uid || seen.version <= gone.version => return,
            Some((_, Entry::Live(known))) if seen.version < known.version => return,
            // Created again under its name: the node that had the block is really gone.
            Some((known, Entry::Live(node))) if node.uid != seen.uid => self.depart(known),
            Some((known, Entry::Live(_))) => id = Some(known),
            Some((_, Entry::Departed(_))) | None => {}
        }
        let ObservedNode { name, uid, version, labels, max_pods, pod_cidrs, is_deleting } = seen;
        let known = id.and_then(|id| Some((id, self.nodes.get_mut(id)?)));
        let Some((id, node)) = known else {
            let (since, state) = (self.now, State::Refused { cause: Cause::NotReady });
            let node = Node { name, uid, version, labels, max_pods, is_deleting, since, state };
            let id = self.nodes.insert(node);
            self.settle(id, &pod_cidrs, true);
            return;
        };
        let is_changed = node.labels != labels || node.max_pods != max_pods || node.is_deleting != is_deleting;
        node.version = version;
        let is_relabelled = node.labels != labels;
        if is_changed {
            (node.labels, node.max_pods, node.is_deleting) = (labels, max_pods, is_deleting);
        }
        if is_relabelled {
            self.recount_all_reserved();
        }
        self.settle(id, &pod_cidrs, is_changed);
    }

    /// Brings the state of a node in line with its `podCIDRs`. They are set once and never change, so an event that shows none
    /// where some are known is late, and takes nothing away.
    fn settle(&mut self, id: NodeId, pod_cidrs: &[String], is_changed: bool) {
        if !pod_cidrs.is_empty() {
            self.adopt(id, pod_cidrs);
            return;
        }
        let queues = |node: &Node| matches!(node.state, State::Waiting { .. } | State::Refused { .. });
        if is_changed && self.nodes.get(id).is_some_and(queues) {
            self.enqueue(id, None);
        }
    }

    /// The IPv4 blocks in these texts. What is none is found wrong.
    fn read_blocks(&mut self, id: NodeId, pod_cidrs: &[String]) -> Vec<Cidr> {
        let mut blocks: Vec<Cidr> = Vec::new();
        let Some(name) = self.nodes.get(id).map(|node| node.name.clone()) else { return blocks };
        for text in pod_cidrs {
            match text.parse::<Cidr>() {
                Ok(cidr) if !blocks.contains(&cidr) => blocks.push(cidr),
                // The second family of a dual-stack node is none of ours.
                Ok(_) => {}
                Err(_) if is_ipv6(text) => {}
                Err(reason) => {
                    let problem = Problem::Unparsable { reason: reason.to_string() };
                    self.find((name.clone(), text.clone()), Some(problem));
                    // What was meant is nobody else's while it is not clear what it is.
                    blocks.extend(Cidr::parse_clearing_host_bits(text).ok().filter(|meant| !blocks.contains(meant)));
                }
            }
        }
        blocks
    }

    /// The node has these blocks, says the API.
    fn adopt(&mut self, id: NodeId, pod_cidrs: &[String]) {
        let blocks = self.read_blocks(id, pod_cidrs);
        let Some(node) = self.nodes.get(id) else { return };
        let since = node.since;
        match node.state.clone() {
            State::Held { cidr, more } => {
                let held: Vec<Cidr> = std::iter::once(cidr).chain(more).collect();
                if held == blocks {
                    return;
                }
                // The API does not allow this, and yet what it says is the truth.
                held.into_iter().filter(|cidr| !blocks.contains(cidr)).for_each(|cidr| self.release(id, cidr, true));
            }
            State::Granted { cidr, write } => {
                self.cancel_write(id, &write);
                if blocks.contains(&cidr) {
                    self.confirm(id, cidr, since);
                } else {
                    // Somebody else gave it a block; nobody has used ours.
                    self.release(id, cidr, false);
                }
            }
            State::Waiting { ticket, group } => self.queues.remove(group, ticket),
            State::Refused { .. } | State::Unusable => {}
        }
        for cidr in &blocks {
            self.claim(id, *cidr);
        }
        let state = match blocks.split_first() {
            Some((cidr, more)) => State::Held { cidr: *cidr, more: more.to_vec() },
            None => State::Unusable,
        };
        self.set_state(id, state);
    }

    /// Tells that the node has the block that was chosen for it.
    pub(crate) fn confirm(&mut self, id: NodeId, cidr: Cidr, since: Timestamp) {
        let range = self.range_name_of(cidr);
        let node = self.nodes.get(id).map(|node| node.name.clone());
        if let (Some(range), Some(node)) = (range, node) {
            let waited = self.now.duration_since(since);
            self.signal(Signal::Served { node, cidr, range, waited });
        }
    }

    fn range_name_of(&self, cidr: Cidr) -> Option<RangeName> {
        let territory = self.territories.get(self.range_of(cidr)?)?;
        Some(territory.spec.name.clone())
    }

    /// The node is gone: its blocks cool down.
    pub(crate) fn depart(&mut self, id: NodeId) {
        let Some(node) = self.nodes.get(id) else { return };
        let (name, state) = (node.name.clone(), node.state.clone());
        match state {
            State::Waiting { ticket, group } => self.queues.remove(group, ticket),
            State::Granted { cidr, write } => {
                self.cancel_write(id, &write);
                // A block that was never sent to the API was never used.
                let was_sent = write.was_sent();
                self.release(id, cidr, was_sent);
            }
            State::Held { cidr, more } => {
                for cidr in std::iter::once(cidr).chain(more) {
                    let range = self.range_name_of(cidr);
                    self.signal(Signal::Released { node: name.clone(), cidr, range });
                    self.release(id, cidr, true);
                }
            }
            State::Refused { .. } | State::Unusable => {}
        }
        if !self.findings.is_empty() {
            let first = (name.clone(), String::new());
            let of_node = self.findings.range(first..).take_while(|((node, _), _)| *node == name);
            let keys: Vec<(NodeName, String)> = of_node.map(|(key, _)| key.clone()).collect();
            keys.into_iter().for_each(|key| self.find(key, None));
        }
        self.nodes.depart(id, self.now);
        self.departures.push_back((self.now, id));
    }

    /// Notes that a node has a block, whatever else is known of these addresses.
    pub(crate) fn claim(&mut self, id: NodeId, cidr: Cidr) {
        if self.claims.get(cidr).is_some() {
            if self.claims.join(cidr, id) {
                self.rejudge_node(id, cidr);
            }
            return;
        }
        self.reopen_hold();
        let index = self.range_of(cidr);
        let territory = index.and_then(|index| self.territories.get_mut(index));
        let is_regular = match territory {
            Some(territory) => {
                territory.claims += 1;
                territory.space.take(cidr)
            }
            None => false,
        };
        if let Some(index) = index {
            self.note_reserved(index, id, true);
            self.summarise(index);
        }
        self.claims.insert(cidr, id, is_regular);
        if is_regular {
            return;
        }
        for index in self.ranges_touching(cidr) {
            self.rebuild(index);
        }
        self.recount_cooling();
        let overlapping: Vec<(Cidr, NodeId)> = self.overlapping(cidr).collect();
        for (other, node) in overlapping {
            self.claims.mark_irregular(other);
            self.rejudge_node(node, other);
        }
        self.rejudge_node(id, cidr);
    }

    /// The node does not have the block any more. What nobody else has of it cools down, or is free at once.
    pub(crate) fn release(&mut self, id: NodeId, cidr: Cidr, cools: bool) {
        let is_irregular = match self.claims.withdraw(cidr, id) {
            Withdrawn::Nothing => return,
            Withdrawn::HeldBefore => {
                self.clear(id, cidr);
                return;
            }
            Withdrawn::Passed(next) => {
                self.clear(id, cidr);
                self.rejudge_all();
                self.rejudge_node(next, cidr);
                self.ranges_touching(cidr).into_iter().for_each(|index| self.recount_reserved(index));
                return;
            }
            Withdrawn::Vacant { was_regular } => !was_regular,
        };
        let index = self.range_of(cidr);
        let cools = cools && self.settings.cooldown.is_positive();
        let now = self.now;
        if let Some(territory) = index.and_then(|index| self.territories.get_mut(index)) {
            territory.claims -= 1;
            if !is_irregular && !cools {
                territory.space.give(cidr);
            }
        }
        if let Some(index) = index {
            self.note_reserved(index, id, false);
            self.summarise(index);
            if !is_irregular && !cools {
                self.note_free(index, cidr);
            }
        }
        if cools {
            for index in self.ranges_touching(cidr) {
                let Some(territory) = self.territories.get_mut(index) else { continue };
                let part = if cidr.contains_block(territory.spec.cidr) { territory.spec.cidr } else { cidr };
                territory.cool(part, now);
                self.cooling.push_back(RestoredCooling { cidr: part, released: now });
            }
        }
        if is_irregular {
            // What others have of it, or what is excluded, is taken out of what cools down.
            self.ranges_touching(cidr).into_iter().for_each(|index| self.rebuild(index));
            self.recount_cooling();
            self.clear(id, cidr);
            self.rejudge_all();
        }
        if !cools || !self.settings.cooldown_floor.is_positive() {
            self.queues.wake();
        }
        self.after_release();
    }

    /// Other claims that share addresses with `cidr`.
    pub(crate) fn overlapping(&self, cidr: Cidr) -> impl Iterator<Item = (Cidr, NodeId)> + '_ {
        self.claims_touching(cidr).filter(move |(other, _)| *other != cidr)
    }

    /// All claims that share addresses with `cidr`, `cidr` itself included.
    pub(crate) fn claims_touching(&self, cidr: Cidr) -> impl Iterator<Item = (Cidr, NodeId)> + '_ {
        self.claims.touching(cidr).map(|(other, claim)| (other, claim.node))
    }

    pub(crate) fn set_state(&mut self, id: NodeId, state: State) {
        if let Some(node) = self.nodes.get_mut(id) {
            node.state = state;
        }
    }
}

fn is_ipv6(text: &str) -> bool {
    text.split_once('/').is_some_and(|(address, _)| address.parse::<std::net::Ipv6Addr>().is_ok())
}
