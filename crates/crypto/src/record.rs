//! Key records: which key speaks for a peer, and from when to when (CR-7, CR-10).

use crate::{KeyId, Preimage, PublicKey, Signature, Signer, domain};
use alloc::vec::Vec;
use polity_types::wire::{self, DecodeError};
use polity_types::{Time, byte_string};

byte_string!(
    /// Name of a peer: a digest of its first key. Keys rotate, the name stays.
    PeerId, 32
);

impl PeerId {
    /// The peer whose first key this is.
    pub fn of(first: &PublicKey) -> Self {
        let preimage = Preimage::new(domain::PEER).u8(first.suite().number());
        Self::new(*preimage.fixed(first.key_bytes()).sha256().as_bytes())
    }
}

/// Says that `key` speaks for `peer` from `not_before` until `not_after`.
///
/// Its key id is computed and not carried, so it cannot be wrong.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct KeyRecord {
    /// Whose key it is.
    pub peer: PeerId,
    /// Suite and public key.
    pub key: PublicKey,
    /// First moment at which it may sign, in milliseconds.
    pub not_before: Time,
    /// First moment at which it may no longer, in milliseconds.
    pub not_after: Time,
    /// The key that it follows; none for the first key of a peer.
    pub previous: Option<KeyId>,
}

impl KeyRecord {
    /// What the previous and the new key sign.
    pub fn preimage(&self) -> Preimage {
        let preimage = Preimage::new(domain::KEY_RECORD)
            .array(self.peer.as_bytes())
            .u8(self.key.suite().number())
            .fixed(self.key.key_bytes())
            .u64(self.not_before.as_millis())
            .u64(self.not_after.as_millis());
        match &self.previous {
            None => preimage.u8(0).array(KeyId::ZERO.as_bytes()),
            Some(id) => preimage.u8(1).array(id.as_bytes()),
        }
    }
}

/// A key record with the consent of both keys: the previous one, if there is one, says that the new
/// one follows, and the new one says that it belongs to the peer.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct SignedRecord {
    /// What is signed.
    pub record: KeyRecord,
    /// Signature of the previous key.
    pub by_previous: Option<Signature>,
    /// Signature of the new key.
    pub by_new: Signature,
}

/// Length in bytes of the longest encoding of a [`SignedRecord`].
pub const RECORD_BYTES_MAX: usize = 16_384;

impl SignedRecord {
    /// The first record of the peer that `key` names.
    pub fn first(key: &impl Signer, not_before: Time, not_after: Time) -> Self {
        let record = KeyRecord {
            peer: PeerId::of(key.public_key()),
            key: key.public_key().clone(),
            not_before,
            not_after,
            previous: None,
        };
        Self {
            by_previous: None,
            by_new: key.sign(&record.preimage()),
            record,
        }
    }

    /// The record by which `new` follows `previous` for `peer`.
    pub fn rotation(
        peer: PeerId,
        previous: &impl Signer,
        new: &impl Signer,
        not_before: Time,
        not_after: Time,
    ) -> Self {
        let record = KeyRecord {
            peer,
            key: new.public_key().clone(),
            not_before,
            not_after,
            previous: Some(previous.key_id()),
        };
        let preimage = record.preimage();
        Self {
            by_previous: Some(previous.sign(&preimage)),
            by_new: new.sign(&preimage),
            record,
        }
    }

    /// The canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        wire::encode(self)
    }

    /// Reads exactly the canonical bytes, at most [`RECORD_BYTES_MAX`] of them.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        wire::decode(bytes, RECORD_BYTES_MAX)
    }
}

/// Says that a key speaks for its peer no longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Revocation {
    /// Whose key it is.
    pub peer: PeerId,
    /// The key that is revoked.
    pub key: KeyId,
    /// Signatures from this moment on do not count, in milliseconds.
    pub revoked_at: Time,
}

impl Revocation {
    /// What is signed.
    pub fn preimage(&self) -> Preimage {
        Preimage::new(domain::KEY_REVOCATION)
            .array(self.peer.as_bytes())
            .array(self.key.as_bytes())
            .u64(self.revoked_at.as_millis())
    }
}

/// A revocation, signed by the revoked key or by one that came after it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct SignedRevocation {
    /// What is signed.
    pub revocation: Revocation,
    /// The key that signed.
    pub by: KeyId,
    /// Its signature.
    pub signature: Signature,
}

impl SignedRevocation {
    /// Signs.
    pub fn new(revocation: Revocation, by: &impl Signer) -> Self {
        Self {
            by: by.key_id(),
            signature: by.sign(&revocation.preimage()),
            revocation,
        }
    }

    /// The canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        wire::encode(self)
    }

    /// Reads exactly the canonical bytes, at most [`RECORD_BYTES_MAX`] of them.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        wire::decode(bytes, RECORD_BYTES_MAX)
    }
}
