//! The agent's shell under virtual time: effects, the disk, death and restart, and what runs beside the pool.

use std::collections::BTreeSet;

use freeboard_address::{AttachmentKey, EniId};
use freeboard_pool::{CheckpointState, DelRequest, Effect, Pool, RestoredAllocation};
use jiff::SignedDuration;

use crate::call::{Ec2Answer, Ec2Call};
use crate::check::Check;
use crate::fault::FaultClass;
use crate::mischief::Wrong;
use crate::node::{Asked, NETWORK, Node, Sandbox, Tombstone, Via, pod_key, rebuilt_key};
use crate::run::{Event, Flight, Owner, Run};

/// The agent looks for tombstones this often.
const TOMBSTONES: SignedDuration = SignedDuration::from_secs(5);
/// The agent looks for stale allocations this often.
const STALE_PERIOD: SignedDuration = SignedDuration::from_mins(4);
/// Two looks that must agree before a stale allocation is released.
const STALE_APART: SignedDuration = SignedDuration::from_secs(30);
/// The agent looks for leftover interfaces this often, and this soon again when it could not look.
const SWEEP_PERIOD: SignedDuration = SignedDuration::from_mins(10);
const SWEEP_RETRY: SignedDuration = SignedDuration::from_secs(60);
/// Two looks that must agree before a leftover interface is deleted.
const SWEEP_APART: SignedDuration = SignedDuration::from_secs(60);

impl Run {
    /// Carries out the effects of one node's pool; whether there were any.
    pub(crate) fn drain(&mut self, index: usize) -> bool {
        let mut any = false;
        while let Some(effect) =
            self.nodes.get_mut(index).and_then(|node| node.pool.as_mut()).and_then(Pool::poll_effect)
        {
            any = true;
            let Some(effect) = self.distorted_effect(index, effect) else { continue };
            if !matches!(effect, Effect::Signal(_)) {
                self.note(|| format!("node {index}: {effect:?}"));
            }
            match effect {
                Effect::Persist(_) => {
                    if let Some(node) = self.nodes.get_mut(index) {
                        node.unwritten = true;
                    }
                }
                Effect::Reply(request, reply) => self.on_reply(index, request, reply),
                Effect::Cloud(id, operation) => self.start_operation(index, id, operation),
                Effect::Signal(_) => {}
            }
        }
        let Some(node) = self.nodes.get_mut(index) else { return any };
        if node.unwritten && node.writing.is_none() && node.pool.is_some() {
            node.unwritten = false;
            any = true;
            self.write(index);
        }
        any
    }

    fn write(&mut self, index: usize) {
        let delay = self.random.seconds(0.001, 0.01);
        let Some(state) = self.nodes.get(index).and_then(|node| node.pool.as_ref()).map(Pool::checkpoint) else {
            return;
        };
        let state = self.distorted_record(state);
        let Some(node) = self.nodes.get_mut(index) else { return };
        node.writing = Some(state);
        let incarnation = node.incarnation;
        if node.take_armed(FaultClass::CrashBeforeWrite) {
            node.writing = None;
            self.note(|| format!("node {index}: killed before the write"));
            self.crash(index);
            return;
        }
        self.after(delay, Event::Written { node: index, incarnation });
    }

    pub(crate) fn written(&mut self, index: usize, incarnation: u64) {
        let now = self.now;
        self.touched.insert(index);
        let Some(node) = self.nodes.get_mut(index).filter(|node| node.incarnation == incarnation) else { return };
        let Some(state) = node.writing.take() else { return };
        let revision = state.revision;
        let outcome = if node.disk.full {
            Err("no space left on device".to_owned())
        } else {
            node.disk.state = Some(state);
            node.disk.torn = false;
            Ok(revision)
        };
        if outcome.is_ok() && node.take_armed(FaultClass::CrashAfterWrite) {
            self.note(|| format!("node {index}: killed after the write"));
            self.crash(index);
            return;
        }
        let time = node.time(now);
        if let Some(pool) = &mut node.pool {
            pool.handle_persisted(outcome, time);
        }
    }

