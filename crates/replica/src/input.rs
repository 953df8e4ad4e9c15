//! What can happen to a replica, and what it can ask for.

use crate::pool::Refusal;
use crate::restore::SnapshotMeta;
use crate::sync::{SyncMessage, SyncRecord, SyncRequest};
use alloc::sync::Arc;
use alloc::vec::Vec;
use polity_consensus::committee::CommitteeTable;
use polity_consensus::fbpbft::{
    self, Evidence, Halt, SealedBlock, TransactionBytes, VoteCertificate,
};
use polity_consensus::light::{DecidedHeader, EpochEnd};
use polity_crypto::{Sha256Digest, Verified};
use polity_ledger::{LockId, Receipt, SignedTransaction, TransactionId};
use polity_types::wire::{self, DecodeError};
use polity_types::{Height, ReplicaId};
use serde::{Deserialize, Serialize};

/// What replicas send each other. One frame is one encoded value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Frame {
    /// A message of FB-PBFT.
    Consensus(fbpbft::Message),
    /// Transactions for the pool.
    Transactions(Vec<TransactionBytes>),
    /// Snapshots for those far behind (FB-19).
    Sync(SyncMessage),
}

/// How urgent a frame is. Bulk must never wait in front of votes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// Votes, view changes, status, evidence.
    Votes,
    /// Proposals with their blocks.
    Blocks,
    /// New transactions.
    Transactions,
    /// Fetches and their answers.
    Sync,
}

impl Frame {
    /// Encodes the frame.
    pub fn encode(&self) -> Vec<u8> {
        wire::encode(self)
    }

    /// Decodes a frame of at most `limit` bytes, strictly.
    pub fn decode(bytes: &[u8], limit: usize) -> Result<Self, DecodeError> {
        wire::decode(bytes, limit)
    }

    /// The lane it travels in.
    pub fn lane(&self) -> Lane {
        use fbpbft::Message;
        match self {
            Self::Transactions(_) => Lane::Transactions,
            Self::Sync(_) => Lane::Sync,
            Self::Consensus(message) => match message {
                Message::Vote(_)
                | Message::ViewChange(_)
                | Message::Status(_)
                | Message::Evidence(_) => Lane::Votes,
                Message::Proposal(_) | Message::NewView(_) => Lane::Blocks,
                Message::FetchDecided { .. }
                | Message::Decided(_)
                | Message::FetchBlock { .. }
                | Message::Block(_) => Lane::Sync,
            },
        }
    }
}

/// A fact for the replica.
#[derive(Clone, Debug)]
pub enum Input {
    /// A message of consensus came over the authenticated link of `from`.
    Received {
        /// The link.
        from: ReplicaId,
        /// The message, decoded and not yet verified.
        message: fbpbft::Message,
    },
    /// Transactions came over the link of `from`, and their signatures hold.
    Gossiped {
        /// The link.
        from: ReplicaId,
        /// The transactions.
        transactions: Vec<Verified<SignedTransaction>>,
    },
    /// A client of this replica submits transactions whose signatures hold. Each is answered with
    /// [`Effect::Answer`].
    Submitted(Vec<Verified<SignedTransaction>>),
    /// A message about snapshots came over the authenticated link of `from`.
    Sync {
        /// The link.
        from: ReplicaId,
        /// The message.
        message: SyncMessage,
    },
}

/// One line of a replica's journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Record {
    /// What consensus must not forget.
    Consensus(fbpbft::Record),
    /// A transaction that this replica promised its client to keep.
    Pooled(TransactionBytes),
    /// A snapshot that is fetched, and that it counts (FB-19).
    Sync(SyncRecord),
}

/// What became of a submitted transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It waits for a block. Its record is durable.
    Pending,
    /// It was waiting already, and its record is durable.
    Known,
    /// It waits here, because another member sent it, but there is no room to promise to keep it.
    Passing,
    /// A block holds it already: here is its receipt.
    Decided(Receipt),
}

/// A decided and applied block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The block.
    pub block: SealedBlock,
    /// Why it is decided.
    pub certificate: VoteCertificate,
    /// What became of its transactions, in order.
    pub receipts: Arc<[Receipt]>,
    /// Locks that expired before them.
    pub expired: Vec<LockId>,
    /// State of the application afterwards.
    pub roots: fbpbft::Roots,
    /// State root of the ledger afterwards.
    pub ledger_root: Sha256Digest,
    /// Who votes in the next epoch, if this block is the last of its epoch.
    pub next_committee: Option<Arc<CommitteeTable>>,
}

impl Committed {
    /// The header with its certificate, for proofs and for [`Offer`](crate::sync::Offer)s.
    pub fn decided_header(&self) -> DecidedHeader {
        DecidedHeader {
            header: self.block.header().clone(),
            certificate: self.certificate.clone(),
        }
    }

    /// The end of an epoch, if this block is the last of one: keep it for those who are behind.
    pub fn epoch_end(&self) -> Option<EpochEnd> {
        let table = self.next_committee.as_ref()?;
        Some(EpochEnd {
            last: self.decided_header(),
            next: table.rows().to_vec(),
        })
    }
}

/// A snapshot replaced the state of the replica (FB-19).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installed {
    /// What the replica goes on from.
    pub meta: SnapshotMeta,
    /// Transactions that waited here and that one of the blocks passed over holds: tell who waits.
    /// Whatever else was promised and can still be decided goes on waiting.
    pub receipts: Vec<Receipt>,
}

/// A request to the host. Nothing behind a [`Persist`](Self::Persist) may leave before that record
/// is durable.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Effect {
    /// Store this record.
    Persist(Record),
    /// Send to one member.
    Send {
        /// The member.
        to: ReplicaId,
        /// The frame.
        frame: Frame,
    },
    /// Send to every other member.
    Broadcast(Frame),
    /// Tell the client what became of its transaction.
    Answer {
        /// The transaction.
        id: TransactionId,
        /// What became of it.
        result: Result<Admission, Refusal>,
    },
    /// A block is decided and applied: index it, tell who waits.
    Committed(Committed),
    /// Send decided blocks from the store to `to`, each as a frame with
    /// [`fbpbft::Message::Decided`].
    ServeDecided {
        /// Who asked.
        to: ReplicaId,
        /// First height.
        from: Height,
        /// Blocks at most.
        count_max: u64,
        /// Bytes at most; one block is always sent.
        bytes_max: usize,
    },
    /// Send what [`sync::answer`](crate::sync::answer) finds in the store to `to`, as
    /// [`Frame::Sync`].
    ServeSync {
        /// Who asked.
        to: ReplicaId,
        /// What for.
        request: SyncRequest,
    },
    /// The state is that after a later block, without the blocks before it: go on from there.
    Installed(Installed),
    /// Somebody provably broke the rules.
    Report(Evidence),
    /// This replica must not go on.
    Halt(Halt),
}
