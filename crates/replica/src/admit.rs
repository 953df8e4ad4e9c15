//! The one door for transactions.

use polity_crypto::{Checker, Tier, Verified, Verifier, VerifyError};
use polity_ledger::SignedTransaction;
use polity_types::ChainId;
use polity_types::wire::DecodeError;

/// Why bytes are no transaction for this chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdmitError {
    /// The bytes are no transaction.
    #[error("the bytes are no transaction: {0}")]
    Decode(#[from] DecodeError),
    /// It was signed for another chain.
    #[error("the transaction belongs to another chain")]
    WrongChain,
    /// A key is of a suite below the floor of the genesis (CR-6).
    #[error("a key of the transaction is of a weaker tier than this federation accepts")]
    BelowFloor,
    /// A signature does not hold.
    #[error("a signature of the transaction does not hold")]
    Signature(#[from] VerifyError),
}

/// Decodes and verifies a transaction: size, canonical form, chain, tier, every signature (CR-9).
pub fn admit<V: Verifier>(
    bytes: &[u8],
    chain: ChainId,
    floor: Tier,
    checker: &mut Checker<V>,
) -> Result<Verified<SignedTransaction>, AdmitError> {
    let transaction = SignedTransaction::decode(bytes)?;
    verify(transaction, chain, floor, checker)
}

/// The same for a decoded transaction.
pub(crate) fn verify<V: Verifier>(
    transaction: SignedTransaction,
    chain: ChainId,
    floor: Tier,
    checker: &mut Checker<V>,
) -> Result<Verified<SignedTransaction>, AdmitError> {
    let content = transaction.transaction();
    if content.chain != chain {
        return Err(AdmitError::WrongChain);
    }
    if content.keys.iter().any(|key| key.suite().tier() < floor) {
        return Err(AdmitError::BelowFloor);
    }
    Ok(Verified::check(transaction, &chain, checker)?)
}
