//! Where transactions go before a block has them, and what clients are told.

use crate::federation::{
    Envelope, Federation, address, amount, genesis, key, lock, member_signer, sign, signer,
    transfer, with_junk_signature,
};
use polity_ledger::{Command, Inadmissible, Rejection, SignedTransaction};
use polity_replica::{Admission, Config, Effect, Frame, Input, PoolConfig, Record, Refusal};
use polity_types::{Height, ReplicaId, StateMachine, Time, View};
use rstest::rstest;

fn is_transactions(envelope: &Envelope) -> bool {
    let frame = Frame::decode(&envelope.bytes, 4 * 1024 * 1024).expect("replicas encode");
    matches!(frame, Frame::Transactions(_))
}

/// A replica that does not lead the next height.
fn follower(federation: &Federation) -> usize {
    (federation.next_leader() + 1) % 4
}

#[test]
fn fb_8_a_clients_transaction_is_stored_answered_and_sent_to_all() {
    let mut federation = Federation::new();
    let at = follower(&federation);
    federation.step();
    let since = federation.nodes[at].effects.len();
    let transaction = federation.transfer("alice@thor", "bob@sprout", "1");
    federation.submit(at, &transaction);
    let effects = &federation.nodes[at].effects[since..];
    // Durable first, then the promise.
    let [
        Effect::Persist(Record::Pooled(bytes)),
        Effect::Answer { id, result },
    ] = effects
    else {
        panic!("{effects:?}");
    };
    assert_eq!(bytes.as_slice(), transaction.encode());
    assert_eq!((*id, *result), (transaction.id(), Ok(Admission::Pending)));
    assert!(!federation.nodes[at].replica.pool().has_forwarded());
    // After the time of gathering everybody gets it, and from then on it is work.
    federation.run(federation.config.gather.as_millis() as u64);
    assert_eq!(federation.nodes[at].forwarded(), [1]);
    assert!(federation.nodes[at].replica.pool().has_forwarded());
    federation.settle(&transaction);
    for node in &federation.nodes {
        assert_eq!(node.chain[0].receipts[0].id, transaction.id());
        assert_eq!(node.chain[0].certificate.view, View::ZERO);
    }
    let others: usize = federation
        .nodes
        .iter()
        .map(|node| node.forwarded().len())
        .sum();
    assert_eq!(others, 1, "who got it from a member does not send it again");
}

#[test]
fn transactions_that_come_together_travel_together() {
    let config = Config {
        gather_max: 4,
        ..Config::default()
    };
    let mut federation = Federation::with(genesis(), config);
    let at = follower(&federation);
    federation.step();
    let transactions: Vec<_> = (0..10)
        .map(|_| federation.transfer("alice@thor", "bob@sprout", "1"))
        .collect();
    let verified = transactions
        .iter()
        .map(|t| federation.verified(t))
        .collect();
    federation.input(at, Input::Submitted(verified));
    federation.run(20);
    assert_eq!(federation.nodes[at].forwarded(), [4, 4, 2]);
}

#[test]
fn frames_of_large_transactions_stay_small() {
    let mut federation = Federation::new();
    let at = follower(&federation);
    federation.step();
    let transactions: Vec<_> = (0..200)
        .map(|_| {
            let commands = vec![transfer("alice@thor", "bob@sprout", "0.000001"); 64];
            federation.transaction("alice@thor", &["alice@thor"], commands)
        })
        .collect();
    let sum: usize = transactions.iter().map(|t| t.encode().len()).sum();
    assert!(sum > 300_000, "more than one frame takes: {sum}");
    let verified = transactions
        .iter()
        .map(|t| federation.verified(t))
        .collect();
    federation.input(at, Input::Submitted(verified));
    let since = federation.nodes[at].effects.len();
    federation.run(20);
    let frames: Vec<usize> = federation.nodes[at].effects[since..]
        .iter()
        .filter_map(|effect| match effect {
            Effect::Broadcast(frame @ Frame::Transactions(_)) => Some(frame.encode().len()),
            _ => None,
        })
        .collect();
    // The lane of transactions takes a quarter of a mebibyte.
    assert!(
        frames.iter().all(|bytes| *bytes <= 256 * 1024),
        "{frames:?}"
    );
    let sent: usize = federation.nodes[at].forwarded().iter().sum();
    assert_eq!(sent, 200, "all the same");
}

