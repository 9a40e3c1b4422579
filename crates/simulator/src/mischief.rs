//! Wrong behaviours between the engine and the world: what goes in or comes out is dropped, altered, delayed or invented. Each
//! is a hook of a few lines; without an animal loose, every hook lets everything pass.

#![expect(clippy::wildcard_enum_match_arm, reason = "each hook is about a few animals and passes everything else on")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use freeboard_address::{AttachmentKey, Cidr, EniId};
use freeboard_pool::{
    CheckpointState, CloudFailure, CloudOperation, CloudSuccess, Effect, FailureKind, NodeFacts, ObservedInterface,
    OperationId, Pool, PoolSettings, PoolView, Reply,
};
use jiff::{SignedDuration, Timestamp};

use crate::call::Ec2Call;
use crate::node::{NETWORK, Node};
use crate::random::Random;
use crate::run::{Event, Flight, Owner, Run};

/// What is done wrongly; [`crate::zoo`] says where each was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wrong {
    EmptyStart,
    LengthsCompared,
    IncompleteList,
    StaleMetadata,
    UnlistedDetached,
    NoTombstones,
    DeletionsForgotten,
    ReleaseRaces,
    OldCollection,
    FailureSwallowed,
    CountedOffTwice,
    TornIsFatal,
    Opaque,
    CoolingCounts,
    RigidCooldown,
    NeverFreed,
    StallsAtMinimum,
    AddDoesNotWait,
    NoBackOff,
    NoSingles,
    LeftoversStay,
    CoolingForgotten,
    NoRest,
    LimitNotLearned,
    ReplyBeforeWrite,
    AnotherAddress,
    AnswerLost,
    AnsweredTwice,
    PrimaryAmongThem,
    FrozenClock,
    IntentsForgotten,
}

/// How often what acts by itself acts.
const PERIOD: SignedDuration = SignedDuration::from_secs(20);
/// Between the look and the deed of an operator that is late.
const LATE: SignedDuration = SignedDuration::from_secs(3);
/// For so long after a start an old list is shown.
const OLD_LIST: SignedDuration = SignedDuration::from_secs(60);

/// A wrong behaviour at work, with what it remembers of each node.
#[derive(Debug)]
pub(crate) struct Mischief {
    pub(crate) wrong: Wrong,
    random: Random,
    nodes: BTreeMap<usize, Memory>,
}

#[derive(Debug, Default)]
struct Memory {
    started: Option<Timestamp>,
    /// The list that was shown last.
    list: Vec<ObservedInterface>,
    /// State that is taken in only when the first list is there.
    to_restore: Option<CheckpointState>,
    sandboxes: BTreeSet<AttachmentKey>,
    counted_off: u32,
}

impl Run {
    /// The same run with a wrong behaviour.
    pub(crate) fn with_wrong(mut self, wrong: Wrong) -> Self {
        let random = Random::new(self.seed, "zoo");
        self.mischief = Some(Mischief { wrong, random, nodes: BTreeMap::new() });
        self.nodes.iter_mut().for_each(|node| distort(wrong, &mut node.facts));
        if matches!(wrong, Wrong::ReleaseRaces | Wrong::OldCollection) {
            for node in 0..self.nodes.len() {
                self.after(PERIOD, Event::Mischief { node, free: Vec::new() });
            }
        }
        self
    }

    pub(crate) fn is_wrong(&self, wrong: Wrong) -> bool {
        self.mischief.as_ref().is_some_and(|mischief| mischief.wrong == wrong)
    }

    fn chance_of(&mut self, wrong: Wrong, probability: f64) -> bool {
        self.mischief.as_mut().is_some_and(|mischief| mischief.wrong == wrong && mischief.random.chance(probability))
    }

    fn memory(&mut self, index: usize) -> Option<&mut Memory> {
        self.mischief.as_mut().map(|mischief| mischief.nodes.entry(index).or_default())
    }

