//! The trust-bound Merkle tree: leaves in the order of insertion, grouped from the left.
//!
//! Leaves that are stored do not cover their keys (M1), nodes cover no tags or counts (M2), and the
//! digest of everybody's trust is in every node, so replicas with equal data and different trust never
//! agree (M3). Everything is rehashed each time, as in E4.

use crate::hash::{hex_sha256, is_digest, sha256};
use crate::pco::Bound;
use crate::score::{Peers, Score, trust_root};
use crate::{Mode, Refusal};
use std::collections::{BTreeMap, BTreeSet};

/// Children of a node, unless told otherwise.
pub const BRANCHING: usize = 256;

/// Leaves of a strict tree.
pub const LEAVES_MAX: usize = 1 << 22;

/// A leaf as it was inserted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// Its key.
    pub key: String,
    /// Its value.
    pub data: Vec<u8>,
    /// Who wrote it.
    pub originator: String,
}

/// Digest of a leaf with the trust of its originator. Stored leaves have the empty key.
pub fn leaf_hash(key: &str, data: &[u8], trust: &str, originator: &str) -> String {
    hex_sha256([
        key.as_bytes(),
        data,
        trust.as_bytes(),
        originator.as_bytes(),
    ])
}

/// Digest of a leaf without trust.
pub fn compat_leaf_hash(data: &[u8]) -> String {
    hex_sha256([data])
}

/// Digest of a node: its children's digests and the trust root, as text. Without trust, the trust
/// root is empty.
pub fn node_hash<'a>(children: impl IntoIterator<Item = &'a str>, trust_root: &'a str) -> String {
    hex_sha256(children.into_iter().chain([trust_root]).map(str::as_bytes))
}

/// E4's path of a leaf: four bytes of the digest of its key. It does not say where the leaf is.
pub fn leaf_path(key: &str) -> Vec<i64> {
    let digest = sha256([key.as_bytes()]);
    digest[..4].iter().map(|&byte| i64::from(byte)).collect()
}

/// Whether a root is empty or the local one.
pub fn is_plausible_root(root: &str, local: &str) -> bool {
    root.is_empty() || root == local
}

/// A node of a tree that was computed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Digest with trust.
    pub hash: String,
    /// Digest without trust; empty outside of compatibility mode.
    pub compat: String,
}

/// A tree that was computed: levels from the leaves to the root.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Computed {
    levels: Vec<Vec<Node>>,
    trust_root: String,
    branching: usize,
    paths: Vec<Vec<i64>>,
}

impl Computed {
    /// Nodes of each level; none if there is no leaf.
    pub fn levels(&self) -> &[Vec<Node>] {
        &self.levels
    }

    /// The digest of everybody's trust that is in every node.
    pub fn trust_root(&self) -> &str {
        &self.trust_root
    }

    /// The root, empty if there is no leaf.
    pub fn root(&self) -> &str {
        self.top().map_or("", |node| &node.hash)
    }

    /// The root without trust.
    pub fn compat_root(&self) -> &str {
        self.top().map_or("", |node| &node.compat)
    }

    fn top(&self) -> Option<&Node> {
        self.levels.last().and_then(|level| level.first())
    }

    /// What differs from another tree, slot by slot: one leaf in front of all others is a change
    /// everywhere (M4).
    pub fn changes(&self, remote: &Self) -> Vec<Bound> {
        let mut changes = Vec::new();
        if let (Some(mine), Some(theirs)) = (
            self.levels.len().checked_sub(1),
            remote.levels.len().checked_sub(1),
        ) {
            self.compare((mine, 0), remote, (theirs, 0), 0, &mut changes);
        } else {
            let (old_hash, new_hash) = (remote.root().to_owned(), self.root().to_owned());
            if old_hash != new_hash {
                changes.push(Bound {
                    old_hash,
                    new_hash,
                    ..Bound::default()
                });
            }
        }
        changes
    }

    // The depth of recursion is that of the lower tree.
    fn compare(
        &self,
        mine: (usize, usize),
        remote: &Self,
        theirs: (usize, usize),
        depth: i64,
        changes: &mut Vec<Bound>,
    ) {
        let (new, old) = (self.hash(mine), remote.hash(theirs));
        if new == old {
            return;
        }
        let path = self.path(mine);
        if mine.0 == 0 || theirs.0 == 0 {
            changes.push(Bound {
                path,
                depth,
                old_hash: old.to_owned(),
                new_hash: new.to_owned(),
            });
            return;
        }
        for slot in 0..self.branching {
            let (a, b) = (self.child(mine, slot), remote.child(theirs, slot));
            match (a, b) {
                (None, None) => {}
                (Some(a), Some(b)) => self.compare(a, remote, b, depth + 1, changes),
                (a, b) => {
                    let mut path = path.clone();
                    path.push(slot as i64);
                    changes.push(Bound {
                        path,
                        depth: depth + 1,
                        old_hash: b.map_or("", |node| remote.hash(node)).to_owned(),
                        new_hash: a.map_or("", |node| self.hash(node)).to_owned(),
                    });
                }
            }
        }
    }

