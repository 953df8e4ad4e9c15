//! The byte-exact profile of E4, the trust prototype of the Python package `crdt-merge`.
//!
//! E4 keeps trust as replicated data: scores from evidence, a Merkle tree whose nodes contain them, a
//! clock that carries them, operations that prove what they saw. Its bytes are here, and its
//! algorithms as far as a peer can observe them, so that an E4 federation can be joined and moved.
//!
//! # Two modes
//!
//! * [`Mode::Compatible`] does what E4 does, bit for bit, faults included. Much of it is unsafe against
//!   anybody who lies; use it where all peers belong to one operator, and to migrate.
//! * [`Mode::Strict`], the default, refuses what was shown to be unsafe, with a [`Refusal`] that says why.
//!   It takes nothing that E4 does not, but for operations whose clock is merely late (P8).
//!
//! Ids such as P5 or L10 name faults of E4; the table in the README says what each is.
//!
//! # What it is not
//!
//! Nothing here is Polity's own trust. Floating point is used because E4's bytes contain it; sums run
//! in the order of names, where E4's order differs from process to process (L13). No clock, no socket, no
//! randomness: times come in as numbers, signatures by a function of the caller.
//!
//! # Invariants
//!
//! 1. No input makes a function panic.
//! 2. Of bytes and objects from outside, strict mode accepts a part of what compatible mode does; late
//!    clocks are the one exception.
//! 3. In strict mode, collections that peers can fill have a maximum beside them.
#![forbid(unsafe_code)]
// E4's formats are made of floating-point numbers, and exact comparison is what E4 does.
#![allow(
    clippy::float_arithmetic,
    clippy::float_cmp,
    clippy::cast_precision_loss
)]
// Sizes of collections in memory fit.
#![allow(clippy::cast_possible_wrap)]

pub mod adaptive;
pub mod breaker;
pub mod bridges;
pub mod clock;
pub mod config;
pub mod delta;
pub mod evidence;
pub mod export;
pub mod handshake;
pub mod hash;
pub mod keys;
pub mod lattice;
pub mod pco;
pub mod proof;
mod refusal;
pub mod resilience;
pub mod schemes;
pub mod score;
pub mod strategy;
pub mod tree;

pub use refusal::Refusal;

/// How much of E4 is believed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Refuse what is unsafe.
    #[default]
    Strict,
    /// As E4, bit for bit.
    Compatible,
}

/// Compiles the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
