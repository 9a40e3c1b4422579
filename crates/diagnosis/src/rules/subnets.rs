//! Rule: subnets of a VPC: full, nearly full, or full by one source and not by another.

use freeboard_address::{Cidr, SubnetId, VpcId};

use crate::draft::{Draft, Drafts};
use crate::report::grouped;
use crate::{Cited, Facts, Severity, Subnet, catalogue as c};

use super::address_of;
use super::seen::subnet_place;

/// The size of a prefix.
const PREFIX_ADDRESSES: u64 = 16;
/// How long after the last refusal a pool with room shows that the shortage is over.
const OVER_AFTER_SECONDS: i64 = 600;

/// Finds subnets that are full, and says what is known of those that a log calls full.
pub(super) fn judge(facts: &Facts, drafts: &mut Drafts) {
    tell_fragmentation_from_exhaustion(facts, drafts);
    for (id, subnet) in &facts.subnets {
        let Some(free) = subnet.free_addresses else { continue };
        if free == 0 {
            drafts.at(&c::SUBNET_EXHAUSTED, subnet_place(facts, id)).cite(&subnet.citation);
        } else if free * 10 < subnet.usable_addresses() && is_used(facts, id, subnet) {
            let draft = drafts.at(&c::SUBNET_NEARLY_FULL, subnet_place(facts, id));
            draft.cite(&subnet.citation).figure("addresses free", free, Some(subnet.usable_addresses()));
            draft.summarise(format!("{} of {} addresses are free", grouped(free), grouped(subnet.usable_addresses())));
            describe(facts, draft, id);
        }
    }
    for draft in drafts.every() {
        if let Some(id) = draft.place.subnet().cloned().filter(|_| draft.declaration.id != c::SUBNET_NEARLY_FULL.id) {
            describe(facts, draft, &id);
        }
    }
}

/// `InsufficientCidrBlocks` says that no aligned /28 is left; with fewer than sixteen free addresses that is no wonder.
fn tell_fragmentation_from_exhaustion(facts: &Facts, drafts: &mut Drafts) {
    for mut draft in drafts.take(&c::SUBNET_FRAGMENTED) {
        let subnet = draft.place.subnet().and_then(|id| facts.subnets.get(id));
        let free = subnet.and_then(|subnet| subnet.free_addresses);
        match free {
            Some(free) if free < PREFIX_ADDRESSES => {
                let into = drafts.at(&c::SUBNET_EXHAUSTED, draft.place.clone());
                into.note("EC2 had no aligned /28 left for a prefix; so few addresses are free that it is exhaustion, not fragmentation.");
                absorb(into, draft);
            }
            Some(free) => {
                draft.note(format!(
                    "{} addresses are free, but no sixteen of them in one aligned block.",
                    grouped(free)
                ));
                let place = draft.place.clone();
                absorb(drafts.at(&c::SUBNET_FRAGMENTED, place), draft);
            }
            None => {
                draft.note("How many addresses the subnet has free is not in the evidence: below sixteen, it would be exhaustion.");
                draft.not_ruled_out.push("a full subnet (describe-subnets is missing)".to_owned());
                let place = draft.place.clone();
                absorb(drafts.at(&c::SUBNET_FRAGMENTED, place), draft);
            }
        }
    }
}

fn absorb(into: &mut Draft, from: Draft) {
    into.seen |= from.seen;
    into.occurrences += from.occurrences;
    into.since = into.since.or(from.since);
    into.until = into.until.max(from.until);
    into.waiting_pods.extend(from.waiting_pods);
    into.nodes.extend(from.nodes);
    into.not_ruled_out.extend(from.not_ruled_out);
    into.figures.extend(from.figures);
    for citation in &from.evidence {
        into.cite(citation);
    }
    for note in from.notes {
        into.note(note);
    }
    for (word, value) in from.words {
        into.word(word, value);
    }
}

