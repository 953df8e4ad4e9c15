//! Continuing from a journal (FB-15, LG-13).

use crate::admit::admit;
use crate::executor::{Executor, application_root};
use crate::genesis::{Genesis, GenesisError, Purpose};
use crate::input::{Committed, Record};
use crate::replica::{Config, Replica, Start, StartError, is_unrecorded, tip_after};
use crate::sync::{Partial, SyncRecord, Syncer, Walk};
use crate::waiting::EXPIRY_EVERY;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use polity_consensus::fbpbft::{self, Block, Chain, Keyring, SealedBlock, Tip, VoteCertificate};
use polity_crypto::{Checker, Sha256Digest, Signer, Verified, Verifier};
use polity_ledger::{Ledger, SignedTransaction, SnapshotError, TransactionId};
use polity_types::{Height, Seed, Time};
use serde::{Deserialize, Serialize};

/// What a replica needs beside the ledger to continue after a block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotMeta {
    /// Height of the last block.
    pub height: Height,
    /// Its digest.
    pub digest: Sha256Digest,
    /// Its block time.
    pub timestamp: Time,
    /// Why it is decided; absent at height 0.
    pub certificate: Option<VoteCertificate>,
    /// State root of the ledger after it.
    pub ledger_root: Sha256Digest,
    /// The application root in its header.
    pub header_application: Sha256Digest,
    /// Root of its receipts.
    pub receipts: Sha256Digest,
}

/// The whole state of a replica after a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Everything but the ledger.
    pub meta: SnapshotMeta,
    /// The ledger, as a canonical stream.
    pub chunks: Vec<Vec<u8>>,
}

/// What a record made of the state, so that the host can bring its index up to date.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replayed {
    /// A block was applied again.
    Block(Committed),
    /// A snapshot replaced the state: there are no blocks between the one before and this height.
    Snapshot(SnapshotMeta),
}

/// Why a replica cannot continue from its journal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// It could not even start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The snapshot is damaged or of another federation.
    #[error("the snapshot cannot be used: {0}")]
    Snapshot(#[from] SnapshotError),
    /// The journal decides a block that it does not hold.
    #[error("the journal decides block {digest} at height {height} but does not hold it")]
    MissingBlock {
        /// Height.
        height: Height,
        /// Digest of the block.
        digest: Sha256Digest,
    },
    /// The journal jumps over heights.
    #[error("the journal continues at height {found}, but height {expected} comes next")]
    Gap {
        /// The height that comes next.
        expected: Height,
        /// The height found.
        found: Height,
    },
    /// The journal goes on from a snapshot that it does not hold.
    #[error("the journal goes on from a snapshot of height {0} but does not hold all of it")]
    MissingSnapshot(Height),
    /// A decided block does not fit the state before it.
    #[error("the decided block at height {0} does not fit the state before it")]
    Unfit(Height),
}

impl From<GenesisError> for RestoreError {
    fn from(error: GenesisError) -> Self {
        Self::Start(error.into())
    }
}

/// Takes the records of a journal in, one after the other, and ends as a [`Replica`].
#[derive(Debug)]
pub struct Restorer<V> {
    genesis: Arc<Genesis>,
    verifier: V,
    index_seed: Seed,
    chain: Chain,
    executor: Executor,
    checker: Checker<V>,
    tip: Tip,
    tip_application: Sha256Digest,
    /// Blocks of the height that comes next, by digest.
    blocks: BTreeMap<Sha256Digest, Arc<Block>>,
    /// Records of the height that comes next.
    records: Vec<fbpbft::Record>,
    /// Pooled transactions that no block held so far, each with the number of its record: they
    /// return in this order, because one may spend what another brings.
    pooled: BTreeMap<TransactionId, (u64, Verified<SignedTransaction>)>,
    /// Records of pooled transactions so far.
    pooled_count: u64,
    /// The epochs whose ends were verified.
    walk: Walk,
    /// A snapshot that is not complete (FB-19).
    partial: Option<Partial>,
}

impl<V: Verifier + Clone> Restorer<V> {
    /// Starts from the genesis.
    pub fn new(
        genesis: &Genesis,
        purpose: Purpose,
        verifier: V,
        index_seed: Seed,
    ) -> Result<Self, RestoreError> {
        genesis.validate(purpose, &verifier)?;
        let chain = genesis.chain().map_err(GenesisError::from)?;
        let mut ledger =
            Ledger::new(&genesis.ledger, chain.id(), index_seed).map_err(GenesisError::from)?;
        let root = application_root(&ledger.root());
        let tip = Tip::genesis(&chain, genesis.start, root);
        let executor = Executor::new(genesis, ledger);
        // A genesis holds committees, or it would not be valid.
        let chain = executor
            .chain_here(&chain, &verifier)
            .map_err(GenesisError::from)?;
        let landing = Landing {
            chain,
            executor,
            tip,
            tip_application: root,
        };
        Ok(Self::at(genesis, verifier, index_seed, landing))
    }

