//! Ranges as a tree: each with its use, what is free, in how large pieces, and what still fits.

use std::collections::BTreeMap;

use freeboard_address::{AlignedSpace, BlockSize, Cidr, FreeSpace, NodePoolName, RangeName, SubnetId};
use serde::Serialize;

use crate::max_pods::TypeTable;
use crate::outlook::{is_for_pods, zone_of};
use crate::{Inventory, Node, NodePool, PREFIX_ADDRESSES, Purpose, Range, Subnet, Usage, Use};

/// The length of a prefix that EC2 gives.
const PREFIX_LENGTH: u8 = 28;

/// A range, and the ranges inside it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RangeStatus {
    /// What it is.
    pub kind: RangeKind,
    /// Its id, or its name where it has no id.
    pub id: String,
    /// What people call it.
    pub name: Option<String>,
    /// Its zone.
    pub zone: Option<String>,
    /// Its addresses.
    pub cidr: Cidr,
    /// Addresses in use, reserved ones included; in a VPC's block those assigned to subnets. Absent where nothing tells.
    pub usage: Option<Usage>,
    /// Free addresses.
    pub free_addresses: Option<u64>,
    /// The prefix length of the largest aligned free block; absent where not every address is accounted for, or none is free.
    pub largest_free_length: Option<u8>,
    /// Aligned free /28, which prefixes need; absent where not every address is accounted for.
    pub free_prefixes: Option<u64>,
    /// Per cent of the free addresses that lie in no aligned free /28.
    pub fragmentation_percent: Option<u64>,
    /// What still fits.
    pub fits: Vec<Fit>,
    /// Whether pods get addresses from it.
    pub for_pods: bool,
    /// Pods waiting on nodes that are in it.
    pub waiting: u64,
    /// What is to be said about it, as phrases.
    pub remarks: Vec<String>,
    /// The ranges inside it.
    pub inside: Vec<Self>,
}

/// What a range is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RangeKind {
    /// A block of a VPC.
    VpcBlock,
    /// A subnet of a VPC.
    Subnet,
    /// The primary range of a Google subnet.
    GoogleSubnet,
    /// A secondary range.
    SecondaryRange,
    /// The part of a range that a node pool uses.
    NodePool,
}

/// So many more of something fit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fit {
    /// How many.
    pub count: u64,
    /// Of what, in the plural.
    pub of: String,
}

impl RangeStatus {
    /// Whether nothing is free.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.free_addresses == Some(0)
    }

    /// This range and all inside it, outer ones first.
    #[must_use]
    pub fn flat(&self) -> Vec<&Self> {
        std::iter::once(self).chain(self.inside.iter().flat_map(Self::flat)).collect()
    }

    fn new(kind: RangeKind, id: impl Into<String>, cidr: Cidr) -> Self {
        Self {
            kind,
            id: id.into(),
            name: None,
            zone: None,
            cidr,
            usage: None,
            free_addresses: None,
            largest_free_length: None,
            free_prefixes: None,
            fragmentation_percent: None,
            fits: Vec::new(),
            for_pods: false,
            waiting: 0,
            remarks: Vec::new(),
            inside: Vec::new(),
        }
    }
}

