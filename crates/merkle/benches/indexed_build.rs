//! Builds an indexed tree, beside the hashing that no build can avoid.

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use polity_crypto::Sha256Digest;
use polity_merkle::{IndexedTree, leaf_hash, node_hash};
use std::hint::black_box;

const LEAVES: u64 = 1 << 20;

fn indexed_build(criterion: &mut Criterion) {
    let leaves: Vec<Sha256Digest> = (0..LEAVES)
        .map(|value| leaf_hash(&value.to_le_bytes()))
        .collect();
    let mut group = criterion.benchmark_group("indexed_build");
    group.sample_size(10);
    group.bench_function(format!("leaves={LEAVES}"), |bencher| {
        bencher.iter_batched(
            || (),
            |()| {
                let mut tree = IndexedTree::with_capacity(LEAVES);
                for leaf in &leaves {
                    tree.push(*leaf);
                }
                black_box(tree.root());
                // Returned, so that giving the memory back is not measured.
                tree
            },
            BatchSize::PerIteration,
        );
    });
    group.bench_function(format!("floor/node_hash_x{}", LEAVES - 1), |bencher| {
        bencher.iter(|| {
            for _ in 0..LEAVES - 1 {
                black_box(node_hash(black_box(&leaves[0]), black_box(&leaves[1])));
            }
        });
    });
    group.bench_function("floor/flat_rows", |bencher| {
        bencher.iter_batched(
            || (),
            |()| flat_rows(leaves.clone()),
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

/// The same nodes in one vector per level: hashing, and memory that is touched for the first time.
fn flat_rows(leaves: Vec<Sha256Digest>) -> Vec<Vec<Sha256Digest>> {
    let mut rows = vec![leaves];
    while let Some(below) = rows.last()
        && below.len() > 1
    {
        let row = below
            .chunks_exact(2)
            .map(|pair| node_hash(&pair[0], &pair[1]))
            .collect();
        rows.push(row);
    }
    rows
}

criterion_group!(benches, indexed_build);
criterion_main!(benches);
