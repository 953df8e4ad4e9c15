//! Locks: open ones, and settled ones as long as they are remembered (LG-7).
//!
//! A settled lock keeps its slot, so that a late COMMIT is told what happened. Once it was settled
//! more than a validity horizon ago, a new lock may take the slot: the one settled first goes
//! first. So the slots are at most `locks_max`, and every transaction that was valid when a lock
//! was settled learns how.

use super::hash::KeyedHash;
use super::{Accounts, Wide, reserve};
use crate::{Address, LockCursor, LockId};
use alloc::collections::{BTreeSet, VecDeque};
use alloc::vec::Vec;
use core::ops::Bound;
use hashbrown::HashTable;
use polity_crypto::{Preimage, Sha256Digest, domain};
use polity_merkle::{IndexedTree, leaf_hash};
use polity_types::{Amount, Height, Seed, Time};

/// What became of a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum LockState {
    /// It reserves its amount.
    Open = 0,
    /// It was paid, whole or in part.
    Committed = 1,
    /// It went back to the payer.
    RolledBack = 2,
    /// Its time was over.
    Expired = 3,
}

/// One lock.
#[derive(Clone, Debug)]
pub(crate) struct Lock {
    pub(crate) id: LockId,
    pub(crate) amount: Wide,
    /// What the payee got.
    pub(crate) paid: Wide,
    pub(crate) expires: Time,
    /// Height at which it was settled.
    pub(crate) settled_at: u64,
    /// Number among all settled locks; slots are used again in this order.
    pub(crate) sequence: u64,
    pub(crate) from: u32,
    pub(crate) to: u32,
    pub(crate) state: LockState,
    /// The tree does not know the lock as it is now.
    pub(crate) is_dirty: bool,
}

/// A lock as everybody may see it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct LockView {
    /// Its identity.
    pub id: LockId,
    /// The payer.
    pub from: Address,
    /// The payee.
    pub to: Address,
    /// What it reserves or reserved.
    pub amount: Amount,
    /// What the payee got.
    pub paid: Amount,
    /// From this block time on it can only expire.
    pub expires: Time,
    /// What became of it.
    pub state: LockState,
    /// Height at which it was settled, 0 while it is open.
    pub settled_at: Height,
    /// Number among all settled locks, 0 while it is open.
    pub sequence: u64,
}

impl LockView {
    /// Leaf of the locks tree.
    pub fn leaf(&self) -> Sha256Digest {
        let lock = Lock {
            id: self.id,
            amount: Wide::new(self.amount.units()),
            paid: Wide::new(self.paid.units()),
            expires: self.expires,
            settled_at: self.settled_at.get(),
            sequence: self.sequence,
            // The leaf has the addresses in the place of the slots.
            from: 0,
            to: 0,
            state: self.state,
            is_dirty: false,
        };
        leaf(
            &lock,
            self.from.as_str().as_bytes(),
            self.to.as_str().as_bytes(),
        )
    }
}

/// Addresses stand in the leaf, so that a proof of a lock says who pays whom.
fn leaf(lock: &Lock, from: &[u8], to: &[u8]) -> Sha256Digest {
    let preimage = Preimage::new(domain::LOCK)
        .array(lock.id.as_bytes())
        .bytes(from)
        .bytes(to)
        .u128(lock.amount.get())
        .u128(lock.paid.get())
        .u64(lock.expires.as_millis())
        .u8(lock.state as u8)
        .u64(lock.settled_at)
        .u64(lock.sequence);
    leaf_hash(preimage.as_slice())
}

/// Every lock, by slot, by id, and by expiry.
#[derive(Clone)]
pub(crate) struct Locks {
    slots: Vec<Lock>,
    /// Slots by the hash of their id; its order is never observed.
    index: HashTable<u32>,
    hash: KeyedHash,
    /// Open locks in the order in which they expire.
    queue: BTreeSet<(Time, LockId, u32)>,
    /// Settled locks, the first one first.
    settled: VecDeque<u32>,
    /// Locks settled so far.
    pub(crate) sequence: u64,
    tree: IndexedTree,
    /// Slots whose leaves are out of date, at most one entry for each.
    dirty: Vec<u32>,
}

