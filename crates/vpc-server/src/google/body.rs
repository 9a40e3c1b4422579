//! What the bodies of requests hold, as far as the simulated cloud looks at them. Other fields are taken and ignored, as
//! Google's clients send many.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

/// A whole number, which Google's JSON writes as a number (32 bits) or a text (64 bits).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Integer(pub(crate) i64);

impl<'de> Deserialize<'de> for Integer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Number(i64),
            Text(String),
        }
        match Form::deserialize(deserializer)? {
            Form::Number(number) => Ok(Self(number)),
            Form::Text(text) => {
                let wrong = |_| serde::de::Error::custom(format!("{text:?} is not a whole number"));
                text.parse().map(Self).map_err(wrong)
            }
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Network {
    pub(crate) name: String,
    pub(crate) auto_create_subnetworks: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Subnetwork {
    pub(crate) name: String,
    pub(crate) network: String,
    pub(crate) ip_cidr_range: String,
    pub(crate) fingerprint: Option<String>,
    pub(crate) secondary_ip_ranges: Option<Vec<SecondaryRange>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct SecondaryRange {
    pub(crate) range_name: String,
    pub(crate) ip_cidr_range: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Expand {
    pub(crate) ip_cidr_range: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Instance {
    pub(crate) name: String,
    pub(crate) machine_type: String,
    pub(crate) network_interfaces: Vec<Interface>,
    pub(crate) labels: BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Interface {
    pub(crate) subnetwork: String,
    #[serde(rename = "networkIP")]
    pub(crate) network_ip: Option<String>,
    pub(crate) alias_ip_ranges: Vec<AliasRange>,
    pub(crate) fingerprint: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct AliasRange {
    pub(crate) ip_cidr_range: String,
    pub(crate) subnetwork_range_name: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct CreateCluster {
    pub(crate) cluster: Cluster,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Cluster {
    pub(crate) name: String,
    pub(crate) subnetwork: String,
    pub(crate) locations: Vec<String>,
    pub(crate) initial_cluster_version: String,
    pub(crate) default_max_pods_constraint: Option<MaxPodsConstraint>,
    pub(crate) ip_allocation_policy: IpAllocationPolicy,
    pub(crate) node_pools: Vec<NodePool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct IpAllocationPolicy {
    pub(crate) cluster_secondary_range_name: String,
    pub(crate) services_secondary_range_name: String,
    pub(crate) pod_cidr_overprovision_config: Option<OverprovisionConfig>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct MaxPodsConstraint {
    pub(crate) max_pods_per_node: Integer,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct OverprovisionConfig {
    pub(crate) disable: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct UpdateCluster {
    pub(crate) update: serde_json::Map<String, serde_json::Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct PodRangesConfig {
    pub(crate) pod_range_names: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct CreateNodePool {
    pub(crate) node_pool: NodePool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct NodePool {
    pub(crate) name: String,
    pub(crate) initial_node_count: Integer,
    pub(crate) max_pods_constraint: Option<MaxPodsConstraint>,
    pub(crate) network_config: NodeNetworkConfig,
    pub(crate) autoscaling: Option<Autoscaling>,
    pub(crate) locations: Vec<String>,
    pub(crate) config: NodeConfig,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct NodeNetworkConfig {
    pub(crate) create_pod_range: bool,
    pub(crate) pod_range: String,
    pub(crate) pod_ipv4_cidr_block: String,
    pub(crate) pod_cidr_overprovision_config: Option<OverprovisionConfig>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct NodeConfig {
    pub(crate) machine_type: String,
    pub(crate) spot: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Autoscaling {
    pub(crate) enabled: bool,
    pub(crate) min_node_count: Integer,
    pub(crate) max_node_count: Integer,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct SetSize {
    pub(crate) node_count: Option<Integer>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct UpdateNodePool {
    pub(crate) node_network_config: Option<NodeNetworkConfig>,
}
