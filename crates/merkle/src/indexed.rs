//! Slots whose leaves may change, for state that is rehashed once per block.
//!
//! Changing a leaf marks its slot; nothing is hashed until a root or a proof is asked for. Then
//! the marked slots are walked once, from left to right. Each of them climbs as long as no later
//! marked slot lies under the same node, so a node is hashed when the last of its changed leaves
//! has arrived, and only then:
//!
//! ```text
//! leaf 1 changed, 2 is next    hashes 0..2
//! leaf 2 changed, 6 is next    hashes 2..4, 0..4
//! leaf 6 changed, the last     hashes 6..8, 4..8, 0..8
//! ```
//!
//! The walk takes no memory, and a tree without changes answers at once.

use crate::append::depth;
use crate::chunks::Chunks;
use crate::dirty::DirtySet;
use crate::{InclusionProof, RangeError, empty_root, node_hash};
use alloc::vec::Vec;
use core::fmt;
use core::hint::black_box;
use polity_crypto::Sha256Digest;

/// Slots for which [`IndexedTree::with_capacity`] makes room at most.
const CAPACITY_MAX: u64 = 1 << 28;

/// A tree over slots that are appended and changed, never removed.
///
/// It takes 64 bytes per leaf, and beyond that 32 KiB per level and half a byte per leaf at most.
#[derive(Clone)]
pub struct IndexedTree {
    /// Leaves first. A row has half as many nodes as the one below it, rounded up; a node without
    /// a right neighbour stands in both.
    rows: Vec<Chunks>,
    /// Leaves that the rows above know, changed or not. Later ones are all new.
    hashed: usize,
    /// Changed slots below `hashed`.
    dirty: DirtySet,
}

impl IndexedTree {
    /// A tree without leaves.
    pub fn new() -> Self {
        Self::with_capacity(0)
    }

    /// A tree without leaves that expects about `capacity` of them. A number from outside does no
    /// harm: little is reserved before the leaves come.
    pub fn with_capacity(capacity: u64) -> Self {
        let mut leaves = Chunks::default();
        leaves.reserve(capacity.min(CAPACITY_MAX) as usize);
        Self {
            rows: Vec::from([leaves]),
            hashed: 0,
            dirty: DirtySet::default(),
        }
    }

    /// Number of leaves.
    pub fn len(&self) -> u64 {
        self.rows[0].len() as u64
    }

    /// Whether there is no leaf.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends a leaf and says where it stands.
    pub fn push(&mut self, leaf: Sha256Digest) -> u64 {
        let slot = self.rows[0].len();
        self.rows[0].put(slot, leaf);
        slot as u64
    }

    /// Changes a leaf.
    ///
    /// # Errors
    ///
    /// If there is no such leaf; the tree is then as it was.
    pub fn set(&mut self, index: u64, leaf: Sha256Digest) -> Result<(), RangeError> {
        let slot = self.check_index(index)?;
        if self.rows[0].get(slot) != Some(&leaf) {
            self.rows[0].put(slot, leaf);
            if slot < self.hashed {
                self.dirty.insert(slot);
            }
        }
        Ok(())
    }

    /// A leaf, if there is one.
    pub fn leaf(&self, index: u64) -> Option<&Sha256Digest> {
        self.rows[0].get(usize::try_from(index).ok()?)
    }

    /// Root over all leaves. Hashes what changed since the last root or proof.
    pub fn root(&mut self) -> Sha256Digest {
        self.rehash();
        match self.rows[0].len() {
            0 => empty_root(),
            length => *self.node(depth(length), 0),
        }
    }

    /// Proves a leaf. Hashes what changed since the last root or proof.
    ///
    /// # Errors
    ///
    /// If there is no such leaf.
    pub fn inclusion(&mut self, index: u64) -> Result<InclusionProof, RangeError> {
        let slot = self.check_index(index)?;
        self.rehash();
        let path = (0..depth(self.rows[0].len()))
            .filter_map(|level| self.rows[level].get(slot >> level ^ 1))
            .copied()
            .collect();
        Ok(InclusionProof {
            index,
            size: self.len(),
            path,
        })
    }

    /// Brings every node up to date and says how many were hashed, for the metrics of a host.
    /// Roots and proofs do it by themselves.
    pub fn rehash(&mut self) -> u64 {
        let depth = match self.rows[0].len() {
            0 => return 0,
            length => depth(length),
        };
        if self.rows.len() <= depth {
            self.rows.resize_with(depth + 1, Chunks::default);
        }
        let mut count = 0;
        let mut next = self.take_dirty();
        while let Some(slot) = next {
            next = self.take_dirty();
            count += self.climb(slot, next, depth);
        }
        count
    }

    /// The next slot that has to climb, in ascending order.
    fn take_dirty(&mut self) -> Option<usize> {
        if let Some(slot) = self.dirty.pop_first() {
            self.read_ahead(slot);
            return Some(slot);
        }
        let length = self.rows[0].len();
        if self.hashed == length {
            return None;
        }
        // Of two new neighbours, the right one climbs for both.
        let slot = (self.hashed | 1).min(length - 1);
        self.hashed = slot + 1;
        Some(slot)
    }

    /// Reads a byte of every digest that the climb from a slot will need.
    ///
    /// In a large tree they lie far from each other and from the processor. A climb meets them one
    /// after the other, each behind a hash; asked for together they arrive in the time of one.
    fn read_ahead(&self, slot: usize) {
        let bytes = self.rows.iter().zip(1..).map(|(row, level)| {
            row.children(slot >> level)
                .map_or(0, |(left, _)| left.as_bytes()[0])
        });
        black_box(bytes.fold(0, core::ops::BitXor::bitxor));
    }

    /// Hashes the nodes above a slot, up to the first that waits for `next`.
    fn climb(&mut self, slot: usize, next: Option<usize>, depth: usize) -> u64 {
        let mut count = 0;
        for level in 1..=depth {
            let node = slot >> level;
            if next.is_some_and(|next| next >> level == node) {
                break;
            }
            let Some((left, right)) = self.rows[level - 1].children(node) else {
                break;
            };
            let digest = match right {
                Some(right) => {
                    count += 1;
                    node_hash(left, right)
                }
                None => *left,
            };
            // Nodes of a row are finished from left to right, so a new one is the next.
            self.rows[level].put(node, digest);
        }
        count
    }

    fn node(&self, level: usize, node: usize) -> &Sha256Digest {
        self.rows[level]
            .get(node)
            .expect("a row has a node for every leaf below it")
    }

    fn check_index(&self, index: u64) -> Result<usize, RangeError> {
        let size = self.len();
        if index >= size {
            return Err(RangeError::Index { index, size });
        }
        Ok(index as usize)
    }
}

impl Default for IndexedTree {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for IndexedTree {
    /// Shows the number of leaves.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IndexedTree({} leaves)", self.len())
    }
}