impl Locks {
    pub(crate) fn new(seed: &Seed) -> Self {
        Self {
            slots: Vec::new(),
            index: HashTable::new(),
            hash: KeyedHash::new(seed, "locks"),
            queue: BTreeSet::new(),
            settled: VecDeque::new(),
            sequence: 0,
            tree: IndexedTree::new(),
            dirty: Vec::new(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(crate) fn find(&self, id: &LockId) -> Option<u32> {
        self.index
            .find(self.hash.hash(id.as_bytes()), |&slot| {
                self.slots[slot as usize].id == *id
            })
            .copied()
    }

    pub(crate) fn get(&self, slot: u32) -> &Lock {
        &self.slots[slot as usize]
    }

    /// Open locks in the order in which they expire, those behind a place in it.
    pub(crate) fn open_after(&self, after: Option<LockCursor>) -> impl Iterator<Item = u32> {
        let start = match after {
            Some(at) => Bound::Excluded((at.expires, at.id, u32::MAX)),
            None => Bound::Unbounded,
        };
        self.queue
            .range((start, Bound::Unbounded))
            .map(|(_, _, slot)| *slot)
    }

    pub(crate) fn open_len(&self) -> usize {
        self.queue.len()
    }

    pub(crate) fn next_expiry(&self) -> Option<Time> {
        self.queue.first().map(|(expires, _, _)| *expires)
    }

    /// The first lock that is due at `time`.
    pub(crate) fn first_due(&self, time: Time) -> Option<u32> {
        let (expires, _, slot) = self.queue.first()?;
        (*expires <= time).then_some(*slot)
    }

    /// The settled lock whose slot a new lock at height `at` takes.
    pub(crate) fn reusable(&self, at: Height, horizon: u64) -> Option<u32> {
        let slot = *self.settled.front()?;
        let settled_at = self.get(slot).settled_at;
        (settled_at.saturating_add(horizon) < at.get()).then_some(slot)
    }

    /// Appends an open lock, or puts it in the place of the reusable slot, and says which lock it
    /// replaced.
    pub(crate) fn create(&mut self, lock: Lock, reusable: Option<u32>) -> (u32, Option<Lock>) {
        let (id, expires) = (lock.id, lock.expires);
        let (slot, replaced) = if let Some(slot) = reusable {
            self.settled.pop_front();
            self.unlink(slot);
            let old = core::mem::replace(&mut self.slots[slot as usize], lock);
            self.slots[slot as usize].is_dirty = old.is_dirty;
            (slot, Some(old))
        } else {
            reserve(&mut self.slots, 1);
            self.slots.push(lock);
            ((self.slots.len() - 1) as u32, None)
        };
        self.link(slot);
        self.queue.insert((expires, id, slot));
        self.touch(slot);
        (slot, replaced)
    }

    /// Takes back [`create`](Self::create).
    pub(crate) fn uncreate(&mut self, slot: u32, replaced: Option<Lock>) {
        let lock = self.get(slot);
        self.queue.remove(&(lock.expires, lock.id, slot));
        self.unlink(slot);
        match replaced {
            Some(mut old) => {
                old.is_dirty = self.get(slot).is_dirty;
                self.slots[slot as usize] = old;
                self.link(slot);
                self.settled.push_front(slot);
                self.touch(slot);
            }
            // Only the last slot can be new.
            None => {
                self.slots.pop();
            }
        }
    }

    /// Settles an open lock.
    pub(crate) fn settle(&mut self, slot: u32, state: LockState, paid: u128, at: Height) {
        self.sequence += 1;
        let sequence = self.sequence;
        let lock = &mut self.slots[slot as usize];
        assert_eq!(lock.state, LockState::Open, "a lock is settled once");
        lock.state = state;
        lock.paid = Wide::new(paid);
        lock.settled_at = at.get();
        lock.sequence = sequence;
        let key = (lock.expires, lock.id, slot);
        self.queue.remove(&key);
        self.settled.push_back(slot);
        self.touch(slot);
    }

    /// Takes back the last [`settle`](Self::settle).
    pub(crate) fn unsettle(&mut self, slot: u32) {
        self.sequence -= 1;
        let lock = &mut self.slots[slot as usize];
        lock.state = LockState::Open;
        lock.paid = Wide::default();
        lock.settled_at = 0;
        lock.sequence = 0;
        let key = (lock.expires, lock.id, slot);
        self.queue.insert(key);
        self.settled.pop_back();
        self.touch(slot);
    }

    /// Appends a lock from a snapshot. [`finish`](Self::finish) follows the last one.
    pub(crate) fn restore(&mut self, lock: Lock) {
        reserve(&mut self.slots, 1);
        let (id, expires, state) = (lock.id, lock.expires, lock.state);
        self.slots.push(lock);
        let slot = (self.slots.len() - 1) as u32;
        self.link(slot);
        if state == LockState::Open {
            self.queue.insert((expires, id, slot));
        } else {
            self.settled.push_back(slot);
        }
    }

    /// Puts the settled locks of a snapshot in order.
    pub(crate) fn finish(&mut self, sequence: u64) {
        self.sequence = sequence;
        let slots = &self.slots;
        self.settled
            .make_contiguous()
            .sort_by_key(|slot| slots[*slot as usize].sequence);
    }

    /// Root over all locks in slot order; hashes the changed ones once (LG-10).
    pub(crate) fn root(&mut self, accounts: &Accounts) -> Sha256Digest {
        let known = self.tree.len();
        for slot in core::mem::take(&mut self.dirty) {
            // A slot that was made and taken back is gone, or is another lock by now.
            let Some(lock) = self.slots.get_mut(slot as usize) else {
                continue;
            };
            lock.is_dirty = false;
            if u64::from(slot) < known {
                let leaf = leaf_of(lock, accounts);
                self.tree
                    .set(u64::from(slot), leaf)
                    .expect("the slot is below the length of the tree");
            }
        }
        for lock in &self.slots[known as usize..] {
            self.tree.push(leaf_of(lock, accounts));
        }
        self.tree.root()
    }

    /// The tree after [`root`](Self::root), for proofs.
    pub(crate) fn tree(&mut self) -> &mut IndexedTree {
        &mut self.tree
    }

    fn touch(&mut self, slot: u32) {
        let lock = &mut self.slots[slot as usize];
        if !lock.is_dirty {
            lock.is_dirty = true;
            self.dirty.push(slot);
        }
    }

    fn link(&mut self, slot: u32) {
        let Self {
            slots, index, hash, ..
        } = self;
        let hash_of = |slot: u32| hash.hash(slots[slot as usize].id.as_bytes());
        index.insert_unique(hash_of(slot), slot, |&other| hash_of(other));
    }

    fn unlink(&mut self, slot: u32) {
        let hash = self.hash.hash(self.get(slot).id.as_bytes());
        if let Ok(entry) = self.index.find_entry(hash, |&other| other == slot) {
            entry.remove();
        }
    }

    /// Bytes on the heap; the queue by the size of its entries and the usual fill of its nodes.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.slots.capacity() * size_of::<Lock>()
            + self.index.allocation_size()
            + self.queue.len() * size_of::<(Time, LockId, u32)>() * 3 / 2
            + self.settled.capacity() * size_of::<u32>()
            + super::tree_bytes(&self.tree)
            + self.dirty.capacity() * size_of::<u32>()
    }
}

fn leaf_of(lock: &Lock, accounts: &Accounts) -> Sha256Digest {
    leaf(lock, accounts.text(lock.from), accounts.text(lock.to))
}