    /// Kills the agent: what is in flight takes effect and nobody hears of it; plugins that wait get an error.
    pub(crate) fn crash(&mut self, index: usize) {
        self.crash_for(index, (1.0, 20.0));
    }

    /// The same, and it comes back after so many seconds, at least and at most.
    pub(crate) fn crash_for(&mut self, index: usize, (least, most): (f64, f64)) {
        let landed = self.random.chance(0.5);
        let downtime = self.random.seconds(least, most);
        self.touched.insert(index);
        let Some(node) = self.nodes.get_mut(index).filter(|node| node.pool.is_some()) else { return };
        node.pool = None;
        node.ready_since = None;
        node.incarnation += 1;
        node.operations.clear();
        node.unwritten = false;
        if let Some(state) = node.writing.take().filter(|_| landed && !node.disk.full) {
            node.disk.state = Some(state);
        }
        let incarnation = node.incarnation;
        for (_, open) in std::mem::take(&mut node.open) {
            match open.asked {
                Asked::Add { key, .. } => self.bury(index, &key),
                Asked::Del { of, via: Via::Runtime, .. } => self.bury(index, &of),
                Asked::Del { .. } => {}
            }
        }
        self.after(downtime, Event::Start { node: index, incarnation });
    }

    /// The plugin cannot reach the agent: it cleans the host and leaves a tombstone.
    pub(crate) fn bury(&mut self, index: usize, key: &AttachmentKey) {
        let (now, mute) = (self.now, self.is_wrong(Wrong::NoTombstones));
        let Some(node) = self.nodes.get_mut(index) else { return };
        let Some(sandbox) = node.sandboxes.get(key) else { return };
        if !mute {
            let tombstone = Tombstone { pod: pod_key(&sandbox.pod), deleted: node.wall(now) };
            node.tombstones.insert(key.clone(), tombstone);
        }
        let incarnation = node.incarnation;
        self.sandbox_is_gone(index, key, true);
        self.after(TOMBSTONES, Event::Tombstones { node: index, incarnation });
    }

    pub(crate) fn read_tombstones(&mut self, index: usize, incarnation: u64) {
        let Some(node) = self.nodes.get(index) else { return };
        if node.incarnation != incarnation || node.pool.is_none() {
            return;
        }
        let being_read: BTreeSet<AttachmentKey> = node
            .open
            .values()
            .filter_map(|open| match &open.asked {
                Asked::Del { of, via: Via::Tombstone, .. } => Some(of.clone()),
                Asked::Del { .. } | Asked::Add { .. } => None,
            })
            .collect();
        let due: Vec<_> = node.tombstones.clone().into_iter().filter(|(key, _)| !being_read.contains(key)).collect();
        for (key, Tombstone { pod, .. }) in due {
            self.send_del(index, Asked::Del { of: key.clone(), key, pod, via: Via::Tombstone, own: false });
        }
    }

    /// Starts the agent with what the disk has, or with what the kernel says when the file is torn.
    pub(crate) fn start_agent(&mut self, index: usize, incarnation: u64) {
        let now = self.now;
        self.touched.insert(index);
        let Some(node) = self.nodes.get_mut(index).filter(|n| n.incarnation == incarnation && n.pool.is_none()) else {
            return;
        };
        node.set_clock();
        let time = node.time(now);
        let torn = node.disk.torn;
        let state = if torn { rebuild(node, time) } else { node.disk.state.clone().unwrap_or_default() };
        let Some(state) = self.distorted_start(index, torn, state) else { return };
        let (later, Some(node)) = (self.is_restored_later(index), self.nodes.get(index)) else { return };
        let settings = self.distorted_settings(&node.settings);
        let mut pool = if self.is_on_blocks() {
            Pool::on_blocks(settings, time)
        } else {
            Pool::new(settings, node.facts.clone(), time)
        };
        if !state.blocks.is_empty() {
            // They were the node's when they were recorded, so they make sense.
            let _ = pool.handle_blocks(&state.blocks, time);
        }
        let mut allocations = state.allocations.clone();
        allocations.extend(state.conflicting);
        if !later {
            pool.handle_returned(state.returned, time);
            pool.handle_intents(state.creating, time);
            pool.handle_restore(allocations, state.cooling, time);
        }
        let Some(node) = self.nodes.get_mut(index) else { return };
        node.restored = state.allocations;
        node.pool = Some(pool);
        node.disk.torn = false;
        if self.is_on_blocks() {
            self.tell_blocks(index);
        }
        self.after(SignedDuration::ZERO, Event::Tombstones { node: index, incarnation });
        if incarnation > 0 && !self.is_nobody_looking() {
            self.after(SignedDuration::from_secs(1), Event::StaleLook { node: index, incarnation, first: None });
            if !self.is_on_blocks() {
                self.sweep(index, incarnation, None);
            }
        }
    }

