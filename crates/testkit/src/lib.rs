//! What Polity's own tests share. Never published, and never a dependency outside tests.
//!
//! * [`harness`]: a runner for tests that may have to be ignored at run time.
//! * [`topic`]: the known answers under `vectors/` in this repository, checked and written.
//! * [`vectors`]: known answers from outside the repository, and a runner over them.

pub mod harness;
pub mod topic;
pub mod vectors;

/// Compiles the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
