//! The threads that keep and serve what is decided.
//!
//! One writes the index: where blocks are, their receipts, ends of epochs, snapshots, evidence. When a
//! block is in, everybody who listens is told. The other reads blocks back for members that fell behind
//! (see [`crate::serve`]). Both leave the driver to its replica.

use crate::host::{encode_receipts, encode_snapshot};
use crate::hub::Hub;
use crate::journal::{DiskFile, JournalError, RECORD_BYTES_MAX, Reader};
use crate::serve::{self, Request, Requests};
use crate::store::{BlockEntry, Store, StoreError};
use crate::transport::Transport;
use polity_consensus::fbpbft::{self, Decided};
use polity_consensus::light::EpochEnd;
use polity_replica::{Committed, Record, Snapshot};
use polity_types::{Epoch, Height, ReplicaId, wire};
use std::fmt;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Tasks that wait to be written, at most; then the driver waits.
const TASKS_MAX: usize = 256;

/// The index is durable up to so long ago: how far it is shows whether a journal is the newest one.
const FLUSH_EVERY: Duration = Duration::from_secs(1);

/// Something to keep.
#[derive(Debug)]
pub enum Task {
    /// A block that was committed.
    Block {
        /// The block.
        committed: Arc<Committed>,
        /// Where the journal holds it.
        entry: Option<BlockEntry>,
    },
    /// Proof of an offence.
    Evidence {
        /// Identity of the offence.
        id: [u8; 32],
        /// The encoded evidence.
        bytes: Vec<u8>,
    },
    /// The end of an epoch whose blocks are passed over.
    EpochEnd(Box<EpochEnd>),
    /// A snapshot took the place of the blocks up to this height.
    Installed(Height),
    /// The whole state.
    Snapshot {
        /// The state.
        snapshot: Box<Snapshot>,
        /// Whether it is that after the last block of an epoch.
        ends_epoch: bool,
    },
    /// No snapshot can be trusted: the state was another one than the committee's.
    ForgetSnapshots,
}

/// Why nothing more can be kept.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The index failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The journal cannot be read back.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The index names another block than the journal holds.
    #[error(
        "the index and the journal disagree about height {0}; stop the node, delete the index and start it again: it is made from the journal"
    )]
    Disagree(Height),
    /// The thread ended without a reason, which is a mistake in this program.
    #[error("the thread that writes the index ended; start the node again")]
    Ended,
}

/// The sending end.
pub struct Archive {
    tasks: Option<SyncSender<Task>>,
    requests: Arc<Requests>,
    writer: Option<JoinHandle<Result<(), StoreError>>>,
    server: Option<JoinHandle<()>>,
}

impl fmt::Debug for Archive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Archive(..)")
    }
}

impl Archive {
    /// Starts both threads.
    pub fn start(
        store: &Arc<Store>,
        hub: Arc<Hub>,
        blocks: Arc<Blocks>,
        transport: Arc<Transport>,
    ) -> std::io::Result<Self> {
        let (tasks, received) = sync_channel(TASKS_MAX);
        let writer_store = Arc::clone(store);
        let writer = std::thread::Builder::new()
            .name("polity-index".to_owned())
            .spawn(move || write(&writer_store, &hub, &received))?;
        let requests = Arc::new(Requests::default());
        let waiting = Arc::clone(&requests);
        let server = std::thread::Builder::new()
            .name("polity-serve".to_owned())
            .spawn(move || serve::run(&blocks, &transport, &waiting))?;
        Ok(Self {
            tasks: Some(tasks),
            requests,
            writer: Some(writer),
            server: Some(server),
        })
    }

    /// Hands a task over; waits if many are waiting.
    pub fn put(&mut self, task: Task) -> Result<(), ArchiveError> {
        let is_sent = self
            .tasks
            .as_ref()
            .is_some_and(|tasks| tasks.send(task).is_ok());
        if is_sent {
            return Ok(());
        }
        // The thread ends only with an error.
        self.finish()?;
        Err(ArchiveError::Ended)
    }

    /// Sends decided blocks to a member that fell behind. Dropped if it asked often: it will ask again.
    pub fn serve(&self, to: ReplicaId, request: Request) {
        self.requests.push(to, request);
    }

