//! What can be tuned, and what is bounded.

use core::time::Duration;

/// Parameters of one replica. The first group is fixed by the genesis, since replicas must agree
/// on it; the second may differ from replica to replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Transactions in a block, at most.
    pub transactions_max: usize,
    /// Bytes of an encoded block, at most.
    pub block_bytes_max: usize,
    /// Pieces of evidence in a block, at most.
    pub evidence_per_block_max: usize,
    /// How far the timestamp of a fresh block may differ from the receiver's time.
    pub drift_max: Duration,

    /// Timeout of view 0.
    pub timeout_base: Duration,
    /// Largest timeout of any view.
    pub timeout_max: Duration,
    /// Own messages are sent again after this time without progress (FB-13).
    pub retransmit_after: Duration,
    /// STATUS is sent this often.
    pub status_every: Duration,
    /// A fetch without answer is tried elsewhere after this time (FB-14).
    pub fetch_timeout: Duration,
    /// Votes are kept for this many heights ahead (FB-12).
    pub heights_ahead_max: u64,
    /// Votes are kept for this many views ahead of the current one (FB-12).
    pub views_ahead_max: u64,
    /// Bytes of unverified votes and blocks kept for each sender (FB-12).
    pub bytes_per_sender_max: usize,
    /// Blocks asked for in one fetch.
    pub fetch_blocks_max: u64,
    /// Bytes of blocks served to one fetch.
    pub fetch_bytes_max: usize,
    /// Pieces of evidence waiting for a block, for each accused.
    pub evidence_per_accused_max: usize,
    /// Positive signature checks remembered.
    pub verdicts_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            transactions_max: 8_192,
            block_bytes_max: 2 * 1024 * 1024,
            evidence_per_block_max: 16,
            drift_max: Duration::from_secs(30),
            timeout_base: Duration::from_secs(1),
            timeout_max: Duration::from_secs(60),
            retransmit_after: Duration::from_millis(500),
            status_every: Duration::from_secs(1),
            fetch_timeout: Duration::from_millis(500),
            heights_ahead_max: 16,
            views_ahead_max: 32,
            bytes_per_sender_max: 5 * 1024 * 1024,
            fetch_blocks_max: 64,
            fetch_bytes_max: 4 * 1024 * 1024,
            evidence_per_accused_max: 64,
            verdicts_max: 16_384,
        }
    }
}

/// A parameter that makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{field}` must be {wanted}")]
pub struct ConfigError {
    /// Name of the field.
    pub field: &'static str,
    /// What it has to be.
    pub wanted: &'static str,
}

impl Config {
    /// Largest encoded block that any configuration may allow.
    pub const BLOCK_BYTES_CEILING: usize = 16 * 1024 * 1024;

    /// Bytes of what a message carries beside a block, at most.
    pub const BESIDE_BLOCK_BYTES_MAX: usize = 2 * 1024 * 1024;

    /// Checks every range.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let rules = [
            (
                (1..=65_536).contains(&self.transactions_max),
                "transactions_max",
                "from 1 to 65536",
            ),
            (
                (64 * 1024..=Self::BLOCK_BYTES_CEILING).contains(&self.block_bytes_max),
                "block_bytes_max",
                "from 64 KiB to 16 MiB",
            ),
            (
                self.evidence_per_block_max <= 1_024,
                "evidence_per_block_max",
                "at most 1024",
            ),
            (
                !self.timeout_base.is_zero() && self.timeout_base <= self.timeout_max,
                "timeout_base",
                "above zero and at most timeout_max",
            ),
            (
                self.timeout_max <= Duration::from_secs(3_600),
                "timeout_max",
                "at most an hour",
            ),
            (
                !self.retransmit_after.is_zero(),
                "retransmit_after",
                "above zero",
            ),
            (!self.status_every.is_zero(), "status_every", "above zero"),
            (!self.fetch_timeout.is_zero(), "fetch_timeout", "above zero"),
            (
                (1..=1_024).contains(&self.heights_ahead_max),
                "heights_ahead_max",
                "from 1 to 1024",
            ),
            (
                (1..=1_024).contains(&self.views_ahead_max),
                "views_ahead_max",
                "from 1 to 1024",
            ),
            (
                self.bytes_per_sender_max > self.block_bytes_max,
                "bytes_per_sender_max",
                "larger than block_bytes_max",
            ),
            (
                (1..=1_024).contains(&self.fetch_blocks_max),
                "fetch_blocks_max",
                "from 1 to 1024",
            ),
            (
                self.fetch_bytes_max >= self.block_bytes_max,
                "fetch_bytes_max",
                "at least block_bytes_max",
            ),
            (
                self.evidence_per_accused_max >= 1,
                "evidence_per_accused_max",
                "at least 1",
            ),
        ];
        match rules.into_iter().find(|(is_met, ..)| !is_met) {
            Some((_, field, wanted)) => Err(ConfigError { field, wanted }),
            None => Ok(()),
        }
    }

    /// Bytes of an encoded message, at most: a block, the votes beside it and some slack.
    ///
    /// A NEW-VIEW carries a certificate in each VIEW-CHANGE; the slack covers the largest committee
    /// with Ed25519, and whoever makes committees of longer signatures keeps them within it.
    pub fn message_bytes_max(&self) -> usize {
        self.block_bytes_max + Self::BESIDE_BLOCK_BYTES_MAX
    }
}
