//! `polity-crypto`: the composite form of tier 3.

use crate::fields::{array, bytes, hex, text};
use polity_crypto::hybrid::{HybridSigner, HybridVerifier};
use polity_crypto::{Domain, Preimage, PublicKey, Signature, Signer, Suite, Verifier, domain};
use polity_testkit::topic::{Case, Topic};
use serde_json::{Value, json};

pub(crate) const HYBRID: Topic = Topic {
    file: "crypto/hybrid.v1.json",
    spec: "docs/spec/crypto.md, CR-4, CR-5",
    cases,
    answer,
};

/// Where the Ed25519 half begins.
const SPLIT: usize = Suite::MlDsa65.signature_length();

/// A preimage with one byte string.
fn preimage(domain: Domain, content: &[u8]) -> Preimage {
    Preimage::new(domain).bytes(content)
}

fn answer(input: &Value) -> Result<Value, Value> {
    let refused = |error: &str| json!({ "error": error });
    let domain = domain::ALL
        .iter()
        .find(|domain| domain.as_str() == text(input, "domain"))
        .ok_or_else(|| refused("unknown domain"))?;
    let preimage = preimage(*domain, &bytes(input, "content"));
    // One seed gives both keys, so the key follows from the input unless another is named.
    let signer = HybridSigner::from_seed(&array(input, "seed"));
    let key = match input.get("public_key") {
        None => signer.public_key().clone(),
        Some(_) => PublicKey::new(Suite::Hybrid, &bytes(input, "public_key"))
            .map_err(|_| refused("length"))?,
    };
    HybridVerifier::default()
        .judge(&key, &preimage, &Signature::new(&bytes(input, "signature")))
        .map_err(|reason| refused(reason.name()))?;
    Ok(json!({
        "public_key": hex(key.key_bytes()),
        "key_id": key.key_id().to_string(),
        "signature_is_deterministic": signer.sign(&preimage).as_slice() == bytes(input, "signature"),
    }))
}

fn cases() -> Vec<Case> {
    let seed = [0x42; 32];
    let signer = HybridSigner::from_seed(&seed);
    let input = |domain: &Domain, content: &[u8], signature: &[u8]| {
        json!({
            "seed": hex(&seed),
            "domain": domain.as_str(),
            "content": hex(content),
            "signature": hex(signature),
        })
    };
    let sign = |domain: Domain, content: &[u8]| {
        let signature = signer.sign(&preimage(domain, content));
        signature.as_slice().to_vec()
    };
    let at = |signature: &[u8]| input(&domain::TEST, b"abc", signature);
    let good = sign(domain::TEST, b"abc");
    let other = sign(domain::TEST, b"abd");
    let (pq, ed) = good.split_at(SPLIT);
    let (other_pq, other_ed) = other.split_at(SPLIT);
    let flip = |position: usize| {
        let mut signature = good.clone();
        signature[position] ^= 1;
        at(&signature)
    };
    let with_key = |change: fn(&mut Vec<u8>)| {
        let mut key = signer.public_key().key_bytes().to_vec();
        change(&mut key);
        let mut input = at(&good);
        input["public_key"] = hex(&key).into();
        input
    };
    let hedged = signer.sign_hedged(&preimage(domain::TEST, b"abc"), &[1; 32]);
    vec![
        Case::valid(
            "test_domain",
            "Both halves over one message.",
            &[],
            at(&good),
        ),
        Case::valid(
            "hedged",
            "Randomness in the ML-DSA half changes the signature, not its validity.",
            &[],
            at(hedged.as_slice()),
        ),
        Case::invalid(
            "other_content",
            "Both halves of another message.",
            &["message"],
            at(&other),
        ),
        Case::invalid(
            "other_domain",
            "Signed as a test, shown as a COMMIT.",
            &["domain"],
            input(&domain::COMMIT, b"abc", &good),
        ),
        Case::invalid(
            "classical_half_of_another",
            "The Ed25519 half is of another message.",
            &["half"],
            at(&[pq, other_ed].concat()),
        ),
        Case::invalid(
            "post_quantum_half_of_another",
            "The ML-DSA half is of another message.",
            &["half"],
            at(&[other_pq, ed].concat()),
        ),
        Case::invalid(
            "swapped_halves",
            "Ed25519 first.",
            &["layout"],
            at(&[ed, pq].concat()),
        ),
        Case::invalid("classical_half_alone", "64 bytes.", &["length"], at(ed)),
        Case::invalid(
            "post_quantum_half_alone",
            "3,309 bytes.",
            &["length"],
            at(pq),
        ),
        Case::invalid(
            "long",
            "A byte after the halves.",
            &["length"],
            at(&[&good[..], &[0]].concat()),
        ),
        Case::invalid("empty", "No signature.", &["length"], at(&[])),
        Case::invalid(
            "flipped_post_quantum",
            "One bit of the ML-DSA half.",
            &["bit"],
            flip(0),
        ),
        Case::invalid(
            "flipped_classical",
            "One bit of the Ed25519 half.",
            &["bit"],
            flip(SPLIT),
        ),
        Case::invalid(
            "weak_classical_key",
            "The Ed25519 half of the key is the neutral element.",
            &["weak"],
            with_key(|key| {
                key[1_952..].fill(0);
                key[1_952] = 1;
            }),
        ),
        Case::invalid(
            "weak_post_quantum_key",
            "t1 of the ML-DSA half of the key is zero, so anybody can make that half.",
            &["weak"],
            with_key(|key| key[32..1_952].fill(0)),
        ),
        Case::invalid(
            "short_key",
            "A byte of the key is missing.",
            &["length"],
            with_key(|key| {
                key.pop();
            }),
        ),
    ]
}
