//! Rule: settings, ENIConfigs and limits that cannot work together, and pools that hold too much.

use freeboard_address::NodeName;

use crate::draft::Drafts;
use crate::report::grouped;
use crate::{Agent, Cited, Facts, Kind, Lead, Node, Place, Severity, catalogue as c};

const ENI_CONFIG_KEY: &str = "ENI_CONFIG_LABEL_DEF";
const ZONE_LABELS: [&str; 2] = ["topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone"];
/// Idle addresses below which nobody should be troubled.
const LEAST_WASTE: u64 = 10;

/// Reads the agent's settings against the rest.
pub(super) fn judge(facts: &Facts, drafts: &mut Drafts) {
    for agent in &facts.agents {
        minimum_without_warm(agent, drafts);
        not_provisioning(facts, agent, drafts);
        if is_on(agent, "AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG") {
            custom_networking(facts, agent, drafts);
        }
    }
    wrong_zones(facts, drafts);
    more_pods_than_addresses(facts, drafts);
    waste(facts, drafts);
    cordoned(facts, drafts);
}

fn value<'a>(agent: &'a Agent, name: &str) -> Option<&'a str> {
    agent.environment.get(name).map(String::as_str).filter(|value| !value.is_empty())
}

/// As the agent reads a boolean.
fn is_on(agent: &Agent, name: &str) -> bool {
    value(agent, name).is_some_and(|value| matches!(value, "1" | "t" | "T" | "true" | "TRUE" | "True"))
}

fn setting(name: &str) -> Place {
    Place::Named { what: "setting".to_owned(), name: name.to_owned() }
}

fn pods_fail(facts: &Facts) -> bool {
    facts.sightings.iter().any(|one| matches!(one.signal.lead, Lead::NoAddress))
}

fn minimum_without_warm(agent: &Cited<Agent>, drafts: &mut Drafts) {
    let number = |name| value(agent, name).and_then(|value| value.parse::<u64>().ok()).unwrap_or(0);
    let minimum = number("MINIMUM_IP_TARGET");
    if minimum > 0 && number("WARM_IP_TARGET") == 0 {
        let draft = drafts.at(&c::MINIMUM_WITHOUT_WARM, setting("MINIMUM_IP_TARGET"));
        draft.cite(&agent.citation);
        draft.summarise(format!(
            "MINIMUM_IP_TARGET={minimum} and no WARM_IP_TARGET: a node stops at {minimum} addresses"
        ));
    }
}

/// To forbid growth is a decision; it is a finding only when pods wait.
fn not_provisioning(facts: &Facts, agent: &Cited<Agent>, drafts: &mut Drafts) {
    let off =
        ["DISABLE_NETWORK_RESOURCE_PROVISIONING", "ENABLE_IMDS_ONLY_MODE"].into_iter().find(|name| is_on(agent, name));
    if let Some(name) = off.filter(|_| pods_fail(facts)) {
        drafts.at(&c::PROVISIONING_DISABLED, setting(name)).cite(&agent.citation);
    }
}

fn custom_networking(facts: &Facts, agent: &Cited<Agent>, drafts: &mut Drafts) {
    // That there is none can be said only when somebody asked for them.
    if !facts.has(&[Kind::EniConfigs]) {
        return;
    }
    if facts.eni_configs.is_empty() {
        drafts.at(&c::CUSTOM_NETWORKING_WITHOUT_CONFIG, Place::Cluster).cite(&agent.citation);
        return;
    }
    let names: Vec<&str> = facts.eni_configs.keys().map(String::as_str).collect();
    for (name, node) in &facts.nodes {
        let Some(wanted) = wanted_config(agent, node) else { continue };
        if facts.eni_configs.contains_key(&wanted) {
            continue;
        }
        let is_seen = drafts.has(&c::ENI_CONFIG_MISSING);
        let place = Place::Named { what: "ENIConfig".to_owned(), name: wanted.clone() };
        let draft = drafts.at(&c::ENI_CONFIG_MISSING, place);
        if !is_seen {
            draft.severity = Severity::Wrong;
        }
        draft.cite(&node.citation).cite(&agent.citation);
        draft.word("eni_config", wanted.as_str()).word("node", name.as_str());
        draft.nodes.insert(name.clone());
        draft.summarise(format!(
            "node {name} asks for {wanted:?}; only {} {}",
            names.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", "),
            if names.len() == 1 { "exists" } else { "exist" }
        ));
    }
}

/// The ENIConfig that a node asks for: its own label or annotation, the zone where the label's name says so, or `default`.
fn wanted_config(agent: &Agent, node: &Node) -> Option<String> {
    if let Some(own) = &node.eni_config {
        return Some(own.clone());
    }
    match value(agent, ENI_CONFIG_KEY) {
        Some(label) if ZONE_LABELS.contains(&label) => node.zone.clone(),
        // What other labels the node has is not kept.
        Some(_) => None,
        None => Some("default".to_owned()),
    }
}

