//! Proofs verify from a root alone, and nothing else does.

mod common;

use common::{World, address, amount, commit, lock, transfer};
use polity_crypto::Sha256Digest;
use polity_ledger::{AccountView, LockState, LockView, ReceiptProof, StateProof};
use polity_types::{Height, Time, wire};

fn flip(digest: &mut Sha256Digest) {
    let mut bytes = *digest.as_bytes();
    bytes[0] ^= 1;
    *digest = Sha256Digest::new(bytes);
}

/// A ledger with a few accounts, an open lock and a settled one.
fn world() -> (World, [polity_ledger::LockId; 2]) {
    let mut world = World::new();
    let open = world.lock("200", 60_000);
    let settled = world.lock("100", 60_000);
    let pay = world.tx("bob@sprout", &["sprout"], commit(settled, "70"));
    world.run(&pay).unwrap();
    (world, [open, settled])
}

#[test]
fn lg_10_every_account_and_lock_can_be_proven() {
    let (mut world, _) = world();
    let root = world.ledger.root();
    let accounts: Vec<_> = world.ledger.accounts().collect();
    for account in accounts {
        let proof = world.ledger.prove_account(&account.address).unwrap();
        assert_eq!(proof.verify(&root), Ok(&account));
        let bytes = wire::encode(&proof);
        let read: StateProof<AccountView> = wire::decode(&bytes, 4_096).unwrap();
        assert_eq!(read.verify(&root), Ok(&account));
    }
    let locks: Vec<_> = world.ledger.locks().collect();
    assert_eq!(locks.len(), 2);
    for lock in locks {
        let proof = world.ledger.prove_lock(&lock.id).unwrap();
        assert_eq!(proof.verify(&root), Ok(&lock));
    }
    assert!(
        world
            .ledger
            .prove_account(&address("nobody@thor"))
            .is_none()
    );
}

#[test]
fn lg_10_a_proof_of_an_account_vouches_for_every_field() {
    let (mut world, _) = world();
    let root = world.ledger.root();
    let good = world.ledger.prove_account(&address("alice@thor")).unwrap();
    let changes: [fn(&mut StateProof<AccountView>); 19] = [
        |p| p.value.address = address("bob@sprout"),
        |p| flip(&mut p.value.owner),
        |p| p.value.total = amount("1000000"),
        |p| p.value.locked = amount("0"),
        |p| p.value.outgoing_locks += 1,
        |p| p.value.incoming_locks += 1,
        |p| p.value.is_frozen = true,
        |p| p.value.is_closed = true,
        |p| p.value.changed = Height::new(77),
        |p| p.inclusion.index += 1,
        |p| p.inclusion.size += 1,
        |p| flip(&mut p.inclusion.path[0]),
        |p| flip(&mut p.sections.accounts),
        |p| p.sections.accounts_len += 1,
        |p| flip(&mut p.sections.locks),
        |p| p.sections.locks_len += 1,
        |p| flip(&mut p.sections.recent),
        |p| flip(&mut p.sections.parameters),
        |p| flip(&mut p.sections.platforms),
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let mut proof = good.clone();
        change(&mut proof);
        assert!(proof.verify(&root).is_err(), "change {number}");
    }
    let mut other = root;
    flip(&mut other);
    assert!(good.verify(&other).is_err());
}

#[test]
fn lg_10_a_proof_of_a_lock_vouches_for_every_field() {
    let (mut world, [open, settled]) = world();
    let root = world.ledger.root();
    let good = world.ledger.prove_lock(&open).unwrap();
    let changes: [fn(&mut LockView); 9] = [
        |lock| lock.id = polity_ledger::LockId::ZERO,
        |lock| lock.from = address("carol@thor"),
        |lock| lock.to = address("carol@thor"),
        |lock| lock.amount = amount("201"),
        |lock| lock.paid = amount("1"),
        |lock| lock.expires = Time::MAX,
        |lock| lock.state = LockState::Committed,
        |lock| lock.settled_at = Height::new(1),
        |lock| lock.sequence = 1,
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let mut proof = good.clone();
        change(&mut proof.value);
        assert!(proof.verify(&root).is_err(), "change {number}");
    }
    // The proof of one lock does not fit the other.
    let mut proof = good.clone();
    proof.value = world.ledger.lock(&settled).unwrap();
    assert!(proof.verify(&root).is_err());
}

#[test]
fn lg_10_an_old_proof_does_not_verify_from_a_new_root() {
    let (mut world, [open, _]) = world();
    let proof = world.ledger.prove_lock(&open).unwrap();
    let pay = world.tx("bob@sprout", &["sprout"], commit(open, "200"));
    world.run(&pay).unwrap();
    let root = world.ledger.root();
    assert!(proof.verify(&root).is_err());
    let proof = world.ledger.prove_lock(&open).unwrap();
    assert_eq!(proof.verify(&root).unwrap().state, LockState::Committed);
}

#[test]
fn lg_10_receipts_verify_from_the_receipts_root() {
    let mut world = World::new();
    let transactions = [
        world.own("alice@thor", transfer("alice@thor", "bob@sprout", "1")),
        world.own("alice@thor", transfer("alice@thor", "alice@thor", "1")),
        world.own("alice@thor", lock("alice@thor", "bob@sprout", "1", 60_000)),
    ];
    let applied = world.block(&transactions.each_ref());
    let root = applied.receipts_root();
    for index in 0..3 {
        let good = ReceiptProof::new(&applied.receipts, index).unwrap();
        assert_eq!(good.verify(&root), Ok(&applied.receipts[index as usize]));
        let changes: [fn(&mut ReceiptProof); 7] = [
            |p| p.receipt.id = polity_ledger::TransactionId::ZERO,
            |p| p.receipt.height = Height::new(9),
            |p| p.receipt.index += 1,
            |p| p.receipt.fee = amount("1"),
            |p| p.receipt.outcome = Err(polity_ledger::Rejection::LocksFull),
            |p| p.receipt.refused_command = Some(9),
            |p| flip(&mut p.inclusion.path[0]),
        ];
        for (number, change) in changes.into_iter().enumerate() {
            let mut proof = good.clone();
            change(&mut proof);
            assert!(proof.verify(&root).is_err(), "change {number}");
        }
    }
    assert!(ReceiptProof::new(&applied.receipts, 3).is_none());
}
