//! Which key spoke for which peer at which time (CR-7, CR-10).
//!
//! Not a clock and not a consensus: whoever applies records does so in an agreed order, at the
//! boundaries of epochs, and says with each at which agreed time. That time never goes back, and all
//! rules count from it: what a record claims about its own age proves nothing.
//!
//! ```text
//!  first record    PeerId = digest of the key, signed by the key itself; the caller says who may come
//!  rotation        signed by the newest key, valid now, and by the new one
//!  revocation      signed by a later key, valid now, or by the key itself
//!
//!  old  |───────────────────now────┊··overlap··|
//!  new                             |────────────────────────────────|
//! ```
//!
//! # The rules of time
//!
//! 1. A window begins at the earliest an overlap before now, and ends after now. A rotation is signed
//!    by the newest key, which is valid now: a key that ended introduces nobody, whatever time it
//!    writes into a record.
//! 2. The older key ends an overlap after its successor began, or after now if that is later.
//! 3. A revocation is signed by a later key of the peer that is valid now, or by the revoked key itself
//!    as long as its signatures count without a snapshot: until an overlap after its end, and not
//!    once it is revoked.
//! 4. A revocation reaches back an overlap from now and no further. What is older and seen only
//!    afterwards needs a snapshot; what was seen before stays as it was. Once it is in effect it is final.
//!
//! # Invariants
//!
//! 1. A key id belongs to one record of one peer for ever, and so do the halves of a hybrid (CR-5).
//! 2. The keys of a peer begin one after the other; each begins while the one before is valid.
//! 3. Nothing is forgotten, and a window only ever becomes shorter.
//! 4. What is applied now changes no answer that accepted something seen earlier.
//! 5. Whoever holds only keys that are revoked, or ended longer than an overlap ago, changes nothing.
//!
//! Whoever lost a key to a thief rotates first, then revokes the old key with the new one: a revoked
//! key cannot introduce a successor, whatever time stands in the record. A peer whose newest key ended
//! continues under a new name.
//!
//! # Who may come
//!
//! A first record costs nothing, so a stranger could fill the registry. The caller hands in an
//! [`Admission`] with each record; a registry that more than one peer can send to names the peers.

use crate::{
    Checker, KeyId, PeerId, PublicKey, Revocation, Signature, SignedRecord, SignedRevocation,
    Suite, Verifier, VerifyError,
};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::time::Duration;
use polity_types::Time;

mod error;

pub use error::{Invalid, RegistryError};

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
    /// How long a key stays valid after its successor began, how long after the end of its window a
    /// message may be seen first without a snapshot, and how far back records reach.
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

/// From when on the signatures of a key do not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revoked {
    /// Signatures from this moment on do not count, if they are seen after it was agreed.
    pub at: Time,
    /// When that was agreed.
    pub agreed: Time,
}

/// A key of a peer, with everything that shortened its window since.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyEntry {
    /// Its short name.
    pub id: KeyId,
    /// Suite and public key.
    pub key: PublicKey,
    /// First moment at which it may sign.
    pub not_before: Time,
    /// First moment at which it may no longer: the end of its record, or of the overlap with its
    /// successor.
    pub not_after: Time,
    /// When it was revoked, if it was.
    pub revoked: Option<Revoked>,
}

impl KeyEntry {
    /// Whether the key may sign for its peer at the time. What was signed, [`Registry::valid_at`]
    /// judges.
    pub fn may_sign(&self, now: Time) -> Result<(), Invalid> {
        self.valid_at(now, self.revoked)
    }

    fn valid_at(&self, signed: Time, revoked: Option<Revoked>) -> Result<(), Invalid> {
        if signed < self.not_before {
            Err(Invalid::NotYet)
        } else if revoked.is_some_and(|revoked| signed >= revoked.at) {
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
    /// The message was first seen so late that it counts only below a finalised snapshot: the
    /// owner, or a thief, of an old key could have written an old time into it.
    pub needs_snapshot: bool,
}

/// Who may send the first record of a peer. It can be another one for each record, such as the
/// members of the present epoch; peers that are there already need none.
#[derive(Clone, Copy, Debug)]
pub enum Admission<'a> {
    /// Nobody new.
    Nobody,
    /// These peers.
    Listed(&'a BTreeSet<PeerId>),
    /// Anybody, up to [`PEERS_MAX`]: for records that no stranger can hand in.
    Anybody,
}

impl Admission<'_> {
    fn contains(&self, peer: &PeerId) -> bool {
        match self {
            Self::Nobody => false,
            Self::Listed(peers) => peers.contains(peer),
            Self::Anybody => true,
        }
    }
}

/// Where a key stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    peer: PeerId,
    /// Among the keys of the peer; none for half of a hybrid, which speaks for nobody.
    index: Option<usize>,
}

/// Every key that every peer ever had.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registry {
    rules: RotationRules,
    /// Keys of each peer, in the order of their windows.
    peers: BTreeMap<PeerId, Vec<KeyEntry>>,
    /// Every key id, and those of the halves of hybrids.
    places: BTreeMap<KeyId, Place>,
}

