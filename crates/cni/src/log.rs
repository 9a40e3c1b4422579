//! The plugin's log: one JSON object per line, with the incumbent's keys and fields of its own. A log that cannot be written
//! never fails a command.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::panic::Location;
use std::path::Path;

use jiff::Timestamp;
use serde_json::{Map, Value};

const DEFAULT_FILE: &str = "/var/log/aws-routed-eni/plugin.log";

/// How much a line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    Debug,
    Info,
    Warn,
    Error,
}

impl Level {
    fn parse(text: &str) -> Self {
        match text.to_ascii_lowercase().as_str() {
            "info" => Self::Info,
            "warn" => Self::Warn,
            "error" | "fatal" => Self::Error,
            _ => Self::Debug,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

/// Where lines go, and what every line says.
pub(crate) struct Log {
    output: Option<Box<dyn Write>>,
    level: Level,
    fields: Map<String, Value>,
}

impl Log {
    /// Opens the file that the configuration names; `stderr` is the runtime's log.
    pub(crate) fn open(file: Option<&str>, level: Option<&str>) -> Self {
        let output: Option<Box<dyn Write>> = match file.unwrap_or(DEFAULT_FILE) {
            "stderr" => Some(Box::new(io::stderr())),
            path => append(Path::new(path)).ok().map(|file| Box::new(file) as Box<dyn Write>),
        };
        Self { output, level: level.map_or(Level::Debug, Level::parse), fields: Map::new() }
    }

    /// Adds a field to every line from now on.
    pub(crate) fn with(&mut self, key: &str, value: impl Into<Value>) {
        self.fields.insert(key.to_owned(), value.into());
    }

    /// Writes one line, whole, so that lines of concurrent calls do not mix.
    #[track_caller]
    pub(crate) fn line(&mut self, level: Level, message: &str) {
        let Some(output) = self.output.as_mut().filter(|_| level >= self.level) else { return };
        let caller = Location::caller();
        let mut line = Map::new();
        line.insert("level".to_owned(), level.as_str().into());
        line.insert("ts".to_owned(), format!("{:.3}", Timestamp::now()).into());
        line.insert("caller".to_owned(), format!("{}:{}", short(caller.file()), caller.line()).into());
        line.insert("msg".to_owned(), message.into());
        line.extend(self.fields.clone());
        let mut text = Value::Object(line).to_string();
        text.push('\n');
        let _ = output.write_all(text.as_bytes());
    }

    #[track_caller]
    pub(crate) fn info(&mut self, message: &str) {
        self.line(Level::Info, message);
    }

    #[track_caller]
    pub(crate) fn warn(&mut self, message: &str) {
        self.line(Level::Warn, message);
    }

    #[track_caller]
    pub(crate) fn error(&mut self, message: &str) {
        self.line(Level::Error, message);
    }
}

fn append(path: &Path) -> io::Result<File> {
    let open = || OpenOptions::new().append(true).create(true).mode(0o640).open(path);
    match open() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let directory = path.parent().ok_or(error)?;
            DirBuilder::new().recursive(true).mode(0o755).create(directory)?;
            open()
        }
        other => other,
    }
}

/// The last directory and the file, as the incumbent writes it.
fn short(file: &str) -> String {
    let mut parts: Vec<&str> = file.rsplitn(3, '/').take(2).collect();
    parts.reverse();
    parts.join("/")
}
