//! All that was read: the inventory (subnets, nodes, pods, pools, …) and the signals that were seen, each with its place.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

use freeboard_address::{Cidr, EniId, InstanceId, NodeName, PodKey, RouteTableId, SubnetId, VpcId};
use jiff::Timestamp;

use crate::{Citation, Cited, EksCluster, Instance, Kind, Peering, RouteTable, Signal};

/// One block of a VPC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VpcBlock {
    /// The block.
    pub cidr: Cidr,
    /// Its state, for example `associated`; none when the evidence does not say.
    pub state: Option<String>,
}

/// A VPC.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vpc {
    /// Its blocks, the primary one first.
    pub blocks: Vec<VpcBlock>,
    /// Its `Name` tag.
    pub name: Option<String>,
}

/// A subnet of a VPC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subnet {
    /// Its block.
    pub cidr: Cidr,
    /// Its zone.
    pub zone: Option<String>,
    /// Free addresses, as EC2 counts them; none when the evidence does not say.
    pub free_addresses: Option<u64>,
    /// Its `Name` tag.
    pub name: Option<String>,
    /// Its VPC.
    pub vpc: Option<VpcId>,
    /// The value of its tag `kubernetes.io/role/cni`.
    pub cni_role: Option<String>,
}

impl Subnet {
    /// Addresses that anything but EC2 itself may use: all but five.
    #[must_use]
    pub fn usable_addresses(&self) -> u64 {
        self.cidr.size().saturating_sub(5)
    }
}

/// An interface as EC2 describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    /// Its subnet.
    pub subnet: Option<SubnetId>,
    /// Its zone-independent status, for example `available` or `in-use`.
    pub status: String,
    /// The instance that it is attached to.
    pub instance: Option<InstanceId>,
    /// Its description.
    pub description: String,
    /// Addresses on it, the primary one included, each prefix as sixteen.
    pub addresses: u64,
    /// Its own address.
    pub primary: Option<Ipv4Addr>,
    /// Its further addresses, each a /32, and prefixes, each a /28.
    pub secondary: Vec<Cidr>,
    /// Whether it carries the tag of the Amazon VPC CNI.
    pub made_by_cni: bool,
}

/// A Kubernetes node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// The instance type, from its label.
    pub instance_type: Option<String>,
    /// The zone, from its label.
    pub zone: Option<String>,
    /// The node pool of GKE that it belongs to.
    pub pool: Option<String>,
    /// Pods that the kubelet accepts.
    pub pods_allowed: Option<u64>,
    /// Its pod blocks.
    pub pod_blocks: Vec<Cidr>,
    /// Its own address.
    pub address: Option<Ipv4Addr>,
    /// Whether it is cordoned.
    pub cordoned: bool,
    /// Whether it is ready; none when the evidence does not say.
    pub ready: Option<bool>,
    /// The ENIConfig that it asks for by label or annotation.
    pub eni_config: Option<String>,
    /// The instance.
    pub instance: Option<InstanceId>,
}

/// A pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pod {
    /// Its node, once it has one.
    pub node: Option<NodeName>,
    /// Its address, once it has one.
    pub address: Option<Ipv4Addr>,
    /// Its phase or status, for example `Running` or `ContainerCreating`.
    pub phase: String,
    /// Whether it uses its node's network; none when the evidence does not say.
    pub host_network: Option<bool>,
}

/// An ENIConfig object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EniConfig {
    /// Its subnet.
    pub subnet: Option<SubnetId>,
    /// Its security groups.
    pub security_groups: Vec<String>,
}

/// The agent's DaemonSet: its image and its environment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Agent {
    /// The image with its version.
    pub image: String,
    /// The environment of the agent's container.
    pub environment: BTreeMap<String, String>,
}

/// One address in a node's introspection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IntrospectionAddress {
    /// The address.
    pub address: Ipv4Addr,
    /// The pod that holds it.
    pub pod: Option<PodKey>,
    /// When it was released, if it was.
    pub released: Option<Timestamp>,
}

/// One interface in a node's introspection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IntrospectionInterface {
    /// Its subnet, where the version writes it.
    pub subnet: Option<SubnetId>,
    /// Whether it is the node's first.
    pub primary: bool,
    /// Addresses that it offers to pods: one per /32, sixteen per prefix.
    pub offered: u64,
    /// The blocks, /32 or /28.
    pub blocks: Vec<Cidr>,
    /// Addresses of which something is known.
    pub addresses: Vec<IntrospectionAddress>,
}

/// `/v1/enis` of one node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Introspection {
    /// Addresses in all, as the agent counts.
    pub total: u64,
    /// Addresses that pods hold, as the agent counts.
    pub assigned: u64,
    /// The interfaces.
    pub interfaces: BTreeMap<EniId, IntrospectionInterface>,
    /// Whether the text ends before its end.
    pub truncated: bool,
}

