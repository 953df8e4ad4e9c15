//! Key records beside the keys: from when to when which key may sign (CR-7, CR-10).
//!
//! A directory with keys has one file `key-records`, with the records and revocations of every peer
//! whose keys are there, in the order in which they were made:
//!
//! ```text
//! "polity/key-records/1\n"   Entry, Entry, ...   as one canonical list
//! ```
//!
//! Every signature in it is checked when it is read, so a file that was changed is refused. It is
//! replaced as a whole, and by one process at a time. A key without a record has no end.
//!
//! Nobody agrees on a time here: the file is its owner's own, and each entry counts from the moment that
//! it bears, which was that of its writing. So it admits every peer whose key the owner had.

use super::place::{create_private, directory_of, replace_private};
use super::{KeyFileError, SecretKey};
use crate::lock::private;
use polity_crypto::{
    Admission, Checker, Invalid, KeyEntry, KeyId, PeerId, PublicKey, PublicVerifier, Registry,
    RegistryError, Revocation, RotationRules, SignedRecord, SignedRevocation, Suite,
};
use polity_types::{Time, wire};
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Name of the file, beside the keys.
pub const RECORDS_FILE: &str = "key-records";

/// Name of the file whose lock is held while the records change.
const LOCK_FILE: &str = "key-records.lock";

const MAGIC: &[u8] = b"polity/key-records/1\n";

/// Largest such file, in bytes: some 1,600 rotations of hybrid keys.
const FILE_BYTES_MAX: usize = 32 << 20;

const DAY: Duration = Duration::from_hours(24);

/// How long before its end a key is said to end soon.
pub const SOON: Duration = Duration::from_hours(7 * 24);

/// How long a new key is valid: the rotation of 30 days, 90 with ML-DSA, and a day of overlap.
pub fn lifetime(suite: Suite) -> Duration {
    RotationRules::default().window_max(suite)
}

/// One line of the history.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Entry {
    /// A key begins.
    Record(SignedRecord),
    /// A key ends early.
    Revocation(SignedRevocation),
}

/// Why records cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum RecordsError {
    /// The system refuses.
    #[error("cannot use the key records {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It is no such file.
    #[error("{} holds no key records, or is damaged; put back a copy, or move it away: without it no key ends by itself", .0.display())]
    Format(PathBuf),
    /// A record in it does not hold.
    #[error("{}: entry {number} does not hold: {source}; put back a copy of the file", path.display())]
    Entry {
        /// The file.
        path: PathBuf,
        /// Which entry, from 1 on.
        number: usize,
        /// What is wrong.
        source: RegistryError,
    },
    /// A new record is refused.
    #[error("{0}")]
    Refused(#[from] RegistryError),
    /// There is no more room.
    #[error(
        "the key records would be larger than {FILE_BYTES_MAX} bytes; keep further keys in another directory"
    )]
    Full,
    /// The keys.
    #[error(transparent)]
    Key(#[from] KeyFileError),
}

/// What a key is at some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// No record names it: it has no end.
    Unrecorded,
    /// Its window has not begun.
    NotYet {
        /// When it begins.
        begins: Time,
    },
    /// It may sign.
    Valid {
        /// When it ends.
        ends: Time,
    },
    /// It may sign, and ends within [`SOON`].
    EndsSoon {
        /// When it ends.
        ends: Time,
    },
    /// Its window is over.
    Expired {
        /// Since when.
        since: Time,
    },
    /// It was revoked.
    Revoked {
        /// Since when.
        since: Time,
    },
}

impl Standing {
    /// Whether the key may sign.
    pub const fn may_sign(self) -> bool {
        match self {
            Self::Unrecorded | Self::Valid { .. } | Self::EndsSoon { .. } => true,
            Self::NotYet { .. } | Self::Expired { .. } | Self::Revoked { .. } => false,
        }
    }

    /// Its name in texts and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unrecorded => "unrecorded",
            Self::NotYet { .. } => "not yet valid",
            Self::Valid { .. } => "valid",
            Self::EndsSoon { .. } => "ends soon",
            Self::Expired { .. } => "expired",
            Self::Revoked { .. } => "revoked",
        }
    }
}

