//! Proofs hold where they should, and every change of one is refused.

use crate::model;
use polity_crypto::Sha256Digest;
use polity_merkle::{
    AppendTree, ConsistencyProof, InclusionProof, PATH_MAX, RangeError, SIZE_MAX, empty_root,
    leaf_hash, node_hash,
};
use polity_types::wire;
use rstest::rstest;

/// Large enough for two full levels around 32 and the first leaf after 64.
const SIZE: u64 = 65;
/// Sizes whose proofs are changed bit by bit.
const CHANGED_SIZES: [u64; 20] = [
    1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 31, 32, 33,
];

fn tree(size: u64) -> AppendTree {
    let mut tree = AppendTree::new();
    for entry in model::entries(size) {
        tree.push(leaf_hash(&entry));
    }
    tree
}

fn leaf(index: u64) -> Sha256Digest {
    leaf_hash(&index.to_be_bytes())
}

fn flip(digest: &Sha256Digest, bit: usize) -> Sha256Digest {
    let mut bytes = *digest.as_bytes();
    bytes[bit / 8] ^= 1 << (bit % 8);
    Sha256Digest::new(bytes)
}

/// The path with one bit changed, one digest less or one more: each way once.
fn changed_paths(path: &[Sha256Digest]) -> Vec<Vec<Sha256Digest>> {
    let mut changed = Vec::new();
    for position in 0..path.len() {
        for bit in 0..256 {
            let mut copy = path.to_vec();
            copy[position] = flip(&copy[position], bit);
            changed.push(copy);
        }
        let mut shorter = path.to_vec();
        shorter.remove(position);
        changed.push(shorter);
    }
    for position in 0..=path.len() {
        let known = path.first().copied().unwrap_or(Sha256Digest::ZERO);
        for extra in [Sha256Digest::ZERO, empty_root(), known] {
            let mut longer = path.to_vec();
            longer.insert(position, extra);
            changed.push(longer);
        }
    }
    changed
}

#[test]
fn inclusion_agrees_with_the_model_for_every_leaf_of_every_size() {
    let tree = tree(SIZE);
    for size in 1..=SIZE {
        let data = model::entries(size);
        let root = model::root(&data);
        assert_eq!(tree.root_at(size), Ok(root), "size {size}");
        for index in 0..size {
            let proof = tree.inclusion(index, size).unwrap();
            assert_eq!(proof.path, model::inclusion(index as usize, &data));
            for other in 0..size {
                let holds = proof.verify(&root, &leaf(other)).is_ok();
                assert_eq!(holds, other == index, "leaf {other} at {index} of {size}");
            }
        }
    }
}

#[test]
fn consistency_agrees_with_the_model_for_every_pair_of_sizes() {
    let tree = tree(SIZE);
    let roots: Vec<_> = (0..=SIZE)
        .map(|size| model::root(&model::entries(size)))
        .collect();
    for new_size in 0..=SIZE {
        let data = model::entries(new_size);
        for old_size in 0..=new_size {
            let proof = tree.consistency(old_size, new_size).unwrap();
            let expected = match old_size {
                0 => Vec::new(),
                _ => model::consistency(old_size as usize, &data, true),
            };
            assert_eq!(proof.path, expected, "{old_size} to {new_size}");
            for (other, root) in (0..).zip(&roots) {
                let as_old = proof.verify(root, &roots[new_size as usize]).is_ok();
                let as_new = proof.verify(&roots[old_size as usize], root).is_ok();
                assert_eq!(as_old, other == old_size, "{old_size} to {new_size}");
                // The empty tree is the beginning of every tree but the empty one.
                let begins = old_size == 0 && new_size > 0;
                assert_eq!(as_new, other == new_size || begins);
            }
        }
    }
}

#[test]
fn an_inclusion_proof_with_any_change_is_refused() {
    for size in CHANGED_SIZES {
        let tree = tree(size);
        let root = tree.root();
        for index in 0..size {
            let proof = tree.inclusion(index, size).unwrap();
            let leaf = leaf(index);
            for path in changed_paths(&proof.path) {
                let changed = InclusionProof { path, ..proof };
                assert!(changed.verify(&root, &leaf).is_err(), "{changed:?}");
            }
            for bit in 0..256 {
                assert!(proof.verify(&flip(&root, bit), &leaf).is_err());
                assert!(proof.verify(&root, &flip(&leaf, bit)).is_err());
            }
        }
    }
}

