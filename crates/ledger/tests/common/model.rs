//! A naive ledger: maps, lists and sums, and for every command the list of everything that is wrong
//! with it. It shares the command types with the real ledger and nothing else.

use polity_crypto::PublicKey;
use polity_ledger::{
    Address, Authority, Command, Genesis, Inadmissible, LockId, LockState, Outcome, Parameters,
    Receipt, Rejection, SignedTransaction, TransactionId,
};
use polity_types::{Amount, Height, Time};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelAccount {
    pub owner: PublicKey,
    pub total: u128,
    pub frozen: bool,
    pub closed: bool,
    pub changed: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelLock {
    pub from: Address,
    pub to: Address,
    pub amount: u128,
    pub paid: u128,
    pub expires: Time,
    pub state: LockState,
    pub settled_at: u64,
}

#[derive(Clone, Debug)]
struct ModelPlatform {
    key: PublicKey,
    quota: u64,
    opened: u64,
}

#[derive(Clone)]
pub struct Model {
    parameters: Parameters,
    authority: Authority,
    platforms: BTreeMap<String, ModelPlatform>,
    pub accounts: BTreeMap<Address, ModelAccount>,
    pub locks: BTreeMap<LockId, ModelLock>,
    /// Settled locks that are remembered, the first one first.
    settled: Vec<LockId>,
    /// Decided transactions with their last height.
    pub decided: BTreeMap<TransactionId, (Height, Receipt)>,
    pub minted: u128,
    pub burned: u128,
    pub changes: usize,
}

/// A block that is being built.
struct Step<'a> {
    at: Height,
    time: Time,
    receiver: Option<&'a Address>,
    keys: &'a [PublicKey],
    signer: &'a Address,
}

impl Model {
    pub fn new(genesis: &Genesis) -> Self {
        let platform = |p: &polity_ledger::GenesisPlatform| {
            let platform = ModelPlatform {
                key: p.key.clone(),
                quota: p.quota,
                opened: 0,
            };
            (p.name.to_string(), platform)
        };
        let account = |a: &polity_ledger::GenesisAccount| {
            let account = ModelAccount {
                owner: a.owner.clone(),
                total: a.balance.units(),
                frozen: false,
                closed: false,
                changed: 0,
            };
            (a.address.clone(), account)
        };
        Self {
            parameters: genesis.parameters.clone(),
            authority: genesis.authority.clone(),
            platforms: genesis.platforms.iter().map(platform).collect(),
            accounts: genesis.accounts.iter().map(account).collect(),
            locks: BTreeMap::new(),
            settled: Vec::new(),
            decided: BTreeMap::new(),
            minted: 0,
            burned: 0,
            changes: 0,
        }
    }

    /// Applies a block, leaving out what no block can hold. Answers with the expired locks and, for
    /// each candidate, its receipt or why it was left out.
    pub fn block(
        &mut self,
        at: Height,
        time: Time,
        receiver: &Address,
        candidates: &[&SignedTransaction],
    ) -> (Vec<LockId>, Vec<Result<Receipt, Inadmissible>>) {
        let receiver = self.accounts.contains_key(receiver).then_some(receiver);
        let expired = self.expire(at, time);
        let mut results = Vec::new();
        let mut in_block = BTreeSet::new();
        for signed in candidates {
            let index = in_block.len() as u32;
            let result = self.transaction(at, time, receiver, index, signed, &in_block);
            if result.is_ok() {
                in_block.insert(signed.id());
            }
            results.push(result);
        }
        self.decided.retain(|_, (until, _)| *until >= at);
        (expired, results)
    }

    fn expire(&mut self, at: Height, time: Time) -> Vec<LockId> {
        let mut due: Vec<(Time, LockId)> = self
            .locks
            .iter()
            .filter(|(_, lock)| lock.state == LockState::Open && lock.expires <= time)
            .map(|(id, lock)| (lock.expires, *id))
            .collect();
        due.sort();
        due.truncate(self.parameters.expiries_per_block_max as usize);
        for (_, id) in &due {
            self.settle(at, id, LockState::Expired, 0);
        }
        due.into_iter().map(|(_, id)| id).collect()
    }

