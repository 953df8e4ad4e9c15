//! Journals that jump over blocks, and what is served to those who make them (FB-19).

use super::*;
use crate::archive::Blocks;
use crate::audit::{Audited, VerifyError, audit_node, export};
use crate::journal::Reader;
use crate::lock::DirectoryLock;
use crate::source::Source;
use polity_consensus::light::EpochEnd;
use polity_merkle::leaf_hash;
use polity_replica::sync::{
    ChunkBytes, ChunkLog, SyncAnswer, SyncRecord, SyncRequest, SyncSource as _, Target, answer,
};
use polity_replica::{AuditError, Snapshot};
use std::sync::Arc;

/// The snapshot that is fetched: after the second epoch.
pub(super) const AT: u64 = 2 * EPOCH;

/// A story, what its first replica wrote, and its states after the ends of epochs.
pub(super) struct Past {
    pub(super) story: Story,
    pub(super) lived: Lived,
    pub(super) records: Vec<Record>,
    pub(super) snapshots: BTreeMap<u64, Box<Snapshot>>,
}

impl Past {
    pub(super) fn new() -> Self {
        let story = Story::new();
        let mut lived = Lived::through(&story, 0);
        let records = lived
            .journal(&story)
            .1
            .into_iter()
            .map(|(_, record)| record);
        let records = records.collect();
        let file = MemoryFile::new(fresh_journal(&story));
        let mut host = Host::new(story.replica(0), open(&story, file), Places::default());
        let mut snapshots = BTreeMap::new();
        for (time, step) in &story.steps {
            match step.clone() {
                Step::Tick => host.tick(*time).unwrap(),
                Step::Input(input) => host.handle(*time, input).unwrap(),
            }
            for released in host.flush().unwrap() {
                let snapshot = released.snapshot;
                snapshots.extend(snapshot.map(|snapshot| (snapshot.meta.height.get(), snapshot)));
            }
        }
        assert!(lived.height() > AT);
        assert_eq!(host.replica().tip(), lived.host.replica_mut().tip());
        Self {
            story,
            lived,
            records,
            snapshots,
        }
    }

    pub(super) fn ends(&self) -> Vec<EpochEnd> {
        let ends = self.lived.index.epoch_ends(Epoch::ZERO, 100).unwrap();
        let decode = |(_, bytes): (Epoch, Vec<u8>)| wire::decode(&bytes, 1 << 20).unwrap();
        ends.into_iter().map(decode).collect()
    }

    /// The records of a node that fetched this snapshot, with these ends before it, and then went on.
    pub(super) fn jumped(&self, ends: &[EpochEnd], snapshot: &Snapshot) -> Vec<Record> {
        let log = ChunkLog::new(snapshot.chunks.iter().map(Vec::as_slice));
        let target = Target {
            meta: snapshot.meta.clone(),
            chunks: u32::try_from(snapshot.chunks.len()).unwrap(),
            chunks_root: log.root(),
            vouched: vec![ReplicaId::new(1)],
        };
        let ends = ends.iter().cloned().map(Box::new).map(SyncRecord::Epoch);
        let chunks = snapshot.chunks.iter().cloned().map(ChunkBytes::new);
        let height = snapshot.meta.height;
        let mut records: Vec<Record> = ends
            .chain([SyncRecord::Started(Box::new(target))])
            .chain(chunks.map(SyncRecord::Chunk))
            .chain([SyncRecord::Installed { height }])
            .map(Record::Sync)
            .collect();
        let is_later = |record: &&Record| match record {
            Record::Consensus(fbpbft::Record::Block(block)) => block.header.height > height,
            Record::Consensus(fbpbft::Record::Decided(decided)) => decided.height > height,
            _ => false,
        };
        records.extend(self.records.iter().filter(is_later).cloned());
        records
    }

    /// Audits a data directory with this journal.
    pub(super) fn audit(&self, records: &[Record]) -> Result<Audited, VerifyError> {
        let scratch = Scratch::new();
        self.write(&scratch, records);
        audit_node(scratch.path(), &self.story.founded.genesis, |_| {})
    }

