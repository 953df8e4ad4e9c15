//! A set of slots: which leaves changed since they were last hashed.
//!
//! One bit per slot, and above 64 bits one that says whether any of them is set, and so on up to a
//! single word. Marking is idempotent, taking the smallest costs one look per level, and the set
//! takes an eighth of a byte per slot whatever was marked.

use alloc::vec::Vec;

/// Bits of a word.
const WIDTH: usize = 64;

/// A set of slots in ascending order.
#[derive(Clone, Default)]
pub(crate) struct DirtySet {
    /// Slots first; the last level is one word.
    levels: Vec<Vec<u64>>,
}

impl DirtySet {
    /// Marks a slot.
    pub(crate) fn insert(&mut self, slot: usize) {
        self.reach(slot);
        let mut position = slot;
        for words in &mut self.levels {
            words[position / WIDTH] |= 1 << (position % WIDTH);
            position /= WIDTH;
        }
    }

    /// Takes the smallest marked slot out.
    pub(crate) fn pop_first(&mut self) -> Option<usize> {
        let mut position = 0;
        for words in self.levels.iter().rev() {
            let word = words[position];
            if word == 0 {
                // Only the single word on top can be empty here.
                return None;
            }
            position = position * WIDTH + word.trailing_zeros() as usize;
        }
        let slot = (!self.levels.is_empty()).then_some(position)?;
        for words in &mut self.levels {
            let word = &mut words[position / WIDTH];
            *word &= !(1 << (position % WIDTH));
            if *word != 0 {
                break;
            }
            position /= WIDTH;
        }
        Some(slot)
    }

    /// Grows until the slot has its bit.
    fn reach(&mut self, slot: usize) {
        let mut words_needed = slot / WIDTH + 1;
        if self
            .levels
            .first()
            .is_some_and(|words| words.len() >= words_needed)
        {
            return;
        }
        let mut level = 0;
        loop {
            if level == self.levels.len() {
                // A new top says whether the word below it, so far alone, has any bit.
                let below = level
                    .checked_sub(1)
                    .map_or(0, |below| self.levels[below][0]);
                self.levels.push(Vec::new());
                self.levels[level].push(u64::from(below != 0));
            }
            let words = &mut self.levels[level];
            if words.len() < words_needed {
                words.resize(words_needed, 0);
            }
            if words.len() == 1 {
                return;
            }
            words_needed = words.len().div_ceil(WIDTH);
            level += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeSet;
    use proptest::prelude::*;

    #[test]
    fn an_empty_set_gives_nothing() {
        let mut set = DirtySet::default();
        assert_eq!(set.pop_first(), None);
        set.insert(5);
        assert_eq!(set.pop_first(), Some(5));
        assert_eq!(set.pop_first(), None);
    }

    proptest! {
        #[test]
        fn agrees_with_an_ordered_set(
            operations in prop::collection::vec(prop::option::weighted(0.7, 0_usize..300_000), 0..200),
        ) {
            let mut set = DirtySet::default();
            let mut model = BTreeSet::new();
            for operation in operations {
                if let Some(slot) = operation {
                    set.insert(slot);
                    model.insert(slot);
                } else {
                    prop_assert_eq!(set.pop_first(), model.pop_first());
                }
            }
            while let Some(slot) = model.pop_first() {
                prop_assert_eq!(set.pop_first(), Some(slot));
            }
            prop_assert_eq!(set.pop_first(), None);
        }
    }
}
