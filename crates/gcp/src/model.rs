//! What exists in the cloud.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use freeboard_address::{Cidr, FreeSpace};
use jiff::Timestamp;

use crate::ids::{
    ClusterKey, GroupKey, InstanceKey, InstanceName, Location, NetworkName, PoolName, RangeName, SubnetworkKey, Zone,
};
use crate::pod_blocks::{MaxPods, Overprovision};

/// A version of a resource, which a change must quote; eight bytes, on the wire in base64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fingerprint(pub u64);

/// A VPC network in custom mode.
#[derive(Clone, Debug)]
pub struct Network {
    /// Its name in the project.
    pub name: NetworkName,
    /// Its number.
    pub id: u64,
    /// When it was made.
    pub created: Timestamp,
}

/// A subnetwork: one primary range for machines, any number of secondary ranges for what runs on them.
#[derive(Clone, Debug)]
pub struct Subnetwork {
    /// Its region and name.
    pub key: SubnetworkKey,
    /// Its number.
    pub id: u64,
    /// Its network.
    pub network: NetworkName,
    /// The primary range; the first two and the last two of its addresses are the cloud's.
    pub primary: Cidr,
    /// The secondary ranges, in the order in which they were added.
    pub secondary: Vec<SecondaryRange>,
    /// The version of the above.
    pub fingerprint: Fingerprint,
    /// When it was made.
    pub created: Timestamp,
    /// What of the primary range is free.
    pub(crate) space: FreeSpace,
}

/// A secondary range; all of its addresses can be used.
#[derive(Clone, Debug)]
pub struct SecondaryRange {
    /// Its name in the subnetwork.
    pub name: RangeName,
    /// Its addresses.
    pub cidr: Cidr,
    /// The cluster that made the range for one pool, and removes it with the pool; none when the user manages it.
    pub managed_by: Option<ClusterKey>,
    /// What of it is free.
    pub(crate) space: FreeSpace,
}

/// How full a range is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeUsage {
    /// The secondary range; none for the primary one.
    pub range: Option<RangeName>,
    /// All addresses of the range.
    pub cidr: Cidr,
    /// Addresses in use; a node's block counts whole.
    pub allocated_addresses: u64,
    /// Addresses that can still be given out, not necessarily in one piece.
    pub free_addresses: u64,
}

impl RangeUsage {
    /// The share in use, 0 to 1: addresses in use by all addresses of the range.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "both are at most 2^32, which a double holds exactly")]
    pub fn utilization(&self) -> f64 {
        self.allocated_addresses as f64 / self.cidr.size() as f64
    }
}

/// A virtual machine.
#[derive(Clone, Debug)]
pub struct Instance {
    /// Its zone and name.
    pub key: InstanceKey,
    /// Its number.
    pub id: u64,
    /// For example `e2-medium`.
    pub machine_type: String,
    /// Its one interface.
    pub interface: NetworkInterface,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// When it was made.
    pub created: Timestamp,
}

/// The interface `nic0` of a machine.
#[derive(Clone, Debug)]
pub struct NetworkInterface {
    /// The network it is in.
    pub network: NetworkName,
    /// The subnetwork it is in.
    pub subnetwork: SubnetworkKey,
    /// The machine's own address, from the primary range.
    pub address: Ipv4Addr,
    /// More addresses that lead to the machine: on a node, its pods' block.
    pub alias_ranges: Vec<AliasRange>,
    /// The version of the above.
    pub fingerprint: Fingerprint,
}

/// A block of addresses that leads to one machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AliasRange {
    /// The addresses.
    pub cidr: Cidr,
    /// The secondary range they come from; none when from the primary one.
    pub range: Option<RangeName>,
}

/// A managed instance group: the machines of one node pool in one zone.
#[derive(Clone, Debug)]
pub struct InstanceGroup {
    /// Its zone and name.
    pub key: GroupKey,
    /// Its number.
    pub id: u64,
    /// How many machines it should have.
    pub target_size: u32,
    /// The machines it has.
    pub instances: Vec<InstanceName>,
    /// Why machines could not be made, latest last.
    pub errors: Vec<GroupError>,
    /// When it was made.
    pub created: Timestamp,
    /// What its machines are made like.
    pub(crate) template: Template,
}

/// What the machines of a group are made like.
#[derive(Clone, Debug)]
pub(crate) struct Template {
    pub(crate) subnetwork: SubnetworkKey,
    pub(crate) machine_type: String,
    pub(crate) pod_range: RangeName,
    pub(crate) block_length: u8,
    pub(crate) labels: BTreeMap<String, String>,
}

/// Why a group could not make a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupError {
    /// When.
    pub time: Timestamp,
    /// The machine that is not there.
    pub instance: InstanceName,
    /// The reason's code, for example `IP_SPACE_EXHAUSTED_WITH_DETAILS`.
    pub code: &'static str,
    /// The reason in words.
    pub message: String,
}

