//! What E4 takes and strict mode refuses: one row per fault that concerns a format.
//!
//! Each row runs both modes on one input. Compatible mode has to answer as E4 does, or the row would
//! show nothing.

// Amounts are sums of powers of two.
#![allow(clippy::float_cmp)]

mod bridges;
mod evidence;
mod lattice;
mod operations;
mod scene;
mod structures;
