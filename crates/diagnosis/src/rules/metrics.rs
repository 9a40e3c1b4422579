//! Rule: what counters and gauges show by themselves.

use freeboard_address::Cidr;

use crate::draft::Drafts;
use crate::{Declaration, Facts, Place, catalogue as c};

/// The share of a cluster CIDR from which on it is nearly full.
const NEARLY_FULL: f64 = 0.8;

/// Reads metrics, and names the pools of Calico and Cilium where these have no room.
pub(super) fn judge(facts: &Facts, drafts: &mut Drafts) {
    for file in &facts.metrics {
        for (name, value) in &file.fact {
            // Addresses and interfaces that were dropped with pods on them, since the agent's start.
            let is_forced =
                name.starts_with("awscni_force_removed_enis") || name.starts_with("awscni_force_removed_ips");
            if is_forced && *value >= 1.0 {
                let draft = drafts.at(&c::FORCED_REMOVAL, Place::Log { file: file.citation.file.to_string() });
                draft.cite(&file.citation).note(format!("{name} is {value}."));
            }
            if name.starts_with("node_ipam_controller_cidrset_usage_cidrs") {
                cluster_range(facts, drafts, name, *value, file);
            }
        }
    }
    pools(facts, drafts, &c::CALICO_POOL_EXHAUSTED);
    pools(facts, drafts, &c::CILIUM_POOL_EXHAUSTED);
}

/// The gauge is a share from 0 to 1, though its help speaks of per cent.
fn cluster_range(
    facts: &Facts,
    drafts: &mut Drafts,
    name: &str,
    value: f64,
    file: &crate::Cited<std::collections::BTreeMap<String, f64>>,
) {
    let declaration = match value {
        full if full >= 1.0 => &c::NODE_BLOCK_UNAVAILABLE,
        much if much >= NEARLY_FULL => &c::POD_RANGE_NEARLY_FULL,
        _ => return,
    };
    let cidr: Option<Cidr> = name.split('"').nth(1).and_then(|text| text.parse().ok());
    let place = match cidr {
        Some(cidr) if declaration.id == c::POD_RANGE_NEARLY_FULL.id => {
            Place::Range { name: "of the cluster".to_owned(), cidr: Some(cidr) }
        }
        _ => Place::Cluster,
    };
    let draft = drafts.at(declaration, place);
    draft.cite(&file.citation).note(format!("{name} is {value}."));
    if let Some(cidr) = cidr {
        draft.word("cluster_cidr", cidr.to_string());
    }
    let nodes = facts.nodes.values().filter(|node| !node.pod_blocks.is_empty()).count();
    if nodes > 0 {
        draft.figure("nodes with a pod block", u64::try_from(nodes).unwrap_or(u64::MAX), None);
    }
}

fn pools(facts: &Facts, drafts: &mut Drafts, declaration: &'static Declaration) {
    for draft in drafts.all(declaration) {
        for (name, pool) in &facts.block_pools {
            let blocks: Vec<String> = pool.cidrs.iter().map(ToString::to_string).collect();
            let disabled = if pool.disabled { ", disabled" } else { "" };
            draft.note(format!("Pool {name}: {}{disabled}.", blocks.join(", "))).cite(&pool.citation);
        }
    }
}
