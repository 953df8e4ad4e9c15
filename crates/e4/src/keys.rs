//! Registries, signatures and the key manager of E4.
//!
//! E4 has two checks: Ed25519 for 32-byte keys, and for every other key a code that is keyed by the
//! **public** bytes, which everybody can compute (P12, R2). Strict mode knows the first alone.

use crate::hash::{encode_hex, sha256};
use crate::{Mode, Refusal};
use ed25519_dalek::{Signature, Verifier, VerifyingKey};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::collections::BTreeMap;

/// Whether Ed25519 is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Backend {
    /// It is: tier 2.
    #[default]
    Ed25519,
    /// It is not: tier 1, where everybody can sign for everybody.
    PublicHmac,
}

/// Keys by id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registry {
    keys: BTreeMap<String, Vec<u8>>,
}

impl Registry {
    /// Puts a key in, in place of an earlier one.
    pub fn insert(&mut self, id: &str, key: Vec<u8>) {
        self.keys.insert(id.to_owned(), key);
    }

    /// The key of an id.
    pub fn get(&self, id: &str) -> Option<&Vec<u8>> {
        self.keys.get(id)
    }

    /// Whether the key of this id is registered for another one as well.
    pub fn is_shared(&self, id: &str) -> bool {
        let key = self.keys.get(id);
        key.is_some()
            && self
                .keys
                .values()
                .filter(|other| Some(*other) == key)
                .count()
                > 1
    }

    /// Ed25519 under a registered key of 32 bytes, and nothing else.
    ///
    /// # Errors
    ///
    /// If the id is unknown, the lengths are others (P12, P14), or the signature does not fit.
    pub fn verify_strict(&self, id: &str, message: &[u8], signature: &[u8]) -> Result<(), Refusal> {
        let key = self.keys.get(id).ok_or(Refusal::UnknownKey)?;
        let key: &[u8; 32] = key.as_slice().try_into().map_err(|_| Refusal::KeyLength)?;
        let signature: &[u8; 64] = signature.try_into().map_err(|_| Refusal::SignatureLength)?;
        let key = VerifyingKey::from_bytes(key).map_err(|_| Refusal::BadSignature)?;
        key.verify_strict(message, &Signature::from_bytes(signature))
            .map_err(|_| Refusal::BadSignature)
    }
}

impl<K: Into<String>> FromIterator<(K, Vec<u8>)> for Registry {
    fn from_iter<I: IntoIterator<Item = (K, Vec<u8>)>>(keys: I) -> Self {
        let keys = keys.into_iter().map(|(id, key)| (id.into(), key));
        Self {
            keys: keys.collect(),
        }
    }
}

/// E4's check of a signature: no key or no signature is a no.
pub fn verify_signature(key: &[u8], message: &[u8], signature: &[u8], backend: Backend) -> bool {
    if key.is_empty() || signature.is_empty() {
        return false;
    }
    match <&[u8; 32]>::try_from(key) {
        Ok(key) if backend == Backend::Ed25519 => verify_ed25519(key, message, signature),
        _ => verify_public_hmac(key, message, signature),
    }
}

fn verify_ed25519(key: &[u8; 32], message: &[u8], signature: &[u8]) -> bool {
    let (Ok(key), Ok(signature)) = (
        VerifyingKey::from_bytes(key),
        Signature::from_slice(signature),
    ) else {
        return false;
    };
    key.verify(message, &signature).is_ok()
}

fn verify_public_hmac(key: &[u8], message: &[u8], signature: &[u8]) -> bool {
    signature.first_chunk() == Some(&public_hmac(key, message))
}

/// HMAC-SHA256 keyed by public bytes: no secret is in it, so it proves nothing.
pub fn public_hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    // HMAC takes keys of every length.
    Hmac::<Sha256>::new_from_slice(key).map_or([0; 32], |mac| {
        mac.chain_update(message).finalize().into_bytes().into()
    })
}

/// E4's name of a key: the first sixteen characters of its digest.
pub fn key_id(public: &[u8]) -> String {
    let digest = sha256([public]);
    encode_hex(&digest[..8])
}

/// The key manager's check: where Ed25519 fails it still takes a code keyed by the public key (R2).
///
/// # Errors
///
/// In strict mode: everything but a valid Ed25519 signature under a 32-byte key.
pub fn verify_peer(
    public: &[u8],
    message: &[u8],
    signature: &[u8],
    mode: Mode,
) -> Result<bool, Refusal> {
    if mode == Mode::Strict {
        let registry = Registry::from_iter([("", public.to_vec())]);
        return registry
            .verify_strict("", message, signature)
            .map(|()| true);
    }
    if let Ok(key) = <&[u8; 32]>::try_from(public)
        && signature.len() == 64
        && verify_ed25519(key, message, signature)
    {
        return Ok(true);
    }
    Ok(verify_public_hmac(public, message, signature))
}

/// What the old key signs when it is revoked. `successor` is empty for an emergency, and the reason
/// of a rotation is `routine rotation`.
pub fn revocation_payload(key_id: &str, peer: &str, reason: &str, successor: &str) -> Vec<u8> {
    [key_id, peer, reason, successor].join("\0").into_bytes()
}

/// Whether a revocation counts. E4 never looks at the proof.
///
/// # Errors
///
/// In strict mode, if the revoked key has not signed the payload (R2).
pub fn check_revocation(
    revoked: &[u8],
    payload: &[u8],
    signature: &[u8],
    mode: Mode,
) -> Result<(), Refusal> {
    match mode {
        Mode::Compatible => Ok(()),
        Mode::Strict => verify_peer(revoked, payload, signature, mode)
            .map(|_| ())
            .map_err(|_| Refusal::UnprovenRevocation),
    }
}
