//! Rule: pods without an address are counted to the cause that is tied to them, and reported by themselves where none is.

use crate::draft::{Draft, Drafts};
use crate::{Declaration, Facts, Lead, Place, Sighting, catalogue as c};

use super::address_of;

/// What leaves pods without an address.
const CAUSES: [&Declaration; 25] = [
    &c::SUBNET_EXHAUSTED,
    &c::SUBNET_FRAGMENTED,
    &c::COOLING_DOWN,
    &c::INTERFACE_LIMIT,
    &c::NO_SUBNET_ALLOWED,
    &c::PROVISIONING_DISABLED,
    &c::NODE_CORDONED,
    &c::STILL_GROWING,
    &c::NOT_AUTHORIZED,
    &c::THROTTLED,
    &c::CLOUD_UNAVAILABLE,
    &c::METADATA_LAG,
    &c::ATTACH_FAILED,
    &c::ATTACHMENT_LIMIT_MISMATCH,
    &c::LIMITS_UNKNOWN,
    &c::TRUNK_INTERFACE_MISSING,
    &c::ENI_CONFIG_MISSING,
    &c::ENI_CONFIG_WRONG_ZONE,
    &c::CHECKPOINT_UNREADABLE,
    &c::CHECKPOINT_FAILED,
    &c::START_FAILED,
    &c::VERSION_MISMATCH,
    &c::AGENT_UNREACHABLE,
    &c::MORE_PODS_THAN_ADDRESSES,
    &c::MINIMUM_WITHOUT_WARM,
];

/// Gives each failed assignment to its cause.
pub(super) fn judge(facts: &Facts, drafts: &mut Drafts) {
    for sighting in facts.sightings.iter().filter(|one| matches!(one.signal.lead, Lead::NoAddress)) {
        let is_known = drafts.every().any(|draft| is_cause(draft) && is_tied(facts, draft, sighting));
        // With one cause in the whole evidence, and nothing that says that the pod is elsewhere, it is this one.
        let is_only_one = drafts.every().filter(|draft| is_cause(draft)).count() == 1;
        let tied: Vec<&mut Draft> = drafts
            .every()
            .filter(|draft| is_cause(draft))
            .filter(|draft| {
                if is_known { is_tied(facts, draft, sighting) } else { is_only_one && may_be(facts, draft, sighting) }
            })
            .collect();
        if tied.is_empty() {
            orphan(facts, drafts, sighting);
            continue;
        }
        for draft in tied {
            draft.cite(&sighting.citation);
            if let Some(pod) = &sighting.subject.pod {
                draft.waiting_pods.insert(pod.clone());
            }
            draft.since = draft.since.or(sighting.first);
        }
    }
    drop_pods_that_run(facts, drafts);
}

fn is_cause(draft: &Draft) -> bool {
    CAUSES.iter().any(|cause| cause.id == draft.declaration.id)
}

/// Whether the evidence ties the pod to the cause: the same log, the same node, or a node in the subnet.
fn is_tied(facts: &Facts, draft: &Draft, sighting: &Sighting) -> bool {
    if facts.logs.contains_key(&sighting.citation.file) && draft.files.contains(&sighting.citation.file) {
        return true;
    }
    let Some(node) = facts.node_of(sighting) else { return false };
    if draft.nodes.contains(&node) {
        return true;
    }
    draft.place.holds(&node, address_of(facts, &node)).unwrap_or(false)
}

/// Whether nothing says that the pod is elsewhere than the cause.
fn may_be(facts: &Facts, draft: &Draft, sighting: &Sighting) -> bool {
    let Some(node) = facts.node_of(sighting) else { return true };
    let by_nodes = || draft.nodes.is_empty() || draft.nodes.contains(&node);
    draft.place.holds(&node, address_of(facts, &node)).unwrap_or_else(by_nodes)
}

fn orphan(facts: &Facts, drafts: &mut Drafts, sighting: &Sighting) {
    let elsewhere: Vec<String> = drafts
        .every()
        .filter(|draft| is_cause(draft))
        .map(|draft| format!("{} at {}", draft.declaration.id, draft.place))
        .collect();
    let place = match facts.node_of(sighting) {
        Some(name) => Place::Node { name },
        None => Place::Cluster,
    };
    let draft = drafts.at(&c::ADDRESS_NOT_ASSIGNED, place);
    draft.see(sighting);
    if let Some(node) = facts.node_of(sighting) {
        draft.word("node", node.as_str());
    }
    if !elsewhere.is_empty() {
        draft.note(format!("Found elsewhere, and tied to these pods by nothing: {}.", elsewhere.join("; ")));
    }
}

/// A pod that runs by now does not wait any more.
fn drop_pods_that_run(facts: &Facts, drafts: &mut Drafts) {
    for draft in drafts.every() {
        draft.waiting_pods.retain(|pod| facts.pods.get(pod).is_none_or(|known| known.phase != "Running"));
    }
}
