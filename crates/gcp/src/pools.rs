//! Node pools: made on one range for life, resized, removed.

use std::collections::BTreeMap;

use freeboard_address::Cidr;
use jiff::Timestamp;

use crate::choice::least_used;
use crate::cloud::{GoogleCloud, hash};
use crate::clusters::known_range;
use crate::error::{ApiError, Status};
use crate::ids::{ClusterKey, GroupKey, GroupName, PoolKey, PoolName, RangeName, Zone, check_name};
use crate::model::{Autoscaling, Cluster, NodePool, PoolStatus, SecondaryRange, Template};
use crate::operations::Operation;
use crate::pod_blocks::{MaxPods, Overprovision};
use crate::range_rules::check_range;

/// Most nodes per pool and zone.
const MOST_NODES: u32 = 1000;
/// How much of a cluster's or pool's name goes into the names of its groups and ranges, in characters.
const LONGEST_PIECE: usize = 20;
/// The prefix length of a range that GKE makes when it is not told one.
const DEFAULT_NEW_RANGE: u8 = 14;
/// Where GKE looks for the addresses of a range that it makes: private space, in this order.
const PRIVATE_SPACE: [([u8; 4], u8); 3] = [([10, 0, 0, 0], 8), ([172, 16, 0, 0], 12), ([192, 168, 0, 0], 16)];

/// A pool to make.
#[derive(Clone, Debug)]
pub struct CreatePool {
    /// Its cluster and name.
    pub key: PoolKey,
    /// How many pods a node may have; the cluster's default when none.
    pub max_pods: Option<MaxPods>,
    /// Whether blocks have twice as many addresses; the cluster's default when none.
    pub overprovision: Option<Overprovision>,
    /// Its range.
    pub range: PodRangeRequest,
    /// How many nodes per zone to begin with.
    pub initial_node_count: u32,
    /// Bounds for the autoscaler.
    pub autoscaling: Option<Autoscaling>,
    /// The zones of its nodes; the cluster's when empty.
    pub locations: Vec<Zone>,
    /// For example `e2-medium`.
    pub machine_type: String,
    /// Whether its machines may be taken away at any time.
    pub spot: bool,
    /// What the names of its groups have before the ending; made up when none.
    pub group_hash: Option<String>,
}

/// The three ways to give a pool its range ("discontiguous multi-Pod CIDR").
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PodRangeRequest {
    /// GKE chooses one of the cluster's ranges.
    ChosenByGke,
    /// A range of the subnetwork, which the user manages.
    Existing(RangeName),
    /// A new range, which GKE makes and manages.
    New {
        /// Its name; made up when none.
        name: Option<RangeName>,
        /// Its addresses, or how many.
        size: RangeSize,
    },
}

/// The addresses of a range that GKE makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RangeSize {
    /// Any free range of GKE's usual size.
    Usual,
    /// Any free range of this prefix length.
    Length(u8),
    /// This range.
    Block(Cidr),
}

impl GoogleCloud {
    /// A pool of a cluster.
    ///
    /// # Errors
    /// [`Status::NotFound`].
    pub fn pool(&self, key: &PoolKey) -> Result<&NodePool, ApiError> {
        let pool = self.cluster(&key.cluster)?.pools.get(&key.name);
        pool.ok_or_else(|| ApiError::container_not_found(&key.path(&self.project)))
    }

    /// How many nodes a pool has over all zones.
    #[must_use]
    pub fn nodes_of(&self, pool: &NodePool) -> u32 {
        let groups = pool.groups.iter().filter_map(|key| self.groups.get(key));
        groups.map(|group| u32::try_from(group.instances.len()).unwrap_or(u32::MAX)).sum()
    }

    /// How a pool is at `now`.
    #[must_use]
    pub fn pool_status(&self, pool: &NodePool, now: Timestamp) -> PoolStatus {
        let missing = pool.groups.iter().filter_map(|key| self.groups.get(key)).any(|group| group.missing() > 0);
        match (now < pool.provisioned, missing) {
            (true, _) => PoolStatus::Provisioning,
            (false, false) => PoolStatus::Running,
            (false, true) if self.nodes_of(pool) == 0 => PoolStatus::Error,
            (false, true) => PoolStatus::RunningWithError,
        }
    }

