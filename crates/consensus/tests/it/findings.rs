//! Schedules that a review found to break an earlier form of this crate. Each failed once.

use crate::cluster::{Cluster, genesis_tip, keys, state_after};
use crate::forge;
use polity_consensus::fbpbft::{
    Body, Chain, Config, DropReason, Effect, EngineInput, Evidence, Machine, Message,
    NewViewProposal, Parent, Record, Roots, SealedBlock, Tip, TransactionBytes, Value, VoteKind,
};
use polity_crypto::stub::{StubSigner, StubVerifier};
use polity_crypto::{Checker, Sha256Digest, Verified};
use polity_types::{Height, ReplicaId, StateMachine, wire};

type Committee = Cluster<StubSigner, StubVerifier>;

fn cluster(members: u64) -> Committee {
    let signers = (0..members).map(StubSigner::new).collect();
    Cluster::new(signers, || StubVerifier, Config::default())
}

/// A committee of which only one replica is real.
fn lone(members: u64, real: usize) -> (Committee, Vec<u32>) {
    let mut cluster = cluster(members);
    for (index, node) in cluster.nodes.iter_mut().enumerate() {
        node.is_down = index != real;
    }
    cluster.network.clear();
    let others = (0..members as u32)
        .filter(|id| *id as usize != real)
        .collect();
    (cluster, others)
}

/// A first block with one transaction, whose last byte plays the signature.
fn block_with(chain: &Chain, signature: u8) -> SealedBlock {
    let base = forge::block(chain, &genesis_tip(chain), 0, 0);
    let body = Body {
        transactions: vec![TransactionBytes::new(vec![7, 7, signature])],
        ..base.body().clone()
    };
    SealedBlock::build(chain, base.header().clone(), body).expect("a transaction")
}

/// Runs four replicas until one of them has everything of height 2 except the block of height 1,
/// which then comes: deciding 1 and preparing 2 happen at once.
fn late_block() -> (Committee, usize) {
    let mut cluster = cluster(4);
    let leaders = [1, 2].map(|height| forge::leader(cluster.chain(), height, 0));
    let victim = (0..4_u32)
        .find(|id| !leaders.contains(&ReplicaId::new(*id)))
        .expect("two of four do not lead");
    let limit = cluster.config.message_bytes_max();
    let mut late = None;
    let (mut has_proposal, mut prepares) = (false, 0);
    while !(has_proposal && prepares == 3) {
        let frame = cluster.network.pop_front().expect("progress");
        if frame.to.get() == victim {
            match wire::decode::<Message>(&frame.bytes, limit).expect("sent") {
                Message::Proposal(p) if p.pre_prepare.height == Height::new(1) => {
                    late = Some(frame);
                    continue;
                }
                Message::Decided(_) | Message::Block(_) => continue,
                Message::Proposal(p) => has_proposal |= p.pre_prepare.height == Height::new(2),
                Message::Vote(v) if v.kind == VoteKind::Prepare => {
                    prepares += u32::from(v.height == Height::new(2));
                }
                _ => {}
            }
        }
        cluster.deliver(frame);
    }
    cluster.network.clear();
    cluster.deliver(late.expect("it was held back"));
    (cluster, victim as usize)
}

#[test]
fn fb_6_the_certificate_is_durable_before_the_commit_even_across_heights() {
    let (cluster, victim) = late_block();
    let journal = &cluster.nodes[victim].journal;
    let place = |wanted: fn(&Record) -> bool| {
        journal
            .iter()
            .position(|record| record.height() == Height::new(2) && wanted(record))
            .expect("height 2 is prepared and committed")
    };
    let prepared = place(|record| matches!(record, Record::Prepared(_)));
    let committed = place(|record| matches!(record, Record::CommitSent { .. }));
    assert!(prepared < committed);
}

#[test]
fn fb_15_a_journal_with_a_commit_and_no_certificate_is_refused() {
    let (cluster, victim) = late_block();
    let node = &cluster.nodes[victim];
    let records = node
        .journal
        .iter()
        .filter(|record| !matches!(record, Record::Prepared(_)))
        .cloned();
    let (block, certificate) = node.decided[0].clone();
    let tip = Tip {
        parent: Parent {
            height: Height::new(1),
            digest: block.digest(),
            timestamp: block.header().timestamp,
        },
        certificate: Some(certificate),
        roots: Roots {
            height: Height::new(1),
            application: state_after(&block.digest()),
            receipts: polity_merkle::empty_root(),
        },
        is_unrecorded: true,
    };
    let restored = Machine::restore(
        cluster.config.clone(),
        cluster.chain().clone(),
        keys(victim),
        StubVerifier,
        tip,
        records,
    );
    assert!(restored.is_err());
}

