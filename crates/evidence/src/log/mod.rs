//! Logs: lines with a time, scanned for signals in bounded memory.

mod line;
mod matcher;
mod scan;

pub(crate) use line::{parse, timestamp};
pub(crate) use matcher::{Message, note};
pub(crate) use scan::scan;
