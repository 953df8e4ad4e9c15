//! The tree: an arena of nodes and leaves, rehashed where it changed.

use super::leaf::{bit_of, data_root, inner_digest, key_digest, parting};
use super::{AbsenceProof, BoundLeaf, BoundProof, FanOut, KEY_BYTES_MAX, Step};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use polity_crypto::Sha256Digest;
use polity_types::TRUST_MAX;

/// Most records of a tree; a further one is refused.
pub const RECORDS_MAX: usize = 1 << 30;

/// Why a record is not taken. The tree is then as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BoundError {
    /// The key is too long.
    #[error("the key has {0} bytes: use at most {KEY_BYTES_MAX}, or a digest of it")]
    Key(usize),
    /// The trust is above its maximum.
    #[error("a trust of {0} millionths is above {TRUST_MAX}")]
    Trust(u32),
    /// The tree is full.
    #[error("the tree is full: remove records or begin another tree")]
    Full,
}

/// A place in one of the two arenas: the lowest bit says in which.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Link(u32);

pub(crate) enum Place {
    Leaf(usize),
    Inner(usize),
}

impl Link {
    fn leaf(index: usize) -> Self {
        Self((index as u32) << 1 | 1)
    }

    fn inner(index: usize) -> Self {
        Self((index as u32) << 1)
    }

    pub(crate) fn place(self) -> Place {
        let index = (self.0 >> 1) as usize;
        if self.0 & 1 == 1 {
            Place::Leaf(index)
        } else {
            Place::Inner(index)
        }
    }
}

#[derive(Clone)]
pub(crate) struct Inner {
    /// First bits of every key's digest below.
    pub(crate) prefix: u64,
    pub(crate) children: [Link; 2],
    records: u32,
    /// The bit at which the children part.
    pub(crate) bit: u16,
    is_dirty: bool,
    pub(crate) digest: Sha256Digest,
}

#[derive(Clone)]
pub(crate) struct Leaf {
    pub(crate) prefix: u64,
    pub(crate) digest: Sha256Digest,
    pub(crate) key: Box<[u8]>,
    content: BoundLeaf,
}

/// Records by key. Roots and proofs hash what changed since the last one.
#[derive(Clone, Default)]
pub struct BoundTree {
    fan_out: FanOut,
    pub(crate) top: Option<Link>,
    pub(crate) inner: Vec<Inner>,
    pub(crate) leaves: Vec<Leaf>,
    /// Places of removed nodes and leaves, taken first.
    free_inner: Vec<u32>,
    free_leaves: Vec<u32>,
}

impl BoundTree {
    /// A tree without records.
    pub fn new(fan_out: FanOut) -> Self {
        Self {
            fan_out,
            ..Self::default()
        }
    }

    /// Builds a tree from records; of several with one key the last counts.
    ///
    /// # Errors
    ///
    /// If a record cannot be taken.
    pub fn from_records<K: AsRef<[u8]>>(
        fan_out: FanOut,
        records: impl IntoIterator<Item = (K, BoundLeaf)>,
    ) -> Result<Self, BoundError> {
        let records = records.into_iter();
        let mut tree = Self::new(fan_out);
        tree.leaves.reserve(records.size_hint().0.min(RECORDS_MAX));
        for (key, content) in records {
            check(key.as_ref(), &content)?;
            if tree.leaves.len() >= RECORDS_MAX {
                return Err(BoundError::Full);
            }
            let place = key_digest(key.as_ref());
            tree.leaves.push(leaf(&place, key.as_ref(), content));
        }
        // Leaves stay where they are: what is sorted is small. Full digests decide rarely.
        let numbered = tree.leaves.iter().zip(0_u32..);
        let mut order: Vec<_> = numbered.map(|(leaf, index)| (leaf.prefix, index)).collect();
        let key = |index: u32| &tree.leaves[index as usize].key;
        order.sort_unstable_by(|a, b| {
            a.0.cmp(&b.0)
                .then_with(|| key_digest(key(a.1)).cmp(&key_digest(key(b.1))))
                .then_with(|| a.1.cmp(&b.1))
        });
        let mut superseded = Vec::new();
        order.dedup_by(|later, kept| {
            let is_same = later.0 == kept.0 && key(later.1) == key(kept.1);
            if is_same {
                superseded.push(kept.1);
                kept.1 = later.1;
            }
            is_same
        });
        for index in &superseded {
            tree.leaves[*index as usize].key = Box::default();
        }
        tree.free_leaves = superseded;
        tree.inner.reserve_exact(order.len().saturating_sub(1));
        if !order.is_empty() {
            tree.top = Some(tree.build(&order));
        }
        Ok(tree)
    }

    /// Number of records.
    pub fn len(&self) -> usize {
        self.leaves.len() - self.free_leaves.len()
    }

