//! What was promised and is not durable yet: replies are held back until it is, and undone when it cannot be.

use std::collections::VecDeque;
use std::sync::Arc;

use freeboard_address::AttachmentKey;
use jiff::Timestamp;

use crate::effect::Reply;
use crate::input::{RequestId, Revision};
use crate::store::{Assignment, Cell, Claim};

/// How to take a promise back.
#[derive(Clone, Debug)]
pub(crate) enum Undo {
    /// An ADD: the address returns to the state that it was in, and the quarantined claim that it replaced comes back.
    Add { assignment: Arc<Assignment>, previous: Cell, replaced: Option<Box<Claim>> },
    /// A DEL: the sandbox holds the address again.
    Del { assignment: Arc<Assignment>, address: std::net::Ipv4Addr },
    /// A DEL of a quarantined claim.
    Claim(Box<Claim>),
}

impl Undo {
    fn key(&self) -> &AttachmentKey {
        match self {
            Self::Add { assignment, .. } | Self::Del { assignment, .. } => &assignment.key,
            Self::Claim(claim) => &claim.assignment.key,
        }
    }
}

/// A reply that waits for its record to be durable.
#[derive(Clone, Debug)]
pub(crate) struct Promise {
    pub(crate) revision: Revision,
    pub(crate) requests: Vec<RequestId>,
    pub(crate) reply: Reply,
    pub(crate) undo: Undo,
}

/// The revisions of the durable state, and the promises between what is written and what is not.
#[derive(Clone, Debug, Default)]
pub(crate) struct Journal {
    pub(crate) revision: Revision,
    pub(crate) durable: Revision,
    promises: VecDeque<Promise>,
    /// Since when, and why, the state cannot be written.
    pub(crate) failing: Option<(Timestamp, String)>,
    /// When the state is to be written again after a failure.
    pub(crate) retry_at: Option<Timestamp>,
}

impl Journal {
    /// One more revision of the durable state.
    pub(crate) fn advance(&mut self) -> Revision {
        self.revision = Revision(self.revision.0.saturating_add(1));
        self.revision
    }

    pub(crate) fn promise(&mut self, promise: Promise) {
        self.promises.push_back(promise);
    }

    /// The newest open promise about a key.
    pub(crate) fn open_mut(&mut self, key: &AttachmentKey) -> Option<&mut Promise> {
        self.promises.iter_mut().rev().find(|promise| promise.undo.key() == key)
    }

    /// The next promise that `durable` covers, oldest first.
    pub(crate) fn keep(&mut self, durable: Revision) -> Option<Promise> {
        self.durable = self.durable.max(durable);
        self.promises.pop_front_if(|promise| promise.revision <= durable)
    }

    /// All open promises, newest first, to be undone in this order.
    pub(crate) fn break_all(&mut self) -> Vec<Promise> {
        self.promises.drain(..).rev().collect()
    }
}
