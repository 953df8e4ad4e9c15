//! The vocabulary that every Polity crate shares.
//!
//! Nothing here decides anything. The crate gives each number its own type, fixes the one
//! encoding, and names the traits by which a host drives a protocol:
//!
//! * [`Height`], [`View`], [`Epoch`], [`Weight`], [`Amount`], [`Time`]: numbers that cannot be
//!   mistaken for each other.
//! * [`ChainId`], [`ReplicaId`]: who speaks, and about which chain.
//! * [`wire`]: canonical encoding with a size limit.
//! * [`StateMachine`], [`Effects`], [`Timers`]: a protocol is a function from facts to requests.
//! * [`Join`]: states that merge.
//! * [`Seed`]: repeatable randomness.
//! * [`FinalityVerifier`], [`OffenceVerifier`]: proofs as bytes, for crates that must not know how
//!   consensus works.
//!
//! The crate is `no_std` and needs `alloc`.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod amount;
mod bytes;
mod machine;
mod numbers;
mod proof;
mod seed;
mod time;
mod timers;
pub mod wire;

pub use amount::{Amount, AmountError};
pub use bytes::{ChainId, HexError, decode_hex, hex_bytes, write_hex};
pub use machine::{Effects, Join, StateMachine};
pub use numbers::{Epoch, Height, ReplicaId, TRUST_MAX, View, Weight};
pub use proof::{FinalityVerifier, Finalized, OffenceVerifier, ProofError};
pub use seed::{Seed, Stream};
pub use time::Time;
pub use timers::Timers;

/// Compiles the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
