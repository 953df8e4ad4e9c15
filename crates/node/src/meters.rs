//! What a node counts about itself.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Meter(AtomicU64);

impl Meter {
    /// Adds to it.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// Its value.
    pub fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that is as it was set last.
#[derive(Debug, Default)]
pub struct Level(AtomicU64);

impl Level {
    /// Sets it.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Its value.
    pub fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Everything that is counted outside of the links, since the node started.
#[derive(Debug, Default)]
pub struct Meters {
    /// When the key of this node ends, in seconds since the Unix epoch; 0 if it does not.
    pub key_ends: Level,
    /// Keys of this node that may not sign any more, since it started.
    pub keys_ended: Meter,
    /// Blocks committed.
    pub blocks: Meter,
    /// Transactions that were applied.
    pub applied: Meter,
    /// Transactions in blocks that were refused.
    pub refused: Meter,
    /// Batches of inputs that the driver handled.
    pub batches: Meter,
    /// Inputs in them.
    pub inputs: Meter,
    /// Microseconds that the driver was at work, flushes included.
    pub busy_us: Meter,
    /// Flushes of the journal.
    pub flushes: Meter,
    /// Microseconds that they took.
    pub flush_us: Meter,
    /// Snapshots taken.
    pub snapshots: Meter,
    /// Snapshots of others that this node began to fetch.
    pub syncs_started: Meter,
    /// Chunks of them that it has.
    pub sync_chunks: Meter,
    /// Such snapshots that were given up.
    pub syncs_failed: Meter,
    /// Answers about snapshots that were of no use.
    pub sync_refused: Meter,
    /// Snapshots of others that took the place of blocks.
    pub syncs_installed: Meter,
    /// Pieces of evidence reported.
    pub evidence: Meter,
    /// Frames of members that could not be decoded.
    pub malformed_frames: Meter,
    /// Transactions whose signatures held.
    pub verified: Meter,
    /// Transactions of members or clients that did not pass.
    pub not_admitted: Meter,
    /// Transactions of members that were dropped because too many waited for verification.
    pub dropped: Meter,
    /// Records of the journal that were lost when it was repaired.
    pub records_lost: Meter,
    /// Heights that were fetched to repair it.
    pub heights_repaired: Meter,
    /// Requests to the HTTP interface.
    pub requests: Meter,
    /// Requests that were answered with 503 because there was too much at once.
    pub requests_shed: Meter,
}

impl Meters {
    /// Notes how long a flush took.
    pub fn flush(&self, took: Duration) {
        self.flushes.add(1);
        self.flush_us.add(micros(took));
    }
}

/// Whole microseconds.
pub fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
