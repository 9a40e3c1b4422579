//! gcloud's YAML and JSON of subnets, clusters and node pools, operations, and entries of Cloud Logging.

use std::collections::BTreeMap;
use std::sync::Arc;

use freeboard_address::PodKey;
use freeboard_diagnosis::{GoogleCluster, GoogleSubnet, Kind, NodePool, RangeUse, SecondaryRange, Subject};
use serde_json::Value;

use super::Document;
use crate::collector::{Collector, fill, merge};
use crate::log::{Message, note};
use crate::tree::{at, list, number, text};

/// Reads what is known; says whether it was.
pub(super) fn read(collector: &mut Collector, document: &mut Document<'_>, value: &Value) -> bool {
    let has = |key: &str| value.get(key).is_some();
    if has("logName") && (has("protoPayload") || has("jsonPayload") || has("textPayload")) {
        collector.count(Kind::GoogleLog);
        entry(collector, document, value);
        return true;
    }
    if text(value, &["kind"]) == Some("compute#subnetwork")
        || (has("ipCidrRange") && (has("secondaryIpRanges") || has("gatewayAddress")))
    {
        subnet(collector, document, value);
        return true;
    }
    if has("ipAllocationPolicy") || has("nodePools") {
        cluster(collector, document, value);
        return true;
    }
    let is_pool =
        has("podIpv4CidrSize") || has("maxPodsConstraint") || at(value, &["networkConfig", "podRange"]).is_some();
    if is_pool {
        collector.count(Kind::GooglePool);
        pool(collector, document, value, None);
        return true;
    }
    if has("operationType")
        || text(value, &["kind"]) == Some("compute#operation")
        || has("error") && at(value, &["error", "errors"]).is_some()
    {
        collector.count(Kind::GoogleLog);
        operation(collector, document, value);
        return true;
    }
    false
}

fn last_segment(text: &str) -> String {
    text.rsplit('/').next().unwrap_or(text).to_owned()
}

fn name_or(value: &Value, document: &Document<'_>) -> String {
    let name = text(value, &["name"]).or_else(|| document.described());
    name.map_or_else(|| format!("of {}", document.file), str::to_owned)
}

fn subnet(collector: &mut Collector, document: &mut Document<'_>, value: &Value) {
    collector.count(Kind::GoogleSubnet);
    let mut used = BTreeMap::new();
    for one in list(value, &["utilizationDetails", "ipv4Utilizations"]) {
        if let Some((allocated, free)) = number(one, &["totalAllocatedIp"]).zip(number(one, &["totalFreeIp"])) {
            used.insert(text(one, &["rangeName"]).unwrap_or_default().to_owned(), RangeUse { allocated, free });
        }
    }
    let secondary = list(value, &["secondaryIpRanges"]).iter().filter_map(|range| {
        let cidr = text(range, &["ipCidrRange"])?.parse().ok()?;
        Some(SecondaryRange { name: text(range, &["rangeName"])?.to_owned(), cidr })
    });
    let read = GoogleSubnet {
        region: text(value, &["region"]).map(last_segment),
        primary: text(value, &["ipCidrRange"]).and_then(|cidr| cidr.parse().ok()),
        secondary: secondary.collect(),
        used,
    };
    let name = name_or(value, document);
    let word = text(value, &["ipCidrRange"]).unwrap_or(&name).to_owned();
    let citation = document.cite(Kind::GoogleSubnet, &word);
    merge(&mut collector.facts().google_subnets, name, read, citation, |new, old| {
        if new.used.is_empty() {
            new.used.clone_from(&old.used);
        }
    });
}

fn cluster(collector: &mut Collector, document: &mut Document<'_>, value: &Value) {
    collector.count(Kind::GoogleCluster);
    let policy = at(value, &["ipAllocationPolicy"]).unwrap_or(&Value::Null);
    let more = list(policy, &["additionalPodRangesConfig", "podRangeNames"]).iter().filter_map(Value::as_str);
    let read = GoogleCluster {
        location: text(value, &["location"]).or_else(|| text(value, &["zone"])).map(str::to_owned),
        subnet: text(value, &["subnetwork"]).map(last_segment),
        pod_range: text(policy, &["clusterSecondaryRangeName"]).map(str::to_owned),
        additional_pod_ranges: more.map(str::to_owned).collect(),
        services_range: text(policy, &["servicesSecondaryRangeName"]).map(str::to_owned),
        nodes: number(value, &["currentNodeCount"]),
    };
    let name = name_or(value, document);
    for one in list(value, &["nodePools"]) {
        collector.count(Kind::GooglePool);
        pool(collector, document, one, Some(&name));
    }
    let citation = document.cite(Kind::GoogleCluster, &name);
    merge(&mut collector.facts().google_clusters, name, read, citation, |_, _| {});
}