impl Registry {
    /// An empty registry.
    pub fn new(rules: RotationRules) -> Self {
        Self {
            rules,
            peers: BTreeMap::new(),
            places: BTreeMap::new(),
        }
    }

    /// Checks a record with its signatures and takes it. `now` is the agreed time, in milliseconds,
    /// and `admission` says whose first record is taken.
    ///
    /// # Errors
    ///
    /// See [`RegistryError`]. What costs nothing is checked first: a stranger's record is refused before
    /// its key is expanded or a signature verified.
    pub fn register<V: Verifier>(
        &mut self,
        signed: &SignedRecord,
        now: Time,
        admission: Admission<'_>,
        checker: &mut Checker<V>,
    ) -> Result<KeyId, RegistryError> {
        let record = &signed.record;
        self.check_window(signed, now)?;
        has_length(&record.key, &signed.by_new)?;
        let introduced = match (record.previous, &signed.by_previous) {
            (None, None) => {
                self.check_first(signed, admission)?;
                None
            }
            (Some(previous), Some(signature)) => {
                let newest = self.check_successor(signed, previous, now)?;
                has_length(&newest.key, signature)?;
                Some((newest, signature))
            }
            (None, Some(_)) | (Some(_), None) => return Err(VerifyError.into()),
        };
        let (id, halves) = names(&record.key);
        let mut ids = halves.iter().flatten().chain([&id]);
        if let Some(id) = ids.find(|id| self.places.contains_key(*id)) {
            return Err(RegistryError::Duplicate(*id));
        }
        checker.verifier().check_key(&record.key)?;
        let preimage = record.preimage();
        if let Some((newest, signature)) = introduced {
            checker.check(&newest.key, &preimage, signature)?;
        }
        checker.check(&record.key, &preimage, &signed.by_new)?;
        // From here on the record is taken.
        let keys = self.peers.entry(record.peer).or_default();
        if let Some(previous) = keys.last_mut() {
            let overlap_ends = record
                .not_before
                .max(now)
                .saturating_add(self.rules.overlap);
            previous.not_after = previous.not_after.min(overlap_ends);
        }
        let place = |index| Place {
            peer: record.peer,
            index,
        };
        let halves = halves.into_iter().flatten().map(|id| (id, place(None)));
        self.places.extend(halves);
        self.places.insert(id, place(Some(keys.len())));
        keys.push(KeyEntry {
            id,
            key: record.key.clone(),
            not_before: record.not_before,
            not_after: record.not_after,
            revoked: None,
        });
        Ok(id)
    }

    fn check_window(&self, signed: &SignedRecord, now: Time) -> Result<(), RegistryError> {
        let record = &signed.record;
        let found = record.not_after.saturating_since(record.not_before);
        let max = self.rules.window_max(record.key.suite());
        if found.is_zero() || found > max {
            return Err(RegistryError::Window { found, max });
        }
        let overlap = self.rules.overlap;
        if record.not_before.saturating_add(overlap) < now || record.not_after <= now {
            return Err(RegistryError::BackDated {
                not_before: record.not_before,
                not_after: record.not_after,
                now,
                overlap,
            });
        }
        Ok(())
    }

    /// Whether the first record of a peer may come.
    fn check_first(
        &self,
        signed: &SignedRecord,
        admission: Admission<'_>,
    ) -> Result<(), RegistryError> {
        let record = &signed.record;
        if self.peers.contains_key(&record.peer) {
            return Err(RegistryError::NotFirst);
        }
        if !admission.contains(&record.peer) {
            return Err(RegistryError::NotAdmitted(record.peer));
        }
        if self.peers.len() == PEERS_MAX {
            return Err(RegistryError::TooManyPeers);
        }
        if record.peer != PeerId::of(&record.key) {
            return Err(RegistryError::NotFirst);
        }
        Ok(())
    }

