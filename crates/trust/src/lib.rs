//! Trust as replicated data.
//!
//! Trust is a `u32` of millionths, 0 to [`TRUST_MAX`](polity_types::TRUST_MAX); there is no floating point.
//!
//! * [`balance`]: homeostasis, a view that scales scores to a budget (TR-4).
//!
//! The crate is `no_std` and needs `alloc`.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod homeostasis;

pub use homeostasis::balance;

/// What a peer of whom nothing is known starts with, in millionths (TR-3).
pub const PROBATION: u32 = 350_000;

/// Compiles the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
