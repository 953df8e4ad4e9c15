//! An order over all numbers below a size, repeatable from a seed and without memory.

use polity_types::Seed;

/// Passes of the network; four would do for an even spread.
const PASSES: u8 = 6;

/// A permutation of the numbers below `size`: a balanced Feistel network over the next even number
/// of bits, walked until the result is below `size`.
///
/// Different places have different numbers, so drawing places one after the other never draws a
/// number twice, and drawing all of them draws every number.
#[derive(Clone, Debug)]
pub struct Shuffle {
    key: Seed,
    size: u128,
    half_bits: u32,
}

impl Shuffle {
    /// The order of a seed.
    pub fn new(seed: &Seed, size: u128) -> Self {
        let bits = u128::BITS - size.saturating_sub(1).leading_zeros();
        Self {
            key: seed.fork("twins/shuffle"),
            size,
            half_bits: bits.div_ceil(2),
        }
    }

    /// The number at a place; both are below the size.
    pub fn at(&self, place: u128) -> Option<u128> {
        if place >= self.size {
            return None;
        }
        // The cycle that `place` is on comes back below the size, at `place` itself at the latest.
        let mut value = self.pass(place);
        while value >= self.size {
            value = self.pass(value);
        }
        Some(value)
    }

    fn pass(&self, value: u128) -> u128 {
        let mask = (1_u128 << self.half_bits) - 1;
        let (mut left, mut right) = (value >> self.half_bits, value & mask);
        for pass in 0..PASSES {
            let mut input = [0; 17];
            input[0] = pass;
            input[1..].copy_from_slice(&right.to_le_bytes());
            let digest = blake3::keyed_hash(self.key.as_bytes(), &input);
            let mut word = [0; 16];
            word.copy_from_slice(&digest.as_bytes()[..16]);
            (left, right) = (right, left ^ (u128::from_le_bytes(word) & mask));
        }
        left << self.half_bits | right
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_number_has_one_place() {
        for size in [0, 1, 2, 3, 7, 64, 65, 1_000, 4_097] {
            let shuffle = Shuffle::new(&Seed::from_number(3), size);
            let numbers: BTreeSet<u128> = (0..size).filter_map(|place| shuffle.at(place)).collect();
            assert!(numbers.into_iter().eq(0..size), "{size}");
            assert_eq!(shuffle.at(size), None);
        }
    }

    #[test]
    fn seeds_order_differently_and_sizes_reach_far() {
        let order = |seed: u64, size: u128| -> Vec<u128> {
            let shuffle = Shuffle::new(&Seed::from_number(seed), size);
            (0..50).filter_map(|place| shuffle.at(place)).collect()
        };
        assert_eq!(order(1, 1_000), order(1, 1_000));
        assert_ne!(order(1, 1_000), order(2, 1_000));
        let far = order(1, u128::MAX >> 2);
        assert!(far.iter().any(|number| number >> 120 != 0));
    }
}
