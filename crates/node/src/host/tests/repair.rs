//! Damage in the middle of a journal is repaired when no vote is lost, and only then (FB-15).

use super::*;
use crate::host::repair::{RepairError, Survey, Verdict, assemble, check, examine, follower};
use crate::journal::{FILE_NAME, Reader};
use crate::node::{Prepared, recover_from_disk};
use crate::rejoin::{RejoinError, rejoin};
use crate::repair::{FETCHED, HELD, REPAIRED, Repair};
use crate::store::StoreError;
use polity_consensus::fbpbft::Decided;
use std::fs;
use std::path::{Path, PathBuf};

/// Bytes of a record before its payload: length, pending, sequence, checksum.
const FIELDS: [u64; 5] = [0, 4, 8, 16, 24];

pub(super) fn is_decision(record: &Record) -> bool {
    matches!(record, Record::Consensus(fbpbft::Record::Decided(_)))
}

pub(super) fn height_of(record: &Record) -> Option<Height> {
    match record {
        Record::Consensus(record) => Some(record.height()),
        Record::Pooled(_) | Record::Sync(_) => None,
    }
}

/// A journal as the first replica wrote it.
struct Written {
    bytes: Vec<u8>,
    records: Vec<(u64, Record)>,
}

impl Written {
    fn by(story: &Story, lived: &Lived) -> Self {
        let (bytes, records) = lived.journal(story);
        Self { bytes, records }
    }

    /// The same, as it was before this record was written.
    fn until(&self, record: usize) -> Self {
        let end = self.records.get(record).map(|(offset, _)| *offset as usize);
        Self {
            bytes: self.bytes[..end.unwrap_or(self.bytes.len())].to_vec(),
            records: self.records[..record].to_vec(),
        }
    }

    /// Flips a bit of a record, in one of its fields or in its payload.
    fn flip(&self, record: usize, field: usize) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        bytes[(self.records[record].0 + FIELDS[field]) as usize] ^= 0x10;
        bytes
    }

    /// What the other members have.
    fn decided(&self) -> Vec<Decided> {
        let mut blocks = BTreeMap::new();
        let mut decided = Vec::new();
        for (_, record) in &self.records {
            match record {
                Record::Consensus(fbpbft::Record::Block(block)) => {
                    blocks.insert(block.header.digest(), block.clone());
                }
                Record::Consensus(fbpbft::Record::Decided(certificate)) => decided.push(Decided {
                    block: blocks[&certificate.value.digest].clone(),
                    certificate: certificate.clone(),
                }),
                _ => {}
            }
        }
        decided
    }

    /// The height up to which decisions have to be fetched when these records are lost, worked out from
    /// the records themselves. `None` if a vote of an open height may be among them.
    fn expected(&self, lost: std::ops::Range<usize>) -> Option<Height> {
        let behind = &self.records[lost.end..];
        let next = behind.iter().find_map(|(_, record)| height_of(record))?;
        let is_decided = behind
            .iter()
            .any(|(_, record)| is_decision(record) && height_of(record) >= Some(next));
        is_decided.then_some(next)
    }
}

pub(super) fn reader(story: &Story, bytes: &[u8]) -> Reader<MemoryFile> {
    let chain = story.founded.genesis.chain().unwrap().id();
    Reader::open(MemoryFile::new(bytes.to_vec()), chain).unwrap()
}

pub(super) fn surveyed(story: &Story, bytes: &[u8]) -> Survey {
    let chain = story.founded.genesis.chain().unwrap();
    Survey::of(&mut reader(story, bytes), &chain).unwrap()
}

pub(super) fn records_of(story: &Story, bytes: &[u8]) -> Vec<Record> {
    let mut records = Vec::new();
    reader(story, bytes)
        .scan(|_, payload| records.push(wire::decode(payload, 1 << 24).unwrap()))
        .unwrap();
    records
}

pub(super) fn bytes_of(file: &MemoryFile) -> Vec<u8> {
    file.after_crash(Loss::Everything)
        .0
        .borrow()
        .durable
        .clone()
}

