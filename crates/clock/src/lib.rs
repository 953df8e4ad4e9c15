//! Who knew what when: clocks that merge, and times that nobody can push ahead alone.
//!
//! * [`TrustClock`]: peer → count of its events and its trust at the last one (TR-16, TR-17). Only the
//!   owner of an entry can raise it: entries are signed, and a clock holds [`Verified`] ones.
//! * [`HybridClock`]: physical milliseconds and a counter, monotone, with bounded drift (TR-18).
//! * [`TimeAnchor`]: a peer's signed word about the time (TR-18).
//!
//! [`Verified`]: polity_crypto::Verified
//!
//! # What it is not
//!
//! No clock of its own: times are handed in. Trust in an entry is the owner's word about a snapshot;
//! whoever decides by trust looks it up in a snapshot, as [`TrustClock::rank`] does.
//!
//! # Invariants
//!
//! 1. Merging is a join: commutative, associative, idempotent.
//! 2. An entry never exceeds what its owner signed.
//! 3. One clock has one encoding: peers ascend, none twice, none is zero.
//! 4. A hybrid clock never gives the same moment twice, nor an earlier one.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod anchor;
mod entry;
mod hybrid;
mod trust_clock;

pub use anchor::{AnchorError, TimeAnchor, median};
pub use entry::{ClockContext, Entry, SignedEntry};
pub use hybrid::{HybridClock, HybridError, HybridTime};
pub use trust_clock::{Causality, ClockError, ENTRIES_MAX, TrustClock};

/// Compiles the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
