//! A disk that fails in every way that disks do, and what must be left afterwards.

mod damage;

use super::*;
use crate::scratch::Scratch;
use proptest::prelude::*;
use rstest::rstest;
use std::cell::RefCell;
use std::rc::Rc;

const OWNER: &Sha256Digest = &Sha256Digest::new([2; 32]);
const CHAIN: ChainId = ChainId::new([7; 32]);

/// Bytes that a disk writes as one.
const SECTOR: usize = 512;

#[derive(Clone, Debug, Default)]
struct State {
    /// What the process sees.
    current: Vec<u8>,
    /// What survives a crash in any case.
    durable: Vec<u8>,
    /// Operations until the next one fails, if it is to fail.
    operations_left: Option<usize>,
    /// Bytes that still fit on the disk.
    space: Option<usize>,
}

/// A file in memory whose crashes are chosen by the test.
#[derive(Clone, Debug, Default)]
struct Disk(Rc<RefCell<State>>);

impl Disk {
    fn with(bytes: &[u8]) -> Self {
        Self(Rc::new(RefCell::new(State {
            current: bytes.to_vec(),
            durable: bytes.to_vec(),
            ..State::default()
        })))
    }

    fn current(&self) -> Vec<u8> {
        self.0.borrow().current.clone()
    }

    fn durable(&self) -> Vec<u8> {
        self.0.borrow().durable.clone()
    }

