//! FB-15, LG-13: a replica continues from its journal or from a snapshot, and from nothing else.

use crate::federation::{
    Federation, amount, changed, commit, genesis, lock, member_signer, with_junk_signature,
};
use polity_consensus::fbpbft::{self, Block, TransactionBytes};
use polity_crypto::Sha256Digest;
use polity_crypto::stub::StubVerifier;
use polity_ledger::{LockId, SignedTransaction, SnapshotError};
use polity_replica::{
    Config, Genesis, Purpose, Record, Replayed, RestoreError, Restorer, Snapshot, StartError,
};
use polity_types::{Height, Seed, StateMachine, Time, wire};

/// Some heights with every kind of content, a rest between them.
fn story() -> Federation {
    let mut federation = Federation::new();
    let expires = Time::from_millis(60_000);
    for _ in 0..2 {
        let command = lock("alice@thor", "bob@sprout", "200", expires);
        let locking = federation.transaction("alice@thor", &["alice@thor"], vec![command]);
        federation.submit(0, &locking);
        federation.settle(&locking);
        let command = commit(LockId::derive(&locking.id(), 0), "150");
        let committing = federation.transaction("bob@sprout", &["sprout"], vec![command]);
        federation.submit(1, &committing);
        federation.settle(&committing);
    }
    federation
}

fn restore(genesis: &Genesis, journal: &[Record]) -> Result<Restorer<StubVerifier>, RestoreError> {
    let mut restorer = Restorer::new(
        genesis,
        Purpose::Simulation,
        StubVerifier,
        Seed::from_number(5),
    )?;
    for record in journal {
        restorer.record(record.clone())?;
    }
    Ok(restorer)
}

fn from_snapshot(
    genesis: &Genesis,
    snapshot: Snapshot,
) -> Result<Restorer<StubVerifier>, RestoreError> {
    Restorer::from_snapshot(
        genesis,
        Purpose::Simulation,
        StubVerifier,
        Seed::from_number(6),
        snapshot,
    )
}

fn is_decision(record: &Record) -> bool {
    matches!(record, Record::Consensus(fbpbft::Record::Decided(_)))
}

#[test]
fn fb_15_a_replay_leads_to_the_same_tip_and_ledger() {
    let mut federation = story();
    for index in 0..4 {
        let before = &federation.nodes[index].replica;
        let (tip, accounts) = (
            before.tip().clone(),
            before.ledger().accounts().collect::<Vec<_>>(),
        );
        federation.restart(index);
        let after = &federation.nodes[index].replica;
        assert_eq!(*after.tip(), tip);
        assert_eq!(after.ledger().accounts().collect::<Vec<_>>(), accounts);
        assert_eq!(after.deadline(), Some(Time::ZERO), "the first tick is due");
    }
    let next = federation.transfer("alice@thor", "bob@sprout", "1");
    federation.submit(2, &next);
    federation.settle(&next);
    assert_eq!(federation.balance(3, "bob@sprout")[0], "801");
}

/// What the restorer hands out for the host's index is what was committed before.
#[test]
fn a_replay_hands_out_every_block_again() {
    let federation = story();
    let node = &federation.nodes[1];
    let mut restorer = federation.restorer();
    let again: Vec<_> = node
        .journal
        .iter()
        .filter_map(|record| restorer.record(record.clone()).unwrap())
        .map(|replayed| match replayed {
            Replayed::Block(committed) => committed,
            Replayed::Snapshot(meta) => panic!("no snapshot came: {meta:?}"),
        })
        .collect();
    assert_eq!(again, node.chain);
}

