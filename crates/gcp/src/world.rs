//! What exists in the cloud when it starts, as a file says it.

use std::collections::BTreeSet;
use std::time::Duration;

use freeboard_address::Cidr;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use crate::cloud::GoogleCloud;
use crate::clusters::{ClusterUpdate, CreateCluster};
use crate::error::ApiError;
use crate::ids::{
    ClusterKey, ClusterName, Location, NetworkName, PoolKey, PoolName, ProjectId, RangeName, Region, SubnetworkKey,
    SubnetworkName, Zone,
};
use crate::model::Autoscaling;
use crate::pod_blocks::{MaxPods, Overprovision};
use crate::pools::{CreatePool, PodRangeRequest};
use crate::subnetworks::{InsertSubnetwork, SecondaryRangeRequest};

/// One project: its zones, networks and clusters, and how the cloud behaves. worlds/README.md describes the file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GoogleWorld {
    /// The project's id.
    pub project: ProjectId,
    /// What numbers and names follow from.
    #[serde(default)]
    pub seed: u64,
    /// The zones that there are; their regions follow.
    pub zones: BTreeSet<Zone>,
    /// How long things take.
    #[serde(default)]
    pub timing: Timing,
    /// How the cloud says that a range has no room.
    #[serde(default)]
    pub ip_space_exhausted: ExhaustionAnswer,
    /// The networks.
    #[serde(default)]
    pub networks: Vec<WorldNetwork>,
    /// The clusters.
    #[serde(default)]
    pub clusters: Vec<WorldCluster>,
}

/// How long things take.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct Timing {
    /// How long an operation of the compute API runs.
    pub compute_operation_milliseconds: u32,
    /// How long an operation of the container API runs.
    pub container_operation_milliseconds: u32,
    /// After how long GKE gives up on nodes that do not come.
    pub failed_pool_seconds: u32,
    /// For how long the choice of a range counts a pool by the nodes it was made with.
    pub usage_memory_seconds: u32,
}

/// How the cloud says that a range has no room; all four are seen in the field.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum ExhaustionAnswer {
    /// The operation fails, and the message names the range's addresses.
    #[default]
    OperationWithDetails,
    /// The operation fails.
    Operation,
    /// The call is refused, and the message names the range's addresses.
    CallWithDetails,
    /// The call is refused.
    Call,
}

/// A network and its subnetworks.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorldNetwork {
    /// Its name.
    pub name: NetworkName,
    /// Its subnetworks.
    #[serde(default)]
    pub subnetworks: Vec<WorldSubnetwork>,
}

/// A subnetwork.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorldSubnetwork {
    /// Its name.
    pub name: SubnetworkName,
    /// Its region.
    pub region: Region,
    /// Its primary range.
    pub primary: Cidr,
    /// Its secondary ranges.
    #[serde(default)]
    pub secondary: Vec<WorldRange>,
}

/// A secondary range.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorldRange {
    /// Its name.
    pub name: RangeName,
    /// Its addresses.
    pub cidr: Cidr,
}

/// A cluster and its pools.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorldCluster {
    /// Its name.
    pub name: ClusterName,
    /// Its location, a zone or a region.
    pub location: Location,
    /// The zones of its nodes; the location when empty.
    #[serde(default)]
    pub zones: Vec<Zone>,
    /// Its subnetwork, in the location's region.
    pub subnetwork: SubnetworkName,
    /// The range of its pods.
    pub pod_range: RangeName,
    /// More ranges of its pods.
    #[serde(default)]
    pub additional_pod_ranges: Vec<RangeName>,
    /// The range of its services.
    pub services_range: Option<RangeName>,
    /// The version that its nodes run.
    pub version: String,
    /// The pods per node of pools that say nothing.
    pub default_max_pods_per_node: Option<u16>,
    /// Its pools.
    #[serde(default)]
    pub node_pools: Vec<WorldPool>,
}

/// A pool.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorldPool {
    /// Its name.
    pub name: PoolName,
    /// How many pods a node may have.
    pub max_pods_per_node: Option<u16>,
    /// Its range; the cluster's when none.
    pub pod_range: Option<RangeName>,
    /// How many nodes per zone it has.
    pub nodes: u32,
    /// The least and most nodes per zone.
    pub autoscaling: Option<WorldAutoscaling>,
    /// For example `e2-standard-2`.
    pub machine_type: String,
    /// The hash in the names of its groups.
    pub group_hash: Option<String>,
}

/// Bounds of a pool, in nodes per zone.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorldAutoscaling {
    /// At least so many.
    pub min: u32,
    /// At most so many.
    pub max: u32,
}

/// Why a file describes no cloud.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WorldError {
    /// Something that exists at the start could not be made.
    #[error("{what}: {error}")]
    Refused {
        /// What.
        what: String,
        /// Why.
        error: ApiError,
    },
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            compute_operation_milliseconds: 1_000,
            container_operation_milliseconds: 2_000,
            failed_pool_seconds: 1_800,
            usage_memory_seconds: 3_600,
        }
    }
}

impl Timing {
    pub(crate) fn compute_operation(self) -> SignedDuration {
        milliseconds(self.compute_operation_milliseconds)
    }