/// Tells a follower what the others decided until it is far enough.
fn catch_up<F: FileLayer>(follower: &mut Host<F>, until: Height, decided: &[Decided]) {
    let tip = |follower: &Host<F>| follower.replica().tip().parent.height;
    let now = Time::from_millis(10_000);
    follower.tick(now).unwrap();
    while tip(follower) < until {
        let next = tip(follower).next();
        let message = decided
            .iter()
            .find(|decided| decided.block.header.height == next)
            .map(|decided| Message::Decided(decided.clone()))
            .unwrap();
        let from = ReplicaId::new(1);
        follower
            .handle(now, Input::Received { from, message })
            .unwrap();
        assert_eq!(tip(follower), next);
    }
    let own = follower.replica().id();
    for released in follower.flush().unwrap() {
        if let Effect::Broadcast(Frame::Consensus(message)) = released.effect {
            assert!(
                matches!(message, Message::Status(_)),
                "{own} has no key and says {message:?}"
            );
        }
    }
}

/// Repairs a journal from what the others decided, and announces it to the index.
pub(super) fn mend(
    story: &Story,
    bytes: &[u8],
    index: &Store,
    decided: &[Decided],
) -> Result<Vec<u8>, RepairError> {
    let mut journal = reader(story, bytes);
    let (survey, until) = examine(&mut journal, index, &story.basis(9))?;
    let fetched = MemoryFile::new(fresh_journal(story));
    let log = open(story, fetched.clone());
    let mut follower = follower(&mut journal, &survey, story.basis(9), log)?;
    assert!(!follower.replica().machine().has_vote());
    assert_eq!(follower.replica().tip().parent.height, survey.before);
    catch_up(&mut follower, until, decided);
    let until = follower.replica().tip().parent.height;
    drop(follower);
    let repaired = MemoryFile::new(fresh_journal(story));
    let new = open(story, repaired.clone());
    let mut fetched = reader(story, &bytes_of(&fetched));
    assemble(&mut journal, &survey, &mut fetched, until, new)?;
    let repaired = bytes_of(&repaired);
    check(&mut reader(story, &repaired), &survey, story.basis(9))?;
    index
        .announce(&reader(story, &repaired).identity())
        .unwrap();
    Ok(repaired)
}

pub(super) fn index_in(story: &Story, scratch: &Scratch, name: &str) -> Store {
    let chain = story.founded.genesis.chain().unwrap().id();
    Store::open(&scratch.path().join(name), chain).unwrap()
}

#[test]
fn fb_15_an_intact_journal_is_in_order() {
    let story = Story::with(|story| vec![story.transfer_of(1_000, 77)]);
    let written = Written::by(&story, &Lived::through(&story, 0));
    let survey = surveyed(&story, &written.bytes);
    let last = written.decided().len() as u64;
    assert_eq!(survey.verdict, Verdict::Repairable(Height::new(last)));
    assert_eq!((survey.count, survey.lost), (0, 0));
    assert_eq!(
        (survey.before, survey.last),
        (Height::new(last), Height::new(last))
    );
}

