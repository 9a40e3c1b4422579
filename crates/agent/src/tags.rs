//! The tags and the description by which an interface is known to be this node's (aws-vpc-cni §4.9).

use std::collections::BTreeMap;

use freeboard_address::InstanceId;
use freeboard_settings::Settings;
use jiff::Timestamp;

/// The instance that an interface was made for.
pub const INSTANCE: &str = "node.k8s.amazonaws.com/instance_id";
/// When an interface was made.
const CREATED: &str = "node.k8s.amazonaws.com/createdAt";
/// Keys that contain this are the system's own and cannot be set by a person.
const RESERVED: &str = "k8s.amazonaws.com";

/// The description of an interface, which both sides' sweeps for leaked interfaces look for.
#[must_use]
pub fn description(instance: &InstanceId) -> String {
    format!("aws-K8S-{instance}")
}

/// The tags of a new interface.
#[must_use]
pub fn tags(settings: &Settings, instance: &InstanceId, now: Timestamp) -> BTreeMap<String, String> {
    let additional = settings.additional_eni_tags.iter().filter(|(key, _)| !key.contains(RESERVED));
    let mut tags: BTreeMap<String, String> = additional.map(|(key, value)| (key.clone(), value.clone())).collect();
    tags.insert(INSTANCE.to_owned(), instance.to_string());
    tags.insert(CREATED.to_owned(), now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
    if let Some(cluster) = &settings.cluster_name {
        tags.insert("cluster.k8s.amazonaws.com/name".to_owned(), cluster.clone());
        tags.insert("eks:eni:owner".to_owned(), "amazon-vpc-cni".to_owned());
    }
    tags
}

/// When an interface with these tags was made, if they tell.
#[must_use]
pub fn created(tags: &BTreeMap<String, String>) -> Option<Timestamp> {
    tags.get(CREATED)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_keys_cannot_be_overridden() {
        let environment = [
            ("ADDITIONAL_ENI_TAGS", r#"{"team":"net","node.k8s.amazonaws.com/no_manage":"true"}"#),
            ("CLUSTER_NAME", "demo"),
        ];
        let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let settings = Settings::parse(&environment).unwrap().0;
        let tags = tags(&settings, &InstanceId::new("i-1"), "2026-01-02T03:04:05.6Z".parse().unwrap());
        let shown: Vec<String> = tags.iter().map(|(key, value)| format!("{key}={value}")).collect();
        assert_eq!(
            shown,
            [
                "cluster.k8s.amazonaws.com/name=demo",
                "eks:eni:owner=amazon-vpc-cni",
                "node.k8s.amazonaws.com/createdAt=2026-01-02T03:04:05Z",
                "node.k8s.amazonaws.com/instance_id=i-1",
                "team=net",
            ]
        );
        assert_eq!(created(&tags), "2026-01-02T03:04:05Z".parse().ok());
        assert_eq!(description(&InstanceId::new("i-1")), "aws-K8S-i-1");
    }
}