    /// Starts from a snapshot of this replica's own store. Its certificate is not verified again;
    /// its ledger has to have the root that the snapshot names.
    pub fn from_snapshot(
        genesis: &Genesis,
        purpose: Purpose,
        verifier: V,
        index_seed: Seed,
        snapshot: Snapshot,
    ) -> Result<Self, RestoreError> {
        genesis.validate(purpose, &verifier)?;
        let chain = genesis.chain().map_err(GenesisError::from)?;
        let meta = snapshot.meta;
        let mut restore = polity_ledger::Restore::new(
            &genesis.ledger,
            chain.id(),
            meta.height,
            meta.ledger_root,
            index_seed,
        )?;
        for chunk in &snapshot.chunks {
            restore.push(chunk)?;
        }
        let landing = land(genesis, &chain, &verifier, restore.finish()?, meta)?;
        Ok(Self::at(genesis, verifier, index_seed, landing))
    }

    fn at(genesis: &Genesis, verifier: V, index_seed: Seed, landing: Landing) -> Self {
        let Landing {
            chain,
            executor,
            tip,
            tip_application,
        } = landing;
        Self {
            walk: Walk::new(&chain, tip.parent.height),
            executor,
            checker: Checker::new(verifier.clone(), 0),
            genesis: Arc::new(genesis.clone()),
            verifier,
            index_seed,
            chain,
            tip,
            tip_application,
            blocks: BTreeMap::new(),
            records: Vec::new(),
            pooled: BTreeMap::new(),
            pooled_count: 0,
            partial: None,
        }
    }

    /// The height of the last block taken in.
    pub fn height(&self) -> Height {
        self.tip.parent.height
    }

    /// Takes the next record in. Returns what the host has to bring its index up to date with.
    /// Records up to the snapshot's height are passed over.
    pub fn record(&mut self, record: Record) -> Result<Option<Replayed>, RestoreError> {
        let record = match record {
            Record::Pooled(bytes) => {
                if is_over(bytes.as_slice(), self.height()) {
                    return Ok(None);
                }
                // A transaction that cannot be used any more is no reason not to start.
                let chain = self.chain.id();
                let admitted = admit(
                    bytes.as_slice(),
                    chain,
                    self.executor.floor,
                    &mut self.checker,
                );
                if let Ok(transaction) = admitted {
                    let id = transaction.id();
                    self.pooled.insert(id, (self.pooled_count, transaction));
                    self.pooled_count += 1;
                }
                return Ok(None);
            }
            Record::Sync(record) => {
                let landed = self.sync(record)?;
                return Ok(landed.map(Replayed::Snapshot));
            }
            Record::Consensus(record) => record,
        };
        let expected = self.tip.parent.height.next();
        if record.height() < expected {
            return Ok(None);
        }
        if record.height() > expected {
            return Err(RestoreError::Gap {
                expected,
                found: record.height(),
            });
        }
        match record {
            fbpbft::Record::Decided(certificate) => {
                let committed = self.decided(certificate)?;
                Ok(Some(Replayed::Block(committed)))
            }
            other => {
                if let fbpbft::Record::Block(block) = &other {
                    self.blocks.insert(block.header.digest(), block.clone());
                }
                self.records.push(other);
                Ok(None)
            }
        }
    }

    /// FB-19: what is known of a snapshot, and that it counts.
    fn sync(&mut self, record: SyncRecord) -> Result<Option<SnapshotMeta>, RestoreError> {
        match record {
            SyncRecord::Epoch(end) => {
                // It was verified, and only saves asking for it again.
                let _ = self.walk.remember(*end);
            }
            SyncRecord::Started(target) => {
                let is_ahead = target.meta.height > self.height();
                let (genesis, chain) = (&self.genesis.ledger, self.chain.id());
                let partial =
                    is_ahead.then(|| Partial::new(genesis, chain, *target, self.index_seed));
                self.partial = partial.transpose()?;
            }
            SyncRecord::Chunk(chunk) => {
                if let Some(partial) = &mut self.partial {
                    partial.push(chunk.as_slice())?;
                }
            }
            SyncRecord::Installed { height } if height > self.height() => {
                let missing = RestoreError::MissingSnapshot(height);
                let partial = self.partial.take().ok_or(missing.clone())?;
                if partial.height() != height || !partial.is_complete() {
                    return Err(missing);
                }
                let (ledger, target) = partial.finish()?;
                return self.jump(ledger, target.meta).map(Some);
            }
            // Of a snapshot that the store's own is above of.
            SyncRecord::Installed { .. } => {}
        }
        Ok(None)
    }

    fn jump(&mut self, ledger: Ledger, meta: SnapshotMeta) -> Result<SnapshotMeta, RestoreError> {
        let landing = land(
            &self.genesis,
            &self.chain,
            &self.verifier,
            ledger,
            meta.clone(),
        )?;
        self.chain = landing.chain;
        self.executor = landing.executor;
        self.tip = landing.tip;
        self.tip_application = landing.tip_application;
        self.blocks.clear();
        self.records.clear();
        let ledger = &self.executor.ledger;
        self.pooled.retain(|id, (_, waiting)| {
            ledger.receipt(id).is_none() && waiting.transaction().valid_until > meta.height
        });
        self.walk.follow(&self.chain, meta.height);
        Ok(meta)
    }

