//! Accounts in slots that are appended and never given back (LG-3).

use super::hash::KeyedHash;
use super::{Wide, reserve};
use crate::Address;
use alloc::string::String;
use alloc::vec::Vec;
use hashbrown::HashTable;
use polity_crypto::{Preimage, Sha256Digest, domain};
use polity_merkle::{IndexedTree, leaf_hash};
use polity_types::{Amount, Height, Seed};

/// The part of an account that payments change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Balance {
    pub(crate) total: Wide,
    pub(crate) locked: Wide,
    /// Height of the last change.
    pub(crate) changed: u64,
    /// Open locks from this account, and to it.
    pub(crate) outgoing: u32,
    pub(crate) incoming: u32,
}

impl Balance {
    pub(crate) fn available(&self) -> u128 {
        self.total.get() - self.locked.get()
    }
}

/// One account, 88 bytes. The address stands in the arena of [`Accounts`].
#[derive(Clone, Debug)]
pub(crate) struct Account {
    pub(crate) balance: Balance,
    pub(crate) owner: Sha256Digest,
    text_start: u32,
    pub(crate) platform: u16,
    text_length: u8,
    pub(crate) flags: u8,
}

const _: () = assert!(size_of::<Account>() == 88);

impl Account {
    pub(crate) const FROZEN: u8 = 1;
    pub(crate) const CLOSED: u8 = 2;
    /// What the leaf and a snapshot show; the rest of the flags is private.
    pub(crate) const SHOWN: u8 = Self::FROZEN | Self::CLOSED;
    /// The tree does not know the account as it is now.
    const DIRTY: u8 = 128;

    fn text<'a>(&self, arena: &'a [u8]) -> &'a [u8] {
        let start = self.text_start as usize;
        &arena[start..start + usize::from(self.text_length)]
    }

    pub(crate) fn is_frozen(&self) -> bool {
        self.flags & Self::FROZEN != 0
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.flags & Self::CLOSED != 0
    }
}

/// An account as everybody may see it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct AccountView {
    /// Its address.
    pub address: Address,
    /// Fingerprint of the owner's key.
    pub owner: Sha256Digest,
    /// Everything it holds.
    pub total: Amount,
    /// The part that open locks reserve.
    pub locked: Amount,
    /// Open locks from this account.
    pub outgoing_locks: u32,
    /// Open locks to this account.
    pub incoming_locks: u32,
    /// Whether it may not pay.
    pub is_frozen: bool,
    /// Whether it was closed.
    pub is_closed: bool,
    /// Height of the last change; 0 is the genesis.
    pub changed: Height,
}

impl AccountView {
    /// What the owner can spend: total less locked.
    pub fn available(&self) -> Amount {
        self.total.checked_sub(self.locked).unwrap_or(Amount::ZERO)
    }

    /// Leaf of the accounts tree.
    pub fn leaf(&self) -> Sha256Digest {
        let flags =
            u8::from(self.is_frozen) * Account::FROZEN + u8::from(self.is_closed) * Account::CLOSED;
        let balance = Balance {
            total: Wide::new(self.total.units()),
            locked: Wide::new(self.locked.units()),
            changed: self.changed.get(),
            outgoing: self.outgoing_locks,
            incoming: self.incoming_locks,
        };
        let address = self.address.as_str().as_bytes();
        leaf_hash(preimage(address, &self.owner, flags, &balance).as_slice())
    }
}

fn preimage(address: &[u8], owner: &Sha256Digest, flags: u8, balance: &Balance) -> Preimage {
    Preimage::new(domain::ACCOUNT)
        .bytes(address)
        .array(owner.as_bytes())
        .u128(balance.total.get())
        .u128(balance.locked.get())
        .u32(balance.outgoing)
        .u32(balance.incoming)
        .u8(flags)
        .u64(balance.changed)
}

/// Accounts that are read before the first of them is hashed.
const LEAVES_AT_ONCE: usize = 64;

/// Every account, by slot and by address.
#[derive(Clone)]
pub(crate) struct Accounts {
    slots: Vec<Account>,
    /// The addresses, one after another in the order of the slots.
    arena: Vec<u8>,
    /// Slots by the hash of their address; its order is never observed.
    index: HashTable<u32>,
    hash: KeyedHash,
    tree: IndexedTree,
    /// Slots whose leaves are out of date, at most one entry for each.
    dirty: Vec<u32>,
}

impl Accounts {
    /// Stands for no slot; `accounts_max` keeps it from being one.
    pub(crate) const NONE: u32 = u32::MAX;

