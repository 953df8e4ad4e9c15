//! What can be wrong with a store, and whether it can be made again.

use polity_types::ChainId;
use std::io;

/// Why the store does not answer.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file does not hold, or holds something else.
    #[error("the index is damaged ({0}); it can be rebuilt from the journal")]
    Damaged(String),
    /// Another version of this program wrote the file.
    #[error("the index was written by another version; it can be rebuilt from the journal")]
    Format,
    /// The file belongs to another federation or fork.
    #[error(
        "the index belongs to another chain than {0}; check the data directory and the genesis"
    )]
    OtherChain(ChainId),
    /// The index was made from another journal.
    #[error(
        "the index belongs to another journal than the one beside it; put back the journal that this node wrote last, since a node that forgets may contradict its votes; if this is that journal, delete the index, and it is made again; if that journal is lost, give it up with `polity rejoin` on the data directory"
    )]
    OtherJournal,
    /// Another process has it open.
    #[error("another process uses the index; stop it, or choose another data directory")]
    InUse,
    /// The disk is full, or the user's share of it.
    #[error("the disk is full; free some space and start the node again: {0}")]
    Full(#[source] io::Error),
    /// The system refuses to read or write.
    #[error("cannot read or write the index; check the disk and start the node again: {0}")]
    Io(#[source] io::Error),
    /// An earlier failure left the database unusable until it is opened again, or we used it wrongly.
    #[error("the index does not answer; start the node again: {0}")]
    Unusable(#[source] Box<redb::Error>),
}

impl StoreError {
    /// Whether [`Store::recreate`](super::Store::recreate) and the journal bring it back.
    pub const fn is_rebuildable(&self) -> bool {
        match self {
            Self::Damaged(_) | Self::Format => true,
            Self::OtherChain(_)
            | Self::OtherJournal
            | Self::InUse
            | Self::Full(_)
            | Self::Io(_)
            | Self::Unusable(_) => false,
        }
    }
}

impl From<redb::Error> for StoreError {
    fn from(error: redb::Error) -> Self {
        use redb::Error;
        match error {
            Error::Io(error) => match error.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full(error),
                // This is how redb says that the file is no database, or ends too early.
                io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
                    Self::Damaged(error.to_string())
                }
                _ => Self::Io(error),
            },
            Error::DatabaseAlreadyOpen => Self::InUse,
            Error::UpgradeRequired(_) => Self::Format,
            Error::Corrupted(_)
            | Error::RepairAborted
            | Error::TableTypeMismatch { .. }
            | Error::TableIsMultimap(_)
            | Error::TableIsNotMultimap(_)
            | Error::TypeDefinitionChanged { .. }
            | Error::TableDoesNotExist(_) => Self::Damaged(error.to_string()),
            // Its list may grow, so the rest cannot be matched by name.
            _ => Self::Unusable(Box::new(error)),
        }
    }
}
