//! Why a pod has no address, or where its address comes from.

use std::net::Ipv4Addr;

use anyhow::{Result, bail};
use freeboard_address::PodKey;
use freeboard_capacity::{Inventory, Purpose, Subnet};
use freeboard_diagnosis::{Diagnosis, Facts, Finding, Place, Severity, Sighting, diagnose};

use super::chain::{Explanation, Role};
use crate::input::Input;

/// Names that are offered when none matches.
const MOST_OFFERED: usize = 5;

/// Explains the pod of this name.
pub(super) fn explain(input: &Input, name: &str) -> Result<Explanation> {
    let facts = input.facts();
    let diagnosis = diagnose(facts);
    let key = find(input, &diagnosis, name)?;
    let known = facts.pods.get(&key);
    if let Some(address) = known.and_then(|pod| pod.address) {
        return Ok(with_address(input, &key, address));
    }
    let causes: Vec<&Finding> =
        diagnosis.findings.iter().filter(|finding| finding.waiting_pods.contains(&key)).collect();
    let sightings: Vec<&Sighting> =
        facts.sightings.iter().filter(|one| one.subject.pod.as_ref() == Some(&key)).collect();
    let since = sightings.iter().filter_map(|one| one.first).min();
    let last = sightings.iter().filter_map(|one| one.last).max();
    let title = match (since, last) {
        (Some(since), Some(last)) if last > since => {
            let seconds = last.as_second() - since.as_second();
            format!("{key} had no address for {seconds} s, as far as the evidence goes.")
        }
        _ => format!("{key} has no address."),
    };
    let mut explanation = Explanation::new(title);
    explanation.is_wrong = true;
    if let Some(pod) = known {
        let node =
            pod.node.as_ref().map_or_else(|| "it is on no node yet".to_owned(), |node| format!("it is on node {node}"));
        explanation.say(Role::What, format!("Its state is {}; {node}.", pod.phase), &[&pod.citation]);
    }
    for one in sightings.iter().take(2) {
        let times = if one.count > 1 { format!(" ({} times)", one.count) } else { String::new() };
        explanation.say(Role::What, format!("This was said about it{times}:"), &[&one.citation]);
    }
    if causes.is_empty() {
        indirect(facts, &diagnosis, &key, &mut explanation);
    }
    for cause in causes {
        explanation.add_finding(cause);
    }
    if !explanation.links.iter().any(|link| link.role == Role::Not) && !diagnosis.ruled_out.is_empty() {
        explanation.say(Role::Not, format!("In the whole evidence: {}.", diagnosis.ruled_out.join("; ")), &[]);
    }
    Ok(explanation)
}

/// What is wrong where the pod's node is, when nothing ties the pod itself to a cause.
fn indirect(facts: &Facts, diagnosis: &Diagnosis, key: &PodKey, explanation: &mut Explanation) {
    let node = facts.pods.get(key).and_then(|pod| pod.node.clone());
    let address = node
        .as_ref()
        .and_then(|node| facts.nodes.get(node)?.address.or_else(|| freeboard_diagnosis::address_in_name(node)));
    let is_near = |finding: &&Finding| {
        if let Place::Subnet { cidr: Some(cidr), .. } = &finding.place {
            return address.is_some_and(|address| cidr.contains(address));
        }
        matches!(&finding.place, Place::Node { name } if node.as_ref() == Some(name))
    };
    let near: Vec<&Finding> =
        diagnosis.findings.iter().filter(|one| one.severity != Severity::Advice).filter(is_near).collect();
    if near.is_empty() {
        explanation.say(
            Role::Why,
            "Nothing in the evidence says why. The log of the node's agent (/var/log/aws-routed-eni/ipamd.log) and the pod's events would.",
            &[],
        );
    } else {
        explanation.say(Role::Why, "Nothing ties this pod itself to a cause; this is wrong where its node is.", &[]);
    }
    for finding in near {
        explanation.add_finding(finding);
    }
}

fn with_address(input: &Input, key: &PodKey, address: Ipv4Addr) -> Explanation {
    let facts = input.facts();
    let mut explanation = Explanation::new(format!("{key} has the address {address}."));
    if let Some(pod) = facts.pods.get(key) {
        let node = pod.node.as_ref().map_or_else(String::new, |node| format!(" on node {node}"));
        let network = if pod.host_network == Some(true) { "; it uses its node's network and address" } else { "" };
        explanation.say(Role::What, format!("It is {}{node}{network}.", pod.phase), &[&pod.citation]);
    }
    match input.inventory.subnet_around(address) {
        Some(subnet) => from_subnet(input, subnet, address, &mut explanation),
        None => from_range(&input.inventory, address, &mut explanation),
    }
    explanation
}

