//! What holds for every tier, and which Ed25519 keys may be registered.

use polity_crypto::ed25519::{Ed25519Signer, Ed25519Verifier};
use polity_crypto::hmac::LinkKey;
use polity_crypto::hybrid::{HybridSigner, HybridVerifier};
use polity_crypto::ml_dsa::{MlDsaSigner, MlDsaVerifier};
use polity_crypto::stub::{StubSigner, StubVerifier};
use polity_crypto::{
    KeyError, Preimage, PublicKey, PublicVerifier, Signature, Signer, Suite, Verifier, VerifyError,
    domain,
};
use proptest::prelude::*;
use rstest::rstest;

const SEED: [u8; 32] = [0xa7; 32];

fn preimage(content: &[u8]) -> Preimage {
    Preimage::new(domain::TEST).bytes(content)
}

/// The laws of a tier, for one message. `other` is another signer of the same tier.
fn check_laws(signer: &dyn Signer, other: &dyn Signer, verifier: &dyn Verifier, content: &[u8]) {
    let (key, message) = (signer.public_key(), preimage(content));
    let signature = signer.sign(&message);
    assert_eq!(verifier.check_key(key), Ok(()));
    assert_eq!(verifier.verify(key, &message, &signature), Ok(()));
    assert_eq!(
        signer.sign(&message),
        signature,
        "a restart must say the same"
    );
    assert_eq!(signature.as_slice().len(), key.suite().signature_length());
    assert_eq!(signer.key_id(), key.key_id());

    let refuses = |key: &PublicKey, message: &Preimage, signature: &Signature| {
        assert_eq!(verifier.verify(key, message, signature), Err(VerifyError));
    };
    // Another message, by each bit and by length.
    for bit in 0..content.len() * 8 {
        let mut changed = content.to_vec();
        changed[bit / 8] ^= 1 << (bit % 8);
        refuses(key, &preimage(&changed), &signature);
    }
    refuses(key, &message.clone().u8(0), &signature);
    // Another domain around the same fields.
    for domain in domain::ALL.iter().filter(|domain| **domain != domain::TEST) {
        refuses(key, &Preimage::new(*domain).bytes(content), &signature);
    }
    // Another key, and another's signature.
    refuses(other.public_key(), &message, &signature);
    refuses(key, &message, &other.sign(&message));
    // The same key bytes under another suite of that length.
    for suite in Suite::ALL.into_iter().filter(|suite| *suite != key.suite()) {
        if let Ok(key) = PublicKey::new(suite, key.key_bytes()) {
            // A verifier of all suites may take the bytes for a key; they are not this one.
            refuses(&key, &message, &signature);
        }
    }
    // Another signature, by each bit (of long ones, by some bits of every part) and by length.
    let bytes = signature.as_slice();
    let step = 1 + bytes.len() / 24;
    for bit in (0..bytes.len() * 8).step_by(step) {
        let mut changed = bytes.to_vec();
        changed[bit / 8] ^= 1 << (bit % 8);
        refuses(key, &message, &Signature::new(&changed));
    }
    let longer: Vec<u8> = bytes.iter().copied().chain([0]).collect();
    for changed in [&[][..], &bytes[1..], &bytes[..bytes.len() - 1], &longer] {
        refuses(key, &message, &Signature::new(changed));
    }
}

