//! A federation node: the host around the protocol crates.
//!
//! * [`host`]: a replica and its journal, without clocks and sockets.
//! * [`node`]: one running node; [`driver`], [`admission`], [`intake`] and [`archive`] are its threads.
//! * [`transport`]: authenticated QUIC links to the other members.
//! * [`roster`]: whom the links let in and dial as the committee changes; [`links`]: who can be reached.
//! * [`rejoin`]: giving up a journal and its key; `repair`: mending a damaged one from the other members.
//! * [`journal`]: the append-only file of everything the node must not forget.
//! * [`store`]: a rebuildable index over the journal, snapshots and evidence.
//! * [`lock`]: one process per data directory.
//! * [`api`]: the HTTP interface; [`view`] is what it shows.
//! * [`federation`], [`config`], [`keys`]: the files; [`signing`]: with what is signed and verified.
//! * [`client`], [`wallet`], [`proof`], [`audit`]: what a client does, with a node and without.
//! * [`cluster`], [`load`]: federations of real processes on one machine, for the demo and tests.
//! * `soak`: such a federation under faults.
//! * [`cli`]: the command line.
//!
//! ```text
//!  members ══QUIC══ transport ──▶ intake ──▶ driver: Host (Replica + Journal) ──▶ transport
//!                                   │          ▲              │
//!                                   ▼          │              └──▶ archive: index, snapshots, blocks
//!  clients ──HTTP── api ──────▶ admission ─────┘                      │
//!                    ▲  (verifies signatures)                         ▼
//!                    └───────────────────────────────────────────── hub: committed blocks
//! ```
//!
//! # Invariants
//!
//! 1. Nothing leaves the driver before every record that came before it is on disk.
//! 2. A node whose disk fails stops before it says anything that it might forget.
//! 3. Every queue between two threads is bounded; who is slow makes its own callers wait.

// Texts for people are short and rare; a fallible `write!` into a string would only hide them.
#![allow(clippy::format_push_string)]

pub mod admission;
pub mod api;
pub mod archive;
pub mod audit;
mod bench;
pub mod cli;
pub mod client;
pub mod cluster;
pub mod config;
mod demo;
pub mod driver;
pub mod federation;
pub mod host;
pub mod hub;
pub mod intake;
pub mod journal;
pub mod keys;
pub mod links;
pub mod load;
pub mod lock;
pub mod meters;
pub mod node;
mod progress;
pub mod proof;
pub mod rejoin;
mod repair;
pub mod roster;
#[cfg(test)]
mod scratch;
pub mod serve;
pub mod signing;
mod soak;
pub mod source;
pub mod store;
pub mod table;
pub mod transport;
pub mod view;
pub mod wallet;

/// Compiles the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
