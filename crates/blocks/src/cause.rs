//! Why a node has no block: one declaration per cause, used in events, conditions, logs, metric labels and documents.

use std::fmt;

use freeboard_address::{Cidr, RangeName};
use serde::{Deserialize, Serialize};

/// Why a node gets no block now. The variant's name is the word that people see everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Cause {
    /// Every range that this node may use is full: no free block, large or small.
    RangeExhausted,
    /// Ranges have free addresses, but no aligned block of the size that the node needs.
    RangeFragmented,
    /// Blocks of the size are free, but all of them are kept for nodes of other pools.
    RoomReserved,
    /// A block of the size exists, but it cools down after use.
    CoolingDown,
    /// There is no range at all.
    NoRange,
    /// No range is for nodes with these labels.
    NoRangeMatches,
    /// Ranges are for this node, but all of them are draining.
    RangesDraining,
    /// Ranges are for this node, but none of them has blocks for so many pods.
    BlockTooSmall,
    /// The node's max-pods is no number of pods that a block could be sized for.
    MaxPodsInvalid,
    /// The engine has not finished its start: the nodes are not read, or an earlier leader's last writes may still land.
    NotReady,
    /// A block is chosen; the API has not confirmed it on the Node yet.
    Writing,
    /// The node has block fields that cannot be used, and the API does not let them be changed.
    BlockUnusable,
    /// The node is being deleted.
    Deleting,
}

impl Cause {
    /// Every cause, for metric labels and reference pages.
    pub const ALL: [Self; 13] = [
        Self::RangeExhausted,
        Self::RangeFragmented,
        Self::RoomReserved,
        Self::CoolingDown,
        Self::NoRange,
        Self::NoRangeMatches,
        Self::RangesDraining,
        Self::BlockTooSmall,
        Self::MaxPodsInvalid,
        Self::NotReady,
        Self::Writing,
        Self::BlockUnusable,
        Self::Deleting,
    ];

    /// The word that people see, equal to the variant's name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RangeExhausted => "RangeExhausted",
            Self::RangeFragmented => "RangeFragmented",
            Self::RoomReserved => "RoomReserved",
            Self::CoolingDown => "CoolingDown",
            Self::NoRange => "NoRange",
            Self::NoRangeMatches => "NoRangeMatches",
            Self::RangesDraining => "RangesDraining",
            Self::BlockTooSmall => "BlockTooSmall",
            Self::MaxPodsInvalid => "MaxPodsInvalid",
            Self::NotReady => "NotReady",
            Self::Writing => "Writing",
            Self::BlockUnusable => "BlockUnusable",
            Self::Deleting => "Deleting",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Where the shortage is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Place {
    /// One range and its block: the only one for the node, or the one with the most free addresses of those.
    Range {
        /// The range.
        name: RangeName,
        /// Its block.
        cidr: Cidr,
    },
    /// The cluster: its ranges together.
    Cluster,
    /// The node itself.
    Node,
}

/// A typed refusal: what is missing, where, in figures, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The cause.
    pub cause: Cause,
    /// Where it is.
    pub place: Place,
    /// One sentence with the figures, for example `range pod-range 10.0.0.0/26 is full (2 of 2 blocks of /27 taken)`.
    pub message: String,
    /// What a person can do about it, as one sentence.
    pub remedy: String,
}

impl Refusal {
    pub(crate) fn new(cause: Cause, place: Place, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { cause, place, message: message.into(), remedy: remedy.into() }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [{}]; {}", self.message, self.cause, self.remedy)
    }
}
