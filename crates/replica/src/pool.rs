//! Transactions that wait for a block.
//!
//! The pool is bounded by count and bytes, knows each transaction once, and is fair: every account
//! has its own queue, blocks take from the queues in turn, and when the pool is full an account with
//! a longer queue gives way to one with a shorter.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;
use polity_crypto::{Sha256Digest, Verified};
use polity_ledger::{Address, Inadmissible, SignedTransaction, TransactionId};
use polity_types::Time;

/// Bounds of the pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolConfig {
    /// Transactions, at most.
    pub count_max: usize,
    /// Bytes of encoded transactions, at most.
    pub bytes_max: usize,
    /// Transactions of one account, at most.
    pub per_account_max: usize,
}

impl Default for PoolConfig {
    fn default() -> Self {
        Self {
            count_max: 65_536,
            bytes_max: 64 * 1024 * 1024,
            per_account_max: 16_384,
        }
    }
}

/// Why the pool does not take a transaction. Nothing was stored; it may be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No block could hold it.
    #[error(transparent)]
    Inadmissible(#[from] Inadmissible),
    /// The account has as many transactions waiting as it may.
    #[error("the account has {max} transactions waiting: send again when some are decided")]
    AccountFull {
        /// The limit.
        max: usize,
    },
    /// The pool is full of accounts with no more than this one has.
    #[error("the pool is full: send again later")]
    PoolFull,
}

/// A transaction with its bytes, as it travels.
#[derive(Clone, Debug)]
pub(crate) struct Waiting {
    pub(crate) transaction: Arc<Verified<SignedTransaction>>,
    /// When this replica has to send it to all members; nothing once it did.
    pub(crate) forward_at: Option<Time>,
}

/// The pool.
#[derive(Clone, Debug)]
pub struct Pool {
    config: PoolConfig,
    by_id: BTreeMap<TransactionId, Waiting>,
    queues: BTreeMap<Address, VecDeque<TransactionId>>,
    /// The accounts by the length of their queues, so that the longest is found at once.
    lengths: BTreeSet<(usize, Address)>,
    bytes: usize,
    /// What is still to be sent to all members, and when.
    unforwarded: BTreeSet<(Time, TransactionId)>,
    /// The account served last; the next block starts behind it.
    turn: Option<Address>,
}

impl Pool {
    /// An empty pool.
    pub fn new(config: PoolConfig) -> Self {
        Self {
            config,
            by_id: BTreeMap::new(),
            queues: BTreeMap::new(),
            lengths: BTreeSet::new(),
            bytes: 0,
            unforwarded: BTreeSet::new(),
            turn: None,
        }
    }

    /// Number of waiting transactions.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// Bytes of the waiting transactions, encoded.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether a transaction waits that this replica sent to all members.
    pub fn has_forwarded(&self) -> bool {
        self.by_id.len() > self.unforwarded.len()
    }

    /// Whether the transaction waits.
    pub fn contains(&self, id: &TransactionId) -> bool {
        self.by_id.contains_key(id)
    }

    /// The waiting transaction whose encoding is exactly `bytes`.
    ///
    /// Its signatures were verified, so they need not be verified again. Other bytes with the same
    /// id carry other signatures and say nothing.
    pub(crate) fn verified(
        &self,
        id: &Sha256Digest,
        bytes: &[u8],
    ) -> Option<Arc<Verified<SignedTransaction>>> {
        let waiting = self.by_id.get(&TransactionId::new(*id.as_bytes()))?;
        (waiting.transaction.encode() == bytes).then(|| waiting.transaction.clone())
    }

    /// Takes a transaction in that waits nowhere yet, to be sent to all members at `forward_at`.
    /// The caller asked the ledger before.
    pub(crate) fn insert(
        &mut self,
        forward_at: Time,
        transaction: Verified<SignedTransaction>,
    ) -> Result<(), Refusal> {
        let size = transaction.length() as usize;
        let own = self
            .queues
            .get(&transaction.transaction().signer)
            .map_or(0, VecDeque::len);
        if own >= self.config.per_account_max {
            return Err(Refusal::AccountFull {
                max: self.config.per_account_max,
            });
        }
        let mut evicted = Vec::new();
        while self.by_id.len() >= self.config.count_max || self.bytes + size > self.config.bytes_max
        {
            let Some(newest) = self.newest_of_longest(own) else {
                // A refusal costs nobody else a place: what was newest in its queue is so again.
                evicted.into_iter().rev().for_each(|back| self.put(back));
                return Err(Refusal::PoolFull);
            };
            evicted.extend(self.remove(&newest));
        }
        self.put(Waiting {
            transaction: Arc::new(transaction),
            forward_at: Some(forward_at),
        });
        Ok(())
    }

