//! From the files of a data directory to a replica that goes on where it stopped.

use super::{NodeReplica, Places};
use crate::journal::{FileLayer, Journal, JournalError, RECORD_BYTES_MAX, Reader, Recovery};
use crate::signing::{NodeSigner, NodeVerifier};
use crate::store::{self, BlockEntry, Store, StoreError};
use polity_consensus::fbpbft::{self, Block, Chain, Header, Keyring, VoteCertificate};
use polity_crypto::{Sha256Digest, Signer as _};
use polity_ledger::Receipt;
use polity_replica::sync::SyncRecord;
use polity_replica::{
    Config, Genesis, GenesisError, Purpose, Record, Replayed, RestoreError, Restorer, Snapshot,
    SnapshotMeta, transaction_id,
};
use polity_types::{Epoch, Height, ReplicaId, Seed, wire};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Blocks that are put into the index in one commit while it is brought up to date.
const INDEX_BATCH: usize = 256;

/// Largest encoded head of a snapshot.
const META_BYTES_MAX: usize = 1 << 20;

/// Why a node cannot go on where it stopped.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// The journal cannot be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The index cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The replica cannot be built from its records.
    #[error(
        "{0}; restore the data directory from a copy of this node made after it last voted, or give it up with `polity rejoin` on the data directory: it gets a new key and votes from the next epoch on"
    )]
    Restore(#[from] RestoreError),
    /// The journal holds something that is no record.
    #[error(
        "the journal holds something else than records at byte {offset}; use the program that wrote it"
    )]
    Record {
        /// Where.
        offset: u64,
    },
    /// There was no journal.
    #[error(
        "the journal is missing or empty; a node that forgets may contradict its votes, so restore the data directory from a copy of this node made after it last voted, or give it up with `polity rejoin` on the data directory: it gets a new key and votes from the next epoch on"
    )]
    JournalLost,
    /// The index knows more than the journal.
    #[error(
        "the journal ends at height {found}, but this node has decided height {indexed}; a node that forgets may contradict its votes, so put back the journal that it wrote last, or give it up with `polity rejoin` on the data directory: it gets a new key and votes from the next epoch on"
    )]
    JournalOlder {
        /// Height of the last block in the journal.
        found: Height,
        /// Height of the last block in the index.
        indexed: Height,
    },
}

impl RecoverError {
    /// Whether nobody knows any more what this node signed: its journal is lost, damaged, older than the
    /// node or another one's. Everything else is to be put right, not given up.
    pub const fn is_forgotten(&self) -> bool {
        match self {
            Self::Journal(error) => match error {
                JournalError::Empty
                | JournalError::NotAJournal
                | JournalError::DamagedHeader
                | JournalError::OtherKey(_)
                | JournalError::Damaged { .. } => true,
                JournalError::Full(_)
                | JournalError::Write(_)
                | JournalError::Read(_)
                | JournalError::Poisoned
                | JournalError::Version(_)
                | JournalError::OtherChain { .. }
                | JournalError::TooLong { .. }
                | JournalError::NoRecord(_) => false,
            },
            Self::Store(error) => matches!(error, StoreError::OtherJournal),
            Self::Restore(_) | Self::JournalLost | Self::JournalOlder { .. } => true,
            Self::Record { .. } => false,
        }
    }
}

/// A replica that goes on where it stopped.
#[derive(Debug)]
pub struct Recovered<F> {
    /// The replica.
    pub replica: NodeReplica,
    /// Its journal, open for appending.
    pub journal: Journal<F>,
    /// Places of blocks that are not committed.
    pub places: Places,
    /// Header and certificate of the last committed block, unless a snapshot took the place of later
    /// ones.
    pub last: Option<(Header, VoteCertificate)>,
    /// Records that were read.
    pub records: u64,
    /// Blocks that were applied again.
    pub replayed: u64,
    /// Bytes of an interrupted write that were cut off.
    pub torn_tail_bytes: u64,
}

/// What recovering needs to know beside the files.
#[derive(Debug)]
pub struct Basis<'a> {
    /// What the founders agreed on.
    pub genesis: &'a Genesis,
    /// Parameters of the replica.
    pub config: Config,
    /// Its number, now or later, among the members.
    pub own: ReplicaId,
    /// The node's keys. It votes in the epochs whose committee has one of them beside its number, and
    /// follows in the others.
    pub signers: Vec<NodeSigner>,
    /// Fingerprints of keys that these followed (CR-7): one of them may have begun the journal.
    pub former: Vec<Sha256Digest>,
    /// The predicate of signatures.
    pub verifier: NodeVerifier,
    /// Keys private look-up tables.
    pub index_seed: Seed,
}

