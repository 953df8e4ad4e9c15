//! Proofs for a light client, which knows a state root or a receipts root and nothing else.

use crate::state::{AccountView, LockView};
use crate::{Address, Ledger, LockId, Receipt, Sections, Transaction};
use polity_crypto::Sha256Digest;
use polity_merkle::{InclusionProof, IndexedTree};
use polity_types::ProofError;

/// Shows that an account or a lock is part of the state with a known root (LG-10).
///
/// The roots after height `h` stand in the header of height `h + 1`.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct StateProof<T> {
    /// What is proven.
    pub value: T,
    /// Its place in its section.
    pub inclusion: InclusionProof,
    /// What the state root is made of.
    pub sections: Sections,
}

impl StateProof<AccountView> {
    /// The account, if it is part of the state with this root.
    ///
    /// # Errors
    ///
    /// If it is not, without detail.
    pub fn verify(&self, root: &Sha256Digest) -> Result<&AccountView, ProofError> {
        let section = (&self.sections.accounts, self.sections.accounts_len);
        self.check(root, section, &self.value.leaf())
    }
}

impl StateProof<LockView> {
    /// The lock, if it is part of the state with this root.
    ///
    /// # Errors
    ///
    /// If it is not, without detail.
    pub fn verify(&self, root: &Sha256Digest) -> Result<&LockView, ProofError> {
        let section = (&self.sections.locks, self.sections.locks_len);
        self.check(root, section, &self.value.leaf())
    }
}

impl<T> StateProof<T> {
    fn check(
        &self,
        root: &Sha256Digest,
        (section, length): (&Sha256Digest, u64),
        leaf: &Sha256Digest,
    ) -> Result<&T, ProofError> {
        // The tree's size is under the root, so the index in the proof is the slot.
        if self.inclusion.size != length || self.sections.root() != *root {
            return Err(ProofError);
        }
        self.inclusion.verify(section, leaf)?;
        Ok(&self.value)
    }
}

/// Shows what became of a transaction, to somebody who knows the receipts root of its block.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ReceiptProof {
    /// What is proven.
    pub receipt: Receipt,
    /// Its place among the receipts of the block.
    pub inclusion: InclusionProof,
}

impl ReceiptProof {
    /// Proves the receipt at the place `index` of a block.
    pub fn new(receipts: &[Receipt], index: u32) -> Option<Self> {
        let receipt = *receipts.get(index as usize)?;
        let mut tree = IndexedTree::new();
        for receipt in receipts {
            tree.push(receipt.leaf());
        }
        let inclusion = tree.inclusion(u64::from(index)).ok()?;
        Some(Self { receipt, inclusion })
    }

    /// The receipt, if the block with this receipts root has it.
    ///
    /// # Errors
    ///
    /// If it has not, without detail.
    pub fn verify(&self, receipts_root: &Sha256Digest) -> Result<&Receipt, ProofError> {
        // No transaction has so many commands; and the leaf would read such a number as another.
        let is_possible = self
            .receipt
            .refused_command
            .is_none_or(|number| usize::from(number) < Transaction::COMMANDS_MAX);
        if !is_possible || self.inclusion.index != u64::from(self.receipt.index) {
            return Err(ProofError);
        }
        self.inclusion.verify(receipts_root, &self.receipt.leaf())?;
        Ok(&self.receipt)
    }
}

impl Ledger {
    /// Proves an account under the present root.
    pub fn prove_account(&mut self, address: &Address) -> Option<StateProof<AccountView>> {
        let slot = self.state.accounts.find(address)?;
        let sections = self.sections();
        let inclusion = self.state.accounts.tree().inclusion(u64::from(slot)).ok()?;
        Some(StateProof {
            value: self.state.accounts.view(slot),
            inclusion,
            sections,
        })
    }

    /// Proves a lock under the present root.
    pub fn prove_lock(&mut self, id: &LockId) -> Option<StateProof<LockView>> {
        let slot = self.state.locks.find(id)?;
        let sections = self.sections();
        let inclusion = self.state.locks.tree().inclusion(u64::from(slot)).ok()?;
        Some(StateProof {
            value: self.state.lock_view(slot),
            inclusion,
            sections,
        })
    }
}
