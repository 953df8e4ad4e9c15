//! A source in memory, for hosts that keep everything there.

use super::message::Offer;
use super::source::{ChunkLog, SyncSource};
use crate::input::Committed;
use crate::restore::{Snapshot, SnapshotMeta};
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use polity_consensus::light::{DecidedHeader, EpochEnd};
use polity_crypto::Sha256Digest;
use polity_merkle::InclusionProof;
use polity_types::{Epoch, Height};

/// Snapshots that are kept: who fetches one has the time of an epoch for it.
const SNAPSHOTS_MAX: usize = 2;

#[derive(Clone, Debug)]
struct Kept {
    meta: SnapshotMeta,
    chunks: Vec<Vec<u8>>,
    log: ChunkLog,
    /// The block after it, once it is decided.
    first: Option<DecidedHeader>,
}

/// What a host keeps for those who are behind: the ends of all epochs, and the last two snapshots.
#[derive(Clone, Debug, Default)]
pub struct Shelf {
    ends: BTreeMap<Epoch, EpochEnd>,
    /// The oldest first, at most [`SNAPSHOTS_MAX`].
    snapshots: VecDeque<Kept>,
}

impl Shelf {
    /// A block was committed, live or again.
    pub fn committed(&mut self, committed: &Committed) {
        if let Some(end) = committed.epoch_end() {
            self.ended(end);
        }
        let height = committed.block.header().height;
        for kept in &mut self.snapshots {
            if kept.meta.height.next() == height {
                kept.first = Some(committed.decided_header());
            }
        }
    }

    /// The end of an epoch was verified without the block.
    pub fn ended(&mut self, end: EpochEnd) {
        self.ends.insert(end.last.header.epoch, end);
    }

    /// A snapshot after the last block of an epoch.
    pub fn keep(&mut self, snapshot: Snapshot) {
        let Snapshot { meta, chunks } = snapshot;
        let log = ChunkLog::new(chunks.iter().map(Vec::as_slice));
        self.snapshots.push_back(Kept {
            meta,
            chunks,
            log,
            first: None,
        });
        if self.snapshots.len() > SNAPSHOTS_MAX {
            self.snapshots.pop_front();
        }
    }

    /// Forgets all snapshots.
    pub fn clear(&mut self) {
        self.snapshots.clear();
    }
}

impl SyncSource for Shelf {
    fn epoch_end(&self, epoch: Epoch) -> Option<EpochEnd> {
        self.ends.get(&epoch).cloned()
    }

    fn offer(&self) -> Option<Offer> {
        self.snapshots.iter().rev().find_map(|kept| {
            let first = kept.first.clone()?;
            Some(kept.log.offer(first, kept.meta.ledger_root))
        })
    }

    fn chunk(
        &self,
        height: Height,
        chunks: u32,
        chunks_root: Sha256Digest,
        index: u32,
    ) -> Option<(Vec<u8>, InclusionProof)> {
        let wanted = (height, chunks, chunks_root);
        let is_wanted =
            |kept: &&Kept| (kept.meta.height, kept.log.chunks(), kept.log.root()) == wanted;
        let kept = self.snapshots.iter().find(is_wanted)?;
        let chunk = kept.chunks.get(index as usize)?.clone();
        Some((chunk, kept.log.proof(index)?))
    }
}
