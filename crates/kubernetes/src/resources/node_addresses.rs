//! `NodeAddresses`: what the agent of one node holds, in figures.

use freeboard_address::{Cidr, NodeName, SubnetId};
use jiff::Timestamp;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::conditions::{Condition, date_time};

/// Whose addresses they are. The object has the name of its node, is written by the node's agent, and goes with the node.
#[derive(CustomResource, Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "ipam.freeboard.dev",
    version = "v1alpha1",
    kind = "NodeAddresses",
    plural = "nodeaddresses",
    singular = "nodeaddresses",
    status = "NodeAddressesStatus",
    derive = "PartialEq",
    category = "freeboard",
    printcolumn = r#"{"name":"Pods","type":"integer","jsonPath":".status.addresses.assigned","description":"Addresses that pods hold"}"#,
    printcolumn = r#"{"name":"Free","type":"integer","jsonPath":".status.addresses.free","description":"Addresses that can be given at once"}"#,
    printcolumn = r#"{"name":"Cooling","type":"integer","jsonPath":".status.addresses.cooling","description":"Addresses that rest after use"}"#,
    printcolumn = r#"{"name":"Total","type":"integer","jsonPath":".status.addresses.total","description":"Addresses that the node holds"}"#,
    printcolumn = r#"{"name":"Waiting","type":"integer","jsonPath":".status.waitingPods","description":"Pods that wait for an address"}"#,
    printcolumn = r#"{"name":"Available","type":"string","jsonPath":".status.conditions[?(@.type==\"PodAddressesAvailable\")].status"}"#,
    printcolumn = r#"{"name":"Reason","type":"string","jsonPath":".status.conditions[?(@.type==\"PodAddressesAvailable\")].reason"}"#,
    printcolumn = r#"{"name":"Observed","type":"date","jsonPath":".status.observedAt"}"#,
    doc = "What the address agent of one node holds. Written by the agent; nothing reads its spec."
)]
#[serde(rename_all = "camelCase")]
pub struct NodeAddressesSpec {
    /// The node.
    #[schemars(with = "String")]
    pub node_name: NodeName,
}

/// A summary; single addresses are in the agent's introspection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeAddressesStatus {
    /// When the agent wrote this. It writes when something has changed, and then at most every few seconds.
    #[schemars(schema_with = "date_time")]
    pub observed_at: Timestamp,
    /// All addresses of the node, by state.
    pub addresses: AddressCounts,
    /// Prefixes (/28) among them.
    pub prefixes: u32,
    /// Pods that wait for an address.
    pub waiting_pods: u32,
    /// Since when the oldest of them waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "optional_date_time")]
    pub waiting_since: Option<Timestamp>,
    /// Network interfaces.
    pub interfaces: InterfaceCounts,
    /// The subnets of the node's zone: what the node holds in each, and whether it may be used for pods.
    #[serde(default)]
    pub subnets: Vec<SubnetUse>,
    /// `PodAddressesAvailable`, as on the node.
    #[serde(default)]
    pub conditions: Vec<Condition>,
}

fn optional_date_time(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
    let mut schema = date_time(generator);
    schema.insert("nullable".to_owned(), true.into());
    schema
}

/// Addresses by state. The parts sum up to `total`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AddressCounts {
    /// All addresses.
    pub total: u32,
    /// Held by pods.
    pub assigned: u32,
    /// Can be given at once.
    pub free: u32,
    /// Rest after use.
    pub cooling: u32,
    /// Kept apart, because something about them cannot be right.
    pub quarantined: u32,
}

/// Network interfaces of the node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InterfaceCounts {
    /// Interfaces that the agent manages.
    pub attached: u32,
    /// Interfaces that the node may have.
    pub limit: u32,
}

/// One subnet as the node sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SubnetUse {
    /// The subnet.
    #[schemars(with = "String")]
    pub id: SubnetId,
    /// Its block.
    #[schemars(with = "String")]
    pub cidr: Cidr,
    /// What this node holds in it.
    pub held: AddressCounts,
    /// Addresses that were free in it for everybody when the agent last looked.
    pub free: u32,
    /// Whether new interfaces for pods may be made in it.
    pub used_for_pods: bool,
    /// Why, or why not.
    pub reason: String,
}
