//! The way to the pool for other tasks: requests, questions, and what can be followed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use freeboard_address::{AttachmentKey, Cidr, PodKey};
use freeboard_pool::{
    AddRequest, Alarm, BlocksRefused, Decision, DelRequest, Holding, PodSubnets, PoolSettings, PoolView, Refusal,
    Reply, RequestId, SettingChange, SettingsRefused,
};
use jiff::Timestamp;
use tokio::sync::{broadcast, mpsc, oneshot, watch};

/// Requests that may wait for the task itself; it takes them in batches, so this is never long.
const COMMANDS: usize = 1024;
/// Notices that a follower may be behind; an older one is lost to it.
const NOTICES: usize = 256;
/// How long a DEL or a question waits for the end of the agent's start.
const START: Duration = Duration::from_secs(5);

/// What other tasks ask of the pool.
#[derive(Debug)]
pub enum Command {
    /// An ADD.
    Add(RequestId, AddRequest, oneshot::Sender<Reply>),
    /// A DEL.
    Del(RequestId, DelRequest, oneshot::Sender<Reply>),
    /// The caller of a request is gone.
    Cancel(RequestId),
    /// CNI GC: network and valid keys; answers what was released.
    Collect(String, BTreeSet<AttachmentKey>, oneshot::Sender<Vec<Holding>>),
    /// Whether an ADD of this key came, and its DEL did not.
    HasAsked(AttachmentKey, oneshot::Sender<bool>),
    /// What is held under a key.
    Holds(AttachmentKey, oneshot::Sender<Option<Holding>>),
    /// New settings as a whole; answers what they change, or why they are refused. See [`crate::live_settings`].
    Settings(Box<PoolSettings>, oneshot::Sender<Result<Vec<SettingChange>, SettingsRefused>>),
    /// Where new interfaces for pods are made: what Kubernetes says of custom networking.
    PodSubnets(PodSubnets),
    /// The blocks that the node has of its own; answers why they are refused, if they are.
    Blocks(Vec<Cidr>, oneshot::Sender<Result<(), BlocksRefused>>),
    /// Whether the node may be scheduled on.
    Schedulable(bool),
    /// Whether an ADD would be served.
    CanGive(oneshot::Sender<Result<(), Refusal>>),
    /// Everything that can be seen.
    Show(oneshot::Sender<Box<Shown>>),
    /// The agent is shutting down.
    Terminate,
    /// Answered when everything that must survive is written.
    Settled(oneshot::Sender<()>),
}

/// The pool and the latest decisions.
#[derive(Debug)]
pub struct Shown {
    /// The pool.
    pub view: PoolView,
    /// What should not be, and still is.
    pub alarms: Vec<Alarm>,
    /// The latest decisions and waits, oldest first.
    pub decisions: Vec<Noted>,
    /// The latest refusals, oldest first.
    pub refusals: Vec<(Timestamp, Refusal)>,
    /// What the engine decided and why, with figures, oldest first.
    pub log: Vec<Decision>,
}

/// A decision and its reason.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Noted {
    /// When.
    pub at: Timestamp,
    /// What was decided.
    pub what: String,
    /// Why.
    pub why: String,
}

/// What other tasks follow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Whether the pool's task runs.
    pub started: bool,
    /// Whether the pool knows its interfaces and its state.
    pub ready: bool,
    /// Whether an ADD would be served now.
    pub can_give: bool,
    /// The subnets' blocks, as the cloud showed them last.
    pub subnets: Vec<Cidr>,
}

/// A pod that has no address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Its ADD waits.
    Waits {
        /// The pod.
        pod: PodKey,
        /// What it waits for.
        refusal: Refusal,
    },
    /// Its ADD was refused; the runtime asks again.
    Refused {
        /// The pod.
        pod: PodKey,
        /// Why.
        refusal: Refusal,
    },
}

/// The way to the pool for other tasks.
#[derive(Clone, Debug)]
pub struct PoolHandle {
    commands: mpsc::Sender<Command>,
    notices: broadcast::Sender<Notice>,
    status: watch::Receiver<Status>,
    next: Arc<AtomicU64>,
}

/// Why the pool did not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PoolError {
    /// The agent has not come so far.
    #[error(
        "the agent has not finished its start: it waits for the metadata service, for EC2 or for the host's network; see its log"
    )]
    NotStarted,
    /// The agent is about to end.
    #[error("the agent is stopping")]
    Gone,
}