/// Whether the answer for many is the answer for each.
fn check_many(signers: &[&dyn Signer], verifier: &dyn Verifier, is_broken: &[bool]) {
    let claims: Vec<_> = signers
        .iter()
        .zip(is_broken)
        .enumerate()
        .map(|(number, (signer, is_broken))| {
            let message = preimage(&number.to_le_bytes());
            let signed = preimage(&(number + usize::from(*is_broken)).to_le_bytes());
            (signer.public_key(), message, signer.sign(&signed))
        })
        .collect();
    let claims: Vec<_> = claims
        .iter()
        .map(|(key, message, signature)| (*key, message, signature))
        .collect();
    for ((key, message, signature), is_broken) in claims.iter().zip(is_broken) {
        assert_eq!(
            verifier.verify(key, message, signature).is_err(),
            *is_broken
        );
    }
    let expected = !is_broken.contains(&true);
    assert_eq!(verifier.verify_many(&claims).is_ok(), expected);
    assert_eq!((&verifier).verify_many(&claims).is_ok(), expected);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn stub_keeps_the_laws(content in prop::collection::vec(any::<u8>(), 0..40)) {
        check_laws(&StubSigner::new(1), &StubSigner::new(2), &StubVerifier, &content);
    }

    #[test]
    fn ed25519_keeps_the_laws(
        seed in any::<[u8; 32]>(),
        content in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let (signer, other) = (Ed25519Signer::from_seed(&seed), Ed25519Signer::from_seed(&SEED));
        check_laws(&signer, &other, &Ed25519Verifier::default(), &content);
        // Keys that were parsed in advance change the speed and no answer.
        let keys = [signer.public_key(), other.public_key()];
        check_laws(&signer, &other, &Ed25519Verifier::with_keys(keys), &content);
    }

    #[test]
    fn hmac_keeps_the_laws(content in prop::collection::vec(any::<u8>(), 0..40)) {
        let link = LinkKey::derive(&SEED, b"thor", b"sprout", "request");
        let other = LinkKey::derive(&SEED, b"thor", b"legion", "request");
        check_laws(&link, &other, &link, &content);
    }

    #[test]
    fn many_hold_if_each_holds(is_broken in prop::collection::vec(prop::bool::weighted(0.2), 0..6)) {
        let stubs: Vec<_> = (0..6).map(StubSigner::new).collect();
        let stubs: Vec<&dyn Signer> = stubs.iter().map(|signer| signer as _).collect();
        check_many(&stubs, &StubVerifier, &is_broken);
        let pairs: Vec<_> = (0..6).map(|byte| Ed25519Signer::from_seed(&[byte; 32])).collect();
        let pairs: Vec<&dyn Signer> = pairs.iter().map(|signer| signer as _).collect();
        check_many(&pairs, &Ed25519Verifier::default(), &is_broken);
        let keys = pairs[..3].iter().copied().map(Signer::public_key);
        check_many(&pairs, &Ed25519Verifier::with_keys(keys), &is_broken);
    }
}

proptest! {
    // Each case signs and verifies some hundred times.
    #![proptest_config(ProptestConfig::with_cases(2))]

    #[test]
    fn ml_dsa_keeps_the_laws(
        seed in any::<[u8; 32]>(),
        content in prop::collection::vec(any::<u8>(), 0..8),
    ) {
        let (signer, other) = (MlDsaSigner::from_seed_65(&seed), MlDsaSigner::from_seed_65(&SEED));
        check_laws(&signer, &other, &MlDsaVerifier::default(), &content);
        let keys = [signer.public_key(), other.public_key()];
        check_laws(&signer, &other, &MlDsaVerifier::with_keys(keys), &content);
        let (signer, other) = (MlDsaSigner::from_seed_87(&seed), MlDsaSigner::from_seed_87(&SEED));
        let keys = [signer.public_key(), other.public_key()];
        check_laws(&signer, &other, &MlDsaVerifier::with_keys(keys), &content);
    }

    #[test]
    fn hybrid_keeps_the_laws(
        seed in any::<[u8; 32]>(),
        content in prop::collection::vec(any::<u8>(), 0..8),
    ) {
        let (signer, other) = (HybridSigner::from_seed(&seed), HybridSigner::from_seed(&SEED));
        check_laws(&signer, &other, &HybridVerifier::default(), &content);
        let keys = [signer.public_key(), other.public_key()];
        check_laws(&signer, &other, &HybridVerifier::with_keys(keys), &content);
    }

    #[test]
    fn one_verifier_keeps_the_laws_of_every_public_suite(
        content in prop::collection::vec(any::<u8>(), 0..4),
    ) {
        let pairs: [[&dyn Signer; 2]; 4] = [
            [&Ed25519Signer::from_seed(&[1; 32]), &Ed25519Signer::from_seed(&SEED)],
            [&MlDsaSigner::from_seed_65(&[1; 32]), &MlDsaSigner::from_seed_65(&SEED)],
            [&MlDsaSigner::from_seed_87(&[1; 32]), &MlDsaSigner::from_seed_87(&SEED)],
            [&HybridSigner::from_seed(&[1; 32]), &HybridSigner::from_seed(&SEED)],
        ];
        let keys: Vec<_> = pairs.iter().flatten().map(|signer| Signer::public_key(*signer)).collect();
        let verifier = PublicVerifier::with_keys(keys.iter().copied());
        for [signer, other] in pairs {
            check_laws(signer, other, &verifier, &content);
        }
    }
}

