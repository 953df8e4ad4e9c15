//! The replica's side of the pool: what clients and members send, until a block holds it (FB-8).

use crate::executor::Shared;
use crate::input::{Admission, Effect, Frame, Record};
use crate::pool::{Principal, Refusal, Standing};
use crate::replica::Replica;
use alloc::vec::Vec;
use polity_consensus::fbpbft::TransactionBytes;
use polity_crypto::{Signer, Verified, Verifier};
use polity_ledger::{Inadmissible, Ledger, Role, SignedTransaction};
use polity_types::{Effects, Height, Time, View, wire};

/// Bytes of transactions in one frame, at most: hosts give this lane small frames, so that many
/// senders share it.
const GATHER_BYTES_MAX: usize = 128 * 1024;

/// Parked transactions that are looked at after each block, at most.
const UNPARK_MAX: usize = 256;

/// The pool is searched for expired transactions every so many heights.
pub(crate) const EXPIRY_EVERY: u64 = 16;

impl<S: Signer, V: Verifier + Clone> Replica<S, V> {
    /// Transactions for a block at `time`, fairly from all accounts. Those that no block can hold
    /// any more leave the pool. `taken` bytes of the block are spoken for.
    pub(crate) fn select(&mut self, time: Time, taken: usize) -> Vec<TransactionBytes> {
        if self.pool.is_empty() {
            return Vec::new();
        }
        let Some(fee_account) = self.executor.fee_account(self.id()).cloned() else {
            return Vec::new();
        };
        let count_max = self.executor.ledger.parameters().transactions_per_block_max as usize;
        // Room stays free for the header, the certificate and the length of each transaction.
        let certificate = self.tip.certificate.as_ref().map_or(0, wire::encoded_len);
        let reserved = taken + certificate + 1_024 + 3 * count_max.min(self.pool.len());
        let length_max = (self.engine.machine().config().block_bytes_max).saturating_sub(reserved);
        let candidates = self.pool.candidates(count_max, length_max);
        let refs: Vec<&Verified<SignedTransaction>> = candidates
            .transactions
            .iter()
            .map(|shared| &**shared)
            .collect();
        let selection = self
            .executor
            .ledger
            .select(time, &fee_account, &refs, length_max);
        self.pool.serve(&candidates);
        let next = self.next_height();
        for (place, _) in &selection.refused {
            // Some only have to wait until others in front of them are decided.
            let id = refs[*place].id();
            match self.executor.ledger.check(next, refs[*place]) {
                Ok(()) => {}
                Err(Inadmissible::CannotPayFee) => self.pool.park(&id),
                Err(_) => {
                    self.pool.remove(&id);
                }
            }
        }
        selection
            .taken
            .iter()
            .map(|place| TransactionBytes::new(refs[*place].encode()))
            .collect()
    }

    /// Transactions of this replica's clients.
    pub(crate) fn on_submitted(
        &mut self,
        now: Time,
        transactions: Vec<Verified<SignedTransaction>>,
        out: &mut Effects<Effect>,
    ) {
        let next = self.next_height();
        let forward_at = now.saturating_add(self.config.gather);
        for transaction in transactions {
            let id = transaction.id();
            let bytes = TransactionBytes::new(transaction.encode());
            let result = self.promise(next, forward_at, transaction);
            if matches!(result, Ok(Admission::Pending)) {
                out.push(Effect::Persist(Record::Pooled(bytes)));
            }
            out.push(Effect::Answer { id, result });
        }
    }

    /// What a client is told about its transaction. `Pending` needs a record first.
    fn promise(
        &mut self,
        next: Height,
        forward_at: Time,
        transaction: Verified<SignedTransaction>,
    ) -> Result<Admission, Refusal> {
        let id = transaction.id();
        if self.pool.contains(&id) {
            // What only another member keeps so far is ours to keep from now on.
            return Ok(match self.pool.promise(&id) {
                Ok(true) => Admission::Pending,
                Ok(false) => Admission::Known,
                Err(_) => Admission::Passing,
            });
        }
        let ledger = &self.executor.ledger;
        if let Some(receipt) = ledger.receipt(&id) {
            // LG-4: submitting an id again returns its receipt, whatever became of its keys.
            return Ok(Admission::Decided(receipt));
        }
        ledger.check(next, &transaction)?;
        let (principal, is_known) = principal(ledger, &transaction);
        if !is_known {
            return Err(Refusal::UnknownKey);
        }
        self.pool
            .insert(forward_at, principal, Standing::Promised, transaction)?;
        Ok(Admission::Pending)
    }

