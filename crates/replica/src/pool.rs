//! Transactions that wait for a block.
//!
//! The pool is bounded by count and bytes, knows each transaction once, and is fair: every
//! [`Principal`] has its own queue, and blocks take from the queues in turn.
//!
//! # Who gives way
//!
//! A transaction that this replica acknowledged to a client of its own is **promised** and stays
//! until a block holds it or none can. The others came from members, which keep them for their own
//! clients; when the pool is full, the newest of them gives way, first from the queue with the most.
//!
//! Promises must not fill the pool for good, so no principal may have more of them than there is
//! room left for promises (the dynamic threshold of Choudhury and Hahne, 1998): one that floods gets
//! half of the pool, the next one half of the rest. The last eighth is a reserve for those who have
//! few.
//!
//! # Who has to wait
//!
//! A promised transaction whose payer cannot pay the fee just now is **parked**: it is offered to no
//! block and is no work, until the payer can pay or no block may hold it any more.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Bound;
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
    /// Transactions of one account, or of one key of a platform or of the authority, at most.
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

/// Why the pool does not take a transaction. It does not wait here; it may be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No block could hold it.
    #[error(transparent)]
    Inadmissible(#[from] Inadmissible),
    /// It could only fill blocks with refusals.
    #[error(
        "the first key of the transaction is not the owner of the signer's account, its platform or the authority"
    )]
    UnknownKey,
    /// The account, or the key of the platform or of the authority, has as many transactions waiting
    /// as it may.
    #[error("the account has {max} transactions waiting: send again when some are decided")]
    AccountFull {
        /// The limit, which is lower when others wait, too.
        max: usize,
    },
    /// The pool is full of promises, or of what is no less entitled to a place.
    #[error("the pool is full: send again later")]
    PoolFull,
}

/// Who stands behind a transaction: the unit of fairness.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Principal {
    /// An account whose owner signed.
    Account(Address),
    /// A platform or an authority. It may name any account as the signer, so its key counts.
    Key(Sha256Digest),
}

/// What this replica owes to a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// A client of this replica was told that it waits here.
    Promised,
    /// Another member sent it.
    Passing,
}

/// A transaction and what is known about it.
#[derive(Clone, Debug)]
pub(crate) struct Waiting {
    pub(crate) transaction: Arc<Verified<SignedTransaction>>,
    /// When this replica has to send it to all members; nothing once it did.
    pub(crate) forward_at: Option<Time>,
    principal: Principal,
    standing: Standing,
    /// Its payer cannot pay just now.
    is_parked: bool,
    /// Its number among all that ever came.
    arrival: u64,
}

impl Waiting {
    fn size(&self) -> usize {
        self.transaction.length() as usize
    }
}

/// The transactions of one principal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Queue {
    /// In the order of arrival.
    waiting: BTreeMap<u64, TransactionId>,
    /// Those of them that may give way.
    passing: BTreeSet<u64>,
    /// Bytes of the others.
    promised_bytes: usize,
}

impl Queue {
    fn promised(&self) -> usize {
        self.waiting.len() - self.passing.len()
    }
}

/// Transactions that are offered to a block.
#[derive(Clone, Debug)]
pub(crate) struct Candidates {
    pub(crate) transactions: Vec<Arc<Verified<SignedTransaction>>>,
    /// Whose turn was the last.
    last: Option<Principal>,
}

/// What one principal may have of `max` places for promises when `taken` are: as much as is left,
/// and of the last eighth only a little.
fn share(max: usize, taken: usize) -> usize {
    let left = max.saturating_sub(taken);
    if left <= max / 8 {
        (max / 1024).max(1)
    } else {
        left
    }
}

/// The pool.
#[derive(Clone, Debug)]
pub struct Pool {
    config: PoolConfig,
    by_id: BTreeMap<TransactionId, Waiting>,
    queues: BTreeMap<Principal, Queue>,
    /// The queues by how many of their transactions may give way, so that the longest is found at
    /// once. Those without any are absent.
    passing: BTreeSet<(usize, Principal)>,
    bytes: usize,
    promised: usize,
    promised_bytes: usize,
    /// What is still to be sent to all members, by when and in the order of arrival: one may spend
    /// what another brings.
    unforwarded: BTreeMap<(Time, u64), TransactionId>,
    /// What waits for its payer.
    parked: BTreeSet<TransactionId>,
    /// Whoever was served last; the next block starts behind it.
    turn: Option<Principal>,
    arrivals: u64,
}

