//! `lock_commit/accounts=A,block=B`: pairs of LOCK and COMMIT, without the root. A block of LOCKs is
//! followed by the block that commits them.

mod common;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use polity_ledger::{Command, LockId};
use polity_types::{Amount, Seed, Time};

/// Pairs of blocks applied in a row to one ledger.
const PAIRS: u64 = 8;

fn lock_commit(c: &mut Criterion) {
    let mut group = c.benchmark_group("lock_commit");
    group.sample_size(10);
    for (accounts, size) in [(10_000, 8_192), (100_000, 8_192), (10_000, 1_000)] {
        let mut stream = Seed::from_number(4).stream();
        let amount = Amount::from_units(5);
        let mut blocks = Vec::new();
        for pair in 0..PAIRS {
            let locks = (0..size).map(|_| {
                let from = stream.below(accounts);
                let to = (from + 1 + stream.below(accounts - 1)) % accounts;
                Command::Lock {
                    from: common::address(from),
                    to: common::address(to),
                    amount,
                    expires: Time::from_millis(100_000 + stream.below(1_000_000)),
                }
            });
            let locks = common::block(2 * pair + 1, locks);
            let commits: Vec<_> = locks
                .iter()
                .map(|transaction| Command::Commit {
                    lock: LockId::derive(&transaction.id(), 0),
                    amount,
                })
                .collect();
            blocks.push(locks);
            blocks.push(common::block(2 * pair + 2, commits.into_iter()));
        }
        let ledger = common::ledger(accounts);
        group.throughput(Throughput::Elements(PAIRS * size));
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

criterion_group!(benches, lock_commit);
criterion_main!(benches);
