//! The log of what the pool is told, from which `freeboard simulate --replay` makes the same run again; written when a setting asks for it.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use freeboard_pool::{Input, LOG_VERSION, NodeFacts, Origin, Pool, PoolSettings, Record};
use jiff::Timestamp;
use serde::Serialize;

/// A log ends here: a day of a busy node, and no node's disk.
const MOST_BYTES: u64 = 100 * 1024 * 1024;

/// A pool, and the log of what it is told, if one is written.
#[derive(Debug)]
pub struct LoggedPool {
    /// The pool. What has an answer is told to it directly, after [`LoggedPool::note`].
    pub pool: Pool,
    log: Option<Log>,
}

#[derive(Debug)]
struct Log {
    file: BufWriter<File>,
    left: u64,
}

impl LoggedPool {
    /// A new pool; `facts`: none where pods have addresses of blocks that the node has of its own. The log at `path` begins anew.
    ///
    /// # Errors
    /// When the log cannot be made.
    pub fn new(
        settings: PoolSettings,
        facts: Option<NodeFacts>,
        path: Option<&Path>,
        now: Timestamp,
    ) -> io::Result<Self> {
        let origin = Origin { version: LOG_VERSION.to_owned(), at: now, settings, facts };
        let mut logged = Self { pool: Pool::of_origin(&origin), log: path.map(Log::create).transpose()? };
        logged.write(&origin);
        Ok(logged)
    }

    /// Tells the pool something.
    pub fn tell(&mut self, input: Input, now: Timestamp) {
        let Some(_) = self.log else { return self.pool.handle(input, now) };
        let record = Record { at: now, input };
        self.write(&record);
        self.pool.handle(record.input, now);
    }

    /// Notes what the caller tells the pool next.
    pub fn note(&mut self, input: impl FnOnce() -> Input, now: Timestamp) {
        if self.log.is_some() {
            self.write(&Record { at: now, input: input() });
        }
    }

    fn write(&mut self, line: &impl Serialize) {
        let Some(log) = &mut self.log else { return };
        let problem = match log.write(line) {
            Ok(true) => return,
            Ok(false) => "it has reached its largest size".to_owned(),
            Err(error) => error.to_string(),
        };
        tracing::warn!("FREEBOARD_INPUT_LOG ends here: {problem}");
        self.log = None;
    }
}

impl From<Pool> for LoggedPool {
    /// A pool without a log.
    fn from(pool: Pool) -> Self {
        Self { pool, log: None }
    }
}

impl Log {
    fn create(path: &Path) -> io::Result<Self> {
        // Container ids would be enough to forge a DEL.
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        Ok(Self { file: BufWriter::new(file), left: MOST_BYTES })
    }

    /// Writes a line; whether there was room for it.
    fn write(&mut self, line: &impl Serialize) -> io::Result<bool> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        let Some(left) = self.left.checked_sub(u64::try_from(text.len()).unwrap_or(u64::MAX)) else { return Ok(false) };
        self.left = left;
        self.file.write_all(&text)?;
        // An agent that is killed leaves whole lines.
        self.file.flush()?;
        Ok(true)
    }
}
