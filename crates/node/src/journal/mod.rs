//! The memory of a node: an append-only file of records.
//!
//! # What it is
//!
//! Whatever a replica must not forget, its votes above all, is a record here before it is spoken.
//! The journal knows nothing about what is in a record.
//!
//! ```text
//! append, append, append, sync      one write each, one flush for all of them
//! ```
//!
//! A record has a sequence and a checksum over sequence and payload, so a record that is damaged,
//! missing or in the wrong place is noticed. The format is in `format.rs`.
//!
//! # After a crash
//!
//! What was synced is there. Of what was appended since, any part may be there: the disk writes in
//! any order. The first record that does not hold is therefore one of two things:
//!
//! * **A torn tail.** The crash interrupted the last batch. Nothing in it was spoken, because the
//!   sync had not returned. It is cut off and reported.
//! * **Damage.** The record was durable once, and the disk or somebody changed it. A node that went
//!   on without it could contradict its own votes, so opening the journal fails. A [`Salvage`] reads
//!   what is left, for those who know what the records mean.
//!
//! They can be told apart because each record notes how many records before it were still pending
//! when it was written: a later record that holds and was written after the sync proves that the
//! broken one was durable. Damage to the very last batch has no later witness and counts as a torn
//! tail.
//!
//! # After a failed write
//!
//! When a write or a flush fails, the operating system may have thrown the bytes away and may call
//! the next flush a success. So the first failure poisons the journal: it refuses everything, and
//! the node has to stop and start again.
//!
//! # Invariants
//!
//! 1. After [`Journal::sync`] returned, every record appended before is found by every later open.
//! 2. An open finds the records in the order of their appending, without gaps, and never other bytes.
//! 3. Memory does not grow with the file.

mod format;
mod layer;
mod salvage;
mod scan;
#[cfg(test)]
mod tests;

pub use layer::{DiskFile, FileLayer};
pub use salvage::{Damage, Piece, Salvage};

use crate::lock::DirectoryLock;
pub use format::SALT_BYTES;
use format::{HEADER_BYTES, RECORD_HEADER_BYTES, RecordHeader, Salt};
use polity_crypto::Sha256Digest;
use polity_types::ChainId;
use scan::{Window, record_at, scan};
use std::io;
use std::path::Path;

/// Largest payload of a record in bytes, several times the largest block.
pub const RECORD_BYTES_MAX: usize = 16 << 20;

/// Name of the journal in the data directory.
pub const FILE_NAME: &str = "journal";

/// Why a journal cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The disk is full, or the user's share of it.
    #[error("the disk is full; free some space and start the node again: {0}")]
    Full(#[source] io::Error),
    /// The system refuses to write or flush.
    #[error("cannot write the journal; check the disk and start the node again: {0}")]
    Write(#[source] io::Error),
    /// The system refuses to read.
    #[error("cannot read the journal: {0}")]
    Read(#[source] io::Error),
    /// An earlier write failed, so nobody knows what is on disk.
    #[error("an earlier write to the journal failed; start the node again")]
    Poisoned,
    /// The file holds nothing yet.
    #[error("the journal is empty")]
    Empty,
    /// The file begins with something else.
    #[error("the file is no journal; check the data directory, or restore it from a copy")]
    NotAJournal,
    /// The file begins like a journal, and then its header does not hold.
    #[error(
        "the header of the journal is damaged; restore the data directory from a copy of this node made after it last voted, or give it up with `polity rejoin` on the data directory: it gets a new key and votes from the next epoch on"
    )]
    DamagedHeader,
    /// The file was written by another version.
    #[error(
        "the journal has format {0}, this program reads format 1; use the program that wrote it"
    )]
    Version(u32),
    /// The file belongs to another federation or fork.
    #[error(
        "the journal belongs to chain {found}, not {expected}; check the data directory and the genesis"
    )]
    OtherChain {
        /// The chain of the configuration.
        expected: ChainId,
        /// The chain of the file.
        found: ChainId,
    },
    /// The file holds what another key signed.
    #[error(
        "the journal was written with the key of fingerprint {0}, which is not this node's; key, journal and index belong together, so check that this is the right data directory, and put back all three of them or none, or give the journal up with `polity rejoin` on it: the node gets a new key and votes from the next epoch on"
    )]
    OtherKey(Sha256Digest),
    /// A record that was durable does not hold.
    #[error(
        "record {record} at byte {offset} of the journal is damaged, and a later record at byte {proof} shows that it was complete; a node that forgets may contradict its votes, so restore the data directory from a copy of this node made after it last voted, or give it up with `polity rejoin` on the data directory: it gets a new key and votes from the next epoch on"
    )]
    Damaged {
        /// Where the damaged record starts.
        offset: u64,
        /// Its sequence.
        record: u64,
        /// Where the record starts that proves it.
        proof: u64,
    },
    /// The record is too large.
    #[error("a record of {length} bytes is more than the limit of {RECORD_BYTES_MAX}")]
    TooLong {
        /// Bytes of the payload.
        length: usize,
    },
    /// No record that holds starts there.
    #[error("no record starts at byte {0} of the journal")]
    NoRecord(u64),
}

