//! Clusters: made on ranges of one subnetwork, and given more of its ranges.

use jiff::Timestamp;

use crate::cloud::{Change, GoogleCloud};
use crate::error::ApiError;
use crate::ids::{ClusterKey, RangeName, SubnetworkKey, Zone, check_name};
use crate::model::{Cluster, Subnetwork};
use crate::operations::{Operation, Scope};
use crate::pod_blocks::{MaxPods, Overprovision};

/// A cluster to make, without pools.
#[derive(Clone, Debug)]
pub struct CreateCluster {
    /// Its location and name.
    pub key: ClusterKey,
    /// The subnetwork of its nodes, pods and services.
    pub subnetwork: SubnetworkKey,
    /// The zones of its nodes; the location itself when empty, which must be a zone then.
    pub locations: Vec<Zone>,
    /// The secondary range that pools get by default.
    pub pod_range: RangeName,
    /// The secondary range of its services.
    pub services_range: Option<RangeName>,
    /// The pods per node of a pool that says nothing.
    pub default_max_pods: MaxPods,
    /// The pods per address of a pool that says nothing.
    pub overprovision: Overprovision,
    /// The version that nodes run.
    pub version: String,
}

/// A change of a cluster; one per call, as the API has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClusterUpdate {
    /// Lets new pools be put on these secondary ranges too.
    AddPodRanges(Vec<RangeName>),
    /// Takes back ranges that were added and that no pool has.
    RemovePodRanges(Vec<RangeName>),
}

impl GoogleCloud {
    /// Makes a cluster.
    ///
    /// # Errors
    /// [`Status::InvalidArgument`](crate::Status::InvalidArgument) for names, zones and ranges,
    /// [`Status::NotFound`](crate::Status::NotFound) for the subnetwork, [`Status::AlreadyExists`](crate::Status::AlreadyExists).
    pub fn create_cluster(&mut self, request: &CreateCluster, now: Timestamp) -> Result<Operation, ApiError> {
        check_name("cluster.name", request.key.name.as_str())?;
        let path = request.key.path(&self.project);
        if self.clusters.contains_key(&request.key) {
            return Err(ApiError::already_exists(&path));
        }
        let zones = || request.key.location.zone().into_iter().collect();
        let locations: Vec<Zone> = if request.locations.is_empty() { zones() } else { request.locations.clone() };
        if locations.is_empty() {
            return Err(ApiError::required("cluster.locations"));
        }
        locations.iter().try_for_each(|zone| self.check_zone(zone))?;
        let subnetwork = self.subnetwork(&request.subnetwork)?;
        if request.key.location.region() != request.subnetwork.region {
            return Err(ApiError::invalid(format!(
                "Subnetwork \"{}\" is not in the region of location {}.",
                request.subnetwork.path(&self.project),
                request.key.location
            )));
        }
        for range in std::iter::once(&request.pod_range).chain(&request.services_range) {
            known_range(subnetwork, range)?;
        }
        if request.services_range.as_ref() == Some(&request.pod_range) {
            return Err(ApiError::invalid(format!(
                "Secondary range \"{}\" cannot be used for both pods and services.",
                request.pod_range
            )));
        }
        let network = subnetwork.network.clone();
        let cluster = Cluster {
            key: request.key.clone(),
            id: self.next_id(),
            network,
            subnetwork: request.subnetwork.clone(),
            locations,
            pod_range: request.pod_range.clone(),
            additional_pod_ranges: Vec::new(),
            services_range: request.services_range.clone(),
            default_max_pods: request.default_max_pods,
            overprovision: request.overprovision,
            version: request.version.clone(),
            pools: std::collections::BTreeMap::new(),
            fingerprint: self.next_fingerprint(),
            created: now,
            last_operation: None,
        };
        let key = cluster.key.clone();
        self.clusters.insert(key.clone(), cluster);
        Ok(self.record_cluster_change(&key, "CREATE_CLUSTER", path, now, self.timing.container_operation(), None))
    }

    /// Changes a cluster. `etag` is the version that the caller has seen, when it says so.
    ///
    /// # Errors
    /// [`Status::NotFound`](crate::Status::NotFound); [`Status::Aborted`](crate::Status::Aborted) for an etag that is not the
    /// latest; [`Status::FailedPrecondition`](crate::Status::FailedPrecondition) while another operation runs, and for ranges
    /// that something else uses; [`Status::InvalidArgument`](crate::Status::InvalidArgument) for unknown ranges.
    pub fn update_cluster(
        &mut self,
        key: &ClusterKey,
        etag: Option<u64>,
        update: &ClusterUpdate,
        now: Timestamp,
    ) -> Result<Operation, ApiError> {
        let cluster = self.cluster(key)?;
        self.check_idle(cluster, now)?;
        if etag.is_some_and(|etag| etag != cluster.fingerprint.0) {
            let message = format!("The etag does not match that of cluster \"{}\": it has changed since.", key.name);
            return Err(ApiError::new(crate::error::Status::Aborted, message));
        }
        let mut ranges = cluster.additional_pod_ranges.clone();
        match update {
            ClusterUpdate::AddPodRanges(added) => {
                non_empty(added, "update.additionalPodRangesConfig.podRangeNames")?;
                for name in added {
                    self.check_addable(cluster, &ranges, name)?;
                    ranges.push(name.clone());
                }
            }
            ClusterUpdate::RemovePodRanges(removed) => {
                non_empty(removed, "update.removedAdditionalPodRangesConfig.podRangeNames")?;
                for name in removed {
                    check_removable(cluster, &ranges, name)?;
                    ranges.retain(|range| range != name);
                }
            }
        }
        let path = key.path(&self.project);
        if let Some(cluster) = self.clusters.get_mut(key) {
            cluster.additional_pod_ranges = ranges;
        }
        Ok(self.record_cluster_change(key, "UPDATE_CLUSTER", path, now, self.timing.container_operation(), None))
    }

