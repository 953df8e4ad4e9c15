//! Checking chains offline: data directories, exported chains, whole federations.
//!
//! Nothing is trusted but the genesis: every certificate, parent, state root, transaction signature
//! and the conservation of the supply are checked again by the replica's auditor.

mod index;

pub use index::Index;

use crate::federation::{FederationError, GENESIS_FILE, load_genesis, nodes_in};
use crate::host::RecoverError;
use crate::host::repair::Survey;
use crate::journal::{JournalError, RECORD_BYTES_MAX, Reader};
use crate::node::verifier;
use crate::signing::{NodeVerifier, Provider};
use polity_consensus::fbpbft::{self, Block, Chain, Decided};
use polity_consensus::light::EpochEnd;
use polity_crypto::Sha256Digest;
use polity_ledger::Ledger;
use polity_replica::sync::{ChunkBytes, SyncRecord};
use polity_replica::{
    AuditError, Auditor, Committed, Genesis, GenesisError, Purpose, Record, SnapshotMeta,
};
use polity_types::{Height, wire};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How an exported chain begins.
const EXPORT_MAGIC: &[u8; 16] = b"polity-chain/1\0\0";

/// Why a chain cannot be checked, or does not hold.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The files.
    #[error(transparent)]
    Federation(#[from] FederationError),
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The journal is damaged in its middle: what is lost, and whether the node repairs it.
    #[error("{0}")]
    Damaged(Box<Survey>),
    /// What is left of a damaged journal cannot be read, or the end of the journal is lost.
    #[error(transparent)]
    Recover(#[from] RecoverError),
    /// What is wrong in one of several places.
    #[error("{}: {error}", path.display())]
    At {
        /// The data directory or the exported chain.
        path: PathBuf,
        /// What is wrong there.
        error: Box<VerifyError>,
    },
    /// The file to write is there.
    #[error("{} exists; choose another file", .0.display())]
    Exists(PathBuf),
    /// The chain does not hold.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// The journal holds something that is no record.
    #[error("the journal holds something else than records at byte {0}")]
    Record(u64),
    /// The journal decides a block that it does not hold.
    #[error("the journal decides block {digest} at height {height} but does not hold it")]
    MissingBlock {
        /// Height.
        height: Height,
        /// Digest.
        digest: Sha256Digest,
    },
    /// A file cannot be read or written.
    #[error("cannot use {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file is no exported chain.
    #[error("{} is no exported chain of this federation", .0.display())]
    NoExport(PathBuf),
    /// An exported chain needs its genesis.
    #[error("an exported chain is checked against its genesis: add --genesis FILE")]
    NeedsGenesis,
    /// The journal goes on after a snapshot that it does not hold.
    #[error("the journal goes on after a snapshot at height {0} but does not hold it")]
    MissingSnapshot(Height),
    /// Blocks are missing, so that nobody can follow the chain from its genesis.
    #[error(
        "this node started from a snapshot and does not hold blocks {first} to {last}; export the chain of a node that has them"
    )]
    Gap {
        /// The first that is missing.
        first: Height,
        /// The last that is missing.
        last: Height,
    },
    /// Two nodes decided different blocks.
    #[error("{} and {} have different blocks at height {height}", one.display(), other.display())]
    Fork {
        /// A directory.
        one: PathBuf,
        /// Another directory.
        other: PathBuf,
        /// The first height that differs.
        height: Height,
    },
}

impl VerifyError {
    /// Whether a rule of safety is broken; otherwise the files are not what they should be.
    pub fn is_unsafe(&self) -> bool {
        match self {
            Self::Audit(_) | Self::Fork { .. } => true,
            Self::At { error, .. } => error.is_unsafe(),
            Self::Federation(_)
            | Self::Journal(_)
            | Self::Damaged(_)
            | Self::Recover(_)
            | Self::Exists(_)
            | Self::Record(_)
            | Self::MissingBlock { .. }
            | Self::MissingSnapshot(_)
            | Self::Gap { .. }
            | Self::Io { .. }
            | Self::NoExport(_)
            | Self::NeedsGenesis => false,
        }
    }

    /// Whether somebody named something wrongly; otherwise the files are not what they should be.
    pub fn is_usage(&self) -> bool {
        match self {
            Self::Federation(error) => error.is_usage(),
            Self::NeedsGenesis | Self::Exists(_) => true,
            Self::At { error, .. } => error.is_usage(),
            Self::Audit(_)
            | Self::Fork { .. }
            | Self::Journal(_)
            | Self::Damaged(_)
            | Self::Recover(_)
            | Self::Record(_)
            | Self::MissingBlock { .. }
            | Self::MissingSnapshot(_)
            | Self::Gap { .. }
            | Self::Io { .. }
            | Self::NoExport(_) => false,
        }
    }

