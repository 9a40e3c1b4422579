//! The pool's cloud operations, carried out as the agent does: calls with retries, links to wait for, detachments to look at.

use freeboard_address::{Addresses, EniId, Prefixes};
use freeboard_pool::{CloudFailure, CloudOperation, CloudSuccess, FailureKind, OperationId};
use freeboard_vpc::{AttachmentStatus, Call, Outcome};
use jiff::SignedDuration;

use crate::call::{CallError, Ec2Answer, Ec2Call, observed, observed_subnet};
use crate::fault::FaultClass;
use crate::mischief::Wrong;
use crate::node::{Running, Stage};
use crate::random::duration;
use crate::run::{Event, Flight, Owner, Run};

/// Requests per call.
const ATTEMPTS: u32 = 4;
/// How long the host waits for a link.
const LINK_WAIT: SignedDuration = SignedDuration::from_secs(60);
/// A detaching interface is looked at this often, so many times.
const LOOK_PERIOD: SignedDuration = SignedDuration::from_secs(1);
const LOOKS: u32 = 60;
/// A connection to an endpoint that does not answer is given up after this.
const CONNECT_SECONDS: f64 = 3.0;

impl Run {
    pub(crate) fn start_operation(&mut self, index: usize, id: OperationId, operation: CloudOperation) {
        let Some(node) = self.nodes.get_mut(index) else { return };
        let instance = node.facts.instance.clone();
        let mut stage = Stage::Calling;
        let call = match operation.clone() {
            CloudOperation::DescribeSubnets => Some(Ec2Call::DescribeSubnets),
            CloudOperation::DescribeInterfaces => Some(Ec2Call::DescribeInterfaces(instance)),
            CloudOperation::CreateInterface { subnet, addresses, prefixes, token, .. } => {
                Some(Ec2Call::Create { instance, subnet, addresses, prefixes, token })
            }
            CloudOperation::AttachInterface { interface, device_index } => {
                Some(Ec2Call::Attach { instance, interface, device_index })
            }
            CloudOperation::PrepareInterface { .. } => {
                stage = Stage::Link;
                None
            }
            CloudOperation::AssignAddresses { interface, count } => {
                Some(Ec2Call::Assign { interface, addresses: count, prefixes: Prefixes::ZERO })
            }
            CloudOperation::AssignPrefixes { interface, count } => {
                Some(Ec2Call::Assign { interface, addresses: Addresses::ZERO, prefixes: count })
            }
            CloudOperation::Unassign { interface, addresses, prefixes } => {
                Some(Ec2Call::Unassign { interface, addresses, prefixes })
            }
            CloudOperation::ReleaseInterface { interface } => {
                stage = Stage::Detach { asked: false, looks_left: LOOKS };
                Some(Ec2Call::DescribeInterface(interface))
            }
        };
        node.operations.insert(id, Running { operation, stage });
        match call {
            Some(call) => self.call(index, id, call),
            None => self.wait_for_link(index, id),
        }
    }

    /// A call of an operation.
    fn call(&mut self, index: usize, id: OperationId, call: Ec2Call) {
        let incarnation = self.nodes.get(index).map_or(0, |node| node.incarnation);
        let owner = Owner::Operation(id);
        self.issue(Flight { node: index, incarnation, owner, call, attempt: 1, refused: None, answer_lost: false });
    }

    /// Sends a call to the cloud's front door, and its answer on its way.
    pub(crate) fn issue(&mut self, mut flight: Flight) {
        let now = self.now;
        if now < self.outage_until {
            flight.refused = Some(CallError::NotSent);
            self.after(duration(CONNECT_SECONDS), Event::Answer(flight));
            return;
        }
        self.series.count_call(flight.call.action());
        self.count_call(flight.node);
        let admission = self.cloud.admit(&Call::new(flight.call.action()), now);
        flight.answer_lost = admission.outcome == Outcome::ProceedThenLoseAnswer;
        if let Outcome::Refuse(error) = admission.outcome {
            self.series.count_refusal(flight.call.action(), &error.code);
            flight.refused = Some(CallError::Refused(error));
        }
        let delay = SignedDuration::try_from(admission.delay).unwrap_or_default();
        self.after(delay, Event::Answer(flight));
    }

