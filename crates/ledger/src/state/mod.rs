//! Everything that a block can read or change, and how a change is taken back.
//!
//! Each change of the state is written down in [`State::changes`] with what was there before.
//! Taking back the last changes serves three masters: a transaction of several commands of which
//! one is refused, a block that turns out to be invalid, and a block that is only tried.

mod accounts;
mod hash;
mod locks;
mod platforms;
mod recent;

pub use accounts::AccountView;
pub(crate) use accounts::{Account, Accounts, Balance};
pub(crate) use locks::{Lock, Locks};
pub use locks::{LockState, LockView};
pub use platforms::PlatformView;
pub(crate) use platforms::{Platform, Platforms};
pub(crate) use recent::{Entry, Recent};

use crate::{CommitteeChange, Parameters, TransactionId};
use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use polity_crypto::{Preimage, Sha256Digest, domain};
use polity_merkle::IndexedTree;
use polity_types::{Amount, ChainId, Height, Seed};

/// Most platforms of a ledger.
pub(crate) const PLATFORMS_MAX: usize = 4_096;
/// Most rows of committees that are kept: two committees of the largest size.
pub(crate) const COMMITTEE_ROWS_MAX: usize = 512;
/// Largest value of `open_locks_max`.
pub(crate) const OPEN_LOCKS_LIMIT: u32 = 1 << 24;
/// Most committee changes that wait for an epoch.
pub(crate) const CHANGES_MAX: usize = 256;
/// Most offences that are remembered. Evidence is bounded per accused and epoch, so this lasts for
/// the life of a federation; beyond it nothing is acted on twice because nothing is acted on.
pub(crate) const OFFENCES_MAX: usize = 1 << 20;
/// Most ATP that may ever be minted, in units: far beyond use, and sums with it still fit.
pub(crate) const MINTED_MAX: u128 = 1 << 126;

/// A `u128` that does not ask for 16-byte alignment: 8 bytes less in each account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wide([u64; 2]);

impl Wide {
    pub(crate) fn new(value: u128) -> Self {
        Self([value as u64, (value >> 64) as u64])
    }

    pub(crate) fn get(self) -> u128 {
        u128::from(self.0[0]) | u128::from(self.0[1]) << 64
    }
}

/// Where the supply came from and went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Supply {
    /// Balances of the genesis.
    pub genesis: Amount,
    /// Minted since.
    pub minted: Amount,
    /// Burned since: by the authority, and fees that nobody could receive.
    pub burned: Amount,
}

impl Supply {
    /// What exists: genesis and minted less burned (LG-9).
    pub fn total(&self) -> Amount {
        let created = self.genesis.units() + self.minted.units();
        Amount::from_units(created - self.burned.units())
    }
}

/// A committee change that waits for its epoch.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct PendingChange {
    /// Height at which it was decided.
    pub height: Height,
    /// The transaction that asked for it.
    pub transaction: TransactionId,
    /// The change, as consensus encodes it.
    pub change: CommitteeChange,
}

/// Keys of the authority by their fingerprints.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct AuthorityKeys {
    pub(crate) keys: Vec<Sha256Digest>,
    pub(crate) threshold: u32,
}

/// Evidence that was acted on, so that it is acted on once.
#[derive(Clone, Default)]
pub(crate) struct Offences {
    order: Vec<Sha256Digest>,
    seen: BTreeSet<Sha256Digest>,
    digest: Option<Sha256Digest>,
}

impl Offences {
    pub(crate) fn insert(&mut self, evidence: Sha256Digest) -> bool {
        if self.order.len() >= OFFENCES_MAX || !self.seen.insert(evidence) {
            return false;
        }
        self.order.push(evidence);
        let previous = self.root();
        let digest = Preimage::new(domain::OFFENCES)
            .array(previous.as_bytes())
            .array(evidence.as_bytes())
            .sha256();
        self.digest = Some(digest);
        true
    }

    pub(crate) fn contains(&self, evidence: &Sha256Digest) -> bool {
        self.seen.contains(evidence)
    }

