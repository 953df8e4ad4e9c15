//! Every balance, added up anew from the decided blocks.
//!
//! A naive ledger: two maps and no tree. It reads commands and the codes of receipts, judges for
//! itself whether a command could succeed, and is compared with the ledger of every honest replica
//! after every block (LG-2, LG-7, LG-9).

use super::Violation;
use polity_crypto::PublicKey;
use polity_ledger::{AccountView, Command, LockId, SignedTransaction};
use polity_replica::{Committed, Genesis};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

const NAME: &str = "arithmetic";

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Balance {
    total: u128,
    locked: u128,
}

#[derive(Clone, Debug)]
struct Lock {
    from: String,
    to: String,
    amount: u128,
    expires: u64,
}

type Balances = BTreeMap<String, Balance>;

/// The naive ledger.
#[derive(Debug)]
pub struct Arithmetic {
    height: u64,
    balances: Balances,
    /// Those that are open.
    locks: BTreeMap<LockId, Lock>,
    owners: BTreeMap<String, PublicKey>,
    platforms: BTreeMap<String, PublicKey>,
    fee_flat: u128,
    expiries_max: usize,
    validity_horizon: u64,
    authority: Vec<PublicKey>,
    supply: u128,
    ids: BTreeSet<[u8; 32]>,
    /// What the accounts held after each height.
    after: BTreeMap<u64, Rc<Balances>>,
}

impl Arithmetic {
    /// Starts from the genesis.
    pub fn new(genesis: &Genesis) -> Self {
        let ledger = &genesis.ledger;
        let balances: Balances = ledger
            .accounts
            .iter()
            .map(|account| {
                let balance = Balance {
                    total: account.balance.units(),
                    locked: 0,
                };
                (account.address.to_string(), balance)
            })
            .collect();
        let supply = balances.values().map(|balance| balance.total).sum();
        Self {
            height: 0,
            locks: BTreeMap::new(),
            owners: ledger
                .accounts
                .iter()
                .map(|account| (account.address.to_string(), account.owner.clone()))
                .collect(),
            platforms: ledger
                .platforms
                .iter()
                .map(|platform| (platform.name.to_string(), platform.key.clone()))
                .collect(),
            fee_flat: ledger.parameters.fee_flat.units(),
            validity_horizon: ledger.parameters.validity_horizon,
            expiries_max: ledger.parameters.expiries_per_block_max as usize,
            authority: ledger.authority.keys.clone(),
            supply,
            ids: BTreeSet::new(),
            after: BTreeMap::from([(0, Rc::new(balances.clone()))]),
            balances,
        }
    }

    /// Takes a decided block in, the first time it is seen. Its fees go to `fee_account`.
    pub fn committed(&mut self, committed: &Committed, fee_account: &str) -> Result<(), Violation> {
        let header = committed.block.header();
        let height = header.height.get();
        if height != self.height + 1 {
            return Ok(());
        }
        self.height = height;
        let time = header.timestamp.as_millis();
        self.expire(height, time, &committed.expired)?;
        let transactions = &committed.block.body().transactions;
        if transactions.len() != committed.receipts.len() {
            return Err(fault(height, "not every transaction has a receipt"));
        }
        for (bytes, receipt) in transactions.iter().zip(&*committed.receipts) {
            let transaction = SignedTransaction::decode(bytes.as_slice())
                .map_err(|error| fault(height, &format!("a decided transaction: {error}")))?;
            if receipt.id != transaction.id() {
                return Err(fault(height, "a receipt of another transaction"));
            }
            // LG-4: neither over nor valid for longer than the genesis allows.
            let until = transaction.transaction().valid_until.get();
            if until < height || until > height + self.validity_horizon {
                return Err(fault(
                    height,
                    "a transaction that is not valid at this height",
                ));
            }
            if receipt.fee.units() != self.fee_flat {
                return Err(fault(height, "a fee that the genesis does not ask for"));
            }
            let is_free = receipt.fee.is_zero();
            let may_return = matches!(receipt.outcome, Err(reason) if reason.is_transient());
            let is_used_up = !(is_free && may_return);
            if is_used_up && !self.ids.insert(*transaction.id().as_bytes()) {
                return Err(fault(height, "a transaction that was decided before"));
            }
            self.pay_fee(height, &transaction, fee_account)?;
            let expected = self.run(time, &transaction);
            if expected != receipt.outcome.is_ok() {
                return Err(fault(
                    height,
                    &format!(
                        "{:?} ended with {:?}",
                        transaction.transaction().commands,
                        receipt.outcome
                    ),
                ));
            }
        }
        self.check_sums(height)?;
        self.after.insert(height, Rc::new(self.balances.clone()));
        Ok(())
    }

    /// Compares the accounts of a replica that has applied everything up to `height`.
    pub fn compare(
        &self,
        height: u64,
        accounts: impl Iterator<Item = AccountView>,
    ) -> Result<(), Violation> {
        let Some(expected) = self.after.get(&height) else {
            return Err(fault(height, "a ledger is at a height that nobody decided"));
        };
        let mut seen = 0;
        for account in accounts {
            seen += 1;
            let found = Balance {
                total: account.total.units(),
                locked: account.locked.units(),
            };
            let wanted = expected.get(account.address.as_str());
            if wanted != Some(&found) {
                return Err(fault(
                    height,
                    &format!("{} holds {found:?} instead of {wanted:?}", account.address),
                ));
            }
        }
        if seen != expected.len() {
            return Err(fault(height, "accounts are missing"));
        }
        Ok(())
    }

