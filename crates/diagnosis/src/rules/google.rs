//! Rule: ranges from which each node gets a block: full, nearly full, or smaller than the pools that use them may grow.

use std::collections::BTreeMap;

use freeboard_address::Cidr;

use crate::draft::{Draft, Drafts};
use crate::report::grouped;
use crate::{Citation, Facts, Lead, NodePool, Place, RangeUse, Severity, Sighting, catalogue as c};

use super::address_of;

/// Addresses of a primary range that Google keeps.
const RESERVED_IN_PRIMARY: u64 = 4;
/// Blocks below which a per cent figure says nothing.
const FEWEST_FOR_SHARE: u64 = 5;

/// A pod range with all that is known of it.
struct Range<'a> {
    name: String,
    cidr: Cidr,
    subnet: Option<&'a str>,
    block_length: Option<u8>,
    pools: Vec<(&'a str, &'a NodePool)>,
    citations: Vec<&'a Citation>,
    /// Blocks that nodes hold, and how that is known.
    given: Option<u64>,
    used: Option<RangeUse>,
}

impl Range<'_> {
    fn capacity(&self) -> Option<u64> {
        let length = self.block_length?;
        (length >= self.cidr.length()).then(|| 1 << (length - self.cidr.length()))
    }

    /// Whether no block is left; none when the evidence does not say.
    fn is_full(&self) -> Option<bool> {
        if let (Some(used), Some(length)) = (self.used, self.block_length) {
            return Some(used.free < 1 << (32 - length));
        }
        Some(self.given? >= self.capacity()?)
    }

    fn place(&self) -> Place {
        Place::Range { name: self.name.clone(), cidr: Some(self.cidr) }
    }
}

/// Counts blocks, and finds for each failed creation of a node the range that failed it.
pub(super) fn judge(facts: &Facts, drafts: &mut Drafts) {
    let ranges = ranges(facts);
    for range in &ranges {
        count(facts, drafts, range);
    }
    let node_range = node_range(facts);
    for sighting in facts.sightings.iter().filter(|one| matches!(one.signal.lead, Lead::NoNode)) {
        blame(facts, drafts, sighting, &ranges, node_range.as_ref());
    }
    for range in &ranges {
        outgrow(drafts, range);
    }
    absorb_consequences(drafts);
    if let Some(nodes) = &node_range {
        for draft in drafts.all(&c::POD_RANGE_EXHAUSTED) {
            if nodes.used < nodes.usable {
                draft.ruled_out.push(format!(
                    "node range ({} of {} addresses of {} are used by nodes)",
                    grouped(nodes.used),
                    grouped(nodes.usable),
                    nodes.cidr
                ));
            }
        }
    }
}

/// The ranges that pools or clusters use for pods.
fn ranges(facts: &Facts) -> Vec<Range<'_>> {
    let mut ranges: BTreeMap<String, Range<'_>> = BTreeMap::new();
    let is_for_services =
        |name: &str| facts.google_clusters.values().any(|one| one.services_range.as_deref() == Some(name));
    let is_for_pods = |name: &str| {
        facts.node_pools.values().any(|pool| pool.range.as_deref() == Some(name))
            || facts.google_clusters.values().any(|cluster| {
                cluster.pod_range.as_deref() == Some(name)
                    || cluster.additional_pod_ranges.iter().any(|one| one == name)
            })
    };
    for (subnet, known) in &facts.google_subnets {
        for range in known.secondary.iter().filter(|range| is_for_pods(&range.name) && !is_for_services(&range.name)) {
            let new = Range {
                name: range.name.clone(),
                cidr: range.cidr,
                subnet: Some(subnet),
                block_length: None,
                pools: Vec::new(),
                citations: vec![&known.citation],
                given: None,
                used: known.used.get(&range.name).copied(),
            };
            ranges.insert(range.name.clone(), new);
        }
    }
    for (name, pool) in &facts.node_pools {
        let Some(range) = &pool.range else { continue };
        let known = ranges.get_mut(range);
        let known = match (known, pool.range_block) {
            (Some(known), _) => known,
            (None, Some(cidr)) => ranges.entry(range.clone()).or_insert_with(|| Range {
                name: range.clone(),
                cidr,
                subnet: None,
                block_length: None,
                pools: Vec::new(),
                citations: Vec::new(),
                given: None,
                used: None,
            }),
            (None, None) => continue,
        };
        known.pools.push((name.as_str(), pool));
        known.citations.push(&pool.citation);
        known.block_length = known.block_length.max(pool.block_length.or_else(|| pool.max_pods.map(block_length)));
    }
    let mut ranges: Vec<Range<'_>> = ranges.into_values().collect();
    for range in &mut ranges {
        range.given = given(facts, range);
    }
    ranges
}