/// The ranges of a cluster, each under the one around it. `waiting` counts pods without an address by the subnet of their node.
#[must_use]
pub fn status(inventory: &Inventory, types: &TypeTable, waiting: &BTreeMap<SubnetId, u64>) -> Vec<RangeStatus> {
    let mut tree = Vec::new();
    let mut placed: Vec<&SubnetId> = Vec::new();
    let own = inventory.own_vpc().map(|vpc| &vpc.id);
    let mut vpcs: Vec<_> = inventory.vpcs.iter().collect();
    // The cluster's own first: that is what people look for.
    vpcs.sort_by_key(|vpc| Some(&vpc.id) != own);
    for vpc in vpcs {
        for (index, block) in vpc.blocks.iter().enumerate() {
            let is_inside = |subnet: &&Subnet| {
                block.contains_block(subnet.cidr) && subnet.vpc.as_ref().is_none_or(|of| *of == vpc.id)
            };
            let mut inside: Vec<&Subnet> = inventory.subnets.iter().filter(is_inside).collect();
            inside.sort_by_key(|subnet| subnet.cidr);
            placed.extend(inside.iter().map(|subnet| &subnet.id));
            let assigned: u64 = inside.iter().map(|subnet| subnet.cidr.size()).sum();
            let mut space = FreeSpace::all_free(*block);
            for one in &inside {
                space.take(one.cidr);
            }
            let mut one = RangeStatus::new(RangeKind::VpcBlock, vpc.id.as_str(), *block);
            one.name.clone_from(&vpc.name);
            one.usage = Some(Usage { used: assigned, size: block.size() });
            one.free_addresses = Some(block.size().saturating_sub(assigned));
            one.largest_free_length = space.largest_block();
            one.remarks.push(
                if index == 0 { "assigned to subnets" } else { "secondary block, assigned to subnets" }.to_owned(),
            );
            one.inside = inside.iter().map(|subnet| of_subnet(inventory, types, subnet, waiting)).collect();
            tree.push(one);
        }
    }
    let homeless = inventory.subnets.iter().filter(|subnet| !placed.contains(&&subnet.id));
    tree.extend(homeless.map(|subnet| of_subnet(inventory, types, subnet, waiting)));
    tree.extend(google(inventory));
    tree
}

fn of_subnet(
    inventory: &Inventory,
    types: &TypeTable,
    subnet: &Subnet,
    waiting: &BTreeMap<SubnetId, u64>,
) -> RangeStatus {
    let nodes: Vec<&Node> = inventory
        .nodes
        .iter()
        .filter(|node| zone_of(inventory, node) == subnet.zone || subnet.zone.is_none())
        .collect();
    let mut one = RangeStatus::new(RangeKind::Subnet, subnet.id.as_str(), subnet.cidr);
    one.name.clone_from(&subnet.name);
    one.zone.clone_from(&subnet.zone);
    one.waiting = waiting.get(&subnet.id).copied().unwrap_or(0);
    one.for_pods = is_for_pods(inventory, subnet, inventory.agent, &nodes);
    one.free_addresses = subnet.free_addresses;
    let size = subnet.cidr.size();
    one.usage = subnet.free_addresses.map(|free| Usage { used: size.saturating_sub(free), size });
    pieces(&mut one, subnet);
    let Some(free) = subnet.free_addresses else {
        one.remarks.push("how much of it is free is not in the evidence".to_owned());
        return one;
    };
    if free == 0 {
        one.remarks.push("full".to_owned());
    }
    if one.for_pods {
        let pods = match (inventory.agent.prefixes, one.free_prefixes) {
            (true, Some(prefixes)) => prefixes * PREFIX_ADDRESSES,
            _ => free,
        };
        one.fits.push(Fit { count: pods, of: "pods".to_owned() });
        one.fits.extend(grown_node(inventory, types, &nodes, free));
    } else {
        one.remarks.push(not_for_pods(inventory, subnet, !nodes.is_empty()).to_owned());
    }
    one
}

/// How the free space lies, where every address is accounted for.
fn pieces(one: &mut RangeStatus, subnet: &Subnet) {
    if !subnet.is_mapped {
        return;
    }
    let mut space = FreeSpace::all_free(subnet.cidr);
    for held in subnet.holdings.iter().filter(|held| held.used_for != Use::Free) {
        space.take(held.block);
    }
    let prefixes = u64::try_from(space.free_blocks(PREFIX_LENGTH).count()).unwrap_or(u64::MAX);
    one.largest_free_length = space.largest_block();
    one.free_prefixes = Some(prefixes);
    let free = space.free_addresses();
    let in_prefixes = prefixes * PREFIX_ADDRESSES;
    one.fragmentation_percent = (free > 0).then(|| (free.saturating_sub(in_prefixes)) * 100 / free);
}

/// More nodes of the zone's most frequent type, each with all the interfaces that its type may have.
fn grown_node(inventory: &Inventory, types: &TypeTable, nodes: &[&Node], free: u64) -> Option<Fit> {
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for name in nodes.iter().filter_map(|node| node.instance_type.as_deref()) {
        *counts.entry(name).or_default() += 1;
    }
    let (name, _) = counts.into_iter().max_by_key(|(_, count)| *count)?;
    let limits = types.get(name)?;
    let interfaces = limits.pod_interfaces(inventory.agent.custom_networking);
    let each = interfaces * limits.addresses_per_interface;
    (each > 0).then(|| Fit { count: free / each, of: format!("full {name}") })
}