/// FB-8, R9: one client, or one faulty member, feeds a single replica.
#[test]
fn r9_what_one_replica_alone_got_is_no_work_until_it_is_forwarded() {
    let mut federation = Federation::new();
    let at = follower(&federation);
    federation.step();
    federation.run(5);
    let transaction = federation.transfer("alice@thor", "bob@sprout", "1");
    let input = Input::Gossiped {
        from: ReplicaId::new(((at + 1) % 4) as u32),
        transactions: vec![federation.verified(&transaction)],
    };
    let start = federation.now;
    federation.input(at, input);
    let wait = federation.config.forward_after.as_millis() as u64;
    federation.run(wait - 10);
    let replica = &federation.nodes[at].replica;
    assert!(replica.pool().contains(&transaction.id()));
    assert!(!replica.pool().has_forwarded(), "not work yet");
    assert_eq!(federation.nodes[at].forwarded(), [0_usize; 0]);
    assert_eq!(federation.height(), Height::ZERO);
    // Then it tells everybody, and whoever leads proposes it: no view had to change.
    federation.settle(&transaction);
    assert_eq!(federation.nodes[at].forwarded(), [1]);
    assert!(federation.now.saturating_since(start).as_millis() < u128::from(wait) + 100);
    for node in &federation.nodes {
        assert!(node.chain.iter().all(|c| c.certificate.view == View::ZERO));
    }
}

#[test]
fn fb_8_own_clients_do_not_wait_for_what_others_gathered() {
    let mut federation = Federation::new();
    let at = follower(&federation);
    federation.step();
    let gossiped = federation.transfer("alice@thor", "bob@sprout", "1");
    let own = federation.transfer("bob@sprout", "alice@thor", "1");
    let input = Input::Gossiped {
        from: ReplicaId::new(((at + 1) % 4) as u32),
        transactions: vec![federation.verified(&gossiped)],
    };
    federation.input(at, input);
    federation.submit(at, &own);
    federation.run(3);
    // The own one is on its way; the gossiped one is not sent along, since all have it as a rule.
    assert_eq!(federation.nodes[at].forwarded(), [1]);
    let pool = federation.nodes[at].replica.pool();
    assert_eq!(pool.next_forward().is_some(), pool.contains(&gossiped.id()));
}

#[test]
fn lg_4_submitting_again_returns_the_receipt() {
    let mut federation = Federation::new();
    let transaction = federation.transfer("alice@thor", "bob@sprout", "1");
    federation.submit(0, &transaction);
    assert_eq!(federation.answer(0), Ok(Admission::Pending));
    federation.submit(0, &transaction);
    assert_eq!(federation.answer(0), Ok(Admission::Known));
    federation.settle(&transaction);
    let height = federation.height();
    let receipt = federation.nodes[0].chain[0].receipts[0];
    // Anywhere, and without a second effect.
    for index in 0..4 {
        federation.submit(index, &transaction);
        assert_eq!(federation.answer(index), Ok(Admission::Decided(receipt)));
        assert!(federation.nodes[index].replica.pool().is_empty());
    }
    federation.run(5_000);
    assert_eq!(federation.height(), height);
    assert_eq!(federation.balance(0, "alice@thor"), ["999", "999", "0"]);
}

#[test]
fn lg_8_what_was_refused_for_now_may_be_sent_again() {
    let mut federation = Federation::new();
    let spending = federation.transfer("carol@thor", "bob@sprout", "5");
    federation.submit(0, &spending);
    federation.run(50);
    let receipt = federation.nodes[0].chain[0].receipts[0];
    assert_eq!(receipt.outcome, Err(Rejection::InsufficientFunds));
    assert!(
        federation
            .nodes
            .iter()
            .all(|node| node.replica.pool().is_empty())
    );
    let funding = federation.transfer("alice@thor", "carol@thor", "5");
    federation.submit(1, &funding);
    federation.settle(&funding);
    federation.submit(0, &spending);
    assert_eq!(federation.answer(0), Ok(Admission::Pending), "not used up");
    federation.settle(&spending);
    assert_eq!(federation.balance(3, "bob@sprout"), ["505", "505", "0"]);
}