    /// Whether there is no record.
    pub fn is_empty(&self) -> bool {
        self.top.is_none()
    }

    /// The leaf of a key.
    pub fn get(&self, key: &[u8]) -> Option<&BoundLeaf> {
        let leaf = &self.leaves[self.walk(&key_digest(key), |_, _| {})?];
        (*leaf.key == *key).then_some(&leaf.content)
    }

    /// Sets the leaf of a key, and gives the one it had.
    ///
    /// # Errors
    ///
    /// If the record cannot be taken.
    pub fn insert(
        &mut self,
        key: &[u8],
        content: BoundLeaf,
    ) -> Result<Option<BoundLeaf>, BoundError> {
        check(key, &content)?;
        let place = key_digest(key);
        let mut path = Vec::with_capacity(32);
        let found = self.walk(&place, |inner, _| path.push(inner));
        let new = leaf(&place, key, content);
        let Some(found) = found else {
            self.top = Some(self.add_leaf(new));
            return Ok(None);
        };
        if *self.leaves[found].key == *key {
            let old = core::mem::replace(&mut self.leaves[found], new);
            if old.digest != self.leaves[found].digest {
                self.soil(&path, 0);
            }
            return Ok(Some(old.content));
        }
        if self.len() >= RECORDS_MAX {
            return Err(BoundError::Full);
        }
        let bit = parting(&place, &key_digest(&self.leaves[found].key));
        let above = path.partition_point(|inner| self.inner[*inner].bit < bit);
        path.truncate(above);
        let side = usize::from(bit_of(&place, bit));
        let below = self.child(path.last().copied(), &place);
        let records = self.records(below) + 1;
        let added = self.add_leaf(new);
        let mut children = [below; 2];
        children[side] = added;
        let node = self.add_inner(Inner {
            prefix: prefix(&place),
            children,
            records,
            bit,
            is_dirty: true,
            digest: Sha256Digest::ZERO,
        });
        self.set_child(path.last().copied(), &place, Some(node));
        self.soil(&path, 1);
        Ok(None)
    }

    /// Removes the record of a key, and gives its leaf.
    pub fn remove(&mut self, key: &[u8]) -> Option<BoundLeaf> {
        let place = key_digest(key);
        let mut path = Vec::with_capacity(32);
        let found = self.walk(&place, |inner, _| path.push(inner))?;
        if *self.leaves[found].key != *key {
            return None;
        }
        let sibling = path.pop().map(|parent| {
            let node = &self.inner[parent];
            let sibling = node.children[usize::from(!bit_of(&place, node.bit))];
            self.free_inner.push(parent as u32);
            sibling
        });
        self.set_child(path.last().copied(), &place, sibling);
        self.soil(&path, -1);
        self.free_leaves.push(found as u32);
        let leaf = &mut self.leaves[found];
        leaf.key = Box::default();
        Some(leaf.content)
    }

    /// Root over the data (TR-12).
    pub fn root(&mut self) -> Sha256Digest {
        let records = self.len() as u64;
        match self.top {
            None => data_root(self.fan_out, 0, &Sha256Digest::ZERO),
            Some(top) => data_root(self.fan_out, records, &self.rehash(top)),
        }
    }

    /// Proves the leaf of a key, if it has one.
    pub fn inclusion(&mut self, key: &[u8]) -> Option<BoundProof> {
        self.get(key)?;
        Some(self.proof(&key_digest(key)))
    }

    /// Proves that a key has no leaf, if it has none.
    pub fn absence(&mut self, key: &[u8]) -> Option<AbsenceProof> {
        let place = key_digest(key);
        let Some(found) = self.walk(&place, |_, _| {}) else {
            let fan_out = self.fan_out;
            return Some(AbsenceProof::Empty { fan_out });
        };
        let proof = self.proof(&place);
        let other = &self.leaves[found];
        (*other.key != *key).then(|| AbsenceProof::Other {
            key: other.key.to_vec(),
            leaf: other.content,
            proof,
        })
    }

    /// The path to the leaf at which the way of `place` ends.
    fn proof(&mut self, place: &Sha256Digest) -> BoundProof {
        self.root();
        let mut steps = Vec::new();
        self.walk(place, |inner, side| {
            let node = &self.inner[inner];
            let sibling = node.children[1 - side];
            steps.push(Step {
                bit: node.bit,
                records: u64::from(self.records(sibling)),
                sibling: *self.digest(sibling),
            });
        });
        steps.reverse();
        BoundProof {
            fan_out: self.fan_out,
            steps,
        }
    }

    /// Follows the bits of `place` down to a leaf.
    fn walk(&self, place: &Sha256Digest, mut visit: impl FnMut(usize, usize)) -> Option<usize> {
        let mut link = self.top?;
        loop {
            match link.place() {
                Place::Leaf(leaf) => return Some(leaf),
                Place::Inner(inner) => {
                    let side = usize::from(bit_of(place, self.inner[inner].bit));
                    visit(inner, side);
                    link = self.inner[inner].children[side];
                }
            }
        }
    }