    fn set(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.0.borrow_mut());
    }

    /// Lets the operation happen, or fail when its turn has come.
    fn operate(&self) -> io::Result<()> {
        match &mut self.0.borrow_mut().operations_left {
            Some(0) => Err(io::Error::other("the disk is gone")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

impl FileLayer for Disk {
    fn length(&mut self) -> io::Result<u64> {
        Ok(self.0.borrow().current.len() as u64)
    }

    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let state = self.0.borrow();
        let rest = state.current.get(offset as usize..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.operate()?;
        let mut state = self.0.borrow_mut();
        let fits = state.space.unwrap_or(usize::MAX).min(bytes.len());
        state.current.extend_from_slice(&bytes[..fits]);
        if let Some(space) = &mut state.space {
            *space -= fits;
        }
        if fits < bytes.len() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    fn sync_data(&mut self) -> io::Result<()> {
        self.operate()?;
        let mut state = self.0.borrow_mut();
        state.durable = state.current.clone();
        Ok(())
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.operate()?;
        self.0.borrow_mut().current.truncate(length as usize);
        Ok(())
    }
}

/// What an open finds in `bytes`: the journal, its records, and what the recovery says.
type Opened = (Journal<Disk>, Vec<Vec<u8>>, Recovery);

fn open(disk: Disk) -> Result<Opened, JournalError> {
    let mut records = Vec::new();
    let mut offsets = Vec::new();
    let (mut journal, recovery) = Journal::open(disk, CHAIN, OWNER, |offset, payload| {
        offsets.push(offset);
        records.push(payload.to_vec());
    })?;
    assert_eq!(records.len() as u64, recovery.records);
    for (offset, record) in offsets.iter().zip(&records) {
        assert_eq!(&journal.read_at(*offset).unwrap(), record);
    }
    Ok((journal, records, recovery))
}

/// A disk with a journal of these batches, each synced, and where each record starts.
fn written(batches: &[&[&[u8]]]) -> (Disk, Vec<u64>) {
    let disk = Disk::default();
    let (mut journal, _, _) = open(disk.clone()).unwrap();
    let mut offsets = Vec::new();
    for batch in batches {
        for payload in *batch {
            offsets.push(journal.append(payload).unwrap());
        }
        journal.sync().unwrap();
    }
    (disk, offsets)
}

/// The largest state that a crash can leave: the file has its new length, and `is_written` says for
/// each sector of the unsynced part whether it reached the disk.
fn torn(durable: &[u8], current: &[u8], is_written: impl Fn(usize) -> bool) -> Vec<u8> {
    let mut bytes = current.to_vec();
    for (index, byte) in bytes.iter_mut().enumerate().skip(durable.len()) {
        if !is_written(index / SECTOR) {
            *byte = 0;
        }
    }
    bytes
}

#[test]
fn records_come_back_in_order() {
    let (disk, offsets) = written(&[&[b"one", b""], &[b"three"]]);
    let (mut journal, records, recovery) = open(disk).unwrap();
    assert_eq!(records, [&b"one"[..], b"", b"three"]);
    assert_eq!(
        recovery,
        Recovery {
            records: 3,
            torn_tail_bytes: 0,
            is_new: false,
            end: recovery.end
        }
    );
    // Appending goes on where it ended.
    let offset = journal.append(b"four").unwrap();
    assert_eq!(offset, offsets[2] + RECORD_HEADER_BYTES as u64 + 5);
    assert_eq!(journal.read_at(offset).unwrap(), b"four");
    assert_eq!(journal.records(), 4);
}

#[test]
fn reading_where_no_record_starts_is_refused() {
    let (disk, offsets) = written(&[&[b"one", b"two"]]);
    let (mut journal, _, _) = open(disk.clone()).unwrap();
    for offset in 0..journal.length() + 40 {
        let found = journal.read_at(offset);
        assert_eq!(found.is_ok(), offsets.contains(&offset), "{offset}");
    }
    assert!(matches!(
        journal.read_at(u64::MAX),
        Err(JournalError::NoRecord(u64::MAX))
    ));
    let mut reader = Reader::open(disk, CHAIN).unwrap();
    assert_eq!(reader.read_at(offsets[1]).unwrap(), b"two");
    let mut count = 0;
    assert_eq!(reader.scan(|_, _| count += 1).unwrap().records, 2);
    assert_eq!(count, 2);
}

#[test]
fn what_an_open_finds_is_durable_when_it_returns() {
    let (disk, _) = written(&[&[b"one"]]);
    let (mut journal, _, _) = open(disk.clone()).unwrap();
    // The process is killed before its sync: the system has the record, the disk not yet.
    journal.append(b"two").unwrap();
    assert_ne!(disk.durable(), disk.current());
    let (_, records, _) = open(disk.clone()).unwrap();
    assert_eq!(records, [b"one", b"two"]);
    assert_eq!(disk.durable(), disk.current());
}

#[test]
fn every_prefix_of_the_last_write_is_recovered() {
    let (disk, offsets) = written(&[&[b"one"], &[b"two"], &[b"the last record"]]);
    let whole = disk.current();
    let last = offsets[2] as usize;
    for length in last..=whole.len() {
        let (mut journal, records, recovery) = open(Disk::with(&whole[..length])).unwrap();
        let is_whole = length == whole.len();
        assert_eq!(records.len(), if is_whole { 3 } else { 2 });
        let torn = if is_whole { 0 } else { length - last };
        assert_eq!(recovery.torn_tail_bytes, torn as u64);
        journal.append(b"next").unwrap();
    }
}

#[test]
fn every_prefix_of_the_first_header_makes_a_new_journal() {
    let (disk, _) = written(&[]);
    let whole = disk.current();
    assert_eq!(whole.len(), HEADER_BYTES);
    for length in 0..whole.len() {
        let (_, records, recovery) = open(Disk::with(&whole[..length])).unwrap();
        assert!(records.is_empty() && recovery.is_new);
        assert_eq!(recovery.torn_tail_bytes, length as u64);
    }
    // The length reached the disk and the bytes did not.
    assert!(open(Disk::with(&[0; HEADER_BYTES])).unwrap().2.is_new);
    assert!(!open(Disk::with(&whole)).unwrap().2.is_new);
}

#[test]
fn any_sectors_of_an_unsynced_batch_may_be_missing() {
    let (disk, _) = written(&[&[b"safe", b"and sound"]]);
    let durable = disk.durable();
    let (mut journal, _, _) = open(disk.clone()).unwrap();
    let batch: Vec<Vec<u8>> = (1..=4).map(|byte| vec![byte; 500]).collect();
    for payload in &batch {
        journal.append(payload).unwrap();
    }
    let current = disk.current();
    let sectors = current.len().div_ceil(SECTOR);
    let mut outcomes = std::collections::BTreeSet::new();
    for choice in 0..1_u32 << sectors {
        let bytes = torn(&durable, &current, |sector| choice >> sector & 1 == 1);
        let (_, records, _) = open(Disk::with(&bytes)).expect("a crash is no damage");
        assert_eq!(records[..2], [&b"safe"[..], b"and sound"]);
        assert_eq!(records[2..], batch[..records.len() - 2]);
        outcomes.insert(records.len());
    }
    // The cases are not all alike.
    assert_eq!(outcomes.into_iter().collect::<Vec<_>>(), [2, 3, 4, 5, 6]);
}

#[test]
fn a_flipped_bit_is_damage_or_a_torn_tail_and_never_another_record() {
    let batches: [&[&[u8]]; 4] = [&[b"one"], &[b"two", b"2"], &[b"three"], &[b"four"]];
    let expected: Vec<&[u8]> = batches.concat();
    let (disk, offsets) = written(&batches);
    let whole = disk.current();
    let last = *offsets.last().unwrap() as usize;
    for index in 0..whole.len() {
        for bit in 0..8 {
            let mut bytes = whole.clone();
            bytes[index] ^= 1 << bit;
            match open(Disk::with(&bytes)) {
                Ok((_, records, recovery)) => {
                    // Nobody can tell damage to the last batch from an interrupted write.
                    assert!(index >= last, "byte {index} bit {bit}");
                    assert_eq!(records, expected[..4]);
                    assert_eq!(recovery.torn_tail_bytes, (whole.len() - last) as u64);
                }
                Err(JournalError::Damaged { offset, record, .. }) => {
                    assert!((HEADER_BYTES..last).contains(&index));
                    let damaged = offsets.partition_point(|start| *start <= index as u64) - 1;
                    assert_eq!((record, offset), (damaged as u64, offsets[damaged]));
                }
                Err(JournalError::NotAJournal) => assert!(index < 8),
                Err(JournalError::DamagedHeader) => assert!((8..HEADER_BYTES).contains(&index)),
                Err(error) => panic!("byte {index} bit {bit}: {error}"),
            }
        }
    }
}

#[rstest]
#[case::cut_out(|bytes: &mut Vec<u8>, at: &[u64]| { bytes.drain(at[1] as usize..at[2] as usize); })]
#[case::swapped(|bytes: &mut Vec<u8>, at: &[u64]| {
    let third = bytes[at[2] as usize..at[3] as usize].to_vec();
    let second = bytes[at[1] as usize..at[2] as usize].to_vec();
    bytes.splice(at[1] as usize..at[3] as usize, [third, second].concat());
})]
#[case::repeated(|bytes: &mut Vec<u8>, at: &[u64]| {
    let first = bytes[at[0] as usize..at[1] as usize].to_vec();
    bytes.splice(at[1] as usize..at[1] as usize, first);
})]
#[case::zeros_between(|bytes: &mut Vec<u8>, at: &[u64]| {
    bytes.splice(at[1] as usize..at[1] as usize, [0; 100]);
})]
#[case::zeroed(|bytes: &mut Vec<u8>, at: &[u64]| bytes[at[1] as usize..at[2] as usize].fill(0))]
fn misplaced_records_are_damage(#[case] spoil: fn(&mut Vec<u8>, &[u64])) {
    let (disk, offsets) = written(&[&[b"one"], &[b"two!"], &[b"three"], &[b"four"], &[b"five"]]);
    let mut bytes = disk.current();
    spoil(&mut bytes, &offsets);
    let error = open(Disk::with(&bytes)).map(|opened| opened.1).unwrap_err();
    assert!(
        matches!(error, JournalError::Damaged { record: 1, offset, .. } if offset == offsets[1]),
        "{error}"
    );
}

