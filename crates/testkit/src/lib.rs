//! What Polity's own tests share. Never published, and never a dependency outside tests.
//!
//! * [`topic`]: the known answers under `vectors/` in this repository, checked and written.
//! * [`vectors`]: known answers from outside the repository, and a runner that tells "passed" from
//!   "not there".

pub mod topic;
pub mod vectors;

/// Compiles the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
