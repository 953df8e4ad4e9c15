//! What a block does (LG-7, LG-8, LG-14).
//!
//! ```text
//! expiries       at most expiries_per_block_max due locks, by (expires, id)
//! transactions   in block order: admissible? -> fee -> commands -> receipt -> recent ids
//! pruning        ids whose last height this was the last block after
//! ```
//!
//! Applying, validating and choosing are one procedure; they differ in what happens to a
//! transaction that may not stand where it stands, and to the changes in the end.

use crate::execute::{Block, Hint};
use crate::state::{Change, Entry, LockState, State};
use crate::{Inadmissible, LockId, Outcome, Receipt, SignedTransaction, TransactionId};
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use polity_types::{Amount, Height};

impl State {
    /// Expires due locks (LG-7).
    pub(crate) fn expire(&mut self, block: &Block) -> Vec<LockId> {
        let mut expired = Vec::new();
        while expired.len() < self.parameters.expiries_per_block_max as usize
            && let Some(slot) = self.locks.first_due(block.time)
        {
            expired.push(self.locks.get(slot).id);
            self.settle(block, slot, LockState::Expired, 0);
        }
        expired
    }

    /// Runs one transaction, or says why no block may hold it here and changes nothing.
    ///
    /// `undecided` holds the ids of the block's transactions that were refused for now: they are
    /// not remembered, but one block holds each id once.
    pub(crate) fn run(
        &mut self,
        block: &Block,
        index: u32,
        transaction: &SignedTransaction,
        hint: Hint,
        undecided: &mut BTreeSet<TransactionId>,
    ) -> Result<Receipt, Inadmissible> {
        let id = transaction.id();
        self.admit(block.at, transaction)?;
        if !undecided.is_empty() && undecided.contains(&id) {
            return Err(Inadmissible::DuplicateInBlock);
        }
        let fee = self.fee(transaction.length());
        if !fee.is_zero() {
            // LG-8: the fee is due whatever becomes of the transaction.
            let payer = self.fee_payer(transaction, fee)?;
            self.pay_fee(block, payer, fee);
        }
        let mut receipt = Receipt {
            id,
            height: block.at,
            index,
            fee,
            outcome: Ok(Outcome::Applied),
            refused_command: None,
        };
        let mark = self.changes.0.len();
        let count = transaction.transaction().commands.len() as u8;
        for item in 0..count {
            match self.execute(block, transaction, item, hint) {
                Ok(Some(lock)) if count == 1 => receipt.outcome = Ok(Outcome::Locked(lock)),
                Ok(_) => {}
                Err(rejection) => {
                    // LG-5: together or not at all.
                    self.undo_to(mark);
                    receipt.outcome = Err(rejection);
                    receipt.refused_command = Some(item);
                    break;
                }
            }
        }
        match receipt.outcome {
            // LG-8: a refusal for now leaves the id unused, unless it was paid for: a proposer could
            // else put the transaction into block after block and collect each time.
            Err(rejection) if rejection.is_transient() && fee.is_zero() => {
                undecided.insert(id);
            }
            Ok(_) | Err(_) => {
                let entry = Entry::new(&receipt, transaction.length());
                let until = transaction.transaction().valid_until;
                let bucket = self.recent.push(until, entry);
                self.changes.0.push(Change::Remembered { bucket });
            }
        }
        Ok(receipt)
    }

    /// Whether a block at height `at` may hold the transaction, its fee apart (LG-4).
    pub(crate) fn admit(
        &self,
        at: Height,
        transaction: &SignedTransaction,
    ) -> Result<(), Inadmissible> {
        let content = transaction.transaction();
        if content.chain != self.chain {
            return Err(Inadmissible::WrongChain);
        }
        if at > content.valid_until {
            return Err(Inadmissible::Expired);
        }
        if content.valid_until > at.saturating_add(self.parameters.validity_horizon) {
            return Err(Inadmissible::TooFar);
        }
        match self.recent.find(&transaction.id()) {
            Some(entry) if entry.height == at => Err(Inadmissible::DuplicateInBlock),
            Some(_) => Err(Inadmissible::IdInWindow),
            None => Ok(()),
        }
    }

    /// What a transaction of this length costs (LG-12).
    pub(crate) fn fee(&self, length: u32) -> Amount {
        let bytes = self.parameters.fee_per_byte.units() * u128::from(length);
        Amount::from_units(self.parameters.fee_flat.units() + bytes)
    }

    /// The account that pays the fee. Only its owner can make it pay.
    pub(crate) fn fee_payer(
        &self,
        transaction: &SignedTransaction,
        fee: Amount,
    ) -> Result<u32, Inadmissible> {
        let slot = self
            .accounts
            .find(&transaction.transaction().signer)
            .ok_or(Inadmissible::CannotPayFee)?;
        let account = self.accounts.get(slot);
        let may_pay = !account.is_closed()
            && transaction.fingerprints().first() == Some(&account.owner)
            && account.balance.available() >= fee.units();
        may_pay.then_some(slot).ok_or(Inadmissible::CannotPayFee)
    }
}