    fn at(path: &Path) -> impl FnOnce(Self) -> Self {
        move |error| match error {
            // They name their file.
            Self::Io { .. } | Self::NoExport(_) | Self::At { .. } => error,
            error => Self::At {
                path: path.to_owned(),
                error: Box::new(error),
            },
        }
    }
}

impl From<GenesisError> for VerifyError {
    fn from(error: GenesisError) -> Self {
        Self::Federation(error.into())
    }
}

/// A chain that holds.
#[derive(Debug)]
pub struct Audited {
    /// Where it was.
    pub path: PathBuf,
    /// Height of its last block.
    pub height: Height,
    /// Transactions in it.
    pub transactions: u64,
    /// How many of them were refused.
    pub refused: u64,
    /// State root of the ledger after the last block.
    pub state_root: Sha256Digest,
    /// The ledger after the last block.
    pub ledger: Ledger,
    /// Heights, first and last, whose blocks are not held there: a snapshot took their place.
    pub gaps: Vec<(Height, Height)>,
    /// What the node's index says of the end of the chain.
    pub index: Index,
    /// Digest of every block that is held.
    digests: BTreeMap<Height, Sha256Digest>,
}

impl Audited {
    /// Whether the last state is that of a snapshot which no block names yet: nobody but the node's
    /// journal says that it is so.
    pub fn is_claim(&self) -> bool {
        self.gaps
            .last()
            .is_some_and(|(_, last)| *last == self.height)
    }
}

/// What a journal says next about the chain.
enum Step {
    /// A block is decided.
    Block(Decided),
    /// A snapshot took the place of blocks.
    Snapshot(Fetched),
}

/// A snapshot that is fetched, and what leads to it.
#[derive(Default)]
struct Fetched {
    ends: Vec<EpochEnd>,
    target: Option<SnapshotMeta>,
    chunks: Vec<ChunkBytes>,
}

/// Follows the records of a journal and hands over each block when it is decided.
#[derive(Default)]
struct Follower {
    blocks: BTreeMap<(Height, Sha256Digest), Arc<Block>>,
    fetched: Fetched,
}

impl Follower {
    fn record(&mut self, offset: u64, payload: &[u8]) -> Result<Option<Step>, VerifyError> {
        let record: Record =
            wire::decode(payload, RECORD_BYTES_MAX).map_err(|_| VerifyError::Record(offset))?;
        match record {
            Record::Consensus(fbpbft::Record::Block(block)) => {
                let key = (block.header.height, block.header.digest());
                self.blocks.insert(key, block);
                Ok(None)
            }
            Record::Consensus(fbpbft::Record::Decided(certificate)) => {
                let height = certificate.height;
                let digest = certificate.value.digest;
                let block = self
                    .blocks
                    .remove(&(height, digest))
                    .ok_or(VerifyError::MissingBlock { height, digest })?;
                self.blocks = self.blocks.split_off(&(height.next(), Sha256Digest::ZERO));
                Ok(Some(Step::Block(Decided { block, certificate })))
            }
            Record::Sync(record) => self.sync(record),
            Record::Consensus(_) | Record::Pooled(_) => Ok(None),
        }
    }

    fn sync(&mut self, record: SyncRecord) -> Result<Option<Step>, VerifyError> {
        match record {
            SyncRecord::Epoch(end) => self.fetched.ends.push(*end),
            SyncRecord::Started(target) => {
                self.fetched.target = Some(target.meta);
                self.fetched.chunks.clear();
            }
            SyncRecord::Chunk(chunk) => self.fetched.chunks.push(chunk),
            SyncRecord::Installed { height } => {
                let fetched = std::mem::take(&mut self.fetched);
                let target = fetched.target.as_ref().map(|meta| meta.height);
                if target != Some(height) {
                    return Err(VerifyError::MissingSnapshot(height));
                }
                self.blocks = self.blocks.split_off(&(height.next(), Sha256Digest::ZERO));
                return Ok(Some(Step::Snapshot(fetched)));
            }
        }
        Ok(None)
    }
}

/// What a journal says of the chain, in order, to `visit`. Stops at its first error.
fn steps(
    directory: &Path,
    chain: &Chain,
    mut visit: impl FnMut(Step) -> Result<(), VerifyError>,
) -> Result<(), VerifyError> {
    let mut follower = Follower::default();
    let mut failure = None;
    let mut journal = Reader::open_in(directory, chain.id())?;
    let result = journal.scan(|offset, payload| {
        if failure.is_some() {
            return;
        }
        let result = follower
            .record(offset, payload)
            .and_then(|step| step.map_or(Ok(()), &mut visit));
        failure = result.err();
    });
    match (failure, result) {
        (Some(failure), _) => Err(failure),
        (None, Ok(_)) => Ok(()),
        (None, Err(JournalError::Damaged { .. })) => Err(damaged(&mut journal, chain)),
        (None, Err(error)) => Err(error.into()),
    }
}