    /// Looks twice for allocations of an earlier run that nothing on the host speaks for, and releases them.
    pub(crate) fn stale_look(&mut self, index: usize, incarnation: u64, first: Option<BTreeSet<AttachmentKey>>) {
        let Some(node) = self.nodes.get(index).filter(|node| node.incarnation == incarnation) else { return };
        let Some(pool) = &node.pool else { return };
        if !pool.view().ready {
            self.after(SignedDuration::from_secs(1), Event::StaleLook { node: index, incarnation, first });
            return;
        }
        let witnesses = node.witnesses();
        let unseen = |old: &&RestoredAllocation| {
            let name = old.pod.as_ref().map_or(old.key.container.as_str(), |pod| pod.name.as_str());
            witnesses.get(name) != Some(&old.address)
        };
        let suspects: Vec<RestoredAllocation> = node.restored.iter().filter(unseen).cloned().collect();
        let Some(first) = first else {
            let first = suspects.into_iter().map(|old| old.key).collect();
            let again = Event::StaleLook { node: index, incarnation, first: Some(first) };
            self.after(STALE_APART, again);
            return;
        };
        // What was restored may lose its sandbox later, without any word of it.
        self.after(STALE_PERIOD, Event::StaleLook { node: index, incarnation, first: None });
        for old in suspects.into_iter().filter(|old| first.contains(&old.key)) {
            let held = self.nodes.get(index).and_then(|node| node.pool.as_ref()).and_then(|pool| pool.holds(&old.key));
            if held.is_some_and(|held| held.address == old.address && held.since == old.since) {
                let pod = old.pod.unwrap_or_else(|| pod_key(&old.key.container));
                self.send_del(
                    index,
                    Asked::Del { of: old.key.clone(), key: old.key, pod, via: Via::Stale, own: false },
                );
            }
        }
    }

    /// The answer of a look for leftover interfaces.
    pub(crate) fn swept(&mut self, flight: &Flight, first: Option<&BTreeSet<EniId>>, answer: &Ec2Answer) {
        let Ec2Answer::Interfaces(found) = answer else { return };
        let view = self.nodes.get(flight.node).and_then(|node| node.pool.as_ref()).map(Pool::view);
        let Some(view) = view else { return };
        let own: BTreeSet<&EniId> = view.interfaces.iter().map(|interface| &interface.id).collect();
        let ids = found.iter().map(|interface| interface.network_interface_id.clone());
        let (node, incarnation) = (flight.node, flight.incarnation);
        let found: BTreeSet<EniId> = ids.filter(|id| !own.contains(id)).collect();
        match first {
            // The agent leaves alone what it made itself; it tells by the time of the creation.
            None if found.is_empty() => self.after(SWEEP_PERIOD, Event::Sweep { node, incarnation, found: None }),
            None => self.after(SWEEP_APART, Event::Sweep { node, incarnation, found: Some(found) }),
            Some(first) => {
                self.check_leftovers(node, found.intersection(first));
                // Whether the deletion worked, the next look tells.
                self.after(SWEEP_RETRY, Event::Sweep { node, incarnation, found: None });
                for id in found.intersection(first) {
                    let call = Ec2Call::Delete(id.clone());
                    let owner = Owner::Side;
                    self.issue(Flight {
                        node,
                        incarnation,
                        owner,
                        call,
                        attempt: 1,
                        refused: None,
                        answer_lost: false,
                    });
                }
            }
        }
    }

