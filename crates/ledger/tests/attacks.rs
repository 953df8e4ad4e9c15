//! Attacks by name: those that review found against the design, and those that work against the
//! prototype.

mod common;

use common::{
    CHAIN, Tx, World, address, amount, commit, genesis, key, lock, open, rollback, sign, signed,
    transfer, verified,
};
use polity_crypto::stub::StubVerifier;
use polity_crypto::{Checker, Verified};
use polity_ledger::{
    BlockError, Command, Genesis, GenesisAccount, Inadmissible, LockId, LockState, LockView,
    Outcome, Parameters, Rejection, SignedTransaction, Transaction, TransactionError,
};
use polity_types::{Amount, ChainId, Height, Seed, Time};

const APPLIED: Result<Outcome, Rejection> = Ok(Outcome::Applied);

/// Every open lock of an account, page by page.
fn open_locks(world: &World, account: &str, page: usize) -> Vec<LockView> {
    let mut locks = Vec::new();
    let mut after = None;
    loop {
        let found = world
            .ledger
            .locks_of(&address(account), after, page, 2 * page);
        assert!(found.locks.len() <= page);
        locks.extend(found.locks);
        if found.next.is_none() {
            return locks;
        }
        assert!(found.next > after, "a walk goes on");
        after = found.next;
    }
}

fn invalid(index: u32, reason: Inadmissible) -> BlockError {
    BlockError::Transaction { index, reason }
}

#[test]
fn headline_a0_lock_and_commit_conserve_the_supply() {
    let mut world = World::new();
    world.assert_balance("alice@thor", "1000", "1000", "0");
    let id = world.lock("200", 60_000);
    world.assert_balance("alice@thor", "1000", "800", "200");
    assert_eq!(world.ledger.supply().total(), amount("1500"));
    let pay = world.tx("bob@sprout", &["sprout"], commit(id, "200"));
    assert_eq!(world.run(&pay), APPLIED);
    world.assert_balance("alice@thor", "800", "800", "0");
    world.assert_balance("bob@sprout", "700", "700", "0");
    assert_eq!(world.ledger.supply().total(), amount("1500"));
}

// ---- attacks found by review -------------------------------------------------------------------

#[test]
fn lg_6_a_partial_commit_by_the_payer_is_no_refund() {
    let mut world = World::new();
    let id = world.lock("200", 60_000);
    let refund = world.own("alice@thor", commit(id, "0.000001"));
    assert_eq!(world.run(&refund), Err(Rejection::PartialCommit));
    world.assert_balance("alice@thor", "1000", "800", "200");
    let whole = world.own("alice@thor", commit(id, "200"));
    assert_eq!(world.run(&whole), APPLIED);
    world.assert_balance("bob@sprout", "700", "700", "0");
}

#[test]
fn lg_6_the_payer_cannot_roll_back() {
    let mut world = World::new();
    let id = world.lock("200", 60_000);
    let back = world.own("alice@thor", rollback(id));
    assert_eq!(world.run(&back), Err(Rejection::NotAuthorised));
    // The payer's platform has no say either.
    let back = world.tx("alice@thor", &["thor"], rollback(id));
    assert_eq!(world.run(&back), Err(Rejection::NotAuthorised));
    let back = world.tx("bob@sprout", &["sprout"], rollback(id));
    assert_eq!(world.run(&back), APPLIED);
    world.assert_balance("alice@thor", "1000", "1000", "0");
}

#[test]
fn lg_5_nobody_can_take_a_lock_id_before_its_owner() {
    let mut world = World::new();
    let command = lock("alice@thor", "bob@sprout", "200", 60_000);
    let honest = world.own("alice@thor", command.clone());
    let id = LockId::derive(&honest.id(), 0);
    // Mallory sees the transaction and sends the same wish, nonce included, under another key.
    let content = honest.transaction();
    let copied = sign(
        "alice@thor",
        &["mallory@thor"],
        vec![command],
        content.valid_until,
        content.nonce,
    );
    assert_ne!(LockId::derive(&copied.id(), 0), id);
    let applied = world.block(&[&copied, &honest]);
    assert_eq!(applied.receipts[0].outcome, Err(Rejection::NotAuthorised));
    assert_eq!(applied.receipts[1].outcome, Ok(Outcome::Locked(id)));
}

#[test]
fn lg_4_copied_bytes_signed_by_another_key_do_not_verify_and_burn_no_id() {
    let mut world = World::new();
    let honest = world.own("alice@thor", transfer("alice@thor", "bob@sprout", "1"));
    // The honest content with a signature of Mallory's key.
    let by_mallory = signed(
        "alice@thor",
        &["mallory@thor"],
        honest.transaction().commands.clone(),
        honest.transaction().valid_until,
        honest.transaction().nonce,
    );
    let content = honest.transaction().clone();
    let forged = SignedTransaction::new(content, by_mallory.signatures().to_vec()).unwrap();
    assert_eq!(forged.id(), honest.id());
    let mut checker = Checker::new(StubVerifier, 0);
    assert!(Verified::check(forged, &CHAIN, &mut checker).is_err());
    // Mallory's own transaction has another id, so the honest one still counts.
    assert_ne!(by_mallory.id(), honest.id());
    let applied = world.block(&[&verified(by_mallory), &honest]);
    assert_eq!(applied.receipts[0].outcome, Err(Rejection::NotAuthorised));
    assert_eq!(applied.receipts[1].outcome, APPLIED);
}

