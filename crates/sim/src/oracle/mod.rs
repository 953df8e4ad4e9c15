//! What must hold in every run, judged from outside.
//!
//! Oracles see what leaves and reaches honest replicas. They do not call the code they judge:
//! balances are added up anew, leaders are computed anew, and statements are compared as bytes.

pub mod agreement;
pub mod arithmetic;
pub mod committees;
pub mod completeness;
pub mod evidence;
pub mod light;
pub mod memory;
pub mod progress;
pub mod signing;

pub use agreement::Agreement;
pub use arithmetic::Arithmetic;
pub use committees::Committees;
pub use completeness::Completeness;
pub use evidence::EvidenceWatch;
pub use memory::MemoryWatch;
pub use progress::Progress;
pub use signing::SigningWatch;

use core::fmt;

/// A rule that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The oracle that saw it.
    pub oracle: &'static str,
    /// What it saw.
    pub detail: String,
}

impl Violation {
    pub(crate) fn new(oracle: &'static str, detail: impl Into<String>) -> Self {
        Self {
            oracle,
            detail: detail.into(),
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.oracle, self.detail)
    }
}
