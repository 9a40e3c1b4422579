//! The engine's shell during one term of leading: hands it what comes in, and does what it asks for.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use freeboard_address::{NodeName, RangeName};
use freeboard_blocks::{Answer, Blocks, BlocksSettings, Cause, Effect, Signal};
use freeboard_kubernetes::events::Recorder;
use freeboard_kubernetes::kube::runtime::watcher::Config;
use freeboard_kubernetes::kube::{Api, Client};
use freeboard_kubernetes::leader::Leadership;
use freeboard_kubernetes::resources::PodRange;
use freeboard_kubernetes::watch::{Seen, collection};
use futures::StreamExt;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;

use crate::http::Health;
use crate::input::{Input, SeenNode};
use crate::outlook::Outlook;
use crate::ranges::Ranges;
use crate::reports::Reports;
use crate::{api, nodes};

/// Inputs that may wait for the engine.
const QUEUE: usize = 4096;
/// Inputs that are taken in before anything is done about them.
const BATCH: usize = 512;
/// How often the status of ranges and the gauges are written, when something has changed.
const STATUS_PERIOD: Duration = Duration::from_millis(500);

/// One term of leading.
pub(crate) struct Shell {
    client: Client,
    leadership: Arc<Leadership>,
    health: Health,
    reports: Reports,
    ranges: Ranges,
    engine: Blocks,
    /// A clock that nobody can set while the program runs.
    started: (Timestamp, Instant),
    inputs: mpsc::Sender<Input>,
    list_again: Arc<Notify>,
    /// The watches, and the operations in flight. They end with the term.
    tasks: JoinSet<()>,
    is_watching_nodes: bool,
    /// Nodes whose condition says that they wait.
    told: BTreeSet<NodeName>,
}