#[test]
fn lg_8_a_spend_before_its_funding_can_be_sent_again() {
    let mut world = World::new();
    let funding = world.own("alice@thor", transfer("alice@thor", "carol@thor", "10"));
    let spend = world.own("carol@thor", transfer("carol@thor", "bob@sprout", "10"));
    let applied = world.block(&[&spend, &funding]);
    assert_eq!(
        applied.receipts[0].outcome,
        Err(Rejection::InsufficientFunds)
    );
    assert_eq!(world.ledger.receipt(&spend.id()), None);
    assert_eq!(world.run(&spend), APPLIED);
    world.assert_balance("bob@sprout", "510", "510", "0");
    assert_eq!(
        world.try_block(&[&spend]),
        Err(invalid(0, Inadmissible::IdInWindow))
    );
}

#[test]
fn lg_7_a_flood_of_due_locks_expires_in_bounded_portions() {
    let parameters = Parameters {
        open_locks_max: 10_000,
        expiries_per_block_max: 100,
        ..Parameters::default()
    };
    let mut world = World::with(parameters);
    let nonce = std::cell::Cell::new(0);
    let flood: Vec<Tx> = (0..50)
        .map(|_| {
            nonce.set(nonce.get() + 1);
            let locks = vec![lock("alice@thor", "bob@sprout", "0.01", 5_000); 64];
            sign(
                "alice@thor",
                &["alice@thor"],
                locks,
                Height::new(10),
                nonce.get(),
            )
        })
        .collect();
    let refs: Vec<&Tx> = flood.iter().collect();
    world.block(&refs);
    let count = 50 * 64;
    assert_eq!(open_locks(&world, "alice@thor", 1_000).len(), count);
    let mut order: Vec<_> = world.ledger.locks().map(|lock| lock.id).collect();
    order.sort();

    // One lock is due but not swept yet when its platform tries to commit it.
    let late = *order.last().unwrap();
    let tries = world.tx("bob@sprout", &["sprout"], commit(late, "0.01"));
    let applied = world.block_at(5_000, &[&tries]).unwrap();
    assert_eq!(world.ledger.lock(&late).unwrap().state, LockState::Open);
    assert_eq!(applied.receipts[0].outcome, Err(Rejection::LockExpired));

    let mut expired = applied.expired;
    assert_eq!(expired.len(), 100);
    while world.ledger.next_expiry().is_some() {
        let more = world.block_at(5_000, &[]).unwrap().expired;
        assert!(!more.is_empty() && more.len() <= 100);
        expired.extend(more);
    }
    assert_eq!(expired, order, "by (expires, id)");
    world.assert_balance("alice@thor", "1000", "1000", "0");
}

#[test]
fn lg_7_an_idle_federation_has_something_to_decide_when_a_lock_is_due() {
    let mut world = World::new();
    assert_eq!(world.ledger.next_expiry(), None);
    let id = world.lock("200", 60_000);
    assert_eq!(world.ledger.next_expiry(), Some(Time::from_millis(60_000)));
    let root = world.ledger.root();
    assert_eq!(world.block_at(59_999, &[]).unwrap().expired, []);
    assert_eq!(world.ledger.root(), root, "an empty block changes nothing");
    assert_eq!(world.block_at(60_000, &[]).unwrap().expired, [id]);
    assert_eq!(world.ledger.next_expiry(), None);
    world.assert_balance("alice@thor", "1000", "1000", "0");
}

#[test]
fn lg_5_atomic_spends_once_what_is_there_once() {
    let mut world = World::new();
    let give = world.own("alice@thor", transfer("alice@thor", "carol@thor", "100"));
    world.run(&give).unwrap();
    let both = vec![
        transfer("carol@thor", "bob@sprout", "100"),
        transfer("carol@thor", "alice@thor", "100"),
    ];
    let both = world.atomic("carol@thor", &["carol@thor"], both);
    let receipt = world.block(&[&both]).receipts[0];
    assert_eq!(receipt.outcome, Err(Rejection::InsufficientFunds));
    assert_eq!(receipt.refused_command, Some(1));
    world.assert_balance("carol@thor", "100", "100", "0");
    world.assert_balance("bob@sprout", "500", "500", "0");
}