    fn hash(&self, (level, index): (usize, usize)) -> &str {
        &self.levels[level][index].hash
    }

    fn child(&self, (level, index): (usize, usize), slot: usize) -> Option<(usize, usize)> {
        let child = index * self.branching + slot;
        (slot < self.branching && child < self.levels[level - 1].len())
            .then_some((level - 1, child))
    }

    fn path(&self, (level, index): (usize, usize)) -> Vec<i64> {
        if level == 0 {
            self.paths[index].clone()
        } else {
            vec![level as i64 - 1]
        }
    }
}

/// A tree.
#[derive(Clone, Debug)]
pub struct Tree {
    branching: usize,
    has_compat: bool,
    mode: Mode,
    leaves: Vec<Leaf>,
    places: BTreeMap<String, usize>,
    contents: BTreeSet<[u8; 32]>,
    shadows: Peers,
}

impl Tree {
    /// A tree without leaves. `branching` is at least 2.
    ///
    /// # Errors
    ///
    /// If it is less, where E4 would never come to an end.
    pub fn new(branching: usize, has_compat: bool, mode: Mode) -> Result<Self, Refusal> {
        if branching < 2 {
            return Err(Refusal::OutOfRange("branching factor"));
        }
        Ok(Self {
            branching,
            has_compat,
            mode,
            leaves: Vec::new(),
            places: BTreeMap::new(),
            contents: BTreeSet::new(),
            shadows: Peers::new(),
        })
    }

    /// The leaves in their order.
    pub fn leaves(&self) -> &[Leaf] {
        &self.leaves
    }

    /// Inserts or overwrites a leaf; an overwritten one keeps its place. The answer is the digest
    /// with the key, which is stored nowhere.
    ///
    /// # Errors
    ///
    /// In strict mode: a leaf that another key has already (M1), contents that could be read with
    /// other boundaries or as a node (M2), and more than [`LEAVES_MAX`] leaves.
    pub fn insert(&mut self, leaf: Leaf, lattice: Option<&Peers>) -> Result<String, Refusal> {
        if self.mode == Mode::Strict {
            self.check(&leaf)?;
        }
        let trust = self.trust(&leaf.originator, lattice);
        let hash = leaf_hash(&leaf.key, &leaf.data, &trust, &leaf.originator);
        if let Some(&place) = self.places.get(&leaf.key) {
            self.contents.remove(&content(&self.leaves[place]));
            self.contents.insert(content(&leaf));
            self.leaves[place] = leaf;
        } else {
            self.places.insert(leaf.key.clone(), self.leaves.len());
            self.contents.insert(content(&leaf));
            self.leaves.push(leaf);
        }
        Ok(hash)
    }

    fn check(&self, leaf: &Leaf) -> Result<(), Refusal> {
        if leaf.key.is_empty() || leaf.originator.is_empty() {
            return Err(Refusal::EmptyId);
        }
        if self.leaves.len() >= LEAVES_MAX && !self.places.contains_key(&leaf.key) {
            return Err(Refusal::TooMany("leaves", LEAVES_MAX));
        }
        check_leaf(&leaf.data, &leaf.originator)?;
        let is_same = self
            .places
            .get(&leaf.key)
            .is_some_and(|&place| content(&self.leaves[place]) == content(leaf));
        if self.contents.contains(&content(leaf)) && !is_same {
            return Err(Refusal::KeyUncovered);
        }
        Ok(())
    }

    /// Fixes the trust of a peer for good: what the lattice says later is ignored.
    ///
    /// # Errors
    ///
    /// Always in strict mode (M5).
    pub fn set_trust(&mut self, peer: &str, score: Score) -> Result<(), Refusal> {
        if self.mode == Mode::Strict {
            return Err(Refusal::TrustShadow);
        }
        self.shadows.insert(peer.to_owned(), score);
        Ok(())
    }