    /// The call takes effect, and its answer arrives, unless it is lost or nobody waits for it.
    pub(crate) fn answer(&mut self, mut flight: Flight) {
        let mut changes = false;
        let outcome = match flight.refused.take() {
            Some(error) => Err(error),
            None => {
                self.check_call(&flight.call);
                let done = flight.call.carry_out(&mut self.cloud, self.now);
                changes = done.is_ok() && flight.call.is_change();
                self.note(|| match &done {
                    Ok(_) => format!("ec2 {}: done", flight.call.action()),
                    Err(error) => format!("ec2 {}: {}", flight.call.action(), error.code),
                });
                if flight.answer_lost { Err(CallError::NoAnswer) } else { done.map_err(CallError::Refused) }
            }
        };
        self.touched.insert(flight.node);
        if changes && let Some(node) = self.nodes.get_mut(flight.node) {
            node.last_change = self.now;
        }
        let created = outcome.as_ref().ok().and_then(Ec2Answer::created);
        if outcome.is_ok() && (self.dies_after(&flight.call) || self.is_killed_after(&flight, created)) {
            self.crash(flight.node);
            return;
        }
        if matches!(outcome, Err(CallError::NoAnswer))
            && let (Some(interface), Some(node)) = (changed(&flight.call), self.nodes.get_mut(flight.node))
        {
            node.uncertain.insert(interface);
        }
        if self.nodes.get(flight.node).is_none_or(|node| node.incarnation != flight.incarnation) {
            return;
        }
        let hasty = self.is_wrong(Wrong::NoBackOff);
        let attempts = if hasty { u32::MAX } else { ATTEMPTS };
        if let Err(error) = &outcome
            && error.is_worth_repeating(&flight.call)
            && flight.attempt < attempts
        {
            let most = 0.2 * f64::from(1_u32 << (flight.attempt - 1).min(3));
            let pause = if hasty { 0.01 } else { self.random.between(0.0, most) };
            flight.attempt += 1;
            flight.answer_lost = false;
            self.after(duration(pause), Event::Issue(flight));
            return;
        }
        match (flight.owner.clone(), outcome) {
            (Owner::Operation(id), outcome) => self.advance(flight.node, id, &flight.call, outcome),
            (Owner::Sweep(first), Ok(answer)) => self.swept(&flight, first.as_ref(), &answer),
            (Owner::Sweep(_), Err(_)) => self.sweep_failed(&flight),
            (Owner::Side, _) => {}
        }
    }

    fn is_killed_after(&mut self, flight: &Flight, created: Option<EniId>) -> bool {
        let node = self.nodes.get_mut(flight.node).filter(|node| node.incarnation == flight.incarnation);
        let (Some(created), Some(node)) = (created, node) else { return false };
        let is_killed = node.take_armed(FaultClass::CrashAfterCreate);
        if is_killed {
            self.unheard.insert(created);
        }
        is_killed
    }

    /// The next stage of an operation.
    fn advance(&mut self, index: usize, id: OperationId, call: &Ec2Call, outcome: Result<Ec2Answer, CallError>) {
        let Some(running) = self.nodes.get(index).and_then(|node| node.operations.get(&id)).cloned() else { return };
        if let CloudOperation::ReleaseInterface { interface } = &running.operation {
            self.advance_release(index, id, interface.clone(), running.stage, call, outcome);
            return;
        }
        let answer = match outcome {
            Ok(answer) => answer,
            Err(error) => {
                let kind = error.kind(call.action());
                if kind == FailureKind::NotFound
                    && let Ec2Call::Unassign { interface, .. } = call
                {
                    self.done(index, id, Ok(CloudSuccess::Unassigned(interface.clone())));
                    return;
                }
                self.failed(index, id, call, &error);
                return;
            }
        };
        let success = match (answer, running.operation) {
            (Ec2Answer::Subnets(subnets), _) => {
                let range = self.scenario.world.vpc_cidr;
                CloudSuccess::Subnets(subnets.iter().map(|subnet| observed_subnet(subnet, range)).collect())
            }
            (Ec2Answer::Interfaces(interfaces), _) => {
                let now = self.now;
                let Some(node) = self.nodes.get_mut(index) else { return };
                let stale = node.stale.as_ref().filter(|stale| now < stale.until).map(|stale| stale.list(&interfaces));
                if stale.is_none() {
                    node.uncertain.clear();
                }
                CloudSuccess::Interfaces(stale.unwrap_or(interfaces).iter().map(observed).collect())
            }
            (Ec2Answer::Created(created), _) => CloudSuccess::Created(observed(&created)),
            (Ec2Answer::Attached(attachment), CloudOperation::AttachInterface { interface, .. }) => {
                let incarnation = self.nodes.get(index).map_or(0, |node| node.incarnation);
                let call = Ec2Call::SetDeleteOnTermination { interface, attachment };
                let owner = Owner::Side;
                self.issue(Flight {
                    node: index,
                    incarnation,
                    owner,
                    call,
                    attempt: 1,
                    refused: None,
                    answer_lost: false,
                });
                self.wait_for_link(index, id);
                return;
            }
            (Ec2Answer::Assigned(assigned), CloudOperation::AssignPrefixes { interface, .. }) => {
                CloudSuccess::AssignedPrefixes(interface, assigned.assigned_ipv4_prefixes)
            }
            (Ec2Answer::Assigned(assigned), _) => {
                CloudSuccess::AssignedAddresses(assigned.network_interface_id, assigned.assigned_private_ip_addresses)
            }
            (Ec2Answer::Done, CloudOperation::Unassign { interface, .. }) => CloudSuccess::Unassigned(interface),
            (Ec2Answer::Done | Ec2Answer::Attached(_), _) => return,
        };
        self.done(index, id, Ok(success));
    }

