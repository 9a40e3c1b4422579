//! A cluster's life as a list of steps: nodes and ranges come and go, answers are lost, leaders change; and what must hold.

#![allow(clippy::wildcard_enum_match_arm, reason = "a step that belongs elsewhere stops the test")]

use std::collections::{BTreeMap, BTreeSet};

use freeboard_address::{Cidr, FreeSpace, NodeName, NodePoolName, RangeName};
use freeboard_blocks::{
    AddressesPerPod, ApiOperation, BlockSize, Blocks, BlocksSettings, Cause, Exclusion, NodeSelector, ObservedNode,
    RangeSpec, RangeState, Reservation, ResourceVersion,
};
use jiff::{SignedDuration, Timestamp};

use super::{Event, Fate, World, cidr, settings};

/// Something that happens.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    Register {
        count: u8,
        pool: u8,
        pods: u8,
    },
    Delete(u8),
    MarkDeleting(u8),
    /// Deleted and created again under its name, before anybody sees either.
    Recreate(u8),
    Relabel(u8, u8),
    Deliver(u8),
    Answer(u8, Fate),
    Pass(u8),
    /// A new leader; the old one's calls in flight may still land.
    Leader {
        keeps_cooling: bool,
    },
    AddRange(u8),
    Drain(u8, bool),
    RemoveRange(u8),
    Grow(u8),
    Exclude(u8),
    /// Events are lost; the nodes are listed again.
    WatchGap,
    /// The list as it was some time ago.
    StaleList,
    Remember,
    /// An old event comes again.
    Replay(u8),
    /// Somebody else gives a node a block.
    ForeignWrite(u8, u8),
}

const POOLS: [&str; 4] = ["a", "b", "c", ""];
const PODS: [Option<i64>; 8] = [Some(8), Some(16), Some(16), Some(32), Some(64), Some(110), Some(0), None];
const TAKEOVER: SignedDuration = SignedDuration::from_secs(10);

/// The cluster, and what the test knows better than the engine.
pub(crate) struct Cluster {
    pub(crate) world: World,
    /// The ranges as they are declared, by name; and whether their removal was asked for.
    declared: BTreeMap<RangeName, (RangeSpec, bool)>,
    excluded: Vec<Exclusion>,
    names: u32,
    /// Calls of earlier leaders, and when they land.
    landing: Vec<(Timestamp, ApiOperation)>,
    remembered: Option<(Vec<ObservedNode>, ResourceVersion)>,
    replayable: Vec<Event>,
    /// Nodes to which somebody else gave a block: nothing is promised for those.
    tainted: BTreeSet<NodeName>,
    /// Blocks of deleted nodes, while this leader remembers them.
    freed: Vec<(Cidr, Timestamp)>,
    pub(crate) most_waiting: usize,
}

fn engine_settings(excluded: &[Exclusion]) -> BlocksSettings {
    let hold_for = SignedDuration::from_secs(60);
    let excluded = excluded.to_vec();
    BlocksSettings { hold_for, takeover_wait: TAKEOVER, writes_in_flight: 8, excluded, ..settings() }
}

fn spec(number: u8) -> RangeSpec {
    let length = 23 + number % 4;
    let mut spec = RangeSpec::new(&format!("range-{number}"), cidr(&format!("10.{number}.0.0/{length}")));
    spec.priority = i32::from(number % 3);
    spec.block_size = match number % 5 {
        0 => BlockSize::Fixed(26),
        1 => BlockSize::PerPod(AddressesPerPod::One),
        _ => BlockSize::GKE,
    };
    spec.selector = match number % 4 {
        1 => Some(NodeSelector::label("pool", "a")),
        2 => {
            let mut either = NodeSelector::label("pool", "a");
            either.node_selector_terms.extend(NodeSelector::label("pool", "b").node_selector_terms);
            Some(either)
        }
        _ => None,
    };
    if number.is_multiple_of(7) {
        let reserved = Exclusion { cidr: cidr(&format!("10.{number}.0.32/27")), purpose: "reserved".to_owned() };
        spec.excluded.push(reserved);
    }
    if number % 6 == 5 {
        let selector = NodeSelector::label("pool", "b");
        spec.reservations.push(Reservation { pool: NodePoolName::new("b"), selector, max_pods: 16, max_nodes: 2 });
    }
    spec
}

