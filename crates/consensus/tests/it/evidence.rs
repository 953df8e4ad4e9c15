//! FB-16: evidence convinces a stranger, and nobody honest can be framed.

use crate::cluster::{chain_of, genesis_tip};
use crate::forge;
use polity_consensus::fbpbft::{Chain, Evidence, Value, ViewChange, VoteKind};
use polity_crypto::stub::{StubSigner, StubVerifier};
use polity_crypto::{Checker, Sha256Digest, Signature, Signer, Verified};
use polity_types::{ReplicaId, wire};

fn chain() -> Chain {
    chain_of((0..4).map(|n| StubSigner::new(n).public_key().clone()))
}

fn holds(chain: &Chain, evidence: &Evidence) -> bool {
    // A stranger reads bytes and has the committee table.
    let bytes = wire::encode(evidence);
    let evidence: Evidence = wire::decode(&bytes, bytes.len()).expect("canonical");
    let mut checker = Checker::new(StubVerifier, 64);
    Verified::check(evidence, chain, &mut checker).is_ok()
}

fn value(number: u8) -> Value {
    Value::of_block(Sha256Digest::new([number; 32]))
}

fn bare(view_change: ViewChange) -> ViewChange {
    ViewChange {
        certificate: None,
        ..view_change
    }
}

/// One piece of valid evidence of every kind, with the member that it accuses.
fn every_kind(chain: &Chain) -> Vec<(Evidence, ReplicaId)> {
    let tip = genesis_tip(chain);
    let (x, y) = (
        forge::block(chain, &tip, 0, 0),
        forge::block(chain, &tip, 0, 1),
    );
    let two = ReplicaId::new(2);
    let vote = |kind, number| forge::vote(chain, kind, (1, 0), value(number), two);
    let prepared = forge::certificate(chain, VoteKind::Prepare, (1, 0), value(1), &[0, 1, 2]);
    let claim = forge::view_change(chain, (1, 1), Some(prepared), 2);
    let denial = forge::view_change(chain, (1, 1), None, 2);
    let too_few = vec![forge::view_change(chain, (1, 1), None, 0)];
    let unjustified = forge::new_view(chain, (1, 1), too_few, forge::pre_prepare(chain, &x, 1));
    vec![
        (
            Evidence::TwoProposals(
                forge::pre_prepare(chain, &x, 0),
                forge::pre_prepare(chain, &y, 0),
            ),
            forge::leader(chain, 1, 0),
        ),
        (
            Evidence::TwoVotes(vote(VoteKind::Prepare, 1), vote(VoteKind::Prepare, 2)),
            two,
        ),
        (
            Evidence::TwoVotes(vote(VoteKind::Commit, 1), vote(VoteKind::Commit, 2)),
            two,
        ),
        (Evidence::TwoViewChanges(bare(claim), denial.clone()), two),
        (
            Evidence::ForgottenLock {
                commit: vote(VoteKind::Commit, 1),
                view_change: denial,
            },
            two,
        ),
        (
            Evidence::UnjustifiedNewView(Box::new(unjustified)),
            forge::leader(chain, 1, 1),
        ),
    ]
}

#[test]
fn fb_16_every_kind_convinces_a_stranger_and_names_the_accused() {
    let chain = chain();
    let pieces = every_kind(&chain);
    let mut kinds: Vec<u8> = pieces.iter().map(|(piece, _)| piece.kind()).collect();
    kinds.dedup();
    assert_eq!(kinds, [1, 2, 3, 4, 5, 6]);
    for (piece, accused) in pieces {
        assert!(holds(&chain, &piece), "{piece:?}");
        assert_eq!(piece.accused(&chain), accused);
    }
}

