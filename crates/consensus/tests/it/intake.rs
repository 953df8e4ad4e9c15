//! FB-12 and section 8: what is verified, when, and what is kept until then.

use crate::cluster::{Cluster, genesis_tip};
use crate::forge;
use polity_consensus::fbpbft::{Config, DropReason, Message, Value, Vote, VoteKind};
use polity_crypto::stub::{StubSigner, StubVerifier};
use polity_crypto::{Sha256Digest, Signature};
use polity_types::ReplicaId;
use rstest::rstest;

/// A committee of four of which only replica 3 is real, and the leader of view 0 is another.
fn stage() -> (Cluster<StubSigner, StubVerifier>, usize, Vec<u32>) {
    let signers = (0..4).map(StubSigner::new).collect();
    let mut cluster = Cluster::new(signers, || StubVerifier, Config::default());
    let leader = forge::leader(cluster.chain(), 1, 0).get();
    let real = (0..4).find(|id| *id != leader).expect("three follow") as usize;
    for (index, node) in cluster.nodes.iter_mut().enumerate() {
        node.is_down = index != real;
    }
    cluster.network.clear();
    // The leader first.
    let mut others: Vec<u32> = (0..4).filter(|id| *id as usize != real).collect();
    others.sort_by_key(|id| *id != leader);
    (cluster, real, others)
}

fn checked(cluster: &Cluster<StubSigner, StubVerifier>, real: usize) -> u64 {
    cluster.nodes[real].engine.machine().signatures_checked()
}

fn prepare(cluster: &Cluster<StubSigner, StubVerifier>, value: Value, id: u32) -> Vote {
    let id = ReplicaId::new(id);
    forge::vote(cluster.chain(), VoteKind::Prepare, (1, 0), value, id)
}

fn propose(cluster: &mut Cluster<StubSigner, StubVerifier>, real: usize, leader: u32) -> Value {
    let chain = cluster.chain().clone();
    let block = forge::block(&chain, &genesis_tip(&chain), 0, 0);
    let proposal = forge::proposal(&chain, &block);
    cluster.receive(real, ReplicaId::new(leader), Message::Proposal(proposal));
    Value::of_block(block.digest())
}

fn commits(cluster: &mut Cluster<StubSigner, StubVerifier>, real: usize) -> usize {
    cluster
        .outbox(real)
        .iter()
        .filter(|m| matches!(m, Message::Vote(v) if v.kind == VoteKind::Commit))
        .count()
}

#[test]
fn fb_12_only_what_completes_a_quorum_is_verified() {
    let (mut cluster, real, others) = stage();
    let value = propose(&mut cluster, real, others[0]);
    assert_eq!(checked(&cluster, real), 1, "the PRE-PREPARE");
    let first = prepare(&cluster, value, others[0]);
    cluster.receive(real, first.signer, Message::Vote(first.clone()));
    assert_eq!(checked(&cluster, real), 1, "one vote completes nothing");
    let second = prepare(&cluster, value, others[1]);
    cluster.receive(real, second.signer, Message::Vote(second));
    assert_eq!(checked(&cluster, real), 3, "two votes and our own do");
    assert_eq!(commits(&mut cluster, real), 1);
    let third = prepare(&cluster, value, others[2]);
    cluster.receive(real, third.signer, Message::Vote(third));
    assert_eq!(checked(&cluster, real), 3, "a late one is not needed");
}

/// Reordering alone: the votes come before the proposal, and one member is silent. Our own vote
/// then completes the quorum, so it has to wake the votes that wait.
#[test]
fn w3_votes_that_came_before_the_proposal_count_when_it_is_here() {
    let (mut cluster, real, others) = stage();
    let chain = cluster.chain().clone();
    let block = forge::block(&chain, &genesis_tip(&chain), 0, 0);
    let value = Value::of_block(block.digest());
    for id in [others[0], others[1]] {
        for kind in [VoteKind::Commit, VoteKind::Prepare] {
            let vote = forge::vote(&chain, kind, (1, 0), value, ReplicaId::new(id));
            cluster.receive(real, ReplicaId::new(id), Message::Vote(vote));
        }
    }
    assert_eq!(checked(&cluster, real), 0);
    assert_eq!(propose(&mut cluster, real, others[0]), value);
    assert_eq!(commits(&mut cluster, real), 1);
    assert_eq!(cluster.nodes[real].decided.len(), 1, "three COMMITs decide");
}

#[test]
fn r11_a_junk_signature_that_comes_first_keeps_nobody_out() {
    let (mut cluster, real, others) = stage();
    let value = propose(&mut cluster, real, others[0]);
    let honest = prepare(&cluster, value, others[1]);
    let junk = Vote {
        signature: Signature::new(&[7; 64]),
        ..honest.clone()
    };
    cluster.receive(real, honest.signer, Message::Vote(junk));
    cluster.receive(real, honest.signer, Message::Vote(honest));
    let last = prepare(&cluster, value, others[2]);
    cluster.receive(real, last.signer, Message::Vote(last));
    assert_eq!(commits(&mut cluster, real), 1);
    let failures = cluster.nodes[real]
        .engine
        .intake()
        .failures(ReplicaId::new(others[1]));
    assert_eq!(failures, 1, "and the link is blamed");
}

