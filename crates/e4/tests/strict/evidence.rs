//! Evidence that anybody could have written.

use crate::scene::{
    accusation, attestation, equivocation, evidence_context, key, public, registry, signed,
};
use ed25519_dalek::Signer;
use polity_e4::evidence::{self, Evidence, Kind};
use polity_e4::{Mode, Refusal, proof};

#[test]
fn evidence_that_the_accused_signed_is_taken_in_both_modes() {
    let registry = registry();
    let evidence = signed(accusation(Kind::Equivocation, equivocation("bob")));
    let context = evidence_context(&registry);
    assert!(evidence.verify(&context));
    assert_eq!(evidence.verify_strict(&context), Ok(()));
}

#[test]
fn e1_to_e6_evidence_that_anybody_can_write_is_refused() {
    let registry = registry();
    let mut zeroes = attestation("bob", "x");
    let mut other = attestation("bob", "y");
    for blob in [&mut zeroes, &mut other] {
        let length = blob.len();
        blob[length - 64..].fill(0);
    }
    let unsigned_pair = proof::pack_pair(&zeroes, &other).unwrap();
    let delta = proof::pack_delta(&[0; 32], b"junk:bob");
    let regression = proof::pack_pair(b"bob=2", b"bob=1").unwrap();
    let states = proof::pack_pair(b"a state of bob...", b"another of bob...").unwrap();
    let path = proof::pack_path(&[]).unwrap();

    let mut unregistered = accusation(Kind::Equivocation, equivocation("bob"));
    unregistered.observer = "mallory".to_owned();
    unregistered.public_key = public("mallory");
    let payload = unregistered.signed_payload();
    unregistered.signature = key("mallory").sign(&payload).to_bytes().to_vec();

    let mut with_nul = accusation(Kind::Equivocation, equivocation("bob"));
    with_nul.target = "bob\0x".to_owned();
    let mut timeless = accusation(Kind::Equivocation, equivocation("bob"));
    timeless.timestamp = f64::NAN;
    let mut elsewhere = accusation(Kind::InvalidDelta, delta.clone());
    elsewhere.dimension = "weather".to_owned();

    let kinds = |kind, proof| signed(accusation(kind, proof));
    let table = [
        (
            "E1 zero signatures",
            kinds(Kind::Equivocation, unsigned_pair),
            Refusal::NotSignedByTarget,
        ),
        (
            "E1 of another signer",
            kinds(Kind::Equivocation, equivocation("carol")),
            Refusal::NotSignedByTarget,
        ),
        (
            "E1 invalid delta",
            kinds(Kind::InvalidDelta, delta),
            Refusal::Unattributable,
        ),
        (
            "E1 state pair",
            kinds(Kind::TrustManipulation, states),
            Refusal::Unattributable,
        ),
        (
            "E1 any path",
            kinds(Kind::MerkleDivergence, path),
            Refusal::Unattributable,
        ),
        (
            "E1, E6 text clock",
            kinds(Kind::ClockRegression, regression),
            Refusal::Unattributable,
        ),
        ("E2 key in the message", unregistered, Refusal::UnknownKey),
        (
            "E4 no number",
            signed(timeless),
            Refusal::TimestampNotFinite,
        ),
        (
            "L12 dimension",
            signed(elsewhere),
            Refusal::UnknownDimension,
        ),
    ];
    let context = evidence_context(&registry);
    for (name, evidence, refusal) in table {
        assert!(evidence.verify(&context), "{name}");
        assert_eq!(evidence.verify_strict(&context), Err(refusal), "{name}");
    }
    // E4 takes these in a context of its own.
    let unsigned = accusation(Kind::Equivocation, equivocation("bob"));
    let lax = evidence::Context {
        is_signature_required: false,
        ..context
    };
    assert!(unsigned.verify(&lax));
    assert_eq!(unsigned.verify_strict(&lax), Err(Refusal::Unsigned));
    let ageless = evidence::Context {
        age_max: None,
        ..context
    };
    let evidence = signed(unsigned);
    assert!(evidence.verify(&ageless));
    assert_eq!(evidence.verify_strict(&ageless), Err(Refusal::AgeUnchecked));
    // E3: two accusations with one payload.
    let mut shifted = with_nul.clone();
    shifted.observer = "alice\0bob".to_owned();
    shifted.target = "x".to_owned();
    assert_eq!(shifted.signed_payload(), with_nul.signed_payload());
    assert_eq!(
        signed(with_nul).verify_strict(&context),
        Err(Refusal::NulInText)
    );
    // E5: the form without a signature.
    let bytes = evidence.to_bytes().unwrap();
    assert!(Evidence::from_bytes(&bytes, Mode::Compatible).is_ok());
    assert_eq!(
        Evidence::from_bytes(&bytes, Mode::Strict),
        Err(Refusal::UnsignedForm)
    );
}
