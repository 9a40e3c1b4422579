//! How node-ipam-controller chooses among ClusterCIDRs (peers §2.3, anchors D4): terms ANDed, static sizes, one after the other.

use freeboard_address::Cidr;

use super::range_allocator::{CidrSet, CidrSetError};
use crate::selector::{Labels, NodeSelector};

/// The selector under which an object without one is kept.
const NO_SELECTOR: &str = "kubernetes.io/clusterCIDR In default";

/// One ClusterCIDR.
#[derive(Clone, Debug)]
pub struct ClusterCidr {
    /// Its IPv4 range.
    pub range: Cidr,
    /// Bits of a node's block that count its addresses.
    pub per_node_host_bits: u8,
    /// Which nodes it is for.
    pub selector: Option<NodeSelector>,
    set: CidrSet,
}

impl ClusterCidr {
    /// A ClusterCIDR in which everything is free.
    ///
    /// # Errors
    /// When a node's block does not fit into the range.
    pub fn new(range: Cidr, per_node_host_bits: u8, selector: Option<NodeSelector>) -> Result<Self, CidrSetError> {
        let set = CidrSet::new(range, 32u8.saturating_sub(per_node_host_bits))?;
        Ok(Self { range, per_node_host_bits, selector, set })
    }

    /// Takes the parts of the range that `cidr` touches, for example a service range.
    pub fn occupy(&mut self, cidr: Cidr) {
        // What lies outside occupies nothing.
        let _outside = self.set.occupy(cidr);
    }

    /// How many requirements of the selector the labels meet; none when one of them is not met, for terms are ANDed here.
    fn labels_matched(&self, labels: &Labels) -> Option<usize> {
        let Some(selector) = &self.selector else { return Some(0) };
        let all = selector
            .node_selector_terms
            .iter()
            .all(|term| NodeSelector { node_selector_terms: vec![term.clone()] }.matches(labels));
        let requirements = |count: usize, term: &crate::selector::SelectorTerm| {
            count + term.match_labels.len() + term.match_expressions.len()
        };
        all.then(|| selector.node_selector_terms.iter().fold(0, requirements))
    }

    fn selector_text(&self) -> String {
        let Some(selector) = &self.selector else { return NO_SELECTOR.to_owned() };
        let mut parts: Vec<String> = Vec::new();
        for term in &selector.node_selector_terms {
            parts.extend(term.match_labels.iter().map(|(key, value)| format!("{key}={value}")));
            parts.extend(
                term.match_expressions.iter().map(|e| format!("{} {:?} {}", e.key, e.operator, e.values.join(","))),
            );
        }
        parts.join(",")
    }
}

/// The candidates for a node, the first choice first.
#[must_use]
pub fn in_order<'a>(objects: &'a [ClusterCidr], labels: &Labels) -> Vec<&'a ClusterCidr> {
    let mut matching: Vec<(usize, usize, &ClusterCidr)> = objects
        .iter()
        .enumerate()
        .filter_map(|(index, object)| object.labels_matched(labels).map(|matched| (index, matched, object)))
        .collect();
    matching.sort_by_cached_key(|(index, matched, object)| {
        let specific =
            (object.set.max_cidrs(), object.per_node_host_bits, object.selector_text(), object.range.to_string());
        // Objects without a selector come last, in the order of their insertion.
        let key = object.selector.as_ref().map(|_| specific);
        (key.is_none(), std::cmp::Reverse(*matched), key, *index)
    });
    matching.into_iter().map(|(_, _, object)| object).collect()
}

