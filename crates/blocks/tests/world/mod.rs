//! A small cluster: an API that keeps Nodes, a watch that may be late, and calls that are answered when the test says so.

#![allow(
    dead_code,
    clippy::expect_used,
    clippy::panic,
    reason = "each test uses a part of the world, and stops at what it did not expect"
)]

pub(crate) mod cluster;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use freeboard_address::{Cidr, NodeName, NodeUid, RangeName};
use freeboard_blocks::{
    Answer, ApiOperation, Blocks, BlocksSettings, Effect, Labels, ObservedNode, OperationId, RangeSpec, Refusal,
    ResourceVersion, Signal,
};
use jiff::{SignedDuration, Timestamp};

/// What a watch tells.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// A node was added or changed.
    Changed(ObservedNode),
    /// A node is really gone.
    Deleted(NodeName, NodeUid),
}

/// What the API does with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is done and answered.
    Done,
    /// It is done, and the answer is lost.
    AnswerLost,
    /// It never arrives; the caller sees no answer.
    RequestLost,
    /// It is refused before anything is done.
    Refused,
    /// A conflict, as a busy object gives it.
    Conflict,
}

/// The Nodes as the API has them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Api {
    pub(crate) revision: u64,
    pub(crate) nodes: BTreeMap<NodeName, ObservedNode>,
    pub(crate) watch: VecDeque<Event>,
    created: u64,
}

impl Api {
    pub(crate) fn create(&mut self, name: &str, labels: &[(&str, &str)], max_pods: Option<i64>) -> NodeUid {
        self.created += 1;
        let uid = NodeUid::new(format!("uid-{}", self.created));
        let labels: Labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let node = ObservedNode {
            name: NodeName::new(name),
            uid: uid.clone(),
            version: ResourceVersion::default(),
            labels: Arc::new(labels),
            max_pods,
            pod_cidrs: Vec::new(),
            is_deleting: false,
        };
        self.change(node);
        uid
    }

    /// Changes a node by hand.
    pub(crate) fn edit(&mut self, name: &str, change: impl FnOnce(&mut ObservedNode)) {
        if let Some(mut node) = self.nodes.get(&NodeName::new(name)).cloned() {
            change(&mut node);
            self.change(node);
        }
    }

    pub(crate) fn delete(&mut self, name: &str) {
        if let Some(node) = self.nodes.remove(&NodeName::new(name)) {
            self.revision += 1;
            self.watch.push_back(Event::Deleted(node.name, node.uid));
        }
    }

    fn change(&mut self, mut node: ObservedNode) {
        self.revision += 1;
        node.version = ResourceVersion(self.revision);
        self.watch.push_back(Event::Changed(node.clone()));
        self.nodes.insert(node.name.clone(), node);
    }

    /// All nodes, and the version of the list.
    pub(crate) fn list(&self) -> (Vec<ObservedNode>, ResourceVersion) {
        (self.nodes.values().cloned().collect(), ResourceVersion(self.revision))
    }

    /// Carries out a call by the rules of the Node API: `podCIDRs` are set once.
    pub(crate) fn call(&mut self, operation: &ApiOperation) -> Answer {
        match operation {
            ApiOperation::ReadNode { node } => self.nodes.get(node).cloned().map_or(Answer::NotFound, Answer::Node),
            ApiOperation::SetPodCidrs { node, uid, cidr } => {
                let Some(known) = self.nodes.get(node) else { return Answer::NotFound };
                let wanted = vec![cidr.to_string()];
                if known.uid != *uid || (!known.pod_cidrs.is_empty() && known.pod_cidrs != wanted) {
                    return Answer::Conflict;
                }
                if known.pod_cidrs.is_empty() {
                    let mut changed = known.clone();
                    changed.pod_cidrs = wanted;
                    self.change(changed);
                }
                Answer::Written
            }
        }
    }

    pub(crate) fn carry_out(&mut self, operation: &ApiOperation, fate: Fate) -> Answer {
        match fate {
            Fate::Done => self.call(operation),
            Fate::AnswerLost => {
                self.call(operation);
                Answer::Uncertain
            }
            Fate::RequestLost => Answer::Uncertain,
            Fate::Refused => Answer::Failed("429 Too Many Requests".to_owned()),
            Fate::Conflict => Answer::Conflict,
        }
    }
}

/// The cluster, and the engine in it.
pub(crate) struct World {
    pub(crate) now: Timestamp,
    pub(crate) api: Api,
    pub(crate) engine: Blocks,
    pub(crate) calls: BTreeMap<OperationId, ApiOperation>,
    pub(crate) signals: Vec<Signal>,
    pub(crate) forgotten: Vec<RangeName>,
    /// Whether the engine is audited after each step; it costs as much as there are nodes.
    pub(crate) is_audited: bool,
}