#[rstest]
#[case::expired(0, Inadmissible::Expired)]
#[case::too_far(5_000, Inadmissible::TooFar)]
fn lg_4_a_transaction_that_no_block_may_hold_is_refused(
    #[case] valid_until: u64,
    #[case] reason: Inadmissible,
) {
    let mut federation = Federation::new();
    let first = federation.transfer("alice@thor", "bob@sprout", "1");
    let mut content = first.transaction().clone();
    content.valid_until = Height::new(valid_until);
    let transaction = sign(content, &["alice@thor"]);
    federation.submit(0, &transaction);
    assert_eq!(federation.answer(0), Err(Refusal::Inadmissible(reason)));
    assert!(federation.nodes[0].replica.pool().is_empty());
    assert!(
        federation.nodes[0].journal.is_empty(),
        "no promise was made"
    );
}

#[test]
fn lg_4_what_expires_in_the_pool_leaves_it() {
    let mut federation = Federation::new();
    // Carol cannot be reached by a block: one replica alone has her transaction, and all frames
    // with transactions get lost.
    let late = federation.transfer("carol@thor", "bob@sprout", "5");
    let mut content = late.transaction().clone();
    content.valid_until = Height::new(3);
    let late = sign(content, &["carol@thor"]);
    let at = follower(&federation);
    federation.submit(at, &late);
    federation.network.clear();
    let other = (at + 1) % 4;
    for _ in 0..20 {
        let next = federation.transfer("alice@thor", "bob@sprout", "1");
        federation.submit(other, &next);
        federation.run_until("decided", |federation| {
            federation
                .network
                .iter()
                .all(|envelope| envelope.from != at || !is_transactions(envelope))
                && federation.nodes[other]
                    .replica
                    .ledger()
                    .receipt(&next.id())
                    .is_some()
        });
    }
    federation.rest();
    assert!(federation.height() > Height::new(16));
    assert!(federation.nodes[at].replica.pool().is_empty());
}

#[test]
fn the_pool_is_bounded_whoever_sends() {
    let config = Config {
        pool: PoolConfig {
            count_max: 8,
            per_account_max: 4,
            ..PoolConfig::default()
        },
        ..Config::default()
    };
    let mut federation = Federation::with(genesis(), config);
    let at = follower(&federation);
    for number in 0..5 {
        let transaction = federation.transfer("alice@thor", "bob@sprout", "1");
        federation.submit(at, &transaction);
        let expected = if number < 4 {
            Ok(Admission::Pending)
        } else {
            Err(Refusal::AccountFull { max: 4 })
        };
        assert_eq!(federation.answer(at), expected);
    }
    // A flood by gossip from another account cannot push Alice's out.
    let flood: Vec<_> = (0..10)
        .map(|_| {
            let transaction = federation.transfer("bob@sprout", "alice@thor", "1");
            federation.verified(&transaction)
        })
        .collect();
    federation.input(
        at,
        Input::Gossiped {
            from: ReplicaId::new(((at + 1) % 4) as u32),
            transactions: flood,
        },
    );
    let pool = federation.nodes[at].replica.pool();
    assert_eq!(pool.len(), 8);
    assert_eq!(
        federation.nodes[at].journal.len(),
        4,
        "gossip is no promise"
    );
    federation.rest();
    let senders = federation.nodes[0]
        .chain
        .iter()
        .flat_map(|c| c.receipts.iter());
    assert!(senders.count() >= 8);
}

/// Keys that nobody knows are free to make, so what they sign may not cost anybody a place.
#[test]
fn strangers_push_nobody_out_of_the_pool() {
    let config = Config {
        pool: PoolConfig {
            count_max: 8,
            per_account_max: 8,
            ..PoolConfig::default()
        },
        ..Config::default()
    };
    let mut federation = Federation::with(genesis(), config);
    let at = follower(&federation);
    federation.step();
    let from = ReplicaId::new(((at + 1) % 4) as u32);
    let mut promised = Vec::new();
    for _ in 0..4 {
        let transaction = federation.transfer("alice@thor", "bob@sprout", "1");
        federation.submit(at, &transaction);
        assert_eq!(federation.answer(at), Ok(Admission::Pending));
        promised.push(transaction.id());
    }
    // Each names another account that does not exist, or one that is somebody else's.
    let mut junk = Vec::new();
    for number in 0..20 {
        let signer = format!("nobody{number}@thor");
        for signer in [signer.as_str(), "alice@thor"] {
            let command = transfer(signer, "bob@sprout", "1");
            let key = format!("stranger{number}");
            let transaction = federation.transaction(signer, &[&key], vec![command]);
            federation.submit(at, &transaction);
            assert_eq!(federation.answer(at), Err(Refusal::UnknownKey));
            junk.push(federation.verified(&transaction));
        }
    }
    let transactions = junk;
    federation.input(at, Input::Gossiped { from, transactions });
    assert_eq!(federation.nodes[at].replica.pool().len(), 4, "none is kept");
    // A platform may name any account as the signer; it is one principal all the same.
    let transactions = (0..40)
        .map(|number| {
            let signer = format!("nobody{number}@sprout");
            let command = transfer(&signer, "alice@thor", "1");
            let transaction = federation.transaction(&signer, &["sprout"], vec![command]);
            federation.verified(&transaction)
        })
        .collect();
    federation.input(at, Input::Gossiped { from, transactions });
    let bob = federation.transfer("bob@sprout", "alice@thor", "1");
    federation.submit(at, &bob);
    assert_eq!(federation.answer(at), Ok(Admission::Pending));
    let pool = federation.nodes[at].replica.pool();
    assert!(promised.iter().all(|id| pool.contains(id)));
}