    /// Marks nodes as changed, with `by` records more below them.
    fn soil(&mut self, path: &[usize], by: i32) {
        for inner in path {
            let node = &mut self.inner[*inner];
            node.is_dirty = true;
            node.records = node.records.saturating_add_signed(by);
        }
    }

    fn rehash(&mut self, link: Link) -> Sha256Digest {
        let index = match link.place() {
            Place::Inner(index) if self.inner[index].is_dirty => index,
            _ => return *self.digest(link),
        };
        // At most 256 deep: bits rise on the way down.
        let [left, right] = self.inner[index].children;
        let (left, right) = (self.rehash(left), self.rehash(right));
        let node = &mut self.inner[index];
        node.digest = inner_digest(node.bit, u64::from(node.records), &left, &right);
        node.is_dirty = false;
        node.digest
    }

    pub(crate) fn digest(&self, link: Link) -> &Sha256Digest {
        match link.place() {
            Place::Leaf(leaf) => &self.leaves[leaf].digest,
            Place::Inner(inner) => &self.inner[inner].digest,
        }
    }

    fn records(&self, link: Link) -> u32 {
        match link.place() {
            Place::Leaf(_) => 1,
            Place::Inner(inner) => self.inner[inner].records,
        }
    }

    fn child(&self, parent: Option<usize>, place: &Sha256Digest) -> Link {
        match parent {
            None => self.top.expect("a leaf was found below the top"),
            Some(parent) => {
                let node = &self.inner[parent];
                node.children[usize::from(bit_of(place, node.bit))]
            }
        }
    }

    fn set_child(&mut self, parent: Option<usize>, place: &Sha256Digest, child: Option<Link>) {
        match (parent, child) {
            (Some(parent), Some(child)) => {
                let node = &mut self.inner[parent];
                node.children[usize::from(bit_of(place, node.bit))] = child;
            }
            // Only the last record has no parent and no sibling.
            (_, child) => self.top = child,
        }
    }

    fn add_leaf(&mut self, leaf: Leaf) -> Link {
        if let Some(index) = self.free_leaves.pop() {
            self.leaves[index as usize] = leaf;
            return Link::leaf(index as usize);
        }
        self.leaves.push(leaf);
        Link::leaf(self.leaves.len() - 1)
    }

    fn add_inner(&mut self, node: Inner) -> Link {
        if let Some(index) = self.free_inner.pop() {
            self.inner[index as usize] = node;
            return Link::inner(index as usize);
        }
        self.inner.push(node);
        Link::inner(self.inner.len() - 1)
    }

    /// Node over leaves, of which there is at least one, sorted by the digests of their keys.
    fn build(&mut self, order: &[(u64, u32)]) -> Link {
        let ((prefix, first), (last_prefix, last)) = (order[0], order[order.len() - 1]);
        if order.len() == 1 {
            return Link::leaf(first as usize);
        }
        let shared = (prefix ^ last_prefix).leading_zeros() as u16;
        let (bit, middle) = if shared < 64 {
            let is_left = |(prefix, _): &(u64, u32)| prefix >> (63 - shared) & 1 == 0;
            (shared, order.partition_point(is_left))
        } else {
            let place = |index: u32| key_digest(&self.leaves[index as usize].key);
            let bit = parting(&place(first), &place(last));
            let is_left = |(_, index): &(u64, u32)| !bit_of(&place(*index), bit);
            (bit, order.partition_point(is_left))
        };
        let (left, right) = order.split_at(middle);
        let (left, right) = (self.build(left), self.build(right));
        let digest = inner_digest(
            bit,
            order.len() as u64,
            self.digest(left),
            self.digest(right),
        );
        self.add_inner(Inner {
            prefix,
            children: [left, right],
            records: order.len() as u32,
            bit,
            is_dirty: false,
            digest,
        })
    }
}

impl fmt::Debug for BoundTree {
    /// Shows the number of records.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BoundTree({} records)", self.len())
    }
}

fn check(key: &[u8], content: &BoundLeaf) -> Result<(), BoundError> {
    if key.len() > KEY_BYTES_MAX {
        return Err(BoundError::Key(key.len()));
    }
    if content.trust > TRUST_MAX {
        return Err(BoundError::Trust(content.trust));
    }
    Ok(())
}

fn leaf(place: &Sha256Digest, key: &[u8], content: BoundLeaf) -> Leaf {
    Leaf {
        prefix: prefix(place),
        digest: content.digest(key),
        key: key.into(),
        content,
    }
}

fn prefix(place: &Sha256Digest) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&place.as_bytes()[..8]);
    u64::from_be_bytes(bytes)
}
