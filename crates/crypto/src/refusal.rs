//! Why a signature was refused: for the operator, never for the peer.

use crate::{KeyError, VerifyError};
use core::fmt;

/// Why a signature does not hold.
///
/// A peer learns that it does not, and no more. The reasons are counted, because they mean
/// different things to an operator: [`Refusal::Suite`] is a configuration, [`Refusal::Equation`] a
/// forgery or a bug, and one half of a hybrid without the other is an attack on a scheme.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
#[repr(u8)]
pub enum Refusal {
    /// This verifier takes no keys of the key's suite.
    #[error("the key is of a suite that is not taken here")]
    Suite = 0,
    /// The key is weak, or none of its scheme.
    #[error("the key is weak or no key at all")]
    Key = 1,
    /// The signature is too short or too long for the suite.
    #[error("the signature does not have the length of its suite")]
    Length = 2,
    /// The bytes are no signature of the scheme: out of range, or a second spelling.
    #[error("the bytes encode no signature")]
    Malformed = 3,
    /// An Ed25519 key alone under a message that belongs to a hybrid (CR-4).
    #[error("half of a hybrid signature, shown alone")]
    Composite = 4,
    /// It is a signature, but not of this key over this message.
    #[error("the signature is of another key or message")]
    Equation = 5,
    /// The Ed25519 half of a hybrid holds, the ML-DSA half does not.
    #[error("the post-quantum half of the signature does not hold, the other does")]
    PostQuantumHalf = 6,
    /// The ML-DSA half of a hybrid holds, the Ed25519 half does not.
    #[error("the classical half of the signature does not hold, the other does")]
    ClassicalHalf = 7,
}

impl Refusal {
    /// Every reason.
    pub const ALL: [Self; 8] = [
        Self::Suite,
        Self::Key,
        Self::Length,
        Self::Malformed,
        Self::Composite,
        Self::Equation,
        Self::PostQuantumHalf,
        Self::ClassicalHalf,
    ];

    /// Name in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Suite => "suite",
            Self::Key => "key",
            Self::Length => "length",
            Self::Malformed => "malformed",
            Self::Composite => "composite",
            Self::Equation => "equation",
            Self::PostQuantumHalf => "post_quantum_half",
            Self::ClassicalHalf => "classical_half",
        }
    }
}

impl From<KeyError> for Refusal {
    fn from(error: KeyError) -> Self {
        match error {
            KeyError::UnknownSuite => Self::Suite,
            KeyError::Length { .. } | KeyError::Text | KeyError::Weak => Self::Key,
        }
    }
}

impl From<Refusal> for VerifyError {
    /// Forgets the reason.
    fn from(_: Refusal) -> Self {
        Self
    }
}

/// How often each reason occurred.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Refusals([u64; Refusal::ALL.len()]);

impl Refusals {
    /// Counts one.
    pub fn count(&mut self, reason: Refusal) {
        let counter = &mut self.0[reason as usize];
        *counter = counter.saturating_add(1);
    }

    /// How often it was this reason.
    pub fn of(&self, reason: Refusal) -> u64 {
        self.0[reason as usize]
    }

    /// How often it was any.
    pub fn total(&self) -> u64 {
        self.0
            .iter()
            .fold(0, |sum, count| sum.saturating_add(*count))
    }
}

impl fmt::Debug for Refusals {
    /// Shows the reasons that occurred.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(
                Refusal::ALL
                    .into_iter()
                    .map(|reason| (reason, self.of(reason)))
                    .filter(|(_, count)| *count > 0),
            )
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_counter_and_name() {
        for (place, reason) in Refusal::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, place);
            let mut refusals = Refusals::default();
            refusals.count(reason);
            for other in Refusal::ALL {
                assert_eq!(refusals.of(other), u64::from(other == reason));
                assert_eq!(other.name() == reason.name(), other == reason);
            }
            assert_eq!(refusals.total(), 1);
        }
    }
}