/// A transaction that a member had sent before is promised like any other, so it is stored first.
#[test]
fn fb_15_what_gossip_brought_and_a_client_submits_survives_a_restart() {
    let mut federation = Federation::new();
    let at = follower(&federation);
    federation.step();
    let transaction = federation.transfer("alice@thor", "bob@sprout", "1");
    let input = Input::Gossiped {
        from: ReplicaId::new(((at + 1) % 4) as u32),
        transactions: vec![federation.verified(&transaction)],
    };
    federation.input(at, input);
    let since = federation.nodes[at].effects.len();
    federation.submit(at, &transaction);
    let [
        Effect::Persist(Record::Pooled(bytes)),
        Effect::Answer { result, .. },
    ] = &federation.nodes[at].effects[since..]
    else {
        panic!("{:?}", &federation.nodes[at].effects[since..]);
    };
    assert_eq!(bytes.as_slice(), transaction.encode());
    assert_eq!(*result, Ok(Admission::Pending));
    federation.submit(at, &transaction);
    assert_eq!(federation.answer(at), Ok(Admission::Known), "stored once");
    federation.network.clear();
    federation.restart(at);
    let pool = federation.nodes[at].replica.pool();
    assert!(pool.contains(&transaction.id()));
}

/// One transaction may spend what an earlier one brings, so they return in the order in which they
/// were promised.
#[test]
fn fb_15_the_pool_returns_in_the_order_of_its_records() {
    let mut federation = Federation::new();
    let at = follower(&federation);
    federation.step();
    let transactions: Vec<_> = (0..12)
        .map(|_| federation.transfer("alice@thor", "bob@sprout", "1"))
        .collect();
    for transaction in &transactions {
        federation.submit(at, transaction);
    }
    federation.network.clear();
    federation.restart(at);
    federation.settle(transactions.last().unwrap());
    let decided: Vec<_> = federation.nodes[at]
        .chain
        .iter()
        .flat_map(|committed| committed.receipts.iter().map(|receipt| receipt.id))
        .collect();
    let promised: Vec<_> = transactions.iter().map(SignedTransaction::id).collect();
    assert_eq!(decided, promised);
}

/// LG-4: what was decided is answered with its receipt, whatever became of its keys.
#[test]
fn lg_4_a_decided_rotation_returns_its_receipt_to_the_old_key() {
    let mut federation = Federation::new();
    let command = Command::RotateKey {
        account: address("alice@thor"),
        key: key("new"),
    };
    let rotation = federation.transaction("alice@thor", &["alice@thor"], vec![command]);
    federation.submit(0, &rotation);
    federation.settle(&rotation);
    let receipt = federation.nodes[1].chain[0].receipts[0];
    federation.submit(1, &rotation);
    assert_eq!(federation.answer(1), Ok(Admission::Decided(receipt)));
    // The old key is nobody's now.
    let late = federation.transfer("alice@thor", "bob@sprout", "1");
    federation.submit(1, &late);
    assert_eq!(federation.answer(1), Err(Refusal::UnknownKey));
}

#[test]
fn fb_15_the_pool_survives_a_restart() {
    let mut federation = Federation::new();
    let at = follower(&federation);
    let transactions = [
        federation.transfer("alice@thor", "bob@sprout", "1"),
        federation.transfer("bob@sprout", "alice@thor", "2"),
    ];
    for transaction in &transactions {
        federation.submit(at, transaction);
    }
    // It stops before anybody heard of them.
    federation.network.clear();
    federation.restart(at);
    let pool = federation.nodes[at].replica.pool();
    assert!(transactions.iter().all(|t| pool.contains(&t.id())));
    assert_eq!(
        pool.next_forward(),
        Some(Time::ZERO),
        "all hear of them at once"
    );
    for transaction in &transactions {
        federation.settle(transaction);
    }
    // What was decided does not come back after another restart.
    federation.restart(at);
    assert!(federation.nodes[at].replica.pool().is_empty());
    assert!(federation.nodes[at].replica.deadline().is_some());
    assert_eq!(federation.balance(at, "bob@sprout"), ["499", "499", "0"]);
}