/// A secondary range of a Google subnet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecondaryRange {
    /// Its name.
    pub name: String,
    /// Its block.
    pub cidr: Cidr,
}

/// Use of one range as Google reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RangeUse {
    /// Addresses given.
    pub allocated: u64,
    /// Addresses free.
    pub free: u64,
}

/// A subnet of a Google network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GoogleSubnet {
    /// Its region.
    pub region: Option<String>,
    /// Its primary range, for nodes.
    pub primary: Option<Cidr>,
    /// Its secondary ranges, for pods and services.
    pub secondary: Vec<SecondaryRange>,
    /// Use by range name (empty for the primary range), where the view was asked for.
    pub used: BTreeMap<String, RangeUse>,
}

/// A GKE cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GoogleCluster {
    /// Its zone or region.
    pub location: Option<String>,
    /// Its subnet.
    pub subnet: Option<String>,
    /// Its default pod range.
    pub pod_range: Option<String>,
    /// Pod ranges added later.
    pub additional_pod_ranges: Vec<String>,
    /// Its services range.
    pub services_range: Option<String>,
    /// Nodes that it has now.
    pub nodes: Option<u64>,
}

/// A GKE node pool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodePool {
    /// Its cluster, where the evidence says.
    pub cluster: Option<String>,
    /// Its pod range.
    pub range: Option<String>,
    /// The block of its pod range.
    pub range_block: Option<Cidr>,
    /// The length of a node's block.
    pub block_length: Option<u8>,
    /// Pods per node.
    pub max_pods: Option<u64>,
    /// Nodes that it may grow to, over all its zones.
    pub most_nodes: Option<u64>,
    /// Its status.
    pub status: Option<String>,
}

/// A pool of blocks of Calico or Cilium.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockPool {
    /// Its blocks.
    pub cidrs: Vec<Cidr>,
    /// The length of a node's block.
    pub block_length: Option<u8>,
    /// Whether it may be used.
    pub disabled: bool,
}

/// The counts of an agent's pool at one moment, from its log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolSample {
    /// When.
    pub at: Option<Timestamp>,
    /// Addresses in all.
    pub total: u64,
    /// Addresses that pods hold.
    pub assigned: u64,
    /// Addresses cooling down.
    pub cooling: u64,
}

impl PoolSample {
    /// Addresses that a pod could get at once.
    #[must_use]
    pub fn free(&self) -> u64 {
        self.total.saturating_sub(self.assigned).saturating_sub(self.cooling)
    }
}

/// Who wrote a log, as the log itself or its place says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The node.
    pub node: Option<NodeName>,
    /// The instance.
    pub instance: Option<InstanceId>,
    /// The node's own address.
    pub address: Option<Ipv4Addr>,
    /// The subnet of the node's first interface.
    pub subnet: Option<SubnetId>,
    /// The VPC.
    pub vpc: Option<VpcId>,
    /// The zone.
    pub zone: Option<String>,
    /// The instance type.
    pub instance_type: Option<String>,
    /// The subnet of each interface that the log names together with one.
    pub interface_subnets: BTreeMap<EniId, SubnetId>,
    /// The first moment in the log.
    pub first: Option<Timestamp>,
    /// The latest moment in the log.
    pub last: Option<Timestamp>,
    /// How often the clock of the log went back by more than a minute.
    pub clock_steps: u64,
    /// The last counts of the pool.
    pub last_sample: Option<PoolSample>,
    /// The last counts with every address held by a pod.
    pub full_sample: Option<PoolSample>,
    /// The last counts with nothing free but what cools down.
    pub cooling_sample: Option<PoolSample>,
}

/// What a signal is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Subject {
    /// The node.
    pub node: Option<NodeName>,
    /// The pod.
    pub pod: Option<PodKey>,
    /// The subnet.
    pub subnet: Option<SubnetId>,
    /// The interface.
    pub interface: Option<EniId>,
    /// An API action.
    pub action: Option<String>,
    /// A range by name: a Google subnet or secondary range, an IP pool, a Cilium pool.
    pub range: Option<String>,
    /// A block.
    pub block: Option<Cidr>,
    /// Another name: of an ENIConfig, a node pool, a file.
    pub name: Option<String>,
}

/// A signal that was seen, as often as it was seen in one file about one subject.
#[derive(Clone, Debug)]
pub struct Sighting {
    /// The signal.
    pub signal: &'static Signal,
    /// What it is about.
    pub subject: Subject,
    /// How often.
    pub count: u64,
    /// First seen.
    pub first: Option<Timestamp>,
    /// Last seen.
    pub last: Option<Timestamp>,
    /// The first place where it stands.
    pub citation: Citation,
}

