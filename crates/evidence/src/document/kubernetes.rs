//! Kubernetes objects, one by one or in lists, as kubectl prints them.

use std::collections::BTreeMap;
use std::sync::Arc;

use freeboard_address::{Cidr, InstanceId, NodeName, PodKey, SubnetId};
use freeboard_diagnosis::{Agent, BlockPool, Cited, EniConfig, Kind, Node, Pod, Subject};
use jiff::Timestamp;
use serde_json::Value;

use super::{Document, autoscaler, dispatch};
use crate::collector::{Collector, fill, merge};
use crate::log::{Message, note};
use crate::tree::{at, list, number, text};

/// Reads an object or a list; says whether it was known.
pub(super) fn read(collector: &mut Collector, document: &mut Document<'_>, value: &Value, depth: u8) -> bool {
    let kind = text(value, &["kind"]).unwrap_or_default();
    if kind == "List" || (kind.ends_with("List") && value.get("items").is_some()) {
        let items = list(value, &["items"]);
        if kind == "ENIConfigList" || items.is_empty() {
            // An empty answer is an answer: there is none.
            if kind == "ENIConfigList" {
                collector.count(Kind::EniConfigs);
            } else {
                collector.count(Kind::Object);
            }
        }
        return list_of(collector, document, items, kind, depth);
    }
    if depth < 1 {
        collector.count(kind_of(kind));
    }
    object(collector, document, value, kind)
}

fn list_of(collector: &mut Collector, document: &mut Document<'_>, items: &[Value], list: &str, depth: u8) -> bool {
    let element = list.strip_suffix("List").unwrap_or_default();
    let mut counted: BTreeMap<Kind, ()> = BTreeMap::new();
    for item in items {
        let kind = text(item, &["kind"]).unwrap_or(element);
        if counted.insert(kind_of(kind), ()).is_none() && kind_of(kind) != Kind::EniConfigs {
            collector.count(kind_of(kind));
        } else if kind_of(kind) == Kind::EniConfigs {
            collector.facts().kinds.insert(Kind::EniConfigs);
        }
        if !object(collector, document, item, kind) {
            dispatch(collector, document, item, depth + 1);
        }
    }
    true
}

fn kind_of(kind: &str) -> Kind {
    match kind {
        "Pod" => Kind::Pods,
        "Node" => Kind::Nodes,
        "Event" => Kind::Events,
        "DaemonSet" => Kind::DaemonSet,
        "ENIConfig" => Kind::EniConfigs,
        "ConfigMap" => Kind::ConfigMap,
        "IPPool" | "CiliumNode" | "CiliumPodIPPool" | "IPAMBlock" => Kind::BlockPools,
        _ => Kind::Object,
    }
}

fn object(collector: &mut Collector, document: &mut Document<'_>, value: &Value, kind: &str) -> bool {
    match kind {
        "Pod" => pod(collector, document, value),
        "Node" => node(collector, document, value),
        "Event" => event(collector, document, value),
        "DaemonSet" => daemon_set(collector, document, value),
        "ENIConfig" => eni_config(collector, document, value),
        "ConfigMap" => config_map(collector, document, value),
        "IPPool" | "CiliumPodIPPool" => block_pool(collector, document, value),
        "CiliumNode" => cilium_node(collector, document, value),
        _ => {}
    }
    true
}

fn name(value: &Value) -> &str {
    text(value, &["metadata", "name"]).unwrap_or_default()
}

fn time(value: &Value, path: &[&str]) -> Option<Timestamp> {
    text(value, path).and_then(crate::log::timestamp)
}

fn say(
    collector: &mut Collector,
    document: &mut Document<'_>,
    kind: Kind,
    message: &str,
    about: Subject,
    at: Option<Timestamp>,
) {
    let line = document.find(message.split(['"', '\n']).next().unwrap_or_default());
    let file = Arc::clone(document.file);
    note(collector, &Message { file: &file, line, kind, text: message, about, first: at, last: at, count: 1 });
}

fn pod(collector: &mut Collector, document: &mut Document<'_>, value: &Value) {
    let key = PodKey::new(text(value, &["metadata", "namespace"]).unwrap_or("default"), name(value));
    let waiting =
        list(value, &["status", "containerStatuses"]).iter().find_map(|one| text(one, &["state", "waiting", "reason"]));
    let phase = text(value, &["status", "phase"]).unwrap_or_default();
    let read = Pod {
        node: text(value, &["spec", "nodeName"]).map(NodeName::new),
        address: text(value, &["status", "podIP"]).and_then(|address| address.parse().ok()),
        phase: if phase == "Pending" { waiting.unwrap_or(phase) } else { phase }.to_owned(),
        host_network: Some(at(value, &["spec", "hostNetwork"]) == Some(&Value::Bool(true))),
    };
    let citation = document.cite(Kind::Pods, &key.name);
    for condition in list(value, &["status", "conditions"]) {
        if let Some(message) = text(condition, &["message"]) {
            let about = Subject { pod: Some(key.clone()), ..Subject::default() };
            say(collector, document, Kind::Pods, message, about, time(condition, &["lastTransitionTime"]));
        }
    }
    add_pod(collector, key, read, citation);
}

