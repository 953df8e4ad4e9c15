//! A log: leaves are appended, and every earlier state can still be proved.

use crate::chunks::Chunks;
use crate::{ConsistencyProof, InclusionProof, RangeError, empty_root, node_hash};
use alloc::vec::Vec;
use core::fmt;
use polity_crypto::Sha256Digest;

/// An append-only tree.
///
/// Only nodes whose leaves are all present are kept; they never change, and the few on the right
/// edge of a root are computed when it is asked for. That takes 64 bytes per leaf.
#[derive(Clone, Default)]
pub struct AppendTree {
    /// Complete nodes, leaves first.
    rows: Vec<Chunks>,
}

impl AppendTree {
    /// A tree without leaves.
    pub fn new() -> Self {
        Self::default()
    }

    /// Number of leaves.
    pub fn len(&self) -> u64 {
        self.rows.first().map_or(0, Chunks::len) as u64
    }

    /// Whether there is no leaf.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends a leaf and says where it stands.
    pub fn push(&mut self, leaf: Sha256Digest) -> u64 {
        let index = self.len();
        let mut digest = leaf;
        let mut level = 0;
        loop {
            if level == self.rows.len() {
                self.rows.push(Chunks::default());
            }
            let position = (index >> level) as usize;
            self.rows[level].put(position, digest);
            // A node with an odd position completes a pair.
            if position.is_multiple_of(2) {
                return index;
            }
            let left = self.complete(level, position - 1);
            digest = node_hash(left, &digest);
            level += 1;
        }
    }

    /// Root over all leaves.
    pub fn root(&self) -> Sha256Digest {
        self.root_of_first(self.len() as usize)
    }

    /// Root over the first `size` leaves: the root that the tree had at that size.
    ///
    /// # Errors
    ///
    /// If the tree has fewer leaves.
    pub fn root_at(&self, size: u64) -> Result<Sha256Digest, RangeError> {
        Ok(self.root_of_first(self.check_size(size)?))
    }

    /// Proves that leaf `index` is among the first `size` leaves.
    ///
    /// # Errors
    ///
    /// If the tree has fewer leaves, or `index` is not below `size`.
    pub fn inclusion(&self, index: u64, size: u64) -> Result<InclusionProof, RangeError> {
        let length = self.check_size(size)?;
        if index >= size {
            return Err(RangeError::Index { index, size });
        }
        let path = (0..depth(length))
            .map(|level| (level, index as usize >> level ^ 1))
            .filter(|(level, sibling)| sibling << level < length)
            .map(|(level, sibling)| self.subtree(level, sibling, length))
            .collect();
        Ok(InclusionProof { index, size, path })
    }

    /// Proves that the tree of the first `old_size` leaves is the beginning of the one of the first
    /// `new_size`.
    ///
    /// # Errors
    ///
    /// If the tree has fewer leaves, or `old_size` is above `new_size`.
    pub fn consistency(
        &self,
        old_size: u64,
        new_size: u64,
    ) -> Result<ConsistencyProof, RangeError> {
        let length = self.check_size(new_size)?;
        if old_size > new_size {
            return Err(RangeError::Order { old_size, new_size });
        }
        let mut path = Vec::new();
        if old_size > 0 && old_size < new_size {
            // The largest complete subtree with which the older tree ends.
            let start = old_size.trailing_zeros() as usize;
            let mut index = (old_size as usize - 1) >> start;
            if index > 0 {
                path.push(*self.complete(start, index));
            }
            for level in start..depth(length) {
                let sibling = index ^ 1;
                if sibling << level < length {
                    path.push(self.subtree(level, sibling, length));
                }
                index /= 2;
            }
        }
        Ok(ConsistencyProof {
            old_size,
            new_size,
            path,
        })
    }

    fn check_size(&self, size: u64) -> Result<usize, RangeError> {
        let length = self.len();
        if size > length {
            return Err(RangeError::Size { size, length });
        }
        Ok(size as usize)
    }

    fn root_of_first(&self, size: usize) -> Sha256Digest {
        match size {
            0 => empty_root(),
            _ => self.subtree(depth(size), 0, size),
        }
    }

    /// Root over the leaves below a node that are among the first `size`; there is at least one.
    fn subtree(&self, level: usize, node: usize, size: usize) -> Sha256Digest {
        if (node + 1) << level <= size {
            return *self.complete(level, node);
        }
        // An incomplete node is above a leaf: one leaf is always complete.
        let (below, right) = (level - 1, node * 2 + 1);
        let left = self.subtree(below, node * 2, size);
        if right << below < size {
            node_hash(&left, &self.subtree(below, right, size))
        } else {
            left
        }
    }

    fn complete(&self, level: usize, node: usize) -> &Sha256Digest {
        self.rows[level]
            .get(node)
            .expect("a node is stored with the last of its leaves")
    }
}

impl fmt::Debug for AppendTree {
    /// Shows the number of leaves.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AppendTree({} leaves)", self.len())
    }
}

/// Levels above the leaves of a tree with `size` leaves, of which there is at least one.
pub(crate) fn depth(size: usize) -> usize {
    size.next_power_of_two().trailing_zeros() as usize
}
