//! Leaders as the script wants them, by the choice of the genesis.

use super::MEMBERS;
use polity_crypto::{Blake3Digest, Preimage, domain};
use std::collections::BTreeMap;

/// Weights of the members. They are unequal, so leaders are drawn and not in turn; and still any
/// three are a quorum, any two are more than may be faulty, and any one is not.
pub(super) const WEIGHTS: [u64; MEMBERS] = [3, 3, 3, 4];

/// Sum of the weights.
const TOTAL: u64 = 13;

/// The weight that may be faulty: a third of less than all.
pub(super) const FAULTY_MAX: u64 = (TOTAL - 1) / 3;

/// Weight of a set of members, one bit each.
pub(super) fn weight(members: u8) -> u64 {
    WEIGHTS
        .iter()
        .enumerate()
        .filter(|(member, _)| members >> member & 1 == 1)
        .map(|(_, weight)| weight)
        .sum()
}

/// The genesis with a number.
pub(super) fn genesis(number: u64) -> Blake3Digest {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    Blake3Digest::new(bytes)
}

/// Who leads at height plus view `turn` in epoch 0, computed anew from the specification: the owner
/// of a digest, read as one large number, modulo the weight of all.
pub(super) fn drawn(genesis: &Blake3Digest, turn: u64) -> usize {
    let digest = Preimage::new(domain::LEADER_DRAW)
        .array(genesis.as_bytes())
        .u64(0)
        .u64(turn)
        .sha256();
    let mut point = digest.as_bytes().chunks(8).fold(0_u64, |rest, chunk| {
        let number = chunk.iter().fold(u128::from(rest), |number, byte| {
            number << 8 | u128::from(*byte)
        });
        (number % u128::from(TOTAL)) as u64
    });
    for (member, weight) in WEIGHTS.iter().enumerate() {
        if point < *weight {
            return member;
        }
        point -= weight;
    }
    unreachable!("a point below the total lies in the share of a member")
}

/// Finds genesis numbers under which members lead in a given order from turn 1 on.
///
/// Numbers are tried from 0 on and every order met is kept, so that the search is paid once.
#[derive(Clone, Debug, Default)]
pub struct Leaders {
    /// Length of the orders that are kept.
    turns: usize,
    tried: u64,
    found: BTreeMap<u32, u64>,
}

impl Leaders {
    /// For orders of so many turns.
    pub fn new(turns: usize) -> Self {
        Self {
            turns,
            ..Self::default()
        }
    }

    /// The first genesis whose turns 1, 2, ... are led by these members.
    pub(super) fn genesis_for(&mut self, leaders: &[u8]) -> u64 {
        assert_eq!(leaders.len(), self.turns, "orders of one length are kept");
        let wanted = code(leaders.iter().map(|leader| usize::from(*leader)));
        loop {
            if let Some(number) = self.found.get(&wanted) {
                return *number;
            }
            let candidate = genesis(self.tried);
            let order = code((1..=self.turns as u64).map(|turn| drawn(&candidate, turn)));
            self.found.entry(order).or_insert(self.tried);
            self.tried += 1;
        }
    }
}

fn code(leaders: impl IntoIterator<Item = usize>) -> u32 {
    leaders
        .into_iter()
        .fold(0, |code, leader| code * MEMBERS as u32 + leader as u32)
}

#[cfg(test)]
mod tests {
    use super::super::world::chain_of;
    use super::*;
    use polity_consensus::committee::Committee as _;
    use polity_types::{Height, View, Weight};

    /// Two computations of one rule.
    #[test]
    fn leaders_are_those_of_the_chain() {
        for number in 0..20 {
            let chain = chain_of(number);
            for (height, view) in (1..12).flat_map(|height| (0..9).map(move |view| (height, view)))
            {
                let leader = chain.leader(Height::new(height), View::new(view));
                let ours = drawn(&genesis(number), height + view);
                assert_eq!(leader.get() as usize, ours);
            }
        }
    }

    #[test]
    fn every_order_of_four_turns_has_a_genesis() {
        let mut leaders = Leaders::new(4);
        for code in 0..4_u32.pow(4) {
            let order: Vec<u8> = (0..4).map(|turn| (code >> (2 * turn) & 3) as u8).collect();
            let number = leaders.genesis_for(&order);
            let led: Vec<u8> = (1..=4)
                .map(|turn| drawn(&genesis(number), turn) as u8)
                .collect();
            assert_eq!(led, order);
        }
    }

    /// The unequal weights count like four equal ones: 3 of 4 are a quorum and 1 may be faulty.
    #[test]
    fn fb_1_three_of_four_are_a_quorum_and_one_may_be_faulty() {
        let chain = chain_of(0);
        let table = chain.committee(Height::new(1));
        assert_eq!(table.total(), Weight::new(TOTAL));
        assert_eq!(table.thresholds().faulty_max(), Weight::new(FAULTY_MAX));
        for set in 0..16_u8 {
            let sum = Weight::new(weight(set));
            assert_eq!(table.thresholds().is_quorum(sum), set.count_ones() >= 3);
            assert_eq!(sum.get() > FAULTY_MAX, set.count_ones() >= 2);
        }
    }
}