    fn transaction(
        &mut self,
        at: Height,
        time: Time,
        receiver: Option<&Address>,
        index: u32,
        signed: &SignedTransaction,
        in_block: &BTreeSet<TransactionId>,
    ) -> Result<Receipt, Inadmissible> {
        let content = signed.transaction();
        let id = signed.id();
        if content.valid_until < at {
            return Err(Inadmissible::Expired);
        }
        if content.valid_until.get() > at.get() + self.parameters.validity_horizon {
            return Err(Inadmissible::TooFar);
        }
        if in_block.contains(&id) {
            return Err(Inadmissible::DuplicateInBlock);
        }
        if self.decided.contains_key(&id) {
            return Err(Inadmissible::IdInWindow);
        }
        let fee = self.parameters.fee_flat.units()
            + self.parameters.fee_per_byte.units() * signed.encode().len() as u128;
        let step = Step {
            at,
            time,
            receiver,
            keys: &content.keys,
            signer: &content.signer,
        };
        if fee > 0 {
            let can_pay = self.accounts.get(step.signer).is_some_and(|account| {
                !account.closed
                    && account.owner == content.keys[0]
                    && self.available(step.signer) >= fee
            });
            if !can_pay {
                return Err(Inadmissible::CannotPayFee);
            }
            self.pay(&step, fee);
        }
        let before = self.clone();
        let mut outcome = Ok(Outcome::Applied);
        let mut refused_command = None;
        for (number, command) in content.commands.iter().enumerate() {
            let problems = self.problems(&step, command);
            if let Some(first) = problems.first() {
                *self = before;
                outcome = Err(*first);
                refused_command = Some(number as u8);
                break;
            }
            let lock = LockId::derive(&id, number as u8);
            self.perform(&step, command, lock);
            if content.commands.len() == 1 && matches!(command, Command::Lock { .. }) {
                outcome = Ok(Outcome::Locked(lock));
            }
        }
        let receipt = Receipt {
            id,
            height: at,
            index,
            fee: Amount::from_units(fee),
            outcome,
            refused_command,
        };
        if fee > 0 || !outcome.is_err_and(Rejection::is_transient) {
            self.decided.insert(id, (content.valid_until, receipt));
        }
        Ok(receipt)
    }