#[test]
fn another_index_or_size_holds_only_if_it_names_the_same_turns() {
    let mut same_turns = 0;
    for size in CHANGED_SIZES {
        let tree = tree(size);
        let root = tree.root();
        for index in 0..size {
            let proof = tree.inclusion(index, size).unwrap();
            let turns = model::turns(index, size);
            let mut numbers: Vec<_> = (0..64)
                .flat_map(|bit| [(index ^ 1 << bit, size), (index, size ^ 1 << bit)])
                .collect();
            numbers.extend((1..40).flat_map(|size| (0..size).map(move |index| (index, size))));
            for (index, size) in numbers {
                let changed = InclusionProof {
                    index,
                    size,
                    ..proof.clone()
                };
                let expected = index < size && model::turns(index, size) == turns;
                let holds = changed.verify(&root, &leaf(proof.index)).is_ok();
                assert_eq!(holds, expected, "{index} of {size} for {proof:?}");
                same_turns += usize::from(holds && size != proof.size);
                // With the size that belongs to the root, the index is certain.
                assert!(!holds || size != proof.size || index == proof.index);
            }
        }
    }
    assert!(
        same_turns > 0,
        "the crate's warning about sizes would be idle"
    );
}

#[test]
fn a_consistency_proof_with_any_change_is_refused() {
    for new_size in CHANGED_SIZES {
        let tree = tree(new_size);
        let new_root = tree.root();
        for old_size in 0..=new_size {
            let old_root = tree.root_at(old_size).unwrap();
            let proof = tree.consistency(old_size, new_size).unwrap();
            for path in changed_paths(&proof.path) {
                let changed = ConsistencyProof { path, ..proof };
                assert!(changed.verify(&old_root, &new_root).is_err(), "{changed:?}");
            }
            for bit in 0..256 {
                assert!(proof.verify(&flip(&old_root, bit), &new_root).is_err());
                let holds = proof.verify(&old_root, &flip(&new_root, bit)).is_ok();
                assert_eq!(holds, old_size == 0 && new_size > 0);
            }
        }
    }
}

#[test]
fn other_sizes_of_a_consistency_proof_hold_only_if_the_model_agrees() {
    for new_size in CHANGED_SIZES {
        let tree = tree(new_size);
        let new_root = tree.root();
        for old_size in 1..new_size {
            let old_root = tree.root_at(old_size).unwrap();
            let proof = tree.consistency(old_size, new_size).unwrap();
            let pairs = (0..64)
                .flat_map(|bit| {
                    [
                        (old_size ^ 1 << bit, new_size),
                        (old_size, new_size ^ 1 << bit),
                    ]
                })
                .chain((1..40).flat_map(|new| (1..=new).map(move |old| (old, new))));
            for (old_size, new_size) in pairs {
                let changed = ConsistencyProof {
                    old_size,
                    new_size,
                    ..proof.clone()
                };
                let expected = old_size > 0
                    && old_size <= new_size
                    && model::roots((old_size, new_size), &proof.path, Some(&old_root))
                        == Some((old_root, new_root));
                let holds = changed.verify(&old_root, &new_root).is_ok();
                assert_eq!(holds, expected, "{old_size} to {new_size} for {proof:?}");
            }
        }
    }
}

#[rstest]
#[case::no_leaves(0, 0)]
#[case::index_at_the_end(1, 1)]
#[case::index_beyond(u64::MAX, 1)]
#[case::more_than_counted(0, SIZE_MAX + 1)]
#[case::all_bits(u64::MAX - 1, u64::MAX)]
fn impossible_numbers_are_refused(#[case] index: u64, #[case] size: u64) {
    for length in 0..=PATH_MAX {
        let path = vec![Sha256Digest::ZERO; length];
        let root = (0..length).fold(leaf(0), |node, _| node_hash(&node, &Sha256Digest::ZERO));
        let proof = InclusionProof { index, size, path };
        assert!(proof.verify(&root, &leaf(0)).is_err());
    }
}