#[test]
fn bytes_that_a_peer_chose_do_not_pass_as_a_record() {
    // The peer knows the format and a journal of its own, and sends a record of it as a payload.
    let (theirs, offsets) = written(&[&[b"a"], &[b"b"], &[b"c"]]);
    let forged = theirs.current()[offsets[2] as usize..].to_vec();
    let (disk, offsets) = written(&[&[b"a"]]);
    let (mut journal, _, _) = open(disk.clone()).unwrap();
    journal.append(&forged).unwrap();
    let mut bytes = disk.current();
    // The crash spoils the header of the record that carries it.
    let start = offsets[0] as usize + RECORD_HEADER_BYTES + 1;
    bytes[start] ^= 1;
    let (_, records, recovery) = open(Disk::with(&bytes)).unwrap();
    assert_eq!(records, [b"a"]);
    assert_eq!(recovery.torn_tail_bytes, (bytes.len() - start) as u64);
}

#[test]
fn another_chain_another_file_and_another_version_are_refused() {
    let (disk, _) = written(&[&[b"one"]]);
    let other = ChainId::new([8; 32]);
    let error = Journal::open(disk.clone(), other, OWNER, |_, _| {}).unwrap_err();
    assert!(
        matches!(error, JournalError::OtherChain { expected, found } if (expected, found) == (other, CHAIN))
    );
    let elsewhere = Sha256Digest::new([3; 32]);
    let error = Journal::open(disk.clone(), CHAIN, &elsewhere, |_, _| {}).unwrap_err();
    assert!(matches!(error, JournalError::OtherKey(found) if found == *OWNER));
    let noise = [0x55; 200];
    let error = open(Disk::with(&noise)).unwrap_err();
    assert!(matches!(error, JournalError::NotAJournal));
    assert!(Reader::open(Disk::with(&noise[..9]), CHAIN).is_err());
}

