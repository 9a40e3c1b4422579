//! The Google side of the inventory: ranges of subnets, and node pools.

use std::collections::{BTreeMap, BTreeSet};

use freeboard_address::{NodePoolName, RangeName};
use freeboard_capacity::{Inventory, NodePool, Purpose, Range};
use freeboard_diagnosis::{Facts, GoogleSubnet};

/// Adds ranges and pools.
pub(super) fn add(facts: &Facts, inventory: &mut Inventory) {
    let services: BTreeSet<&str> =
        facts.google_clusters.values().filter_map(|cluster| cluster.services_range.as_deref()).collect();
    for (name, subnet) in &facts.google_subnets {
        inventory.ranges.extend(ranges(name, subnet, &services));
    }
    let mut nodes: BTreeMap<&str, u64> = BTreeMap::new();
    for node in facts.nodes.values() {
        if let Some(pool) = &node.pool {
            *nodes.entry(pool).or_default() += 1;
        }
    }
    let of_cluster = facts.google_clusters.values().find_map(|cluster| cluster.nodes);
    let is_alone = facts.node_pools.len() == 1;
    for (name, pool) in &facts.node_pools {
        let range = pool.range.as_deref().map(RangeName::new);
        if let Some((range, cidr)) = range.as_ref().zip(pool.range_block)
            && !inventory.ranges.iter().any(|known| known.name == *range)
        {
            // A pool names its range even where the subnet was not described.
            inventory.ranges.push(Range {
                name: range.clone(),
                subnet: String::new(),
                cidr,
                purpose: Purpose::Pods,
                allocated: None,
            });
        }
        // A cluster's count is its only pool's, and none in the cluster is none in each.
        let by_cluster = of_cluster.filter(|count| is_alone || *count == 0);
        let by_nodes = (!nodes.is_empty()).then(|| nodes.get(name.as_str()).copied().unwrap_or(0));
        let counted = by_nodes.or(by_cluster);
        inventory.pools.push(NodePool {
            name: NodePoolName::new(name.as_str()),
            range,
            max_pods: pool.max_pods.and_then(|most| u32::try_from(most).ok()).unwrap_or(110),
            max_nodes: pool.most_nodes.or(counted).unwrap_or(0).max(counted.unwrap_or(0)),
            nodes: counted,
        });
    }
}

fn ranges<'a>(
    name: &'a str,
    subnet: &'a GoogleSubnet,
    services: &'a BTreeSet<&str>,
) -> impl Iterator<Item = Range> + 'a {
    let allocated = |range: &str| subnet.used.get(range).map(|used| used.allocated);
    let primary = subnet.primary.map(|cidr| Range {
        name: RangeName::new(name),
        subnet: name.to_owned(),
        cidr,
        purpose: Purpose::Nodes,
        allocated: allocated(""),
    });
    let secondary = subnet.secondary.iter().map(move |range| {
        // Without the cluster's word for it, a range called after services is one.
        let is_services = if services.is_empty() {
            range.name.contains("svc") || range.name.contains("service")
        } else {
            services.contains(range.name.as_str())
        };
        Range {
            name: RangeName::new(range.name.as_str()),
            subnet: name.to_owned(),
            cidr: range.cidr,
            purpose: if is_services { Purpose::Services } else { Purpose::Pods },
            allocated: allocated(&range.name),
        }
    });
    primary.into_iter().chain(secondary)
}