/// What an entry says at the time.
pub fn standing_of(entry: &KeyEntry, now: Time) -> Standing {
    match entry.may_sign(now) {
        Ok(()) => {
            let revoked = entry.revoked.map_or(Time::MAX, |revoked| revoked.at);
            let ends = entry.not_after.min(revoked);
            if ends.saturating_since(now) <= SOON {
                Standing::EndsSoon { ends }
            } else {
                Standing::Valid { ends }
            }
        }
        Err(Invalid::NotYet) => Standing::NotYet {
            begins: entry.not_before,
        },
        Err(Invalid::Revoked) => Standing::Revoked {
            since: entry.revoked.map_or(entry.not_after, |revoked| revoked.at),
        },
        // The others are answers about peers and messages, which an entry does not give.
        Err(Invalid::Expired | Invalid::Unknown | Invalid::Ahead) => Standing::Expired {
            since: entry.not_after,
        },
    }
}

/// The records of one directory, every one of them checked.
#[derive(Debug)]
pub struct Records {
    path: PathBuf,
    entries: Vec<Entry>,
    registry: Registry,
    checker: Checker<PublicVerifier>,
}

/// The right to change the records of a directory.
#[derive(Debug)]
pub struct RecordsLock {
    _file: File,
}

impl Records {
    /// Reads the records beside a key; there are none if there is no file.
    pub fn beside(key: &Path) -> Result<Self, RecordsError> {
        Self::load(&directory_of(key).join(RECORDS_FILE))
    }

