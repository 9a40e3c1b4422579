//! The whole cloud: what exists, the numbers it gives out, and what must always hold.

use std::collections::{BTreeMap, BTreeSet};

use freeboard_address::{Cidr, FreeSpace};
use jiff::{SignedDuration, Timestamp};

use crate::error::{ApiError, Status};
use crate::ids::{ClusterKey, GroupKey, InstanceKey, NetworkName, ProjectId, RangeName, Region, SubnetworkKey, Zone};
use crate::model::{Cluster, Fingerprint, Instance, InstanceGroup, Network, Subnetwork, primary_space};
use crate::operations::{Operation, OperationError, Scope};
use crate::world::{ExhaustionAnswer, Timing};

/// How many operations are remembered; the oldest go first.
const MOST_OPERATIONS: usize = 10_000;

/// One project of the simulated cloud.
#[derive(Clone, Debug)]
pub struct GoogleCloud {
    pub(crate) project: ProjectId,
    pub(crate) zones: BTreeSet<Zone>,
    pub(crate) timing: Timing,
    pub(crate) exhaustion: ExhaustionAnswer,
    pub(crate) networks: BTreeMap<NetworkName, Network>,
    pub(crate) subnetworks: BTreeMap<SubnetworkKey, Subnetwork>,
    pub(crate) instances: BTreeMap<InstanceKey, Instance>,
    pub(crate) groups: BTreeMap<GroupKey, InstanceGroup>,
    pub(crate) clusters: BTreeMap<ClusterKey, Cluster>,
    operations: BTreeMap<u64, Operation>,
    /// Requests that were answered, so that a repetition changes nothing: request id → number of the operation.
    requests: BTreeMap<String, u64>,
    /// How many numbers were given out.
    serial: u64,
    seed: u64,
}

/// What an operation is about.
pub(crate) struct Change {
    pub(crate) scope: Scope,
    pub(crate) operation_type: &'static str,
    pub(crate) target: String,
    pub(crate) target_id: u64,
}

impl GoogleCloud {
    pub(crate) fn empty(
        project: ProjectId,
        zones: BTreeSet<Zone>,
        timing: Timing,
        exhaustion: ExhaustionAnswer,
        seed: u64,
    ) -> Self {
        Self {
            project,
            zones,
            timing,
            exhaustion,
            networks: BTreeMap::new(),
            subnetworks: BTreeMap::new(),
            instances: BTreeMap::new(),
            groups: BTreeMap::new(),
            clusters: BTreeMap::new(),
            operations: BTreeMap::new(),
            requests: BTreeMap::new(),
            serial: 0,
            seed,
        }
    }

    /// The project that everything belongs to.
    #[must_use]
    pub fn project(&self) -> &ProjectId {
        &self.project
    }

    /// All networks, by name.
    pub fn networks(&self) -> impl Iterator<Item = &Network> {
        self.networks.values()
    }

    /// All subnetworks, by region and name.
    pub fn subnetworks(&self) -> impl Iterator<Item = &Subnetwork> {
        self.subnetworks.values()
    }

    /// All machines, by zone and name.
    pub fn instances(&self) -> impl Iterator<Item = &Instance> {
        self.instances.values()
    }

    /// All groups, by zone and name.
    pub fn groups(&self) -> impl Iterator<Item = &InstanceGroup> {
        self.groups.values()
    }

    /// All clusters, by location and name.
    pub fn clusters(&self) -> impl Iterator<Item = &Cluster> {
        self.clusters.values()
    }

    /// A network.
    ///
    /// # Errors
    /// [`Status::NotFound`].
    pub fn network(&self, name: &NetworkName) -> Result<&Network, ApiError> {
        let missing = || ApiError::not_found(&format!("projects/{}/global/networks/{name}", self.project));
        self.networks.get(name).ok_or_else(missing)
    }

    /// A subnetwork.
    ///
    /// # Errors
    /// [`Status::NotFound`].
    pub fn subnetwork(&self, key: &SubnetworkKey) -> Result<&Subnetwork, ApiError> {
        self.subnetworks.get(key).ok_or_else(|| ApiError::not_found(&key.path(&self.project)))
    }

    /// A machine.
    ///
    /// # Errors
    /// [`Status::NotFound`].
    pub fn instance(&self, key: &InstanceKey) -> Result<&Instance, ApiError> {
        self.instances.get(key).ok_or_else(|| ApiError::not_found(&key.path(&self.project)))
    }

    /// A group of machines.
    ///
    /// # Errors
    /// [`Status::NotFound`].
    pub fn group(&self, key: &GroupKey) -> Result<&InstanceGroup, ApiError> {
        self.groups.get(key).ok_or_else(|| ApiError::not_found(&key.path(&self.project)))
    }

    /// A cluster.
    ///
    /// # Errors
    /// [`Status::NotFound`].
    pub fn cluster(&self, key: &ClusterKey) -> Result<&Cluster, ApiError> {
        self.clusters.get(key).ok_or_else(|| ApiError::container_not_found(&key.path(&self.project)))
    }

    /// An operation of this scope and name.
    ///
    /// # Errors
    /// [`Status::NotFound`].
    pub fn operation(&self, scope: &Scope, name: &str) -> Result<&Operation, ApiError> {
        let found = self.operations.values().find(|one| one.name == name && one.scope == *scope);
        found.ok_or_else(|| ApiError::not_found(&format!("projects/{}/operations/{name}", self.project)))
    }

