//! Roots that another implementation computed.

use polity_merkle::{AppendTree, IndexedTree, leaf_hash, root_of};
use polity_testkit::vectors::{self, File, Test};
use std::process::ExitCode;

fn merkle_roots(file: &File) -> usize {
    let cases = file.cases("merkle");
    for case in cases {
        let leaves: Vec<_> = case["leaves"]
            .as_array()
            .unwrap()
            .iter()
            .map(|leaf| leaf_hash(leaf.as_str().unwrap().as_bytes()))
            .collect();
        let expected = case["root"].as_str().unwrap().parse().unwrap();
        let (mut appended, mut indexed) = (AppendTree::new(), IndexedTree::new());
        for leaf in &leaves {
            appended.push(*leaf);
            indexed.push(*leaf);
        }
        assert_eq!(root_of(&leaves), expected, "{case}");
        assert_eq!(appended.root(), expected, "{case}");
        assert_eq!(indexed.root(), expected, "{case}");
    }
    cases.len()
}

fn main() -> ExitCode {
    let tests = [Test {
        name: "merkle_roots",
        check: merkle_roots,
    }];
    vectors::run("polity", &tests)
}