    pub(crate) fn new(seed: &Seed) -> Self {
        Self {
            slots: Vec::new(),
            arena: Vec::new(),
            index: HashTable::new(),
            hash: KeyedHash::new(seed, "accounts"),
            tree: IndexedTree::new(),
            dirty: Vec::new(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether one more account fits under `accounts_max` and into the arena.
    pub(crate) fn has_room(&self, accounts_max: u32) -> bool {
        self.slots.len() < accounts_max as usize
            && u32::try_from(self.arena.len() + Address::LENGTH_MAX).is_ok()
    }

    pub(crate) fn find(&self, address: &Address) -> Option<u32> {
        self.find_text(address.as_str().as_bytes())
    }

    fn find_text(&self, text: &[u8]) -> Option<u32> {
        if text.is_empty() {
            return None;
        }
        self.index
            .find(self.hash.hash(text), |&slot| self.text(slot) == text)
            .copied()
    }

    /// The slots of many addresses, `NONE` for those that have none; an empty text has none.
    ///
    /// One look-up waits for memory four times in a row: table, slot, address, balance. Here every
    /// step is taken for all addresses before the next one, so that the waiting overlaps.
    pub(crate) fn find_all<const N: usize>(&self, texts: &[&[u8]; N]) -> [u32; N] {
        let hashes = texts.map(|text| self.hash.hash(text));
        // The first entry under a hash is nearly always the one.
        let mut slots = hashes.map(|hash| self.index.iter_hash(hash).next().copied());
        let starts = slots.map(|slot| slot.map(|slot| self.get(slot).text_start as usize));
        for ((text, slot), start) in texts.iter().zip(&mut slots).zip(starts) {
            let is_hit = start.is_some_and(|start| {
                slot.is_some_and(|slot| usize::from(self.get(slot).text_length) == text.len())
                    && self.arena[start..].starts_with(text)
            });
            if !is_hit {
                *slot = None;
            }
        }
        let mut out = [Self::NONE; N];
        for (index, slot) in slots.into_iter().enumerate() {
            out[index] = slot
                .or_else(|| self.find_text(texts[index]))
                .unwrap_or(Self::NONE);
        }
        out
    }

    pub(crate) fn get(&self, slot: u32) -> &Account {
        &self.slots[slot as usize]
    }

    /// The account, to be changed; its leaf is rehashed with the next root.
    pub(crate) fn get_mut(&mut self, slot: u32) -> &mut Account {
        let account = &mut self.slots[slot as usize];
        if account.flags & Account::DIRTY == 0 {
            account.flags |= Account::DIRTY;
            self.dirty.push(slot);
        }
        account
    }

    /// Appends an account; the caller has checked that the address is new and that it fits.
    pub(crate) fn push(
        &mut self,
        address: &Address,
        platform: u16,
        owner: Sha256Digest,
        flags: u8,
        balance: Balance,
    ) -> u32 {
        let text = address.as_str().as_bytes();
        let slot = self.slots.len() as u32;
        reserve(&mut self.slots, 1);
        reserve(&mut self.arena, text.len());
        self.slots.push(Account {
            balance,
            owner,
            text_start: self.arena.len() as u32,
            platform,
            text_length: text.len() as u8,
            flags: flags & Account::SHOWN,
        });
        self.arena.extend_from_slice(text);
        let Self {
            slots,
            arena,
            index,
            hash,
            ..
        } = self;
        index.insert_unique(hash.hash(text), slot, |&other| {
            hash.hash(text_of(slots, arena, other))
        });
        slot
    }

    /// Takes the last account away again.
    pub(crate) fn pop(&mut self) {
        let slot = (self.slots.len() - 1) as u32;
        let hash = self.hash.hash(self.text(slot));
        if let Ok(entry) = self.index.find_entry(hash, |&other| other == slot) {
            entry.remove();
        }
        if let Some(account) = self.slots.pop() {
            self.arena.truncate(account.text_start as usize);
        }
    }

    pub(crate) fn address(&self, slot: u32) -> Address {
        let text = String::from_utf8_lossy(self.text(slot));
        text.parse().expect("only addresses enter the arena")
    }

    pub(crate) fn view(&self, slot: u32) -> AccountView {
        let account = self.get(slot);
        AccountView {
            address: self.address(slot),
            owner: account.owner,
            total: Amount::from_units(account.balance.total.get()),
            locked: Amount::from_units(account.balance.locked.get()),
            outgoing_locks: account.balance.outgoing,
            incoming_locks: account.balance.incoming,
            is_frozen: account.is_frozen(),
            is_closed: account.is_closed(),
            changed: Height::new(account.balance.changed),
        }
    }

    /// Root over all accounts in slot order; hashes the changed ones once (LG-10).
    pub(crate) fn root(&mut self) -> Sha256Digest {
        let known = self.tree.len();
        let mut dirty = core::mem::take(&mut self.dirty);
        // In order, neighbours share pages and nodes.
        dirty.sort_unstable();
        for chunk in dirty.chunks(LEAVES_AT_ONCE) {
            // Reading all of them first lets their memory arrive while the others are read; the
            // addresses follow, which are known only then.
            let accounts: Vec<_> = chunk
                .iter()
                .filter_map(|&slot| {
                    // A slot that was opened and taken back is gone, or is another account now.
                    let account = self.slots.get_mut(slot as usize)?;
                    account.flags &= !Account::DIRTY;
                    (u64::from(slot) < known).then(|| (slot, account.clone()))
                })
                .collect();
            let leaves: Vec<_> = accounts
                .iter()
                .map(|(slot, account)| (*slot, self.preimage(account)))
                .collect();
            for (slot, preimage) in leaves {
                self.tree
                    .set(u64::from(slot), leaf_hash(preimage.as_slice()))
                    .expect("the slot is below the length of the tree");
            }
        }
        for slot in known as u32..self.slots.len() as u32 {
            let preimage = self.preimage(self.get(slot));
            self.tree.push(leaf_hash(preimage.as_slice()));
        }
        self.tree.root()
    }

    /// The tree after [`root`](Self::root), for proofs.
    pub(crate) fn tree(&mut self) -> &mut IndexedTree {
        &mut self.tree
    }

    fn preimage(&self, account: &Account) -> Preimage {
        let flags = account.flags & Account::SHOWN;
        let text = account.text(&self.arena);
        preimage(text, &account.owner, flags, &account.balance)
    }

    pub(super) fn text(&self, slot: u32) -> &[u8] {
        text_of(&self.slots, &self.arena, slot)
    }

    /// Bytes on the heap: slots, addresses, index, and the tree.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.slots.capacity() * size_of::<Account>()
            + self.arena.capacity()
            + self.index.allocation_size()
            + super::tree_bytes(&self.tree)
            + self.dirty.capacity() * size_of::<u32>()
    }
}

fn text_of<'a>(slots: &[Account], arena: &'a [u8], slot: u32) -> &'a [u8] {
    slots[slot as usize].text(arena)
}