    /// Rehashes everything under the present trust.
    pub fn compute(&self, lattice: Option<&Peers>) -> Computed {
        let trust_root = lattice.map(trust_root).unwrap_or_default();
        let mut trusts: BTreeMap<&str, String> = BTreeMap::new();
        let mut level: Vec<Node> = Vec::with_capacity(self.leaves.len());
        for leaf in &self.leaves {
            let trust = trusts
                .entry(&leaf.originator)
                .or_insert_with(|| self.trust(&leaf.originator, lattice));
            level.push(Node {
                hash: leaf_hash("", &leaf.data, trust, &leaf.originator),
                compat: self.compat(|| compat_leaf_hash(&leaf.data)),
            });
        }
        let mut levels = Vec::new();
        while level.len() > 1 {
            let above = level.chunks(self.branching).map(|children| Node {
                hash: node_hash(children.iter().map(|node| node.hash.as_str()), &trust_root),
                compat: self
                    .compat(|| node_hash(children.iter().map(|node| node.compat.as_str()), "")),
            });
            let above: Vec<Node> = above.collect();
            levels.push(level);
            level = above;
        }
        if !level.is_empty() {
            levels.push(level);
        }
        Computed {
            levels,
            trust_root,
            branching: self.branching,
            paths: self
                .leaves
                .iter()
                .map(|leaf| leaf_path(&leaf.key))
                .collect(),
        }
    }

    fn compat(&self, hash: impl FnOnce() -> String) -> String {
        if self.has_compat {
            hash()
        } else {
            String::new()
        }
    }

    fn trust(&self, originator: &str, lattice: Option<&Peers>) -> String {
        self.shadows
            .get(originator)
            .or_else(|| lattice.and_then(|peers| peers.get(originator)))
            .map_or_else(|| Score::default().to_text(), Score::to_text)
    }
}

/// What a leaf's digest covers beside trust.
fn content(leaf: &Leaf) -> [u8; 32] {
    let length = (leaf.data.len() as u64).to_be_bytes();
    sha256([&length, leaf.data.as_slice(), leaf.originator.as_bytes()])
}

/// Whether a leaf can be read in one way only: between data and originator stands the trust text, so
/// neither may contain its beginning, and data may not be a row of digests, which is a node (M2).
fn check_leaf(data: &[u8], originator: &str) -> Result<(), Refusal> {
    const MARK: &[u8] = b"causality:";
    let has_mark = |bytes: &[u8]| bytes.windows(MARK.len()).any(|window| window == MARK);
    let is_row = |bytes: &[u8]| {
        bytes.len().is_multiple_of(64)
            && !bytes.is_empty()
            && bytes.iter().all(u8::is_ascii_hexdigit)
    };
    if has_mark(data) || has_mark(originator.as_bytes()) || is_row(data) {
        return Err(Refusal::AmbiguousLeaf);
    }
    Ok(())
}

/// One step of a proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Digests beside the running one.
    pub siblings: Vec<String>,
    /// Where the running one belongs: past the end is the end, negative counts from there.
    pub position: i64,
}

/// Whether a value of an originator leads to a root, under the verifier's own trust.
///
/// # Errors
///
/// In strict mode: a leaf that can be read in two ways (M2), siblings that are no digests, and
/// positions that are none (M6).
pub fn verify_path(
    leaf: &Leaf,
    steps: &[Step],
    root: &str,
    lattice: Option<&Peers>,
    mode: Mode,
) -> Result<bool, Refusal> {
    if mode == Mode::Strict {
        check_leaf(&leaf.data, &leaf.originator)?;
        check_steps(steps)?;
    }
    let trust = lattice
        .and_then(|peers| peers.get(&leaf.originator))
        .map_or_else(|| Score::default().to_text(), Score::to_text);
    let start = leaf_hash("", &leaf.data, &trust, &leaf.originator);
    let trust_root = lattice.map(trust_root).unwrap_or_default();
    Ok(walk(start, steps, &trust_root) == root)
}

/// The same without trust.
///
/// # Errors
///
/// As [`verify_path`].
pub fn verify_compat_path(
    data: &[u8],
    steps: &[Step],
    root: &str,
    mode: Mode,
) -> Result<bool, Refusal> {
    if mode == Mode::Strict {
        check_leaf(data, "")?;
        check_steps(steps)?;
    }
    Ok(walk(compat_leaf_hash(data), steps, "") == root)
}

fn check_steps(steps: &[Step]) -> Result<(), Refusal> {
    for step in steps {
        let has_place = usize::try_from(step.position).is_ok_and(|p| p <= step.siblings.len());
        if !has_place || step.siblings.is_empty() {
            return Err(Refusal::Position);
        }
        if !step.siblings.iter().all(|sibling| is_digest(sibling)) {
            return Err(Refusal::DigestForm("sibling"));
        }
    }
    Ok(())
}

fn walk(start: String, steps: &[Step], trust_root: &str) -> String {
    steps.iter().fold(start, |current, step| {
        let count = step.siblings.len();
        let place = match usize::try_from(step.position) {
            Ok(position) => position.min(count),
            Err(_) => count.saturating_sub(step.position.unsigned_abs() as usize),
        };
        let mut children: Vec<&str> = step.siblings.iter().map(String::as_str).collect();
        children.insert(place, &current);
        node_hash(children, trust_root)
    })
}
