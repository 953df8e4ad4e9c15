//! Catching up by a certified snapshot (FB-14, FB-19).

mod message;
mod source;

pub use message::{ChunkBytes, Offer, SyncAnswer, SyncMessage, SyncRecord, SyncRequest, Target};
pub use source::{ChunkLog, SyncSource, answer};

/// Ends of epochs in one page, at most.
pub const ENDS_MAX: usize = 64;

/// Bytes of them, at most; one is always sent.
pub const ENDS_BYTES_MAX: usize = 256 * 1024;
