//! Events on objects: repeats become one event with a count, and a burst does not flood the API server.
//!
//! They are events of the core group, as kubelet's: only there may the text of a repeated event follow its figures
//! (`events.k8s.io` makes it immutable), and `kubectl describe` shows them all the same.

mod series;

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Event, ObjectReference};
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::json;
use tokio::sync::mpsc;

use crate::client::{is_conflict, is_forbidden, is_not_found, sentence};
use series::{Step, Table, Write};

/// Occurrences that may wait for the task; more than that at once are dropped, and counted.
const QUEUE: usize = 256;
/// The pause after the API server refused or did not answer.
const PAUSE: Duration = Duration::from_secs(5);

/// How serious an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Information.
    Normal,
    /// Somebody should look.
    Warning,
}

impl Severity {
    fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

/// Something that happened to an object. Two with the same object, severity and reason are repeats of one another; the text of
/// the newest is shown.
#[derive(Clone, Debug, PartialEq)]
pub struct Occurrence {
    /// The object, with its uid: `kubectl describe` asks for it.
    pub regarding: ObjectReference,
    /// How serious it is.
    pub severity: Severity,
    /// Why it happened, as one word in CamelCase.
    pub reason: String,
    /// What happened, as sentences; at most 1024 bytes are shown.
    pub message: String,
    /// The name of the event, when many programs tell the same and it should be shown once; by default a new one.
    pub name: Option<String>,
}

/// Who tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reporter {
    /// The program, as in `freeboard-agent`.
    pub component: String,
    /// Which one of many: the name of its node or pod.
    pub instance: String,
}

/// Takes occurrences and writes events. Cheap to clone; its task ends with the last clone.
#[derive(Clone, Debug)]
pub struct Recorder {
    queue: mpsc::Sender<Occurrence>,
}

impl Recorder {
    /// Starts the task that writes.
    #[must_use]
    pub fn start(client: Client, reporter: Reporter) -> Self {
        let (queue, taken) = mpsc::channel(QUEUE);
        tokio::spawn(Task { client, reporter, taken, table: Table::default() }.run());
        Self { queue }
    }

    /// Tells about an occurrence. Never waits; events are a help for people, and nothing depends on them.
    pub fn record(&self, occurrence: Occurrence) {
        if let Err(dropped) = self.queue.try_send(occurrence) {
            let occurrence = dropped.into_inner();
            tracing::warn!(reason = occurrence.reason, "an event is dropped: too many wait to be written");
        }
    }
}

struct Task {
    client: Client,
    reporter: Reporter,
    taken: mpsc::Receiver<Occurrence>,
    table: Table,
}

impl Task {
    async fn run(mut self) {
        loop {
            let sleep = match self.table.next(Instant::now()) {
                Step::Write(write) => {
                    self.write(*write).await;
                    continue;
                }
                Step::Wait(until) => until.saturating_duration_since(Instant::now()),
                Step::Idle => Duration::MAX,
            };
            tokio::select! {
                occurrence = self.taken.recv() => {
                    let Some(occurrence) = occurrence else { return };
                    if !self.table.take(occurrence, Instant::now(), Timestamp::now()) {
                        tracing::warn!("an event is dropped: too many different ones wait to be written");
                    }
                }
                () = tokio::time::sleep(sleep.min(Duration::from_secs(3600))) => {}
            }
        }
    }

    async fn write(&mut self, write: Write) {
        let namespace = write.regarding.namespace.as_deref().unwrap_or("default");
        let events: Api<Event> = Api::namespaced(self.client.clone(), namespace);
        let outcome = if write.is_first {
            events.create(&PostParams::default(), &self.event(&write, namespace)).await
        } else {
            let patch = json!({
                "count": write.count, "message": write.message,
                "lastTimestamp": crate::conditions::to_the_second(jiff::Timestamp::now()),
            });
            events.patch(&write.name, &PatchParams::default(), &Patch::Merge(patch)).await
        };
        let now = Instant::now();
        match outcome {
            Ok(_) => self.table.written(&write, now),
            // Somebody else told it already, under the name that was agreed on.
            Err(error) if write.is_first && is_conflict(&error) => self.table.written(&write, now),
            // Events live an hour; a series may outlive its event.
            Err(error) if !write.is_first && is_not_found(&error) => self.table.begin_again(&write),
            // A namespace that is being deleted takes no events.
            Err(error) if is_forbidden(&error) || is_not_found(&error) => {
                tracing::debug!(reason = write.reason, "an event is not taken: {}", sentence(&error));
                self.table.written(&write, now);
            }
            Err(error) => {
                tracing::debug!(reason = write.reason, "an event waits: {}", sentence(&error));
                self.table.pause(now + PAUSE);
            }
        }
    }

    fn event(&self, write: &Write, namespace: &str) -> Event {
        use k8s_openapi::api::core::v1::EventSource;
        use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
        let Reporter { component, instance } = self.reporter.clone();
        Event {
            metadata: ObjectMeta {
                name: Some(write.name.clone()),
                namespace: Some(namespace.to_owned()),
                ..ObjectMeta::default()
            },
            involved_object: write.regarding.clone(),
            type_: Some(write.severity.as_str().to_owned()),
            reason: Some(write.reason.clone()),
            message: Some(write.message.clone()),
            count: Some(i32::try_from(write.count).unwrap_or(i32::MAX)),
            first_timestamp: Some(Time(write.first)),
            last_timestamp: Some(Time(write.last)),
            reporting_component: Some(component.clone()),
            reporting_instance: Some(instance.clone()),
            source: Some(EventSource { component: Some(component), host: Some(instance) }),
            ..Event::default()
        }
    }
}
