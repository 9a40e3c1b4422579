//! Room in a range that is kept for the nodes of one pool, up to the pool's maximum.
//!
//! Blocks are powers of two and aligned, so a set of blocks fits into free space exactly when, for every length, those of that length
//! or shorter fit into what is free in blocks of that length. Another pool's node gets a block only when this still holds afterwards
//! for all blocks that are kept and not taken yet.

use std::collections::BTreeSet;

use freeboard_address::{BlockSize, NodePoolName, RangeName};
use serde::{Deserialize, Serialize};

use crate::engine::Blocks;
use crate::selector::{Labels, NodeSelector};
use crate::table::NodeId;
use crate::territory::Territory;

/// Room that is kept for the nodes of a pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reservation {
    /// The pool, as people call it.
    pub pool: NodePoolName,
    /// Which nodes are of the pool.
    pub selector: NodeSelector,
    /// Max-pods of its nodes.
    pub max_pods: u32,
    /// How many nodes it may grow to in this range.
    pub max_nodes: u64,
}

/// How far a reservation is used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReservationView {
    /// The pool.
    pub pool: NodePoolName,
    /// How many nodes it may grow to in this range.
    pub max_nodes: u64,
    /// How many of its nodes have a block of the range.
    pub nodes: u64,
}

/// A block that would be cut.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cut {
    /// The length of the block.
    pub(crate) length: u8,
    /// The length of the free block that it is cut from.
    pub(crate) from: u8,
}

impl Reservation {
    /// The length of the block of one of its nodes; none when the range has none for so many pods.
    fn length(&self, block_size: BlockSize) -> Option<u8> {
        block_size.block_length(self.max_pods)
    }
}

impl Territory {
    /// The first reservation that counts a node with these labels, and still has room for it.
    pub(crate) fn own_reservation(&self, labels: &Labels) -> Option<usize> {
        let open = self.spec.reservations.iter().zip(&self.reserved_nodes);
        open.enumerate()
            .find(|(_, (reservation, nodes))| **nodes < reservation.max_nodes && reservation.selector.matches(labels))
            .map(|(index, _)| index)
    }

    /// Whether a cut leaves the room that is kept. The node itself may be one for whom room is kept.
    pub(crate) fn leaves_room(&self, cut: Cut, own: Option<usize>) -> bool {
        if let Some(own) = own.and_then(|own| self.spec.reservations.get(own))
            && own.length(self.spec.block_size).is_some_and(|kept| cut.length >= kept)
        {
            return true;
        }
        self.kept_lengths().into_iter().all(|length| {
            let taken =
                if cut.length <= length { 1u64 << (length - cut.length) } else { u64::from(cut.from <= length) };
            self.space.free_blocks(length) >= self.kept_blocks(length, own) + taken
        })
    }

    /// Whether all that is kept has room, in what is free and what will be when it has cooled down.
    pub(crate) fn reservations_fit(&self) -> bool {
        let mut space = self.space.clone();
        for block in self.cooling.keys() {
            space.give(*block);
        }
        self.kept_lengths().into_iter().all(|length| space.free_blocks(length) >= self.kept_blocks(length, None))
    }

    /// The lengths of blocks that are kept.
    fn kept_lengths(&self) -> BTreeSet<u8> {
        self.spec.reservations.iter().filter_map(|reservation| reservation.length(self.spec.block_size)).collect()
    }

    /// How many blocks of `length` the blocks make up that are kept, not taken, and of this length or shorter; without one of `own`.
    fn kept_blocks(&self, length: u8, own: Option<usize>) -> u64 {
        let open = self.spec.reservations.iter().zip(&self.reserved_nodes).enumerate();
        let blocks = open.filter_map(|(index, (reservation, nodes))| {
            let kept = reservation.length(self.spec.block_size).filter(|kept| *kept <= length)?;
            let missing = reservation.max_nodes.saturating_sub(*nodes + u64::from(own == Some(index)));
            Some(missing.saturating_mul(1 << (length - kept)))
        });
        blocks.fold(0, u64::saturating_add)
    }

    /// How far each reservation is used.
    pub(crate) fn reservation_views(&self) -> Vec<ReservationView> {
        let used = self.spec.reservations.iter().zip(&self.reserved_nodes);
        used.map(|(reservation, nodes)| ReservationView {
            pool: reservation.pool.clone(),
            max_nodes: reservation.max_nodes,
            nodes: *nodes,
        })
        .collect()
    }

    /// Notes that a node with these labels has a block more of the range, or (`is_more` false) one less. Returns whether it is of a pool
    /// for which room is kept.
    pub(crate) fn count_reserved(&mut self, labels: &Labels, is_more: bool) -> bool {
        let mut is_counted = false;
        for (reservation, nodes) in self.spec.reservations.iter().zip(&mut self.reserved_nodes) {
            if reservation.selector.matches(labels) {
                *nodes = if is_more { *nodes + 1 } else { nodes.saturating_sub(1) };
                is_counted = true;
            }
        }
        is_counted
    }
}

impl Blocks {
    /// Notes that a node has a block more of a range, or one less.
    pub(crate) fn note_reserved(&mut self, index: usize, id: NodeId, is_more: bool) {
        let Some(territory) = self.territories.get_mut(index).filter(|one| !one.spec.reservations.is_empty()) else {
            return;
        };
        let Some(node) = self.nodes.get(id) else { return };
        if territory.count_reserved(&node.labels, is_more) && is_more {
            self.queues.wake();
        }
    }

    /// Counts anew which nodes take the room that is kept for them, after their labels, or the ranges, have changed.
    pub(crate) fn recount_reserved(&mut self, index: usize) {
        let Some(nodes) = self.counted_reserved(index) else { return };
        let Some(territory) = self.territories.get_mut(index) else { return };
        // A node that is of the pool now needs no room any more that was kept for it: who waits may get that.
        if std::mem::replace(&mut territory.reserved_nodes, nodes.clone()) != nodes {
            self.queues.wake();
        }
    }

    /// The same for all ranges.
    pub(crate) fn recount_all_reserved(&mut self) {
        (0..self.territories.len()).for_each(|index| self.recount_reserved(index));
    }

    /// How many nodes with blocks of a range each of its reservations counts.
    pub(crate) fn counted_reserved(&self, index: usize) -> Option<Vec<u64>> {
        let territory = self.territories.get(index)?;
        let mut counts = vec![0; territory.spec.reservations.len()];
        if !counts.is_empty() {
            let inside = self.claims_touching(territory.spec.cidr);
            for (_, id) in inside.filter(|(cidr, _)| territory.spec.cidr.contains_block(*cidr)) {
                let Some(node) = self.nodes.get(id) else { continue };
                for (reservation, count) in territory.spec.reservations.iter().zip(&mut counts) {
                    *count += u64::from(reservation.selector.matches(&node.labels));
                }
            }
        }
        Some(counts)
    }

    /// Whether what is declared to be kept in a range has room; true for a range that keeps nothing.
    #[must_use]
    pub fn reservations_fit(&self, name: &RangeName) -> bool {
        let found = self.territories.iter().find(|territory| territory.spec.name == *name);
        found.is_none_or(Territory::reservations_fit)
    }
}