    pub(crate) fn container_operation(self) -> SignedDuration {
        milliseconds(self.container_operation_milliseconds)
    }

    pub(crate) fn failed_pool(self) -> SignedDuration {
        SignedDuration::from_secs(i64::from(self.failed_pool_seconds))
    }

    pub(crate) fn usage_memory(self) -> SignedDuration {
        SignedDuration::from_secs(i64::from(self.usage_memory_seconds))
    }
}

fn milliseconds(count: u32) -> SignedDuration {
    SignedDuration::try_from(Duration::from_millis(u64::from(count))).unwrap_or(SignedDuration::ZERO)
}

impl ExhaustionAnswer {
    /// Whether the message names the addresses of the range.
    #[must_use]
    pub fn has_details(self) -> bool {
        matches!(self, Self::OperationWithDetails | Self::CallWithDetails)
    }

    /// Whether the call itself is refused.
    #[must_use]
    pub fn is_refused_at_once(self) -> bool {
        matches!(self, Self::Call | Self::CallWithDetails)
    }
}

impl GoogleCloud {
    /// Makes the cloud that a world describes. Everything in it exists at `now`; its operations are done.
    ///
    /// # Errors
    /// [`WorldError`] that names the first thing that could not be made, and why.
    pub fn from_world(world: &GoogleWorld, now: Timestamp) -> Result<Self, WorldError> {
        // What the file says is there already, so nothing takes time.
        let at_once = Timing { compute_operation_milliseconds: 0, container_operation_milliseconds: 0, ..world.timing };
        let mut cloud =
            Self::empty(world.project.clone(), world.zones.clone(), at_once, world.ip_space_exhausted, world.seed);
        for network in &world.networks {
            let refused = |error| WorldError::Refused { what: format!("network {}", network.name), error };
            cloud.insert_network(network.name.clone(), now).map_err(refused)?;
            for subnetwork in &network.subnetworks {
                let refused = |error| WorldError::Refused { what: format!("subnetwork {}", subnetwork.name), error };
                cloud.insert_subnetwork(&subnetwork.request(&network.name), now).map_err(refused)?;
            }
        }
        for cluster in &world.clusters {
            cloud.load_cluster(cluster, now)?;
        }
        cloud.timing = world.timing;
        Ok(cloud)
    }

    fn load_cluster(&mut self, cluster: &WorldCluster, now: Timestamp) -> Result<(), WorldError> {
        let refused = |error| WorldError::Refused { what: format!("cluster {}", cluster.name), error };
        let key = ClusterKey::new(cluster.location.clone(), cluster.name.clone());
        let default_max_pods = cluster.default_max_pods_per_node.map(|pods| MaxPods::new(i64::from(pods))).transpose();
        let request = CreateCluster {
            key: key.clone(),
            subnetwork: SubnetworkKey::new(cluster.location.region(), cluster.subnetwork.clone()),
            locations: cluster.zones.clone(),
            pod_range: cluster.pod_range.clone(),
            services_range: cluster.services_range.clone(),
            default_max_pods: default_max_pods.map_err(refused)?.unwrap_or(MaxPods::DEFAULT),
            overprovision: Overprovision::Double,
            version: cluster.version.clone(),
        };
        self.create_cluster(&request, now).map_err(refused)?;
        if !cluster.additional_pod_ranges.is_empty() {
            let update = ClusterUpdate::AddPodRanges(cluster.additional_pod_ranges.clone());
            self.update_cluster(&key, None, &update, now).map_err(refused)?;
        }
        for pool in &cluster.node_pools {
            let refused = |error| WorldError::Refused { what: format!("node pool {}", pool.name), error };
            let request = pool.request(&key, &cluster.pod_range).map_err(refused)?;
            let operation = self.create_pool(&request, now).map_err(refused)?;
            if let Some(error) = operation.error {
                return Err(refused(ApiError::new(error.status, error.message)));
            }
        }
        Ok(())
    }
}

impl WorldSubnetwork {
    fn request(&self, network: &NetworkName) -> InsertSubnetwork {
        let secondary = self.secondary.iter();
        InsertSubnetwork {
            key: SubnetworkKey::new(self.region.clone(), self.name.clone()),
            network: network.clone(),
            primary: self.primary,
            secondary: secondary
                .map(|range| SecondaryRangeRequest { name: range.name.clone(), cidr: range.cidr })
                .collect(),
        }
    }
}

impl WorldPool {
    fn request(&self, cluster: &ClusterKey, pod_range: &RangeName) -> Result<CreatePool, ApiError> {
        Ok(CreatePool {
            key: PoolKey::new(cluster.clone(), self.name.clone()),
            max_pods: self.max_pods_per_node.map(|pods| MaxPods::new(i64::from(pods))).transpose()?,
            overprovision: None,
            range: PodRangeRequest::Existing(self.pod_range.clone().unwrap_or_else(|| pod_range.clone())),
            initial_node_count: self.nodes,
            autoscaling: self
                .autoscaling
                .map(|bounds| Autoscaling { min_node_count: bounds.min, max_node_count: bounds.max }),
            locations: Vec::new(),
            machine_type: self.machine_type.clone(),
            spot: false,
            group_hash: self.group_hash.clone(),
        })
    }
}