impl Basis<'_> {
    /// Fingerprints of the keys that may have begun the journal.
    pub(crate) fn owners(&self) -> Vec<Sha256Digest> {
        let own = self.signers.iter();
        let own = own.map(|signer| signer.public_key().fingerprint());
        own.chain(self.former.iter().copied()).collect()
    }

    /// The chain of the genesis.
    pub(crate) fn chain(&self) -> Result<Chain, RecoverError> {
        let chain = self.genesis.chain();
        Ok(chain.map_err(|error| RestoreError::from(GenesisError::from(error)))?)
    }
}

/// Reads the journal, brings the index up to date and builds the replica.
///
/// Nothing in the journal is changed before it is known to be this node's, and as new as its index
/// says: an index that has seen more than the journal holds shows that it is an older one (FB-15). The
/// index is durable up to about a second before a power failure, and it may be lost; so an operator
/// who puts an old journal back just then is not found out.
pub fn recover<F: FileLayer>(
    file: F,
    store: &Store,
    basis: Basis<'_>,
) -> Result<Recovered<F>, RecoverError> {
    let mut reader = match Reader::open(file, basis.chain()?.id()) {
        Err(JournalError::Empty) => return Err(RecoverError::JournalLost),
        result => result?,
    };
    reader.check_owner(basis.owners())?;
    // What a killed process left with the system alone must not vanish when the index already names
    // it.
    reader.sync()?;
    store.check_bound(&reader.identity())?;
    let indexed = store.last_height()?.unwrap_or(Height::ZERO);
    // In a journal that was repaired, blocks stand in other places than before.
    let is_repaired = store.is_succeeded_by(&reader.identity())?;
    let in_place = if is_repaired { Height::ZERO } else { indexed };
    // Where a snapshot stood, a repair may have put blocks. Only applying them tells their receipts.
    let snapshot = if is_repaired && store.has_gaps()? {
        None
    } else {
        start_from_snapshot(store, &basis)?
    };
    let mut from_snapshot = None;
    if let Some((restorer, meta)) = snapshot {
        let height = meta.height;
        match replay(&mut reader, store, restorer, in_place, Some(meta)) {
            Err(RecoverError::Restore(error)) => {
                tracing::warn!(%height, %error, "the snapshot does not fit the journal; replaying all of it instead");
            }
            result => from_snapshot = Some(result?),
        }
    }
    let (mut replay, found) = if let Some(replayed) = from_snapshot {
        replayed
    } else {
        let restorer = Restorer::new(
            basis.genesis,
            Purpose::Production,
            basis.verifier.clone(),
            basis.index_seed,
        )?;
        replay(&mut reader, store, restorer, in_place, None)?
    };
    let reached = replay.reached;
    if reached < indexed.max(replay.snapshot) {
        return Err(RecoverError::JournalOlder {
            found: reached,
            indexed: indexed.max(replay.snapshot),
        });
    }
    replay.put_batch()?;
    store.bind(&reader.identity())?;
    // From here on the index says durably how far this node was.
    store.flush()?;
    let keys = Keyring::new(basis.own, basis.signers);
    Ok(Recovered {
        replica: replay.restorer.finish_with(basis.config, keys)?,
        journal: reader.resume(&found)?,
        places: replay.places,
        last: replay.last,
        records: replay.records,
        replayed: replay.replayed,
        torn_tail_bytes: found.torn_tail_bytes,
    })
}

/// Takes every record of the journal in.
fn replay<'s, F: FileLayer>(
    reader: &mut Reader<F>,
    store: &'s Store,
    restorer: Restorer<NodeVerifier>,
    indexed: Height,
    meta: Option<SnapshotMeta>,
) -> Result<(Replay<'s>, Recovery), RecoverError> {
    let mut replay = Replay {
        indexed,
        snapshot: restorer.height(),
        meta,
        restorer,
        store,
        places: Places::default(),
        blocks: BTreeMap::new(),
        batch: Vec::new(),
        last: None,
        reached: Height::ZERO,
        target: None,
        records: 0,
        replayed: 0,
    };
    let mut failure = None;
    let found = reader.scan(|offset, payload| {
        if failure.is_some() {
            return;
        }
        if let Err(error) = replay.record(offset, payload) {
            failure = Some(error);
        }
    })?;
    match failure {
        Some(error) => Err(error),
        None => Ok((replay, found)),
    }
}

