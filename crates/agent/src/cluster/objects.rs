//! References to objects, as events have them.

use freeboard_kubernetes::k8s_openapi::api::core::v1::{ConfigMap, Node, ObjectReference, Pod};
use freeboard_kubernetes::kube::Resource;

/// A node.
pub(super) fn node(node: &Node) -> ObjectReference {
    node.object_ref(&())
}

/// A pod.
pub(super) fn pod(pod: &Pod) -> ObjectReference {
    pod.object_ref(&())
}

/// A ConfigMap.
pub(super) fn config_map(map: &ConfigMap) -> ObjectReference {
    map.object_ref(&())
}
