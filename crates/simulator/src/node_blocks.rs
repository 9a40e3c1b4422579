//! Nodes with blocks of their own: which ones each has at which time, and what must hold about them.

use std::net::Ipv4Addr;

use freeboard_address::{AttachmentKey, Cidr};
use freeboard_pool::{NodeBlockView, PoolView};
use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use crate::check::Check;
use crate::node::Node;
use crate::run::{Event, Run};

/// An address may still be promised so long after its block was taken away: the write of the promise was under way.
const WRITE: SignedDuration = SignedDuration::from_secs(1);

/// Blocks of one size out of one range: each node has one of them, in the order of the nodes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlockSettings {
    /// The range.
    pub range: Cidr,
    /// The prefix length of each block.
    pub length: u8,
    /// When each node gets its block, after the start.
    #[serde(default)]
    pub from_seconds: f64,
    /// When it is taken away again; never when not said.
    #[serde(default)]
    pub until_seconds: Option<f64>,
}

impl BlockSettings {
    /// The block of a node.
    pub(crate) fn of(&self, node: usize) -> Option<Cidr> {
        (self.length >= self.range.length()).then(|| self.range.subdivide(self.length).nth(node)).flatten()
    }

    fn is_given(&self, seconds: f64) -> bool {
        self.from_seconds <= seconds && self.until_seconds.is_none_or(|until| seconds < until)
    }

    /// When something changes, after the start.
    pub(crate) fn changes(&self) -> impl Iterator<Item = f64> {
        std::iter::once(self.from_seconds).filter(|from| *from > 0.0).chain(self.until_seconds)
    }
}

impl Run {
    /// Whether the nodes have blocks of their own.
    pub(crate) fn is_on_blocks(&self) -> bool {
        !self.scenario.nodes.blocks.is_empty()
    }

    /// The blocks of a node now.
    pub(crate) fn blocks_of(&self, index: usize) -> Vec<Cidr> {
        self.blocks_before(index, SignedDuration::ZERO)
    }

    fn blocks_before(&self, index: usize, ago: SignedDuration) -> Vec<Cidr> {
        let seconds = (self.now.duration_since(self.start) - ago).as_secs_f64().max(0.0);
        let given = self.scenario.nodes.blocks.iter().filter(|settings| settings.is_given(seconds));
        given.filter_map(|settings| settings.of(index)).collect()
    }

    pub(crate) fn plan_blocks(&mut self) {
        let times: Vec<f64> = self.scenario.nodes.blocks.iter().flat_map(BlockSettings::changes).collect();
        for seconds in times {
            self.after(crate::random::duration(seconds), Event::Blocks);
        }
    }

    /// Every node is told its blocks; one whose agent is down hears of them at its next start.
    pub(crate) fn give_blocks(&mut self) {
        for index in 0..self.nodes.len() {
            self.tell_blocks(index);
        }
    }

    pub(crate) fn tell_blocks(&mut self, index: usize) {
        let (blocks, now) = (self.blocks_of(index), self.now);
        self.touched.insert(index);
        let Some(node) = self.nodes.get_mut(index) else { return };
        let time = node.time(now);
        let told = node.pool.as_mut().map(|pool| pool.handle_blocks(&blocks, time));
        if let Some(Err(refused)) = told {
            self.fail(Check::BooksClose, format!("node {index} refuses its blocks: {refused}"));
        }
    }

    /// At the release of an address to a pod: it must be of the node's own blocks.
    pub(crate) fn check_block_of(&mut self, index: usize, key: &AttachmentKey, address: Ipv4Addr) {
        let now = self.blocks_of(index);
        let has = |blocks: &[Cidr]| blocks.iter().any(|block| block.contains(address));
        if !has(&now) && !has(&self.blocks_before(index, WRITE)) {
            let what = format!("node {index} gave {address} to {key}, which is of none of its blocks {now:?}");
            self.fail(Check::CloudHasIt, what);
        }
    }

    /// What the pool may give must be the node's.
    pub(crate) fn open_blocks(&self, index: usize, view: &PoolView) -> Option<String> {
        let blocks = self.blocks_of(index);
        let strange = open(view).find(|block| !blocks.contains(&block.cidr))?;
        Some(format!("{} is usable for the pool and not the node's, which are {blocks:?}", strange.cidr))
    }
}

/// The blocks of which addresses may be given.
pub(crate) fn open(view: &PoolView) -> impl Iterator<Item = &NodeBlockView> {
    view.node_blocks.iter().filter(|block| block.draining_since.is_none())
}

/// A block that was taken away and has nothing on it any more, and is still there.
pub(crate) fn left_over(view: &PoolView) -> Option<String> {
    let draining = view.node_blocks.iter().filter(|block| block.draining_since.is_some());
    let empty = draining.into_iter().find(|block| block.tally.free == block.tally.total)?;
    Some(format!("{} was taken away, has nothing on it, and is still there", empty.cidr))
}

/// Where one more pod would find an address.
pub(crate) fn room(node: &Node, view: &PoolView) -> Option<String> {
    let free: u32 = open(view).map(|block| block.tally.free).sum();
    (free > 0).then(|| format!("{} has {free} free addresses in its blocks", node.facts.instance))
}
