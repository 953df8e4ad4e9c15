//! What always holds (LG-9), checked from the accounts and locks alone.

use crate::state::LockState;
use crate::{Address, Ledger, LockId};
use alloc::vec;
use alloc::vec::Vec;
use polity_types::Amount;

/// An invariant does not hold: the state is damaged, or there is a mistake in this crate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvariantError {
    /// Balances and supply differ.
    #[error("the balances add up to {balances} ATP, but the supply is {supply} ATP")]
    Conservation {
        /// Sum of all totals.
        balances: Amount,
        /// Genesis and minted less burned.
        supply: Amount,
    },
    /// An account has locked something else than its open locks.
    #[error("{account} has locked {locked} ATP, but its open locks add up to {open} ATP")]
    Locked {
        /// The account.
        account: Address,
        /// What it says.
        locked: Amount,
        /// What its open locks say.
        open: Amount,
    },
    /// An account has locked more than it holds.
    #[error("{account} has locked {locked} ATP of {total} ATP")]
    Available {
        /// The account.
        account: Address,
        /// What it has locked.
        locked: Amount,
        /// What it holds.
        total: Amount,
    },
    /// An account counts its open locks wrongly.
    #[error("{account} counts {counted:?} open locks from and to it, but there are {open:?}")]
    LockCount {
        /// The account.
        account: Address,
        /// What it says.
        counted: (u32, u32),
        /// What the locks say.
        open: (u32, u32),
    },
    /// A closed account holds something.
    #[error("{account} is closed, but has ATP or open locks")]
    Closed {
        /// The account.
        account: Address,
    },
    /// A lock names an account that does not exist.
    #[error("the lock {lock} names an account that does not exist")]
    LockAccount {
        /// The lock.
        lock: LockId,
    },
    /// A lock paid more than it held, or paid although it was not committed.
    #[error("the lock {lock} of {amount} ATP has paid {paid} ATP")]
    Paid {
        /// The lock.
        lock: LockId,
        /// What it held.
        amount: Amount,
        /// What it paid.
        paid: Amount,
    },
    /// The queue of expiries holds another number of locks than are open.
    #[error("{queued} locks wait for their expiry, but {open} are open")]
    Queue {
        /// Locks in the queue.
        queued: usize,
        /// Open locks.
        open: usize,
    },
}

/// What the open locks of an account add up to.
#[derive(Clone, Copy, Default)]
struct Open {
    amount: u128,
    outgoing: u32,
    incoming: u32,
}

impl Ledger {
    /// Asserts every invariant. Hosts call it after each block in simulations.
    ///
    /// # Panics
    ///
    /// With both values that contradict each other.
    pub fn check_invariants(&self) {
        if let Err(error) = self.audit() {
            panic!("after height {}: {error}", self.height());
        }
    }

    /// Checks every invariant from the accounts and locks: what `polity verify` runs.
    ///
    /// # Errors
    ///
    /// The first invariant that does not hold.
    pub fn audit(&self) -> Result<(), InvariantError> {
        let open = self.open_locks()?;
        let mut balances: u128 = 0;
        for (account, open) in self.accounts().zip(open) {
            balances = balances.saturating_add(account.total.units());
            let counted = (account.outgoing_locks, account.incoming_locks);
            if account.locked.units() != open.amount {
                return Err(InvariantError::Locked {
                    account: account.address,
                    locked: account.locked,
                    open: Amount::from_units(open.amount),
                });
            }
            if account.locked > account.total {
                return Err(InvariantError::Available {
                    account: account.address,
                    locked: account.locked,
                    total: account.total,
                });
            }
            if counted != (open.outgoing, open.incoming) {
                return Err(InvariantError::LockCount {
                    account: account.address,
                    counted,
                    open: (open.outgoing, open.incoming),
                });
            }
            if account.is_closed && (!account.total.is_zero() || counted != (0, 0)) {
                return Err(InvariantError::Closed {
                    account: account.address,
                });
            }
        }
        let supply = self.supply().total();
        if balances != supply.units() {
            return Err(InvariantError::Conservation {
                balances: Amount::from_units(balances),
                supply,
            });
        }
        Ok(())
    }

    fn open_locks(&self) -> Result<Vec<Open>, InvariantError> {
        let count = self.state.accounts.len();
        let mut sums = vec![Open::default(); count];
        let mut open = 0;
        for slot in 0..self.state.locks.len() as u32 {
            let lock = self.state.locks.get(slot);
            if lock.from as usize >= count || lock.to as usize >= count {
                return Err(InvariantError::LockAccount { lock: lock.id });
            }
            let (amount, paid) = (lock.amount.get(), lock.paid.get());
            if paid > amount || (paid != 0) != (lock.state == LockState::Committed) {
                return Err(InvariantError::Paid {
                    lock: lock.id,
                    amount: Amount::from_units(amount),
                    paid: Amount::from_units(paid),
                });
            }
            if lock.state == LockState::Open {
                open += 1;
                let payer = &mut sums[lock.from as usize];
                payer.amount = payer.amount.saturating_add(amount);
                payer.outgoing += 1;
                sums[lock.to as usize].incoming += 1;
            }
        }
        let queued = self.state.locks.open_len();
        if queued != open {
            return Err(InvariantError::Queue { queued, open });
        }
        Ok(sums)
    }
}
