//! Serving: what a host does with its store for those who are behind.

use super::message::{ChunkBytes, Offer, SyncAnswer, SyncRequest};
use super::{ENDS_BYTES_MAX, ENDS_MAX};
use alloc::boxed::Box;
use alloc::vec::Vec;
use polity_consensus::light::{DecidedHeader, EpochEnd};
use polity_crypto::Sha256Digest;
use polity_merkle::{AppendTree, InclusionProof, leaf_hash};
use polity_types::{Epoch, Height, wire};

/// Where a host finds what others ask for.
pub trait SyncSource {
    /// The end of an epoch, as [`Committed::epoch_end`](crate::Committed::epoch_end) gave it.
    fn epoch_end(&self, epoch: Epoch) -> Option<EpochEnd>;

    /// The newest snapshot after the last block of an epoch whose following block is decided; see
    /// [`ChunkLog::offer`].
    fn offer(&self) -> Option<Offer>;

    /// A chunk of the snapshot with just so many chunks under this root, with its proof from
    /// [`ChunkLog::proof`]. Whoever asks cannot know that the number is that of the root: nothing if it
    /// is not, instead of a proof that does not fit what was asked for.
    fn chunk(
        &self,
        height: Height,
        chunks: u32,
        chunks_root: Sha256Digest,
        index: u32,
    ) -> Option<(Vec<u8>, InclusionProof)>;
}

/// Answers a request from a store. Pages are bounded in count and bytes.
pub fn answer(request: SyncRequest, source: &impl SyncSource) -> SyncAnswer {
    match request {
        SyncRequest::Epochs { from } => {
            let mut ends = Vec::new();
            let mut length = 0;
            let mut epoch = from;
            while ends.len() < ENDS_MAX
                && let Some(end) = source.epoch_end(epoch)
            {
                length += wire::encoded_len(&end);
                if length > ENDS_BYTES_MAX && !ends.is_empty() {
                    break;
                }
                ends.push(end);
                epoch = epoch.next();
            }
            let offer = source.offer().map(Box::new);
            SyncAnswer::Epochs { ends, offer }
        }
        SyncRequest::Chunk {
            height,
            chunks,
            chunks_root,
            index,
        } => match source.chunk(height, chunks, chunks_root, index) {
            Some((bytes, proof)) => SyncAnswer::Chunk {
                height,
                chunks_root,
                index,
                bytes: ChunkBytes::new(bytes),
                proof,
            },
            None => SyncAnswer::Gone {
                height,
                chunks,
                chunks_root,
            },
        },
    }
}

/// The log over the chunks of a snapshot: one leaf for each, in order.
#[derive(Clone, Debug, Default)]
pub struct ChunkLog {
    log: AppendTree,
}

impl ChunkLog {
    /// The log of these chunks.
    pub fn new<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Self {
        Self::of_leaves(chunks.into_iter().map(leaf_hash))
    }

    /// The log of chunks with these [leaf hashes](leaf_hash): whoever stores them beside the chunks need
    /// not read the chunks to serve one.
    pub fn of_leaves(leaves: impl IntoIterator<Item = Sha256Digest>) -> Self {
        let mut log = Self::default();
        for leaf in leaves {
            log.log.push(leaf);
        }
        log
    }

    /// How many chunks there are.
    pub fn chunks(&self) -> u32 {
        u32::try_from(self.log.len()).unwrap_or(u32::MAX)
    }

    /// Its root.
    pub fn root(&self) -> Sha256Digest {
        self.log.root()
    }

    /// Shows that the chunk stands at `index`; nothing if there is none.
    pub fn proof(&self, index: u32) -> Option<InclusionProof> {
        self.log.inclusion(u64::from(index), self.log.len()).ok()
    }

    /// The offer of a snapshot with these chunks and this state root, of which `first` is the block
    /// that follows.
    pub fn offer(&self, first: DecidedHeader, ledger_root: Sha256Digest) -> Offer {
        Offer {
            first,
            ledger_root,
            chunks: self.chunks(),
            chunks_root: self.root(),
        }
    }
}
