//! The store against what was put into it, across restarts, crashes and damage.

use super::*;
use crate::scratch::Scratch;
use polity_merkle::leaf_hash;
use proptest::prelude::*;
use std::path::PathBuf;

const CHAIN: ChainId = ChainId::new([7; 32]);

struct Place {
    _directory: Scratch,
    path: PathBuf,
}

impl Place {
    fn new() -> Self {
        let directory = Scratch::new();
        let path = directory.path().join(FILE_NAME);
        Self {
            _directory: directory,
            path,
        }
    }

    fn open(&self) -> Store {
        Store::open(&self.path, CHAIN).unwrap()
    }

    /// The file as a crash at this moment leaves it, opened elsewhere.
    fn after_crash(&self) -> (Self, Store) {
        let elsewhere = Self::new();
        std::fs::copy(&self.path, &elsewhere.path).unwrap();
        let store = elsewhere.open();
        (elsewhere, store)
    }
}

fn entry(height: u64) -> BlockEntry {
    BlockEntry {
        block_offset: height * 1_000,
        certificate_offset: height * 1_000 + 500,
        digest: [height as u8; 32],
    }
}

fn ids(height: u64, count: u8) -> Vec<[u8; 32]> {
    (0..count)
        .map(|position| {
            let mut id = [position; 32];
            id[..8].copy_from_slice(&height.to_le_bytes());
            id
        })
        .collect()
}

fn put(store: &Store, height: u64) {
    let ids = ids(height, 3);
    store
        .put_block(Height::new(height), &entry(height), &ids)
        .unwrap();
}

fn assert_block(store: &Store, height: u64) {
    assert_eq!(
        store.block(Height::new(height)).unwrap(),
        Some(entry(height))
    );
    for (position, id) in (0..).zip(ids(height, 3)) {
        assert_eq!(
            store.transaction(&id).unwrap(),
            Some((Height::new(height), position))
        );
    }
}

#[test]
fn blocks_and_transactions_are_found_also_after_an_orderly_end() {
    let place = Place::new();
    let store = place.open();
    assert_eq!(store.last_height().unwrap(), None);
    assert_eq!(store.block(Height::new(1)).unwrap(), None);
    assert_eq!(store.transaction(&[1; 32]).unwrap(), None);
    for height in 1..=10 {
        put(&store, height);
    }
    // Putting again does no harm.
    put(&store, 5);
    store.flush().unwrap();
    drop(store);
    let store = place.open();
    assert_eq!(store.last_height().unwrap(), Some(Height::new(10)));
    for height in 1..=10 {
        assert_block(&store, height);
    }
    assert_eq!(store.block(Height::new(11)).unwrap(), None);
}

#[test]
fn a_crash_goes_back_to_the_last_durable_commit() {
    let place = Place::new();
    let store = place.open();
    put(&store, 1);
    store
        .put_snapshot(Height::new(1), [vec![1]], false)
        .unwrap();
    put(&store, 2);
    let (_elsewhere, crashed) = place.after_crash();
    assert_eq!(crashed.last_height().unwrap(), Some(Height::new(1)));
    assert_block(&crashed, 1);
    assert_eq!(crashed.transaction(&ids(2, 1)[0]).unwrap(), None);
    // The living process sees both, and so does one that put the block again.
    assert_block(&store, 2);
    put(&crashed, 2);
    assert_block(&crashed, 2);
}

#[test]
fn many_blocks_become_durable_without_a_snapshot() {
    let place = Place::new();
    let store = place.open();
    for height in 1..DURABLE_EVERY_BLOCKS {
        put(&store, height);
    }
    let (_elsewhere, crashed) = place.after_crash();
    assert_eq!(crashed.last_height().unwrap(), None);
    put(&store, DURABLE_EVERY_BLOCKS);
    let (_elsewhere, crashed) = place.after_crash();
    assert_eq!(
        crashed.last_height().unwrap(),
        Some(Height::new(DURABLE_EVERY_BLOCKS))
    );
    assert_block(&crashed, 1);
}

#[test]
fn ends_of_epochs_come_in_pages_and_survive_a_crash_with_their_blocks() {
    let place = Place::new();
    let store = place.open();
    assert_eq!(store.epoch_ends(Epoch::ZERO, 10).unwrap(), []);
    let end = |epoch: u8| (Epoch::new(epoch.into()), vec![epoch; 3]);
    for epoch in 0..5 {
        let (number, bytes) = end(epoch);
        store.put_epoch_ends([(number, bytes.as_slice())]).unwrap();
    }
    put(&store, 1);
    let page = |store: &Store, from: u64, count| store.epoch_ends(Epoch::new(from), count).unwrap();
    assert_eq!(page(&store, 1, 2), [end(1), end(2)]);
    assert_eq!(page(&store, 4, 2), [end(4)]);
    assert_eq!(page(&store, 5, 2), []);
    store.flush().unwrap();
    let (_elsewhere, crashed) = place.after_crash();
    assert_block(&crashed, 1);
    assert_eq!(page(&crashed, 0, 10).len(), 5);
}