#[test]
fn r10_forged_votes_over_another_link_take_no_slot() {
    let (mut cluster, real, others) = stage();
    let value = propose(&mut cluster, real, others[0]);
    let victim = ReplicaId::new(others[1]);
    let forged = Vote {
        signature: Signature::new(&[7; 64]),
        ..prepare(
            &cluster,
            Value::of_block(Sha256Digest::new([3; 32])),
            others[1],
        )
    };
    let adversary = ReplicaId::new(others[2]);
    cluster.receive(real, adversary, Message::Vote(forged));
    assert_eq!(cluster.nodes[real].engine.intake().bytes(victim), 0);
    assert_eq!(cluster.nodes[real].engine.intake().bytes(adversary), 0);
    assert_eq!(cluster.nodes[real].engine.intake().failures(adversary), 1);
    for id in [others[0], others[1]] {
        let vote = prepare(&cluster, value, id);
        cluster.receive(real, vote.signer, Message::Vote(vote));
    }
    assert_eq!(commits(&mut cluster, real), 1);
}

#[test]
fn fb_12_a_relayed_vote_counts_once_it_is_verified() {
    let (mut cluster, real, others) = stage();
    let value = propose(&mut cluster, real, others[0]);
    let relay = ReplicaId::new(others[0]);
    for id in [others[1], others[2]] {
        let vote = prepare(&cluster, value, id);
        cluster.receive(real, relay, Message::Vote(vote));
    }
    assert_eq!(commits(&mut cluster, real), 1);
}

#[test]
fn fb_16_a_contradiction_is_checked_at_once() {
    let (mut cluster, real, others) = stage();
    let double = |cluster: &Cluster<_, _>, number| {
        let value = Value::of_block(Sha256Digest::new([number; 32]));
        prepare(cluster, value, others[1])
    };
    let (a, b) = (double(&cluster, 1), double(&cluster, 2));
    cluster.receive(real, a.signer, Message::Vote(a.clone()));
    assert_eq!(checked(&cluster, real), 0);
    cluster.receive(real, b.signer, Message::Vote(b));
    assert_eq!(cluster.nodes[real].engine.machine().evidence_waiting(), 1);
}

/// One vote waits, its contradiction comes through another member, in either order.
#[rstest]
#[case::it_waits_first([false, true])]
#[case::it_comes_later([true, false])]
fn fb_16_a_contradiction_that_was_relayed_is_evidence(#[case] is_relayed: [bool; 2]) {
    let (mut cluster, real, others) = stage();
    let liar = ReplicaId::new(others[1]);
    for (number, is_relayed) in (1..).zip(is_relayed) {
        let value = Value::of_block(Sha256Digest::new([number; 32]));
        let vote = prepare(&cluster, value, others[1]);
        let link = if is_relayed {
            ReplicaId::new(others[2])
        } else {
            liar
        };
        cluster.receive(real, link, Message::Vote(vote));
    }
    let node = &cluster.nodes[real].engine;
    assert_eq!(node.machine().evidence_waiting(), 1);
    assert_eq!(node.intake().bytes(liar), 0);
}

/// What waits in the place of a real vote that is relayed gives way, and its link is blamed.
#[test]
fn r11_a_relayed_vote_clears_the_junk_that_waits_in_its_place() {
    let (mut cluster, real, others) = stage();
    let value = propose(&mut cluster, real, others[0]);
    let other = Value::of_block(Sha256Digest::new([3; 32]));
    let junk = Vote {
        signature: Signature::new(&[7; 64]),
        ..prepare(&cluster, other, others[1])
    };
    cluster.receive(real, junk.signer, Message::Vote(junk));
    let vote = prepare(&cluster, value, others[1]);
    cluster.receive(real, ReplicaId::new(others[2]), Message::Vote(vote));
    let intake = cluster.nodes[real].engine.intake();
    assert_eq!(intake.failures(ReplicaId::new(others[1])), 1);
    assert_eq!(intake.failures(ReplicaId::new(others[2])), 0);
    assert_eq!(intake.bytes(ReplicaId::new(others[1])), 0);
    let last = prepare(&cluster, value, others[2]);
    cluster.receive(real, last.signer, Message::Vote(last));
    assert_eq!(commits(&mut cluster, real), 1);
}

#[test]
fn fb_12_a_sender_fills_its_own_slots_and_no_more() {
    let (mut cluster, real, others) = stage();
    let chain = cluster.chain().clone();
    let flooder = ReplicaId::new(others[1]);
    let value = Value::of_block(Sha256Digest::new([3; 32]));
    for height in 1..200 {
        for view in 0..100 {
            let vote = forge::vote(&chain, VoteKind::Commit, (height, view), value, flooder);
            cluster.receive(real, flooder, Message::Vote(vote));
        }
    }
    let config = Config::default();
    let slots = (config.heights_ahead_max + 1) * (config.views_ahead_max + 1);
    let bytes = cluster.nodes[real].engine.intake().bytes(flooder);
    assert!(
        bytes <= slots as usize * 160,
        "{bytes} bytes in {slots} slots"
    );
    assert!(bytes <= config.bytes_per_sender_max);
    let drops = cluster.nodes[real].engine.machine().drops();
    assert!(drops[&DropReason::Ahead] > 10_000);
    // It costs nobody else: the height is decided without the flooder.
    let value = propose(&mut cluster, real, others[0]);
    for id in [others[0], others[2]] {
        let vote = prepare(&cluster, value, id);
        cluster.receive(real, vote.signer, Message::Vote(vote));
    }
    assert_eq!(commits(&mut cluster, real), 1);
}

#[test]
fn strangers_and_impostors_are_dropped() {
    let (mut cluster, real, others) = stage();
    let value = Value::of_block(Sha256Digest::new([3; 32]));
    let vote = prepare(&cluster, value, others[0]);
    for link in [99, real as u32] {
        cluster.receive(real, ReplicaId::new(link), Message::Vote(vote.clone()));
    }
    let drops = cluster.nodes[real].engine.machine().drops();
    assert_eq!(drops[&DropReason::Stranger], 2);
    assert_eq!(checked(&cluster, real), 0);
}
