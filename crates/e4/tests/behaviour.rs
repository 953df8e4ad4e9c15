//! E4's behaviour where the known answers end: deltas that carry evidence, gossip that is received,
//! and the faults that no form can mend.

// Amounts are sums of powers of two.
#![allow(clippy::float_cmp)]

use polity_e4::adaptive::{Controller, Outcome};
use polity_e4::breaker::{Breaker, Parameters};
use polity_e4::bridges::{Gossip, Payload};
use polity_e4::delta::Delta;
use polity_e4::evidence::{self, Evidence, Kind};
use polity_e4::keys::{Registry, key_id, verify_peer};
use polity_e4::lattice::{Lattice, Local, Version};
use polity_e4::pco::{self, Operation, Witnesses, metadata};
use polity_e4::score::Peers;
use polity_e4::{Mode, Refusal, proof};

fn delta(source: &str) -> Delta {
    let witnesses = Witnesses {
        originator: source.to_owned(),
        ..Witnesses::default()
    };
    Delta {
        source: source.to_owned(),
        operation: Some(Operation::build(witnesses, metadata(1, 0, 0), None).unwrap()),
        ..Delta::default()
    }
}

fn accusation(target: &str, amount: f64) -> Evidence {
    let proof = proof::pack_delta(&[0; 32], target.as_bytes());
    Evidence::new(
        "o",
        target,
        Kind::InvalidDelta,
        "integrity",
        amount,
        proof,
        0.0,
    )
}

fn lattice(version: Version, breaker: Option<Breaker>) -> Lattice {
    Lattice::new("me", version, Mode::Compatible, Peers::new(), breaker).unwrap()
}

fn receive(lattice: &mut Lattice, delta: &Delta, evidence: &Evidence) -> bool {
    let (operation, evidence_context) = (pco::Context::default(), evidence::Context::default());
    let answer = lattice.receive(0.0, delta, Some(evidence), &operation, &evidence_context);
    answer.unwrap().is_some()
}

#[test]
fn evidence_in_a_delta_counts_in_both_versions() {
    for (version, after) in [(Version::New, 0.25), (Version::Old, 1.0)] {
        let mut lattice = lattice(version, None);
        let context = (pco::Context::default(), evidence::Context::default());
        let evidence = accusation("bob", 0.75);
        let answer = lattice.receive(
            0.0,
            &delta("alice"),
            Some(&evidence),
            &context.0,
            &context.1,
        );
        // The answer is the score before normalisation; a lone peer is normalised to 1.0 (L10).
        assert_eq!(answer.unwrap().unwrap().dimension("integrity"), 0.25);
        assert_eq!(lattice.trust("bob").dimension("integrity"), after);
        // No entry in the log, and a copy in the queue.
        assert_eq!((lattice.log().count(), lattice.pending()), (0, 1));
    }
}

#[test]
fn l3_evidence_split_over_replicas_is_lost_in_the_maximum() {
    let run = |replicas: usize| {
        let mut all = vec![lattice(Version::New, None); replicas];
        for index in 0..3 {
            assert!(receive(
                &mut all[index % replicas],
                &delta("alice"),
                &accusation("bob", 0.25)
            ));
        }
        let merged = all
            .iter()
            .skip(1)
            .fold(all[0].clone(), |sum, one| sum.merge(one).unwrap());
        merged.trust("bob").dimension("integrity")
    };
    assert_eq!((run(1), run(3)), (0.25, 0.75));
}

#[test]
fn l6_l7_what_e4_never_says() {
    let mut lattice = lattice(Version::New, None);
    let local = Local {
        root: "root",
        clock: Vec::new(),
        seconds: 0,
        sign: None,
    };
    let context = evidence::Context {
        expected_root: Some("root"),
        ..evidence::Context::default()
    };
    // L7: verifies and cannot be recorded.
    let path = proof::pack_path(&[]).unwrap();
    let divergence = Evidence::new("o", "bob", Kind::MerkleDivergence, "model", 0.5, path, 0.0);
    assert!(divergence.verify(&context));
    let answer = lattice.observe(0.0, &divergence, &context, &local);
    assert_eq!(answer, Err(Refusal::EvidenceInvalid));
    // L6: own observations are in no payload, refused deltas are.
    assert!(
        lattice
            .observe(0.0, &accusation("bob", 0.75), &context, &local)
            .is_ok()
    );
    assert!(!receive(
        &mut lattice,
        &delta("alice"),
        &accusation("bob", 7.0)
    ));
    let mut gossip = Gossip::new(Mode::Compatible);
    let payload = gossip.prepare(&mut lattice, Vec::new(), true).unwrap();
    let sources: Vec<&str> = payload
        .trust
        .iter()
        .map(|delta| delta.source.as_str())
        .collect();
    assert_eq!(sources, ["alice"]);
}

#[test]
fn l8_a_tripped_breaker_holds_back_everybody() {
    let mut breaker = Breaker::new(Parameters {
        samples_min: 1,
        sigma: 0.0,
        ..Parameters::default()
    });
    breaker.record(0.0, 0.0, 0.0);
    breaker.record(0.0, 0.0, 1.0);
    assert!(breaker.is_tripped(30.0));
    let mut lattice = lattice(Version::New, Some(breaker));
    assert!(!receive(
        &mut lattice,
        &delta("alice"),
        &accusation("bob", 0.75)
    ));
    assert_eq!(lattice.pending(), 0);
}

#[test]
fn gossip_passes_data_on_by_its_verifier() {
    let gossip = Gossip::new(Mode::Compatible);
    let payload = Payload {
        data: vec![delta("good"), delta("bad")],
        trust: vec![delta("t")],
        peer: "anybody".to_owned(),
    };
    let mut controller = Controller::new(8, Mode::Compatible);
    let registry = Registry::default();
    let mut verify = |delta: &Delta| -> Result<Outcome, Refusal> {
        let context = pco::Context {
            registry: (delta.source == "bad").then_some(&registry),
            ..pco::Context::default()
        };
        controller.verify(
            delta,
            Some(&polity_e4::score::Score::default()),
            false,
            &context,
        )
    };
    let (data, trust) = gossip
        .receive(&payload, Some(&mut verify), |_| Ok(false))
        .unwrap();
    assert_eq!((data.len(), trust.len()), (1, 0));
    let (data, trust) = gossip.receive(&payload, None, |_| Ok(true)).unwrap();
    assert_eq!((data.len(), trust.len()), (2, 1));
    let strict = Gossip::new(Mode::Strict).receive(&payload, None, |_| Ok(true));
    assert_eq!(strict, Err(Refusal::Unsigned));
}

#[test]
fn an_unknown_key_has_an_id_and_signs_nothing() {
    assert_eq!(key_id(b"").len(), 16);
    assert_eq!(
        verify_peer(&[0; 32], b"m", &[0; 64], Mode::Compatible),
        Ok(false)
    );
    assert_eq!(verify_peer(&[], b"m", b"", Mode::Compatible), Ok(false));
    // Ed25519's neutral element: strict keys are not of small order.
    let mut neutral = [0; 32];
    neutral[0] = 1;
    let strict = verify_peer(&neutral, b"m", &[0; 64], Mode::Strict);
    assert_eq!(strict, Err(Refusal::BadSignature));
}
