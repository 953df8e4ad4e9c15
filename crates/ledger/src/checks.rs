//! What commands check before they change anything.

use crate::execute::{Block, Hint};
use crate::state::{Accounts, LockState, State};
use crate::{Address, LockId, Rejection};
use polity_crypto::Sha256Digest;
use polity_types::Amount;

impl State {
    /// The common part of Transfer and Lock.
    pub(crate) fn check_payment(
        &self,
        keys: &[Sha256Digest],
        from: &Address,
        to: &Address,
        amount: Amount,
        hint: Hint,
    ) -> Result<(u32, u32), Rejection> {
        if amount.is_zero() {
            return Err(Rejection::ZeroAmount);
        }
        if from == to {
            return Err(Rejection::SameAccount);
        }
        let find = |slot: u32, address| match slot {
            Accounts::NONE => self.find(address),
            slot => Ok(slot),
        };
        let from = find(hint.from, from)?;
        let to = find(hint.to, to)?;
        self.check_open(from)?;
        self.check_open(to)?;
        check_key(keys, &self.accounts.get(from).owner)?;
        Ok((from, to))
    }

    pub(crate) fn find_open_lock(&self, block: &Block, id: &LockId) -> Result<u32, Rejection> {
        let slot = self.locks.find(id).ok_or(Rejection::LockNotFound)?;
        let lock = self.locks.get(slot);
        match lock.state {
            LockState::Committed => Err(Rejection::AlreadyCommitted),
            LockState::RolledBack => Err(Rejection::AlreadyRolledBack),
            LockState::Expired => Err(Rejection::LockExpired),
            // LG-7: a due lock has expired, swept or not.
            LockState::Open if lock.expires <= block.time => Err(Rejection::LockExpired),
            LockState::Open => Ok(slot),
        }
    }

    pub(crate) fn find(&self, address: &Address) -> Result<u32, Rejection> {
        self.accounts
            .find(address)
            .ok_or(Rejection::AccountNotFound)
    }

    pub(crate) fn platform_key(&self, slot: u32) -> &Sha256Digest {
        &self.platforms.get(self.accounts.get(slot).platform).key
    }

    pub(crate) fn check_open(&self, slot: u32) -> Result<(), Rejection> {
        if self.accounts.get(slot).is_closed() {
            Err(Rejection::AccountClosed)
        } else {
            Ok(())
        }
    }

    pub(crate) fn check_not_frozen(&self, slot: u32) -> Result<(), Rejection> {
        if self.accounts.get(slot).is_frozen() {
            Err(Rejection::AccountFrozen)
        } else {
            Ok(())
        }
    }

    pub(crate) fn check_available(&self, slot: u32, amount: Amount) -> Result<(), Rejection> {
        if self.accounts.get(slot).balance.available() < amount.units() {
            Err(Rejection::InsufficientFunds)
        } else {
            Ok(())
        }
    }

    /// LG-6: enough keys of the authority signed. Keys are distinct on both sides.
    pub(crate) fn check_authority(&self, keys: &[Sha256Digest]) -> Result<(), Rejection> {
        let signed = keys
            .iter()
            .filter(|key| self.authority.keys.contains(key))
            .count();
        if signed >= self.authority.threshold as usize {
            Ok(())
        } else {
            Err(Rejection::NotAuthorised)
        }
    }
}

/// Whether the key with this fingerprint signed.
pub(crate) fn check_key(keys: &[Sha256Digest], key: &Sha256Digest) -> Result<(), Rejection> {
    if keys.contains(key) {
        Ok(())
    } else {
        Err(Rejection::NotAuthorised)
    }
}