/// FB-13: who has no vote repeats what was lost, however many blocks the others decide meanwhile.
#[test]
fn fb_13_a_follower_repeats_what_was_lost_while_others_decide() {
    let mut federation = Federation::new();
    let at = federation.follow(vec![signer("frey")]);
    federation.advance_to(1);
    let lost = federation.transfer("alice@thor", "bob@sprout", "1");
    federation.submit(at, &lost);
    while federation.nodes[at].forwarded().is_empty() {
        federation.step();
    }
    federation.network.retain(|envelope| envelope.from != at);
    let start = federation.now;
    // A block every quarter of a second, for longer than it waits.
    while federation.nodes[0]
        .replica
        .ledger()
        .receipt(&lost.id())
        .is_none()
    {
        let waited = federation.now.saturating_since(start);
        assert!(waited.as_secs() < 10, "its promise is forgotten");
        let next = federation.height().get() + 1;
        federation.advance_to(next);
        federation.run(250);
    }
    assert_eq!(federation.nodes[at].forwarded(), [1, 1]);
}

#[test]
fn lg_4_copies_with_other_signatures_do_not_pass_as_known() {
    let mut federation = Federation::new();
    let expires = Time::from_millis(60_000);
    let command = lock("alice@thor", "bob@sprout", "200", expires);
    let transaction = federation.transaction("alice@thor", &["alice@thor"], vec![command]);
    federation.submit(0, &transaction);
    // The door lets no copy with other signatures in, although its id is known.
    let chain = federation.nodes[0].replica.chain().id();
    let copy = with_junk_signature(&transaction);
    let admitted = polity_replica::admit(
        &copy.encode(),
        chain,
        polity_crypto::Tier::Stub,
        &mut polity_crypto::Checker::new(polity_crypto::stub::StubVerifier, 16),
    );
    assert_eq!(
        admitted.err(),
        Some(polity_replica::AdmitError::Signature(
            polity_crypto::VerifyError
        ))
    );
    federation.settle(&transaction);
}

/// Blocks that have room for a few of the accounts that wait must not serve the same few each time.
#[test]
fn small_blocks_serve_all_accounts_in_turn() {
    let mut genesis = genesis();
    // Alone, one replica leads every height.
    genesis.members.truncate(1);
    genesis.consensus.block_bytes_max = 128 * 1024;
    let names: Vec<String> = (0..20).map(|n| format!("user{n:02}@thor")).collect();
    let accounts = names.iter().map(|name| polity_ledger::GenesisAccount {
        address: address(name),
        owner: key(name),
        balance: amount("1000"),
    });
    genesis.ledger.accounts.extend(accounts);
    let mut federation = Federation::of(genesis);
    federation.step();
    let far = format!("{}@{}", "x".repeat(128), "y".repeat(64));
    let mut transactions = Vec::new();
    for name in (0..3).flat_map(|_| names.clone()) {
        // Long, and applied or not, it takes its place in a block.
        let commands = vec![transfer(&name, &far, "1"); 64];
        let transaction = federation.transaction(&name, &[&name], commands);
        transactions.push(federation.verified(&transaction));
    }
    federation.input(0, Input::Submitted(transactions));
    federation.rest();
    let chain = &federation.nodes[0].chain;
    let blocks = chain
        .iter()
        .filter(|committed| !committed.receipts.is_empty());
    assert!(
        blocks.count() > 4,
        "a block has room for a part of one round"
    );
    let served: Vec<String> = chain
        .iter()
        .flat_map(|committed| &committed.block.body().transactions)
        .map(|bytes| SignedTransaction::decode(bytes.as_slice()).unwrap())
        .map(|transaction| transaction.transaction().signer.to_string())
        .collect();
    assert_eq!(served.len(), 60);
    for round in served.chunks(20) {
        assert_eq!(
            round, names,
            "each account once before any has a second turn"
        );
    }
}