/// Puts snapshots in this order (height, whether an epoch ends there); says which are there then.
fn kept(store: &Store, puts: &[(u64, bool)]) -> Vec<u64> {
    for (height, ends_epoch) in puts {
        let chunks: Vec<Vec<u8>> = (0..5).map(|n| vec![*height as u8, n]).collect();
        store
            .put_snapshot(Height::new(*height), chunks, *ends_epoch)
            .unwrap();
    }
    let is_there = |height: &u64| {
        let chunks = (0..6).map(|position| store.snapshot_chunk(Height::new(*height), position));
        match chunks.filter_map(Result::unwrap).count() {
            0 => false,
            5 => true,
            count => panic!("{count} chunks at {height}"),
        }
    };
    (0..=100).filter(is_there).collect()
}

#[test]
fn the_newest_snapshot_stays_and_those_after_the_last_two_epochs() {
    for (puts, expected) in [
        (&[(10, false)][..], &[10][..]),
        (&[(10, false), (20, false), (30, false)], &[30]),
        (&[(10, true), (20, false), (30, false)], &[10, 30]),
        (&[(10, true), (15, false), (20, true)], &[10, 20]),
        (
            &[(10, true), (20, true), (30, true), (35, false)],
            &[20, 30, 35],
        ),
        (&[(10, true), (20, true), (20, true)], &[10, 20]),
    ] {
        let place = Place::new();
        let store = place.open();
        assert_eq!(store.latest_snapshot().unwrap(), None);
        assert_eq!(kept(&store, puts), expected, "{puts:?}");
        let (_elsewhere, crashed) = place.after_crash();
        assert_eq!(kept(&crashed, &[]), expected, "{puts:?}");
        let latest = crashed.latest_snapshot().unwrap().unwrap();
        assert_eq!(Some(&latest.height.get()), expected.last());
        assert_eq!(latest.chunks.len(), 5);
        for height in crashed.epoch_snapshots().unwrap() {
            assert!(expected.contains(&height.get()));
        }
        for height in (0..=100).map(Height::new) {
            let hashes = crashed.snapshot_leaves(height).unwrap();
            if expected.contains(&height.get()) {
                let wanted = (0..5).map(|n| leaf_hash(&[height.get() as u8, n]));
                assert_eq!(hashes, wanted.collect::<Vec<_>>());
            } else {
                assert_eq!(hashes, []);
            }
        }
        store.forget_snapshots().unwrap();
        assert!(kept(&store, &[]).is_empty());
        assert_eq!(store.epoch_snapshots().unwrap(), []);
        for height in expected {
            assert_eq!(store.snapshot_leaves(Height::new(*height)).unwrap(), []);
        }
    }
}

#[test]
fn a_snapshot_that_is_put_again_has_no_chunk_of_the_old_one() {
    let place = Place::new();
    let store = place.open();
    kept(&store, &[(20, true), (30, true)]);
    let height = Height::new(30);
    store.put_snapshot(height, [vec![9]], false).unwrap();
    let latest = store.latest_snapshot().unwrap().unwrap();
    assert_eq!(latest.chunks, [vec![9_u8]]);
    assert_eq!(store.snapshot_leaves(height).unwrap(), [leaf_hash(&[9])]);
    assert_eq!(store.epoch_snapshots().unwrap(), [20, 30].map(Height::new));
    // The largest height is no special case.
    store.put_snapshot(Height::MAX, [vec![1]], false).unwrap();
    let latest = store.latest_snapshot().unwrap().unwrap();
    assert_eq!(latest.height, Height::MAX);
}

#[test]
fn heights_that_a_snapshot_passed_over_are_known_as_such() {
    let place = Place::new();
    let store = place.open();
    let gap = |store: &Store, height| store.gap(Height::new(height)).unwrap();
    assert_eq!(gap(&store, 1), None);
    for height in 1..=3 {
        put(&store, height);
    }
    store.put_gap(Height::new(10)).unwrap();
    let (_elsewhere, crashed) = place.after_crash();
    for store in [&store, &crashed] {
        assert_eq!(store.last_height().unwrap(), Some(Height::new(10)));
        // What is known already passes nothing over.
        store.put_gap(Height::new(10)).unwrap();
        store.put_gap(Height::new(4)).unwrap();
        let found: Vec<bool> = (0..13).map(|height| gap(store, height).is_some()).collect();
        let expected: Vec<bool> = (0..13).map(|height| (4..=10).contains(&height)).collect();
        assert_eq!(found, expected);
        assert_eq!(gap(store, 7), Some((Height::new(4), Height::new(10))));
    }
    put(&store, 11);
    store.put_gap(Height::new(20)).unwrap();
    assert_eq!(gap(&store, 15), Some((Height::new(12), Height::new(20))));
    assert_eq!(gap(&store, 11), None);
    assert_eq!(gap(&store, 7), Some((Height::new(4), Height::new(10))));
    // The first block of all may be one of them.
    let place = Place::new();
    let store = place.open();
    store.put_gap(Height::new(5)).unwrap();
    assert_eq!(gap(&store, 1), Some((Height::new(1), Height::new(5))));
    assert_eq!(gap(&store, 0), None);
}

