//! Snapshots: for a fast restart, and for members that are far behind (FB-19).
//!
//! | after which block | how long it stays |
//! |---|---|
//! | the last of an epoch, which others fetch | as one of the newest [`EPOCH_SNAPSHOTS_MAX`] of them |
//! | any other | until there is a newer one of either kind |

use super::{Store, StoreError};
use polity_crypto::Sha256Digest;
use polity_merkle::leaf_hash;
use polity_types::Height;
use redb::{ReadableDatabase as _, ReadableTable as _, TableDefinition, WriteTransaction};
use std::fmt;

/// Snapshots after the ends of epochs that are kept: whoever fetches one still finds it when the next
/// one is there.
pub const EPOCH_SNAPSHOTS_MAX: usize = 2;

/// Height and position of a chunk to its bytes.
const CHUNKS: TableDefinition<'static, (u64, u32), &[u8]> = TableDefinition::new("snapshots");
/// Heights of the snapshots after the ends of epochs.
const EPOCHS: TableDefinition<'static, u64, ()> = TableDefinition::new("epoch_snapshots");

/// Height to the leaf hashes of the chunks, one after the other: a log over the chunks is made from them
/// without reading the chunks, so that the first member that asks waits no longer than others.
const LEAVES: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("snapshot_leaves");

/// A snapshot: what the ledger wrote, in its pieces.
#[derive(Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// After which block.
    pub height: Height,
    /// In their order.
    pub chunks: Vec<Vec<u8>>,
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Snapshot({}, {} chunks)", self.height, self.chunks.len())
    }
}

impl Store {
    /// Stores a snapshot durably, and with it every block put before. Older ones that are not to be kept
    /// fall out.
    pub fn put_snapshot(
        &self,
        height: Height,
        chunks: impl IntoIterator<Item = Vec<u8>>,
        ends_epoch: bool,
    ) -> Result<(), StoreError> {
        let write = self.begin()?;
        {
            let mut table = write.open_table(CHUNKS).map_err(redb::Error::from)?;
            let mut epochs = write.open_table(EPOCHS).map_err(redb::Error::from)?;
            let mut leaves = write.open_table(LEAVES).map_err(redb::Error::from)?;
            let key = height.get();
            let mut hashes = Vec::new();
            // A repeated snapshot may have fewer chunks than the one it replaces.
            table
                .retain_in((key, 0)..=(key, u32::MAX), |_, _| false)
                .map_err(redb::Error::from)?;
            for (position, chunk) in (0_u32..).zip(chunks) {
                hashes.extend_from_slice(leaf_hash(&chunk).as_bytes());
                table
                    .insert((key, position), chunk.as_slice())
                    .map_err(redb::Error::from)?;
            }
            leaves
                .insert(key, hashes.as_slice())
                .map_err(redb::Error::from)?;
            if ends_epoch {
                epochs.insert(key, ()).map_err(redb::Error::from)?;
            }
            let mut kept = Vec::new();
            for entry in epochs.iter().map_err(redb::Error::from)?.rev() {
                let (height, _) = entry.map_err(redb::Error::from)?;
                kept.push(height.value());
            }
            kept.truncate(EPOCH_SNAPSHOTS_MAX);
            let last = table.last().map_err(redb::Error::from)?;
            kept.extend(last.map(|(key, _)| key.value().0));
            let is_kept = |height| kept.contains(&height);
            table
                .retain(|(height, _), _| is_kept(height))
                .map_err(redb::Error::from)?;
            epochs
                .retain(|height, ()| is_kept(height))
                .map_err(redb::Error::from)?;
            leaves
                .retain(|height, _| is_kept(height))
                .map_err(redb::Error::from)?;
        }
        self.commit_durably(write)
    }

