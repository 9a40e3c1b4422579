//! The outcomes of cloud operations.

use freeboard_address::{Cidr, EniId, SubnetId};
use jiff::{SignedDuration, Timestamp};

use crate::backoff::{Action, Backoff, Pause, later};
use crate::budget::Priority;
use crate::effect::CloudOperation;
use crate::input::{CloudFailure, CloudSuccess, FailureKind, ObservedInterface, OperationId};
use crate::pool::{Operation, Pool, interface_of};
use crate::reconcile::Look;
use crate::store::{Interface, Phase};

/// A lower limit on interfaces, learned from a refused attachment, is believed this long: what took the place may go away.
pub(crate) const LEARNED_LIMIT_FOR: SignedDuration = SignedDuration::from_mins(10);

impl Pool {
    /// The outcome of a cloud operation. An outcome of an operation that is not in flight is ignored, with an alarm.
    pub fn handle_cloud(&mut self, id: OperationId, outcome: Result<CloudSuccess, CloudFailure>, now: Timestamp) {
        let now = self.begin(now);
        let Some(operation) = self.operations.remove(&id) else {
            self.alarm(format!("an outcome of operation {} came, which is not in flight", id.0), "it is ignored");
            return self.advance(now);
        };
        if let Some(id) = interface_of(&operation.operation) {
            self.store.interfaces.change(id, |interface| interface.operation = None);
        }
        let action = Action::of(&operation.operation);
        match outcome {
            Ok(success) => {
                self.actions.remove(&action);
                self.budget.passed(action, now);
                self.lean.answered(action, operation.since, now);
                self.succeed(&operation, success, now);
            }
            Err(failure) => self.fail(&operation, &failure, now),
        }
        self.advance(now);
    }

    fn succeed(&mut self, operation: &Operation, success: CloudSuccess, now: Timestamp) {
        if !matches!(
            operation.operation,
            CloudOperation::DescribeSubnets
                | CloudOperation::DescribeInterfaces
                | CloudOperation::PrepareInterface { .. }
        ) {
            self.last_change = now;
        }
        match success {
            CloudSuccess::Subnets(seen) => {
                self.subnets_answered = true;
                for (subnet, free) in self.subnets.look(seen, &self.facts.zone, now, &self.settings.pacing) {
                    let name = self.subnet_name(&subnet);
                    self.decide(format!("use {name} again"), format!("it has {free} free addresses"));
                }
            }
            CloudSuccess::Interfaces(seen) => {
                let look = Look { step: operation.step, at: operation.since };
                self.reconcile(seen, look, now);
            }
            CloudSuccess::Created(seen) => {
                if let CloudOperation::CreateInterface { token, .. } = &operation.operation {
                    self.intent_is_created(token, &seen.id);
                }
                self.created(&seen, operation.since, now);
            }
            CloudSuccess::Attached(id) => {
                self.hosts.remove(&id);
                self.intent_is_settled(&id);
                self.store.interfaces.change(&id, |interface| {
                    interface.phase = Phase::Ready;
                    interface.attached = true;
                    interface.missing_since = None;
                    interface.known = self.step;
                });
                self.settle_claims();
            }
            CloudSuccess::AssignedAddresses(id, addresses) => {
                let blocks = addresses.into_iter().map(Cidr::host).collect();
                self.assigned(&id, blocks, operation.since, now);
            }
            CloudSuccess::AssignedPrefixes(id, prefixes) => self.assigned(&id, prefixes, operation.since, now),
            CloudSuccess::Unassigned(id) => self.unassigned(&id, operation, now),
            CloudSuccess::Released(id) => self.interface_released(&id, now),
        }
    }

    fn created(&mut self, seen: &ObservedInterface, started: Timestamp, now: Timestamp) {
        let mut interface = Interface::new(seen, Phase::Created, now, self.step);
        interface.attached = false;
        // It has no device index before it is attached; the last one keeps it behind all others.
        interface.device_index = u32::MAX;
        self.store.interfaces.insert(interface);
        let blocks: Vec<_> =
            seen.secondary_addresses.iter().copied().map(Cidr::host).chain(seen.prefixes.iter().copied()).collect();
        self.subnets.took(&seen.subnet, 1, started, now, &self.settings.pacing);
        self.assigned(&seen.id, blocks, started, now);
    }

    fn assigned(&mut self, id: &EniId, blocks: Vec<Cidr>, started: Timestamp, now: Timestamp) {
        let Some(subnet) = self.store.interfaces.get(id).map(|interface| interface.subnet.clone()) else {
            self.look_due = Some(now);
            return;
        };
        let count: u64 = blocks.iter().map(|block| block.size()).sum();
        for block in blocks {
            self.given_back.remove(&block);
            self.adopt(id, block);
        }
        self.subnets.took(&subnet, u32::try_from(count).unwrap_or(u32::MAX), started, now, &self.settings.pacing);
    }

