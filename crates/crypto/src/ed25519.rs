//! Tier 2: Ed25519 with one strict predicate (CR-1).
//!
//! Ed25519 verifiers differ on small-order and non-canonical inputs, and batch verification
//! accepts what single verification refuses. Replicas that must agree use `verify_strict` for
//! everything, and refuse weak keys when they are registered.

use crate::hybrid::COMPOSITE_PREFIX;
use crate::parsed::ParsedKeys;
use crate::{KeyError, Preimage, PublicKey, Refusal, Signature, Signer, Suite, Verifier};
use core::fmt;
use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};

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
    parsed: ParsedKeys<VerifyingKey>,
}

impl Ed25519Verifier {
    /// A verifier that has parsed `keys`, at most [`PARSED_KEYS_MAX`](crate::PARSED_KEYS_MAX) of
    /// them. Keys of other suites and weak ones are left out; they verify nothing.
    pub fn with_keys<'a>(keys: impl IntoIterator<Item = &'a PublicKey>) -> Self {
        Self {
            parsed: ParsedKeys::new(keys, parse),
        }
    }
}

impl Verifier for Ed25519Verifier {
    fn check_key(&self, key: &PublicKey) -> Result<(), KeyError> {
        parse(key).map(|_| ())
    }

    fn judge(
        &self,
        key: &PublicKey,
        preimage: &Preimage,
        signature: &Signature,
    ) -> Result<(), Refusal> {
        self.parsed.with(key, parse, |parsed| {
            judge(parsed, preimage.as_slice(), signature.as_slice())
        })
    }
}

/// The predicate of Ed25519 keys that stand alone. Whoever holds a hybrid key signed composite
/// messages with half of it; that half proves nothing by itself (CR-4).
pub(crate) fn judge(key: &VerifyingKey, message: &[u8], signature: &[u8]) -> Result<(), Refusal> {
    if message.starts_with(COMPOSITE_PREFIX) {
        return Err(Refusal::Composite);
    }
    strict(key, message, signature)
}

/// The predicate over bytes, for a key that [`parse`] let through.
pub(crate) fn strict(key: &VerifyingKey, message: &[u8], signature: &[u8]) -> Result<(), Refusal> {
    let signature = signature.try_into().map_err(|_| Refusal::Length)?;
    // Anything of the right length is a signature here; `s` and `R` are judged with the equation.
    key.verify_strict(message, &ed25519_dalek::Signature::from_bytes(signature))
        .map_err(|_| Refusal::Equation)
}

fn parse(key: &PublicKey) -> Result<VerifyingKey, KeyError> {
    if key.suite() != Suite::Ed25519 {
        return Err(KeyError::UnknownSuite);
    }
    parse_bytes(key.key_bytes())
}

/// Refuses what is no point, a second spelling of one, or of small order.
pub(crate) fn parse_bytes(bytes: &[u8]) -> Result<VerifyingKey, KeyError> {
    let bytes = bytes.try_into().map_err(|_| KeyError::Length {
        expected: 32,
        found: bytes.len(),
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
