//! Tier 3: Ed25519 **and** ML-DSA-65 over one message. A forger has to break both (CR-4).
//!
//! ```text
//! M'         = "CompositeAlgorithmSignatures2025" ‖ label ‖ len(context) ‖ context ‖ SHA-512(M)
//! signature  = ML-DSA-65(M', context = label) ‖ Ed25519(M')
//! public key = ML-DSA-65 key ‖ Ed25519 key
//! ```
//!
//! `M` is the preimage, `context` its domain, `len` one byte. The prefix and the label keep either
//! half from being shown as a signature of its scheme alone, and both halves are always evaluated.
//!
//! The component keys exist only inside a [`HybridSigner`] and sign nothing else (CR-5).

use crate::parsed::ParsedKeys;
use crate::{
    KeyError, Preimage, PublicKey, Refusal, Signature, Signer, Suite, Verifier, domain, ed25519,
    ml_dsa,
};
use ::ml_dsa::MlDsa65;
use alloc::vec::Vec;
use core::fmt;
use ed25519_dalek::Signer as _;
use hkdf::Hkdf;
use sha2::{Digest as _, Sha256, Sha512};
use zeroize::Zeroizing;

/// What every composite message starts with. No domain does.
pub const COMPOSITE_PREFIX: &[u8; 32] = b"CompositeAlgorithmSignatures2025";

/// The label of this pair of schemes: our own, since the message is our preimage.
pub const COMPOSITE_LABEL: &[u8] = b"POLITY-MLDSA65-Ed25519-SHA512-v1";

/// Where the Ed25519 half of a key begins.
const KEY_SPLIT: usize = Suite::MlDsa65.public_key_length();
/// Where the Ed25519 half of a signature begins.
const SIGNATURE_SPLIT: usize = Suite::MlDsa65.signature_length();

/// Signs with both schemes. The secrets are wiped when the signer is dropped.
#[derive(Clone)]
pub struct HybridSigner {
    post_quantum: ::ml_dsa::SigningKey<MlDsa65>,
    classical: ed25519_dalek::SigningKey,
    public: PublicKey,
}

impl HybridSigner {
    /// Both keys from one seed, by HKDF-SHA256 with a label each. The caller wipes its own copy.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        let expand = |label: &str| {
            let info = Preimage::new(domain::HYBRID_SEED).bytes(label.as_bytes());
            let mut key = Zeroizing::new([0; 32]);
            Hkdf::<Sha256>::new(None, seed)
                .expand(info.as_slice(), &mut *key)
                .expect("32 bytes are less than HKDF can give");
            key
        };
        Self::from_seeds(&expand("ml-dsa-65"), &expand("ed25519"))
    }

    /// Both keys from fresh seeds, which must be used for nothing else. The caller wipes its own
    /// copies.
    pub fn from_seeds(post_quantum: &[u8; 32], classical: &[u8; 32]) -> Self {
        let (post_quantum, key) = ml_dsa::generate::<MlDsa65>(post_quantum);
        let classical = ed25519_dalek::SigningKey::from_bytes(classical);
        let key = [&key[..], classical.verifying_key().as_bytes()].concat();
        let public = PublicKey::new(Suite::Hybrid, &key).expect("the length of the suite");
        Self {
            post_quantum,
            classical,
            public,
        }
    }

    /// Signs with fresh randomness for the ML-DSA half; see
    /// [`MlDsaSigner::sign_hedged`](crate::ml_dsa::MlDsaSigner::sign_hedged).
    pub fn sign_hedged(&self, preimage: &Preimage, randomness: &[u8; 32]) -> Signature {
        let message = composite(preimage);
        let post_quantum = ml_dsa::sign(&self.post_quantum, &message, COMPOSITE_LABEL, randomness);
        let classical = self.classical.sign(&message).to_bytes();
        Signature::new(&[&post_quantum[..], &classical].concat())
    }
}

impl fmt::Debug for HybridSigner {
    /// Shows the key id alone; the key is long.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HybridSigner({})", self.public.key_id())
    }
}

impl Signer for HybridSigner {
    fn public_key(&self) -> &PublicKey {
        &self.public
    }

    fn sign(&self, preimage: &Preimage) -> Signature {
        self.sign_hedged(preimage, &[0; 32])
    }
}

/// Verifies hybrid signatures. Keys named in advance are expanded once.
#[derive(Clone, Debug, Default)]
pub struct HybridVerifier {
    parsed: ParsedKeys<Parsed>,
}

struct Parsed {
    post_quantum: ::ml_dsa::VerifyingKey<MlDsa65>,
    classical: ed25519_dalek::VerifyingKey,
}

impl Parsed {
    fn new(key: &PublicKey) -> Result<Self, KeyError> {
        if key.suite() != Suite::Hybrid {
            return Err(KeyError::UnknownSuite);
        }
        let (post_quantum, classical) = key.key_bytes().split_at(KEY_SPLIT);
        Ok(Self {
            post_quantum: ml_dsa::parse(post_quantum)?,
            classical: ed25519::parse_bytes(classical)?,
        })
    }

    fn judge(&self, preimage: &Preimage, signature: &[u8]) -> Result<(), Refusal> {
        if signature.len() != Suite::Hybrid.signature_length() {
            return Err(Refusal::Length);
        }
        let message = composite(preimage);
        let (post_quantum, classical) = signature.split_at(SIGNATURE_SPLIT);
        both(
            ml_dsa::judge(&self.post_quantum, &message, COMPOSITE_LABEL, post_quantum),
            ed25519::strict(&self.classical, &message, classical),
        )
    }
}

/// The answer of both halves. They come in as values, so both have been evaluated.
fn both(post_quantum: Result<(), Refusal>, classical: Result<(), Refusal>) -> Result<(), Refusal> {
    match (post_quantum, classical) {
        (Ok(()), Ok(())) => Ok(()),
        (Ok(()), Err(_)) => Err(Refusal::ClassicalHalf),
        (Err(_), Ok(())) => Err(Refusal::PostQuantumHalf),
        (Err(reason), Err(_)) => Err(reason),
    }
}

impl HybridVerifier {
    /// A verifier that has expanded `keys`, at most [`PARSED_KEYS_MAX`](crate::PARSED_KEYS_MAX) of
    /// them. Keys of other suites and weak ones are left out; they verify nothing.
    pub fn with_keys<'a>(keys: impl IntoIterator<Item = &'a PublicKey>) -> Self {
        Self {
            parsed: ParsedKeys::new(keys, Parsed::new),
        }
    }
}

impl Verifier for HybridVerifier {
    fn check_key(&self, key: &PublicKey) -> Result<(), KeyError> {
        Parsed::new(key).map(|_| ())
    }

    fn judge(
        &self,
        key: &PublicKey,
        preimage: &Preimage,
        signature: &Signature,
    ) -> Result<(), Refusal> {
        self.parsed.with(key, Parsed::new, |parsed| {
            parsed.judge(preimage, signature.as_slice())
        })
    }
}

/// What both halves sign.
fn composite(preimage: &Preimage) -> Vec<u8> {
    let context = preimage.domain().as_str().as_bytes();
    let length = u8::try_from(context.len()).expect("domains are short");
    let digest = Sha512::digest(preimage.as_slice());
    [
        &COMPOSITE_PREFIX[..],
        COMPOSITE_LABEL,
        &[length],
        context,
        &digest,
    ]
    .concat()
}

#[cfg(test)]
mod tests;
