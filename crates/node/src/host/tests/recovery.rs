//! What a node starts from: its journal, with a snapshot and an index that fit it, and nothing else.

use super::*;

#[test]
fn a_lost_journal_is_no_fresh_start() {
    let story = Story::new();
    let chain = story.founded.genesis.chain().unwrap().id();
    let scratch = Scratch::new();
    let index = Store::open(&scratch.path().join("index"), chain).unwrap();
    let basis = Basis {
        genesis: &story.founded.genesis,
        config: Config::default(),
        own: OWN,
        signers: vec![story.keys[0].signer().clone()],
        former: Vec::new(),
        verifier: NodeVerifier::default(),
        index_seed: Seed::from_number(8),
    };
    let result = recover(MemoryFile::default(), &index, basis);
    assert!(matches!(result, Err(RecoverError::JournalLost)));
}

#[test]
fn a_snapshot_and_the_rest_of_the_journal_make_the_same_replica() {
    let story = Story::new();
    let chain = story.founded.genesis.chain().unwrap();
    let mut lived = Lived::through(&story, 3);
    let mut recovered = recover(
        lived.file.after_crash(Loss::Nothing),
        &lived.index,
        story.basis(9),
    )
    .unwrap();
    assert_eq!(
        recovered.replayed,
        lived.height() - 3,
        "the snapshot was not used"
    );
    assert_eq!(recovered.replica.tip(), lived.host.replica().tip());
    assert_eq!(
        recovered.replica.ledger_mut().root(),
        lived.host.replica_mut().ledger_mut().root()
    );
    // And from nothing but the journal.
    let mut restorer = Restorer::new(
        &story.founded.genesis,
        Purpose::Production,
        NodeVerifier::default(),
        Seed::from_number(1),
    )
    .unwrap();
    let file = lived.file.after_crash(Loss::Nothing);
    Journal::open(file, chain.id(), &story.own_key(), |_, payload| {
        restorer
            .record(wire::decode(payload, 1 << 24).unwrap())
            .unwrap();
    })
    .unwrap();
    let again = restorer
        .finish(Config::default(), story.keys[0].signer().clone())
        .unwrap();
    assert_eq!(again.tip(), lived.host.replica().tip());
}

/// FB-19: the state after the last block of an epoch is that which the first block of the next names.
#[test]
fn fb_19_the_state_at_the_end_of_an_epoch_is_certified_by_the_next_header() {
    let story = Story::new();
    let file = MemoryFile::new(fresh_journal(&story));
    let mut host = Host::new(story.replica(0), open(&story, file), Places::default());
    let mut snapshots = BTreeMap::new();
    let mut headers = Vec::new();
    for (time, step) in &story.steps {
        match step.clone() {
            Step::Tick => host.tick(*time).unwrap(),
            Step::Input(input) => host.handle(*time, input).unwrap(),
        }
        for released in host.flush().unwrap() {
            let Effect::Committed(committed) = released.effect else {
                assert!(released.snapshot.is_none());
                continue;
            };
            let header = committed.block.header().clone();
            let ends_epoch = header.height.get().is_multiple_of(EPOCH);
            assert_eq!(released.snapshot.is_some(), ends_epoch, "{}", header.height);
            snapshots.extend(released.snapshot.map(|snapshot| (header.height, snapshot)));
            headers.push(header);
        }
    }
    assert!(snapshots.len() >= 2);
    for pair in headers.windows(2) {
        let Some(snapshot) = snapshots.get(&pair[0].height) else {
            continue;
        };
        assert_eq!(snapshot.meta.digest, pair[0].digest());
        let root = application_root(&snapshot.meta.ledger_root);
        assert_eq!(root, pair[1].application_root);
        assert_eq!(snapshot.meta.receipts, pair[1].receipts_root);
    }
}

