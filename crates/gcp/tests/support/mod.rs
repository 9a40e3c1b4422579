//! What the tests share: the demo's cloud, names, and a clock that waits for operations.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::unwrap_in_result,
    reason = "each test program uses a part, and a failed step is a failed test"
)]

use freeboard_gcp::{
    ApiError, Autoscaling, ClusterKey, ClusterName, CreatePool, GoogleCloud, Location, MaxPods, Operation,
    PodRangeRequest, PoolKey, PoolName, RangeName, Region, SecondaryRangeRequest, Status, SubnetworkKey,
    SubnetworkName, Zone,
};
use jiff::Timestamp;

/// The cloud of worlds/gke-demo.yaml and its time.
pub(crate) struct Scene {
    pub(crate) cloud: GoogleCloud,
    pub(crate) now: Timestamp,
}

impl Scene {
    pub(crate) fn new() -> Self {
        Self::with(|_| ())
    }

    /// The demo's cloud, changed before it starts.
    pub(crate) fn with(change: impl FnOnce(&mut freeboard_gcp::GoogleWorld)) -> Self {
        let mut world = serde_saphyr::from_str(include_str!("../../../../worlds/gke-demo.yaml")).unwrap();
        change(&mut world);
        let now = "2023-11-03T07:00:00Z".parse().unwrap();
        Self { cloud: GoogleCloud::from_world(&world, now).unwrap(), now }
    }

    /// Waits until the operation is done, and checks the books.
    pub(crate) fn done(&mut self, operation: Result<Operation, ApiError>) -> Operation {
        let operation = operation.unwrap();
        self.now = self.now.max(operation.ends);
        self.cloud.audit().unwrap();
        operation
    }

    pub(crate) fn create_pool(&mut self, request: &CreatePool) -> Operation {
        let operation = self.cloud.create_pool(request, self.now);
        self.done(operation)
    }

    pub(crate) fn resize(&mut self, name: &str, nodes: u32) -> Operation {
        let operation = self.cloud.set_pool_size(&pool(name), nodes, self.now);
        self.done(operation)
    }

    /// Adds secondary ranges to the subnetwork, one call.
    pub(crate) fn add_ranges(&mut self, ranges: &[(&str, &str)]) -> Result<Operation, ApiError> {
        let subnetwork = self.cloud.subnetwork(&subnetwork()).unwrap();
        let fingerprint = subnetwork.fingerprint;
        let mut wanted: Vec<SecondaryRangeRequest> = subnetwork
            .secondary
            .iter()
            .map(|range| SecondaryRangeRequest { name: range.name.clone(), cidr: range.cidr })
            .collect();
        wanted.extend(ranges.iter().map(|(name, cidr)| range(name, cidr)));
        self.cloud.patch_secondary_ranges(&self::subnetwork(), fingerprint, "latest", &wanted, self.now)
    }

    /// The blocks of the pool's nodes, in address order.
    pub(crate) fn blocks(&self, name: &str) -> Vec<String> {
        let groups = &self.cloud.pool(&pool(name)).unwrap().groups;
        let mut blocks: Vec<_> = self
            .cloud
            .instances()
            .filter(|instance| {
                groups.iter().any(|group| self.cloud.group(group).unwrap().instances.contains(&instance.key.name))
            })
            .flat_map(|instance| instance.interface.alias_ranges.iter().map(|alias| alias.cidr))
            .collect();
        blocks.sort_unstable();
        blocks.iter().map(ToString::to_string).collect()
    }
}

pub(crate) fn subnetwork() -> SubnetworkKey {
    SubnetworkKey::new(Region::new("australia-southeast1"), SubnetworkName::new("cluster"))
}

pub(crate) fn cluster() -> ClusterKey {
    ClusterKey::new(Location::new("australia-southeast1-b"), ClusterName::new("demo-ip"))
}

pub(crate) fn pool(name: &str) -> PoolKey {
    PoolKey::new(cluster(), PoolName::new(name))
}

pub(crate) fn zone() -> Zone {
    Zone::new("australia-southeast1-b")
}

pub(crate) fn range(name: &str, cidr: &str) -> SecondaryRangeRequest {
    SecondaryRangeRequest { name: RangeName::new(name), cidr: cidr.parse().unwrap() }
}

/// A pool as the demo makes its eight: 32 pods per node, 0 to `max` nodes, three to begin with.
pub(crate) fn new_pool(name: &str, max: u32, range: PodRangeRequest) -> CreatePool {
    CreatePool {
        key: pool(name),
        max_pods: Some(MaxPods::new(32).unwrap()),
        overprovision: None,
        range,
        initial_node_count: 3,
        autoscaling: Some(Autoscaling { min_node_count: 0, max_node_count: max }),
        locations: Vec::new(),
        machine_type: "e2-medium".into(),
        spot: true,
        group_hash: None,
    }
}

/// Expects a refusal of this kind whose text holds these pieces.
#[track_caller]
pub(crate) fn refused<T: std::fmt::Debug>(outcome: Result<T, ApiError>, status: Status, pieces: &[&str]) {
    let error = outcome.unwrap_err();
    assert_eq!(error.status, status, "{error}");
    for piece in pieces {
        assert!(error.message.contains(piece), "expected {piece:?} in {:?}", error.message);
    }
}
