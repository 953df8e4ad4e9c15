//! The case without faults.

use crate::cluster::Cluster;
use polity_consensus::fbpbft::{Config, VoteKind};
use polity_crypto::stub::{StubSigner, StubVerifier};
use polity_types::Height;
use rstest::rstest;

fn cluster(members: u64) -> Cluster<StubSigner, StubVerifier> {
    let signers = (0..members).map(StubSigner::new).collect();
    Cluster::new(signers, || StubVerifier, Config::default())
}

/// Delivers until everybody decided `height`, and not a frame further.
fn run_to(cluster: &mut Cluster<StubSigner, StubVerifier>, height: u64) {
    while cluster.decided_by_all() < Height::new(height) {
        let frame = cluster
            .network
            .pop_front()
            .expect("progress without timers");
        cluster.deliver(frame);
    }
}

#[rstest]
#[case(4, 27)]
#[case(7, 90)]
#[case(10, 189)]
fn fb_7_a_block_costs_as_many_messages_as_the_formula_says(
    #[case] members: u64,
    #[case] expected: u64,
) {
    let mut cluster = cluster(members);
    let blocks = 50;
    run_to(&mut cluster, blocks);
    // The leaders of the next heights may have begun; what they sent is counted and taken off.
    let in_flight_of_next = cluster.sent - blocks * expected;
    assert!(
        in_flight_of_next < expected,
        "{} messages for {blocks} blocks",
        cluster.sent
    );
    let first = &cluster.nodes[0].decided;
    for node in &cluster.nodes {
        for ((block, certificate), (same, _)) in node.decided.iter().zip(first) {
            assert_eq!(certificate.kind, VoteKind::Commit);
            assert_eq!(certificate.value.digest, block.digest());
            assert_eq!(block.digest(), same.digest());
        }
    }
}
