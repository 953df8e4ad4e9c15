//! Proofs as bytes, for crates that use finality without knowing consensus.

use crate::{Height, ReplicaId};

/// A proof does not hold. Deliberately without detail: the holder of a bad proof learns nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the proof does not hold")]
pub struct ProofError;

/// What a finality proof says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finalized {
    /// Height of the decided block.
    pub height: Height,
    /// Digest of the decided block.
    pub digest: [u8; 32],
}

/// Checks that something was decided.
///
/// The implementer owes that a yes convinces a stranger: everything counted was verified.
pub trait FinalityVerifier {
    /// Reads an encoded certificate and says what it decides.
    fn verify_finality(&self, certificate: &[u8]) -> Result<Finalized, ProofError>;
}

/// Checks that a replica broke the rules.
///
/// The implementer owes that no honest replica can be accused: every byte used is covered by the
/// accused's own signature.
pub trait OffenceVerifier {
    /// Reads encoded evidence and says whom it accuses.
    fn verify_offence(&self, evidence: &[u8]) -> Result<ReplicaId, ProofError>;
}
