//! FB-14, FB-19: hearing how far others are, and fetching.

use crate::cluster::Cluster;
use crate::forge;
use polity_consensus::fbpbft::{Config, EngineInput, Message, Status, Value, VoteKind};
use polity_crypto::Sha256Digest;
use polity_crypto::stub::{StubSigner, StubVerifier};
use polity_types::{Height, ReplicaId, Time, View};
use std::time::Duration;

type Committee = Cluster<StubSigner, StubVerifier>;

fn cluster() -> Committee {
    let signers = (0..4).map(StubSigner::new).collect();
    Cluster::new(signers, || StubVerifier, Config::default())
}

fn status(height: u64) -> Message {
    Message::Status(Status {
        height: Height::new(height),
        view: View::ZERO,
        last_decided: Sha256Digest::ZERO,
    })
}

/// Lets time pass without a tick.
fn later(cluster: &mut Committee, millis: u64) {
    cluster.now = cluster.now.saturating_add(Duration::from_millis(millis));
}

/// FB-14: who comes back hears at once how far others are; an answer has no answer.
#[test]
fn fb_14_a_lower_status_is_answered() {
    let mut cluster = cluster();
    while cluster.nodes[0].decided.len() < 3 {
        cluster.settle_some(1);
    }
    cluster.network.clear();
    let height = cluster.nodes[0].decided.len() as u64 + 1;
    let answers = |cluster: &mut Committee, from: u32, theirs: u64| -> Vec<u64> {
        cluster.receive(0, ReplicaId::new(from), status(theirs));
        let sent: Vec<_> = cluster.network.drain(..).collect();
        assert!(sent.iter().all(|frame| frame.to == ReplicaId::new(from)));
        let limit = cluster.config.message_bytes_max();
        let heights = sent.iter().map(|frame| {
            match polity_types::wire::decode(&frame.bytes, limit).unwrap() {
                Message::Status(status) => status.height.get(),
                other => panic!("{other:?}"),
            }
        });
        heights.collect()
    };
    let nothing: [u64; 0] = [];
    // Nobody who is as far, or farther, or a message behind.
    for theirs in [height - 1, height, height + 1, 1_000_000_000] {
        assert_eq!(answers(&mut cluster, 1, theirs), nothing, "{theirs}");
    }
    assert_eq!(answers(&mut cluster, 1, 1), [height]);
    // Each peer once in a while.
    assert_eq!(answers(&mut cluster, 1, 1), nothing);
    assert_eq!(answers(&mut cluster, 2, 1), [height]);
    later(&mut cluster, 499);
    assert_eq!(answers(&mut cluster, 1, 1), nothing);
    later(&mut cluster, 1);
    assert_eq!(answers(&mut cluster, 1, 1), [height]);
}

/// FB-14, FB-19: the block of the own height is asked for at every try, while others are ahead and a
/// snapshot comes.
#[test]
fn fb_19_a_block_without_which_it_cannot_go_on_is_asked_for_while_a_snapshot_comes() {
    let mut cluster = cluster();
    let leader = forge::leader(cluster.chain(), 1, 0);
    let replica = (0..4_u32).find(|id| *id != leader.get()).unwrap() as usize;
    for (index, node) in cluster.nodes.iter_mut().enumerate() {
        node.is_down = index != replica;
    }
    cluster.network.clear();
    // The others decided a block that it never saw.
    let tip = crate::cluster::genesis_tip(cluster.chain());
    let block = forge::block(cluster.chain(), &tip, 0, 7);
    let value = Value::of_block(block.digest());
    for id in (0..4).map(ReplicaId::new) {
        if id.get() as usize != replica {
            let vote = forge::vote(cluster.chain(), VoteKind::Commit, (1, 0), value, id);
            cluster.receive(replica, id, Message::Vote(vote));
            cluster.receive(replica, id, status(1_000));
        }
    }
    cluster.input(replica, EngineInput::FetchPaused(true));
    cluster.outbox(replica);
    let end = cluster.now.saturating_add(Duration::from_secs(5));
    let mut asked: Vec<Time> = Vec::new();
    while cluster.now < end {
        cluster.advance();
        for message in cluster.outbox(replica) {
            match message {
                Message::FetchBlock { height, digest } => {
                    assert_eq!((height, digest), (Height::new(1), block.digest()));
                    asked.push(cluster.now);
                }
                Message::FetchDecided { .. } => panic!("decisions come as a snapshot"),
                _ => {}
            }
        }
    }
    // Every half second.
    assert!(asked.len() >= 9, "{asked:?}");
    // When there is no snapshot, decisions are asked for as well.
    cluster.input(replica, EngineInput::FetchPaused(false));
    let mut is_asked = false;
    while !is_asked {
        cluster.advance();
        let sent = cluster.outbox(replica);
        is_asked = sent
            .iter()
            .any(|message| matches!(message, Message::FetchDecided { .. }));
        assert!(cluster.now < end.saturating_add(Duration::from_secs(5)));
    }
}
