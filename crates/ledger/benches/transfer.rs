//! `transfer/accounts=A,block=B`: plain transfers between random accounts, without the root.

mod common;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use polity_types::Seed;

/// Blocks applied in a row to one ledger, so that the state is warm and ids accumulate.
const BLOCKS: u64 = 16;

fn transfer(c: &mut Criterion) {
    let mut group = c.benchmark_group("transfer");
    group.sample_size(10);
    for (accounts, size) in [
        (10_000, 8_192),
        (100_000, 8_192),
        (1_000_000, 8_192),
        (10_000, 1_000),
    ] {
        let mut stream = Seed::from_number(3).stream();
        let blocks: Vec<_> = (1..=BLOCKS)
            .map(|height| common::block(height, common::transfers(&mut stream, accounts, size)))
            .collect();
        let ledger = common::ledger(accounts);
        group.throughput(Throughput::Elements(BLOCKS * size));
        let name = BenchmarkId::from_parameter(format!("accounts={accounts},block={size}"));
        group.bench_function(name, |b| {
            b.iter_batched_ref(
                || ledger.clone(),
                |ledger| {
                    for block in &blocks {
                        common::apply(ledger, block);
                    }
                },
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, transfer);
criterion_main!(benches);
