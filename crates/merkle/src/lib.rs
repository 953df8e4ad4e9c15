//! Merkle trees with proofs, in the shape of RFC 6962.
//!
//! * [`AppendTree`]: a log. It proves that a leaf is in it, and that an older log is its beginning.
//! * [`IndexedTree`]: slots whose leaves may change. It rehashes what changed and nothing else.
//! * [`bound::BoundTree`]: records by key, each bound to its writer; two trees find what differs.
//! * [`InclusionProof`], [`ConsistencyProof`]: what a stranger checks with a root alone.
//! * [`leaf_hash`], [`node_hash`], [`root_of`]: the rules, without a tree.
//!
//! # The shape
//!
//! Nodes of a level are paired from the left. A node without a right neighbour moves up as it is;
//! nothing is ever duplicated to fill a pair, so different lists of leaves have different trees.
//!
//! ```text
//! level 3              root
//!                    /      \
//! level 2        0..4        4..6      the same node as on level 1
//!               /    \         |
//! level 1    0..2   2..4     4..6
//!            /  \   /  \     /  \
//! level 0   0    1 2    3   4    5
//! ```
//!
//! A leaf is `SHA-256(00 ‖ data)`, a node `SHA-256(01 ‖ left ‖ right)`, so a node is never taken for
//! a leaf. The tree without leaves has the root `SHA-256("")`.
//!
//! # What it is not
//!
//! Leaves are digests: what they are digests of, and in which [domain](polity_crypto::domain), is
//! the caller's business. Trees live in memory; the host rebuilds them from what it stored.
//!
//! # Invariants
//!
//! 1. Both trees have the root of [`root_of`] over their leaves.
//! 2. A proof has exactly one length for its index and size, and each of its digests matters.
//! 3. Trees and proofs count at most [`SIZE_MAX`] leaves, so no proof has more than [`PATH_MAX`]
//!    digests.
//!
//! # What the caller must do
//!
//! **Know the size that belongs to a root.** RFC 6962 leaves the size out of the root: a leaf that is
//! under a root is under it for good, but the numbers in a proof say where only if `size` is the
//! size of the tree with that root. Sign or hash the size beside the root, and compare it with the
//! proof's where a position matters.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod append;
pub mod bound;
mod chunks;
mod dirty;
mod hash;
mod indexed;
mod proof;

pub use append::AppendTree;
pub use hash::{empty_root, leaf_hash, node_hash, root_of};
pub use indexed::IndexedTree;
pub use proof::{ConsistencyProof, InclusionProof, PATH_MAX, RangeError, SIZE_MAX};

/// Compiles the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
