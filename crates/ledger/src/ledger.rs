//! The ledger as its callers see it.

use crate::execute::{Block, Hint};
use crate::receipt::receipts_root;
use crate::state::{
    AccountView, AuthorityKeys, Balance, COMMITTEE_ROWS_MAX, LockView, PendingChange, Platform,
    PlatformView, State, Supply, Wide,
};
use crate::{
    Address, BlockError, CommitteeChange, Genesis, GenesisError, Inadmissible, LockId, Parameters,
    PlatformName, Receipt, Sections, SignedTransaction, TransactionId,
};
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::fmt;
use polity_crypto::{PublicKey, Sha256Digest, Verified};
use polity_types::{Amount, ChainId, Height, Seed, Time};

/// Accounts and locks of one chain, and the rules by which blocks change them.
///
/// A clone is a complete second ledger.
#[derive(Clone)]
pub struct Ledger {
    pub(crate) state: State,
    /// Height of the last block. It is not under the root, which names the state alone.
    pub(crate) height: Height,
}

/// What a block did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// One receipt for each transaction, in block order.
    pub receipts: Vec<Receipt>,
    /// Locks that expired before the transactions, in the order in which they did.
    pub expired: Vec<LockId>,
}

impl Applied {
    /// Root of the receipts, for the header of the next block.
    pub fn receipts_root(&self) -> Sha256Digest {
        receipts_root(&self.receipts)
    }
}

/// A place in the order in which open locks expire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LockCursor {
    /// When the last lock seen expires.
    pub expires: Time,
    /// Its identity.
    pub id: LockId,
}

/// Some open locks of an account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LocksPage {
    /// The locks, in the order in which they expire.
    pub locks: Vec<LockView>,
    /// Where the next page begins; nothing if this was the last one. A page may be empty and still
    /// have a next one.
    pub next: Option<LockCursor>,
}

/// What a key is to the ledger (LG-6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// It owns the account of the signer.
    Owner,
    /// It is the platform's, on which the account of the signer is or would be.
    Platform,
    /// It is one of the authority's.
    Authority,
}

/// Which of the offered transactions a block can hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Places of the transactions to take, in order. The block of exactly these is valid.
    pub taken: Vec<usize>,
    /// Places of those that no block can hold now, and why.
    pub refused: Vec<(usize, Inadmissible)>,
}

impl Ledger {
    /// The ledger that a genesis starts.
    ///
    /// `index_seed` keys the private look-up tables, so that nobody can prepare addresses that
    /// collide in them; it should be secret and may differ between replicas, because nothing
    /// observable depends on it.
    ///
    /// # Errors
    ///
    /// What [`Genesis::validate`] says.
    pub fn new(genesis: &Genesis, chain: ChainId, index_seed: Seed) -> Result<Self, GenesisError> {
        genesis.validate()?;
        let authority = AuthorityKeys {
            keys: fingerprints(&genesis.authority.keys),
            threshold: genesis.authority.threshold,
        };
        let total = genesis.accounts.iter().map(|a| a.balance.units()).sum();
        let supply = Supply {
            genesis: Amount::from_units(total),
            minted: Amount::ZERO,
            burned: Amount::ZERO,
        };
        let parameters = genesis.parameters.clone();
        let mut state = State::new(chain, parameters, authority, supply, &index_seed);
        for platform in &genesis.platforms {
            state.platforms.push(Platform {
                name: platform.name.clone(),
                key: platform.key.fingerprint(),
                quota: platform.quota,
                opened: 0,
            });
        }
        for (index, account) in genesis.accounts.iter().enumerate() {
            let platform = state
                .platforms
                .number_of(&account.address)
                .ok_or(GenesisError::UnknownPlatform { index })?;
            let balance = Balance {
                total: Wide::new(account.balance.units()),
                locked: Wide::default(),
                changed: 0,
                outgoing: 0,
                incoming: 0,
            };
            let owner = account.owner.fingerprint();
            state
                .accounts
                .push(&account.address, platform, owner, 0, balance);
        }
        let ledger = Self {
            state,
            height: Height::ZERO,
        };
        debug_assert_eq!(ledger.audit(), Ok(()));
        Ok(ledger)
    }

