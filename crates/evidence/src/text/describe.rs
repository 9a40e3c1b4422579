//! `kubectl describe` of pods and nodes.

use std::sync::Arc;

use freeboard_address::{InstanceId, NodeName, PodKey};
use freeboard_diagnosis::{Citation, Kind, Node, Pod, Subject};

use super::Block;
use super::tables::{Columns, event};
use crate::collector::Collector;
use crate::document;
use crate::log::{Message, note};

/// Reads descriptions; says whether there were any.
pub(super) fn read(collector: &mut Collector, block: &Block<'_>) -> bool {
    let mut starts: Vec<(usize, u64)> = Vec::new();
    let mut offset = 0;
    for (index, line) in block.text.split_inclusive('\n').enumerate() {
        if line.starts_with("Name:  ") {
            starts.push((offset, block.first_line + u64::try_from(index).unwrap_or(0)));
        }
        offset += line.len();
    }
    let mut is_known = false;
    for (index, (start, line)) in starts.iter().enumerate() {
        let end = starts.get(index + 1).map_or(block.text.len(), |(next, _)| *next);
        let text = block.text.get(*start..end).unwrap_or_default();
        is_known |= describe(collector, block, text, *line);
    }
    is_known
}

fn describe(collector: &mut Collector, block: &Block<'_>, text: &str, first_line: u64) -> bool {
    let has = |key: &str| text.lines().any(|line| line.starts_with(key));
    let is_node = has("Capacity:") || has("PodCIDR:") || has("Roles:") || has("System Info:");
    let is_pod = has("Namespace:") && (has("Node:") || has("Containers:") || has("Status:"));
    let citation = |kind| Citation {
        file: Arc::clone(block.file),
        line: Some(first_line),
        kind,
        excerpt: text.lines().next().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ").into(),
    };
    let about = if is_node {
        collector.count(Kind::NodeDescription);
        let (name, read) = node(text);
        document::add_node(collector, name.clone(), read, citation(Kind::NodeDescription));
        Subject { node: Some(name), ..Subject::default() }
    } else if is_pod {
        collector.count(Kind::PodDescription);
        let (key, read) = pod(text);
        let node = read.node.clone();
        document::add_pod(collector, key.clone(), read, citation(Kind::PodDescription));
        Subject { pod: Some(key), node, ..Subject::default() }
    } else {
        // Another object; its events may tell.
        collector.count(Kind::Object);
        Subject::default()
    };
    sections(collector, block, text, first_line, &about);
    true
}

/// Events and conditions.
fn sections(collector: &mut Collector, block: &Block<'_>, text: &str, first_line: u64, about: &Subject) {
    let mut columns = None;
    let mut section = "";
    for (index, line) in text.lines().enumerate() {
        let number = first_line + u64::try_from(index).unwrap_or(0);
        if !line.starts_with(' ') {
            section = line.split(':').next().unwrap_or_default();
            columns = None;
        }
        if let Some(found) = Columns::of_events(line) {
            columns = Some(found);
        } else if let Some(columns) = &columns {
            event(collector, block, number, line, columns, about);
        } else if section == "Conditions" && line.split_whitespace().nth(1).is_some_and(|status| status != "True") {
            note(
                collector,
                &Message {
                    file: block.file,
                    line: Some(number),
                    kind: Kind::NodeDescription,
                    text: line.trim(),
                    about: about.clone(),
                    first: None,
                    last: None,
                    // The state of a node counts as seen often: it lasts.
                    count: 10,
                },
            );
        }
    }
}

/// The value of a top-level key.
fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let line = text.lines().find(|line| line.strip_prefix(key).is_some_and(|rest| rest.starts_with(':')))?;
    let value = line.get(key.len() + 1..)?.trim();
    (!value.is_empty() && value != "<none>").then_some(value)
}

/// The lines of a top-level key: its own and those indented below.
fn section<'a>(text: &'a str, key: &'a str) -> impl Iterator<Item = &'a str> {
    let mut is_inside = false;
    text.lines().filter_map(move |line| {
        if let Some(rest) = line.strip_prefix(key).and_then(|rest| rest.strip_prefix(':')) {
            is_inside = true;
            return Some(rest.trim());
        }
        is_inside &= line.starts_with(' ');
        is_inside.then(|| line.trim())
    })
}

fn pod(text: &str) -> (PodKey, Pod) {
    let key = PodKey::new(value(text, "Namespace").unwrap_or("default"), value(text, "Name").unwrap_or_default());
    // `Node:  ip-10-0-208-27.ap-southeast-2.compute.internal/10.0.208.27`
    let node = value(text, "Node").map(|node| node.split('/').next().unwrap_or(node));
    let reason = section(text, "Containers").find_map(|line| line.strip_prefix("Reason:").map(str::trim));
    let status = value(text, "Status").unwrap_or_default();
    let address = value(text, "IP").and_then(|address| address.parse().ok());
    let is_node_s =
        node.zip(value(text, "Node").and_then(|node| node.split('/').nth(1))).and_then(|(_, own)| own.parse().ok())
            == address;
    let read = Pod {
        node: node.map(NodeName::new),
        address,
        phase: if status == "Pending" { reason.unwrap_or(status) } else { status }.to_owned(),
        host_network: address.map(|_| is_node_s),
    };
    (key, read)
}

fn node(text: &str) -> (NodeName, Node) {
    let name = NodeName::new(value(text, "Name").unwrap_or_default());
    let label = |key: &str| {
        let mut lines = section(text, "Labels");
        lines.find_map(|line| line.strip_prefix(key)?.strip_prefix('=').map(str::to_owned))
    };
    let annotation = |key: &str| {
        let mut lines = section(text, "Annotations");
        lines.find_map(|line| line.strip_prefix(key)?.strip_prefix(": ").map(|value| value.trim().to_owned()))
    };
    let blocks = value(text, "PodCIDRs").or_else(|| value(text, "PodCIDR")).unwrap_or_default();
    let address = section(text, "Addresses").find_map(|line| line.strip_prefix("InternalIP:")?.trim().parse().ok());
    let ready = section(text, "Conditions")
        .find_map(|line| line.strip_prefix("Ready ").map(|rest| rest.trim_start().starts_with("True")));
    let read = Node {
        instance_type: label("node.kubernetes.io/instance-type").or_else(|| label("beta.kubernetes.io/instance-type")),
        zone: label("topology.kubernetes.io/zone"),
        pool: label("cloud.google.com/gke-nodepool"),
        pods_allowed: section(text, "Allocatable").find_map(|line| line.strip_prefix("pods:")?.trim().parse().ok()),
        pod_blocks: blocks.split(',').filter_map(|block| block.trim().parse().ok()).collect(),
        address,
        cordoned: value(text, "Unschedulable") == Some("true"),
        ready,
        eni_config: label("vpc.amazonaws.com/externalEniConfig").or_else(|| annotation("k8s.amazonaws.com/eniConfig")),
        instance: value(text, "ProviderID")
            .and_then(|id| id.rsplit('/').next())
            .filter(|id| id.starts_with("i-"))
            .map(InstanceId::new),
    };
    (name, read)
}
