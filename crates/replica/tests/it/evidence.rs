//! FB-16: an offence reaches a block once, and the ledger remembers it.

use crate::federation::{Federation, member_signer};
use polity_consensus::fbpbft::{Evidence, Message, Value, Vote, VoteKind};
use polity_crypto::{Sha256Digest, Signer, domain};
use polity_replica::Effect;
use polity_replica::proof::Proofs;
use polity_types::{Height, OffenceVerifier, ReplicaId, View, wire};

/// Two PREPAREs of one member for two blocks.
fn two_votes(federation: &Federation, accused: u32) -> Evidence {
    let chain = federation.nodes[0].replica.chain();
    let (height, view) = (Height::new(1), View::ZERO);
    let vote = |digest: u8| {
        let value = Value::of_block(Sha256Digest::new([digest; 32]));
        let preimage = chain
            .scope(domain::PREPARE, height, view)
            .array(value.digest.as_bytes())
            .array(value.new_view.as_bytes());
        Vote {
            kind: VoteKind::Prepare,
            height,
            view,
            value,
            signer: ReplicaId::new(accused),
            signature: member_signer(accused).sign(&preimage),
        }
    };
    Evidence::TwoVotes(vote(1), vote(2))
}

fn blocks_with_evidence(federation: &Federation) -> usize {
    let pieces = federation.nodes[0]
        .chain
        .iter()
        .map(|c| c.block.body().evidence.len());
    pieces.sum()
}

fn decide_some(federation: &mut Federation, count: usize) {
    for _ in 0..count {
        let next = federation.transfer("alice@thor", "bob@sprout", "1");
        federation.submit(0, &next);
        federation.settle(&next);
    }
}

#[test]
fn fb_16_evidence_reaches_a_block_once() {
    let mut federation = Federation::new();
    let evidence = two_votes(&federation, 2);
    let digest = evidence.digest(federation.nodes[0].replica.chain());
    for index in 0..4 {
        let from = (index as u32 + 1) % 4;
        federation.receive(index, from, Message::Evidence(evidence.clone()));
        assert_eq!(federation.nodes[index].replica.evidence_seen(), 1);
        let effects = &federation.nodes[index].effects;
        assert!(effects.contains(&Effect::Report(evidence.clone())));
        assert!(
            !federation.nodes[index]
                .replica
                .ledger()
                .has_offence(&digest)
        );
    }
    // Every member leads once and more.
    decide_some(&mut federation, 6);
    assert_eq!(blocks_with_evidence(&federation), 1);
    for node in &federation.nodes {
        assert!(node.replica.ledger().has_offence(&digest));
    }
    // Replicas that restarted do not remember it; their ledgers do.
    for index in 0..4 {
        federation.restart(index);
    }
    for index in 0..4 {
        let from = (index as u32 + 1) % 4;
        federation.receive(index, from, Message::Evidence(evidence.clone()));
    }
    decide_some(&mut federation, 6);
    assert_eq!(blocks_with_evidence(&federation), 1);
    let roots: Vec<_> = federation
        .nodes
        .iter()
        .map(|node| node.replica.tip().roots)
        .collect();
    assert!(roots.iter().all(|root| *root == roots[0]));
}

#[test]
fn fb_16_a_replica_that_was_away_learns_offences_from_blocks() {
    let mut federation = Federation::new();
    federation.nodes[3].is_down = true;
    let evidence = two_votes(&federation, 2);
    let digest = evidence.digest(federation.nodes[0].replica.chain());
    for index in 0..3 {
        federation.receive(
            index,
            1 - (index as u32).min(1),
            Message::Evidence(evidence.clone()),
        );
    }
    decide_some(&mut federation, 6);
    assert_eq!(blocks_with_evidence(&federation), 1);
    federation.nodes[3].is_down = false;
    let height = federation.nodes[0].replica.tip().parent.height;
    federation.run_until("it catches up", |federation| federation.height() == height);
    assert!(federation.nodes[3].replica.ledger().has_offence(&digest));
}

#[test]
fn fb_16_a_stranger_checks_encoded_evidence() {
    let federation = Federation::new();
    let chain = federation.genesis.chain().unwrap();
    let proofs = Proofs::new(chain, polity_crypto::stub::StubVerifier);
    let bytes = wire::encode(&two_votes(&federation, 2));
    assert_eq!(proofs.verify_offence(&bytes), Ok(ReplicaId::new(2)));
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(proofs.verify_offence(&flipped).is_err(), "bit {bit}");
    }
    assert!(proofs.verify_offence(&[]).is_err());
}

/// A conflict of one member at height 1 in the given view.
fn two_votes_in(federation: &Federation, accused: u32, view: u64) -> Evidence {
    let chain = federation.nodes[0].replica.chain();
    let (height, view) = (Height::new(1), View::new(view));
    let vote = |digest: u8| {
        let value = Value::of_block(Sha256Digest::new([digest; 32]));
        let preimage = chain
            .scope(domain::COMMIT, height, view)
            .array(value.digest.as_bytes());
        Vote {
            kind: VoteKind::Commit,
            height,
            view,
            value,
            signer: ReplicaId::new(accused),
            signature: member_signer(accused).sign(&preimage),
        }
    };
    Evidence::TwoVotes(vote(1), vote(2))
}

fn tell_all(federation: &mut Federation, pieces: &[Evidence]) {
    for piece in pieces {
        for index in 0..4 {
            let from = (index as u32 + 1) % 4;
            federation.receive(index, from, Message::Evidence(piece.clone()));
        }
    }
}

#[test]
fn fb_16_old_offences_sent_again_keep_no_new_one_out() {
    let mut federation = Federation::new();
    let old: Vec<_> = (0..16)
        .map(|view| two_votes_in(&federation, 0, view))
        .collect();
    tell_all(&mut federation, &old);
    decide_some(&mut federation, 6);
    // A member is convicted so many times an epoch, and no more.
    assert_eq!(blocks_with_evidence(&federation), 8);
    for index in 0..4 {
        federation.restart(index);
    }
    tell_all(&mut federation, &old);
    let new = two_votes(&federation, 2);
    let digest = new.digest(federation.nodes[0].replica.chain());
    tell_all(&mut federation, &[new]);
    decide_some(&mut federation, 6);
    assert!(federation.nodes[0].replica.ledger().has_offence(&digest));
    assert_eq!(blocks_with_evidence(&federation), 9);
}