    /// The newest key of the peer, if it is `previous` and may introduce this record now.
    fn check_successor(
        &self,
        signed: &SignedRecord,
        previous: KeyId,
        now: Time,
    ) -> Result<&KeyEntry, RegistryError> {
        let start = signed.record.not_before;
        let keys = self.keys(&signed.record.peer);
        let newest = keys.last().ok_or(RegistryError::UnknownPeer)?;
        let key = newest.id;
        if key != previous {
            return Err(RegistryError::NotNewest { newest: key });
        }
        if newest.revoked.is_some() {
            return Err(RegistryError::PreviousRevoked(key));
        }
        let may_sign = newest.may_sign(now);
        may_sign.map_err(|reason| RegistryError::NotNow { key, reason })?;
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

    /// Checks a revocation with its signature and takes it. `now` is the agreed time, in milliseconds.
    /// One that is not in effect yet gives way to an earlier one.
    ///
    /// # Errors
    ///
    /// See [`RegistryError`]. The signature is verified last.
    pub fn revoke<V: Verifier>(
        &mut self,
        signed: &SignedRevocation,
        now: Time,
        checker: &mut Checker<V>,
    ) -> Result<(), RegistryError> {
        let Revocation {
            peer,
            key,
            revoked_at,
        } = signed.revocation;
        if !self.peers.contains_key(&peer) {
            return Err(RegistryError::UnknownPeer);
        }
        let place = |id| self.place(&peer, id).ok_or(RegistryError::UnknownKey(id));
        let (revoked, by) = (place(key)?, place(signed.by)?);
        if by < revoked {
            return Err(RegistryError::MayNotRevoke);
        }
        let keys = self.keys(&peer);
        let (entry, by_key) = (&keys[revoked], &keys[by]);
        if revoked_at < entry.not_before {
            return Err(RegistryError::RevokedBeforeStart(entry.not_before));
        }
        // It never reaches further back, so that nobody takes back what all agreed on.
        let at = revoked_at.max(self.back(now));
        match entry.revoked {
            Some(former) if former.at <= now || former.at <= at => {
                return Err(RegistryError::AlreadyRevoked(former.at));
            }
            Some(_) | None => {}
        }
        match by_key.may_sign(now) {
            Ok(()) => {}
            // A key that was lost before it begins, or whose last signatures are still taken.
            Err(Invalid::NotYet) if by == revoked => {}
            Err(Invalid::Expired) if by == revoked && self.has_grace(entry, now) => {}
            Err(reason) => {
                let key = signed.by;
                return Err(RegistryError::NotNow { key, reason });
            }
        }
        has_length(&by_key.key, &signed.signature)?;
        checker.check(
            &by_key.key,
            &signed.revocation.preimage(),
            &signed.signature,
        )?;
        // From here on the revocation is taken.
        let keys = self.peers.get_mut(&peer).expect("its keys were looked up");
        keys[revoked].revoked = Some(Revoked { at, agreed: now });
        Ok(())
    }

    /// How far back a record reaches.
    fn back(&self, now: Time) -> Time {
        let overlap = u64::try_from(self.rules.overlap.as_millis()).unwrap_or(u64::MAX);
        Time::from_millis(now.as_millis().saturating_sub(overlap))
    }

    /// Whether what the key signed still counts without a snapshot if it is seen now.
    fn has_grace(&self, entry: &KeyEntry, seen: Time) -> bool {
        seen <= entry.not_after.saturating_add(self.rules.overlap)
    }

    /// Whether `id` spoke for `peer` at the time `signed`, for a message first seen at `seen`.
    ///
    /// An answer that accepts stays for ever, whatever is applied after `seen`.
    pub fn valid_at(
        &self,
        peer: &PeerId,
        id: KeyId,
        signed: Time,
        seen: Time,
    ) -> Result<Valid<'_>, Invalid> {
        let index = self.place(peer, id).ok_or(Invalid::Unknown)?;
        let entry = &self.keys(peer)[index];
        if signed > seen {
            return Err(Invalid::Ahead);
        }
        let revoked = entry.revoked.filter(|revoked| seen >= revoked.agreed);
        entry.valid_at(signed, revoked)?;
        Ok(Valid {
            key: &entry.key,
            // Revoked keys are in the hands of others: no grace.
            needs_snapshot: revoked.is_some_and(|revoked| seen >= revoked.at)
                || !self.has_grace(entry, seen),
        })
    }

    /// The newest key that may sign for the peer at the time.
    pub fn signing_key(&self, peer: &PeerId, now: Time) -> Option<&PublicKey> {
        let may_sign = |entry: &&KeyEntry| entry.may_sign(now).is_ok();
        let mut newest_first = self.keys(peer).iter().rev();
        newest_first.find(may_sign).map(|entry| &entry.key)
    }

    /// Every key that the peer ever had, in the order of their windows.
    pub fn keys(&self, peer: &PeerId) -> &[KeyEntry] {
        self.peers.get(peer).map_or(&[], Vec::as_slice)
    }

    /// The peer that the key, or a hybrid with this half, belongs to.
    pub fn owner(&self, id: KeyId) -> Option<&PeerId> {
        self.places.get(&id).map(|place| &place.peer)
    }

    /// Where the key stands among those of the peer, without a look at any of them.
    fn place(&self, peer: &PeerId, id: KeyId) -> Option<usize> {
        let place = self.places.get(&id).filter(|place| place.peer == *peer)?;
        place.index
    }
}

/// The id of a key, and those of its halves.
fn names(key: &PublicKey) -> (KeyId, Option<[KeyId; 2]>) {
    let halves = key.halves().map(|halves| halves.map(|half| half.key_id()));
    (key.key_id(), halves)
}

/// Refuses what cannot be a signature of the key.
fn has_length(key: &PublicKey, signature: &Signature) -> Result<(), VerifyError> {
    if signature.as_slice().len() == key.suite().signature_length() {
        Ok(())
    } else {
        Err(VerifyError)
    }
}

#[cfg(test)]
mod tests;
