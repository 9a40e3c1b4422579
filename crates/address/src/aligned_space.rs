//! Which aligned blocks of a range are free: found, taken and given back in a time that does not grow with their number.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use crate::Cidr;

/// Prefix lengths, /0 to /32.
const LENGTHS: usize = 33;

/// In which lengths free blocks exist: all that is needed to know where a block would be cut, in one word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FreeLengths(u64);

impl FreeLengths {
    /// The length of the smallest free block that holds one of `length` bits.
    #[must_use]
    pub fn best_fit(self, length: u8) -> Option<u8> {
        let fitting = self.0 & ((1u64 << (u32::from(length.min(32)) + 1)) - 1);
        (fitting != 0).then(|| to_u8(63 - fitting.leading_zeros()))
    }

    /// The length of the largest free block.
    #[must_use]
    pub fn largest(self) -> Option<u8> {
        (self.0 != 0).then(|| to_u8(self.0.trailing_zeros()))
    }
}

/// The free space of one range as the fewest aligned blocks that make it up, so that blocks of mixed sizes can be placed
/// where they break the least.
///
/// [`crate::FreeSpace`] answers the same questions for single addresses and long runs; this index answers those for blocks:
/// the smallest free block that holds a wanted one, and the largest that is left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlignedSpace {
    range: Cidr,
    /// Network address of each maximal free block → its length.
    by_address: BTreeMap<u32, u8>,
    /// The same blocks by length.
    by_length: Vec<BTreeSet<u32>>,
    /// Bit `n` is set while a maximal free block of length `n` exists.
    lengths: FreeLengths,
    free: u64,
}

impl AlignedSpace {
    /// An index of `range` in which everything is free.
    #[must_use]
    pub fn all_free(range: Cidr) -> Self {
        let mut space = Self::none_free(range);
        space.insert(u32::from(range.network()), range.length());
        space.free = range.size();
        space
    }

    /// An index of `range` in which nothing is free.
    #[must_use]
    pub fn none_free(range: Cidr) -> Self {
        Self {
            range,
            by_address: BTreeMap::new(),
            by_length: vec![BTreeSet::new(); LENGTHS],
            lengths: FreeLengths::default(),
            free: 0,
        }
    }

    /// The range that this index speaks of.
    #[must_use]
    pub fn range(&self) -> Cidr {
        self.range
    }

    /// How many addresses are free.
    #[must_use]
    pub fn free_addresses(&self) -> u64 {
        self.free
    }

    /// How many disjoint aligned blocks of `length` bits could be taken.
    #[must_use]
    pub fn free_blocks(&self, length: u8) -> u64 {
        let usable = self.by_length.iter().enumerate().take(usize::from(length) + 1);
        usable.map(|(wider, blocks)| to_u64(blocks.len()) << (usize::from(length) - wider)).sum()
    }

    /// The length of the largest free block: what could be handed out in one piece.
    #[must_use]
    pub fn largest_block(&self) -> Option<u8> {
        self.lengths.largest()
    }

    /// In which lengths free blocks exist.
    #[must_use]
    pub fn lengths(&self) -> FreeLengths {
        self.lengths
    }

    /// The length of the smallest free block that holds one of `length` bits: where [`AlignedSpace::allocate`] would cut.
    #[must_use]
    pub fn best_fit(&self, length: u8) -> Option<u8> {
        self.lengths.best_fit(length)
    }

    /// Whether every address of `part` is free.
    #[must_use]
    pub fn is_free(&self, part: Cidr) -> bool {
        self.holder(part).is_some()
    }

    /// Takes a block of `length` bits: the lowest of the smallest free blocks that hold it, so that larger ones stay whole.
    pub fn allocate(&mut self, length: u8) -> Option<Cidr> {
        let wider = self.best_fit(length)?;
        let network = *self.by_length.get(usize::from(wider))?.first()?;
        let block = Cidr::containing(Ipv4Addr::from(network), length).ok()?;
        self.cut(network, wider, block);
        Some(block)
    }

    /// Takes exactly `part`. Returns false, and changes nothing, unless all of it was free.
    pub fn take(&mut self, part: Cidr) -> bool {
        let Some((network, length)) = self.holder(part) else { return false };
        self.cut(network, length, part);
        true
    }

