//! A journal that somebody changed: opening it gives records that were written, in their order, or an
//! error; what it gives is a replica, or an error.
//!
//! An input either changes the bytes of an honest file, or the list of records in it, which is then framed
//! and checksummed as it has to be: damage, and a writer with a bug.

use crate::bytes::Bytes;
use crate::honest::honest;
use crate::mutate::mutated;
use polity::journal::{FileLayer, Journal, JournalError, Piece, Reader};
use polity_crypto::Sha256Digest;
use polity_replica::{Purpose, Record, Restorer};
use polity_types::{ChainId, Seed, wire};
use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::OnceLock;

/// A journal as a node writes it. It is stored, because a fresh one has a salt of its own and an input has
/// to mean the same everywhere; `examples/seeds.rs` writes it anew.
const HONEST: &[u8] = include_bytes!("../journal.bin");

const CHAIN: ChainId = ChainId::new([7; 32]);
const OWNER: Sha256Digest = Sha256Digest::new([8; 32]);
/// Records in the honest file.
const RECORDS_MAX: usize = 40;
/// Records of one batch.
const BATCH: usize = 3;
/// Changes of the list of records, at most.
const CHANGES_MAX: usize = 6;
/// Longest record here.
const RECORD_BYTES_MAX: usize = 1 << 20;

/// A file in memory.
#[derive(Clone, Default)]
struct Memory(Rc<RefCell<Vec<u8>>>);

impl Memory {
    fn of(bytes: Vec<u8>) -> Self {
        Self(Rc::new(RefCell::new(bytes)))
    }
}

impl FileLayer for Memory {
    fn length(&mut self) -> io::Result<u64> {
        Ok(self.0.borrow().len() as u64)
    }

    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let file = self.0.borrow();
        let rest = file.get(offset as usize..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.borrow_mut().extend_from_slice(bytes);
        Ok(())
    }

    fn sync_data(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.0.borrow_mut().truncate(length as usize);
        Ok(())
    }
}

type Opened = Result<(Journal<Memory>, Vec<Vec<u8>>), JournalError>;

fn open(file: Memory) -> Opened {
    let mut records = Vec::new();
    let visit = |_: u64, payload: &[u8]| records.push(payload.to_vec());
    let (journal, found) = Journal::open(file, CHAIN, &OWNER, visit)?;
    assert_eq!(found.records, records.len() as u64);
    Ok((journal, records))
}

/// The records of the honest file.
fn written() -> &'static [Vec<u8>] {
    static WRITTEN: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    WRITTEN.get_or_init(|| {
        let (_, records) = open(Memory::of(HONEST.to_vec())).expect("the stored journal is whole");
        records
    })
}

/// Writes the honest file from the records of the simulated federation.
pub fn write() -> Vec<u8> {
    let records = honest().sync_journal.iter();
    let records = records.take(RECORDS_MAX).map(wire::encode);
    frame(&records.collect::<Vec<_>>())
}

fn frame(records: &[Vec<u8>]) -> Vec<u8> {
    let file = Memory::default();
    let (mut journal, _) = open(file.clone()).expect("a new journal");
    for batch in records.chunks(BATCH) {
        for record in batch {
            journal.append(record).expect("there is room");
        }
        journal.sync().expect("there is a disk");
    }
    file.0.take()
}

/// The property.
pub(crate) fn journal(input: &[u8]) {
    let mut input = Bytes::new(input);
    if input.u8().is_multiple_of(2) {
        damaged(&mut input);
    } else {
        misled(&mut input);
    }
}

/// Bytes of the file are not what they were.
fn damaged(input: &mut Bytes<'_>) {
    let file = mutated(HONEST, &[HONEST], input);
    salvage(&file);
    let disk = Memory::of(file);
    let Ok((mut journal, found)) = open(disk.clone()) else {
        return;
    };
    let whole = written();
    assert!(found.len() <= whole.len(), "records that nobody wrote");
    assert_eq!(
        found,
        whole[..found.len()],
        "other records than were written"
    );
    // What was opened once opens again with what was added.
    journal.append(b"one more").expect("there is room");
    journal.sync().expect("there is a disk");
    let (_, again) = open(disk).expect("it was whole");
    assert_eq!(again[..found.len()], found);
    assert_eq!(again[found.len()..], [b"one more".to_vec()]);
    restore(&found);
}

/// What is left of a damaged file is some of what was written, in its order.
fn salvage(file: &[u8]) {
    let Ok(mut reader) = Reader::open(Memory::of(file.to_vec()), CHAIN) else {
        return;
    };
    let mut salvage = reader.salvage().expect("memory can be read");
    let mut whole = written().iter();
    let mut behind = 0;
    while let Some(piece) = salvage.read().expect("memory can be read") {
        match piece {
            Piece::Record { offset, payload } => {
                assert!(offset >= behind, "the walk goes forward");
                behind = offset + 1;
                let is_written = whole.any(|record| record == payload);
                assert!(is_written, "a record that nobody wrote, or out of order");
            }
            Piece::Damage(damage) => {
                assert!(damage.offset >= behind && damage.end > damage.offset);
                behind = damage.end;
            }
        }
    }
}

/// The records are others, with checksums that hold.
fn misled(input: &mut Bytes<'_>) {
    let mut records = written().to_vec();
    for _ in 0..CHANGES_MAX {
        if input.is_empty() {
            break;
        }
        let at = input.below(records.len());
        match input.u8() % 5 {
            0 => {
                if at < records.len() {
                    records.remove(at);
                }
            }
            1 => {
                if let Some(record) = records.get(at).cloned() {
                    let to = input.below(records.len() + 1);
                    records.insert(to, record);
                }
            }
            2 => {
                let other = input.below(records.len());
                if at < records.len() {
                    records.swap(at, other);
                }
            }
            3 => records.truncate(at),
            _ => {
                let others: Vec<&[u8]> = records.iter().map(Vec::as_slice).collect();
                let length = usize::from(input.u8() % 16);
                let mut choices = Bytes::new(input.take(length));
                if let Some(record) = others.get(at) {
                    records[at] = mutated(record, &others, &mut choices);
                }
            }
        }
    }
    let (_, found) = open(Memory::of(frame(&records))).expect("checksums hold");
    assert_eq!(found, records);
    restore(&found);
}

/// Builds what the records make, as a node does: a replica's state, or an error.
fn restore(records: &[Vec<u8>]) {
    let honest = honest();
    let verifier = honest.verifier.clone();
    let seed = Seed::from_number(1);
    let mut restorer = Restorer::new(&honest.genesis, Purpose::Simulation, verifier, seed)
        .expect("the genesis is one");
    for bytes in records {
        let Ok(record) = wire::decode::<Record>(bytes, RECORD_BYTES_MAX) else {
            return;
        };
        if restorer.record(record).is_err() {
            return;
        }
    }
    let height = restorer.height();
    let keys = honest.keyring();
    if let Ok(replica) = restorer.finish_with(honest.config.clone(), keys) {
        assert_eq!(replica.tip().parent.height, height);
        replica.ledger().check_invariants();
    }
}
