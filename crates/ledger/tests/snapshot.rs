//! Snapshots: the stream gives the same ledger, and only that stream does.

mod common;

use common::{CHAIN, World, commit, genesis, lock, open, sign, transfer};
use polity_crypto::Sha256Digest;
use polity_ledger::{
    CHUNK_LENGTH_MAX, Command, CommitteeChange, Ledger, Parameters, Restore, SnapshotError,
};
use polity_types::{Height, Seed};

/// A ledger with something in every section.
fn busy() -> World {
    let mut world = World::new();
    let settled = world.lock("3", 60_000);
    world.lock("4", 70_000);
    let pay = world.tx("bob@sprout", &["sprout"], commit(settled, "2"));
    world.run(&pay).unwrap();
    let opened = world.tx("alice@thor", &["thor"], open("dave@thor"));
    let refused = world.own("alice@thor", transfer("alice@thor", "alice@thor", "1"));
    let change = Command::ChangeCommittee {
        change: CommitteeChange::new(b"change").unwrap(),
    };
    let change = world.tx("alice@thor", &["root1", "root2"], change);
    let register = Command::RegisterPlatform {
        platform: "legion".parse().unwrap(),
        key: common::key("legion"),
        quota: 1,
    };
    let register = world.tx("alice@thor", &["root1", "root2"], register);
    world.block(&[&opened, &refused, &change, &register]);
    assert!(world.ledger.record_offence(Sha256Digest::new([1; 32])));
    assert!(world.ledger.record_offence(Sha256Digest::new([2; 32])));
    world
}

fn restore(
    height: Height,
    root: Sha256Digest,
    chunks: &[Vec<u8>],
) -> Result<Ledger, SnapshotError> {
    let genesis = genesis(Parameters::default());
    let mut restore = Restore::new(&genesis, CHAIN, height, root, Seed::from_number(5))?;
    for chunk in chunks {
        restore.push(chunk)?;
    }
    restore.finish()
}

#[test]
fn lg_13_a_restored_ledger_equals_the_replayed_one() {
    let mut world = busy();
    let root = world.ledger.root();
    let height = world.ledger.height();
    let chunks: Vec<_> = world.ledger.snapshot().collect();
    let mut restored = restore(height, root, &chunks).unwrap();
    assert_eq!(restored.root(), root);
    assert!(restored.accounts().eq(world.ledger.accounts()));
    assert!(restored.locks().eq(world.ledger.locks()));
    assert!(restored.platforms().eq(world.ledger.platforms()));
    assert_eq!(restored.supply(), world.ledger.supply());
    assert_eq!(
        restored.committee_changes(),
        world.ledger.committee_changes()
    );
    assert!(restored.has_offence(&Sha256Digest::new([2; 32])));
    assert!(restored.snapshot().eq(chunks));
}

#[test]
fn lg_13_every_flipped_bit_is_found() {
    let mut world = busy();
    let root = world.ledger.root();
    let height = world.ledger.height();
    let chunks: Vec<_> = world.ledger.snapshot().collect();
    assert_eq!(chunks.len(), 1);
    for byte in 0..chunks[0].len() {
        let mut chunks = chunks.clone();
        chunks[0][byte] ^= 1;
        assert!(restore(height, root, &chunks).is_err(), "byte {byte}");
    }
    for length in 0..chunks[0].len() {
        assert!(restore(height, root, &[chunks[0][..length].to_vec()]).is_err());
    }
}

/// A ledger whose snapshot has many chunks.
fn large() -> World {
    let mut world = World::with(Parameters {
        open_locks_max: 20_000,
        ..Parameters::default()
    });
    for block in 0..8_u64 {
        let transactions: Vec<_> = (0..1_000)
            .map(|number| {
                let commands = vec![lock("alice@thor", "bob@sprout", "0.01", 60_000 + number)];
                sign(
                    "alice@thor",
                    &["alice@thor"],
                    commands,
                    Height::new(10),
                    block * 1_000 + number,
                )
            })
            .collect();
        let transactions: Vec<_> = transactions.iter().collect();
        world.block(&transactions);
    }
    world
}

#[test]
fn lg_13_chunks_are_bounded_and_none_can_be_dropped_repeated_or_moved() {
    let mut world = large();
    let root = world.ledger.root();
    let height = world.ledger.height();
    let chunks: Vec<_> = world.ledger.snapshot().collect();
    assert!(chunks.len() > 2 && chunks.iter().all(|chunk| chunk.len() <= CHUNK_LENGTH_MAX));
    let parameters = Parameters {
        open_locks_max: 20_000,
        ..Parameters::default()
    };
    let genesis = genesis(parameters);
    let with = |chunks: &[Vec<u8>]| {
        let seed = Seed::from_number(5);
        let mut restore = Restore::new(&genesis, CHAIN, height, root, seed).unwrap();
        chunks.iter().try_for_each(|chunk| restore.push(chunk))?;
        restore.finish().map(|_| ())
    };
    assert_eq!(with(&chunks), Ok(()));
    for index in 0..chunks.len() {
        let mut dropped = chunks.clone();
        dropped.remove(index);
        assert!(with(&dropped).is_err(), "without chunk {index}");
        let mut repeated = chunks.clone();
        repeated.insert(index, chunks[index].clone());
        assert!(with(&repeated).is_err(), "twice chunk {index}");
        let mut moved = chunks.clone();
        moved.swap(index, (index + 1) % chunks.len());
        assert!(with(&moved).is_err(), "moved chunk {index}");
    }
}

#[test]
fn lg_13_a_snapshot_without_one_id_is_refused() {
    // Two ledgers that differ in one remembered id and nothing else.
    let mut with = World::new();
    let refused = with.own("alice@thor", transfer("alice@thor", "alice@thor", "1"));
    let mut without = World::new();
    with.block(&[&refused]);
    without.block(&[]);
    assert_eq!(with.ledger.recent_len(), 1);
    assert!(with.ledger.accounts().eq(without.ledger.accounts()));
    let root = with.ledger.root();
    let chunks: Vec<_> = without.ledger.snapshot().collect();
    let error = restore(Height::new(1), root, &chunks).unwrap_err();
    let found = without.ledger.root();
    assert_eq!(
        error,
        SnapshotError::Root {
            expected: root,
            found
        }
    );
    // With it, the id is still used up.
    let chunks: Vec<_> = with.ledger.snapshot().collect();
    let restored = restore(Height::new(1), root, &chunks).unwrap();
    assert_eq!(
        restored.check(Height::new(2), &refused),
        Err(polity_ledger::Inadmissible::IdInWindow)
    );
}

#[test]
fn lg_13_the_genesis_and_the_chain_belong_to_the_root() {
    let mut world = busy();
    let root = world.ledger.root();
    let height = world.ledger.height();
    let chunks: Vec<_> = world.ledger.snapshot().collect();
    let other_chain = polity_types::ChainId::new([9; 32]);
    let other_genesis = genesis(Parameters {
        min_lock: common::amount("1"),
        ..Parameters::default()
    });
    let cases = [
        (genesis(Parameters::default()), other_chain),
        (other_genesis, CHAIN),
    ];
    for (genesis, chain) in cases {
        let seed = Seed::from_number(5);
        let mut restore = Restore::new(&genesis, chain, height, root, seed).unwrap();
        for chunk in &chunks {
            restore.push(chunk).unwrap();
        }
        assert!(matches!(restore.finish(), Err(SnapshotError::Root { .. })));
    }
}