impl Cluster {
    pub(crate) fn new() -> Self {
        let world = World::new(engine_settings(&[]), &[]);
        Self {
            world,
            declared: BTreeMap::new(),
            excluded: Vec::new(),
            names: 0,
            landing: Vec::new(),
            remembered: None,
            replayable: Vec::new(),
            tainted: BTreeSet::new(),
            freed: Vec::new(),
            most_waiting: 0,
        }
    }

    /// Does one step and checks all that must hold at any time.
    pub(crate) fn step(&mut self, step: Step) {
        match step {
            Step::Register { .. }
            | Step::Delete(_)
            | Step::MarkDeleting(_)
            | Step::Recreate(_)
            | Step::Relabel(..)
            | Step::ForeignWrite(..) => self.change_nodes(step),
            Step::AddRange(_) | Step::Drain(..) | Step::RemoveRange(_) | Step::Grow(_) | Step::Exclude(_) => {
                self.change_ranges(step);
            }
            Step::Deliver(count) => self.deliver(usize::from(count)),
            Step::Answer(index, fate) => self.answer(usize::from(index), fate),
            Step::Pass(seconds) => self.pass(i64::from(seconds)),
            Step::Leader { keeps_cooling } => self.change_leader(keeps_cooling),
            Step::WatchGap => {
                self.world.api.watch.clear();
                let (nodes, version) = self.world.api.list();
                self.world.engine.handle_nodes(nodes, version, self.world.now);
            }
            Step::StaleList => {
                if let Some((nodes, version)) = self.remembered.clone() {
                    self.world.engine.handle_nodes(nodes, version, self.world.now);
                }
            }
            Step::Remember => self.remembered = Some(self.world.api.list()),
            Step::Replay(index) => {
                if let Some(event) = pick(&self.replayable, index).cloned() {
                    self.world.tell(event);
                }
            }
        }
        self.world.collect();
        self.forget_ranges();
        self.check();
    }

    fn node(&self, index: u8) -> Option<NodeName> {
        let names: Vec<&NodeName> = self.world.api.nodes.keys().collect();
        pick(&names, index).map(|name| (*name).clone())
    }

    fn change_nodes(&mut self, step: Step) {
        match step {
            Step::Register { count, pool, pods } => {
                for _ in 0..count {
                    self.names += 1;
                    self.register(&format!("node-{}", self.names), pool, pods);
                }
            }
            Step::Delete(index) => {
                if let Some(name) = self.node(index) {
                    self.delete(&name);
                }
            }
            Step::MarkDeleting(index) => {
                if let Some(name) = self.node(index) {
                    self.world.api.edit(name.as_str(), |node| node.is_deleting = true);
                }
            }
            Step::Recreate(index) => {
                if let Some(name) = self.node(index) {
                    self.delete(&name);
                    self.register(name.as_str(), index, index);
                }
            }
            Step::Relabel(index, pool) => {
                if let Some(name) = self.node(index) {
                    let labels = [("pool".to_owned(), POOLS[usize::from(pool) % POOLS.len()].to_owned())];
                    self.world.api.edit(name.as_str(), |node| node.labels = std::sync::Arc::new(labels.into()));
                }
            }
            Step::ForeignWrite(index, block) => {
                let text = match block % 6 {
                    0 => format!("10.{}.0.0/27", block / 16),
                    1 => format!("10.{}.0.64/26", block / 16),
                    2 => format!("10.{}.0.0/16", block / 16),
                    3 => "192.168.77.0/24".to_owned(),
                    4 => "10.0.0.1/24".to_owned(),
                    _ => "fd00::/64".to_owned(),
                };
                if let Some(name) = self.node(index)
                    && self.world.api.nodes.get(&name).is_some_and(|node| node.pod_cidrs.is_empty())
                {
                    self.world.api.edit(name.as_str(), |node| node.pod_cidrs = vec![text]);
                    self.tainted.insert(name);
                }
            }
            _ => unreachable!("only steps that change nodes"),
        }
    }