#[test]
fn lg_5_atomic_takes_back_every_kind_of_change() {
    let mut world = World::new();
    let old = world.lock("5", 60_000);
    let settled = world.lock("6", 60_000);
    let pay = world.tx("bob@sprout", &["sprout"], commit(settled, "6"));
    world.run(&pay).unwrap();
    let root = world.ledger.root();
    let commands = vec![
        open("dave@thor"),
        transfer("alice@thor", "dave@thor", "1"),
        lock("dave@thor", "bob@sprout", "0.5", 60_000),
        commit(old, "2"),
        Command::RotateKey {
            account: address("alice@thor"),
            key: key("new"),
        },
        Command::FreezeAccount {
            account: address("bob@sprout"),
            frozen: true,
        },
        Command::RegisterPlatform {
            platform: "legion".parse().unwrap(),
            key: key("legion"),
            quota: 3,
        },
        Command::Mint {
            to: address("bob@sprout"),
            amount: amount("9"),
        },
        Command::Burn {
            from: address("bob@sprout"),
            amount: amount("3"),
        },
        Command::CloseAccount {
            account: address("carol@thor"),
        },
        // Dave signed, but not with a key that is his.
        transfer("dave@thor", "bob@sprout", "100"),
    ];
    let keys = [
        "alice@thor",
        "thor",
        "sprout",
        "root1",
        "root3",
        "dave@thor",
    ];
    let all = world.atomic("alice@thor", &keys, commands);
    let receipt = world.block(&[&all]).receipts[0];
    assert_eq!(receipt.outcome, Err(Rejection::InsufficientFunds));
    assert_eq!(receipt.refused_command, Some(10));
    assert_eq!(world.ledger.root(), root, "and its id is not used up");
    assert!(world.ledger.account(&address("dave@thor")).is_none());
    assert_eq!(world.ledger.lock(&old).unwrap().state, LockState::Open);
    assert_eq!(world.ledger.platforms().count(), 2);
}

#[test]
fn lg_5_every_item_of_atomic_needs_its_own_authority() {
    let mut world = World::new();
    let swap = vec![
        transfer("alice@thor", "bob@sprout", "1"),
        transfer("bob@sprout", "alice@thor", "2"),
    ];
    let alone = world.atomic("alice@thor", &["alice@thor"], swap.clone());
    let receipt = world.block(&[&alone]).receipts[0];
    assert_eq!(receipt.outcome, Err(Rejection::NotAuthorised));
    assert_eq!(receipt.refused_command, Some(1));
    let both = world.atomic("alice@thor", &["alice@thor", "bob@sprout"], swap);
    assert_eq!(world.run(&both), APPLIED);
    world.assert_balance("alice@thor", "1001", "1001", "0");
}

#[test]
fn lg_5_a_self_transfer_is_refused() {
    let mut world = World::new();
    let transaction = world.own("alice@thor", transfer("alice@thor", "alice@thor", "1"));
    assert_eq!(world.run(&transaction), Err(Rejection::SameAccount));
    let transaction = world.own("alice@thor", lock("alice@thor", "alice@thor", "1", 9_000));
    assert_eq!(world.run(&transaction), Err(Rejection::SameAccount));
    world.assert_balance("alice@thor", "1000", "1000", "0");
}

fn with_fee(flat: &str) -> Parameters {
    Parameters {
        fee_flat: amount(flat),
        ..Parameters::default()
    }
}

#[test]
fn lg_12_a_payer_that_receives_the_fee_keeps_it_and_gains_nothing() {
    let mut world = World::with(with_fee("1"));
    let transaction = world.own("alice@thor", transfer("alice@thor", "bob@sprout", "10"));
    let at = Height::new(1);
    let time = Time::from_millis(1_000);
    let block = &[&transaction];
    world
        .ledger
        .apply(at, time, &address("alice@thor"), block)
        .unwrap();
    world.ledger.check_invariants();
    world.assert_balance("alice@thor", "990", "990", "0");
    world.assert_balance("bob@sprout", "510", "510", "0");
}

#[test]
fn lg_12_fees_go_to_the_receiver_by_flat_price_and_bytes() {
    let parameters = Parameters {
        fee_flat: amount("1"),
        fee_per_byte: amount("0.001"),
        ..Parameters::default()
    };
    let mut world = World::with(parameters);
    let transaction = world.own("alice@thor", transfer("alice@thor", "bob@sprout", "10"));
    let length = transaction.encode().len() as u128;
    let fee = Amount::from_units(1_000_000 + 1_000 * length);
    let receipt = world.block(&[&transaction]).receipts[0];
    assert_eq!((receipt.fee, world.ledger.fee(&transaction)), (fee, fee));
    let fees = world.ledger.account(&address("fees@thor")).unwrap();
    assert_eq!(fees.total, fee);
}

#[test]
fn lg_12_a_fee_that_nobody_can_receive_leaves_the_supply() {
    let mut world = World::with(with_fee("1"));
    let transaction = world.own("alice@thor", transfer("alice@thor", "bob@sprout", "10"));
    let receiver = address("nobody@thor");
    let time = Time::from_millis(1_000);
    world
        .ledger
        .apply(Height::new(1), time, &receiver, &[&transaction])
        .unwrap();
    world.ledger.check_invariants();
    assert_eq!(world.ledger.supply().burned, amount("1"));
    assert_eq!(world.ledger.supply().total(), amount("1499"));
}

#[test]
fn lg_8_rejected_transactions_are_not_free() {
    let mut world = World::with(with_fee("400"));
    for expected in ["600", "200"] {
        let refused = world.own("alice@thor", transfer("alice@thor", "nobody@thor", "1"));
        let receipt = world.block(&[&refused]).receipts[0];
        assert_eq!(receipt.outcome, Err(Rejection::AccountNotFound));
        assert_eq!(receipt.fee, amount("400"));
        world.assert_balance("alice@thor", expected, expected, "0");
    }
    // Who cannot pay gets into no block at all.
    let refused = world.own("alice@thor", transfer("alice@thor", "nobody@thor", "1"));
    assert_eq!(
        world.try_block(&[&refused]),
        Err(invalid(0, Inadmissible::CannotPayFee))
    );
}