/// The other end of [`PoolHandle`], for the task.
#[derive(Debug)]
pub struct PoolEnd {
    /// What is asked.
    pub commands: mpsc::Receiver<Command>,
    /// What can be followed.
    pub status: watch::Sender<Status>,
    /// Pods that have no address.
    pub notices: broadcast::Sender<Notice>,
}

/// A handle and its other end. Requests can be made before the task runs; they wait for it.
#[must_use]
pub fn handle() -> (PoolHandle, PoolEnd) {
    let (to_task, commands) = mpsc::channel(COMMANDS);
    let (status, followed) = watch::channel(Status::default());
    let notices = broadcast::Sender::new(NOTICES);
    let end = PoolEnd { commands, status, notices: notices.clone() };
    (PoolHandle { commands: to_task, notices, status: followed, next: Arc::default() }, end)
}

/// Tells the pool when a caller went away before its answer came.
struct CancelOnDrop<'a> {
    handle: &'a PoolHandle,
    request: Option<RequestId>,
}

impl Drop for CancelOnDrop<'_> {
    fn drop(&mut self) {
        if let Some(request) = self.request {
            // If the queue is full the pod's DEL releases what the ADD got.
            let _ = self.handle.commands.try_send(Command::Cancel(request));
        }
    }
}

impl PoolHandle {
    /// An ADD, answered when it is durable.
    ///
    /// # Errors
    /// When the agent's start does not end within `wait`, or the pool's task has ended.
    pub async fn add(&self, add: AddRequest, wait: Duration) -> Result<Reply, PoolError> {
        self.started(wait).await?;
        self.request(|request, answer| Command::Add(request, add, answer)).await
    }

    /// A DEL, answered when it is durable.
    ///
    /// # Errors
    /// When the pool's task has ended.
    pub async fn del(&self, del: DelRequest) -> Result<Reply, PoolError> {
        self.started(START).await?;
        self.request(|request, answer| Command::Del(request, del, answer)).await
    }

    /// Waits until the task runs.
    async fn started(&self, limit: Duration) -> Result<(), PoolError> {
        let mut status = self.status.clone();
        let started = status.wait_for(|status| status.started);
        match tokio::time::timeout(limit, started).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(PoolError::Gone),
            Err(_) => Err(PoolError::NotStarted),
        }
    }

    async fn request(
        &self,
        command: impl FnOnce(RequestId, oneshot::Sender<Reply>) -> Command,
    ) -> Result<Reply, PoolError> {
        let request = RequestId(self.next.fetch_add(1, Ordering::Relaxed));
        let mut guard = CancelOnDrop { handle: self, request: Some(request) };
        let reply = self.send(|answer| command(request, answer)).await;
        guard.request = None;
        reply
    }

    /// Any question that is answered at once.
    ///
    /// # Errors
    /// When the agent has not finished its start, or the pool's task has ended.
    pub async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T, PoolError> {
        if !self.status.borrow().started {
            return Err(PoolError::NotStarted);
        }
        self.send(command).await
    }

    async fn send<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T, PoolError> {
        let (answer, answered) = oneshot::channel();
        self.commands.send(command(answer)).await.map_err(|_| PoolError::Gone)?;
        answered.await.map_err(|_| PoolError::Gone)
    }

    /// The blocks that the node has of its own; waits for the end of the agent's start. Who asks reads them from somewhere and can
    /// only log that they are refused, so that is done here.
    ///
    /// # Errors
    /// When the pool's task has ended.
    pub async fn blocks(&self, blocks: Vec<Cidr>) -> Result<(), PoolError> {
        let answer = self.send(|answer| Command::Blocks(blocks, answer)).await?;
        if let Err(refused) = answer {
            tracing::error!("{refused}; the blocks that are known stay");
        }
        Ok(())
    }

    /// Tells the pool something.
    ///
    /// # Errors
    /// When the pool's task has ended.
    pub async fn tell(&self, command: Command) -> Result<(), PoolError> {
        self.commands.send(command).await.map_err(|_| PoolError::Gone)
    }

    /// Pods that have no address, from now on.
    #[must_use]
    pub fn notices(&self) -> broadcast::Receiver<Notice> {
        self.notices.subscribe()
    }

    /// What can be followed.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }
}
