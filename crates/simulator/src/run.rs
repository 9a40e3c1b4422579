//! A run: one queue of events under virtual time, the cloud, and the nodes. Same scenario, seed and commit: same steps.

use std::collections::{BTreeMap, BTreeSet};

use freeboard_address::{AttachmentKey, EniId, InstanceId};
use freeboard_pool::OperationId;
use freeboard_vpc::{Cloud, CloudEffect};
use jiff::{SignedDuration, Timestamp};

use crate::call::{CallError, Ec2Call};
use crate::check::Check;
use crate::fault::Occurrence;
use crate::mischief::{Mischief, Wrong};
use crate::node::Node;
use crate::random::{Random, duration};
use crate::record::{Failure, Step, Violation};
use crate::scenario::{PoolChoice, Scenario};
use crate::scenario_check::ScenarioError;
use crate::summary::{Series, Summary};
use crate::workload::{self, PodEvent};
use crate::world;

/// When every run begins: 2026-01-01T00:00:00Z.
const START_SECOND: i64 = 1_767_225_600;

/// Who hears the answer of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    Operation(OperationId),
    /// Nobody acts on it.
    Side,
    /// The look for interfaces that an earlier run of the agent left; with what the first look found.
    Sweep(Option<BTreeSet<EniId>>),
}

/// A call on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Flight {
    pub(crate) node: usize,
    pub(crate) incarnation: u64,
    pub(crate) owner: Owner,
    pub(crate) call: Ec2Call,
    pub(crate) attempt: u32,
    /// The error that was decided when the call was made; carried out when none.
    pub(crate) refused: Option<CallError>,
    pub(crate) answer_lost: bool,
}

/// Something that happens at a time.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Event {
    Pod(PodEvent),
    Attempt { node: usize, pod: String },
    Delete { node: usize, key: AttachmentKey },
    Repeat { node: usize, key: AttachmentKey },
    GiveUp { node: usize, key: AttachmentKey },
    Issue(Flight),
    Answer(Flight),
    LinkReady(EniId),
    LinkTimeout { node: usize, incarnation: u64, operation: OperationId },
    LookAgain { node: usize, incarnation: u64, operation: OperationId },
    Written { node: usize, incarnation: u64 },
    Start { node: usize, incarnation: u64 },
    Tombstones { node: usize, incarnation: u64 },
    StaleLook { node: usize, incarnation: u64, first: Option<BTreeSet<AttachmentKey>> },
    Sweep { node: usize, incarnation: u64, found: Option<BTreeSet<EniId>> },
    Collect { node: usize },
    Settings(Box<PoolChoice>),
    Blocks,
    Mischief { node: usize, free: Vec<(EniId, std::net::Ipv4Addr)> },
    Fault(Occurrence),
    Undo(Undo),
    Sample,
    Heal,
    End,
}

/// The end of a fault that lasts.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Undo {
    Subnet(freeboard_address::SubnetId),
    Disk(usize),
    Cordon(usize),
}

/// What is due next.
enum Due {
    Event(Event),
    Wake(usize),
    Cloud,
}

/// One run of a scenario under one seed.
#[derive(Debug)]
pub struct Run {
    pub(crate) scenario: Scenario,
    pub(crate) seed: u64,
    pub(crate) now: Timestamp,
    pub(crate) start: Timestamp,
    pub(crate) cloud: Cloud,
    pub(crate) nodes: Vec<Node>,
    pub(crate) by_instance: BTreeMap<InstanceId, usize>,
    queue: BTreeMap<(Timestamp, u64), Event>,
    wakes: BTreeSet<(Timestamp, usize)>,
    sequence: u64,
    pub(crate) touched: BTreeSet<usize>,
    pub(crate) random: Random,
    pub(crate) outage_until: Timestamp,
    pub(crate) slow_links: u32,
    /// Interfaces that a fault removed behind the nodes' backs.
    pub(crate) removed: BTreeSet<EniId>,
    /// Interfaces of which the agent that created them did not live to hear.
    pub(crate) unheard: BTreeSet<EniId>,
    pub(crate) healthy: bool,
    /// Whether anything has gone wrong yet.
    pub(crate) troubled: bool,
    /// The wrong behaviour that is loose.
    pub(crate) mischief: Option<Mischief>,
    over: bool,
    pub(crate) checks: BTreeSet<Check>,
    pub(crate) steps: u64,
    pub(crate) effects: Vec<String>,
    pub(crate) recording: bool,
    pub(crate) violation: Option<Violation>,
    pub(crate) series: Series,
}