    /// The newest snapshot with all its chunks.
    pub fn latest_snapshot(&self) -> Result<Option<Snapshot>, StoreError> {
        let read = self.database.begin_read().map_err(redb::Error::from)?;
        let table = read.open_table(CHUNKS).map_err(redb::Error::from)?;
        let last = table.last().map_err(redb::Error::from)?;
        let Some(height) = last.map(|(key, _)| key.value().0) else {
            return Ok(None);
        };
        let mut chunks = Vec::new();
        for chunk in table
            .range((height, 0)..=(height, u32::MAX))
            .map_err(redb::Error::from)?
        {
            let (_, bytes) = chunk.map_err(redb::Error::from)?;
            chunks.push(bytes.value().to_vec());
        }
        Ok(Some(Snapshot {
            height: Height::new(height),
            chunks,
        }))
    }

    /// Heights of the snapshots after the ends of epochs, ascending.
    pub fn epoch_snapshots(&self) -> Result<Vec<Height>, StoreError> {
        let read = self.database.begin_read().map_err(redb::Error::from)?;
        let table = read.open_table(EPOCHS).map_err(redb::Error::from)?;
        let mut heights = Vec::new();
        for entry in table.iter().map_err(redb::Error::from)? {
            let (height, _) = entry.map_err(redb::Error::from)?;
            heights.push(Height::new(height.value()));
        }
        Ok(heights)
    }

    /// The leaf hashes of the chunks of a snapshot, in their order. None if it is not there.
    pub fn snapshot_leaves(&self, height: Height) -> Result<Vec<Sha256Digest>, StoreError> {
        let read = self.database.begin_read().map_err(redb::Error::from)?;
        let table = read.open_table(LEAVES).map_err(redb::Error::from)?;
        let found = table.get(height.get()).map_err(redb::Error::from)?;
        let Some(bytes) = found else {
            return Ok(Vec::new());
        };
        let (hashes, _) = bytes.value().as_chunks::<32>();
        Ok(hashes.iter().copied().map(Sha256Digest::new).collect())
    }

    /// One chunk of a snapshot, to hand it to another member without loading the rest.
    pub fn snapshot_chunk(
        &self,
        height: Height,
        position: u32,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let read = self.database.begin_read().map_err(redb::Error::from)?;
        let table = read.open_table(CHUNKS).map_err(redb::Error::from)?;
        let found = table
            .get((height.get(), position))
            .map_err(redb::Error::from)?;
        Ok(found.map(|bytes| bytes.value().to_vec()))
    }

    /// Changes a chunk behind the back of its hash, as a bad disk does.
    #[cfg(test)]
    pub(crate) fn spoil_chunk(&self, height: Height, position: u32) {
        let write = self.begin().unwrap();
        {
            let mut table = write.open_table(CHUNKS).unwrap();
            let key = (height.get(), position);
            let mut bytes = table.get(key).unwrap().unwrap().value().to_vec();
            bytes[0] ^= 1;
            table.insert(key, bytes.as_slice()).unwrap();
        }
        self.commit_durably(write).unwrap();
    }

    /// Forgets every snapshot, durably: the next start replays the journal.
    pub fn forget_snapshots(&self) -> Result<(), StoreError> {
        let write = self.begin()?;
        {
            let mut table = write.open_table(CHUNKS).map_err(redb::Error::from)?;
            table.retain(|_, _| false).map_err(redb::Error::from)?;
            let mut epochs = write.open_table(EPOCHS).map_err(redb::Error::from)?;
            epochs.retain(|_, ()| false).map_err(redb::Error::from)?;
            let mut leaves = write.open_table(LEAVES).map_err(redb::Error::from)?;
            leaves.retain(|_, _| false).map_err(redb::Error::from)?;
        }
        self.commit_durably(write)
    }
}

/// Makes sure of the tables: reading one that was never opened for writing is an error.
pub(super) fn open_tables(write: &WriteTransaction) -> Result<(), StoreError> {
    write.open_table(CHUNKS).map_err(redb::Error::from)?;
    write.open_table(EPOCHS).map_err(redb::Error::from)?;
    write.open_table(LEAVES).map_err(redb::Error::from)?;
    Ok(())
}
