//! Clients: a seeded stream of transfers and of payments in two phases.

use crate::federation::Federation;
use polity_crypto::Signer;
use polity_ledger::{
    Command, CommitteeChange, LockId, SignedTransaction, Transaction, TransactionId,
};
use polity_types::{Amount, Height, Stream, Time};
use std::collections::{BTreeSet, VecDeque};
use std::rc::Rc;

/// Locks that clients remember in order to settle them; the oldest are left to expire.
const LOCKS_MAX: usize = 64;

/// A lock that clients may settle.
#[derive(Clone, Copy, Debug)]
struct Pending {
    id: LockId,
    from: usize,
    to: usize,
    amount: Amount,
}

/// Makes transactions.
#[derive(Debug)]
pub(crate) struct Clients {
    federation: Rc<Federation>,
    random: Stream,
    nonce: u64,
    locks: VecDeque<Pending>,
    /// Transactions that are too old or too young for the next block. A replica that is behind may
    /// promise to keep them, and cannot.
    untimely: BTreeSet<TransactionId>,
}

impl Clients {
    pub(crate) fn new(federation: Rc<Federation>, random: Stream) -> Self {
        Self {
            federation,
            random,
            nonce: 0,
            locks: VecDeque::new(),
            untimely: BTreeSet::new(),
        }
    }

    /// Whether no block may ever hold the transaction.
    pub(crate) fn is_untimely(&self, id: &TransactionId) -> bool {
        self.untimely.contains(id)
    }

    /// The stream that also decides where transactions go.
    pub(crate) fn random(&mut self) -> &mut Stream {
        &mut self.random
    }

    /// The next transaction: mostly transfers, locks, and settlements of earlier locks; some of
    /// them cannot succeed.
    pub(crate) fn next(&mut self, now: Time, height: Height) -> SignedTransaction {
        let count = self.federation.clients.len() as u64;
        let from = self.random.below(count) as usize;
        let to = self.random.below(count) as usize;
        match self.random.below(20) {
            0..7 => self.transfer(from, to, height),
            7 => self.theft(from, to, height),
            8..14 => self.lock(from, to, now, height),
            _ => match self.locks.pop_front() {
                Some(lock) => {
                    // Some are settled again, by somebody who does not know.
                    if self.random.below(8) == 0 {
                        self.locks.push_back(lock);
                    }
                    self.settle(lock, height)
                }
                None => self.transfer(from, to, height),
            },
        }
    }

    fn transfer(&mut self, from: usize, to: usize, height: Height) -> SignedTransaction {
        // One in sixteen is more than anybody has, and another one is nothing.
        let amount = match self.random.below(16) {
            0 => Amount::from_atp(1_000_000),
            1 => Amount::ZERO,
            _ => Amount::from_units(1 + u128::from(self.random.below(20_000_000))),
        };
        let command = Command::Transfer {
            from: self.federation.clients[from].address.clone(),
            to: self.federation.clients[to].address.clone(),
            amount,
        };
        self.sign(from, None, command, height)
    }

    /// A transfer from an account that the signer does not own.
    fn theft(&mut self, from: usize, to: usize, height: Height) -> SignedTransaction {
        let command = Command::Transfer {
            from: self.federation.clients[from].address.clone(),
            to: self.federation.clients[to].address.clone(),
            amount: Amount::from_units(1 + u128::from(self.random.below(1_000_000))),
        };
        self.sign(to, None, command, height)
    }

    /// A lock between two accounts that expires at a time, and that clients settle sooner or later
    /// or never.
    pub(crate) fn lock_until(
        &mut self,
        expires: Time,
        height: Height,
        is_settled: bool,
    ) -> SignedTransaction {
        loop {
            let transaction = self.lock_for(0, 1, expires, height);
            if !is_settled || self.is_untimely(&transaction.id()) {
                self.locks.pop_back();
            }
            if !self.is_untimely(&transaction.id()) {
                return transaction;
            }
        }
    }

    fn lock(&mut self, from: usize, to: usize, now: Time, height: Height) -> SignedTransaction {
        // Some expire before anybody settles them.
        let expires = now.saturating_add(core::time::Duration::from_millis(
            200 + self.random.below(20_000),
        ));
        self.lock_for(from, to, expires, height)
    }