/// Adds a pod; what one source leaves out is filled from another.
pub(crate) fn add_pod(collector: &mut Collector, key: PodKey, read: Pod, citation: freeboard_diagnosis::Citation) {
    merge(&mut collector.facts().pods, key, read, citation, |new, old| {
        fill(&mut new.node, &old.node);
        fill(&mut new.address, &old.address);
        fill(&mut new.host_network, &old.host_network);
    });
}

fn node(collector: &mut Collector, document: &mut Document<'_>, value: &Value) {
    let label = |key: &str| text(value, &["metadata", "labels", key]).map(str::to_owned);
    let annotation = |key: &str| text(value, &["metadata", "annotations", key]).map(str::to_owned);
    let mut blocks: Vec<Cidr> =
        list(value, &["spec", "podCIDRs"]).iter().filter_map(|block| block.as_str()?.parse().ok()).collect();
    if blocks.is_empty() {
        blocks.extend(text(value, &["spec", "podCIDR"]).and_then(|block| block.parse::<Cidr>().ok()));
    }
    let address = list(value, &["status", "addresses"]).iter().find(|one| text(one, &["type"]) == Some("InternalIP"));
    let conditions = list(value, &["status", "conditions"]);
    let ready = conditions.iter().find(|one| text(one, &["type"]) == Some("Ready"));
    let read = Node {
        instance_type: label("node.kubernetes.io/instance-type").or_else(|| label("beta.kubernetes.io/instance-type")),
        zone: label("topology.kubernetes.io/zone").or_else(|| label("failure-domain.beta.kubernetes.io/zone")),
        pool: label("cloud.google.com/gke-nodepool"),
        pods_allowed: number(value, &["status", "allocatable", "pods"]),
        pod_blocks: blocks,
        address: address.and_then(|one| text(one, &["address"])?.parse().ok()),
        cordoned: at(value, &["spec", "unschedulable"]) == Some(&Value::Bool(true)),
        ready: ready.and_then(|one| text(one, &["status"])).map(|status| status == "True"),
        eni_config: label("vpc.amazonaws.com/externalEniConfig")
            .or_else(|| annotation("k8s.amazonaws.com/eniConfig"))
            .or_else(|| label("k8s.amazonaws.com/eniConfig")),
        instance: text(value, &["spec", "providerID"])
            .and_then(|id| id.rsplit('/').next())
            .filter(|id| id.starts_with("i-"))
            .map(InstanceId::new),
    };
    let name = NodeName::new(name(value));
    let citation = document.cite(Kind::Nodes, name.as_str());
    for condition in conditions {
        if let Some(message) = text(condition, &["message"]).filter(|_| text(condition, &["status"]) != Some("True")) {
            // The state of a node counts as seen often: it lasts.
            let line = document.find(message.split('"').next().unwrap_or_default());
            let at = time(condition, &["lastTransitionTime"]);
            let about = Subject { node: Some(name.clone()), ..Subject::default() };
            let file = Arc::clone(document.file);
            note(
                collector,
                &Message { file: &file, line, kind: Kind::Nodes, text: message, about, first: at, last: at, count: 10 },
            );
        }
    }
    add_node(collector, name, read, citation);
}

/// Adds a node; what one source leaves out is filled from another.
pub(crate) fn add_node(collector: &mut Collector, name: NodeName, read: Node, citation: freeboard_diagnosis::Citation) {
    merge(&mut collector.facts().nodes, name, read, citation, |new, old| {
        fill(&mut new.instance_type, &old.instance_type);
        fill(&mut new.zone, &old.zone);
        fill(&mut new.pool, &old.pool);
        fill(&mut new.pods_allowed, &old.pods_allowed);
        fill(&mut new.address, &old.address);
        fill(&mut new.ready, &old.ready);
        fill(&mut new.eni_config, &old.eni_config);
        fill(&mut new.instance, &old.instance);
        new.cordoned |= old.cordoned;
        if new.pod_blocks.is_empty() {
            new.pod_blocks.clone_from(&old.pod_blocks);
        }
    });
}

