//! The composite form, and what happens to half a signature.

use super::*;
use crate::ed25519::Ed25519Verifier;
use crate::ml_dsa::MlDsaVerifier;
use alloc::vec;
use rstest::rstest;

const SEED: [u8; 32] = [0x42; 32];

fn message() -> Preimage {
    Preimage::new(domain::TEST).u64(7)
}

fn reason(signature: &[u8]) -> Result<(), Refusal> {
    let signer = HybridSigner::from_seed(&SEED);
    HybridVerifier::default().judge(signer.public_key(), &message(), &Signature::new(signature))
}

#[test]
fn cr_4_both_halves_sign_the_composite_message() {
    let signer = HybridSigner::from_seed(&SEED);
    let mut expected = b"CompositeAlgorithmSignatures2025POLITY-MLDSA65-Ed25519-SHA512-v1".to_vec();
    expected.push(14);
    expected.extend(b"polity/test/v1");
    expected.extend(Sha512::digest(message().as_slice()));
    assert_eq!(composite(&message()), expected);

    let signature = signer.sign(&message());
    let (post_quantum, classical) = signature.as_slice().split_at(3_309);
    let (pq_key, ed_key) = signer.public_key().key_bytes().split_at(1_952);
    let pq_key = ml_dsa::parse::<MlDsa65>(pq_key).unwrap();
    assert_eq!(
        ml_dsa::judge(&pq_key, &expected, COMPOSITE_LABEL, post_quantum),
        Ok(())
    );
    let ed_key = ed25519::parse_bytes(ed_key).unwrap();
    assert_eq!(ed25519::strict(&ed_key, &expected, classical), Ok(()));
    // The half that anybody could take for an Ed25519 signature is refused as one.
    assert_eq!(
        ed25519::judge(&ed_key, &expected, classical),
        Err(Refusal::Composite)
    );
}

#[test]
fn cr_4_no_domain_can_be_taken_for_a_composite_message_or_its_label() {
    for domain in domain::ALL {
        let text = domain.as_str().as_bytes();
        assert!(!text.starts_with(&COMPOSITE_PREFIX[..1]));
        assert!(!text.starts_with(COMPOSITE_LABEL) && !COMPOSITE_LABEL.starts_with(text));
    }
}

#[test]
fn cr_4_the_answer_needs_both_halves() {
    let (yes, no) = (Ok(()), Err(Refusal::Equation));
    assert_eq!(both(yes, yes), Ok(()));
    assert_eq!(both(yes, no), Err(Refusal::ClassicalHalf));
    assert_eq!(both(no, yes), Err(Refusal::PostQuantumHalf));
    assert_eq!(both(no, no), Err(Refusal::Equation));
}

#[test]
fn cr_4_a_broken_scheme_alone_forges_nothing() {
    let own = HybridSigner::from_seed(&SEED);
    let good = own.sign(&message());
    let other = own.sign(&Preimage::new(domain::TEST).u64(8));
    let (pq, ed) = good.as_slice().split_at(SIGNATURE_SPLIT);
    let (other_pq, other_ed) = other.as_slice().split_at(SIGNATURE_SPLIT);
    assert_eq!(reason(&[pq, ed].concat()), Ok(()));
    assert_eq!(
        reason(&[pq, other_ed].concat()),
        Err(Refusal::ClassicalHalf)
    );
    assert_eq!(
        reason(&[other_pq, ed].concat()),
        Err(Refusal::PostQuantumHalf)
    );
    assert_eq!(
        reason(&[other_pq, other_ed].concat()),
        Err(Refusal::Equation)
    );
    // A half that is no encoding at all does not hide the other.
    assert_eq!(
        reason(&[&[0xff; 3_309][..], ed].concat()),
        Err(Refusal::PostQuantumHalf)
    );
}

#[rstest]
#[case::empty(|_: &[u8]| vec![])]
#[case::without_the_classical_half(|good: &[u8]| good[..3_309].to_vec())]
#[case::without_the_post_quantum_half(|good: &[u8]| good[3_309..].to_vec())]
#[case::one_byte_short(|good: &[u8]| good[..3_372].to_vec())]
#[case::one_byte_long(|good: &[u8]| [good, &[0]].concat())]
#[case::two_lengths_long(|good: &[u8]| [good, good].concat())]
fn a_truncated_hybrid_has_another_length(#[case] change: fn(&[u8]) -> Vec<u8>) {
    let good = HybridSigner::from_seed(&SEED).sign(&message());
    assert_eq!(reason(&change(good.as_slice())), Err(Refusal::Length));
}

