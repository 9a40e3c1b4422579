//! Which aligned blocks of a range are free: found, taken and given back in a time that does not grow with their number.

use std::net::Ipv4Addr;

use crate::Cidr;
use crate::number_set::NumberSet;

/// Prefix lengths, /0 to /32.
const LENGTHS: u8 = 33;

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

    /// The lengths of `length` and less in which free blocks exist, the narrowest blocks first.
    fn up_to(self, length: u8) -> impl Iterator<Item = u8> {
        let mut next = Some(length);
        std::iter::from_fn(move || {
            let found = self.best_fit(next?)?;
            next = found.checked_sub(1);
            Some(found)
        })
    }

    /// The lengths above `length` in which free blocks exist.
    fn longer_than(self, length: u8) -> impl Iterator<Item = u8> {
        self.up_to(32).take_while(move |found| *found > length)
    }
}

/// The free space of one range as the fewest aligned blocks that make it up, so that blocks of mixed sizes can be placed
/// where they break the least.
///
/// [`crate::FreeSpace`] answers the same questions for single addresses and long runs; this index answers those for blocks:
/// the smallest free block that holds a wanted one, and the largest that is left. Each length has a set of numbers of its own: block
/// 0 of a length is the first of that length in the range.
#[derive(Clone, Debug)]
pub struct AlignedSpace {
    range: Cidr,
    /// The maximal free blocks of each length.
    by_length: Vec<NumberSet>,
    /// Bit `n` is set while a maximal free block of length `n` exists.
    lengths: FreeLengths,
    free: u64,
}

impl AlignedSpace {
    /// An index of `range` in which everything is free.
    #[must_use]
    pub fn all_free(range: Cidr) -> Self {
        let mut space = Self::none_free(range);
        space.insert(0, range.length());
        space.free = range.size();
        space
    }

    /// An index of `range` in which nothing is free.
    #[must_use]
    pub fn none_free(range: Cidr) -> Self {
        let blocks = |length: u8| NumberSet::below_power(u32::from(length.saturating_sub(range.length())));
        Self { range, by_length: (0..LENGTHS).map(blocks).collect(), lengths: FreeLengths::default(), free: 0 }
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
        usable.map(|(wider, blocks)| blocks.len() << (usize::from(length) - wider)).sum()
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
        let number = self.by_length.get(usize::from(wider))?.first()?;
        let block = Cidr::containing(self.block(number, wider)?.network(), length).ok()?;
        self.cut(wider, block);
        Some(block)
    }

    /// Takes exactly `part`. Returns false, and changes nothing, unless all of it was free.
    pub fn take(&mut self, part: Cidr) -> bool {
        let Some(length) = self.holder(part) else { return false };
        self.cut(length, part);
        true
    }

    /// Takes whatever of `part` is free; returns how many addresses that was.
    pub fn take_any(&mut self, part: Cidr) -> u64 {
        if self.take(part) {
            return part.size();
        }
        let before = self.free;
        for inside in self.blocks_inside(part) {
            self.remove(self.number(inside.network(), inside.length()), inside.length());
            self.free -= inside.size();
        }
        before - self.free
    }

    /// Makes all of `part` free again. Returns false, and changes nothing, unless it lies in the range and all of it was taken.
    pub fn give(&mut self, part: Cidr) -> bool {
        if !self.range.contains_block(part) || self.touches(part) {
            return false;
        }
        self.free += part.size();
        let (mut number, mut length) = (self.number(part.network(), part.length()), part.length());
        // Two halves make a whole.
        while length > self.range.length() && self.has(number ^ 1, length) {
            self.remove(number ^ 1, length);
            number >>= 1;
            length -= 1;
        }
        self.insert(number, length);
        true
    }

    /// The free blocks in address order: the fewest that make up the free space.
    pub fn blocks(&self) -> impl Iterator<Item = Cidr> + use<> {
        self.blocks_in(self.range)
    }

