//! The ledger agrees step by step with a naive model, under generated commands that include attacks.

mod common;

use common::play::{Step, Wish, compare};
use polity_ledger::Rejection;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use std::collections::BTreeSet;

fn wish() -> impl Strategy<Value = Wish> {
    let kind = (0_u8..30, any::<u8>(), any::<u8>(), any::<u8>(), any::<u8>());
    let kinds = prop_oneof![
        6 => prop::collection::vec(kind.clone(), 1),
        1 => prop::collection::vec(kind, 2..5),
    ];
    let replay = prop_oneof![9 => Just(None), 1 => any::<u8>().prop_map(Some)];
    (kinds, 0_u8..12, any::<u8>(), -1_i8..6, replay).prop_map(
        |(kinds, keys, signer, until, replay)| Wish {
            kinds,
            keys,
            signer,
            until,
            replay,
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    (prop::collection::vec(wish(), 0..12), 0_u8..16, 0_u8..6).prop_map(
        |(wishes, elapsed, receiver)| Step {
            wishes,
            elapsed,
            receiver,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn lg_14_the_ledger_agrees_with_a_naive_model(
        fees in 0_u8..12,
        steps in prop::collection::vec(step(), 1..24),
    ) {
        compare(fees, &steps);
    }
}

#[test]
fn the_generated_commands_reach_every_rejection() {
    let mut runner = TestRunner::deterministic();
    let strategy = (0_u8..12, prop::collection::vec(step(), 1..24));
    let (mut rejections, mut inadmissible) = (BTreeSet::new(), BTreeSet::new());
    for _ in 0..2_000 {
        let (fees, steps) = strategy.new_tree(&mut runner).unwrap().current();
        let (some, more) = compare(fees, &steps);
        rejections.extend(some);
        inadmissible.extend(more);
    }
    let missing: Vec<_> = Rejection::ALL
        .into_iter()
        .filter(|rejection| !rejections.contains(rejection))
        .collect();
    // These two need thousands of platforms or hundreds of changes; they have tests of their own.
    assert_eq!(missing, [Rejection::PlatformsFull, Rejection::ChangesFull]);
    let expected = [
        "CannotPayFee",
        "DuplicateInBlock",
        "Expired",
        "IdInWindow",
        "TooFar",
    ];
    assert!(inadmissible.iter().eq(expected), "{inadmissible:?}");
}
