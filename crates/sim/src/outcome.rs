//! How a run ended.

use crate::oracle::Violation;
use core::fmt;
use polity_crypto::Blake3Digest;
use std::collections::BTreeMap;

/// Why a run ended early.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// A rule was broken.
    Safety(Violation),
    /// Nothing was decided in the time in which something had to be.
    Liveness(String),
    /// The schedule did not come about, so the run says nothing about the protocol.
    Inconclusive(String),
}

impl From<Violation> for Failure {
    fn from(violation: Violation) -> Self {
        Self::Safety(violation)
    }
}

/// What a run showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing contradicts anything, and everybody made progress.
    SafeAndLive,
    /// A safety rule was broken: agreement, arithmetic, signing, evidence, replay.
    SafetyViolation(String),
    /// Somebody did not make progress in the time that the timeouts allow.
    LivenessFailure(String),
    /// A machine contradicted itself and panicked.
    Crash(String),
    /// The scenario's own schedule did not come about; that says nothing about the protocol.
    Inconclusive(String),
}

impl Verdict {
    /// Whether the run is as it should be.
    pub fn is_good(&self) -> bool {
        matches!(self, Self::SafeAndLive)
    }
}

impl From<Failure> for Verdict {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Safety(violation) => Self::SafetyViolation(violation.to_string()),
            Failure::Liveness(reason) => Self::LivenessFailure(reason),
            Failure::Inconclusive(reason) => Self::Inconclusive(reason),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SafeAndLive => f.write_str("safe and live"),
            Self::SafetyViolation(reason) => write!(f, "safety violation: {reason}"),
            Self::LivenessFailure(reason) => write!(f, "liveness failure: {reason}"),
            Self::Crash(reason) => write!(f, "crash: {reason}"),
            Self::Inconclusive(reason) => write!(f, "inconclusive: {reason}"),
        }
    }
}

/// What became of one seed of a scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What the run showed.
    pub verdict: Verdict,
    /// Digest of everything that happened: equal seeds give equal digests.
    pub audit_hash: Blake3Digest,
    /// Heights of the members at the end, one world after the other.
    pub heights: Vec<u64>,
    /// Blocks decided.
    pub blocks: u64,
    /// Frames sent, lost ones included.
    pub messages: u64,
    /// Transactions in decided blocks.
    pub transactions: u64,
    /// Starts after a crash.
    pub restarts: u64,
    /// Simulated time, in milliseconds.
    pub simulated_ms: u64,
    /// Faults by name: how often each happened.
    pub faults: BTreeMap<&'static str, u64>,
    /// Different NEW-VIEWs of honest leaders.
    pub new_views: u64,
    /// Offences that honest members reported, and accusations in decided blocks.
    pub evidence: (u64, u64),
    /// What happened, line by line; only if it was asked for.
    pub trace: Option<String>,
}
