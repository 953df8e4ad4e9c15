//! A federation node: the host around the protocol crates.
//!
//! * [`transport`]: authenticated QUIC links to the other members.
//! * [`journal`]: the append-only file of everything the node must not forget.
//! * [`store`]: a rebuildable index over the journal, snapshots and evidence.
//! * [`lock`]: one process per data directory.

pub mod journal;
pub mod lock;
#[cfg(test)]
mod scratch;
pub mod store;
pub mod transport;