    /// Makes a pool. A range that cannot hold its first nodes makes a pool that stays `PROVISIONING` until it is given up.
    ///
    /// # Errors
    /// [`Status::NotFound`] for the cluster; [`Status::FailedPrecondition`] while another operation runs, and for a range that
    /// something else uses; [`Status::InvalidArgument`]; [`Status::AlreadyExists`]; [`Status::IpSpaceExhausted`] when none of
    /// the cluster's ranges can take a node.
    pub fn create_pool(&mut self, request: &CreatePool, now: Timestamp) -> Result<Operation, ApiError> {
        let cluster = self.cluster(&request.key.cluster)?.clone();
        self.check_idle(&cluster, now)?;
        check_name("node_pool.name", request.key.name.as_str())?;
        let path = request.key.path(&self.project);
        if cluster.pools.contains_key(&request.key.name) {
            return Err(ApiError::already_exists(&path));
        }
        check_sizes(request.initial_node_count, request.autoscaling)?;
        let locations =
            if request.locations.is_empty() { cluster.locations.clone() } else { request.locations.clone() };
        locations.iter().try_for_each(|zone| self.check_zone(zone))?;
        let max_pods = request.max_pods.unwrap_or(cluster.default_max_pods);
        let overprovision = request.overprovision.unwrap_or(cluster.overprovision);
        let pod_range = self.range_for(&cluster, request, max_pods.block_length(overprovision), now)?;
        let mut pool = NodePool {
            name: request.key.name.clone(),
            max_pods,
            overprovision,
            pod_range,
            initial_node_count: request.initial_node_count,
            autoscaling: request.autoscaling,
            locations,
            machine_type: request.machine_type.clone(),
            spot: request.spot,
            groups: Vec::new(),
            created: now,
            provisioned: now,
            fingerprint: self.next_fingerprint(),
        };
        let error = self.make_groups(&cluster, &mut pool, request.group_hash.as_deref(), now);
        let takes = if error.is_some() { self.timing.failed_pool() } else { self.timing.container_operation() };
        pool.provisioned = now.saturating_add(takes).unwrap_or(Timestamp::MAX);
        if let Some(cluster) = self.clusters.get_mut(&request.key.cluster) {
            cluster.pools.insert(pool.name.clone(), pool);
        }
        Ok(self.record_cluster_change(&request.key.cluster, "CREATE_NODE_POOL", path, now, takes, error))
    }

    /// Sets how many nodes per zone a pool has.
    ///
    /// # Errors
    /// [`Status::NotFound`]; [`Status::FailedPrecondition`] while another operation runs; [`Status::InvalidArgument`].
    pub fn set_pool_size(&mut self, key: &PoolKey, nodes_per_zone: u32, now: Timestamp) -> Result<Operation, ApiError> {
        self.check_idle(self.cluster(&key.cluster)?, now)?;
        let groups = self.pool(key)?.groups.clone();
        check_sizes(nodes_per_zone, None)?;
        let errors: Vec<ApiError> =
            groups.iter().filter_map(|group| self.set_group_size(group, nodes_per_zone, now)).collect();
        let error = self.not_all_running(&groups, errors.into_iter().next());
        let takes = if error.is_some() { self.timing.failed_pool() } else { self.timing.container_operation() };
        let path = key.path(&self.project);
        let operation = self.record_cluster_change(&key.cluster, "SET_NODE_POOL_SIZE", path, now, takes, error);
        self.retry_groups(now);
        Ok(operation)
    }

    /// Removes a pool, its machines, and the range that GKE made for it.
    ///
    /// # Errors
    /// [`Status::NotFound`]; [`Status::FailedPrecondition`] while another operation runs.
    pub fn delete_pool(&mut self, key: &PoolKey, now: Timestamp) -> Result<Operation, ApiError> {
        let subnetwork = self.cluster(&key.cluster)?.subnetwork.clone();
        self.check_idle(self.cluster(&key.cluster)?, now)?;
        let pool = self.pool(key)?.clone();
        for group in &pool.groups {
            self.remove_group(group, now);
        }
        if let Some(cluster) = self.clusters.get_mut(&key.cluster) {
            cluster.pools.remove(&key.name);
        }
        self.remove_managed_range(&subnetwork, &pool.pod_range);
        let (path, takes) = (key.path(&self.project), self.timing.container_operation());
        let operation = self.record_cluster_change(&key.cluster, "DELETE_NODE_POOL", path, now, takes, None);
        self.retry_groups(now);
        Ok(operation)
    }