impl JournalError {
    fn read(error: io::Error) -> Self {
        Self::Read(error)
    }

    fn write(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full(error),
            _ => Self::Write(error),
        }
    }
}

/// What an open found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// Records that hold.
    pub records: u64,
    /// Where they end.
    pub end: u64,
    /// Bytes behind the end, left by an interrupted write.
    pub torn_tail_bytes: u64,
    /// Whether there was no journal before. A node that has voted before must not go on with a new
    /// one; the caller knows whether it has.
    pub is_new: bool,
}

/// A journal that is open for appending.
#[derive(Debug)]
pub struct Journal<F = DiskFile> {
    file: F,
    salt: Salt,
    /// Where the next record starts.
    end: u64,
    /// Sequence of the next record.
    sequence: u64,
    /// Records before this sequence are durable.
    durable: u64,
    is_poisoned: bool,
    /// Holds a record while it is written, so that it goes out in one piece.
    buffer: Vec<u8>,
}

impl Journal<DiskFile> {
    /// Opens or creates the journal of a data directory, see [`Journal::open`].
    pub fn open_in(
        directory: &DirectoryLock,
        chain: ChainId,
        owner: &Sha256Digest,
        visit: impl FnMut(u64, &[u8]),
    ) -> Result<(Self, Recovery), JournalError> {
        let path = directory.path().join(FILE_NAME);
        let file = DiskFile::open_or_create(&path).map_err(JournalError::write)?;
        Self::open(file, chain, owner, visit)
    }
}

impl<F: FileLayer> Journal<F> {
    /// Opens the journal of a replica, or begins one, and calls `visit` with offset and payload of each
    /// record, in order. When this fails, what was visited before is not to be relied on.
    ///
    /// A torn tail is cut off. Everything found is durable when this returns.
    pub fn open(
        mut file: F,
        chain: ChainId,
        owner: &Sha256Digest,
        visit: impl FnMut(u64, &[u8]),
    ) -> Result<(Self, Recovery), JournalError> {
        let length = file.length().map_err(JournalError::read)?;
        let is_new = is_unborn(&mut file, length)?;
        if is_new {
            create(&mut file, chain, owner)?;
        }
        let mut reader = Reader::open(file, chain)?;
        reader.check_owner([*owner])?;
        let found = reader.scan(visit)?;
        let journal = reader.resume(&found)?;
        let recovery = Recovery {
            torn_tail_bytes: found.torn_tail_bytes + if is_new { length } else { 0 },
            is_new,
            ..found
        };
        Ok((journal, recovery))
    }

    /// Writes a record and returns its offset. It is durable after the next [`sync`](Self::sync).
    pub fn append(&mut self, payload: &[u8]) -> Result<u64, JournalError> {
        self.check()?;
        if payload.len() > RECORD_BYTES_MAX {
            return Err(JournalError::TooLong {
                length: payload.len(),
            });
        }
        let Ok(pending) = u32::try_from(self.sequence - self.durable) else {
            // Four billion records without a sync: make them durable to start counting anew.
            self.sync()?;
            return self.append(payload);
        };
        let header = RecordHeader::new(&self.salt, self.sequence, pending, payload);
        self.buffer.clear();
        self.buffer.extend_from_slice(&header.encode());
        self.buffer.extend_from_slice(payload);
        if let Err(error) = self.file.append(&self.buffer) {
            self.is_poisoned = true;
            return Err(JournalError::write(error));
        }
        let offset = self.end;
        self.end += self.buffer.len() as u64;
        self.sequence += 1;
        Ok(offset)
    }

    /// Makes every appended record durable, with one flush. Does nothing if all are.
    pub fn sync(&mut self) -> Result<(), JournalError> {
        self.check()?;
        if self.durable == self.sequence {
            return Ok(());
        }
        if let Err(error) = self.file.sync_data() {
            self.is_poisoned = true;
            return Err(JournalError::write(error));
        }
        self.durable = self.sequence;
        Ok(())
    }

    /// The payload of the record that starts at `offset`.
    pub fn read_at(&mut self, offset: u64) -> Result<Vec<u8>, JournalError> {
        self.check()?;
        read(&mut self.file, &self.salt, self.end, offset)
    }

    /// Bytes of the journal.
    pub fn length(&self) -> u64 {
        self.end
    }

    /// Records so far, durable or not.
    pub fn records(&self) -> u64 {
        self.sequence
    }

    fn check(&self) -> Result<(), JournalError> {
        if self.is_poisoned {
            return Err(JournalError::Poisoned);
        }
        Ok(())
    }
}

/// A journal that is only read: beside the process that writes it, or when nobody does.
#[derive(Debug)]
pub struct Reader<F = DiskFile> {
    file: F,
    chain: ChainId,
    owner: Sha256Digest,
    salt: Salt,
}

impl Reader<DiskFile> {
    /// Opens the journal of a data directory.
    pub fn open_in(directory: &Path, chain: ChainId) -> Result<Self, JournalError> {
        let path = directory.join(FILE_NAME);
        let file = DiskFile::open_for_reading(&path).map_err(JournalError::read)?;
        Self::open(file, chain)
    }
}