/// Starts from the newest snapshot, if there is one that can be used.
fn start_from_snapshot(
    store: &Store,
    basis: &Basis<'_>,
) -> Result<Option<(Restorer<NodeVerifier>, SnapshotMeta)>, RecoverError> {
    let Some(snapshot) = store.latest_snapshot()?.and_then(decode_snapshot) else {
        return Ok(None);
    };
    let meta = snapshot.meta.clone();
    let result = Restorer::from_snapshot(
        basis.genesis,
        Purpose::Production,
        basis.verifier.clone(),
        basis.index_seed,
        snapshot,
    );
    match result {
        Ok(restorer) => Ok(Some((restorer, meta))),
        Err(error) => {
            tracing::warn!(height = %meta.height, %error, "replaying the whole journal instead");
            Ok(None)
        }
    }
}

/// A snapshot in the pieces that the store keeps: the head first, then the ledger's chunks.
pub fn encode_snapshot(snapshot: Snapshot) -> Vec<Vec<u8>> {
    let mut pieces = Vec::with_capacity(1 + snapshot.chunks.len());
    pieces.push(wire::encode(&snapshot.meta));
    pieces.extend(snapshot.chunks);
    pieces
}

/// The snapshot of stored pieces, if they are some.
pub fn decode_snapshot(stored: store::Snapshot) -> Option<Snapshot> {
    let mut pieces = stored.chunks.into_iter();
    let meta = decode_snapshot_meta(&pieces.next()?)?;
    Some(Snapshot {
        meta,
        chunks: pieces.collect(),
    })
}

/// The head of a snapshot, which is its first piece.
pub fn decode_snapshot_meta(piece: &[u8]) -> Option<SnapshotMeta> {
    wire::decode(piece, META_BYTES_MAX).ok()
}

/// A block that waits to be put into the index.
struct Indexed {
    height: Height,
    entry: BlockEntry,
    transactions: Vec<[u8; 32]>,
    /// Absent where the snapshot says it all; then the index has the rest, too.
    applied: Option<Applied>,
}

/// What only applying a block tells.
struct Applied {
    receipts: Vec<u8>,
    epoch_end: Option<(Epoch, Vec<u8>)>,
}

struct Replay<'a> {
    restorer: Restorer<NodeVerifier>,
    store: &'a Store,
    places: Places,
    /// The height up to which the index is complete.
    indexed: Height,
    /// The height of the snapshot that the restorer started from.
    snapshot: Height,
    /// What that snapshot says of its block.
    meta: Option<SnapshotMeta>,
    /// Blocks of heights that the journal has not decided yet.
    blocks: BTreeMap<(Height, Sha256Digest), Arc<Block>>,
    batch: Vec<Indexed>,
    last: Option<(Header, VoteCertificate)>,
    /// The height of the last block or installed snapshot.
    reached: Height,
    /// What was verified about the snapshot that is fetched.
    target: Option<SnapshotMeta>,
    records: u64,
    replayed: u64,
}

