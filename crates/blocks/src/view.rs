//! The state as others see it: for the status of ranges, metrics, diagnosis and demos.

use freeboard_address::{BlockSize, Cidr, NodeName, NodeUid, RangeName};
use jiff::Timestamp;
use serde::Serialize;

use crate::cause::Refusal;
use crate::engine::Blocks;
use crate::findings::Finding;
use crate::input::RestoredCooling;
use crate::nodes::{Node, State};
use crate::range::RangeState;
use crate::reservation::ReservationView;
use crate::serve::{GroupKey, length_for};
use crate::territory::Territory;

/// Max-pods for which the room of a range is told: those at which GKE's block size changes.
const SIZES_SHOWN: [u32; 6] = [8, 16, 32, 64, 110, 256];

/// Everything at a glance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BlocksView {
    /// The ranges, the most preferred first.
    pub ranges: Vec<RangeView>,
    /// Nodes that are known.
    pub nodes: usize,
    /// Nodes that have a block, confirmed by the API.
    pub nodes_served: usize,
    /// Nodes whose block is chosen and being written.
    pub nodes_writing: usize,
    /// Nodes that wait, in the order of their arrival.
    pub waiting: Vec<WaitingView>,
    /// What is wrong with blocks of nodes.
    pub findings: Vec<Finding>,
}

/// One range.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RangeView {
    /// Its name.
    pub name: RangeName,
    /// Its addresses.
    pub cidr: Cidr,
    /// Whether it gives blocks.
    pub state: RangeState,
    /// Whether its removal was asked for, and waits until no node uses it.
    pub is_removing: bool,
    /// Its priority.
    pub priority: i32,
    /// How large a node's block is.
    pub block_size: BlockSize,
    /// Addresses that nodes can have: all but the excluded ones.
    pub capacity_addresses: u64,
    /// Addresses that nodes have.
    pub allocated_addresses: u64,
    /// Addresses that cool down after use.
    pub cooling_addresses: u64,
    /// Addresses that nobody has.
    pub free_addresses: u64,
    /// Those of them that are kept for the node that has waited longest.
    pub held_addresses: u64,
    /// Addresses that no node may have.
    pub excluded_addresses: u64,
    /// Blocks that nodes have in it; a draining range is done at 0.
    pub nodes: u64,
    /// The length of the largest block that could be given in one piece.
    pub largest_free_block: Option<u8>,
    /// How many more nodes of each size it holds.
    pub fits: Vec<Fit>,
    /// How far the room is used that is kept for pools.
    pub reservations: Vec<ReservationView>,
    /// Nodes that wait, and could have a block of it if there were room.
    pub waiting_nodes: u64,
    /// Nodes wait because it has no room for them.
    pub is_exhausted: bool,
}

/// How many more nodes of one size fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Fit {
    /// Max-pods of the nodes.
    pub max_pods: u32,
    /// The length of the block of such a node in this range.
    pub block_length: u8,
    /// How many of them fit now.
    pub nodes: u64,
    /// How many of them the empty range would hold.
    pub capacity_nodes: u64,
}

/// A node that waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WaitingView {
    /// The node.
    pub node: NodeName,
    /// Since when it is known.
    pub since: Timestamp,
    /// What it waits for.
    pub refusal: Refusal,
}

/// Where one node stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NodeView {
    /// The node.
    pub node: NodeName,
    /// Its blocks: several only when somebody else set several.
    pub blocks: Vec<Cidr>,
    /// Whether the API has confirmed them.
    pub is_confirmed: bool,
    /// The range of its first block, if it lies in one.
    pub range: Option<RangeName>,
    /// Why it has no confirmed block.
    pub refusal: Option<Refusal>,
}

impl Blocks {
    /// Everything at a glance. Costs as much as there are nodes.
    #[must_use]
    pub fn view(&self) -> BlocksView {
        let count = |is: fn(&State) -> bool| self.nodes.iter().filter(|(_, node)| is(&node.state)).count();
        BlocksView {
            ranges: self.range_views(),
            nodes: self.nodes.len(),
            nodes_served: count(|state| matches!(state, State::Held { .. })),
            nodes_writing: count(|state| matches!(state, State::Granted { .. })),
            waiting: self.waiting(),
            findings: self.findings(),
        }
    }

    /// The ranges, the most preferred first.
    #[must_use]
    pub fn range_views(&self) -> Vec<RangeView> {
        self.territories.iter().map(|territory| self.range_view(territory)).collect()
    }

    /// One range, by its name.
    #[must_use]
    pub fn range(&self, name: &RangeName) -> Option<RangeView> {
        self.territories
            .iter()
            .find(|territory| territory.spec.name == *name)
            .map(|territory| self.range_view(territory))
    }

    /// The addresses of a range, by its name.
    #[must_use]
    pub fn range_cidr(&self, name: &RangeName) -> Option<Cidr> {
        self.territories.iter().find(|territory| territory.spec.name == *name).map(|territory| territory.spec.cidr)
    }

    /// The uid of a node that is known.
    #[must_use]
    pub fn uid_of(&self, node: &NodeName) -> Option<&NodeUid> {
        self.nodes.get(self.nodes.find(node)?).map(|node| &node.uid)
    }

