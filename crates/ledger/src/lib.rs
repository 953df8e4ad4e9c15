//! The ATP ledger of a federation: accounts at `agent@platform`, transfers at once or in two phases,
//! and a state root that a light client can check.
//!
//! The ledger is a plain deterministic function: [`Ledger::apply`] takes a height, a time and a
//! list of verified transactions, and answers with receipts. Every replica holds every account, so
//! a transfer between two platforms is one change of one replicated state (LG-1).
//!
//! # What it is not
//!
//! It does not order transactions, check signatures, or know who proposes: consensus orders,
//! [`Verified`](polity_crypto::Verified) says that the signatures hold, and the caller names the
//! account that receives the fees.
//!
//! # A transfer in two phases
//!
//! ```text
//!                 LOCK 200          COMMIT 200  (payee's platform, or the payer for all of it)
//! alice  1000 ------------> 1000 --------------> 800      total
//!        1000                800                 800      available
//! bob     500                500                 700
//!                             |
//!                             +---> ROLLBACK (payee's platform) or expiry: 1000 / 1000, 500
//! ```
//!
//! A lock is settled once: committed, rolled back or expired (LG-7). From its expiry on, in block
//! time, it can only expire; due locks expire at the start of a block, a bounded number in each.
//!
//! # How a transaction ends
//!
//! | | in the block | fee | id is used up |
//! |---|---|---|---|
//! | applied | yes | paid | yes |
//! | refused for good ([`Rejection`]) | yes, with its code | paid | yes |
//! | refused for now ([`Rejection::is_transient`]) | yes, with its code | paid | if there is a fee |
//! | [`Inadmissible`] | never: the block would be invalid | none | no |
//!
//! Without fees, a transaction that was refused for now may be sent again as it is. With fees it
//! was paid for, and a proposer that could repeat it would collect each time: so its id is used up,
//! and the signer who wants to try again signs a new one.
//!
//! # Invariants
//!
//! 1. The sum of all totals is genesis + minted - burned, and at most 2^100 units (LG-2, LG-9).
//! 2. What an account has locked is the sum of its open locks, and not more than its total (LG-9).
//! 3. A transaction changes everything it says or nothing but its fee (LG-5, LG-8).
//! 4. No id is applied twice while it is valid (LG-4).
//! 5. Everything that [`Ledger::apply`] reads is under [`Ledger::root`] (LG-10).
//! 6. Two ledgers with the same genesis and blocks are equal byte by byte, whatever the seed of
//!    their look-up tables (LG-14).
//!
//! # Bounds
//!
//! Accounts by `accounts_max`, locks by `locks_max`, recent ids by the ids of
//! `validity_horizon + 1` full blocks, platforms by 4,096, waiting committee changes by 256,
//! remembered offences by 2^20. Nothing falls out but ids whose height has passed, and settled
//! locks that are older than the validity horizon and whose slots new locks need.
//!
//! # What the host must do
//!
//! Apply every decided block once, in order, with a time that does not go back, and propose a block
//! when [`Ledger::next_expiry`] is due even if no transaction waits.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod address;
mod apply;
mod checks;
mod command;
mod execute;
mod genesis;
mod invariants;
mod ledger;
mod proof;
mod receipt;
mod rejection;
mod root;
mod snapshot;
mod state;
mod transaction;

pub use address::{Address, AddressError, PlatformName};
pub use command::{Command, CommitteeChange, CommitteeChangeError, Reason, ReasonError};
pub use genesis::{Authority, Genesis, GenesisAccount, GenesisError, GenesisPlatform, Parameters};
pub use invariants::InvariantError;
pub use ledger::{Applied, Ledger, LockCursor, LocksPage, MemoryBytes, Role, Selection};
pub use proof::{ReceiptProof, StateProof};
pub use receipt::{Outcome, Receipt, receipts_root};
pub use rejection::{BlockError, Inadmissible, Rejection};
pub use root::Sections;
pub use snapshot::{CHUNK_LENGTH_MAX, Restore, Snapshot, SnapshotError};
pub use state::{AccountView, LockState, LockView, PendingChange, PlatformView, Supply};
pub use transaction::{LockId, SignedTransaction, Transaction, TransactionError, TransactionId};

/// Compiles the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