    /// Transactions that another member gathered. They are kept, and sent on only if they are
    /// still here after a while: usually everybody has them.
    pub(crate) fn on_gossiped(
        &mut self,
        now: Time,
        transactions: Vec<Verified<SignedTransaction>>,
    ) {
        let next = self.next_height();
        let forward_at = now.saturating_add(self.config.forward_after);
        for transaction in transactions {
            let ledger = &self.executor.ledger;
            if self.pool.contains(&transaction.id()) || ledger.check(next, &transaction).is_err() {
                continue;
            }
            // Keys that nobody knows are free to make, and would fill the pool.
            if let (principal, true) = principal(ledger, &transaction) {
                // A full pool is no fault of the sender; the transaction waits elsewhere.
                let _ = self
                    .pool
                    .insert(forward_at, principal, Standing::Passing, transaction);
            }
        }
    }

    /// Sends what was gathered to all members. From then on it counts as work that everybody
    /// knows of (FB-8).
    pub(crate) fn forward(&mut self, now: Time, out: &mut Effects<Effect>) {
        let batch = self
            .pool
            .forward(now, self.config.gather_max, GATHER_BYTES_MAX);
        broadcast(&batch, out);
    }

    /// Sends once more what waits for too long. One lost frame would otherwise keep a transaction
    /// from everybody else for ever, where this replica alone has something to decide.
    pub(crate) fn repeat(&mut self, now: Time, out: &mut Effects<Effect>) {
        if self.repeat_at.is_none_or(|at| at > now) {
            return;
        }
        self.repeat_at = None;
        let batch = self
            .pool
            .candidates(self.config.gather_max, GATHER_BYTES_MAX);
        broadcast(&batch.transactions, out);
    }

    /// Forgets transactions that no block can hold any more: decided, expired, or without means.
    /// They are no work, so they must not make anybody change the view.
    pub(crate) fn prune(&mut self) {
        let position = (self.next_height(), self.engine.machine().view());
        if self.pruned == position {
            return;
        }
        self.pruned = position;
        if position.1 > View::ZERO || position.0.get().is_multiple_of(EXPIRY_EVERY) {
            let ledger = &self.executor.ledger;
            let mut cannot_pay = Vec::new();
            self.pool
                .retain(|waiting| match ledger.check(position.0, waiting) {
                    Ok(()) => true,
                    Err(Inadmissible::CannotPayFee) => {
                        cannot_pay.push(waiting.id());
                        true
                    }
                    Err(_) => false,
                });
            for id in cannot_pay {
                self.pool.park(&id);
            }
        }
    }

    /// Looks through some of the parked transactions, those longest not looked at first: a payer
    /// may be able to pay by now.
    pub(crate) fn unpark(&mut self, now: Time) {
        let next = self.next_height();
        let some = self.pool.parked(self.unparked, UNPARK_MAX);
        self.unparked = some.last().map(|waiting| waiting.id());
        for waiting in some {
            let id = waiting.id();
            match self.executor.ledger.check(next, &waiting) {
                Ok(()) => self.pool.unpark(now, &id),
                Err(Inadmissible::CannotPayFee) => {}
                Err(_) => {
                    self.pool.remove(&id);
                }
            }
        }
    }
}

/// Who stands behind a transaction, and whether it is anybody whom the ledger knows.
pub(crate) fn principal(ledger: &Ledger, transaction: &SignedTransaction) -> (Principal, bool) {
    let role = ledger.role(transaction);
    let principal = match (role, transaction.fingerprints().first()) {
        (Some(Role::Platform | Role::Authority) | None, Some(key)) => Principal::Key(*key),
        (Some(Role::Owner), _) | (_, None) => {
            Principal::Account(transaction.transaction().signer.clone())
        }
    };
    (principal, role.is_some())
}

/// Sends transactions to all members.
fn broadcast(batch: &[Shared], out: &mut Effects<Effect>) {
    if !batch.is_empty() {
        let transactions = batch
            .iter()
            .map(|shared| TransactionBytes::new(shared.encode()))
            .collect();
        out.push(Effect::Broadcast(Frame::Transactions(transactions)));
    }
}