    /// Takes a block into an interface, unless another interface still has it, or a part of it, in the pool.
    pub(crate) fn adopt(&mut self, id: &EniId, block: Cidr) {
        let is_single = block.length() == 32;
        let is_primary = |interface: &&Interface| is_single && interface.primary_address == block.network();
        let primary = self.store.interfaces.values().find(is_primary).map(|interface| &interface.id);
        if let Some(other) = self.store.carrier_of_any(block).or(primary).cloned() {
            if other != *id && self.reported.insert(block) {
                let what = format!("the cloud shows {block} on {id}, and the pool has it on {other}");
                self.alarm(what, "it stays where it was until two looks agree that it left");
            }
            return;
        }
        self.reported.remove(&block);
        self.store.adopt(id, block, self.step);
        self.settle_claims();
    }

    fn unassigned(&mut self, id: &EniId, operation: &Operation, now: Timestamp) {
        let CloudOperation::Unassign { addresses, prefixes, .. } = &operation.operation else { return };
        let blocks: Vec<_> = addresses.iter().copied().map(Cidr::host).chain(prefixes.iter().copied()).collect();
        for block in blocks {
            self.given_back.insert(block, (self.step, now));
            self.drop_block(id, block, "it was given back to the subnet", now);
        }
    }

    fn interface_released(&mut self, id: &EniId, now: Timestamp) {
        self.interfaces_given_back.insert(id.clone(), (self.step, now));
        self.hosts.remove(id);
        self.drop_interface(id, "its interface was given back", now);
    }

    fn fail(&mut self, operation: &Operation, failure: &CloudFailure, now: Timestamp) {
        let action = Action::of(&operation.operation);
        match action {
            Action::DescribeSubnets => {
                self.subnets_answered = true;
                self.subnets.look_failed();
            }
            Action::DescribeInterfaces => self.look_due = self.look_due.or(Some(now)),
            Action::Create | Action::Attach | Action::Prepare | Action::Assign | Action::Unassign | Action::Release => {
            }
        }
        self.creation_failed(&operation.operation, failure.kind, now);
        match meaning(&operation.operation, failure.kind) {
            FailureKind::SubnetShort => self.subnet_short(&operation.operation, failure, now),
            FailureKind::NoFreePrefix => self.no_free_prefix(&operation.operation, failure, now),
            FailureKind::AddressLimit => self.address_limit(&operation.operation, now),
            FailureKind::AttachmentLimit => self.attachment_limit(&operation.operation, failure, now),
            FailureKind::NotFound => self.not_found(operation, failure, now),
            FailureKind::Host => self.host_failed(&operation.operation, failure, now),
            FailureKind::Throttled | FailureKind::NotAuthorized => {
                self.refused_whole(&operation.operation);
                if failure.kind == FailureKind::Throttled {
                    self.throttled(action, operation.since, failure, now);
                } else {
                    self.pause(action, failure, now);
                }
            }
            FailureKind::Unavailable if Self::had_no_effect(&operation.operation) => {
                self.refused_whole(&operation.operation);
                self.pause(action, failure, now);
            }
            FailureKind::Unavailable | FailureKind::Uncertain | FailureKind::Other => {
                self.unsettle(&operation.operation, now);
                self.pause(action, failure, now);
            }
        }
    }

    /// Lowers the node's pace for an action that the account's limit refused.
    fn throttled(&mut self, action: Action, started: Timestamp, failure: &CloudFailure, now: Timestamp) {
        let pacing = &self.settings.pacing;
        let priority = self.priority(action);
        let Some(delay) = self.budget.throttled(action, priority, started, now) else {
            return self.pause(action, failure, now);
        };
        let longest = match priority {
            Priority::Growth => pacing.backoff_max,
            Priority::Watch | Priority::Release | Priority::Housekeeping => delay,
        };
        let backoff = Backoff::lasting(delay.max(pacing.backoff_min).min(longest), now);
        let backoff = backoff.spread(self.facts.instance.as_str());
        self.pause_for(action, backoff, failure);
    }

    /// Keeps an action from being called for a while.
    fn pause(&mut self, action: Action, failure: &CloudFailure, now: Timestamp) {
        let pacing = &self.settings.pacing;
        let min = match failure.kind {
            FailureKind::NotAuthorized => pacing.unauthorized_pause,
            // A look settles what a lost answer left open, so there is no storm to fear from the first repetition.
            FailureKind::Uncertain => pacing.backoff_min.min(SignedDuration::from_secs(1)),
            FailureKind::SubnetShort
            | FailureKind::NoFreePrefix
            | FailureKind::AddressLimit
            | FailureKind::AttachmentLimit
            | FailureKind::Throttled
            | FailureKind::NotFound
            | FailureKind::Host
            | FailureKind::Unavailable
            | FailureKind::Other => pacing.backoff_min,
        };
        let max = pacing.backoff_max.max(min);
        let last = self.actions.get(&action).filter(|pause| pause.kind == failure.kind).map(|pause| &pause.backoff);
        let backoff = Backoff::after(last, now, min, max);
        self.pause_for(action, backoff, failure);
    }