impl Run {
    /// A run at its start.
    ///
    /// # Errors
    /// [`ScenarioError`] when the scenario makes no sense.
    pub fn new(scenario: &Scenario, seed: u64) -> Result<Self, ScenarioError> {
        scenario.check()?;
        let now = Timestamp::from_second(START_SECOND).unwrap_or(Timestamp::UNIX_EPOCH);
        let limits = scenario.instance_type()?;
        let cloud = world::cloud(scenario, seed, now)?;
        let count = usize::try_from(scenario.nodes.count).unwrap_or(usize::MAX);
        let node = |number| Node::new(world::facts(scenario, &limits, number), scenario.pool.settings(), now);
        let mut run = Self {
            seed,
            now,
            start: now,
            cloud,
            nodes: (0..count).map(node).collect(),
            by_instance: (0..count).map(|number| (world::instance_id(number), number)).collect(),
            queue: BTreeMap::new(),
            wakes: BTreeSet::new(),
            sequence: 0,
            touched: BTreeSet::new(),
            random: Random::new(seed, "run"),
            outage_until: now,
            slow_links: 0,
            removed: BTreeSet::new(),
            unheard: BTreeSet::new(),
            healthy: false,
            troubled: false,
            mischief: None,
            over: false,
            checks: Check::ALL.iter().copied().collect(),
            steps: 0,
            effects: Vec::new(),
            recording: true,
            violation: None,
            series: Series::default(),
            scenario: scenario.clone(),
        };
        run.fill_queue()?;
        Ok(run)
    }

    fn fill_queue(&mut self) -> Result<(), ScenarioError> {
        self.make_links();
        self.plan_blocks();
        let length = self.scenario.duration_seconds;
        for node in 0..self.nodes.len() {
            self.after(SignedDuration::ZERO, Event::Start { node, incarnation: 0 });
        }
        let mut random = Random::new(self.seed, "workload");
        for event in workload::plan(&self.scenario.workloads, self.scenario.nodes.count, length, &mut random)? {
            self.after(duration(event.at_seconds), Event::Pod(event));
        }
        for change in self.scenario.changes.clone() {
            self.after(duration(change.at_seconds), Event::Settings(Box::new(change.pool)));
        }
        let mut random = Random::new(self.seed, "faults");
        for occurrence in self.scenario.faults.plan(length, &mut random) {
            self.after(duration(occurrence.at_seconds), Event::Fault(occurrence));
        }
        self.after(SignedDuration::ZERO, Event::Sample);
        self.after(duration(length), Event::Heal);
        self.after(duration(length + self.scenario.settle_seconds), Event::End);
        Ok(())
    }

    /// The same run without one of the checks; to prove that it is that check which catches something.
    #[must_use]
    pub fn without(mut self, check: Check) -> Self {
        self.checks.remove(&check);
        self
    }

    /// The same run with one check alone; to prove what it finds by itself.
    #[must_use]
    pub fn only(mut self, check: Check) -> Self {
        self.checks = BTreeSet::from([check]);
        self
    }

    /// The same run without texts in its steps: faster, for thousands of nodes.
    #[must_use]
    pub fn quiet(mut self) -> Self {
        self.recording = false;
        self
    }

    /// The virtual time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Steps made so far.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Makes the next step; `None` when the run is over, or an invariant was broken.
    pub fn step(&mut self) -> Option<Step> {
        if self.over || self.violation.is_some() {
            return None;
        }
        let due = self.next_due()?;
        self.steps += 1;
        self.effects.clear();
        let what = match due {
            Due::Cloud => {
                self.cloud.handle_timeout(self.now);
                "cloud".to_owned()
            }
            Due::Wake(node) => {
                self.wake(node);
                format!("wake node {node}")
            }
            Due::Event(event) => {
                let what = if self.recording { format!("{event:?}") } else { String::new() };
                self.handle(event);
                what
            }
        };
        self.settle_effects();
        let violation = self.violation.clone();
        let effects = std::mem::take(&mut self.effects);
        Some(Step { number: self.steps, at: self.now, what, effects, violation })
    }

