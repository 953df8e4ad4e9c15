//! Why a command is refused, and why a block is no block (LG-8).

/// Why every replica refuses a command alike.
///
/// The transaction stays in its block with the code of its rejection. The variants stand in the
/// order in which they are tested: where several apply, the receipt names the first.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    thiserror::Error,
    serde::Serialize,
    serde::Deserialize,
)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
#[repr(u16)]
pub enum Rejection {
    /// An amount of nothing.
    #[error("the amount is zero")]
    ZeroAmount = 1,
    /// Payer and payee are one account.
    #[error("payer and payee are the same account")]
    SameAccount = 2,
    /// No platform has this name.
    #[error("the platform is not registered")]
    PlatformNotFound = 3,
    /// A platform has this name already.
    #[error("the platform is registered already")]
    PlatformExists = 4,
    /// No account has this address.
    #[error("the account does not exist")]
    AccountNotFound = 5,
    /// An account has this address already.
    #[error("the account exists already")]
    AccountExists = 6,
    /// The account was closed; its address is used up.
    #[error("the account is closed")]
    AccountClosed = 7,
    /// No lock has this id, or it was settled too long ago to be remembered.
    #[error("the lock does not exist")]
    LockNotFound = 8,
    /// The lock was paid.
    #[error("the lock was committed already")]
    AlreadyCommitted = 9,
    /// The lock was given back.
    #[error("the lock was rolled back already")]
    AlreadyRolledBack = 10,
    /// The time of the lock is over, swept or not (LG-7).
    #[error("the lock has expired")]
    LockExpired = 11,
    /// The keys that signed may not do this.
    #[error("the signing keys may not do this")]
    NotAuthorised = 12,
    /// The payer is frozen.
    #[error("the account is frozen")]
    AccountFrozen = 13,
    /// More than was locked.
    #[error("the amount is more than was locked")]
    AmountAboveLock = 14,
    /// The payer may only commit the whole amount.
    #[error("the payer may only commit the whole amount")]
    PartialCommit = 15,
    /// Less than the smallest lock of the genesis.
    #[error("the amount is below the smallest lock")]
    AmountBelowMinimum = 16,
    /// The lock would be expired when it is made.
    #[error("the lock would expire at once")]
    ExpiryPassed = 17,
    /// The lock would last longer than the genesis allows.
    #[error("the lock would last too long")]
    ExpiryTooFar = 18,
    /// The payer has as many open locks as the genesis allows.
    #[error("the account has too many open locks")]
    TooManyOpenLocks = 19,
    /// The available balance is too small.
    #[error("the available balance is too small")]
    InsufficientFunds = 20,
    /// The account still holds ATP.
    #[error("the account is not empty")]
    AccountNotEmpty = 21,
    /// A lock from or to the account is open.
    #[error("the account has open locks")]
    AccountHasLocks = 22,
    /// The platform has opened as many accounts as it may.
    #[error("the platform has used up its quota of accounts")]
    QuotaExhausted = 23,
    /// The supply would exceed the largest supply.
    #[error("the supply would become too large")]
    SupplyExceeded = 24,
    /// The ledger holds as many accounts as the genesis allows.
    #[error("the ledger has no room for another account")]
    AccountsFull = 25,
    /// The ledger holds as many locks as the genesis allows.
    #[error("the ledger has no room for another lock")]
    LocksFull = 26,
    /// The ledger holds as many platforms as it can.
    #[error("the ledger has no room for another platform")]
    PlatformsFull = 27,
    /// As many committee changes as fit wait for the next epoch.
    #[error("too many committee changes wait for the next epoch")]
    ChangesFull = 28,
}