fn from_subnet(input: &Input, subnet: &Subnet, address: Ipv4Addr, explanation: &mut Explanation) {
    let facts = input.facts();
    let vpc = subnet.vpc.as_ref().and_then(|id| input.inventory.vpc(id));
    let block =
        vpc.and_then(|vpc| vpc.blocks.iter().position(|block| block.contains(address)).map(|index| (vpc, index)));
    let kind = match block {
        Some((vpc, 0)) => vpc.blocks.first().map(|block| format!(", in the VPC's primary block {block}")),
        Some((vpc, index)) => vpc.blocks.get(index).map(|block| format!(", in the secondary block {block}")),
        None => None,
    };
    let free = subnet.free_addresses.map_or_else(String::new, |free| {
        format!("; {free} of its {} usable addresses are free", subnet.usable_addresses())
    });
    let cited: Vec<_> = facts.subnets.get(&subnet.id).map(|known| &known.citation).into_iter().collect();
    explanation.say(
        Role::Why,
        format!("The address is of {} {}{}{free}.", subnet.title(), subnet.cidr, kind.unwrap_or_default()),
        &cited,
    );
    let config = facts.eni_configs.iter().find(|(_, config)| config.subnet.as_ref() == Some(&subnet.id));
    if let Some((name, config)) = config {
        explanation.say(
            Role::Why,
            format!("Pods get it there because ENIConfig {name} names this subnet."),
            &[&config.citation],
        );
    } else if subnet.cni_role.as_deref().is_some_and(|role| !matches!(role, "" | "0")) {
        explanation.say(
            Role::Why,
            "Pods get addresses there because the subnet is tagged kubernetes.io/role/cni.",
            &[],
        );
    } else {
        explanation.say(Role::Why, "Pods get addresses there because the node's own interface is in this subnet.", &[]);
    }
    let held = subnet.holdings.iter().find(|one| one.block.contains(address));
    if let Some(interface) = held.and_then(|held| held.interface.as_ref()) {
        explanation.say(Role::Known, format!("It is on interface {interface}."), &[]);
    }
}

fn from_range(inventory: &Inventory, address: Ipv4Addr, explanation: &mut Explanation) {
    let range = inventory.ranges.iter().find(|range| range.purpose == Purpose::Pods && range.cidr.contains(address));
    let node = inventory
        .nodes
        .iter()
        .find_map(|node| node.pod_blocks.iter().find(|block| block.contains(address)).map(|block| (node, block)));
    if let Some((node, block)) = node {
        explanation.say(Role::Why, format!("It is of {block}, the block of node {}.", node.name), &[]);
    }
    match range {
        Some(range) => {
            explanation.say(Role::Why, format!("That is of the secondary range {} {}.", range.name, range.cidr), &[])
        }
        None if node.is_none() => explanation.say(Role::Why, "No range of the evidence contains it.", &[]),
        None => {}
    }
}

/// The pod that is meant: `namespace/name`, or a name that only one pod has.
fn find(input: &Input, diagnosis: &Diagnosis, name: &str) -> Result<PodKey> {
    let facts = input.facts();
    let mut all: Vec<&PodKey> = facts.pods.keys().chain(&input.inventory.waiting).collect();
    all.extend(diagnosis.findings.iter().flat_map(|finding| &finding.waiting_pods));
    all.extend(facts.sightings.iter().filter_map(|one| one.subject.pod.as_ref()));
    all.sort_unstable();
    all.dedup();
    let is_meant = |key: &&&PodKey| match name.split_once('/') {
        Some((namespace, name)) => key.namespace == namespace && key.name == name,
        None => key.name == name,
    };
    let meant: Vec<&&PodKey> = all.iter().filter(is_meant).collect();
    match meant.as_slice() {
        [one] => Ok((**one).clone()),
        [] => {
            let part = name.rsplit('/').next().unwrap_or(name);
            let near: Vec<String> = all
                .iter()
                .filter(|key| key.name.contains(part))
                .chain(all.iter())
                .take(MOST_OFFERED)
                .map(ToString::to_string)
                .collect();
            if near.is_empty() {
                bail!("there is no pod in {}: add the output of `kubectl get pods -A -o json`", input.named);
            }
            bail!("there is no pod {name:?} in {}; there are: {}", input.named, near.join(", "))
        }
        several => {
            let several: Vec<String> = several.iter().map(ToString::to_string).collect();
            bail!("{name:?} may be any of {}: name it with its namespace", several.join(", "))
        }
    }
}