    /// Makes all steps that are left.
    ///
    /// # Errors
    /// [`Failure`]: the first invariant that was broken, with the command that replays it.
    pub fn finish(mut self) -> Result<Summary, Box<Failure>> {
        while self.step().is_some() {}
        match self.violation.take() {
            Some(violation) => Err(Box::new(Failure::new(&self, violation))),
            None => Ok(self.summary()),
        }
    }

    /// The invariant that was broken, if one was.
    #[must_use]
    pub fn failure(&self) -> Option<Failure> {
        self.violation.clone().map(|violation| Failure::new(self, violation))
    }

    pub(crate) fn after(&mut self, delay: SignedDuration, event: Event) {
        let at = self.now.checked_add(delay).unwrap_or(Timestamp::MAX);
        self.sequence += 1;
        self.queue.insert((at, self.sequence), event);
    }

    fn next_due(&mut self) -> Option<Due> {
        let event = self.queue.first_key_value().map(|((at, _), _)| *at);
        let wake = self.wakes.first().copied();
        let cloud = self.cloud.poll_timeout().map(|(at, _)| at);
        let first = [event, wake.map(|(at, _)| at), cloud].into_iter().flatten().min()?;
        // Time never runs backwards, also when something was due earlier.
        self.now = self.now.max(first);
        if cloud == Some(first) {
            return Some(Due::Cloud);
        }
        if event == Some(first) {
            return self.queue.pop_first().map(|(_, event)| Due::Event(event));
        }
        wake.map(|(_, node)| Due::Wake(node))
    }

    fn wake(&mut self, index: usize) {
        self.touched.insert(index);
        let (now, start, frozen) = (self.now, self.start, self.is_wrong(Wrong::FrozenClock));
        let Some(node) = self.nodes.get_mut(index) else { return };
        if let Some(at) = node.wake.take() {
            self.wakes.remove(&(at, index));
        }
        let second = SignedDuration::from_secs(1);
        node.wakes =
            if now.duration_since(node.wakes.0) > second { (now, 1) } else { (node.wakes.0, node.wakes.1 + 1) };
        let (count, time) = (node.wakes.1, if frozen { start } else { node.time(now) });
        if let Some(pool) = &mut node.pool {
            pool.handle_timeout(time);
        }
        if count > 500 {
            let why = node.pool.as_ref().and_then(|pool| pool.poll_timeout());
            self.fail(Check::NoSpinning, format!("node {index} woke {count} times within a second: {why:?}"));
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Pod(event) => self.pod_event(&event),
            Event::Attempt { node, pod } => self.attempt(node, &pod),
            Event::Delete { node, key } => self.delete_sandbox(node, &key),
            Event::Repeat { node, key } => self.repeat_add(node, &key),
            Event::GiveUp { node, key } => self.give_up(node, &key),
            Event::Issue(flight) => self.issue(flight),
            Event::Answer(flight) => self.answer(flight),
            Event::LinkReady(interface) => self.link_is_ready(&interface),
            Event::LinkTimeout { node, incarnation, operation } => self.link_timeout(node, incarnation, operation),
            Event::LookAgain { node, incarnation, operation } => self.look_again(node, incarnation, operation),
            Event::Written { node, incarnation } => self.written(node, incarnation),
            Event::Start { node, incarnation } => self.start_agent(node, incarnation),
            Event::Tombstones { node, incarnation } => self.read_tombstones(node, incarnation),
            Event::StaleLook { node, incarnation, first } => self.stale_look(node, incarnation, first),
            Event::Sweep { node, incarnation, found } => self.sweep(node, incarnation, found),
            Event::Collect { node } => self.collect(node),
            Event::Settings(choice) => self.change_settings(&choice),
            Event::Blocks => self.give_blocks(),
            Event::Mischief { node, free } => self.act(node, free),
            Event::Fault(occurrence) => self.fault(occurrence),
            Event::Undo(undo) => self.undo(undo),
            Event::Sample => {
                self.sample();
                if !self.over {
                    self.after(duration(self.scenario.sample_seconds), Event::Sample);
                }
            }
            Event::Heal => self.heal(),
            Event::End => {
                self.check_end();
                self.over = true;
            }
        }
    }

