//! Queues, streams, values, configurations and schemes.

use crate::scene::{Scene, changed, key, public};
use ed25519_dalek::Signer;
use polity_e4::adaptive::Controller;
use polity_e4::bridges::{Agent, Chunk, Gossip, Streams, WAITING_MAX};
use polity_e4::config::Config;
use polity_e4::delta::Delta;
use polity_e4::handshake::{self, Capability, CompatibilityMode};
use polity_e4::keys::{check_revocation, public_hmac, revocation_payload, verify_peer};
use polity_e4::lattice::{Lattice, Version};
use polity_e4::resilience::{sparse_trust, vouch_hash};
use polity_e4::schemes::Scheme;
use polity_e4::score::{Peers, Score};
use polity_e4::{Mode, Refusal};

#[test]
fn b1_p16_nothing_is_dropped_from_a_full_queue() {
    let scene = Scene::new();
    let context = scene.context();
    let delta = Delta {
        source: "alice".to_owned(),
        operation: Some(changed(|_| {})),
        ..Delta::default()
    };
    let source = Score::default();
    for (mode, answer) in [
        (Mode::Compatible, None),
        (Mode::Strict, Some(Refusal::QueueFull)),
    ] {
        let mut controller = Controller::new(1, mode);
        assert!(
            controller
                .verify(&delta, Some(&source), false, &context)
                .is_ok()
        );
        let second = controller.verify(&delta, Some(&source), false, &context);
        assert_eq!(second.err(), answer);
        assert_eq!(controller.pending(), 1);
    }
    let mut lattice =
        Lattice::new("me", Version::New, Mode::Compatible, Peers::new(), None).unwrap();
    let mut gossip = Gossip::new(Mode::Strict);
    for _ in 0..WAITING_MAX {
        gossip.prepare(&mut lattice, Vec::new(), true).unwrap();
    }
    let full = gossip.prepare(&mut lattice, Vec::new(), true);
    assert_eq!(full, Err(Refusal::TooMany("payloads", WAITING_MAX)));
}

#[test]
fn b3_chunks_out_of_place_are_refused() {
    let chunk = |sequence| Chunk {
        sequence,
        stream: "s".to_owned(),
        ..Chunk::default()
    };
    let mut e4 = Streams::new(Mode::Compatible);
    let mut strict = Streams::new(Mode::Strict);
    assert_eq!(
        strict.chunk("p", &chunk(0), None),
        Err(Refusal::ChunkOutOfPlace)
    );
    let score = Score::default();
    assert_eq!(strict.accept("p", "s", &score, 0.1), Ok(true));
    let table = [
        ("p", 0, None),
        ("p", 0, Some(Refusal::ChunkOutOfPlace)),
        ("p", 7, Some(Refusal::ChunkOutOfPlace)),
        ("p", -1, Some(Refusal::ChunkOutOfPlace)),
        ("q", 1, Some(Refusal::ChunkOutOfPlace)),
        ("p", 1, None),
    ];
    for (peer, sequence, refusal) in table {
        assert!(e4.chunk(peer, &chunk(sequence), None).unwrap().is_accepted);
        let answer = strict.chunk(peer, &chunk(sequence), None).err();
        assert_eq!(answer, refusal, "{peer} {sequence}");
    }
    assert_eq!(
        strict.accept("q", "s", &score, 0.1),
        Err(Refusal::ChunkOutOfPlace)
    );
}

#[test]
fn b4_ties_between_values_are_refused() {
    let state = |value: &[u8], mode| {
        let mut agent = Agent::new(false, mode);
        agent.put("k", value, "p", 1.0, None).unwrap();
        agent
    };
    let merge = |mode| {
        let (a, b) = (state(b"a", mode), state(b"b", mode));
        (
            a.merge(&b, None).map(|m| m.entries()["k"].value.clone()),
            b.merge(&a, None).map(|m| m.entries()["k"].value.clone()),
        )
    };
    assert_eq!(
        merge(Mode::Compatible),
        (Ok(b"a".to_vec()), Ok(b"b".to_vec()))
    );
    assert_eq!(merge(Mode::Strict), (Err(Refusal::Tie), Err(Refusal::Tie)));
    let mut strict = state(b"a", Mode::Strict);
    let timeless = strict.put("k", b"b", "p", f64::NAN, None);
    assert_eq!(timeless, Err(Refusal::TimestampNotFinite));
}

/// A change of the defaults, and what it is refused for.
type Change = (fn(&mut Config), Refusal);

