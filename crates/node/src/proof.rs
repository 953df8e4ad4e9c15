//! Proofs in files: what a client keeps, and checks with the genesis alone.

use crate::federation::{FederationError, load_genesis};
use crate::node::verifier;
use crate::view;
use polity_replica::proof::{AccountProof, LockProof, TransactionProof};
use polity_types::{Height, ProofError};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Largest proof that is read, in bytes.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// A proof as it stands in a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind", content = "proof")]
pub enum ProofFile {
    /// An account after a height.
    Account(AccountProof),
    /// A lock after a height.
    Lock(LockProof),
    /// What became of a transaction.
    Transaction(TransactionProof),
}

/// What a proof shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Proven {
    /// An account after a height.
    Account(view::Account),
    /// A lock after a height.
    Lock {
        /// The lock.
        lock: view::Lock,
        /// After which block.
        height: Height,
    },
    /// What became of a transaction.
    Transaction(view::ReceiptView),
}

/// Why a file proves nothing.
#[derive(Debug, thiserror::Error)]
pub enum ProofFileError {
    /// The file or the genesis.
    #[error(transparent)]
    Federation(#[from] FederationError),
    /// The file is no proof.
    #[error("{} is no proof: {source}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What the parser says.
        source: serde_json::Error,
    },
    /// The proof does not hold.
    #[error("the proof does not hold for this genesis")]
    Invalid,
}

impl From<ProofError> for ProofFileError {
    fn from(_: ProofError) -> Self {
        Self::Invalid
    }
}

impl ProofFile {
    /// Reads a file.
    pub fn load(path: &Path) -> Result<Self, ProofFileError> {
        let text = crate::config::read_text(path, FILE_BYTES_MAX).map_err(FederationError::from)?;
        serde_json::from_str(&text).map_err(|source| ProofFileError::Format {
            path: path.to_owned(),
            source,
        })
    }

    /// The text of a file.
    pub fn to_text(&self) -> String {
        let mut text =
            serde_json::to_string_pretty(self).expect("a proof has no keys that are not text");
        text.push('\n');
        text
    }

    /// Checks the proof with nothing but a genesis.
    pub fn check(&self, genesis: &Path) -> Result<Proven, ProofFileError> {
        let genesis = load_genesis(genesis)?;
        self.check_with(&genesis)
    }

    /// The same with a genesis that was read before.
    pub fn check_with(&self, genesis: &polity_replica::Genesis) -> Result<Proven, ProofFileError> {
        let chain = genesis
            .chain()
            .map_err(|error| FederationError::from(polity_replica::GenesisError::from(error)))?;
        let verifier = verifier(genesis);
        Ok(match self {
            Self::Account(proof) => {
                let (account, height) = proof.verify(&chain, &verifier)?;
                Proven::Account(view::Account::new(account.clone(), height))
            }
            Self::Lock(proof) => {
                let (lock, height) = proof.verify(&chain, &verifier)?;
                Proven::Lock {
                    lock: lock.clone().into(),
                    height,
                }
            }
            Self::Transaction(proof) => {
                Proven::Transaction(proof.verify(&chain, &verifier)?.into())
            }
        })
    }
}