    /// The nodes that have a block of a range, in address order, from the `skip`-th on: for whom a draining or removed range waits.
    pub fn users(&self, name: &RangeName, skip: usize) -> impl Iterator<Item = (Cidr, &NodeName)> + '_ {
        let claims = self.range_cidr(name).into_iter().flat_map(|cidr| self.claims_touching(cidr)).skip(skip);
        claims.filter_map(|(cidr, id)| Some((cidr, &self.nodes.get(id)?.name)))
    }

    /// Whether the range is for any node that is known. Costs as much as there are nodes when it is for none.
    #[must_use]
    pub fn is_for_a_node(&self, name: &RangeName) -> bool {
        let Some(territory) = self.territories.iter().find(|territory| territory.spec.name == *name) else {
            return false;
        };
        territory.claims > 0
            || self
                .nodes
                .iter()
                .any(|(_, node)| territory.spec.selector.as_ref().is_none_or(|selector| selector.matches(&node.labels)))
    }

    /// Where one node stands.
    #[must_use]
    pub fn node(&self, name: &NodeName) -> Option<NodeView> {
        let (blocks, is_confirmed) = match &self.nodes.get(self.nodes.find(name)?)?.state {
            State::Held { cidr, more } => (std::iter::once(*cidr).chain(more.iter().copied()).collect(), true),
            State::Granted { cidr, .. } => (vec![*cidr], false),
            State::Waiting { .. } | State::Refused { .. } | State::Unusable => (Vec::new(), false),
        };
        let index = blocks.first().and_then(|cidr| self.range_of(*cidr));
        let range = index.and_then(|index| self.territories.get(index)).map(|territory| territory.spec.name.clone());
        Some(NodeView { node: name.clone(), blocks, is_confirmed, range, refusal: self.explain(name) })
    }

    /// The nodes that wait, in the order of their arrival, then those that cannot be served as they are.
    #[must_use]
    pub fn waiting(&self) -> Vec<WaitingView> {
        let queued = self.queues.in_order().into_values().filter_map(|id| self.nodes.get(id));
        let refused = |state: &State| matches!(state, State::Refused { .. } | State::Unusable);
        let mut refused: Vec<&Node> =
            self.nodes.iter().map(|(_, node)| node).filter(|node| refused(&node.state)).collect();
        refused.sort_unstable_by_key(|node| &node.name);
        let one = |node: &Node| {
            let refusal = self.explain(&node.name)?;
            Some(WaitingView { node: node.name.clone(), since: node.since, refusal })
        };
        queued.chain(refused).filter_map(one).collect()
    }

    /// How many nodes wait for a block.
    #[must_use]
    pub fn waiting_nodes(&self) -> usize {
        self.queues.lengths().map(|(_, length)| length).sum()
    }

    /// What is wrong with blocks of nodes.
    #[must_use]
    pub fn findings(&self) -> Vec<Finding> {
        let one = |((node, block), problem): (&(NodeName, String), &crate::findings::Problem)| Finding {
            node: node.clone(),
            block: block.clone(),
            problem: problem.clone(),
        };
        self.findings.iter().map(one).collect()
    }

    /// The blocks that cool down, the longest-cooled first: to be written down for the next leader.
    #[must_use]
    pub fn cooling(&self) -> Vec<RestoredCooling> {
        let cools = |block: &&RestoredCooling| {
            let territory = self.range_of(block.cidr).and_then(|index| self.territories.get(index));
            territory.is_some_and(|territory| territory.cooling.get(&block.cidr) == Some(&block.released))
        };
        self.cooling.iter().filter(cools).copied().collect()
    }

    fn range_view(&self, territory: &Territory) -> RangeView {
        let spec = &territory.spec;
        let fit = |max_pods: u32| {
            let block_length = spec.block_size.block_length(max_pods)?;
            let nodes = territory.space.free_blocks(block_length);
            let capacity_nodes = territory.capacity_in_blocks(&self.settings.excluded, block_length);
            Some(Fit { max_pods, block_length, nodes, capacity_nodes })
        };
        RangeView {
            name: spec.name.clone(),
            cidr: spec.cidr,
            state: spec.state,
            is_removing: territory.is_removing,
            priority: spec.priority,
            block_size: spec.block_size,
            capacity_addresses: spec.cidr.size() - territory.excluded_addresses,
            allocated_addresses: territory.allocated_addresses(),
            cooling_addresses: territory.cooling_addresses,
            free_addresses: territory.free_addresses(),
            held_addresses: territory.held_addresses,
            excluded_addresses: territory.excluded_addresses,
            nodes: territory.claims,
            largest_free_block: territory.space.largest_block(),
            fits: SIZES_SHOWN.into_iter().filter_map(fit).collect(),
            reservations: territory.reservation_views(),
            waiting_nodes: self.waiting_for(territory),
            is_exhausted: territory.is_exhausted,
        }
    }

    /// How many nodes wait for room in a range.
    fn waiting_for(&self, territory: &Territory) -> u64 {
        let is_it = |index: &usize| self.territories.get(*index).is_some_and(|other| std::ptr::eq(other, territory));
        let waits = |(key, length): (GroupKey, usize)| {
            let class = self.classes.all.get(usize::try_from(key.class).ok()?)?;
            let is_for = class.giving.iter().any(is_it) && length_for(territory, key.pods).is_some();
            is_for.then_some(u64::try_from(length).ok()?)
        };
        self.queues.lengths().filter_map(waits).sum()
    }
}