fn pool(collector: &mut Collector, document: &mut Document<'_>, value: &Value, cluster: Option<&str>) {
    let zones = u64::try_from(list(value, &["locations"]).len()).unwrap_or(1).max(1);
    let per_zone = number(value, &["autoscaling", "maxNodeCount"]).filter(|most| *most > 0);
    let total = number(value, &["autoscaling", "totalMaxNodeCount"]).filter(|most| *most > 0);
    let length = number(value, &["podIpv4CidrSize"]).and_then(|length| u8::try_from(length).ok());
    let cluster_in_link = || text(value, &["selfLink"])?.split("/clusters/").nth(1)?.split('/').next();
    let read = NodePool {
        cluster: cluster.or_else(cluster_in_link).map(str::to_owned),
        range: text(value, &["networkConfig", "podRange"]).map(str::to_owned),
        range_block: text(value, &["networkConfig", "podIpv4CidrBlock"]).and_then(|cidr| cidr.parse().ok()),
        block_length: length.filter(|length| (8..=32).contains(length)),
        max_pods: number(value, &["maxPodsConstraint", "maxPodsPerNode"]),
        most_nodes: total.or_else(|| Some(per_zone? * zones)),
        status: text(value, &["status"]).map(str::to_owned),
    };
    let name = name_or(value, document);
    let word = text(value, &["networkConfig", "podRange"]).unwrap_or(&name).to_owned();
    let citation = document.cite(Kind::GooglePool, &word);
    for condition in list(value, &["conditions"]) {
        say(
            collector,
            document,
            Kind::GooglePool,
            text(condition, &["message"]).unwrap_or_default(),
            Subject::default(),
            None,
        );
    }
    if let Some(message) = text(value, &["statusMessage"]) {
        say(collector, document, Kind::GooglePool, message, Subject::default(), None);
    }
    merge(&mut collector.facts().node_pools, name, read, citation, |new, old| {
        fill(&mut new.cluster, &old.cluster);
        fill(&mut new.range_block, &old.range_block);
        fill(&mut new.most_nodes, &old.most_nodes);
    });
}

fn say(
    collector: &mut Collector,
    document: &mut Document<'_>,
    kind: Kind,
    message: &str,
    about: Subject,
    time: Option<jiff::Timestamp>,
) {
    let line = document.find(message.get(..40).unwrap_or(message));
    let file = Arc::clone(document.file);
    note(collector, &Message { file: &file, line, kind, text: message, about, first: time, last: time, count: 1 });
}

/// An entry of an audit log, or of the autoscaler's visibility log.
fn entry(collector: &mut Collector, document: &mut Document<'_>, value: &Value) {
    let time =
        text(value, &["timestamp"]).or_else(|| text(value, &["receiveTimestamp"])).and_then(|time| time.parse().ok());
    let status = at(value, &["protoPayload", "status"]).unwrap_or(&Value::Null);
    if let Some(message) = text(status, &["message"]) {
        let resources = list(status, &["details"]).iter().filter_map(|detail| {
            text(detail, &["value", "ipSpaceExhausted", "networkOrSubnetworkResource", "resourceName"])
        });
        let about = Subject { range: resources.map(last_segment).next(), ..Subject::default() };
        // The message may be doubled, joined by a comma; one sighting is enough.
        say(collector, document, Kind::GoogleLog, message, about, time);
    }
    for result in list(value, &["jsonPayload", "resultInfo", "results"]) {
        failure(collector, document, result, at(result, &["errorMsg"]), time);
    }
    let reasons = at(value, &["jsonPayload", "noDecisionStatus", "noScaleUp"]).unwrap_or(&Value::Null);
    for group in list(reasons, &["skippedMigs"]) {
        failure(collector, document, group, at(group, &["reason"]), time);
    }
    for group in list(reasons, &["unhandledPodGroups"]) {
        for rejected in list(group, &["rejectedMigs"]) {
            failure(collector, document, group, at(rejected, &["reason"]), time);
        }
    }
    if let Some(message) = text(value, &["textPayload"]).or_else(|| text(value, &["jsonPayload", "message"])) {
        say(collector, document, Kind::GoogleLog, message, Subject::default(), time);
    }
}

fn failure(
    collector: &mut Collector,
    document: &mut Document<'_>,
    context: &Value,
    reason: Option<&Value>,
    time: Option<jiff::Timestamp>,
) {
    let Some(reason) = reason else { return };
    let id = text(reason, &["messageId"]).unwrap_or_default();
    let parameters: Vec<&str> = list(reason, &["parameters"]).iter().filter_map(Value::as_str).collect();
    let pod = at(context, &["podGroup", "samplePod"])
        .and_then(|pod| Some(PodKey::new(text(pod, &["namespace"])?, text(pod, &["name"])?)));
    let message = format!("{id} {}", parameters.join(" "));
    let line = document.find(id);
    let about = Subject { pod, ..Subject::default() };
    let file = Arc::clone(document.file);
    note(
        collector,
        &Message { file: &file, line, kind: Kind::GoogleLog, text: &message, about, first: time, last: time, count: 1 },
    );
}

/// A finished operation: done is not succeeded.
fn operation(collector: &mut Collector, document: &mut Document<'_>, value: &Value) {
    let time = text(value, &["endTime"]).or_else(|| text(value, &["insertTime"])).and_then(crate::log::timestamp);
    for error in list(value, &["error", "errors"]) {
        let code = text(error, &["code"]).or_else(|| text(error, &["reason"])).unwrap_or_default();
        let message = format!("{code}: {}", text(error, &["message"]).unwrap_or_default());
        let line = document.find(code);
        let file = Arc::clone(document.file);
        note(
            collector,
            &Message {
                file: &file,
                line,
                kind: Kind::GoogleLog,
                text: &message,
                about: Subject::default(),
                first: time,
                last: time,
                count: 1,
            },
        );
    }
    if let Some(message) = text(value, &["error", "message"]).or_else(|| text(value, &["statusMessage"])) {
        say(collector, document, Kind::GoogleLog, message, Subject::default(), time);
    }
}