impl Shell {
    /// Leads until the lease is lost.
    pub(crate) async fn lead(
        client: Client,
        leadership: Arc<Leadership>,
        health: Health,
        recorder: Recorder,
        settings: BlocksSettings,
        outlook: Outlook,
    ) {
        let (inputs, mut waiting) = mpsc::channel(QUEUE);
        let started = (Timestamp::now(), Instant::now());
        let mut shell = Self {
            reports: Reports::start(client.clone(), recorder),
            ranges: Ranges::new(client.clone(), outlook),
            engine: Blocks::new(settings, started.0),
            client,
            leadership: Arc::clone(&leadership),
            health,
            started,
            inputs,
            list_again: Arc::default(),
            tasks: JoinSet::new(),
            is_watching_nodes: false,
            told: BTreeSet::new(),
        };
        shell.tasks.spawn(follow_ranges(shell.client.clone(), shell.inputs.clone()));
        let lost = leadership.lost();
        tokio::pin!(lost);
        let mut status = tokio::time::interval(STATUS_PERIOD);
        status.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            tokio::select! {
                () = &mut lost => return,
                _ = waiting.recv_many(&mut batch, BATCH) => batch.drain(..).for_each(|input| shell.take(input)),
                () = tokio::time::sleep(shell.until_timeout()) => {
                    let now = shell.now();
                    shell.engine.handle_timeout(now);
                }
                _ = status.tick() => shell.show(),
                Some(_) = shell.tasks.join_next() => {}
            }
            shell.act();
        }
    }

    fn now(&self) -> Timestamp {
        let elapsed = SignedDuration::try_from(self.started.1.elapsed()).unwrap_or(SignedDuration::MAX);
        self.started.0.checked_add(elapsed).unwrap_or(Timestamp::MAX)
    }

    fn until_timeout(&self) -> Duration {
        let Some((at, _)) = self.engine.poll_timeout() else { return Duration::from_secs(3600) };
        // A fraction of a millisecond later, so that the time has surely come.
        Duration::try_from(at.duration_since(self.now())).unwrap_or_default() + Duration::from_millis(1)
    }

    fn take(&mut self, input: Input) {
        let now = self.now();
        match input {
            Input::Nodes(nodes, version) => {
                let nodes: Vec<_> = nodes.into_iter().map(|seen| self.note(seen)).collect();
                tracing::info!(nodes = nodes.len(), version = version.0, "the nodes are listed");
                self.engine.handle_nodes(nodes, version, now);
            }
            Input::Node(seen) => {
                let node = self.note(seen);
                self.engine.handle_node(node, now);
            }
            Input::NodeDeleted(name, uid) => {
                self.told.remove(&name);
                self.engine.handle_node_deleted(&name, &uid, now);
            }
            Input::Ranges(objects) => {
                self.ranges.take(objects, &mut self.engine, &self.reports, now);
                // Before the ranges are known every node would be told that there is none.
                if !std::mem::replace(&mut self.is_watching_nodes, true) {
                    let (client, inputs, again) =
                        (self.client.clone(), self.inputs.clone(), Arc::clone(&self.list_again));
                    self.tasks.spawn(async move { nodes::follow(client, inputs, &again).await });
                }
            }
            Input::Answer(id, answer) => self.engine.handle_answer(id, answer, now),
            Input::Lost(what, why) => tracing::warn!("the {what} cannot be watched, and are asked for again: {why}"),
        }
    }

    fn note(&mut self, seen: SeenNode) -> freeboard_blocks::ObservedNode {
        if seen.is_told_to_wait {
            // A leader before this one told it, and it may have got its block since.
            if !seen.node.pod_cidrs.is_empty() {
                self.reports.served(&seen.node.name, format!("the node has block {}", seen.node.pod_cidrs.join(", ")));
            }
            self.told.insert(seen.node.name.clone());
        }
        seen.node
    }

    /// Does what the engine asks for.
    fn act(&mut self) {
        while let Some(effect) = self.engine.poll_effect() {
            match effect {
                Effect::Api(id, operation) => {
                    let (client, inputs) = (self.client.clone(), self.inputs.clone());
                    // Nothing is written after the term, whatever was decided in it.
                    let is_leading = self.leadership.check().is_ok();
                    self.tasks.spawn(async move {
                        let answer = if is_leading {
                            api::carry_out(client, operation).await
                        } else {
                            Answer::Failed("this replica does not lead any more".to_owned())
                        };
                        let _ = inputs.send(Input::Answer(id, answer)).await;
                    });
                }
                Effect::ForgetRange(name) => self.ranges.forget(&name),
                Effect::ListNodes => self.list_again.notify_one(),
                Effect::Signal(signal) => self.tell(signal),
            }
        }
    }

    fn tell(&mut self, signal: Signal) {
        match signal {
            Signal::Served { node, cidr, range, waited } => {
                self.health.metrics.wait_seconds.observe(waited.as_secs_f64());
                self.count(&range, |metrics, cidr| metrics.allocated(cidr));
                tracing::info!(%node, %cidr, %range, waited_ms = waited.as_millis() as i64, "the node has its block");
                if self.told.remove(&node) {
                    self.reports.served(&node, format!("the node has block {cidr} of range {range}"));
                }
            }
            Signal::Waiting { node, refusal } => {
                self.health.metrics.failed_allocations.with_label_values(&[refusal.cause.as_str()]).inc();
                // These pass by themselves within seconds.
                if matches!(refusal.cause, Cause::NotReady | Cause::Writing | Cause::Deleting) {
                    return;
                }
                tracing::warn!(%node, "the node waits: {refusal}");
                self.reports.waits(&node, self.engine.uid_of(&node), &refusal);
                self.told.insert(node);
            }
            Signal::Released { node, cidr, range } => {
                range.iter().for_each(|range| self.count(range, |metrics, cidr| metrics.released(cidr)));
                tracing::info!(%node, %cidr, "the block is given back");
            }
            Signal::WriteFailed { node, detail } => {
                self.health.metrics.write_failures.inc();
                tracing::warn!(%node, "the node's block is written again later: {detail}");
            }
            Signal::Found(finding) => {
                tracing::warn!("{finding}");
                let uid = self.engine.uid_of(&finding.node);
                self.reports.found(&finding.node, uid, finding.problem.as_str(), finding.to_string());
            }
            Signal::Cleared(finding) => tracing::info!("this is over: {finding}"),
            Signal::RangeExhausted { name, is_exhausted } => {
                self.ranges.exhausted(&name, is_exhausted, &self.engine, &self.reports);
            }
            Signal::StaleListIgnored => tracing::warn!("a list of nodes was older than what is known, and is ignored"),
        }
    }

    fn count(&self, range: &RangeName, count: impl Fn(&crate::metrics::Metrics, &str)) {
        if let Some(cidr) = self.engine.range_cidr(range) {
            count(&self.health.metrics, &cidr.to_string());
        }
    }

    /// Writes status and gauges.
    fn show(&mut self) {
        self.ranges.write_status(&self.engine);
        let metrics = &self.health.metrics;
        metrics.show_ranges(&self.engine.range_views());
        metrics.waiting_nodes.set(i64::try_from(self.engine.waiting_nodes()).unwrap_or(i64::MAX));
        metrics.findings.set(i64::try_from(self.engine.findings().len()).unwrap_or(i64::MAX));
    }
}

/// Tells of all ranges until nobody listens.
async fn follow_ranges(client: Client, listen: mpsc::Sender<Input>) {
    let mut seen = collection(Api::<PodRange>::all(client), Config::default());
    while let Some(seen) = seen.next().await {
        let input = match seen {
            Seen::Now(objects) => Input::Ranges(objects),
            Seen::Lost(why) => Input::Lost("ranges", why),
        };
        if listen.send(input).await.is_err() {
            return;
        }
    }
}