/// Whether a node or an ENIConfig of the evidence uses the subnet.
fn is_used(facts: &Facts, id: &SubnetId, subnet: &Subnet) -> bool {
    facts.eni_configs.values().any(|config| config.subnet.as_ref() == Some(id))
        || facts.nodes.keys().any(|node| address_of(facts, node).is_some_and(|address| subnet.cidr.contains(address)))
        || facts.logs.values().any(|log| log.subnet.as_ref() == Some(id))
        || facts
            .introspections
            .iter()
            .flat_map(|one| one.interfaces.values())
            .any(|one| one.subnet.as_ref() == Some(id))
}

/// Adds figures, the VPC's room, and subnets that could help.
fn describe(facts: &Facts, draft: &mut Draft, id: &SubnetId) {
    draft.word("subnet", id.as_str());
    let Some(subnet) = facts.subnets.get(id) else { return };
    draft.cite(&subnet.citation);
    if let Some(free) = subnet.free_addresses {
        draft.figure("addresses free", free, Some(subnet.usable_addresses()));
    }
    let pods = facts.pods.values().filter(|pod| pod.address.is_some_and(|address| subnet.cidr.contains(address)));
    let pods = pods.filter(|pod| pod.host_network != Some(true)).count();
    if pods > 0 {
        draft.figure("pods with an address in it", u64::try_from(pods).unwrap_or(u64::MAX), None);
    }
    warm(facts, draft, id, subnet);
    if let Some(zone) = &subnet.zone {
        draft.word("zone", zone.as_str());
    }
    if let Some(vpc) = vpc_of(facts, subnet) {
        if !vpc.as_str().is_empty() {
            draft.word("vpc", vpc.as_str());
        }
        describe_vpc(facts, draft, vpc, subnet);
    }
    others(facts, draft, id, subnet);
}

/// Addresses that nodes hold in the subnet and no pod uses.
fn warm(facts: &Facts, draft: &mut Draft, id: &SubnetId, subnet: &Subnet) {
    let mut held = 0;
    let mut used = 0;
    for interface in facts.introspections.iter().flat_map(|one| one.interfaces.values()) {
        let is_here = match &interface.subnet {
            Some(other) => other == id,
            None => interface.blocks.first().is_some_and(|block| subnet.cidr.contains(block.network())),
        };
        if is_here {
            held += interface.offered;
            let holders = interface.addresses.iter().filter(|address| address.pod.is_some()).count();
            used += u64::try_from(holders).unwrap_or(u64::MAX);
        }
    }
    if held > used {
        draft.figure("addresses held for pods by the nodes shown are idle", held - used, Some(held));
    }
}

/// The VPC of a subnet: as it says, or the only one that was read and contains it.
fn vpc_of<'a>(facts: &'a Facts, subnet: &'a Subnet) -> Option<&'a VpcId> {
    if let Some(vpc) = &subnet.vpc {
        return Some(vpc);
    }
    let mut around =
        facts.vpcs.iter().filter(|(_, vpc)| vpc.blocks.iter().any(|one| one.cidr.contains_block(subnet.cidr)));
    let (id, _) = around.next()?;
    around.next().is_none().then_some(id)
}

fn describe_vpc(facts: &Facts, draft: &mut Draft, id: &VpcId, subnet: &Subnet) {
    let Some(vpc) = facts.vpcs.get(id) else { return };
    draft.cite(&vpc.citation);
    if let Some(block) = vpc.blocks.iter().map(|one| one.cidr).find(|block| block.contains_block(subnet.cidr)) {
        let assigned: u64 =
            facts.subnets.values().filter(|one| block.contains_block(one.cidr)).map(|one| one.cidr.size()).sum();
        // Rounded as the console does: 128 of 65,536 is 0.20 %.
        let points = (assigned * 10_000 + block.size() / 2) / block.size();
        if points < 9_000 {
            draft.note(format!(
                "{block} of the VPC is {}.{:02} % assigned to subnets: the VPC has room, this subnet has not.",
                points / 100,
                points % 100
            ));
        }
    }
    let blocks: Vec<Cidr> = vpc.blocks.iter().map(|one| one.cidr).collect();
    let free = (64..=127).filter_map(|second| format!("100.{second}.0.0/16").parse::<Cidr>().ok());
    if let Some(block) = free.into_iter().find(|block| !blocks.iter().any(|other| other.overlaps(*block))) {
        draft.word("new_block", block.to_string());
        if let Some(part) = block.subdivide(24).nth(1) {
            draft.word("new_subnet_block", part.to_string());
        }
    }
}

