//! The blocks of one cluster: takes inputs, hands out effects.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use freeboard_address::{NodeName, NodeUid};
use jiff::{SignedDuration, Timestamp};

use crate::claims::Claims;
use crate::effect::Effect;
use crate::findings::Problem;
use crate::hold::Hold;
use crate::input::{BlocksSettings, ObservedNode, OperationId, ResourceVersion, RestoredCooling};
use crate::nodes::Node;
use crate::ranges::Classes;
use crate::serve::Queues;
use crate::table::{Entry, NodeId, NodeTable};
use crate::territory::{Summary, Territory};
use crate::writes::Operation;

/// Why the engine wants to be called again.
const TAKEOVER: &str = "an earlier leader's last writes have landed";
const COOLED: &str = "a block has cooled down";
const PRESSED: &str = "a cooling block may be given to a waiting node";
const RETRY: &str = "a failed write is tried again";
const HOLD: &str = "room that was kept for a node that waits is given up";
/// How long a deleted node is remembered, so that a late event about it is known to be late.
const DEPARTED_MEMORY: SignedDuration = SignedDuration::from_mins(10);

/// How far the take-over from an earlier leader is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Takeover {
    /// Its last writes may still land.
    Waiting,
    /// They have landed; a list that shows them was asked for.
    Listing,
    /// They are seen.
    Done,
}

/// The node blocks of one cluster.
#[derive(Clone, Debug)]
pub struct Blocks {
    pub(crate) settings: BlocksSettings,
    pub(crate) started: Timestamp,
    /// The time of the newest input; an earlier one counts as this, so that a clock that jumps back shortens no cool-down.
    pub(crate) now: Timestamp,
    pub(crate) effects: VecDeque<Effect>,

    /// The version of the newest list of nodes; none before the first.
    pub(crate) listed: Option<ResourceVersion>,
    takeover: Takeover,
    /// A list is being taken in.
    pub(crate) is_listing: bool,
    pub(crate) nodes: NodeTable,
    /// Nodes that were deleted a short while ago, in the order of their deletion.
    pub(crate) departures: VecDeque<(Timestamp, NodeId)>,
    pub(crate) claims: Claims,
    pub(crate) findings: BTreeMap<(NodeName, String), Problem>,

    /// The ranges, the most preferred first: by priority, then by name.
    pub(crate) territories: Vec<Territory>,
    /// What matters of each for the choice of one.
    pub(crate) summaries: Vec<Summary>,
    /// Some range is being removed.
    pub(crate) is_removing: bool,
    /// Some range is marked exhausted.
    pub(crate) is_exhausted: bool,
    /// Network address of a range → its index.
    pub(crate) by_address: BTreeMap<u32, usize>,
    pub(crate) classes: Classes,
    /// All cooling blocks in the order of their release; one that does not cool any more is skipped.
    pub(crate) cooling: VecDeque<RestoredCooling>,
    pub(crate) queues: Queues,
    /// Room that is kept for the node that has waited longest.
    pub(crate) hold: Option<Hold>,

    /// Nodes whose block is chosen and to be written.
    pub(crate) outbox: VecDeque<NodeId>,
    pub(crate) operations: BTreeMap<OperationId, Operation>,
    pub(crate) last_operation: u64,
    pub(crate) retries: BTreeSet<(Timestamp, NodeId)>,
}

impl Blocks {
    /// An engine that knows nothing yet. It gives nothing before it has seen the ranges ([`Blocks::handle_range`]) and, when
    /// `takeover_wait` has passed, a list of the nodes ([`Effect::ListNodes`]). An earlier list is welcome: it shows the state.
    #[must_use]
    pub fn new(settings: BlocksSettings, now: Timestamp) -> Self {
        Self {
            settings,
            started: now,
            now,
            effects: VecDeque::new(),
            listed: None,
            takeover: Takeover::Waiting,
            is_listing: false,
            nodes: NodeTable::default(),
            departures: VecDeque::new(),
            claims: Claims::default(),
            findings: BTreeMap::new(),
            territories: Vec::new(),
            summaries: Vec::new(),
            is_removing: false,
            is_exhausted: false,
            by_address: BTreeMap::new(),
            classes: Classes::default(),
            cooling: VecDeque::new(),
            queues: Queues::default(),
            hold: None,
            outbox: VecDeque::new(),
            operations: BTreeMap::new(),
            last_operation: 0,
            retries: BTreeSet::new(),
        }
    }

