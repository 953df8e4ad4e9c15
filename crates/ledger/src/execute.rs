//! What each command does. Validation first, in the order of [`Rejection`]; then the change.

use crate::checks::check_key;
use crate::state::{
    Account, Accounts, Balance, CHANGES_MAX, Change, Lock, LockState, MINTED_MAX, PLATFORMS_MAX,
    PendingChange, Platform, State, Wide,
};
use crate::{
    Address, Command, CommitteeChange, LockId, PlatformName, Rejection, SignedTransaction,
};
use alloc::boxed::Box;
use polity_crypto::{PublicKey, Sha256Digest, Verified};
use polity_types::{Amount, Height, Time};

/// Where and when a block happens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Block {
    pub(crate) at: Height,
    pub(crate) time: Time,
    /// Slot of the account that receives the fees, if it existed before the block.
    pub(crate) fee_receiver: Option<u32>,
}

/// Slots of payer and payee of a transaction's first command, if they were looked up ahead and
/// existed then. An account that exists keeps its slot, so a hint is never wrong.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hint {
    pub(crate) from: u32,
    pub(crate) to: u32,
}

impl Hint {
    /// Nothing was looked up.
    pub(crate) const NONE: Self = Self {
        from: Accounts::NONE,
        to: Accounts::NONE,
    };
}

impl State {
    /// Transactions whose accounts are looked up together.
    pub(crate) const HINTS_AT_ONCE: usize = 64;

    /// Looks up payers and payees ahead.
    pub(crate) fn hints(
        &self,
        transactions: &[&Verified<SignedTransaction>],
    ) -> [Hint; Self::HINTS_AT_ONCE] {
        let mut from: [&[u8]; Self::HINTS_AT_ONCE] = [&[]; Self::HINTS_AT_ONCE];
        let mut to = from;
        for (place, transaction) in transactions.iter().take(Self::HINTS_AT_ONCE).enumerate() {
            if let Some(
                Command::Transfer {
                    from: payer,
                    to: payee,
                    ..
                }
                | Command::Lock {
                    from: payer,
                    to: payee,
                    ..
                },
            ) = transaction.transaction().commands.first()
            {
                from[place] = payer.as_str().as_bytes();
                to[place] = payee.as_str().as_bytes();
            }
        }
        let from = self.accounts.find_all(&from);
        let to = self.accounts.find_all(&to);
        core::array::from_fn(|place| Hint {
            from: from[place],
            to: to[place],
        })
    }

    /// Applies one command, or refuses it and changes nothing. `item` is its place in the
    /// transaction. Answers with the lock it made, if it made one.
    pub(crate) fn execute(
        &mut self,
        block: &Block,
        transaction: &SignedTransaction,
        item: u8,
        hint: Hint,
    ) -> Result<Option<LockId>, Rejection> {
        let hint = if item == 0 { hint } else { Hint::NONE };
        let done = |()| None;
        let keys = transaction.fingerprints();
        match &transaction.transaction().commands[usize::from(item)] {
            Command::OpenAccount { account, owner } => self
                .open_account(block, transaction, account, owner)
                .map(done),
            Command::CloseAccount { account } => self.close_account(block, keys, account).map(done),
            Command::Transfer { from, to, amount } => {
                let (from, to) = self.check_payment(keys, from, to, *amount, hint)?;
                self.transfer(block, from, to, *amount).map(done)
            }
            Command::Lock {
                from,
                to,
                amount,
                expires,
            } => {
                let (from, to) = self.check_payment(keys, from, to, *amount, hint)?;
                self.check_lock(block, from, *amount, *expires)?;
                let id = LockId::derive(&transaction.id(), item);
                self.lock(block, id, from, to, *amount, *expires);
                Ok(Some(id))
            }
            Command::Commit { lock, amount } => self.commit(block, keys, lock, *amount).map(done),
            Command::Rollback { lock, .. } => self.rollback(block, keys, lock).map(done),
            Command::RotateKey { account, key } => {
                self.rotate_key(block, keys, account, key).map(done)
            }
            Command::FreezeAccount { account, frozen } => {
                self.freeze(block, keys, account, *frozen).map(done)
            }
            Command::RegisterPlatform {
                platform,
                key,
                quota,
            } => self
                .register_platform(keys, platform, key, *quota)
                .map(done),
            Command::Mint { to, amount } => self.mint(block, keys, to, *amount).map(done),
            Command::Burn { from, amount } => self.burn(block, keys, from, *amount).map(done),
            Command::ChangeCommittee { change } => {
                self.change_committee(block, transaction, change).map(done)
            }
        }
    }

