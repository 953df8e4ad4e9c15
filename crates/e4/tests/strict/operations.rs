//! Operations and deltas that cover too little.

use crate::scene::{Scene, changed, digest, entry_bytes, operation, public, witnesses};
use polity_e4::adaptive::{self, Controller};
use polity_e4::delta::Delta;
use polity_e4::keys::{Registry, public_hmac};
use polity_e4::pco::{self, Header, Operation, Seen, State, metadata};
use polity_e4::score::{DIMENSIONS, Score};
use polity_e4::{Mode, Refusal};

#[test]
fn an_honest_operation_says_the_same_in_both_modes() {
    let scene = Scene::new();
    let operation = changed(|_| {});
    assert_eq!(operation.verify(2, &scene.context()), Ok(true));
    let statement = operation.verify_strict(&scene.context()).unwrap();
    assert_eq!(statement.merkle_root, scene.root);
    assert_eq!(statement.new_hashes, [digest("new")]);
    // P8: late is honest, and level 2 of E4 refuses it.
    let mut late = Scene::new();
    late.clock.entries.get_mut("alice").unwrap().time = 9;
    assert_eq!(operation.verify(2, &late.context()), Ok(false));
    assert!(operation.verify_strict(&late.context()).is_ok());
}

#[test]
fn p2_to_p15_operations_that_cover_too_little_are_refused() {
    let scene = Scene::new();
    let (root, trust) = (digest("root"), Score::default().hash());
    let half = root.split_at(32);
    let table = [
        (
            "P2 version",
            operation(witnesses(), metadata(2, 0, 5)),
            Refusal::MetadataUnsigned,
        ),
        (
            "P2 flags",
            operation(witnesses(), metadata(1, 9, 5)),
            Refusal::MetadataUnsigned,
        ),
        (
            "P3 shifted root",
            changed(|w| {
                w.merkle_root.clear();
                w.clock = Vec::new();
                w.trust_hash = [root.as_str(), &trust].concat();
            }),
            Refusal::RootUnchecked,
        ),
        (
            "P3 shifted trust",
            changed(|w| w.trust_hash = half.0.to_owned()),
            Refusal::DigestForm("trust hash"),
        ),
        (
            "P3 split bounds",
            changed(|w| w.bounds[0].new_hash.push('0')),
            Refusal::DigestForm("new hash"),
        ),
        (
            "P7 empty root",
            changed(|w| w.merkle_root.clear()),
            Refusal::RootUnchecked,
        ),
        (
            "P8, C1 far ahead",
            changed(|w| w.clock = entry_bytes(1_000_000_000_000, 0.5)),
            Refusal::ClockAhead,
        ),
        (
            "C1 no next step",
            changed(|w| w.clock = entry_bytes(u64::MAX, 0.5)),
            Refusal::TimeTooLarge,
        ),
        (
            "C4 infinite trust",
            changed(|w| w.clock = entry_bytes(3, f64::INFINITY)),
            Refusal::TrustOutOfRange,
        ),
        (
            "P15 bounds",
            changed(|w| w.bounds = vec![w.bounds[0].clone(); pco::BOUNDS_MAX + 1]),
            Refusal::TooMany("bounds", pco::BOUNDS_MAX),
        ),
    ];
    for (name, operation, refusal) in table {
        assert_eq!(operation.verify(2, &scene.context()), Ok(true), "{name}");
        assert_eq!(
            operation.verify_strict(&scene.context()),
            Err(refusal),
            "{name}"
        );
    }
}

