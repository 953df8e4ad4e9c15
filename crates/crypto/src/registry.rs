//! Which key spoke for which peer at which time (CR-7, CR-10).
//!
//! Not a clock and not a consensus: whoever applies records does so in an agreed order, at the
//! boundaries of epochs, and asks about times that messages carry.
//!
//! ```text
//!  first record    PeerId = digest of the key, signed by the key itself
//!  rotation        signed by the newest key and by the new one; begins while the newest is valid
//!  revocation      signed by the key itself or by a later key of the same peer
//!
//!  old  |──────────────────────────┊··overlap··|
//!  new                             |────────────────────────────────|
//! ```
//!
//! # Invariants
//!
//! 1. A key id belongs to one record of one peer for ever, and so do the halves of a hybrid (CR-5).
//! 2. The keys of a peer begin one after the other; each begins while the one before is valid.
//! 3. Nothing is forgotten, and a window only ever becomes shorter.
//!
//! Whoever lost a key to a thief rotates first, then revokes the old key with the new one: a revoked
//! key cannot introduce a successor, whatever time stands in the record.

use crate::{
    Checker, KeyError, KeyId, PeerId, PublicKey, SignedRecord, SignedRevocation, Suite, Verifier,
    VerifyError,
};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::time::Duration;
use polity_types::Time;

/// How many peers a registry knows. A further peer is refused.
pub const PEERS_MAX: usize = 4_096;

/// How many keys a peer can have in its life: monthly rotation for 80 years. Nothing falls out,
/// because old signatures must stay verifiable; a further key is refused.
pub const KEYS_PER_PEER_MAX: usize = 1_024;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How long keys may live. All replicas of a federation use the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RotationRules {
    /// Longest window of a key without ML-DSA.
    pub classical_max: Duration,
    /// Longest window of a key with ML-DSA.
    pub post_quantum_max: Duration,
    /// How long a key stays valid after its successor began, and how long after the end of its
    /// window a message may be seen first without a checkpoint.
    pub overlap: Duration,
}

impl Default for RotationRules {
    /// Rotation after 30 or 90 days, with a day of overlap on top.
    fn default() -> Self {
        Self {
            classical_max: DAY * 31,
            post_quantum_max: DAY * 91,
            overlap: DAY,
        }
    }
}

impl RotationRules {
    /// Longest window of a key of this suite.
    pub const fn window_max(&self, suite: Suite) -> Duration {
        match suite {
            Suite::Stub | Suite::Hmac | Suite::Ed25519 => self.classical_max,
            Suite::MlDsa65 | Suite::Hybrid | Suite::MlDsa87 => self.post_quantum_max,
        }
    }
}

/// Why a record or a revocation is not taken. The registry is then as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    /// The window is empty or longer than the rules allow.
    #[error(
        "the key would be valid for {found:?}, which must be more than nothing and at most {max:?}"
    )]
    Window {
        /// Length of the window.
        found: Duration,
        /// The longest for this suite.
        max: Duration,
    },
    /// The key cannot be registered.
    #[error("the key cannot be registered: {0}")]
    Key(#[from] KeyError),
    /// The key id, or half of the key, was registered before, under whatever peer.
    #[error("the key {0} or a half of it was registered before: make a new key")]
    Duplicate(KeyId),
    /// A first record whose peer is not named by its key, or a peer that has keys already.
    #[error("a first record names its peer by its own key; a known peer rotates instead")]
    NotFirst,
    /// No record names this peer.
    #[error("the peer has no keys yet: send its first record")]
    UnknownPeer,
    /// The peer has no such key.
    #[error("the peer has no key {0}")]
    UnknownKey(KeyId),
    /// The previous key is not the newest one.
    #[error("only the newest key {newest} can introduce another")]
    NotNewest {
        /// The newest key of the peer.
        newest: KeyId,
    },
    /// The previous key was revoked. Whenever the new window began, whoever holds a stolen key could
    /// have written that.
    #[error("the key {0} was revoked and introduces nobody: a peer rotates first and then revokes")]
    PreviousRevoked(KeyId),
    /// The new window does not begin within that of the previous key.
    #[error("the new key must begin after {after} and before {before}")]
    Start {
        /// Beginning of the previous key.
        after: Time,
        /// Its end.
        before: Time,
    },
    /// The signer of a revocation came before the key that it revokes.
    #[error("a key is revoked by itself or by a later key of its peer")]
    MayNotRevoke,
    /// The moment of revocation lies before the key's window.
    #[error("a key cannot be revoked before it begins at {0}")]
    RevokedBeforeStart(Time),
    /// The registry is full.
    #[error("the registry holds {PEERS_MAX} peers")]
    TooManyPeers,
    /// The peer is full.
    #[error("the peer had {KEYS_PER_PEER_MAX} keys: it continues under a new name")]
    TooManyKeys,
    /// A signature is missing, does not hold or should not be there.
    #[error(transparent)]
    Signature(#[from] VerifyError),
}

/// Why a key did not speak for a peer at some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// The peer has no such key.
    #[error("the peer has no such key")]
    Unknown,
    /// Signed before the window.
    #[error("signed before the key was valid")]
    NotYet,
    /// Signed after the window.
    #[error("signed after the key ended")]
    Expired,
    /// Signed after the key was revoked.
    #[error("signed after the key was revoked")]
    Revoked,
}

