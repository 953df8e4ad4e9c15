//! Continuing from a journal (FB-15, LG-13).

use crate::admit::admit;
use crate::executor::{Executor, application_root};
use crate::genesis::{Genesis, GenesisError, Purpose};
use crate::input::{Committed, Record};
use crate::replica::{Config, EXPIRY_EVERY, Replica, Start, StartError, is_unrecorded, tip_after};
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
    /// A decided block does not fit the state before it.
    #[error("the decided block at height {0} does not fit the state before it")]
    Unfit(Height),
}

impl From<GenesisError> for RestoreError {
    fn from(error: GenesisError) -> Self {
        Self::Start(error.into())
    }
}

/// Where a replica stands that starts from a snapshot, whose ledger has the root that it names.
pub(crate) fn tip_of(meta: &SnapshotMeta) -> Tip {
    let application = application_root(&meta.ledger_root);
    Tip {
        parent: fbpbft::Parent {
            height: meta.height,
            digest: meta.digest,
            timestamp: meta.timestamp,
        },
        certificate: meta.certificate.clone(),
        roots: fbpbft::Roots {
            height: meta.height,
            application,
            receipts: meta.receipts,
        },
        is_unrecorded: is_unrecorded(&meta.header_application, &application, &meta.receipts),
    }
}

/// Takes the records of a journal in, one after the other, and ends as a [`Replica`].
#[derive(Debug)]
pub struct Restorer<V> {
    genesis: Genesis,
    verifier: V,
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
        Self::at(genesis, verifier, &chain, executor, tip, root)
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
        let ledger = restore.finish()?;
        let tip = tip_of(&meta);
        let executor =
            Executor::of_snapshot(genesis, ledger).ok_or(SnapshotError::Contradiction)?;
        let header_application = meta.header_application;
        Self::at(genesis, verifier, &chain, executor, tip, header_application)
    }

    fn at(
        genesis: &Genesis,
        verifier: V,
        chain: &Chain,
        executor: Executor,
        tip: Tip,
        tip_application: Sha256Digest,
    ) -> Result<Self, RestoreError> {
        // A snapshot of this chain holds committees, or its root would be another one.
        let chain = executor
            .chain_here(chain, &verifier)
            .map_err(|_| SnapshotError::Contradiction)?;
        Ok(Self {
            executor,
            checker: Checker::new(verifier.clone(), 0),
            genesis: genesis.clone(),
            verifier,
            chain,
            tip,
            tip_application,
            blocks: BTreeMap::new(),
            records: Vec::new(),
            pooled: BTreeMap::new(),
            pooled_count: 0,
        })
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
            Record::Sync(_) => return Ok(None),
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
        };
        Ok(Replica::assemble(
            &self.genesis,
            config,
            keys,
            self.verifier,
            start,
        )?)
    }
}

/// Whether no block above `height` may hold the transaction. What is no transaction is judged where
/// it is verified.
fn is_over(bytes: &[u8], height: Height) -> bool {
    SignedTransaction::decode(bytes)
        .is_ok_and(|transaction| transaction.transaction().valid_until <= height)
}
