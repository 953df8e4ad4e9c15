//! What the index of a node knows about the end of its journal.
//!
//! A journal that was cut at the end of a record holds as far as it goes, and nothing in it says that
//! there was more. The index does: a block is put there only after the journal has it, so an index that
//! knows more than the journal shows that the end is lost (FB-15).
//!
//! The index is opened as the node would open it, with the directory locked. A node that runs keeps it to
//! itself, and looked at its journal when it started.

use super::VerifyError;
use crate::host::RecoverError;
use crate::journal::Reader;
use crate::lock::{DirectoryLock, LockError};
use crate::store::{self, Store, StoreError};
use polity_consensus::fbpbft::Chain;
use polity_types::Height;
use std::path::Path;

/// What an index says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Index {
    /// There is nothing to ask, as beside an exported chain.
    #[default]
    None,
    /// The node knows the chain up to this height.
    Knows(Height),
    /// It cannot be asked, and why.
    Silent(String),
}

impl Index {
    /// Asks the index in a data directory.
    ///
    /// # Errors
    ///
    /// If it is the index of another journal or chain.
    pub(super) fn ask(directory: &Path, chain: &Chain) -> Result<Self, VerifyError> {
        let path = directory.join(store::FILE_NAME);
        if !path.is_file() {
            return Ok(Self::Silent("it has no index".to_owned()));
        }
        let journal = Reader::open_in(directory, chain.id())?.identity();
        let _lock = match DirectoryLock::acquire(directory) {
            Ok(lock) => lock,
            Err(LockError::Held { .. }) => return Ok(Self::Silent("the node runs".to_owned())),
            Err(error @ LockError::Io { .. }) => return Ok(Self::Silent(error.to_string())),
        };
        let ask = || {
            let store = Store::open(&path, chain.id())?;
            store.check_bound(&journal)?;
            let snapshot = store.latest_snapshot()?.map(|snapshot| snapshot.height);
            Ok(store.last_height()?.max(snapshot).unwrap_or(Height::ZERO))
        };
        match ask() {
            Ok(height) => Ok(Self::Knows(height)),
            Err(error @ (StoreError::OtherJournal | StoreError::OtherChain(_))) => {
                Err(RecoverError::from(error).into())
            }
            // The node makes it again, or says what the disk has.
            Err(error) => Ok(Self::Silent(error.to_string())),
        }
    }

    /// The height up to which the node knows the chain.
    pub fn height(&self) -> Option<Height> {
        match self {
            Self::Knows(height) => Some(*height),
            Self::None | Self::Silent(_) => None,
        }
    }

    /// Why it cannot be asked.
    pub fn silence(&self) -> Option<&str> {
        match self {
            Self::Silent(reason) => Some(reason),
            Self::None | Self::Knows(_) => None,
        }
    }
}