#[test]
fn fb_16_no_changed_bit_of_evidence_accuses_another() {
    let chain = chain();
    for (piece, accused) in every_kind(&chain) {
        let bytes = wire::encode(&piece);
        for position in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[position / 8] ^= 1 << (position % 8);
            let Ok(evidence) = wire::decode::<Evidence>(&changed, bytes.len()) else {
                continue;
            };
            if holds(&chain, &evidence) {
                assert_eq!(
                    evidence.accused(&chain),
                    accused,
                    "bit {position} of {piece:?}"
                );
            }
        }
    }
}

#[test]
fn fb_16_honest_behaviour_is_no_offence() {
    let chain = chain();
    let tip = genesis_tip(&chain);
    let x = forge::block(&chain, &tip, 0, 0);
    let two = ReplicaId::new(2);
    let commit = forge::vote(&chain, VoteKind::Commit, (1, 0), value(1), two);
    let prepared = forge::certificate(&chain, VoteKind::Prepare, (1, 0), value(1), &[0, 1, 2]);
    let quorum: Vec<ViewChange> = (0..3)
        .map(|id| forge::view_change(&chain, (1, 1), None, id))
        .collect();
    let justified = forge::new_view(&chain, (1, 1), quorum, forge::pre_prepare(&chain, &x, 1));
    let innocent = [
        // The same vote twice, and votes of two views.
        Evidence::TwoVotes(commit.clone(), commit.clone()),
        Evidence::TwoVotes(
            commit.clone(),
            forge::vote(&chain, VoteKind::Commit, (1, 1), value(2), two),
        ),
        Evidence::TwoVotes(
            forge::vote(&chain, VoteKind::Prepare, (1, 0), value(1), two),
            forge::vote(&chain, VoteKind::Commit, (1, 0), value(2), two),
        ),
        // The lock is remembered.
        Evidence::ForgottenLock {
            commit: commit.clone(),
            view_change: bare(forge::view_change(&chain, (1, 1), Some(prepared), 2)),
        },
        // Votes of two members.
        Evidence::TwoVotes(
            commit.clone(),
            forge::vote(
                &chain,
                VoteKind::Commit,
                (1, 0),
                value(2),
                ReplicaId::new(1),
            ),
        ),
        Evidence::TwoViewChanges(
            forge::view_change(&chain, (1, 1), None, 2),
            forge::view_change(&chain, (1, 2), None, 2),
        ),
        Evidence::UnjustifiedNewView(Box::new(justified)),
    ];
    for piece in innocent {
        assert!(!holds(&chain, &piece), "{piece:?}");
    }
}

#[test]
fn r8_a_relay_cannot_swap_junk_into_a_new_view_and_frame_its_leader() {
    let chain = chain();
    let tip = genesis_tip(&chain);
    let x = forge::block(&chain, &tip, 0, 0);
    let quorum: Vec<ViewChange> = (0..3)
        .map(|id| forge::view_change(&chain, (1, 1), None, id))
        .collect();
    let mut new_view = forge::new_view(&chain, (1, 1), quorum, forge::pre_prepare(&chain, &x, 1));
    new_view.view_changes[1].signature = Signature::new(&[0; 64]);
    assert!(!holds(
        &chain,
        &Evidence::UnjustifiedNewView(Box::new(new_view.clone()))
    ));
    new_view.view_changes.pop();
    assert!(!holds(
        &chain,
        &Evidence::UnjustifiedNewView(Box::new(new_view))
    ));
}

#[test]
fn fb_16_identity_is_the_offence_and_not_its_bytes() {
    let chain = chain();
    let two = ReplicaId::new(2);
    let vote = |number| forge::vote(&chain, VoteKind::Prepare, (1, 0), value(number), two);
    let first = Evidence::TwoVotes(vote(1), vote(2));
    let second = Evidence::TwoVotes(vote(3), vote(1));
    assert_eq!(first.id(&chain), second.id(&chain));
    assert_eq!(first.digest(&chain), second.digest(&chain));
    let commit = |number| forge::vote(&chain, VoteKind::Commit, (1, 0), value(number), two);
    let other = Evidence::TwoVotes(commit(1), commit(2));
    assert_ne!(first.digest(&chain), other.digest(&chain));
}