fn not_for_pods(inventory: &Inventory, subnet: &Subnet, has_nodes: bool) -> &'static str {
    if inventory.agent.custom_networking {
        return "not used for pods: no ENIConfig names it";
    }
    match subnet.cni_role.as_deref() {
        Some("0") => "not used for pods: its tag kubernetes.io/role/cni is 0",
        _ if has_nodes => "not used for pods: no tag kubernetes.io/role/cni",
        _ if inventory.nodes.is_empty() => "whether pods use it is not known without the nodes",
        _ => "no node is in its zone",
    }
}

fn google(inventory: &Inventory) -> Vec<RangeStatus> {
    let mut subnets: BTreeMap<&str, Vec<&Range>> = BTreeMap::new();
    for range in &inventory.ranges {
        subnets.entry(&range.subnet).or_default().push(range);
    }
    let mut tree = Vec::new();
    for (_, ranges) in subnets {
        let inside = |purpose| ranges.iter().copied().filter(move |range| range.purpose == purpose);
        let mut secondary: Vec<RangeStatus> = inside(Purpose::Pods).map(|range| pod_range(inventory, range)).collect();
        secondary.extend(inside(Purpose::Services).map(|range| {
            let mut one = RangeStatus::new(RangeKind::SecondaryRange, range.name.as_str(), range.cidr);
            one.remarks.push("services".to_owned());
            one
        }));
        match inside(Purpose::Nodes).next() {
            Some(range) => {
                let mut one = RangeStatus::new(RangeKind::GoogleSubnet, range.name.as_str(), range.cidr);
                let nodes = u64::try_from(inventory.nodes.len()).unwrap_or(0);
                // The first two and the last two addresses of a primary range cannot be used.
                let used = range.allocated.unwrap_or(nodes) + 4;
                one.usage = Some(Usage { used, size: range.cidr.size() });
                one.free_addresses = Some(range.cidr.size().saturating_sub(used));
                one.remarks.push("nodes".to_owned());
                one.inside = secondary;
                tree.push(one);
            }
            None => tree.extend(secondary),
        }
    }
    tree
}

/// A pod range with the node pools that are bound to it.
fn pod_range(inventory: &Inventory, range: &Range) -> RangeStatus {
    let pools: Vec<&NodePool> =
        inventory.pools.iter().filter(|pool| pool.range.as_ref() == Some(&range.name)).collect();
    let space = free_space(inventory, range);
    let free = space.free_addresses();
    let mut one = RangeStatus::new(RangeKind::SecondaryRange, range.name.as_str(), range.cidr);
    // Without the nodes of every pool, only the cloud can tell what is given.
    let is_counted = pools.iter().all(|pool| pool.nodes.is_some());
    let allocated = range.allocated.map(|allocated| range.cidr.size().saturating_sub(allocated));
    one.free_addresses = allocated.or(is_counted.then_some(free));
    one.usage =
        one.free_addresses.map(|free| Usage { used: range.cidr.size().saturating_sub(free), size: range.cidr.size() });
    one.largest_free_length = space.largest_block().filter(|_| is_counted);
    one.for_pods = true;
    if one.free_addresses.is_none() {
        one.remarks.push("how many nodes have a block of it is not in the evidence".to_owned());
    }
    if one.is_full() {
        one.remarks.push("full".to_owned());
    }
    for pool in pools {
        let length = block_length(pool.max_pods);
        let size = 1_u64 << (32 - length);
        let mut inside = RangeStatus::new(RangeKind::NodePool, pool.name.as_str(), range.cidr);
        let fits = space.free_blocks(length);
        match pool.nodes {
            Some(nodes) => {
                inside.usage = Some(Usage { used: nodes * size, size: range.cidr.size() });
                let wants = pool.max_nodes.saturating_sub(nodes);
                inside.fits.push(Fit { count: fits.min(wants), of: "nodes".to_owned() });
                inside.remarks.push(format!("{nodes} of {} nodes, a /{length} each", pool.max_nodes));
                if fits < wants {
                    inside.remarks.push(format!("fails at node {}", nodes + fits + 1));
                }
            }
            None => {
                let holds = range.cidr.size() / size;
                inside
                    .remarks
                    .push(format!("{} nodes at most, a /{length} each; the range holds {holds}", pool.max_nodes));
                if holds < pool.max_nodes {
                    inside.remarks.push(format!("fails at node {} at the latest", holds + 1));
                }
            }
        }
        one.inside.push(inside);
    }
    one
}

