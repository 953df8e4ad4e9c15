//! Proofs, and the only code that decides whether they hold.

use crate::{empty_root, node_hash};
use alloc::vec::Vec;
use core::fmt;
use polity_crypto::Sha256Digest;
use polity_types::ProofError;
use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// The largest number of leaves that trees and proofs count.
pub const SIZE_MAX: u64 = 1 << 63;

/// The largest number of digests in a proof.
pub const PATH_MAX: usize = 64;

/// A tree cannot make the proof that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RangeError {
    /// There is no such leaf.
    #[error("leaf {index} does not exist in a tree of {size} leaves")]
    Index {
        /// The leaf that was asked for.
        index: u64,
        /// Leaves of the tree that was asked about.
        size: u64,
    },
    /// The tree has not grown that far.
    #[error("the tree has {length} leaves, not {size}")]
    Size {
        /// The size that was asked for.
        size: u64,
        /// Leaves of the tree.
        length: u64,
    },
    /// The older tree is larger than the newer one.
    #[error("a tree of {new_size} leaves is not newer than one of {old_size}")]
    Order {
        /// Size of the older tree.
        old_size: u64,
        /// Size of the newer tree.
        new_size: u64,
    },
}

/// Shows that a leaf stands at `index` in a tree of `size` leaves (RFC 6962, section 2.1.1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InclusionProof {
    /// Position of the leaf, from 0.
    pub index: u64,
    /// Leaves of the tree. The root alone does not say it; see the crate's documentation.
    pub size: u64,
    /// Siblings from the leaf to the root, at most [`PATH_MAX`].
    #[serde(deserialize_with = "path")]
    pub path: Vec<Sha256Digest>,
}

impl InclusionProof {
    /// Whether the leaf is under the root.
    ///
    /// The caller knows that a tree with this root has `size` leaves, or does not care where the
    /// leaf stands.
    ///
    /// # Errors
    ///
    /// If the numbers are impossible, or any digest is wrong, missing or left over.
    pub fn verify(&self, root: &Sha256Digest, leaf: &Sha256Digest) -> Result<(), ProofError> {
        if self.index >= self.size || self.size > SIZE_MAX {
            return Err(ProofError);
        }
        let mut path = self.path.iter();
        let mut node = *leaf;
        // Positions of the node and of the last node on the same level.
        let (mut index, mut last) = (self.index, self.size - 1);
        while last > 0 {
            if index % 2 == 1 {
                node = node_hash(path.next().ok_or(ProofError)?, &node);
            } else if index < last {
                node = node_hash(&node, path.next().ok_or(ProofError)?);
            }
            // Else there is no neighbour, and the node moves up as it is.
            index /= 2;
            last /= 2;
        }
        let holds = path.next().is_none() && node == *root;
        if holds { Ok(()) } else { Err(ProofError) }
    }
}

/// Shows that a tree of `old_size` leaves is the beginning of one of `new_size` (RFC 6962, section
/// 2.1.2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsistencyProof {
    /// Leaves of the older tree.
    pub old_size: u64,
    /// Leaves of the newer tree.
    pub new_size: u64,
    /// Digests from which both roots follow, at most [`PATH_MAX`].
    #[serde(deserialize_with = "path")]
    pub path: Vec<Sha256Digest>,
}

impl ConsistencyProof {
    /// Whether the tree with `old_root` is the beginning of the tree with `new_root`.
    ///
    /// The tree without leaves is the beginning of every tree; its proof is empty. The caller
    /// knows the size that belongs to each root.
    ///
    /// # Errors
    ///
    /// If the numbers are impossible, or any digest is wrong, missing or left over.
    pub fn verify(
        &self,
        old_root: &Sha256Digest,
        new_root: &Sha256Digest,
    ) -> Result<(), ProofError> {
        let holds = match (self.old_size, self.new_size) {
            (_, new_size) if new_size > SIZE_MAX => false,
            (old_size, new_size) if old_size > new_size => false,
            (0, 0) => self.path.is_empty() && *old_root == empty_root() && old_root == new_root,
            (0, _) => self.path.is_empty() && *old_root == empty_root(),
            (old_size, new_size) if old_size == new_size => {
                self.path.is_empty() && old_root == new_root
            }
            _ => self.roots(old_root)? == (*old_root, *new_root),
        };
        if holds { Ok(()) } else { Err(ProofError) }
    }

    /// Both roots as the path gives them, for `0 < old_size < new_size`.
    fn roots(&self, old_root: &Sha256Digest) -> Result<(Sha256Digest, Sha256Digest), ProofError> {
        let mut path = self.path.iter();
        // Positions of the last node of each tree, on the level of the largest complete subtree
        // with which the older tree ends.
        let level = self.old_size.trailing_zeros();
        let mut index = (self.old_size - 1) >> level;
        let mut last = (self.new_size - 1) >> level;
        // If that subtree is the whole older tree, its digest is the old root and not in the path.
        let start = if index == 0 {
            *old_root
        } else {
            *path.next().ok_or(ProofError)?
        };
        let (mut old, mut new) = (start, start);
        while last > 0 {
            if index % 2 == 1 {
                let left = path.next().ok_or(ProofError)?;
                old = node_hash(left, &old);
                new = node_hash(left, &new);
            } else if index < last {
                new = node_hash(&new, path.next().ok_or(ProofError)?);
            }
            index /= 2;
            last /= 2;
        }
        match path.next() {
            Some(_) => Err(ProofError),
            None => Ok((old, new)),
        }
    }
}

/// Reads a path and stops at the first digest too many.
fn path<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Sha256Digest>, D::Error> {
    struct Path;

    impl<'de> Visitor<'de> for Path {
        type Value = Vec<Sha256Digest>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "at most {PATH_MAX} digests")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut digests: A) -> Result<Self::Value, A::Error> {
            let mut path = Vec::new();
            while let Some(digest) = digests.next_element()? {
                if path.len() == PATH_MAX {
                    return Err(A::Error::invalid_length(PATH_MAX + 1, &self));
                }
                path.push(digest);
            }
            Ok(path)
        }
    }

    deserializer.deserialize_seq(Path)
}