#[test]
fn cr_5_debug_of_whatever_holds_a_secret_does_not_show_it() {
    let ed25519 = Ed25519Signer::from_seed(&SEED);
    let ml_dsa = [
        MlDsaSigner::from_seed_65(&SEED),
        MlDsaSigner::from_seed_87(&SEED),
    ];
    let hybrid = [
        HybridSigner::from_seed(&SEED),
        HybridSigner::from_seeds(&SEED, &SEED),
    ];
    let link = LinkKey::derive(&SEED, b"thor", b"sprout", "request");
    let shown = [
        format!("{ed25519:?} {ed25519:#?}"),
        format!("{ml_dsa:?} {ml_dsa:#?}"),
        format!("{hybrid:?} {hybrid:#?}"),
        format!("{link:?} {link:#?}"),
    ];
    // What is shown is a name and something public, so it is short: no expanded key fits.
    for (shown, names) in shown.iter().zip([2, 4, 4, 2]) {
        assert!(shown.len() <= names * 120, "{shown}");
        let shown = shown.to_lowercase();
        // Eight bytes of the secret, in each way in which bytes are usually shown.
        for secret in [
            "a7a7a7a7a7a7a7a7",
            "167, 167",
            "0xa7, 0xa7",
            "a7, a7",
            "p6enp6en",
        ] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }
    assert!(shown[0].contains(&ed25519.public_key().to_string()));
    assert!(shown[2].contains(&hybrid[0].key_id().to_string()));
}

fn ed25519_key(text: &str) -> PublicKey {
    format!("ed25519:{text}").parse().unwrap()
}

/// The eight points of small order, then the second spellings that some of them have.
#[rstest]
#[case::order_1("0100000000000000000000000000000000000000000000000000000000000000")]
#[case::order_2("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f")]
#[case::order_4("0000000000000000000000000000000000000000000000000000000000000000")]
#[case::order_4_negative("0000000000000000000000000000000000000000000000000000000000000080")]
#[case::order_8_a("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a")]
#[case::order_8_b("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa")]
#[case::order_8_c("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05")]
#[case::order_8_d("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85")]
#[case::order_1_negative_zero("0100000000000000000000000000000000000000000000000000000000000080")]
#[case::order_2_negative_zero("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff")]
#[case::order_4_above_the_prime("edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f")]
#[case::order_4_above_negative("edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff")]
#[case::order_1_above_the_prime("eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f")]
#[case::order_1_above_negative("eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff")]
fn cr_1_a_key_of_small_order_is_refused_and_signs_nothing(#[case] text: &str) {
    let key = ed25519_key(text);
    let message = preimage(b"anything");
    let identity = "0100000000000000000000000000000000000000000000000000000000000000";
    for verifier in [
        Ed25519Verifier::default(),
        Ed25519Verifier::with_keys([&key]),
    ] {
        assert_eq!(verifier.check_key(&key), Err(KeyError::Weak));
        // R = identity or the key itself, S = 0: what lax verifiers accept for such keys.
        for r in [identity, text] {
            let mut signature = ed25519_key(r).key_bytes().to_vec();
            signature.resize(64, 0);
            let refused = verifier.verify(&key, &message, &Signature::new(&signature));
            assert_eq!(refused, Err(VerifyError));
        }
    }
}

#[test]
fn cr_1_a_key_has_one_spelling() {
    let verifier = Ed25519Verifier::default();
    let mut canonical = 0;
    // Of the field elements below 19, some belong to points; each has a second spelling above the
    // prime 2^255 - 19 that decompression might take.
    for y in 0..19_u8 {
        for sign in [0, 0x80] {
            let mut first = [0; 32];
            first[0] = y;
            first[31] = sign;
            let mut second = [0xff; 32];
            second[0] = 0xed + y;
            second[31] = 0x7f | sign;
            let key = |bytes: &[u8; 32]| PublicKey::new(Suite::Ed25519, bytes).unwrap();
            canonical += usize::from(verifier.check_key(&key(&first)).is_ok());
            assert_eq!(
                verifier.check_key(&key(&second)),
                Err(KeyError::Weak),
                "y = {y}"
            );
        }
    }
    assert!(canonical > 0, "no second spelling was of a usable point");
}

#[rstest]
#[case::stub(Suite::Stub)]
#[case::hmac(Suite::Hmac)]
fn keys_of_other_suites_are_not_ed25519_keys(#[case] suite: Suite) {
    let signer = Ed25519Signer::from_seed(&SEED);
    let key = PublicKey::new(suite, signer.public_key().key_bytes()).unwrap();
    let verifier = Ed25519Verifier::with_keys([signer.public_key(), &key]);
    assert_eq!(verifier.check_key(&key), Err(KeyError::UnknownSuite));
}
