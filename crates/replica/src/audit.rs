//! Checking a chain offline.

use crate::admit::AdmitError;
use crate::executor::{Executor, application_root};
use crate::genesis::{Genesis, GenesisError, Purpose};
use crate::input::Committed;
use crate::replica::tip_after;
use crate::restore::{SnapshotMeta, land};
use alloc::sync::Arc;
use polity_consensus::fbpbft::{BodyError, Chain, Decided, SealedBlock, Tip};
use polity_consensus::light::{DecidedHeader, EpochEnd, LightClient, LightError};
use polity_crypto::{Checker, Sha256Digest, Verified, Verifier};
use polity_ledger::{BlockError, InvariantError, Ledger, Restore, SnapshotError};
use polity_types::{Height, Seed};

/// Why a chain does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuditError {
    /// The genesis makes no sense.
    #[error("genesis: {0}")]
    Genesis(#[from] GenesisError),
    /// The block does not follow the one before.
    #[error("block {found} does not follow block {last}")]
    Order {
        /// Height of the last block.
        last: Height,
        /// Height found.
        found: Height,
    },
    /// The block belongs to another parent or chain.
    #[error("block {0} names another parent, chain, epoch or time than it must")]
    Header(Height),
    /// The certificate does not hold.
    #[error("the certificate of block {0} does not hold")]
    Certificate(Height),
    /// Evidence or the parent's certificate in the block does not hold.
    #[error("block {0} carries a certificate or evidence that does not hold")]
    Content(Height),
    /// The body is not the one that the header covers.
    #[error("block {height}: {source}")]
    Body {
        /// Height.
        height: Height,
        /// What is wrong.
        source: BodyError,
    },
    /// A transaction is not authorised.
    #[error("block {height}: {source}")]
    Authorisation {
        /// Height.
        height: Height,
        /// What is wrong.
        source: AdmitError,
    },
    /// The ledger does not allow the block.
    #[error("block {height}: {source}")]
    Block {
        /// Height.
        height: Height,
        /// What is wrong.
        source: BlockError,
    },
    /// The header names another state than the one computed.
    #[error("block {height} names the state {named} but its parent leads to {computed}")]
    State {
        /// Height.
        height: Height,
        /// Root in the header.
        named: Sha256Digest,
        /// Root computed here.
        computed: Sha256Digest,
    },
    /// What hands over to a later epoch does not hold.
    #[error("the end of an epoch at height {height}: {source}")]
    EpochEnd {
        /// Height of its last block.
        height: Height,
        /// What is wrong.
        source: LightError,
    },
    /// A snapshot is not the state after the last block of an epoch to which the ends before it lead.
    #[error(
        "the snapshot after block {0} is not that of a block that ends an epoch and is decided"
    )]
    Unfit(Height),
    /// A snapshot does not hold.
    #[error("the snapshot after block {height}: {source}")]
    Snapshot {
        /// Its height.
        height: Height,
        /// What is wrong.
        source: SnapshotError,
    },
    /// The ledger breaks one of its invariants.
    #[error("after block {height}: {source}")]
    Invariant {
        /// Height.
        height: Height,
        /// What is wrong.
        source: InvariantError,
    },
}

/// Follows a chain from its genesis and trusts nothing: parents, certificates, every signature,
/// state roots and conservation are checked.
#[derive(Debug)]
pub struct Auditor<V> {
    chain: Chain,
    executor: Executor,
    checker: Checker<V>,
    tip: Tip,
}

impl<V: Verifier> Auditor<V> {
    /// Starts from the genesis.
    pub fn new(genesis: &Genesis, purpose: Purpose, verifier: V) -> Result<Self, AuditError> {
        genesis.validate(purpose, &verifier)?;
        let chain = genesis.chain().map_err(GenesisError::from)?;
        // Nothing here can be attacked through look-up tables that nobody can measure.
        let mut ledger = Ledger::new(&genesis.ledger, chain.id(), Seed::from_number(0))
            .map_err(GenesisError::from)?;
        let tip = Tip::genesis(&chain, genesis.start, application_root(&ledger.root()));
        let executor = Executor::new(genesis, ledger);
        let chain = executor
            .chain_here(&chain, &verifier)
            .map_err(GenesisError::from)?;
        Ok(Self {
            chain,
            executor,
            checker: Checker::new(verifier, 4_096),
            tip,
        })
    }

    /// Height of the last block that held.
    pub fn height(&self) -> Height {
        self.tip.parent.height
    }

    /// The last block that held, and the state after it.
    pub fn tip(&self) -> &Tip {
        &self.tip
    }

    /// The ledger after it.
    pub fn ledger(&self) -> &Ledger {
        &self.executor.ledger
    }