    fn open_account(
        &mut self,
        block: &Block,
        transaction: &SignedTransaction,
        address: &Address,
        owner: &PublicKey,
    ) -> Result<(), Rejection> {
        let number = self
            .platforms
            .number_of(address)
            .ok_or(Rejection::PlatformNotFound)?;
        let is_within_quota = {
            let platform = self.platforms.get(number);
            platform.opened < platform.quota
        };
        // LG-3: beyond the quota the signer pays for the account.
        let sells = !is_within_quota && !self.parameters.open_fee.is_zero();
        let payer = if sells {
            Some(self.find(&transaction.transaction().signer)?)
        } else {
            None
        };
        if let Some(slot) = self.accounts.find(address) {
            // LG-3: a closed address never reopens.
            return Err(if self.accounts.get(slot).is_closed() {
                Rejection::AccountClosed
            } else {
                Rejection::AccountExists
            });
        }
        if let Some(slot) = payer {
            self.check_open(slot)?;
        }
        let keys = transaction.fingerprints();
        check_key(keys, &self.platforms.get(number).key)?;
        if let Some(slot) = payer {
            check_key(&keys[..1], &self.accounts.get(slot).owner)?;
            self.check_not_frozen(slot)?;
            self.check_available(slot, self.parameters.open_fee)?;
        } else if !is_within_quota {
            return Err(Rejection::QuotaExhausted);
        }
        if !self.accounts.has_room(self.parameters.accounts_max) {
            return Err(Rejection::AccountsFull);
        }
        // From here on the command succeeds.
        if let Some(slot) = payer {
            self.pay_fee(block, slot, self.parameters.open_fee);
        }
        if is_within_quota {
            self.platforms.get_mut(number).opened += 1;
        }
        let balance = Balance {
            total: Wide::default(),
            locked: Wide::default(),
            changed: block.at.get(),
            outgoing: 0,
            incoming: 0,
        };
        self.accounts
            .push(address, number, owner.fingerprint(), 0, balance);
        self.changes.0.push(Change::AccountOpened {
            platform: number,
            used_quota: is_within_quota,
        });
        Ok(())
    }

    fn close_account(
        &mut self,
        block: &Block,
        keys: &[Sha256Digest],
        address: &Address,
    ) -> Result<(), Rejection> {
        let slot = self.find(address)?;
        self.check_open(slot)?;
        check_key(keys, self.platform_key(slot))?;
        let balance = self.accounts.get(slot).balance;
        if balance.total.get() != 0 {
            return Err(Rejection::AccountNotEmpty);
        }
        // LG-9: every open lock keeps both of its accounts.
        if balance.outgoing != 0 || balance.incoming != 0 {
            return Err(Rejection::AccountHasLocks);
        }
        // From here on the command succeeds.
        self.set_flag(block, slot, Account::CLOSED, true);
        Ok(())
    }

    fn transfer(
        &mut self,
        block: &Block,
        from: u32,
        to: u32,
        amount: Amount,
    ) -> Result<(), Rejection> {
        self.check_not_frozen(from)?;
        self.check_available(from, amount)?;
        // From here on the command succeeds.
        self.debit(from, block.at, amount.units());
        self.credit(to, block.at, amount.units());
        Ok(())
    }

    fn check_lock(
        &self,
        block: &Block,
        from: u32,
        amount: Amount,
        expires: Time,
    ) -> Result<(), Rejection> {
        self.check_not_frozen(from)?;
        if amount < self.parameters.min_lock {
            return Err(Rejection::AmountBelowMinimum);
        }
        if expires <= block.time {
            return Err(Rejection::ExpiryPassed);
        }
        if expires > self.parameters.latest_expiry(block.time) {
            return Err(Rejection::ExpiryTooFar);
        }
        if self.accounts.get(from).balance.outgoing >= self.parameters.open_locks_max {
            return Err(Rejection::TooManyOpenLocks);
        }
        self.check_available(from, amount)?;
        let has_room = self.locks.len() < self.parameters.locks_max as usize;
        if !has_room && self.reusable(block).is_none() {
            return Err(Rejection::LocksFull);
        }
        Ok(())
    }