    /// The settings that the engine gets.
    pub(crate) fn distorted_settings(&self, settings: &PoolSettings) -> PoolSettings {
        let mut settings = settings.clone();
        match self.mischief.as_ref().map(|mischief| mischief.wrong) {
            Some(Wrong::RigidCooldown | Wrong::CoolingCounts) => settings.pacing.cooldown_floor = settings.cooldown,
            Some(Wrong::NoRest) => settings.cooldown = SignedDuration::ZERO,
            Some(Wrong::AddDoesNotWait) => settings.add_wait = SignedDuration::ZERO,
            _ => {}
        }
        settings
    }

    /// The state that a starting agent takes in; `None`: it does not start.
    pub(crate) fn distorted_start(
        &mut self,
        index: usize,
        torn: bool,
        state: CheckpointState,
    ) -> Option<CheckpointState> {
        let now = self.now;
        let Some(wrong) = self.mischief.as_ref().map(|mischief| mischief.wrong) else { return Some(state) };
        if torn && wrong == Wrong::TornIsFatal {
            return None;
        }
        let again = self.nodes.get(index).is_some_and(|node| node.incarnation > 0);
        if let Some(memory) = self.memory(index) {
            memory.started = Some(now);
            if wrong == Wrong::IncompleteList && again {
                memory.to_restore = Some(state.clone());
            }
        }
        match wrong {
            Wrong::EmptyStart => Some(CheckpointState { cooling: state.cooling, ..CheckpointState::default() }),
            Wrong::UnlistedDetached if again => {
                self.detach_one_with_pods(index);
                Some(state)
            }
            // What was given back is remembered beside the list; who believes an old list remembers nothing.
            Wrong::StaleMetadata => Some(CheckpointState { returned: Vec::new(), ..state }),
            Wrong::IntentsForgotten | Wrong::LeftoversStay => Some(CheckpointState { creating: Vec::new(), ..state }),
            _ => Some(state),
        }
    }

    /// Whether the state is taken in later, after the first list.
    pub(crate) fn is_restored_later(&self, index: usize) -> bool {
        let memory = self.mischief.as_ref().and_then(|mischief| mischief.nodes.get(&index));
        memory.is_some_and(|memory| memory.to_restore.is_some())
    }

    /// What is written in place of the state.
    pub(crate) fn distorted_record(&self, mut state: CheckpointState) -> CheckpointState {
        if self.is_wrong(Wrong::CoolingForgotten) {
            state.cooling.clear();
        }
        state
    }

    /// What an observer is told of the pool.
    pub(crate) fn told(&self, index: usize, mut view: PoolView) -> PoolView {
        let memory = self.mischief.as_ref().and_then(|mischief| mischief.nodes.get(&index));
        view.tally.total = view.tally.total.saturating_sub(memory.map_or(0, |memory| memory.counted_off));
        view
    }

    /// The effect that the world sees; `None`: nothing of it.
    pub(crate) fn distorted_effect(&mut self, index: usize, effect: Effect) -> Option<Effect> {
        let Some(wrong) = self.mischief.as_ref().map(|mischief| mischief.wrong) else { return Some(effect) };
        let time = self.nodes.get(index).map_or(self.now, |node| node.time(self.now));
        match effect {
            Effect::Persist(revision) if wrong == Wrong::ReplyBeforeWrite => {
                if let Some(pool) = self.nodes.get_mut(index).and_then(|node| node.pool.as_mut()) {
                    pool.handle_persisted(Ok(revision), time);
                }
                Some(Effect::Persist(revision))
            }
            Effect::Reply(request, Reply::Refused(mut refusal)) if wrong == Wrong::Opaque => {
                refusal.message = "failed to assign an IP address to container".to_owned();
                Some(Effect::Reply(request, Reply::Refused(refusal)))
            }
            Effect::Reply(..) if self.chance_of(Wrong::AnswerLost, 0.1) => None,
            Effect::Reply(request, reply) if self.chance_of(Wrong::AnsweredTwice, 0.1) => {
                self.on_reply(index, request, reply.clone());
                Some(Effect::Reply(request, reply))
            }
            Effect::Cloud(id, mut operation) if wrong == Wrong::StallsAtMinimum => {
                let taken = self.up_to_the_minimum(index, &mut operation);
                if !taken {
                    self.not_done(index, id, time);
                }
                taken.then_some(Effect::Cloud(id, operation))
            }
            Effect::Cloud(id, operation) if self.is_withheld(index, wrong, &operation) => {
                self.not_done(index, id, time);
                None
            }
            other => Some(other),
        }
    }

