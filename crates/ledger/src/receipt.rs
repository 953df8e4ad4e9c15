//! What became of a transaction.

use crate::{LockId, Rejection, TransactionId};
use alloc::vec::Vec;
use polity_crypto::{Preimage, Sha256Digest, domain};
use polity_merkle::leaf_hash;
use polity_types::{Amount, Height};

/// What a transaction did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Every command was applied. Locks made by several commands have the ids of
    /// [`LockId::derive`].
    Applied,
    /// The one command made this lock.
    Locked(LockId),
}

/// What became of a transaction in a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Receipt {
    /// The transaction.
    pub id: TransactionId,
    /// Height of the block.
    pub height: Height,
    /// Zero-based place in the block.
    pub index: u32,
    /// What it paid, whatever the outcome (LG-8).
    pub fee: Amount,
    /// What it did, or why it did nothing.
    pub outcome: Result<Outcome, Rejection>,
    /// Zero-based number of the command that was refused.
    pub refused_command: Option<u8>,
}

impl Receipt {
    /// Leaf of the receipts tree.
    pub fn leaf(&self) -> Sha256Digest {
        let (tag, code) = match &self.outcome {
            Ok(Outcome::Applied) => (0, 0),
            Ok(Outcome::Locked(_)) => (1, 0),
            Err(rejection) => (2, rejection.code()),
        };
        let mut preimage = Preimage::new(domain::RECEIPT)
            .array(self.id.as_bytes())
            .u64(self.height.get())
            .u32(self.index)
            .u128(self.fee.units())
            .u8(tag)
            .u32(u32::from(code))
            // One more than the number, so that 0 says "none".
            .u8(self
                .refused_command
                .map_or(0, |number| number.saturating_add(1)));
        if let Ok(Outcome::Locked(lock)) = &self.outcome {
            preimage = preimage.array(lock.as_bytes());
        }
        leaf_hash(preimage.as_slice())
    }
}

/// Root of the receipts of one block, in block order.
pub fn receipts_root(receipts: &[Receipt]) -> Sha256Digest {
    let leaves: Vec<_> = receipts.iter().map(Receipt::leaf).collect();
    polity_merkle::root_of(&leaves)
}
