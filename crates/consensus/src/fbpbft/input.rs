//! What can happen.

use super::block::{ApplicationData, TransactionBytes};
use super::effect::Extent;
use super::evidence::Evidence;
use super::message::Message;
use crate::committee::CommitteeTable;
use crate::evidence::OffenceId;
use alloc::sync::Arc;
use alloc::vec::Vec;
use polity_crypto::{Sha256Digest, Verified};
use polity_types::{Height, ReplicaId, View};

/// A fact for the machine.
#[derive(Clone, Debug)]
pub enum Input {
    /// A message came over the authenticated link of `from`, and its signatures hold.
    Message {
        /// The link.
        from: ReplicaId,
        /// The message.
        message: Verified<Message>,
    },
    /// Answer to [`Effect::RequestProposal`](super::Effect::RequestProposal).
    Proposed(Payload),
    /// Answer to [`Effect::RequestValidation`](super::Effect::RequestValidation).
    Validated {
        /// Digest of the block.
        digest: Sha256Digest,
        /// What was asked.
        extent: Extent,
        /// Whether the block may be voted for, or its transactions are authorised.
        is_valid: bool,
    },
    /// Answer to [`Effect::Decide`](super::Effect::Decide): the application applied the block.
    Applied {
        /// State after the block.
        roots: Roots,
        /// Who votes in the next epoch, if that differs from who votes in this one. Read where the
        /// next height is the last of its epoch (FB-17).
        next: Option<Arc<CommitteeTable>>,
    },
    /// Whether the application has something to decide that all members know of: transactions
    /// forwarded to all, or a due lock (FB-8).
    WorkPending(bool),
    /// The application acted on this offence before, or will not act on it: it needs no block.
    Settled(OffenceId),
    /// Whether the application gets its state from elsewhere, so that decided blocks are not asked
    /// for meanwhile (FB-19).
    FetchPaused(bool),
}

/// Content of a block, from the application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    /// Height asked for.
    pub height: Height,
    /// View asked for.
    pub view: View,
    /// Transactions, in order of execution.
    pub transactions: Vec<TransactionBytes>,
    /// Those of the offered pieces of evidence that no block contains yet.
    pub evidence: Vec<Evidence>,
    /// Further data.
    pub application: Vec<ApplicationData>,
}

/// State of the application after a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Roots {
    /// Height of the block.
    pub height: Height,
    /// Root of the state.
    pub application: Sha256Digest,
    /// Root of the receipts of the block.
    pub receipts: Sha256Digest,
}
