//! The pool of one node: takes inputs, hands out effects.

use std::collections::{BTreeSet, VecDeque};

use freeboard_address::AttachmentKey;
use jiff::Timestamp;

use crate::cause::Refusal;
use crate::effect::Effect;
use crate::input::{
    AddRequest, CheckpointState, CloudFailure, CloudSuccess, DelRequest, NodeFacts, ObservedInterface, OperationId,
    PoolSettings, RequestId, RestoredAllocation, RestoredCooling, Revision,
};
use crate::view::{Alarm, Holding, PoolView, Tally};

/// The address pool of one node.
#[derive(Clone, Debug)]
pub struct Pool {
    settings: PoolSettings,
    facts: NodeFacts,
    effects: VecDeque<Effect>,
}

impl Pool {
    /// A pool that knows nothing yet; its first effects read the interfaces and the subnets. ADDs wait until the interfaces are
    /// known and [`Pool::handle_restore`] was called, in either order.
    #[must_use]
    pub fn new(settings: PoolSettings, facts: NodeFacts, _now: Timestamp) -> Self {
        Self { settings, facts, effects: VecDeque::new() }
    }

    /// All interfaces of the instance, read just now by the shell itself (an engine's own read comes by [`Pool::handle_cloud`]).
    pub fn handle_interfaces(&mut self, _interfaces: Vec<ObservedInterface>, _now: Timestamp) {}

    /// The durable state of an earlier run: from the checkpoint, or rebuilt from the kernel's evidence; empty lists when there is
    /// none. To be called once. An allocation on an address that no interface carries is quarantined and reported, never dropped.
    pub fn handle_restore(
        &mut self,
        _allocations: Vec<RestoredAllocation>,
        _cooling: Vec<RestoredCooling>,
        _now: Timestamp,
    ) {
    }

    /// New settings, as a whole.
    pub fn handle_settings(&mut self, settings: PoolSettings, _now: Timestamp) {
        self.settings = settings;
    }

    /// An ADD. Answered by [`Effect::Reply`] with `Assigned` or `Refused`; the same key gets the same address.
    pub fn handle_add(&mut self, _request: RequestId, _add: AddRequest, _now: Timestamp) {}

    /// A DEL. Answered by [`Effect::Reply`] with `Released`, `UnknownPod`, or `Refused` when it could not be made durable.
    pub fn handle_del(&mut self, _request: RequestId, _del: DelRequest, _now: Timestamp) {}

    /// The caller of a request is gone. A waiting ADD leaves the queue; what is assigned stays assigned until its DEL.
    pub fn handle_cancel(&mut self, _request: RequestId, _now: Timestamp) {}

    /// CNI GC: releases everything held in `network` whose key is not in `valid`; returns what was released.
    pub fn handle_collect(
        &mut self,
        _network: &str,
        _valid: &BTreeSet<AttachmentKey>,
        _now: Timestamp,
    ) -> Vec<Holding> {
        Vec::new()
    }

    /// The outcome of a cloud operation.
    pub fn handle_cloud(
        &mut self,
        _operation: OperationId,
        _outcome: Result<CloudSuccess, CloudFailure>,
        _now: Timestamp,
    ) {
    }

    /// The checkpoint was written, covering `Ok(revision)`; or the write failed, with the reason. After a failure everything that
    /// was not durable is undone and refused.
    pub fn handle_persisted(&mut self, _outcome: Result<Revision, String>, _now: Timestamp) {}

    /// The time that [`Pool::poll_timeout`] asked for has come.
    pub fn handle_timeout(&mut self, _now: Timestamp) {}

    /// Whether the node may be scheduled on; a cordoned node's pool is not grown.
    pub fn handle_schedulable(&mut self, _schedulable: bool, _now: Timestamp) {}

    /// The agent is shutting down: nothing is grown, waiting and new ADDs are refused; DELs are still served.
    pub fn handle_terminating(&mut self, _now: Timestamp) {}

    /// The next thing to do, in order.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When to call [`Pool::handle_timeout`] at the latest, and why.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Timestamp, &'static str)> {
        None
    }

    /// The durable state, with the revision that it covers.
    #[must_use]
    pub fn checkpoint(&self) -> CheckpointState {
        CheckpointState::default()
    }

    /// Everything that can be seen.
    #[must_use]
    pub fn view(&self) -> PoolView {
        PoolView {
            ready: false,
            tally: Tally::default(),
            prefixes: 0,
            waiting: 0,
            waiting_since: None,
            interfaces: Vec::new(),
            unmanaged_interfaces: 0,
            interface_limit: self.facts.interface_limit,
            slots_per_interface: self.facts.addresses_per_interface.saturating_sub(1),
            subnets: Vec::new(),
            operations: Vec::new(),
            quarantined: Vec::new(),
        }
    }

    /// Whether an ADD that came now would be served: an address is free, or growth is possible and not known to fail.
    ///
    /// # Errors
    ///
    /// The refusal that the ADD would get.
    pub fn can_give(&self, _now: Timestamp) -> Result<(), Refusal> {
        Ok(())
    }

    /// What is held under a key.
    #[must_use]
    pub fn holds(&self, _key: &AttachmentKey) -> Option<Holding> {
        None
    }

    /// What should not be, and still is.
    #[must_use]
    pub fn alarms(&self) -> Vec<Alarm> {
        Vec::new()
    }

    /// Violations of the invariants, each as a sentence; empty when all is well. For tests and for a self-check.
    #[must_use]
    pub fn audit(&self) -> Vec<String> {
        Vec::new()
    }
}
