//! Rule: a pool that had no address to give although its subnet had: the instance's limits, or cool-down.

use std::sync::Arc;

use crate::draft::Drafts;
use crate::{Facts, Identity, Lead, Place, Sighting, catalogue as c};

const LIMIT_REACHED: &str = "Skipping ENI allocation as the max ENI limit";

/// Looks at each log in which an assignment failed.
pub(super) fn judge(facts: &Facts, drafts: &mut Drafts) {
    for (file, log) in &facts.logs {
        let failures: Vec<&Sighting> = facts
            .sightings
            .iter()
            .filter(|one| one.citation.file == *file && matches!(one.signal.lead, Lead::NoAddress))
            .collect();
        if failures.is_empty() || is_short_elsewhere(facts, file) {
            continue;
        }
        let place = place(facts, file, log, &failures);
        let limit = facts.sightings.iter().find(|one| one.citation.file == *file && one.signal.text == LIMIT_REACHED);
        if let Some(sample) = log.cooling_sample.as_ref().filter(|_| log.full_sample.is_none()) {
            let draft = drafts.at(&c::COOLING_DOWN, place);
            draft.figure("addresses cooling down", sample.cooling, Some(sample.total));
            draft.figure("addresses held by pods", sample.assigned, Some(sample.total));
            if let Some(limit) = limit {
                draft.note("The node has reached its limit of interfaces, so it cannot hold more addresses to bridge the cool-down.");
                draft.cite(&limit.citation);
            }
            failures.iter().for_each(|failure| {
                draft.see(failure);
            });
        } else if let Some((limit, sample)) = limit.zip(log.full_sample.as_ref()) {
            let draft = drafts.at(&c::INTERFACE_LIMIT, place);
            draft.figure("addresses held by pods", sample.assigned, Some(sample.total));
            draft.see(limit);
            failures.iter().for_each(|failure| {
                draft.see(failure);
            });
            // Two pods of a node use its own address.
            draft.word("max_pods", (sample.total + 2).to_string());
            if let Some(instance_type) = &log.instance_type {
                draft.note(format!("The instance type is {instance_type}."));
            }
        }
    }
}

/// Whether the same log names another reason why the pool could not grow.
fn is_short_elsewhere(facts: &Facts, file: &Arc<str>) -> bool {
    let reasons = [
        &c::SUBNET_EXHAUSTED,
        &c::SUBNET_FRAGMENTED,
        &c::NOT_AUTHORIZED,
        &c::THROTTLED,
        &c::ATTACHMENT_LIMIT_MISMATCH,
        &c::NO_SUBNET_ALLOWED,
        &c::ENI_CONFIG_MISSING,
    ];
    facts.sightings.iter().filter(|one| one.citation.file == *file).any(|one| {
        one.signal.lead.finding().is_some_and(|declaration| reasons.iter().any(|reason| reason.id == declaration.id))
    })
}

fn place(facts: &Facts, file: &Arc<str>, log: &Identity, failures: &[&Sighting]) -> Place {
    let node = failures.first().and_then(|failure| facts.node_of(failure)).or_else(|| log.node.clone());
    node.map_or_else(|| Place::Log { file: file.to_string() }, |name| Place::Node { name })
}
