//! Tables of kubectl: pods, nodes and events. Rows are known by their cells, so that a table cut by `grep` is read too.

use std::net::Ipv4Addr;
use std::sync::Arc;

use freeboard_address::{NodeName, PodKey};
use freeboard_diagnosis::{Citation, Kind, Node, Pod, Subject};

use super::Block;
use crate::collector::Collector;
use crate::document;
use crate::log::{Message, note};

/// Reads tables; says whether there were any.
pub(super) fn read(collector: &mut Collector, block: &Block<'_>) -> bool {
    let mut counted = [false; 3];
    let mut is_events = false;
    let mut events = Columns::default();
    let about = about_command(block.command);
    for (index, line) in block.text.lines().enumerate() {
        let number = block.first_line + u64::try_from(index).unwrap_or(0);
        if let Some(columns) = Columns::of_events(line) {
            events = columns;
            is_events = true;
            continue;
        }
        let tokens: Vec<&str> = line.split_whitespace().collect();
        let citation = |kind| Citation {
            file: Arc::clone(block.file),
            line: Some(number),
            kind,
            excerpt: tokens.join(" ").into(),
        };
        if is_events && event(collector, block, number, line, &events, &about) {
            count_once(collector, &mut counted[0], Kind::Events);
        } else if let Some((key, pod)) = pod(&tokens) {
            count_once(collector, &mut counted[1], Kind::Pods);
            document::add_pod(collector, key, pod, citation(Kind::Pods));
        } else if let Some((name, node)) = node(&tokens) {
            count_once(collector, &mut counted[2], Kind::Nodes);
            document::add_node(collector, name, node, citation(Kind::Nodes));
        } else if tokens.is_empty() {
            is_events = false;
        }
    }
    counted.contains(&true)
}

fn count_once(collector: &mut Collector, counted: &mut bool, kind: Kind) {
    if !*counted {
        collector.count(kind);
        *counted = true;
    }
}

/// What a `describe` was asked for, when only its events are left.
fn about_command(command: &str) -> Subject {
    let words: Vec<&str> = command.split_whitespace().collect();
    let namespace =
        words.windows(2).find(|pair| matches!(pair[0], "-n" | "--namespace")).map_or("default", |pair| pair[1]);
    let Some(verb) = words.iter().position(|word| *word == "describe") else { return Subject::default() };
    match (words.get(verb + 1), words.get(verb + 2)) {
        (Some(&("po" | "pod" | "pods")), Some(name)) => document::about("Pod", namespace, name),
        (Some(&("no" | "node" | "nodes")), Some(name)) => document::about("Node", namespace, name),
        _ => Subject::default(),
    }
}

/// Which columns a table of events has.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Columns {
    has_namespace: bool,
    /// `kubectl get events` names the object; `kubectl describe` the source.
    has_object: bool,
}

impl Columns {
    pub(super) fn of_events(line: &str) -> Option<Self> {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["Type", "Reason", "Age", "From", "Message"] => Some(Self::default()),
            ["LAST", "SEEN", "TYPE", "REASON", "OBJECT", ..] => Some(Self { has_namespace: false, has_object: true }),
            ["NAMESPACE", "LAST", "SEEN", "TYPE", "REASON", "OBJECT", ..] => {
                Some(Self { has_namespace: true, has_object: true })
            }
            _ => None,
        }
    }
}

/// One row of events; says whether it was one.
pub(super) fn event(
    collector: &mut Collector,
    block: &Block<'_>,
    number: u64,
    line: &str,
    columns: &Columns,
    about: &Subject,
) -> bool {
    let cells: Vec<&str> = line.trim().split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect();
    let (age, reason, object, message) = match (columns.has_object, columns.has_namespace, cells.as_slice()) {
        (false, _, ["Normal" | "Warning", reason, age, _, message @ ..]) => (*age, *reason, None, message),
        (true, false, [age, "Normal" | "Warning", reason, object, message @ ..]) => {
            (*age, *reason, Some(("default", *object)), message)
        }
        (true, true, [namespace, age, "Normal" | "Warning", reason, object, message @ ..]) => {
            (*age, *reason, Some((*namespace, *object)), message)
        }
        _ => return false,
    };
    let about = match object.and_then(|(namespace, object)| Some((namespace, object.split_once('/')?))) {
        Some((namespace, (kind, name))) => document::about(kind, namespace, name),
        None => about.clone(),
    };
    // `42s (x2 over 102s)`
    let count = crate::subject::after(age, "(x", |byte| byte.is_ascii_digit())
        .and_then(|count| count.parse().ok())
        .unwrap_or(1);
    let text = format!("{reason}: {}", message.join("  "));
    note(
        collector,
        &Message {
            file: block.file,
            line: Some(number),
            kind: Kind::Events,
            text: &text,
            about,
            first: None,
            last: None,
            count,
        },
    );
    true
}

/// `[namespace] name 1/1 Running 0 9m11s 100.64.1.61 node …`
fn pod(tokens: &[&str]) -> Option<(PodKey, Pod)> {
    let is_count = |token: &&str| {
        token.split_once('/').is_some_and(|(ready, all)| {
            [ready, all].iter().all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
        })
    };
    let ready = tokens.iter().position(is_count).filter(|index| matches!(index, 1 | 2))?;
    let namespace = if ready == 2 { tokens.first()? } else { "default" };
    let name = tokens.get(ready - 1)?;
    let phase = tokens.get(ready + 1).filter(|phase| phase.starts_with(|letter: char| letter.is_ascii_uppercase()))?;
    // Restarts may say when: `3 (5m ago)`.
    let rest = tokens.get(ready + 2..)?;
    let address = rest.iter().position(|token| token.parse::<Ipv4Addr>().is_ok());
    let none = || rest.iter().position(|token| *token == "<none>");
    let node = address.or_else(none).and_then(|index| rest.get(index + 1)).filter(|node| **node != "<none>");
    let read = Pod {
        node: node.map(|node| NodeName::new(*node)),
        address: address.and_then(|index| rest.get(index)?.parse().ok()),
        phase: (*phase).to_owned(),
        host_network: None,
    };
    Some((PodKey::new(namespace, *name), read))
}

/// `name Ready <none> 3d v1.27.3 10.0.208.27 …`
fn node(tokens: &[&str]) -> Option<(NodeName, Node)> {
    let name = tokens.first()?;
    let status = tokens.get(1)?;
    let mut states = status.split(',');
    let ready = match states.next()? {
        "Ready" => true,
        "NotReady" => false,
        _ => return None,
    };
    let version = tokens.iter().position(|token| token.starts_with("v1."))?;
    let read = Node {
        ready: Some(ready),
        cordoned: states.any(|state| state == "SchedulingDisabled"),
        address: tokens.get(version + 1).and_then(|address| address.parse().ok()),
        ..Node::default()
    };
    Some((NodeName::new(*name), read))
}