/// FB-15: wherever it stops, it continues from what is durable, and the others go on with it.
#[test]
fn fb_15_a_stop_at_any_record_is_survived() {
    let victim = 2;
    let total = story().nodes[victim].journal.len();
    assert!(total > 30, "{total}");
    for stop_at in 0..=total {
        let mut federation = story();
        let journal = federation.nodes[victim].journal[..stop_at].to_vec();
        let decided = journal.iter().filter(|record| is_decision(record)).count();
        let restorer = restore(&federation.genesis, &journal).unwrap();
        assert_eq!(restorer.height().get(), decided as u64);
        let node = &mut federation.nodes[victim];
        node.replica = restorer
            .finish(Config::default(), member_signer(victim as u32))
            .unwrap();
        node.journal = journal;
        node.chain.truncate(decided);
        let next = federation.transfer("alice@thor", "bob@sprout", "1");
        federation.submit(victim, &next);
        federation.settle(&next);
        let roots: Vec<_> = federation
            .nodes
            .iter()
            .map(|n| n.replica.tip().roots)
            .collect();
        assert!(roots.iter().all(|root| *root == roots[0]), "at {stop_at}");
        let evidence: u64 = federation
            .nodes
            .iter()
            .map(|n| n.replica.evidence_seen())
            .sum();
        assert_eq!(
            evidence, 0,
            "stopped at {stop_at}: nobody contradicted itself"
        );
    }
}

#[test]
fn lg_13_a_snapshot_and_the_rest_of_the_journal_equal_a_full_replay() {
    let mut federation = story();
    let snapshot = federation.nodes[1].replica.snapshot();
    let height = snapshot.meta.height;
    for _ in 0..3 {
        let next = federation.transfer("alice@thor", "bob@sprout", "1");
        federation.submit(0, &next);
        federation.settle(&next);
    }
    let journal = federation.nodes[1].journal.clone();
    let full = restore(&federation.genesis, &journal).unwrap();
    let mut short = from_snapshot(&federation.genesis, snapshot.clone()).unwrap();
    assert_eq!(short.height(), height);
    // The whole journal may be given: what the snapshot covers is passed over.
    let mut applied = Vec::new();
    for record in journal {
        applied.extend(short.record(record).unwrap());
    }
    assert_eq!(applied.len() as u64, full.height().get() - height.get());
    let mut of_journal = full.finish(Config::default(), member_signer(1)).unwrap();
    let of_snapshot = short.finish(Config::default(), member_signer(1)).unwrap();
    assert_eq!(of_snapshot.tip(), of_journal.tip());
    assert_eq!(of_snapshot.tip(), federation.nodes[1].replica.tip());
    federation.nodes[1].replica = of_snapshot;
    let again = federation.nodes[1].replica.snapshot();
    assert_eq!(again, of_journal.snapshot(), "byte for byte");
    let next = federation.transfer("alice@thor", "bob@sprout", "1");
    federation.submit(1, &next);
    federation.settle(&next);
    assert_eq!(federation.balance(1, "bob@sprout"), ["804", "804", "0"]);
}

/// A snapshot at any height, roots recorded or not, is a place to continue from.
#[test]
fn lg_13_a_snapshot_at_any_height_is_a_start() {
    let mut federation = story();
    let mut restorer = federation.restorer();
    let journal = federation.nodes[3].journal.clone();
    let mut cuts = vec![Vec::new()];
    for record in &journal {
        cuts.last_mut().unwrap().push(record.clone());
        if is_decision(record) {
            cuts.push(Vec::new());
        }
    }
    for (number, records) in cuts.into_iter().enumerate() {
        for record in records {
            restorer.record(record).unwrap();
        }
        let expected = journal.iter().filter(|r| is_decision(r)).count();
        let mut replica = restorer
            .finish(Config::default(), member_signer(3))
            .unwrap();
        let snapshot = replica.snapshot();
        assert_eq!(snapshot.meta.height.get(), expected.min(number + 1) as u64);
        // The metadata is stored as bytes beside the chunks.
        let bytes = wire::encode(&snapshot.meta);
        assert_eq!(wire::decode(&bytes, 64 * 1024).as_ref(), Ok(&snapshot.meta));
        restorer = from_snapshot(&federation.genesis, snapshot).unwrap();
        let other = from_snapshot(&federation.genesis, replica.snapshot()).unwrap();
        let other = other.finish(Config::default(), member_signer(3)).unwrap();
        assert_eq!(other.tip(), replica.tip());
    }
    federation.nodes[3].replica = restorer
        .finish(Config::default(), member_signer(3))
        .unwrap();
    let next = federation.transfer("alice@thor", "bob@sprout", "1");
    federation.submit(3, &next);
    federation.settle(&next);
}