/// A proposer collects the fee of a refused transaction once, however often it would like to.
#[test]
fn lg_8_no_transaction_is_charged_twice() {
    let mut world = World::with(with_fee("400"));
    let refused = world.own("alice@thor", transfer("alice@thor", "nobody@thor", "1"));
    let receipt = world.block(&[&refused]).receipts[0];
    assert_eq!(receipt.outcome, Err(Rejection::AccountNotFound));
    assert!(Rejection::AccountNotFound.is_transient());
    world.assert_balance("alice@thor", "600", "600", "0");
    for _ in 0..2 {
        let replay = world.try_block(&[&refused]);
        assert_eq!(replay, Err(invalid(0, Inadmissible::IdInWindow)));
    }
    world.assert_balance("alice@thor", "600", "600", "0");
    assert_eq!(world.ledger.receipt(&refused.id()), Some(receipt));
}

#[test]
fn lg_8_the_fee_is_judged_in_block_order() {
    let mut world = World::with(with_fee("1"));
    let all = world.own("alice@thor", transfer("alice@thor", "bob@sprout", "999"));
    let more = world.own("alice@thor", transfer("alice@thor", "bob@sprout", "1"));
    let at = Height::new(1);
    assert_eq!(world.ledger.check(at, &all), Ok(()));
    assert_eq!(world.ledger.check(at, &more), Ok(()));
    assert_eq!(
        world.try_block(&[&all, &more]),
        Err(invalid(1, Inadmissible::CannotPayFee))
    );
    world.assert_balance("alice@thor", "1000", "1000", "0");
    // Carol has nothing until Alice pays her in the same block.
    let fund = world.own("alice@thor", transfer("alice@thor", "carol@thor", "5"));
    let spend = world.own("carol@thor", transfer("carol@thor", "bob@sprout", "4"));
    assert_eq!(
        world.ledger.check(at, &spend),
        Err(Inadmissible::CannotPayFee)
    );
    let applied = world.block(&[&fund, &spend]);
    assert_eq!(applied.receipts[1].outcome, APPLIED);
}

#[test]
fn lg_8_nobody_makes_another_account_pay_the_fee() {
    let mut world = World::with(with_fee("1"));
    let theft = world.tx(
        "alice@thor",
        &["mallory@thor"],
        transfer("alice@thor", "bob@sprout", "1"),
    );
    assert_eq!(
        world.try_block(&[&theft]),
        Err(invalid(0, Inadmissible::CannotPayFee))
    );
    // Alice's signature behind another's key is not enough: the first key pays.
    let keys = ["mallory@thor", "alice@thor"];
    let theft = world.tx(
        "alice@thor",
        &keys,
        transfer("alice@thor", "bob@sprout", "1"),
    );
    assert_eq!(
        world.try_block(&[&theft]),
        Err(invalid(0, Inadmissible::CannotPayFee))
    );
}

#[test]
fn lg_7_commit_one_millisecond_around_expiry() {
    for (time, expected) in [
        (59_999, APPLIED),
        (60_000, Err(Rejection::LockExpired)),
        (60_001, Err(Rejection::LockExpired)),
    ] {
        let mut world = World::new();
        let id = world.lock("200", 60_000);
        let pay = world.tx("bob@sprout", &["sprout"], commit(id, "200"));
        let applied = world.block_at(time, &[&pay]).unwrap();
        assert_eq!(applied.receipts[0].outcome, expected, "at {time} ms");
    }
}

#[test]
fn lg_7_a_due_lock_that_is_not_swept_can_only_expire() {
    let parameters = Parameters {
        expiries_per_block_max: 1,
        ..Parameters::default()
    };
    let mut world = World::with(parameters);
    let a = world.lock("1", 60_000);
    let b = world.lock("2", 60_000);
    let unswept = a.max(b);
    let commit = world.tx("bob@sprout", &["sprout"], commit(unswept, "1"));
    let back = world.tx("bob@sprout", &["sprout"], rollback(unswept));
    let applied = world.block_at(60_001, &[&commit, &back]).unwrap();
    assert_eq!(applied.expired, [a.min(b)]);
    for receipt in applied.receipts {
        assert_eq!(receipt.outcome, Err(Rejection::LockExpired));
    }
}

