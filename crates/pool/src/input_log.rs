//! What is told to a pool, as values: a shell can write down all of it, and a tool make the same run again.

use freeboard_address::{AttachmentKey, Cidr};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::input::{
    AddRequest, CloudFailure, CloudSuccess, DelRequest, InterfaceIntent, NodeFacts, OperationId, PoolSettings,
    RequestId, RestoredAllocation, RestoredCooling, ReturnedBlock, Revision,
};
use crate::pod_subnets::PodSubnets;
use crate::pool::Pool;

/// The version of the log that this engine writes and reads.
pub const LOG_VERSION: &str = "freeboard-inputs/1";

/// The first line of a log: how the pool was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// [`LOG_VERSION`].
    pub version: String,
    /// When the pool was made.
    pub at: Timestamp,
    /// Its settings.
    pub settings: PoolSettings,
    /// What does not change about the node; none where pods have addresses of blocks that the node has of its own.
    pub facts: Option<NodeFacts>,
}

/// Each further line: what was told to the pool, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// When, by the clock that the pool goes by.
    pub at: Timestamp,
    /// What.
    #[serde(flatten)]
    pub input: Input,
}

/// Everything that can be told to a pool; see the method of the same name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "input", rename_all = "kebab-case")]
#[allow(missing_docs, reason = "each field is a parameter of the method of the same name")]
pub enum Input {
    /// [`Pool::handle_add`].
    Add { request: RequestId, add: AddRequest },
    /// [`Pool::handle_del`].
    Del { request: RequestId, del: DelRequest },
    /// [`Pool::handle_cancel`].
    Cancel { request: RequestId },
    /// [`Pool::handle_collect`].
    Collect { network: String, valid: Vec<AttachmentKey> },
    /// [`Pool::handle_persisted`].
    Persisted { outcome: Result<Revision, String> },
    /// [`Pool::handle_cloud`].
    Cloud { operation: OperationId, outcome: Result<CloudSuccess, CloudFailure> },
    /// [`Pool::handle_restore`].
    Restore { allocations: Vec<RestoredAllocation>, cooling: Vec<RestoredCooling> },
    /// [`Pool::handle_returned`].
    Returned { returned: Vec<ReturnedBlock> },
    /// [`Pool::handle_intents`].
    Intents { intents: Vec<InterfaceIntent> },
    /// [`Pool::handle_blocks`].
    Blocks { blocks: Vec<Cidr> },
    /// [`Pool::handle_pod_subnets`].
    PodSubnets { pod_subnets: PodSubnets },
    /// [`Pool::handle_settings`].
    Settings { settings: Box<PoolSettings> },
    /// [`Pool::handle_schedulable`].
    Schedulable { schedulable: bool },
    /// [`Pool::handle_terminating`].
    Terminating,
    /// [`Pool::handle_timeout`].
    Timeout,
    /// No input: the shell took out what the inputs before had led to, by [`Pool::poll_effect`], and so many effects came. What is
    /// taken out together counts as one moment, so a run is the same only when this is done at the same places.
    Taken { effects: u64 },
}

impl Pool {
    /// The pool as it was made.
    #[must_use]
    pub fn of_origin(origin: &Origin) -> Self {
        match &origin.facts {
            Some(facts) => Self::new(origin.settings.clone(), facts.clone(), origin.at),
            None => Self::on_blocks(origin.settings.clone(), origin.at),
        }
    }

    /// Any input; what the input's own method returns is left out, and [`Input::Taken`] changes nothing.
    pub fn handle(&mut self, input: Input, now: Timestamp) {
        match input {
            Input::Add { request, add } => self.handle_add(request, add, now),
            Input::Del { request, del } => self.handle_del(request, del, now),
            Input::Cancel { request } => self.handle_cancel(request, now),
            Input::Collect { network, valid } => {
                drop(self.handle_collect(&network, &valid.into_iter().collect(), now));
            }
            Input::Persisted { outcome } => self.handle_persisted(outcome, now),
            Input::Cloud { operation, outcome } => self.handle_cloud(operation, outcome, now),
            Input::Restore { allocations, cooling } => self.handle_restore(allocations, cooling, now),
            Input::Returned { returned } => self.handle_returned(returned, now),
            Input::Intents { intents } => self.handle_intents(intents, now),
            Input::Blocks { blocks } => drop(self.handle_blocks(&blocks, now)),
            Input::PodSubnets { pod_subnets } => self.handle_pod_subnets(pod_subnets, now),
            Input::Settings { settings } => drop(self.handle_settings(*settings, now)),
            Input::Schedulable { schedulable } => self.handle_schedulable(schedulable, now),
            Input::Terminating => self.handle_terminating(now),
            Input::Timeout => self.handle_timeout(now),
            Input::Taken { .. } => {}
        }
    }
}
