//! A node whose pods have their addresses from blocks of its own, as on GKE: the blocks come and go while it runs, nothing is
//! asked of a cloud, and no network interface is taken.

use freeboard_address::{Cidr, EniId, InstanceId, SubnetId, VpcId};
use jiff::Timestamp;

use crate::cause::{Cause, Place, Refusal};
use crate::input::{NodeFacts, PoolSettings};
use crate::node_blocks::NodeBlock;
use crate::pool::Pool;
use crate::store::{Cell, sum};

/// The shortest length of a block: what a wider one has is more than a node can ever use.
const WIDEST: u8 = 16;
/// Pods that a sentence names; of more only the number is told.
const NAMED: usize = 3;

/// Where the addresses of a node's pods come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// From network interfaces, which the pool takes and gives back by calls to the cloud.
    Interfaces,
    /// From blocks that the node has.
    NodeBlocks,
}

impl Source {
    /// What is wrong with an address that is not the node's.
    pub(crate) fn nowhere(self) -> &'static str {
        match self {
            Self::Interfaces => "is on no interface that the cloud shows",
            Self::NodeBlocks => "lies in none of the node's blocks",
        }
    }
}

/// The blocks were refused as a whole; the ones before stay.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlocksRefused {
    /// Two of them share addresses.
    #[error(
        "the node's blocks {one} and {other} overlap: expected blocks that share no address; leave one of them out"
    )]
    Overlap {
        /// The one.
        one: Cidr,
        /// The other.
        other: Cidr,
    },
    /// It has more addresses than a node could use.
    #[error("the node's block {cidr} is too wide: expected a /{WIDEST} or smaller; give the node a part of it")]
    TooWide {
        /// The block.
        cidr: Cidr,
    },
    /// The pool takes network interfaces.
    #[error(
        "blocks were given to a node whose addresses come from network interfaces: expected none; set FREEBOARD_SOURCE=block"
    )]
    NotTheSource,
}

impl NodeFacts {
    /// A node that may have no network interface for pods: whatever is computed of interfaces comes to nothing.
    fn without_interfaces() -> Self {
        Self {
            instance: InstanceId::new(""),
            instance_type: String::new(),
            interface_limit: 0,
            addresses_per_interface: 0,
            prefixes_supported: false,
            max_pods: 0,
            vpc: VpcId::new(""),
            zone: String::new(),
            primary_interface: EniId::new(""),
            primary_subnet: SubnetId::new(""),
        }
    }
}

impl Pool {
    /// A pool that gives addresses out of the node's own blocks ([`Pool::handle_blocks`]) and asks nothing of a cloud. ADDs wait
    /// until a block is known and [`Pool::handle_restore`] was called, in either order.
    #[must_use]
    pub fn on_blocks(settings: PoolSettings, now: Timestamp) -> Self {
        let mut pool = Self::new(settings, NodeFacts::without_interfaces(), now);
        pool.source = Source::NodeBlocks;
        pool
    }

    /// The node's blocks from now on, in the order in which they are to be used. A block that is not among them any more gives no
    /// new address and goes when its last pod is gone and its last address has cooled down; one that comes back gives again.
    /// What an earlier run recorded ([`CheckpointState::blocks`](crate::CheckpointState)) is to be told before
    /// [`Pool::handle_restore`], so that pods in a draining block keep their place.
    ///
    /// # Errors
    /// When two of them overlap, one is too wide, or the pool takes network interfaces; then nothing changes.
    pub fn handle_blocks(&mut self, blocks: &[Cidr], now: Timestamp) -> Result<(), BlocksRefused> {
        let now = self.begin(now);
        let outcome = self.check_blocks(blocks);
        match &outcome {
            Ok(()) => {
                self.wanted_blocks = blocks.to_vec();
                self.follow_blocks(now);
                self.source_known |= !blocks.is_empty();
                self.restore(now);
                self.settle_claims();
            }
            Err(refused) => self.decide("keep the node's blocks as they are".to_owned(), refused.to_string()),
        }
        self.advance(now);
        outcome
    }

    fn check_blocks(&self, blocks: &[Cidr]) -> Result<(), BlocksRefused> {
        if self.source != Source::NodeBlocks {
            return Err(BlocksRefused::NotTheSource);
        }
        if let Some(cidr) = blocks.iter().copied().find(|cidr| cidr.length() < WIDEST) {
            return Err(BlocksRefused::TooWide { cidr });
        }
        let pairs = blocks.iter().enumerate().flat_map(|(place, one)| {
            let others = blocks.get(place + 1..).unwrap_or_default();
            others.iter().map(move |other| (*one, *other))
        });
        match pairs.into_iter().find(|(one, other)| one.overlaps(*other)) {
            Some((one, other)) => Err(BlocksRefused::Overlap { one, other }),
            None => Ok(()),
        }
    }

    /// Goes on with blocks that come and go. One that overlaps a draining block comes when that is gone.
    pub(crate) fn follow_blocks(&mut self, now: Timestamp) {
        let is_wanted = |block: &NodeBlock| self.wanted_blocks.contains(&block.cidr);
        let leaving: Vec<Cidr> = self.store.node_blocks.iter().filter(|b| !is_wanted(b)).map(|b| b.cidr).collect();
        let mut changed = false;
        for cidr in leaving {
            changed |= self.let_block_go(cidr, now);
        }
        for cidr in self.wanted_blocks.clone() {
            changed |= self.take_block(cidr);
        }
        if changed {
            self.store.node_blocks.sort_as(&self.wanted_blocks);
            self.persist();
        }
    }

