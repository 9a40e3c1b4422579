//! The few fields of a Node that a controller of many nodes needs, so that the others are neither kept nor parsed into objects.

use std::borrow::Cow;
use std::collections::BTreeMap;

use k8s_openapi::ClusterResourceScope;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::Resource;
use serde::{Deserialize, Deserializer};

/// A Node without most of it.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct LeanNode {
    /// Name, uid, version, labels and deletion only.
    #[serde(deserialize_with = "lean_metadata")]
    pub metadata: ObjectMeta,
    /// What was decided about it.
    #[serde(default)]
    pub spec: LeanNodeSpec,
    /// What it tells.
    #[serde(default)]
    pub status: LeanNodeStatus,
}

/// `spec` of a Node.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct LeanNodeSpec {
    /// Its first block.
    #[serde(default, rename = "podCIDR")]
    pub pod_cidr: Option<String>,
    /// Its blocks.
    #[serde(default, rename = "podCIDRs")]
    pub pod_cidrs: Vec<String>,
}

/// `status` of a Node.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct LeanNodeStatus {
    /// Quantities by resource, as texts.
    #[serde(default)]
    pub capacity: BTreeMap<String, String>,
    /// Types and statuses of its conditions.
    #[serde(default)]
    pub conditions: Vec<LeanCondition>,
}

/// A condition of a Node.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct LeanCondition {
    /// What it is about.
    #[serde(rename = "type")]
    pub kind: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    name: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    labels: Option<BTreeMap<String, String>>,
    deletion_timestamp: Option<Time>,
}

fn lean_metadata<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    let Metadata { name, uid, resource_version, labels, deletion_timestamp } = Metadata::deserialize(deserializer)?;
    Ok(ObjectMeta { name, uid, resource_version, labels, deletion_timestamp, ..ObjectMeta::default() })
}

impl Resource for LeanNode {
    type DynamicType = ();
    type Scope = ClusterResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        Node::kind(&())
    }

    fn group((): &()) -> Cow<'_, str> {
        Node::group(&())
    }

    fn version((): &()) -> Cow<'_, str> {
        Node::version(&())
    }

    fn plural((): &()) -> Cow<'_, str> {
        Node::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_needed_is_kept_and_the_rest_is_not() {
        let node: LeanNode = serde_json::from_value(serde_json::json!({
            "kind": "Node", "apiVersion": "v1",
            "metadata": {"name": "a", "uid": "u", "resourceVersion": "7", "labels": {"pool": "x"},
                "managedFields": [{"manager": "kubelet"}]},
            "spec": {"podCIDR": "10.0.0.0/24", "podCIDRs": ["10.0.0.0/24"], "providerID": "x"},
            "status": {"capacity": {"pods": "110", "cpu": "2"},
                "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady"}]},
        }))
        .unwrap();
        assert_eq!((node.metadata.name.as_deref(), node.metadata.managed_fields), (Some("a"), None));
        assert_eq!((node.spec.pod_cidrs[0].as_str(), node.status.capacity["pods"].as_str()), ("10.0.0.0/24", "110"));
    }
}
