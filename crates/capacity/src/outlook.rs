//! How many pods a cluster can have, zone by zone, and what gives out first.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use freeboard_address::{Cidr, SubnetId};
use serde::Serialize;

use crate::max_pods::{NodeShape, TypeTable};
use crate::{AgentSettings, Inventory, Node, Subnet, Use};

/// Nodes of one zone that are alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Group {
    pub(crate) shape: NodeShape,
    pub(crate) count: u64,
}

/// A zone as it is, or as it would be.
#[derive(Clone, Debug)]
pub(crate) struct ZoneModel {
    pub(crate) zone: String,
    pub(crate) groups: Vec<Group>,
    pub(crate) pods: u64,
    /// Addresses for nodes and their pods in the subnets that pods use.
    pub(crate) addresses: u64,
    pub(crate) subnets: Vec<Cidr>,
}

/// What gives out first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// No subnet of the zone may be used for pods.
    NoSubnet,
    /// The subnets have no more addresses.
    Addresses,
    /// The nodes take no more pods.
    Nodes,
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::NoSubnet => "no subnet for pods",
            Self::Addresses => "addresses",
            Self::Nodes => "nodes (max-pods)",
        })
    }
}

/// One zone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ZoneOutlook {
    /// The zone.
    pub zone: String,
    /// Its nodes.
    pub nodes: u64,
    /// Pods on them with an address of their own.
    pub pods: u64,
    /// The subnets whose addresses pods get.
    pub subnets: Vec<Cidr>,
    /// Addresses for the cluster's nodes and pods in them: all but reserved ones and those of others.
    pub addresses: u64,
    /// Pods that the nodes would take.
    pub pods_by_nodes: u64,
    /// Pods that get an address whatever other nodes keep ready.
    pub pods_for_certain: u64,
    /// Pods that get an address when no node keeps more than its pods need.
    pub pods_at_most: u64,
    /// What gives out first.
    pub limit: Limit,
}

/// The cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Outlook {
    /// Zone by zone.
    pub zones: Vec<ZoneOutlook>,
    /// Pods with an address of their own.
    pub pods: u64,
    /// Pods that get an address for certain, in all zones.
    pub pods_for_certain: u64,
    /// Pods that get an address at most, in all zones.
    pub pods_at_most: u64,
    /// The zone that gives out first when pods are spread over zones as the nodes are.
    pub breaks_first: Option<Break>,
}

/// Where it breaks first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Break {
    /// The zone.
    pub zone: String,
    /// What gives out there.
    pub limit: Limit,
    /// Pods of the whole cluster beyond which a pod of this zone is left without an address.
    pub pods: u64,
}

/// What a plan changes, as far as it decides how many pods there can be.
#[derive(Clone, Debug, Default)]
pub(crate) struct Change {
    pub(crate) agent: Option<AgentSettings>,
    /// Every node gets this type.
    pub(crate) instance_type: Option<String>,
    /// Every node gets this max-pods.
    pub(crate) max_pods: Option<u64>,
    /// Nodes are new ones, so that their max-pods follow the settings.
    pub(crate) replaces_nodes: bool,
    /// Subnets that are not used for pods today and would be.
    pub(crate) also: BTreeSet<SubnetId>,
    /// New subnets by zone.
    pub(crate) new_subnets: BTreeMap<String, Vec<Cidr>>,
    /// More nodes by zone, each like the zone's most frequent.
    pub(crate) more_nodes: BTreeMap<String, u64>,
}

