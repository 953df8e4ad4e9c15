//! FB-4, LG-4: which proposals get a vote. Proposals here are made by hand with the leader's key.

use crate::federation::{
    Federation, changed, decided, genesis, member_signer, sign, signer, transfer,
    with_junk_signature,
};
use polity_consensus::fbpbft::{
    ApplicationData, Body, Counts, Decided, DropReason, Header, Message, PrePrepare, Proposal,
    SealedBlock, TransactionBytes, Value, Vote, VoteKind,
};
use polity_crypto::{Sha256Digest, Signer, domain};
use polity_ledger::SignedTransaction;
use polity_replica::{Effect, Frame, Record};
use polity_types::{ChainId, Height, ReplicaId, Time, View};
use rstest::rstest;

/// What the next leader would propose with these transactions.
fn proposal(
    federation: &Federation,
    transactions: &[SignedTransaction],
    change: impl FnOnce(&mut Body),
) -> Proposal {
    let replica = &federation.nodes[0].replica;
    let (chain, tip) = (replica.chain(), replica.tip());
    let height = tip.parent.height.next();
    let leader = chain.leader(height, View::ZERO);
    let mut body = Body {
        transactions: transactions
            .iter()
            .map(|transaction| TransactionBytes::new(transaction.encode()))
            .collect(),
        parent_certificate: tip.certificate.clone(),
        ..Body::default()
    };
    change(&mut body);
    let header = Header {
        chain: chain.id(),
        epoch: chain.epoch(height),
        height,
        view: View::ZERO,
        proposer: leader,
        parent: tip.parent.digest,
        timestamp: federation
            .now
            .max(Time::from_millis(tip.parent.timestamp.as_millis() + 1)),
        body_root: Sha256Digest::ZERO,
        counts: Counts::default(),
        application_root: tip.roots.application,
        receipts_root: tip.roots.receipts,
        next_committee: chain.next_committee(height),
    };
    let block = SealedBlock::build(chain, header, body).expect("transactions");
    let preimage = PrePrepare::preimage(chain, height, View::ZERO, &block.digest());
    Proposal {
        pre_prepare: PrePrepare {
            height,
            view: View::ZERO,
            digest: block.digest(),
            signature: member_signer(leader.get()).sign(&preimage),
        },
        block: block.block().clone(),
    }
}

/// Gives a proposal to a replica that does not lead; says whether it voted, and for how many
/// reasons it counted a drop.
fn propose(federation: &mut Federation, proposal: &Proposal) -> (bool, Option<DropReason>) {
    let leader = federation.next_leader();
    let voter = (leader + 1) % 4;
    let before = federation.nodes[voter].replica.machine().drops().clone();
    let since = federation.nodes[voter].effects.len();
    federation.receive(voter, leader as u32, Message::Proposal(proposal.clone()));
    let node = &federation.nodes[voter];
    let has_voted = node.effects[since..].iter().any(|effect| {
        matches!(
            effect,
            Effect::Broadcast(Frame::Consensus(Message::Vote(vote)))
                if vote.kind == VoteKind::Prepare && vote.value.digest == proposal.pre_prepare.digest
        )
    });
    let drops = node.replica.machine().drops();
    let reason = drops
        .iter()
        .find(|(reason, count)| before.get(reason) != Some(count))
        .map(|(reason, _)| *reason);
    (has_voted, reason)
}

const REFUSED: (bool, Option<DropReason>) = (false, Some(DropReason::Refused));

/// Changes the content of a transaction and signs it again.
fn resigned(
    transaction: &SignedTransaction,
    change: impl FnOnce(&mut polity_ledger::Transaction),
) -> SignedTransaction {
    let mut content = transaction.transaction().clone();
    change(&mut content);
    sign(content, &["alice@thor"])
}

type Change = fn(&SignedTransaction) -> Vec<SignedTransaction>;