/// GKE's rule: twice as many addresses as pods, rounded up to a power of two, sixteen at least.
fn block_length(max_pods: u64) -> u8 {
    let bits = max_pods.max(8).next_power_of_two().trailing_zeros() + 1;
    32 - u8::try_from(bits.min(32)).unwrap_or(32)
}

/// Blocks that nodes hold: counted on the nodes, or taken from what the autoscaler said of the only pool on the range.
fn given(facts: &Facts, range: &Range<'_>) -> Option<u64> {
    let counted = facts
        .nodes
        .values()
        .filter(|node| node.pod_blocks.iter().any(|block| range.cidr.contains_block(*block)))
        .count();
    if counted > 0 {
        return u64::try_from(counted).ok();
    }
    let [(pool, _)] = range.pools.as_slice() else { return None };
    let triggered = facts.sightings.iter().filter(|one| one.signal.text == "pod triggered scale-up");
    triggered
        .filter(|one| facts.node_pools.len() == 1 || one.citation.excerpt.contains(&format!("-{pool}-")))
        .filter_map(|one| nodes_before(&one.citation.excerpt))
        .max()
}

/// The 2 of `… 2->3 (max: 7)}]`.
fn nodes_before(text: &str) -> Option<u64> {
    let (before, _) = text.split_once("->")?;
    before.rsplit(|letter: char| !letter.is_ascii_digit()).next()?.parse().ok()
}

/// Finds a range full, or nearly full, by counting.
fn count(facts: &Facts, drafts: &mut Drafts, range: &Range<'_>) {
    let Some(capacity) = range.capacity() else { return };
    match range.is_full() {
        Some(true) => {
            let draft = drafts.at(&c::POD_RANGE_EXHAUSTED, range.place());
            describe(facts, draft, range);
            draft.severity = Severity::Wrong;
        }
        Some(false) => {
            let given = range.given.unwrap_or(0);
            if capacity >= FEWEST_FOR_SHARE && given * 10 >= capacity * 8 {
                let draft = drafts.at(&c::POD_RANGE_NEARLY_FULL, range.place());
                describe(facts, draft, range);
                draft.summarise(format!("{} of {} blocks are given to nodes", grouped(given), grouped(capacity)));
            }
        }
        None => {}
    }
}

fn describe(facts: &Facts, draft: &mut Draft, range: &Range<'_>) {
    for citation in &range.citations {
        draft.cite(citation);
    }
    let nodes =
        facts.nodes.values().filter(|node| node.pod_blocks.iter().any(|block| range.cidr.contains_block(*block)));
    for node in nodes.take(3) {
        draft.cite(&node.citation);
    }
    if let Some(capacity) = range.capacity() {
        if let Some(given) = range.given {
            draft.figure("blocks given to nodes", given, Some(capacity));
            if given >= capacity {
                draft.summarise(format!(
                    "all {} blocks of {} addresses are given to nodes",
                    grouped(capacity),
                    block_size(range)
                ));
            }
        } else {
            draft.figure("nodes fit in it", capacity, None);
        }
    }
    if let Some(used) = range.used {
        draft.figure("addresses free", used.free, Some(range.cidr.size()));
    }
    if let Some(subnet) = range.subnet {
        // A name that begins so was made up from the file's.
        if !subnet.starts_with("of ") {
            draft.word("subnet", subnet);
        }
        if let Some(region) = facts.google_subnets.get(subnet).and_then(|known| known.region.as_deref()) {
            draft.word("region", region);
        }
    }
    if let Some((pool, known)) = range.pools.first() {
        draft.word("pool", *pool);
        if let Some(pods) = known.max_pods {
            draft.word("max_pods", pods.to_string());
            draft.word("fewer_pods", (pods / 2).max(8).to_string());
        }
    }
    if let [(cluster, known)] = facts.google_clusters.iter().collect::<Vec<_>>().as_slice() {
        draft.word("cluster", cluster.as_str());
        if let Some(location) = &known.location {
            draft.word("location", location.as_str());
        }
    }
    let pools: Vec<&str> = range.pools.iter().map(|(name, _)| *name).collect();
    if !pools.is_empty() {
        draft.note(format!("Node pools on this range: {}. A pool keeps its range for life.", pools.join(", ")));
    }
}

