//! Tier 2: Ed25519 with one strict predicate (CR-1).
//!
//! Ed25519 verifiers differ on small-order and non-canonical inputs, and batch verification
//! accepts what single verification refuses. Replicas that must agree use `verify_strict` for
//! everything, and refuse weak keys when they are registered.

use crate::{KeyError, Preimage, PublicKey, Signature, Signer, Suite, Verifier, VerifyError};
use core::fmt;
use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use hashbrown::HashMap;

/// Signs with a secret key, which is wiped when the signer is dropped.
#[derive(Clone)]
pub struct Ed25519Signer {
    secret: SigningKey,
    public: PublicKey,
}

impl Ed25519Signer {
    /// From the 32-byte seed of RFC 8032, section 5.1.5. The caller wipes its own copy.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        let secret = SigningKey::from_bytes(seed);
        let public = PublicKey::new(Suite::Ed25519, secret.verifying_key().as_bytes())
            .expect("32 bytes are the length of the suite");
        Self { secret, public }
    }
}

impl fmt::Debug for Ed25519Signer {
    /// Shows the public key alone.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ed25519Signer({})", self.public)
    }
}

impl Signer for Ed25519Signer {
    fn public_key(&self) -> &PublicKey {
        &self.public
    }

    fn sign(&self, preimage: &Preimage) -> Signature {
        Signature::new(&self.secret.sign(preimage.as_slice()).to_bytes())
    }
}

/// Verifies strictly. Keys named in advance are parsed once.
#[derive(Clone, Debug, Default)]
pub struct Ed25519Verifier {
    /// Only looked up; the order is never observed.
    parsed: HashMap<[u8; 32], VerifyingKey>,
}

impl Ed25519Verifier {
    /// A verifier that has parsed `keys`. Keys of other suites and weak ones are left out; they
    /// verify nothing.
    pub fn with_keys<'a>(keys: impl IntoIterator<Item = &'a PublicKey>) -> Self {
        let parsed = keys
            .into_iter()
            .filter_map(|key| parse(key).ok().map(|parsed| (parsed.to_bytes(), parsed)))
            .collect();
        Self { parsed }
    }
}

impl Verifier for Ed25519Verifier {
    fn check_key(&self, key: &PublicKey) -> Result<(), KeyError> {
        parse(key).map(|_| ())
    }

    fn verify(
        &self,
        key: &PublicKey,
        preimage: &Preimage,
        signature: &Signature,
    ) -> Result<(), VerifyError> {
        let known = (key.suite() == Suite::Ed25519)
            .then(|| self.parsed.get(key.key_bytes()))
            .flatten();
        let (message, signature) = (preimage.as_slice(), signature.as_slice());
        match known {
            Some(parsed) => verify_bytes(parsed, message, signature),
            None => verify_bytes(&parse(key).map_err(|_| VerifyError)?, message, signature),
        }
    }
}

/// The predicate itself, over bytes, for a key that [`parse`] let through.
fn verify_bytes(key: &VerifyingKey, message: &[u8], signature: &[u8]) -> Result<(), VerifyError> {
    let signature = ed25519_dalek::Signature::from_slice(signature).map_err(|_| VerifyError)?;
    key.verify_strict(message, &signature)
        .map_err(|_| VerifyError)
}

fn parse(key: &PublicKey) -> Result<VerifyingKey, KeyError> {
    if key.suite() != Suite::Ed25519 {
        return Err(KeyError::UnknownSuite);
    }
    let bytes = key.key_bytes().try_into().map_err(|_| KeyError::Length {
        expected: 32,
        found: key.key_bytes().len(),
    })?;
    let parsed = VerifyingKey::from_bytes(bytes).map_err(|_| KeyError::Weak)?;
    // Decompression accepts some y above the field prime; the canonical form is what we keep.
    if parsed.is_weak() || parsed.to_edwards().compress().as_bytes() != bytes {
        return Err(KeyError::Weak);
    }
    Ok(parsed)
}

#[cfg(test)]
mod tests;