#[test]
fn a_journal_with_a_gap_is_refused() {
    let federation = story();
    let journal = &federation.nodes[1].journal;
    // Without one decision, the next height begins too early.
    let missing = journal.iter().position(is_decision).unwrap();
    let mut with_gap = journal.clone();
    with_gap.remove(missing);
    assert_eq!(
        restore(&federation.genesis, &with_gap).err(),
        Some(RestoreError::Gap {
            expected: Height::new(1),
            found: Height::new(2),
        })
    );
    // Without its beginning, too.
    let late = &journal[missing + 1..];
    let error = restore(&federation.genesis, late).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the journal continues at height 2, but height 1 comes next"
    );
}

#[test]
fn a_journal_without_the_block_that_it_decides_is_refused() {
    let federation = story();
    let mut journal = federation.nodes[1].journal.clone();
    let is_block = |record: &Record| matches!(record, Record::Consensus(fbpbft::Record::Block(_)));
    let missing = journal.iter().position(is_block).unwrap();
    journal.remove(missing);
    assert_eq!(
        restore(&federation.genesis, &journal).err(),
        Some(RestoreError::MissingBlock {
            height: Height::new(1),
            digest: federation.nodes[1].chain[0].block.digest(),
        })
    );
}

/// Changes the blocks of a journal.
fn with_blocks(journal: &[Record], change: impl Fn(&mut Block)) -> Vec<Record> {
    journal
        .iter()
        .map(|record| match record {
            Record::Consensus(fbpbft::Record::Block(block)) => {
                let block = changed(block, &change);
                Record::Consensus(fbpbft::Record::Block(block))
            }
            other => other.clone(),
        })
        .collect()
}

#[test]
fn a_journal_with_damaged_blocks_is_refused() {
    let federation = story();
    let journal = &federation.nodes[1].journal;
    let unfit = Some(RestoreError::Unfit(Height::new(1)));
    // Another body than the header covers.
    let without = with_blocks(journal, |block| block.body.transactions.clear());
    assert_eq!(restore(&federation.genesis, &without).err(), unfit);
    // The right transactions with signatures that do not hold.
    let junk = with_blocks(journal, |block| {
        for bytes in &mut block.body.transactions {
            let real = SignedTransaction::decode(bytes.as_slice()).unwrap();
            *bytes = TransactionBytes::new(with_junk_signature(&real).encode());
        }
    });
    assert_eq!(restore(&federation.genesis, &junk).err(), unfit);
    // Another header is another block, so the decided one is missing.
    let other = with_blocks(journal, |block| block.header.body_root = Sha256Digest::ZERO);
    assert!(matches!(
        restore(&federation.genesis, &other).err(),
        Some(RestoreError::MissingBlock { .. })
    ));
}

#[test]
fn a_journal_of_another_federation_is_refused() {
    let federation = story();
    let journal = &federation.nodes[1].journal;
    let mut other = genesis();
    other.ledger.accounts[0].balance = amount("999");
    assert_eq!(
        restore(&other, journal).err(),
        Some(RestoreError::Unfit(Height::new(1)))
    );
    // Promises of another federation are no reason not to start; they are just not kept.
    let pooled: Vec<Record> = federation.nodes[0]
        .journal
        .iter()
        .filter(|record| matches!(record, Record::Pooled(_)))
        .cloned()
        .collect();
    assert!(!pooled.is_empty());
    let restorer = restore(&other, &pooled).unwrap();
    let replica = restorer
        .finish(Config::default(), member_signer(0))
        .unwrap();
    assert!(replica.pool().is_empty());
}

