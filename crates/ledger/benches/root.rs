//! `root/.../block=B`: every part of the state root and the receipts root after a block of transfers
//! among 2^20 accounts, beside a floor that hashes the same number of leaves, nodes and ids once.

#![allow(clippy::disallowed_types, reason = "a benchmark measures time")]

mod common;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use polity_crypto::{Preimage, Sha256Digest, domain};
use polity_ledger::AccountView;
use polity_merkle::{leaf_hash, node_hash};
use polity_types::Seed;
use std::collections::BTreeSet;
use std::hint::black_box;
use std::time::{Duration, Instant};

const ACCOUNTS: u64 = 1 << 20;

/// Blocks applied in a row; every sample takes the next one.
const BLOCKS: u64 = 40;

fn root(c: &mut Criterion) {
    let mut group = c.benchmark_group("root");
    group.sample_size(10);
    let mut genesis = common::ledger(ACCOUNTS);
    genesis.root();
    for size in [1_000_u64, 8_192] {
        let mut stream = Seed::from_number(5).stream();
        let blocks: Vec<_> = (1..=BLOCKS)
            .map(|height| common::block(height, common::transfers(&mut stream, ACCOUNTS, size)))
            .collect();
        group.throughput(Throughput::Elements(size));

        // A fresh copy would be cold: the ledger goes on from block to block, as in life, and only
        // the roots are timed.
        let mut ledger = genesis.clone();
        let name = BenchmarkId::new("ledger", format!("block={size}"));
        group.bench_function(name, |b| {
            b.iter_custom(|count| {
                let mut total = Duration::ZERO;
                for _ in 0..count {
                    if ledger.height().get() == BLOCKS {
                        ledger = genesis.clone();
                    }
                    let block = &blocks[ledger.height().get() as usize];
                    let applied = common::apply(&mut ledger, block);
                    let start = Instant::now();
                    black_box((ledger.root(), applied.receipts_root()));
                    total += start.elapsed();
                }
                total
            });
        });

        let mut ledger = genesis.clone();
        let applied = common::apply(&mut ledger, &blocks[0]);
        let floor = Floor::new(&ledger, &applied);
        let name = BenchmarkId::new("floor", format!("block={size}"));
        group.bench_function(name, |b| b.iter(|| floor.hash()));
    }
    group.finish();
}

/// The least that any implementation hashes: each dirty leaf, each node above one, each receipt
/// and each new id, once. Everything to be hashed lies in memory in order.
struct Floor {
    leaves: Vec<Vec<u8>>,
    nodes: usize,
    receipts: Vec<Vec<u8>>,
    ids: Vec<u8>,
}

impl Floor {
    fn new(ledger: &polity_ledger::Ledger, applied: &polity_ledger::Applied) -> Self {
        let changed: Vec<(u64, AccountView)> = (0..)
            .zip(ledger.accounts())
            .filter(|(_, account)| account.changed == ledger.height())
            .collect();
        let mut nodes = 0;
        let mut level: BTreeSet<u64> = changed.iter().map(|(slot, _)| *slot).collect();
        for _ in 0..ACCOUNTS.ilog2() {
            level = level.iter().map(|node| node / 2).collect();
            nodes += level.len();
        }
        let leaves = changed
            .iter()
            .map(|(_, account)| {
                Preimage::new(domain::ACCOUNT)
                    .bytes(account.address.as_str().as_bytes())
                    .array(account.owner.as_bytes())
                    .u128(account.total.units())
                    .u128(account.locked.units())
                    .u32(account.outgoing_locks)
                    .u32(account.incoming_locks)
                    .u8(0)
                    .u64(account.changed.get())
                    .as_slice()
                    .to_vec()
            })
            .collect();
        let receipt = |receipt: &polity_ledger::Receipt| {
            Preimage::new(domain::RECEIPT)
                .array(receipt.id.as_bytes())
                .u64(receipt.height.get())
                .u32(receipt.index)
                .u128(receipt.fee.units())
                .u8(0)
                .u32(0)
                .u8(0)
                .as_slice()
                .to_vec()
        };
        Self {
            leaves,
            // A tree of n leaves has n - 1 nodes.
            nodes: nodes + applied.receipts.len() - 1,
            receipts: applied.receipts.iter().map(receipt).collect(),
            ids: vec![7; applied.receipts.len() * 45],
        }
    }

    fn hash(&self) -> Sha256Digest {
        for leaf in self.leaves.iter().chain(&self.receipts) {
            black_box(leaf_hash(leaf));
        }
        black_box(leaf_hash(&self.ids));
        let mut node = Sha256Digest::ZERO;
        for _ in 0..self.nodes {
            node = node_hash(&node, &Sha256Digest::ZERO);
        }
        node
    }
}

criterion_group!(benches, root);
criterion_main!(benches);
