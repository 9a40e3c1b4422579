//! `ENIConfig`, the Amazon VPC CNI's object for custom networking (aws-vpc-cni §5.1). Freeboard reads it.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where the interfaces of pods are made, on the nodes that name this object.
#[derive(CustomResource, Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "crd.k8s.amazonaws.com",
    version = "v1alpha1",
    kind = "ENIConfig",
    plural = "eniconfigs",
    singular = "eniconfig",
    derive = "PartialEq",
    printcolumn = r#"{"name":"Subnet","type":"string","jsonPath":".spec.subnet"}"#,
    doc = "Says in which subnet and with which security groups the interfaces of a node's pods are made."
)]
#[serde(rename_all = "camelCase")]
// The Amazon VPC CNI keeps fields that it does not know.
#[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
pub struct ENIConfigSpec {
    /// The subnet of the interfaces; it must lie in the node's zone.
    #[serde(default)]
    pub subnet: String,
    /// Their security groups; the primary interface's when there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub security_groups: Vec<String>,
}