    /// Waits until everything is written durably.
    pub fn finish(&mut self) -> Result<(), ArchiveError> {
        self.tasks = None;
        self.requests.close();
        if let Some(server) = self.server.take() {
            let _ = server.join();
        }
        match self.writer.take().map(JoinHandle::join) {
            None => Ok(()),
            Some(Ok(result)) => Ok(result?),
            Some(Err(_)) => Err(ArchiveError::Ended),
        }
    }
}

fn write(store: &Store, hub: &Hub, tasks: &Receiver<Task>) -> Result<(), StoreError> {
    let mut flushed = Instant::now();
    loop {
        let first = match tasks.recv_timeout(FLUSH_EVERY) {
            Ok(first) => first,
            Err(RecvTimeoutError::Timeout) => {
                if store.is_pending() {
                    store.flush()?;
                }
                continue;
            }
            Err(RecvTimeoutError::Disconnected) => break,
        };
        // Whatever waits goes into one commit.
        let mut batch = vec![first];
        batch.extend(tasks.try_iter().take(TASKS_MAX));
        let mut blocks = Vec::new();
        for task in batch {
            match task {
                Task::Block { committed, entry } => blocks.push((committed, entry)),
                Task::Evidence { id, bytes } => {
                    store.put_evidence(&id, &bytes)?;
                }
                Task::Snapshot {
                    snapshot,
                    ends_epoch,
                } => {
                    put_blocks(store, hub, &std::mem::take(&mut blocks))?;
                    let height = snapshot.meta.height;
                    store.put_snapshot(height, encode_snapshot(*snapshot), ends_epoch)?;
                    tracing::info!(%height, ends_epoch, "snapshot stored");
                }
                Task::EpochEnd(end) => {
                    let bytes = wire::encode(&*end);
                    store.put_epoch_ends([(end.last.header.epoch, bytes.as_slice())])?;
                }
                Task::Installed(height) => {
                    put_blocks(store, hub, &std::mem::take(&mut blocks))?;
                    store.put_gap(height)?;
                    // Nobody who listens would see what is missing in between.
                    hub.close();
                }
                Task::ForgetSnapshots => store.forget_snapshots()?,
            }
        }
        put_blocks(store, hub, &blocks)?;
        if store.is_pending() && flushed.elapsed() >= FLUSH_EVERY {
            store.flush()?;
            flushed = Instant::now();
        }
    }
    hub.close();
    store.flush()
}

fn put_blocks(
    store: &Store,
    hub: &Hub,
    blocks: &[(Arc<Committed>, Option<BlockEntry>)],
) -> Result<(), StoreError> {
    if blocks.is_empty() {
        return Ok(());
    }
    let rows: Vec<_> = blocks
        .iter()
        .filter_map(|(committed, entry)| {
            let ids: Vec<[u8; 32]> = committed
                .receipts
                .iter()
                .map(|receipt| *receipt.id.as_bytes())
                .collect();
            let height = committed.block.header().height;
            Some((height, (*entry)?, ids, encode_receipts(&committed.receipts)))
        })
        .collect();
    store.put_receipts(
        rows.iter()
            .map(|(height, _, _, receipts)| (*height, receipts.as_slice())),
    )?;
    let ends: Vec<_> = blocks
        .iter()
        .filter_map(|(committed, _)| committed.epoch_end())
        .map(|end| (end.last.header.epoch, wire::encode(&end)))
        .collect();
    if !ends.is_empty() {
        store.put_epoch_ends(ends.iter().map(|(epoch, end)| (*epoch, end.as_slice())))?;
    }
    store.put_blocks(
        rows.iter()
            .map(|(height, entry, ids, _)| (*height, *entry, ids.as_slice())),
    )?;
    for (committed, _) in blocks {
        hub.publish(committed);
    }
    Ok(())
}

/// Decided blocks, read back from the journal. Cheap to share: one file handle behind a lock.
#[derive(Debug)]
pub struct Blocks {
    store: Arc<Store>,
    reader: Mutex<Reader<DiskFile>>,
}

impl Blocks {
    /// Reads from a journal beside the process that writes it.
    pub fn new(store: Arc<Store>, reader: Reader<DiskFile>) -> Self {
        Self {
            store,
            reader: Mutex::new(reader),
        }
    }

