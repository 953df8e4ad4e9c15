//! Building and signing transactions, and waiting for what becomes of them.

use crate::api::{BINARY_LIST, BINARY_ONE};
use crate::client::{Client, ClientError};
use crate::keys::{KeyFileError, SecretKey};
use crate::view::{Status, SubmitResult, Transaction as TransactionView};
use polity_consensus::fbpbft::TransactionBytes;
use polity_crypto::Signer;
use polity_ledger::{
    Address, Command, SignedTransaction, Transaction, TransactionError, TransactionId,
};
use polity_types::{ChainId, Height, wire};
use std::time::{Duration, Instant};

/// How far ahead a transaction is valid, in heights, if the federation allows it.
const VALID_FOR: u64 = 500;

/// One long poll, in milliseconds. Shorter than the client's patience.
const POLL_MS: u64 = 5_000;

/// On which chain a transaction counts, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The chain.
    pub chain: ChainId,
    /// The last height.
    pub valid_until: Height,
}

impl Terms {
    /// Terms for now, as a node sees it.
    pub fn of(status: &Status) -> Self {
        let ahead = VALID_FOR.min(status.validity_horizon);
        Self {
            chain: status.chain,
            valid_until: status.height.saturating_add(ahead),
        }
    }
}

/// Why a transaction cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// It cannot exist.
    #[error(transparent)]
    Transaction(#[from] TransactionError),
    /// No randomness for its number.
    #[error(transparent)]
    Key(#[from] KeyFileError),
}

/// Signs one command in the name of `signer`.
pub fn sign(
    terms: Terms,
    signer: &Address,
    key: &SecretKey,
    command: Command,
) -> Result<SignedTransaction, BuildError> {
    sign_with(terms, signer, &[key], command)
}

/// The same with several keys, as an authority of several has to.
pub fn sign_with(
    terms: Terms,
    signer: &Address,
    keys: &[&SecretKey],
    command: Command,
) -> Result<SignedTransaction, BuildError> {
    let mut nonce = [0; 8];
    getrandom::fill(&mut nonce).map_err(KeyFileError::Randomness)?;
    let transaction = Transaction {
        chain: terms.chain,
        signer: signer.clone(),
        keys: keys.iter().map(|key| key.public_key().clone()).collect(),
        commands: vec![command],
        valid_until: terms.valid_until,
        nonce: u64::from_le_bytes(nonce),
    };
    let signers: Vec<&dyn Signer> = keys.iter().map(|key| key.signer() as &dyn Signer).collect();
    Ok(transaction.sign(&signers)?)
}

/// Submits one transaction.
pub fn submit(
    client: &mut Client,
    transaction: &SignedTransaction,
) -> Result<SubmitResult, ClientError> {
    client.post("/v1/transactions", BINARY_ONE, &transaction.encode())
}

/// Submits several transactions at once.
pub fn submit_all<'a>(
    client: &mut Client,
    transactions: impl IntoIterator<Item = &'a SignedTransaction>,
) -> Result<Vec<SubmitResult>, ClientError> {
    let list: Vec<TransactionBytes> = transactions
        .into_iter()
        .map(|transaction| TransactionBytes::new(transaction.encode()))
        .collect();
    client.post("/v1/transactions", BINARY_LIST, &wire::encode(&list))
}

/// Waits until a transaction is final and its proof is there, at most `patience`. Returns what is
/// known then.
pub fn wait_final(
    client: &mut Client,
    id: TransactionId,
    patience: Duration,
) -> Result<Option<TransactionView>, ClientError> {
    let until = Instant::now() + patience;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let wait_ms = u64::try_from(left.as_millis())
            .unwrap_or(POLL_MS)
            .min(POLL_MS);
        match client.get::<TransactionView>(&format!("/v1/transactions/{id}?wait_ms={wait_ms}")) {
            Ok(found) if found.proof.is_some() || left.is_zero() => return Ok(Some(found)),
            Ok(_) => {}
            Err(error) if error.code() == Some("unknown_transaction") => {
                if left.is_zero() {
                    return Ok(None);
                }
            }
            Err(error) => return Err(error),
        }
    }
}