#[test]
fn fb_16_an_offence_too_long_for_a_block_stops_nobody() {
    let mut cluster = cluster(4);
    let chain = cluster.chain().clone();
    let faulty = forge::leader(&chain, 1, 3);
    let junk = forge::view_change(&chain, (1, 3), None, faulty.get());
    let parts = vec![junk.clone(); 2_200_000 / wire::encoded_len(&junk)];
    let block = forge::block(&chain, &genesis_tip(&chain), 3, 0);
    let pre_prepare = forge::pre_prepare(&chain, &block, 3);
    let new_view = forge::new_view(&chain, (1, 3), parts, pre_prepare);
    let evidence = Message::Evidence(Evidence::UnjustifiedNewView(Box::new(new_view)));
    cluster.nodes[faulty.get() as usize].is_down = true;
    let honest: Vec<usize> = (0..4).filter(|id| *id != faulty.get() as usize).collect();
    for id in &honest {
        cluster.receive(*id, faulty, evidence.clone());
        cluster.input(*id, EngineInput::WorkPending(true));
    }
    for _ in 0..100 {
        cluster.settle_some(200);
        cluster.advance();
    }
    for id in honest {
        assert!(cluster.nodes[id].decided.len() >= 10);
        assert_eq!(cluster.nodes[id].engine.machine().evidence_waiting(), 0);
    }
}

#[test]
fn fb_16_an_early_certificate_does_not_frame_an_honest_leader() {
    let chain = cluster(4).chain().clone();
    let real = forge::leader(&chain, 1, 1).get() as usize;
    let (mut cluster, others) = lone(4, real);
    let block = forge::block(&chain, &genesis_tip(&chain), 0, 0);
    let first = forge::leader(&chain, 1, 0);
    cluster.receive(
        real,
        first,
        Message::Proposal(forge::proposal(&chain, &block)),
    );
    // The others are in view 2, where the block was proposed again; their PREPAREs come first.
    let value = Value {
        digest: block.digest(),
        new_view: Sha256Digest::new([5; 32]),
    };
    for id in &others {
        let id = ReplicaId::new(*id);
        let vote = forge::vote(&chain, VoteKind::Prepare, (1, 2), value, id);
        cluster.receive(real, id, Message::Vote(vote));
    }
    // Their older VIEW-CHANGEs come late.
    for id in &others[..2] {
        let view_change = forge::view_change(&chain, (1, 1), None, *id);
        cluster.receive(real, ReplicaId::new(*id), Message::ViewChange(view_change));
    }
    let mut checker = Checker::new(StubVerifier, 0);
    let mut view_changes = 0;
    for message in cluster.outbox(real) {
        if let Message::NewView(NewViewProposal { new_view, .. }) = message {
            let evidence = Evidence::UnjustifiedNewView(Box::new(new_view));
            assert!(Verified::check(evidence, &chain, &mut checker).is_err());
        } else if let Message::ViewChange(_) = message {
            view_changes += 1;
            assert!(Verified::check(message, &chain, &mut checker).is_ok());
        }
    }
    assert!(view_changes > 0);
}

#[test]
fn fb_10_a_body_that_was_voted_for_is_served_however_many_views_pass() {
    let chain = cluster(4).chain().clone();
    let first_leader = forge::leader(&chain, 1, 0);
    let real = (0..4).find(|id| *id != first_leader.get()).expect("three") as usize;
    let (mut cluster, others) = lone(4, real);
    let first = forge::block(&chain, &genesis_tip(&chain), 0, 0);
    let proposal = forge::proposal(&chain, &first);
    cluster.receive(real, first_leader, Message::Proposal(proposal));
    for view in 1..45 {
        let leader = forge::leader(&chain, 1, view);
        if leader.get() as usize == real {
            continue;
        }
        let block = forge::block(&chain, &genesis_tip(&chain), view, 0);
        let parts = others
            .iter()
            .map(|id| forge::view_change(&chain, (1, view), None, *id))
            .collect();
        let pre_prepare = forge::pre_prepare(&chain, &block, view);
        let proposal = NewViewProposal {
            new_view: forge::new_view(&chain, (1, view), parts, pre_prepare),
            block: block.block().clone(),
        };
        cluster.receive(real, leader, Message::NewView(proposal));
    }
    assert!(cluster.nodes[real].engine.machine().view().get() >= 43);
    cluster.outbox(real);
    let fetch = Message::FetchBlock {
        height: Height::new(1),
        digest: first.digest(),
    };
    cluster.receive(real, ReplicaId::new(others[0]), fetch);
    let answer = Message::Block(first.block().clone());
    assert_eq!(cluster.outbox(real), [answer]);
}