#[test]
fn lg_4_a_transaction_is_valid_up_to_its_last_height_and_not_too_far_ahead() {
    let parameters = Parameters {
        validity_horizon: 3,
        ..Parameters::default()
    };
    let mut world = World::with(parameters);
    let until = |height, nonce| {
        let command = transfer("alice@thor", "bob@sprout", "1");
        sign(
            "alice@thor",
            &["alice@thor"],
            vec![command],
            Height::new(height),
            nonce,
        )
    };
    world.block(&[]);
    // The next block has height 2.
    let cases = [
        (1, Err(Inadmissible::Expired)),
        (2, Ok(())),
        (5, Ok(())),
        (6, Err(Inadmissible::TooFar)),
        (u64::MAX, Err(Inadmissible::TooFar)),
    ];
    for (height, expected) in cases {
        let transaction = until(height, height);
        assert_eq!(world.ledger.check(Height::new(2), &transaction), expected);
        let verdict = world.try_block(&[&transaction]);
        assert_eq!(
            verdict.as_ref().err(),
            expected.map_err(|reason| invalid(0, reason)).as_ref().err()
        );
        if verdict.is_ok() {
            // Start over: the height moved on.
            world = World::with(Parameters {
                validity_horizon: 3,
                ..Parameters::default()
            });
            world.block(&[]);
        }
    }
}

#[test]
fn lg_4_ids_are_pruned_if_and_only_if_the_height_is_above_their_last() {
    let mut world = World::new();
    let command = transfer("alice@thor", "bob@sprout", "1");
    let transaction = sign(
        "alice@thor",
        &["alice@thor"],
        vec![command],
        Height::new(3),
        1,
    );
    world.run(&transaction).unwrap();
    for height in 2..=3 {
        assert_eq!(
            world.try_block(&[&transaction]),
            Err(invalid(0, Inadmissible::IdInWindow)),
            "at height {height}"
        );
        world.block(&[]);
        assert!(world.ledger.receipt(&transaction.id()).is_some());
    }
    assert_eq!(
        world.try_block(&[&transaction]),
        Err(invalid(0, Inadmissible::Expired))
    );
    world.block(&[]);
    assert_eq!(world.ledger.recent_len(), 0);
    assert!(world.ledger.receipt(&transaction.id()).is_none());
}

#[test]
fn lg_4_a_block_holds_a_transaction_once_whatever_its_outcome() {
    let mut world = World::new();
    let good = world.own("alice@thor", transfer("alice@thor", "bob@sprout", "1"));
    let bad = world.own("alice@thor", transfer("alice@thor", "alice@thor", "1"));
    let later = world.own("alice@thor", transfer("alice@thor", "bob@sprout", "5000"));
    for transaction in [&good, &bad, &later] {
        assert_eq!(
            world.try_block(&[transaction, transaction]),
            Err(invalid(1, Inadmissible::DuplicateInBlock))
        );
    }
}

#[test]
fn lg_4_a_transaction_of_another_chain_is_refused_twice() {
    let other = ChainId::new([8; 32]);
    let honest = signed(
        "alice@thor",
        &["alice@thor"],
        vec![transfer("alice@thor", "bob@sprout", "1")],
        Height::new(5),
        1,
    );
    let mut content: Transaction = honest.transaction().clone();
    content.chain = other;
    let foreign = content.sign(&[&common::signer("alice@thor")]).unwrap();
    let mut checker = Checker::new(StubVerifier, 0);
    assert!(Verified::check(foreign.clone(), &CHAIN, &mut checker).is_err());
    // A host that checked it against the wrong chain is stopped by the block rule.
    let foreign = Verified::check(foreign, &other, &mut checker).unwrap();
    let mut world = World::new();
    assert_eq!(
        world.try_block(&[&foreign]),
        Err(invalid(0, Inadmissible::WrongChain))
    );
}

#[test]
fn lg_3_a_closed_address_never_reopens() {
    let mut world = World::new();
    let close = Command::CloseAccount {
        account: address("carol@thor"),
    };
    let close = world.tx("carol@thor", &["thor"], close);
    assert_eq!(world.run(&close), APPLIED);
    let reopen = world.tx("carol@thor", &["thor"], open("carol@thor"));
    assert_eq!(world.run(&reopen), Err(Rejection::AccountClosed));
    let pay = world.own("alice@thor", transfer("alice@thor", "carol@thor", "1"));
    assert_eq!(world.run(&pay), Err(Rejection::AccountClosed));
}

#[test]
fn lg_3_a_platform_opens_accounts_within_its_quota_or_pays() {
    let mut world = World::with(Parameters {
        open_fee: amount("10"),
        ..Parameters::default()
    });
    for name in ["a@thor", "b@thor"] {
        let transaction = world.tx("alice@thor", &["thor"], open(name));
        assert_eq!(world.run(&transaction), APPLIED);
    }
    // Thor's key alone does not make Alice pay.
    let third = world.tx("alice@thor", &["thor"], open("c@thor"));
    assert_eq!(world.run(&third), Err(Rejection::NotAuthorised));
    let third = world.tx("alice@thor", &["alice@thor", "thor"], open("c@thor"));
    assert_eq!(world.run(&third), APPLIED);
    world.assert_balance("alice@thor", "990", "990", "0");
    world.assert_balance("fees@thor", "10", "10", "0");
    // A platform opens accounts of its own only.
    let foreign = world.tx("alice@thor", &["thor"], open("d@sprout"));
    assert_eq!(world.run(&foreign), Err(Rejection::NotAuthorised));
}