    /// Removes one node of a pool and makes the pool smaller by it, as the autoscaler and a person with a group do.
    ///
    /// # Errors
    /// [`Status::NotFound`].
    pub fn delete_node(&mut self, key: &crate::ids::InstanceKey, now: Timestamp) -> Result<Operation, ApiError> {
        self.instance(key)?;
        let group =
            self.groups.values_mut().find(|group| group.key.zone == key.zone && group.instances.contains(&key.name));
        if let Some(group) = group {
            group.target_size = group.target_size.saturating_sub(1);
        }
        self.delete_instance(key, now)
    }

    /// The range of a new pool: GKE's choice, the one named, or one that is made now.
    fn range_for(
        &mut self,
        cluster: &Cluster,
        request: &CreatePool,
        block_length: u8,
        now: Timestamp,
    ) -> Result<RangeName, ApiError> {
        match &request.range {
            PodRangeRequest::ChosenByGke => {
                let loads = self.range_loads(cluster, now);
                least_used(&loads, block_length).map(|load| load.range.clone()).ok_or_else(|| {
                    ApiError::new(
                        Status::IpSpaceExhausted,
                        format!(
                            "None of the pod ranges of cluster \"{}\" has room for a block of /{block_length}.",
                            cluster.key.name
                        ),
                    )
                })
            }
            PodRangeRequest::Existing(name) => {
                let range = known_range(self.subnetwork(&cluster.subnetwork)?, name)?;
                check_holds(name, range.cidr, block_length)?;
                self.check_free_for_pods(&cluster.subnetwork, range.managed_by.as_ref(), name)?;
                Ok(name.clone())
            }
            PodRangeRequest::New { name, size } => {
                let made_up = || {
                    let hash = hash_of(&request.key);
                    RangeName::new(format!("gke-{}-{}-pods-{hash}", piece(&cluster.key.name), piece(&request.key.name)))
                };
                let name = name.clone().unwrap_or_else(made_up);
                self.make_range(cluster, &name, *size, block_length)?;
                Ok(name)
            }
        }
    }

    /// Makes a range in the cluster's subnetwork for one pool.
    fn make_range(
        &mut self,
        cluster: &Cluster,
        name: &RangeName,
        size: RangeSize,
        block_length: u8,
    ) -> Result<(), ApiError> {
        let subnetwork = self.subnetwork(&cluster.subnetwork)?;
        let network = subnetwork.network.clone();
        let cidr = match size {
            RangeSize::Block(cidr) => cidr,
            RangeSize::Length(length) => self.free_private_range(cluster, length)?,
            RangeSize::Usual => self.free_private_range(cluster, DEFAULT_NEW_RANGE)?,
        };
        check_range("nodePool.networkConfig.podIpv4CidrBlock", cidr)?;
        check_holds(name, cidr, block_length)?;
        let added = [crate::subnetworks::SecondaryRangeRequest { name: name.clone(), cidr }];
        self.check_new_ranges(&network, &[], &subnetwork.secondary, &added)?;
        let range = SecondaryRange::unused(name.clone(), cidr, Some(cluster.key.clone()));
        self.add_managed_range(&cluster.subnetwork, range);
        Ok(())
    }

    /// The lowest aligned private range of this prefix length that no subnetwork of the cluster's network has.
    fn free_private_range(&self, cluster: &Cluster, length: u8) -> Result<Cidr, ApiError> {
        let taken: Vec<Cidr> = self
            .subnetworks
            .values()
            .filter(|subnetwork| subnetwork.network == cluster.network)
            .flat_map(|subnetwork| subnetwork.usages().into_iter().map(|usage| usage.cidr))
            .collect();
        for (network, wide) in PRIVATE_SPACE {
            let mut free = freeboard_address::FreeSpace::all_free(
                Cidr::containing(network.into(), wide).map_err(|error| ApiError::invalid_range(&error))?,
            );
            for cidr in &taken {
                take_overlap(&mut free, *cidr);
            }
            if let Some(cidr) = free.lowest_block(length) {
                return Ok(cidr);
            }
        }
        Err(ApiError::new(
            Status::IpSpaceExhausted,
            format!("Network \"{}\" has no free private range of /{length}.", cluster.network),
        ))
    }