/// Whatever single record is damaged, wherever the journal ends: it is repaired if and only if no vote of
/// the open height can be lost, and then nothing of that height is.
#[test]
fn fb_15_a_damaged_record_is_repaired_if_no_vote_is_lost() {
    let story = Story::new();
    let whole = Written::by(&story, &Lived::through(&story, 0));
    let decided = whole.decided();
    let scratch = Scratch::new();
    let (mut repaired_count, mut refused_count) = (0, 0);
    // The journal ends in front of each decision and behind it.
    let decisions =
        (0..whole.records.len()).filter(|record| is_decision(&whole.records[*record].1));
    let lengths: Vec<usize> = decisions.flat_map(|record| [record, record + 1]).collect();
    for length in lengths {
        let written = whole.until(length);
        // The last record has no witness and counts as a torn tail.
        for damaged in 0..length - 1 {
            let what = format!("record {damaged} of {length}");
            let bytes = written.flip(damaged, (damaged + length) % FIELDS.len());
            let mut journal = reader(&story, &bytes);
            if journal.scan(|_, _| {}).is_ok() {
                // It was in the last batch.
                continue;
            }
            let index = index_in(&story, &scratch, &format!("{damaged}-{length}"));
            let result = mend(&story, &bytes, &index, &decided);
            let Some(until) = written.expected(damaged..damaged + 1) else {
                refused_count += 1;
                assert!(matches!(result, Err(RepairError::VotesLost(_))), "{what}");
                continue;
            };
            repaired_count += 1;
            let repaired = result.unwrap_or_else(|error| panic!("{what}: {error}"));
            let found = records_of(&story, &repaired);
            let above = |record: &&Record| height_of(record) > Some(until);
            let expected = written.records.iter().map(|(_, record)| record);
            assert!(
                found.iter().filter(above).eq(expected.filter(above)),
                "{what}: the open height is as it was"
            );
            let file = MemoryFile::new(repaired);
            let again = recover(file, &index, story.basis(9)).unwrap();
            let file = MemoryFile::new(written.bytes.clone());
            let other = index_in(&story, &scratch, &format!("{damaged}-{length}-intact"));
            let before = recover(file, &other, story.basis(9)).unwrap();
            assert_eq!(again.replica.tip(), before.replica.tip(), "{what}");
        }
    }
    // The cases are not all alike.
    assert!(repaired_count > 50, "{repaired_count}");
    assert!(refused_count > decided.len(), "{refused_count}");
}

/// Promised transactions of intact stretches stand where they stood.
#[test]
fn fb_15_promises_keep_their_place_in_a_repaired_journal() {
    let story = Story::with(|story| vec![story.transfer_of(1_000, 77)]);
    let mut lived = Lived::through(&story, 0);
    // It was refused for now, and is promised again.
    let again = Step::Input(Input::Submitted(vec![story.transfer_of(1_000, 77)]));
    lived.step(Time::from_millis(5_100), again, 0);
    let written = Written::by(&story, &lived);
    let outline = |records: &[Record]| -> Vec<Record> {
        let is_part = |record: &&Record| height_of(record).is_none() || is_decision(record);
        records.iter().filter(is_part).cloned().collect()
    };
    let all: Vec<Record> = written.records.iter().map(|(_, r)| r.clone()).collect();
    let scratch = Scratch::new();
    let mut count = 0;
    for damaged in 0..all.len() - 1 {
        let bytes = written.flip(damaged, 4);
        let is_hit = reader(&story, &bytes).scan(|_, _| {}).is_err();
        if !is_hit || written.expected(damaged..damaged + 1).is_none() || is_decision(&all[damaged])
        {
            continue;
        }
        count += 1;
        let index = index_in(&story, &scratch, &damaged.to_string());
        let repaired = mend(&story, &bytes, &index, &written.decided()).unwrap();
        let mut expected = all.clone();
        expected.remove(damaged);
        assert_eq!(outline(&records_of(&story, &repaired)), outline(&expected));
        let file = MemoryFile::new(repaired);
        let recovered = recover(file, &index, story.basis(9)).unwrap();
        let pool = recovered.replica.pool();
        assert!(pool.contains(&story.transfer_of(1_000, 77).id()));
        assert_eq!(pool.len(), 1, "what was decided does not return");
    }
    assert!(count > 20, "{count}");
}

type Spoil<'a> = &'a dyn Fn(&mut Vec<u8>);

