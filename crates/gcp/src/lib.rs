//! Engine: the rules of Google's cloud network as far as pods meet them, with no I/O, clock or randomness of its own.
//!
//! [`GoogleCloud`] is the whole: it is made from a [`GoogleWorld`], has one method per call of the compute and container
//! APIs, with typed values, and answers with an [`Operation`] or an [`ApiError`] that has Google's own status and words.
//! Subnetworks have a primary range for nodes and secondary ranges for pods; a node pool has exactly one of these for life,
//! and every node takes one aligned block of it when it is made, or is not made at all: `IP_SPACE_EXHAUSTED`.
//!
//! Time comes in as a parameter. A change takes hold at once, its operation is `DONE` a little later; a cluster takes the
//! next change only then. Equal calls at equal times give equal states, ids and names included.

mod choice;
mod cloud;
mod clusters;
mod error;
mod exhaustion;
mod groups;
mod ids;
mod instances;
mod model;
mod networks;
mod operations;
mod pod_blocks;
mod pools;
mod range_rules;
mod scaler;
mod subnetworks;
mod world;

pub use choice::{RangeLoad, least_used};
pub use cloud::GoogleCloud;
pub use clusters::{ClusterUpdate, CreateCluster};
pub use error::{ApiError, Status};
pub use exhaustion::{ExhaustedPlace, IpSpaceExhausted};
pub use ids::{
    ClusterKey, ClusterName, GroupKey, GroupName, InstanceKey, InstanceName, Location, NetworkName, PoolKey, PoolName,
    ProjectId, RangeName, Region, SubnetworkKey, SubnetworkName, Zone, check_name,
};
pub use instances::{AliasRequest, AliasSize, InsertInstance};
pub use model::{
    AliasRange, Autoscaling, Cluster, Fingerprint, GroupError, Instance, InstanceGroup, Network, NetworkInterface,
    NodePool, PoolStatus, RangeUsage, SecondaryRange, Subnetwork,
};
pub use operations::{Operation, OperationError, OperationStatus, Scope};
pub use pod_blocks::{MaxPods, Overprovision};
pub use pools::{CreatePool, PodRangeRequest, RangeSize};
pub use range_rules::{LONGEST_RANGE, parse_range};
pub use scaler::{ClusterScaler, EventKind, PendingPod, PodEvent, ScalerTiming};
pub use subnetworks::{InsertSubnetwork, SecondaryRangeRequest};
pub use world::{ExhaustionAnswer, GoogleWorld, Timing, WorldError};
