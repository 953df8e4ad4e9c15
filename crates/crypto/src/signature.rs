//! Signatures and the traits around them.

use crate::{KeyError, KeyId, Preimage, PublicKey, Refusal, SIGNATURE_BYTES_MAX};
use alloc::vec::Vec;
use core::fmt;

/// A signature as it travels: at most [`SIGNATURE_BYTES_MAX`] bytes where it is decoded.
///
/// It carries no suite of its own. The key that it is checked with names the suite, and the suite
/// fixes the length, so a signature cannot ask to be read in another way.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(transparent)]
pub struct Signature(#[serde(with = "polity_types::hex_bytes")] Vec<u8>);

impl<'de> serde::Deserialize<'de> for Signature {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;
        let bytes = polity_types::hex_bytes::deserialize(deserializer)?;
        if bytes.len() > SIGNATURE_BYTES_MAX {
            return Err(D::Error::custom("longer than any signature"));
        }
        Ok(Self(bytes))
    }
}

impl Signature {
    /// Wraps the bytes.
    pub fn new(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signature(")?;
        polity_types::write_hex(&self.0[..self.0.len().min(6)], f)?;
        f.write_str("..)")
    }
}

/// A signature does not hold. Deliberately without detail: this is what a peer may learn. The
/// reason is a [`Refusal`], which stays with the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the signature does not hold")]
pub struct VerifyError;

/// Somebody who can sign.
///
/// The implementer owes that its [`Verifier`] accepts what it signs, and that the same preimage
/// gets the same signature: a replica that restarts must not look as if it had spoken twice.
pub trait Signer {
    /// The public half of the signing key.
    fn public_key(&self) -> &PublicKey;

    /// Short name of the signing key.
    fn key_id(&self) -> KeyId {
        self.public_key().key_id()
    }

    /// Signs the preimage, which names its domain.
    fn sign(&self, preimage: &Preimage) -> Signature;
}

/// The predicate on which replicas agree.
///
/// The implementer owes that two replicas give the same answer for the same bytes, whatever was
/// asked before and beside it. Answers of a batch are those of its single checks.
pub trait Verifier {
    /// Whether a key may be registered: known suite, right length, not weak.
    fn check_key(&self, key: &PublicKey) -> Result<(), KeyError>;

    /// Whether `signature` over `preimage` was made with `key`, and if not, why.
    fn judge(
        &self,
        key: &PublicKey,
        preimage: &Preimage,
        signature: &Signature,
    ) -> Result<(), Refusal>;

    /// The same without the reason.
    fn verify(
        &self,
        key: &PublicKey,
        preimage: &Preimage,
        signature: &Signature,
    ) -> Result<(), VerifyError> {
        self.judge(key, preimage, signature)
            .map_err(VerifyError::from)
    }

    /// Whether all of them hold.
    fn verify_many(
        &self,
        claims: &[(&PublicKey, &Preimage, &Signature)],
    ) -> Result<(), VerifyError> {
        claims
            .iter()
            .try_for_each(|(key, preimage, signature)| self.verify(key, preimage, signature))
    }
}

impl<T: Signer + ?Sized> Signer for &T {
    fn public_key(&self) -> &PublicKey {
        (**self).public_key()
    }

    fn sign(&self, preimage: &Preimage) -> Signature {
        (**self).sign(preimage)
    }
}

impl<T: Verifier + ?Sized> Verifier for &T {
    fn check_key(&self, key: &PublicKey) -> Result<(), KeyError> {
        (**self).check_key(key)
    }

    fn judge(
        &self,
        key: &PublicKey,
        preimage: &Preimage,
        signature: &Signature,
    ) -> Result<(), Refusal> {
        (**self).judge(key, preimage, signature)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use polity_types::wire;

    #[test]
    fn a_signature_longer_than_any_suite_makes_is_not_decoded() {
        for (length, is_taken) in [
            (0, true),
            (64, true),
            (SIGNATURE_BYTES_MAX, true),
            (SIGNATURE_BYTES_MAX + 1, false),
            (1 << 20, false),
        ] {
            let signature = Signature::new(&vec![7; length]);
            let bytes = wire::encode(&signature);
            let decoded = wire::decode::<Signature>(&bytes, bytes.len());
            assert_eq!(decoded.is_ok(), is_taken, "{length} bytes");
        }
    }
}
