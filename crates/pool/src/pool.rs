//! The pool of one node: takes inputs, hands out effects.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::Ipv4Addr;

use freeboard_address::{AttachmentKey, Cidr, EniId, SubnetId};
use jiff::Timestamp;

use crate::backoff::{Action, Pause, later};
use crate::block_source::Source;
use crate::budget::Budget;
use crate::cause::Refusal;
use crate::decision::{Choice, Decision, DecisionLog, Reason};
use crate::effect::{CloudOperation, Effect, Reply, Signal};
use crate::input::{
    AddRequest, DelRequest, NodeFacts, ObservedInterface, OperationId, PoolSettings, RequestId, RestoredAllocation,
    RestoredCooling, ReturnedBlock, Revision, Targets,
};
use crate::intents::Intents;
use crate::lean::Lean;
use crate::persist::Journal;
use crate::pod_subnets::PodSubnets;
use crate::policy::{Aim, Figures};
use crate::reconcile::Look;
use crate::store::{Step, Store};
use crate::subnets::Subnets;
use crate::view::{Corrections, Holding};
use crate::waiting::{Waiter, Waiting};

/// A cloud operation in flight.
#[derive(Clone, Debug)]
pub(crate) struct Operation {
    pub(crate) operation: CloudOperation,
    pub(crate) since: Timestamp,
    pub(crate) step: Step,
}

/// The address pool of one node.
///
/// Time comes in with each input, and is to go as fast as the world does: a clock that is set forth while the pool runs would end
/// cool-downs early, so callers give the time of their start and what a monotonic clock has counted since. An input that seems
/// earlier than the one before it comes at the same time as that.
#[derive(Clone, Debug)]
pub struct Pool {
    pub(crate) settings: PoolSettings,
    pub(crate) facts: NodeFacts,
    pub(crate) source: Source,
    pub(crate) started: Timestamp,
    pub(crate) step: Step,
    /// The time of the latest input.
    now: Timestamp,
    decisions: DecisionLog,
    pub(crate) effects: VecDeque<Effect>,
    /// Inputs came in at this time whose consequences are not drawn yet.
    due: Option<Timestamp>,
    pub(crate) wake: Option<(Timestamp, &'static str)>,

    pub(crate) store: Store,
    pub(crate) journal: Journal,
    pub(crate) waiting: Waiting,
    /// What the lean policy has learned; it learns under either policy.
    pub(crate) lean: Lean,
    /// What the pool is to hold; decided anew with each drawing of consequences.
    pub(crate) aim: Aim,
    pub(crate) schedulable: bool,
    pub(crate) terminating: bool,

    /// Whether the interfaces were read at least once, or a block of the node is known.
    pub(crate) source_known: bool,
    /// The node's blocks as they were told last.
    pub(crate) wanted_blocks: Vec<Cidr>,
    /// Whether a first read of the subnets was answered, well or badly.
    pub(crate) subnets_answered: bool,
    /// What `handle_restore` brought, until the source is known.
    pub(crate) to_restore: Option<(Vec<RestoredAllocation>, Vec<RestoredCooling>)>,
    pub(crate) restored: bool,
    /// DELs that came before the state was known.
    pub(crate) early_dels: Vec<(RequestId, DelRequest)>,

    pub(crate) subnets: Subnets,
    pub(crate) pod_subnets: PodSubnets,
    pub(crate) operations: BTreeMap<OperationId, Operation>,
    pub(crate) last_operation: u64,
    /// The figures while consequences are drawn, and the last operation when they were counted.
    pub(crate) counted: Option<(u64, Figures)>,
    /// Creations whose answer was lost; repeated with the same token.
    pub(crate) lost_creations: Vec<CloudOperation>,
    pub(crate) intents: Intents,
    pub(crate) actions: BTreeMap<Action, Pause>,
    pub(crate) budget: Budget,
    pub(crate) hosts: BTreeMap<EniId, Pause>,
    /// Interfaces on the first network card that the pool leaves alone, with their device index.
    pub(crate) unmanaged: BTreeMap<EniId, u32>,
    /// Fewer interfaces than the type's limit, as the cloud taught; and until when this is believed.
    pub(crate) learned_limit: Option<(u32, Timestamp)>,
    /// What was given back a short while ago, and when: a look that still shows it is late.
    pub(crate) given_back: BTreeMap<Cidr, (Step, Timestamp)>,
    pub(crate) interfaces_given_back: BTreeMap<EniId, (Step, Timestamp)>,
    /// Calls that give blocks back, held until the disk knows of them: a restarted agent must not believe a late list.
    pub(crate) to_give_back: Vec<(Revision, CloudOperation)>,
    /// Sandboxes whose ADD brought nothing and whose DEL has not come yet.
    pub(crate) unserved: BTreeMap<AttachmentKey, Timestamp>,
    /// Blocks that the cloud shows on another interface than the pool, and that people were told about.
    pub(crate) reported: BTreeSet<Cidr>,
    /// What looks at the cloud have corrected.
    pub(crate) corrections: Corrections,
    /// An interface in a full subnet that new pods avoid, so that it empties and makes way for one in a subnet with room.
    pub(crate) leaving: Option<EniId>,
    pub(crate) last_change: Timestamp,
    pub(crate) last_look: Timestamp,
    pub(crate) last_shrink: Option<Timestamp>,
    /// When the interfaces are to be read next, beside the regular reading.
    pub(crate) look_due: Option<Timestamp>,
    pub(crate) subnets_asked_at: Option<Timestamp>,
}

impl Pool {
    /// A pool that knows nothing yet; its first effects read the interfaces and the subnets. ADDs wait until the interfaces are
    /// known and [`Pool::handle_restore`] was called, in either order.
    #[must_use]
    pub fn new(settings: PoolSettings, facts: NodeFacts, now: Timestamp) -> Self {
        let budget = Budget::new(facts.instance.as_str(), settings.pacing.limits);
        Self {
            settings,
            facts,
            source: Source::Interfaces,
            started: now,
            step: Step::default(),
            now,
            decisions: DecisionLog::default(),
            effects: VecDeque::new(),
            due: Some(now),
            wake: None,
            store: Store::default(),
            journal: Journal::default(),
            waiting: Waiting::default(),
            lean: Lean::new(now),
            aim: Aim::Targets(Targets::default()),
            schedulable: true,
            terminating: false,
            source_known: false,
            wanted_blocks: Vec::new(),
            subnets_answered: false,
            to_restore: None,
            restored: false,
            early_dels: Vec::new(),
            subnets: Subnets::default(),
            pod_subnets: PodSubnets::Discovered,
            operations: BTreeMap::new(),
            last_operation: 0,
            counted: None,
            lost_creations: Vec::new(),
            intents: Intents::default(),
            actions: BTreeMap::new(),
            budget,
            hosts: BTreeMap::new(),
            unmanaged: BTreeMap::new(),
            learned_limit: None,
            given_back: BTreeMap::new(),
            interfaces_given_back: BTreeMap::new(),
            to_give_back: Vec::new(),
            unserved: BTreeMap::new(),
            reported: BTreeSet::new(),
            corrections: Corrections::default(),
            leaving: None,
            last_change: now,
            last_look: now,
            last_shrink: None,
            look_due: Some(now),
            subnets_asked_at: None,
        }
    }

