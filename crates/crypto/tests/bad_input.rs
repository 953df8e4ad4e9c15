//! Bad input of every kind to every tier: the operator learns the reason, the peer does not.

use polity_crypto::ed25519::{Ed25519Signer, Ed25519Verifier};
use polity_crypto::hmac::LinkKey;
use polity_crypto::hybrid::{HybridSigner, HybridVerifier};
use polity_crypto::ml_dsa::{MlDsaSigner, MlDsaVerifier};
use polity_crypto::stub::{StubSigner, StubVerifier};
use polity_crypto::{
    Checker, KeyError, Preimage, PublicKey, PublicVerifier, Refusal, Signature, Signer, Suite,
    Verifier, VerifyError, bare, domain,
};

/// A tier: somebody who signs, and what verifies it.
struct Party {
    signer: Box<dyn Signer>,
    verifier: Box<dyn Verifier>,
}

fn parties() -> Vec<Party> {
    let link = LinkKey::derive(&[3; 32], b"thor", b"sprout", "request");
    let strong = |signer: Box<dyn Signer>| Party {
        signer,
        verifier: Box::new(PublicVerifier::default()),
    };
    vec![
        Party {
            signer: Box::new(StubSigner::new(1)),
            verifier: Box::new(StubVerifier),
        },
        Party {
            signer: Box::new(link.clone()),
            verifier: Box::new(link),
        },
        strong(Box::new(Ed25519Signer::from_seed(&[1; 32]))),
        strong(Box::new(MlDsaSigner::from_seed_65(&[1; 32]))),
        strong(Box::new(MlDsaSigner::from_seed_87(&[1; 32]))),
        strong(Box::new(HybridSigner::from_seed(&[1; 32]))),
    ]
}

fn message() -> Preimage {
    Preimage::new(domain::TEST).u64(7)
}

impl Party {
    fn suite(&self) -> Suite {
        self.signer.public_key().suite()
    }

    fn judge(&self, signature: &[u8]) -> Result<(), Refusal> {
        let signature = Signature::new(signature);
        self.verifier
            .judge(self.signer.public_key(), &message(), &signature)
    }
}

#[test]
fn every_suite_has_a_party() {
    let mut suites: Vec<_> = parties().iter().map(Party::suite).collect();
    suites.sort();
    assert_eq!(suites, Suite::ALL);
}

#[test]
fn another_length_is_refused_before_anything_is_computed() {
    for party in parties() {
        let good = party.signer.sign(&message());
        let good = good.as_slice();
        assert_eq!(party.judge(good), Ok(()));
        for bad in [
            &[][..],
            &good[1..],
            &good[..good.len() - 1],
            &[good, &[0]].concat(),
            &vec![0; 1 << 20],
        ] {
            assert_eq!(
                party.judge(bad),
                Err(Refusal::Length),
                "{:?}",
                party.suite()
            );
        }
    }
}

#[test]
fn a_signature_of_another_suite_is_refused() {
    let parties = parties();
    for party in &parties {
        for other in parties
            .iter()
            .filter(|other| other.suite() != party.suite())
        {
            let signature = other.signer.sign(&message());
            let length = party.suite().signature_length();
            // 3.3 kB where 64 bytes are due, and the other way round.
            let expected = if signature.as_slice().len() == length {
                Refusal::Equation
            } else {
                Refusal::Length
            };
            assert_eq!(party.judge(signature.as_slice()), Err(expected));
        }
    }
}

#[test]
fn a_key_of_another_tier_is_refused() {
    let parties = parties();
    let refuses = |verifier: &dyn Verifier, of: &Party| {
        let key = of.signer.public_key();
        let signature = of.signer.sign(&message());
        assert_eq!(verifier.check_key(key), Err(KeyError::UnknownSuite));
        let refused = verifier.judge(key, &message(), &signature);
        assert_eq!(refused, Err(Refusal::Suite));
    };
    let is_public = |party: &Party| party.suite().number() >= Suite::Ed25519.number();
    for (of, other) in parties
        .iter()
        .flat_map(|of| parties.iter().map(move |other| (of, other)))
        .filter(|(of, other)| of.suite() != other.suite())
    {
        // Stub and link verify their own kind alone; the verifier of public suites neither.
        if !(is_public(of) && is_public(other)) {
            refuses(&*of.verifier, other);
        }
    }
    for party in &parties {
        let suite = party.suite();
        let one_suite: [(&dyn Verifier, &[Suite]); 3] = [
            (&Ed25519Verifier::default(), &[Suite::Ed25519]),
            (&MlDsaVerifier::default(), &[Suite::MlDsa65, Suite::MlDsa87]),
            (&HybridVerifier::default(), &[Suite::Hybrid]),
        ];
        for (verifier, _) in one_suite.iter().filter(|(_, own)| !own.contains(&suite)) {
            refuses(*verifier, party);
        }
    }
}