    fn register(&mut self, name: &str, pool: u8, pods: u8) {
        let pool = POOLS[usize::from(pool) % POOLS.len()];
        let pods = PODS[usize::from(pods) % PODS.len()];
        let labels: &[(&str, &str)] = if pool.is_empty() { &[] } else { &[("pool", pool)] };
        self.world.api.create(name, labels, pods);
    }

    fn delete(&mut self, name: &NodeName) {
        let now = self.world.now;
        if let Some(node) = self.world.api.nodes.get(name)
            && !self.tainted.remove(name)
        {
            self.freed.extend(node.pod_cidrs.iter().map(|text| (cidr(text), now)));
        }
        self.world.api.delete(name.as_str());
    }

    fn change_ranges(&mut self, step: Step) {
        let now = self.world.now;
        let (index, change): (u8, &dyn Fn(&mut RangeSpec)) = match step {
            Step::AddRange(number) => {
                let spec = spec(number % 16);
                let is_known = self.declared.contains_key(&spec.name);
                if !is_known && self.world.engine.handle_range(spec.clone(), now).is_ok() {
                    self.declared.insert(spec.name.clone(), (spec, false));
                }
                return;
            }
            Step::RemoveRange(index) => {
                let names: Vec<RangeName> = self.declared.keys().cloned().collect();
                if let Some(name) = pick(&names, index) {
                    self.declared.entry(name.clone()).and_modify(|(_, is_removing)| *is_removing = true);
                    self.world.engine.handle_range_removed(name, now);
                }
                return;
            }
            Step::Exclude(number) => {
                let excluded =
                    Exclusion { cidr: cidr(&format!("10.{}.0.128/26", number % 16)), purpose: "services".to_owned() };
                self.excluded = if number.is_multiple_of(3) { Vec::new() } else { vec![excluded] };
                self.world.engine.handle_exclusions(self.excluded.clone(), now);
                return;
            }
            Step::Drain(index, true) => (index, &|spec| spec.state = RangeState::Draining),
            Step::Drain(index, false) => (index, &|spec| spec.state = RangeState::Active),
            Step::Grow(index) => (index, &|spec| {
                let longer = spec.cidr.length().saturating_sub(1).max(20);
                spec.cidr = Cidr::containing(spec.cidr.network(), longer).unwrap_or(spec.cidr);
            }),
            _ => unreachable!("only steps that change ranges"),
        };
        let names: Vec<RangeName> = self.declared.keys().cloned().collect();
        let Some((spec, is_removing)) = pick(&names, index).and_then(|name| self.declared.get_mut(name)) else {
            return;
        };
        let mut changed = spec.clone();
        change(&mut changed);
        let accepted = self.world.engine.handle_range(changed.clone(), now).is_ok();
        assert_eq!(accepted, !*is_removing, "{changed:?}");
        if accepted {
            *spec = changed;
        }
    }

    fn forget_ranges(&mut self) {
        for name in std::mem::take(&mut self.world.forgotten) {
            self.declared.remove(&name);
        }
    }

    fn deliver(&mut self, count: usize) {
        for _ in 0..count {
            let Some(event) = self.world.api.watch.pop_front() else { return };
            self.replayable.push(event.clone());
            if self.replayable.len() > 50 {
                self.replayable.remove(0);
            }
            self.world.tell(event);
        }
    }

    fn answer(&mut self, index: usize, fate: Fate) {
        let ids: Vec<_> = self.world.calls.keys().copied().collect();
        if ids.is_empty() {
            return;
        }
        let id = ids[index % ids.len()];
        if let Some(operation) = self.world.calls.remove(&id) {
            let answer = self.carry_out(&operation, fate);
            self.world.engine.handle_answer(id, answer, self.world.now);
        }
    }

