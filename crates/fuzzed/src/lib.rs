//! What has to hold for any bytes.
//!
//! Each property is a plain function of an input: it returns, or it panics with what is wrong. The fuzz
//! workspace has a shim for each, and `tests/replay.rs` runs them over the committed seeds and crashers,
//! so a property that breaks is noticed without a fuzzer.
//!
//! | target | property |
//! |---|---|
//! | [`decode`](decode::decode) | no decoder panics or takes memory out of proportion; what it accepts encodes to the same bytes |
//! | [`canonical`](canonical::canonical) | no other text of an honest value is accepted |
//! | [`verify`](verify::verify) | nothing is believed that honest members did not sign |
//!
//! # What it is not
//!
//! It draws nothing: a fuzzer does, and the seeds are honest values. It knows no format of its own except
//! in `trace.rs`, where the encoding is written a second time on purpose.
#![forbid(unsafe_code)]

mod bytes;
pub mod canonical;
pub mod decode;
mod honest;
pub mod journal;
pub mod ledger;
pub mod machine;
pub mod meter;
mod mutate;
mod trace;
pub mod verify;
