//! Rule: what a signal proves by itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::draft::{Draft, Drafts};
use crate::{Declaration, Facts, Lead, Place, Sighting, catalogue as c};

/// Makes a finding of each signal that proves one.
pub(super) fn judge(facts: &Facts, drafts: &mut Drafts) {
    let mut times: BTreeMap<(&'static str, &Arc<str>), u64> = BTreeMap::new();
    for sighting in &facts.sightings {
        if let Some(declaration) = sighting.signal.lead.finding() {
            *times.entry((declaration.id, &sighting.citation.file)).or_default() += sighting.count;
        }
    }
    for sighting in &facts.sightings {
        let declaration = match sighting.signal.lead {
            Lead::Proves(declaration) => declaration,
            Lead::Repeated(declaration, least) => {
                let seen = times.get(&(declaration.id, &sighting.citation.file)).copied().unwrap_or(0);
                if seen < least {
                    continue;
                }
                declaration
            }
            Lead::NoAddress | Lead::NoNode | Lead::Context => continue,
        };
        let draft = drafts.at(declaration, place(facts, declaration, sighting));
        draft.see(sighting);
        describe(facts, draft, sighting);
    }
    for draft in drafts.every() {
        let times = draft.occurrences;
        draft.figure(if times == 1 { "time seen" } else { "times seen" }, times, None);
    }
}

/// Whether a finding is about a subnet.
pub(super) fn is_about_subnet(declaration: &Declaration) -> bool {
    [&c::SUBNET_EXHAUSTED, &c::SUBNET_FRAGMENTED, &c::NO_SUBNET_ALLOWED].iter().any(|one| one.id == declaration.id)
}

fn is_about_call(declaration: &Declaration) -> bool {
    [&c::THROTTLED, &c::NOT_AUTHORIZED, &c::CLOUD_UNAVAILABLE].iter().any(|one| one.id == declaration.id)
}

fn is_about_interface(declaration: &Declaration) -> bool {
    let all = [&c::FORCED_REMOVAL, &c::LEAKED_INTERFACE, &c::FOREIGN_INTERFACE, &c::INTERFACE_RELEASE_FAILED];
    all.iter().any(|one| one.id == declaration.id)
}

/// Where a sighting belongs.
pub(super) fn place(facts: &Facts, declaration: &Declaration, sighting: &Sighting) -> Place {
    let subject = &sighting.subject;
    if is_about_subnet(declaration)
        && let Some(id) = facts.subnet_of(sighting)
    {
        return subnet_place(facts, &id);
    }
    if is_about_call(declaration) {
        return subject.action.clone().map_or(Place::Cluster, |action| Place::Api { action });
    }
    if is_about_interface(declaration)
        && let Some(id) = &subject.interface
    {
        return Place::Interface { id: id.clone() };
    }
    if declaration.id == c::ENI_CONFIG_MISSING.id
        && let Some(name) = &subject.name
    {
        return Place::Named { what: "ENIConfig".to_owned(), name: name.clone() };
    }
    let pools = [&c::CALICO_POOL_EXHAUSTED, &c::CILIUM_POOL_EXHAUSTED, &c::PLUGIN_RANGE_EXHAUSTED];
    if pools.iter().any(|one| one.id == declaration.id) {
        if let Some(name) = &subject.range {
            return Place::Range { name: name.clone(), cidr: subject.block };
        }
        if declaration.id == c::CALICO_POOL_EXHAUSTED.id {
            return Place::Cluster;
        }
    }
    let of_cluster = [&c::POD_LIMIT_REACHED, &c::SCALE_UP_BACKOFF, &c::SCALE_UP_OTHER, &c::NODE_BLOCK_UNAVAILABLE];
    if of_cluster.iter().any(|one| one.id == declaration.id) {
        return Place::Cluster;
    }
    match facts.node_of(sighting) {
        Some(name) => Place::Node { name },
        None if facts.logs.contains_key(&sighting.citation.file) => {
            Place::Log { file: sighting.citation.file.to_string() }
        }
        None => Place::Cluster,
    }
}

/// The place of a subnet with all that is known of its name.
pub(super) fn subnet_place(facts: &Facts, id: &freeboard_address::SubnetId) -> Place {
    let known = facts.subnets.get(id);
    Place::Subnet {
        id: id.clone(),
        cidr: known.map(|subnet| subnet.cidr),
        name: known.and_then(|subnet| subnet.name.clone()),
    }
}

/// Fills in what the sighting and its log name.
fn describe(facts: &Facts, draft: &mut Draft, sighting: &Sighting) {
    if let Some(node) = facts.node_of(sighting) {
        draft.word("node", node.as_str());
        draft.nodes.insert(node);
    }
    if let Some(interface) = &sighting.subject.interface {
        draft.word("interface", interface.as_str());
    }
    if let Some(action) = &sighting.subject.action {
        draft.word("action", action.rsplit(':').next().unwrap_or(action));
    }
    if let Some(name) = &sighting.subject.name {
        draft.word("eni_config", name.as_str());
    }
    let Some(log) = facts.logs.get(&sighting.citation.file) else { return };
    if let Some(instance) = &log.instance {
        draft.word("instance", instance.as_str());
    }
    if let Some(vpc) = &log.vpc {
        draft.word("vpc", vpc.as_str());
    }
    if let Some(zone) = &log.zone {
        draft.word("zone", zone.as_str());
        draft.word("region", zone.trim_end_matches(|letter: char| letter.is_ascii_lowercase()));
    }
    if log.clock_steps > 0 {
        draft.note(format!(
            "The clock of {} went back {} times: times from it are not in order.",
            sighting.citation.file, log.clock_steps
        ));
    }
}
