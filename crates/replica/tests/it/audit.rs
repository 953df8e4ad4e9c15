//! Checking a chain offline: the real one passes, and nothing else does.

use crate::federation::{
    Federation, amount, changed, commit, decided, genesis, lock, transfer, with_junk_signature,
};
use polity_consensus::fbpbft::{BodyError, Decided, TransactionBytes, VoteKind};
use polity_crypto::stub::StubVerifier;
use polity_crypto::{Sha256Digest, VerifyError};
use polity_ledger::{LockId, SignedTransaction};
use polity_replica::{AdmitError, AuditError, Auditor, Genesis, Purpose};
use polity_types::{Height, Time};
use rstest::rstest;

/// A chain of some blocks: a transfer in two phases, two transfers in one block, an expiry.
fn story() -> Federation {
    let mut federation = Federation::new();
    let expires = Time::from_millis(60_000);
    let command = lock("alice@thor", "bob@sprout", "200", expires);
    let first = federation.transaction("alice@thor", &["alice@thor"], vec![command.clone()]);
    federation.submit(0, &first);
    federation.settle(&first);
    let second = commit(LockId::derive(&first.id(), 0), "200");
    let second = federation.transaction("bob@sprout", &["sprout"], vec![second]);
    federation.submit(1, &second);
    federation.settle(&second);
    let leader = federation.next_leader();
    let pair = [
        federation.transaction("alice@thor", &["alice@thor"], vec![command]),
        federation.transaction(
            "bob@sprout",
            &["bob@sprout"],
            vec![transfer("bob@sprout", "carol@thor", "3")],
        ),
    ];
    let verified = pair.iter().map(|t| federation.verified(t)).collect();
    federation.input(leader, polity_replica::Input::Submitted(verified));
    federation.settle(&pair[1]);
    federation.run(90_000);
    federation.rest();
    federation
}

fn auditor(genesis: &Genesis) -> Auditor<StubVerifier> {
    Auditor::new(genesis, Purpose::Simulation, StubVerifier).unwrap()
}

fn blocks(federation: &Federation) -> Vec<Decided> {
    federation.nodes[0].chain.iter().map(decided).collect()
}

fn audit(genesis: &Genesis, blocks: Vec<Decided>) -> Result<(), AuditError> {
    let mut auditor = auditor(genesis);
    blocks
        .into_iter()
        .try_for_each(|block| auditor.block(block).map(|_| ()))
}

/// Height of the block with two transactions.
fn pair_at(blocks: &[Decided]) -> usize {
    blocks
        .iter()
        .position(|decided| decided.block.body.transactions.len() == 2)
        .expect("the leader got both at once")
}

#[test]
fn lg_9_the_real_chain_passes_and_leads_to_the_same_state() {
    let federation = story();
    let mut auditor = auditor(&federation.genesis);
    for (block, committed) in blocks(&federation)
        .into_iter()
        .zip(&federation.nodes[0].chain)
    {
        let found = auditor.block(block).unwrap();
        assert_eq!(&found, committed);
    }
    let replica = &federation.nodes[0].replica;
    assert_eq!(auditor.height(), replica.tip().parent.height);
    assert_eq!(auditor.tip(), replica.tip());
    let supply = auditor.ledger().supply();
    assert_eq!(supply.total(), amount("1500"));
    let expired: usize = federation.nodes[0]
        .chain
        .iter()
        .map(|c| c.expired.len())
        .sum();
    assert_eq!(expired, 1, "the story has an expiry");
}

type Forge = fn(&mut Vec<Decided>);

fn swap_signatures(blocks: &mut [Decided]) {
    let at = pair_at(blocks);
    let pair: Vec<SignedTransaction> = blocks[at]
        .block
        .body
        .transactions
        .iter()
        .map(|bytes| SignedTransaction::decode(bytes.as_slice()).unwrap())
        .collect();
    let crossed = [(0, 1), (1, 0)].map(|(own, other)| {
        let content = pair[own].transaction().clone();
        let signatures = pair[other].signatures().to_vec();
        TransactionBytes::new(
            SignedTransaction::new(content, signatures)
                .unwrap()
                .encode(),
        )
    });
    blocks[at].block = changed(&blocks[at].block, |block| {
        block.body.transactions = crossed.to_vec();
    });
}

