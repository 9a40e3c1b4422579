//! How a range is used, by whom, and what keeps pods from using it.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use freeboard_capacity::{RangeKind, RangeStatus, Subnet, Use};
use freeboard_diagnosis::{Citation, Place, diagnose};

use super::chain::{Explanation, Role};
use crate::input::Input;
use crate::layout::{counted, grouped};

/// Holders that are named.
const MOST_HOLDERS: usize = 6;

/// Explains the range of this id, name or block.
pub(super) fn explain(input: &Input, name: &str) -> Result<Explanation> {
    let status = crate::status::of(input);
    let all: Vec<&RangeStatus> = status.ranges.iter().flat_map(RangeStatus::flat).collect();
    let is_meant = |range: &&&RangeStatus| {
        let cidr = range.kind != RangeKind::NodePool && range.cidr.to_string() == name;
        range.id == name || range.name.as_deref() == Some(name) || cidr
    };
    let Some(range) = all.iter().find(is_meant) else {
        let known: Vec<String> =
            all.iter().map(|range| range.name.clone().unwrap_or_else(|| range.id.clone())).take(12).collect();
        if known.is_empty() {
            bail!("no range is known from {}: add the output of `aws ec2 describe-subnets`, or of gcloud", input.named);
        }
        bail!("there is no range {name:?} in {}; there are: {}", input.named, known.join(", "));
    };
    let title = range.name.clone().map_or_else(|| range.id.clone(), |name| format!("{name} ({})", range.id));
    let state = match (range.usage, range.free_addresses) {
        (Some(usage), Some(free)) => {
            format!("{usage} used, {} of {} addresses free", grouped(free), grouped(range.cidr.size()))
        }
        _ => "how much of it is used is not in the evidence".to_owned(),
    };
    let mut explanation = Explanation::new(format!("{title} {}: {state}.", range.cidr));
    explanation.is_wrong = range.for_pods && range.is_full();
    let subnet = input.inventory.subnets.iter().find(|subnet| subnet.id.as_str() == range.id);
    if let Some(subnet) = subnet {
        of_subnet(input, subnet, range, &mut explanation);
    }
    if !range.fits.is_empty() {
        let fits: Vec<String> = range.fits.iter().map(|fit| format!("{} {}", grouped(fit.count), fit.of)).collect();
        explanation.say(Role::Known, format!("Room for {}.", fits.join(" or ")), &[]);
    }
    if !range.remarks.is_empty() {
        explanation.say(Role::Known, format!("{}.", range.remarks.join("; ")), &[]);
    }
    for inside in &range.inside {
        let usage = inside.usage.map_or_else(|| "?".to_owned(), |usage| usage.to_string());
        let name = inside.name.as_deref().unwrap_or(&inside.id);
        let remarks =
            if inside.remarks.is_empty() { String::new() } else { format!(": {}", inside.remarks.join("; ")) };
        explanation.say(Role::Known, format!("Inside it: {name} {}, {usage}{remarks}.", inside.cidr), &[]);
    }
    let diagnosis = diagnose(input.facts());
    for finding in &diagnosis.findings {
        let is_named =
            matches!(&finding.place, Place::Range { name, .. } | Place::NodePool { name } if *name == range.id);
        if is_named || finding.place.subnet().is_some_and(|id| id.as_str() == range.id) {
            explanation.add_finding(finding);
        }
    }
    Ok(explanation)
}

/// Who holds what of a subnet.
fn of_subnet(input: &Input, subnet: &Subnet, range: &RangeStatus, explanation: &mut Explanation) {
    let mut uses: BTreeMap<Use, u64> = BTreeMap::new();
    let mut holders: BTreeMap<String, u64> = BTreeMap::new();
    for one in &subnet.holdings {
        let size = one.block.size();
        *uses.entry(one.used_for).or_default() += size;
        let holder = match (&one.node, &one.holder, one.used_for) {
            (Some(node), ..) => format!("node {node}"),
            (None, Some(holder), Use::Foreign) => format!("\"{holder}\""),
            _ => continue,
        };
        *holders.entry(holder).or_default() += size;
    }
    let named: u64 = uses.iter().filter(|(used_for, _)| **used_for != Use::Reserved).map(|(_, count)| count).sum();
    let cited: Vec<&Citation> =
        input.facts().subnets.get(&subnet.id).map(|known| &known.citation).into_iter().collect();
    let parts: Vec<String> = Use::ALL
        .iter()
        .filter_map(|used_for| Some(format!("{} {}", grouped(*uses.get(used_for)?), used_for.as_str())))
        .collect();
    explanation.say(Role::What, format!("Its addresses by use: {}.", parts.join(", ")), &cited);
    if let Some(taken) = subnet.taken_addresses().filter(|taken| *taken > named) {
        explanation.say(
            Role::Known,
            format!(
                "Of {} that are taken, the evidence names the holders of {named}; `aws ec2 describe-network-interfaces` names all.",
                counted(taken, "address", "addresses")
            ),
            &[],
        );
    }
    let mut largest: Vec<(u64, String)> = holders.into_iter().map(|(name, count)| (count, name)).collect();
    largest.sort_by(|one, other| other.cmp(one));
    if !largest.is_empty() {
        let shown: Vec<String> =
            largest.iter().take(MOST_HOLDERS).map(|(count, name)| format!("{name} {}", grouped(*count))).collect();
        let more = largest.len().saturating_sub(MOST_HOLDERS);
        let more = if more > 0 { format!(", and {more} more") } else { String::new() };
        explanation.say(Role::Known, format!("Who holds most: {}{more}.", shown.join(", ")), &[]);
    }
    if let (Some(prefixes), Some(percent)) = (range.free_prefixes, range.fragmentation_percent) {
        explanation.say(
            Role::Known,
            format!(
                "{} for prefixes; {percent} % of the free addresses lie in none.",
                counted(prefixes, "aligned free /28", "aligned free /28s")
            ),
            &[],
        );
    }
}