/// A key of a peer, with everything that shortened its window since.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyEntry {
    /// Suite and public key.
    pub key: PublicKey,
    /// First moment at which it may sign.
    pub not_before: Time,
    /// First moment at which it may no longer: the end of its record, or of the overlap with its
    /// successor.
    pub not_after: Time,
    /// When it was revoked, if it was.
    pub revoked_at: Option<Time>,
}

impl KeyEntry {
    /// Whether the key spoke for its peer at the time.
    pub fn valid_at(&self, signed: Time) -> Result<(), Invalid> {
        if signed < self.not_before {
            Err(Invalid::NotYet)
        } else if self.revoked_at.is_some_and(|at| signed >= at) {
            Err(Invalid::Revoked)
        } else if signed >= self.not_after {
            Err(Invalid::Expired)
        } else {
            Ok(())
        }
    }
}

/// A key that was valid when it signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Valid<'a> {
    /// The key, to check the signature with.
    pub key: &'a PublicKey,
    /// The message was first seen so late that it counts only below a finalised checkpoint: the
    /// owner, or a thief, of an old key could have written an old time into it.
    pub needs_checkpoint: bool,
}

/// Every key that every peer ever had.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registry {
    rules: RotationRules,
    /// Keys of each peer, in the order of their windows.
    peers: BTreeMap<PeerId, Vec<KeyEntry>>,
    /// Every key id, and those of the halves of hybrids, with the peer.
    owners: BTreeMap<KeyId, PeerId>,
}

impl Registry {
    /// An empty registry.
    pub fn new(rules: RotationRules) -> Self {
        Self {
            rules,
            peers: BTreeMap::new(),
            owners: BTreeMap::new(),
        }
    }

    /// Checks a record with its signatures and takes it.
    pub fn register<V: Verifier>(
        &mut self,
        signed: &SignedRecord,
        checker: &mut Checker<V>,
    ) -> Result<KeyId, RegistryError> {
        let record = &signed.record;
        let found = record.not_after.saturating_since(record.not_before);
        let max = self.rules.window_max(record.key.suite());
        if found.is_zero() || found > max {
            return Err(RegistryError::Window { found, max });
        }
        checker.verifier().check_key(&record.key)?;
        let ids = names(&record.key);
        if let Some(id) = ids.iter().find(|id| self.owners.contains_key(id)) {
            return Err(RegistryError::Duplicate(*id));
        }
        let preimage = record.preimage();
        match (&record.previous, &signed.by_previous) {
            (None, None) => {
                if self.peers.contains_key(&record.peer) || record.peer != PeerId::of(&record.key) {
                    return Err(RegistryError::NotFirst);
                }
                if self.peers.len() == PEERS_MAX {
                    return Err(RegistryError::TooManyPeers);
                }
            }
            (Some(previous), Some(signature)) => {
                let newest = self.successor_of(&record.peer, *previous, record.not_before)?;
                checker.check(&newest.key, &preimage, signature)?;
            }
            (None, Some(_)) | (Some(_), None) => return Err(VerifyError.into()),
        }
        checker.check(&record.key, &preimage, &signed.by_new)?;
        // From here on the record is taken.
        let id = record.key.key_id();
        self.owners
            .extend(ids.into_iter().map(|id| (id, record.peer)));
        let keys = self.peers.entry(record.peer).or_default();
        if let Some(previous) = keys.last_mut() {
            let overlap_ends = record.not_before.saturating_add(self.rules.overlap);
            previous.not_after = previous.not_after.min(overlap_ends);
        }
        keys.push(KeyEntry {
            key: record.key.clone(),
            not_before: record.not_before,
            not_after: record.not_after,
            revoked_at: None,
        });
        Ok(id)
    }

