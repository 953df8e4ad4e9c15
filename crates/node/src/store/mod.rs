//! Where things are: an index over the journal, snapshots, and evidence.
//!
//! # What it is
//!
//! The journal is the memory of a node; this database only makes it searchable. Blocks are found by
//! height, transactions by id. Everything in it except evidence can be made again from the journal
//! (or fetched from another member), so ordinary commits stay in memory and reach the disk with the
//! next durable one: with each snapshot, with each piece of evidence, after
//! [`DURABLE_EVERY_BLOCKS`] blocks, and when its writer asks, about once a second. How far it got is
//! also what tells an older journal from the newest (FB-15), so deleting it costs that.
//!
//! # After a crash
//!
//! The store holds what the last durable commit held. [`Store::last_height`] says how far that is,
//! and the caller puts the blocks again that follow in the journal; putting a block twice does no
//! harm. The file is verified as a whole when it is opened. If it does not hold,
//! [`StoreError::is_rebuildable`] says so, and the caller goes on with [`Store::recreate`].
//!
//! # What the caller still checks
//!
//! The checksums of the database are not cryptographic. A record that is read at an offset from here
//! is checked by the journal, and a snapshot has to fit its block and the header behind it.
//!
//! # Bounds
//!
//! Three snapshots (see [`Store::put_snapshot`]), [`EVIDENCE_MAX`] pieces of evidence (further ones are
//! refused), [`CACHE_BYTES`] of memory.

mod error;
mod snapshots;
#[cfg(test)]
mod tests;

pub use error::StoreError;
pub use snapshots::{EPOCH_SNAPSHOTS_MAX, Snapshot};

use crate::journal::SALT_BYTES;
use crate::lock::private;
use polity_types::{ChainId, Epoch, Height};
use redb::{
    Database, Durability, ReadableDatabase as _, ReadableTable as _, ReadableTableMetadata as _,
    TableDefinition, WriteTransaction,
};
use std::collections::BTreeMap;
use std::fmt;
use std::fs::OpenOptions;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// Name of the store in the data directory.
pub const FILE_NAME: &str = "index.redb";

/// Memory for pages in bytes.
pub const CACHE_BYTES: usize = 16 << 20;

/// Blocks after which a commit is durable even without a snapshot. It bounds the work after a crash.
pub const DURABLE_EVERY_BLOCKS: u64 = 1_000;

/// Pieces of evidence that are kept. An offender is expelled for one, so more are of no use.
pub const EVIDENCE_MAX: u64 = 4_096;

const FORMAT: u32 = 2;

/// Height to offsets of block and certificate, and digest.
const BLOCKS: TableDefinition<'static, u64, &[u8; BLOCK_ENTRY_BYTES]> =
    TableDefinition::new("blocks");
/// Transaction id to height and position.
const TRANSACTIONS: TableDefinition<'static, &[u8; 32], (u64, u32)> =
    TableDefinition::new("transactions");
/// Height to what became of the block's transactions, as the host encodes it.
const RECEIPTS: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("receipts");
/// Epoch to what ended it, as the host encodes it.
const EPOCH_ENDS: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("epoch_ends");
/// Last of the heights that a snapshot passed over, to the first of them.
const GAPS: TableDefinition<'static, u64, u64> = TableDefinition::new("gaps");
const EVIDENCE: TableDefinition<'static, &[u8; 32], &[u8]> = TableDefinition::new("evidence");
/// Format, chain, journal and its successor.
const META: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("meta");

const BLOCK_ENTRY_BYTES: usize = 48;

/// Where a block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockEntry {
    /// Offset of the block's record in the journal.
    pub block_offset: u64,
    /// Offset of its certificate's record in the journal.
    pub certificate_offset: u64,
    /// Digest of the block.
    pub digest: [u8; 32],
}

