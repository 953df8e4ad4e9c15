//! Proofs, checked without a tree (TR-14).

use super::leaf::{bit_of, data_root, inner_digest, key_digest};
use super::{BoundLeaf, FanOut, KEY_BYTES_MAX};
use alloc::vec::Vec;
use polity_crypto::Sha256Digest;
use polity_types::TRUST_MAX;

/// Longest path: a digest has no more bits at which it could branch.
pub const STEPS_MAX: usize = 256;

/// One node on the way from a leaf to the root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// The bit at which the node's children part, below 256.
    pub bit: u16,
    /// Records below the sibling.
    pub records: u64,
    /// Digest of the sibling.
    pub sibling: Sha256Digest,
}

/// Shows that a key has a leaf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoundProof {
    /// Fan-out of the tree; the root binds it.
    pub fan_out: FanOut,
    /// From the leaf to the root, at most [`STEPS_MAX`].
    pub steps: Vec<Step>,
}

/// Shows that a key has no leaf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AbsenceProof {
    /// The tree has no record.
    Empty {
        /// Fan-out of the tree.
        fan_out: FanOut,
    },
    /// The way of the key ends at the leaf of another one.
    Other {
        /// The other key.
        key: Vec<u8>,
        /// Its leaf.
        leaf: BoundLeaf,
        /// Its way to the root.
        proof: BoundProof,
    },
}

/// Why a proof does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BoundRefusal {
    /// More steps than a digest has bits.
    #[error("the proof has {0} steps, more than any path")]
    TooLong(usize),
    /// The bits do not fall from the leaf to the root.
    #[error("step {0} parts at a bit that is not above the one before")]
    Order(usize),
    /// A sibling without records, or more records than can be counted.
    #[error("step {0} counts no possible number of records")]
    Count(usize),
    /// The key is longer than any key.
    #[error("the key has {0} bytes, more than any key")]
    Key(usize),
    /// The trust is above its maximum.
    #[error("a trust of {0} millionths is above the maximum")]
    Trust(u32),
    /// The path leads to another root.
    #[error("the proof leads to another root")]
    Root,
    /// The leaf that is to show an absence has the key itself.
    #[error("the proof of absence shows the key itself")]
    SameKey,
    /// The way of the key leaves that of the other leaf.
    #[error("the way of the key leaves the proof at step {0}")]
    OtherWay(usize),
}

/// Whether `key` has `leaf` under the data root. At most 258 hashes.
pub fn verify_inclusion(
    root: &Sha256Digest,
    key: &[u8],
    leaf: &BoundLeaf,
    proof: &BoundProof,
) -> Result<(), BoundRefusal> {
    if key.len() > KEY_BYTES_MAX {
        return Err(BoundRefusal::Key(key.len()));
    }
    if leaf.trust > TRUST_MAX {
        return Err(BoundRefusal::Trust(leaf.trust));
    }
    if proof.steps.len() > STEPS_MAX {
        return Err(BoundRefusal::TooLong(proof.steps.len()));
    }
    let place = key_digest(key);
    let (mut node, mut records, mut below) = (leaf.digest(key), 1_u64, 256);
    for (number, step) in proof.steps.iter().enumerate() {
        if step.bit >= below {
            return Err(BoundRefusal::Order(number));
        }
        below = step.bit;
        records = match records.checked_add(step.records) {
            Some(sum) if step.records > 0 => sum,
            _ => return Err(BoundRefusal::Count(number)),
        };
        // The key says on which side it is: a proof has no positions to lie about.
        node = if bit_of(&place, step.bit) {
            inner_digest(step.bit, records, &step.sibling, &node)
        } else {
            inner_digest(step.bit, records, &node, &step.sibling)
        };
    }
    if data_root(proof.fan_out, records, &node) == *root {
        Ok(())
    } else {
        Err(BoundRefusal::Root)
    }
}

/// Whether `key` has no leaf under the data root.
///
/// Where the key would branch off, the tree would have a node that the other leaf's path lacks.
pub fn verify_absence(
    root: &Sha256Digest,
    key: &[u8],
    proof: &AbsenceProof,
) -> Result<(), BoundRefusal> {
    match proof {
        AbsenceProof::Empty { fan_out } => {
            if data_root(*fan_out, 0, &Sha256Digest::ZERO) == *root {
                Ok(())
            } else {
                Err(BoundRefusal::Root)
            }
        }
        AbsenceProof::Other {
            key: other,
            leaf,
            proof,
        } => {
            if other == key {
                return Err(BoundRefusal::SameKey);
            }
            verify_inclusion(root, other, leaf, proof)?;
            let (place, taken) = (key_digest(key), key_digest(other));
            for (number, step) in proof.steps.iter().enumerate() {
                if bit_of(&place, step.bit) != bit_of(&taken, step.bit) {
                    return Err(BoundRefusal::OtherWay(number));
                }
            }
            Ok(())
        }
    }
}
