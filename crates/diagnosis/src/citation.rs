//! Where a fact stands: the file, the line and the words.

use std::ops::Deref;
use std::sync::Arc;

use serde::Serialize;

use crate::Kind;

/// A place in the evidence.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Citation {
    /// The file, as it was given; a member of an archive follows its archive's name after `!`.
    pub file: Arc<str>,
    /// The line, counted from one; none where the evidence has no lines.
    pub line: Option<u64>,
    /// What kind of evidence this is.
    pub kind: Kind,
    /// The words that show it, shortened.
    pub excerpt: Arc<str>,
}

/// A fact and the place it was read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cited<T> {
    /// The fact.
    pub fact: T,
    /// Where it stands.
    pub citation: Citation,
}

impl<T> Deref for Cited<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.fact
    }
}