    fn pause_for(&mut self, action: Action, backoff: Backoff, failure: &CloudFailure) {
        let until = backoff.until;
        let pause =
            Pause { backoff, kind: failure.kind, action: failure.action.clone(), detail: failure.detail.clone() };
        self.decide(format!("call {} again from {until} on", pause.action), format!("it failed: {}", pause.detail));
        self.actions.insert(action, pause);
    }

    /// Whether an operation whose last call was not taken on changed nothing: those of several calls may have come half-way.
    fn had_no_effect(operation: &CloudOperation) -> bool {
        match Action::of(operation) {
            Action::DescribeSubnets
            | Action::DescribeInterfaces
            | Action::Create
            | Action::Assign
            | Action::Unassign => true,
            Action::Attach | Action::Prepare | Action::Release => false,
        }
    }

    /// The call had no effect for sure: what it was to give back can be given to pods again.
    pub(crate) fn refused_whole(&mut self, operation: &CloudOperation) {
        match operation {
            CloudOperation::Unassign { interface, .. } => {
                self.store.interfaces.change(interface, |interface| {
                    let releasing: Vec<_> =
                        interface.blocks.iter().filter(|(_, block)| block.releasing).map(|(cidr, _)| *cidr).collect();
                    for cidr in releasing {
                        interface.blocks.change(cidr, |block| block.releasing = false);
                        self.given_back.remove(&cidr);
                    }
                });
            }
            CloudOperation::ReleaseInterface { .. }
            | CloudOperation::DescribeSubnets
            | CloudOperation::DescribeInterfaces
            | CloudOperation::CreateInterface { .. }
            | CloudOperation::AttachInterface { .. }
            | CloudOperation::PrepareInterface { .. }
            | CloudOperation::AssignAddresses { .. }
            | CloudOperation::AssignPrefixes { .. } => {}
        }
    }

    /// The call may have had its effect: a look settles it before anything else is asked of the interface.
    fn unsettle(&mut self, operation: &CloudOperation, now: Timestamp) {
        let apart = self.settings.pacing.look_apart;
        let not_before = match operation {
            // An address that still shows may yet go: one that is given in between would be lost under its pod.
            CloudOperation::Unassign { .. } => later(now, apart),
            CloudOperation::PrepareInterface { .. }
            | CloudOperation::AttachInterface { .. }
            | CloudOperation::AssignAddresses { .. }
            | CloudOperation::AssignPrefixes { .. } => now,
            CloudOperation::CreateInterface { .. }
            | CloudOperation::ReleaseInterface { .. }
            | CloudOperation::DescribeSubnets
            | CloudOperation::DescribeInterfaces => return,
        };
        if let Some(id) = interface_of(operation) {
            self.store.interfaces.change(id, |interface| interface.unsettled = Some((self.step, not_before)));
        }
    }

    fn subnet_of(&self, operation: &CloudOperation) -> Option<SubnetId> {
        if let CloudOperation::CreateInterface { subnet, .. } = operation {
            return Some(subnet.clone());
        }
        let interface = interface_of(operation).and_then(|id| self.store.interfaces.get(id))?;
        Some(interface.subnet.clone())
    }

    fn subnet_short(&mut self, operation: &CloudOperation, failure: &CloudFailure, now: Timestamp) {
        let (asked, least) = match operation {
            CloudOperation::CreateInterface { addresses, prefixes, .. } if prefixes.is_zero() => (addresses.0 + 1, 2),
            CloudOperation::AssignAddresses { count, .. } => (count.0, 1),
            CloudOperation::CreateInterface { .. } | CloudOperation::AssignPrefixes { .. } => {
                return self.no_free_prefix(operation, failure, now);
            }
            CloudOperation::AttachInterface { .. }
            | CloudOperation::PrepareInterface { .. }
            | CloudOperation::Unassign { .. }
            | CloudOperation::ReleaseInterface { .. }
            | CloudOperation::DescribeSubnets
            | CloudOperation::DescribeInterfaces => return,
        };
        let Some(subnet) = self.subnet_of(operation) else { return };
        let name = self.subnet_name(&subnet);
        let why = format!("{} was refused for {asked}: {}", failure.action, failure.detail);
        if self.subnets.short(&subnet, asked, least, now, &self.settings.pacing) {
            self.decide(format!("count {name} as full"), why);
        } else {
            self.decide(format!("ask {name} for less"), why);
        }
    }