    fn check_addable(&self, cluster: &Cluster, ranges: &[RangeName], name: &RangeName) -> Result<(), ApiError> {
        let range = known_range(self.subnetwork(&cluster.subnetwork)?, name)?;
        if cluster.pod_range == *name || ranges.contains(name) {
            return Err(ApiError::invalid(format!(
                "Pod secondary range \"{name}\" is already used by cluster \"{}\".",
                cluster.key.name
            )));
        }
        self.check_free_for_pods(&cluster.subnetwork, range.managed_by.as_ref(), name)
    }

    /// Checks that a range of a subnetwork is no cluster's services range, and not made by GKE for one pool.
    pub(crate) fn check_free_for_pods(
        &self,
        subnetwork: &SubnetworkKey,
        managed_by: Option<&ClusterKey>,
        name: &RangeName,
    ) -> Result<(), ApiError> {
        let on_it = self.clusters.values().filter(|cluster| cluster.subnetwork == *subnetwork);
        if let Some(cluster) = on_it.into_iter().find(|cluster| cluster.services_range.as_ref() == Some(name)) {
            return Err(ApiError::failed_precondition(format!(
                "Secondary range \"{name}\" is in use for the services of cluster \"{}\" and cannot be used for pods.",
                cluster.key.name
            )));
        }
        match managed_by {
            None => Ok(()),
            Some(owner) => Err(ApiError::failed_precondition(format!(
                "Secondary range \"{name}\" is managed by GKE for a node pool of cluster \"{}\" and cannot be shared.",
                owner.name
            ))),
        }
    }

    /// Notes a change of a cluster, which has it until the operation's end.
    pub(crate) fn record_cluster_change(
        &mut self,
        key: &ClusterKey,
        operation_type: &'static str,
        target: String,
        now: Timestamp,
        takes: jiff::SignedDuration,
        error: Option<ApiError>,
    ) -> Operation {
        let target_id = self.clusters.get(key).map_or(0, |cluster| cluster.id);
        let change = Change { scope: Scope::Location(key.location.clone()), operation_type, target, target_id };
        let operation = self.record(change, takes, error, now);
        let fingerprint = self.next_fingerprint();
        if let Some(cluster) = self.clusters.get_mut(key) {
            cluster.last_operation = Some(operation.name.clone());
            cluster.fingerprint = fingerprint;
        }
        operation
    }
}

fn non_empty(names: &[RangeName], field: &str) -> Result<(), ApiError> {
    if names.is_empty() { Err(ApiError::required(field)) } else { Ok(()) }
}

/// The range of this name, or the names that there are.
pub(crate) fn known_range<'s>(
    subnetwork: &'s Subnetwork,
    name: &RangeName,
) -> Result<&'s crate::model::SecondaryRange, ApiError> {
    subnetwork.range(name).ok_or_else(|| {
        ApiError::invalid(format!(
            "Pod secondary range \"{name}\" does not exist in subnetwork \"{}\": it has {}.",
            subnetwork.key.name,
            subnetwork.names_of_ranges()
        ))
    })
}

fn check_removable(cluster: &Cluster, ranges: &[RangeName], name: &RangeName) -> Result<(), ApiError> {
    if !ranges.contains(name) {
        return Err(ApiError::invalid(format!(
            "Pod secondary range \"{name}\" is not an additional pod range of cluster \"{}\".",
            cluster.key.name
        )));
    }
    match cluster.pools.values().find(|pool| pool.pod_range == *name) {
        None => Ok(()),
        Some(pool) => Err(ApiError::failed_precondition(format!(
            "Pod secondary range \"{name}\" is in use by node pool \"{}\" and cannot be removed.",
            pool.name
        ))),
    }
}

impl Cluster {
    /// Whether the cluster or one of its pools needs this range.
    #[must_use]
    pub fn uses(&self, name: &RangeName) -> bool {
        self.pod_range == *name
            || self.services_range.as_ref() == Some(name)
            || self.additional_pod_ranges.contains(name)
            || self.pools.values().any(|pool| pool.pod_range == *name)
    }
}