impl BlockEntry {
    fn encode(&self) -> [u8; BLOCK_ENTRY_BYTES] {
        let mut out = [0; BLOCK_ENTRY_BYTES];
        out[..8].copy_from_slice(&self.block_offset.to_le_bytes());
        out[8..16].copy_from_slice(&self.certificate_offset.to_le_bytes());
        out[16..].copy_from_slice(&self.digest);
        out
    }

    fn decode(bytes: &[u8; BLOCK_ENTRY_BYTES]) -> Self {
        let u64_at = |from| {
            let mut out = [0; 8];
            out.copy_from_slice(&bytes[from..from + 8]);
            u64::from_le_bytes(out)
        };
        let mut digest = [0; 32];
        digest.copy_from_slice(&bytes[16..]);
        Self {
            block_offset: u64_at(0),
            certificate_offset: u64_at(8),
            digest,
        }
    }
}

/// The database of one data directory.
pub struct Store {
    database: Database,
    /// Blocks put since the last durable commit.
    pending: AtomicU64,
}

impl Store {
    /// Opens a store, or creates it if there is none. The file is read as a whole, to verify it.
    pub fn open(path: &Path, chain: ChainId) -> Result<Self, StoreError> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        private(&mut options);
        // An empty file becomes a database; creating it here makes it private from the start.
        options.open(path).map_err(redb::Error::Io)?;
        let database = Database::builder()
            .set_cache_size(CACHE_BYTES)
            .set_check_integrity_on_open(true)
            .create(path)
            .map_err(redb::Error::from)?;
        let store = Self {
            database,
            pending: AtomicU64::new(0),
        };
        store.check_meta(chain)?;
        Ok(store)
    }

    /// Throws the store away and begins an empty one, evidence included.
    pub fn recreate(path: &Path, chain: ChainId) -> Result<Self, StoreError> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(redb::Error::Io(error).into())
            }
            _ => Self::open(path, chain),
        }
    }

    /// Notes where a block and its transactions are. `transactions` are in the order of the block.
    pub fn put_block(
        &self,
        height: Height,
        entry: &BlockEntry,
        transactions: &[[u8; 32]],
    ) -> Result<(), StoreError> {
        self.put_blocks([(height, *entry, transactions)])
    }

    /// Notes several blocks in one commit, which is much faster when an index is rebuilt. All or
    /// none of them are put.
    pub fn put_blocks<'a>(
        &self,
        batch: impl IntoIterator<Item = (Height, BlockEntry, &'a [[u8; 32]])>,
    ) -> Result<(), StoreError> {
        let mut count = 0;
        let write = self.begin()?;
        {
            let mut blocks = write.open_table(BLOCKS).map_err(redb::Error::from)?;
            let mut index = write.open_table(TRANSACTIONS).map_err(redb::Error::from)?;
            for (height, entry, transactions) in batch {
                blocks
                    .insert(height.get(), &entry.encode())
                    .map_err(redb::Error::from)?;
                for (position, id) in (0_u32..).zip(transactions) {
                    index
                        .insert(id, (height.get(), position))
                        .map_err(redb::Error::from)?;
                }
                count += 1;
            }
        }
        let pending = self.pending.fetch_add(count, Ordering::Relaxed) + count;
        if pending >= DURABLE_EVERY_BLOCKS {
            self.commit_durably(write)
        } else {
            commit_in_memory(write)
        }
    }

    /// Keeps what became of the transactions of blocks. Put before the blocks themselves, so that a
    /// block that is found has its receipts.
    pub fn put_receipts<'a>(
        &self,
        batch: impl IntoIterator<Item = (Height, &'a [u8])>,
    ) -> Result<(), StoreError> {
        self.put_rows(
            RECEIPTS,
            batch.into_iter().map(|(at, bytes)| (at.get(), bytes)),
        )
    }

    /// What became of the transactions of a block.
    pub fn receipts(&self, height: Height) -> Result<Option<Vec<u8>>, StoreError> {
        let read = self.database.begin_read().map_err(redb::Error::from)?;
        let table = read.open_table(RECEIPTS).map_err(redb::Error::from)?;
        let found = table.get(height.get()).map_err(redb::Error::from)?;
        Ok(found.map(|bytes| bytes.value().to_vec()))
    }

    /// Keeps what ended epochs. Put before the blocks that do so, like their receipts.
    pub fn put_epoch_ends<'a>(
        &self,
        batch: impl IntoIterator<Item = (Epoch, &'a [u8])>,
    ) -> Result<(), StoreError> {
        self.put_rows(
            EPOCH_ENDS,
            batch.into_iter().map(|(at, bytes)| (at.get(), bytes)),
        )
    }

    fn put_rows<'a>(
        &self,
        table: TableDefinition<'static, u64, &'static [u8]>,
        rows: impl IntoIterator<Item = (u64, &'a [u8])>,
    ) -> Result<(), StoreError> {
        let write = self.begin()?;
        {
            let mut table = write.open_table(table).map_err(redb::Error::from)?;
            for (key, bytes) in rows {
                table.insert(key, bytes).map_err(redb::Error::from)?;
            }
        }
        commit_in_memory(write)
    }

    /// What ended the epochs from one on, ascending, at most so many of them.
    pub fn epoch_ends(
        &self,
        from: Epoch,
        count_max: usize,
    ) -> Result<Vec<(Epoch, Vec<u8>)>, StoreError> {
        let read = self.database.begin_read().map_err(redb::Error::from)?;
        let table = read.open_table(EPOCH_ENDS).map_err(redb::Error::from)?;
        let mut ends = Vec::new();
        let range = table.range(from.get()..).map_err(redb::Error::from)?;
        for end in range.take(count_max) {
            let (epoch, bytes) = end.map_err(redb::Error::from)?;
            ends.push((Epoch::new(epoch.value()), bytes.value().to_vec()));
        }
        Ok(ends)
    }

    /// Where the block at a height is.
    pub fn block(&self, height: Height) -> Result<Option<BlockEntry>, StoreError> {
        let read = self.database.begin_read().map_err(redb::Error::from)?;
        let table = read.open_table(BLOCKS).map_err(redb::Error::from)?;
        let found = table.get(height.get()).map_err(redb::Error::from)?;
        Ok(found.map(|entry| BlockEntry::decode(entry.value())))
    }

    /// Height of the block that holds a transaction, and its position there.
    pub fn transaction(&self, id: &[u8; 32]) -> Result<Option<(Height, u32)>, StoreError> {
        let read = self.database.begin_read().map_err(redb::Error::from)?;
        let table = read.open_table(TRANSACTIONS).map_err(redb::Error::from)?;
        let found = table.get(id).map_err(redb::Error::from)?;
        Ok(found.map(|place| {
            let (height, position) = place.value();
            (Height::new(height), position)
        }))
    }

    /// Notes, durably, that a snapshot took the place of the blocks up to a height. A second time changes
    /// nothing.
    pub fn put_gap(&self, last: Height) -> Result<(), StoreError> {
        let first = self.last_height()?.unwrap_or(Height::ZERO).next();
        if last < first {
            return Ok(());
        }
        let write = self.begin()?;
        {
            let mut gaps = write.open_table(GAPS).map_err(redb::Error::from)?;
            gaps.insert(last.get(), first.get())
                .map_err(redb::Error::from)?;
        }
        self.commit_durably(write)
    }

    /// The first and last of the heights that a snapshot passed over together with this one, if one did.
    pub fn gap(&self, height: Height) -> Result<Option<(Height, Height)>, StoreError> {
        let read = self.database.begin_read().map_err(redb::Error::from)?;
        let table = read.open_table(GAPS).map_err(redb::Error::from)?;
        let mut above = table.range(height.get()..).map_err(redb::Error::from)?;
        let Some(gap) = above.next() else {
            return Ok(None);
        };
        let (last, first) = gap.map_err(redb::Error::from)?;
        let gap = (Height::new(first.value()), Height::new(last.value()));
        Ok((gap.0 <= height).then_some(gap))
    }

    /// Whether a snapshot ever passed heights over here.
    pub fn has_gaps(&self) -> Result<bool, StoreError> {
        let read = self.database.begin_read().map_err(redb::Error::from)?;
        let gaps = read.open_table(GAPS).map_err(redb::Error::from)?;
        Ok(!gaps.is_empty().map_err(redb::Error::from)?)
    }

    /// The height up to which the index knows the chain: that of the highest block, or of the snapshot
    /// that took the place of blocks, if there is either.
    pub fn last_height(&self) -> Result<Option<Height>, StoreError> {
        let read = self.database.begin_read().map_err(redb::Error::from)?;
        let table = read.open_table(BLOCKS).map_err(redb::Error::from)?;
        let last = table.last().map_err(redb::Error::from)?;
        let block = last.map(|(height, _)| height.value());
        let gaps = read.open_table(GAPS).map_err(redb::Error::from)?;
        let last = gaps.last().map_err(redb::Error::from)?;
        let gap = last.map(|(height, _)| height.value());
        Ok(block.max(gap).map(Height::new))
    }

    /// Keeps a piece of evidence durably. Says whether it is kept: `false` when there are
    /// [`EVIDENCE_MAX`] others.
    pub fn put_evidence(&self, id: &[u8; 32], bytes: &[u8]) -> Result<bool, StoreError> {
        let write = self.begin()?;
        {
            let mut table = write.open_table(EVIDENCE).map_err(redb::Error::from)?;
            if table.get(id).map_err(redb::Error::from)?.is_some() {
                return Ok(true);
            }
            if table.len().map_err(redb::Error::from)? >= EVIDENCE_MAX {
                return Ok(false);
            }
            table.insert(id, bytes).map_err(redb::Error::from)?;
        }
        self.commit_durably(write)?;
        Ok(true)
    }

    /// All evidence, by id.
    pub fn evidence(&self) -> Result<BTreeMap<[u8; 32], Vec<u8>>, StoreError> {
        let read = self.database.begin_read().map_err(redb::Error::from)?;
        let table = read.open_table(EVIDENCE).map_err(redb::Error::from)?;
        let mut out = BTreeMap::new();
        for entry in table.iter().map_err(redb::Error::from)? {
            let (id, bytes) = entry.map_err(redb::Error::from)?;
            out.insert(*id.value(), bytes.value().to_vec());
        }
        Ok(out)
    }

    /// Whether the store is the index of this journal; `false` if of none yet, or of one that this
    /// journal succeeds.
    ///
    /// # Errors
    ///
    /// [`StoreError::OtherJournal`] if it is bound to another one.
    pub fn check_bound(&self, journal: &[u8; SALT_BYTES]) -> Result<bool, StoreError> {
        match self.names("journal", journal)? {
            None => Ok(false),
            Some(true) => Ok(true),
            Some(false) if self.is_succeeded_by(journal)? => Ok(false),
            Some(false) => Err(StoreError::OtherJournal),
        }
    }

    /// Whether this journal was announced to take the place of the one that the store is bound to. The
    /// same blocks stand in other places there, so they have to be put again; what else is here holds.
    pub fn is_succeeded_by(&self, journal: &[u8; SALT_BYTES]) -> Result<bool, StoreError> {
        Ok(self.names("successor", journal)? == Some(true))
    }

    /// Announces, durably, a journal that is about to take the place of the one that the store is bound
    /// to. Until the store is bound to it, both are taken for its own.
    pub fn announce(&self, successor: &[u8; SALT_BYTES]) -> Result<(), StoreError> {
        let write = self.begin()?;
        {
            let mut meta = write.open_table(META).map_err(redb::Error::from)?;
            meta.insert("successor", successor.as_slice())
                .map_err(redb::Error::from)?;
        }
        self.commit_durably(write)
    }

    /// Whether an entry is this journal, if there is such an entry.
    fn names(&self, key: &str, journal: &[u8; SALT_BYTES]) -> Result<Option<bool>, StoreError> {
        let read = self.database.begin_read().map_err(redb::Error::from)?;
        let meta = read.open_table(META).map_err(redb::Error::from)?;
        let found = meta.get(key).map_err(redb::Error::from)?;
        Ok(found.map(|bytes| bytes.value() == journal.as_slice()))
    }

    /// Binds the store to its journal, durably. It stays the index of that one.
    ///
    /// # Errors
    ///
    /// As [`check_bound`](Self::check_bound).
    pub fn bind(&self, journal: &[u8; SALT_BYTES]) -> Result<(), StoreError> {
        if self.check_bound(journal)? {
            return Ok(());
        }
        let write = self.begin()?;
        {
            let mut meta = write.open_table(META).map_err(redb::Error::from)?;
            meta.insert("journal", journal.as_slice())
                .map_err(redb::Error::from)?;
            meta.remove("successor").map_err(redb::Error::from)?;
        }
        self.commit_durably(write)
    }

    /// Whether blocks were put that are not durable yet.
    pub fn is_pending(&self) -> bool {
        self.pending.load(Ordering::Relaxed) > 0
    }

    /// Makes everything durable now, as at an orderly end.
    pub fn flush(&self) -> Result<(), StoreError> {
        let write = self.begin()?;
        self.commit_durably(write)
    }

    fn begin(&self) -> Result<WriteTransaction, StoreError> {
        Ok(self.database.begin_write().map_err(redb::Error::from)?)
    }

    fn commit_durably(&self, mut write: WriteTransaction) -> Result<(), StoreError> {
        // Values come from outside, and the checksums of one-phase commits are not made against
        // somebody who chooses them. The second flush costs little, as durable commits are rare.
        write.set_two_phase_commit(true);
        write.commit().map_err(redb::Error::from)?;
        self.pending.store(0, Ordering::Relaxed);
        Ok(())
    }

    /// Compares format and chain, or notes them in a new store, and makes sure of all tables.
    fn check_meta(&self, chain: ChainId) -> Result<(), StoreError> {
        let write = self.begin()?;
        {
            let mut meta = write.open_table(META).map_err(redb::Error::from)?;
            let found = |key| -> Result<Option<Vec<u8>>, StoreError> {
                let value = meta.get(key).map_err(redb::Error::from)?;
                Ok(value.map(|bytes| bytes.value().to_vec()))
            };
            let (format, owner) = (found("format")?, found("chain")?);
            if format
                .as_ref()
                .is_some_and(|bytes| *bytes != FORMAT.to_le_bytes())
            {
                return Err(StoreError::Format);
            }
            if owner
                .as_ref()
                .is_some_and(|bytes| bytes != chain.as_bytes())
            {
                return Err(StoreError::OtherChain(chain));
            }
            if format.is_some() && owner.is_some() {
                return Ok(());
            }
            meta.insert("format", FORMAT.to_le_bytes().as_slice())
                .map_err(redb::Error::from)?;
            meta.insert("chain", chain.as_bytes().as_slice())
                .map_err(redb::Error::from)?;
            // Reading a table that was never opened for writing is an error.
            write.open_table(BLOCKS).map_err(redb::Error::from)?;
            write.open_table(TRANSACTIONS).map_err(redb::Error::from)?;
            write.open_table(RECEIPTS).map_err(redb::Error::from)?;
            write.open_table(EPOCH_ENDS).map_err(redb::Error::from)?;
            write.open_table(GAPS).map_err(redb::Error::from)?;
            snapshots::open_tables(&write)?;
            write.open_table(EVIDENCE).map_err(redb::Error::from)?;
        }
        self.commit_durably(write)
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").finish_non_exhaustive()
    }
}

fn commit_in_memory(mut write: WriteTransaction) -> Result<(), StoreError> {
    write
        .set_durability(Durability::None)
        .map_err(redb::Error::from)?;
    write.commit().map_err(redb::Error::from)?;
    Ok(())
}
