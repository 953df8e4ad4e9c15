//! Blocks per CPU-second over all replicas, with real Ed25519 and encoding, beside the floor that
//! the counted signatures and verifications set.
//!
//! `cargo bench -p polity-consensus --bench blocks` prints one row for each committee size. The
//! floor is measured in the same run: the price of one signature and one strict verification, times
//! what a block needs if only the votes that complete a quorum are verified. `bare` is the machine
//! alone: messages travel as they are, without codec and journal.
//!
//! `-- --members 4,7 --runs 1` measures some sizes, and each so many times.

#![allow(
    clippy::float_arithmetic,
    clippy::cast_precision_loss,
    reason = "figures for people"
)]

#[path = "../support/cluster.rs"]
mod cluster;

use cluster::Cluster;
use polity_consensus::fbpbft::Config;
use polity_consensus::quorum::Thresholds;
use polity_crypto::ed25519::{Ed25519Signer, Ed25519Verifier};
use polity_crypto::{Preimage, Signer, Verifier, domain};
use polity_types::{Height, Weight};

/// Seconds that this thread spent on a processor, so that other work on the machine does not count. The
/// kernel keeps this number by the tick, so only spans of many milliseconds mean anything.
fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    let nanos = text.split(' ').next().expect("three numbers");
    nanos.parse::<f64>().expect("a number") / 1e9
}

fn signers(members: u8) -> Vec<Ed25519Signer> {
    (0..members)
        .map(|member| Ed25519Signer::from_seed(&[member + 1; 32]))
        .collect()
}

/// Microseconds of one signature and one verification: the median of several rounds.
fn unit_prices() -> (f64, f64) {
    let signer = Ed25519Signer::from_seed(&[9; 32]);
    let verifier = Ed25519Verifier::with_keys([signer.public_key()]);
    let preimage = Preimage::new(domain::TEST).array(&[7; 160]);
    let signature = signer.sign(&preimage);
    let best = |work: &dyn Fn()| {
        let mut rounds: Vec<f64> = (0..5)
            .map(|_| {
                let start = cpu_seconds();
                (0..5_000).for_each(|_| work());
                (cpu_seconds() - start) * 1e6 / 5_000.0
            })
            .collect();
        rounds.sort_by(f64::total_cmp);
        rounds[2]
    };
    let sign = best(&|| {
        std::hint::black_box(signer.sign(&preimage));
    });
    let verify = best(&|| {
        verifier
            .verify(signer.public_key(), &preimage, &signature)
            .expect("own signature");
    });
    (sign, verify)
}

/// Blocks per CPU-second of one thread that plays all replicas.
fn blocks_per_second(members: u8, is_bare: bool, blocks: u64) -> (f64, f64, f64) {
    let signers = signers(members);
    let keys: Vec<_> = signers.iter().map(|s| s.public_key().clone()).collect();
    let mut cluster = Cluster::new(
        signers,
        || Ed25519Verifier::with_keys(&keys),
        Config::default(),
    );
    cluster.is_bare = is_bare;
    let run_to = |cluster: &mut Cluster<_, _>, height: u64| {
        while cluster.decided_by_all() < Height::new(height) {
            let frame = cluster.network.pop_front().expect("progress");
            cluster.deliver(frame);
        }
    };
    run_to(&mut cluster, 5);
    let checked = |cluster: &Cluster<Ed25519Signer, Ed25519Verifier>| -> u64 {
        cluster
            .nodes
            .iter()
            .map(|node| node.engine.machine().signatures_checked())
            .sum()
    };
    let (before, sent) = (checked(&cluster), cluster.sent);
    let start = cpu_seconds();
    run_to(&mut cluster, 5 + blocks);
    let seconds = cpu_seconds() - start;
    let verifications = (checked(&cluster) - before) as f64 / blocks as f64;
    let messages = (cluster.sent - sent) as f64 / blocks as f64;
    (blocks as f64 / seconds, verifications, messages)
}

/// Committee sizes and the number of runs, from the command line.
fn arguments() -> (Vec<u8>, usize) {
    let arguments: Vec<String> = std::env::args().collect();
    let value = |name: &str| {
        let place = arguments.iter().position(|argument| argument == name)?;
        arguments.get(place + 1)
    };
    let sizes = value("--members").map(|list| {
        let sizes = list.split(',').map(|size| size.parse().expect("a number"));
        sizes.collect()
    });
    let runs = value("--runs").map(|runs| runs.parse().expect("a number"));
    (sizes.unwrap_or_else(|| vec![4, 7, 10]), runs.unwrap_or(5))
}

fn main() {
    let (sign, verify) = unit_prices();
    println!("one signature {sign:.1} us, one strict verification {verify:.1} us");
    println!(
        "{:>3} {:>9} {:>12} {:>7} {:>12} {:>12} {:>12} {:>10}",
        "N", "messages", "verified", "needed", "bare/s", "blocks/s", "floor", "of floor"
    );
    let (sizes, count) = arguments();
    for members in sizes {
        let n = f64::from(members);
        let thresholds = Thresholds::new(Weight::new(u64::from(members)));
        let quorum = thresholds.quorum().get() as f64;
        // Each replica signs two votes and checks the others' votes of two quorums; all but the
        // leader also check the PRE-PREPARE, which the leader signs.
        let needed = n * 2.0 * (quorum - 1.0) + (n - 1.0);
        let floor = 1e6 / ((2.0 * n + 1.0) * sign + needed * verify);
        let middle = |is_bare: bool| {
            let mut runs: Vec<(f64, f64, f64)> = (0..count)
                .map(|_| blocks_per_second(members, is_bare, 300))
                .collect();
            runs.sort_by(|a, b| a.0.total_cmp(&b.0));
            runs[count / 2]
        };
        let (bare, ..) = middle(true);
        let (rate, verified, messages) = middle(false);
        println!(
            "{members:>3} {messages:>9.1} {verified:>12.1} {needed:>7.0} {bare:>12.0} {rate:>12.0} {floor:>12.0} {:>10.2}",
            rate / floor
        );
    }
}
