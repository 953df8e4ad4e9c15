//! The same inputs give the same effects, to the last byte.

use crate::federation::{Federation, commit, genesis, lock};
use polity_ledger::LockId;
use polity_replica::{Effect, Input};
use polity_types::{ReplicaId, Seed, StateMachine, Time};

/// Transfers in two phases, gossip, a replica that stops, one that starts again.
fn story() -> Federation {
    let mut federation = Federation::of(genesis());
    let expires = Time::from_millis(30_000);
    for round in 0..3 {
        let command = lock("alice@thor", "bob@sprout", "10", expires);
        let locking = federation.transaction("alice@thor", &["alice@thor"], vec![command]);
        federation.submit(round, &locking);
        federation.settle(&locking);
        if round > 0 {
            let command = commit(LockId::derive(&locking.id(), 0), "10");
            let committing = federation.transaction("bob@sprout", &["sprout"], vec![command]);
            let input = Input::Gossiped {
                from: ReplicaId::new(3),
                transactions: vec![federation.verified(&committing)],
            };
            federation.input(round - 1, input);
            federation.settle(&committing);
        }
    }
    federation.nodes[1].is_down = true;
    let next = federation.transfer("alice@thor", "bob@sprout", "1");
    federation.submit(2, &next);
    federation.settle(&next);
    federation.nodes[1].is_down = false;
    federation.restart(1);
    federation.run(40_000);
    federation.rest();
    federation
}

#[test]
fn lg_14_the_same_story_told_twice_is_the_same_story() {
    let (first, second) = (story(), story());
    assert_eq!(first.now, second.now);
    for (a, b) in first.nodes.iter().zip(&second.nodes) {
        assert!(a.effects.len() > 100, "{}", a.effects.len());
        assert_eq!(a.effects.len(), b.effects.len());
        for (number, pair) in a.effects.iter().zip(&b.effects).enumerate() {
            assert_eq!(pair.0, pair.1, "effect {number}");
        }
    }
    // Different seeds of look-up tables at each replica, one state.
    let roots: Vec<_> = first
        .nodes
        .iter()
        .map(|node| node.replica.tip().roots)
        .collect();
    assert!(roots.iter().all(|root| *root == roots[0]));
}

/// Nothing that can be observed depends on the private seed of the look-up tables.
#[test]
fn lg_14_the_index_seed_changes_nothing() {
    let run = |seed: u64| -> Vec<Effect> {
        let mut federation = Federation::new();
        federation.nodes[0].replica = polity_replica::Replica::new(
            &federation.genesis,
            polity_replica::Purpose::Simulation,
            federation.config.clone(),
            crate::federation::member_signer(0),
            polity_crypto::stub::StubVerifier,
            Seed::from_number(seed),
        )
        .unwrap();
        for number in 0..10 {
            let account = if number % 2 == 0 {
                "alice@thor"
            } else {
                "bob@sprout"
            };
            let next = federation.transfer(account, "carol@thor", "1");
            federation.submit(0, &next);
            federation.run(3);
        }
        federation.rest();
        federation.nodes.swap_remove(0).effects
    };
    assert_eq!(run(1), run(2));
}

/// Persist before speaking: whatever a replica says about itself has its record in front of it.
#[test]
fn fb_15_every_vote_follows_its_record() {
    use polity_consensus::fbpbft::{Message, Record as Of, VoteKind};
    use polity_replica::{Frame, Record};
    let federation = story();
    let mut votes = 0;
    for node in &federation.nodes {
        let mut durable: Vec<&Of> = Vec::new();
        for effect in &node.effects {
            match effect {
                Effect::Persist(Record::Consensus(record)) => durable.push(record),
                Effect::Broadcast(Frame::Consensus(Message::Vote(vote))) => {
                    votes += 1;
                    let has_record = durable.iter().any(|record| match (vote.kind, record) {
                        (
                            VoteKind::Prepare,
                            Of::PrepareSent {
                                height,
                                view,
                                value,
                            },
                        ) => (*height, *view, *value) == (vote.height, vote.view, vote.value),
                        (
                            VoteKind::Commit,
                            Of::CommitSent {
                                height,
                                view,
                                digest,
                            },
                        ) => {
                            (*height, *view, *digest) == (vote.height, vote.view, vote.value.digest)
                        }
                        _ => false,
                    });
                    assert!(has_record, "{vote:?}");
                    // FB-4: so is the block that it is for.
                    let has_block = durable.iter().any(|record| match record {
                        Of::Block(block) => block.header.digest() == vote.value.digest,
                        _ => false,
                    });
                    assert!(has_block, "{vote:?}");
                }
                Effect::Committed(committed) => {
                    let digest = committed.block.digest();
                    assert!(durable.iter().any(|record| match record {
                        Of::Decided(certificate) => certificate.value.digest == digest,
                        _ => false,
                    }));
                }
                _ => {}
            }
        }
    }
    assert!(votes > 50, "{votes}");
}

/// The deadline never lies in the past for long: a tick at the deadline always gets further.
#[test]
fn a_tick_at_the_deadline_moves_the_deadline() {
    let mut federation = Federation::new();
    let replica = &mut federation.nodes[0].replica;
    let mut now = Time::from_millis(1_000);
    for _ in 0..1_000 {
        let at = replica.deadline().expect("STATUS never ends");
        now = now.max(at);
        let _ = replica.tick(now);
        assert!(
            replica.deadline().is_some_and(|next| next > now),
            "at {now}"
        );
    }
}
