//! Reads a journal from its start to its end, and judges how it ends.

use super::format::{HEADER_BYTES, RECORD_HEADER_BYTES, RecordHeader, Salt, decode_header};
use super::{FileLayer, JournalError, RECORD_BYTES_MAX};
use polity_types::ChainId;

/// How much is read ahead.
const WINDOW_BYTES: usize = 1 << 20;

/// Records that may be missing in one place. A stretch may be gone altogether, so these can be more
/// than would fit into the rest; and yet hardly any other bytes look like such a sequence, so few
/// places need a checksum.
const MISSING_MAX: u64 = 1 << 32;

/// What a walk through a journal found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Scan {
    pub(super) salt: Salt,
    /// Records from the start that hold.
    pub(super) records: u64,
    /// Where they end.
    pub(super) end: u64,
    /// Bytes behind the end, left by a write that a crash interrupted.
    pub(super) torn_tail_bytes: u64,
}

/// Calls `visit` with offset and payload of each record, in order.
///
/// The walk stops at the first record that does not hold. If some later record proves that this one
/// was durable once, the journal was damaged and the walk fails. Otherwise a crash interrupted the
/// last batch, of which any part may have reached the disk in any order, and the rest is the torn
/// tail.
pub(super) fn scan<F: FileLayer>(
    file: &mut F,
    chain: ChainId,
    mut visit: impl FnMut(u64, &[u8]),
) -> Result<Scan, JournalError> {
    let length = file.length().map_err(JournalError::read)?;
    let mut window = Window::new(file, length);
    let header = window.array::<HEADER_BYTES>(0)?;
    let (_, salt) = decode_header(&header.ok_or(JournalError::NotAJournal)?, chain)?;
    let mut scan = Scan {
        salt,
        records: 0,
        end: HEADER_BYTES as u64,
        torn_tail_bytes: 0,
    };
    while scan.end < length {
        match record_at(&mut window, &salt, scan.end)? {
            Some((header, payload)) if header.sequence == scan.records => {
                visit(scan.end, payload);
                scan.records += 1;
                scan.end += (RECORD_HEADER_BYTES + payload.len()) as u64;
            }
            _ => {
                refuse_damage(&mut window, &scan)?;
                scan.torn_tail_bytes = length - scan.end;
                break;
            }
        }
    }
    Ok(scan)
}

/// Fails if a record behind the end proves that the record at the end was durable.
fn refuse_damage<F: FileLayer>(
    window: &mut Window<'_, F>,
    scan: &Scan,
) -> Result<(), JournalError> {
    let missing = scan.records;
    match proof_behind(window, &scan.salt, missing, scan.end)? {
        None => Ok(()),
        Some(proof) => Err(JournalError::Damaged {
            offset: scan.end,
            record: missing,
            proof,
        }),
    }
}

/// Where a record behind `offset` starts that was written when the record `missing` was durable.
pub(super) fn proof_behind<F: FileLayer>(
    window: &mut Window<'_, F>,
    salt: &Salt,
    missing: u64,
    offset: u64,
) -> Result<Option<u64>, JournalError> {
    let is_proof = |header: &RecordHeader| {
        let before = header.durable_before();
        before.is_some_and(|before| before > missing)
    };
    let found = find_behind(window, salt, missing, offset, is_proof)?;
    Ok(found.map(|(offset, _)| offset))
}

/// The first record at or behind `offset` that holds, has at least the sequence `missing` and is of
/// use: where it starts, and its sequence.
///
/// Looks at each byte once; a checksum is computed only where the sequence could be one.
pub(super) fn find_behind<F: FileLayer>(
    window: &mut Window<'_, F>,
    salt: &Salt,
    missing: u64,
    mut offset: u64,
    is_of_use: impl Fn(&RecordHeader) -> bool,
) -> Result<Option<(u64, u64)>, JournalError> {
    let sequence_max = missing.saturating_add(MISSING_MAX);
    while let Some(bytes) = window.array::<RECORD_HEADER_BYTES>(offset)? {
        let header = RecordHeader::decode(&bytes);
        let is_candidate = (missing..=sequence_max).contains(&header.sequence)
            && header.durable_before().is_some()
            && is_of_use(&header);
        if is_candidate && record_at(window, salt, offset)?.is_some() {
            return Ok(Some((offset, header.sequence)));
        }
        offset += 1;
    }
    Ok(None)
}

/// The record that starts at `offset`, whatever its sequence, if its checksum holds.
pub(super) fn record_at<'a, F: FileLayer>(
    window: &'a mut Window<'_, F>,
    salt: &Salt,
    offset: u64,
) -> Result<Option<(RecordHeader, &'a [u8])>, JournalError> {
    let Some(bytes) = window.array::<RECORD_HEADER_BYTES>(offset)? else {
        return Ok(None);
    };
    let header = RecordHeader::decode(&bytes);
    let length = header.length as usize;
    if length > RECORD_BYTES_MAX {
        return Ok(None);
    }
    let payload = window.get(offset + RECORD_HEADER_BYTES as u64, length)?;
    Ok(payload
        .filter(|payload| header.fits(salt, payload))
        .map(|payload| (header, payload)))
}

/// A part of the file in memory, which moves along.
pub(super) struct Window<'f, F> {
    file: &'f mut F,
    pub(super) length: u64,
    start: u64,
    bytes: Vec<u8>,
    /// How much is read at once.
    ahead: usize,
}

impl<'f, F: FileLayer> Window<'f, F> {
    /// For a walk.
    pub(super) fn new(file: &'f mut F, length: u64) -> Self {
        Self {
            file,
            length,
            start: 0,
            bytes: Vec::new(),
            ahead: WINDOW_BYTES,
        }
    }

    /// For a single record of `size` bytes.
    pub(super) fn exactly(file: &'f mut F, length: u64, size: u64) -> Self {
        Self {
            ahead: usize::try_from(size).unwrap_or(0).min(WINDOW_BYTES),
            ..Self::new(file, length)
        }
    }

    /// `count` bytes from `offset` on, or `None` if the file ends before.
    pub(super) fn get(&mut self, offset: u64, count: usize) -> Result<Option<&[u8]>, JournalError> {
        if offset
            .checked_add(count as u64)
            .is_none_or(|end| end > self.length)
        {
            return Ok(None);
        }
        let is_inside =
            offset >= self.start && offset + count as u64 <= self.start + self.bytes.len() as u64;
        if !is_inside {
            let rest = usize::try_from(self.length - offset).unwrap_or(usize::MAX);
            self.bytes.resize(count.max(self.ahead).min(rest), 0);
            self.start = offset;
            let read = self
                .file
                .read_at(offset, &mut self.bytes)
                .map_err(JournalError::read)?;
            self.bytes.truncate(read);
        }
        let from = (offset - self.start) as usize;
        Ok(self.bytes.get(from..from + count))
    }

    fn array<const N: usize>(&mut self, offset: u64) -> Result<Option<[u8; N]>, JournalError> {
        let bytes = self.get(offset, N)?;
        Ok(bytes.and_then(|bytes| bytes.try_into().ok()))
    }
}