    /// Carries out what engines and cloud want done, until nothing is left at this moment.
    fn settle_effects(&mut self) {
        loop {
            self.make_links();
            let mut any = false;
            for index in self.touched.clone() {
                any |= self.drain(index);
            }
            if !any {
                break;
            }
        }
        for index in std::mem::take(&mut self.touched) {
            self.set_wake(index);
            if self.checks_every_step() {
                self.check_node(index);
            }
        }
    }

    /// Every node gets new settings; one whose agent is down has them at its next start.
    fn change_settings(&mut self, choice: &PoolChoice) {
        let now = self.now;
        for index in 0..self.nodes.len() {
            self.touched.insert(index);
            let Some(node) = self.nodes.get_mut(index) else { continue };
            let (settings, time) = (choice.settings(), node.time(now));
            let changed = node.pool.as_mut().map(|pool| pool.handle_settings(settings.clone(), time));
            match changed {
                None | Some(Ok(_)) => node.settings = settings,
                Some(Err(refused)) => self.note(|| format!("node {index}: {refused}")),
            }
        }
    }

    fn set_wake(&mut self, index: usize) {
        let now = self.now;
        let Some(node) = self.nodes.get_mut(index) else { return };
        if let Some(at) = node.wake.take() {
            self.wakes.remove(&(at, index));
        }
        let Some((at, _)) = node.pool.as_ref().and_then(|pool| pool.poll_timeout()) else { return };
        // As the agent: never at once.
        let wait = at.duration_since(node.time(now)).max(SignedDuration::from_millis(1));
        let at = now.checked_add(wait).unwrap_or(Timestamp::MAX);
        node.wake = Some(at);
        self.wakes.insert((at, index));
    }

    /// Plays the hypervisor.
    fn make_links(&mut self) {
        while let Some(effect) = self.cloud.poll_effect() {
            match effect {
                CloudEffect::InterfaceAttaching(link) if link.device_index == 0 => {
                    self.cloud.handle_link_ready(&link.eni, self.now);
                    self.add_link(&link.instance, &link.eni);
                }
                CloudEffect::InterfaceAttaching(link) => {
                    let slow = self.slow_links > 0;
                    self.slow_links = self.slow_links.saturating_sub(1);
                    let extra = if slow { self.random.between(1.0, 55.0) } else { 0.0 };
                    let delay = self.scenario.world.link_milliseconds / 1_000.0 + extra;
                    self.after(duration(delay), Event::LinkReady(link.eni));
                }
                CloudEffect::InterfaceDetached { instance, eni, .. } => {
                    if let Some(node) = self.by_instance.get(&instance).and_then(|index| self.nodes.get_mut(*index)) {
                        node.links.remove(&eni);
                    }
                    self.cloud.handle_link_gone(&eni, self.now);
                }
                CloudEffect::VpcCidrsChanged { .. }
                | CloudEffect::InstanceLaunched(_)
                | CloudEffect::AddressesChanged { .. }
                | CloudEffect::InstanceTerminated { .. } => {}
            }
        }
    }

    fn add_link(&mut self, instance: &InstanceId, interface: &EniId) {
        if let Some(node) = self.by_instance.get(instance).and_then(|index| self.nodes.get_mut(*index)) {
            node.links.insert(interface.clone());
        }
    }

    fn link_is_ready(&mut self, interface: &EniId) {
        self.cloud.handle_link_ready(interface, self.now);
        let shown = self.interface(interface);
        let Some(instance) = shown.as_ref().and_then(|shown| shown.instance_id().cloned()) else { return };
        self.add_link(&instance, interface);
        if let Some(index) = self.by_instance.get(&instance).copied() {
            self.link_arrived(index, interface);
        }
    }

    /// Notes an effect for the trace.
    pub(crate) fn note(&mut self, text: impl FnOnce() -> String) {
        if self.recording {
            self.effects.push(text());
        }
    }

    /// An invariant is broken; the first one counts.
    pub(crate) fn fail(&mut self, check: Check, what: String) {
        if self.violation.is_none() && self.checks.contains(&check) {
            self.violation = Some(Violation { check, what });
        }
    }
}