    /// A look for leftover interfaces; the second one when `found` says what the first one saw.
    pub(crate) fn sweep(&mut self, index: usize, incarnation: u64, found: Option<BTreeSet<EniId>>) {
        let Some(node) = self.nodes.get(index).filter(|node| node.incarnation == incarnation) else { return };
        let call = Ec2Call::DescribeLeftovers(node.facts.instance.clone());
        let owner = Owner::Sweep(found);
        self.issue(Flight { node: index, incarnation, owner, call, attempt: 1, refused: None, answer_lost: false });
    }

    /// The look for leftovers failed.
    pub(crate) fn sweep_failed(&mut self, flight: &Flight) {
        let (node, incarnation) = (flight.node, flight.incarnation);
        self.after(SWEEP_RETRY, Event::Sweep { node, incarnation, found: None });
    }

    /// The runtime's garbage collection tells which sandboxes there are.
    pub(crate) fn collect(&mut self, index: usize) {
        if self.is_nobody_looking() {
            return;
        }
        let now = self.now;
        self.touched.insert(index);
        let Some(node) = self.nodes.get_mut(index) else { return };
        let valid: BTreeSet<AttachmentKey> = node.sandboxes.keys().cloned().collect();
        let (time, epoch) = (node.time(now), node.epoch);
        let Some(pool) = &mut node.pool else {
            self.after(SignedDuration::from_secs(5), Event::Collect { node: index });
            return;
        };
        let released = pool.handle_collect(NETWORK, &valid, time);
        for holding in released {
            node.released.insert(holding.address, crate::node::Release { at: time, epoch });
        }
    }

    /// Sends a DEL to the pool of a node whose agent runs.
    pub(crate) fn send_del(&mut self, index: usize, mut asked: Asked) {
        let (now, forgotten) = (self.now, self.is_deletion_forgotten());
        self.touched.insert(index);
        let Some(node) = self.nodes.get_mut(index) else { return };
        let Asked::Del { of, key, pod, via, own } = &mut asked else { return };
        *own |= node.pool.as_ref().is_some_and(|pool| pool.has_asked(of));
        if forgotten && *via == Via::Runtime {
            let of = of.clone();
            self.sandbox_is_gone(index, &of, false);
            return;
        }
        let del = DelRequest { key: key.clone(), pod: Some(pod.clone()) };
        let (request, time) = (node.ask(asked, now), node.time(now));
        match &mut node.pool {
            Some(pool) => pool.handle_del(request, del, time),
            None => self.fail(Check::AnsweredInTime, format!("a DEL was sent to node {index} while its agent is down")),
        }
    }
}

/// The state that the kernel speaks for.
fn rebuild(node: &mut Node, time: jiff::Timestamp) -> CheckpointState {
    node.forget_releases();
    // With the file it is lost what was given back; a late list at the same time is more than a node can see through.
    node.stale = node.stale.take().filter(|stale| !stale.ghosts);
    let witnesses = node.witnesses();
    // Of two sandboxes of one pod the kernel can speak for one only: they share the name of the host interface.
    for sandbox in node.sandboxes.values_mut() {
        let lost = |sandbox: &Sandbox| witnesses.get(&sandbox.pod).copied() != sandbox.live_address();
        if sandbox.live_address().is_some() && lost(sandbox) {
            sandbox.stranded = true;
        }
    }
    let allocations = witnesses.iter().map(|(pod, address)| RestoredAllocation {
        key: rebuilt_key(pod),
        pod: None,
        address: *address,
        since: time,
    });
    CheckpointState { allocations: allocations.collect(), ..CheckpointState::default() }
}
