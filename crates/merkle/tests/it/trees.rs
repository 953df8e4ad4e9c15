//! Both trees against lists of leaves.

use polity_crypto::Sha256Digest;
use polity_merkle::{AppendTree, IndexedTree, RangeError, empty_root, leaf_hash, root_of};
use proptest::prelude::*;
use std::collections::BTreeSet;

fn leaf(value: u64) -> Sha256Digest {
    leaf_hash(&value.to_le_bytes())
}

/// What can be done to an indexed tree.
#[derive(Clone, Debug)]
enum Operation {
    Push(u64),
    PushMany(u8),
    Set(prop::sample::Index, u64),
    SetMany(Vec<(prop::sample::Index, u64)>),
    Root,
    Prove(prop::sample::Index),
}

fn operation() -> impl Strategy<Value = Operation> {
    let slot = any::<prop::sample::Index>;
    // Few values, so that a leaf is often set to what it already is.
    prop_oneof![
        4 => (0..4_u64).prop_map(Operation::Push),
        1 => any::<u8>().prop_map(Operation::PushMany),
        4 => (slot(), 0..4_u64).prop_map(|(slot, value)| Operation::Set(slot, value)),
        1 => prop::collection::vec((slot(), any::<u64>()), 0..40).prop_map(Operation::SetMany),
        2 => Just(Operation::Root),
        2 => slot().prop_map(Operation::Prove),
    ]
}

/// A list of leaves and the slots that changed: what an indexed tree promises.
#[derive(Default)]
struct Model {
    leaves: Vec<Sha256Digest>,
    changed: BTreeSet<usize>,
}

impl Model {
    fn push(&mut self, leaf: Sha256Digest) {
        self.changed.insert(self.leaves.len());
        self.leaves.push(leaf);
    }

    fn set(&mut self, slot: usize, leaf: Sha256Digest) {
        if self.leaves[slot] != leaf {
            self.leaves[slot] = leaf;
            self.changed.insert(slot);
        }
    }

    /// Nodes with two children above the changed slots, each counted once.
    fn nodes_to_hash(&mut self) -> u64 {
        let mut nodes = std::mem::take(&mut self.changed);
        let (mut length, mut count) = (self.leaves.len(), 0);
        while length > 1 {
            nodes = nodes.into_iter().map(|node| node / 2).collect();
            count += nodes.iter().filter(|node| **node * 2 + 1 < length).count() as u64;
            length = length.div_ceil(2);
        }
        count
    }
}

fn apply(tree: &mut IndexedTree, model: &mut Model, operation: Operation) {
    match operation {
        Operation::Push(value) => {
            assert_eq!(tree.push(leaf(value)), model.leaves.len() as u64);
            model.push(leaf(value));
        }
        Operation::PushMany(count) => {
            for value in 0..u64::from(count) {
                tree.push(leaf(value));
                model.push(leaf(value));
            }
        }
        Operation::Set(slot, value) => apply(tree, model, Operation::SetMany(vec![(slot, value)])),
        Operation::SetMany(changes) if model.leaves.is_empty() => {
            for (_, value) in changes {
                let refused = RangeError::Index { index: 0, size: 0 };
                assert_eq!(tree.set(0, leaf(value)), Err(refused));
            }
        }
        Operation::SetMany(changes) => {
            for (slot, value) in changes {
                let slot = slot.index(model.leaves.len());
                tree.set(slot as u64, leaf(value)).unwrap();
                model.set(slot, leaf(value));
            }
        }
        Operation::Root => {
            assert_eq!(tree.rehash(), model.nodes_to_hash());
            assert_eq!(tree.rehash(), 0);
            assert_eq!(tree.root(), root_of(&model.leaves));
        }
        Operation::Prove(_) if model.leaves.is_empty() => {
            let refused = RangeError::Index { index: 0, size: 0 };
            assert_eq!(tree.inclusion(0), Err(refused));
        }
        Operation::Prove(slot) => {
            let slot = slot.index(model.leaves.len());
            let proof = tree.inclusion(slot as u64).unwrap();
            model.changed.clear();
            assert_eq!(proof.index, slot as u64);
            assert_eq!(proof.size, model.leaves.len() as u64);
            proof
                .verify(&root_of(&model.leaves), &model.leaves[slot])
                .unwrap();
        }
    }
}