#[rstest]
#[case::bad_signature(|good: &SignedTransaction| vec![with_junk_signature(good)])]
#[case::bad_signature_behind_a_good_one(|good: &SignedTransaction| {
    let other = resigned(good, |content| content.nonce += 100);
    vec![good.clone(), with_junk_signature(&other)]
})]
#[case::signature_of_another_key(|good: &SignedTransaction| {
    let preimage = good.transaction().preimage();
    let foreign = signer("bob@sprout").sign(&preimage);
    vec![SignedTransaction::new(good.transaction().clone(), vec![foreign]).unwrap()]
})]
#[case::wrong_chain(|good: &SignedTransaction| vec![resigned(good, |content| content.chain = ChainId::new([9; 32]))])]
#[case::expired(|good: &SignedTransaction| vec![resigned(good, |content| content.valid_until = Height::ZERO)])]
#[case::too_far(|good: &SignedTransaction| vec![resigned(good, |content| content.valid_until = Height::new(1_002))])]
#[case::twice(|good: &SignedTransaction| vec![good.clone(), good.clone()])]
fn lg_4_a_block_with_such_a_transaction_gets_no_vote(#[case] change: Change) {
    let mut federation = Federation::new();
    let good = federation.transfer("alice@thor", "bob@sprout", "1");
    let transactions = change(&good);
    let bad = proposal(&federation, &transactions, |_| {});
    assert_eq!(propose(&mut federation, &bad), REFUSED);
}

#[test]
fn fb_4_the_same_block_without_the_flaw_gets_a_vote() {
    let mut federation = Federation::new();
    let good = federation.transfer("alice@thor", "bob@sprout", "1");
    let far = resigned(&good, |content| content.valid_until = Height::new(1_001));
    let near = resigned(&good, |content| content.valid_until = Height::new(1));
    let proposal = proposal(&federation, &[good, far, near], |_| {});
    assert_eq!(propose(&mut federation, &proposal), (true, None));
}

#[test]
fn lg_4_a_decided_transaction_makes_a_later_block_invalid() {
    let mut federation = Federation::new();
    let transaction = federation.transfer("alice@thor", "bob@sprout", "1");
    federation.submit(0, &transaction);
    federation.settle(&transaction);
    let fresh = federation.transfer("alice@thor", "bob@sprout", "1");
    let again = proposal(&federation, &[fresh.clone(), transaction], |_| {});
    assert_eq!(propose(&mut federation, &again), REFUSED);
    let without = proposal(&federation, &[fresh], |_| {});
    // Without it the block is good; that it is the second one of its view is evidence.
    assert_eq!(propose(&mut federation, &without), (true, None));
    let offences: Vec<u64> = federation
        .nodes
        .iter()
        .map(|n| n.replica.evidence_seen())
        .collect();
    assert_eq!(offences.iter().sum::<u64>(), 1);
}

#[test]
fn lg_8_a_payer_who_cannot_pay_the_fee_makes_the_block_invalid() {
    let mut genesis = genesis();
    genesis.ledger.parameters.fee_flat = polity_types::Amount::from_units(1);
    let mut federation = Federation::of(genesis);
    let spending = federation.transfer("carol@thor", "bob@sprout", "1");
    let funding = federation.transfer("alice@thor", "carol@thor", "2");
    // Judged in the order of the block.
    let wrong = proposal(&federation, &[spending.clone(), funding.clone()], |_| {});
    assert_eq!(propose(&mut federation, &wrong), REFUSED);
    let mut federation = Federation::of(federation.genesis);
    let right = proposal(&federation, &[funding, spending], |_| {});
    assert_eq!(propose(&mut federation, &right), (true, None));
}

#[test]
fn unknown_application_data_gets_no_vote() {
    let mut federation = Federation::new();
    let unknown = proposal(&federation, &[], |body| {
        body.application.push(ApplicationData {
            kind: 1,
            content: vec![1, 2, 3],
        });
    });
    assert_eq!(propose(&mut federation, &unknown), REFUSED);
}