    fn write(&self, scratch: &Scratch, records: &[Record]) {
        let chain = self.story.founded.genesis.chain().unwrap().id();
        let lock = DirectoryLock::acquire(scratch.path()).unwrap();
        let owner = self.story.own_key();
        let (mut journal, _) = Journal::open_in(&lock, chain, &owner, |_, _| {}).unwrap();
        for record in records {
            journal.append(&wire::encode(record)).unwrap();
        }
        journal.sync().unwrap();
    }
}

#[test]
fn fb_19_an_audit_follows_a_journal_over_the_blocks_that_a_snapshot_replaced() {
    let mut past = Past::new();
    let records = past.jumped(&past.ends(), &past.snapshots[&AT]);
    let audited = past.audit(&records).unwrap();
    let gap = (Height::new(1), Height::new(AT));
    assert_eq!(audited.gaps, [gap]);
    assert_eq!(audited.height.get(), past.lived.height());
    assert!(!audited.is_claim());
    let root = past.lived.host.replica_mut().ledger_mut().root();
    assert_eq!(audited.state_root, root);
    // Right after the snapshot nobody has named its state.
    let is_jump = |record: &Record| matches!(record, Record::Sync(SyncRecord::Installed { .. }));
    let place = records.iter().position(is_jump).unwrap();
    let audited = past.audit(&records[..=place]).unwrap();
    assert_eq!((audited.height.get(), audited.is_claim()), (AT, true));
    // Nobody could follow such a chain from the genesis.
    let scratch = Scratch::new();
    past.write(&scratch, &records);
    let out = scratch.path().join("chain.polity");
    let refused = export(scratch.path(), &past.story.founded.genesis, &out).unwrap_err();
    assert!(!refused.is_unsafe() && !out.exists());
    let VerifyError::At { path, error } = refused else {
        panic!("{refused}");
    };
    assert_eq!(path, scratch.path());
    assert!(
        matches!(*error, VerifyError::Gap { first, last } if (first, last) == gap),
        "{error}"
    );
}

#[test]
fn fb_19_an_audit_believes_no_snapshot() {
    let past = Past::new();
    let ends = past.ends();
    let right = &past.snapshots[&AT];
    past.audit(&past.jumped(&ends, right)).unwrap();
    let audit = |ends: &[EpochEnd], snapshot: &Snapshot| match past
        .audit(&past.jumped(ends, snapshot))
        .unwrap_err()
    {
        VerifyError::Audit(error) => error,
        other => panic!("{other}"),
    };
    let height = Height::new(AT);
    // Without what leads to its committee.
    for ends in [&ends[..0], &ends[1..], &ends[..1]] {
        let refused = audit(ends, right);
        let is_named = matches!(refused, AuditError::Unfit(at) if at == height)
            || matches!(refused, AuditError::EpochEnd { .. });
        assert!(is_named, "{refused}");
    }
    // Of another block, with another root, and with other chunks.
    let changed = |change: fn(&mut Snapshot)| {
        let mut snapshot = (**right).clone();
        change(&mut snapshot);
        audit(&ends, &snapshot)
    };
    for change in [
        (|snapshot| snapshot.meta.digest = Sha256Digest::ZERO) as fn(&mut Snapshot),
        |snapshot| snapshot.meta.header_application = Sha256Digest::ZERO,
        |snapshot| snapshot.meta.certificate = None,
        |snapshot| snapshot.meta.height = Height::new(AT - 1),
    ] {
        let refused = changed(change);
        assert!(matches!(refused, AuditError::Unfit(_)), "{refused}");
    }
    for change in [
        (|snapshot| snapshot.meta.ledger_root = Sha256Digest::ZERO) as fn(&mut Snapshot),
        |snapshot| drop(snapshot.chunks.pop()),
        |snapshot| *snapshot.chunks[0].last_mut().unwrap() ^= 1,
    ] {
        let refused = changed(change);
        assert!(
            matches!(refused, AuditError::Snapshot { height: at, .. } if at == height),
            "{refused}"
        );
    }
    // A sound state, of another height: the next block says that it is not this one's.
    let mut other = (**right).clone();
    let early = &past.snapshots[&EPOCH];
    other.chunks.clone_from(&early.chunks);
    other.meta.ledger_root = early.meta.ledger_root;
    let refused = audit(&ends, &other);
    assert!(
        matches!(refused, AuditError::State { height: at, .. } if at == height.next()),
        "{refused}"
    );
    // A jump without a snapshot.
    let mut records = past.jumped(&ends, right);
    records.retain(|record| !matches!(record, Record::Sync(SyncRecord::Started(_))));
    assert!(matches!(
        past.audit(&records),
        Err(VerifyError::MissingSnapshot(at)) if at == height
    ));
}