impl Rejection {
    /// Every rejection, in the order of precedence.
    pub const ALL: [Self; 28] = [
        Self::ZeroAmount,
        Self::SameAccount,
        Self::PlatformNotFound,
        Self::PlatformExists,
        Self::AccountNotFound,
        Self::AccountExists,
        Self::AccountClosed,
        Self::LockNotFound,
        Self::AlreadyCommitted,
        Self::AlreadyRolledBack,
        Self::LockExpired,
        Self::NotAuthorised,
        Self::AccountFrozen,
        Self::AmountAboveLock,
        Self::PartialCommit,
        Self::AmountBelowMinimum,
        Self::ExpiryPassed,
        Self::ExpiryTooFar,
        Self::TooManyOpenLocks,
        Self::InsufficientFunds,
        Self::AccountNotEmpty,
        Self::AccountHasLocks,
        Self::QuotaExhausted,
        Self::SupplyExceeded,
        Self::AccountsFull,
        Self::LocksFull,
        Self::PlatformsFull,
        Self::ChangesFull,
    ];

    /// The stable number, also the order of precedence.
    pub const fn code(self) -> u16 {
        self as u16
    }

    /// The rejection with a stable number.
    pub fn from_code(code: u16) -> Option<Self> {
        let index = usize::from(code).checked_sub(1)?;
        Self::ALL.get(index).copied()
    }

    /// Whether the same transaction may succeed later.
    ///
    /// A final rejection uses up the transaction's id, a transient one does not unless it was paid
    /// for (LG-8): then the same commands need a new transaction.
    pub const fn is_transient(self) -> bool {
        match self {
            Self::PlatformNotFound
            | Self::AccountNotFound
            | Self::LockNotFound
            | Self::AccountFrozen
            | Self::ExpiryTooFar
            | Self::TooManyOpenLocks
            | Self::InsufficientFunds
            | Self::AccountNotEmpty
            | Self::AccountHasLocks
            | Self::SupplyExceeded
            | Self::LocksFull
            | Self::ChangesFull => true,
            Self::ZeroAmount
            | Self::SameAccount
            | Self::PlatformExists
            | Self::AccountExists
            | Self::AccountClosed
            | Self::AlreadyCommitted
            | Self::AlreadyRolledBack
            | Self::LockExpired
            | Self::NotAuthorised
            | Self::AmountAboveLock
            | Self::PartialCommit
            | Self::AmountBelowMinimum
            | Self::ExpiryPassed
            | Self::QuotaExhausted
            | Self::AccountsFull
            | Self::PlatformsFull => false,
        }
    }
}

/// Why no block may hold a transaction at this place. Such a transaction is never recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Inadmissible {
    /// It was signed for another chain.
    #[error("the transaction belongs to another chain")]
    WrongChain,
    /// The height is above `valid_until`.
    #[error("the transaction is too old: build it again with a later valid_until")]
    Expired,
    /// `valid_until` is further ahead than the horizon.
    #[error("the transaction is valid for too long: choose an earlier valid_until")]
    TooFar,
    /// A block holds it already; its receipt can be asked for.
    #[error("the transaction was decided already")]
    IdInWindow,
    /// The same block holds it already.
    #[error("the block holds the transaction twice")]
    DuplicateInBlock,
    /// The signer has no account with this key that can pay the fee.
    #[error("the signer's account cannot pay the fee with this key")]
    CannotPayFee,
}

/// Why a block is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlockError {
    /// The block does not follow the last one applied.
    #[error("the block has height {found}, but the next one is {expected}")]
    Height {
        /// The height after the last applied one.
        expected: polity_types::Height,
        /// The height that was given.
        found: polity_types::Height,
    },
    /// The block holds more transactions than the genesis allows.
    #[error("the block has {found} transactions; at most {max} are allowed")]
    TooManyTransactions {
        /// The limit of the genesis.
        max: u32,
        /// Transactions in the block.
        found: usize,
    },
    /// One transaction cannot stand where it stands.
    #[error("transaction {index} of the block: {reason}")]
    Transaction {
        /// Zero-based place in the block.
        index: u32,
        /// What is wrong with it.
        reason: Inadmissible,
    },
}
