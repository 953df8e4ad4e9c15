//! Damaged journals that jumped over blocks: a snapshot is kept only if a replica can start from it and an
//! auditor can verify it (FB-15, FB-19).

use super::repair::{
    begin, bytes_of, height_of, index_in, is_decision, mend, reader, records_of, surveyed,
};
use super::sync::{AT, Past};
use super::*;
use crate::host::repair::{RepairError, check};
use crate::journal::FILE_NAME;
use crate::node::Prepared;
use crate::repair::Repair;
use polity_consensus::fbpbft::Decided;
use polity_replica::sync::{ChunkBytes, SyncRecord};
use std::fs;
use std::sync::Arc;

/// A node that decided one block, fetched a snapshot while it voted for the second, and went on.
struct Jumped {
    past: Past,
    records: Vec<Record>,
}

impl Jumped {
    fn new() -> Self {
        let past = Past::new();
        let first =
            |record: &Record| is_decision(record) && height_of(record) == Some(Height::new(1));
        let first = past.records.iter().position(first).unwrap();
        let mut records = past.records[..=first].to_vec();
        let is_vote =
            |record: &&Record| height_of(record) == Some(Height::new(2)) && !is_decision(record);
        let mut votes = past.records.iter().filter(is_vote).cloned();
        for record in past.jumped(&past.ends()[..2], &past.snapshots[&AT]) {
            // A vote in front of each record of the sync.
            if matches!(record, Record::Sync(_)) {
                records.extend(votes.next());
            }
            records.push(record);
        }
        Self { past, records }
    }

    /// A journal with these records, each durable before the next, and where they are.
    fn written(&self, records: &[Record]) -> (Vec<u8>, Vec<usize>) {
        let file = MemoryFile::new(fresh_journal(&self.past.story));
        let mut journal = open(&self.past.story, file.clone());
        let mut offsets = Vec::new();
        for record in records {
            let offset = journal.append(&wire::encode(record)).unwrap();
            offsets.push(usize::try_from(offset).unwrap());
            journal.sync().unwrap();
        }
        (bytes_of(&file), offsets)
    }

    /// What the other members have.
    fn decided(&self) -> Vec<Decided> {
        let mut blocks = BTreeMap::new();
        let mut decided = Vec::new();
        for record in &self.past.records {
            match record {
                Record::Consensus(fbpbft::Record::Block(block)) => {
                    blocks.insert(block.header.digest(), Arc::clone(block));
                }
                Record::Consensus(fbpbft::Record::Decided(certificate)) => decided.push(Decided {
                    block: Arc::clone(&blocks[&certificate.value.digest]),
                    certificate: certificate.clone(),
                }),
                _ => {}
            }
        }
        decided
    }

    /// Where a journal that holds all of these records leads to.
    fn state(&self, bytes: Vec<u8>, index: &Store) -> (Height, Sha256Digest) {
        let basis = self.past.story.basis(9);
        let mut recovered = recover(MemoryFile::new(bytes), index, basis).unwrap();
        let height = recovered.replica.tip().parent.height;
        (height, recovered.replica.ledger_mut().root())
    }
}

/// The height that a record brings the node to, or is about.
fn place_of(record: &Record) -> Option<Height> {
    match record {
        Record::Sync(SyncRecord::Installed { height }) => Some(*height),
        other => height_of(other),
    }
}

fn is_end(record: &Record) -> bool {
    is_decision(record) || matches!(record, Record::Sync(SyncRecord::Installed { .. }))
}

/// Whether every vote of an open height is there without this record.
fn is_repairable(records: &[Record], lost: usize) -> bool {
    let behind = &records[lost + 1..];
    let next = behind.iter().find_map(place_of);
    next.is_some_and(|next| {
        let mut behind = behind.iter();
        behind.any(|record| is_end(record) && place_of(record) >= Some(next))
    })
}

/// Whatever record is lost, wherever the journal ends: what is repaired starts, holds the same state and
/// satisfies an auditor, and what is not is refused for its votes.
#[test]
fn fb_19_a_journal_that_jumped_is_repaired_to_one_that_starts_and_can_be_verified() {
    let jumped = Jumped::new();
    let Jumped { past, records } = &jumped;
    let decided = jumped.decided();
    let scratch = Scratch::new();
    let (mut repaired_count, mut jumps, mut refused_count) = (0, 0, 0);
    let ends = (0..records.len()).filter(|at| is_end(&records[*at]));
    for length in ends.flat_map(|at| [at, at + 1]) {
        let records = &records[..length];
        let (whole, offsets) = jumped.written(records);
        let whole_index = index_in(&past.story, &scratch, &format!("{length}"));
        let expected = jumped.state(whole.clone(), &whole_index);
        for lost in 0..length {
            let what = format!("record {lost} of {length}: {:?}", records[lost]);
            let mut bytes = whole.clone();
            bytes[offsets[lost] + 24] ^= 1;
            if reader(&past.story, &bytes).scan(|_, _| {}).is_ok() {
                continue;
            }
            let index = index_in(&past.story, &scratch, &format!("{length}-{lost}"));
            let result = mend(&past.story, &bytes, &index, &decided);
            // A vote, a block or a chunk: what counts is what stands behind it.
            if !is_repairable(records, lost) {
                refused_count += 1;
                assert!(matches!(result, Err(RepairError::VotesLost(_))), "{what}");
                continue;
            }
            repaired_count += 1;
            let repaired = result.unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_eq!(jumped.state(repaired.clone(), &index), expected, "{what}");
            let audited = past.audit(&records_of(&past.story, &repaired));
            let audited = audited.unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_eq!(audited.height, expected.0, "{what}");
            jumps += usize::from(!audited.gaps.is_empty());
        }
    }
    // The cases are not all alike: some keep the snapshot, and some have blocks in its place.
    let counts = (jumps, repaired_count, refused_count);
    assert!(
        jumps > 5 && repaired_count > jumps + 5 && refused_count > 0,
        "{counts:?}"
    );
}