    /// Takes whatever of `part` is free; returns how many addresses that was.
    pub fn take_any(&mut self, part: Cidr) -> u64 {
        if self.take(part) {
            return part.size();
        }
        let (first, last) = (u32::from(part.network()), u32::from(part.last()));
        let inside: Vec<(u32, u8)> = self.by_address.range(first..=last).map(|(n, l)| (*n, *l)).collect();
        let before = self.free;
        for (network, length) in inside {
            self.remove(network, length);
            self.free -= 1u64 << (32 - u32::from(length));
        }
        before - self.free
    }

    /// Makes all of `part` free again. Returns false, and changes nothing, unless it lies in the range and all of it was taken.
    pub fn give(&mut self, part: Cidr) -> bool {
        let (mut network, mut length) = (u32::from(part.network()), part.length());
        if !self.range.contains_block(part) || self.touches(part) {
            return false;
        }
        self.free += part.size();
        while length > self.range.length() {
            let buddy = network ^ (1u32 << (32 - u32::from(length)));
            if self.by_address.get(&buddy) != Some(&length) {
                break;
            }
            self.remove(buddy, length);
            network = network.min(buddy);
            length -= 1;
        }
        self.insert(network, length);
        true
    }

    /// The free blocks in address order: the fewest that make up the free space.
    pub fn blocks(&self) -> impl Iterator<Item = Cidr> + '_ {
        self.by_address.iter().filter_map(|(network, length)| block(*network, *length))
    }

    /// The free blocks inside `part`; the one that contains it, when it is wholly free.
    pub fn blocks_in(&self, part: Cidr) -> impl Iterator<Item = Cidr> + '_ {
        let around = self.holder(part).and_then(|(network, length)| block(network, length));
        let (first, last) = match around {
            Some(_) => (1, 0),
            None => (u64::from(u32::from(part.network())), u64::from(u32::from(part.last()))),
        };
        let bounds = (first <= last).then_some((to_u32(first), to_u32(last)));
        let inside = bounds.into_iter().flat_map(|(first, last)| self.by_address.range(first..=last));
        around.into_iter().chain(inside.filter_map(|(network, length)| block(*network, *length)))
    }

    /// Whether any address of `part` is free.
    #[must_use]
    pub fn touches(&self, part: Cidr) -> bool {
        // Free blocks are disjoint, so the last one that begins in or before `part` is the only one to look at.
        let last = self.by_address.range(..=u32::from(part.last())).next_back();
        last.and_then(|(network, length)| block(*network, *length)).is_some_and(|free| free.overlaps(part))
    }

    /// The maximal free block that contains `part`.
    fn holder(&self, part: Cidr) -> Option<(u32, u8)> {
        let (network, length) = self.by_address.range(..=u32::from(part.network())).next_back()?;
        block(*network, *length)?.contains_block(part).then_some((*network, *length))
    }

    /// Takes `part` out of the free block at `network`; the rest stays, in the fewest pieces.
    fn cut(&mut self, network: u32, length: u8, part: Cidr) {
        self.remove(network, length);
        let target = u32::from(part.network());
        for narrower in length + 1..=part.length() {
            let bit = 1u32 << (32 - u32::from(narrower));
            let path = target & !(bit - 1);
            self.insert(path ^ bit, narrower);
        }
        self.free -= part.size();
    }

    fn insert(&mut self, network: u32, length: u8) {
        self.by_address.insert(network, length);
        if let Some(blocks) = self.by_length.get_mut(usize::from(length)) {
            blocks.insert(network);
        }
        self.lengths.0 |= 1u64 << length;
    }

    fn remove(&mut self, network: u32, length: u8) {
        self.by_address.remove(&network);
        if let Some(blocks) = self.by_length.get_mut(usize::from(length)) {
            blocks.remove(&network);
            if blocks.is_empty() {
                self.lengths.0 &= !(1u64 << length);
            }
        }
    }
}

fn block(network: u32, length: u8) -> Option<Cidr> {
    Cidr::containing(Ipv4Addr::from(network), length).ok()
}