    /// All interfaces of the instance, read just now by the shell itself (an engine's own read comes by [`Pool::handle_cloud`]).
    pub fn handle_interfaces(&mut self, interfaces: Vec<ObservedInterface>, now: Timestamp) {
        let now = self.begin(now);
        let look = Look { step: self.step, at: now };
        self.reconcile(interfaces, look, now);
        self.advance(now);
    }

    /// The durable state of an earlier run: from the checkpoint, or rebuilt from the kernel's evidence; empty lists when there is
    /// none. An allocation on an address that no interface carries is quarantined and reported, never dropped; of two on one
    /// address the newer counts and the older is quarantined until its DEL.
    pub fn handle_restore(
        &mut self,
        allocations: Vec<RestoredAllocation>,
        cooling: Vec<RestoredCooling>,
        now: Timestamp,
    ) {
        let now = self.begin(now);
        self.to_restore = Some((allocations, cooling));
        self.restore(now);
        self.advance(now);
    }

    /// Blocks that an earlier run gave back a short while ago ([`CheckpointState::returned`](crate::CheckpointState)): as long as
    /// EC2's lists may be late, a list alone does not bring them back. To be called before the interfaces are known.
    pub fn handle_returned(&mut self, returned: Vec<ReturnedBlock>, now: Timestamp) {
        let now = self.begin(now);
        let step = self.step;
        // How long ago that was is not known: the clock may have been set meanwhile.
        self.given_back.extend(returned.into_iter().map(|entry| (entry.block, (step, now))));
        self.advance(now);
    }