    /// Reads a file of records.
    pub fn load(path: &Path) -> Result<Self, RecordsError> {
        let mut records = Self {
            path: path.to_owned(),
            entries: Vec::new(),
            registry: Registry::default(),
            checker: Checker::new(PublicVerifier::default(), 0),
        };
        let io = |source| RecordsError::Io {
            path: path.to_owned(),
            source,
        };
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(records),
            Err(error) => return Err(io(error)),
        };
        let mut bytes = Vec::new();
        let limit = (MAGIC.len() + FILE_BYTES_MAX) as u64 + 1;
        file.take(limit).read_to_end(&mut bytes).map_err(io)?;
        let entries: Vec<Entry> = bytes
            .strip_prefix(MAGIC)
            .and_then(|bytes| wire::decode(bytes, FILE_BYTES_MAX).ok())
            .ok_or_else(|| RecordsError::Format(path.to_owned()))?;
        for (index, entry) in entries.into_iter().enumerate() {
            records.take(entry).map_err(|source| RecordsError::Entry {
                path: path.to_owned(),
                number: index + 1,
                source,
            })?;
        }
        Ok(records)
    }

    /// Waits until no other process changes the records of this directory.
    pub fn lock(key: &Path) -> Result<RecordsLock, RecordsError> {
        let path = directory_of(key).join(LOCK_FILE);
        let io = |source| RecordsError::Io {
            path: path.clone(),
            source,
        };
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        private(&mut options);
        let file = options.open(&path).map_err(io)?;
        file.lock().map_err(io)?;
        Ok(RecordsLock { _file: file })
    }

    /// Where they are.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Everything, in order.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The peer that a key belongs to.
    pub fn peer(&self, key: &PublicKey) -> Option<PeerId> {
        self.registry.owner(key.key_id()).copied()
    }

    /// Every key of the peer that a key belongs to, in the order of their windows.
    pub fn history(&self, key: &PublicKey) -> &[KeyEntry] {
        self.peer(key).map_or(&[], |peer| self.registry.keys(&peer))
    }

    /// What was recorded about a key.
    pub fn entry(&self, key: &PublicKey) -> Option<&KeyEntry> {
        self.history(key).iter().find(|entry| entry.key == *key)
    }

    /// What a key is at the time.
    pub fn standing(&self, key: &PublicKey, now: Time) -> Standing {
        self.entry(key)
            .map_or(Standing::Unrecorded, |entry| standing_of(entry, now))
    }

    /// Whether `key` votes for a node whose present key is `present`. Time alone does not end a former
    /// key: it votes until the epoch in which the present one counts (FB-17). Otherwise a federation at
    /// rest, which decides nothing and so ends no epoch, would have nobody left to vote a day after its
    /// members rotated. A revocation ends it at once.
    pub fn may_vote(&self, key: &PublicKey, present: &PublicKey, now: Time) -> bool {
        let standing = self.standing(key, now);
        let is_followed = key != present && self.standing(present, now).may_sign();
        standing.may_sign() || is_followed && matches!(standing, Standing::Expired { .. })
    }

    /// Notes the first key of a peer, valid from `now` on.
    pub fn begin(&mut self, key: &SecretKey, now: Time) -> Result<(), RecordsError> {
        let until = now.saturating_add(lifetime(key.public_key().suite()));
        let signed = SignedRecord::first(key.signer(), now, until);
        self.add(Entry::Record(signed))
    }

    /// Notes that `new` follows `old` from `now` on. The old key, if nothing was noted about it, gets a
    /// first record from a moment before.
    pub fn rotate(
        &mut self,
        old: &SecretKey,
        new: &SecretKey,
        now: Time,
    ) -> Result<(), RecordsError> {
        let mut entries = Vec::new();
        let peer = if let Some(peer) = self.peer(old.public_key()) {
            peer
        } else {
            let before = Time::from_millis(now.as_millis().saturating_sub(1));
            let until = before.saturating_add(lifetime(old.public_key().suite()));
            entries.push(Entry::Record(SignedRecord::first(
                old.signer(),
                before,
                until,
            )));
            PeerId::of(old.public_key())
        };
        let until = now.saturating_add(lifetime(new.public_key().suite()));
        let signed = SignedRecord::rotation(peer, old.signer(), new.signer(), now, until);
        entries.push(Entry::Record(signed));
        self.add_all(entries)
    }

    /// Notes that the key `revoked` ends at `at`, signed by `by`, which is the same or a later one.
    pub fn revoke(&mut self, revoked: KeyId, by: &SecretKey, at: Time) -> Result<(), RecordsError> {
        let mut entries = Vec::new();
        let known = self.peer(by.public_key());
        let peer = known.unwrap_or_else(|| {
            let until = at.saturating_add(lifetime(by.public_key().suite()));
            entries.push(Entry::Record(SignedRecord::first(by.signer(), at, until)));
            PeerId::of(by.public_key())
        });
        let revocation = Revocation {
            peer,
            key: revoked,
            revoked_at: at,
        };
        entries.push(Entry::Revocation(SignedRevocation::new(
            revocation,
            by.signer(),
        )));
        self.add_all(entries)
    }

    /// The history of one peer, in order.
    pub fn of_peer(&self, peer: &PeerId) -> Vec<&Entry> {
        let is_of = |entry: &&Entry| match entry {
            Entry::Record(signed) => signed.record.peer == *peer,
            Entry::Revocation(signed) => signed.revocation.peer == *peer,
        };
        self.entries.iter().filter(is_of).collect()
    }

    /// Writes the history of one peer as a file of records of its own, which nobody has yet.
    pub fn export(&self, peer: &PeerId, path: &Path) -> Result<(), RecordsError> {
        let bytes = [MAGIC, &wire::encode(&self.of_peer(peer))].concat();
        Ok(create_private(path, &bytes)?)
    }

    fn add(&mut self, entry: Entry) -> Result<(), RecordsError> {
        self.add_all(vec![entry])
    }

    /// Checks entries, takes them and writes the file. After an error the file is as it was, and this
    /// value is of no use any more.
    fn add_all(&mut self, entries: Vec<Entry>) -> Result<(), RecordsError> {
        for entry in entries {
            self.take(entry)?;
        }
        let list = wire::encode(&self.entries);
        if list.len() > FILE_BYTES_MAX {
            return Err(RecordsError::Full);
        }
        replace_private(&self.path, &[MAGIC, &list].concat()).map_err(|source| RecordsError::Io {
            path: self.path.clone(),
            source,
        })
    }

    fn take(&mut self, entry: Entry) -> Result<(), RegistryError> {
        match &entry {
            Entry::Record(signed) => {
                let now = signed.record.not_before;
                let admission = Admission::Anybody;
                self.registry
                    .register(signed, now, admission, &mut self.checker)?;
            }
            Entry::Revocation(signed) => {
                let now = signed.revocation.revoked_at;
                self.registry.revoke(signed, now, &mut self.checker)?;
            }
        }
        self.entries.push(entry);
        Ok(())
    }
}

/// A moment for people, in days from another one: "in 12 days", "3 days ago".
pub fn relative(moment: Time, now: Time) -> String {
    let days = |duration: Duration| {
        let hours = duration.as_secs() / 3_600;
        let days = duration.as_secs() / DAY.as_secs();
        match (days, hours) {
            (0, 0) => format!("{} min", duration.as_secs() / 60),
            (0, 1) => "1 hour".to_owned(),
            (0, hours) => format!("{hours} hours"),
            (1, _) => "1 day".to_owned(),
            (days, _) => format!("{days} days"),
        }
    };
    if moment >= now {
        format!("in {}", days(moment.saturating_since(now)))
    } else {
        format!("{} ago", days(now.saturating_since(moment)))
    }
}

#[cfg(test)]
mod tests;
