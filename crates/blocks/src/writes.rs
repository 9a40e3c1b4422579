//! Blocks on their way to the API: bounded, repeated, and settled by what the API shows.

use freeboard_address::Cidr;
use jiff::{SignedDuration, Timestamp};

use crate::effect::{ApiOperation, Effect, Signal};
use crate::engine::{Blocks, later};
use crate::input::{Answer, ObservedNode, OperationId};
use crate::nodes::State;
use crate::table::NodeId;

/// How far the writing of a node's block is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Write {
    step: Step,
    /// How many tries have failed in a row.
    failures: u32,
    /// Whether any try may have reached the API.
    was_sent: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// In the outbox.
    Queued,
    /// The operation is in flight: the write itself, or a read after a conflict.
    InFlight(OperationId),
    /// It failed, and is tried again at this time.
    Paused(Timestamp),
}

impl Write {
    pub(crate) fn queued() -> Self {
        Self { step: Step::Queued, failures: 0, was_sent: false }
    }

    pub(crate) fn was_sent(&self) -> bool {
        self.was_sent
    }

    /// Whether it is where the audit finds it.
    pub(crate) fn is_tracked(&self, node: NodeId, engine: &Blocks) -> bool {
        match self.step {
            Step::Queued => engine.outbox.contains(&node),
            Step::InFlight(id) => engine.operations.get(&id).is_some_and(|operation| operation.node == node),
            Step::Paused(at) => engine.retries.contains(&(at, node)),
        }
    }
}

/// An operation in flight.
#[derive(Clone, Debug)]
pub(crate) struct Operation {
    pub(crate) node: NodeId,
    /// A read after a conflict, not a write.
    is_read: bool,
}

impl Blocks {
    /// What became of an API operation. An answer to an operation that nobody waits for any more changes nothing, except that a node
    /// it shows is taken in like any other observation.
    pub fn handle_answer(&mut self, id: OperationId, answer: Answer, now: Timestamp) {
        self.begin(now);
        let operation = self.operations.remove(&id);
        let current = operation.as_ref().and_then(|operation| self.granted(operation.node, id));
        match (answer, current) {
            (Answer::Node(seen), current) => self.answer_node(seen, operation.as_ref(), current),
            (_, None) => {}
            (Answer::Written, Some((node, cidr, _))) => {
                let since = self.nodes.get(node).map_or(self.now, |node| node.since);
                self.confirm(node, cidr, since);
                self.set_state(node, State::Held { cidr, more: Vec::new() });
            }
            (Answer::NotFound, Some((node, ..))) => self.depart(node),
            (Answer::Conflict, Some((node, cidr, write))) => self.start_read(node, cidr, write),
            (Answer::Uncertain, Some((node, cidr, write))) => {
                self.pause(node, cidr, write, "the answer was lost".to_owned());
            }
            (Answer::Failed(detail), Some((node, cidr, write))) => self.pause(node, cidr, write, detail),
        }
        self.advance();
    }

    /// A node as a consistent read shows it.
    fn answer_node(
        &mut self,
        seen: ObservedNode,
        operation: Option<&Operation>,
        current: Option<(NodeId, Cidr, Write)>,
    ) {
        let name = seen.name.clone();
        self.observe(seen);
        let Some((id, cidr, mut write)) = current else { return };
        let is_still_granted = self.nodes.get(id).is_some_and(|node| {
            node.name == name && node.state == State::Granted { cidr, write: write.clone() }
        });
        if !is_still_granted {
            return;
        }
        // The same node, and it has no block: whatever refused the write is over, or it is tried slower and slower.
        if operation.is_some_and(|operation| operation.is_read) && write.failures <= 1 {
            write.step = Step::Queued;
            self.outbox.push_back(id);
            self.set_state(id, State::Granted { cidr, write });
        } else {
            self.pause(id, cidr, write, "the API refuses the write and shows no block on the node".to_owned());
        }
    }

    /// The grant that waits for this operation.
    fn granted(&self, node: NodeId, id: OperationId) -> Option<(NodeId, Cidr, Write)> {
        match &self.nodes.get(node)?.state {
            State::Granted { cidr, write } if write.step == Step::InFlight(id) => {
                Some((node, *cidr, write.clone()))
            }
            State::Granted { .. }
            | State::Waiting { .. }
            | State::Refused { .. }
            | State::Held { .. }
            | State::Unusable => None,
        }
    }

    /// Starts as many writes as may be in flight.
    pub(crate) fn write(&mut self) {
        while let Some((at, _)) = self.retries.first()
            && *at <= self.now
        {
            let Some((_, id)) = self.retries.pop_first() else { break };
            if let Some(State::Granted { write, .. }) = self.nodes.get_mut(id).map(|node| &mut node.state) {
                write.step = Step::Queued;
                self.outbox.push_back(id);
            }
        }
        while self.operations.len() < self.settings.writes_in_flight.max(1) {
            let Some(queued) = self.outbox.pop_front() else { break };
            let id = OperationId(self.last_operation + 1);
            let Some(node) = self.nodes.get_mut(queued) else { continue };
            let State::Granted { cidr, write } = &mut node.state else { continue };
            if write.step != Step::Queued {
                continue;
            }
            (write.step, write.was_sent) = (Step::InFlight(id), true);
            let operation = ApiOperation::SetPodCidrs { node: node.name.clone(), uid: node.uid.clone(), cidr: *cidr };
            self.start(id, queued, operation);
        }
    }

    fn start(&mut self, id: OperationId, node: NodeId, operation: ApiOperation) {
        self.last_operation = id.0;
        let is_read = matches!(operation, ApiOperation::ReadNode { .. });
        self.operations.insert(id, Operation { node, is_read });
        self.effects.push_back(Effect::Api(id, operation));
    }

    /// After a conflict only the Node itself can tell.
    fn start_read(&mut self, node: NodeId, cidr: Cidr, mut write: Write) {
        let id = OperationId(self.last_operation + 1);
        write.step = Step::InFlight(id);
        write.failures += 1;
        self.set_state(node, State::Granted { cidr, write });
        let name = self.name_of(node);
        self.start(id, node, ApiOperation::ReadNode { node: name });
    }

    /// Tries again later; the block stays the node's.
    fn pause(&mut self, node: NodeId, cidr: Cidr, mut write: Write, detail: String) {
        let doubled = 1i32.checked_shl(write.failures.min(20)).unwrap_or(i32::MAX);
        let delay = self.settings.retry_min.saturating_mul(doubled);
        let delay: SignedDuration = delay.min(self.settings.retry_max.max(self.settings.retry_min));
        let at = later(self.now, delay);
        write.failures = write.failures.saturating_add(1);
        write.step = Step::Paused(at);
        self.retries.insert((at, node));
        self.set_state(node, State::Granted { cidr, write });
        let node = self.name_of(node);
        self.signal(Signal::WriteFailed { node, detail });
    }

    /// The write is not needed any more. What is in flight is answered one day, to nobody.
    pub(crate) fn cancel_write(&mut self, node: NodeId, write: &Write) {
        if let Step::Paused(at) = write.step {
            self.retries.remove(&(at, node));
        }
    }
}
