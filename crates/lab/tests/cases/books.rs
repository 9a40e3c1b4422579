//! What adds up when a case has come to rest: the agent, EC2 and the kernel tell the same, and nothing is left of what is gone.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use freeboard_lab::Machine;
use freeboard_vpc::{Describe, InterfaceStatus, NetworkInterface};
use serde_json::Value;

use crate::support::{Outcome, Stage, wait_until};

/// The interfaces that EC2 shows on a machine.
pub(crate) fn interfaces(stage: &Stage, machine: &Machine) -> Outcome<Vec<NetworkInterface>> {
    let mut all = every_interface(stage)?;
    all.retain(|one| one.attachment.as_ref().is_some_and(|at| at.instance_id.as_ref() == Some(&machine.instance)));
    Ok(all)
}

fn every_interface(stage: &Stage) -> Outcome<Vec<NetworkInterface>> {
    let page = stage.lab.server().with_cloud(|cloud, _| cloud.describe_network_interfaces(&Describe::default()));
    Ok(page.map_err(|error| format!("DescribeNetworkInterfaces: {error}"))?.items)
}

/// The single addresses that EC2 has assigned to a machine, without the interfaces' own.
pub(crate) fn singles(stage: &Stage, machine: &Machine) -> Outcome<BTreeSet<Ipv4Addr>> {
    let interfaces = interfaces(stage, machine)?;
    let all = interfaces.iter().flat_map(|one| &one.private_ip_addresses);
    Ok(all.filter(|one| !one.primary).map(|one| one.private_ip_address).collect())
}

/// The prefixes that EC2 has assigned to a machine.
pub(crate) fn prefixes(stage: &Stage, machine: &Machine) -> Outcome<BTreeSet<String>> {
    let interfaces = interfaces(stage, machine)?;
    Ok(interfaces.iter().flat_map(|one| &one.ipv4_prefixes).map(ToString::to_string).collect())
}

#[allow(dead_code, reason = "the trial of the migration uses it")]
/// The same under an agent that has not Freeboard's metrics.
pub(crate) fn close_under_the_incumbent(
    stage: &Stage,
    machine: &Machine,
    living: &BTreeMap<Ipv4Addr, String>,
) -> Outcome {
    wait_until("the incumbent, EC2 and kernel tell the same", || {
        let mut wrong = Vec::new();
        agent_and_cloud(stage, machine, living, &mut wrong)?;
        kernel(stage, machine, living, &mut wrong)?;
        Ok(if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) })
    })
}

/// Waits until everything adds up for the pods that live on a machine.
pub(crate) fn close(stage: &Stage, machine: &Machine, living: &BTreeMap<Ipv4Addr, String>) -> Outcome {
    wait_until("agent, EC2 and kernel tell the same", || {
        let mut wrong = Vec::new();
        agent_and_cloud(stage, machine, living, &mut wrong)?;
        metrics(machine, &mut wrong)?;
        kernel(stage, machine, living, &mut wrong)?;
        Ok(if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) })
    })
}

fn compare<T: PartialEq + std::fmt::Debug>(what: &str, found: &T, expected: &T, wrong: &mut Vec<String>) {
    if found != expected {
        wrong.push(format!("{what}: {found:?}, expected {expected:?}"));
    }
}