    /// Detaches, looks until it is detached, deletes. An interface that is not there any more is released.
    fn advance_release(
        &mut self,
        index: usize,
        id: OperationId,
        interface: EniId,
        stage: Stage,
        call: &Ec2Call,
        outcome: Result<Ec2Answer, CallError>,
    ) {
        let outcome = match outcome {
            Err(error) if error.kind(call.action()) == FailureKind::NotFound => Ok(Ec2Answer::Done),
            other => other,
        };
        let answer = match outcome {
            Ok(answer) => answer,
            Err(error) => return self.failed(index, id, call, &error),
        };
        match (call, answer) {
            (Ec2Call::DescribeInterface(_), Ec2Answer::Interfaces(found)) => {
                let attachment = found.into_iter().next().and_then(|found| found.attachment);
                let attachment = attachment.filter(|attachment| attachment.status != AttachmentStatus::Detached);
                let Stage::Detach { asked, looks_left } = stage else { return };
                match attachment {
                    None => self.call(index, id, Ec2Call::Delete(interface)),
                    Some(_) if looks_left == 0 => self.call(index, id, Ec2Call::Delete(interface)),
                    Some(attachment) if !asked && attachment.status != AttachmentStatus::Detaching => {
                        self.set_stage(index, id, Stage::Detach { asked: true, looks_left });
                        self.call(index, id, Ec2Call::Detach { interface, attachment: attachment.attachment_id });
                    }
                    Some(_) => self.look_later(index, id, asked, looks_left),
                }
            }
            (Ec2Call::Detach { .. }, _) => self.look_later(index, id, true, LOOKS),
            // It is deleted, or was not there at all.
            _ => self.done(index, id, Ok(CloudSuccess::Released(interface))),
        }
    }

    fn look_later(&mut self, index: usize, id: OperationId, asked: bool, looks_left: u32) {
        self.set_stage(index, id, Stage::Detach { asked, looks_left: looks_left.saturating_sub(1) });
        let incarnation = self.nodes.get(index).map_or(0, |node| node.incarnation);
        self.after(LOOK_PERIOD, Event::LookAgain { node: index, incarnation, operation: id });
    }

    pub(crate) fn look_again(&mut self, index: usize, incarnation: u64, id: OperationId) {
        let Some(node) = self.nodes.get(index).filter(|node| node.incarnation == incarnation) else { return };
        if let Some(CloudOperation::ReleaseInterface { interface }) =
            node.operations.get(&id).map(|r| r.operation.clone())
        {
            self.call(index, id, Ec2Call::DescribeInterface(interface));
        }
    }

    fn set_stage(&mut self, index: usize, id: OperationId, stage: Stage) {
        if let Some(running) = self.nodes.get_mut(index).and_then(|node| node.operations.get_mut(&id)) {
            running.stage = stage;
        }
    }

    fn wait_for_link(&mut self, index: usize, id: OperationId) {
        self.set_stage(index, id, Stage::Link);
        let Some(node) = self.nodes.get(index) else { return };
        let Some(interface) = node.operations.get(&id).and_then(|running| linked(&running.operation)) else { return };
        let (here, incarnation) = (node.links.contains(&interface), node.incarnation);
        if here {
            self.link_arrived(index, &interface);
        } else {
            self.after(LINK_WAIT, Event::LinkTimeout { node: index, incarnation, operation: id });
        }
    }