proptest! {
    #[test]
    fn an_indexed_tree_agrees_with_a_rebuild_and_hashes_each_changed_node_once(
        operations in prop::collection::vec(operation(), 0..60),
    ) {
        let mut tree = IndexedTree::new();
        let mut model = Model::default();
        for operation in operations {
            apply(&mut tree, &mut model, operation);
            prop_assert_eq!(tree.len(), model.leaves.len() as u64);
        }
        for (index, leaf) in (0..).zip(&model.leaves) {
            prop_assert_eq!(tree.leaf(index), Some(leaf));
        }
        prop_assert_eq!(tree.leaf(tree.len()), None);
        let refused = RangeError::Index { index: tree.len(), size: tree.len() };
        prop_assert_eq!(tree.set(tree.len(), empty_root()), Err(refused));
        prop_assert_eq!(tree.inclusion(tree.len()), Err(refused));
        prop_assert_eq!(tree.root(), root_of(&model.leaves));
    }

    #[test]
    fn an_append_tree_proves_every_earlier_state(
        length in 1..3_000_u64,
        sizes in prop::collection::vec(any::<prop::sample::Index>(), 8),
    ) {
        let leaves: Vec<_> = (0..length).map(leaf).collect();
        let mut tree = AppendTree::new();
        for (index, leaf) in (0..).zip(&leaves) {
            prop_assert_eq!(tree.push(*leaf), index);
        }
        prop_assert_eq!(tree.root(), root_of(&leaves));
        for size in sizes {
            let size = size.index(leaves.len() + 1);
            let root = root_of(&leaves[..size]);
            prop_assert_eq!(tree.root_at(size as u64), Ok(root));
            let consistency = tree.consistency(size as u64, length).unwrap();
            prop_assert_eq!(consistency.verify(&root, &tree.root()), Ok(()));
            if let Some(index) = size.checked_sub(1) {
                let inclusion = tree.inclusion(index as u64, size as u64).unwrap();
                prop_assert_eq!(inclusion.verify(&root, &leaves[index]), Ok(()));
            }
        }
    }

    #[test]
    fn both_trees_give_the_same_proofs(length in 1..300_u64, slot in any::<prop::sample::Index>()) {
        let (mut appended, mut indexed) = (AppendTree::new(), IndexedTree::with_capacity(length));
        for value in 0..length {
            appended.push(leaf(value));
            indexed.push(leaf(value));
        }
        let index = slot.index(length as usize) as u64;
        prop_assert_eq!(appended.inclusion(index, length), indexed.inclusion(index));
    }
}

#[test]
fn trees_without_leaves_have_the_empty_root() {
    assert_eq!(AppendTree::new().root(), empty_root());
    assert_eq!(IndexedTree::new().root(), empty_root());
    assert!(AppendTree::new().is_empty() && IndexedTree::new().is_empty());
    // A capacity is a hint and may come from anywhere.
    assert!(IndexedTree::with_capacity(u64::MAX).is_empty());
}

#[test]
fn changes_reach_across_chunks_and_growth() {
    let mut leaves: Vec<_> = (0..5_000).map(leaf).collect();
    let mut tree = IndexedTree::new();
    for leaf in &leaves {
        tree.push(*leaf);
    }
    tree.root();
    for (slot, value) in [
        (0, 1),
        (1_023, 2),
        (1_024, 3),
        (4_095, 4),
        (4_096, 5),
        (4_999, 6),
    ] {
        leaves[slot] = leaf(value);
        tree.set(slot as u64, leaf(value)).unwrap();
    }
    // Changes of old leaves and new leaves meet in one walk, also above the former root.
    for value in 5_000..9_000 {
        leaves.push(leaf(value));
        tree.push(leaf(value));
    }
    assert_eq!(tree.root(), root_of(&leaves));
}