    fn carry_out(&mut self, operation: &ApiOperation, fate: Fate) -> freeboard_blocks::Answer {
        let node = match operation {
            ApiOperation::SetPodCidrs { node, .. } | ApiOperation::ReadNode { node } => node.clone(),
        };
        let before = self.world.api.nodes.get(&node).map(|node| node.pod_cidrs.clone());
        let answer = self.world.api.carry_out(operation, fate);
        let after = self.world.api.nodes.get(&node).map(|node| node.pod_cidrs.clone());
        if let (ApiOperation::SetPodCidrs { cidr, .. }, true) = (operation, before != after) {
            let floor = settings().cooldown_floor;
            let early = self.freed.iter().find(|(freed, at)| freed.overlaps(*cidr) && self.world.now < *at + floor);
            assert!(early.is_none(), "{cidr} was given to {node} although {early:?} was released a moment ago");
        }
        answer
    }

    fn pass(&mut self, seconds: i64) {
        let until = self.world.now + SignedDuration::from_secs(seconds);
        loop {
            let timeout = self.world.engine.poll_timeout().map(|(at, _)| at);
            let landing = self.landing.iter().map(|(at, _)| *at).min();
            let Some(next) = timeout.into_iter().chain(landing).min().filter(|at| *at <= until) else { break };
            self.world.now = self.world.now.max(next);
            self.land();
            self.world.engine.handle_timeout(self.world.now);
            self.world.collect();
        }
        self.world.now = until;
        self.world.engine.handle_timeout(until);
    }

