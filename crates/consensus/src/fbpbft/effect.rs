//! What can be asked for.

use super::block::SealedBlock;
use super::evidence::Evidence;
use super::message::{Message, VoteCertificate};
use super::record::Record;
use alloc::vec::Vec;
use polity_crypto::Sha256Digest;
use polity_types::{Height, ReplicaId, View};

/// A request to the host. Nothing behind a [`Persist`](Self::Persist) may leave before that record
/// is durable.
///
/// A list is carried out in order. What a question is answered with causes further effects, and
/// those stand **behind** the rest of the list: the machine was already past all of it when it is
/// asked again.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Effect {
    /// Store this record.
    Persist(Record),
    /// Send to one member.
    Send {
        /// The member.
        to: ReplicaId,
        /// The message.
        message: Message,
    },
    /// Send to every other member.
    Broadcast(Message),
    /// Answer with [`Input::Proposed`](super::Input::Proposed) once there is something to decide,
    /// and at once if `is_due`. A later request replaces an earlier one.
    RequestProposal {
        /// Height of the block.
        height: Height,
        /// View of the block.
        view: View,
        /// Whether even an empty block is wanted now.
        is_due: bool,
        /// Evidence that may go into the block.
        evidence: Vec<Evidence>,
    },
    /// Answer with [`Input::Validated`](super::Input::Validated): may this block follow the last
    /// applied one?
    RequestValidation {
        /// The block.
        block: SealedBlock,
        /// What to judge.
        extent: Extent,
    },
    /// Apply the block and answer with [`Input::Applied`](super::Input::Applied).
    Decide {
        /// The block.
        block: SealedBlock,
        /// Why it is decided.
        certificate: VoteCertificate,
    },
    /// Send decided blocks, each as [`Message::Decided`], from the host's store.
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
    /// Somebody provably broke the rules.
    Report(Evidence),
    /// This replica must not go on.
    Halt(Halt),
}

/// How far a block is to be judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Everything: it is a proposal.
    Whole,
    /// Only that its transactions carry valid signatures: it is decided already.
    Authorisations,
}

/// Why a replica stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Halt {
    /// The committee decided on another state or next committee than this replica computed (FB-7).
    #[error(
        "at height {height} the committee decided on the state {theirs}, but this replica \
         computed {ours}: restore it from a snapshot or replay its journal with the same version"
    )]
    Diverged {
        /// Height whose header names the state.
        height: Height,
        /// Root in the decided header.
        theirs: Sha256Digest,
        /// Root of this replica.
        ours: Sha256Digest,
    },
    /// A certificate decides a block that does not follow the last decided one: more than the
    /// tolerated weight is faulty.
    #[error(
        "a certificate at height {height} decides {theirs}, which does not follow the decided \
         block {ours}: members above the tolerated weight signed both"
    )]
    Forked {
        /// Height of the certificate.
        height: Height,
        /// The block it decides.
        theirs: Sha256Digest,
        /// The block decided before.
        ours: Sha256Digest,
    },
}