#[test]
fn evidence_is_durable_at_once_and_bounded() {
    let place = Place::new();
    let store = place.open();
    assert!(store.put_evidence(&[2; 32], b"two").unwrap());
    assert!(store.put_evidence(&[1; 32], b"one").unwrap());
    // The first bytes for an id stay.
    assert!(store.put_evidence(&[1; 32], b"other").unwrap());
    let (_elsewhere, crashed) = place.after_crash();
    assert_eq!(
        crashed.evidence().unwrap(),
        [([1; 32], b"one".to_vec()), ([2; 32], b"two".to_vec())].into()
    );
    {
        // Fill it without a flush for each.
        let write = store.begin().unwrap();
        let mut table = write.open_table(EVIDENCE).unwrap();
        for number in 0..EVIDENCE_MAX - 2 {
            let mut id = [0xff; 32];
            id[..8].copy_from_slice(&number.to_le_bytes());
            table.insert(&id, [].as_slice()).unwrap();
        }
        drop(table);
        commit_in_memory(write).unwrap();
    }
    assert!(!store.put_evidence(&[3; 32], b"three").unwrap());
    assert!(store.put_evidence(&[2; 32], b"two").unwrap());
    assert_eq!(store.evidence().unwrap().len() as u64, EVIDENCE_MAX);
}

#[test]
fn another_chain_and_a_second_user_are_refused_and_nothing_is_lost() {
    let place = Place::new();
    let store = place.open();
    put(&store, 1);
    let error = Store::open(&place.path, CHAIN).unwrap_err();
    assert!(matches!(error, StoreError::InUse), "{error}");
    assert!(!error.is_rebuildable());
    store.flush().unwrap();
    drop(store);
    let error = Store::open(&place.path, ChainId::new([8; 32])).unwrap_err();
    assert!(matches!(error, StoreError::OtherChain(_)), "{error}");
    assert!(!error.is_rebuildable());
    assert_block(&place.open(), 1);
}

#[test]
fn another_format_is_rebuilt() {
    let place = Place::new();
    let store = place.open();
    {
        let write = store.begin().unwrap();
        let mut meta = write.open_table(META).unwrap();
        meta.insert("format", [9, 0, 0, 0].as_slice()).unwrap();
        drop(meta);
        store.commit_durably(write).unwrap();
    }
    drop(store);
    let error = Store::open(&place.path, CHAIN).unwrap_err();
    assert!(error.is_rebuildable(), "{error}");
    let store = Store::recreate(&place.path, CHAIN).unwrap();
    put(&store, 1);
    assert_block(&store, 1);
}

#[test]
fn a_file_that_is_no_database_is_rebuildable() {
    for content in [vec![0x55; 10_000], vec![0; 10_000], b"redb".to_vec()] {
        let place = Place::new();
        std::fs::write(&place.path, content).unwrap();
        let error = Store::open(&place.path, CHAIN).unwrap_err();
        assert!(error.is_rebuildable(), "{error:?}");
        let store = Store::recreate(&place.path, CHAIN).unwrap();
        assert_eq!(store.last_height().unwrap(), None);
    }
    // Nothing to remove is no reason to fail.
    let place = Place::new();
    Store::recreate(&place.path, CHAIN).unwrap();
}

#[test]
#[cfg(unix)]
fn the_file_is_private() {
    use std::os::unix::fs::PermissionsExt as _;
    let place = Place::new();
    let _store = place.open();
    let mode = std::fs::metadata(&place.path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Damage is noticed, or hit a byte that nothing depends on.
    #[test]
    fn damage_is_noticed_or_harmless(position in any::<prop::sample::Index>(), bit in 0..8_u8) {
        let place = Place::new();
        let store = place.open();
        for height in 1..=20 {
            put(&store, height);
        }
        let chunks = (0..4).map(|byte| vec![byte; 5_000]);
        store.put_snapshot(Height::new(20), chunks, true).unwrap();
        drop(store);
        let mut bytes = std::fs::read(&place.path).unwrap();
        let index = position.index(bytes.len());
        bytes[index] ^= 1 << bit;
        std::fs::write(&place.path, bytes).unwrap();
        match Store::open(&place.path, CHAIN) {
            Err(error) => prop_assert!(error.is_rebuildable(), "{error:?}"),
            Ok(store) => {
                for height in 1..=20 {
                    assert_block(&store, height);
                }
                let snapshot = store.latest_snapshot().unwrap().unwrap();
                prop_assert!(snapshot.chunks.iter().all(|chunk| chunk.len() == 5_000));
            }
        }
    }
}