    /// Makes the pool's groups and their first machines; an error when machines are missing.
    fn make_groups(
        &mut self,
        cluster: &Cluster,
        pool: &mut NodePool,
        hash: Option<&str>,
        now: Timestamp,
    ) -> Option<ApiError> {
        let made_up = hash_of(&PoolKey::new(cluster.key.clone(), pool.name.clone()));
        let hash = hash.unwrap_or(&made_up);
        let labels = BTreeMap::from([
            ("goog-k8s-cluster-name".to_owned(), cluster.key.name.to_string()),
            ("goog-k8s-node-pool-name".to_owned(), pool.name.to_string()),
        ]);
        let mut first_error = None;
        for zone in pool.locations.clone() {
            let name = GroupName::new(format!("gke-{}-{}-{hash}-grp", piece(&cluster.key.name), piece(&pool.name)));
            let key = GroupKey::new(zone, name);
            let template = Template {
                subnetwork: cluster.subnetwork.clone(),
                machine_type: pool.machine_type.clone(),
                pod_range: pool.pod_range.clone(),
                block_length: pool.block_length(),
                labels: labels.clone(),
            };
            self.insert_group(key.clone(), template, now);
            let error = self.set_group_size(&key, pool.initial_node_count, now);
            first_error = first_error.or(error);
            pool.groups.push(key);
        }
        self.not_all_running(&pool.groups, first_error)
    }

    /// What GKE says of groups whose machines are not all there.
    fn not_all_running(&self, groups: &[GroupKey], cause: Option<ApiError>) -> Option<ApiError> {
        let cause = cause?;
        let group = groups.iter().filter_map(|key| self.groups.get(key)).find(|group| group.missing() > 0)?;
        let message = format!(
            "Not all instances running in IGM after {}s. Expected {}, running {}, transitioning {}. Current errors: [{}]: {}",
            self.timing.failed_pool().as_secs(),
            group.target_size,
            group.instances.len(),
            group.missing(),
            cause.status.reason(),
            cause.message
        );
        Some(ApiError::new(cause.status, message))
    }

    /// The cluster and pool that a group's machines belong to.
    #[must_use]
    pub fn pool_of_group(&self, group: &GroupKey) -> Option<(&ClusterKey, &PoolName)> {
        let clusters = self.clusters.iter();
        let mut pools = clusters.flat_map(|(key, cluster)| cluster.pools.values().map(move |pool| (key, pool)));
        pools.find(|(_, pool)| pool.groups.contains(group)).map(|(key, pool)| (key, &pool.name))
    }
}

/// The beginning of a name, so that what is made of two of them and a hash is a name too.
fn piece(name: impl std::fmt::Display) -> String {
    name.to_string().chars().take(LONGEST_PIECE).collect()
}

/// Eight hexadecimal digits that tell the pool from those of the same name elsewhere.
fn hash_of(pool: &PoolKey) -> String {
    let key = &pool.cluster;
    format!("{:08x}", hash(&[key.location.as_str(), key.name.as_str(), pool.name.as_str()]) >> 32)
}

/// Marks what of `cidr` lies in the free space as taken.
fn take_overlap(free: &mut freeboard_address::FreeSpace, cidr: Cidr) {
    if cidr.contains_block(free.block()) {
        free.take(free.block());
    } else {
        // Ranges of a network are disjoint, so what lies inside is free until it is taken here.
        free.take(cidr);
    }
}

/// Checks that a range can hold a node at all.
fn check_holds(name: &RangeName, range: Cidr, block_length: u8) -> Result<(), ApiError> {
    if range.length() <= block_length {
        return Ok(());
    }
    Err(ApiError::invalid(format!(
        "Pod secondary range \"{name}\" ({range}) is smaller than the /{block_length} that one node needs."
    )))
}

fn check_sizes(nodes: u32, autoscaling: Option<Autoscaling>) -> Result<(), ApiError> {
    if nodes > MOST_NODES {
        return Err(ApiError::invalid(format!(
            "A node pool can have at most {MOST_NODES} nodes per zone, not {nodes}."
        )));
    }
    match autoscaling {
        Some(bounds) if bounds.min_node_count > bounds.max_node_count || bounds.max_node_count == 0 => {
            Err(ApiError::invalid(format!(
                "Invalid autoscaling bounds: minNodeCount {} and maxNodeCount {}; expected minimum ≤ maximum and maximum ≥ 1.",
                bounds.min_node_count, bounds.max_node_count
            )))
        }
        Some(_) | None => Ok(()),
    }
}