impl<F: FileLayer> Reader<F> {
    /// Checks the header.
    pub fn open(mut file: F, chain: ChainId) -> Result<Self, JournalError> {
        let length = file.length().map_err(JournalError::read)?;
        if is_unborn(&mut file, length)? {
            return Err(JournalError::Empty);
        }
        let mut header = [0; HEADER_BYTES];
        let read = file.read_at(0, &mut header).map_err(JournalError::read)?;
        if read < HEADER_BYTES {
            return Err(JournalError::NotAJournal);
        }
        let (owner, salt) = format::decode_header(&header, chain)?;
        Ok(Self {
            file,
            chain,
            owner,
            salt,
        })
    }

    /// The payload of the record that starts at `offset`.
    pub fn read_at(&mut self, offset: u64) -> Result<Vec<u8>, JournalError> {
        let length = self.file.length().map_err(JournalError::read)?;
        read(&mut self.file, &self.salt, length, offset)
    }

    /// Calls `visit` with offset and payload of each record, in order, and changes nothing. A torn
    /// tail may also be a record that is being written just now.
    pub fn scan(&mut self, visit: impl FnMut(u64, &[u8])) -> Result<Recovery, JournalError> {
        let scan = scan(&mut self.file, self.chain, visit)?;
        Ok(Recovery {
            records: scan.records,
            end: scan.end,
            torn_tail_bytes: scan.torn_tail_bytes,
            is_new: false,
        })
    }

    /// Walks through the records and goes on behind damage, to see what is left.
    pub fn salvage(&mut self) -> Result<Salvage<'_, F>, JournalError> {
        let length = self.file.length().map_err(JournalError::read)?;
        let window = Window::new(&mut self.file, length);
        Ok(Salvage::new(window, self.salt, HEADER_BYTES as u64))
    }

    /// Makes sure that one of these keys, given by their fingerprints, signed what is here: nobody may
    /// go on where another key stopped.
    pub fn check_owner(
        &self,
        keys: impl IntoIterator<Item = Sha256Digest>,
    ) -> Result<(), JournalError> {
        if keys.into_iter().any(|key| key == self.owner) {
            return Ok(());
        }
        Err(JournalError::OtherKey(self.owner))
    }

    /// Makes durable what a process that was killed left with the system.
    pub fn sync(&mut self) -> Result<(), JournalError> {
        self.file.sync_data().map_err(JournalError::write)
    }

    /// What tells this journal from every other, as long as it exists.
    pub fn identity(&self) -> [u8; SALT_BYTES] {
        self.salt
    }

    /// Goes on behind what a scan found, for the one process that writes. A torn tail is cut off,
    /// and what was found is durable when this returns.
    pub fn resume(self, found: &Recovery) -> Result<Journal<F>, JournalError> {
        let Self { mut file, salt, .. } = self;
        if found.torn_tail_bytes > 0 {
            file.truncate(found.end).map_err(JournalError::write)?;
        }
        // A process that was killed leaves records that the system has and the disk not yet.
        file.sync_data().map_err(JournalError::write)?;
        Ok(Journal {
            file,
            salt,
            end: found.end,
            sequence: found.records,
            durable: found.records,
            is_poisoned: false,
            buffer: Vec::new(),
        })
    }
}

fn read<F: FileLayer>(
    file: &mut F,
    salt: &Salt,
    end: u64,
    offset: u64,
) -> Result<Vec<u8>, JournalError> {
    let mut header = [0; RECORD_HEADER_BYTES];
    let got = file
        .read_at(offset, &mut header)
        .map_err(JournalError::read)?;
    let length = RecordHeader::decode(&header).length;
    let size = (RECORD_HEADER_BYTES as u64).saturating_add(u64::from(length));
    if got < header.len() || offset.saturating_add(size) > end {
        return Err(JournalError::NoRecord(offset));
    }
    let mut window = Window::exactly(file, end, size);
    let record = record_at(&mut window, salt, offset)?;
    let (_, payload) = record.ok_or(JournalError::NoRecord(offset))?;
    Ok(payload.to_vec())
}

/// Whether the file ends within its header, or the header never reached the disk. Records are written
/// only after the header is durable, so such a file never had one.
fn is_unborn<F: FileLayer>(file: &mut F, length: u64) -> Result<bool, JournalError> {
    let mut header = [0; HEADER_BYTES];
    file.read_at(0, &mut header).map_err(JournalError::read)?;
    Ok(
        length < HEADER_BYTES as u64
            || length == HEADER_BYTES as u64 && header == [0; HEADER_BYTES],
    )
}

/// Begins a journal with a fresh salt, durably.
fn create<F: FileLayer>(
    file: &mut F,
    chain: ChainId,
    owner: &Sha256Digest,
) -> Result<(), JournalError> {
    let mut salt = Salt::default();
    getrandom::fill(&mut salt).map_err(|error| JournalError::Write(io::Error::other(error)))?;
    file.truncate(0).map_err(JournalError::write)?;
    file.append(&format::encode_header(chain, owner, &salt))
        .map_err(JournalError::write)?;
    file.sync_data().map_err(JournalError::write)
}