pub(crate) fn cidr(text: &str) -> Cidr {
    text.parse().expect("a block")
}

pub(crate) fn range(name: &str, block: &str) -> RangeSpec {
    RangeSpec::new(name, cidr(block))
}

/// No take-over wait: the tests that need one set it.
pub(crate) fn settings() -> BlocksSettings {
    BlocksSettings { takeover_wait: SignedDuration::ZERO, ..BlocksSettings::default() }
}

impl World {
    /// A cluster with these ranges and no node.
    pub(crate) fn new(settings: BlocksSettings, ranges: &[RangeSpec]) -> Self {
        let now = Timestamp::from_second(1_800_000_000).expect("a time");
        let engine = Blocks::new(settings, now);
        let (calls, signals, forgotten) = (BTreeMap::new(), Vec::new(), Vec::new());
        let mut world = Self { now, api: Api::default(), engine, calls, signals, forgotten, is_audited: true };
        for spec in ranges {
            world.engine.handle_range(spec.clone(), now).expect("a good range");
        }
        let (nodes, version) = world.api.list();
        world.engine.handle_nodes(nodes, version, now);
        world.collect();
        world
    }

    /// Takes the engine's effects.
    pub(crate) fn collect(&mut self) {
        while let Some(effect) = self.engine.poll_effect() {
            match effect {
                Effect::Api(id, operation) => {
                    self.calls.insert(id, operation);
                }
                Effect::ForgetRange(name) => self.forgotten.push(name),
                Effect::ListNodes => {
                    let (nodes, version) = self.api.list();
                    self.engine.handle_nodes(nodes, version, self.now);
                }
                Effect::Signal(signal) => self.signals.push(signal),
            }
        }
        if self.is_audited {
            assert_eq!(self.engine.audit(), Vec::<String>::new());
        }
    }

    /// Delivers the watch.
    pub(crate) fn deliver(&mut self) {
        while let Some(event) = self.api.watch.pop_front() {
            self.tell(event);
        }
        self.collect();
    }

    pub(crate) fn tell(&mut self, event: Event) {
        match event {
            Event::Changed(node) => self.engine.handle_node(node, self.now),
            Event::Deleted(name, uid) => self.engine.handle_node_deleted(&name, &uid, self.now),
        }
    }

    /// Answers the oldest call.
    pub(crate) fn answer(&mut self, fate: Fate) {
        let (id, operation) = self.calls.pop_first().expect("a call in flight");
        let answer = self.api.carry_out(&operation, fate);
        self.engine.handle_answer(id, answer, self.now);
        self.collect();
    }

    /// Answers calls and delivers the watch until nothing is left to do now.
    pub(crate) fn settle(&mut self) {
        loop {
            self.deliver();
            if self.calls.is_empty() {
                return;
            }
            self.answer(Fate::Done);
        }
    }

    /// Lets time pass, with every timeout that falls due in it.
    pub(crate) fn pass(&mut self, seconds: i64) {
        let until = self.now + SignedDuration::from_secs(seconds);
        while let Some((at, _)) = self.engine.poll_timeout().filter(|(at, _)| *at <= until) {
            self.now = self.now.max(at);
            self.engine.handle_timeout(self.now);
            self.settle();
        }
        self.now = until;
        self.engine.handle_timeout(self.now);
        self.settle();
    }

    pub(crate) fn create(&mut self, name: &str, max_pods: i64) {
        self.api.create(name, &[], Some(max_pods));
        self.settle();
    }

    pub(crate) fn delete(&mut self, name: &str) {
        self.api.delete(name);
        self.settle();
    }

    /// What the API has as the node's `podCIDRs`, joined.
    pub(crate) fn block(&self, name: &str) -> String {
        self.api.nodes.get(&NodeName::new(name)).map(|node| node.pod_cidrs.join(",")).unwrap_or_default()
    }

    pub(crate) fn refusal(&self, name: &str) -> Refusal {
        self.engine.explain(&NodeName::new(name)).unwrap_or_else(|| panic!("{name} is not refused"))
    }

    /// A new leader: knows only what the API tells.
    pub(crate) fn restart(&mut self, settings: BlocksSettings, ranges: &[RangeSpec]) {
        self.engine = Blocks::new(settings, self.now);
        self.calls.clear();
        self.api.watch.clear();
        for spec in ranges {
            self.engine.handle_range(spec.clone(), self.now).expect("a good range");
        }
        let (nodes, version) = self.api.list();
        self.engine.handle_nodes(nodes, version, self.now);
        self.collect();
    }
}