#[test]
fn a_record_has_a_limit() {
    let (disk, _) = written(&[]);
    let (mut journal, _, _) = open(disk.clone()).unwrap();
    let length = RECORD_BYTES_MAX + 1;
    let error = journal.append(&vec![0; length]).unwrap_err();
    assert!(matches!(error, JournalError::TooLong { length: found } if found == length));
    // That was the caller's mistake and harms nothing.
    let offset = journal.append(&vec![1; RECORD_BYTES_MAX]).unwrap();
    journal.sync().unwrap();
    assert_eq!(journal.read_at(offset).unwrap().len(), RECORD_BYTES_MAX);
    assert_eq!(open(disk).unwrap().1[0].len(), RECORD_BYTES_MAX);
}

#[test]
fn a_full_disk_stops_the_journal_and_loses_nothing() {
    let (disk, _) = written(&[&[b"one"]]);
    let (mut journal, _, _) = open(disk.clone()).unwrap();
    disk.set(|state| state.space = Some(30));
    let error = journal.append(b"too much for the disk").unwrap_err();
    assert!(matches!(error, JournalError::Full(_)), "{error}");
    disk.set(|state| state.space = None);
    // There may be half a record on disk; only a restart knows.
    assert!(matches!(journal.append(b"x"), Err(JournalError::Poisoned)));
    assert!(matches!(journal.sync(), Err(JournalError::Poisoned)));
    assert!(matches!(
        journal.read_at(HEADER_BYTES as u64),
        Err(JournalError::Poisoned)
    ));
    let (_, records, recovery) = open(disk).unwrap();
    assert_eq!(records, [b"one"]);
    assert_eq!(recovery.torn_tail_bytes, 30);
}

#[test]
fn after_a_failed_flush_nothing_is_called_durable() {
    let (disk, _) = written(&[&[b"one"]]);
    let (mut journal, _, _) = open(disk.clone()).unwrap();
    journal.append(b"two").unwrap();
    disk.set(|state| state.operations_left = Some(0));
    assert!(matches!(journal.sync(), Err(JournalError::Write(_))));
    disk.set(|state| state.operations_left = None);
    assert!(matches!(journal.sync(), Err(JournalError::Poisoned)));
    assert!(matches!(journal.append(b"x"), Err(JournalError::Poisoned)));
}

/// Runs a script, and says which records were appended and how many of them were synced.
fn run(disk: &Disk, script: &[Option<Vec<u8>>]) -> (Vec<Vec<u8>>, usize) {
    let mut appended = Vec::new();
    let mut synced = 0;
    let Ok((mut journal, _, _)) = open(disk.clone()) else {
        return (appended, synced);
    };
    for step in script {
        if let Some(payload) = step {
            // A record whose write fails may be there or not.
            appended.push(payload.clone());
            if journal.append(payload).is_err() {
                break;
            }
        } else {
            if journal.sync().is_err() {
                break;
            }
            synced = appended.len();
        }
    }
    (appended, synced)
}