#[test]
fn p2_to_p14_keys_and_contexts_that_prove_nothing_are_refused() {
    let honest = changed(|_| {});
    let scene = Scene::new();

    let mut shared = Scene::new();
    shared.registry.insert("alias", public("alice"));
    assert_eq!(
        honest.verify_strict(&shared.context()),
        Err(Refusal::SharedKey)
    );

    // P7: nothing local to compare with.
    let mut blind = scene.context();
    blind.state = State::default();
    assert_eq!(honest.verify(2, &blind), Ok(true));
    assert_eq!(honest.verify_strict(&blind), Err(Refusal::RootUnchecked));
    let mut elsewhere = Scene::new();
    elsewhere.root = digest("elsewhere");
    assert_eq!(
        honest.verify_strict(&elsewhere.context()),
        Err(Refusal::RootMismatch)
    );

    // P9: bytes that crash E4.
    let malformed = changed(|w| w.clock = vec![0, 9, b'a']);
    assert_eq!(
        malformed.verify(2, &scene.context()),
        Err(Refusal::Truncated)
    );
    assert_eq!(
        malformed.verify_strict(&scene.context()),
        Err(Refusal::Truncated)
    );

    // P10: bytes behind the header.
    let mut wire = honest.header.to_wire().unwrap().to_vec();
    assert_eq!(
        Header::from_wire(&wire, Mode::Strict),
        Ok(honest.header.clone())
    );
    wire.push(0);
    assert_eq!(
        Header::from_wire(&wire, Mode::Compatible),
        Ok(honest.header.clone())
    );
    assert_eq!(
        Header::from_wire(&wire, Mode::Strict),
        Err(Refusal::NotCanonical)
    );
    assert_eq!(
        Header::from_wire(&wire[..127], Mode::Compatible),
        Err(Refusal::Truncated)
    );

    // P11: no registry, no signature.
    let unsigned = Operation::build(witnesses(), metadata(1, 0, 5), None).unwrap();
    let mut keyless = scene.context();
    keyless.registry = None;
    assert_eq!(unsigned.verify(2, &keyless), Ok(true));
    assert_eq!(unsigned.verify_strict(&keyless), Err(Refusal::Unsigned));

    // P12: a key that is no Ed25519 key is a code that everybody can compute.
    let mut wrapped = Scene::new();
    let long_key = [vec![0x30; 12], public("alice")].concat();
    wrapped.registry.insert("alice", long_key.clone());
    let forge = |bytes: &[u8]| [public_hmac(&long_key, bytes), [0; 32]].concat();
    let forged = Operation::build(witnesses(), metadata(1, 0, 5), Some(&forge)).unwrap();
    assert_eq!(forged.verify(2, &wrapped.context()), Ok(true));
    assert_eq!(
        forged.verify_strict(&wrapped.context()),
        Err(Refusal::KeyLength)
    );

    // P13, P14.
    let mut empty = Scene::new();
    empty.registry = Registry::default();
    assert_eq!(
        honest.verify_strict(&empty.context()),
        Err(Refusal::UnknownKey)
    );
    let long = |_: &[u8]| vec![0; 3_309];
    let built = Operation::build(witnesses(), metadata(1, 0, 5), Some(&long));
    assert_eq!(built, Err(Refusal::SignatureLength));
    let mut altered = honest.clone();
    altered.header.signature[0] ^= 1;
    assert_eq!(
        altered.verify_strict(&scene.context()),
        Err(Refusal::BadSignature)
    );
    let mut other = honest;
    other.witnesses.bounds[0].new_hash = digest("other");
    assert_eq!(
        other.verify_strict(&scene.context()),
        Err(Refusal::AggregateMismatch)
    );
}

#[test]
fn p1_p4_p5_p6_deltas_that_nothing_covers_are_refused() {
    let scene = Scene::new();
    let context = scene.context();
    let honest = Delta {
        source: "alice".to_owned(),
        operation: Some(changed(|_| {})),
        ..Delta::default()
    };
    let mut swapped = honest.clone();
    swapped
        .insertions
        .insert("key".to_owned(), b"anything".to_vec());
    let mut foreign = honest.clone();
    foreign.source = "bob".to_owned();
    let mut quarantined = Score::default();
    for dimension in DIMENSIONS {
        quarantined = quarantined
            .record("o", dimension, 1.0, Mode::Compatible)
            .unwrap();
    }
    let trusted = Score::default();
    let mut e4 = Controller::new(8, Mode::Compatible);
    let table = [
        ("P1", &swapped, &trusted, false, Refusal::PayloadUncovered),
        ("P5", &foreign, &trusted, false, Refusal::SourceMismatch),
        ("P6", &honest, &quarantined, true, Refusal::Quarantined),
    ];
    let mut seen = Seen::default();
    for (name, delta, source, is_tripped, refusal) in table {
        let outcome = e4
            .verify(delta, Some(source), is_tripped, &context)
            .unwrap();
        assert!(outcome.is_accepted, "{name}");
        let strict = adaptive::verify_strict(delta, source, &context, &mut seen);
        assert_eq!(strict, Err(refusal), "{name}");
    }
    // P4: once is enough.
    assert!(adaptive::verify_strict(&honest, &trusted, &context, &mut seen).is_ok());
    let again = adaptive::verify_strict(&honest, &trusted, &context, &mut seen);
    assert_eq!(again, Err(Refusal::Replay));
    assert!(
        e4.verify(&honest, Some(&trusted), false, &context)
            .unwrap()
            .is_accepted
    );
    assert!(
        e4.verify(&honest, Some(&trusted), false, &context)
            .unwrap()
            .is_accepted
    );
}
