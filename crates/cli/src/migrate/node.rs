//! What a node's own files say: which plugins its runtime calls, and which pod has which address.

use std::collections::BTreeMap;
use std::path::Path;

use freeboard_diagnosis::Facts;
use serde_json::Value;

use super::files::{Found, NodeFiles};
use super::verdict::{Line, and_more};

/// The file that Freeboard writes in the place of the other's.
const CONFLIST: &str = "10-aws.conflist";
const PLUGIN: &str = "aws-cni";

/// Looks at everything.
pub(super) fn look(facts: &Facts, files: &NodeFiles) -> Vec<Line> {
    let mut lines: Vec<Line> = files
        .broken
        .iter()
        .map(|(path, why)| {
            Line::changes("files", format!("{} cannot be used: {why}", name(path))).at(path.display().to_string())
        })
        .collect();
    for list in &files.lists {
        let of_this = plugins(list, files);
        lines.extend(of_this.into_iter().map(|line| line.at(list.path.display().to_string())));
    }
    for checkpoint in &files.checkpoints {
        let of_this = allocations(checkpoint, facts);
        lines.extend(of_this.into_iter().map(|line| line.at(checkpoint.path.display().to_string())));
    }
    if files.legacy_tables.iter().any(|table| table == "nat") {
        let says = "iptables-legacy has a nat table here; chains of the Amazon VPC CNI in it are not seen, and stay";
        let remedy = "after the take-over remove AWS-SNAT-CHAIN-0 and AWS-CONNMARK-CHAIN-0 with iptables-legacy, with the rules \
                      that jump to them: they would go on translating by the VPC's blocks of today";
        lines.push(Line::changes("packet filter", says).with_remedy(remedy));
    }
    lines
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

fn plugins(list: &Found, files: &NodeFiles) -> Vec<Line> {
    let subject = name(&list.path);
    let plugins = list.value["plugins"].as_array().cloned().unwrap_or_else(|| vec![list.value.clone()]);
    let is_served = plugins.first().is_some_and(|plugin| text(plugin, "type") == PLUGIN);
    if !is_served {
        // A runtime takes the first file of the directory, by name.
        let is_first =
            files.lists.iter().all(|other| other.path.parent() != list.path.parent() || list.path <= other.path);
        let first = plugins.first().map(|plugin| text(plugin, "type").to_owned()).unwrap_or_default();
        return match is_first {
            true => vec![Line::unsupported(
                subject,
                format!(
                    "the runtime takes this file first, and it starts {first:?} and not {PLUGIN:?}: nothing would change"
                ),
            )],
            false => vec![Line::safe(subject, format!("it starts {first:?}, comes later by name, and is not touched"))],
        };
    }
    let mut lines: Vec<Line> = plugins.iter().skip(1).map(|plugin| chained(&subject, plugin)).collect();
    if subject == CONFLIST {
        lines.push(Line::safe(subject, "it is replaced by Freeboard's, with the same name and network"));
    } else {
        let says =
            format!("it starts {PLUGIN:?} under another name than {CONFLIST}; Freeboard writes that one beside it");
        lines.push(Line::changes(subject, says).with_remedy("remove the file when Freeboard's is there"));
    }
    lines
}

/// A plugin that is called after the Amazon VPC CNI's.
fn chained(subject: &str, plugin: &Value) -> Line {
    let kind = text(plugin, "type");
    match kind {
        "portmap" => Line::safe(subject, "portmap is not needed: Freeboard's plugin sets host ports up itself"),
        "egress-cni" if text(plugin, "enabled") != "true" => Line::safe(subject, "egress-cni is off and goes"),
        "tuning" => Line::changes(subject, "tuning is not called for new pods: IPv6 is not switched off in them"),
        _ => Line::unsupported(subject, format!("{kind:?} would not be called for new pods any more"))
            .with_remedy(format!("Freeboard writes {CONFLIST} whole; find another way for what {kind:?} does")),
    }
}

fn allocations(checkpoint: &Found, facts: &Facts) -> Vec<Line> {
    let subject = "checkpoint";
    let none = Vec::new();
    let allocations = checkpoint.value["allocations"].as_array().unwrap_or(&none);
    let mut lines = Vec::new();
    let with = |key: &str| allocations.iter().filter(|one| !text(one, key).is_empty()).count();
    if with("ipv6") > 0 {
        lines.push(Line::unsupported(subject, format!("{} pods have IPv6 addresses", with("ipv6"))));
    }
    let several = allocations.iter().filter(|one| one["metadata"]["interfacesCount"].as_u64().unwrap_or(0) > 1);
    if let Some(one) = several.clone().next() {
        let pod = format!("{}/{}", text(&one["metadata"], "k8sPodNamespace"), text(&one["metadata"], "k8sPodName"));
        lines.push(Line::unsupported(
            subject,
            format!("pods with several interfaces: {}", and_more(pod, several.count())),
        ));
    }
    let mut holders: BTreeMap<&str, usize> = BTreeMap::new();
    for address in allocations.iter().map(|one| text(one, "ipv4")).filter(|address| !address.is_empty()) {
        *holders.entry(address).or_default() += 1;
    }
    for (address, count) in holders.iter().filter(|(_, count)| **count > 1) {
        let says =
            format!("{address} is there {count} times: the newest keeps it, the others are held apart until their DEL");
        lines.push(Line::changes(subject, says));
    }
    let known = |address: &str| {
        let address = address.parse().ok();
        let blocks = facts.interfaces.values().flat_map(|one| &one.secondary);
        let own = facts.introspections.iter().flat_map(|one| one.interfaces.values()).flat_map(|one| &one.blocks);
        address.is_some_and(|address| blocks.chain(own).any(|block| block.contains(address)))
    };
    let is_told = facts.interfaces.values().any(|one| !one.secondary.is_empty()) || !facts.introspections.is_empty();
    let strange: Vec<&&str> = holders.keys().filter(|address| is_told && !known(address)).collect();
    if let Some(first) = strange.first() {
        let says = format!("on no interface of the input: {}", and_more(first, strange.len()));
        let remedy =
            "Freeboard keeps such an allocation and gives the address to nobody; look whether the pod still runs";
        lines.push(Line::changes(subject, says).with_remedy(remedy));
    }
    lines.push(Line::safe(subject, format!("{} allocations are taken on as they stand", holders.len())));
    lines
}
