//! JSON log lines with the incumbent's keys (`level`, `ts`, `caller`, `msg`) and structured fields, written off the hot path.

use std::fmt::{self, Write as _};
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, atomic::AtomicU64, atomic::Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use freeboard_settings::{LogDestination, LogLevel};
use jiff::Timestamp;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use crate::log_file::LogFile;

/// How large a log file grows, and how many old ones are kept: the incumbent's figures.
const LIMIT_BYTES: u64 = 100 * 1024 * 1024;
const KEPT: u32 = 5;
/// Lines that may wait for the disk. When it is slower than that, lines are lost and counted, and pods are not held up.
const QUEUE_LINES: usize = 4096;

/// Lines that come within this time after the first are written together.
const COLLECT: Duration = Duration::from_millis(5);

enum Entry {
    Line(String),
    End,
}

/// Keeps the writing thread; dropping it writes out what is queued.
#[derive(Debug)]
pub struct LogGuard {
    queue: SyncSender<Entry>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        let _ = self.queue.send(Entry::End);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Starts logging to `destination`. A log file that cannot be opened is no reason to leave pods without addresses: lines
/// go to the standard error then, and the returned text says why.
///
/// # Errors
/// When the writing thread cannot be started, or logging was started before.
pub fn start(destination: &LogDestination, level: LogLevel) -> anyhow::Result<(LogGuard, Option<String>)> {
    let (writer, complaint): (Box<dyn Write + Send>, Option<String>) = match destination {
        LogDestination::Stdout => (Box::new(io::stdout()), None),
        LogDestination::Stderr => (Box::new(io::stderr()), None),
        LogDestination::File(path) => match LogFile::open(path, LIMIT_BYTES, KEPT) {
            Ok(file) => (Box::new(file), None),
            Err(error) => {
                let text = format!("cannot log to {} ({error}); logging to the standard error", path.display());
                (Box::new(io::stderr()), Some(text))
            }
        },
    };
    let (queue, lines) = sync_channel(QUEUE_LINES);
    let lost = Arc::new(AtomicU64::new(0));
    let lost_in_thread = Arc::clone(&lost);
    let thread =
        std::thread::Builder::new().name("log".to_owned()).spawn(move || run(&lines, writer, &lost_in_thread))?;
    let layer = JsonLines { queue: queue.clone(), lost, level: level_of(level) };
    tracing_subscriber::registry().with(layer).try_init()?;
    std::panic::set_hook(Box::new(|panic| {
        tracing::error!(place = %panic.location().map(ToString::to_string).unwrap_or_default(), "panic: {panic}");
    }));
    Ok((LogGuard { queue, thread: Some(thread) }, complaint))
}

fn run(lines: &Receiver<Entry>, mut writer: Box<dyn Write + Send>, lost: &AtomicU64) {
    let mut text = String::new();
    let mut goes_on = true;
    while goes_on {
        let Ok(Entry::Line(first)) = lines.recv() else { break };
        text.push_str(&first);
        // Who logs wakes this thread only when it waits for a line, and that costs more than the line.
        std::thread::sleep(COLLECT);
        loop {
            match lines.try_recv() {
                Ok(Entry::Line(line)) => text.push_str(&line),
                Ok(Entry::End) => goes_on = false,
                Err(_) => break,
            }
        }
        let missing = lost.swap(0, Ordering::Relaxed);
        if missing > 0 {
            let ts = Timestamp::now();
            let _ = writeln!(
                writer,
                r#"{{"level":"warn","ts":"{ts:.3}","caller":"logging.rs","msg":"{missing} log lines were lost: the disk was too slow"}}"#
            );
        }
        // A full disk must not stop the agent; the next line is tried again.
        let _ = writer.write_all(text.as_bytes());
        text.clear();
    }
    let _ = writer.flush();
}

fn level_of(level: LogLevel) -> Level {
    match level {
        LogLevel::Debug => Level::DEBUG,
        LogLevel::Info => Level::INFO,
        LogLevel::Warn => Level::WARN,
        LogLevel::Error => Level::ERROR,
    }
}

struct JsonLines {
    queue: SyncSender<Entry>,
    lost: Arc<AtomicU64>,
    level: Level,
}

impl<S: Subscriber> Layer<S> for JsonLines {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        // Libraries tell much that is of no use on a node; and that the API server is away is said once, by who asks it.
        let target = metadata.target();
        let limit = if target.starts_with("freeboard") { self.level } else { self.level.min(Level::WARN) };
        metadata.level() <= &limit && !target.starts_with("kube_")
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let line = render(event, Timestamp::now());
        if let Err(TrySendError::Full(_)) = self.queue.try_send(Entry::Line(line)) {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// One event as one line: the incumbent's four keys first, then the fields in the order they were given.
fn render(event: &Event<'_>, now: Timestamp) -> String {
    let metadata = event.metadata();
    let mut fields = Fields::default();
    event.record(&mut fields);
    let level = metadata.level().as_str().to_ascii_lowercase();
    let file = metadata.file().unwrap_or_default();
    let mut parts: Vec<&str> = file.split('/').filter(|part| *part != "src").collect();
    let caller = parts.split_off(parts.len().saturating_sub(2)).join("/");
    let mut line = String::with_capacity(192);
    let _ = write!(line, r#"{{"level":"{level}","ts":"{now:.3}","caller":"{caller}:{}""#, metadata.line().unwrap_or(0));
    let _ = write!(line, r#","msg":{}"#, Value::from(fields.message));
    for (name, value) in fields.others {
        let _ = write!(line, ",{}:{value}", Value::from(name));
    }
    line.push_str("}\n");
    line
}

#[derive(Default)]
struct Fields {
    message: String,
    others: Map<String, Value>,
}

impl Fields {
    fn put(&mut self, field: &Field, value: impl Into<Value>) {
        self.others.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.message = format!("{value:?}");
        } else {
            self.put(field, format!("{value:?}"));
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            value.clone_into(&mut self.message);
        } else {
            self.put(field, value);
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    struct Capture(Arc<Mutex<Vec<String>>>);

    impl<S: Subscriber> Layer<S> for Capture {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            let now = "2026-01-02T03:04:05.678901Z".parse().unwrap();
            self.0.lock().unwrap().push(render(event, now));
        }
    }

    #[test]
    fn a_line_has_the_incumbents_keys_and_the_fields_and_is_json() {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let subscriber = tracing_subscriber::registry().with(Capture(Arc::clone(&lines)));
        tracing::subscriber::with_default(subscriber, || {
            tracing::warn!(free = 3_u32, subnet = %"subnet-1", quoted = "a\"b", "no \"room\"\nleft");
        });
        let line = lines.lock().unwrap().remove(0);
        assert!(
            line.starts_with(r#"{"level":"warn","ts":"2026-01-02T03:04:05.678Z","caller":"agent/logging.rs:"#),
            "{line}"
        );
        let value: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["msg"], "no \"room\"\nleft");
        assert_eq!(value["free"], 3);
        assert_eq!(value["subnet"], "subnet-1");
        assert_eq!(value["quoted"], "a\"b");
        assert_eq!(line.matches('\n').count(), 1);
    }
}