/// Says what is left of a damaged journal.
fn damaged(journal: &mut Reader, chain: &Chain) -> VerifyError {
    match Survey::of(journal, chain) {
        Ok(survey) => VerifyError::Damaged(Box::new(survey)),
        Err(error) => error.into(),
    }
}

/// A chain that is being checked.
struct Audit<'a> {
    auditor: Auditor<NodeVerifier>,
    genesis: &'a Genesis,
    path: PathBuf,
    transactions: u64,
    refused: u64,
    gaps: Vec<(Height, Height)>,
    digests: BTreeMap<Height, Sha256Digest>,
}

impl<'a> Audit<'a> {
    fn new(path: &Path, genesis: &'a Genesis) -> Result<Self, VerifyError> {
        Ok(Self {
            auditor: Auditor::new(
                genesis,
                Purpose::Production,
                verifier(genesis, Provider::Rust),
            )?,
            genesis,
            path: path.to_owned(),
            transactions: 0,
            refused: 0,
            gaps: Vec::new(),
            digests: BTreeMap::new(),
        })
    }

    fn block(&mut self, decided: Decided) -> Result<Committed, VerifyError> {
        let committed = self.auditor.block(decided)?;
        self.transactions += committed.receipts.len() as u64;
        let refused = committed.receipts.iter().filter(|r| r.outcome.is_err());
        self.refused += refused.count() as u64;
        let height = committed.block.header().height;
        self.digests.insert(height, committed.block.digest());
        Ok(committed)
    }

    fn snapshot(&mut self, fetched: &Fetched) -> Result<(), VerifyError> {
        let Some(meta) = &fetched.target else {
            return Err(VerifyError::MissingSnapshot(self.auditor.height()));
        };
        let first = self.auditor.height().next();
        let chunks = fetched.chunks.iter().map(ChunkBytes::as_slice);
        self.auditor
            .install(self.genesis, meta, &fetched.ends, chunks)?;
        self.gaps.push((first, meta.height));
        Ok(())
    }

    fn finish(self) -> Audited {
        let mut ledger = self.auditor.ledger().clone();
        Audited {
            path: self.path,
            height: self.auditor.height(),
            transactions: self.transactions,
            refused: self.refused,
            state_root: ledger.root(),
            ledger,
            gaps: self.gaps,
            index: Index::default(),
            digests: self.digests,
        }
    }
}

/// Checks the journal of one node's data directory, and that it is as new as the index beside it.
/// `progress` is told each height.
pub fn audit_node(
    directory: &Path,
    genesis: &Genesis,
    mut progress: impl FnMut(Height),
) -> Result<Audited, VerifyError> {
    let chain = genesis.chain().map_err(GenesisError::from)?;
    // Asked first: a node that runs meanwhile may write more of both.
    let index = Index::ask(directory, &chain)?;
    let audited = audit_blocks(directory, genesis, |committed| {
        progress(committed.block.header().height);
    })?;
    let found = audited.height;
    if let Some(indexed) = index.height().filter(|indexed| *indexed > found) {
        return Err(RecoverError::JournalOlder { found, indexed }.into());
    }
    Ok(Audited { index, ..audited })
}

/// The same, and hands every block that holds to `visit`, with what became of its transactions.
pub fn audit_blocks(
    directory: &Path,
    genesis: &Genesis,
    mut visit: impl FnMut(&Committed),
) -> Result<Audited, VerifyError> {
    let chain = genesis.chain().map_err(GenesisError::from)?;
    let mut audit = Audit::new(directory, genesis)?;
    steps(directory, &chain, |step| {
        match step {
            Step::Block(decided) => visit(&audit.block(decided)?),
            Step::Snapshot(fetched) => audit.snapshot(&fetched)?,
        }
        Ok(())
    })?;
    Ok(audit.finish())
}