    /// All nodes, as a list shows them at `version`. The first list must be a consistent read; a later one that is older than what is
    /// known is not believed. A known node that is not in the list is gone.
    pub fn handle_nodes(&mut self, nodes: Vec<ObservedNode>, version: ResourceVersion, now: Timestamp) {
        self.begin(now);
        if self.listed.is_some_and(|listed| version < listed) {
            self.signal(crate::effect::Signal::StaleListIgnored);
        } else {
            let listed: BTreeSet<&NodeName> = nodes.iter().map(|node| &node.name).collect();
            // A node whose newest version is above the list's was created or changed after it.
            let is_gone = |(_, node): &(NodeId, &Node)| !listed.contains(&node.name) && node.version <= version;
            let gone: Vec<NodeId> = self.nodes.iter().filter(is_gone).map(|(id, _)| id).collect();
            for id in gone {
                self.depart(id);
            }
            // Nothing is given before all of the list is known.
            self.is_listing = true;
            for node in nodes {
                self.observe(node);
            }
            self.is_listing = false;
            self.listed = Some(version);
            let needs_none = !self.settings.takeover_wait.is_positive();
            if self.takeover == Takeover::Listing || needs_none {
                self.takeover = Takeover::Done;
            }
            self.queues.wake();
        }
        self.advance();
    }

    /// One node was added or changed, as a watch tells it. Late events do no harm.
    pub fn handle_node(&mut self, node: ObservedNode, now: Timestamp) {
        self.begin(now);
        self.observe(node);
        self.advance();
    }

    /// The node with this uid is really gone: not only marked with a `deletionTimestamp`, but deleted.
    pub fn handle_node_deleted(&mut self, name: &NodeName, uid: &NodeUid, now: Timestamp) {
        self.begin(now);
        match self.nodes.look_up(name) {
            Some((id, Entry::Live(node))) if node.uid == *uid => self.depart(id),
            // The name belongs to a newer node.
            Some((_, Entry::Live(_))) => {}
            Some((_, Entry::Departed(departed))) if departed.uid == *uid => {}
            Some((_, Entry::Departed(_))) | None => {
                let id = self.nodes.insert_departed(name.clone(), uid.clone(), self.now);
                self.departures.push_back((self.now, id));
            }
        }
        self.advance();
    }

    /// Blocks that were cooling down when an earlier leader wrote them down. What lies in no range is dropped; what a node has
    /// is the node's.
    pub fn handle_cooling(&mut self, cooling: &[RestoredCooling], now: Timestamp) {
        self.begin(now);
        self.restore_cooling(cooling);
        self.advance();
    }

    /// The time that [`Blocks::poll_timeout`] asked for has come.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        self.begin(now);
        self.queues.wake();
        self.advance();
    }

    /// The next thing to do.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When, and why, to call [`Blocks::handle_timeout`].
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Timestamp, &'static str)> {
        let takeover = later(self.started, self.settings.takeover_wait);
        let takeover = (self.takeover == Takeover::Waiting).then_some((takeover, TAKEOVER));
        let retry = self.retries.first().map(|(at, _)| (*at, RETRY));
        let cooled = self.cooling.front().map(|first| (later(first.released, self.settings.cooldown), COOLED));
        let pressed = self.next_pressed().map(|at| (at, PRESSED));
        let hold = self.hold_until().map(|at| (at, HOLD));
        [takeover, retry, cooled, pressed, hold].into_iter().flatten().min()
    }

    /// Whether blocks are given.
    pub(crate) fn is_ready(&self) -> bool {
        self.takeover == Takeover::Done
    }

    pub(crate) fn begin(&mut self, now: Timestamp) {
        self.now = self.now.max(now);
    }

    /// Draws the consequences of what came in.
    pub(crate) fn advance(&mut self) {
        if self.takeover == Takeover::Waiting && self.now >= later(self.started, self.settings.takeover_wait) {
            self.takeover = Takeover::Listing;
            self.effects.push_back(Effect::ListNodes);
        }
        self.warm_up();
        self.forget_departed();
        self.review_hold();
        self.serve();
        self.write();
    }

    fn forget_departed(&mut self) {
        while let Some((at, id)) = self.departures.front().copied()
            && later(at, DEPARTED_MEMORY) <= self.now
        {
            self.departures.pop_front();
            self.nodes.forget(id, at);
        }
    }

    pub(crate) fn signal(&mut self, signal: crate::effect::Signal) {
        self.effects.push_back(Effect::Signal(signal));
    }
}

/// `now` and `duration` added; the end of time when that overflows.
pub(crate) fn later(now: Timestamp, duration: SignedDuration) -> Timestamp {
    now.checked_add(duration).unwrap_or(Timestamp::MAX)
}
