//! Records by key, each bound to who wrote it, when, and how trusted the writer was (TR-12 to TR-14).
//!
//! The tree is a radix tree over the bits of `SHA-256(key)`. A wide node of fan-out `2^b` covers `b`
//! bits and holds a binary tree, so an update costs about `log2(n)` hashes whatever the fan-out is.
//! Positions at which nothing branches are left out: every inner node has two children, and says
//! at which bit they part.
//!
//! ```text
//!  data root   H(domain ‖ fan-out ‖ records ‖ top)
//!  node        SHA-256(01 ‖ bit ‖ records below ‖ left ‖ right)
//!  leaf        H(domain ‖ key ‖ value digest ‖ originator ‖ trust ‖ epoch ‖ dot)
//!  bound root  H(domain ‖ data root ‖ trust root ‖ clock ‖ epoch)
//! ```
//!
//! # Invariants
//!
//! 1. The same set has the same root, whatever was inserted and removed before.
//! 2. A proof carries no directions: the key gives them. Under one root nobody can show that a key is
//!    there and also that it is absent, not even who made the root.
//! 3. Replicas with equal data agree on the data root while their views of trust differ.
//!
//! # What the caller must do
//!
//! Know the value behind the value digest, and whether the trust in a leaf is that of the snapshot
//! with its epoch. The tree binds both and judges neither.

mod diff;
mod leaf;
mod proof;
mod tree;

pub use diff::{KeyRange, diff};
pub use leaf::{BoundLeaf, FanOut, FanOutError, KEY_BYTES_MAX, bound_root, data_root, key_digest};
pub use proof::{
    AbsenceProof, BoundProof, BoundRefusal, STEPS_MAX, Step, verify_absence, verify_inclusion,
};
pub use tree::{BoundError, BoundTree, RECORDS_MAX};