    /// Whether the block at height `at` could hold the transaction, judged on the state as it is:
    /// what a pool asks.
    ///
    /// # Errors
    ///
    /// Why not. A decided transaction is [`Inadmissible::IdInWindow`]; ask
    /// [`receipt`](Self::receipt) then.
    pub fn check(&self, at: Height, transaction: &SignedTransaction) -> Result<(), Inadmissible> {
        self.state.admit(at, transaction)?;
        let fee = self.state.fee(transaction.length());
        if !fee.is_zero() {
            self.state.fee_payer(transaction, fee)?;
        }
        Ok(())
    }

    /// Whether a block is valid after the last one, its transactions judged in order (LG-8). The
    /// ledger is afterwards as it was.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong.
    pub fn validate(
        &mut self,
        at: Height,
        time: Time,
        fee_receiver: &Address,
        transactions: &[&Verified<SignedTransaction>],
    ) -> Result<(), BlockError> {
        let result = self.run(at, time, fee_receiver, transactions);
        self.state.undo_to(0);
        result.map(|_| ())
    }

    /// Chooses from `candidates`, in their order, what the block after the last one can hold: at
    /// most the transactions that a block may have, and at most `length_max` bytes together. The
    /// ledger is afterwards as it was.
    pub fn select(
        &mut self,
        time: Time,
        fee_receiver: &Address,
        candidates: &[&Verified<SignedTransaction>],
        length_max: usize,
    ) -> Selection {
        let block = self.block(self.height.next(), time, fee_receiver);
        self.state.expire(&block);
        let mut undecided = BTreeSet::new();
        let mut selection = Selection::default();
        let mut length = 0;
        for (place, transaction) in candidates.iter().enumerate() {
            if selection.taken.len() >= self.state.parameters.transactions_per_block_max as usize {
                break;
            }
            let with_it = length + transaction.length() as usize;
            if with_it > length_max {
                continue;
            }
            let index = selection.taken.len() as u32;
            match self
                .state
                .run(&block, index, transaction, Hint::NONE, &mut undecided)
            {
                Ok(_) => {
                    selection.taken.push(place);
                    length = with_it;
                }
                Err(reason) => selection.refused.push((place, reason)),
            }
        }
        self.state.undo_to(0);
        selection
    }

    /// Applies the block after the last one (LG-14). In debug builds the invariants are checked
    /// afterwards.
    ///
    /// # Errors
    ///
    /// Why the block is invalid; the ledger is then as it was.
    pub fn apply(
        &mut self,
        at: Height,
        time: Time,
        fee_receiver: &Address,
        transactions: &[&Verified<SignedTransaction>],
    ) -> Result<Applied, BlockError> {
        let applied = match self.run(at, time, fee_receiver, transactions) {
            Ok(applied) => applied,
            Err(error) => {
                self.state.undo_to(0);
                return Err(error);
            }
        };
        self.state.changes.0.clear();
        if let Some(before) = at.previous() {
            // LG-4: ids are pruned if and only if the height is above their last one.
            self.state.recent.prune(before);
        }
        self.height = at;
        debug_assert_eq!(self.audit(), Ok(()));
        Ok(applied)
    }

    fn run(
        &mut self,
        at: Height,
        time: Time,
        fee_receiver: &Address,
        transactions: &[&Verified<SignedTransaction>],
    ) -> Result<Applied, BlockError> {
        let expected = self.height.next();
        if at != expected || expected == self.height {
            return Err(BlockError::Height {
                expected,
                found: at,
            });
        }
        let max = self.state.parameters.transactions_per_block_max;
        if transactions.len() > max as usize {
            return Err(BlockError::TooManyTransactions {
                max,
                found: transactions.len(),
            });
        }
        let block = self.block(at, time, fee_receiver);
        let expired = self.state.expire(&block);
        let mut undecided = BTreeSet::new();
        let mut receipts = Vec::with_capacity(transactions.len());
        for chunk in transactions.chunks(State::HINTS_AT_ONCE) {
            let hints = self.state.hints(chunk);
            for (transaction, hint) in chunk.iter().zip(hints) {
                let index = receipts.len() as u32;
                let receipt = self
                    .state
                    .run(&block, index, transaction, hint, &mut undecided)
                    .map_err(|reason| BlockError::Transaction { index, reason })?;
                receipts.push(receipt);
            }
        }
        Ok(Applied { receipts, expired })
    }