/// A block's digest covers no signature, so a copy with bad ones must neither pass because the good
/// one did, nor keep the good one out.
#[rstest]
#[case::bad_copy_first(true)]
#[case::good_copy_first(false)]
fn cr_3_copies_of_a_block_are_judged_by_their_signatures(#[case] is_bad_first: bool) {
    let mut federation = Federation::new();
    let transaction = federation.transfer("alice@thor", "bob@sprout", "1");
    let good = proposal(&federation, std::slice::from_ref(&transaction), |_| {});
    let bad = Proposal {
        block: changed(&good.block, |block| {
            let bytes = with_junk_signature(&transaction).encode();
            block.body.transactions[0] = TransactionBytes::new(bytes);
        }),
        ..good.clone()
    };
    assert_eq!(bad.block.header.digest(), good.block.header.digest());
    let voter = (federation.next_leader() + 1) % 4;
    if is_bad_first {
        assert_eq!(propose(&mut federation, &bad), REFUSED);
        // Copies are judged again when the leader sends its own again, not before.
        let retransmit_after = federation.nodes[voter]
            .replica
            .machine()
            .config()
            .retransmit_after;
        federation.now = federation.now.saturating_add(retransmit_after);
        assert_eq!(propose(&mut federation, &good), (true, None));
    } else {
        assert_eq!(propose(&mut federation, &good), (true, None));
        assert_eq!(
            propose(&mut federation, &bad),
            (false, Some(DropReason::Known))
        );
    }
    // What is stored is the good copy: it is served to others, and a restart needs it.
    let stored: Vec<_> = federation.nodes[voter]
        .journal
        .iter()
        .filter_map(|record| match record {
            Record::Consensus(polity_consensus::fbpbft::Record::Block(block)) => Some(block),
            _ => None,
        })
        .collect();
    assert_eq!(stored, [&good.block]);
}

/// FB-14: a member that serves a decided block with other signatures is seen through, and another
/// one is asked.
#[test]
fn fb_14_a_decided_block_with_swapped_signatures_is_not_applied() {
    let mut federation = Federation::new();
    federation.nodes[3].is_down = true;
    let transaction = federation.transfer("alice@thor", "bob@sprout", "1");
    federation.submit(0, &transaction);
    federation.settle(&transaction);
    federation.nodes[3].is_down = false;
    let good = decided(&federation.nodes[0].chain[0]);
    let forged = Decided {
        block: changed(&good.block, |block| {
            let bytes = with_junk_signature(&transaction).encode();
            block.body.transactions[0] = TransactionBytes::new(bytes);
        }),
        certificate: good.certificate.clone(),
    };
    for from in [0, 1] {
        federation.receive(3, from, Message::Decided(forged.clone()));
        assert!(federation.nodes[3].chain.is_empty());
    }
    let drops = federation.nodes[3].replica.machine().drops();
    assert_eq!(drops.get(&DropReason::Refused), Some(&2));
    let height = federation.nodes[0].replica.tip().parent.height;
    federation.run_until("the real block comes", |federation| {
        federation.height() == height
    });
    assert_eq!(federation.nodes[3].chain[0].block.block(), &good.block);
    federation.restart(3);
    assert_eq!(
        federation.nodes[3].replica.tip(),
        federation.nodes[0].replica.tip()
    );
}

/// The transactions of a block need not be in the pool; those that are, are not verified again.
#[test]
fn fb_4_a_block_may_bring_transactions_that_nobody_sent_before() {
    let mut federation = Federation::new();
    let command = transfer("alice@thor", "bob@sprout", "7");
    let unseen = federation.transaction("alice@thor", &["alice@thor"], vec![command]);
    let leader = federation.next_leader();
    federation.nodes[leader].is_down = true;
    let proposal = proposal(&federation, std::slice::from_ref(&unseen), |_| {});
    for index in (0..4).filter(|index| *index != leader) {
        federation.receive(index, leader as u32, Message::Proposal(proposal.clone()));
    }
    federation.settle(&unseen);
    let other = (leader + 1) % 4;
    assert_eq!(federation.balance(other, "bob@sprout"), ["507", "507", "0"]);
}

/// What a replica asked for since a moment, as far as consensus goes, in words.
fn said(effects: &[Effect]) -> Vec<&'static str> {
    use polity_consensus::fbpbft::Record as Of;
    effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Persist(Record::Consensus(Of::Block(_))) => Some("store the block"),
            Effect::Persist(Record::Consensus(Of::Proposed { .. })) => Some("store the proposal"),
            Effect::Persist(Record::Consensus(Of::PrepareSent { .. })) => Some("store PREPARE"),
            Effect::Persist(Record::Consensus(Of::Prepared(_))) => Some("store the certificate"),
            Effect::Persist(Record::Consensus(Of::CommitSent { .. })) => Some("store COMMIT"),
            Effect::Broadcast(Frame::Consensus(Message::Proposal(_))) => Some("send the proposal"),
            Effect::Broadcast(Frame::Consensus(Message::Vote(vote))) => Some(match vote.kind {
                VoteKind::Prepare => "send PREPARE",
                VoteKind::Commit => "send COMMIT",
            }),
            _ => None,
        })
        .collect()
}