/// What of a pod range no node has. Where the nodes do not show their blocks, as many as they must have are taken from the start.
#[must_use]
pub fn free_space(inventory: &Inventory, range: &Range) -> AlignedSpace {
    let mut space = AlignedSpace::all_free(range.cidr);
    let mut seen: BTreeMap<&NodePoolName, u64> = BTreeMap::new();
    let mut unnamed = 0;
    for node in &inventory.nodes {
        let taken = node.pod_blocks.iter().filter(|block| range.cidr.contains_block(**block));
        let count = taken.map(|block| space.take_any(*block)).filter(|taken| *taken > 0).count();
        if count > 0 {
            match &node.pool {
                Some(pool) => *seen.entry(pool).or_default() += 1,
                None => unnamed += 1,
            }
        }
    }
    for pool in inventory.pools.iter().filter(|pool| pool.range.as_ref() == Some(&range.name)) {
        let known = seen.get(&pool.name).copied().unwrap_or(0);
        let hidden = pool.nodes.unwrap_or(0).saturating_sub(known);
        let covered = hidden.min(unnamed);
        unnamed -= covered;
        for _ in covered..hidden {
            space.allocate(block_length(pool.max_pods));
        }
    }
    space
}

/// The length of a node's block by GKE's rule; a /32 for a node without pods, which there is none of.
#[must_use]
pub fn block_length(max_pods: u32) -> u8 {
    BlockSize::GKE.block_length(max_pods).unwrap_or(32)
}

/// The range of this name.
#[must_use]
pub fn range_named<'a>(inventory: &'a Inventory, name: &RangeName) -> Option<&'a Range> {
    inventory.ranges.iter().find(|range| range.name == *name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Holding;

    #[test]
    fn a_subnet_with_an_address_in_every_prefix_is_fragmented() {
        let cidr: Cidr = "10.0.0.0/24".parse().unwrap();
        let held = |index: u32, used_for| Holding {
            block: Cidr::host(cidr.nth(index).unwrap()),
            used_for,
            interface: None,
            node: None,
            holder: None,
        };
        let reserved = [0, 1, 2, 3, 255].map(|index| held(index, Use::Reserved));
        let spread = (0..16).map(|block| held(block * 16 + 8, Use::Foreign));
        let subnet = Subnet {
            id: SubnetId::new("subnet-1"),
            name: None,
            zone: Some("a".into()),
            cidr,
            vpc: None,
            free_addresses: Some(235),
            cni_role: None,
            of_eni_config: false,
            route_table: None,
            holdings: reserved.into_iter().chain(spread).collect(),
            is_mapped: true,
        };
        let inventory = Inventory { subnets: vec![subnet], ..Inventory::default() };
        let tree = status(&inventory, &TypeTable::new(), &BTreeMap::new());
        assert_eq!(tree[0].free_addresses, Some(235));
        assert_eq!((tree[0].free_prefixes, tree[0].fragmentation_percent), (Some(0), Some(100)));
        assert_eq!(tree[0].largest_free_length, Some(29));
    }

    #[test]
    fn a_pool_that_outgrows_its_range_says_at_which_node() {
        let range = Range {
            name: RangeName::new("pod-range"),
            subnet: "cluster".into(),
            cidr: "10.0.0.0/26".parse().unwrap(),
            purpose: Purpose::Pods,
            allocated: None,
        };
        let pool = NodePool {
            name: NodePoolName::new("original-nodepool"),
            range: Some(range.name.clone()),
            max_pods: 16,
            max_nodes: 7,
            nodes: Some(2),
        };
        let inventory = Inventory { ranges: vec![range], pools: vec![pool], ..Inventory::default() };
        let tree = status(&inventory, &TypeTable::new(), &BTreeMap::new());
        assert!(tree[0].is_full());
        assert!(tree[0].inside[0].remarks.contains(&"fails at node 3".to_owned()), "{:?}", tree[0]);
    }
}