#[test]
fn a_crash_at_any_operation_keeps_what_was_synced() {
    let step = |byte: u8| Some(vec![byte; usize::from(byte) * 100]);
    let script = [
        step(1),
        None,
        step(2),
        step(3),
        None,
        None,
        step(4),
        step(5),
    ];
    for operations in 0..12 {
        let disk = Disk::default();
        disk.set(|state| state.operations_left = Some(operations));
        let (appended, synced) = run(&disk, &script);
        let (durable, current) = (disk.durable(), disk.current());
        // Everything since the last flush is lost, kept, or half of it is.
        let half = current.len().midpoint(durable.len()).max(durable.len());
        for left in [&durable[..], &current[..], &current[..half]] {
            let (_, records, _) = open(Disk::with(left)).expect("a crash is no damage");
            assert!(records.len() >= synced, "at operation {operations}");
            assert_eq!(records, appended[..records.len()]);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn crashes_and_restarts_keep_a_prefix(
        runs in prop::collection::vec(
            (
                prop::collection::vec(
                    prop::option::weighted(0.7, prop::collection::vec(any::<u8>(), 0..900)),
                    0..12,
                ),
                any::<u64>(),
                0..4_000_usize,
            ),
            1..6,
        ),
    ) {
        let mut bytes = Vec::new();
        let mut safe: Vec<Vec<u8>> = Vec::new();
        for (script, sectors, cut) in runs {
            let disk = Disk::with(&bytes);
            let (appended, synced) = run(&disk, &script);
            let (durable, current) = (disk.durable(), disk.current());
            let mut all = safe.clone();
            all.extend(appended);
            bytes = torn(&durable, &current, |sector| sectors >> (sector % 64) & 1 == 1);
            bytes.truncate(durable.len().max(current.len().saturating_sub(cut)));
            let (_, records, _) = open(Disk::with(&bytes)).expect("a crash is no damage");
            prop_assert!(records.len() >= safe.len() + synced);
            prop_assert_eq!(&records[..], &all[..records.len()]);
            // The next run opens the same torn file once more and cuts it again.
            safe = records;
        }
    }
}

#[test]
fn the_file_is_private_and_locked() {
    let directory = Scratch::new();
    let lock = DirectoryLock::acquire(directory.path()).unwrap();
    let (mut journal, recovery) = Journal::open_in(&lock, CHAIN, OWNER, |_, _| {}).unwrap();
    assert!(recovery.is_new);
    let offset = journal.append(b"one").unwrap();
    journal.sync().unwrap();
    assert_eq!(journal.read_at(offset).unwrap(), b"one");
    // A second process does not get as far as the journal.
    assert!(DirectoryLock::acquire(directory.path()).is_err());
    let mut reader = Reader::open_in(directory.path(), CHAIN).unwrap();
    assert_eq!(reader.read_at(offset).unwrap(), b"one");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        for name in [FILE_NAME, "lock"] {
            let metadata = std::fs::metadata(directory.path().join(name)).unwrap();
            assert_eq!(metadata.permissions().mode() & 0o777, 0o600, "{name}");
        }
    }
    drop((journal, lock));
    let lock = DirectoryLock::acquire(directory.path()).unwrap();
    let (_, recovery) = Journal::open_in(&lock, CHAIN, OWNER, |_, _| {}).unwrap();
    assert_eq!((recovery.records, recovery.is_new), (1, false));
}

#[test]
fn a_torn_tail_of_a_real_file_is_cut() {
    let directory = Scratch::new();
    let lock = DirectoryLock::acquire(directory.path()).unwrap();
    let (mut journal, _) = Journal::open_in(&lock, CHAIN, OWNER, |_, _| {}).unwrap();
    // More than is read ahead, so the walk moves its window.
    for byte in 0..8 {
        journal.append(&vec![byte; 700_000]).unwrap();
    }
    journal.sync().unwrap();
    let length = journal.length();
    drop(journal);
    let path = directory.path().join(FILE_NAME);
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(length - 1).unwrap();
    let mut next = 0;
    let (mut journal, recovery) = Journal::open_in(&lock, CHAIN, OWNER, |_, payload| {
        assert!(payload.len() == 700_000 && payload.iter().all(|byte| *byte == next));
        next += 1;
    })
    .unwrap();
    assert_eq!((recovery.records, next), (7, 7));
    assert_eq!(
        recovery.torn_tail_bytes,
        700_000 + RECORD_HEADER_BYTES as u64 - 1
    );
    assert_eq!(std::fs::metadata(&path).unwrap().len(), journal.length());
    let offset = journal.append(b"next").unwrap();
    assert_eq!(journal.read_at(offset).unwrap(), b"next");
}
