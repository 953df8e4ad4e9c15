//! `polity-merkle`: roots, inclusion proofs and consistency proofs in the shape of RFC 6962.

use crate::fields::{array, hex, list, number, unhex};
use polity_crypto::Sha256Digest;
use polity_merkle::{
    AppendTree, ConsistencyProof, InclusionProof, IndexedTree, leaf_hash, node_hash, root_of,
};
use polity_testkit::topic::{Case, Topic};
use serde_json::{Value, json};

const SPEC: &str = "docs/spec/merkle.md";

pub(crate) const ROOT: Topic = Topic {
    file: "merkle/root.v1.json",
    spec: SPEC,
    cases: roots,
    answer: root,
};

pub(crate) const INCLUSION: Topic = Topic {
    file: "merkle/inclusion.v1.json",
    spec: SPEC,
    cases: inclusions,
    answer: inclusion,
};

pub(crate) const CONSISTENCY: Topic = Topic {
    file: "merkle/consistency.v1.json",
    spec: SPEC,
    cases: consistencies,
    answer: consistency,
};

/// Leaves `0..count`: the hash of one byte each.
fn leaves(count: u8) -> Vec<Sha256Digest> {
    (0..count).map(|number| leaf_hash(&[number])).collect()
}

fn tree(count: u8) -> AppendTree {
    let mut tree = AppendTree::new();
    for leaf in leaves(count) {
        tree.push(leaf);
    }
    tree
}

fn digest(input: &Value, name: &str) -> Sha256Digest {
    Sha256Digest::new(array(input, name))
}

fn path(input: &Value) -> Vec<Sha256Digest> {
    let parse = |item: &Value| item.as_str().and_then(|text| text.parse().ok());
    list(input, "path")
        .iter()
        .map(|item| parse(item).unwrap_or_else(|| panic!("{item} is no digest")))
        .collect()
}

fn texts(path: &[Sha256Digest]) -> Vec<String> {
    path.iter().map(ToString::to_string).collect()
}

fn root(input: &Value) -> Result<Value, Value> {
    let data = list(input, "leaves")
        .iter()
        .map(|leaf| unhex(leaf.as_str().unwrap_or_default()));
    let leaves: Vec<_> = data.map(|data| leaf_hash(&data)).collect();
    // Both trees and the plain rule have to agree before a root counts.
    let mut append = AppendTree::new();
    let mut indexed = IndexedTree::new();
    for leaf in &leaves {
        append.push(*leaf);
        indexed.push(*leaf);
    }
    let root = root_of(&leaves);
    assert_eq!([append.root(), indexed.root()], [root, root], "{input}");
    let expected = json!({ "root": root.to_string() });
    if digest(input, "claimed_root") == root {
        Ok(expected)
    } else {
        Err(expected)
    }
}

fn roots() -> Vec<Case> {
    let input = |count: u8, claim: Sha256Digest| {
        let leaves: Vec<_> = (0..count).map(|number| hex(&[number])).collect();
        json!({ "leaves": leaves, "claimed_root": claim.to_string() })
    };
    let good = |name, comment, count| {
        Case::valid(name, comment, &[], input(count, root_of(&leaves(count))))
    };
    let bad = |name, comment, flag, count, claim| {
        Case::invalid(name, comment, &[flag], input(count, claim))
    };
    let three = leaves(3);
    let pair = node_hash(&three[0], &three[1]);
    let twice = node_hash(&pair, &node_hash(&three[2], &three[2]));
    let padded = node_hash(&pair, &node_hash(&three[2], &Sha256Digest::ZERO));
    let reversed: Vec<_> = leaves(4).into_iter().rev().collect();
    // A leaf that holds what a node hashes, without the byte that tells them apart.
    let as_leaf = leaf_hash(&[three[0].as_bytes().as_slice(), three[1].as_bytes()].concat());
    vec![
        good(
            "empty",
            "The root without leaves is the SHA-256 of nothing.",
            0,
        ),
        good("one", "One leaf is its own root.", 1),
        good("two", "One pair.", 2),
        good("three", "The third leaf moves up as it is.", 3),
        good("six", "A pair moves up as it is.", 6),
        good("seven", "A leaf and a pair on the right edge.", 7),
        good("eight", "Complete.", 8),
        bad(
            "empty_zero",
            "The root without leaves is not zero.",
            "edge",
            0,
            Sha256Digest::ZERO,
        ),
        bad(
            "doubled_leaf",
            "The odd leaf is not paired with itself.",
            "edge",
            3,
            twice,
        ),
        bad(
            "padded_leaf",
            "The odd leaf is not paired with zeros.",
            "edge",
            3,
            padded,
        ),
        bad(
            "swapped_pair",
            "Left and right are not exchanged.",
            "order",
            2,
            node_hash(&three[1], &three[0]),
        ),
        bad(
            "reversed",
            "Leaves have an order.",
            "order",
            4,
            root_of(&reversed),
        ),
        bad(
            "node_as_leaf",
            "A node is not the leaf of its children.",
            "prefix",
            2,
            as_leaf,
        ),
        bad(
            "sorted_shape",
            "The larger half is on the left.",
            "shape",
            3,
            node_hash(&three[0], &node_hash(&three[1], &three[2])),
        ),
        bad(
            "one_less",
            "The root of the first seven.",
            "size",
            8,
            root_of(&leaves(7)),
        ),
        bad(
            "one_more",
            "The root of eight for seven.",
            "size",
            7,
            root_of(&leaves(8)),
        ),
    ]
}