    /// Whether an ADD of this sandbox came to this run of the agent, and its DEL did not. What was rebuilt from the kernel's
    /// evidence is older than that, so it is another sandbox's.
    #[must_use]
    pub fn has_asked(&self, key: &AttachmentKey) -> bool {
        self.store.held(key).is_some()
            || self.unserved.contains_key(key)
            || self.waiting.queue.iter().any(|waiter| waiter.add.key == *key)
    }

    /// An ADD. Answered by [`Effect::Reply`] with `Assigned` or `Refused`; the same key gets the same address.
    pub fn handle_add(&mut self, request: RequestId, add: AddRequest, now: Timestamp) {
        let now = self.begin(now);
        self.waiting.queue.push_back(Waiter { request, add, since: now, announced: false });
        self.advance(now);
    }

    /// A DEL. Answered by [`Effect::Reply`] with `Released`, `UnknownPod`, or `Refused` when it could not be made durable.
    pub fn handle_del(&mut self, request: RequestId, del: DelRequest, now: Timestamp) {
        let now = self.begin(now);
        if self.is_ready() {
            self.release(request, &del.key, now);
        } else {
            self.early_dels.push((request, del));
        }
        self.advance(now);
    }

    /// The caller of a request is gone. A waiting ADD leaves the queue; what is assigned stays assigned until its DEL.
    pub fn handle_cancel(&mut self, request: RequestId, now: Timestamp) {
        let now = self.begin(now);
        let given_up = self.waiting.queue.iter().find(|waiter| waiter.request == request);
        if let Some(key) = given_up.map(|waiter| waiter.add.key.clone()) {
            self.unserved.insert(key, now);
        }
        self.waiting.queue.retain(|waiter| waiter.request != request);
        self.advance(now);
    }

    /// CNI GC: releases everything held in `network` whose key is not in `valid`; returns what was released. Nothing is released
    /// before the state is known.
    pub fn handle_collect(&mut self, network: &str, valid: &BTreeSet<AttachmentKey>, now: Timestamp) -> Vec<Holding> {
        let now = self.begin(now);
        let released = if self.is_ready() { self.collect(network, valid, now) } else { Vec::new() };
        self.advance(now);
        released
    }

    /// The time that [`Pool::poll_timeout`] asked for has come.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        let now = self.begin(now);
        self.advance(now);
    }

    /// Whether the node may be scheduled on; a cordoned node's pool is not grown.
    pub fn handle_schedulable(&mut self, schedulable: bool, now: Timestamp) {
        let now = self.begin(now);
        if self.schedulable != schedulable {
            let what = if schedulable { "grow the pool when needed" } else { "do not grow the pool" };
            self.decide(
                what.to_owned(),
                format!("the node is {}", if schedulable { "uncordoned" } else { "cordoned" }),
            );
            self.schedulable = schedulable;
        }
        self.advance(now);
    }

    /// The agent is shutting down: nothing is grown, waiting and new ADDs are refused; DELs are still served.
    pub fn handle_terminating(&mut self, now: Timestamp) {
        let now = self.begin(now);
        self.terminating = true;
        self.advance(now);
    }