    /// Whether a call that the engine wants is not made.
    fn is_withheld(&self, index: usize, wrong: Wrong, operation: &CloudOperation) -> bool {
        if matches!(operation, CloudOperation::Unassign { .. } | CloudOperation::ReleaseInterface { .. }) {
            return wrong == Wrong::NeverFreed;
        }
        let (addresses, prefixes) = taken(operation);
        let Some(view) = self.nodes.get(index).and_then(|node| node.pool.as_ref()).map(Pool::view) else {
            return false;
        };
        match wrong {
            Wrong::NoSingles => addresses > 0 && prefixes == 0,
            Wrong::CoolingCounts if addresses + prefixes > 0 => view.tally.free + view.tally.cooling > 0,
            _ => false,
        }
    }

    /// Cuts a call so that the pool holds no more than its minimum after it; whether anything is left of it.
    fn up_to_the_minimum(&self, index: usize, operation: &mut CloudOperation) -> bool {
        let minimum = self.scenario.pool.minimum_ip_target.unwrap_or(0);
        let Some(node) = self.nodes.get(index) else { return false };
        let held = node.pool.as_ref().map_or(0, |pool| pool.view().tally.total);
        let coming: u32 = node.operations.values().map(|running| taken(&running.operation).0).sum();
        let left = minimum.saturating_sub(held + coming);
        if let CloudOperation::CreateInterface { addresses: count, .. }
        | CloudOperation::AssignAddresses { count, .. } = operation
        {
            count.0 = count.0.min(left);
            return left > 0;
        }
        true
    }

    fn not_done(&mut self, index: usize, id: OperationId, time: Timestamp) {
        let failure = CloudFailure {
            kind: FailureKind::Other,
            action: "agent".to_owned(),
            detail: "not done".to_owned(),
            at: time,
        };
        if let Some(pool) = self.nodes.get_mut(index).and_then(|node| node.pool.as_mut()) {
            pool.handle_cloud(id, Err(failure), time);
        }
    }

    /// The outcome that the engine hears; `None`: it never hears of it.
    pub(crate) fn distorted_outcome(
        &mut self,
        index: usize,
        outcome: Result<CloudSuccess, CloudFailure>,
    ) -> Option<Result<CloudSuccess, CloudFailure>> {
        let Some(wrong) = self.mischief.as_ref().map(|mischief| mischief.wrong) else { return Some(outcome) };
        match outcome {
            Ok(CloudSuccess::Interfaces(list)) => Some(Ok(CloudSuccess::Interfaces(self.distorted_list(index, list)))),
            Ok(CloudSuccess::AssignedPrefixes(id, mut prefixes)) if wrong == Wrong::PrimaryAmongThem => {
                let primary = self.interface(&id).map(|shown| shown.private_ip_address);
                prefixes.extend(primary.and_then(|address| Cidr::containing(address, 28).ok()));
                Some(Ok(CloudSuccess::AssignedPrefixes(id, prefixes)))
            }
            Ok(CloudSuccess::Released(id)) if wrong == Wrong::CountedOffTwice => {
                let view = self.nodes.get(index).and_then(|node| node.pool.as_ref()).map(Pool::view);
                let interfaces = view.map(|view| view.interfaces).unwrap_or_default();
                let total = interfaces.iter().find(|known| known.id == id).map_or(0, |known| known.tally.total);
                if let Some(memory) = self.memory(index) {
                    memory.counted_off += total;
                }
                Some(Ok(CloudSuccess::Released(id)))
            }
            Err(_) if wrong == Wrong::FailureSwallowed => None,
            Err(mut failure) if wrong == Wrong::LimitNotLearned && failure.kind == FailureKind::AttachmentLimit => {
                failure.kind = FailureKind::Other;
                Some(Err(failure))
            }
            other => Some(other),
        }
    }

