//! Two implementations: what one signs, the other verifies.

use ed25519_dalek::Signer as _;
use fips204::traits::{KeyGen as _, SerDes as _, Signer as _, Verifier as _};
use fips204::{ml_dsa_65, ml_dsa_87};
use polity_crypto::hybrid::{COMPOSITE_LABEL, COMPOSITE_PREFIX, HybridSigner, HybridVerifier};
use polity_crypto::ml_dsa::{MlDsaSigner, MlDsaVerifier};
use polity_crypto::{Preimage, Refusal, Signature, Signer as _, Verifier as _, domain};
use polity_crypto_vectors::Tally;
use sha2::{Digest as _, Sha512};

const ROUNDS: u8 = 16;

fn message(round: u8) -> Preimage {
    Preimage::new(domain::TEST).bytes(&vec![round; usize::from(round) * 20])
}

macro_rules! both_ways {
    ($test:ident, $oracle:ident, $from_seed:path, $name:literal) => {
        #[test]
        fn $test() {
            let mut tally = Tally::new($name);
            for round in 0..ROUNDS {
                let seed = [round; 32];
                let (public, secret) = $oracle::KG::keygen_from_seed(&seed);
                let signer = $from_seed(&seed);
                assert_eq!(
                    signer.public_key().key_bytes(),
                    &public.clone().into_bytes()
                );
                let verifier = MlDsaVerifier::with_keys([signer.public_key()]);
                let preimage = message(round);
                let context = preimage.domain().as_str().as_bytes();
                for randomness in [[0; 32], [round ^ 0x5a; 32]] {
                    let theirs = secret
                        .try_sign_with_seed(&randomness, preimage.as_slice(), context)
                        .unwrap();
                    let ours = signer.sign_hedged(&preimage, &randomness);
                    assert_eq!(ours.as_slice(), theirs);
                    assert!(public.verify(preimage.as_slice(), &theirs, context));
                    let judge = |bytes: &[u8]| {
                        verifier.judge(signer.public_key(), &preimage, &Signature::new(bytes))
                    };
                    assert_eq!(judge(&theirs), Ok(()));
                    tally.count(true);
                    // Broken at many places: the two agree that it is broken.
                    for at in (0..theirs.len()).step_by(97) {
                        let mut broken = theirs;
                        broken[at] ^= 1 << (at % 8);
                        let holds = public.verify(preimage.as_slice(), &broken, context);
                        assert_eq!(judge(&broken).is_ok(), holds);
                        assert!(!holds);
                        tally.count(false);
                    }
                    assert!(!public.verify(preimage.as_slice(), &theirs, b"another domain"));
                    tally.count(false);
                }
            }
            let per_signature = places($oracle::SIG_LEN);
            let signatures = usize::from(ROUNDS) * 2;
            tally.finish(signatures, signatures * (per_signature + 1));
        }
    };
}

fn places(length: usize) -> usize {
    length.div_ceil(97)
}

both_ways!(
    ml_dsa_65_both_ways,
    ml_dsa_65,
    MlDsaSigner::from_seed_65,
    "fips204 and ours, ML-DSA-65"
);
both_ways!(
    ml_dsa_87_both_ways,
    ml_dsa_87,
    MlDsaSigner::from_seed_87,
    "fips204 and ours, ML-DSA-87"
);

/// The composite form of CR-4, put together from its description with other implementations.
#[test]
fn hybrid_both_ways() {
    let mut tally = Tally::new("fips204 with Ed25519 and ours, hybrid");
    for round in 0..ROUNDS {
        let (pq_seed, ed_seed) = ([round; 32], [round ^ 0xff; 32]);
        let (pq_public, pq_secret) = ml_dsa_65::KG::keygen_from_seed(&pq_seed);
        let ed_secret = ed25519_dalek::SigningKey::from_bytes(&ed_seed);
        let signer = HybridSigner::from_seeds(&pq_seed, &ed_seed);
        let key = [
            &pq_public.clone().into_bytes()[..],
            ed_secret.verifying_key().as_bytes(),
        ]
        .concat();
        assert_eq!(signer.public_key().key_bytes(), key);
        let preimage = message(round);
        let context = b"polity/test/v1";
        let composite = [
            &COMPOSITE_PREFIX[..],
            COMPOSITE_LABEL,
            &[context.len() as u8],
            context,
            &Sha512::digest(preimage.as_slice()),
        ]
        .concat();
        let pq = pq_secret
            .try_sign_with_seed(&[0; 32], &composite, COMPOSITE_LABEL)
            .unwrap();
        let ed = ed_secret.sign(&composite).to_bytes();
        let theirs = [&pq[..], &ed].concat();
        let ours = signer.sign(&preimage);
        assert_eq!(ours.as_slice(), theirs);
        let verifier = HybridVerifier::default();
        let judge =
            |bytes: &[u8]| verifier.judge(signer.public_key(), &preimage, &Signature::new(bytes));
        assert_eq!(judge(&theirs), Ok(()));
        tally.count(true);
        // The halves over the bare preimage are no hybrid signature.
        let pq = pq_secret
            .try_sign_with_seed(&[0; 32], preimage.as_slice(), context)
            .unwrap();
        let ed = ed_secret.sign(preimage.as_slice()).to_bytes();
        assert_eq!(judge(&[&pq[..], &ed].concat()), Err(Refusal::Equation));
        tally.count(false);
    }
    tally.finish(usize::from(ROUNDS), usize::from(ROUNDS));
}