/// The zones as they are, or as they would be with a change.
pub(crate) fn model(inventory: &Inventory, types: &TypeTable, change: &Change) -> Vec<ZoneModel> {
    let agent = change.agent.unwrap_or(inventory.agent);
    let mut zones: BTreeMap<String, Vec<&Node>> = BTreeMap::new();
    for node in &inventory.nodes {
        if let Some(zone) = zone_of(inventory, node) {
            zones.entry(zone).or_default().push(node);
        }
    }
    let build = |(zone, nodes): (String, Vec<&Node>)| {
        let mut groups = groups(&nodes, types, change, agent);
        if let Some(more) = change.more_nodes.get(&zone)
            && let Some(like) = groups.iter_mut().max_by_key(|group| group.count)
        {
            like.count += more;
        }
        let mut subnets: Vec<&Subnet> = inventory
            .subnets
            .iter()
            .filter(|subnet| subnet.zone.as_ref() == Some(&zone))
            .filter(|subnet| change.also.contains(&subnet.id) || is_for_pods(inventory, subnet, agent, &nodes))
            .collect();
        let new = change.new_subnets.get(&zone).cloned().unwrap_or_default();
        if agent.custom_networking && !new.is_empty() {
            // An ENIConfig names one subnet: the new one. What pods have in the old ones they keep, and do not get again.
            subnets.retain(|subnet| subnet.of_eni_config);
        }
        let old: u64 = subnets.iter().map(|subnet| for_the_cluster(subnet)).sum();
        let added: u64 = new.iter().map(|cidr| cidr.size().saturating_sub(crate::RESERVED_PER_SUBNET)).sum();
        ZoneModel {
            pods: nodes.iter().map(|node| node.pods).sum(),
            addresses: old + added,
            subnets: subnets.iter().map(|subnet| subnet.cidr).chain(new).collect(),
            zone,
            groups,
        }
    };
    zones.into_iter().map(build).collect()
}

fn groups(nodes: &[&Node], types: &TypeTable, change: &Change, agent: AgentSettings) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    let mut places: BTreeMap<(&str, Option<u64>), usize> = BTreeMap::new();
    for node in nodes {
        let name = change.instance_type.as_deref().or(node.instance_type.as_deref()).unwrap_or_default();
        let Some(limits) = types.get(name).copied() else { continue };
        let kept = node.pods_allowed.filter(|_| !change.replaces_nodes && change.instance_type.is_none());
        let allowed = change.max_pods.or(kept);
        let place = *places.entry((name, allowed)).or_insert(groups.len());
        match groups.get_mut(place) {
            Some(group) => group.count += 1,
            None => groups.push(Group {
                shape: NodeShape::new(limits, agent.prefixes, agent.custom_networking, agent.warm, allowed),
                count: 1,
            }),
        }
    }
    groups
}

/// The zone that a node is in: as it says, or that of the subnet around its address.
pub(crate) fn zone_of(inventory: &Inventory, node: &Node) -> Option<String> {
    node.zone.clone().or_else(|| inventory.subnet_around(node.address?)?.zone.clone())
}

/// Whether pods get addresses from this subnet: with custom networking, when an ENIConfig names it; else when a node is in it, or
/// its tag says so, and never when its tag forbids it.
pub(crate) fn is_for_pods(inventory: &Inventory, subnet: &Subnet, agent: AgentSettings, nodes: &[&Node]) -> bool {
    if agent.custom_networking {
        return subnet.of_eni_config;
    }
    let is_own = || {
        let vpc = inventory.own_vpc().map(|vpc| &vpc.id);
        subnet.vpc.is_none() || vpc.is_none() || subnet.vpc.as_ref() == vpc
    };
    match subnet.cni_role.as_deref() {
        Some("0") => false,
        None | Some("") => {
            is_own() && nodes.iter().any(|node| node.address.is_some_and(|address| subnet.cidr.contains(address)))
        }
        Some(_) => is_own(),
    }
}

/// Addresses of a subnet that nodes and pods of the cluster have or can get.
fn for_the_cluster(subnet: &Subnet) -> u64 {
    let foreign: u64 =
        subnet.holdings.iter().filter(|one| one.used_for == Use::Foreign).map(|one| one.block.size()).sum();
    subnet.usable_addresses().saturating_sub(foreign)
}

impl ZoneModel {
    /// Pods that the nodes take.
    pub(crate) fn most(&self) -> u64 {
        self.groups.iter().map(|group| group.count * group.shape.most_pods).sum()
    }

