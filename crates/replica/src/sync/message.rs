//! What goes over the wire, and what the journal keeps.

use crate::restore::SnapshotMeta;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use polity_consensus::light::{DecidedHeader, EpochEnd};
use polity_crypto::Sha256Digest;
use polity_merkle::InclusionProof;
use polity_types::{Epoch, Height, ReplicaId};
use serde::{Deserialize, Serialize};

/// What replicas say to each other about snapshots.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SyncMessage {
    /// Somebody is behind.
    Request(SyncRequest),
    /// Somebody helps.
    Answer(SyncAnswer),
}

/// What a replica that is behind asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SyncRequest {
    /// The ends of epochs from this one on, and the newest snapshot that the peer can serve.
    Epochs {
        /// The first epoch.
        from: Epoch,
    },
    /// One chunk of a snapshot.
    Chunk {
        /// The height after which the snapshot was taken.
        height: Height,
        /// How many chunks it has, as offered: another number is another snapshot.
        chunks: u32,
        /// Which stream of chunks.
        chunks_root: Sha256Digest,
        /// Number of the chunk, from 0.
        index: u32,
    },
}

/// What a peer answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SyncAnswer {
    /// Ends of consecutive epochs, as many as go into a page: whoever needs more asks again from
    /// where it ended.
    Epochs {
        /// The ends, from the epoch asked for on.
        ends: Vec<EpochEnd>,
        /// The newest snapshot that the peer can serve.
        offer: Option<Box<Offer>>,
    },
    /// A chunk.
    Chunk {
        /// The height after which the snapshot was taken.
        height: Height,
        /// Which stream of chunks.
        chunks_root: Sha256Digest,
        /// Number of the chunk, from 0.
        index: u32,
        /// The chunk.
        bytes: ChunkBytes,
        /// Shows that it stands there under `chunks_root`.
        proof: InclusionProof,
    },
    /// The peer does not have this snapshot, or has it no more.
    Gone {
        /// The height after which the snapshot was taken.
        height: Height,
        /// How many chunks it was said to have.
        chunks: u32,
        /// Which stream of chunks.
        chunks_root: Sha256Digest,
    },
}

/// A snapshot that a peer serves: the state after the last block of an epoch.
///
/// Whoever offers vouches for `chunks` and `chunks_root`; everything else can be verified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// The first block of the next epoch: its header names the state.
    pub first: DecidedHeader,
    /// State root of the ledger in the snapshot.
    pub ledger_root: Sha256Digest,
    /// Number of chunks.
    pub chunks: u32,
    /// Root of the log of chunks; see [`ChunkLog`](super::ChunkLog).
    pub chunks_root: Sha256Digest,
}

/// An encoded chunk of a ledger, at most [`polity_ledger::CHUNK_LENGTH_MAX`] long where it holds.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ChunkBytes(#[serde(with = "polity_types::hex_bytes")] Vec<u8>);

impl ChunkBytes {
    /// Wraps a chunk.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The chunk.
    pub fn as_slice(&self) -> &[u8] {
        &self.0
    }

    /// The chunk, to keep.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

impl fmt::Debug for ChunkBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChunkBytes({} bytes)", self.0.len())
    }
}

/// The snapshot that a replica fetches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// What was verified about it.
    pub meta: SnapshotMeta,
    /// Number of chunks, as offered.
    pub chunks: u32,
    /// Root of the log of chunks, as offered.
    pub chunks_root: Sha256Digest,
    /// The members that offered it when it was chosen.
    pub vouched: Vec<ReplicaId>,
}

/// What the journal keeps of a sync, so that a replica goes on where it stopped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SyncRecord {
    /// The end of an epoch was verified.
    Epoch(Box<EpochEnd>),
    /// This snapshot is fetched from now on, from its first chunk; any other is given up.
    Started(Box<Target>),
    /// The next chunk of it.
    Chunk(ChunkBytes),
    /// All chunks are there and have the certified root: the replica goes on after this height.
    Installed {
        /// The height of the snapshot.
        height: Height,
    },
}
