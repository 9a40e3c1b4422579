//! Rule: what looks the same is ruled out where the evidence would show it, and named as open where it would not.

use std::collections::BTreeSet;

use crate::draft::Drafts;
use crate::{Alternative, Declaration, Facts, Kind, catalogue as c};

struct Check {
    alternative: Alternative,
    /// Found instead of, or beside, the finding.
    shown_by: &'static [&'static Declaration],
    /// Evidence in which it would show.
    would_show_in: &'static [Kind],
}

static CHECKS: [Check; 8] = [
    Check {
        alternative: Alternative::Exhaustion,
        shown_by: &[&c::SUBNET_EXHAUSTED],
        would_show_in: &[Kind::AgentLog, Kind::Ec2Subnets, Kind::CloudTrail],
    },
    Check {
        alternative: Alternative::Fragmentation,
        shown_by: &[&c::SUBNET_FRAGMENTED],
        would_show_in: &[Kind::AgentLog, Kind::CloudTrail],
    },
    Check {
        alternative: Alternative::InterfaceLimits,
        shown_by: &[&c::INTERFACE_LIMIT, &c::ATTACHMENT_LIMIT_MISMATCH],
        would_show_in: &[Kind::AgentLog],
    },
    Check {
        alternative: Alternative::Throttling,
        shown_by: &[&c::THROTTLED],
        would_show_in: &[Kind::AgentLog, Kind::CloudTrail],
    },
    Check {
        alternative: Alternative::Permissions,
        shown_by: &[&c::NOT_AUTHORIZED],
        would_show_in: &[Kind::AgentLog, Kind::CloudTrail],
    },
    Check {
        alternative: Alternative::CoolDown,
        shown_by: &[&c::COOLING_DOWN],
        would_show_in: &[Kind::AgentLog, Kind::Introspection],
    },
    Check { alternative: Alternative::NodeRange, shown_by: &[&c::NODE_RANGE_EXHAUSTED], would_show_in: &[] },
    Check {
        alternative: Alternative::OtherQuota,
        shown_by: &[&c::SCALE_UP_OTHER],
        would_show_in: &[
            Kind::Events,
            Kind::PodDescription,
            Kind::GoogleLog,
            Kind::AutoscalerLog,
            Kind::AutoscalerStatus,
        ],
    },
];

/// Adds to each finding what it was told apart from; gives what the evidence as a whole rules out.
pub(super) fn judge(facts: &Facts, drafts: &mut Drafts) -> Vec<&'static str> {
    let shown: BTreeSet<Alternative> = CHECKS
        .iter()
        .filter(|check| check.shown_by.iter().any(|declaration| drafts.has(declaration)))
        .map(|check| check.alternative)
        .collect();
    let mut ruled_out = BTreeSet::new();
    for draft in drafts.every() {
        for alternative in draft.declaration.apart_from {
            let Some(check) = CHECKS.iter().find(|check| check.alternative == *alternative) else { continue };
            if draft.ruled_out.iter().any(|reason| reason.starts_with(alternative.as_str())) {
                ruled_out.insert(*alternative);
                continue;
            }
            let looked_at: Vec<&str> = check
                .would_show_in
                .iter()
                .filter(|kind| facts.kinds.contains(kind))
                .map(|kind| kind.as_str())
                .collect();
            if shown.contains(alternative) {
                continue;
            }
            if looked_at.is_empty() {
                if !draft.not_ruled_out.iter().any(|open| open.starts_with(alternative.as_str())) {
                    draft.not_ruled_out.push(alternative.as_str().to_owned());
                }
            } else {
                draft.ruled_out.push(format!("{} (no sign in {})", alternative.as_str(), looked_at.join(", ")));
                ruled_out.insert(*alternative);
            }
        }
    }
    ruled_out.into_iter().filter(|one| !shown.contains(one)).map(Alternative::as_str).collect()
}