fn to_u64(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

fn to_u32(address: u64) -> u32 {
    u32::try_from(address).unwrap_or(u32::MAX)
}

fn to_u8(bits: u32) -> u8 {
    u8::try_from(bits).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cidr(text: &str) -> Cidr {
        text.parse().unwrap()
    }

    fn allocated(space: &mut AlignedSpace, length: u8) -> String {
        space.allocate(length).map_or_else(|| "none".to_owned(), |block| block.to_string())
    }

    #[test]
    fn the_range_of_the_first_seed_holds_two_blocks() {
        let mut space = AlignedSpace::all_free(cidr("10.0.0.0/26"));
        let given: Vec<String> = (0..3).map(|_| allocated(&mut space, 27)).collect();
        assert_eq!(given, ["10.0.0.0/27", "10.0.0.32/27", "none"]);
    }

    #[test]
    fn small_blocks_are_cut_from_small_rests_so_that_large_ones_stay_whole() {
        let mut space = AlignedSpace::all_free(cidr("10.0.0.0/22"));
        assert_eq!(allocated(&mut space, 28), "10.0.0.0/28");
        assert_eq!(allocated(&mut space, 24), "10.0.1.0/24");
        assert_eq!(allocated(&mut space, 27), "10.0.0.32/27");
        assert_eq!(allocated(&mut space, 28), "10.0.0.16/28");
        assert_eq!(space.free_blocks(24), 2);
        assert_eq!((space.largest_block(), space.best_fit(26)), (Some(23), Some(26)));
    }

    #[test]
    fn what_is_given_back_grows_together_again() {
        let whole = AlignedSpace::all_free(cidr("10.0.0.0/24"));
        let mut space = whole.clone();
        let blocks: Vec<Cidr> = (0..16).filter_map(|_| space.allocate(28)).collect();
        assert_eq!((blocks.len(), space.largest_block()), (16, None));
        for block in blocks.into_iter().rev() {
            assert!(space.give(block));
        }
        assert_eq!(space, whole);
        assert!(!space.give(cidr("10.0.0.0/28")), "already free");
        assert!(!space.give(cidr("10.0.1.0/28")), "outside");
    }

    #[test]
    fn a_block_that_is_free_in_part_is_taken_in_part() {
        let mut space = AlignedSpace::all_free(cidr("10.0.0.0/24"));
        assert!(space.take(cidr("10.0.0.64/26")));
        assert_eq!(space.take_any(cidr("10.0.0.0/25")), 64);
        assert_eq!(space.take_any(cidr("0.0.0.0/0")), 128);
        assert_eq!(space, AlignedSpace::none_free(cidr("10.0.0.0/24")));
    }

    #[test]
    fn the_ends_of_the_address_space_are_ordinary() {
        let mut space = AlignedSpace::all_free(cidr("0.0.0.0/0"));
        for end in ["0.0.0.0/32", "255.255.255.255/32", "128.0.0.0/1"] {
            assert!(space.take(cidr(end)), "{end}");
            assert!(space.give(cidr(end)), "{end}");
        }
        assert_eq!(space, AlignedSpace::all_free(cidr("0.0.0.0/0")));
    }

    proptest! {
        #[test]
        fn agrees_with_the_index_of_runs(steps in prop::collection::vec((0u8..4, 0u32..64, 26u8..=32), 1..200)) {
            let range = cidr("10.0.0.64/26");
            let mut space = AlignedSpace::all_free(range);
            let mut runs = crate::FreeSpace::all_free(range);
            for (kind, offset, length) in steps {
                let part = Cidr::containing(range.nth(offset).unwrap(), length).unwrap();
                match kind {
                    0 => prop_assert_eq!(space.take(part), runs.take(part)),
                    1 => prop_assert_eq!(space.give(part), runs.give(part)),
                    2 => {
                        let taken = space.take_any(part);
                        prop_assert_eq!(taken, part.addresses().filter(|a| runs.take(Cidr::host(*a))).count() as u64);
                    }
                    _ => match space.allocate(length) {
                        Some(block) => prop_assert!(runs.take(block)),
                        None => prop_assert_eq!(runs.lowest_block(length), None),
                    },
                }
                prop_assert_eq!(space.free_addresses(), runs.free_addresses());
                prop_assert_eq!(space.largest_block(), runs.largest_block());
                prop_assert_eq!(space.blocks().map(Cidr::size).sum::<u64>(), space.free_addresses());
                for wanted in 26..=32 {
                    prop_assert_eq!(space.free_blocks(wanted), runs.free_blocks(wanted).count() as u64);
                    let inside: u64 = space.blocks_in(part).map(|b| b.size().min(part.size())).sum();
                    prop_assert_eq!(inside, part.addresses().filter(|a| runs.is_free(Cidr::host(*a))).count() as u64);
                }
                prop_assert_eq!(space.touches(part), part.addresses().any(|a| runs.is_free(Cidr::host(a))));
            }
        }
    }
}