    /// The next thing to do, in order. The consequences of inputs are drawn here, not as they come in: a shell that hands over
    /// all inputs that are there before it polls gets one cloud call, and one write, for all of them.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        if self.effects.is_empty()
            && let Some(now) = self.due.take()
        {
            self.draw_consequences(now);
        }
        self.effects.pop_front()
    }

    /// When to call [`Pool::handle_timeout`] at the latest, and why. To be asked after the effects were taken.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Timestamp, &'static str)> {
        match self.due {
            Some(due) => Some((due, "effects are to be taken")),
            None => self.wake,
        }
    }

    /// Whether an ADD that came now would be served: an address is free, or growth is possible and not known to fail.
    ///
    /// # Errors
    ///
    /// The refusal that the ADD would get.
    pub fn can_give(&self, now: Timestamp) -> Result<(), Refusal> {
        let servable = !self.terminating && self.is_ready();
        if servable && (self.pick().is_some() || self.is_room_coming(0, later(now, self.settings.add_wait), now)) {
            return Ok(());
        }
        Err(self.explain(now))
    }

    /// The latest decisions, oldest first; a few hundred at most.
    pub fn decisions(&self) -> impl DoubleEndedIterator<Item = &Decision> {
        self.decisions.iter()
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.source_known && self.restored
    }

    /// A new input, and the time at which it comes: never earlier than the input before it, whatever the caller's clock does.
    pub(crate) fn begin(&mut self, now: Timestamp) -> Timestamp {
        self.step = Step(self.step.0 + 1);
        self.now = self.now.max(now);
        self.now
    }

    /// An input was taken in: its consequences are to be drawn.
    pub(crate) fn advance(&mut self, now: Timestamp) {
        self.due = Some(now);
    }

    /// Does everything that is due, in a fixed order.
    fn draw_consequences(&mut self, now: Timestamp) {
        self.wake = None;
        self.expire(now);
        self.rewrite_state(now);
        self.serve(now);
        match self.source {
            Source::Interfaces => self.follow_aim(now),
            Source::NodeBlocks => self.drain(now),
        }
        self.refuse_waiting(now);
        self.announce(now);
    }

    /// Takes what is short from the cloud, gives back what is over, and looks.
    fn follow_aim(&mut self, now: Timestamp) {
        // From here on figures change only with operations.
        self.counted = Some((self.last_operation, self.count()));
        self.take_aim(now);
        self.grow(now);
        self.shrink(now);
        self.look(now);
        self.counted = None;
    }

    /// Asks for a `handle_timeout` at `at`; the earliest wish counts. What is already due is done by the caller.
    pub(crate) fn wake(&mut self, at: Timestamp, why: &'static str, now: Timestamp) {
        if at > now && self.wake.is_none_or(|(earliest, _)| at < earliest) {
            self.wake = Some((at, why));
        }
    }

    pub(crate) fn reply(&mut self, request: RequestId, reply: Reply) {
        self.effects.push_back(Effect::Reply(request, reply));
    }

    /// Notes a decision in the log, and tells it.
    pub(crate) fn decide(&mut self, what: impl Into<Choice>, why: impl Into<Reason>) {
        let (what, why) = (what.into(), why.into());
        self.decisions.note(Decision { at: self.now, what: what.clone(), why: why.clone() });
        self.effects.push_back(Effect::Signal(Signal::Decision { what, why }));
    }

    pub(crate) fn alarm(&mut self, what: String, contained: &str) {
        self.effects.push_back(Effect::Signal(Signal::Alarm { what, contained: contained.to_owned() }));
    }

    /// Starts a cloud operation.
    pub(crate) fn start(&mut self, operation: CloudOperation, now: Timestamp) {
        let id = self.begin_operation(operation.clone(), now);
        self.effects.push_back(Effect::Cloud(id, operation));
    }

    /// Counts a cloud operation as in flight; the call itself is the caller's to make.
    pub(crate) fn begin_operation(&mut self, operation: CloudOperation, now: Timestamp) -> OperationId {
        self.last_operation += 1;
        self.budget.take(Action::of(&operation), now);
        let id = OperationId(self.last_operation);
        if let Some(interface) = interface_of(&operation) {
            self.store.interfaces.change(interface, |interface| interface.operation = Some(id));
        }
        self.operations.insert(id, Operation { operation, since: now, step: self.step });
        id
    }

    /// A client token that no other creation of this instance has or had.
    pub(crate) fn next_token(&self) -> String {
        format!("{}-{}-{}", self.facts.instance, self.started.as_millisecond(), self.last_operation + 1)
    }

    /// How a subnet is named to people.
    pub(crate) fn subnet_name(&self, id: &SubnetId) -> String {
        self.subnets.get(id).map_or_else(|| format!("subnet {id}"), |subnet| format!("subnet {}", subnet.cidr))
    }

    /// The free address that the next pod gets.
    pub(crate) fn pick(&self) -> Option<Ipv4Addr> {
        match self.source {
            Source::Interfaces => crate::placement::pick(&self.store, |interface| {
                let leaving = self.leaving.as_ref() == Some(&interface.id);
                (!self.is_excluded(interface)).then(|| (leaving, self.rank(&interface.subnet)))
            }),
            Source::NodeBlocks => self.store.node_blocks.next(),
        }
    }
}

/// The interface that an operation is about.
pub(crate) fn interface_of(operation: &CloudOperation) -> Option<&EniId> {
    match operation {
        CloudOperation::AttachInterface { interface, .. }
        | CloudOperation::PrepareInterface { interface, .. }
        | CloudOperation::AssignAddresses { interface, .. }
        | CloudOperation::AssignPrefixes { interface, .. }
        | CloudOperation::Unassign { interface, .. }
        | CloudOperation::ReleaseInterface { interface } => Some(interface),
        CloudOperation::DescribeSubnets
        | CloudOperation::DescribeInterfaces
        | CloudOperation::CreateInterface { .. } => None,
    }
}