impl Pool {
    /// An empty pool.
    pub fn new(config: PoolConfig) -> Self {
        Self {
            config,
            by_id: BTreeMap::new(),
            queues: BTreeMap::new(),
            passing: BTreeSet::new(),
            bytes: 0,
            promised: 0,
            promised_bytes: 0,
            unforwarded: BTreeMap::new(),
            parked: BTreeSet::new(),
            turn: None,
            arrivals: 0,
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

    /// Whether everything that waits is parked: no block could be made of it now.
    pub fn is_idle(&self) -> bool {
        self.by_id.len() == self.parked.len()
    }

    /// Bytes of the waiting transactions, encoded.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether a transaction waits that this replica sent to all members.
    pub fn has_forwarded(&self) -> bool {
        // What is parked is not to be forwarded.
        self.by_id.len() > self.unforwarded.len() + self.parked.len()
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
        principal: Principal,
        standing: Standing,
        transaction: Verified<SignedTransaction>,
    ) -> Result<(), Refusal> {
        let size = transaction.length() as usize;
        let own = self.queues.get(&principal).map_or(0, |q| q.waiting.len());
        if own >= self.config.per_account_max {
            return Err(Refusal::AccountFull {
                max: self.config.per_account_max,
            });
        }
        if standing == Standing::Promised {
            self.check_promise(&principal, size)?;
        }
        let mut evicted = Vec::new();
        while self.by_id.len() >= self.config.count_max || self.bytes + size > self.config.bytes_max
        {
            let shorter = match standing {
                // The bound on promises has made room for it.
                Standing::Promised => 0,
                Standing::Passing => own + 1,
            };
            let Some(newest) = self.newest_of_longest(shorter) else {
                // A refusal costs nobody else a place.
                for back in evicted {
                    self.put(back);
                }
                return Err(Refusal::PoolFull);
            };
            evicted.extend(self.remove(&newest));
        }
        self.put(Waiting {
            transaction: Arc::new(transaction),
            forward_at: Some(forward_at),
            principal,
            standing,
            is_parked: false,
            arrival: self.arrivals,
        });
        self.arrivals += 1;
        Ok(())
    }

    /// Promises to keep a transaction that waits. Says whether that is new.
    pub(crate) fn promise(&mut self, id: &TransactionId) -> Result<bool, Refusal> {
        let Some(waiting) = self.by_id.get(id) else {
            return Ok(false);
        };
        if waiting.standing == Standing::Promised {
            return Ok(false);
        }
        self.check_promise(&waiting.principal, waiting.size())?;
        if let Some(mut waiting) = self.remove(id) {
            waiting.standing = Standing::Promised;
            self.put(waiting);
        }
        Ok(true)
    }

    /// Whether there is room for one more promise to this principal.
    fn check_promise(&self, principal: &Principal, size: usize) -> Result<(), Refusal> {
        let (own, own_bytes) = self
            .queues
            .get(principal)
            .map_or((0, 0), |queue| (queue.promised(), queue.promised_bytes));
        let PoolConfig {
            count_max,
            bytes_max,
            ..
        } = self.config;
        let left = share(count_max, self.promised);
        let left_bytes = share(bytes_max, self.promised_bytes).max(SignedTransaction::LENGTH_MAX);
        let fits = self.promised < count_max && self.promised_bytes + size <= bytes_max;
        if fits && own < left && own_bytes + size <= left_bytes {
            return Ok(());
        }
        Err(match own {
            0 => Refusal::PoolFull,
            max => Refusal::AccountFull { max },
        })
    }

    /// Adds a transaction in the place that its arrival gives it.
    fn put(&mut self, waiting: Waiting) {
        let id = waiting.transaction.id();
        let size = waiting.size();
        self.bytes += size;
        if waiting.is_parked {
            self.parked.insert(id);
        }
        if let Some(at) = waiting.forward_at {
            self.unforwarded.insert((at, waiting.arrival), id);
        }
        let queue = self.queues.entry(waiting.principal.clone()).or_default();
        queue.waiting.insert(waiting.arrival, id);
        match waiting.standing {
            Standing::Promised => {
                queue.promised_bytes += size;
                self.promised += 1;
                self.promised_bytes += size;
            }
            Standing::Passing => {
                let before = queue.passing.len();
                queue.passing.insert(waiting.arrival);
                self.passing.remove(&(before, waiting.principal.clone()));
                self.passing.insert((before + 1, waiting.principal.clone()));
            }
        }
        self.by_id.insert(id, waiting);
    }

    /// The newest transaction that may give way in the queue with the most of them, if they are
    /// more than `shorter`.
    fn newest_of_longest(&self, shorter: usize) -> Option<TransactionId> {
        let (length, principal) = self.passing.last()?;
        if *length <= shorter {
            return None;
        }
        let queue = self.queues.get(principal)?;
        queue.waiting.get(queue.passing.last()?).copied()
    }

    /// Forgets a transaction.
    pub(crate) fn remove(&mut self, id: &TransactionId) -> Option<Waiting> {
        let waiting = self.by_id.remove(id)?;
        let size = waiting.size();
        self.bytes -= size;
        self.parked.remove(id);
        if let Some(at) = waiting.forward_at {
            self.unforwarded.remove(&(at, waiting.arrival));
        }
        let principal = &waiting.principal;
        let queue = self.queues.get_mut(principal)?;
        queue.waiting.remove(&waiting.arrival);
        match waiting.standing {
            Standing::Promised => {
                queue.promised_bytes -= size;
                self.promised -= 1;
                self.promised_bytes -= size;
            }
            Standing::Passing => {
                let before = queue.passing.len();
                queue.passing.remove(&waiting.arrival);
                self.passing.remove(&(before, principal.clone()));
                if before > 1 {
                    self.passing.insert((before - 1, principal.clone()));
                }
            }
        }
        if queue.waiting.is_empty() {
            self.queues.remove(principal);
        }
        Some(waiting)
    }

    /// The payer of a waiting transaction cannot pay. What was promised is parked; the rest is
    /// forgotten, since the member that promised it keeps it.
    pub(crate) fn park(&mut self, id: &TransactionId) {
        if let Some(mut waiting) = self.remove(id)
            && waiting.standing == Standing::Promised
        {
            waiting.is_parked = true;
            waiting.forward_at = None;
            self.put(waiting);
        }
    }

    /// Parked transactions behind `after`, at most `count_max`.
    pub(crate) fn parked(
        &self,
        after: Option<TransactionId>,
        count_max: usize,
    ) -> Vec<Arc<Verified<SignedTransaction>>> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.parked
            .range((start, Bound::Unbounded))
            .take(count_max)
            .filter_map(|id| Some(self.by_id.get(id)?.transaction.clone()))
            .collect()
    }

    /// A parked transaction waits like any other again, to be sent to all members at `forward_at`.
    pub(crate) fn unpark(&mut self, forward_at: Time, id: &TransactionId) {
        if self.parked.contains(id)
            && let Some(mut waiting) = self.remove(id)
        {
            waiting.is_parked = false;
            waiting.forward_at = Some(forward_at);
            self.put(waiting);
        }
    }

    /// Forgets every transaction for which `keep` says no.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&SignedTransaction) -> bool) {
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

    /// The next transactions for a block: up to `count_max`, and up to `bytes_max` encoded bytes.
    ///
    /// Which ones is decided by turns, one of each principal and its oldest first. They stand in the
    /// order in which they arrived, since one may spend what another brings.
    pub(crate) fn candidates(&self, count_max: usize, bytes_max: usize) -> Candidates {
        let mut queues: Vec<_> = self.queues.iter().collect();
        let start = match &self.turn {
            None => 0,
            Some(last) => queues.partition_point(|(principal, _)| *principal <= last),
        };
        queues.rotate_left(start);
        let mut queues: Vec<_> = queues
            .into_iter()
            .map(|(principal, queue)| (principal, queue.waiting.values()))
            .collect();
        let mut chosen: Vec<&Waiting> = Vec::new();
        let mut bytes = 0;
        let mut last = None;
        let mut is_full = false;
        while !queues.is_empty() && !is_full {
            queues.retain_mut(|(principal, queue)| {
                let next = queue
                    .filter_map(|id| self.by_id.get(id))
                    .find(|waiting| !waiting.is_parked);
                let Some(waiting) = next.filter(|_| !is_full) else {
                    return false;
                };
                is_full = chosen.len() >= count_max || bytes + waiting.size() > bytes_max;
                if !is_full {
                    bytes += waiting.size();
                    last = Some(*principal);
                    chosen.push(waiting);
                }
                true
            });
        }
        chosen.sort_by_key(|waiting| waiting.arrival);
        Candidates {
            transactions: chosen.iter().map(|w| w.transaction.clone()).collect(),
            last: last.cloned(),
        }
    }

    /// A block was made of these candidates: whoever was left out for want of room comes first in
    /// the next one. Until then the turn stays where it is.
    pub(crate) fn serve(&mut self, candidates: &Candidates) {
        if candidates.last.is_some() {
            self.turn.clone_from(&candidates.last);
        }
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
            && let Some(((at, _), id)) = self.unforwarded.first_key_value()
            && *at <= now
        {
            let Some(waiting) = self.by_id.get_mut(id) else {
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
        self.unforwarded.first_key_value().map(|((at, _), _)| *at)
    }
}

#[cfg(test)]
mod tests;
