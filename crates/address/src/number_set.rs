//! A set of small numbers as a tree of words: the lowest member, and the next one, are found in a few steps, however many there are.

/// Numbers that one word tells apart, as a power of two.
const WORD_BITS: u32 = 6;
/// Where each level of the tree begins: one word, then 64, then 4,096.
const LEVEL_STARTS: [u64; 6] = [0, 1, 65, 4_161, 266_305, 17_043_521];

/// A set of numbers below a power of two.
///
/// The lowest level has one bit for each number. Above it, a bit says whether a word of the next level is not zero, up to a single
/// word. The words are made with the first number; those that are never touched cost address space and no memory.
#[derive(Clone, Debug)]
pub(crate) struct NumberSet {
    words: Vec<u64>,
    /// Members are below 2 to the power of this.
    bits: u32,
    levels: usize,
    count: u64,
}

impl NumberSet {
    /// An empty set for numbers below 2 to the power of `bits`, 32 at most.
    pub(crate) fn below_power(bits: u32) -> Self {
        let bits = bits.min(u32::BITS);
        let levels = usize::try_from(bits.div_ceil(WORD_BITS).max(1)).unwrap_or(LEVEL_STARTS.len());
        Self { words: Vec::new(), bits, levels, count: 0 }
    }

    /// How many numbers it has.
    pub(crate) fn len(&self) -> u64 {
        self.count
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(crate) fn contains(&self, number: u32) -> bool {
        let lowest = self.levels - 1;
        self.word(lowest, u64::from(number) >> WORD_BITS).is_some_and(|word| word & bit_of(u64::from(number)) != 0)
    }

    /// Adds a number; false when it is there already, or not below the bound.
    pub(crate) fn insert(&mut self, number: u32) -> bool {
        if u64::from(number) >> self.bits != 0 {
            return false;
        }
        if self.words.is_empty() {
            let leaves = 1u64 << self.bits.saturating_sub(WORD_BITS);
            let above = LEVEL_STARTS.get(self.levels - 1).copied().unwrap_or(0);
            self.words = vec![0; usize::try_from(above + leaves).unwrap_or(usize::MAX)];
        }
        let mut at = u64::from(number);
        for level in (0..self.levels).rev() {
            let Some(word) = self.word_mut(level, at >> WORD_BITS) else { return false };
            let (before, bit) = (*word, bit_of(at));
            *word |= bit;
            if level == self.levels - 1 {
                if before & bit != 0 {
                    return false;
                }
                self.count += 1;
            }
            if before != 0 {
                break;
            }
            at >>= WORD_BITS;
        }
        true
    }

    /// Takes a number out; false when it is not there.
    pub(crate) fn remove(&mut self, number: u32) -> bool {
        let mut at = u64::from(number);
        for level in (0..self.levels).rev() {
            let Some(word) = self.word_mut(level, at >> WORD_BITS) else { return false };
            let (before, bit) = (*word, bit_of(at));
            *word &= !bit;
            let is_zero = *word == 0;
            if level == self.levels - 1 {
                if before & bit == 0 {
                    return false;
                }
                self.count -= 1;
            }
            if !is_zero {
                break;
            }
            at >>= WORD_BITS;
        }
        true
    }

    /// The lowest number.
    pub(crate) fn first(&self) -> Option<u32> {
        self.next(0)
    }

    /// The lowest number that is not below `from`.
    pub(crate) fn next(&self, from: u32) -> Option<u32> {
        let mut at = u64::from(from);
        // Up until a word has a bit at this place or after it, then down along the lowest bits.
        for level in (0..self.levels).rev() {
            let (index, within) = (at >> WORD_BITS, at & u64::from(u64::BITS - 1));
            let rest = self.word(level, index)? & (u64::MAX << within);
            if rest != 0 {
                let mut found = (index << WORD_BITS) + u64::from(rest.trailing_zeros());
                for below in level + 1..self.levels {
                    let word = self.word(below, found)?;
                    found = (found << WORD_BITS) + u64::from(word.trailing_zeros());
                }
                return u32::try_from(found).ok();
            }
            at = index + 1;
        }
        None
    }

    /// The numbers from `first` to `last`, in order.
    pub(crate) fn range(&self, first: u32, last: u32) -> impl Iterator<Item = u32> + '_ {
        let mut next = self.next(first);
        std::iter::from_fn(move || {
            let number = next.filter(|number| *number <= last)?;
            next = number.checked_add(1).and_then(|after| self.next(after));
            Some(number)
        })
    }

    fn word(&self, level: usize, index: u64) -> Option<u64> {
        self.words.get(self.position(level, index)?).copied()
    }

    fn word_mut(&mut self, level: usize, index: u64) -> Option<&mut u64> {
        let position = self.position(level, index)?;
        self.words.get_mut(position)
    }

    /// Where the word is; none when the level does not reach so far.
    fn position(&self, level: usize, index: u64) -> Option<usize> {
        let above = LEVEL_STARTS.get(level)?;
        // A word of a level stands for this many numbers.
        let span = WORD_BITS * u32::try_from(self.levels - level).ok()?;
        let is_inside = index >> self.bits.saturating_sub(span) == 0;
        is_inside.then(|| usize::try_from(above + index).unwrap_or(usize::MAX))
    }
}

fn bit_of(number: u64) -> u64 {
    1 << (number & u64::from(u64::BITS - 1))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_highest_number_of_each_size_is_an_ordinary_one() {
        for bits in 0..=32 {
            let highest = u32::try_from((1u64 << bits) - 1).unwrap();
            let mut set = NumberSet::below_power(bits);
            assert_eq!(set.first(), None);
            assert!(set.insert(highest) && !set.insert(highest), "{bits}");
            assert_eq!((set.first(), set.next(highest)), (Some(highest), Some(highest)), "{bits}");
            assert!(set.contains(highest) && set.remove(highest) && !set.remove(highest), "{bits}");
            assert!(set.is_empty() && !set.contains(highest), "{bits}");
            if let Some(outside) = highest.checked_add(1) {
                assert!(!set.insert(outside) && !set.contains(outside) && set.next(outside).is_none(), "{bits}");
            }
        }
    }

    proptest! {
        #[test]
        fn agrees_with_a_sorted_set(bits in 0u32..15, steps in prop::collection::vec((any::<bool>(), 0u32..1 << 15), 1..300)) {
            let mut set = NumberSet::below_power(bits);
            let mut sorted = BTreeSet::new();
            for (comes, number) in steps {
                let number = number & ((1 << bits) - 1);
                if comes {
                    prop_assert_eq!(set.insert(number), sorted.insert(number));
                } else {
                    prop_assert_eq!(set.remove(number), sorted.remove(&number));
                }
                prop_assert_eq!(set.first(), sorted.first().copied());
                prop_assert_eq!(set.next(number), sorted.range(number..).next().copied());
                prop_assert_eq!(set.len(), sorted.len() as u64);
                let (low, high) = (number / 2, number);
                prop_assert!(set.range(low, high).eq(sorted.range(low..=high).copied()));
            }
        }
    }
}