    /// Due locks expire first, the earliest first, a bounded number of them (LG-7).
    fn expire(&mut self, height: u64, time: u64, found: &[LockId]) -> Result<(), Violation> {
        let mut due: Vec<(u64, LockId)> = self
            .locks
            .iter()
            .filter(|(_, lock)| lock.expires <= time)
            .map(|(id, lock)| (lock.expires, *id))
            .collect();
        due.sort();
        due.truncate(self.expiries_max);
        let expected: Vec<LockId> = due.into_iter().map(|(_, id)| id).collect();
        if expected != found {
            return Err(fault(height, "other locks expired than were due"));
        }
        for id in expected {
            self.settle(&id, 0);
        }
        Ok(())
    }

    fn pay_fee(
        &mut self,
        height: u64,
        transaction: &SignedTransaction,
        to: &str,
    ) -> Result<(), Violation> {
        let from = transaction.transaction().signer.to_string();
        let available = self.available(&from);
        if available.is_none_or(|available| available < self.fee_flat) {
            return Err(fault(height, &format!("{from} cannot pay the fee")));
        }
        self.transfer(&from, to, self.fee_flat);
        Ok(())
    }

    /// Applies the commands if they can succeed; says whether they can.
    fn run(&mut self, time: u64, transaction: &SignedTransaction) -> bool {
        let content = transaction.transaction();
        let is_decree = |command: &Command| matches!(command, Command::ChangeCommittee { .. });
        if !content.commands.is_empty() && content.commands.iter().all(is_decree) {
            // What the changes are worth is no question of the ledger (FB-17).
            return self.authority.iter().any(|key| content.keys.contains(key));
        }
        let [command] = content.commands.as_slice() else {
            return false;
        };
        let signed = |key: Option<&PublicKey>| key.is_some_and(|key| content.keys.contains(key));
        match command {
            Command::Transfer { from, to, amount } => {
                let (from, to, amount) = (from.to_string(), to.to_string(), amount.units());
                let may = self.may_pay(&from, &to, amount) && signed(self.owners.get(&from));
                if may {
                    self.transfer(&from, &to, amount);
                }
                may
            }
            Command::Lock {
                from,
                to,
                amount,
                expires,
            } => {
                let (from, to, amount) = (from.to_string(), to.to_string(), amount.units());
                let may = self.may_pay(&from, &to, amount)
                    && signed(self.owners.get(&from))
                    && expires.as_millis() > time;
                if may {
                    if let Some(balance) = self.balances.get_mut(&from) {
                        balance.locked += amount;
                    }
                    let lock = Lock {
                        from,
                        to,
                        amount,
                        expires: expires.as_millis(),
                    };
                    self.locks
                        .insert(LockId::derive(&transaction.id(), 0), lock);
                }
                may
            }
            Command::Commit { lock: id, amount } => {
                let Some(lock) = self.open_lock(id, time) else {
                    return false;
                };
                let amount = amount.units();
                let is_platform = signed(self.platform_of(&lock.to));
                let is_payer = signed(self.owners.get(&lock.from));
                let may = amount > 0
                    && amount <= lock.amount
                    && (is_platform || (is_payer && amount == lock.amount));
                if may {
                    self.settle(id, amount);
                }
                may
            }
            Command::Rollback { lock: id, .. } => {
                let may = self
                    .open_lock(id, time)
                    .is_some_and(|lock| signed(self.platform_of(&lock.to)));
                if may {
                    self.settle(id, 0);
                }
                may
            }
            // The simulated clients send nothing else.
            _ => false,
        }
    }

    fn available(&self, account: &str) -> Option<u128> {
        let balance = self.balances.get(account)?;
        Some(balance.total - balance.locked)
    }

    fn may_pay(&self, from: &str, to: &str, amount: u128) -> bool {
        amount > 0
            && from != to
            && self.balances.contains_key(to)
            && self
                .available(from)
                .is_some_and(|available| available >= amount)
    }

    fn open_lock(&self, id: &LockId, time: u64) -> Option<&Lock> {
        self.locks.get(id).filter(|lock| lock.expires > time)
    }

    fn platform_of(&self, account: &str) -> Option<&PublicKey> {
        let (_, platform) = account.split_once('@')?;
        self.platforms.get(platform)
    }

    fn transfer(&mut self, from: &str, to: &str, amount: u128) {
        if let Some(balance) = self.balances.get_mut(from) {
            balance.total -= amount;
        }
        if let Some(balance) = self.balances.get_mut(to) {
            balance.total += amount;
        }
    }

    fn settle(&mut self, id: &LockId, paid: u128) {
        let Some(Lock {
            from, to, amount, ..
        }) = self.locks.remove(id)
        else {
            return;
        };
        if let Some(balance) = self.balances.get_mut(&from) {
            balance.locked -= amount;
        }
        self.transfer(&from, &to, paid);
    }

    /// LG-9: nothing is created, and what is locked is the sum of the open locks.
    fn check_sums(&self, height: u64) -> Result<(), Violation> {
        let total: u128 = self.balances.values().map(|balance| balance.total).sum();
        if total != self.supply {
            return Err(fault(height, "the balances do not add up to the supply"));
        }
        let mut locked: BTreeMap<&str, u128> = BTreeMap::new();
        for lock in self.locks.values() {
            *locked.entry(&lock.from).or_default() += lock.amount;
        }
        let is_sum = |(account, balance): (&String, &Balance)| {
            balance.locked == locked.get(account.as_str()).copied().unwrap_or(0)
                && balance.locked <= balance.total
        };
        if !self.balances.iter().all(is_sum) {
            return Err(fault(
                height,
                "what is locked is not the sum of the open locks",
            ));
        }
        Ok(())
    }
}

fn fault(height: u64, what: &str) -> Violation {
    Violation::new(NAME, format!("height {height}: {what}"))
}