/// A block for a node with these labels; a full range falls through to the next.
///
/// # Errors
/// When every candidate is full, or there is none.
pub fn allocate(objects: &mut [ClusterCidr], labels: &Labels) -> Result<Cidr, CidrSetError> {
    let order: Vec<Cidr> = in_order(objects, labels).into_iter().map(|object| object.range).collect();
    for range in order {
        if let Some(object) = objects.iter_mut().find(|object| object.range == range)
            && let Ok(block) = object.set.allocate_next()
        {
            return Ok(block);
        }
    }
    Err(CidrSetError::Exhausted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::selector::SelectorTerm;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn object(range: &str, host_bits: u8, pairs: &[(&str, &str)]) -> ClusterCidr {
        let term = SelectorTerm { match_labels: labels(pairs), match_expressions: Vec::new() };
        let selector = (!pairs.is_empty()).then(|| NodeSelector { node_selector_terms: vec![term] });
        ClusterCidr::new(range.parse().unwrap(), host_bits, selector).unwrap()
    }

    #[test]
    fn the_queue_prefers_as_upstream_does() {
        // A node that carries every label of the vectors, so that only the order decides.
        let all =
            labels(&[("foo", "bar"), ("abc", "bar"), ("xyz", "bar"), ("name", "any"), ("name2", "x"), ("name4", "x")]);
        let items = [
            object("192.168.0.0/16", 8, &[("foo", "bar")]),
            object("10.1.0.0/24", 8, &[("foo", "bar"), ("name2", "x")]),
            object("172.16.0.0/16", 8, &[("foo", "bar"), ("name", "any")]),
            object("10.1.1.0/26", 6, &[("abc", "bar"), ("name4", "x")]),
            object("10.1.2.0/26", 6, &[("foo", "bar"), ("name", "any")]),
            object("10.1.3.0/26", 6, &[("abc", "bar"), ("name4", "x")]),
        ];
        for (given, winner) in
            [(&[1][..], 1), (&[1, 2], 2), (&[1, 2, 3], 2), (&[1, 2, 4], 4), (&[1, 2, 4, 5], 4), (&[1, 2, 4, 5, 6], 4)]
        {
            let objects: Vec<ClusterCidr> = given.iter().map(|number: &usize| items[number - 1].clone()).collect();
            assert_eq!(in_order(&objects, &all)[0].range, items[winner - 1].range, "{given:?}");
        }
        let by_text = [object("10.0.0.0/24", 8, &[("xyz", "bar")]), object("10.0.1.0/24", 8, &[("foo", "bar")])];
        assert_eq!(in_order(&by_text, &all)[0].range, by_text[1].range, "foo comes before xyz");
    }

    #[test]
    fn blocks_come_from_the_ranges_that_upstream_chooses() {
        let node = labels(&[("a", "1"), ("b", "2"), ("label1", "v"), ("label2", "v")]);
        let one = &[("a", "1")][..];
        let both = &[("a", "1"), ("b", "2")][..];
        for (what, mut objects, expected) in [
            ("more labels", vec![object("10.0.0.0/8", 8, one), object("127.0.0.0/8", 8, both)], "127.0.0.0/24"),
            ("fewer blocks", vec![object("127.0.0.0/8", 8, one), object("10.0.0.0/24", 8, one)], "10.0.0.0/24"),
            ("smaller block", vec![object("127.123.234.0/24", 8, one), object("10.0.0.0/32", 0, one)], "10.0.0.0/32"),
            (
                "label text",
                vec![object("127.123.0.0/16", 8, &[("label1", "v")]), object("10.0.0.0/16", 8, &[("label2", "v")])],
                "127.123.0.0/24",
            ),
            ("same labels", vec![object("127.123.0.0/16", 8, one), object("10.0.0.0/16", 8, one)], "10.0.0.0/24"),
        ] {
            assert_eq!(allocate(&mut objects, &node).unwrap().to_string(), expected, "{what}");
        }
        let mut with_services = [object("127.123.234.0/24", 2, &[])];
        with_services[0].occupy("127.123.234.0/26".parse().unwrap());
        assert_eq!(allocate(&mut with_services, &node).unwrap().to_string(), "127.123.234.64/30");
    }

    #[test]
    fn a_full_range_falls_through_and_terms_are_anded() {
        let node = labels(&[("a", "1")]);
        let mut objects = [object("10.0.0.0/24", 8, &[("a", "1")]), object("10.1.0.0/16", 8, &[])];
        assert_eq!(allocate(&mut objects, &node).unwrap().to_string(), "10.0.0.0/24");
        assert_eq!(allocate(&mut objects, &node).unwrap().to_string(), "10.1.0.0/24");
        let mut either = NodeSelector::label("a", "1");
        either.node_selector_terms.extend(NodeSelector::label("b", "2").node_selector_terms);
        assert!(either.matches(&node), "ORed, as documented");
        let anded = [ClusterCidr::new("10.2.0.0/16".parse().unwrap(), 8, Some(either)).unwrap()];
        assert!(in_order(&anded, &node).is_empty(), "ANDed, as implemented upstream");
    }
}