#[test]
fn b5_m7_configurations_without_effect_are_refused() {
    let with = |change: fn(&mut Config)| {
        let mut config = Config::default();
        change(&mut config);
        (config.check(Mode::Compatible), config.check(Mode::Strict))
    };
    let table: [Change; 5] = [
        (
            |c| c.quarantine_threshold = 0.3,
            Refusal::DeadField("quarantine_threshold"),
        ),
        (
            |c| c.homeostasis_enabled = false,
            Refusal::DeadField("homeostasis_enabled"),
        ),
        (
            |c| c.verification_level_override = Some(2),
            Refusal::DeadField("verification_level_override"),
        ),
        (
            |c| c.cb_sigma_threshold = f64::NAN,
            Refusal::OutOfRange("cb_sigma_threshold"),
        ),
        (
            |c| c.compatibility_mode = "e5".to_owned(),
            Refusal::OutOfRange("compatibility_mode"),
        ),
    ];
    for (change, refusal) in table {
        assert_eq!(with(change), (Ok(()), Err(refusal)));
    }
    assert_eq!(with(|_| {}), (Ok(()), Ok(())));
}

#[test]
fn b6_nobody_is_taken_a_step_back() {
    for (mode, answer) in [
        (Mode::Compatible, Ok(CompatibilityMode::DualHash)),
        (Mode::Strict, Err(Refusal::Downgrade)),
    ] {
        let mut controller = handshake::Controller::new(CompatibilityMode::E4Only, mode);
        let first = controller.handshake("p", Capability::E4Full);
        assert_eq!(first, Ok(CompatibilityMode::E4Only));
        assert_eq!(controller.handshake("p", Capability::PreE4), answer);
    }
}

#[test]
fn b7_lossy_deltas_are_refused() {
    let mut first = Delta::default();
    first.insertions.insert("k".to_owned(), vec![0xff]);
    let mut second = Delta::default();
    second.deletions.insert("k".to_owned());
    let phantom = first.compose(&second, Mode::Compatible).unwrap();
    assert!(phantom.deletions.contains("k"));
    assert_eq!(
        first.compose(&second, Mode::Strict),
        Err(Refusal::PhantomDeletion)
    );
    assert!(first.compose_spec(&second).tombstones.contains("k"));
    let (masked, _) = first.quantized(4, Mode::Compatible).unwrap();
    assert_eq!(masked.insertions["k"], [0x0f]);
    assert_eq!(
        first.quantized(4, Mode::Strict),
        Err(Refusal::LossyQuantise)
    );
    assert_eq!(
        first.quantized(9, Mode::Compatible),
        Err(Refusal::OutOfRange("bits"))
    );
}

#[test]
fn r1_to_r4_signatures_from_public_data_are_refused() {
    for scheme in [Scheme::HmacSha256, Scheme::DilithiumLite, Scheme::Hybrid] {
        assert_eq!(scheme.check(Mode::Compatible), Ok(()));
        assert_eq!(scheme.check(Mode::Strict), Err(Refusal::ForgeableScheme));
        // Whatever comes from outside, the answer is no.
        for length in 0..200 {
            let junk = vec![1; length];
            assert!(!scheme.verify(&junk, b"m", &vec![2; length]));
            let _ = scheme.sign(&junk, b"m");
            let _ = scheme.generate(&junk);
        }
    }
    // R2: a code keyed by the public key, and a revocation that nobody proved.
    let public = public("alice");
    let code = public_hmac(&public, b"m");
    assert_eq!(
        verify_peer(&public, b"m", &code, Mode::Compatible),
        Ok(true)
    );
    assert_eq!(
        verify_peer(&public, b"m", &code, Mode::Strict),
        Err(Refusal::SignatureLength)
    );
    let payload = revocation_payload("id", "alice", "routine rotation", "next");
    assert_eq!(
        check_revocation(&public, &payload, b"", Mode::Compatible),
        Ok(())
    );
    let unproven = check_revocation(&public, &payload, b"", Mode::Strict);
    assert_eq!(unproven, Err(Refusal::UnprovenRevocation));
    let signature = key("alice").sign(&payload).to_bytes();
    assert_eq!(
        check_revocation(&public, &payload, &signature, Mode::Strict),
        Ok(())
    );
    let vouch = vouch_hash("i", &[], 0.5, &[], 0.0, Mode::Strict);
    assert_eq!(vouch, Err(Refusal::UncheckedVouch));
    // R4: five values for six dimensions.
    let peers = [("p".to_owned(), vec![0.5; 5])];
    assert!(sparse_trust(1, &peers, Mode::Compatible).is_ok());
    assert_eq!(
        sparse_trust(1, &peers, Mode::Strict),
        Err(Refusal::DimensionsLost)
    );
}
