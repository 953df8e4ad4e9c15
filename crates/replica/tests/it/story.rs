//! The main job: a transfer in two phases on four replicas, and rest afterwards.

use crate::federation::{Federation, amount, commit, genesis, lock, transfer};
use polity_consensus::fbpbft::VoteKind;
use polity_ledger::{LockId, LockState, Outcome, SignedTransaction};
use polity_replica::Admission;
use polity_types::{Amount, StateMachine, Time, View};
use rstest::rstest;

/// LOCK 200 from Alice to Bob; gives the lock.
fn lock_200(federation: &mut Federation, at: usize, expires: Time) -> LockId {
    let command = lock("alice@thor", "bob@sprout", "200", expires);
    let transaction = federation.transaction("alice@thor", &["alice@thor"], vec![command]);
    federation.submit(at, &transaction);
    assert_eq!(federation.answer(at), Ok(Admission::Pending));
    federation.settle(&transaction);
    LockId::derive(&transaction.id(), 0)
}

fn commit_200(federation: &mut Federation, at: usize, lock: LockId) -> SignedTransaction {
    let command = commit(lock, "200");
    let transaction = federation.transaction("bob@sprout", &["sprout"], vec![command]);
    federation.submit(at, &transaction);
    federation.settle(&transaction);
    transaction
}

/// What has to hold on all replicas after every block: equal blocks, roots and receipts, and the
/// sum of all balances.
fn check_agreement(federation: &Federation, supply: &str) {
    let first = &federation.nodes[0];
    for node in &federation.nodes {
        assert_eq!(node.chain.len(), first.chain.len());
        for (own, of_first) in node.chain.iter().zip(&first.chain) {
            assert_eq!(own.block, of_first.block);
            assert_eq!(own.roots, of_first.roots);
            assert_eq!(own.ledger_root, of_first.ledger_root);
            assert_eq!(own.receipts, of_first.receipts);
            assert_eq!(own.certificate.kind, VoteKind::Commit);
            assert_eq!(own.certificate.value.digest, own.block.digest());
        }
        let ledger = node.replica.ledger();
        // LG-9: the sum of all totals is what the genesis set.
        let total: Amount = ledger.accounts().fold(Amount::ZERO, |sum, account| {
            sum.checked_add(account.total).unwrap()
        });
        assert_eq!(total, amount(supply));
        assert_eq!(ledger.audit(), Ok(()));
    }
}

#[test]
fn lg_1_lock_and_commit_on_four_replicas() {
    let mut federation = Federation::new();
    let expires = Time::from_millis(60_000);
    // Alice's platform and Bob's talk to their own replicas; the state is one.
    let id = lock_200(&mut federation, 0, expires);
    check_agreement(&federation, "1500");
    for index in 0..4 {
        assert_eq!(
            federation.balance(index, "alice@thor"),
            ["1000", "800", "200"]
        );
        assert_eq!(federation.balance(index, "bob@sprout"), ["500", "500", "0"]);
        let lock = federation.nodes[index].replica.ledger().lock(&id).unwrap();
        assert_eq!(lock.state, LockState::Open);
    }
    commit_200(&mut federation, 1, id);
    check_agreement(&federation, "1500");
    for index in 0..4 {
        assert_eq!(federation.balance(index, "alice@thor"), ["800", "800", "0"]);
        assert_eq!(federation.balance(index, "bob@sprout"), ["700", "700", "0"]);
        let lock = federation.nodes[index].replica.ledger().lock(&id).unwrap();
        assert_eq!(lock.state, LockState::Committed);
    }
    let views = federation.nodes[0].chain.iter();
    assert!(
        views.clone().all(|c| c.certificate.view == View::ZERO),
        "nobody had to change the view"
    );
}

#[rstest]
#[case::lock_and_commit(false)]
#[case::with_one_replica_down(true)]
fn fb_8_the_chain_rests_when_its_roots_are_recorded(#[case] is_one_down: bool) {
    let mut federation = Federation::new();
    federation.nodes[3].is_down = is_one_down;
    let id = lock_200(&mut federation, 0, Time::from_millis(1_728_000_000));
    commit_200(&mut federation, 1, id);
    let height = federation.height();
    // The last header names the roots that everybody has, so no block is due.
    for node in federation.nodes.iter().filter(|node| !node.is_down) {
        let tip = node.replica.tip();
        assert!(!tip.is_unrecorded);
        let header = node.chain.last().unwrap().block.header();
        assert_eq!(header.application_root, tip.roots.application);
    }
    federation.run(3_600_000);
    assert_eq!(federation.height(), height, "an hour of rest adds no block");
    // And it is no sleep: the next transaction finds everybody awake.
    let next = federation.transfer("alice@thor", "bob@sprout", "1");
    federation.submit(0, &next);
    federation.settle(&next);
    assert!(federation.height() > height);
}

