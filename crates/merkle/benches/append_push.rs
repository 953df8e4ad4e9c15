//! Appends to a log, beside the one node hash per leaf that it takes on average.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use polity_crypto::Sha256Digest;
use polity_merkle::{AppendTree, node_hash};
use std::hint::black_box;

const LEAVES: u64 = 1 << 16;

fn append_push(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("append_push");
    group.throughput(Throughput::Elements(LEAVES));
    let zero = Sha256Digest::ZERO;
    group.bench_function(format!("leaves={LEAVES}"), |bencher| {
        bencher.iter_batched(
            AppendTree::new,
            |mut tree| {
                for _ in 0..LEAVES {
                    tree.push(black_box(zero));
                }
                tree
            },
            BatchSize::PerIteration,
        );
    });
    group.bench_function(format!("floor/node_hash_x{}", LEAVES - 1), |bencher| {
        bencher.iter(|| {
            for _ in 0..LEAVES - 1 {
                black_box(node_hash(black_box(&zero), black_box(&zero)));
            }
        });
    });
    group.finish();
}

criterion_group!(benches, append_push);
criterion_main!(benches);