    /// Drops a block that is at rest, or lets it drain. Returns whether that changed anything.
    fn let_block_go(&mut self, cidr: Cidr, now: Timestamp) -> bool {
        let Some(known) = self.store.node_blocks.get(cidr) else { return false };
        if known.block.is_unused() {
            self.store.drop_node_block(cidr, "it is not one of the node's blocks any more", now);
            self.decide(format!("forget the block {cidr}"), "no pod holds an address of it any more".to_owned());
            return true;
        }
        if !known.is_open() {
            return false;
        }
        let waits_for = waits_for(known);
        self.store.node_blocks.set_draining(cidr, Some(now));
        self.decide(
            format!("give no more addresses of the block {cidr}"),
            format!("it is not one of the node's blocks any more; it stays until {waits_for}"),
        );
        true
    }

    /// Takes a block in, or uses a draining one again. Returns whether that changed anything.
    fn take_block(&mut self, cidr: Cidr) -> bool {
        let is_changed = match self.store.node_blocks.get(cidr).map(NodeBlock::is_open) {
            Some(true) => false,
            Some(false) => {
                self.store.node_blocks.set_draining(cidr, None);
                true
            }
            None => self.store.take_node_block(cidr, self.step),
        };
        if !is_changed {
            return false;
        }
        let blocks: Vec<String> = self.wanted_blocks.iter().map(ToString::to_string).collect();
        self.decide(
            format!("give addresses of the block {cidr}, which has {}", cidr.size()),
            format!("the node's blocks are {}", blocks.join(", ")),
        );
        true
    }

    /// Goes on with draining blocks, if there are any.
    pub(crate) fn drain(&mut self, now: Timestamp) {
        if self.store.node_blocks.iter().any(|block| !block.is_open()) {
            self.follow_blocks(now);
        }
    }

    /// Why the node's blocks have no address to give.
    pub(crate) fn explain_blocks(&self, now: Timestamp) -> Refusal {
        let open: Vec<&NodeBlock> = self.store.node_blocks.iter().filter(|block| block.is_open()).collect();
        let Some(first) = open.first() else { return self.explain_no_block() };
        let tally = sum(open.iter().map(|block| block.block.tally()));
        let place = Place::Block { cidr: first.cidr };
        let names: Vec<String> = open.iter().map(|block| block.cidr.to_string()).collect();
        let which = match names.as_slice() {
            [one] => format!("the node's block {one} ({} addresses)", tally.total),
            several => format!(
                "the node's {} blocks {} ({} addresses together)",
                several.len(),
                several.join(", "),
                tally.total
            ),
        };
        let claimed = match tally.quarantined {
            0 => String::new(),
            count => format!(", {count} are claimed twice"),
        };
        if tally.cooling > 0 {
            let soon = self.cooling_soon().next().map_or(0, |(from, _)| from.duration_since(now).as_secs().max(0));
            let message = format!(
                "{which} has no free address: {} are assigned{claimed}, {} cool down after use, the first for {soon} s more",
                tally.assigned, tally.cooling
            );
            let remedy = "nothing needs to be done: the runtime will ask again; shorten IP_COOLDOWN_PERIOD when pods come and go fast";
            return Refusal { cause: Cause::CoolingDown, place, message, remedy: remedy.to_owned() };
        }
        Refusal {
            cause: Cause::NodeBlockExhausted,
            place,
            message: format!("{which} is full: {} are assigned{claimed}", tally.assigned),
            remedy: "run the pod on another node, give this node one more block, or let new nodes have larger blocks (a higher max-pods)".to_owned(),
        }
    }

    /// No block gives addresses: there is none, or all of them drain.
    pub(crate) fn explain_no_block(&self) -> Refusal {
        let draining: Vec<String> = self.store.node_blocks.iter().map(|block| block.cidr.to_string()).collect();
        let message = if draining.is_empty() {
            "this node has no block of pod addresses".to_owned()
        } else {
            format!("this node has no block of pod addresses but those that drain ({})", draining.join(", "))
        };
        let remedy = "give the node a block: kubectl describe node shows, in the events of freeboard-controller, which range is short of one";
        Refusal { cause: Cause::NodeBlockMissing, place: Place::Node, message, remedy: remedy.to_owned() }
    }
}

/// Until when a block stays: who holds addresses of it, and what rests.
fn waits_for(block: &NodeBlock) -> String {
    let holders: Vec<String> = block
        .block
        .cells()
        .filter_map(|(address, cell)| match cell {
            Cell::Assigned(holder) => {
                let name = holder.pod.as_ref().map_or_else(|| holder.key.to_string(), ToString::to_string);
                Some(format!("{name} ({address})"))
            }
            Cell::Free { .. } | Cell::Cooling { .. } | Cell::Quarantined => None,
        })
        .collect();
    let tally = block.block.tally();
    let resting = tally.cooling + tally.quarantined;
    match holders.as_slice() {
        [] => format!("{resting} addresses have rested"),
        few if few.len() <= NAMED => format!("{} is gone", few.join(", ")),
        many => {
            let named = many.get(..NAMED).unwrap_or_default().join(", ");
            format!("{named} and {} more pods are gone", many.len() - NAMED)
        }
    }
}