/// The ends of epochs come back with the index, and lead from the genesis to the last of them.
#[test]
fn fb_18_ends_of_epochs_are_made_again_from_the_journal() {
    let story = Story::new();
    let chain = story.founded.genesis.chain().unwrap();
    let lived = Lived::through(&story, 3);
    let expected = lived.index.epoch_ends(Epoch::ZERO, 100).unwrap();
    assert_eq!(expected.len() as u64, lived.height() / EPOCH);
    assert!(expected.len() >= 2);
    let scratch = Scratch::new();
    let fresh = Store::open(&scratch.path().join("index"), chain.id()).unwrap();
    // From nothing, and from a snapshot in the middle of an epoch.
    for index in [&fresh, &lived.index] {
        let file = lived.file.after_crash(Loss::Nothing);
        recover(file, index, story.basis(9)).unwrap();
        assert_eq!(index.epoch_ends(Epoch::ZERO, 100).unwrap(), expected);
    }
    let mut light = LightClient::from_genesis(&chain, story.founded.genesis.start);
    let mut checker = Checker::new(NodeVerifier::default(), 0);
    for (_, bytes) in &expected {
        let end = wire::decode(bytes, 1 << 20).unwrap();
        light.advance(&end, &mut checker).unwrap();
    }
    assert_eq!(light.epoch().get(), expected.len() as u64);
}

/// FB-15: the index has seen what the journal forgot, so the journal is an older one. It is left as
/// it is: it may be the right one with damage that only its owner can judge.
#[test]
fn fb_15_an_older_journal_beside_a_newer_index_is_refused() {
    let story = Story::new();
    let lived = Lived::through(&story, 0);
    let (bytes, records) = lived.journal(&story);
    let is_decision =
        |record: &Record| matches!(record, Record::Consensus(fbpbft::Record::Decided(_)));
    let last = records.iter().rposition(|(_, r)| is_decision(r)).unwrap();
    // Cut at every record from the first on, and in the middle of the last decision.
    let cuts = records[1..=last].iter().map(|(offset, _)| *offset);
    for cut in cuts.chain([records[last].0 + 30]) {
        let cut = usize::try_from(cut).unwrap();
        let file = MemoryFile::new(bytes[..cut].to_vec());
        let result = recover(file.clone(), &lived.index, story.basis(9));
        match result {
            Err(RecoverError::JournalOlder { found, indexed }) => {
                assert!(found < indexed);
                assert_eq!(indexed.get(), lived.height());
            }
            other => panic!("cut at {cut}: {:?}", other.map(|r| r.records)),
        }
        assert_eq!(file.0.borrow().durable, bytes[..cut], "nothing was cut off");
    }
    // A snapshot alone says the same.
    let scratch = Scratch::new();
    let chain = story.founded.genesis.chain().unwrap().id();
    let index = Store::open(&scratch.path().join("index"), chain).unwrap();
    let snapshot = lived.host.replica().tip().parent.height;
    let stored = {
        let mut lived = lived;
        encode_snapshot(lived.host.replica_mut().snapshot())
    };
    index.put_snapshot(snapshot, stored, false).unwrap();
    let cut = usize::try_from(records[last].0).unwrap();
    let file = MemoryFile::new(bytes[..cut].to_vec());
    assert!(matches!(
        recover(file, &index, story.basis(9)),
        Err(RecoverError::JournalOlder { .. })
    ));
}

/// FB-15: the index belongs to one journal, and another one in its place is not believed.
#[test]
fn fb_15_a_foreign_journal_is_refused() {
    let story = Story::new();
    let lived = Lived::through(&story, 0);
    let file = lived.file.after_crash(Loss::Nothing);
    recover(file, &lived.index, story.basis(9)).unwrap();
    // The same records in a file of its own, as another node would have written them.
    let other = MemoryFile::new(fresh_journal(&story));
    let mut journal = open(&story, other.clone());
    for (_, record) in lived.journal(&story).1 {
        journal.append(&wire::encode(&record)).unwrap();
    }
    journal.sync().unwrap();
    let result = recover(other, &lived.index, story.basis(9));
    assert!(matches!(
        result,
        Err(RecoverError::Store(crate::store::StoreError::OtherJournal))
    ));
}

/// An index that says where blocks are in another file than the journal beside it.
#[test]
fn fb_15_an_index_with_other_places_is_refused() {
    let story = Story::new();
    let lived = Lived::through(&story, 0);
    let chain = story.founded.genesis.chain().unwrap().id();
    let scratch = Scratch::new();
    let index = Store::open(&scratch.path().join("index"), chain).unwrap();
    let height = Height::new(1);
    let mut entry = lived.index.block(height).unwrap().unwrap();
    entry.block_offset += 1;
    index.put_block(height, &entry, &[]).unwrap();
    let file = lived.file.after_crash(Loss::Nothing);
    let result = recover(file, &index, story.basis(9));
    assert!(matches!(
        result,
        Err(RecoverError::Store(crate::store::StoreError::OtherJournal))
    ));
    // It was not bound to the journal that it does not fit.
    assert!(!index.check_bound(&[0; 16]).unwrap());
}