#[test]
fn fb_10_a_fetched_body_with_other_signatures_is_not_proposed_again() {
    let chain = cluster(4).chain().clone();
    let real = forge::leader(&chain, 1, 1).get() as usize;
    let (mut cluster, others) = lone(4, real);
    let (good, junk) = (block_with(&chain, 0), block_with(&chain, 9));
    assert_eq!(good.digest(), junk.digest());
    let value = Value::of_block(good.digest());
    let certificate = forge::certificate(&chain, VoteKind::Prepare, (1, 0), value, &others);
    for id in &others {
        let part = forge::view_change(&chain, (1, 1), Some(certificate.clone()), *id);
        cluster.receive(real, ReplicaId::new(*id), Message::ViewChange(part));
    }
    let is_fetch = |message: &Message| matches!(message, Message::FetchBlock { .. });
    assert!(cluster.outbox(real).iter().any(is_fetch));
    // A faulty holder answers, and then an honest one.
    let proposed = |cluster: &mut Committee| {
        cluster
            .outbox(real)
            .into_iter()
            .find_map(|message| match message {
                Message::NewView(proposal) => Some(proposal.block),
                _ => None,
            })
    };
    let answer = |block: &SealedBlock| Message::Block(block.block().clone());
    cluster.receive(real, ReplicaId::new(others[0]), answer(&junk));
    assert_eq!(proposed(&mut cluster), None);
    cluster.receive(real, ReplicaId::new(others[1]), answer(&good));
    assert_eq!(proposed(&mut cluster).as_ref(), Some(good.block()));
}

#[test]
fn fb_12_copies_of_a_refused_proposal_are_not_judged_again() {
    let chain = cluster(4).chain().clone();
    let leader = forge::leader(&chain, 1, 0);
    let real = (0..4).find(|id| *id != leader.get()).expect("three") as usize;
    let (mut cluster, others) = lone(4, real);
    let relay = others.iter().find(|id| **id != leader.get()).expect("two");
    let bad = forge::proposal(&chain, &block_with(&chain, 1));
    for link in [ReplicaId::new(*relay), leader] {
        for _ in 0..50 {
            cluster.receive(real, link, Message::Proposal(bad.clone()));
        }
    }
    let drops = cluster.nodes[real].engine.machine().drops();
    assert_eq!(drops[&DropReason::Refused], 1);
    // A relay may have changed what the leader sent, so the leader is heard again after a while.
    cluster.now = cluster.now.saturating_add(cluster.config.retransmit_after);
    let good = forge::proposal(&chain, &block_with(&chain, 0));
    cluster.receive(real, leader, Message::Proposal(good));
    let is_vote = |message: &Message| matches!(message, Message::Vote(_));
    assert!(cluster.outbox(real).iter().any(is_vote));
}

#[test]
fn fb_12_a_vote_that_also_came_through_a_relay_is_not_expected_twice() {
    let chain = cluster(7).chain().clone();
    let leader = forge::leader(&chain, 1, 0);
    let real = (0..7).find(|id| *id != leader.get()).expect("six") as usize;
    let (mut cluster, others) = lone(7, real);
    let members: Vec<u32> = others
        .iter()
        .copied()
        .filter(|id| *id != leader.get())
        .collect();
    let block = forge::block(&chain, &genesis_tip(&chain), 0, 0);
    let value = Value::of_block(block.digest());
    let vote = |id: u32| {
        let id = ReplicaId::new(id);
        forge::vote(&chain, VoteKind::Prepare, (1, 0), value, id)
    };
    // Two wait in their slots; one of them and two more come through the leader's link.
    for id in &members[..2] {
        cluster.receive(real, ReplicaId::new(*id), Message::Vote(vote(*id)));
    }
    for id in [members[0], members[2], members[3]] {
        cluster.receive(real, leader, Message::Vote(vote(id)));
    }
    cluster.receive(
        real,
        leader,
        Message::Proposal(forge::proposal(&chain, &block)),
    );
    let has_commit = cluster
        .outbox(real)
        .iter()
        .any(|message| matches!(message, Message::Vote(vote) if vote.kind == VoteKind::Commit));
    assert!(has_commit, "four others and our own are a quorum of seven");
}

#[test]
fn an_own_vote_in_a_relay_s_hands_is_no_news() {
    let chain = cluster(4).chain().clone();
    let leader = forge::leader(&chain, 1, 0);
    let real = (0..4).find(|id| *id != leader.get()).expect("three") as usize;
    let (mut cluster, others) = lone(4, real);
    let own = ReplicaId::new(real as u32);
    let value = Value::of_block(Sha256Digest::new([3; 32]));
    let vote = forge::vote(&chain, VoteKind::Prepare, (1, 0), value, own);
    cluster.receive(real, ReplicaId::new(others[0]), Message::Vote(vote));
    let block = forge::block(&chain, &genesis_tip(&chain), 0, 0);
    cluster.receive(
        real,
        leader,
        Message::Proposal(forge::proposal(&chain, &block)),
    );
    let effects = cluster.nodes[real].engine.tick(cluster.now);
    assert!(
        !effects
            .as_slice()
            .iter()
            .any(|e| matches!(e, Effect::Halt(_)))
    );
}