#[rstest]
#[case::older_is_larger(2, 1)]
#[case::more_than_counted(1, SIZE_MAX + 1)]
#[case::more_than_counted_from_nothing(0, SIZE_MAX + 1)]
#[case::more_than_counted_twice(SIZE_MAX + 1, SIZE_MAX + 1)]
fn impossible_sizes_are_refused(#[case] old_size: u64, #[case] new_size: u64) {
    for length in 0..=PATH_MAX {
        let path = vec![Sha256Digest::ZERO; length];
        // The roots that the path would lead to, if the sizes were taken at their word.
        let old_root = if old_size == 0 { empty_root() } else { leaf(0) };
        let roots = (old_size > 0 && old_size < new_size)
            .then(|| model::roots((old_size, new_size), &path, Some(&old_root)))
            .flatten();
        let (old_root, new_root) = roots.unwrap_or((old_root, old_root));
        let proof = ConsistencyProof {
            old_size,
            new_size,
            path,
        };
        assert!(proof.verify(&old_root, &new_root).is_err(), "{proof:?}");
    }
}

#[test]
fn the_largest_tree_has_proofs_of_at_most_the_largest_path() {
    let zero = Sha256Digest::ZERO;
    let path = vec![zero; 63];
    let root = path
        .iter()
        .fold(leaf(0), |node, sibling| node_hash(&node, sibling));
    let size = SIZE_MAX;
    let proof = InclusionProof {
        index: 0,
        size,
        path,
    };
    assert_eq!(proof.verify(&root, &leaf(0)), Ok(()));
    // One leaf less than all, seen from all but two: every level has a neighbour.
    let sizes = (SIZE_MAX - 1, SIZE_MAX);
    for length in 0..=PATH_MAX {
        let path = vec![zero; length];
        let roots = model::roots(sizes, &path, Some(&zero));
        assert_eq!(roots.is_some(), length == PATH_MAX);
        if let Some((old_root, new_root)) = roots {
            let (old_size, new_size) = sizes;
            let proof = ConsistencyProof {
                old_size,
                new_size,
                path,
            };
            assert_eq!(proof.verify(&old_root, &new_root), Ok(()));
        }
    }
}

#[rstest]
#[case::index(tree(5).inclusion(5, 5).map(drop), RangeError::Index { index: 5, size: 5 })]
#[case::older_size(tree(5).inclusion(4, 4).map(drop), RangeError::Index { index: 4, size: 4 })]
#[case::size(tree(5).inclusion(0, 6).map(drop), RangeError::Size { size: 6, length: 5 })]
#[case::empty(tree(0).inclusion(0, 0).map(drop), RangeError::Index { index: 0, size: 0 })]
#[case::root(tree(5).root_at(6).map(drop), RangeError::Size { size: 6, length: 5 })]
#[case::new_size(tree(5).consistency(1, 6).map(drop), RangeError::Size { size: 6, length: 5 })]
#[case::order(
    tree(5).consistency(4, 3).map(drop),
    RangeError::Order { old_size: 4, new_size: 3 }
)]
fn a_tree_says_why_it_cannot_prove(
    #[case] result: Result<(), RangeError>,
    #[case] expected: RangeError,
) {
    assert_eq!(result, Err(expected));
}

#[test]
fn proofs_travel_and_a_path_is_bounded() {
    let tree = tree(SIZE);
    let proof = tree.inclusion(3, SIZE).unwrap();
    let bytes = wire::encode(&proof);
    assert_eq!(wire::decode(&bytes, bytes.len()), Ok(proof));
    let proof = tree.consistency(3, SIZE).unwrap();
    let bytes = wire::encode(&proof);
    assert_eq!(wire::decode(&bytes, bytes.len()), Ok(proof));

    for (length, is_accepted) in [(PATH_MAX, true), (PATH_MAX + 1, false)] {
        let path = vec![Sha256Digest::ZERO; length];
        let inclusion = wire::encode(&InclusionProof {
            index: 0,
            size: 1,
            path: path.clone(),
        });
        let decoded = wire::decode::<InclusionProof>(&inclusion, inclusion.len());
        assert_eq!(decoded.is_ok(), is_accepted);
        let consistency = wire::encode(&ConsistencyProof {
            old_size: 0,
            new_size: 1,
            path,
        });
        let decoded = wire::decode::<ConsistencyProof>(&consistency, consistency.len());
        assert_eq!(decoded.is_ok(), is_accepted);
    }
}