    /// The index.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The block at a height with its certificate.
    pub fn get(&self, height: Height) -> Result<Option<Decided>, ArchiveError> {
        let Some(entry) = self.store.block(height)? else {
            return Ok(None);
        };
        let mut reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        let block = reader.read_at(entry.block_offset)?;
        let certificate = reader.read_at(entry.certificate_offset)?;
        drop(reader);
        let decode = |bytes: &[u8]| wire::decode::<Record>(bytes, RECORD_BYTES_MAX).ok();
        match (decode(&block), decode(&certificate)) {
            (
                Some(Record::Consensus(fbpbft::Record::Block(block))),
                Some(Record::Consensus(fbpbft::Record::Decided(certificate))),
            ) if block.header.height == height
                && *block.header.digest().as_bytes() == entry.digest
                && certificate.height == height
                && *certificate.value.digest.as_bytes() == entry.digest =>
            {
                Ok(Some(Decided { block, certificate }))
            }
            _ => Err(ArchiveError::Disagree(height)),
        }
    }

    /// The ends of epochs from one on, ascending, at most so many of them.
    pub fn epoch_ends(&self, from: Epoch, count_max: usize) -> Result<Vec<EpochEnd>, ArchiveError> {
        let ends = self.store.epoch_ends(from, count_max)?;
        let decode = |(epoch, bytes): (Epoch, Vec<u8>)| {
            wire::decode(&bytes, RECORD_BYTES_MAX)
                .map_err(|_| StoreError::Damaged(format!("the end of epoch {epoch}")).into())
        };
        ends.into_iter().map(decode).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::tests::block;
    use crate::journal::Journal;
    use crate::lock::DirectoryLock;
    use crate::scratch::Scratch;
    use polity_crypto::Sha256Digest;

    #[test]
    fn an_index_that_names_another_block_than_the_journal_holds_is_not_believed() {
        let committed = block();
        let (height, chain) = (Height::new(1), committed.block.header().chain);
        let scratch = Scratch::new();
        let lock = DirectoryLock::acquire(scratch.path()).unwrap();
        let owner = Sha256Digest::ZERO;
        let (mut journal, _) = Journal::open_in(&lock, chain, &owner, |_, _| {}).unwrap();
        let mut put = |record: fbpbft::Record| {
            let record = Record::Consensus(record);
            journal.append(&wire::encode(&record)).unwrap()
        };
        let block_offset = put(fbpbft::Record::Block(Arc::clone(committed.block.block())));
        let certificate_offset = put(fbpbft::Record::Decided(committed.certificate.clone()));
        journal.sync().unwrap();
        let store = Arc::new(Store::open(&scratch.path().join("index"), chain).unwrap());
        let reader = Reader::open_in(scratch.path(), chain).unwrap();
        let blocks = Blocks::new(Arc::clone(&store), reader);
        assert_eq!(blocks.get(height).unwrap(), None);

        let right = BlockEntry {
            block_offset,
            certificate_offset,
            digest: *committed.block.digest().as_bytes(),
        };
        store.put_block(height, &right, &[]).unwrap();
        let found = blocks.get(height).unwrap().unwrap();
        assert_eq!(found.block, *committed.block.block());
        // Another digest, the records in each other's place, and the block at another height.
        let mut other = right;
        other.digest[0] ^= 1;
        let swapped = BlockEntry {
            block_offset: certificate_offset,
            certificate_offset: block_offset,
            ..right
        };
        for (at, wrong) in [(1, other), (1, swapped), (2, right)] {
            let at = Height::new(at);
            store.put_block(at, &wrong, &[]).unwrap();
            let refused = blocks.get(at).unwrap_err();
            assert!(
                matches!(refused, ArchiveError::Disagree(height) if height == at),
                "{refused}"
            );
        }
        // Between two records.
        let between = BlockEntry {
            block_offset: block_offset + 1,
            ..right
        };
        store.put_block(height, &between, &[]).unwrap();
        assert!(matches!(blocks.get(height), Err(ArchiveError::Journal(_))));
        // And the right place is right again.
        store.put_block(height, &right, &[]).unwrap();
        assert_eq!(blocks.get(height).unwrap(), Some(found));
    }
}