/// Limits of an instance type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InstanceLimits {
    /// Interfaces.
    pub interfaces: u64,
    /// Addresses per interface, its primary one included.
    pub addresses_per_interface: u64,
}

/// All that was read.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// VPCs; those whose id the evidence leaves out have an empty one.
    pub vpcs: BTreeMap<VpcId, Cited<Vpc>>,
    /// Subnets.
    pub subnets: BTreeMap<SubnetId, Cited<Subnet>>,
    /// Interfaces.
    pub interfaces: BTreeMap<EniId, Cited<Interface>>,
    /// Peerings by id.
    pub peerings: BTreeMap<String, Cited<Peering>>,
    /// Route tables.
    pub route_tables: BTreeMap<RouteTableId, Cited<RouteTable>>,
    /// Instances.
    pub instances: BTreeMap<InstanceId, Cited<Instance>>,
    /// Clusters of EKS by name.
    pub eks_clusters: BTreeMap<String, Cited<EksCluster>>,
    /// Nodes.
    pub nodes: BTreeMap<NodeName, Cited<Node>>,
    /// Pods.
    pub pods: BTreeMap<PodKey, Cited<Pod>>,
    /// ENIConfigs.
    pub eni_configs: BTreeMap<String, Cited<EniConfig>>,
    /// DaemonSets of the agent.
    pub agents: Vec<Cited<Agent>>,
    /// Introspections of nodes.
    pub introspections: Vec<Cited<Introspection>>,
    /// Google subnets by name.
    pub google_subnets: BTreeMap<String, Cited<GoogleSubnet>>,
    /// GKE clusters by name.
    pub google_clusters: BTreeMap<String, Cited<GoogleCluster>>,
    /// GKE node pools by name.
    pub node_pools: BTreeMap<String, Cited<NodePool>>,
    /// Pools of Calico and Cilium by name.
    pub block_pools: BTreeMap<String, Cited<BlockPool>>,
    /// Metrics: value by name with labels, as written; one entry per file.
    pub metrics: Vec<Cited<BTreeMap<String, f64>>>,
    /// Who wrote each log, by file.
    pub logs: BTreeMap<Arc<str>, Identity>,
    /// What was seen.
    pub sightings: Vec<Sighting>,
    /// Limits of the instance types that the nodes have.
    pub limits: BTreeMap<String, InstanceLimits>,
    /// The kinds of evidence that there are.
    pub kinds: BTreeSet<Kind>,
    /// Facts of which two pieces of evidence say different things, in whole sentences.
    pub contradictions: Vec<Cited<String>>,
}

impl Facts {
    /// The subnet that a signal is about: by name, by its block, by its interface, or by the first interface of the node whose log it is.
    #[must_use]
    pub fn subnet_of(&self, sighting: &Sighting) -> Option<SubnetId> {
        let subject = &sighting.subject;
        if let Some(subnet) = &subject.subnet {
            return Some(subnet.clone());
        }
        if let Some(block) = subject.block
            && let Some((subnet, _)) = self.subnets.iter().find(|(_, known)| known.cidr == block)
        {
            return Some(subnet.clone());
        }
        let log = self.logs.get(&sighting.citation.file);
        if let Some(interface) = &subject.interface {
            let described = self.interfaces.get(interface).and_then(|one| one.subnet.clone());
            let shown = || {
                let mut all = self.introspections.iter().filter_map(|one| one.interfaces.get(interface));
                all.find_map(|one| one.subnet.clone())
            };
            let logged = || log?.interface_subnets.get(interface).cloned();
            if let Some(subnet) = described.or_else(shown).or_else(logged) {
                return Some(subnet);
            }
        }
        log?.subnet.clone()
    }

    /// The node that a signal is about.
    #[must_use]
    pub fn node_of(&self, sighting: &Sighting) -> Option<NodeName> {
        if let Some(node) = &sighting.subject.node {
            return Some(node.clone());
        }
        if let Some(node) = sighting.subject.pod.as_ref().and_then(|pod| self.pods.get(pod)?.node.clone()) {
            return Some(node);
        }
        let log = self.logs.get(&sighting.citation.file)?;
        let by_address = || {
            let address = log.address?;
            self.nodes.iter().find(|(_, node)| node.address == Some(address)).map(|(name, _)| name.clone())
        };
        let by_instance = || {
            let instance = log.instance.as_ref()?;
            self.nodes.iter().find(|(_, node)| node.instance.as_ref() == Some(instance)).map(|(name, _)| name.clone())
        };
        log.node.clone().or_else(by_address).or_else(by_instance)
    }

    /// Whether any evidence of these kinds was read.
    #[must_use]
    pub fn has(&self, kinds: &[Kind]) -> bool {
        kinds.iter().any(|kind| self.kinds.contains(kind))
    }
}
