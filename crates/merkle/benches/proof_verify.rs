//! Checks proofs, beside the hashing alone.

use criterion::{Criterion, criterion_group, criterion_main};
use polity_crypto::Sha256Digest;
use polity_merkle::{AppendTree, leaf_hash, node_hash};
use std::hint::black_box;

const LEAVES: u64 = 1 << 20;

fn proof_verify(criterion: &mut Criterion) {
    let mut tree = AppendTree::new();
    for value in 0..LEAVES {
        tree.push(leaf_hash(&value.to_le_bytes()));
    }
    let (old_size, index) = (LEAVES / 3, LEAVES / 5);
    let (old_root, root) = (
        tree.root_at(old_size).expect("the tree is larger"),
        tree.root(),
    );
    let leaf = leaf_hash(&index.to_le_bytes());
    let inclusion = tree.inclusion(index, LEAVES).expect("the leaf is there");
    let consistency = tree
        .consistency(old_size, LEAVES)
        .expect("the tree is larger");

    let mut group = criterion.benchmark_group("proof_verify");
    group.bench_function(format!("inclusion/leaves={LEAVES}"), |bencher| {
        bencher.iter(|| inclusion.verify(black_box(&root), black_box(&leaf)));
    });
    group.bench_function(format!("consistency/leaves={LEAVES}"), |bencher| {
        bencher.iter(|| consistency.verify(black_box(&old_root), black_box(&root)));
    });
    group.bench_function("floor/node_hash_x20", |bencher| {
        bencher.iter(|| {
            (0..20).fold(Sha256Digest::ZERO, |node, _| {
                node_hash(&node, black_box(&root))
            })
        });
    });
    group.finish();
}

criterion_group!(benches, proof_verify);
criterion_main!(benches);
