//! Which of a cluster's ranges GKE gives to a new pool, as observed.
//!
//! Google's own words (April 2023): "the most available pod range". What was seen (the demo of the seeds, 1.27.3-gke.100): the
//! lowest share in use, with each pool counted by the nodes it was made with for a while after they are gone, and with no
//! regard for how large the pool may become. Hence a pool that may have 27 nodes is put on a range that holds 16.

use freeboard_address::Cidr;
use jiff::Timestamp;

use crate::cloud::GoogleCloud;
use crate::ids::RangeName;
use crate::model::{Cluster, NodePool};

/// A range as the choice sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeLoad {
    /// Its name.
    pub range: RangeName,
    /// Its addresses.
    pub cidr: Cidr,
    /// Addresses that count as used.
    pub counted_addresses: u64,
}

/// The range of the lowest share in use that can hold a block of `block_length` at all; the first of equals.
#[must_use]
pub fn least_used(ranges: &[RangeLoad], block_length: u8) -> Option<&RangeLoad> {
    let holds = |load: &&RangeLoad| load.cidr.length() <= block_length && load.counted_addresses < load.cidr.size();
    // Shares are compared crosswise: a ÷ b < c ÷ d when a × d < c × b. `min_by` keeps the first of equals.
    ranges.iter().filter(holds).min_by(|a, b| {
        let share =
            |one: &RangeLoad, other: &RangeLoad| u128::from(one.counted_addresses) * u128::from(other.cidr.size());
        share(a, b).cmp(&share(b, a))
    })
}

impl GoogleCloud {
    /// The cluster's ranges as the choice for a new pool sees them at `now`: the default one first, then in the order in
    /// which they were added.
    #[must_use]
    pub fn range_loads(&self, cluster: &Cluster, now: Timestamp) -> Vec<RangeLoad> {
        let Ok(subnetwork) = self.subnetwork(&cluster.subnetwork) else { return Vec::new() };
        let names = std::iter::once(&cluster.pod_range).chain(&cluster.additional_pod_ranges);
        let loads = names.filter_map(|name| {
            let range = subnetwork.range(name)?;
            let counted: u64 =
                cluster.pools.values().filter(|pool| pool.pod_range == *name).map(|pool| self.counted(pool, now)).sum();
            // Blocks that no pool of this cluster has, another cluster's for example, are seen as they are.
            let counted = counted.max(range.usage().allocated_addresses);
            Some(RangeLoad { range: name.clone(), cidr: range.cidr, counted_addresses: counted.min(range.cidr.size()) })
        });
        loads.collect()
    }

    /// The addresses for which a pool counts: those of its nodes, or of the nodes it was made with while that is remembered.
    fn counted(&self, pool: &NodePool, now: Timestamp) -> u64 {
        let zones = u64::try_from(pool.locations.len()).unwrap_or(u64::MAX);
        let remembered = pool.created.saturating_add(self.timing.usage_memory()).is_ok_and(|until| now < until);
        let made_with = if remembered { u64::from(pool.initial_node_count) * zones } else { 0 };
        u64::from(self.nodes_of(pool)).max(made_with) << (32 - pool.block_length())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(name: &str, cidr: &str, counted_addresses: u64) -> RangeLoad {
        RangeLoad { range: RangeName::new(name), cidr: cidr.parse().unwrap(), counted_addresses }
    }

    #[test]
    fn the_lowest_share_wins_and_the_first_of_equals() {
        let loads = [load("a", "10.0.128.0/17", 192), load("b", "192.168.4.0/22", 0), load("c", "192.168.0.0/22", 0)];
        assert_eq!(least_used(&loads, 26).unwrap().range.as_str(), "b");
        let loads =
            [load("a", "10.0.128.0/17", 192), load("b", "192.168.4.0/22", 192), load("c", "192.168.0.0/22", 192)];
        assert_eq!(
            least_used(&loads, 26).unwrap().range.as_str(),
            "a",
            "the same nodes are a smaller share of a larger range"
        );
    }

    #[test]
    fn a_range_without_room_is_never_chosen() {
        let loads = [load("small", "10.0.0.0/27", 0), load("full", "10.0.0.64/26", 64)];
        assert_eq!(least_used(&loads, 26), None);
        assert_eq!(least_used(&[], 26), None);
    }
}
