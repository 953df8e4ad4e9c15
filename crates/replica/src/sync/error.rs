//! Why something about a snapshot is not believed.

use polity_consensus::light::LightError;
use polity_ledger::SnapshotError;
use polity_types::Height;

/// Why an answer of a peer is not used. Each names the step that failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SyncError {
    /// Nobody asked for it, or not any more.
    #[error("nobody asked this peer for it")]
    Unsolicited,
    /// More ends of epochs than a page holds.
    #[error("the page holds {0} ends of epochs, which is more than a page may")]
    Page(usize),
    /// An end of an epoch does not hold.
    #[error("an end of an epoch does not hold: {0}")]
    Epoch(LightError),
    /// The block beside an offer is not the first of an epoch.
    #[error("the block at height {0} does not begin an epoch")]
    NoEpochStart(Height),
    /// The end of the epoch in front of the offer is not known, or no more.
    #[error("the end of the epoch in front of height {0} is not known here")]
    UnknownEpoch(Height),
    /// The block beside an offer is not decided.
    #[error("the block that names the state does not hold: {0}")]
    First(LightError),
    /// The block beside an offer does not follow the end of the epoch.
    #[error("the block at height {0} does not follow the last block of the epoch before it")]
    OtherParent(Height),
    /// The state in the offer is not the one that the block names.
    #[error("the block at height {0} names another state")]
    OtherState(Height),
    /// An offer without chunks, or with too many.
    #[error("a snapshot of {0} chunks is none")]
    Chunks(u32),
    /// A chunk is too long.
    #[error("the chunk has {0} bytes, which is more than a chunk may")]
    ChunkLength(usize),
    /// The proof is about another number of chunks than the offer: a snapshot that was not asked for.
    #[error("the proof is about a snapshot of {0} chunks, which was not asked for")]
    ChunkCount(u64),
    /// The proof is about another place.
    #[error("the proof of the chunk is about another place")]
    ChunkPlace,
    /// The chunk is not under the root of the offer.
    #[error("the chunk is not the one under the root of the offer")]
    ChunkProof,
    /// The chunks are those of the offer, and make no state or another one.
    #[error("the chunks are not those of the certified state: {0}")]
    Content(SnapshotError),
}

/// Who is not asked any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// It may have come late, or be about something that is not known here.
    Nobody,
    /// Whoever sent it: no honest replica does.
    Sender,
    /// Everybody who offered the snapshot: the chunks were what they vouched for.
    Vouchers,
}

impl SyncError {
    /// Who is to blame.
    pub fn blame(&self) -> Blame {
        match self {
            Self::Unsolicited | Self::UnknownEpoch(_) | Self::ChunkCount(_) => Blame::Nobody,
            Self::Page(_)
            | Self::Epoch(_)
            | Self::NoEpochStart(_)
            | Self::First(_)
            | Self::OtherParent(_)
            | Self::OtherState(_)
            | Self::Chunks(_)
            | Self::ChunkLength(_)
            | Self::ChunkPlace
            | Self::ChunkProof => Blame::Sender,
            Self::Content(_) => Blame::Vouchers,
        }
    }
}
