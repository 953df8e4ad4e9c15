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
pub mod client;
pub mod config;
pub mod driver;
pub mod federation;
pub mod host;
pub mod hub;
pub mod intake;
pub mod journal;
pub mod keys;
pub mod links;
pub mod lock;
pub mod meters;
pub mod node;
pub mod proof;
#[cfg(test)]
mod scratch;
pub mod store;
pub mod transport;
pub mod view;
pub mod wallet;
