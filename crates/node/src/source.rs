//! The snapshots that this node serves to members that are far behind (FB-19).
//!
//! A snapshot after the last block of an epoch is offered as soon as the block behind it is decided: its
//! header names the state, so that nobody has to believe who offers. The chunks stay in the index; the log
//! over them is made from hashes that stand beside them, some bytes for each, when somebody asks first, and
//! stays in memory.

use crate::archive::{ArchiveError, Blocks};
use crate::host::decode_snapshot_meta;
use crate::store::EPOCH_SNAPSHOTS_MAX;
use polity_consensus::light::{DecidedHeader, EpochEnd};
use polity_crypto::Sha256Digest;
use polity_merkle::{InclusionProof, leaf_hash};
use polity_replica::sync::{ChunkLog, Offer, SyncSource};
use polity_types::{Epoch, Height};
use std::cell::RefCell;

/// Where snapshots are found. One thread asks.
#[derive(Debug)]
pub struct Source<'a> {
    blocks: &'a Blocks,
    /// Snapshots whose logs were made, at most [`EPOCH_SNAPSHOTS_MAX`]; the oldest falls out.
    known: RefCell<Vec<Known>>,
}

#[derive(Debug)]
struct Known {
    height: Height,
    log: ChunkLog,
    offer: Offer,
}

impl<'a> Source<'a> {
    /// Serves what these blocks and their index hold.
    pub fn new(blocks: &'a Blocks) -> Self {
        Self {
            blocks,
            known: RefCell::default(),
        }
    }

    /// The newest snapshot that can be served.
    fn newest(&self) -> Result<Option<Offer>, ArchiveError> {
        for height in self.blocks.store().epoch_snapshots()?.into_iter().rev() {
            if let Some(offer) = self.look(height, |known| known.offer.clone())? {
                return Ok(Some(offer));
            }
        }
        Ok(None)
    }

    /// Looks at a snapshot that can be served.
    fn look<T>(
        &self,
        height: Height,
        look: impl FnOnce(&Known) -> T,
    ) -> Result<Option<T>, ArchiveError> {
        let mut known = self.known.borrow_mut();
        let is_it = |known: &Known| known.height == height;
        if !known.iter().any(is_it) {
            known.extend(self.read(height)?);
            known.sort_by_key(|known| known.height);
            let beyond = known.len().saturating_sub(EPOCH_SNAPSHOTS_MAX);
            known.drain(..beyond);
        }
        Ok(known.iter().find(|known| is_it(known)).map(look))
    }

    /// Makes the log of a snapshot, if the block behind it is decided.
    fn read(&self, height: Height) -> Result<Option<Known>, ArchiveError> {
        let Some(next) = self.blocks.get(height.next())? else {
            return Ok(None);
        };
        // The head comes first; the chunks of the ledger follow.
        let store = self.blocks.store();
        let head = store.snapshot_chunk(height, 0)?;
        let meta = head.and_then(|head| decode_snapshot_meta(&head));
        let log = ChunkLog::of_leaves(store.snapshot_leaves(height)?.into_iter().skip(1));
        // Nothing is offered without hashes: an offer of no chunks is a lie.
        let meta = meta.filter(|_| log.chunks() > 0);
        Ok(meta.map(|meta| {
            let first = DecidedHeader {
                header: next.block.header.clone(),
                certificate: next.certificate,
            };
            Known {
                height,
                offer: log.offer(first, meta.ledger_root),
                log,
            }
        }))
    }

    fn end(&self, epoch: Epoch) -> Result<Option<EpochEnd>, ArchiveError> {
        let end = self.blocks.epoch_ends(epoch, 1)?.pop();
        Ok(end.filter(|end| end.last.header.epoch == epoch))
    }

    fn piece(
        &self,
        height: Height,
        chunks: u32,
        chunks_root: Sha256Digest,
        index: u32,
    ) -> Result<Option<(Vec<u8>, InclusionProof)>, ArchiveError> {
        if !self.blocks.store().epoch_snapshots()?.contains(&height) {
            return Ok(None);
        }
        let prove = |known: &Known| {
            let is_wanted = (known.offer.chunks, known.offer.chunks_root) == (chunks, chunks_root);
            is_wanted.then(|| known.log.proof(index)).flatten()
        };
        let Some(proof) = self.look(height, prove)?.flatten() else {
            return Ok(None);
        };
        // The head stands in front of the chunks.
        let Some(place) = index.checked_add(1) else {
            return Ok(None);
        };
        let Some(bytes) = self.blocks.store().snapshot_chunk(height, place)? else {
            return Ok(None);
        };
        // Whoever got a chunk that its disk spoiled would ask this member no more.
        if proof.verify(&chunks_root, &leaf_hash(&bytes)).is_err() {
            tracing::warn!(%height, index, "a chunk of a snapshot is damaged in the index and is not served");
            return Ok(None);
        }
        Ok(Some((bytes, proof)))
    }
}

/// Nothing is served from what cannot be read.
fn or_none<T>(result: Result<Option<T>, ArchiveError>) -> Option<T> {
    result.unwrap_or_else(|error| {
        tracing::warn!(%error, "cannot serve a snapshot");
        None
    })
}

impl SyncSource for Source<'_> {
    fn epoch_end(&self, epoch: Epoch) -> Option<EpochEnd> {
        or_none(self.end(epoch))
    }

    fn offer(&self) -> Option<Offer> {
        or_none(self.newest())
    }

    fn chunk(
        &self,
        height: Height,
        chunks: u32,
        chunks_root: Sha256Digest,
        index: u32,
    ) -> Option<(Vec<u8>, InclusionProof)> {
        or_none(self.piece(height, chunks, chunks_root, index))
    }
}
