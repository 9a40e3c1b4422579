//! Evidence from any pile of files: what each piece is, is seen from its content, and read into [`freeboard_diagnosis::Facts`].
//!
//! [`gather()`] walks files, directories, archives and streams. Everything below it works on bytes and does no I/O: logs are
//! scanned line by line in bounded memory, documents are read whole. Input is never trusted: it may be cut, binary, huge or hostile.

mod collector;
mod document;
mod excerpt;
mod inventory;
mod limits;
mod log;
mod piece;
mod source;
mod subject;
mod text;
mod tree;
mod utf16;

pub use collector::{Collector, Evidence, NotUnderstood, Problem};
pub use document::short_name;
pub use inventory::inventory;
pub use source::{GatherError, Progress, gather, read_piece};