    /// The newest key of the peer, if it is `previous` and a key that begins at `start` may follow.
    fn successor_of(
        &self,
        peer: &PeerId,
        previous: KeyId,
        start: Time,
    ) -> Result<&KeyEntry, RegistryError> {
        let keys = self.peers.get(peer).ok_or(RegistryError::UnknownPeer)?;
        let newest = keys.last().ok_or(RegistryError::UnknownPeer)?;
        let id = newest.key.key_id();
        if id != previous {
            return Err(RegistryError::NotNewest { newest: id });
        }
        if newest.revoked_at.is_some() {
            return Err(RegistryError::PreviousRevoked(id));
        }
        if start <= newest.not_before || start >= newest.not_after {
            return Err(RegistryError::Start {
                after: newest.not_before,
                before: newest.not_after,
            });
        }
        if keys.len() == KEYS_PER_PEER_MAX {
            return Err(RegistryError::TooManyKeys);
        }
        Ok(newest)
    }

    /// Checks a revocation with its signature and takes it. Of several for one key the earliest
    /// moment counts, in whatever order they come.
    pub fn revoke<V: Verifier>(
        &mut self,
        signed: &SignedRevocation,
        checker: &mut Checker<V>,
    ) -> Result<(), RegistryError> {
        let revocation = &signed.revocation;
        let keys = self
            .peers
            .get_mut(&revocation.peer)
            .ok_or(RegistryError::UnknownPeer)?;
        let place = |id: KeyId| {
            keys.iter()
                .position(|entry| entry.key.key_id() == id)
                .ok_or(RegistryError::UnknownKey(id))
        };
        let (revoked, by) = (place(revocation.key)?, place(signed.by)?);
        if by < revoked {
            return Err(RegistryError::MayNotRevoke);
        }
        let start = keys[revoked].not_before;
        if revocation.revoked_at < start {
            return Err(RegistryError::RevokedBeforeStart(start));
        }
        checker.check(&keys[by].key, &revocation.preimage(), &signed.signature)?;
        // From here on the revocation is taken.
        let entry = &mut keys[revoked];
        let at = entry.revoked_at.unwrap_or(Time::MAX);
        entry.revoked_at = Some(at.min(revocation.revoked_at));
        Ok(())
    }

    /// Whether `id` spoke for `peer` at the time `signed`, for a message first seen at `seen`.
    pub fn valid_at(
        &self,
        peer: &PeerId,
        id: KeyId,
        signed: Time,
        seen: Time,
    ) -> Result<Valid<'_>, Invalid> {
        let entry = self.entry(peer, id).ok_or(Invalid::Unknown)?;
        entry.valid_at(signed)?;
        Ok(Valid {
            key: &entry.key,
            needs_checkpoint: match entry.revoked_at {
                // Revoked keys are in the hands of others: no grace.
                Some(at) => seen >= at.min(entry.not_after),
                None => seen > entry.not_after.saturating_add(self.rules.overlap),
            },
        })
    }

    /// The newest key that may sign for the peer at the time.
    pub fn signing_key(&self, peer: &PeerId, now: Time) -> Option<&PublicKey> {
        let is_valid = |entry: &&KeyEntry| entry.valid_at(now).is_ok();
        self.keys(peer)
            .iter()
            .rev()
            .find(is_valid)
            .map(|entry| &entry.key)
    }

    /// Every key that the peer ever had, in the order of their windows.
    pub fn keys(&self, peer: &PeerId) -> &[KeyEntry] {
        self.peers.get(peer).map_or(&[], Vec::as_slice)
    }

    /// The peer that the key, or a hybrid with this half, belongs to.
    pub fn owner(&self, id: KeyId) -> Option<&PeerId> {
        self.owners.get(&id)
    }

    fn entry(&self, peer: &PeerId, id: KeyId) -> Option<&KeyEntry> {
        // The index spares strangers' ids the walk over the keys.
        (self.owners.get(&id)? == peer)
            .then(|| {
                self.keys(peer)
                    .iter()
                    .find(|entry| entry.key.key_id() == id)
            })
            .flatten()
    }
}

/// The id of a key, and those of its halves.
fn names(key: &PublicKey) -> Vec<KeyId> {
    let halves = key.halves();
    let halves = halves.iter().flatten().map(PublicKey::key_id);
    core::iter::once(key.key_id()).chain(halves).collect()
}

#[cfg(test)]
mod tests;
