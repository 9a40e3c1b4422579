//! The tree of metadata: every key of an instance, and the listings of the directories above them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use freeboard_vpc::{InterfaceMetadata, MetadataView};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::credentials;
use crate::sigv4::AccessKey;
use crate::xml::time;

const TEXT: &str = "text/plain";
/// Names of the tree's root: versions. All of them show the same tree here.
const VERSIONS: &[&str] = &["1.0", "2021-03-23", "latest"];

/// The answer to a path.
pub(super) struct Body {
    pub(super) content_type: &'static str,
    pub(super) text: String,
}

/// The answer to `path`: a key's value, or a directory's listing, asked for with or without its trailing slash.
pub(super) fn body(path: &str, view: &MetadataView, role_key: &AccessKey, now: Timestamp) -> Option<Body> {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let Some((version, under)) = parts.split_first() else {
        return Some(Body { content_type: TEXT, text: VERSIONS.join("\n") });
    };
    if !VERSIONS.contains(version) && !is_date(version) {
        return None;
    }
    let key = under.join("/");
    let values = values(view, role_key, now);
    if let Some(text) = values.get(&key) {
        let content_type = if key == "user-data" { "application/octet-stream" } else { TEXT };
        return Some(Body { content_type, text: text.clone() });
    }
    listing(&values, &key).map(|text| Body { content_type: TEXT, text })
}

fn is_date(text: &str) -> bool {
    text.len() == 10
        && text
            .bytes()
            .enumerate()
            .all(|(at, byte)| if at == 4 || at == 7 { byte == b'-' } else { byte.is_ascii_digit() })
}

/// The names directly under a directory, one per line; those of directories end in a slash, except at the top.
fn listing(values: &BTreeMap<String, String>, directory: &str) -> Option<String> {
    let prefix = if directory.is_empty() { String::new() } else { format!("{directory}/") };
    let names: BTreeSet<String> = values
        .range(prefix.clone()..)
        .map_while(|(key, _)| key.strip_prefix(&prefix))
        .map(|rest| match rest.split_once('/') {
            Some((name, _)) if directory.is_empty() => name.to_owned(),
            Some((name, _)) => format!("{name}/"),
            None => rest.to_owned(),
        })
        .collect();
    (!names.is_empty()).then(|| names.into_iter().collect::<Vec<_>>().join("\n"))
}

fn lines<T: Display>(values: impl IntoIterator<Item = T>) -> String {
    values.into_iter().map(|value| value.to_string()).collect::<Vec<_>>().join("\n")
}

/// Every key of the instance with its value.
fn values(view: &MetadataView, role_key: &AccessKey, now: Timestamp) -> BTreeMap<String, String> {
    let mut values = BTreeMap::new();
    let mut put = |key: &str, value: String| drop(values.insert(key.to_owned(), value));
    put("dynamic/instance-identity/document", document(view));
    for (key, value) in instance(view) {
        put(&format!("meta-data/{key}"), value);
    }
    for interface in &view.interfaces {
        for (key, value) in of_interface(interface) {
            put(&format!("meta-data/network/interfaces/macs/{}/{key}", interface.mac), value);
        }
    }
    if let Some(profile) = &view.iam_instance_profile {
        let role = credentials::role_name(profile);
        put("meta-data/iam/info", credentials::info(profile, now));
        put(&format!("meta-data/iam/security-credentials/{role}"), credentials::security_credentials(role_key, now));
    }
    if let Some(user_data) = &view.user_data {
        put("user-data", user_data.clone());
    }
    values
}

fn instance(view: &MetadataView) -> [(&'static str, String); 18] {
    [
        ("ami-id", view.image_id.to_string()),
        ("ami-launch-index", view.launch_index.to_string()),
        ("hostname", view.local_hostname.clone()),
        ("instance-action", "none".to_owned()),
        ("instance-id", view.instance_id.to_string()),
        ("instance-life-cycle", "on-demand".to_owned()),
        ("instance-type", view.instance_type.clone()),
        ("local-hostname", view.local_hostname.clone()),
        ("local-ipv4", view.local_ipv4.to_string()),
        ("mac", view.mac.to_string()),
        ("placement/availability-zone", view.availability_zone.clone()),
        ("placement/availability-zone-id", view.availability_zone_id.clone()),
        ("placement/region", view.region.clone()),
        ("profile", "default-hvm".to_owned()),
        ("reservation-id", view.reservation_id.clone()),
        ("security-groups", lines(&view.security_groups)),
        ("services/domain", "amazonaws.com".to_owned()),
        ("services/partition", "aws".to_owned()),
    ]
}

/// The keys of an interface. Agents tell what it has by which keys are listed, so an empty list is no key.
fn of_interface(interface: &InterfaceMetadata) -> Vec<(&'static str, String)> {
    let mut keys = vec![
        ("device-number", interface.device_number.to_string()),
        ("interface-id", interface.interface_id.to_string()),
        ("local-hostname", interface.local_hostname.clone()),
        ("mac", interface.mac.to_string()),
        ("network-card", interface.network_card.to_string()),
        ("owner-id", interface.owner_id.clone()),
        ("security-group-ids", lines(&interface.security_group_ids)),
        ("security-groups", lines(&interface.security_groups)),
        ("subnet-id", interface.subnet_id.to_string()),
        ("subnet-ipv4-cidr-block", interface.subnet_ipv4_cidr_block.to_string()),
        ("vpc-id", interface.vpc_id.to_string()),
        ("vpc-ipv4-cidr-block", interface.vpc_ipv4_cidr_block.to_string()),
        ("vpc-ipv4-cidr-blocks", lines(&interface.vpc_ipv4_cidr_blocks)),
    ];
    if !interface.local_ipv4s.is_empty() {
        keys.push(("local-ipv4s", lines(&interface.local_ipv4s)));
    }
    if !interface.ipv4_prefixes.is_empty() {
        keys.push(("ipv4-prefix", lines(&interface.ipv4_prefixes)));
    }
    keys
}

/// The identity document: indented JSON, keys in order, null where the instance has nothing.
fn document(view: &MetadataView) -> String {
    let document = json!({
        "accountId": view.account_id,
        "architecture": view.architecture,
        "availabilityZone": view.availability_zone,
        "billingProducts": Value::Null,
        "devpayProductCodes": Value::Null,
        "imageId": view.image_id,
        "instanceId": view.instance_id,
        "instanceType": view.instance_type,
        "kernelId": Value::Null,
        "marketplaceProductCodes": Value::Null,
        "pendingTime": time(view.pending_time).replace(".000Z", "Z"),
        "privateIp": view.local_ipv4,
        "ramdiskId": Value::Null,
        "region": view.region,
        "version": "2017-09-30",
    });
    format!("{document:#}")
}