fn wrong_zones(facts: &Facts, drafts: &mut Drafts) {
    let by_zone =
        facts.agents.iter().any(|agent| value(agent, ENI_CONFIG_KEY).is_some_and(|key| ZONE_LABELS.contains(&key)));
    for (name, config) in &facts.eni_configs {
        let Some(wanted) = &config.subnet else { continue };
        let place = Place::Named { what: "ENIConfig".to_owned(), name: name.clone() };
        let summary = match facts.subnets.get(wanted) {
            Some(subnet) => {
                let zone = subnet.zone.as_deref();
                let is_elsewhere = by_zone && zone.is_some_and(|zone| zone != name);
                is_elsewhere.then(|| format!("its subnet {wanted} lies in {}", zone.unwrap_or_default()))
            }
            // Only a listing of the whole VPC shows that a subnet does not exist.
            None if facts.kinds.contains(&Kind::Ec2Subnets) && facts.subnets.len() > 1 => {
                Some(format!("its subnet {wanted} is not among the {} subnets read", facts.subnets.len()))
            }
            None => None,
        };
        if let Some(summary) = summary {
            let draft = drafts.at(&c::ENI_CONFIG_WRONG_ZONE, place);
            draft.summarise(summary).word("eni_config", name.as_str()).cite(&config.citation);
            let helpful = facts.subnets.iter().find(|(_, subnet)| subnet.zone.as_deref() == Some(name.as_str()));
            if let Some((id, subnet)) = helpful {
                draft.word("other_subnet", id.as_str()).cite(&subnet.citation);
            }
        }
    }
}

fn more_pods_than_addresses(facts: &Facts, drafts: &mut Drafts) {
    let [agent] = facts.agents.as_slice() else { return };
    let prefixes = is_on(agent, "ENABLE_PREFIX_DELEGATION");
    let first_is_for_pods = !is_on(agent, "AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG");
    let most = value(agent, "MAX_ENI").and_then(|value| value.parse::<u64>().ok()).filter(|most| *most > 0);
    for (name, node) in &facts.nodes {
        let limits = node.instance_type.as_ref().and_then(|name| facts.limits.get(name));
        let Some((allowed, limits)) = node.pods_allowed.zip(limits) else { continue };
        let interfaces =
            limits.interfaces.min(most.unwrap_or(u64::MAX)) - u64::from(!first_is_for_pods).min(limits.interfaces);
        let per_slot = if prefixes { 16 } else { 1 };
        let possible = interfaces * limits.addresses_per_interface.saturating_sub(1) * per_slot;
        // Two of the node's own pods use its network and need no address.
        if allowed <= possible + 2 {
            continue;
        }
        let draft = drafts.at(&c::MORE_PODS_THAN_ADDRESSES, Place::Node { name: name.clone() });
        draft.cite(&node.citation).word("max_pods", (possible + 2).to_string()).word("node", name.as_str());
        draft.figure("pods accepted", allowed, None).figure("addresses possible", possible, None);
        draft.summarise(format!("accepts {} pods; {} addresses are possible", grouped(allowed), grouped(possible)));
    }
}

fn waste(facts: &Facts, drafts: &mut Drafts) {
    let mut idle = 0;
    let mut held = 0;
    let mut nodes = 0_u64;
    let mut most_used = 0;
    for introspection in facts.introspections.iter().filter(|one| !one.truncated) {
        let mut used_here = 0;
        for interface in introspection.interfaces.values() {
            let used =
                u64::try_from(interface.addresses.iter().filter(|one| one.pod.is_some()).count()).unwrap_or(u64::MAX);
            used_here += used;
            if !interface.primary {
                held += interface.offered;
                idle += interface.offered.saturating_sub(used);
            }
        }
        nodes += 1;
        most_used = most_used.max(used_here);
    }
    if idle < LEAST_WASTE || idle * 2 < held {
        return;
    }
    let draft = drafts.at(&c::WARM_POOL_WASTE, Place::Cluster);
    draft.figure("addresses idle", idle, Some(held)).word("minimum_ip_target", most_used.max(1).to_string());
    draft.summarise(format!(
        "{} of {} addresses on the secondary interfaces of {} {} are idle",
        grouped(idle),
        grouped(held),
        grouped(nodes),
        if nodes == 1 { "node" } else { "nodes" }
    ));
    for introspection in &facts.introspections {
        draft.cite(&introspection.citation);
    }
    for agent in &facts.agents {
        let target = value(agent, "WARM_ENI_TARGET").unwrap_or("1");
        if value(agent, "WARM_IP_TARGET").is_none() {
            draft.note(format!("The agent keeps WARM_ENI_TARGET={target} spare interfaces per node."));
            draft.cite(&agent.citation);
        }
    }
}

/// A cordoned node is nothing wrong; pods that wait on it are.
fn cordoned(facts: &Facts, drafts: &mut Drafts) {
    let waiting = |name: &NodeName| {
        facts
            .sightings
            .iter()
            .any(|one| matches!(one.signal.lead, Lead::NoAddress) && facts.node_of(one).as_ref() == Some(name))
    };
    for (name, node) in facts.nodes.iter().filter(|(_, node)| node.cordoned) {
        if waiting(name) {
            let draft = drafts.at(&c::NODE_CORDONED, Place::Node { name: name.clone() });
            draft.cite(&node.citation).word("node", name.as_str());
        }
    }
}