    fn land(&mut self) {
        let now = self.world.now;
        let (due, later): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.landing).into_iter().partition(|(at, _)| *at <= now);
        self.landing = later;
        for (_, operation) in due {
            self.world.api.call(&operation);
        }
    }

    fn change_leader(&mut self, keeps_cooling: bool) {
        let now = self.world.now;
        let late = std::mem::take(&mut self.world.calls).into_values().enumerate();
        let lands = |index: usize| now + SignedDuration::from_secs(i64::try_from(index % 9).unwrap_or(0));
        // Every other call of the old leader never arrives.
        self.landing
            .extend(late.filter(|(index, _)| index % 2 == 0).map(|(index, operation)| (lands(index), operation)));
        let cooling = self.world.engine.cooling();
        self.world.engine = Blocks::new(engine_settings(&self.excluded), now);
        self.world.api.watch.clear();
        self.replayable.clear();
        self.remembered = None;
        self.freed.clear();
        for (spec, is_removing) in self.declared.values() {
            self.world.engine.handle_range(spec.clone(), now).expect("it stood before");
            if *is_removing {
                // The nodes are not known yet: the shell tells of the removal after the list.
                continue;
            }
        }
        if keeps_cooling {
            self.world.engine.handle_cooling(&cooling, now);
        }
        let (nodes, version) = self.world.api.list();
        self.world.engine.handle_nodes(nodes, version, now);
        for (name, (_, is_removing)) in &self.declared {
            if *is_removing {
                self.world.engine.handle_range_removed(name, now);
            }
        }
    }

    /// What must hold at any time, by what the API has: no two nodes share an address.
    fn check(&mut self) {
        let mut blocks: Vec<(Cidr, &NodeName)> = Vec::new();
        for (name, node) in self.world.api.nodes.iter().filter(|(name, _)| !self.tainted.contains(*name)) {
            blocks.extend(node.pod_cidrs.iter().map(|text| (cidr(text), name)));
        }
        blocks.sort_unstable();
        for pair in blocks.windows(2) {
            assert!(!pair[0].0.overlaps(pair[1].0), "{pair:?} share addresses");
        }
        self.most_waiting = self.most_waiting.max(self.world.engine.waiting_nodes());
    }

    /// Everything heals: all is delivered and answered, cool-downs end. Then nothing is lost, nothing leaks, and no node waits for
    /// whom there is room.
    pub(crate) fn finish(&mut self) {
        self.pass(15);
        for _ in 0..4 {
            self.heal();
            self.pass(120);
        }
        self.heal();
        self.check();
        let view = self.world.engine.view();
        assert_eq!(view.nodes, self.world.api.nodes.len(), "the engine knows the nodes");
        assert_eq!(view.nodes_writing, 0, "every write is settled");
        for range in &view.ranges {
            let free = self.free_space(range.cidr, &self.declared[&range.name].0);
            assert_eq!(range.cooling_addresses, 0, "{range:?}");
            assert_eq!(range.free_addresses, free.free_addresses(), "nothing of {} is lost or leaked", range.name);
        }
        let users = |spec: &RangeSpec| {
            let blocks = self.world.api.nodes.values().flat_map(|node| &node.pod_cidrs);
            blocks.filter_map(|text| text.parse::<Cidr>().ok()).any(|block| spec.cidr.contains_block(block))
        };
        for (spec, is_removing) in self.declared.values() {
            assert!(!is_removing || users(spec) || self.is_touched(spec), "{} is removed and stays", spec.name);
        }
        for node in self.world.api.nodes.values() {
            self.check_served(node);
        }
    }

    fn heal(&mut self) {
        loop {
            self.deliver(usize::MAX);
            self.world.collect();
            self.forget_ranges();
            if self.world.calls.is_empty() && self.world.api.watch.is_empty() {
                return;
            }
            self.answer(0, Fate::Done);
            self.world.collect();
        }
    }

    /// A block whose text has host bits is kept for what was meant.
    fn is_touched(&self, spec: &RangeSpec) -> bool {
        let blocks = self.world.api.nodes.values().flat_map(|node| &node.pod_cidrs);
        blocks.filter_map(|text| Cidr::parse_clearing_host_bits(text).ok()).any(|block| spec.cidr.contains_block(block))
    }

    /// What is free by all that the API has, counted address by address.
    fn free_space(&self, range: Cidr, spec: &RangeSpec) -> FreeSpace {
        let mut space = FreeSpace::all_free(range);
        let blocks = self.world.api.nodes.values().flat_map(|node| &node.pod_cidrs);
        let blocks = blocks.filter_map(|text| Cidr::parse_clearing_host_bits(text).ok());
        let excluded = spec.excluded.iter().chain(&self.excluded).map(|exclusion| exclusion.cidr);
        for block in blocks.chain(excluded).filter(|block| block.overlaps(range)) {
            let part = if block.contains_block(range) { range } else { block };
            for address in part.addresses() {
                space.take(Cidr::host(address));
            }
        }
        space
    }

    fn check_served(&self, node: &ObservedNode) {
        if !node.pod_cidrs.is_empty() || node.is_deleting {
            return;
        }
        let Some(refusal) = self.world.engine.explain(&node.name) else {
            panic!("{} has no block and no reason", node.name)
        };
        for (spec, is_removing) in self.declared.values() {
            let is_for = spec.selector.as_ref().is_none_or(|selector| selector.matches(&node.labels));
            // What is kept for a pool is no room for others.
            let is_kept = !spec.reservations.is_empty() && refusal.cause == Cause::RoomReserved;
            if *is_removing || !is_for || is_kept || spec.state == RangeState::Draining {
                continue;
            }
            let pods = node.max_pods.and_then(|pods| u32::try_from(pods).ok());
            let length = match (pods, spec.block_size) {
                (Some(pods), size) => size.block_length(pods),
                (None, BlockSize::Fixed(length)) => Some(length),
                (None, BlockSize::PerPod(_)) => None,
            };
            let free = self.free_space(spec.cidr, spec);
            let room = length.and_then(|length| free.lowest_block(length));
            assert_eq!(room, None, "{} waits ({refusal}) although {} has room", node.name, spec.name);
        }
    }
}

fn pick<T>(items: &[T], index: u8) -> Option<&T> {
    if items.is_empty() { None } else { items.get(usize::from(index) % items.len()) }
}
