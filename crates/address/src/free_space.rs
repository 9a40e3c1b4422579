//! Which addresses of a block are free, as runs, so that both single addresses and aligned blocks are found quickly.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use crate::Cidr;

/// The free addresses of one block.
///
/// Free addresses are kept as disjoint, non-adjacent runs in address order: a single address and an aligned block are
/// both found by a walk over runs, and *fragmented* (many runs, no aligned block) is told apart from *exhausted* (no run).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FreeSpace {
    block: Cidr,
    /// First address of a run → last address of it. `u64` is not needed: both ends are inside an IPv4 block.
    runs: BTreeMap<u32, u32>,
    free: u64,
}

impl FreeSpace {
    /// An index of `block` in which every address is free.
    #[must_use]
    pub fn all_free(block: Cidr) -> Self {
        let runs = BTreeMap::from([(u32::from(block.network()), u32::from(block.last()))]);
        Self { block, runs, free: block.size() }
    }

    /// The block this index speaks of.
    #[must_use]
    pub fn block(&self) -> Cidr {
        self.block
    }

    /// How many addresses are free.
    #[must_use]
    pub fn free_addresses(&self) -> u64 {
        self.free
    }

    /// Whether every address of `part` is free; false when it reaches outside the block.
    #[must_use]
    pub fn is_free(&self, part: Cidr) -> bool {
        let (first, last) = ends(part);
        self.run_at(first).is_some_and(|(_, end)| end >= last)
    }

    /// Marks all of `part` taken. Returns false, and changes nothing, unless all of it was free.
    pub fn take(&mut self, part: Cidr) -> bool {
        let (first, last) = ends(part);
        let Some((start, end)) = self.run_at(first).filter(|(_, end)| *end >= last) else { return false };
        self.runs.remove(&start);
        if start < first {
            self.runs.insert(start, first - 1);
        }
        if last < end {
            self.runs.insert(last + 1, end);
        }
        self.free -= part.size();
        true
    }

    /// Marks all of `part` free again. Returns false, and changes nothing, unless all of it was taken and inside the block.
    pub fn give(&mut self, part: Cidr) -> bool {
        let (mut first, mut last) = ends(part);
        let clear = self.runs.range(..=last).next_back().is_none_or(|(_, end)| *end < first);
        if !clear || !self.block.contains_block(part) {
            return false;
        }
        let before = self.runs.range(..first).next_back().map(|(start, end)| (*start, *end));
        if let Some((start, end)) = before
            && end.checked_add(1) == Some(first)
        {
            self.runs.remove(&start);
            first = start;
        }
        if let Some(next) = last.checked_add(1)
            && let Some(end) = self.runs.remove(&next)
        {
            last = end;
        }
        self.runs.insert(first, last);
        self.free += part.size();
        true
    }

    /// The lowest free address.
    #[must_use]
    pub fn lowest_address(&self) -> Option<Ipv4Addr> {
        self.runs.keys().next().map(|first| Ipv4Addr::from(*first))
    }

    /// The lowest aligned block of `length` bits that is wholly free.
    #[must_use]
    pub fn lowest_block(&self, length: u8) -> Option<Cidr> {
        self.free_blocks(length).next()
    }

    /// Every aligned block of `length` bits that is wholly free, in address order.
    pub fn free_blocks(&self, length: u8) -> impl Iterator<Item = Cidr> + '_ {
        let size = 1u64 << (32 - u32::from(length.min(32)));
        self.runs.iter().flat_map(move |(first, last)| {
            let aligned = u64::from(*first).div_ceil(size) * size;
            let count = (u64::from(*last) + 1).saturating_sub(aligned) / size;
            (0..count).filter_map(move |index| {
                let network = u32::try_from(aligned + index * size).ok()?;
                Cidr::containing(Ipv4Addr::from(network), length).ok()
            })
        })
    }

    /// The prefix length of the largest aligned block that is wholly free: what could be handed out in one piece.
    #[must_use]
    pub fn largest_block(&self) -> Option<u8> {
        (self.block.length()..=32).find(|length| self.lowest_block(*length).is_some())
    }

    /// The free runs as (first, last) pairs, in address order.
    pub fn runs(&self) -> impl Iterator<Item = (Ipv4Addr, Ipv4Addr)> + '_ {
        self.runs.iter().map(|(first, last)| (Ipv4Addr::from(*first), Ipv4Addr::from(*last)))
    }

    fn run_at(&self, address: u32) -> Option<(u32, u32)> {
        let (start, end) = self.runs.range(..=address).next_back()?;
        (*end >= address).then_some((*start, *end))
    }
}

fn ends(part: Cidr) -> (u32, u32) {
    (u32::from(part.network()), u32::from(part.last()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cidr(text: &str) -> Cidr {
        text.parse().unwrap()
    }

    #[test]
    fn one_stray_address_costs_a_whole_block() {
        let mut space = FreeSpace::all_free(cidr("10.0.0.0/26"));
        assert_eq!(space.free_blocks(28).count(), 4);
        assert!(space.take(cidr("10.0.0.20/32")));
        assert_eq!(space.free_addresses(), 63);
        assert_eq!(space.free_blocks(28).count(), 3);
        assert_eq!(space.largest_block(), Some(27));
    }

    #[test]
    fn taking_twice_and_giving_twice_change_nothing() {
        let mut space = FreeSpace::all_free(cidr("10.0.0.0/27"));
        assert!(space.take(cidr("10.0.0.16/28")));
        let before = space.clone();
        assert!(!space.take(cidr("10.0.0.24/32")));
        assert!(!space.give(cidr("10.0.0.0/28")));
        assert!(!space.give(cidr("10.0.1.0/28")));
        assert_eq!(space, before);
    }

    #[test]
    fn the_ends_of_the_address_space_are_ordinary() {
        let mut space = FreeSpace::all_free(cidr("0.0.0.0/0"));
        for end in ["0.0.0.0/32", "255.255.255.255/32"] {
            assert!(space.take(cidr(end)));
            assert!(space.give(cidr(end)));
        }
        assert_eq!(space, FreeSpace::all_free(cidr("0.0.0.0/0")));
    }

    proptest! {
        #[test]
        fn agrees_with_a_bitmap(steps in prop::collection::vec((any::<bool>(), 0u32..64, 26u8..=32), 1..200)) {
            let block = cidr("10.0.0.64/26");
            let mut space = FreeSpace::all_free(block);
            let mut bitmap = [true; 64];
            for (take, offset, length) in steps {
                let part = Cidr::containing(block.nth(offset).unwrap(), length).unwrap();
                let from = usize::try_from(u32::from(part.network()) - u32::from(block.network())).unwrap();
                let cells = &mut bitmap[from..from + usize::try_from(part.size()).unwrap()];
                let expected = cells.iter().all(|free| *free == take);
                prop_assert_eq!(if take { space.take(part) } else { space.give(part) }, expected);
                if expected {
                    cells.fill(!take);
                }
                let count = bitmap.iter().filter(|free| **free).count();
                prop_assert_eq!(space.free_addresses(), u64::try_from(count).unwrap());
                for length in 26..=32 {
                    let cells = 1usize << (32 - length);
                    let blocks = bitmap.chunks(cells).filter(|c| c.iter().all(|free| *free)).count();
                    prop_assert_eq!(space.free_blocks(length).count(), blocks);
                }
            }
        }
    }
}