#[test]
fn fb_19_what_is_served_can_be_verified() {
    let past = Past::new();
    let Past {
        story,
        lived,
        snapshots,
        ..
    } = past;
    let scratch = Scratch::new();
    std::fs::write(scratch.path().join("journal"), lived.journal(&story).0).unwrap();
    let chain = story.founded.genesis.chain().unwrap();
    let reader = Reader::open_in(scratch.path(), chain.id()).unwrap();
    let tip = lived.height();
    let index = Arc::new(lived.index);
    let blocks = Blocks::new(Arc::clone(&index), reader);
    let put = |height: u64| {
        let pieces = encode_snapshot((*snapshots[&height]).clone());
        index
            .put_snapshot(Height::new(height), pieces, true)
            .unwrap();
    };
    let source = Source::new(&blocks);
    assert_eq!(source.offer(), None);
    put(EPOCH);
    let offered = |source: &Source<'_>| source.offer().unwrap().first.header.height.get() - 1;
    assert_eq!(offered(&source), EPOCH);
    put(AT);
    assert_eq!(offered(&source), AT);
    // Nobody can verify a state that no block names.
    if snapshots.contains_key(&tip) {
        put(tip);
        assert_ne!(offered(&source), tip);
    }
    // The same from a node that started just now, which is asked for chunks first.
    for source in [&source, &Source::new(&blocks)] {
        let snapshot = &snapshots[&AT];
        let log = ChunkLog::new(snapshot.chunks.iter().map(Vec::as_slice));
        let (height, root) = (Height::new(AT), log.root());
        let count = u32::try_from(snapshot.chunks.len()).unwrap();
        for (index, chunk) in (0..).zip(&snapshot.chunks) {
            let (bytes, proof) = source.chunk(height, count, root, index).unwrap();
            assert_eq!(bytes, *chunk);
            proof.verify(&root, &leaf_hash(&bytes)).unwrap();
        }
        for (height, chunks, root, index) in [
            (height, count, root, count),
            (height, count, root, u32::MAX),
            (height, count - 1, root, 0),
            (height, count + 1, root, 0),
            (height, count, Sha256Digest::ZERO, 0),
            (height.next(), count, root, 0),
            (Height::MAX, count, root, 0),
        ] {
            assert_eq!(source.chunk(height, chunks, root, index), None);
        }
        let offer = source.offer().unwrap();
        assert_eq!((offer.chunks, offer.chunks_root), (count, root));
        let header = &offer.first.header;
        assert_eq!(
            header.application_root,
            application_root(&offer.ledger_root)
        );
        assert_eq!(header.parent, snapshot.meta.digest);
    }
    let from = Epoch::ZERO;
    let SyncAnswer::Epochs { ends, offer } = answer(SyncRequest::Epochs { from }, &source) else {
        panic!("ends were asked for");
    };
    let mut checker = Checker::new(NodeVerifier::default(), 0);
    let mut light = LightClient::from_genesis(&chain, story.founded.genesis.start);
    for end in &ends[..2] {
        light.advance(end, &mut checker).unwrap();
    }
    light.verify(&offer.unwrap().first, &mut checker).unwrap();
    // What the disk spoiled is not served, and the rest is.
    let (height, snapshot) = (Height::new(AT), &snapshots[&AT]);
    let root = ChunkLog::new(snapshot.chunks.iter().map(Vec::as_slice)).root();
    let count = u32::try_from(snapshot.chunks.len()).unwrap();
    index.spoil_chunk(height, 1);
    assert_eq!(source.chunk(height, count, root, 0), None);
    for index in 1..count {
        assert!(source.chunk(height, count, root, index).is_some());
    }
}

