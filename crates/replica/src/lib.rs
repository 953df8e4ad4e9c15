//! Consensus, ledger and transaction pool as one deterministic state machine.
//!
//! [`Replica`] is what a node runs and what a simulation runs. It takes facts ([`Input`]) and returns
//! requests ([`Effect`]) in the order in which they take effect.
//!
//! ```text
//!            ┌──────────────────────── Replica ────────────────────────┐
//!  frames ──▶│ fbpbft::Engine ──RequestProposal──▶ Pool ──▶ Ledger     │──▶ Persist, Send,
//!  clients ─▶│   intake, machine ──RequestValidation──▶ Ledger         │    Broadcast, Answer,
//!            │                 ──Decide──────────────▶ Ledger ──▶ roots│    Committed
//!            └─────────────────────────────────────────────────────────┘
//! ```
//!
//! Beside it stand [`Restorer`], which continues from a journal, [`sync`], by which a replica far behind
//! takes a certified snapshot, [`Auditor`], which checks a chain offline and trusts nothing, and [`proof`],
//! for clients that hold only the genesis.
//!
//! # What the host must do
//!
//! Carry out effects in order; nothing behind a [`Effect::Persist`] leaves before that record is
//! durable. Decode frames with [`Frame::decode`], hand messages in with the authenticated link they
//! came over, and pass transactions through [`admit`]. Answer [`Effect::ServeDecided`] and
//! [`Effect::ServeSync`] from its store. Call `tick` at the deadline; the first is due at once and
//! starts the replica.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod admit;
mod audit;
mod catch_up;
mod executor;
mod genesis;
mod input;
mod membership;
mod pool;
pub mod proof;
mod replica;
mod restore;
pub mod sync;
mod tiers;

pub use admit::{AdmitError, admit};
pub use audit::{AuditError, Auditor};
pub use executor::application_root;
pub use genesis::{ConsensusRules, Genesis, GenesisError, GenesisMember, Purpose, transaction_id};
pub use input::{Admission, Committed, Effect, Frame, Input, Installed, Lane, Record};
pub use membership::MemberChange;
pub use pool::{Pool, PoolConfig, Refusal};
pub use replica::{Config, Replica, StartError};
pub use restore::{Replayed, RestoreError, Restorer, Snapshot, SnapshotMeta};
pub use tiers::{MessageKind, TierFloors};

/// Compiles the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