#[test]
fn a_journal_that_contradicts_itself_is_refused() {
    let mut run = Federation::new();
    // Two runs of one leader that proposed different blocks: somebody copied its key.
    let first = run.transfer("alice@thor", "bob@sprout", "1");
    let leader = run.next_leader();
    run.step();
    run.submit(leader, &first);
    let mut journal = run.nodes[leader].journal.clone();
    let mut run = Federation::new();
    let second = run.transfer("alice@thor", "bob@sprout", "2");
    run.step();
    run.submit(leader, &second);
    journal.extend(run.nodes[leader].journal.clone());
    let restorer = restore(&run.genesis, &journal).unwrap();
    let refused = restorer.finish(Config::default(), member_signer(leader as u32));
    assert_eq!(
        refused.err(),
        Some(RestoreError::Start(StartError::Consensus(
            fbpbft::StartError::Contradiction(Height::new(1))
        )))
    );
}

#[test]
fn junk_in_the_place_of_a_promise_is_passed_over() {
    let federation = Federation::new();
    let junk = [vec![], vec![0; 10], vec![0xff; 70_000]];
    let journal: Vec<Record> = junk
        .into_iter()
        .map(|bytes| Record::Pooled(TransactionBytes::new(bytes)))
        .collect();
    let restorer = restore(&federation.genesis, &journal).unwrap();
    let replica = restorer
        .finish(Config::default(), member_signer(0))
        .unwrap();
    assert!(replica.pool().is_empty());
}

#[test]
fn a_journal_of_nobody_in_the_committee_is_refused() {
    let federation = story();
    let restorer = restore(&federation.genesis, &federation.nodes[1].journal).unwrap();
    let refused = restorer.finish(Config::default(), member_signer(9));
    assert_eq!(
        refused.err(),
        Some(RestoreError::Start(StartError::Consensus(
            fbpbft::StartError::NotAMember
        )))
    );
}

#[test]
fn lg_13_a_damaged_snapshot_is_refused() {
    let mut federation = story();
    let good = federation.nodes[1].replica.snapshot();
    let genesis = federation.genesis.clone();
    assert!(from_snapshot(&genesis, good.clone()).is_ok());
    let refused = |snapshot: Snapshot| match from_snapshot(&genesis, snapshot) {
        Err(RestoreError::Snapshot(error)) => error,
        other => panic!("{other:?}"),
    };
    let without_chunks = Snapshot {
        chunks: Vec::new(),
        ..good.clone()
    };
    assert!(matches!(
        refused(without_chunks),
        SnapshotError::Root { .. }
    ));
    let mut twice = good.clone();
    twice.chunks.extend(good.chunks.clone());
    assert_eq!(refused(twice), SnapshotError::Head);
    let mut other_root = good.clone();
    other_root.meta.ledger_root = Sha256Digest::ZERO;
    assert!(matches!(refused(other_root), SnapshotError::Root { .. }));
    // Any changed byte changes the root, or is no chunk any more.
    let length = good.chunks[0].len();
    for at in (0..length).step_by(7) {
        let mut damaged = good.clone();
        damaged.chunks[0][at] ^= 1;
        refused(damaged);
    }
}

#[test]
fn lg_13_the_snapshot_of_another_federation_is_refused() {
    let mut federation = story();
    let snapshot = federation.nodes[1].replica.snapshot();
    let mut other = genesis();
    other.name.push('x');
    // The chain is under the root (LG-10).
    assert!(matches!(
        from_snapshot(&other, snapshot).err(),
        Some(RestoreError::Snapshot(SnapshotError::Root { .. }))
    ));
}

/// Every record is what its bytes say.
#[test]
fn records_round_trip() {
    let federation = story();
    let mut kinds = std::collections::BTreeSet::new();
    for record in federation.nodes.iter().flat_map(|node| &node.journal) {
        let bytes = wire::encode(record);
        assert_eq!(wire::decode(&bytes, 1 << 20).as_ref(), Ok(record));
        kinds.insert(bytes[..2.min(bytes.len())].to_vec());
    }
    assert!(kinds.len() >= 5, "blocks, votes and decisions: {kinds:?}");
}
