//! A whole federation in one deterministic box.
//!
//! A [`World`] drives real [`Replica`](polity_replica::Replica)s, the ones that nodes run, with
//! everything outside of them simulated from a seed: time, network, disks, clients, faults, and
//! members that break the rules. A [scenario](scenarios) is a federation and a script; [`run`] plays
//! one seed of it and judges what happened by [oracles](oracle) that do not call the code they
//! judge. A seed that fails is a bug report: the same seed gives the same run, event by event.
//!
//! ```text
//!   clients ──bytes──▶ door ──▶ Replica ──effects──▶ disk ──▶ network ──bytes──▶ door ──▶ Replica
//!                       ▲                  │           │ crash, torn tail   │ loss, delay, cuts,
//!                  decode, admit        oracles        ▼                    ▼ filters, adversaries
//!                                                   restart             one seed, one order
//! ```
//!
//! # What it is not
//!
//! It measures nothing in real time and has no threads: how long a run takes is for its caller to
//! measure, and many seeds can run beside each other. It does not imitate the transport or the
//! store of a node; it imitates what they may do to a replica.
//!
//! # Determinism
//!
//! No clock, no thread, no hash map, no floating point. Randomness is one [`Seed`](polity_types::Seed),
//! forked by label for each purpose. Every event is hashed into the audit hash of the run.
//!
//! # What it demands of hosts
//!
//! [`Recording`] is what a replica was told. A host that is fed the same steps has to come to the
//! same [digest of effects](EffectHash); [`replay`] computes it with a bare replica.
#![forbid(unsafe_code)]

pub mod adversary;
pub mod campaign;
mod clients;
mod digester;
mod disk;
mod federation;
mod keys;
mod moment;
mod network;
mod node;
pub mod oracle;
mod outcome;
mod plan;
mod recording;
mod scenario;
pub mod twins;
mod world;

pub use disk::{Damage, DamageKind, Disk};
pub use federation::{Client, Federation};
pub use keys::{Scheme, SimSigner, SimVerifier};
pub use moment::Moment;
pub use network::{Fate, Kind, Link, Mishaps, Packet};
pub use node::{CrashPoint, SimReplica};
pub use outcome::{Failure, Outcome, Verdict};
pub use plan::{Fault, FaultPlan, Planned, Victims};
pub use recording::{
    Basis, BuildError, Door, EffectBytes, EffectHash, RECORD_BYTES_MAX, Recording, Refused, Step,
    replay,
};
pub use scenario::{ScenarioInfo, UnknownScenario, run, run_traced, scenarios};
pub use world::{Options, Summary, World};

/// Compiles the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
