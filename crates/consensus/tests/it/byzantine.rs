//! A faulty leader among honest replicas.

use crate::cluster::{Cluster, genesis_tip};
use crate::forge;
use polity_consensus::fbpbft::{Config, Evidence, Message};
use polity_crypto::stub::{StubSigner, StubVerifier};
use polity_types::ReplicaId;
use rstest::rstest;
use std::collections::BTreeSet;

/// The leader of height 1 sends one block to some and another to the rest, and nothing more. The
/// honest replicas decide one block all the same, and everybody learns who did it.
#[rstest]
#[case::n4(4, 2)]
#[case::w8_n6(6, 3)]
#[case::w8_n6_two_against_three(6, 2)]
#[case::n7(7, 4)]
#[case::w8_n20(20, 10)]
fn w8_an_equivocating_leader_forks_nobody_and_is_named(
    #[case] members: u64,
    #[case] first_group: usize,
) {
    let signers = (0..members).map(StubSigner::new).collect();
    let mut cluster = Cluster::new(signers, || StubVerifier, Config::default());
    let chain = cluster.chain().clone();
    let leader = forge::leader(&chain, 1, 0);
    let faulty = leader.get() as usize;
    cluster.nodes[faulty].is_down = true;
    cluster.network.clear();
    let tip = genesis_tip(&chain);
    let blocks = [
        forge::block(&chain, &tip, 0, 0),
        forge::block(&chain, &tip, 0, 1),
    ];
    let honest: Vec<usize> = (0..members as usize).filter(|id| *id != faulty).collect();
    for (place, id) in honest.iter().enumerate() {
        let block = &blocks[usize::from(place >= first_group)];
        cluster.receive(
            *id,
            leader,
            Message::Proposal(forge::proposal(&chain, block)),
        );
    }
    // Somebody also hears the other half of the story.
    let other = forge::proposal(&chain, &blocks[1]);
    cluster.receive(honest[0], leader, Message::Proposal(other));
    for _ in 0..50 {
        cluster.settle_some(10_000);
        if honest
            .iter()
            .all(|id| cluster.nodes[*id].decided.len() >= 3)
        {
            break;
        }
        cluster.advance();
    }
    for height in 0..3 {
        let digests: BTreeSet<_> = honest
            .iter()
            .map(|id| cluster.nodes[*id].decided[height].0.digest())
            .collect();
        assert_eq!(digests.len(), 1, "one block at height {}", height + 1);
    }
    let named: BTreeSet<ReplicaId> = honest
        .iter()
        .flat_map(|id| &cluster.nodes[*id].decided)
        .flat_map(|(block, _)| &block.body().evidence)
        .map(|piece| {
            assert!(matches!(piece, Evidence::TwoProposals(..)));
            piece.accused(&chain)
        })
        .collect();
    assert_eq!(named, BTreeSet::from([leader]), "evidence reached a block");
}
