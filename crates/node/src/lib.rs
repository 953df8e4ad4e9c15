//! A federation node: the host around the protocol crates.
//!
//! * [`host`]: a replica and its journal, without clocks and sockets.
//! * [`node`]: one running node; [`driver`], [`admission`], [`intake`] and [`archive`] are its threads.
//! * [`transport`]: authenticated QUIC links to the other members.
//! * [`journal`]: the append-only file of everything the node must not forget.
//! * [`store`]: a rebuildable index over the journal, snapshots and evidence.
//! * [`lock`]: one process per data directory.
//! * [`api`]: the HTTP interface; [`view`] is what it shows.
//! * [`federation`], [`config`], [`keys`]: the files.

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
#[cfg(test)]
mod scratch;
pub mod store;
pub mod table;
pub mod transport;
pub mod view;
pub mod wallet;