    /// Adds a transaction behind the others of its account.
    fn put(&mut self, waiting: Waiting) {
        let id = waiting.transaction.id();
        let signer = &waiting.transaction.transaction().signer;
        self.bytes += waiting.transaction.length() as usize;
        if let Some(at) = waiting.forward_at {
            self.unforwarded.insert((at, id));
        }
        let queue = self.queues.entry(signer.clone()).or_default();
        self.lengths.remove(&(queue.len(), signer.clone()));
        queue.push_back(id);
        self.lengths.insert((queue.len(), signer.clone()));
        self.by_id.insert(id, waiting);
    }

    /// The newest transaction of the longest queue, if that is longer than one of `own` would be
    /// with one more.
    fn newest_of_longest(&self, own: usize) -> Option<TransactionId> {
        let (length, account) = self.lengths.last()?;
        (*length > own + 1)
            .then(|| self.queues.get(account)?.back().copied())
            .flatten()
    }

    /// Forgets a transaction.
    pub(crate) fn remove(&mut self, id: &TransactionId) -> Option<Waiting> {
        let waiting = self.by_id.remove(id)?;
        self.bytes -= waiting.transaction.length() as usize;
        if let Some(at) = waiting.forward_at {
            self.unforwarded.remove(&(at, *id));
        }
        let signer = &waiting.transaction.transaction().signer;
        if let Some(queue) = self.queues.get_mut(signer) {
            self.lengths.remove(&(queue.len(), signer.clone()));
            // Blocks take from the front and a full pool from the back, so the search is short.
            if queue.back() == Some(id) {
                queue.pop_back();
            } else if let Some(place) = queue.iter().position(|queued| queued == id) {
                queue.remove(place);
            }
            if queue.is_empty() {
                self.queues.remove(signer);
            } else {
                self.lengths.insert((queue.len(), signer.clone()));
            }
        }
        Some(waiting)
    }

    /// Forgets every transaction for which `keep` says no.
    pub(crate) fn retain(&mut self, keep: impl Fn(&SignedTransaction) -> bool) {
        let gone: Vec<TransactionId> = self
            .by_id
            .iter()
            .filter(|(_, waiting)| !keep(&waiting.transaction))
            .map(|(id, _)| *id)
            .collect();
        for id in gone {
            self.remove(&id);
        }
    }

    /// The next transactions for a block, one of each account in turn, oldest first. The turn is
    /// the same until [`serve`](Self::serve) moves it.
    pub(crate) fn candidates(&self, count_max: usize) -> Vec<Arc<Verified<SignedTransaction>>> {
        let mut accounts: Vec<&Address> = self.queues.keys().collect();
        let start = match &self.turn {
            None => 0,
            Some(last) => accounts.partition_point(|account| *account <= last),
        };
        accounts.rotate_left(start);
        let mut queues: Vec<_> = accounts
            .into_iter()
            .filter_map(|account| Some(self.queues.get(account)?.iter()))
            .collect();
        let mut chosen = Vec::new();
        while !queues.is_empty() && chosen.len() < count_max {
            queues.retain_mut(|queue| match queue.next() {
                Some(id) if chosen.len() < count_max => {
                    chosen.extend(self.by_id.get(id).map(|waiting| &waiting.transaction));
                    true
                }
                Some(_) | None => false,
            });
        }
        chosen.into_iter().cloned().collect()
    }

    /// The last account that had its turn. A block may hold fewer transactions than were offered,
    /// and whoever was left out for want of room comes first in the next one.
    pub(crate) fn serve(&mut self, last: &Address) {
        self.turn = Some(last.clone());
    }

    /// Transactions that are to be sent to all members by now: up to `count_max`, and up to
    /// `bytes_max` encoded bytes or one. They count as forwarded from now on.
    pub(crate) fn forward(
        &mut self,
        now: Time,
        count_max: usize,
        bytes_max: usize,
    ) -> Vec<Arc<Verified<SignedTransaction>>> {
        let mut chosen = Vec::new();
        let mut bytes = 0;
        while chosen.len() < count_max
            && let Some((at, id)) = self.unforwarded.first().copied()
            && at <= now
        {
            let Some(waiting) = self.by_id.get_mut(&id) else {
                // Cannot happen: what leaves one leaves the other.
                self.unforwarded.pop_first();
                continue;
            };
            bytes += waiting.transaction.length() as usize;
            if bytes > bytes_max && !chosen.is_empty() {
                break;
            }
            self.unforwarded.pop_first();
            waiting.forward_at = None;
            chosen.push(waiting.transaction.clone());
        }
        chosen
    }

    /// When the next transaction is to be sent to all members.
    pub fn next_forward(&self) -> Option<Time> {
        self.unforwarded.first().map(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests;