    fn lock(
        &mut self,
        block: &Block,
        id: LockId,
        from: u32,
        to: u32,
        amount: Amount,
        expires: Time,
    ) {
        self.change_balance(from, block.at, |balance| {
            balance.locked = Wide::new(balance.locked.get() + amount.units());
            balance.outgoing += 1;
        });
        self.change_balance(to, block.at, |balance| balance.incoming += 1);
        let lock = Lock {
            id,
            amount: Wide::new(amount.units()),
            paid: Wide::default(),
            expires,
            settled_at: 0,
            sequence: 0,
            from,
            to,
            state: LockState::Open,
            is_dirty: false,
        };
        let (slot, replaced) = self.locks.create(lock, self.reusable(block));
        let replaced = replaced.map(Box::new);
        self.changes.0.push(Change::LockCreated { slot, replaced });
    }

    fn commit(
        &mut self,
        block: &Block,
        keys: &[Sha256Digest],
        id: &LockId,
        amount: Amount,
    ) -> Result<(), Rejection> {
        if amount.is_zero() {
            return Err(Rejection::ZeroAmount);
        }
        let slot = self.find_open_lock(block, id)?;
        let lock = self.locks.get(slot);
        let payer = lock.from;
        // LG-6: the payee's platform, or the payer for the whole amount.
        let is_platform = keys.contains(self.platform_key(lock.to));
        if !is_platform {
            check_key(keys, &self.accounts.get(payer).owner)?;
            self.check_not_frozen(payer)?;
        }
        if amount.units() > lock.amount.get() {
            return Err(Rejection::AmountAboveLock);
        }
        if !is_platform && amount.units() < lock.amount.get() {
            return Err(Rejection::PartialCommit);
        }
        // From here on the command succeeds.
        self.settle(block, slot, LockState::Committed, amount.units());
        Ok(())
    }

    fn rollback(
        &mut self,
        block: &Block,
        keys: &[Sha256Digest],
        id: &LockId,
    ) -> Result<(), Rejection> {
        let slot = self.find_open_lock(block, id)?;
        // LG-6: the payer cannot take back what it promised.
        check_key(keys, self.platform_key(self.locks.get(slot).to))?;
        // From here on the command succeeds.
        self.settle(block, slot, LockState::RolledBack, 0);
        Ok(())
    }

    /// Ends an open lock and pays `paid` of it.
    pub(crate) fn settle(&mut self, block: &Block, slot: u32, state: LockState, paid: u128) {
        let lock = self.locks.get(slot);
        let (from, to, amount) = (lock.from, lock.to, lock.amount.get());
        assert!(paid <= amount, "a lock of {amount} cannot pay {paid}");
        self.locks.settle(slot, state, paid, block.at);
        self.changes.0.push(Change::LockSettled { slot });
        self.change_balance(from, block.at, |balance| {
            balance.total = Wide::new(balance.total.get() - paid);
            balance.locked = Wide::new(balance.locked.get() - amount);
            balance.outgoing -= 1;
        });
        self.change_balance(to, block.at, |balance| {
            balance.total = Wide::new(balance.total.get() + paid);
            balance.incoming -= 1;
        });
    }

    fn rotate_key(
        &mut self,
        block: &Block,
        keys: &[Sha256Digest],
        address: &Address,
        key: &PublicKey,
    ) -> Result<(), Rejection> {
        let slot = self.find(address)?;
        self.check_open(slot)?;
        let before = self.accounts.get(slot).owner;
        check_key(keys, &before)?;
        // From here on the command succeeds.
        self.change_balance(slot, block.at, |_| {});
        self.accounts.get_mut(slot).owner = key.fingerprint();
        self.changes.0.push(Change::Owner { slot, before });
        Ok(())
    }

    fn freeze(
        &mut self,
        block: &Block,
        keys: &[Sha256Digest],
        address: &Address,
        is_frozen: bool,
    ) -> Result<(), Rejection> {
        let slot = self.find(address)?;
        self.check_open(slot)?;
        self.check_authority(keys)?;
        // From here on the command succeeds.
        self.set_flag(block, slot, Account::FROZEN, is_frozen);
        Ok(())
    }

