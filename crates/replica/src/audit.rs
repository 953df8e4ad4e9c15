//! Checking a chain offline.

use crate::admit::AdmitError;
use crate::executor::{Executor, application_root};
use crate::genesis::{Genesis, GenesisError, Purpose};
use crate::input::Committed;
use crate::replica::tip_after;
use alloc::sync::Arc;
use polity_consensus::fbpbft::{BodyError, Chain, Decided, SealedBlock, Tip};
use polity_crypto::{Checker, Sha256Digest, Verified, Verifier};
use polity_ledger::{BlockError, InvariantError, Ledger};
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