    fn no_free_prefix(&mut self, operation: &CloudOperation, failure: &CloudFailure, now: Timestamp) {
        let asked = crate::growth::brought(operation).1.0;
        let Some(subnet) = self.subnet_of(operation) else { return };
        let name = self.subnet_name(&subnet);
        let why = format!("{} was refused for {asked} prefixes: {}", failure.action, failure.detail);
        if self.subnets.short_of_prefixes(&subnet, asked, now, &self.settings.pacing) {
            self.decide(format!("take single addresses in {name}"), why);
        } else {
            self.decide(format!("ask {name} for fewer prefixes"), why);
        }
    }

    fn address_limit(&mut self, operation: &CloudOperation, now: Timestamp) {
        self.look_due = Some(now);
        if let Some(id) = interface_of(operation) {
            self.store.interfaces.change(id, |interface| interface.full_since = Some(now));
        }
    }

    fn attachment_limit(&mut self, operation: &CloudOperation, failure: &CloudFailure, now: Timestamp) {
        let CloudOperation::AttachInterface { interface, .. } = operation else { return };
        let attached =
            self.store.interfaces.values().filter(|i| i.phase != Phase::Created).count() + self.unmanaged.len();
        let limit = u32::try_from(attached).unwrap_or(u32::MAX);
        self.learned_limit = Some((limit, later(now, LEARNED_LIMIT_FOR)));
        self.decide(
            format!("use at most {limit} interfaces, and give {interface} back"),
            format!("the cloud refused to attach another: {}", failure.detail),
        );
        self.store.interfaces.change(interface, |interface| interface.phase = Phase::Releasing);
    }

    fn not_found(&mut self, operation: &Operation, failure: &CloudFailure, now: Timestamp) {
        self.look_due = Some(now);
        match &operation.operation {
            CloudOperation::ReleaseInterface { interface } => self.interface_released(&interface.clone(), now),
            CloudOperation::AttachInterface { interface, .. } => {
                self.drop_interface(&interface.clone(), "its interface is gone", now);
            }
            CloudOperation::CreateInterface { subnet, .. } => {
                self.subnets.short(subnet, 1, 1, now, &self.settings.pacing);
                self.subnets_asked_at = None;
            }
            CloudOperation::Unassign { .. } => self.unsettle(&operation.operation, now),
            CloudOperation::AssignAddresses { .. }
            | CloudOperation::AssignPrefixes { .. }
            | CloudOperation::PrepareInterface { .. } => {
                self.unsettle(&operation.operation, now);
                self.pause(Action::of(&operation.operation), failure, now);
            }
            CloudOperation::DescribeSubnets | CloudOperation::DescribeInterfaces => {
                self.pause(Action::of(&operation.operation), failure, now);
            }
        }
    }

    fn host_failed(&mut self, operation: &CloudOperation, failure: &CloudFailure, now: Timestamp) {
        let Some(id) = interface_of(operation).cloned() else { return self.pause(Action::of(operation), failure, now) };
        if matches!(operation, CloudOperation::ReleaseInterface { .. } | CloudOperation::Unassign { .. }) {
            self.refused_whole(operation);
            return self.pause(Action::of(operation), failure, now);
        }
        let pacing = &self.settings.pacing;
        let last = self.hosts.get(&id).map(|pause| &pause.backoff);
        let backoff = Backoff::after(last, now, pacing.backoff_min, pacing.backoff_max);
        let pause =
            Pause { backoff, kind: failure.kind, action: failure.action.clone(), detail: failure.detail.clone() };
        self.decide(
            format!("prepare {id} again from {} on", pause.backoff.until),
            format!("it failed: {}", pause.detail),
        );
        self.hosts.insert(id.clone(), pause);
        self.store.interfaces.change(&id, |interface| {
            // The call to attach was taken; whether the cloud completed it only a look tells.
            interface.attached &= interface.phase == Phase::Unprepared;
            interface.phase = Phase::Unprepared;
            interface.known = self.step;
        });
    }
}

/// What a failure means for this operation: a kind that makes no sense for it is a failure like any other.
fn meaning(operation: &CloudOperation, kind: FailureKind) -> FailureKind {
    let action = Action::of(operation);
    let fits = match kind {
        FailureKind::SubnetShort | FailureKind::NoFreePrefix => matches!(action, Action::Create | Action::Assign),
        FailureKind::AddressLimit => action == Action::Assign,
        FailureKind::AttachmentLimit => action == Action::Attach,
        FailureKind::NotFound
        | FailureKind::Host
        | FailureKind::Throttled
        | FailureKind::NotAuthorized
        | FailureKind::Unavailable
        | FailureKind::Uncertain
        | FailureKind::Other => true,
    };
    if fits { kind } else { FailureKind::Other }
}