fn height(blocks: &[Decided], index: usize) -> Height {
    blocks[index].block.header.height
}

#[rstest]
#[case::dropped(|blocks: &mut Vec<Decided>| { blocks.remove(1); })]
#[case::repeated(|blocks: &mut Vec<Decided>| { let twice = blocks[1].clone(); blocks.insert(1, twice); })]
#[case::swapped(|blocks: &mut Vec<Decided>| blocks.swap(1, 2))]
#[case::first_missing(|blocks: &mut Vec<Decided>| { blocks.remove(0); })]
fn a_chain_with_another_order_is_refused(#[case] forge: Forge) {
    let federation = story();
    let mut forged = blocks(&federation);
    forge(&mut forged);
    let error = audit(&federation.genesis, forged).unwrap_err();
    assert!(matches!(error, AuditError::Order { .. }), "{error}");
}

/// What each of these says, with the height that it blames.
#[rstest]
#[case::swapped_signatures(
    |blocks: &mut Vec<Decided>| swap_signatures(blocks),
    |blocks: &[Decided]| AuditError::Authorisation {
        height: height(blocks, pair_at(blocks)),
        source: AdmitError::Signature(VerifyError),
    }
)]
#[case::junk_signature(
    |blocks: &mut Vec<Decided>| {
        blocks[0].block = changed(&blocks[0].block, |block| {
            let bytes = block.body.transactions[0].as_slice();
            let junk = with_junk_signature(&SignedTransaction::decode(bytes).unwrap());
            block.body.transactions[0] = TransactionBytes::new(junk.encode());
        });
    },
    |_: &[Decided]| AuditError::Authorisation {
        height: Height::new(1),
        source: AdmitError::Signature(VerifyError),
    }
)]
#[case::missing_transaction(
    |blocks: &mut Vec<Decided>| {
        blocks[0].block = changed(&blocks[0].block, |block| block.body.transactions.clear());
    },
    |_: &[Decided]| AuditError::Body { height: Height::new(1), source: BodyError::Counts }
)]
#[case::other_transaction(
    |blocks: &mut Vec<Decided>| {
        let other = blocks[2].block.body.transactions[0].clone();
        blocks[0].block = changed(&blocks[0].block, |block| block.body.transactions[0] = other);
    },
    |_: &[Decided]| AuditError::Body { height: Height::new(1), source: BodyError::Root }
)]
#[case::junk_transaction(
    |blocks: &mut Vec<Decided>| {
        blocks[0].block = changed(&blocks[0].block, |block| {
            block.body.transactions[0] = TransactionBytes::new(vec![1, 2, 3]);
        });
    },
    |_: &[Decided]| AuditError::Body {
        height: Height::new(1),
        source: BodyError::NoTransaction(0),
    }
)]
#[case::receipts_root(
    |blocks: &mut Vec<Decided>| {
        blocks[1].block = changed(&blocks[1].block, |block| {
            block.header.receipts_root = Sha256Digest::ZERO;
        });
    },
    |blocks: &[Decided]| AuditError::State {
        height: Height::new(2),
        named: Sha256Digest::ZERO,
        computed: blocks[1].block.header.receipts_root,
    }
)]
#[case::application_root(
    |blocks: &mut Vec<Decided>| {
        blocks[1].block = changed(&blocks[1].block, |block| {
            block.header.application_root = Sha256Digest::ZERO;
        });
    },
    |blocks: &[Decided]| AuditError::State {
        height: Height::new(2),
        named: Sha256Digest::ZERO,
        computed: blocks[1].block.header.application_root,
    }
)]
#[case::parent(
    |blocks: &mut Vec<Decided>| {
        blocks[1].block = changed(&blocks[1].block, |block| block.header.parent = Sha256Digest::ZERO);
    },
    |_: &[Decided]| AuditError::Header(Height::new(2))
)]
#[case::proposer(
    |blocks: &mut Vec<Decided>| {
        blocks[1].block = changed(&blocks[1].block, |block| {
            let next = (block.header.proposer.get() + 1) % 4;
            block.header.proposer = polity_types::ReplicaId::new(next);
        });
    },
    |_: &[Decided]| AuditError::Header(Height::new(2))
)]
#[case::time_stands_still(
    |blocks: &mut Vec<Decided>| {
        let before = blocks[0].block.header.timestamp;
        blocks[1].block = changed(&blocks[1].block, |block| block.header.timestamp = before);
    },
    |_: &[Decided]| AuditError::Header(Height::new(2))
)]
#[case::later_time(
    |blocks: &mut Vec<Decided>| {
        blocks[1].block = changed(&blocks[1].block, |block| {
            block.header.timestamp = Time::from_millis(block.header.timestamp.as_millis() + 1);
        });
    },
    |_: &[Decided]| AuditError::Certificate(Height::new(2))
)]
#[case::junk_certificate(
    |blocks: &mut Vec<Decided>| blocks[1].certificate.votes.signatures[0] ^= 1,
    |_: &[Decided]| AuditError::Certificate(Height::new(2))
)]
#[case::certificate_of_another_block(
    |blocks: &mut Vec<Decided>| blocks[1].certificate = blocks[0].certificate.clone(),
    |_: &[Decided]| AuditError::Certificate(Height::new(2))
)]
#[case::certificate_of_prepares(
    |blocks: &mut Vec<Decided>| blocks[1].certificate.kind = VoteKind::Prepare,
    |_: &[Decided]| AuditError::Certificate(Height::new(2))
)]
#[case::certificate_of_too_few(
    |blocks: &mut Vec<Decided>| {
        blocks[1].certificate.votes.signatures.truncate(128);
    },
    |_: &[Decided]| AuditError::Certificate(Height::new(2))
)]
#[case::junk_certificate_of_the_parent(
    |blocks: &mut Vec<Decided>| {
        blocks[1].block = changed(&blocks[1].block, |block| {
            let certificate = block.body.parent_certificate.as_mut().unwrap();
            certificate.votes.signatures[0] ^= 1;
        });
    },
    |_: &[Decided]| AuditError::Content(Height::new(2))
)]
fn a_forged_chain_is_refused(#[case] forge: Forge, #[case] expected: fn(&[Decided]) -> AuditError) {
    let federation = story();
    let real = blocks(&federation);
    let mut forged = real.clone();
    forge(&mut forged);
    assert_ne!(forged, real);
    let error = audit(&federation.genesis, forged).unwrap_err();
    assert_eq!(error, expected(&real));
}

#[test]
fn the_chain_of_another_genesis_is_refused() {
    let federation = story();
    let mut other = genesis();
    other.ledger.accounts[0].balance = amount("1001");
    assert_eq!(
        audit(&other, blocks(&federation)),
        Err(AuditError::Header(Height::new(1)))
    );
}

#[test]
fn a_block_that_was_refused_leaves_the_auditor_as_it_was() {
    let federation = story();
    let real = blocks(&federation);
    let mut auditor = auditor(&federation.genesis);
    auditor.block(real[0].clone()).unwrap();
    let mut forged = real.clone();
    forged[1].certificate.votes.signatures[0] ^= 1;
    assert!(auditor.block(forged[1].clone()).is_err());
    assert_eq!(auditor.height(), Height::new(1));
    for block in &real[1..] {
        auditor.block(block.clone()).unwrap();
    }
    assert_eq!(auditor.tip(), federation.nodes[0].replica.tip());
}