    fn distorted_list(&mut self, index: usize, mut list: Vec<ObservedInterface>) -> Vec<ObservedInterface> {
        let (now, wrong) = (self.now, self.mischief.as_ref().map(|mischief| mischief.wrong));
        let again = self.nodes.get(index).is_some_and(|node| node.incarnation > 0);
        let Some(memory) = self.memory(index) else { return list };
        let young = memory.started.is_some_and(|started| now.duration_since(started) < OLD_LIST);
        match wrong {
            Some(Wrong::LengthsCompared) => {
                let length = |seen: &ObservedInterface| seen.secondary_addresses.len() + seen.prefixes.len();
                for seen in &mut list {
                    let old = memory.list.iter().find(|old| old.id == seen.id && length(old) == length(seen));
                    if let Some(old) = old.cloned() {
                        (seen.secondary_addresses, seen.prefixes) = (old.secondary_addresses, old.prefixes);
                    }
                }
            }
            Some(Wrong::StaleMetadata) if again && young && !memory.list.is_empty() => return memory.list.clone(),
            Some(Wrong::IncompleteList) if memory.to_restore.is_some() => {
                for seen in &mut list {
                    seen.prefixes.pop();
                    seen.secondary_addresses.pop();
                }
            }
            _ => {}
        }
        memory.list.clone_from(&list);
        list
    }

    /// The first list is there: what it does not show is presumed dead.
    pub(crate) fn restore_late(&mut self, index: usize) {
        let Some(memory) = self.memory(index) else { return };
        let Some(mut state) = memory.to_restore.take() else { return };
        let shown: Vec<Cidr> = memory.list.iter().flat_map(blocks).collect();
        state.allocations.retain(|allocation| shown.iter().any(|block| block.contains(allocation.address)));
        let time = self.nodes.get(index).map_or(self.now, |node| node.time(self.now));
        if let Some(pool) = self.nodes.get_mut(index).and_then(|node| node.pool.as_mut()) {
            pool.handle_restore(state.allocations, state.cooling, time);
        }
    }

    /// The key under which an ADD asks.
    pub(crate) fn distorted_key(&self, key: &AttachmentKey, repeated: bool) -> AttachmentKey {
        let mut key = key.clone();
        if repeated && self.is_wrong(Wrong::AnotherAddress) {
            key.container.push_str("-again");
        }
        key
    }

    /// Whether a DEL is answered without being carried out.
    pub(crate) fn is_deletion_forgotten(&mut self) -> bool {
        self.chance_of(Wrong::DeletionsForgotten, 0.2)
    }

    /// Whether nobody looks for what was lost word of.
    pub(crate) fn is_nobody_looking(&self) -> bool {
        [Wrong::NoTombstones, Wrong::DeletionsForgotten, Wrong::LeftoversStay].iter().any(|wrong| self.is_wrong(*wrong))
    }

    /// Whether the agent dies now that a call of its took effect.
    pub(crate) fn dies_after(&mut self, call: &Ec2Call) -> bool {
        matches!(call, Ec2Call::Create { .. }) && self.chance_of(Wrong::LeftoversStay, 0.3)
    }

