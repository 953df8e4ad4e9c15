//! Same input, same bytes (LG-14), whatever the seed of the look-up tables; and pinned digests, so
//! that a change of any layout is seen.

mod common;

use common::{CHAIN, Tx, World, address, genesis, lock, signed, transfer};
use polity_ledger::{Ledger, LockId, Parameters};
use polity_types::{Height, Seed, Time};

#[test]
fn lg_14_the_index_seed_is_never_observable() {
    let genesis = genesis(Parameters::default());
    let ledgers = [1, 2].map(|seed| Ledger::new(&genesis, CHAIN, Seed::from_number(seed)).unwrap());
    let [mut a, mut b] = ledgers;
    let mut world = World::new();
    for height in 1..=20 {
        let transactions: Vec<Tx> = (0..40)
            .map(|number| {
                let command = match number % 3 {
                    0 => lock("alice@thor", "bob@sprout", "0.5", 8_000 + number * 10),
                    1 => transfer("alice@thor", "carol@thor", "0.25"),
                    _ => transfer("carol@thor", "bob@sprout", "0.5"),
                };
                let payer = if number % 3 == 2 {
                    "carol@thor"
                } else {
                    "alice@thor"
                };
                world.nonce += 1;
                let until = Height::new(height + number % 7);
                common::sign(payer, &[payer], vec![command], until, world.nonce)
            })
            .collect();
        let transactions: Vec<&Tx> = transactions.iter().collect();
        let time = Time::from_millis(height * 700);
        let receiver = address("fees@thor");
        let at = Height::new(height);
        let of_a = a.apply(at, time, &receiver, &transactions).unwrap();
        let of_b = b.apply(at, time, &receiver, &transactions).unwrap();
        assert_eq!(of_a, of_b);
        assert_eq!(a.sections(), b.sections());
        assert_eq!(of_a.receipts_root(), of_b.receipts_root());
    }
    assert!(a.snapshot().eq(b.snapshot()));
    assert!(a.accounts().eq(b.accounts()));
    assert!(a.locks().eq(b.locks()));
}

#[test]
fn lg_10_roots_do_not_depend_on_how_often_they_are_asked_for() {
    let genesis = genesis(Parameters::default());
    let new = || Ledger::new(&genesis, CHAIN, Seed::from_number(1)).unwrap();
    let (mut often, mut seldom) = (new(), new());
    for height in 1..=5 {
        let command = lock("alice@thor", "bob@sprout", "1", 60_000);
        let transaction = common::sign(
            "alice@thor",
            &["alice@thor"],
            vec![command],
            Height::new(9),
            height,
        );
        for ledger in [&mut often, &mut seldom] {
            let time = Time::from_millis(height);
            let receiver = address("fees@thor");
            ledger
                .apply(Height::new(height), time, &receiver, &[&transaction])
                .unwrap();
        }
        often.root();
    }
    assert_eq!(often.root(), seldom.root());
}

#[test]
fn lg_4_the_id_covers_every_signed_field_and_no_signature() {
    let base = signed(
        "alice@thor",
        &["alice@thor"],
        vec![transfer("alice@thor", "bob@sprout", "1")],
        Height::new(5),
        1,
    );
    let content = base.transaction();
    let changes: [fn(&mut polity_ledger::Transaction); 7] = [
        |t| t.chain = polity_types::ChainId::new([1; 32]),
        |t| t.signer = address("bob@sprout"),
        |t| t.keys = vec![common::key("bob@sprout")],
        |t| t.keys.push(common::key("bob@sprout")),
        |t| t.commands.push(transfer("alice@thor", "bob@sprout", "1")),
        |t| t.valid_until = Height::new(6),
        |t| t.nonce = 2,
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let mut copy = content.clone();
        change(&mut copy);
        assert_ne!(copy.id(), content.id(), "change {number}");
    }
    let junk = vec![polity_crypto::Signature::new(&[1; 64])];
    let other = polity_ledger::SignedTransaction::new(content.clone(), junk).unwrap();
    assert_eq!(other.id(), base.id());
    assert_ne!(LockId::derive(&base.id(), 0), LockId::derive(&base.id(), 1));
}

#[test]
fn lg_10_layouts_are_pinned() {
    // A change of one of these is a change of the format, to be made on purpose.
    let genesis = genesis(Parameters::default());
    let mut world = World::of(&genesis);
    let mut found = vec![
        genesis.digest().to_string(),
        world.ledger.root().to_string(),
    ];
    let transaction = world.own(
        "alice@thor",
        lock("alice@thor", "bob@sprout", "200", 60_000),
    );
    let applied = world.block(&[&transaction]);
    found.extend([
        transaction.id().to_string(),
        LockId::derive(&transaction.id(), 0).to_string(),
        applied.receipts_root().to_string(),
        world.ledger.root().to_string(),
    ]);
    let expected = [
        "9a58c177e630fdf273322e5081a148ed9458c19c6fdc7d644b281ae8cb14a862",
        "d0b99f4d7ed3ff4069ffa0fef7b9f7265fc2cf97afbfb346c09eb0a04d16dcc7",
        "7a4b787f6b1bbb08c63d2520acb206d8cedb00daebbfce92daafa0281d37c197",
        "fd6d1204362ddfc0c698b0972d6c80b8c5725bcf46aa906de0777fee020bcfd8",
        "8e87651e15b008701aa74d87070b18d748307ead155811ebd7d4d4ad577e44e6",
        "b97fc755097a38b3aa44580389e1580d9bbacf33f4c4ab7566d9b49f363aff8c",
    ];
    assert_eq!(found, expected);
}