impl Replay<'_> {
    fn record(&mut self, offset: u64, payload: &[u8]) -> Result<(), RecoverError> {
        self.records += 1;
        let record: Record =
            wire::decode(payload, RECORD_BYTES_MAX).map_err(|_| RecoverError::Record { offset })?;
        self.places.record(offset, &record);
        match &record {
            Record::Consensus(fbpbft::Record::Block(block)) => {
                let key = (block.header.height, block.header.digest());
                self.blocks.insert(key, Arc::clone(block));
            }
            Record::Pooled(bytes) => {
                // What a later block up to the snapshot holds needs no second verification. An
                // earlier block says nothing: a transaction that was refused for now may have been
                // sent again.
                let last = self.reached;
                let id = transaction_id(bytes.as_slice());
                let place = match id {
                    Some(id) => self.store.transaction(id.as_bytes())?,
                    None => None,
                };
                let is_decided =
                    place.is_some_and(|(height, _)| height > last && height <= self.snapshot);
                if is_decided {
                    return Ok(());
                }
            }
            Record::Sync(record) => self.sync(record)?,
            Record::Consensus(_) => {}
        }
        let decided = match &record {
            Record::Consensus(fbpbft::Record::Decided(certificate)) => Some(certificate.clone()),
            Record::Consensus(_) | Record::Pooled(_) | Record::Sync(_) => None,
        };
        let committed = match self.restorer.record(record)? {
            Some(Replayed::Block(committed)) => Some(committed),
            // The record itself said all there is to know.
            Some(Replayed::Snapshot(_)) | None => None,
        };
        self.replayed += u64::from(committed.is_some());
        if let Some(certificate) = decided {
            let applied = committed.map(|committed| Applied {
                receipts: encode_receipts(&committed.receipts),
                epoch_end: committed
                    .epoch_end()
                    .map(|end| (end.last.header.epoch, wire::encode(&end))),
            });
            self.decided(certificate, applied)?;
        }
        Ok(())
    }

    /// Brings the index up to date with what a sync knows, as it did when it ran.
    fn sync(&mut self, record: &SyncRecord) -> Result<(), RecoverError> {
        match record {
            SyncRecord::Epoch(end) => {
                let bytes = wire::encode(&**end);
                let epoch = end.last.header.epoch;
                self.store.put_epoch_ends([(epoch, bytes.as_slice())])?;
            }
            SyncRecord::Started(target) => self.target = Some(target.meta.clone()),
            SyncRecord::Chunk(_) => {}
            SyncRecord::Installed { height } => {
                let target = self.target.take();
                let meta = self.meta.as_ref();
                if meta.is_some_and(|meta| meta.height == *height && target.as_ref() != Some(meta))
                {
                    return Err(RestoreError::Unfit(*height).into());
                }
                self.places.pass(*height);
                self.blocks = self.blocks.split_off(&(height.next(), Sha256Digest::ZERO));
                self.last = None;
                self.reached = *height;
                self.put_batch()?;
                self.store.put_gap(*height)?;
            }
        }
        Ok(())
    }

    fn decided(
        &mut self,
        certificate: VoteCertificate,
        applied: Option<Applied>,
    ) -> Result<(), RecoverError> {
        let height = certificate.height;
        let digest = certificate.value.digest;
        let missing = RestoreError::MissingBlock { height, digest };
        let entry = self.places.decide(height, digest).ok_or(missing.clone())?;
        let block = self.blocks.remove(&(height, digest)).ok_or(missing)?;
        self.blocks = self.blocks.split_off(&(height.next(), Sha256Digest::ZERO));
        self.check_snapshot(&block.header, &certificate)?;
        self.last = Some((block.header.clone(), certificate));
        self.reached = height;
        if height <= self.indexed {
            if self.store.block(height)? != Some(entry) {
                return Err(StoreError::OtherJournal.into());
            }
        } else {
            let transactions = block
                .body
                .transactions
                .iter()
                .filter_map(|bytes| transaction_id(bytes.as_slice()))
                .map(|id| *id.as_bytes())
                .collect();
            self.batch.push(Indexed {
                height,
                entry,
                transactions,
                applied,
            });
            if self.batch.len() >= INDEX_BATCH {
                self.put_batch()?;
            }
        }
        Ok(())
    }

    /// Compares the snapshot with the block that it claims to be the state after. The ledger in it
    /// has the root that it names, and the next header has to name that root.
    fn check_snapshot(
        &self,
        header: &Header,
        certificate: &VoteCertificate,
    ) -> Result<(), RestoreError> {
        let Some(meta) = self
            .meta
            .as_ref()
            .filter(|meta| meta.height == header.height)
        else {
            return Ok(());
        };
        let fits = meta.digest == header.digest()
            && meta.timestamp == header.timestamp
            && meta.header_application == header.application_root
            && meta.certificate.as_ref() == Some(certificate);
        if fits {
            Ok(())
        } else {
            Err(RestoreError::Unfit(header.height))
        }
    }

    fn put_batch(&mut self) -> Result<(), RecoverError> {
        let batch = std::mem::take(&mut self.batch);
        if batch.is_empty() {
            return Ok(());
        }
        let (mut receipts, mut ends) = (Vec::new(), Vec::new());
        for indexed in &batch {
            let Some(applied) = &indexed.applied else {
                continue;
            };
            receipts.push((indexed.height, applied.receipts.as_slice()));
            let end = applied.epoch_end.as_ref();
            ends.extend(end.map(|(epoch, bytes)| (*epoch, bytes.as_slice())));
        }
        self.store.put_receipts(receipts)?;
        self.store.put_epoch_ends(ends)?;
        self.store.put_blocks(batch.iter().map(|indexed| {
            (
                indexed.height,
                indexed.entry,
                indexed.transactions.as_slice(),
            )
        }))?;
        Ok(())
    }
}

/// The receipts of a block as the index keeps them.
pub fn encode_receipts(receipts: &[Receipt]) -> Vec<u8> {
    wire::encode(receipts)
}

/// Receipts as the index keeps them.
pub fn decode_receipts(bytes: &[u8]) -> Option<Vec<Receipt>> {
    wire::decode(bytes, RECORD_BYTES_MAX).ok()
}
