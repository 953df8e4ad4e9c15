//! What must be durable before it is said (FB-15).

use super::block::Block;
use super::message::{NewView, PreparedClaim, Value, VoteCertificate};
use alloc::sync::Arc;
use polity_crypto::Sha256Digest;
use polity_types::{Height, View};
use serde::{Deserialize, Serialize};

/// One line of a replica's journal. Restoring from the records of a height yields a machine that
/// says nothing that contradicts what was said before.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Record {
    /// A block that this replica votes for or saw decided.
    Block(Arc<Block>),
    /// This replica proposed the block in this view.
    Proposed {
        /// Height.
        height: Height,
        /// View.
        view: View,
        /// Digest of the block.
        digest: Sha256Digest,
    },
    /// This replica sent PREPARE.
    PrepareSent {
        /// Height.
        height: Height,
        /// View.
        view: View,
        /// What it voted for.
        value: Value,
    },
    /// PREPAREs of a quorum, the highest so far.
    Prepared(VoteCertificate),
    /// This replica sent COMMIT.
    CommitSent {
        /// Height.
        height: Height,
        /// View.
        view: View,
        /// Digest of the block.
        digest: Sha256Digest,
    },
    /// This replica entered a view above 0.
    Entered {
        /// Height.
        height: Height,
        /// View.
        view: View,
    },
    /// This replica left the views below and sent VIEW-CHANGE.
    ViewLeft {
        /// Height.
        height: Height,
        /// The new view.
        view: View,
        /// What it claimed.
        prepared: Option<PreparedClaim>,
    },
    /// A NEW-VIEW that this replica sent or accepted.
    NewView(NewView),
    /// The block with this certificate is decided.
    Decided(VoteCertificate),
}

impl Record {
    /// The height that the record is about.
    pub fn height(&self) -> Height {
        match self {
            Self::Block(block) => block.header.height,
            Self::Proposed { height, .. }
            | Self::PrepareSent { height, .. }
            | Self::CommitSent { height, .. }
            | Self::Entered { height, .. }
            | Self::ViewLeft { height, .. } => *height,
            Self::Prepared(certificate) | Self::Decided(certificate) => certificate.height,
            Self::NewView(new_view) => new_view.height,
        }
    }
}