    /// Everything that is wrong with a command, the most urgent first.
    fn problems(&self, step: &Step<'_>, command: &Command) -> BTreeSet<Rejection> {
        let mut found = BTreeSet::new();
        let mut when = |is_wrong: bool, rejection| {
            if is_wrong {
                found.insert(rejection);
            }
        };
        let exists = |address: &Address| self.accounts.contains_key(address);
        let closed = |address: &Address| self.accounts.get(address).is_some_and(|a| a.closed);
        let frozen = |address: &Address| self.accounts.get(address).is_some_and(|a| a.frozen);
        let owns = |address: &Address| {
            let account = self.accounts.get(address);
            account.is_some_and(|account| step.keys.contains(&account.owner))
        };
        let runs = |address: &Address| {
            let platform = self.platforms.get(address.platform());
            platform.is_some_and(|platform| step.keys.contains(&platform.key))
        };
        let lacks =
            |address: &Address, units: u128| exists(address) && self.available(address) < units;
        let signed = step.keys.iter().filter(|k| self.authority.keys.contains(k));
        let is_authority = signed.count() >= self.authority.threshold as usize;
        match command {
            Command::OpenAccount { account, .. } => {
                let Some(platform) = self.platforms.get(account.platform()) else {
                    return BTreeSet::from([Rejection::PlatformNotFound]);
                };
                when(
                    exists(account) && !closed(account),
                    Rejection::AccountExists,
                );
                when(closed(account), Rejection::AccountClosed);
                when(!runs(account), Rejection::NotAuthorised);
                if platform.opened >= platform.quota {
                    let price = self.parameters.open_fee.units();
                    if price == 0 {
                        when(true, Rejection::QuotaExhausted);
                    } else {
                        let payer = step.signer;
                        let owner = self.accounts.get(payer).map(|a| &a.owner);
                        when(!exists(payer), Rejection::AccountNotFound);
                        when(closed(payer), Rejection::AccountClosed);
                        when(frozen(payer), Rejection::AccountFrozen);
                        when(owner != Some(&step.keys[0]), Rejection::NotAuthorised);
                        when(lacks(payer, price), Rejection::InsufficientFunds);
                    }
                }
                let count = self.accounts.len();
                when(
                    count >= self.parameters.accounts_max as usize,
                    Rejection::AccountsFull,
                );
            }
            Command::CloseAccount { account } => {
                when(!exists(account), Rejection::AccountNotFound);
                when(closed(account), Rejection::AccountClosed);
                when(!runs(account), Rejection::NotAuthorised);
                let total = self.accounts.get(account).map_or(0, |a| a.total);
                when(total != 0, Rejection::AccountNotEmpty);
                let mut open = self.open();
                let is_part = open.any(|(_, lock)| lock.from == *account || lock.to == *account);
                when(is_part, Rejection::AccountHasLocks);
            }
            Command::Transfer { from, to, amount } => {
                when(amount.is_zero(), Rejection::ZeroAmount);
                when(from == to, Rejection::SameAccount);
                when(!exists(from) || !exists(to), Rejection::AccountNotFound);
                when(closed(from) || closed(to), Rejection::AccountClosed);
                when(!owns(from), Rejection::NotAuthorised);
                when(frozen(from), Rejection::AccountFrozen);
                when(lacks(from, amount.units()), Rejection::InsufficientFunds);
            }
            Command::Lock {
                from,
                to,
                amount,
                expires,
            } => {
                when(amount.is_zero(), Rejection::ZeroAmount);
                when(from == to, Rejection::SameAccount);
                when(!exists(from) || !exists(to), Rejection::AccountNotFound);
                when(closed(from) || closed(to), Rejection::AccountClosed);
                when(!owns(from), Rejection::NotAuthorised);
                when(frozen(from), Rejection::AccountFrozen);
                when(
                    *amount < self.parameters.min_lock,
                    Rejection::AmountBelowMinimum,
                );
                when(*expires <= step.time, Rejection::ExpiryPassed);
                let latest = step.time.as_millis() + self.parameters.lock_horizon_ms;
                when(expires.as_millis() > latest, Rejection::ExpiryTooFar);
                let open = self.open().filter(|(_, lock)| lock.from == *from).count();
                let is_full = open >= self.parameters.open_locks_max as usize;
                when(is_full, Rejection::TooManyOpenLocks);
                when(lacks(from, amount.units()), Rejection::InsufficientFunds);
                let is_full = self.locks.len() >= self.parameters.locks_max as usize;
                when(
                    is_full && self.forgettable(step.at).is_none(),
                    Rejection::LocksFull,
                );
            }
            Command::Commit { lock, amount } => {
                when(amount.is_zero(), Rejection::ZeroAmount);
                let Some(lock) = self.locks.get(lock) else {
                    when(true, Rejection::LockNotFound);
                    return found;
                };
                when(
                    lock.state == LockState::Committed,
                    Rejection::AlreadyCommitted,
                );
                when(
                    lock.state == LockState::RolledBack,
                    Rejection::AlreadyRolledBack,
                );
                when(lock.state == LockState::Expired, Rejection::LockExpired);
                when(lock.expires <= step.time, Rejection::LockExpired);
                let is_payer = owns(&lock.from) && !runs(&lock.to);
                when(!runs(&lock.to) && !is_payer, Rejection::NotAuthorised);
                when(is_payer && frozen(&lock.from), Rejection::AccountFrozen);
                when(amount.units() > lock.amount, Rejection::AmountAboveLock);
                let is_partial = amount.units() < lock.amount;
                when(is_payer && is_partial, Rejection::PartialCommit);
            }
            Command::Rollback { lock, .. } => {
                let Some(lock) = self.locks.get(lock) else {
                    return BTreeSet::from([Rejection::LockNotFound]);
                };
                when(
                    lock.state == LockState::Committed,
                    Rejection::AlreadyCommitted,
                );
                when(
                    lock.state == LockState::RolledBack,
                    Rejection::AlreadyRolledBack,
                );
                when(lock.state == LockState::Expired, Rejection::LockExpired);
                when(lock.expires <= step.time, Rejection::LockExpired);
                when(!runs(&lock.to), Rejection::NotAuthorised);
            }
            Command::RotateKey { account, .. } => {
                when(!exists(account), Rejection::AccountNotFound);
                when(closed(account), Rejection::AccountClosed);
                when(!owns(account), Rejection::NotAuthorised);
            }
            Command::FreezeAccount { account, .. } => {
                when(!exists(account), Rejection::AccountNotFound);
                when(closed(account), Rejection::AccountClosed);
                when(!is_authority, Rejection::NotAuthorised);
            }
            Command::RegisterPlatform { platform, .. } => {
                let is_known = self.platforms.contains_key(platform.as_str());
                when(is_known, Rejection::PlatformExists);
                when(!is_authority, Rejection::NotAuthorised);
            }
            Command::Mint { to, amount } => {
                when(amount.is_zero(), Rejection::ZeroAmount);
                when(!exists(to), Rejection::AccountNotFound);
                when(closed(to), Rejection::AccountClosed);
                when(!is_authority, Rejection::NotAuthorised);
                let supply = self.supply() + amount.units();
                when(
                    supply > Amount::SUPPLY_MAX.units(),
                    Rejection::SupplyExceeded,
                );
            }
            Command::Burn { from, amount } => {
                when(amount.is_zero(), Rejection::ZeroAmount);
                when(!exists(from), Rejection::AccountNotFound);
                when(closed(from), Rejection::AccountClosed);
                when(!is_authority, Rejection::NotAuthorised);
                when(lacks(from, amount.units()), Rejection::InsufficientFunds);
            }
            Command::ChangeCommittee { .. } => {
                when(!is_authority, Rejection::NotAuthorised);
            }
        }
        found
    }