    fn lock_for(
        &mut self,
        from: usize,
        to: usize,
        expires: Time,
        height: Height,
    ) -> SignedTransaction {
        let amount = Amount::from_units(1 + u128::from(self.random.below(20_000_000)));
        let command = Command::Lock {
            from: self.federation.clients[from].address.clone(),
            to: self.federation.clients[to].address.clone(),
            amount,
            expires,
        };
        let transaction = self.sign(from, None, command, height);
        self.locks.push_back(Pending {
            id: LockId::derive(&transaction.id(), 0),
            from,
            to,
            amount,
        });
        if self.locks.len() > LOCKS_MAX {
            self.locks.pop_front();
        }
        transaction
    }

    fn settle(&mut self, lock: Pending, height: Height) -> SignedTransaction {
        let platform = self.federation.clients[lock.to].address.platform();
        let number = self
            .federation
            .genesis
            .ledger
            .platforms
            .iter()
            .position(|row| row.name.as_str() == platform);
        match self.random.below(6) {
            5 => {
                // The payer takes back what it promised, or pays a part of it.
                let reason = "second thoughts".parse().expect("a short text");
                let command = match self.random.below(2) {
                    0 => Command::Rollback {
                        lock: lock.id,
                        reason,
                    },
                    _ => Command::Commit {
                        lock: lock.id,
                        amount: Amount::from_units(1.max(lock.amount.units() / 2)),
                    },
                };
                self.sign(lock.from, None, command, height)
            }
            0 => {
                let reason = "not delivered".parse().expect("a short text");
                let command = Command::Rollback {
                    lock: lock.id,
                    reason,
                };
                self.sign(lock.from, number, command, height)
            }
            1 => {
                // The payer for the whole amount.
                let command = Command::Commit {
                    lock: lock.id,
                    amount: lock.amount,
                };
                self.sign(lock.from, None, command, height)
            }
            _ => {
                // The payee's platform for a part; the rest returns.
                let part = 1 + self.random.below(lock.amount.units() as u64);
                let command = Command::Commit {
                    lock: lock.id,
                    amount: Amount::from_units(u128::from(part)),
                };
                self.sign(lock.to, number, command, height)
            }
        }
    }

    /// A transaction of the authority, which a client pays for.
    pub(crate) fn decree(
        &mut self,
        changes: Vec<CommitteeChange>,
        height: Height,
    ) -> SignedTransaction {
        self.nonce += 1;
        let horizon = self.federation.genesis.ledger.parameters.validity_horizon;
        let client = &self.federation.clients[0];
        let signers = [&client.owner, &self.federation.authority];
        let changes = changes.into_iter();
        let transaction = Transaction {
            chain: self.federation.chain.id(),
            signer: client.address.clone(),
            keys: signers.map(|signer| signer.public_key().clone()).to_vec(),
            commands: changes
                .map(|change| Command::ChangeCommittee { change })
                .collect(),
            valid_until: height.saturating_add(horizon - 100),
            nonce: self.nonce,
        };
        let signers = signers.map(|signer| signer as &dyn Signer);
        let transaction = transaction.sign(&signers);
        transaction.expect("two keys and a few commands")
    }

    fn sign(
        &mut self,
        signer: usize,
        platform: Option<usize>,
        command: Command,
        height: Height,
    ) -> SignedTransaction {
        self.nonce += 1;
        // A few are over already, or last longer than the genesis allows (LG-4).
        let horizon = self.federation.genesis.ledger.parameters.validity_horizon;
        let (valid_until, is_untimely) = match self.random.below(48) {
            0 => (height, true),
            1 => (height.saturating_add(horizon + 500), true),
            _ => (height.saturating_add(horizon - 100), false),
        };
        let client = &self.federation.clients[signer];
        let mut signers: Vec<&dyn Signer> = vec![&client.owner];
        if let Some(number) = platform {
            signers.push(&self.federation.platforms[number]);
        }
        let transaction = Transaction {
            chain: self.federation.chain.id(),
            signer: client.address.clone(),
            keys: signers.iter().map(|s| s.public_key().clone()).collect(),
            commands: vec![command],
            valid_until,
            nonce: self.nonce,
        };
        let transaction = transaction
            .sign(&signers)
            .expect("one or two keys, one command");
        if is_untimely {
            self.untimely.insert(transaction.id());
        }
        transaction
    }
}