/// Bytes that were put between two records cost nothing, wherever they are.
#[test]
fn fb_15_bytes_between_two_records_are_left_out() {
    let jumped = Jumped::new();
    let Jumped { past, records } = &jumped;
    let (whole, offsets) = jumped.written(records);
    let scratch = Scratch::new();
    for (number, at) in offsets.iter().copied().enumerate() {
        let mut bytes = whole.clone();
        bytes.splice(at..at, [7; 99]);
        if reader(&past.story, &bytes).scan(|_, _| {}).is_ok() {
            continue;
        }
        let index = index_in(&past.story, &scratch, &number.to_string());
        let repaired = mend(&past.story, &bytes, &index, &[]).unwrap();
        assert_eq!(records_of(&past.story, &repaired), *records, "{number}");
    }
    // Beside a record that is lost, too.
    let is_chunk = |record: &Record| matches!(record, Record::Sync(SyncRecord::Chunk(_)));
    let chunk = records.iter().position(is_chunk).unwrap();
    let mut bytes = whole;
    bytes[offsets[1] + 24] ^= 1;
    bytes.splice(offsets[chunk]..offsets[chunk], [7; 99]);
    let index = index_in(&past.story, &scratch, "both");
    let repaired = mend(&past.story, &bytes, &index, &jumped.decided()).unwrap();
    let found = records_of(&past.story, &repaired);
    assert!(found.iter().any(is_chunk));
    assert_eq!(
        place_of(found.last().unwrap()),
        place_of(records.last().unwrap())
    );
}

/// A new journal with a hole, or one that ends too early, is found out.
#[test]
fn fb_15_a_journal_that_does_not_start_is_no_repair() {
    let jumped = Jumped::new();
    let Jumped { past, records } = &jumped;
    let (whole, _) = jumped.written(records);
    let survey = surveyed(&past.story, &whole);
    let check = |records: &[Record]| {
        let (bytes, _) = jumped.written(records);
        check(
            &mut reader(&past.story, &bytes),
            &survey,
            past.story.basis(9),
        )
    };
    check(records).unwrap();
    let without_sync: Vec<Record> = records
        .iter()
        .filter(|record| !matches!(record, Record::Sync(_)))
        .cloned()
        .collect();
    let last = records.iter().rposition(is_end).unwrap();
    for hole in [&without_sync[..], &records[..last]] {
        let refused = check(hole).unwrap_err();
        assert!(matches!(refused, RepairError::Useless(_)), "{refused}");
        assert!(refused.to_string().contains("polity rejoin"));
    }
}

/// A chunk that was wrong when it was written is no damage, and no repair puts it right: the damaged
/// journal stays.
#[test]
fn fb_15_a_repair_that_fails_leaves_the_damaged_journal() {
    let jumped = Jumped::new();
    let Jumped { past, records } = &jumped;
    let mut records = records.clone();
    let is_chunk = |record: &Record| matches!(record, Record::Sync(SyncRecord::Chunk(_)));
    let chunk = records.iter().position(is_chunk).unwrap();
    let other = past.snapshots[&EPOCH].chunks[0].clone();
    records[chunk] = Record::Sync(SyncRecord::Chunk(ChunkBytes::new(other)));
    let (mut bytes, offsets) = jumped.written(&records);
    bytes[offsets[1] + 24] ^= 1;
    let directory = past.story.founded.nodes[0].clone();
    fs::write(directory.join(FILE_NAME), &bytes).unwrap();
    let repair: Repair = begin(&directory, &jumped.decided());
    let error = repair.finish().unwrap_err();
    assert!(error.to_string().contains("would not start"), "{error}");
    assert_eq!(fs::read(directory.join(FILE_NAME)).unwrap(), bytes);
    // Nothing was announced: it is still the index's own.
    let prepared = Prepared::open(&directory).unwrap();
    let store = crate::node::open_store(prepared.home()).unwrap();
    let identity = reader(&past.story, &bytes).identity();
    assert!(store.check_bound(&identity).is_ok());
}

/// What a repair fetched in place of a snapshot is in the index like every other block, also where that
/// has the snapshot.
#[test]
fn fb_15_blocks_in_place_of_a_snapshot_get_their_receipts() {
    let jumped = Jumped::new();
    let Jumped { past, records } = &jumped;
    let (whole, offsets) = jumped.written(records);
    let is_chunk = |record: &Record| matches!(record, Record::Sync(SyncRecord::Chunk(_)));
    let chunk = records.iter().position(is_chunk).unwrap();
    let scratch = Scratch::new();
    let index = index_in(&past.story, &scratch, "index");
    let expected = jumped.state(whole.clone(), &index);
    let at = Height::new(AT);
    let pieces = encode_snapshot((*past.snapshots[&AT]).clone());
    index.put_snapshot(at, pieces, true).unwrap();
    assert_eq!(index.receipts(at).unwrap(), None);
    let mut bytes = whole;
    bytes[offsets[chunk] + 24] ^= 1;
    let decided = jumped.decided();
    let repaired = mend(&past.story, &bytes, &index, &decided).unwrap();
    for _ in 0..2 {
        assert_eq!(jumped.state(repaired.clone(), &index), expected);
        for decided in &decided {
            let height = decided.block.header.height;
            assert!(index.block(height).unwrap().is_some(), "{height}");
            assert!(index.receipts(height).unwrap().is_some(), "{height}");
        }
    }
}
