//! The composed replica through its public interface.

mod audit;
mod blocks;
mod determinism;
mod epochs;
mod evidence;
mod federation;
mod genesis;
mod gossip;
mod proofs;
mod restore;
mod story;
mod sync;
mod unfinished;
mod vouchers;
