//! A range of pod addresses as it is declared, and why a declaration is refused.

use freeboard_address::{BlockLengthRefused, BlockSize, Cidr, NodePoolName, RangeName};
use serde::{Deserialize, Serialize};

use crate::reservation::Reservation;
use crate::selector::{NodeSelector, SelectorRefused};

/// One range of pod addresses: a contiguous block; a cluster has any number of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RangeSpec {
    /// Its name, unique in the cluster.
    pub name: RangeName,
    /// Its addresses. May only grow, to a block that contains it.
    pub cidr: Cidr,
    /// Whether nodes get new blocks from it.
    #[serde(default)]
    pub state: RangeState,
    /// Ranges of a higher priority are used first.
    #[serde(default)]
    pub priority: i32,
    /// Which nodes it is for; every node without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<NodeSelector>,
    /// How large a node's block is. A change counts for new blocks.
    pub block_size: BlockSize,
    /// Parts that no node gets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub excluded: Vec<Exclusion>,
    /// Room that is kept for nodes of certain pools.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reservations: Vec<Reservation>,
}

impl RangeSpec {
    /// An active range for every node, with GKE's block sizes.
    #[must_use]
    pub fn new(name: &str, cidr: Cidr) -> Self {
        Self {
            name: RangeName::new(name),
            cidr,
            state: RangeState::Active,
            priority: 0,
            selector: None,
            block_size: BlockSize::GKE,
            excluded: Vec::new(),
            reservations: Vec::new(),
        }
    }
}

/// Whether a range gives new blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum RangeState {
    /// Nodes get blocks from it.
    #[default]
    Active,
    /// Nodes keep the blocks that they have; no node gets a new one.
    Draining,
}

/// Addresses that no node may have, and what they are for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exclusion {
    /// The addresses.
    pub cidr: Cidr,
    /// What they are for, for example `service range`.
    pub purpose: String,
}

/// Why a range is refused; what stood before stands unchanged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RangeRefused {
    /// It shares addresses with another range.
    #[error("range {name} ({cidr}) overlaps range {other} ({other_cidr}): ranges must be disjoint")]
    Overlap {
        /// The refused range.
        name: RangeName,
        /// Its block.
        cidr: Cidr,
        /// The range that stands.
        other: RangeName,
        /// Its block.
        other_cidr: Cidr,
    },
    /// All of it is excluded.
    #[error("range {name} ({cidr}) lies wholly in {excluded}, which is excluded as {purpose}: choose other addresses")]
    WhollyExcluded {
        /// The refused range.
        name: RangeName,
        /// Its block.
        cidr: Cidr,
        /// What excludes it.
        excluded: Cidr,
        /// What the excluded addresses are for.
        purpose: String,
    },
    /// A change that is no growth.
    #[error(
        "range {name} cannot change from {from} to {to}: it may only grow to a block that contains it; add another range instead"
    )]
    NoGrowth {
        /// The range.
        name: RangeName,
        /// What it has.
        from: Cidr,
        /// What was asked for.
        to: Cidr,
    },
    /// A fixed block does not fit into the range.
    #[error(
        "range {name} ({cidr}) is smaller than one node's block (/{length}): choose a longer block or a larger range"
    )]
    BlockTooLarge {
        /// The refused range.
        name: RangeName,
        /// Its block.
        cidr: Cidr,
        /// The length of a node's block.
        length: u8,
    },
    /// The fixed block length is none.
    #[error("range {name}: {reason}")]
    BlockLength {
        /// The refused range.
        name: RangeName,
        /// What is wrong.
        reason: BlockLengthRefused,
    },
    /// The selector is not well formed.
    #[error("range {name}: {reason}")]
    Selector {
        /// The refused range.
        name: RangeName,
        /// What is wrong.
        reason: SelectorRefused,
    },
    /// A node of a pool, for which room is to be kept, has no block in the range.
    #[error(
        "range {name} ({cidr}) has no block for {max_pods} pods, so it keeps no room for pool {pool}: choose larger blocks or a larger range, or lower maxPods"
    )]
    ReservationTooLarge {
        /// The refused range.
        name: RangeName,
        /// Its block.
        cidr: Cidr,
        /// The pool.
        pool: NodePoolName,
        /// Max-pods of its nodes.
        max_pods: u32,
    },
    /// The selector of a pool, for which room is to be kept, is not well formed.
    #[error("range {name}, pool {pool}: {reason}")]
    ReservationSelector {
        /// The refused range.
        name: RangeName,
        /// The pool.
        pool: NodePoolName,
        /// What is wrong.
        reason: SelectorRefused,
    },
    /// The range is being removed.
    #[error(
        "range {0} is being removed, and nodes still have blocks of it: wait until it is gone, or add the new range under another name"
    )]
    Removing(RangeName),
}

impl RangeSpec {
    /// Checks all that can be checked without the other ranges.
    pub(crate) fn check(&self, cluster: &[Exclusion]) -> Result<(), RangeRefused> {
        let name = self.name.clone();
        let wrong_length = |reason| RangeRefused::BlockLength { name: name.clone(), reason };
        self.block_size.check().map_err(wrong_length)?;
        if let BlockSize::Fixed(length) = self.block_size
            && length < self.cidr.length()
        {
            return Err(RangeRefused::BlockTooLarge { name, cidr: self.cidr, length });
        }
        if let Some(selector) = &self.selector {
            selector.check().map_err(|reason| RangeRefused::Selector { name: name.clone(), reason })?;
        }
        self.reservations.iter().try_for_each(|reservation| self.check_reservation(reservation))?;
        let around = self.excluded.iter().chain(cluster).find(|exclusion| exclusion.cidr.contains_block(self.cidr));
        match around {
            Some(Exclusion { cidr, purpose }) => {
                Err(RangeRefused::WhollyExcluded { name, cidr: self.cidr, excluded: *cidr, purpose: purpose.clone() })
            }
            None => Ok(()),
        }
    }

    fn check_reservation(&self, reservation: &Reservation) -> Result<(), RangeRefused> {
        let Reservation { pool, selector, max_pods, .. } = reservation;
        let (name, pool) = (self.name.clone(), pool.clone());
        let length = self.block_size.block_length(*max_pods);
        if length.is_none_or(|length| length < self.cidr.length()) {
            return Err(RangeRefused::ReservationTooLarge { name, cidr: self.cidr, pool, max_pods: *max_pods });
        }
        selector.check().map_err(|reason| RangeRefused::ReservationSelector { name, pool, reason })
    }
}
