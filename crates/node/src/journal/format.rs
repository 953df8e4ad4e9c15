//! Bytes of a journal.
//!
//! ```text
//! header  magic 8 | version u32 | zero u32 | chain 32 | key 32 | salt 16 | checksum 8   104 bytes
//! record  length u32 | pending u32 | sequence u64 | checksum 8 | payload       24 + length
//! ```
//!
//! The key is the fingerprint of the one that signed what is in the journal. Numbers are little-endian. Checksums are the first 8 bytes of BLAKE3. That of a record covers the
//! salt, both numbers and the payload with its length; the salt is random for each file, so neither
//! a record of another file nor bytes that a peer placed inside a payload can pass as a record.

use super::JournalError;
use polity_crypto::{Preimage, Sha256Digest, domain};
use polity_types::ChainId;

const MAGIC: [u8; 8] = *b"POLITYJ\0";
const VERSION: u32 = 1;

/// Bytes before the first record.
pub(super) const HEADER_BYTES: usize = 104;
/// Bytes of the header that its checksum covers.
const CHECKED: usize = HEADER_BYTES - 8;
/// Bytes of a record before its payload.
pub(super) const RECORD_HEADER_BYTES: usize = 24;

/// Length of the random part of checksums.
pub const SALT_BYTES: usize = 16;

/// Makes records of one file unlike those of any other.
pub(super) type Salt = [u8; SALT_BYTES];

pub(super) fn encode_header(
    chain: ChainId,
    owner: &Sha256Digest,
    salt: &Salt,
) -> [u8; HEADER_BYTES] {
    let mut out = [0; HEADER_BYTES];
    out[..8].copy_from_slice(&MAGIC);
    out[8..12].copy_from_slice(&VERSION.to_le_bytes());
    out[16..48].copy_from_slice(chain.as_bytes());
    out[48..80].copy_from_slice(owner.as_bytes());
    out[80..CHECKED].copy_from_slice(salt);
    let checksum = header_checksum(&out);
    out[CHECKED..].copy_from_slice(&checksum);
    out
}

/// Checks a header, and returns whose journal it is and its salt.
pub(super) fn decode_header(
    bytes: &[u8; HEADER_BYTES],
    chain: ChainId,
) -> Result<(Sha256Digest, Salt), JournalError> {
    if bytes[..8] != MAGIC {
        return Err(JournalError::NotAJournal);
    }
    if bytes[CHECKED..] != header_checksum(bytes) {
        return Err(JournalError::DamagedHeader);
    }
    let version = u32_at(bytes, 8);
    if version != VERSION {
        return Err(JournalError::Version(version));
    }
    let mut found = [0; 32];
    found.copy_from_slice(&bytes[16..48]);
    if found != *chain.as_bytes() {
        return Err(JournalError::OtherChain {
            expected: chain,
            found: ChainId::new(found),
        });
    }
    let mut owner = [0; 32];
    owner.copy_from_slice(&bytes[48..80]);
    let mut salt = [0; SALT_BYTES];
    salt.copy_from_slice(&bytes[80..CHECKED]);
    Ok((Sha256Digest::new(owner), salt))
}

/// What stands before a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RecordHeader {
    /// Bytes of the payload.
    pub(super) length: u32,
    /// How many records before this one were not yet durable when it was written.
    pub(super) pending: u32,
    /// Position of the record in its journal, from 0.
    pub(super) sequence: u64,
    checksum: [u8; 8],
}

impl RecordHeader {
    pub(super) fn new(salt: &Salt, sequence: u64, pending: u32, payload: &[u8]) -> Self {
        let length = u32::try_from(payload.len()).expect("records are limited to 16 MiB");
        Self {
            length,
            pending,
            sequence,
            checksum: checksum(salt, sequence, pending, payload),
        }
    }

    pub(super) fn encode(&self) -> [u8; RECORD_HEADER_BYTES] {
        let mut out = [0; RECORD_HEADER_BYTES];
        out[..4].copy_from_slice(&self.length.to_le_bytes());
        out[4..8].copy_from_slice(&self.pending.to_le_bytes());
        out[8..16].copy_from_slice(&self.sequence.to_le_bytes());
        out[16..].copy_from_slice(&self.checksum);
        out
    }

    pub(super) fn decode(bytes: &[u8; RECORD_HEADER_BYTES]) -> Self {
        let mut sequence = [0; 8];
        sequence.copy_from_slice(&bytes[8..16]);
        let mut checksum = [0; 8];
        checksum.copy_from_slice(&bytes[16..]);
        Self {
            length: u32_at(bytes, 0),
            pending: u32_at(bytes, 4),
            sequence: u64::from_le_bytes(sequence),
            checksum,
        }
    }

    /// Every record before this sequence was durable when this one was written.
    pub(super) fn durable_before(&self) -> Option<u64> {
        self.sequence.checked_sub(u64::from(self.pending))
    }

    pub(super) fn fits(&self, salt: &Salt, payload: &[u8]) -> bool {
        payload.len() == self.length as usize
            && self.checksum == checksum(salt, self.sequence, self.pending, payload)
    }
}

fn header_checksum(bytes: &[u8; HEADER_BYTES]) -> [u8; 8] {
    let mut covered = [0; CHECKED];
    covered.copy_from_slice(&bytes[..CHECKED]);
    first_8(&Preimage::new(domain::JOURNAL).u8(0).array(&covered))
}

fn checksum(salt: &Salt, sequence: u64, pending: u32, payload: &[u8]) -> [u8; 8] {
    let preimage = Preimage::new(domain::JOURNAL)
        .u8(1)
        .array(salt)
        .u64(sequence)
        .u32(pending)
        .bytes(payload);
    first_8(&preimage)
}

fn first_8(preimage: &Preimage) -> [u8; 8] {
    let mut out = [0; 8];
    out.copy_from_slice(&preimage.blake3().as_bytes()[..8]);
    out
}

fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    let mut out = [0; 4];
    out.copy_from_slice(&bytes[offset..offset + 4]);
    u32::from_le_bytes(out)
}
