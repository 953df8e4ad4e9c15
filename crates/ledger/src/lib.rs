//! The ATP ledger.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod address;
mod apply;
mod command;
mod execute;
mod genesis;
mod invariants;
mod ledger;
mod proof;
mod receipt;
mod rejection;
mod root;
mod state;
mod transaction;

pub use address::{Address, AddressError, PlatformName};
pub use command::{Command, CommitteeChange, CommitteeChangeError, Reason, ReasonError};
pub use genesis::{
    Authority, Genesis, GenesisAccount, GenesisError, GenesisPlatform, Parameters,
};
pub use invariants::InvariantError;
pub use ledger::{Applied, Ledger, MemoryBytes, Selection};
pub use proof::{ReceiptProof, StateProof};
pub use receipt::{Outcome, Receipt, receipts_root};
pub use rejection::{BlockError, Inadmissible, Rejection};
pub use root::Sections;
pub use state::{AccountView, LockState, LockView, PendingChange, PlatformView, Supply};
pub use transaction::{LockId, SignedTransaction, Transaction, TransactionError, TransactionId};