fn event(collector: &mut Collector, document: &mut Document<'_>, value: &Value) {
    let object = at(value, &["involvedObject"]).or_else(|| at(value, &["regarding"])).unwrap_or(&Value::Null);
    let (kind, name) = (text(object, &["kind"]).unwrap_or_default(), text(object, &["name"]).unwrap_or_default());
    let namespace =
        text(object, &["namespace"]).or_else(|| text(value, &["metadata", "namespace"])).unwrap_or("default");
    let about = about(kind, namespace, name);
    let message = text(value, &["message"]).or_else(|| text(value, &["note"])).unwrap_or_default();
    let whole = format!("{}: {message}", text(value, &["reason"]).unwrap_or_default());
    let first = time(value, &["firstTimestamp"]).or_else(|| time(value, &["eventTime"]));
    let last = time(value, &["lastTimestamp"]).or_else(|| time(value, &["series", "lastObservedTime"])).or(first);
    let count = number(value, &["count"]).or_else(|| number(value, &["series", "count"])).unwrap_or(1);
    // A message may stand in the text with escapes; the event's name does not.
    let named = document.find(self::name(value));
    let line = document.find(message.split(['"', '\n']).next().unwrap_or_default()).or(named);
    let file = Arc::clone(document.file);
    note(collector, &Message { file: &file, line, kind: Kind::Events, text: &whole, about, first, last, count });
}

/// What an event is about.
pub(crate) fn about(kind: &str, namespace: &str, name: &str) -> Subject {
    match kind {
        "Pod" | "pod" => Subject { pod: Some(PodKey::new(namespace, name)), ..Subject::default() },
        "Node" | "node" => Subject { node: Some(NodeName::new(name)), ..Subject::default() },
        _ => Subject { name: (!name.is_empty()).then(|| name.to_owned()), ..Subject::default() },
    }
}

fn daemon_set(collector: &mut Collector, document: &mut Document<'_>, value: &Value) {
    let containers = list(value, &["spec", "template", "spec", "containers"]);
    let agent = containers.iter().find(|one| text(one, &["name"]) == Some("aws-node"));
    let Some(agent) = agent.filter(|_| name(value) == "aws-node") else { return };
    let environment = list(agent, &["env"])
        .iter()
        .filter_map(|one| Some((text(one, &["name"])?.to_owned(), text(one, &["value"])?.to_owned())));
    let image = text(agent, &["image"]).unwrap_or_default();
    let read = Agent { image: image.to_owned(), environment: environment.collect() };
    let citation = document.cite(Kind::DaemonSet, image);
    collector.facts().agents.push(Cited { fact: read, citation });
}

fn eni_config(collector: &mut Collector, document: &mut Document<'_>, value: &Value) {
    let groups = list(value, &["spec", "securityGroups"]).iter().filter_map(Value::as_str);
    let read = EniConfig {
        subnet: text(value, &["spec", "subnet"]).map(SubnetId::new),
        security_groups: groups.map(str::to_owned).collect(),
    };
    let name = name(value).to_owned();
    let citation = document.cite(Kind::EniConfigs, &name);
    merge(&mut collector.facts().eni_configs, name, read, citation, |_, _| {});
}

fn config_map(collector: &mut Collector, document: &mut Document<'_>, value: &Value) {
    if name(value) == "cluster-autoscaler-status"
        && let Some(status) = text(value, &["data", "status"])
    {
        autoscaler::read_text(collector, document, status);
    }
}

fn block_pool(collector: &mut Collector, document: &mut Document<'_>, value: &Value) {
    let spec = at(value, &["spec"]).unwrap_or(&Value::Null);
    let own = text(spec, &["cidr"]).into_iter();
    let cilium = list(spec, &["ipv4", "cidrs"]).iter().filter_map(Value::as_str);
    let length = number(spec, &["blockSize"]).or_else(|| number(spec, &["ipv4", "maskSize"]));
    let read = BlockPool {
        cidrs: own.chain(cilium).filter_map(|cidr| cidr.parse().ok()).collect(),
        block_length: length.and_then(|length| u8::try_from(length).ok()),
        disabled: at(spec, &["disabled"]) == Some(&Value::Bool(true)),
    };
    let name = name(value).to_owned();
    let citation = document.cite(Kind::BlockPools, &name);
    merge(&mut collector.facts().block_pools, name, read, citation, |_, _| {});
}

/// The operator's error is the only place where Cilium tells of a pool without room.
fn cilium_node(collector: &mut Collector, document: &mut Document<'_>, value: &Value) {
    let node = NodeName::new(name(value));
    for error in
        [text(value, &["status", "ipam", "operator-status", "error"]), text(value, &["status", "operator", "error"])]
    {
        let Some(error) = error.filter(|error| !error.is_empty()) else { continue };
        let about = Subject { node: Some(node.clone()), ..Subject::default() };
        say(collector, document, Kind::BlockPools, error, about, None);
    }
}