#[test]
fn a_signature_of_another_domain_is_refused() {
    for party in parties() {
        let key = party.signer.public_key();
        for other in [domain::COMMIT, domain::KEY, domain::TRANSACTION] {
            let signature = party.signer.sign(&Preimage::new(other).u64(7));
            assert_eq!(
                party.verifier.judge(key, &message(), &signature),
                Err(Refusal::Equation)
            );
        }
    }
}

#[test]
fn weak_keys_are_refused_and_sign_nothing() {
    let mut identity = [0; 32];
    identity[0] = 1;
    let hybrid = HybridSigner::from_seed(&[1; 32]);
    let mut half_weak = hybrid.public_key().key_bytes().to_vec();
    half_weak[1_952..].copy_from_slice(&identity);
    // ML-DSA: t1 = 0 takes the message out of the equation.
    let weak = [
        (Suite::Ed25519, identity.to_vec()),
        (Suite::MlDsa65, vec![0; 1_952]),
        (Suite::MlDsa87, [vec![9; 32], vec![0; 2_560]].concat()),
        (Suite::Hybrid, half_weak),
    ];
    for (suite, bytes) in weak {
        let key = PublicKey::new(suite, &bytes).unwrap();
        for verifier in [PublicVerifier::default(), PublicVerifier::with_keys([&key])] {
            assert_eq!(verifier.check_key(&key), Err(KeyError::Weak));
            let signature = Signature::new(&vec![0; suite.signature_length()]);
            let refused = verifier.judge(&key, &message(), &signature);
            assert_eq!(refused, Err(Refusal::Key));
        }
    }
}

#[test]
fn degenerate_signatures_are_refused() {
    for party in parties() {
        for byte in [0, 1, 0x7f, 0xff] {
            let refused = party.judge(&vec![byte; party.suite().signature_length()]);
            assert!(matches!(
                refused,
                Err(Refusal::Equation | Refusal::Malformed)
            ));
        }
    }
}

#[test]
fn the_peer_learns_nothing_and_the_operator_counts() {
    let signer = HybridSigner::from_seed(&[1; 32]);
    let good = signer.sign(&message());
    let other = signer.sign(&Preimage::new(domain::TEST).u64(8));
    let halves = |first: &Signature, second: &Signature| {
        [&first.as_slice()[..3_309], &second.as_slice()[3_309..]].concat()
    };
    let bad = [
        (good.as_slice()[..64].to_vec(), Refusal::Length),
        (other.as_slice().to_vec(), Refusal::Equation),
        (halves(&good, &other), Refusal::ClassicalHalf),
        (halves(&other, &good), Refusal::PostQuantumHalf),
    ];
    let mut checker = Checker::new(PublicVerifier::default(), 8);
    for (bytes, reason) in &bad {
        let answer = checker.check(signer.public_key(), &message(), &Signature::new(bytes));
        assert_eq!(answer, Err(VerifyError));
        assert_eq!(checker.refusals().of(*reason), 1);
    }
    assert_eq!(checker.refusals().total(), 4);
    assert_eq!(VerifyError.to_string(), "the signature does not hold");
    assert_eq!(size_of::<VerifyError>(), 0, "there is no room for a reason");
    assert_eq!(
        checker.check(signer.public_key(), &message(), &good),
        Ok(())
    );
    assert_eq!(checker.refusals().total(), 4);
}

#[test]
fn bare_bytes_are_verified_for_schemes_that_stand_alone() {
    for party in parties() {
        let key = party.signer.public_key();
        let signature = party.signer.sign(&message());
        let context = match party.suite() {
            Suite::MlDsa65 | Suite::MlDsa87 => domain::TEST.as_str().as_bytes(),
            _ => b"",
        };
        let answer =
            |context: &[u8]| bare::verify(key, message().as_slice(), context, signature.as_slice());
        let (expected, elsewhere) = match party.suite() {
            Suite::Ed25519 => (Ok(()), Err(Refusal::Suite)),
            Suite::MlDsa65 | Suite::MlDsa87 => (Ok(()), Err(Refusal::Equation)),
            Suite::Stub | Suite::Hmac | Suite::Hybrid => (Err(Refusal::Suite), Err(Refusal::Suite)),
        };
        assert_eq!(answer(context), expected);
        assert_eq!(answer(b"another context"), elsewhere);
        // FIPS 204 has no contexts of more than 255 bytes.
        assert!(answer(&[0; 256]).is_err());
    }
}
