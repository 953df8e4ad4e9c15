//! Reads what is left of a damaged journal: the records that hold, and the stretches that do not.
//!
//! Every record has its sequence under its checksum, so behind a damaged stretch the next record that
//! holds says how many were lost. The torn tail of an interrupted write is the end here, too, and no
//! damage: a stretch is damage only if a later record shows that it was durable (see `scan.rs`).

use super::format::{RECORD_HEADER_BYTES, Salt};
use super::scan::{Window, find_behind, proof_behind, record_at};
use super::{FileLayer, JournalError};
use std::fmt;

/// A stretch of a journal that was durable and does not hold any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Its first byte.
    pub offset: u64,
    /// The byte behind its last one, where a record starts that holds.
    pub end: u64,
    /// Sequence of the first record that is lost, if one is.
    pub first: u64,
    /// Records that are lost: none if something was put between two records.
    pub lost: u64,
}

/// The next part of a journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// A record that holds.
    Record {
        /// Where it starts.
        offset: u64,
        /// What is in it.
        payload: &'a [u8],
    },
    /// A stretch that does not.
    Damage(Damage),
}

/// A walk through a journal that goes on behind damage.
///
/// Each damaged stretch is searched byte by byte, so a walk reads the file a small number of times at
/// most; memory does not grow with it.
pub struct Salvage<'f, F> {
    window: Window<'f, F>,
    salt: Salt,
    /// Where the next part starts.
    offset: u64,
    /// Sequence of the next record.
    sequence: u64,
    /// Bytes of the torn tail, once the walk is there.
    torn_tail_bytes: u64,
}

impl<F> fmt::Debug for Salvage<'_, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Salvage(record {} at byte {})",
            self.sequence, self.offset
        )
    }
}

impl<'f, F: FileLayer> Salvage<'f, F> {
    pub(super) fn new(window: Window<'f, F>, salt: Salt, offset: u64) -> Self {
        Self {
            window,
            salt,
            offset,
            sequence: 0,
            torn_tail_bytes: 0,
        }
    }

    /// The next part, or `None` at the end, in front of a torn tail.
    pub fn read(&mut self) -> Result<Option<Piece<'_>>, JournalError> {
        let offset = self.offset;
        if offset >= self.window.length {
            return Ok(None);
        }
        let found = record_at(&mut self.window, &self.salt, offset)?;
        let found = found.map(|(header, payload)| (header.sequence, payload.len()));
        let Some((_, length)) = found.filter(|(sequence, _)| *sequence == self.sequence) else {
            return Ok(self.skip()?.map(Piece::Damage));
        };
        let start = offset + RECORD_HEADER_BYTES as u64;
        self.offset = start + length as u64;
        self.sequence += 1;
        let payload = self.window.get(start, length)?;
        Ok(payload.map(|payload| Piece::Record { offset, payload }))
    }

    /// Bytes at the end that do not hold, known when the walk is over. Where other stretches are damaged,
    /// they may be damage as well as an interrupted write.
    pub fn torn_tail_bytes(&self) -> u64 {
        self.torn_tail_bytes
    }

    /// Goes to the next record that holds, if the broken one at hand was durable once.
    fn skip(&mut self) -> Result<Option<Damage>, JournalError> {
        let (offset, first) = (self.offset, self.sequence);
        let proof = proof_behind(&mut self.window, &self.salt, first, offset)?;
        let next = match proof {
            Some(_) => find_behind(&mut self.window, &self.salt, first, offset, |_| true)?,
            None => None,
        };
        let Some((end, sequence)) = next else {
            self.torn_tail_bytes = self.window.length - offset;
            self.offset = self.window.length;
            return Ok(None);
        };
        (self.offset, self.sequence) = (end, sequence);
        Ok(Some(Damage {
            offset,
            end,
            first,
            lost: sequence - first,
        }))
    }
}