    /// Acts without being asked: looks first, and does what it saw fit later.
    pub(crate) fn act(&mut self, index: usize, free: Vec<(EniId, Ipv4Addr)>) {
        if self.healthy {
            return;
        }
        if self.is_wrong(Wrong::OldCollection) {
            self.collect_the_past(index);
            self.after(PERIOD, Event::Mischief { node: index, free: Vec::new() });
        } else if free.is_empty() {
            let seen = self.nodes.get(index).map(free_addresses).unwrap_or_default();
            let delay = if seen.is_empty() { PERIOD } else { LATE };
            self.after(delay, Event::Mischief { node: index, free: seen });
        } else {
            for (interface, address) in free.into_iter().take(2) {
                let call = Ec2Call::Unassign { interface, addresses: vec![address], prefixes: Vec::new() };
                self.send_aside(index, call);
            }
            self.after(PERIOD, Event::Mischief { node: index, free: Vec::new() });
        }
    }

    fn collect_the_past(&mut self, index: usize) {
        let now = self.now;
        let Some(current) = self.nodes.get(index).map(|node| node.sandboxes.keys().cloned().collect()) else { return };
        let Some(past) = self.memory(index).map(|memory| std::mem::replace(&mut memory.sandboxes, current)) else {
            return;
        };
        self.touched.insert(index);
        let Some(node) = self.nodes.get_mut(index) else { return };
        let time = node.time(now);
        if let Some(pool) = &mut node.pool {
            pool.handle_collect(NETWORK, &past, time);
        }
    }

    fn detach_one_with_pods(&mut self, index: usize) {
        let Some(node) = self.nodes.get(index) else { return };
        let used: BTreeSet<EniId> = node.sandboxes.values().filter_map(|sandbox| sandbox.interface.clone()).collect();
        let primary = node.facts.primary_interface.clone();
        for id in used.into_iter().filter(|id| *id != primary) {
            if let Some(attachment) = self.interface(&id).and_then(|shown| shown.attachment) {
                let call = Ec2Call::Detach { interface: id, attachment: attachment.attachment_id };
                return self.send_aside(index, call);
            }
        }
    }

    /// Makes a call of which the engine knows nothing.
    fn send_aside(&mut self, index: usize, call: Ec2Call) {
        let incarnation = self.nodes.get(index).map_or(0, |node| node.incarnation);
        let owner = Owner::Side;
        self.issue(Flight { node: index, incarnation, owner, call, attempt: 1, refused: None, answer_lost: false });
    }
}

fn distort(wrong: Wrong, facts: &mut NodeFacts) {
    if wrong == Wrong::LimitNotLearned {
        facts.interface_limit += 2;
    }
}

/// The addresses and prefixes that an operation takes.
fn taken(operation: &CloudOperation) -> (u32, u32) {
    match operation {
        CloudOperation::CreateInterface { addresses, prefixes, .. } => (addresses.0, prefixes.0),
        CloudOperation::AssignAddresses { count, .. } => (count.0, 0),
        CloudOperation::AssignPrefixes { count, .. } => (0, count.0),
        CloudOperation::DescribeSubnets
        | CloudOperation::DescribeInterfaces
        | CloudOperation::AttachInterface { .. }
        | CloudOperation::PrepareInterface { .. }
        | CloudOperation::Unassign { .. }
        | CloudOperation::ReleaseInterface { .. } => (0, 0),
    }
}

fn blocks(seen: &ObservedInterface) -> impl Iterator<Item = Cidr> {
    seen.secondary_addresses.iter().copied().map(Cidr::host).chain(seen.prefixes.iter().copied())
}

/// The single addresses that a pool holds and has given to nobody.
fn free_addresses(node: &Node) -> Vec<(EniId, Ipv4Addr)> {
    let Some(pool) = &node.pool else { return Vec::new() };
    let view = pool.view();
    let singles = view.interfaces.iter().flat_map(|interface| {
        interface.blocks.iter().filter(|block| !block.is_prefix).map(|block| (interface.id.clone(), block))
    });
    singles.filter(|(_, block)| block.tally.free == 1).map(|(id, block)| (id, block.cidr.network())).collect()
}
