//! Rule: nodes, pods and interfaces that clash or have leaked.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use freeboard_address::{Cidr, NodeName, PodKey};

use crate::draft::Drafts;
use crate::{Cited, Facts, Place, Pod, catalogue as c};

use super::address_of;

/// Compares nodes with nodes, pods with pods, and looks for interfaces that belong to nothing.
pub(super) fn judge(facts: &Facts, drafts: &mut Drafts) {
    duplicate_blocks(facts, drafts);
    duplicate_addresses(facts, drafts);
    leaked_interfaces(facts, drafts);
    vpc_blocks(facts, drafts);
}

fn duplicate_blocks(facts: &Facts, drafts: &mut Drafts) {
    let mut blocks: Vec<(Cidr, &NodeName)> =
        facts.nodes.iter().flat_map(|(name, node)| node.pod_blocks.iter().map(move |block| (*block, name))).collect();
    blocks.sort();
    // In order of address, a block overlaps an earlier one exactly when it overlaps the one that reaches furthest.
    let mut furthest: Option<(Cidr, &NodeName)> = None;
    for (block, node) in blocks {
        if let Some((other, holder)) = furthest
            && other.overlaps(block)
            && holder != node
        {
            let draft = drafts.at(&c::DUPLICATE_POD_BLOCK, Place::Node { name: node.clone() });
            draft.summarise(format!("{block} of {node} and {other} of {holder} overlap"));
            draft.word("node", node.as_str());
            for name in [node, holder] {
                if let Some(known) = facts.nodes.get(name) {
                    draft.cite(&known.citation);
                }
            }
        }
        if furthest.is_none_or(|(other, _)| block.last() > other.last()) {
            furthest = Some((block, node));
        }
    }
}

fn duplicate_addresses(facts: &Facts, drafts: &mut Drafts) {
    let mut holders: BTreeMap<Ipv4Addr, Vec<(&PodKey, &Cited<Pod>)>> = BTreeMap::new();
    for (key, pod) in &facts.pods {
        if let Some(address) = pod.address.filter(|_| pod.phase == "Running" && pod.host_network != Some(true)) {
            holders.entry(address).or_default().push((key, pod));
        }
    }
    for (address, pods) in holders {
        let is_of_a_node = facts.nodes.keys().any(|node| address_of(facts, node) == Some(address))
            || pods.iter().any(|(_, pod)| pod.node.as_ref().and_then(|node| address_of(facts, node)) == Some(address));
        let is_known = pods.iter().all(|(_, pod)| pod.host_network == Some(false));
        if pods.len() < 2 || (!is_known && is_of_a_node) {
            continue;
        }
        // Pods on the network of one node share its address; where the evidence does not say who does, two nodes must be involved.
        let are_on_two_nodes = pods.windows(2).any(|pair| matches!(pair, [one, other] if one.1.node != other.1.node));
        if !is_known && !are_on_two_nodes {
            continue;
        }
        let names: Vec<String> = pods.iter().map(|(key, _)| key.to_string()).collect();
        let place = Place::Named { what: "address".to_owned(), name: address.to_string() };
        let draft = drafts.at(&c::DUPLICATE_ADDRESS, place);
        draft.summarise(format!("{} hold it", names.join(" and ")));
        if let Some((key, _)) = pods.first() {
            draft.word("namespace", key.namespace.as_str());
            draft.word("pod", key.name.as_str());
        }
        for (_, pod) in pods {
            draft.cite(&pod.citation);
        }
    }
}

fn leaked_interfaces(facts: &Facts, drafts: &mut Drafts) {
    for (id, interface) in &facts.interfaces {
        if interface.status != "available" || !interface.made_by_cni || interface.instance.is_some() {
            continue;
        }
        let draft = drafts.at(&c::LEAKED_INTERFACE, Place::Interface { id: id.clone() });
        draft.cite(&interface.citation).word("interface", id.as_str());
        draft.figure("addresses on it", interface.addresses, None);
        if let Some(subnet) = &interface.subnet {
            draft.note(format!("It lies in {subnet}."));
        }
    }
}

fn vpc_blocks(facts: &Facts, drafts: &mut Drafts) {
    for (id, vpc) in &facts.vpcs {
        for block in &vpc.blocks {
            let Some(state) = block.state.as_deref().filter(|state| matches!(*state, "failing" | "failed")) else {
                continue;
            };
            let place = Place::Named { what: "VPC block".to_owned(), name: block.cidr.to_string() };
            let draft = drafts.at(&c::VPC_BLOCK_NOT_ASSOCIATED, place);
            draft.cite(&vpc.citation).summarise(format!("its association is {state}"));
            if !id.as_str().is_empty() {
                draft.word("vpc", id.as_str());
            }
        }
    }
}