    fn block(&self, at: Height, time: Time, fee_receiver: &Address) -> Block {
        Block {
            at,
            time,
            fee_receiver: self.state.accounts.find(fee_receiver),
        }
    }

    /// Remembers that evidence was acted on. True the first time; false if it was acted on before,
    /// or if there is no room for more, and then nothing must happen.
    pub fn record_offence(&mut self, evidence: Sha256Digest) -> bool {
        self.state.offences.insert(evidence)
    }

    /// Whether evidence was acted on.
    pub fn has_offence(&self, evidence: &Sha256Digest) -> bool {
        self.state.offences.contains(evidence)
    }

    /// Committee changes that wait for their epoch, in the order in which they were decided.
    pub fn committee_changes(&self) -> &[PendingChange] {
        &self.state.committee_changes
    }

    /// Takes the committee changes decided at height `until` or below, which take effect now.
    pub fn take_committee_changes(&mut self, until: Height) -> Vec<PendingChange> {
        let waiting = &mut self.state.committee_changes;
        let count = waiting.partition_point(|pending| pending.height <= until);
        waiting.drain(..count).collect()
    }

    /// The committees that changes led to, row by row, as the application encoded them; empty while
    /// the genesis says who votes.
    pub fn committee(&self) -> &[CommitteeChange] {
        &self.state.committee
    }

    /// Keeps the committees that changes led to under the state root.
    ///
    /// # Panics
    ///
    /// If there are more rows than two committees of the largest size have: consensus refuses larger
    /// ones.
    pub fn set_committee(&mut self, rows: Vec<CommitteeChange>) {
        assert!(
            rows.len() <= COMMITTEE_ROWS_MAX,
            "{} rows are more than two committees have",
            rows.len()
        );
        self.state.committee = rows;
    }

    /// The state root; hashes what changed since the last one (LG-10).
    pub fn root(&mut self) -> Sha256Digest {
        self.sections().root()
    }

    /// What the state root is made of.
    pub fn sections(&mut self) -> Sections {
        self.state.sections()
    }

    /// Height of the last block, 0 before the first.
    pub fn height(&self) -> Height {
        self.height
    }

    /// The chain whose transactions count.
    pub fn chain(&self) -> ChainId {
        self.state.chain
    }

    /// Limits and prices.
    pub fn parameters(&self) -> &Parameters {
        &self.state.parameters
    }

    /// What the transaction costs (LG-12).
    pub fn fee(&self, transaction: &SignedTransaction) -> Amount {
        self.state.fee(transaction.length())
    }

    /// What the first key of a transaction is to the ledger; nothing if it is anybody's. A pool
    /// asks, because the transactions of strangers can only fill blocks with refusals.
    pub fn role(&self, transaction: &SignedTransaction) -> Option<Role> {
        let key = transaction.fingerprints().first()?;
        let signer = &transaction.transaction().signer;
        let account = self.state.accounts.find(signer);
        if account.is_some_and(|slot| self.state.accounts.get(slot).owner == *key) {
            return Some(Role::Owner);
        }
        let platform = self.state.platforms.number_of(signer);
        if platform.is_some_and(|number| self.state.platforms.get(number).key == *key) {
            return Some(Role::Platform);
        }
        let is_authority = self.state.authority.keys.contains(key);
        is_authority.then_some(Role::Authority)
    }

    /// When the next open lock expires. A lock that is due is something to decide (LG-7).
    pub fn next_expiry(&self) -> Option<Time> {
        self.state.locks.next_expiry()
    }

    /// One account.
    pub fn account(&self, address: &Address) -> Option<AccountView> {
        let slot = self.state.accounts.find(address)?;
        Some(self.state.accounts.view(slot))
    }

    /// Every account, in the order of the slots.
    pub fn accounts(&self) -> impl Iterator<Item = AccountView> {
        (0..self.state.accounts.len() as u32).map(|slot| self.state.accounts.view(slot))
    }

    /// One lock, open or settled.
    pub fn lock(&self, id: &LockId) -> Option<LockView> {
        let slot = self.state.locks.find(id)?;
        Some(self.state.lock_view(slot))
    }

