//! Counts the calls of the EC2 API by action and by how they ended.

use std::collections::BTreeMap;

use serde::Serialize;

/// How often one action was called.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CallCount {
    /// All calls, refused ones included.
    pub calls: u64,
    /// Refused calls, by error code.
    pub refused: BTreeMap<String, u64>,
    /// Calls whose answer was withheld on purpose.
    pub answers_lost: u64,
}

/// The counts of all actions that were called.
pub type CallCounts = BTreeMap<&'static str, CallCount>;
