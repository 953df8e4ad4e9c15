//! Changes leaves of an indexed tree and asks for the root, beside the hashing alone.

use criterion::{Criterion, criterion_group, criterion_main};
use polity_crypto::Sha256Digest;
use polity_merkle::{IndexedTree, leaf_hash, node_hash};
use std::hint::black_box;

const LEAVES: u64 = 1 << 20;
/// A prime step visits every slot, far from the one before.
const STEP: u64 = 611_953;

fn indexed_update(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("indexed_update");
    for changed in [1, 1_000] {
        let mut tree = IndexedTree::with_capacity(LEAVES);
        for value in 0..LEAVES {
            tree.push(leaf_hash(&value.to_le_bytes()));
        }
        tree.root();
        let (mut slot, mut leaf) = (0, Sha256Digest::ZERO);
        let mut change = |tree: &mut IndexedTree| {
            for _ in 0..changed {
                slot = (slot + STEP) % LEAVES;
                tree.set(slot, leaf)
                    .expect("the slot is below the number of leaves");
            }
            // The next round sets other leaves than those which are there.
            leaf = tree.root();
        };
        group.bench_function(format!("leaves={LEAVES}/changed={changed}"), |bencher| {
            bencher.iter(|| change(&mut tree));
        });
        for number in 0..changed {
            let leaf = leaf_hash(&[number as u8]);
            tree.set((number * STEP) % LEAVES, leaf)
                .expect("the slot is below the number of leaves");
        }
        let hashes = tree.rehash();
        group.bench_function(format!("floor/node_hash_x{hashes}"), |bencher| {
            bencher.iter(|| {
                // Each node needs the one below it.
                (0..hashes).fold(Sha256Digest::ZERO, |node, _| {
                    node_hash(&node, black_box(&Sha256Digest::ZERO))
                })
            });
        });
    }
    group.finish();
}

criterion_group!(benches, indexed_update);
criterion_main!(benches);