/// Several records, several stretches, bytes that were put in between: the verdict looks at the last.
#[test]
fn fb_15_several_stretches_are_repaired_at_once() {
    let story = Story::new();
    let written = Written::by(&story, &Lived::through(&story, 0));
    let decided = written.decided();
    let at = |height: u64| {
        let is_first = |(_, record): &(u64, Record)| height_of(record) == Some(Height::new(height));
        written.records.iter().position(is_first).unwrap()
    };
    let offset = |record: usize| written.records[record].0 as usize;
    let scratch = Scratch::new();
    let spoils: [(&str, Spoil<'_>, u64); 4] = [
        // Everything from the middle of height 1 to the middle of height 3.
        (
            "swallowed",
            &|bytes| bytes[offset(at(1) + 1)..offset(at(3) + 1)].fill(0),
            3,
        ),
        (
            "cut out",
            &|bytes| drop(bytes.drain(offset(at(1) + 1)..offset(at(3) + 1))),
            3,
        ),
        (
            "two stretches",
            &|bytes| {
                bytes[offset(at(1) + 1) + 3] ^= 1;
                bytes[offset(at(3) + 1) + 30] ^= 1;
            },
            3,
        ),
        // Nothing is lost, so nothing is fetched.
        (
            "put in",
            &|bytes| drop(bytes.splice(offset(at(2))..offset(at(2)), [7; 99])),
            decided.len() as u64,
        ),
    ];
    for (what, spoil, until) in spoils {
        let mut bytes = written.bytes.clone();
        spoil(&mut bytes);
        let survey = surveyed(&story, &bytes);
        assert_eq!(
            survey.verdict,
            Verdict::Repairable(Height::new(until)),
            "{what}"
        );
        assert_eq!(survey.count, if what == "two stretches" { 2 } else { 1 });
        let index = index_in(&story, &scratch, what);
        let repaired = mend(&story, &bytes, &index, &decided).unwrap();
        let file = MemoryFile::new(repaired);
        let recovered = recover(file, &index, story.basis(9)).unwrap();
        assert_eq!(
            recovered.replica.tip().parent.height.get(),
            decided.len() as u64
        );
    }
    // A second stretch, in the height that is open at the end, spoils it all.
    let fourth = |(_, record): &(u64, Record)| {
        is_decision(record) && height_of(record) == Some(Height::new(4))
    };
    let end = written.records.iter().position(fourth).unwrap();
    let mut bytes = written.until(end).flip(at(1) + 1, 4);
    bytes[offset(at(4))] ^= 1;
    let survey = surveyed(&story, &bytes);
    assert_eq!((survey.count, survey.verdict), (2, Verdict::VotesLost));
    assert_eq!(survey.last, Height::new(3));
    // So does an end that does not hold: it may be damage, too.
    let mut bytes = written.flip(at(1) + 1, 4);
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    let survey = surveyed(&story, &bytes);
    assert_eq!((survey.count, survey.verdict), (1, Verdict::VotesLost));
    assert!(survey.torn_tail_bytes > 0);
    let index = index_in(&story, &scratch, "torn");
    let result = mend(&story, &bytes, &index, &decided);
    assert!(matches!(result, Err(RepairError::VotesLost(_))));
}

/// The index keeps what it knows, and finds every block at its new place.
#[test]
fn fb_15_index_and_snapshot_outlive_a_repair() {
    let story = Story::new();
    for (snapshot_at, damaged_height) in [(0, 2), (3, 2), (2, 3)] {
        let lived = Lived::through(&story, snapshot_at);
        let written = Written::by(&story, &lived);
        lived.index.put_evidence(&[5; 32], b"evidence").unwrap();
        // The index is bound to its journal, as in every node that ran.
        recover(
            MemoryFile::new(written.bytes.clone()),
            &lived.index,
            story.basis(9),
        )
        .unwrap();
        let height = Some(Height::new(damaged_height));
        let damaged = written
            .records
            .iter()
            .position(|(_, r)| height_of(r) == height);
        let bytes = written.flip(damaged.unwrap(), 4);
        let repaired = mend(&story, &bytes, &lived.index, &written.decided()).unwrap();
        // The process ends between announcement and renaming: both journals are the index's own.
        assert!(matches!(
            recover(MemoryFile::new(bytes.clone()), &lived.index, story.basis(9)),
            Err(RecoverError::Journal(JournalError::Damaged { .. }))
        ));
        let mut reader = reader(&story, &repaired);
        assert!(!lived.index.check_bound(&reader.identity()).unwrap());
        for _ in 0..2 {
            let file = MemoryFile::new(repaired.clone());
            let recovered = recover(file, &lived.index, story.basis(9)).unwrap();
            assert_eq!(recovered.replica.tip(), lived.host.replica().tip());
            assert_eq!(recovered.replayed, lived.height() - snapshot_at);
            assert!(lived.index.check_bound(&reader.identity()).unwrap());
            assert!(!lived.index.is_succeeded_by(&reader.identity()).unwrap());
        }
        assert_eq!(lived.index.evidence().unwrap().len(), 1);
        for decided in written.decided() {
            let height = decided.block.header.height;
            let entry = lived.index.block(height).unwrap().unwrap();
            let block: Record =
                wire::decode(&reader.read_at(entry.block_offset).unwrap(), 1 << 24).unwrap();
            assert_eq!(
                block,
                Record::Consensus(fbpbft::Record::Block(decided.block))
            );
            reader.read_at(entry.certificate_offset).unwrap();
            assert!(lived.index.receipts(height).unwrap().is_some());
        }
        // The damaged one is not taken back.
        assert!(matches!(
            mend(&story, &bytes, &lived.index, &[]),
            Err(RepairError::Recover(RecoverError::Store(
                StoreError::OtherJournal
            )))
        ));
    }
}

/// Fetched blocks do not hide that the end of a journal is missing, or whose it is.
#[test]
fn fb_15_a_damaged_journal_that_is_older_or_foreign_is_not_repaired() {
    let story = Story::new();
    let lived = Lived::through(&story, 0);
    let written = Written::by(&story, &lived);
    let third = |(_, record): &(u64, Record)| height_of(record) == Some(Height::new(4));
    let older = written.until(written.records.iter().position(third).unwrap());
    let bytes = older.flip(1, 4);
    match mend(&story, &bytes, &lived.index, &written.decided()) {
        Err(RepairError::Recover(RecoverError::JournalOlder { found, indexed })) => {
            assert_eq!((found.get(), indexed.get()), (3, lived.height()));
        }
        other => panic!("{:?}", other.map(|bytes| bytes.len())),
    }
    let mut basis = story.basis(9);
    basis.signers = vec![story.keys[1].signer().clone()];
    assert!(matches!(
        examine(&mut reader(&story, &bytes), &lived.index, &basis),
        Err(RepairError::Recover(RecoverError::Journal(
            JournalError::OtherKey(_)
        )))
    ));
    lived.index.bind(&[9; 16]).unwrap();
    assert!(matches!(
        examine(&mut reader(&story, &bytes), &lived.index, &story.basis(9)),
        Err(RepairError::Recover(RecoverError::Store(
            StoreError::OtherJournal
        )))
    ));
}

/// Records whose heights sink say nothing about what is lost between them.
#[test]
fn fb_15_records_out_of_order_are_not_repaired() {
    let story = Story::new();
    let written = Written::by(&story, &Lived::through(&story, 0));
    let first = written
        .records
        .iter()
        .find(|(_, record)| height_of(record).is_some());
    let file = MemoryFile::new(fresh_journal(&story));
    let mut journal = open(&story, file.clone());
    for (_, record) in written.records.iter().chain(first) {
        journal.append(&wire::encode(record)).unwrap();
        journal.sync().unwrap();
    }
    let survey = surveyed(&story, &bytes_of(&file));
    assert_eq!(survey.verdict, Verdict::Disorder);
    assert!(survey.to_string().contains("polity rejoin"));
}

/// A block that the others decided and one that the journal decides: somebody lies, and nothing is
/// written in place of the journal.
#[test]
fn fb_15_a_contradiction_stops_a_repair() {
    let story = Story::new();
    let written = Written::by(&story, &Lived::through(&story, 0));
    let height = Height::new(2);
    let second = |(_, record): &(u64, Record)| height_of(record) == Some(height);
    let damaged = written.records.iter().position(second).unwrap();
    let bytes = written.flip(damaged, 4);
    let mut decided = written.decided()[1].clone();
    let mut block = (*decided.block).clone();
    block.header.timestamp = block
        .header
        .timestamp
        .saturating_add(Duration::from_millis(1));
    let theirs = block.header.digest();
    let ours = decided.certificate.value.digest;
    decided.certificate.value.digest = theirs;
    let file = MemoryFile::new(fresh_journal(&story));
    let mut journal = open(&story, file.clone());
    for record in [
        fbpbft::Record::Block(std::sync::Arc::new(block)),
        fbpbft::Record::Decided(decided.certificate),
    ] {
        journal
            .append(&wire::encode(&Record::Consensus(record)))
            .unwrap();
    }
    journal.sync().unwrap();
    let put = |fetched: &[u8], operations| {
        let mut old = reader(&story, &bytes);
        let survey = Survey::of(&mut old, &story.founded.genesis.chain().unwrap()).unwrap();
        let new = MemoryFile::new(fresh_journal(&story));
        let journal = open(&story, new.clone());
        new.0.borrow_mut().operations_left = operations;
        let mut fetched = reader(&story, fetched);
        assemble(&mut old, &survey, &mut fetched, height, journal).unwrap_err()
    };
    match put(&bytes_of(&file), None) {
        RepairError::Contradiction {
            height: at,
            ours: one,
            theirs: other,
        } => {
            assert_eq!((at, one, other), (height, ours, theirs));
        }
        other => panic!("{other}"),
    }
    // What was fetched ends too early, and the disk is full.
    assert!(matches!(
        put(&fresh_journal(&story), None),
        RepairError::Fetched
    ));
    let full = put(&bytes_of(&file), Some(3));
    assert!(
        matches!(full, RepairError::Recover(RecoverError::Journal(_))),
        "{full}"
    );
}

/// All of a repaired journal has witnesses: damage to it is noticed, too.
#[test]
fn fb_15_a_repaired_journal_can_be_damaged_and_repaired_again() {
    let story = Story::new();
    let written = Written::by(&story, &Lived::through(&story, 0));
    let scratch = Scratch::new();
    let index = index_in(&story, &scratch, "index");
    let repaired = mend(&story, &written.flip(2, 4), &index, &written.decided()).unwrap();
    let mut offsets = Vec::new();
    reader(&story, &repaired)
        .scan(|offset, _| offsets.push(offset))
        .unwrap();
    for offset in &offsets[..offsets.len() - 1] {
        let mut bytes = repaired.clone();
        bytes[*offset as usize + 20] ^= 1;
        let result = reader(&story, &bytes).scan(|_, _| {});
        assert!(matches!(result, Err(JournalError::Damaged { .. })));
    }
    let mut bytes = repaired;
    bytes[offsets[4] as usize] ^= 1;
    let other = index_in(&story, &scratch, "other");
    mend(&story, &bytes, &other, &written.decided()).unwrap();
}

/// The data directory of the first node, with a journal that is damaged, and what it was before.
fn spoiled(story: &Story) -> (PathBuf, Written) {
    let directory = story.founded.nodes[0].clone();
    let written = Written::by(story, &Lived::through(story, 0));
    fs::write(directory.join(FILE_NAME), &written.bytes).unwrap();
    // The node ran with it before.
    drop(recover_from_disk(Prepared::open(&directory).unwrap().home()).unwrap());
    fs::write(directory.join(FILE_NAME), written.flip(5, 4)).unwrap();
    (directory, written)
}

pub(super) fn begin(directory: &Path, decided: &[Decided]) -> Repair {
    let mut repair = opened(directory);
    catch_up(&mut repair.follower, repair.until, decided);
    repair
}

/// A repair that is told to stop by nobody.
fn opened(directory: &Path) -> Repair {
    let prepared = Prepared::open(directory).unwrap();
    Repair::begin(prepared, &mut || false).unwrap().unwrap()
}

fn tip_of(repair: &Repair) -> Height {
    repair.follower.replica().tip().parent.height
}

/// Wherever a repair stops, the next one goes on with all that was fetched and ends with the same journal.
#[test]
fn fb_15_a_repair_that_is_interrupted_is_repeated() {
    type Crash = fn(&Path, &[Decided]);
    // Each with whether everything was fetched before.
    let crashes: [(bool, Crash); 6] = [
        (false, |_, _| {}),
        // When the last height is fetched.
        (true, |directory, decided| drop(begin(directory, decided))),
        // While the new journal is written.
        (true, |directory, decided| {
            drop(begin(directory, decided));
            fs::write(directory.join(REPAIRED), b"half a header").unwrap();
        }),
        (true, |directory, decided| {
            drop(begin(directory, decided));
            fs::copy(directory.join(FETCHED), directory.join(REPAIRED)).unwrap();
        }),
        // When the index knows of it.
        (true, |directory, decided| {
            let repair = begin(directory, decided);
            drop(repair);
            let prepared = Prepared::open(directory).unwrap();
            let store = crate::node::open_store(prepared.home()).unwrap();
            store.announce(&[4; 16]).unwrap();
        }),
        // When the damaged one has its second name, and the new one has not got its own.
        (true, |directory, decided| {
            let damaged = fs::read(directory.join(FILE_NAME)).unwrap();
            let repair = begin(directory, decided);
            let fetched = fs::read(directory.join(FETCHED)).unwrap();
            drop(repair.finish().unwrap());
            fs::rename(directory.join(FILE_NAME), directory.join(REPAIRED)).unwrap();
            fs::write(directory.join(FILE_NAME), damaged).unwrap();
            fs::write(directory.join(FETCHED), fetched).unwrap();
        }),
    ];
    for (is_fetched, crash) in crashes {
        let story = Story::new();
        let (directory, written) = spoiled(&story);
        let decided = written.decided();
        let damaged = fs::read(directory.join(FILE_NAME)).unwrap();
        crash(&directory, &decided);
        assert_eq!(fs::read(directory.join(FILE_NAME)).unwrap(), damaged);
        let again = opened(&directory);
        assert!(again.until > Height::ZERO);
        assert_eq!(tip_of(&again) == again.until, is_fetched);
        drop(again);
        let (prepared, kept) = begin(&directory, &decided).finish().unwrap();
        assert_eq!(fs::read(kept).unwrap(), damaged);
        assert!(!directory.join(FETCHED).exists() && !directory.join(REPAIRED).exists());
        for _ in 0..2 {
            let (index, recovered) = recover_from_disk(prepared.home()).unwrap();
            let height = recovered.replica.tip().parent.height;
            assert_eq!(height.get(), decided.len() as u64);
            assert_eq!(index.last_height().unwrap(), Some(height));
            assert!(recovered.replica.machine().has_vote());
        }
    }
}

/// `polity verify` says where the damage is, and what follows.
#[test]
fn an_audit_says_whether_damage_is_repaired() {
    let story = Story::new();
    let (directory, written) = spoiled(&story);
    let genesis = &story.founded.genesis;
    let error = crate::audit::audit_node(&directory, genesis, |_| {}).unwrap_err();
    assert!(!error.is_unsafe());
    let words = error.to_string();
    let place = format!(
        "from byte {} to byte {}",
        written.records[5].0, written.records[6].0
    );
    assert!(words.contains(&place), "{words}");
    assert!(
        words.contains("repairs its journal when it starts"),
        "{words}"
    );

    let last = |(_, record): &(u64, Record)| is_decision(record);
    let last = written.records.iter().rposition(last).unwrap();
    let end = written.until(last);
    let mut damaged = 0;
    for record in 0..last {
        let bytes = end.flip(record, 1);
        if end.expected(record..record + 1).is_none()
            && reader(&story, &bytes).scan(|_, _| {}).is_err()
        {
            damaged += 1;
            fs::write(directory.join(FILE_NAME), bytes).unwrap();
            let error = crate::audit::audit_node(&directory, genesis, |_| {}).unwrap_err();
            assert!(error.to_string().contains("polity rejoin"), "{error}");
        }
    }
    assert!(damaged > 0);
}

/// Who gives up a node that would repair itself is told so; whose votes are lost is not kept.
#[test]
fn fb_15_a_node_that_repairs_itself_needs_no_rejoin() {
    let story = Story::new();
    let (directory, written) = spoiled(&story);
    let damaged = fs::read(directory.join(FILE_NAME)).unwrap();
    let refused = rejoin(&directory, None, false, now()).unwrap_err();
    let until = written.expected(5..6).unwrap();
    assert!(
        matches!(refused, RejoinError::Repairable(height) if height == until),
        "{refused}"
    );
    assert!(refused.to_string().contains("polity run"), "{refused}");
    assert_eq!(fs::read(directory.join(FILE_NAME)).unwrap(), damaged);
    rejoin(&directory, None, true, now()).unwrap();
    // An end that does not hold either may have been a vote.
    let story = Story::new();
    let (directory, _) = spoiled(&story);
    let mut torn = fs::read(directory.join(FILE_NAME)).unwrap();
    *torn.last_mut().unwrap() ^= 1;
    fs::write(directory.join(FILE_NAME), torn).unwrap();
    rejoin(&directory, None, false, now()).unwrap();
}

/// What an interrupted repair fetched needs not be fetched again, and is verified again.
#[test]
fn fb_15_a_repair_goes_on_with_what_was_fetched() {
    let story = Story::new();
    let directory = story.founded.nodes[0].clone();
    let written = Written::by(&story, &Lived::through(&story, 0));
    // From the first block to the third.
    let at = |height: u64| {
        let is_of = |(_, record): &(u64, Record)| height_of(record) == Some(Height::new(height));
        written.records.iter().position(is_of).unwrap()
    };
    let (first, third) = (at(1), at(3));
    let mut bytes = written.flip(first, 4);
    bytes[written.records[third].0 as usize + 24] ^= 1;
    fs::write(directory.join(FILE_NAME), &bytes).unwrap();
    let decided = written.decided();
    let tip = |repair: &Repair| tip_of(repair).get();
    let open = || opened(&directory);
    let mut repair = open();
    assert!(repair.until.get() >= 3);
    assert_eq!(tip(&repair), 0);
    catch_up(&mut repair.follower, Height::new(2), &decided);
    drop(repair);
    // Also when the next one is stopped while it reads that back.
    let (fetched, held) = (directory.join(FETCHED), directory.join(HELD));
    assert_eq!(tip(&open()), 2);
    fs::rename(&fetched, &held).unwrap();
    fs::write(&fetched, b"half a header").unwrap();
    // And also when it is told to stop meanwhile.
    let stopped = Repair::begin(Prepared::open(&directory).unwrap(), &mut || true);
    assert!(stopped.unwrap().is_none());
    assert!(held.exists());
    assert_eq!(tip(&open()), 2);
    assert!(!held.exists());
    // A block that does not hold any more is fetched again, and so is everything behind it.
    let whole = fs::read(&fetched).unwrap();
    for at in [20, whole.len() / 2, whole.len() - 1] {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        fs::write(&fetched, bytes).unwrap();
        let mut repair = open();
        assert!(tip(&repair) < 2);
        let until = repair.until;
        catch_up(&mut repair.follower, until, &decided);
        drop(repair);
        assert_eq!(tip(&open()), until.get());
    }
    // Nobody is believed who decides something else.
    let mut wrong = decided[0].clone();
    wrong.certificate.view = wrong.certificate.view.next();
    fs::remove_file(&fetched).unwrap();
    let file = MemoryFile::new(fresh_journal(&story));
    let mut journal = super::open(&story, file.clone());
    for record in [
        fbpbft::Record::Block(wrong.block.clone()),
        fbpbft::Record::Decided(wrong.certificate),
    ] {
        let record = wire::encode(&Record::Consensus(record));
        journal.append(&record).unwrap();
    }
    journal.sync().unwrap();
    fs::write(&fetched, bytes_of(&file)).unwrap();
    assert_eq!(tip(&open()), 0);
    let mut repair = open();
    let until = repair.until;
    catch_up(&mut repair.follower, until, &decided);
    let (prepared, _) = repair.finish().unwrap();
    let (_, recovered) = recover_from_disk(prepared.home()).unwrap();
    let height = recovered.replica.tip().parent.height;
    assert_eq!(height.get(), decided.len() as u64);
}
