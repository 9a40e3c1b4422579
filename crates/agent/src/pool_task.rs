//! The one task that owns the pool engine: feeds it requests, outcomes and time, and carries out its effects.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use freeboard_address::PodKey;
use freeboard_pool::{
    CheckpointState, CloudFailure, CloudOperation, CloudSuccess, Effect, FailureKind, Input, OperationId, Refusal,
    Reply, RequestId, Revision, Signal, Tally,
};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::checkpoint;
use crate::clock::SteadyClock;
use crate::input_log::LoggedPool;
use crate::metrics::Metrics;
use crate::pool_handle::{Command, Noted, Notice, PoolEnd, Shown, Status};
use crate::store::Store;

/// Commands taken before effects are carried out, so that a burst shares one write.
const BATCH: usize = 256;
/// Decisions and refusals that introspection shows.
const REMEMBERED: usize = 64;
/// The engine is asked at least this often, though it asks for nothing.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);
/// At most this often a line with the pool's figures is logged: the incumbent's period.
const STATS_PERIOD: Duration = Duration::from_secs(5);

/// How the task reaches cloud and host.
pub trait Operations: Send + Sync + 'static {
    /// Carries out one operation to its end.
    fn execute(&self, operation: CloudOperation) -> impl Future<Output = Result<CloudSuccess, CloudFailure>> + Send;
}

/// A request that is not answered yet.
struct Open {
    answer: oneshot::Sender<Reply>,
    /// The pod of an ADD, where it is known.
    pod: Option<PodKey>,
}

/// The task.
pub struct PoolTask<O> {
    logged: LoggedPool,
    clock: SteadyClock,
    operations: Arc<O>,
    store: Store,
    metrics: Arc<Metrics>,
    end: PoolEnd,
    outcomes: mpsc::UnboundedReceiver<(OperationId, Result<CloudSuccess, CloudFailure>)>,
    outcome: mpsc::UnboundedSender<(OperationId, Result<CloudSuccess, CloudFailure>)>,
    open: BTreeMap<RequestId, Open>,
    unwritten: bool,
    writing: Option<JoinHandle<Result<Revision, String>>>,
    settled: Vec<oneshot::Sender<()>>,
    decisions: VecDeque<Noted>,
    refusals: VecDeque<(Timestamp, Refusal)>,
    stats_at: Option<Instant>,
    stats: Tally,
}

impl<O: Operations> PoolTask<O> {
    /// The task at the end of a handle, ready to run; `clock` is the one by which the pool was made.
    pub fn new(
        pool: impl Into<LoggedPool>,
        clock: SteadyClock,
        end: PoolEnd,
        operations: Arc<O>,
        store: Store,
        metrics: Arc<Metrics>,
    ) -> Self {
        let (outcome, outcomes) = mpsc::unbounded_channel();
        Self {
            logged: pool.into(),
            clock,
            operations,
            store,
            metrics,
            end,
            outcomes,
            outcome,
            open: BTreeMap::new(),
            unwritten: false,
            writing: None,
            settled: Vec::new(),
            decisions: VecDeque::new(),
            refusals: VecDeque::new(),
            stats_at: None,
            stats: Tally::default(),
        }
    }

    /// Runs until every handle is gone.
    pub async fn run(mut self) {
        loop {
            self.carry_out_effects();
            self.publish();
            let sleep = self.sleep();
            tokio::select! {
                biased;
                written = wait_for(&mut self.writing) => self.written(written),
                Some((operation, outcome)) = self.outcomes.recv() => {
                    self.logged.tell(Input::Cloud { operation, outcome }, self.clock.now());
                }
                command = self.end.commands.recv() => {
                    let Some(command) = command else { return };
                    self.handle(command);
                    for _ in 1..BATCH {
                        let Ok(command) = self.end.commands.try_recv() else { break };
                        self.handle(command);
                    }
                }
                () = tokio::time::sleep(sleep) => self.logged.tell(Input::Timeout, self.clock.now()),
            }
        }
    }

    fn sleep(&self) -> Duration {
        let now = self.clock.now();
        let wait = self.logged.pool.poll_timeout().map_or(SignedDuration::MAX, |(at, _)| at.duration_since(now));
        // Never zero: a deadline that the engine does not move must not spin.
        Duration::try_from(wait).unwrap_or_default().clamp(Duration::from_millis(1), LONGEST_SLEEP)
    }