#[test]
fn fb_15_the_journal_of_another_member_is_refused() {
    let story = Story::new();
    let lived = Lived::through(&story, 0);
    let file = lived.file.after_crash(Loss::Nothing);
    let mut basis = story.basis(9);
    basis.own = ReplicaId::new(1);
    basis.signers = vec![story.keys[1].signer().clone()];
    let scratch = Scratch::new();
    let chain = story.founded.genesis.chain().unwrap().id();
    let index = Store::open(&scratch.path().join("index"), chain).unwrap();
    let result = recover(file, &index, basis);
    assert!(matches!(
        result,
        Err(RecoverError::Journal(JournalError::OtherKey(_)))
    ));
}

/// What a killed process left with the system is durable before the index names it, so a power
/// failure during recovery takes nothing back.
#[test]
fn a_recovery_that_loses_power_can_be_repeated() {
    let story = Story::new();
    let chain = story.founded.genesis.chain().unwrap().id();
    let lived = Lived::through(&story, 0);
    let (bytes, records) = lived.journal(&story);
    for (cut, _) in records.iter().skip(1).step_by(5) {
        let cut = usize::try_from(*cut).unwrap();
        let file = MemoryFile::new(bytes[..cut].to_vec());
        file.0.borrow_mut().pending = bytes[cut..].to_vec();
        let scratch = Scratch::new();
        let path = scratch.path().join("index");
        let index = Store::open(&path, chain).unwrap();
        recover(file.clone(), &index, story.basis(9)).unwrap();
        let survived = file.after_crash(Loss::Everything);
        assert_eq!(survived.0.borrow().durable, bytes);
        let again = recover(survived, &index, story.basis(9)).unwrap();
        assert_eq!(again.replica.tip(), lived.host.replica().tip());
    }
}

#[test]
fn lg_13_a_snapshot_of_another_block_is_not_used() {
    let story = Story::new();
    let changes: [fn(&mut polity_replica::SnapshotMeta); 4] = [
        |meta| meta.digest = Sha256Digest::ZERO,
        |meta| meta.timestamp = meta.timestamp.saturating_add(Duration::from_millis(1)),
        |meta| meta.header_application = Sha256Digest::ZERO,
        |meta| meta.certificate = None,
    ];
    for change in changes {
        let mut lived = Lived::through(&story, 0);
        lived.snapshot(change);
        let file = lived.file.after_crash(Loss::Nothing);
        let recovered = recover(file, &lived.index, story.basis(9)).unwrap();
        assert_eq!(recovered.replayed, lived.height(), "all of it was replayed");
        assert_eq!(recovered.replica.tip(), lived.host.replica().tip());
    }
}

/// A transaction that was refused for now, sent again and promised again waits after a restart,
/// although an earlier block holds it.
#[test]
fn fb_15_a_promise_after_a_refusal_survives_a_restart_from_a_snapshot() {
    let story = Story::with(|story| vec![story.transfer_of(1_000, 77)]);
    let overdraft = story.transfer_of(1_000, 77);
    let mut lived = Lived::through(&story, 0);
    let place = lived.index.transaction(overdraft.id().as_bytes()).unwrap();
    assert!(place.is_some(), "a block holds it, refused");
    assert!(!lived.host.replica().pool().contains(&overdraft.id()));
    let again = Step::Input(Input::Submitted(vec![overdraft.clone()]));
    lived.step(Time::from_millis(5_100), again, 0);
    assert!(lived.host.replica().pool().contains(&overdraft.id()));
    lived.snapshot(|_| {});
    let file = lived.file.after_crash(Loss::Everything);
    let recovered = recover(file, &lived.index, story.basis(9)).unwrap();
    assert_eq!(recovered.replayed, 0, "the snapshot was used");
    let pool = recovered.replica.pool();
    assert!(pool.contains(&overdraft.id()));
    assert_eq!(pool.len(), 1, "what was decided does not return");
}
