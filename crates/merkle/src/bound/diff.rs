//! What two trees do not share (TR-14).

use super::BoundTree;
use super::leaf::{bit_of, key_digest, parting};
use super::tree::{Link, Place};
use alloc::vec::Vec;
use polity_crypto::Sha256Digest;

/// Keys whose digests lie between two others, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyRange {
    /// The smallest digest of a key.
    pub first: Sha256Digest,
    /// The largest digest of a key.
    pub last: Sha256Digest,
}

impl KeyRange {
    /// Whether a key lies in the range.
    pub fn contains(&self, key: &[u8]) -> bool {
        (self.first..=self.last).contains(&key_digest(key))
    }
}

/// Ranges in which the trees differ, in ascending order and without overlaps. Visits nodes whose
/// digests differ, and no others.
pub fn diff(a: &mut BoundTree, b: &mut BoundTree) -> Vec<KeyRange> {
    a.root();
    b.root();
    let mut ranges = Vec::new();
    visit(a, b, a.top, b.top, &mut ranges);
    ranges.sort_unstable();
    ranges.dedup();
    ranges
}

fn visit(
    a: &BoundTree,
    b: &BoundTree,
    left: Option<Link>,
    right: Option<Link>,
    ranges: &mut Vec<KeyRange>,
) {
    let (left, right) = match (left, right) {
        (None, None) => return,
        (Some(only), None) => return ranges.push(range(a, only)),
        (None, Some(only)) => return ranges.push(range(b, only)),
        (Some(left), Some(right)) => (left, right),
    };
    if a.digest(left) == b.digest(right) {
        return;
    }
    let (left_bit, right_bit) = (bit(a, left), bit(b, right));
    if shared(a, left, b, right) < left_bit.min(right_bit) {
        // No key can be below both.
        ranges.push(range(a, left));
        ranges.push(range(b, right));
        return;
    }
    match (left.place(), right.place()) {
        (Place::Inner(x), Place::Inner(y)) if left_bit == right_bit => {
            for side in 0..2 {
                let below = (a.inner[x].children[side], b.inner[y].children[side]);
                visit(a, b, Some(below.0), Some(below.1), ranges);
            }
        }
        (Place::Inner(x), _) if left_bit < right_bit => {
            let side = side(b, right, left_bit);
            let children = a.inner[x].children;
            visit(a, b, Some(children[side]), Some(right), ranges);
            visit(a, b, Some(children[1 - side]), None, ranges);
        }
        (_, Place::Inner(y)) => {
            let side = side(a, left, right_bit);
            let children = b.inner[y].children;
            visit(a, b, Some(left), Some(children[side]), ranges);
            visit(a, b, None, Some(children[1 - side]), ranges);
        }
        // Two leaves of one key.
        _ => ranges.push(range(a, left)),
    }
}

fn bit(tree: &BoundTree, link: Link) -> u16 {
    match link.place() {
        Place::Leaf(_) => 256,
        Place::Inner(inner) => tree.inner[inner].bit,
    }
}

fn prefix(tree: &BoundTree, link: Link) -> u64 {
    match link.place() {
        Place::Leaf(leaf) => tree.leaves[leaf].prefix,
        Place::Inner(inner) => tree.inner[inner].prefix,
    }
}

/// Digest of some key below a node.
fn sample(tree: &BoundTree, mut link: Link) -> Sha256Digest {
    loop {
        match link.place() {
            Place::Leaf(leaf) => return key_digest(&tree.leaves[leaf].key),
            Place::Inner(inner) => link = tree.inner[inner].children[0],
        }
    }
}

/// Leading bits that some key below one node shares with some key below the other.
fn shared(a: &BoundTree, left: Link, b: &BoundTree, right: Link) -> u16 {
    match (prefix(a, left) ^ prefix(b, right)).leading_zeros() as u16 {
        bits @ 0..64 => bits,
        // Enough for a node that parts within the first bits; else the digests decide.
        _ if bit(a, left).min(bit(b, right)) <= 64 => 64,
        _ => parting(&sample(a, left), &sample(b, right)),
    }
}

fn side(tree: &BoundTree, link: Link, bit: u16) -> usize {
    if bit < 64 {
        (prefix(tree, link) >> (63 - bit) & 1) as usize
    } else {
        usize::from(bit_of(&sample(tree, link), bit))
    }
}

/// Every digest that begins as all keys below the node do.
fn range(tree: &BoundTree, link: Link) -> KeyRange {
    let place = sample(tree, link);
    let (mut first, mut last) = (*place.as_bytes(), *place.as_bytes());
    for free in bit(tree, link)..256 {
        let (byte, mask) = (usize::from(free / 8), 0x80 >> (free % 8));
        first[byte] &= !mask;
        last[byte] |= mask;
    }
    KeyRange {
        first: Sha256Digest::new(first),
        last: Sha256Digest::new(last),
    }
}