#[test]
fn lg_6_frozen_accounts_do_not_pay_but_their_locks_settle() {
    let mut world = World::new();
    let first = world.lock("100", 60_000);
    let second = world.lock("50", 60_000);
    let freeze = Command::FreezeAccount {
        account: address("alice@thor"),
        frozen: true,
    };
    let one_key = world.tx("alice@thor", &["root1"], freeze.clone());
    assert_eq!(world.run(&one_key), Err(Rejection::NotAuthorised));
    let two_keys = world.tx("alice@thor", &["root1", "root3"], freeze);
    assert_eq!(world.run(&two_keys), APPLIED);
    for command in [
        transfer("alice@thor", "bob@sprout", "1"),
        lock("alice@thor", "bob@sprout", "1", 60_000),
        commit(first, "100"),
    ] {
        let transaction = world.own("alice@thor", command);
        assert_eq!(world.run(&transaction), Err(Rejection::AccountFrozen));
    }
    let pay = world.tx("bob@sprout", &["sprout"], commit(first, "100"));
    assert_eq!(world.run(&pay), APPLIED);
    assert_eq!(world.block_at(60_000, &[]).unwrap().expired, [second]);
    let thaw = Command::FreezeAccount {
        account: address("alice@thor"),
        frozen: false,
    };
    let thaw = world.tx("alice@thor", &["root1", "root2"], thaw);
    assert_eq!(world.run(&thaw), APPLIED);
    let transaction = world.own("alice@thor", transfer("alice@thor", "bob@sprout", "1"));
    assert_eq!(world.run(&transaction), APPLIED);
}

#[test]
fn lg_6_one_key_named_twice_is_no_threshold() {
    let world = World::new();
    let keys = vec![key("root1"), key("root1")];
    let content = Transaction {
        chain: CHAIN,
        signer: address("alice@thor"),
        keys,
        commands: vec![transfer("alice@thor", "bob@sprout", "1")],
        valid_until: Height::new(1),
        nonce: 0,
    };
    let root = common::signer("root1");
    assert_eq!(
        content.sign(&[&root, &root]),
        Err(TransactionError::DuplicateKey)
    );
    drop(world);
}

#[test]
fn lg_6_a_rotated_key_is_no_key() {
    let mut world = World::new();
    let rotate = Command::RotateKey {
        account: address("alice@thor"),
        key: key("alice-2"),
    };
    let rotate = world.own("alice@thor", rotate);
    let old = world.own("alice@thor", transfer("alice@thor", "bob@sprout", "1"));
    let new = world.tx(
        "alice@thor",
        &["alice-2"],
        transfer("alice@thor", "bob@sprout", "1"),
    );
    let applied = world.block(&[&rotate, &old, &new]);
    let outcomes: Vec<_> = applied.receipts.iter().map(|r| r.outcome).collect();
    assert_eq!(outcomes, [APPLIED, Err(Rejection::NotAuthorised), APPLIED]);
}

#[test]
fn lg_2_minting_stops_at_the_largest_supply() {
    let mut world = World::new();
    let room = Amount::SUPPLY_MAX.units() - amount("1500").units();
    let mint = |units| Command::Mint {
        to: address("bob@sprout"),
        amount: Amount::from_units(units),
    };
    let roots = ["root2", "root3"];
    let too_much = world.tx("alice@thor", &roots, mint(room + 1));
    assert_eq!(world.run(&too_much), Err(Rejection::SupplyExceeded));
    let rest = world.tx("alice@thor", &roots, mint(room));
    assert_eq!(world.run(&rest), APPLIED);
    let one_more = world.tx("alice@thor", &roots, mint(1));
    assert_eq!(world.run(&one_more), Err(Rejection::SupplyExceeded));
}

#[test]
fn lg_7_a_settled_lock_is_remembered_for_the_horizon_and_its_slot_used_again() {
    let parameters = Parameters {
        validity_horizon: 3,
        ..Parameters::default()
    };
    let mut world = World::with(parameters);
    let lock_at = |world: &mut World| {
        let command = lock("alice@thor", "bob@sprout", "1", 1_000_000);
        let until = world.ledger.height().saturating_add(3);
        world.nonce += 1;
        sign(
            "alice@thor",
            &["alice@thor"],
            vec![command],
            until,
            world.nonce,
        )
    };
    let commit_at = |world: &mut World, id| {
        let until = world.ledger.height().saturating_add(3);
        world.nonce += 1;
        sign(
            "bob@sprout",
            &["sprout"],
            vec![commit(id, "1")],
            until,
            world.nonce,
        )
    };
    let first = lock_at(&mut world);
    let Ok(Outcome::Locked(id)) = world.run(&first) else {
        panic!("no lock");
    };
    let pay = commit_at(&mut world, id);
    world.run(&pay).unwrap(); // Height 2.
    for _ in 3..=5 {
        let again = commit_at(&mut world, id);
        let other = lock_at(&mut world);
        let applied = world.block(&[&other, &again]);
        assert_eq!(
            applied.receipts[1].outcome,
            Err(Rejection::AlreadyCommitted)
        );
    }
    assert_eq!(world.ledger.locks().count(), 4);
    // At height 6 the commit is older than the horizon.
    let other = lock_at(&mut world);
    let again = commit_at(&mut world, id);
    let applied = world.block(&[&other, &again]);
    assert_eq!(applied.receipts[1].outcome, Err(Rejection::LockNotFound));
    assert_eq!(world.ledger.locks().count(), 4, "its slot is used again");
}