impl Past {
    /// A journal in memory with these records.
    fn file(&self, records: &[Record]) -> MemoryFile {
        let file = MemoryFile::new(fresh_journal(&self.story));
        let mut journal = open(&self.story, file.clone());
        for record in records {
            journal.append(&wire::encode(record)).unwrap();
        }
        journal.sync().unwrap();
        file
    }
}

#[test]
fn fb_19_a_journal_that_jumps_makes_replica_and_index_again() {
    let mut past = Past::new();
    let records = past.jumped(&past.ends(), &past.snapshots[&AT]);
    let file = past.file(&records);
    let chain = past.story.founded.genesis.chain().unwrap().id();
    let scratch = Scratch::new();
    let index = Store::open(&scratch.path().join("index"), chain).unwrap();
    let height = Height::new(past.lived.height());
    let root = past.lived.host.replica_mut().ledger_mut().root();
    let check = |file: MemoryFile, replayed: u64| {
        let mut recovered = recover(file, &index, past.story.basis(9)).unwrap();
        assert_eq!(recovered.replica.tip(), past.lived.host.replica().tip());
        assert_eq!(recovered.replica.ledger_mut().root(), root);
        assert_eq!(recovered.replayed, replayed);
        assert_eq!(recovered.last.unwrap().0.height, height);
        let gap = (Height::new(1), Height::new(AT));
        for passed in 1..=AT {
            let passed = Height::new(passed);
            assert_eq!(index.block(passed).unwrap(), None);
            assert_eq!(index.gap(passed).unwrap(), Some(gap));
        }
        for held in AT + 1..=height.get() {
            let held = Height::new(held);
            assert!(index.block(held).unwrap().is_some());
            assert_eq!(index.gap(held).unwrap(), None);
        }
        assert_eq!(index.last_height().unwrap(), Some(height));
        let ends = past.lived.index.epoch_ends(Epoch::ZERO, 100).unwrap();
        assert_eq!(index.epoch_ends(Epoch::ZERO, 100).unwrap(), ends);
    };
    let later = height.get() - AT;
    check(file.after_crash(Loss::Nothing), later);
    // With the index that is there now, and from the snapshot that was fetched.
    check(file.after_crash(Loss::Nothing), later);
    let put = |snapshot: &Snapshot| {
        let height = snapshot.meta.height;
        let pieces = encode_snapshot(snapshot.clone());
        index.put_snapshot(height, pieces, true).unwrap();
    };
    put(&past.snapshots[&AT]);
    check(file.after_crash(Loss::Nothing), later);
    // One that is not the one in the journal is not used.
    let mut other = (*past.snapshots[&AT]).clone();
    other.meta.receipts = Sha256Digest::ZERO;
    put(&other);
    check(file.after_crash(Loss::Nothing), later);

    // FB-15: whoever forgets that it jumped is as old as who forgets its blocks.
    let is_jump = |record: &Record| matches!(record, Record::Sync(SyncRecord::Installed { .. }));
    let place = records.iter().position(is_jump).unwrap();
    let scratch = Scratch::new();
    let index = Store::open(&scratch.path().join("index"), chain).unwrap();
    let file = past.file(&records[..=place]);
    let recovered = recover(file.clone(), &index, past.story.basis(9)).unwrap();
    assert_eq!(recovered.replica.tip().parent.height.get(), AT);
    assert!(recovered.last.is_none());
    drop(recovered);
    let bytes = file.0.borrow().durable.clone();
    let mut offsets = Vec::new();
    Journal::open(file, chain, &past.story.own_key(), |offset, _| {
        offsets.push(offset);
    })
    .unwrap();
    let cut = usize::try_from(*offsets.last().unwrap()).unwrap();
    let older = MemoryFile::new(bytes[..cut].to_vec());
    assert!(matches!(
        recover(older, &index, past.story.basis(9)),
        Err(RecoverError::JournalOlder { indexed, .. }) if indexed.get() == AT
    ));
}