#[test]
fn lg_7_a_lock_expires_in_an_idle_federation() {
    let mut federation = Federation::new();
    let expires = Time::from_millis(500_000);
    let id = lock_200(&mut federation, 2, expires);
    let height = federation.height();
    federation.run_until("just before the expiry", |federation| {
        let deadline = federation.nodes[0].replica.deadline();
        federation.now.as_millis() >= 498_000 && deadline.is_some()
    });
    assert_eq!(federation.height(), height);
    assert_eq!(
        federation.balance(0, "alice@thor"),
        ["1000", "800", "200"],
        "early"
    );
    // Nobody says anything, and still the lock comes to its end, once, on every replica.
    federation.run(10_000);
    check_agreement(&federation, "1500");
    for (index, node) in federation.nodes.iter().enumerate() {
        let swept: Vec<LockId> = node.chain.iter().flat_map(|c| c.expired.clone()).collect();
        assert_eq!(swept, [id]);
        assert_eq!(
            federation.balance(index, "alice@thor"),
            ["1000", "1000", "0"]
        );
        let lock = node.replica.ledger().lock(&id).unwrap();
        assert_eq!(lock.state, LockState::Expired);
    }
    let height = federation.height();
    federation.run(600_000);
    assert_eq!(federation.height(), height, "then the chain rests again");
}

#[test]
fn lg_7_more_due_locks_than_a_block_may_expire_take_more_blocks() {
    let mut genesis = genesis();
    genesis.ledger.parameters.expiries_per_block_max = 3;
    let mut federation = Federation::of(genesis);
    let expires = Time::from_millis(100_000);
    let commands = vec![lock("alice@thor", "bob@sprout", "1", expires); 8];
    let locks = federation.transaction("alice@thor", &["alice@thor"], commands);
    federation.submit(0, &locks);
    federation.settle(&locks);
    assert_eq!(federation.balance(0, "alice@thor"), ["1000", "992", "8"]);
    federation.run(120_000);
    let swept: Vec<usize> = federation.nodes[0]
        .chain
        .iter()
        .map(|committed| committed.expired.len())
        .filter(|count| *count > 0)
        .collect();
    assert_eq!(swept, [3, 3, 2]);
    check_agreement(&federation, "1500");
}

#[test]
fn fb_14_a_replica_that_was_down_catches_up_and_continues() {
    let mut federation = Federation::new();
    federation.nodes[3].is_down = true;
    for _ in 0..5 {
        let next = federation.transfer("alice@thor", "bob@sprout", "1");
        federation.submit(0, &next);
        federation.settle(&next);
    }
    assert!(federation.nodes[3].chain.is_empty());
    federation.nodes[3].is_down = false;
    let height = federation.nodes[0].replica.tip().parent.height;
    federation.run_until("the late replica is there", |federation| {
        federation.height() == height
    });
    check_agreement(&federation, "1500");
    // It takes part again: now another one may be missing.
    federation.nodes[1].is_down = true;
    let next = federation.transfer("alice@thor", "bob@sprout", "1");
    federation.submit(3, &next);
    federation.settle(&next);
    assert_eq!(federation.balance(3, "bob@sprout"), ["506", "506", "0"]);
}

#[test]
fn lg_12_transactions_that_lost_their_means_do_not_keep_the_chain_busy() {
    let mut genesis = genesis();
    genesis.ledger.parameters.fee_flat = amount("100");
    let mut federation = Federation::of(genesis);
    // Bob can pay five fees; each of ten transactions could be the one that takes them.
    let spending: Vec<SignedTransaction> = (0..10)
        .map(|_| {
            let command = transfer("bob@sprout", "alice@thor", "50");
            federation.transaction("bob@sprout", &["bob@sprout"], vec![command])
        })
        .collect();
    for transaction in &spending {
        federation.submit(2, transaction);
        assert_eq!(federation.answer(2), Ok(Admission::Pending));
    }
    federation.run(120_000);
    federation.rest();
    let height = federation.height();
    let applied = federation.nodes[0]
        .chain
        .iter()
        .flat_map(|c| c.receipts.iter());
    let paid = applied
        .filter(|receipt| receipt.outcome == Ok(Outcome::Applied))
        .count();
    assert_eq!(paid, 3, "three times 150 of 500");
    check_agreement(&federation, "1500");
    federation.run(600_000);
    assert_eq!(federation.height(), height);
}