    fn handle(&mut self, command: Command) {
        let now = self.clock.now();
        // An answer that nobody waits for any more is no error.
        match command {
            Command::Add(request, add, answer) => {
                self.open.insert(request, Open { answer, pod: add.pod.clone() });
                self.logged.tell(Input::Add { request, add }, now);
            }
            Command::Del(request, del, answer) => {
                self.open.insert(request, Open { answer, pod: None });
                self.logged.tell(Input::Del { request, del }, now);
            }
            Command::Cancel(request) => {
                self.open.remove(&request);
                self.logged.tell(Input::Cancel { request }, now);
            }
            Command::Collect(network, valid, answer) => {
                let noted = || Input::Collect { network: network.clone(), valid: valid.iter().cloned().collect() };
                self.logged.note(noted, now);
                let _ = answer.send(self.logged.pool.handle_collect(&network, &valid, now));
            }
            Command::HasAsked(key, answer) => drop(answer.send(self.logged.pool.has_asked(&key))),
            Command::Holds(key, answer) => drop(answer.send(self.logged.pool.holds(&key))),
            Command::Settings(settings, answer) => {
                self.logged.note(|| Input::Settings { settings: settings.clone() }, now);
                let _ = answer.send(self.logged.pool.handle_settings(*settings, now));
            }
            Command::PodSubnets(pod_subnets) => self.logged.tell(Input::PodSubnets { pod_subnets }, now),
            Command::Blocks(blocks, answer) => {
                self.logged.note(|| Input::Blocks { blocks: blocks.clone() }, now);
                let _ = answer.send(self.logged.pool.handle_blocks(&blocks, now));
            }
            Command::Schedulable(schedulable) => self.logged.tell(Input::Schedulable { schedulable }, now),
            Command::CanGive(answer) => drop(answer.send(self.logged.pool.can_give(now))),
            Command::Show(answer) => drop(answer.send(Box::new(Shown {
                view: self.logged.pool.view(),
                alarms: self.logged.pool.alarms(),
                decisions: self.decisions.iter().cloned().collect(),
                refusals: self.refusals.iter().cloned().collect(),
                log: self.logged.pool.decisions().cloned().collect(),
            }))),
            Command::Terminate => self.logged.tell(Input::Terminating, now),
            Command::Settled(answer) => self.settled.push(answer),
        }
    }

    fn carry_out_effects(&mut self) {
        self.take_effects();
        if self.must_write() && self.is_written_here() {
            self.unwritten = false;
            let outcome = write(&self.logged.pool.checkpoint(), &self.store, &self.metrics);
            self.written(outcome);
            self.take_effects();
        }
        if self.must_write() {
            self.unwritten = false;
            self.write_apart();
        }
        if self.writing.is_none() {
            for answer in self.settled.drain(..) {
                let _ = answer.send(());
            }
        }
    }

    fn take_effects(&mut self) {
        let mut effects = 0;
        while let Some(effect) = self.logged.pool.poll_effect() {
            effects += 1;
            match effect {
                Effect::Persist(_) => self.unwritten = true,
                Effect::Reply(request, reply) => self.reply(request, reply),
                Effect::Cloud(id, operation) => self.start(id, operation),
                Effect::Signal(signal) => self.signal(signal),
            }
        }
        self.logged.note(|| Input::Taken { effects }, self.clock.now());
    }

    const fn must_write(&self) -> bool {
        self.unwritten && self.writing.is_none()
    }

    /// To memory a write takes less time than handing it to another thread and back. When several calls are open it is handed
    /// over all the same, so that those that come meanwhile share the next.
    fn is_written_here(&self) -> bool {
        self.store.is_in_memory() && self.open.len() <= 1
    }

    fn reply(&mut self, request: RequestId, reply: Reply) {
        let open = self.open.remove(&request);
        if let Reply::Refused(refusal) = &reply {
            remember(&mut self.refusals, (Timestamp::now(), refusal.clone()));
            if let Some(pod) = open.as_ref().and_then(|open| open.pod.clone()) {
                // Nobody need follow.
                let _ = self.end.notices.send(Notice::Refused { pod, refusal: refusal.clone() });
            }
        }
        if let Some(open) = open {
            let _ = open.answer.send(reply);
        }
    }

    /// Group commit: one write at a time, always of the newest state; what comes meanwhile shares the next.
    fn write_apart(&mut self) {
        let state = self.logged.pool.checkpoint();
        let (store, metrics) = (self.store.clone(), Arc::clone(&self.metrics));
        self.writing = Some(tokio::task::spawn_blocking(move || write(&state, &store, &metrics)));
    }

    fn written(&mut self, outcome: Result<Revision, String>) {
        self.writing = None;
        if let Err(reason) = &outcome {
            self.metrics.checkpoint_failures.inc();
            tracing::warn!(%reason, "Failed to update backing store: what was not durable is undone and refused");
        }
        self.logged.tell(Input::Persisted { outcome }, self.clock.now());
    }