    pub(crate) fn len(&self) -> usize {
        self.order.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Sha256Digest> {
        self.order.iter()
    }

    /// Chain over the offences in the order in which they came.
    pub(crate) fn root(&self) -> Sha256Digest {
        self.digest.unwrap_or(Sha256Digest::ZERO)
    }
}

/// What was there before a change.
pub(crate) enum Change {
    Balance {
        slot: u32,
        before: Balance,
    },
    Owner {
        slot: u32,
        before: Sha256Digest,
    },
    Flags {
        slot: u32,
        before: u8,
    },
    AccountOpened {
        platform: u16,
        used_quota: bool,
    },
    LockCreated {
        slot: u32,
        replaced: Option<Box<Lock>>,
    },
    LockSettled {
        slot: u32,
    },
    PlatformAdded,
    CommitteeChanged,
    Supply {
        before: Box<Supply>,
    },
    Remembered {
        bucket: u32,
    },
}

/// The state. Everything in it that a block can read is under the root (LG-10).
#[derive(Clone)]
pub(crate) struct State {
    pub(crate) chain: ChainId,
    pub(crate) parameters: Parameters,
    pub(crate) authority: AuthorityKeys,
    pub(crate) supply: Supply,
    pub(crate) accounts: Accounts,
    pub(crate) locks: Locks,
    pub(crate) platforms: Platforms,
    pub(crate) recent: Recent,
    pub(crate) offences: Offences,
    pub(crate) committee_changes: Vec<PendingChange>,
    /// The committees that changes led to, row by row, as the application encodes them; empty while
    /// the genesis says who votes.
    pub(crate) committee: Vec<CommitteeChange>,
    /// Changes since the last block, the latest last.
    pub(crate) changes: Changes,
}

/// The list of changes. A copy of a state starts a list of its own.
#[derive(Default)]
pub(crate) struct Changes(pub(crate) Vec<Change>);

impl Clone for Changes {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl State {
    pub(crate) fn new(
        chain: ChainId,
        parameters: Parameters,
        authority: AuthorityKeys,
        supply: Supply,
        seed: &Seed,
    ) -> Self {
        Self {
            chain,
            authority,
            supply,
            accounts: Accounts::new(seed),
            locks: Locks::new(seed),
            platforms: Platforms::default(),
            recent: Recent::new(seed, parameters.validity_horizon),
            offences: Offences::default(),
            committee_changes: Vec::new(),
            committee: Vec::new(),
            parameters,
            changes: Changes::default(),
        }
    }

    /// Changes the balance of an account.
    pub(crate) fn change_balance(
        &mut self,
        slot: u32,
        at: Height,
        change: impl FnOnce(&mut Balance),
    ) {
        let account = self.accounts.get_mut(slot);
        let before = account.balance;
        account.balance.changed = at.get();
        change(&mut account.balance);
        self.changes.0.push(Change::Balance { slot, before });
    }

    pub(crate) fn credit(&mut self, slot: u32, at: Height, units: u128) {
        self.change_balance(slot, at, |balance| {
            balance.total = Wide::new(balance.total.get() + units);
        });
    }

    pub(crate) fn debit(&mut self, slot: u32, at: Height, units: u128) {
        self.change_balance(slot, at, |balance| {
            assert!(
                units <= balance.available(),
                "a debit of {units} needs to be available, not {}",
                balance.available()
            );
            balance.total = Wide::new(balance.total.get() - units);
        });
    }

    pub(crate) fn change_supply(&mut self, change: impl FnOnce(&mut Supply)) {
        let before = Box::new(self.supply);
        change(&mut self.supply);
        self.changes.0.push(Change::Supply { before });
    }

    /// Takes back every change after the first `length`.
    pub(crate) fn undo_to(&mut self, length: usize) {
        while self.changes.0.len() > length {
            if let Some(change) = self.changes.0.pop() {
                self.undo(change);
            }
        }
    }

    fn undo(&mut self, change: Change) {
        match change {
            Change::Balance { slot, before } => self.accounts.get_mut(slot).balance = before,
            Change::Owner { slot, before } => self.accounts.get_mut(slot).owner = before,
            Change::Flags { slot, before } => {
                let account = self.accounts.get_mut(slot);
                account.flags = account.flags & !Account::SHOWN | before & Account::SHOWN;
            }
            Change::AccountOpened {
                platform,
                used_quota,
            } => {
                self.accounts.pop();
                if used_quota {
                    self.platforms.get_mut(platform).opened -= 1;
                }
            }
            Change::LockCreated { slot, replaced } => {
                self.locks.uncreate(slot, replaced.map(|old| *old));
            }
            Change::LockSettled { slot } => self.locks.unsettle(slot),
            Change::PlatformAdded => self.platforms.pop(),
            Change::CommitteeChanged => {
                self.committee_changes.pop();
            }
            Change::Supply { before } => self.supply = *before,
            Change::Remembered { bucket } => self.recent.pop(bucket),
        }
    }
}

/// Grows by an eighth where `Vec` would double: a million accounts are not worth two.
pub(crate) fn reserve<T>(vec: &mut Vec<T>, additional: usize) {
    if vec.capacity() - vec.len() < additional {
        vec.reserve_exact(additional.max(vec.len() / 8).max(64));
    }
}

/// Bytes of a tree: 64 for each leaf, and a chunk of 32 KiB that may be half empty on each level.
fn tree_bytes(tree: &IndexedTree) -> usize {
    let leaves = tree.len() as usize;
    let levels = leaves.max(1).ilog2() as usize + 1;
    64 * leaves + 16 * 1024 * levels
}