    /// The free blocks inside `part`; the one that contains it, when it is wholly free.
    pub fn blocks_in(&self, part: Cidr) -> impl Iterator<Item = Cidr> + use<> {
        let around = self.holder(part).and_then(|length| Cidr::containing(part.network(), length).ok());
        around.map_or_else(|| self.blocks_inside(part), |around| vec![around]).into_iter()
    }

    /// Whether any address of `part` is free.
    #[must_use]
    pub fn touches(&self, part: Cidr) -> bool {
        if part.contains_block(self.range) {
            return self.free > 0;
        }
        let is_part_free = |length| self.numbers_inside(part, length).next().is_some();
        self.range.contains_block(part)
            && (self.holder(part).is_some() || self.lengths.longer_than(part.length()).any(is_part_free))
    }

    /// The length of the maximal free block that contains `part`.
    fn holder(&self, part: Cidr) -> Option<u8> {
        if !self.range.contains_block(part) {
            return None;
        }
        let is_free = |length: &u8| self.has(self.number(part.network(), *length), *length);
        self.lengths.up_to(part.length()).find(is_free)
    }

    /// The free blocks that lie wholly in `part`, in address order.
    fn blocks_inside(&self, part: Cidr) -> Vec<Cidr> {
        let part = if part.contains_block(self.range) { self.range } else { part };
        if !self.range.contains_block(part) {
            return Vec::new();
        }
        let lengths = self.lengths.up_to(32).filter(|length| *length >= part.length());
        let of_length = |length| self.numbers_inside(part, length).filter_map(move |number| self.block(number, length));
        let mut blocks: Vec<Cidr> = lengths.flat_map(of_length).collect();
        blocks.sort_unstable();
        blocks
    }

    /// The numbers of the free blocks of `length` bits in `part`, which lies in the range and is no narrower.
    fn numbers_inside(&self, part: Cidr, length: u8) -> impl Iterator<Item = u32> + '_ {
        let (first, last) = (self.number(part.network(), length), self.number(part.last(), length));
        self.by_length.get(usize::from(length)).into_iter().flat_map(move |blocks| blocks.range(first, last))
    }

    /// Takes `part` out of the maximal free block of `length` bits around it; the rest stays, in the fewest pieces.
    fn cut(&mut self, length: u8, part: Cidr) {
        self.remove(self.number(part.network(), length), length);
        for narrower in length + 1..=part.length() {
            self.insert(self.number(part.network(), narrower) ^ 1, narrower);
        }
        self.free -= part.size();
    }

    /// The number of the block of `length` bits around `address`, which lies in the range.
    fn number(&self, address: Ipv4Addr, length: u8) -> u32 {
        let offset = u32::from(address).wrapping_sub(u32::from(self.range.network()));
        offset.checked_shr(32 - u32::from(length)).unwrap_or(0)
    }

    /// The block of `length` bits with this number.
    fn block(&self, number: u32, length: u8) -> Option<Cidr> {
        let offset = number.checked_shl(32 - u32::from(length)).unwrap_or(0);
        Cidr::containing(Ipv4Addr::from(u32::from(self.range.network()) + offset), length).ok()
    }

    fn has(&self, number: u32, length: u8) -> bool {
        self.by_length.get(usize::from(length)).is_some_and(|blocks| blocks.contains(number))
    }

    fn insert(&mut self, number: u32, length: u8) {
        if let Some(blocks) = self.by_length.get_mut(usize::from(length)) {
            blocks.insert(number);
        }
        self.lengths.0 |= 1u64 << length;
    }

    fn remove(&mut self, number: u32, length: u8) {
        if let Some(blocks) = self.by_length.get_mut(usize::from(length)) {
            blocks.remove(number);
            if blocks.is_empty() {
                self.lengths.0 &= !(1u64 << length);
            }
        }
    }
}

/// Two indexes are the same when the same is free of the same range.
impl PartialEq for AlignedSpace {
    fn eq(&self, other: &Self) -> bool {
        self.range == other.range && self.free == other.free && self.blocks().eq(other.blocks())
    }
}

impl Eq for AlignedSpace {}

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