/// Checks an exported chain.
pub fn audit_export(
    path: &Path,
    genesis: &Genesis,
    mut progress: impl FnMut(Height),
) -> Result<Audited, VerifyError> {
    let io = |source| VerifyError::Io {
        path: path.to_owned(),
        source,
    };
    let no_export = || VerifyError::NoExport(path.to_owned());
    let chain = genesis.chain().map_err(GenesisError::from)?;
    let mut file = BufReader::new(File::open(path).map_err(io)?);
    let mut head = [0; 48];
    file.read_exact(&mut head).map_err(|_| no_export())?;
    if head[..16] != *EXPORT_MAGIC || head[16..] != *chain.id().as_bytes() {
        return Err(no_export());
    }
    let mut audit = Audit::new(path, genesis)?;
    loop {
        let mut length = [0; 4];
        match file.read_exact(&mut length) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break,
            Err(error) => return Err(io(error)),
        }
        let length = u64::from(u32::from_le_bytes(length));
        if length > RECORD_BYTES_MAX as u64 {
            return Err(no_export());
        }
        let mut bytes = Vec::new();
        let read = (&mut file)
            .take(length)
            .read_to_end(&mut bytes)
            .map_err(io)?;
        if read as u64 != length {
            return Err(no_export());
        }
        let decided = wire::decode(&bytes, RECORD_BYTES_MAX).map_err(|_| no_export())?;
        audit.block(decided)?;
        progress(audit.auditor.height());
    }
    Ok(audit.finish())
}

/// Writes the decided blocks of a data directory into a file of their own. Returns how many. Blocks
/// that are missing are an error, and then there is no file.
pub fn export(directory: &Path, genesis: &Genesis, out: &Path) -> Result<u64, VerifyError> {
    let io = |source| VerifyError::Io {
        path: out.to_owned(),
        source,
    };
    let file = File::create_new(out).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => VerifyError::Exists(out.to_owned()),
        _ => io(error),
    })?;
    let result = write_export(directory, genesis, file, io).map_err(VerifyError::at(directory));
    if result.is_err() {
        // Half of a chain is of no use; the error says more than a second one could.
        let _ = std::fs::remove_file(out);
    }
    result
}

fn write_export(
    directory: &Path,
    genesis: &Genesis,
    file: File,
    io: impl Fn(io::Error) -> VerifyError,
) -> Result<u64, VerifyError> {
    let chain = genesis.chain().map_err(GenesisError::from)?;
    let mut file = BufWriter::new(file);
    file.write_all(EXPORT_MAGIC).map_err(&io)?;
    file.write_all(chain.id().as_bytes()).map_err(&io)?;
    let mut count = 0;
    steps(directory, &chain, |step| {
        let decided = match step {
            Step::Block(decided) => decided,
            Step::Snapshot(fetched) => {
                let last = fetched.target.map_or(Height::ZERO, |meta| meta.height);
                let first = Height::new(count + 1);
                return Err(VerifyError::Gap { first, last });
            }
        };
        let bytes = wire::encode(&decided);
        let length = u32::try_from(bytes.len())
            .map_err(|_| io(io::Error::other("a block is longer than 4 GiB")))?;
        file.write_all(&length.to_le_bytes()).map_err(&io)?;
        file.write_all(&bytes).map_err(&io)?;
        count += 1;
        Ok(())
    })?;
    file.flush().map_err(&io)?;
    file.get_ref().sync_all().map_err(&io)?;
    Ok(count)
}

/// Checks whatever is at `path`: a data directory, a federation with several of them, or an exported
/// chain, which needs `genesis`. The chains of a federation also have to be the same.
pub fn audit(
    path: &Path,
    genesis: Option<&Path>,
    mut progress: impl FnMut(&Path, Height),
) -> Result<Vec<Audited>, VerifyError> {
    if path.is_file() {
        let genesis = load_genesis(genesis.ok_or(VerifyError::NeedsGenesis)?)?;
        let audited = audit_export(path, &genesis, |height| progress(path, height))
            .map_err(VerifyError::at(path))?;
        return Ok(vec![audited]);
    }
    let mut all: Vec<Audited> = Vec::new();
    // A federation's own genesis is the one that all of its nodes have to follow.
    let common = path.join(GENESIS_FILE);
    let common = genesis.or_else(|| common.is_file().then_some(&common));
    for node in nodes_in(path)? {
        let own = node.join(GENESIS_FILE);
        let genesis = load_genesis(common.unwrap_or(&own))
            .map_err(|error| VerifyError::at(&node)(error.into()))?;
        let audited = audit_node(&node, &genesis, |height| progress(&node, height))
            .map_err(VerifyError::at(&node))?;
        if let Some(first) = all.first() {
            compare(first, &audited)?;
        }
        all.push(audited);
    }
    Ok(all)
}

/// Whether two chains are the same wherever both hold blocks.
fn compare(one: &Audited, other: &Audited) -> Result<(), VerifyError> {
    let differs = |(height, digest): &(&Height, &Sha256Digest)| {
        let there = other.digests.get(height);
        there.is_some_and(|there| there != *digest)
    };
    match one.digests.iter().find(differs) {
        None => Ok(()),
        Some((height, _)) => Err(VerifyError::Fork {
            one: one.path.clone(),
            other: other.path.clone(),
            height: *height,
        }),
    }
}