/// The subnet of the same zone with the most room.
fn others(facts: &Facts, draft: &mut Draft, id: &SubnetId, subnet: &Subnet) {
    let candidate = facts
        .subnets
        .iter()
        .filter(|(other, known)| {
            *other != id && known.zone == subnet.zone && known.zone.is_some() && known.vpc == subnet.vpc
        })
        .filter_map(|(other, known)| Some((known.free_addresses.filter(|free| *free > 0)?, other, known)))
        .max_by_key(|(free, ..)| *free);
    let Some((free, other, known)) = candidate else { return };
    draft.word("other_subnet", other.as_str());
    let name = known.name.clone().unwrap_or_else(|| other.to_string());
    let allowed = match known.cni_role.as_deref() {
        None | Some("") => "is not used for pods unless nodes are in it: it has no tag kubernetes.io/role/cni",
        Some("0") => "is forbidden for pods: its tag kubernetes.io/role/cni is 0",
        Some(_) => "is allowed for pods",
    };
    draft.note(format!(
        "{name} ({}) in the same zone has {} addresses free, and {allowed}.",
        known.cidr,
        grouped(free)
    ));
    draft.cite(&known.citation);
}

/// Once pods are counted: how bad it is, and whether sources contradict one another.
pub(super) fn weigh(facts: &Facts, drafts: &mut Drafts) {
    for draft in drafts.all(&c::SUBNET_EXHAUSTED) {
        let known = draft.place.subnet().and_then(|id| facts.subnets.get(id));
        let free = known.and_then(|subnet| subnet.free_addresses);
        match (known, free) {
            (Some(subnet), Some(free)) if free > 0 && draft.seen => contradict(draft, subnet, free),
            (Some(subnet), Some(0)) => {
                draft.summarise(format!(
                    "{} of {} usable addresses are taken",
                    grouped(subnet.usable_addresses()),
                    grouped(subnet.usable_addresses())
                ));
                draft.ruled_out.push("fragmentation (no address is free at all)".to_owned());
            }
            _ => {}
        }
        if !draft.seen && draft.waiting_pods.is_empty() {
            draft.severity = Severity::Wrong;
        }
        if free != Some(0) && draft.waiting_pods.is_empty() && is_over(facts, draft) {
            draft.severity = Severity::Wrong;
            draft.note("Since the last refusal the pools of these nodes have had addresses free: it seems to be over, for now.");
        }
    }
}

fn contradict(draft: &mut Draft, subnet: &Cited<Subnet>, free: u64) {
    draft.contradictions.push(format!(
        "{} says that {} of {} addresses are free: it was read at another time than EC2 refused, or addresses came back since.",
        subnet.citation.file,
        grouped(free),
        grouped(subnet.usable_addresses())
    ));
}

/// Whether each log that tells of the shortage goes on for a while with addresses free.
fn is_over(facts: &Facts, draft: &Draft) -> bool {
    let logs: Vec<_> = draft.files.iter().filter_map(|file| facts.logs.get(file)).collect();
    let Some(until) = draft.until else { return false };
    !logs.is_empty()
        && logs.iter().all(|log| {
            log.last_sample.as_ref().is_some_and(|sample| {
                sample.free() > 0 && sample.at.is_some_and(|at| at.as_second() - until.as_second() > OVER_AFTER_SECONDS)
            })
        })
}
