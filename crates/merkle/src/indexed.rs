//! Slots whose leaves may change, for state that is rehashed once per block.
//!
//! Changing a leaf marks its slot; nothing is hashed until a root or a proof is asked for. Then
//! the tree is brought up to date row by row: the marked slots of a row name the nodes to hash in
//! the row above, each once, and those are the marked slots of the next step.
//!
//! ```text
//! leaves 1, 2 and 6 changed    row 1: hash 0..2, 2..4, 6..8
//!                              row 2: hash 0..4, 4..8
//!                              row 3: hash 0..8
//! ```
//!
//! No hash of a row needs another of the same row, so a processor works on several at once, and
//! what lies far away in memory is on its way while others are hashed. Climbing from each leaf to
//! the root would hash as often and wait every time. A tree without changes answers at once.

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

/// Nodes whose children are asked for together.
const BATCH: usize = 16;

/// Changed leaves up to which all their paths are asked for at once: about as much as a
/// processor's second cache holds.
const PATHS_MAX: usize = 1_024;

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
    /// Space for the nodes to hash, kept from one time to the next: a word for each changed leaf.
    walk: Vec<usize>,
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
            walk: Vec::new(),
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
        let length = self.rows[0].len();
        // Changed nodes of the row below, in ascending order, and where its new ones begin.
        let mut changed = core::mem::take(&mut self.walk);
        while let Some(slot) = self.dirty.pop_first() {
            changed.push(slot);
        }
        if changed.len() <= PATHS_MAX {
            for slot in &changed {
                self.read_path_ahead(*slot);
            }
        }
        let mut first_new = (self.hashed < length).then_some(self.hashed);
        let mut count = 0;
        for level in 1..=depth {
            // The node above the first new one may exist already; it changes with it.
            first_new = first_new.map(|node| node / 2);
            for node in &mut changed {
                *node /= 2;
            }
            changed.dedup();
            while first_new.is_some_and(|first| changed.last().is_some_and(|last| *last >= first)) {
                changed.pop();
            }
            for batch in changed.chunks(BATCH) {
                self.read_ahead(level, batch);
                for node in batch {
                    count += self.hash_node(level, *node);
                }
            }
            let nodes_len = self.rows[level - 1].len().div_ceil(2);
            for node in first_new.unwrap_or(nodes_len)..nodes_len {
                count += self.hash_node(level, node);
            }
        }
        changed.clear();
        self.walk = changed;
        self.hashed = length;
        count
    }

    /// Reads a byte of every digest that lies between a slot and the root.
    fn read_path_ahead(&self, slot: usize) {
        let bytes = self.rows.iter().zip(1..).map(|(row, level)| {
            row.children(slot >> level)
                .map_or(0, |(left, _)| left.as_bytes()[0])
        });
        black_box(bytes.fold(0, core::ops::BitXor::bitxor));
    }

    /// Reads a byte of what will be hashed. In a large tree the nodes lie far from each other and
    /// from the processor; asked for together they arrive in the time of one.
    fn read_ahead(&self, level: usize, nodes: &[usize]) {
        let bytes = nodes.iter().map(|node| {
            let children = self.rows[level - 1].children(*node);
            let above = self.rows[level].get(*node);
            children.map_or(0, |(left, _)| left.as_bytes()[0])
                ^ above.map_or(0, |digest| digest.as_bytes()[0])
        });
        black_box(bytes.fold(0, core::ops::BitXor::bitxor));
    }

    /// Hashes one node, or takes over an only child. Says how many hashes that took.
    fn hash_node(&mut self, level: usize, node: usize) -> u64 {
        let Some((left, right)) = self.rows[level - 1].children(node) else {
            return 0;
        };
        let (digest, count) = match right {
            Some(right) => (node_hash(left, right), 1),
            None => (*left, 0),
        };
        // Nodes of a row are finished from left to right, so a new one is the next.
        self.rows[level].put(node, digest);
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