    /// All operations of a scope that are remembered, oldest first.
    pub fn operations_in(&self, scope: &Scope) -> impl Iterator<Item = &Operation> {
        self.operations.values().filter(move |one| one.scope == *scope)
    }

    /// The operation that a request with this id has led to, when it was made before.
    #[must_use]
    pub fn operation_of_request(&self, request_id: &str) -> Option<&Operation> {
        self.requests.get(request_id).and_then(|serial| self.operations.get(serial))
    }

    /// Remembers what the request with this id has led to, so that a repetition is answered with the same operation.
    pub fn remember_request(&mut self, request_id: &str, operation: &Operation) {
        let serial = self.operations.iter().rev().find(|(_, one)| one.id == operation.id).map(|(serial, _)| *serial);
        if let Some(serial) = serial {
            self.requests.insert(request_id.to_owned(), serial);
        }
    }

    pub(crate) fn check_zone(&self, zone: &Zone) -> Result<(), ApiError> {
        if self.zones.contains(zone) {
            return Ok(());
        }
        Err(ApiError::invalid_field("zone", zone, "Unknown zone."))
    }

    pub(crate) fn check_region(&self, region: &Region) -> Result<(), ApiError> {
        if self.zones.iter().any(|zone| zone.region() == *region) {
            return Ok(());
        }
        Err(ApiError::invalid_field("region", region, "Unknown region."))
    }

    /// A number that was never given out before, like those of the real cloud: large, and in no visible order.
    pub(crate) fn next_id(&mut self) -> u64 {
        self.serial += 1;
        // A finaliser that is one to one, so that different serials never meet; the top bit off, as ids are positive.
        let mut mixed = self.seed.wrapping_add(self.serial.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) >> 1
    }

    pub(crate) fn next_fingerprint(&mut self) -> Fingerprint {
        Fingerprint(self.next_id())
    }

    /// Notes a change that was carried out, or whose failure is known already; it is done after `takes`.
    pub(crate) fn record(
        &mut self,
        change: Change,
        takes: SignedDuration,
        error: Option<ApiError>,
        now: Timestamp,
    ) -> Operation {
        let id = self.next_id();
        let operation = Operation {
            name: format!("operation-{}-{:08x}", now.as_millisecond(), id >> 31),
            id,
            scope: change.scope,
            operation_type: change.operation_type,
            target: change.target,
            target_id: change.target_id,
            requested: now,
            ends: now.saturating_add(takes).unwrap_or(Timestamp::MAX),
            error: error.map(|error| OperationError { status: error.status, message: error.message }),
        };
        self.operations.insert(self.serial, operation.clone());
        while self.operations.len() > MOST_OPERATIONS {
            if let Some((forgotten, _)) = self.operations.pop_first() {
                self.requests.retain(|_, serial| *serial != forgotten);
            }
        }
        operation
    }

    /// Checks that a cluster's last operation is done.
    pub(crate) fn check_idle(&self, cluster: &Cluster, now: Timestamp) -> Result<(), ApiError> {
        let Some(name) = &cluster.last_operation else { return Ok(()) };
        let scope = Scope::Location(cluster.key.location.clone());
        match self.operation(&scope, name) {
            Ok(operation) if now < operation.ends => Err(ApiError::new(
                Status::FailedPrecondition,
                format!("Cluster is running incompatible operation {name}. Please wait and try again once it is done."),
            )),
            // Done, or so long ago that it is forgotten.
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// What does not add up between ranges and the machines that hold addresses of them.
    ///
    /// # Errors
    /// A sentence that names the subnetwork or machine.
    pub fn audit(&self) -> Result<(), String> {
        let mut expected: BTreeMap<(&SubnetworkKey, Option<&RangeName>), FreeSpace> = BTreeMap::new();
        for (key, subnetwork) in &self.subnetworks {
            expected.insert((key, None), primary_space(subnetwork.primary));
            for range in &subnetwork.secondary {
                expected.insert((key, Some(&range.name)), FreeSpace::all_free(range.cidr));
            }
        }
        for (key, instance) in &self.instances {
            let nic = &instance.interface;
            let own = (None, Cidr::host(nic.address));
            let aliases = nic.alias_ranges.iter().map(|alias| (alias.range.as_ref(), alias.cidr));
            for (range, cidr) in std::iter::once(own).chain(aliases) {
                let space = expected.get_mut(&(&nic.subnetwork, range));
                if !space.is_some_and(|space| space.take(cidr)) {
                    return Err(format!("{cidr} of {} is held twice, or lies in no range of its subnetwork", key.name));
                }
            }
        }
        for ((key, range), space) in expected {
            let subnetwork = self.subnetworks.get(key);
            let actual = subnetwork.and_then(|subnetwork| match range {
                None => Some(&subnetwork.space),
                Some(name) => subnetwork.range(name).map(|range| &range.space),
            });
            if actual != Some(&space) {
                return Err(format!("{}: the free space of {range:?} is not what its machines leave", key.name));
            }
        }
        for group in self.groups.values() {
            let gone = group
                .instances
                .iter()
                .find(|name| !self.instances.contains_key(&InstanceKey::new(group.key.zone.clone(), (*name).clone())));
            if let Some(gone) = gone {
                return Err(format!("the group {} lists {gone}, which is not there", group.key.name));
            }
        }
        Ok(())
    }
}

/// A hash (FNV-1a, 64 bits) of names, for what the real cloud hashes.
pub(crate) fn hash(parts: &[&str]) -> u64 {
    let bytes = parts.iter().flat_map(|part| part.bytes().chain([0]));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