fn inclusion(input: &Value) -> Result<Value, Value> {
    let proof = InclusionProof {
        index: number(input, "index"),
        size: number(input, "size"),
        path: path(input),
    };
    proof
        .verify(&digest(input, "root"), &digest(input, "leaf"))
        .map(|()| json!({}))
        .map_err(|_| json!({ "error": "the proof does not hold" }))
}

fn inclusions() -> Vec<Case> {
    let input =
        |index: u64, size: u64, leaf: &Sha256Digest, path: &[Sha256Digest], root: &Sha256Digest| {
            json!({
                "index": index,
                "size": size,
                "leaf": leaf.to_string(),
                "path": texts(path),
                "root": root.to_string(),
            })
        };
    let honest = |name: &str, comment: &str, index: u64, count: u8| {
        let proof = tree(count)
            .inclusion(index, u64::from(count))
            .expect("the leaf is there");
        let leaf = leaf_hash(&[index as u8]);
        let input = input(index, proof.size, &leaf, &proof.path, &tree(count).root());
        Case::valid(name, comment, &[], input)
    };
    let root = tree(7).root();
    let leaf = leaf_hash(&[2]);
    let path = tree(7).inclusion(2, 7).expect("the leaf is there").path;
    let bad = |name: &str,
               comment: &str,
               flag: &str,
               index,
               size,
               leaf: &Sha256Digest,
               path: &[Sha256Digest]| {
        Case::invalid(
            name,
            comment,
            &[flag],
            input(index, size, leaf, path, &root),
        )
    };
    let swapped = [path[1], path[0], path[2]];
    let longer = [&path[..], &[root]].concat();
    let inner = node_hash(&leaf_hash(&[2]), &leaf_hash(&[3]));
    vec![
        honest("single", "One leaf, no path.", 0, 1),
        honest("first_of_two", "One sibling on the right.", 0, 2),
        honest("last_of_seven", "The odd leaf skips a level.", 6, 7),
        honest(
            "third_of_seven",
            "The proof that the broken cases start from.",
            2,
            7,
        ),
        honest("last_of_eight", "Siblings on the left only.", 7, 8),
        bad(
            "other_leaf",
            "Another leaf at this place.",
            "leaf",
            2,
            7,
            &leaf_hash(&[3]),
            &path,
        ),
        bad(
            "other_index",
            "The leaf at its neighbour's place.",
            "index",
            3,
            7,
            &leaf,
            &path,
        ),
        bad(
            "index_is_size",
            "There is no leaf at the size.",
            "index",
            7,
            7,
            &leaf,
            &path,
        ),
        bad(
            "no_leaves",
            "An empty tree has no leaf.",
            "size",
            0,
            0,
            &leaf,
            &[],
        ),
        bad(
            "other_size",
            "A size with a shorter path at this place.",
            "size",
            2,
            3,
            &leaf,
            &path,
        ),
        bad(
            "impossible_size",
            "A size that needs more than the longest path.",
            "size",
            2,
            u64::MAX,
            &leaf,
            &path,
        ),
        bad(
            "short_path",
            "The last sibling is missing.",
            "path",
            2,
            7,
            &leaf,
            &path[..2],
        ),
        bad(
            "long_path",
            "A digest is left over.",
            "path",
            2,
            7,
            &leaf,
            &longer,
        ),
        bad("empty_path", "No siblings.", "path", 2, 7, &leaf, &[]),
        bad(
            "swapped_path",
            "Siblings in another order.",
            "path",
            2,
            7,
            &leaf,
            &swapped,
        ),
        bad(
            "node_as_leaf",
            "A node of level 1 shown as a leaf of a smaller tree.",
            "prefix",
            2,
            7,
            &inner,
            &path[1..],
        ),
        Case::invalid(
            "other_root",
            "The root of another tree.",
            &["root"],
            input(2, 7, &leaf, &path, &tree(8).root()),
        ),
    ]
}

