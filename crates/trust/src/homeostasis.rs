//! Scores scaled to a budget, exactly (TR-4).

use crate::PROBATION;
use alloc::vec::Vec;
use core::cmp::Reverse;
use polity_types::TRUST_MAX;

/// Scales scores, in millionths, so that they sum to the budget or to what the bounds allow.
///
/// A score below [`PROBATION`] is never lifted; others reach at most [`TRUST_MAX`]. The sum is
/// exactly `min(budget, sum of these bounds)`, and no peer overtakes a better one. Equal scores
/// differ by at most one millionth, in favour of the earlier. Scores above [`TRUST_MAX`] count as [`TRUST_MAX`].
pub fn balance(scores: &[u32], budget: u64) -> Vec<u32> {
    let mut scores: Vec<u32> = scores.iter().map(|score| (*score).min(TRUST_MAX)).collect();
    let sum = total(&scores);
    if budget <= sum {
        return shares(&scores, budget);
    }
    let room = |score: &u32| {
        if *score < PROBATION {
            0
        } else {
            TRUST_MAX - score
        }
    };
    let rooms: Vec<u32> = scores.iter().map(room).collect();
    let added = shares(&rooms, (budget - sum).min(total(&rooms)));
    for (score, added) in scores.iter_mut().zip(added) {
        *score += added;
    }
    scores
}

fn total(parts: &[u32]) -> u64 {
    parts.iter().copied().map(u64::from).sum()
}

/// Splits `amount`, at most the sum of the parts, in proportion to them by largest remainder.
fn shares(parts: &[u32], amount: u64) -> Vec<u32> {
    let sum = u128::from(total(parts).max(1));
    let exact = |part: &u32| u128::from(*part) * u128::from(amount);
    let mut shares: Vec<u32> = parts
        .iter()
        .map(|part| (exact(part) / sum) as u32)
        .collect();
    let mut order: Vec<usize> = (0..parts.len()).collect();
    order.sort_by_key(|at| (Reverse(exact(&parts[*at]) % sum), *at));
    let missing = amount - total(&shares);
    // Fewer are missing than there are remainders above zero.
    for at in order.into_iter().take(missing as usize) {
        shares[at] += 1;
    }
    shares
}