    /// Addresses that the nodes hold with so many pods and what they keep ready.
    pub(crate) fn holds(&self, pods: u64) -> u64 {
        self.addresses_of(pods, NodeShape::holds)
    }

    /// Addresses that so many pods take, spread evenly over the nodes.
    fn addresses_of(&self, pods: u64, of: impl Fn(NodeShape, u64) -> u64) -> u64 {
        let mut level = 0;
        let mut left = pods;
        // Fill all nodes to the same level, up to the next smallest node's most, until the pods are gone.
        let mut tops: Vec<u64> = self.groups.iter().map(|group| group.shape.most_pods).collect();
        tops.sort_unstable();
        tops.dedup();
        let mut more = 0;
        for top in tops {
            let open: u64 = self.open_at(level);
            let room = (top - level) * open;
            if left >= room {
                left -= room;
                level = top;
                continue;
            }
            level += left / open.max(1);
            more = left % open.max(1);
            break;
        }
        let mut sum = 0;
        for group in &self.groups {
            let at = level.min(group.shape.most_pods);
            let raised = if group.shape.most_pods > level { more.min(group.count) } else { 0 };
            more -= raised;
            sum += raised * of(group.shape, at + 1) + (group.count - raised) * of(group.shape, at);
        }
        sum
    }

    fn open_at(&self, level: u64) -> u64 {
        self.groups.iter().filter(|group| group.shape.most_pods > level).map(|group| group.count).sum()
    }

    /// The most pods whose addresses fit.
    fn pods_within(&self, of: impl Fn(NodeShape, u64) -> u64) -> u64 {
        let (mut fits, mut too_many) = (0, self.most() + 1);
        while too_many - fits > 1 {
            let middle = fits + (too_many - fits) / 2;
            if self.addresses_of(middle, &of) <= self.addresses {
                fits = middle;
            } else {
                too_many = middle;
            }
        }
        fits
    }

    /// The zone in figures.
    pub(crate) fn outlook(&self) -> ZoneOutlook {
        let by_nodes = self.most();
        let at_most = self.pods_within(NodeShape::needs);
        let certain = self.pods_within(NodeShape::holds).min(at_most);
        let limit = match (self.subnets.is_empty(), at_most < by_nodes) {
            (true, _) => Limit::NoSubnet,
            (false, true) => Limit::Addresses,
            (false, false) => Limit::Nodes,
        };
        ZoneOutlook {
            zone: self.zone.clone(),
            nodes: self.groups.iter().map(|group| group.count).sum(),
            pods: self.pods,
            subnets: self.subnets.clone(),
            addresses: self.addresses,
            pods_by_nodes: by_nodes,
            pods_for_certain: certain,
            pods_at_most: at_most,
            limit,
        }
    }
}

/// The whole cluster from its zones.
pub(crate) fn whole(zones: &[ZoneModel]) -> Outlook {
    let zones: Vec<ZoneOutlook> = zones.iter().map(ZoneModel::outlook).collect();
    let sum = |of: fn(&ZoneOutlook) -> u64| zones.iter().map(of).sum::<u64>();
    let share: u64 = sum(|zone| zone.nodes);
    let first = |zone: &ZoneOutlook| {
        let pods = u128::from(zone.pods_at_most) * u128::from(share) / u128::from(zone.nodes.max(1));
        Break { zone: zone.zone.clone(), limit: zone.limit, pods: u64::try_from(pods).unwrap_or(u64::MAX) }
    };
    Outlook {
        pods: sum(|zone| zone.pods),
        pods_for_certain: sum(|zone| zone.pods_for_certain),
        pods_at_most: sum(|zone| zone.pods_at_most),
        breaks_first: zones.iter().map(first).min_by_key(|first| first.pods),
        zones,
    }
}

/// How many pods the cluster can have as it is.
#[must_use]
pub fn outlook(inventory: &Inventory, types: &TypeTable) -> Outlook {
    whole(&model(inventory, types, &Change::default()))
}
