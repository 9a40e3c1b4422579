//! What is known of a cluster's network: the one input of status, plan, leaks and dashboard, whoever gathered it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use freeboard_address::{
    Cidr, EniId, NodeName, NodePoolName, PodKey, RangeName, RouteTableId, SecurityGroupId, SubnetId, VpcId,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::max_pods::Warm;

/// What is known of a cluster's network. What is not known is absent or empty, never invented.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Inventory {
    /// The cluster's name.
    pub cluster: Option<String>,
    /// The cloud's region.
    pub region: Option<String>,
    /// The VPCs; the cluster's own is the one with subnets that its nodes are in.
    pub vpcs: Vec<Vpc>,
    /// The subnets of VPCs.
    pub subnets: Vec<Subnet>,
    /// The nodes.
    pub nodes: Vec<Node>,
    /// What the agent is set to.
    pub agent: AgentSettings,
    /// The range of the cluster's services.
    pub service_range: Option<Cidr>,
    /// The cluster's security group.
    pub security_groups: Vec<SecurityGroupId>,
    /// Ranges of a Google subnet.
    pub ranges: Vec<Range>,
    /// The node pools of GKE.
    pub pools: Vec<NodePool>,
    /// The interfaces, where the cloud listed them.
    pub interfaces: Vec<Interface>,
    /// Every pod that Kubernetes lists, where it was asked.
    pub listed_pods: Option<BTreeSet<PodKey>>,
    /// Pods that wait for an address.
    pub waiting: Vec<PodKey>,
    /// How many pods had an address of their own, at several moments.
    pub history: Vec<Sample>,
}

/// A VPC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vpc {
    /// Its id.
    pub id: VpcId,
    /// Its `Name` tag.
    #[serde(default)]
    pub name: Option<String>,
    /// Its blocks, the primary one first.
    pub blocks: Vec<Cidr>,
    /// The VPCs that it is peered with.
    #[serde(default)]
    pub peers: Vec<Peer>,
    /// Destinations of its route tables, local routes left out.
    #[serde(default)]
    pub routes: Vec<Cidr>,
}

/// A VPC at the other end of a peering.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peer {
    /// The peering, `pcx-…`.
    pub peering: String,
    /// The other VPC's blocks.
    pub blocks: Vec<Cidr>,
    /// Whether the other side has not accepted yet, and this VPC asked.
    #[serde(default)]
    pub pending: bool,
}

/// A subnet of a VPC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subnet {
    /// Its id.
    pub id: SubnetId,
    /// Its `Name` tag.
    #[serde(default)]
    pub name: Option<String>,
    /// Its zone.
    #[serde(default)]
    pub zone: Option<String>,
    /// Its block.
    pub cidr: Cidr,
    /// Its VPC.
    #[serde(default)]
    pub vpc: Option<VpcId>,
    /// Free addresses, as EC2 counts them.
    #[serde(default)]
    pub free_addresses: Option<u64>,
    /// The value of its tag `kubernetes.io/role/cni`.
    #[serde(default)]
    pub cni_role: Option<String>,
    /// Whether an ENIConfig names it.
    #[serde(default)]
    pub of_eni_config: bool,
    /// The route table that it is associated with by name; none where it has the VPC's main one.
    #[serde(default)]
    pub route_table: Option<RouteTableId>,
    /// Who holds which of its addresses; disjoint, in address order.
    #[serde(default)]
    pub holdings: Vec<Holding>,
    /// Whether `holdings` names everything that is taken.
    #[serde(default)]
    pub is_mapped: bool,
}

/// Addresses that EC2 keeps in every subnet: the first four and the last.
pub const RESERVED_PER_SUBNET: u64 = 5;

impl Subnet {
    /// What people call it: its name, or else its id.
    #[must_use]
    pub fn title(&self) -> &str {
        self.name.as_deref().unwrap_or(self.id.as_str())
    }

    /// Addresses that anything but EC2 itself may use.
    #[must_use]
    pub fn usable_addresses(&self) -> u64 {
        self.cidr.size().saturating_sub(RESERVED_PER_SUBNET)
    }

    /// Addresses that something holds, as far as anything is known of it.
    #[must_use]
    pub fn taken_addresses(&self) -> Option<u64> {
        self.free_addresses.map(|free| self.usable_addresses().saturating_sub(free))
    }
}

/// Who holds addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Use {
    /// The cloud itself.
    Reserved,
    /// A node's interface, as its own address.
    Node,
    /// A pod.
    Pod,
    /// A node, for pods to come.
    Warm,
    /// A node, for nobody, until an old pod's connections are forgotten.
    Cooling,
    /// Something that is no part of the cluster, or of which nothing is known.
    Foreign,
    /// Nobody.
    Free,
}

impl Use {
    /// Every use, in the order in which keys list them.
    pub const ALL: [Self; 7] =
        [Self::Node, Self::Pod, Self::Warm, Self::Cooling, Self::Foreign, Self::Reserved, Self::Free];

    /// One word for people.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reserved => "reserved",
            Self::Node => "node",
            Self::Pod => "pod",
            Self::Warm => "warm",
            Self::Cooling => "cooling",
            Self::Foreign => "foreign",
            Self::Free => "free",
        }
    }
}