fn block_size(range: &Range<'_>) -> String {
    range.block_length.map_or_else(String::new, |length| grouped(1 << (32 - length.min(32))))
}

/// The range of the nodes' own addresses.
struct NodeRange {
    cidr: Cidr,
    usable: u64,
    used: u64,
}

/// Known when the subnet is, and how many nodes there are.
fn node_range(facts: &Facts) -> Option<NodeRange> {
    let mut subnets = facts.google_subnets.values();
    let (Some(subnet), None) = (subnets.next(), subnets.next()) else { return None };
    let cidr = subnet.primary?;
    let inside =
        facts.nodes.keys().filter(|node| address_of(facts, node).is_some_and(|address| cidr.contains(address)));
    let counted = u64::try_from(inside.count()).ok().filter(|count| *count > 0);
    let said = || facts.google_clusters.values().filter_map(|cluster| cluster.nodes).max();
    let triggered = || {
        let all = facts.sightings.iter().filter(|one| one.signal.text == "pod triggered scale-up");
        all.filter_map(|one| nodes_before(&one.citation.excerpt)).max()
    };
    let used = match subnet.used.get("") {
        Some(used) => used.allocated,
        None => counted.or_else(said).or_else(triggered)?,
    };
    Some(NodeRange { cidr, usable: cidr.size().saturating_sub(RESERVED_IN_PRIMARY), used })
}