#[test]
fn lg_8_evidence_is_acted_on_once() {
    let mut world = World::new();
    let root = world.ledger.root();
    let evidence = polity_crypto::Sha256Digest::new([5; 32]);
    assert!(world.ledger.record_offence(evidence));
    assert!(!world.ledger.record_offence(evidence));
    assert!(world.ledger.has_offence(&evidence));
    assert_ne!(world.ledger.root(), root);
}

// ---- what works against the prototype ----------------------------------------------------------

#[test]
fn a1_commit_pays_the_locked_payee_and_not_more_than_was_locked() {
    let mut world = World::new();
    let id = world.lock("200", 60_000);
    let more = world.tx("bob@sprout", &["sprout"], commit(id, "1000000"));
    assert_eq!(world.run(&more), Err(Rejection::AmountAboveLock));
    // A commit names no payee; Mallory's platform is not Bob's.
    let other = world.tx("alice@thor", &["thor"], commit(id, "200"));
    assert_eq!(world.run(&other), Err(Rejection::NotAuthorised));
    let part = world.tx("bob@sprout", &["sprout"], commit(id, "150"));
    assert_eq!(world.run(&part), APPLIED);
    world.assert_balance("alice@thor", "850", "850", "0");
    world.assert_balance("bob@sprout", "650", "650", "0");
    assert_eq!(world.ledger.lock(&id).unwrap().paid, amount("150"));
}

#[test]
fn a2_a_lock_within_one_platform_debits_the_payer() {
    let mut world = World::new();
    let within = world.own(
        "alice@thor",
        lock("alice@thor", "carol@thor", "200", 60_000),
    );
    let Ok(Outcome::Locked(id)) = world.run(&within) else {
        panic!("no lock");
    };
    let pay = world.tx("carol@thor", &["thor"], commit(id, "200"));
    assert_eq!(world.run(&pay), APPLIED);
    world.assert_balance("alice@thor", "800", "800", "0");
    world.assert_balance("carol@thor", "200", "200", "0");
}

#[test]
fn a3_a4_a14_nothing_of_a_transfer_happens_twice() {
    let mut world = World::new();
    let locking = world.own(
        "alice@thor",
        lock("alice@thor", "bob@sprout", "200", 60_000),
    );
    let Ok(Outcome::Locked(id)) = world.run(&locking) else {
        panic!("no lock");
    };
    let pay = world.tx("bob@sprout", &["sprout"], commit(id, "200"));
    assert_eq!(world.run(&pay), APPLIED);
    for replay in [&locking, &pay] {
        assert_eq!(
            world.try_block(&[replay]),
            Err(invalid(0, Inadmissible::IdInWindow))
        );
    }
    // A second transaction with the same wish is told what happened.
    let again = world.tx("bob@sprout", &["sprout"], commit(id, "200"));
    assert_eq!(world.run(&again), Err(Rejection::AlreadyCommitted));
    let back = world.tx("bob@sprout", &["sprout"], rollback(id));
    assert_eq!(world.run(&back), Err(Rejection::AlreadyCommitted));
    world.assert_balance("alice@thor", "800", "800", "0");
    world.assert_balance("bob@sprout", "700", "700", "0");
}

#[test]
fn a5_a7_no_command_sets_a_balance() {
    // Minting and burning are the only commands that change the supply, and both need the
    // authority.
    let mut world = World::new();
    for command in [
        Command::Mint {
            to: address("alice@thor"),
            amount: amount("1"),
        },
        Command::Burn {
            from: address("bob@sprout"),
            amount: amount("1"),
        },
    ] {
        for keys in [
            &["thor"][..],
            &["alice@thor"],
            &["root1"],
            &["root1", "thor"],
        ] {
            let transaction = world.tx("alice@thor", keys, command.clone());
            assert_eq!(world.run(&transaction), Err(Rejection::NotAuthorised));
        }
    }
    // Burning leaves locked funds alone.
    world.lock("900", 60_000);
    let burn = Command::Burn {
        from: address("alice@thor"),
        amount: amount("200"),
    };
    let burn = world.tx("alice@thor", &["root1", "root2"], burn);
    assert_eq!(world.run(&burn), Err(Rejection::InsufficientFunds));
}

#[test]
fn a6_a9_a10_a11_amounts_are_exact() {
    // A balance spent in three unequal parts leaves nothing, and six cent locks return in full.
    let mut world = World::new();
    for part in ["333.333333", "333.333333", "333.333334"] {
        let transaction = world.own("alice@thor", transfer("alice@thor", "carol@thor", part));
        assert_eq!(world.run(&transaction), APPLIED);
    }
    world.assert_balance("alice@thor", "0", "0", "0");
    world.assert_balance("carol@thor", "1000", "1000", "0");
    let zero = world.own("carol@thor", transfer("carol@thor", "bob@sprout", "0"));
    assert_eq!(world.run(&zero), Err(Rejection::ZeroAmount));
}

