//! Logs: lines with a time, scanned for signals in bounded memory.

mod entry;
mod line;
mod matcher;
mod scan;
mod usual;

pub(crate) use line::{parse, timestamp};
pub(crate) use matcher::{Message, note};
pub(crate) use scan::scan;