    /// Checks the next block.
    pub fn block(&mut self, decided: Decided) -> Result<Committed, AuditError> {
        let height = decided.block.header.height;
        let last = self.tip.parent.height;
        if height != last.next() {
            return Err(AuditError::Order {
                last,
                found: height,
            });
        }
        self.chain.enter(height);
        self.check_header(&decided)?;
        let block = SealedBlock::new(&self.chain, Arc::clone(&decided.block))
            .map_err(|source| AuditError::Body { height, source })?;
        let certificate = decided.certificate.clone();
        Verified::check(decided, &self.chain, &mut self.checker)
            .map_err(|_| AuditError::Certificate(height))?;
        let message = polity_consensus::fbpbft::Message::Block(block.block().clone());
        Verified::check(message, &self.chain, &mut self.checker)
            .map_err(|_| AuditError::Content(height))?;
        let transactions = self
            .executor
            .authorise(&block, &mut self.checker, |_, _| None)
            .map_err(|source| AuditError::Authorisation { height, source })?;
        let committed = self
            .executor
            .apply(
                &self.chain,
                block,
                certificate,
                &transactions,
                self.checker.verifier(),
            )
            .map_err(|source| AuditError::Block { height, source })?;
        self.executor
            .ledger
            .audit()
            .map_err(|source| AuditError::Invariant { height, source })?;
        self.executor
            .schedule(&mut self.chain, self.checker.verifier());
        self.tip = tip_after(&committed);
        Ok(committed)
    }

    /// Jumps over blocks to the state after a later one (FB-19): the last block of an epoch, to which
    /// `ends` lead from here. The next block has to name this state, as it has to after any other block;
    /// before it comes, the state is no more than a claim. With an error nothing has changed.
    pub fn install<'a>(
        &mut self,
        genesis: &Genesis,
        meta: &SnapshotMeta,
        ends: &[EpochEnd],
        chunks: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<(), AuditError> {
        let height = meta.height;
        let unfit = AuditError::Unfit(height);
        let mut last = None;
        let next = self.height().next();
        let (epoch, table) = (self.chain.epoch(next), Arc::clone(self.chain.table(next)));
        let time = self.tip.parent.timestamp;
        let mut light = LightClient::from_trusted(&self.chain, epoch, table, time);
        for end in ends {
            let at = end.last.header.height;
            // Blocks may have led farther than ends that were fetched before them.
            if at <= self.height() || at > height {
                continue;
            }
            light
                .advance(end, &mut self.checker)
                .map_err(|source| AuditError::EpochEnd { height: at, source })?;
            last = Some(&end.last);
        }
        let is_of_end = |last: &DecidedHeader| {
            last.header.height == height
                && last.header.digest() == meta.digest
                && last.header.timestamp == meta.timestamp
                && last.header.application_root == meta.header_application
                && meta.certificate.as_ref() == Some(&last.certificate)
        };
        if !last.is_some_and(is_of_end) {
            return Err(unfit);
        }
        let wrong = |source| AuditError::Snapshot { height, source };
        let seed = Seed::from_number(0);
        let id = self.chain.id();
        let mut restore =
            Restore::new(&genesis.ledger, id, height, meta.ledger_root, seed).map_err(wrong)?;
        for chunk in chunks {
            restore.push(chunk).map_err(wrong)?;
        }
        let ledger = restore.finish().map_err(wrong)?;
        ledger
            .audit()
            .map_err(|source| AuditError::Invariant { height, source })?;
        let verifier = self.checker.verifier();
        let landing = land(genesis, &self.chain, verifier, ledger, meta.clone()).map_err(wrong)?;
        // The committee in the state is the one that the ends lead to.
        let trusted = light.chain().table(height.next()).digest();
        if landing.chain.table(height.next()).digest() != trusted {
            return Err(unfit);
        }
        self.tip = landing.tip;
        self.chain = landing.chain;
        self.executor = landing.executor;
        Ok(())
    }

    fn check_header(&self, decided: &Decided) -> Result<(), AuditError> {
        let header = &decided.block.header;
        let height = header.height;
        let is_in_place = header.parent == self.tip.parent.digest
            && header.chain == self.chain.id()
            && header.epoch == self.chain.epoch(height)
            && header.next_committee == self.chain.next_committee(height)
            && header.proposer == self.chain.leader(height, header.view)
            && header.timestamp > self.tip.parent.timestamp;
        if !is_in_place {
            return Err(AuditError::Header(height));
        }
        let roots = [
            (header.application_root, self.tip.roots.application),
            (header.receipts_root, self.tip.roots.receipts),
        ];
        match roots
            .into_iter()
            .find(|(named, computed)| named != computed)
        {
            Some((named, computed)) => Err(AuditError::State {
                height,
                named,
                computed,
            }),
            None => Ok(()),
        }
    }
}
