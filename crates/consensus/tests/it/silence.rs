//! A replica whose host takes its keys away, because they ended (CR-7).

use crate::cluster::Cluster;
use polity_consensus::fbpbft::Config;
use polity_crypto::stub::{StubSigner, StubVerifier};
use polity_types::Height;
use rstest::rstest;

/// After each number of frames of a height, and for a leader as for another member: it signs nothing any
/// more (the machine would panic), the others go on, and it follows them.
#[rstest]
fn cr_7_a_replica_without_its_keys_falls_silent_wherever_it_is_and_follows(
    #[values(0, 1, 2, 3)] silent: usize,
) {
    for frames in 0..60 {
        let signers = (0..4).map(StubSigner::new).collect();
        let mut cluster = Cluster::new(signers, || StubVerifier, Config::default());
        cluster.settle_some(frames);
        cluster.nodes[silent].engine.retain_keys(|_| false);
        assert!(!cluster.nodes[silent].engine.machine().has_vote());
        let until = cluster.decided_by_all().get() + 6;
        let mut rounds = 0;
        while cluster.decided_by_all() < Height::new(until) {
            cluster.settle_some(200);
            cluster.advance();
            rounds += 1;
            assert!(rounds < 500, "no progress after {frames} frames");
        }
        let first = &cluster.nodes[(silent + 1) % 4].decided;
        let own = &cluster.nodes[silent].decided;
        for ((block, _), (same, _)) in own.iter().zip(first) {
            assert_eq!(block.digest(), same.digest(), "after {frames} frames");
        }
    }
}

#[test]
fn cr_7_a_replica_keeps_the_keys_that_are_good() {
    let signers = (0..4).map(StubSigner::new).collect();
    let mut cluster = Cluster::new(signers, || StubVerifier, Config::default());
    cluster.nodes[2].engine.retain_keys(|_| true);
    assert!(cluster.nodes[2].engine.machine().has_vote());
}