    fn decided(&mut self, certificate: VoteCertificate) -> Result<Committed, RestoreError> {
        let height = certificate.height;
        let digest = certificate.value.digest;
        let block = self
            .blocks
            .remove(&digest)
            .ok_or(RestoreError::MissingBlock { height, digest })?;
        let unfit = RestoreError::Unfit(height);
        let sealed = SealedBlock::new(&self.chain, block).map_err(|_| unfit.clone())?;
        let header = sealed.header();
        let fits = header.parent == self.tip.parent.digest
            && header.application_root == self.tip.roots.application
            && header.receipts_root == self.tip.roots.receipts
            && header.next_committee == self.chain.next_committee(height);
        if !fits {
            return Err(unfit);
        }
        let header_application = header.application_root;
        let transactions = self
            .executor
            .authorise(&sealed, &mut self.checker, |_, _| None)
            .map_err(|_| unfit.clone())?;
        let committed = self
            .executor
            .apply(
                &self.chain,
                sealed,
                certificate,
                &transactions,
                &self.verifier,
            )
            .map_err(|_| unfit)?;
        for receipt in &*committed.receipts {
            self.pooled.remove(&receipt.id);
        }
        if height.get().is_multiple_of(EXPIRY_EVERY) {
            // As in the pool of a running replica, so that old promises do not pile up.
            self.pooled
                .retain(|_, (_, waiting)| waiting.transaction().valid_until > height);
        }
        self.executor.schedule(&mut self.chain, &self.verifier);
        self.tip = tip_after(&committed);
        self.tip_application = header_application;
        self.blocks.clear();
        self.records.clear();
        self.walk.follow(&self.chain, height);
        if (self.partial.as_ref()).is_some_and(|partial| partial.height() <= height) {
            // Blocks were faster.
            self.partial = None;
        }
        Ok(committed)
    }

    /// Ends with a member that says nothing that contradicts what it said before.
    ///
    /// # Errors
    ///
    /// If the key is nobody's in the committee of the next height; see
    /// [`finish_with`](Self::finish_with).
    pub fn finish<S: Signer>(
        self,
        config: Config,
        signer: S,
    ) -> Result<Replica<S, V>, RestoreError> {
        let committee = self.chain.committee(self.height().next());
        let keys = Keyring::of_member(committee, signer).map_err(StartError::from)?;
        self.finish_with(config, keys)
    }

    /// The same for a replica that may be between two keys, or no member at all: it follows until a
    /// committee has one of its keys beside its number (FB-17).
    pub fn finish_with<S: Signer>(
        self,
        config: Config,
        keys: Keyring<S>,
    ) -> Result<Replica<S, V>, RestoreError> {
        let mut pooled: Vec<_> = self.pooled.into_values().collect();
        pooled.sort_by_key(|(number, _)| *number);
        let start = Start {
            chain: self.chain,
            executor: self.executor,
            tip: self.tip,
            tip_application: self.tip_application,
            records: self.records,
            pooled: pooled.into_iter().map(|(_, waiting)| waiting).collect(),
            syncer: Syncer::new(self.genesis, self.index_seed, self.walk, self.partial),
        };
        Ok(Replica::assemble(config, keys, self.verifier, start)?)
    }
}

/// Where a replica goes on.
pub(crate) struct Landing {
    pub(crate) chain: Chain,
    pub(crate) executor: Executor,
    pub(crate) tip: Tip,
    pub(crate) tip_application: Sha256Digest,
}

/// Everything that follows from a ledger with the root of a snapshot. `chain` may know other
/// epochs.
pub(crate) fn land<V: Verifier>(
    genesis: &Genesis,
    chain: &Chain,
    verifier: &V,
    mut ledger: Ledger,
    meta: SnapshotMeta,
) -> Result<Landing, SnapshotError> {
    let application = application_root(&ledger.root());
    let tip = Tip {
        parent: fbpbft::Parent {
            height: meta.height,
            digest: meta.digest,
            timestamp: meta.timestamp,
        },
        certificate: meta.certificate,
        roots: fbpbft::Roots {
            height: meta.height,
            application,
            receipts: meta.receipts,
        },
        is_unrecorded: is_unrecorded(&meta.header_application, &application, &meta.receipts),
    };
    // A snapshot of this chain holds committees, or its root would be another one.
    let executor = Executor::of_snapshot(genesis, ledger).ok_or(SnapshotError::Contradiction)?;
    let chain = executor
        .chain_here(chain, verifier)
        .map_err(|_| SnapshotError::Contradiction)?;
    Ok(Landing {
        chain,
        executor,
        tip,
        tip_application: meta.header_application,
    })
}

/// Whether no block above `height` may hold the transaction. What is no transaction is judged where
/// it is verified.
fn is_over(bytes: &[u8], height: Height) -> bool {
    SignedTransaction::decode(bytes)
        .is_ok_and(|transaction| transaction.transaction().valid_until <= height)
}