    /// The host sees a link: operations that wait for it are done.
    pub(crate) fn link_arrived(&mut self, index: usize, interface: &EniId) {
        let Some(node) = self.nodes.get(index) else { return };
        let waiting = node.operations.iter().filter(|(_, running)| {
            running.stage == Stage::Link && linked(&running.operation).as_ref() == Some(interface)
        });
        let waiting: Vec<OperationId> = waiting.map(|(id, _)| *id).collect();
        for id in waiting {
            self.done(index, id, Ok(CloudSuccess::Attached(interface.clone())));
        }
    }

    pub(crate) fn link_timeout(&mut self, index: usize, incarnation: u64, id: OperationId) {
        let Some(node) = self.nodes.get(index).filter(|node| node.incarnation == incarnation) else { return };
        let Some(running) = node.operations.get(&id).filter(|running| running.stage == Stage::Link) else { return };
        let interface = linked(&running.operation).map(|interface| interface.to_string()).unwrap_or_default();
        let failure = CloudFailure {
            kind: FailureKind::Host,
            action: "agent".to_owned(),
            detail: format!("the host cannot be set up for {interface}: no link with its hardware address after 60 s"),
            at: node.time(self.now),
        };
        self.done(index, id, Err(failure));
    }

    fn failed(&mut self, index: usize, id: OperationId, call: &Ec2Call, error: &CallError) {
        let at = self.nodes.get(index).map_or(self.now, |node| node.time(self.now));
        let action = call.action();
        let failure = CloudFailure { kind: error.kind(action), action: action.to_owned(), detail: error.detail(), at };
        self.done(index, id, Err(failure));
    }

    fn done(&mut self, index: usize, id: OperationId, outcome: Result<CloudSuccess, CloudFailure>) {
        let now = self.now;
        self.touched.insert(index);
        self.note(|| match &outcome {
            Ok(success) => format!("node {index}: {id:?} {}", name(success)),
            Err(failure) => format!("node {index}: {id:?} failed: {:?} {}", failure.kind, failure.detail),
        });
        let Some(node) = self.nodes.get_mut(index) else { return };
        if node.operations.remove(&id).is_none() {
            return;
        }
        let time = node.time(now);
        let listed = matches!(outcome, Ok(CloudSuccess::Interfaces(_)));
        let Some(outcome) = self.distorted_outcome(index, outcome) else { return };
        if let Some(pool) = self.nodes.get_mut(index).and_then(|node| node.pool.as_mut()) {
            pool.handle_cloud(id, outcome, time);
        }
        if listed {
            self.restore_late(index);
        }
    }
}

fn name(success: &CloudSuccess) -> String {
    match success {
        CloudSuccess::Subnets(subnets) => format!("{} subnets", subnets.len()),
        CloudSuccess::Interfaces(interfaces) => format!("{} interfaces", interfaces.len()),
        CloudSuccess::Created(created) => format!("created {}", created.id),
        other @ (CloudSuccess::Attached(_)
        | CloudSuccess::AssignedAddresses(..)
        | CloudSuccess::AssignedPrefixes(..)
        | CloudSuccess::Unassigned(_)
        | CloudSuccess::Released(_)) => format!("{other:?}"),
    }
}

fn linked(operation: &CloudOperation) -> Option<EniId> {
    match operation {
        CloudOperation::AttachInterface { interface, .. } | CloudOperation::PrepareInterface { interface, .. } => {
            Some(interface.clone())
        }
        CloudOperation::DescribeSubnets
        | CloudOperation::DescribeInterfaces
        | CloudOperation::CreateInterface { .. }
        | CloudOperation::AssignAddresses { .. }
        | CloudOperation::AssignPrefixes { .. }
        | CloudOperation::Unassign { .. }
        | CloudOperation::ReleaseInterface { .. } => None,
    }
}

/// The interface that a call takes something from.
fn changed(call: &Ec2Call) -> Option<EniId> {
    match call {
        Ec2Call::Unassign { interface, .. } | Ec2Call::Detach { interface, .. } | Ec2Call::Delete(interface) => {
            Some(interface.clone())
        }
        Ec2Call::DescribeSubnets
        | Ec2Call::DescribeInterfaces(_)
        | Ec2Call::DescribeInterface(_)
        | Ec2Call::DescribeLeftovers(_)
        | Ec2Call::Create { .. }
        | Ec2Call::Attach { .. }
        | Ec2Call::SetDeleteOnTermination { .. }
        | Ec2Call::Assign { .. } => None,
    }
}
