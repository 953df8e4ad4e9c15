//! Builds, changes and compares trust-bound trees, beside the hashing alone.

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use polity_crypto::{PeerId, Sha256Digest};
use polity_merkle::bound::{BoundLeaf, BoundTree, FanOut, diff, key_digest};
use polity_types::Epoch;
use sha2::{Digest as _, Sha256};
use std::hint::black_box;

const LEAVES: u64 = 1 << 20;
const SOME: u64 = 100_000;

fn content(number: u64) -> BoundLeaf {
    BoundLeaf {
        value: Sha256Digest::new([number as u8; 32]),
        originator: PeerId::new([1; 32]),
        trust: 500_000,
        epoch: Epoch::new(3),
        dot_peer: PeerId::new([1; 32]),
        dot_counter: number,
    }
}

fn tree(leaves: u64, shift: u64) -> BoundTree {
    // Every hundredth record is another one in a shifted tree.
    let number = |key: u64| {
        if key.is_multiple_of(100) {
            key + shift
        } else {
            key
        }
    };
    let records = (0..leaves).map(|key| (key.to_le_bytes(), content(number(key))));
    BoundTree::from_records(FanOut::default(), records).expect("the records are within bounds")
}

/// As many hashes as the nodes of a path or tree take, over as many bytes.
fn nodes(count: u64) {
    for _ in 0..count {
        black_box(Sha256::digest(black_box([1_u8; 75])));
    }
}

fn bound_tree(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("bound_tree");
    group.sample_size(10);
    group.bench_function(format!("build/leaves={LEAVES}"), |bencher| {
        bencher.iter_batched(
            || (),
            |()| {
                let mut tree = tree(LEAVES, 0);
                black_box(tree.root());
                tree
            },
            BatchSize::PerIteration,
        );
    });
    group.bench_function(format!("build/floor/leaves={LEAVES}"), |bencher| {
        bencher.iter(|| {
            for number in 0..LEAVES {
                black_box(key_digest(&number.to_le_bytes()));
                black_box(content(number).digest(&number.to_le_bytes()));
            }
            nodes(LEAVES - 1);
        });
    });
    group.sample_size(50);
    let mut some = tree(SOME, 0);
    let mut number = 0;
    group.bench_function(format!("update/leaves={SOME}"), |bencher| {
        bencher.iter(|| {
            number += 61_953;
            let key = number % SOME;
            some.insert(&key.to_le_bytes(), content(number))
                .expect("the record is within bounds");
            black_box(some.root())
        });
    });
    group.bench_function("update/floor/node_hash_x17", |bencher| {
        bencher.iter(|| nodes(17));
    });
    let (mut a, mut b) = (tree(SOME, 0), tree(SOME, 1));
    assert_eq!(diff(&mut a, &mut b).len() as u64, SOME / 100);
    group.bench_function(format!("diff/leaves={SOME}/changed=1%"), |bencher| {
        bencher.iter(|| black_box(diff(&mut a, &mut b)));
    });
    group.finish();
}

criterion_group!(benches, bound_tree);
criterion_main!(benches);
