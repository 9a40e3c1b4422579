//! The custom resources of the group `ipam.freeboard.dev`, and the one of the Amazon VPC CNI that Freeboard reads. Each is
//! declared once, as a Rust type; `deploy/kubernetes/crds` is generated from these declarations, and a test keeps it so.

mod eni_config;
mod expansion;
mod node_addresses;
mod pod_range;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

pub use eni_config::{ENIConfig, ENIConfigSpec};
pub use expansion::{
    BadBlock, Expansion, ExpansionMeans, ExpansionPart, ExpansionPhase, ExpansionSpec, ExpansionStatus,
    ExpansionSubnet, PartState, parse_block,
};
pub use node_addresses::{
    AddressCounts, InterfaceCounts, NodeAddresses, NodeAddressesSpec, NodeAddressesStatus, SubnetUse,
};

pub use pod_range::{
    CoolingBlock, ExcludedBlock, FittingNodes, POD_RANGE_FINALIZER, PodRange, PodRangeBlockSize, PodRangeSpec,
    PodRangeState, PodRangeStatus, PoolReservation, RangeForecast, ReservationUse, UsageSample,
};

/// The API group of Freeboard's objects.
pub const GROUP: &str = "ipam.freeboard.dev";

/// Every definition that Freeboard installs, in the order of their names.
#[must_use]
pub fn definitions() -> Vec<CustomResourceDefinition> {
    vec![ENIConfig::crd(), Expansion::crd(), NodeAddresses::crd(), PodRange::crd()]
}