#[test]
fn swapped_halves_are_refused() {
    let good = HybridSigner::from_seed(&SEED).sign(&message());
    let (pq, ed) = good.as_slice().split_at(SIGNATURE_SPLIT);
    let refused = reason(&[ed, pq].concat()).unwrap_err();
    assert!(matches!(refused, Refusal::Malformed | Refusal::Equation));

    let signer = HybridSigner::from_seed(&SEED);
    let (pq, ed) = signer.public_key().key_bytes().split_at(KEY_SPLIT);
    let swapped = PublicKey::new(Suite::Hybrid, &[ed, pq].concat()).unwrap();
    assert!(
        HybridVerifier::default()
            .judge(&swapped, &message(), &good)
            .is_err()
    );
}

#[test]
fn a_weak_half_makes_a_weak_key() {
    let signer = HybridSigner::from_seed(&SEED);
    let good = signer.public_key().key_bytes();
    let mut identity = good.to_vec();
    identity[KEY_SPLIT..].fill(0);
    identity[KEY_SPLIT] = 1;
    let mut no_t1 = good.to_vec();
    no_t1[32..KEY_SPLIT].fill(0);
    for weak in [identity, no_t1] {
        let key = PublicKey::new(Suite::Hybrid, &weak).unwrap();
        let verifier = HybridVerifier::with_keys([&key, signer.public_key()]);
        assert_eq!(verifier.parsed.len(), 1);
        assert_eq!(verifier.check_key(&key), Err(KeyError::Weak));
        let refused = verifier.judge(&key, &message(), &signer.sign(&message()));
        assert_eq!(refused, Err(Refusal::Key));
    }
}

#[test]
fn cr_5_component_keys_are_those_of_nothing_else() {
    let hybrid = HybridSigner::from_seed(&SEED);
    let (pq, ed) = hybrid.public_key().key_bytes().split_at(KEY_SPLIT);
    // The same seed used for a signer of each scheme gives other keys.
    let alone = ed25519::Ed25519Signer::from_seed(&SEED);
    assert_ne!(alone.public_key().key_bytes(), ed);
    let alone = ml_dsa::MlDsaSigner::from_seed_65(&SEED);
    assert_ne!(alone.public_key().key_bytes(), pq);
    // Whoever registers a component by itself gets no signature out of the hybrid's.
    let signature = hybrid.sign(&message());
    let (pq_half, ed_half) = signature.as_slice().split_at(SIGNATURE_SPLIT);
    let key = PublicKey::new(Suite::MlDsa65, pq).unwrap();
    let refused = MlDsaVerifier::default().judge(&key, &message(), &Signature::new(pq_half));
    assert_eq!(refused, Err(Refusal::Equation));
    let key = PublicKey::new(Suite::Ed25519, ed).unwrap();
    let refused = Ed25519Verifier::default().judge(&key, &message(), &Signature::new(ed_half));
    assert_eq!(refused, Err(Refusal::Equation));
}

#[test]
fn cr_5_secret_keys_are_wiped_when_they_are_dropped() {
    fn is_wiped<T: zeroize::ZeroizeOnDrop>(_: &T) {}
    let signer = HybridSigner::from_seed(&SEED);
    is_wiped(&signer.post_quantum);
    is_wiped(&signer.classical);
    is_wiped(&::ml_dsa::SigningKey::<::ml_dsa::MlDsa87>::from_seed(
        &SEED.into(),
    ));
}

#[test]
fn hedged_signatures_differ_and_hold() {
    let signer = HybridSigner::from_seed(&SEED);
    let one = signer.sign_hedged(&message(), &[1; 32]);
    let two = signer.sign_hedged(&message(), &[2; 32]);
    assert_ne!(one, two);
    assert_eq!(reason(one.as_slice()), Ok(()));
    assert_eq!(reason(two.as_slice()), Ok(()));
    assert_eq!(
        signer.sign(&message()),
        signer.sign_hedged(&message(), &[0; 32])
    );
}