    fn register_platform(
        &mut self,
        keys: &[Sha256Digest],
        name: &PlatformName,
        key: &PublicKey,
        quota: u64,
    ) -> Result<(), Rejection> {
        if self.platforms.number(name).is_some() {
            return Err(Rejection::PlatformExists);
        }
        self.check_authority(keys)?;
        if self.platforms.len() >= PLATFORMS_MAX {
            return Err(Rejection::PlatformsFull);
        }
        // From here on the command succeeds.
        self.platforms.push(Platform {
            name: name.clone(),
            key: key.fingerprint(),
            quota,
            opened: 0,
        });
        self.changes.0.push(Change::PlatformAdded);
        Ok(())
    }

    fn mint(
        &mut self,
        block: &Block,
        keys: &[Sha256Digest],
        to: &Address,
        amount: Amount,
    ) -> Result<(), Rejection> {
        if amount.is_zero() {
            return Err(Rejection::ZeroAmount);
        }
        let slot = self.find(to)?;
        self.check_open(slot)?;
        self.check_authority(keys)?;
        // LG-2: every sum of balances fits.
        let fits = |sum: Option<Amount>, max: u128| sum.is_some_and(|sum| sum.units() <= max);
        if !fits(
            self.supply.total().checked_add(amount),
            Amount::SUPPLY_MAX.units(),
        ) || !fits(self.supply.minted.checked_add(amount), MINTED_MAX)
        {
            return Err(Rejection::SupplyExceeded);
        }
        // From here on the command succeeds.
        self.change_supply(|supply| {
            supply.minted = Amount::from_units(supply.minted.units() + amount.units());
        });
        self.credit(slot, block.at, amount.units());
        Ok(())
    }

    fn burn(
        &mut self,
        block: &Block,
        keys: &[Sha256Digest],
        from: &Address,
        amount: Amount,
    ) -> Result<(), Rejection> {
        if amount.is_zero() {
            return Err(Rejection::ZeroAmount);
        }
        let slot = self.find(from)?;
        self.check_open(slot)?;
        self.check_authority(keys)?;
        self.check_available(slot, amount)?;
        // From here on the command succeeds.
        self.debit(slot, block.at, amount.units());
        self.burn_supply(amount);
        Ok(())
    }

    fn change_committee(
        &mut self,
        block: &Block,
        transaction: &SignedTransaction,
        change: &CommitteeChange,
    ) -> Result<(), Rejection> {
        self.check_authority(transaction.fingerprints())?;
        if self.committee_changes.len() >= CHANGES_MAX {
            return Err(Rejection::ChangesFull);
        }
        // From here on the command succeeds.
        self.committee_changes.push(PendingChange {
            height: block.at,
            transaction: transaction.id(),
            change: change.clone(),
        });
        self.changes.0.push(Change::CommitteeChanged);
        Ok(())
    }

    /// Moves a fee that the caller has checked to be available (LG-12).
    ///
    /// Debit and credit happen one after the other on the stored balances, so a payer that is its
    /// own receiver keeps what it has. A fee that nobody can receive leaves the supply.
    pub(crate) fn pay_fee(&mut self, block: &Block, payer: u32, fee: Amount) {
        self.debit(payer, block.at, fee.units());
        match block.fee_receiver {
            Some(slot) if !self.accounts.get(slot).is_closed() => {
                self.credit(slot, block.at, fee.units());
            }
            _ => self.burn_supply(fee),
        }
    }

    fn burn_supply(&mut self, amount: Amount) {
        self.change_supply(|supply| {
            supply.burned = Amount::from_units(supply.burned.units() + amount.units());
        });
    }

    fn set_flag(&mut self, block: &Block, slot: u32, flag: u8, is_set: bool) {
        self.change_balance(slot, block.at, |_| {});
        let account = self.accounts.get_mut(slot);
        let before = account.flags;
        account.flags = if is_set {
            before | flag
        } else {
            before & !flag
        };
        self.changes.0.push(Change::Flags { slot, before });
    }

    fn reusable(&self, block: &Block) -> Option<u32> {
        self.locks
            .reusable(block.at, self.parameters.validity_horizon)
    }
}