#[test]
fn fb_3_the_leader_stores_the_block_sends_it_and_votes_for_it() {
    let mut federation = Federation::new();
    federation.step();
    let leader = federation.next_leader();
    let since = federation.nodes[leader].effects.len();
    let transaction = federation.transfer("alice@thor", "bob@sprout", "1");
    federation.submit(leader, &transaction);
    let effects = &federation.nodes[leader].effects[since..];
    assert_eq!(
        said(effects),
        [
            "store the block",
            "store the proposal",
            "store PREPARE",
            "send the proposal",
            "send PREPARE",
        ]
    );
    let sent = effects.iter().find_map(|effect| match effect {
        Effect::Broadcast(Frame::Consensus(Message::Proposal(proposal))) => Some(proposal),
        _ => None,
    });
    let body = &sent.expect("sent above").block.body;
    assert_eq!(body.transactions[0].as_slice(), transaction.encode());
    // Its own PREPARE counts: two more complete the quorum of three.
    let digest = sent.expect("sent above").pre_prepare.digest;
    for (more, id) in (0..4).filter(|id| *id != leader).take(2).enumerate() {
        let since = federation.nodes[leader].effects.len();
        let vote = prepare(&federation, digest, id as u32);
        federation.receive(leader, id as u32, Message::Vote(vote));
        let said = said(&federation.nodes[leader].effects[since..]);
        let expected: &[&str] = match more {
            0 => &[],
            _ => &["store the certificate", "store COMMIT", "send COMMIT"],
        };
        assert_eq!(said, expected);
    }
}

/// A PREPARE of view 0 at the next height, made with the member's key.
fn prepare(federation: &Federation, digest: Sha256Digest, id: u32) -> Vote {
    let replica = &federation.nodes[0].replica;
    let (height, view) = (replica.tip().parent.height.next(), View::ZERO);
    let value = Value::of_block(digest);
    let preimage = replica
        .chain()
        .scope(domain::PREPARE, height, view)
        .array(value.digest.as_bytes())
        .array(value.new_view.as_bytes());
    Vote {
        kind: VoteKind::Prepare,
        height,
        view,
        value,
        signer: ReplicaId::new(id),
        signature: member_signer(id).sign(&preimage),
    }
}

/// The weight of a quorum is there, but not for one block.
#[rstest]
#[case::votes_first(true)]
#[case::proposal_first(false)]
fn fb_5_votes_for_different_blocks_are_not_counted_together(#[case] are_votes_first: bool) {
    let mut federation = Federation::new();
    let leader = federation.next_leader();
    let [voter, third, fourth] = [1, 2, 3].map(|step| (leader + step) % 4);
    let mine = federation.transfer("alice@thor", "bob@sprout", "1");
    let theirs = federation.transfer("alice@thor", "bob@sprout", "2");
    let good = proposal(&federation, &[mine], |_| {});
    let other = proposal(&federation, &[theirs], |_| {});
    let digest = good.pre_prepare.digest;
    let since = federation.nodes[voter].effects.len();
    let votes = [
        (leader, prepare(&federation, digest, leader as u32)),
        (
            third,
            prepare(&federation, other.pre_prepare.digest, third as u32),
        ),
    ];
    let mut inputs: Vec<(usize, Message)> = votes
        .into_iter()
        .map(|(from, vote)| (from, Message::Vote(vote)))
        .collect();
    let place = if are_votes_first { inputs.len() } else { 0 };
    inputs.insert(place, (leader, Message::Proposal(good)));
    for (from, message) in inputs {
        federation.receive(voter, from as u32, message);
    }
    // Three of four sent PREPARE, one of them for something else.
    let commits = |federation: &Federation| {
        said(&federation.nodes[voter].effects[since..])
            .iter()
            .filter(|said| **said == "send COMMIT")
            .count()
    };
    assert_eq!(commits(&federation), 0);
    let last = prepare(&federation, digest, fourth as u32);
    federation.receive(voter, fourth as u32, Message::Vote(last));
    assert_eq!(commits(&federation), 1);
}