/// What ran out when a node could not be created.
fn blame(facts: &Facts, drafts: &mut Drafts, sighting: &Sighting, ranges: &[Range<'_>], nodes: Option<&NodeRange>) {
    let subject = &sighting.subject;
    let named = subject.range.as_deref();
    let is_primary = named.is_some_and(|name| facts.google_subnets.contains_key(name))
        || subject.block.is_some_and(|block| facts.google_subnets.values().any(|one| one.primary == Some(block)));
    if is_primary {
        let place = match (named, subject.block) {
            (Some(name), block) => {
                Place::Range { name: name.to_owned(), cidr: block.or_else(|| facts.google_subnets.get(name)?.primary) }
            }
            (None, block) => Place::Range { name: "of the nodes".to_owned(), cidr: block },
        };
        drafts.at(&c::NODE_RANGE_EXHAUSTED, place).see(sighting);
        return;
    }
    let by_name = ranges.iter().find(|range| {
        Some(range.cidr) == subject.block || named.is_some_and(|name| is_alias_of(name, range.subnet, &range.name))
    });
    if let Some(range) = by_name {
        see_pod_range(facts, drafts, sighting, range);
        return;
    }
    // The name in the message is made of subnet and range where a secondary range ran out, though the range may be unknown here.
    if let Some(name) = named.filter(|name| has_hash(name)) {
        let place = Place::Range { name: name.to_owned(), cidr: subject.block };
        drafts.at(&c::POD_RANGE_EXHAUSTED, place).see(sighting);
        return;
    }
    let full: Vec<&Range<'_>> = ranges.iter().filter(|range| range.is_full() == Some(true)).collect();
    let nodes_have_room = nodes.is_none_or(|nodes| nodes.used < nodes.usable);
    if !full.is_empty() && nodes_have_room {
        for range in full {
            see_pod_range(facts, drafts, sighting, range);
        }
        return;
    }
    if let Some(nodes) = nodes.filter(|nodes| nodes.used >= nodes.usable) {
        let place = Place::Range { name: "of the nodes".to_owned(), cidr: Some(nodes.cidr) };
        let draft = drafts.at(&c::NODE_RANGE_EXHAUSTED, place);
        draft.see(sighting).figure("addresses used by nodes", nodes.used, Some(nodes.usable));
        return;
    }
    drafts.at(&c::IP_SPACE_EXHAUSTED, Place::Cluster).see(sighting);
}

fn see_pod_range(facts: &Facts, drafts: &mut Drafts, sighting: &Sighting, range: &Range<'_>) {
    let draft = drafts.at(&c::POD_RANGE_EXHAUSTED, range.place());
    draft.severity = Severity::Broken;
    describe(facts, draft, range);
    draft.see(sighting);
}

/// `<subnet, at most 15 letters>-<range, at most 15 letters>-<hash>`: how Google names a secondary range in its errors.
fn is_alias_of(name: &str, subnet: Option<&str>, range: &str) -> bool {
    let short = |text: &str| text.chars().take(15).collect::<String>();
    let Some((stem, _)) = name.rsplit_once('-').filter(|_| has_hash(name)) else { return false };
    match subnet {
        Some(subnet) => stem == format!("{}-{}", short(subnet), short(range)),
        None => stem.ends_with(&format!("-{}", short(range))),
    }
}

fn has_hash(name: &str) -> bool {
    name.rsplit_once('-').is_some_and(|(_, hash)| hash.len() == 16 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// Pools that may grow beyond what their range holds.
fn outgrow(drafts: &mut Drafts, range: &Range<'_>) {
    let Some(capacity) = range.capacity() else { return };
    let most: Option<u64> = range.pools.iter().map(|(_, pool)| pool.most_nodes).sum();
    let Some(most) = most.filter(|most| *most > capacity && !range.pools.is_empty()) else { return };
    let sentence = format!("its pools may grow to {} nodes; it holds {} nodes", grouped(most), grouped(capacity));
    if drafts.has(&c::POD_RANGE_EXHAUSTED)
        && drafts.all(&c::POD_RANGE_EXHAUSTED).any(|draft| draft.place == range.place())
    {
        let draft = drafts.at(&c::POD_RANGE_EXHAUSTED, range.place());
        draft.note(format!("As planned, {sentence}."));
        return;
    }
    let draft = drafts.at(&c::POOL_EXCEEDS_RANGE, range.place());
    for citation in &range.citations {
        draft.cite(citation);
    }
    draft.figure("nodes fit in it", capacity, None).figure("nodes its pools may have", most, None);
    if let Some((name, pool)) = range.pools.first() {
        draft.word("pool", *name).word("fewer_nodes", capacity.to_string()).word("most_nodes", most.to_string());
        if let Some(pods) = pool.max_pods {
            draft.word("max_pods", pods.to_string());
        }
    }
    draft.summarise(sentence);
}

/// The autoscaler's pause and full nodes follow from a range without room; they are told with it and not beside it.
fn absorb_consequences(drafts: &mut Drafts) {
    let causes = [&c::POD_RANGE_EXHAUSTED, &c::NODE_RANGE_EXHAUSTED, &c::IP_SPACE_EXHAUSTED];
    let Some(cause) = causes.into_iter().find(|cause| drafts.all(cause).any(|draft| draft.seen)) else { return };
    for consequence in [&c::SCALE_UP_BACKOFF, &c::POD_LIMIT_REACHED] {
        for taken in drafts.take(consequence) {
            for draft in drafts.all(cause).filter(|draft| draft.seen) {
                draft.note(format!("It follows: {}.", taken.declaration.title.to_lowercase()));
                draft.waiting_pods.extend(taken.waiting_pods.iter().cloned());
                for citation in &taken.evidence {
                    draft.cite(citation);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_gets_twice_the_pods_rounded_up_to_a_power_of_two() {
        let lengths = [(8, 28), (9, 27), (16, 27), (17, 26), (32, 26), (64, 25), (110, 24), (129, 23), (256, 23)];
        for (pods, length) in lengths {
            assert_eq!(block_length(pods), length, "{pods} pods");
        }
    }

    #[test]
    fn the_name_in_an_error_tells_a_secondary_range_from_the_subnet() {
        assert!(is_alias_of("subnet-dev-services-range-49c037f0c13a0320", Some("subnet-dev"), "services-range"));
        assert!(is_alias_of("cluster-pod-range-49c037f0c13a0320", None, "pod-range"));
        assert!(!is_alias_of("cluster", Some("cluster"), "pod-range"));
        assert!(!is_alias_of("cluster-pod-range-49c037f0c13a0320", Some("cluster"), "other"));
    }

    #[test]
    fn the_number_of_nodes_before_a_scale_up_is_read() {
        assert_eq!(nodes_before("…/gke-demo-ip-original-nodepool-22330990-grp 2->3 (max: 7)}]"), Some(2));
        assert_eq!(nodes_before("no arrow"), None);
    }
}