/// Addresses that are held.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Holding {
    /// Which.
    pub block: Cidr,
    /// For what.
    pub used_for: Use,
    /// The interface that they are on.
    #[serde(default)]
    pub interface: Option<EniId>,
    /// The node.
    #[serde(default)]
    pub node: Option<NodeName>,
    /// Who it is, in words: a pod, or an interface's description.
    #[serde(default)]
    pub holder: Option<String>,
}

/// An interface, as the cloud lists it and as its node's agent shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Interface {
    /// Its id.
    pub id: EniId,
    /// Its description.
    #[serde(default)]
    pub description: String,
    /// Whether it is attached to an instance, or on its way there.
    pub attached: bool,
    /// Whether the Amazon VPC CNI, or an agent like it, made it.
    pub made_by_agent: bool,
    /// Its further addresses and prefixes.
    #[serde(default)]
    pub secondary: Vec<Cidr>,
    /// What its node's agent shows of it; absent where no agent was asked.
    #[serde(default)]
    pub shown: Option<ShownInterface>,
}

/// An interface as its node's agent shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ShownInterface {
    /// The addresses and prefixes that the agent gives pods from.
    pub blocks: Vec<Cidr>,
    /// The addresses that pods hold, as the agent believes.
    pub pods: BTreeMap<Ipv4Addr, PodKey>,
}

/// A Kubernetes node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// Its name.
    pub name: NodeName,
    /// Its instance type.
    #[serde(default)]
    pub instance_type: Option<String>,
    /// Its zone.
    #[serde(default)]
    pub zone: Option<String>,
    /// Its own address.
    #[serde(default)]
    pub address: Option<Ipv4Addr>,
    /// The node pool of GKE that it belongs to.
    #[serde(default)]
    pub pool: Option<NodePoolName>,
    /// Pods that the kubelet accepts, those on the node's own network included.
    #[serde(default)]
    pub pods_allowed: Option<u64>,
    /// Pods with an address of their own.
    #[serde(default)]
    pub pods: u64,
    /// Its blocks for pods.
    #[serde(default)]
    pub pod_blocks: Vec<Cidr>,
    /// Whether it is ready.
    #[serde(default)]
    pub ready: Option<bool>,
}

/// What the agent is set to, as far as it decides how many addresses a node holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AgentSettings {
    /// Whether nodes take /28 prefixes.
    pub prefixes: bool,
    /// Whether pods get addresses from other subnets than the node's own, named by ENIConfigs.
    pub custom_networking: bool,
    /// What a node keeps ready.
    pub warm: Warm,
}

impl Default for AgentSettings {
    /// As the Amazon VPC CNI is without any setting.
    fn default() -> Self {
        Self { prefixes: false, custom_networking: false, warm: Warm::Interfaces(1) }
    }
}

/// What a range of a Google subnet is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// Nodes: the subnet's primary range.
    Nodes,
    /// Pods.
    #[default]
    Pods,
    /// Services.
    Services,
}

/// A range of a Google subnet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Range {
    /// Its name; the primary range has its subnet's.
    pub name: RangeName,
    /// The subnet.
    pub subnet: String,
    /// Its addresses.
    pub cidr: Cidr,
    /// What it is for.
    #[serde(default)]
    pub purpose: Purpose,
    /// Addresses given out, where the cloud was asked for it.
    #[serde(default)]
    pub allocated: Option<u64>,
}

/// A node pool of GKE.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodePool {
    /// Its name.
    pub name: NodePoolName,
    /// Its pod range; none for a pool that is to be made.
    #[serde(default)]
    pub range: Option<RangeName>,
    /// Pods per node.
    pub max_pods: u32,
    /// Nodes that it may grow to, over all its zones.
    pub max_nodes: u64,
    /// Nodes that it has; absent where nothing tells.
    #[serde(default)]
    pub nodes: Option<u64>,
}

/// How many pods had an address of their own at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sample {
    /// When.
    pub at: Timestamp,
    /// How many.
    pub pods: u64,
}

impl Inventory {
    /// The VPC that the nodes are in: the one around the first node's address, or the only one that there is.
    #[must_use]
    pub fn own_vpc(&self) -> Option<&Vpc> {
        let around =
            |address: Ipv4Addr| self.vpcs.iter().find(|vpc| vpc.blocks.iter().any(|block| block.contains(address)));
        let by_node = self.nodes.iter().filter_map(|node| node.address).find_map(around);
        let of_subnets = || self.subnets.iter().filter_map(|subnet| subnet.vpc.as_ref()).find_map(|id| self.vpc(id));
        by_node.or_else(|| (self.vpcs.len() == 1).then(|| self.vpcs.first()).flatten()).or_else(of_subnets)
    }

    /// The VPC with this id.
    #[must_use]
    pub fn vpc(&self, id: &VpcId) -> Option<&Vpc> {
        self.vpcs.iter().find(|vpc| vpc.id == *id)
    }

    /// The subnet that an address lies in, of the cluster's own VPC.
    #[must_use]
    pub fn subnet_around(&self, address: Ipv4Addr) -> Option<&Subnet> {
        let vpc = self.own_vpc().map(|vpc| &vpc.id);
        let of_vpc = |subnet: &&Subnet| subnet.vpc.is_none() || vpc.is_none() || subnet.vpc.as_ref() == vpc;
        self.subnets.iter().filter(of_vpc).find(|subnet| subnet.cidr.contains(address))
    }

    /// Pods with an address of their own.
    #[must_use]
    pub fn pods(&self) -> u64 {
        self.nodes.iter().map(|node| node.pods).sum()
    }
}
