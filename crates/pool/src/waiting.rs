//! ADDs that wait for an address, first come first served, and pods that were refused a short while ago.

use std::collections::{BTreeMap, VecDeque};

use jiff::{SignedDuration, Timestamp};

use crate::backoff::later;
use crate::input::{AddRequest, RequestId};

/// One ADD in the queue.
#[derive(Clone, Debug)]
pub(crate) struct Waiter {
    pub(crate) request: RequestId,
    pub(crate) add: AddRequest,
    pub(crate) since: Timestamp,
    /// Whether people were told that it waits.
    pub(crate) announced: bool,
}

impl Waiter {
    /// What this ADD is about, the same in the next try of the runtime: the pod, or the sandbox when the pod is not known.
    fn subject(add: &AddRequest) -> String {
        add.pod.as_ref().map_or_else(|| add.key.to_string(), ToString::to_string)
    }
}

/// The queue, and the demand that was refused.
#[derive(Clone, Debug, Default)]
pub(crate) struct Waiting {
    pub(crate) queue: VecDeque<Waiter>,
    refused: BTreeMap<String, Timestamp>,
}

impl Waiting {
    pub(crate) fn len(&self) -> u32 {
        u32::try_from(self.queue.len()).unwrap_or(u32::MAX)
    }

    /// Remembers a refused pod as demand.
    pub(crate) fn remember(&mut self, add: &AddRequest, now: Timestamp) {
        self.refused.insert(Waiter::subject(add), now);
    }

    /// The pod has an address, or waits again.
    pub(crate) fn forget(&mut self, add: &AddRequest) {
        if !self.refused.is_empty() {
            self.refused.remove(&Waiter::subject(add));
        }
    }

    /// Forgets pods that were refused longer ago than `memory`; returns when the next one is due.
    pub(crate) fn expire(&mut self, memory: SignedDuration, now: Timestamp) -> Option<Timestamp> {
        self.refused.retain(|_, at| later(*at, memory) > now);
        self.refused.values().map(|at| later(*at, memory)).min()
    }

    /// Pods that wait, and pods that will come again.
    pub(crate) fn demand(&self) -> u32 {
        self.len().saturating_add(u32::try_from(self.refused.len()).unwrap_or(u32::MAX))
    }

    /// The next ADD whose wait is over.
    pub(crate) fn take_expired(&mut self, wait: SignedDuration, now: Timestamp) -> Option<Waiter> {
        let index = self.queue.iter().position(|waiter| later(waiter.since, wait) <= now)?;
        self.queue.remove(index)
    }
}