    fn start(&self, id: OperationId, operation: CloudOperation) {
        let (operations, outcome) = (Arc::clone(&self.operations), self.outcome.clone());
        let Labels { action, failure } = labels(&operation);
        let in_progress = self.metrics.in_progress.with_label_values(&[action]);
        let failures = self.metrics.errors.with_label_values(&[failure]);
        in_progress.inc();
        tokio::spawn(async move {
            let done = tokio::spawn(async move { operations.execute(operation).await }).await;
            let done = done.unwrap_or_else(|error| {
                // Its effect may have happened, so the pool must look before it believes anything.
                let detail = format!("the operation ended abnormally: {error}");
                let action = "agent".to_owned();
                Err(CloudFailure { kind: FailureKind::Uncertain, action, detail, at: Timestamp::now() })
            });
            in_progress.dec();
            if done.is_err() {
                failures.inc();
            }
            let _ = outcome.send((id, done));
        });
    }

    fn signal(&mut self, signal: Signal) {
        let at = Timestamp::now();
        match signal {
            Signal::Decision { what, why } => {
                tracing::info!(%why, "{what}");
                remember(&mut self.decisions, Noted { at, what: what.to_string(), why: why.to_string() });
            }
            Signal::Waiting { pod, refusal } => {
                if let Some(pod) = pod.clone() {
                    let _ = self.end.notices.send(Notice::Waits { pod, refusal: refusal.clone() });
                }
                let pod = pod.map(|pod| pod.to_string()).unwrap_or_default();
                let cause = refusal.cause.as_str();
                tracing::info!(%pod, cause, "no free address yet; the ADD waits: {}", refusal.message);
                remember(
                    &mut self.decisions,
                    Noted { at, what: format!("ADD of {pod} waits"), why: refusal.to_string() },
                );
            }
            Signal::Alarm { what, contained } => {
                self.metrics.alarms.inc();
                tracing::error!(%contained, "{what}");
                remember(&mut self.decisions, Noted { at, what, why: contained });
            }
        }
    }

    fn publish(&mut self) {
        let can_give = self.logged.pool.can_give(self.clock.now()).is_ok();
        let due = self.stats_at.is_none_or(|last| last.elapsed() >= STATS_PERIOD);
        if !due && self.end.status.borrow().can_give == can_give {
            return;
        }
        let view = self.logged.pool.view();
        if view.tally != self.stats {
            let tally = view.tally;
            tracing::debug!(
                free = tally.free,
                quarantined = tally.quarantined,
                waiting = view.waiting,
                "IP stats for Network Card 0 - total IPs: {}, assigned IPs: {}, cooldown IPs: {}",
                tally.total,
                tally.assigned,
                tally.cooling
            );
        }
        (self.stats_at, self.stats) = (Some(Instant::now()), view.tally);
        let now = Status {
            started: true,
            ready: view.ready,
            can_give,
            subnets: view.subnets.iter().map(|subnet| subnet.cidr).collect(),
        };
        self.end.status.send_if_modified(|status| {
            let changed = *status != now;
            *status = now;
            changed
        });
    }
}

/// The incumbent's words for an operation: what is in progress, and what has failed.
struct Labels {
    action: &'static str,
    failure: &'static str,
}

fn labels(operation: &CloudOperation) -> Labels {
    let (action, failure) = match operation {
        CloudOperation::DescribeSubnets | CloudOperation::DescribeInterfaces => {
            ("nodeIPPoolReconcile", "reconcileFailedGetENIs")
        }
        CloudOperation::CreateInterface { .. } | CloudOperation::AttachInterface { .. } => {
            ("increaseDatastorePool", "increaseIPPoolAllocENI")
        }
        CloudOperation::PrepareInterface { .. } => ("increaseDatastorePool", "increaseIPPoolsetupENIFailed"),
        CloudOperation::AssignAddresses { .. } | CloudOperation::AssignPrefixes { .. } => {
            ("increaseDatastorePool", "increaseIPPoolAllocIPAddressesFailed")
        }
        CloudOperation::Unassign { .. } => ("decreaseDatastorePool", "decreaseIPPool"),
        CloudOperation::ReleaseInterface { .. } => ("decreaseDatastorePool", "decreaseIPPoolFreeENIFailed"),
    };
    Labels { action, failure }
}

/// Writes a state and says up to where the pool's changes are durable now; else why not.
fn write(state: &CheckpointState, store: &Store, metrics: &Metrics) -> Result<Revision, String> {
    let started = Instant::now();
    let text = checkpoint::encode(state).map_err(|error| error.to_string())?;
    let written = store.write(&text).map_err(|error| error.to_string());
    metrics.checkpoint_seconds.observe(started.elapsed().as_secs_f64());
    written.map(|()| state.revision)
}

/// The end of the write that is under way; never, when there is none.
async fn wait_for(writing: &mut Option<JoinHandle<Result<Revision, String>>>) -> Result<Revision, String> {
    match writing {
        Some(write) => write.await.unwrap_or_else(|error| Err(format!("the write ended abnormally: {error}"))),
        None => std::future::pending().await,
    }
}

fn remember<T>(queue: &mut VecDeque<T>, item: T) {
    if queue.len() == REMEMBERED {
        queue.pop_front();
    }
    queue.push_back(item);
}
