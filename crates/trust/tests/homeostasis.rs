//! TR-4: the sum is exact, a bad peer is never lifted, the order stays.

use polity_trust::{PROBATION, balance};
use polity_types::TRUST_MAX;
use proptest::prelude::*;

fn total(scores: &[u32]) -> u64 {
    scores.iter().copied().map(u64::from).sum()
}

#[test]
fn e4_l10_the_sum_is_exact_where_thirds_do_not_divide() {
    assert_eq!(
        balance(&[400_000; 3], 1_000_000),
        [333_334, 333_333, 333_333]
    );
}

#[test]
fn e4_l11_a_bad_peer_is_not_lifted_when_the_budget_is_large() {
    assert_eq!(balance(&[10, 900_000], 5_000_000), [10, TRUST_MAX]);
}

#[test]
fn nobody_and_nothing() {
    assert!(balance(&[], 7).is_empty());
    assert_eq!(balance(&[0, 0], 7), [0, 0]);
    assert_eq!(balance(&[5, 500_000], 0), [0, 0]);
}

proptest! {
    #[test]
    fn sum_bounds_and_order_hold(
        scores in prop::collection::vec(prop_oneof![0..=TRUST_MAX, 0..20u32, 349_990..350_010u32], 0..20),
        budget in prop_oneof![0..100u64, 0..20_000_000u64],
    ) {
        let bound = |score: &u32| if *score < PROBATION { *score } else { TRUST_MAX };
        let bounds: Vec<u32> = scores.iter().map(bound).collect();
        let view = balance(&scores, budget);
        prop_assert_eq!(total(&view), budget.min(total(&bounds)));
        for (at, score) in scores.iter().enumerate() {
            prop_assert!(view[at] <= bounds[at]);
            for (other, than) in scores.iter().enumerate() {
                prop_assert!(score >= than || view[at] <= view[other]);
            }
        }
    }
}