    /// Every lock, open or settled and still remembered, in the order of the slots.
    pub fn locks(&self) -> impl Iterator<Item = LockView> {
        (0..self.state.locks.len() as u32).map(|slot| self.state.lock_view(slot))
    }

    /// Open locks from or to an account, in the order in which they expire: those behind `after`,
    /// at most `found_max`, and of at most `scanned_max` open locks of anybody.
    ///
    /// The ledger keeps no list of locks for each account, which every LOCK and COMMIT would pay
    /// for. A walk over all open locks takes a while when there are many, so it is cut into pages,
    /// between which its caller can do other things.
    pub fn locks_of(
        &self,
        address: &Address,
        after: Option<LockCursor>,
        found_max: usize,
        scanned_max: usize,
    ) -> LocksPage {
        let mut page = LocksPage::default();
        let Some(account) = self.state.accounts.find(address) else {
            return page;
        };
        let balance = &self.state.accounts.get(account).balance;
        let all = balance.outgoing as usize + balance.incoming as usize;
        let mut last = after;
        for (scanned, slot) in self.state.locks.open_after(after).enumerate() {
            // From the start, a walk that has found all of them is over.
            if after.is_none() && page.locks.len() == all {
                return page;
            }
            if scanned >= scanned_max || page.locks.len() >= found_max {
                page.next = last;
                return page;
            }
            let lock = self.state.locks.get(slot);
            last = Some(LockCursor {
                expires: lock.expires,
                id: lock.id,
            });
            if lock.from == account || lock.to == account {
                page.locks.push(self.state.lock_view(slot));
            }
        }
        page
    }

    /// The receipt of a transaction that was decided within the validity horizon.
    pub fn receipt(&self, id: &TransactionId) -> Option<Receipt> {
        let entry = self.state.recent.find(id)?;
        entry.receipt(self.state.fee(entry.length))
    }

    /// How many transaction ids are remembered.
    pub fn recent_len(&self) -> usize {
        self.state.recent.len()
    }

    /// Every platform, in the order of registration.
    pub fn platforms(&self) -> impl Iterator<Item = PlatformView> {
        self.state.platforms.iter().map(PlatformView::from)
    }

    /// One platform.
    pub fn platform(&self, name: &PlatformName) -> Option<PlatformView> {
        let number = self.state.platforms.number(name)?;
        Some(self.state.platforms.get(number).into())
    }

    /// Where the supply came from and went.
    pub fn supply(&self) -> Supply {
        self.state.supply
    }

    /// Bytes on the heap by part, from the capacities of the collections.
    pub fn memory_bytes(&self) -> MemoryBytes {
        MemoryBytes {
            accounts: self.state.accounts.memory_bytes(),
            locks: self.state.locks.memory_bytes(),
            recent: self.state.recent.memory_bytes(),
        }
    }
}

/// Bytes on the heap, by part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryBytes {
    /// Slots, addresses, index and tree of the accounts.
    pub accounts: usize,
    /// Slots, index, queue and tree of the locks.
    pub locks: usize,
    /// Recent transaction ids and their index.
    pub recent: usize,
}

impl State {
    pub(crate) fn lock_view(&self, slot: u32) -> LockView {
        let lock = self.locks.get(slot);
        LockView {
            id: lock.id,
            from: self.accounts.address(lock.from),
            to: self.accounts.address(lock.to),
            amount: Amount::from_units(lock.amount.get()),
            paid: Amount::from_units(lock.paid.get()),
            expires: lock.expires,
            state: lock.state,
            settled_at: Height::new(lock.settled_at),
            sequence: lock.sequence,
        }
    }
}

impl fmt::Debug for Ledger {
    /// Shows sizes, not contents: there may be a million accounts.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ledger")
            .field("chain", &self.state.chain)
            .field("height", &self.height)
            .field("accounts", &self.state.accounts.len())
            .field("locks", &self.state.locks.len())
            .field("recent", &self.state.recent.len())
            .finish_non_exhaustive()
    }
}

fn fingerprints(keys: &[PublicKey]) -> Vec<Sha256Digest> {
    keys.iter().map(PublicKey::fingerprint).collect()
}