fn agent_and_cloud(
    stage: &Stage,
    machine: &Machine,
    living: &BTreeMap<Ipv4Addr, String>,
    wrong: &mut Vec<String>,
) -> Outcome {
    let body: Value = serde_json::from_str(&machine.get(61679, "/v1/enis")?)?;
    let known = body["0"]["ENIs"].as_object().ok_or_else(|| format!("/v1/enis has no interfaces: {body}"))?;
    let blocks: Vec<(&String, &Value)> =
        known.values().filter_map(|one| one["AvailableIPv4Cidrs"].as_object()).flatten().collect();
    let held: BTreeSet<String> = blocks.iter().map(|(cidr, _)| (*cidr).clone()).collect();
    let mut assigned = BTreeMap::new();
    for address in blocks.iter().filter_map(|(_, block)| block["IPAddresses"].as_object()).flat_map(|all| all.values())
    {
        if address["IPAMKey"]["networkName"].as_str().is_some_and(|network| !network.is_empty()) {
            let pod = address["IPAMMetadata"]["k8sPodName"].as_str().unwrap_or_default().to_owned();
            assigned.insert(address["Address"].as_str().unwrap_or_default().parse()?, pod);
        }
    }
    compare("the agent's assigned addresses", &assigned, living, wrong);
    let in_cloud: BTreeSet<String> =
        interfaces(stage, machine)?.iter().map(|one| one.network_interface_id.to_string()).collect();
    compare("the agent's interfaces", &known.keys().cloned().collect(), &in_cloud, wrong);
    let singles = singles(stage, machine)?.into_iter().map(|address| format!("{address}/32"));
    compare("the agent's blocks", &held, &singles.chain(prefixes(stage, machine)?).collect(), wrong);
    nothing_loose(stage, wrong)?;
    Ok(())
}

/// What Freeboard's agent counts that should never be.
fn metrics(machine: &Machine, wrong: &mut Vec<String>) -> Outcome {
    let metrics = machine.get(61678, "/metrics")?;
    for name in ["freeboard_alarms", "freeboard_quarantined_addresses", "freeboard_waiting_adds"] {
        let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).unwrap_or("missing");
        compare(name, &value, &"0", wrong);
    }
    Ok(())
}

/// Every interface that an agent made is attached, and the cloud's own books close.
fn nothing_loose(stage: &Stage, wrong: &mut Vec<String>) -> Outcome {
    let loose: Vec<_> = every_interface(stage)?
        .into_iter()
        .filter(|one| one.status == InterfaceStatus::Available && one.description.starts_with("aws-K8S-"))
        .map(|one| one.network_interface_id)
        .collect();
    compare("interfaces that an agent made and nobody has", &loose, &Vec::new(), wrong);
    if let Err(audit) = stage.lab.server().with_cloud(|cloud, _| cloud.audit()) {
        wrong.push(format!("the cloud's own books: {audit}"));
    }
    Ok(())
}

/// Rules and links: one way to each living pod, one from each on a secondary interface, one per secondary interface; no more.
fn kernel(stage: &Stage, machine: &Machine, living: &BTreeMap<Ipv4Addr, String>, wrong: &mut Vec<String>) -> Outcome {
    let rules = machine.output("ip", &["-4", "rule", "list"])?;
    let field = |priority: &str, word: &str| -> Vec<Ipv4Addr> {
        let of = rules.lines().filter_map(|line| line.strip_prefix(priority)?.strip_prefix(':'));
        let mut found: Vec<Ipv4Addr> =
            of.filter_map(|line| line.split_once(word)?.1.split_whitespace().next()?.parse().ok()).collect();
        found.sort_unstable();
        found
    };
    let interfaces = interfaces(stage, machine)?;
    let secondary = |one: &&NetworkInterface| one.attachment.as_ref().is_some_and(|at| at.device_index > 0);
    let carries = |one: &NetworkInterface, pod: Ipv4Addr| {
        one.private_ip_addresses.iter().any(|known| known.private_ip_address == pod)
            || one.ipv4_prefixes.iter().any(|prefix| prefix.contains(pod))
    };
    let pods: Vec<Ipv4Addr> = living.keys().copied().collect();
    compare("rules to pods", &field("512", " to "), &pods, wrong);
    let far: Vec<Ipv4Addr> =
        pods.iter().copied().filter(|pod| interfaces.iter().filter(secondary).any(|one| carries(one, *pod))).collect();
    compare("rules from pods of secondary interfaces", &field("1536", "from "), &far, wrong);
    let mut own: Vec<Ipv4Addr> = interfaces.iter().filter(secondary).map(|one| one.private_ip_address).collect();
    own.sort_unstable();
    compare("rules from secondary interfaces", &field("32765", "from "), &own, wrong);
    let links = machine.output("ip", &["-o", "link", "show"])?;
    let of_pods =
        links.lines().filter(|line| line.split(": ").nth(1).is_some_and(|name| name.starts_with("eni"))).count();
    compare("links of pods", &of_pods, &living.len(), wrong);
    Ok(())
}