#[test]
fn a8_four_replicas_have_the_same_roots() {
    let genesis = genesis(Parameters::default());
    let mut worlds: Vec<_> = (0..4)
        .map(|replica| {
            let seed = Seed::from_number(replica);
            polity_ledger::Ledger::new(&genesis, CHAIN, seed).unwrap()
        })
        .collect();
    let mut world = World::new();
    let locking = world.own(
        "alice@thor",
        lock("alice@thor", "bob@sprout", "200", 60_000),
    );
    let id = LockId::derive(&locking.id(), 0);
    let pay = world.tx("bob@sprout", &["sprout"], commit(id, "200"));
    for (at, transaction) in (1..).zip([locking, pay]) {
        let results: Vec<_> = worlds
            .iter_mut()
            .map(|ledger| {
                let time = Time::from_millis(at * 1_000);
                let receiver = address("fees@thor");
                let applied = ledger
                    .apply(Height::new(at), time, &receiver, &[&transaction])
                    .unwrap();
                assert_eq!(ledger.supply().total(), amount("1500"));
                (ledger.root(), applied.receipts_root())
            })
            .collect();
        assert!(results.iter().all(|result| *result == results[0]));
    }
}

#[test]
fn a12_a_settled_lock_is_open_for_nobody() {
    let mut world = World::new();
    let id = world.lock("200", 60_000);
    assert_eq!(open_locks(&world, "bob@sprout", 1).len(), 1);
    let pay = world.tx("bob@sprout", &["sprout"], commit(id, "200"));
    world.run(&pay).unwrap();
    assert_eq!(open_locks(&world, "bob@sprout", 1), []);
    assert_eq!(open_locks(&world, "alice@thor", 1), []);
}

/// However the walk over open locks is cut into pages, it finds those of the account in order.
#[test]
fn a_page_of_locks_looks_at_a_bounded_number() {
    let mut world = World::new();
    let mut of_bob = Vec::new();
    for number in 0..40 {
        let (from, to) = match number % 4 {
            0 => ("bob@sprout", "alice@thor"),
            1 => ("alice@thor", "bob@sprout"),
            _ => ("alice@thor", "carol@thor"),
        };
        let made = world.own(from, lock(from, to, "1", 60_000 - 100 * number));
        let Ok(Outcome::Locked(id)) = world.run(&made) else {
            panic!("a lock was refused");
        };
        if number % 4 < 2 {
            of_bob.push(id);
        }
    }
    of_bob.reverse();
    for page in [1, 3, 7, 20, 100] {
        let found: Vec<LockId> = open_locks(&world, "bob@sprout", page)
            .iter()
            .map(|lock| lock.id)
            .collect();
        assert_eq!(found, of_bob, "pages of {page}");
    }
    let bob = address("bob@sprout");
    // What is found first is not looked for any further.
    let carol = address("carol@thor");
    let page = world.ledger.locks_of(&carol, None, 100, 38);
    assert_eq!((page.locks.len(), page.next), (20, None));
    let page = world.ledger.locks_of(&bob, None, 100, 10);
    assert!(page.locks.len() < 10 && page.next.is_some());
    let nobody = world.ledger.locks_of(&address("nobody@thor"), None, 1, 1);
    assert_eq!((nobody.locks, nobody.next), (Vec::new(), None));
}

#[test]
fn a13_an_old_lock_expires() {
    let mut world = World::new();
    let eleven_days = 11 * 24 * 3_600 * 1_000;
    let id = world.lock("200", eleven_days);
    assert_eq!(world.block_at(eleven_days, &[]).unwrap().expired, [id]);
    world.assert_balance("alice@thor", "1000", "1000", "0");
}

#[test]
fn a15_a16_forged_and_malformed_transactions_are_no_transactions() {
    let honest = signed(
        "alice@thor",
        &["alice@thor"],
        vec![transfer("alice@thor", "bob@sprout", "1")],
        Height::new(5),
        1,
    );
    let junk = polity_crypto::Signature::new(b"forged");
    let forged = SignedTransaction::new(honest.transaction().clone(), vec![junk]).unwrap();
    let mut checker = Checker::new(StubVerifier, 0);
    assert!(Verified::check(forged, &CHAIN, &mut checker).is_err());
    let bytes = honest.encode();
    for length in 0..bytes.len() {
        assert!(SignedTransaction::decode(&bytes[..length]).is_err());
    }
}

#[test]
fn a17_a_platform_cannot_create_money_for_its_agents() {
    let mut world = World::new();
    let opened = world.tx("alice@thor", &["thor"], open("own@thor"));
    world.run(&opened).unwrap();
    world.assert_balance("own@thor", "0", "0", "0");
    let steal = world.tx(
        "alice@thor",
        &["thor"],
        transfer("alice@thor", "own@thor", "1"),
    );
    assert_eq!(world.run(&steal), Err(Rejection::NotAuthorised));
}

#[test]
fn lg_11_a_genesis_above_the_largest_supply_is_refused() {
    let mut genesis: Genesis = genesis(Parameters::default());
    genesis.accounts.push(GenesisAccount {
        address: address("rich@thor"),
        owner: key("rich@thor"),
        balance: Amount::SUPPLY_MAX,
    });
    assert_eq!(
        genesis.validate(),
        Err(polity_ledger::GenesisError::Supply { index: 4 })
    );
}