/// A payer that cannot pay the fee just now may be able to later: the promise waits, is no work, and
/// is kept through a restart.
#[test]
fn fb_15_a_promise_whose_payer_cannot_pay_waits() {
    let mut genesis = genesis();
    genesis.ledger.parameters.fee_flat = amount("1");
    genesis.ledger.accounts[2].balance = amount("1.5");
    let mut federation = Federation::of(genesis);
    let at = follower(&federation);
    // Carol can pay for each of them alone.
    let first = federation.transfer("carol@thor", "bob@sprout", "0.1");
    let second = federation.transfer("carol@thor", "bob@sprout", "0.2");
    for transaction in [&first, &second] {
        federation.submit(at, transaction);
        assert_eq!(federation.answer(at), Ok(Admission::Pending));
    }
    let is_decided = |federation: &Federation, id| {
        let ledger = federation.nodes[at].replica.ledger();
        ledger.receipt(&id).is_some()
    };
    federation.run(2_000);
    let waiting: Vec<bool> = [&first, &second]
        .map(|t| !is_decided(&federation, t.id()))
        .to_vec();
    assert_eq!(waiting.iter().filter(|waits| **waits).count(), 1);
    let late = if waiting[0] { &first } else { &second };
    assert!(federation.nodes[at].replica.pool().contains(&late.id()));
    // It makes nobody change the view.
    federation.run(30_000);
    let view = federation.nodes[at].replica.machine().view();
    assert_eq!(view, View::ZERO);
    federation.restart(at);
    assert!(federation.nodes[at].replica.pool().contains(&late.id()));
    federation.run(5_000);
    assert!(!is_decided(&federation, late.id()));
    let funding = federation.transfer("alice@thor", "carol@thor", "10");
    federation.submit(0, &funding);
    federation.settle(&funding);
    federation.settle(late);
    assert_eq!(federation.balance(at, "bob@sprout")[0], "500.3");
}

/// Promises of long ago do not fill the memory of a replica that starts.
#[test]
fn fb_15_promises_that_expired_are_not_restored() {
    let mut federation = Federation::new();
    let at = follower(&federation);
    let first = federation.transfer("alice@thor", "bob@sprout", "1");
    federation.submit(at, &first);
    federation.settle(&first);
    let mut journal = federation.nodes[at].journal.clone();
    let height = federation.height();
    let chain = federation.nodes[at].replica.chain().id();
    let mut restorer = federation.restorer();
    for record in journal.drain(..) {
        restorer.record(record).unwrap();
    }
    for (nonce, valid_until) in [(1, height), (2, height.next())] {
        let mut content = federation.transfer("alice@thor", "bob@sprout", "2");
        let mut changed = content.transaction().clone();
        changed.valid_until = valid_until;
        changed.nonce = 1_000 + nonce;
        content = sign(changed, &["alice@thor"]);
        assert_eq!(content.transaction().chain, chain);
        let bytes = polity_consensus::fbpbft::TransactionBytes::new(content.encode());
        restorer.record(Record::Pooled(bytes)).unwrap();
    }
    let replica = restorer
        .finish(Config::default(), member_signer(at as u32))
        .unwrap();
    assert_eq!(replica.pool().len(), 1);
}

/// There is room to hold what a member sent and none to promise it: nothing is stored, and a restart
/// may lose it, so the client is not told that it is kept.
#[test]
fn what_waits_without_a_promise_is_told_apart() {
    let config = Config {
        pool: PoolConfig {
            count_max: 8,
            per_account_max: 8,
            ..PoolConfig::default()
        },
        ..Config::default()
    };
    let mut federation = Federation::with(genesis(), config);
    let at = follower(&federation);
    federation.step();
    // Half of the pool is what one account may have promised.
    for _ in 0..4 {
        let transaction = federation.transfer("alice@thor", "bob@sprout", "1");
        federation.submit(at, &transaction);
        assert_eq!(federation.answer(at), Ok(Admission::Pending));
    }
    let passing = federation.transfer("alice@thor", "bob@sprout", "1");
    let input = Input::Gossiped {
        from: ReplicaId::new(((at + 1) % 4) as u32),
        transactions: vec![federation.verified(&passing)],
    };
    federation.input(at, input);
    let stored = federation.nodes[at].journal.len();
    federation.submit(at, &passing);
    assert_eq!(federation.answer(at), Ok(Admission::Passing));
    assert_eq!(federation.nodes[at].journal.len(), stored);
    federation.settle(&passing);
}