    fn perform(&mut self, step: &Step<'_>, command: &Command, id: LockId) {
        match command {
            Command::OpenAccount { account, owner } => {
                let price = self.parameters.open_fee.units();
                let platform = self.platforms.get_mut(account.platform()).unwrap();
                if platform.opened < platform.quota {
                    platform.opened += 1;
                } else {
                    self.pay(step, price);
                }
                let opened = ModelAccount {
                    owner: owner.clone(),
                    total: 0,
                    frozen: false,
                    closed: false,
                    changed: step.at.get(),
                };
                self.accounts.insert(account.clone(), opened);
            }
            Command::CloseAccount { account } => self.account(step.at, account).closed = true,
            Command::Transfer { from, to, amount } => {
                self.account(step.at, from).total -= amount.units();
                self.account(step.at, to).total += amount.units();
            }
            Command::Lock {
                from,
                to,
                amount,
                expires,
            } => {
                if let Some(old) = self.forgettable(step.at) {
                    self.settled.remove(0);
                    self.locks.remove(&old);
                }
                self.account(step.at, from);
                self.account(step.at, to);
                let lock = ModelLock {
                    from: from.clone(),
                    to: to.clone(),
                    amount: amount.units(),
                    paid: 0,
                    expires: *expires,
                    state: LockState::Open,
                    settled_at: 0,
                };
                self.locks.insert(id, lock);
            }
            Command::Commit { lock, amount } => {
                self.settle(step.at, lock, LockState::Committed, amount.units());
            }
            Command::Rollback { lock, .. } => {
                self.settle(step.at, lock, LockState::RolledBack, 0);
            }
            Command::RotateKey { account, key } => {
                self.account(step.at, account).owner = key.clone();
            }
            Command::FreezeAccount { account, frozen } => {
                self.account(step.at, account).frozen = *frozen;
            }
            Command::RegisterPlatform {
                platform,
                key,
                quota,
            } => {
                let registered = ModelPlatform {
                    key: key.clone(),
                    quota: *quota,
                    opened: 0,
                };
                self.platforms.insert(platform.to_string(), registered);
            }
            Command::Mint { to, amount } => {
                self.account(step.at, to).total += amount.units();
                self.minted += amount.units();
            }
            Command::Burn { from, amount } => {
                self.account(step.at, from).total -= amount.units();
                self.burned += amount.units();
            }
            Command::ChangeCommittee { .. } => self.changes += 1,
        }
    }

    /// The account, which changes at this height.
    fn account(&mut self, at: Height, address: &Address) -> &mut ModelAccount {
        let account = self.accounts.get_mut(address).unwrap();
        account.changed = at.get();
        account
    }

    fn pay(&mut self, step: &Step<'_>, units: u128) {
        self.account(step.at, step.signer).total -= units;
        match step.receiver {
            Some(receiver) if !self.accounts[receiver].closed => {
                self.account(step.at, receiver).total += units;
            }
            _ => self.burned += units,
        }
    }

    fn settle(&mut self, at: Height, id: &LockId, state: LockState, paid: u128) {
        let lock = self.locks.get_mut(id).unwrap();
        lock.state = state;
        lock.paid = paid;
        lock.settled_at = at.get();
        let (from, to) = (lock.from.clone(), lock.to.clone());
        self.account(at, &from).total -= paid;
        self.account(at, &to).total += paid;
        self.settled.push(*id);
    }

    /// The settled lock that a new one replaces.
    fn forgettable(&self, at: Height) -> Option<LockId> {
        let first = *self.settled.first()?;
        let age = at.get() - self.locks[&first].settled_at;
        (age > self.parameters.validity_horizon).then_some(first)
    }

    fn open(&self) -> impl Iterator<Item = (&LockId, &ModelLock)> {
        self.locks
            .iter()
            .filter(|(_, lock)| lock.state == LockState::Open)
    }

    pub fn locked(&self, address: &Address) -> u128 {
        self.open()
            .filter(|(_, lock)| lock.from == *address)
            .map(|(_, lock)| lock.amount)
            .sum()
    }

    fn available(&self, address: &Address) -> u128 {
        self.accounts[address].total - self.locked(address)
    }

    pub fn supply(&self) -> u128 {
        self.accounts.values().map(|account| account.total).sum()
    }
}
