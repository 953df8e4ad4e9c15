//! Byzantine fault tolerant consensus as a pure state machine.
//!
//! * [`quorum`]: the one place where thresholds are computed.
//! * [`committee`]: who votes, with which key and weight.
//! * [`certificate`]: votes of a quorum, checked without their sender.
//! * [`evidence`]: a bounded pool of proofs that somebody broke the rules.
//! * [`fbpbft`]: the protocol FB-PBFT.
//! * [`light`]: following a chain by its epochs, without its blocks.
//!
//! The crate orders digests. It knows no ledger, no network, no disk and no clock: transactions
//! are bytes with an id, and what to send, store and decide comes back as effects.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod certificate;
pub mod committee;
pub mod evidence;
pub mod fbpbft;
pub mod light;
pub mod quorum;

/// Compiles the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