fn consistency(input: &Value) -> Result<Value, Value> {
    let proof = ConsistencyProof {
        old_size: number(input, "old_size"),
        new_size: number(input, "new_size"),
        path: path(input),
    };
    proof
        .verify(&digest(input, "old_root"), &digest(input, "new_root"))
        .map(|()| json!({}))
        .map_err(|_| json!({ "error": "the proof does not hold" }))
}

fn consistencies() -> Vec<Case> {
    let input =
        |sizes: (u64, u64), roots: (&Sha256Digest, &Sha256Digest), path: &[Sha256Digest]| {
            json!({
                "old_size": sizes.0,
                "new_size": sizes.1,
                "old_root": roots.0.to_string(),
                "new_root": roots.1.to_string(),
                "path": texts(path),
            })
        };
    let honest = |name: &str, comment: &str, old: u8, new: u8| {
        let sizes = (u64::from(old), u64::from(new));
        let proof = tree(new)
            .consistency(sizes.0, sizes.1)
            .expect("the sizes are in order");
        let roots = (&tree(old).root(), &tree(new).root());
        Case::valid(name, comment, &[], input(sizes, roots, &proof.path))
    };
    let (old, new) = (tree(3).root(), tree(7).root());
    let path = tree(7)
        .consistency(3, 7)
        .expect("the sizes are in order")
        .path;
    let mut forked = AppendTree::new();
    for number in [0, 1, 9] {
        forked.push(leaf_hash(&[number]));
    }
    let bad = |name: &str, comment: &str, flag: &str, sizes, roots, path: &[Sha256Digest]| {
        Case::invalid(name, comment, &[flag], input(sizes, roots, path))
    };
    let longer = [&path[..], &[new]].concat();
    let swapped: Vec<_> = path.iter().rev().copied().collect();
    let none = Sha256Digest::ZERO;
    let empty = root_of(&[]);
    vec![
        honest(
            "from_nothing",
            "Nothing is the beginning of everything.",
            0,
            5,
        ),
        honest("same", "A tree is the beginning of itself.", 4, 4),
        honest(
            "power_of_two",
            "The older root is a node of the newer tree.",
            4,
            7,
        ),
        honest("odd", "The proof that the broken cases start from.", 3, 7),
        honest("one_more", "One leaf was added.", 7, 8),
        bad(
            "forked",
            "The older tree had another third leaf.",
            "root",
            (3, 7),
            (&forked.root(), &new),
            &path,
        ),
        bad(
            "other_new_root",
            "The newer tree is another one.",
            "root",
            (3, 7),
            (&old, &tree(8).root()),
            &path,
        ),
        bad(
            "exchanged_roots",
            "The newer root as the older.",
            "root",
            (3, 7),
            (&new, &old),
            &path,
        ),
        bad(
            "backwards",
            "The older tree is larger.",
            "size",
            (7, 3),
            (&new, &old),
            &path,
        ),
        bad(
            "other_old_size",
            "A size with a longer path.",
            "size",
            (5, 7),
            (&old, &new),
            &path,
        ),
        bad(
            "same_size_other_root",
            "One size has one root.",
            "size",
            (7, 7),
            (&old, &new),
            &[],
        ),
        bad(
            "empty_with_root",
            "The tree without leaves has one root.",
            "edge",
            (0, 7),
            (&none, &new),
            &[],
        ),
        bad(
            "empty_with_path",
            "Nothing needs no path.",
            "edge",
            (0, 7),
            (&empty, &new),
            &path,
        ),
        bad(
            "empty_to_empty",
            "Two sizes of nothing with different roots.",
            "edge",
            (0, 0),
            (&empty, &new),
            &[],
        ),
        bad(
            "impossible_size",
            "More leaves than a tree can have.",
            "size",
            (3, u64::MAX),
            (&old, &new),
            &path,
        ),
        bad(
            "short_path",
            "A digest is missing.",
            "path",
            (3, 7),
            (&old, &new),
            &path[..path.len() - 1],
        ),
        bad(
            "long_path",
            "A digest is left over.",
            "path",
            (3, 7),
            (&old, &new),
            &longer,
        ),
        bad(
            "reversed_path",
            "Digests in another order.",
            "path",
            (3, 7),
            (&old, &new),
            &swapped,
        ),
        bad(
            "no_path",
            "Nothing is shown.",
            "path",
            (3, 7),
            (&old, &new),
            &[],
        ),
    ]
}
