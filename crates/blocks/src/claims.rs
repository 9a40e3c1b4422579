//! Which node has which block.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use freeboard_address::Cidr;

use crate::table::NodeId;

/// Prefix lengths, /0 to /32.
const LENGTHS: usize = 33;
/// A page is about the blocks that begin in one /16.
const PAGE_LENGTH: u8 = 16;

/// All blocks that nodes have.
///
/// Nearly all are regular: a block of a range, which one node has. Their nodes stand in arrays by the number of the block, so that
/// neither noting one nor forgetting it depends on how many there are.
#[derive(Clone, Debug, Default)]
pub(crate) struct Claims {
    /// Regular ones: the number of a /16 → its page.
    pages: BTreeMap<u32, Page>,
    /// Duplicate, overlapping, outside of the ranges, or excluded.
    irregular: BTreeMap<Cidr, Irregular>,
}

/// The nodes of the blocks that begin in one /16: for each length that occurs, by the number of the block in the page.
#[derive(Clone, Debug)]
struct Page {
    by_length: [Holders; LENGTHS],
}

#[derive(Clone, Debug, Default)]
struct Holders {
    nodes: Vec<Option<NodeId>>,
    count: usize,
}

#[derive(Clone, Debug)]
struct Irregular {
    node: NodeId,
    others: Vec<NodeId>,
}

/// One block that a node has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Claim<'a> {
    /// The node that was seen with it first.
    pub(crate) node: NodeId,
    /// Further nodes that were seen with it: each a finding.
    pub(crate) others: &'a [NodeId],
    /// It is not simply a block of a range: duplicate, overlapping, outside, or excluded.
    pub(crate) is_irregular: bool,
}

/// What became of a block that a node does not have any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Withdrawn {
    /// The node did not have it.
    Nothing,
    /// Others were seen with it before this node, and have it still.
    HeldBefore,
    /// It is this node's now, the next that was seen with it.
    Passed(NodeId),
    /// Nobody has it.
    Vacant {
        /// Whether it was simply a block of a range.
        was_regular: bool,
    },
}

impl Claims {
    pub(crate) fn get(&self, cidr: Cidr) -> Option<Claim<'_>> {
        if let Some(node) = self.holders(cidr).and_then(|holders| *holders.nodes.get(number(cidr))?) {
            return Some(Claim { node, others: &[], is_irregular: false });
        }
        let irregular = self.irregular.get(&cidr)?;
        Some(Claim { node: irregular.node, others: &irregular.others, is_irregular: true })
    }

    /// Notes a block that nobody has.
    pub(crate) fn insert(&mut self, cidr: Cidr, node: NodeId, is_regular: bool) {
        if !is_regular {
            self.irregular.insert(cidr, Irregular { node, others: Vec::new() });
            return;
        }
        let page = self.pages.entry(page_of(cidr)).or_insert_with(Page::new);
        let Some(holders) = page.by_length.get_mut(usize::from(cidr.length())) else { return };
        if holders.nodes.is_empty() {
            holders.nodes = vec![None; 1 << cidr.length().saturating_sub(PAGE_LENGTH)];
        }
        if let Some(holder) = holders.nodes.get_mut(number(cidr)) {
            *holder = Some(node);
            holders.count += 1;
        }
    }

    /// Notes that one more node was seen with a block that somebody has; false when that is known.
    pub(crate) fn join(&mut self, cidr: Cidr, node: NodeId) -> bool {
        let is_known = self.get(cidr).is_some_and(|claim| claim.node == node || claim.others.contains(&node));
        if is_known {
            return false;
        }
        self.mark_irregular(cidr);
        if let Some(irregular) = self.irregular.get_mut(&cidr) {
            irregular.others.push(node);
        }
        true
    }

    /// The block is not simply one of a range any more.
    pub(crate) fn mark_irregular(&mut self, cidr: Cidr) {
        if let Some(node) = self.take_regular(cidr, |_| true) {
            self.insert(cidr, node, false);
        }
    }

    /// Notes that a node does not have a block any more.
    pub(crate) fn withdraw(&mut self, cidr: Cidr, node: NodeId) -> Withdrawn {
        if self.take_regular(cidr, |holder| holder == node).is_some() {
            return Withdrawn::Vacant { was_regular: true };
        }
        let Some(irregular) = self.irregular.get_mut(&cidr) else { return Withdrawn::Nothing };
        if irregular.node != node {
            irregular.others.retain(|other| *other != node);
            return Withdrawn::HeldBefore;
        }
        if irregular.others.is_empty() {
            self.irregular.remove(&cidr);
            return Withdrawn::Vacant { was_regular: false };
        }
        irregular.node = irregular.others.remove(0);
        Withdrawn::Passed(irregular.node)
    }

    /// All blocks that share addresses with `cidr`: those around it, then itself and those inside it in address order.
    pub(crate) fn touching(&self, cidr: Cidr) -> impl Iterator<Item = (Cidr, Claim<'_>)> + '_ {
        let wider = (0..cidr.length()).filter_map(move |length| Cidr::containing(cidr.network(), length).ok());
        let around = wider.filter_map(|wider| Some((wider, self.get(wider)?)));
        let pages = self.pages.range(page_of(cidr)..=page_of(Cidr::host(cidr.last())));
        let mut inside: Vec<Cidr> = pages.flat_map(|(page, holders)| holders.inside(*page, cidr)).collect();
        inside.extend(self.irregular.range(cidr..=Cidr::host(cidr.last())).map(|(other, _)| *other));
        inside.sort_unstable();
        around.chain(inside.into_iter().filter_map(|inside| Some((inside, self.get(inside)?))))
    }

    fn holders(&self, cidr: Cidr) -> Option<&Holders> {
        self.pages.get(&page_of(cidr))?.by_length.get(usize::from(cidr.length()))
    }

    fn take_regular(&mut self, cidr: Cidr, is_wanted: impl Fn(NodeId) -> bool) -> Option<NodeId> {
        let page = self.pages.get_mut(&page_of(cidr))?;
        let holders = page.by_length.get_mut(usize::from(cidr.length()))?;
        let node = holders.nodes.get_mut(number(cidr))?.take_if(|node| is_wanted(*node))?;
        holders.count -= 1;
        Some(node)
    }
}

impl Page {
    fn new() -> Self {
        Self { by_length: std::array::from_fn(|_| Holders::default()) }
    }

    /// The blocks of this page that lie in `cidr`.
    fn inside(&self, page: u32, cidr: Cidr) -> impl Iterator<Item = Cidr> + '_ {
        let occurring = (0u8..).zip(&self.by_length).filter(|(_, holders)| holders.count > 0);
        occurring.flat_map(move |(length, holders)| {
            let taken = (0u32..).zip(&holders.nodes).filter(|(_, node)| node.is_some());
            let block = move |(number, _): (u32, &Option<NodeId>)| {
                let offset = number.checked_shl(32 - u32::from(length)).unwrap_or(0);
                Cidr::containing(Ipv4Addr::from((page << PAGE_LENGTH) + offset), length).ok()
            };
            taken.filter_map(block).filter(move |block| cidr.contains_block(*block))
        })
    }
}

/// The number of the /16 that the block begins in.
fn page_of(cidr: Cidr) -> u32 {
    u32::from(cidr.network()) >> PAGE_LENGTH
}

/// The number of the block among those of its length in its page.
fn number(cidr: Cidr) -> usize {
    let within = u32::from(cidr.network()) & ((1 << PAGE_LENGTH) - 1);
    usize::try_from(within.checked_shr(32 - u32::from(cidr.length())).unwrap_or(0)).unwrap_or(usize::MAX)
}