/// A cluster whose pods have addresses of the network.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// Its location and name.
    pub key: ClusterKey,
    /// Its number.
    pub id: u64,
    /// Its network.
    pub network: NetworkName,
    /// The subnetwork of its nodes, pods and services.
    pub subnetwork: SubnetworkKey,
    /// The zones of its nodes.
    pub locations: Vec<Zone>,
    /// The secondary range that pools get by default.
    pub pod_range: RangeName,
    /// More secondary ranges, of which GKE gives one to each new pool, in the order in which they were added.
    pub additional_pod_ranges: Vec<RangeName>,
    /// The secondary range of its services.
    pub services_range: Option<RangeName>,
    /// The pods per node of a pool that says nothing.
    pub default_max_pods: MaxPods,
    /// The pods per address of a pool that says nothing.
    pub overprovision: Overprovision,
    /// The version that nodes run.
    pub version: String,
    /// Its pools.
    pub pools: BTreeMap<PoolName, NodePool>,
    /// The version of the above.
    pub fingerprint: Fingerprint,
    /// When it was made.
    pub created: Timestamp,
    /// The operation that has the cluster until its end.
    pub(crate) last_operation: Option<String>,
}

/// A set of equal nodes, with one secondary range for life.
#[derive(Clone, Debug)]
pub struct NodePool {
    /// Its name in the cluster.
    pub name: PoolName,
    /// How many pods a node may have.
    pub max_pods: MaxPods,
    /// Whether blocks are twice as large as that.
    pub overprovision: Overprovision,
    /// The secondary range of its pods.
    pub pod_range: RangeName,
    /// How many nodes per zone it was made with.
    pub initial_node_count: u32,
    /// Its bounds per zone, when the autoscaler may change its size.
    pub autoscaling: Option<Autoscaling>,
    /// The zones of its nodes.
    pub locations: Vec<Zone>,
    /// For example `e2-medium`.
    pub machine_type: String,
    /// Whether its machines may be taken away at any time.
    pub spot: bool,
    /// Its groups of machines, one per zone.
    pub groups: Vec<GroupKey>,
    /// When it was made.
    pub created: Timestamp,
    /// When it is made, or given up.
    pub(crate) provisioned: Timestamp,
    /// The version of the above.
    pub fingerprint: Fingerprint,
}

/// Bounds of a pool's size, in nodes per zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Autoscaling {
    /// At least so many.
    pub min_node_count: u32,
    /// At most so many.
    pub max_node_count: u32,
}

/// How a pool is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolStatus {
    /// Being made.
    Provisioning,
    /// As it should be.
    Running,
    /// It has fewer nodes than it should.
    RunningWithError,
    /// It could not be made as it should.
    Error,
}

impl NodePool {
    /// The prefix length of each node's block (`podIpv4CidrSize`).
    #[must_use]
    pub fn block_length(&self) -> u8 {
        self.max_pods.block_length(self.overprovision)
    }

    /// The most nodes it can come to over all its zones; its present size when the autoscaler may not change it.
    #[must_use]
    pub fn max_nodes(&self, nodes: u32) -> u32 {
        let zones = u32::try_from(self.locations.len()).unwrap_or(u32::MAX);
        self.autoscaling.map_or(nodes, |bounds| bounds.max_node_count.saturating_mul(zones))
    }
}

impl Subnetwork {
    /// The secondary range of this name.
    #[must_use]
    pub fn range(&self, name: &RangeName) -> Option<&SecondaryRange> {
        self.secondary.iter().find(|range| range.name == *name)
    }

    /// How full each range is, the primary one first.
    #[must_use]
    pub fn usages(&self) -> Vec<RangeUsage> {
        let usable = usable_primary_addresses(self.primary);
        let primary = RangeUsage {
            range: None,
            cidr: self.primary,
            allocated_addresses: usable - self.space.free_addresses(),
            free_addresses: self.space.free_addresses(),
        };
        std::iter::once(primary).chain(self.secondary.iter().map(SecondaryRange::usage)).collect()
    }

    /// The free space of a range: the secondary one of this name, or the primary one.
    pub(crate) fn space_mut(&mut self, range: Option<&RangeName>) -> Option<&mut FreeSpace> {
        match range {
            None => Some(&mut self.space),
            Some(name) => self.secondary.iter_mut().find(|range| range.name == *name).map(|range| &mut range.space),
        }
    }
}

impl SecondaryRange {
    /// A range of which nothing is used.
    pub(crate) fn unused(name: RangeName, cidr: Cidr, managed_by: Option<ClusterKey>) -> Self {
        Self { name, cidr, managed_by, space: FreeSpace::all_free(cidr) }
    }

    /// How full it is.
    #[must_use]
    pub fn usage(&self) -> RangeUsage {
        RangeUsage {
            range: Some(self.name.clone()),
            cidr: self.cidr,
            allocated_addresses: self.cidr.size() - self.space.free_addresses(),
            free_addresses: self.space.free_addresses(),
        }
    }

    /// How many more blocks of this length it can give out.
    #[must_use]
    pub fn free_blocks(&self, length: u8) -> u64 {
        self.space.free_blocks(length).fold(0, |count, _| count + 1)
    }
}

/// What is left of a primary range without the cloud's own four addresses.
pub(crate) fn usable_primary_addresses(primary: Cidr) -> u64 {
    primary.size().saturating_sub(4)
}

/// The free space of a primary range that nobody uses: the first two and the last two addresses are the cloud's.
pub(crate) fn primary_space(primary: Cidr) -> FreeSpace {
    let mut space = FreeSpace::all_free(primary);
    let last = u32::from(primary.last());
    let reserved = [primary.nth(0), primary.nth(1), Some(Ipv4Addr::from(last - 1)), Some(Ipv4Addr::from(last))];
    for address in reserved.into_iter().flatten() {
        space.take(Cidr::host(address));
    }
    space
}

impl Cluster {
    /// The location, as the container API names it.
    #[must_use]
    pub fn location(&self) -> &Location {
        &self.key.location
    }
}
