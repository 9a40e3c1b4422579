//! The rules: each looks at the facts and adds what they prove.

mod alternatives;
mod google;
mod metrics;
mod nodes;
mod pools;
mod seen;
mod settings;
mod subnets;
mod symptoms;

use std::net::Ipv4Addr;

use freeboard_address::NodeName;

use crate::draft::Drafts;
use crate::{Diagnosis, Facts, catalogue};

/// Concludes from the facts all that they prove.
#[must_use]
pub fn diagnose(facts: &Facts) -> Diagnosis {
    let mut drafts = Drafts::default();
    seen::judge(facts, &mut drafts);
    pools::judge(facts, &mut drafts);
    subnets::judge(facts, &mut drafts);
    google::judge(facts, &mut drafts);
    nodes::judge(facts, &mut drafts);
    metrics::judge(facts, &mut drafts);
    settings::judge(facts, &mut drafts);
    symptoms::judge(facts, &mut drafts);
    subnets::weigh(facts, &mut drafts);
    let ruled_out = alternatives::judge(facts, &mut drafts);
    Diagnosis { findings: drafts.finish(catalogue::rank), ruled_out }
}

/// The address in a node's name as EC2 makes it: `ip-10-0-208-27.ap-southeast-2.compute.internal`.
#[must_use]
pub fn address_in_name(name: &NodeName) -> Option<Ipv4Addr> {
    let short = name.as_str().strip_prefix("ip-")?.split('.').next()?;
    short.replace('-', ".").parse().ok()
}

/// A node's own address: as it says, or as its name says.
pub(crate) fn address_of(facts: &Facts, node: &NodeName) -> Option<Ipv4Addr> {
    facts.nodes.get(node).and_then(|known| known.address).or_else(|| address_in_name(node))
}
