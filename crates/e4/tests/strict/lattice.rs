//! Scores that do not converge, or rise.

use crate::scene::{accusation, equivocation, evidence_context, registry, signed};
use polity_e4::evidence::Kind;
use polity_e4::lattice::{Lattice, Local, Version};
use polity_e4::score::{OBSERVERS_MAX, Peers, Score, normalize};
use polity_e4::{Mode, Refusal};

fn record_in(dimension: &str, mode: Mode) -> Result<Score, Refusal> {
    Score::default().record("o", dimension, 0.75, mode)
}

#[test]
fn l1_to_l12_scores_that_do_not_converge_or_rise_are_refused() {
    // L1, L16.
    let old = |mode| Lattice::new("me", Version::Old, mode, Peers::new(), None).err();
    assert_eq!(
        (old(Mode::Compatible), old(Mode::Strict)),
        (None, Some(Refusal::OldLattice))
    );
    // L4: the first small accusation lifts from 0.5.
    let record = |amount, mode| Score::default().record("o", "integrity", amount, mode);
    assert!(record(1e-9, Mode::Compatible).unwrap().overall() > 0.5);
    assert_eq!(record(1e-9, Mode::Strict), Err(Refusal::AccusationRaises));
    assert!(record(0.75, Mode::Strict).is_ok());
    // L10, L11.
    let mut bad = Score::default();
    bad = bad.record("o", "integrity", 0.9, Mode::Compatible).unwrap();
    let peers = Peers::from([("lone".to_owned(), bad)]);
    let normal = normalize(&peers, 1, Mode::Compatible).unwrap();
    assert_eq!(normal["lone"].dimension("integrity"), 1.0);
    assert_eq!(
        normalize(&peers, 1, Mode::Strict),
        Err(Refusal::Homeostasis)
    );
    // L12.
    let with = |dimension: &str, amount, count| {
        let observers = (0..count)
            .map(|index| (format!("o{index}"), amount))
            .collect();
        let evidence = [(dimension.to_owned(), observers)].into();
        let peers = Peers::from([("p".to_owned(), Score { evidence })]);
        let new = |mode| Lattice::new("me", Version::New, mode, peers.clone(), None).err();
        assert_eq!(new(Mode::Compatible), None);
        new(Mode::Strict)
    };
    let table = [
        (with("model", 0.5, OBSERVERS_MAX), None),
        (
            with("model", 0.5, OBSERVERS_MAX + 1),
            Some(Refusal::TooMany("observers", OBSERVERS_MAX)),
        ),
        (with("weather", 0.5, 1), Some(Refusal::UnknownDimension)),
        (with("model", -0.5, 1), Some(Refusal::NotRepresentable)),
        (with("model", f64::NAN, 1), Some(Refusal::NotRepresentable)),
    ];
    for (found, expected) in table {
        assert_eq!(found, expected);
    }
    assert!(record_in("weather", Mode::Compatible).is_ok());
    assert_eq!(
        record_in("weather", Mode::Strict),
        Err(Refusal::UnknownDimension)
    );
}

#[test]
fn l2_one_accusation_counts_once() {
    let registry = registry();
    let context = evidence_context(&registry);
    let mut evidence = accusation(Kind::Equivocation, equivocation("bob"));
    evidence.amount = 0.5;
    let evidence = signed(evidence);
    let local = Local {
        root: "",
        clock: Vec::new(),
        seconds: 0,
        sign: None,
    };
    let run = |mode| {
        let mut lattice = Lattice::new("alice", Version::New, mode, Peers::new(), None).unwrap();
        lattice.observe(0.0, &evidence, &context, &local).unwrap();
        let second = lattice.observe(0.0, &evidence, &context, &local).err();
        (second, lattice.trust("bob").dimension("integrity"))
    };
    assert_eq!(run(Mode::Compatible), (None, 0.0));
    assert_eq!(run(Mode::Strict), (Some(Refusal::Replay), 0.5));
    // A copy that comes back by a merge is known too.
    let mut strict = Lattice::new("alice", Version::New, Mode::Strict, Peers::new(), None).unwrap();
    let fresh = strict.clone();
    strict.observe(0.0, &evidence, &context, &local).unwrap();
    let mut merged = fresh.merge(&strict).unwrap();
    let again = merged.observe(0.0, &evidence, &context, &local);
    assert_eq!(again, Err(Refusal::Replay));
}
