//! The ledger as the application of consensus.

use crate::admit::{AdmitError, admit};
use crate::genesis::Genesis;
use crate::input::Committed;
use alloc::sync::Arc;
use alloc::vec::Vec;
use polity_consensus::fbpbft::{Chain, Roots, SealedBlock, VoteCertificate};
use polity_crypto::{Checker, Preimage, Sha256Digest, Tier, Verified, Verifier, domain};
use polity_ledger::{Address, BlockError, Ledger, SignedTransaction};
use polity_types::ReplicaId;

/// A verified transaction that pool, validation and execution share.
pub(crate) type Shared = Arc<Verified<SignedTransaction>>;

/// Tag of the ledger's root under the application root.
const LEDGER_TAG: u8 = 1;

/// The root that headers carry: the roots of all parts of the application, each tagged.
pub fn application_root(ledger_root: &Sha256Digest) -> Sha256Digest {
    Preimage::new(domain::APPLICATION_ROOT)
        .u32(1)
        .u8(LEDGER_TAG)
        .array(ledger_root.as_bytes())
        .sha256()
}

/// The ledger, and who gets the fees.
#[derive(Clone, Debug)]
pub(crate) struct Executor {
    pub(crate) ledger: Ledger,
    fee_accounts: Vec<(ReplicaId, Address)>,
    pub(crate) floor: Tier,
}

impl Executor {
    pub(crate) fn new(genesis: &Genesis, ledger: Ledger) -> Self {
        Self {
            ledger,
            fee_accounts: genesis
                .members
                .iter()
                .map(|member| (member.id, member.fee_account.clone()))
                .collect(),
            floor: genesis.tiers.transactions,
        }
    }

    pub(crate) fn fee_account(&self, proposer: ReplicaId) -> Option<&Address> {
        self.fee_accounts
            .iter()
            .find(|(id, _)| *id == proposer)
            .map(|(_, account)| account)
    }

    /// Verifies the transactions of a block; `known` answers for those verified before.
    pub(crate) fn authorise<V: Verifier>(
        &self,
        block: &SealedBlock,
        checker: &mut Checker<V>,
        known: impl Fn(&Sha256Digest, &[u8]) -> Option<Shared>,
    ) -> Result<Vec<Shared>, AdmitError> {
        let chain = self.ledger.chain();
        block
            .transaction_ids()
            .iter()
            .zip(&block.body().transactions)
            .map(|(id, bytes)| match known(id, bytes.as_slice()) {
                Some(transaction) => Ok(transaction),
                None => admit(bytes.as_slice(), chain, self.floor, checker).map(Arc::new),
            })
            .collect()
    }

    /// Whether the ledger and the record of offences allow the block next (FB-4, LG-8).
    pub(crate) fn is_valid(
        &mut self,
        chain: &Chain,
        block: &SealedBlock,
        transactions: &[Shared],
    ) -> bool {
        let header = block.header();
        let body = block.body();
        let Some(fee_account) = self.fee_account(header.proposer).cloned() else {
            return false;
        };
        // No version knows a kind of application data yet, and unknown ones are refused.
        if !body.application.is_empty() {
            return false;
        }
        let has_old_offence = body
            .evidence
            .iter()
            .any(|piece| self.ledger.has_offence(&piece.digest(chain)));
        if has_old_offence {
            return false;
        }
        let transactions: Vec<&Verified<SignedTransaction>> =
            transactions.iter().map(|shared| &**shared).collect();
        self.ledger
            .validate(header.height, header.timestamp, &fee_account, &transactions)
            .is_ok()
    }

    /// Applies a decided block.
    pub(crate) fn apply(
        &mut self,
        chain: &Chain,
        block: SealedBlock,
        certificate: VoteCertificate,
        transactions: &[Shared],
    ) -> Result<Committed, BlockError> {
        let (height, timestamp) = (block.header().height, block.header().timestamp);
        // A proposer without a row never passes consensus; its fees would be burned.
        let fee_account = self
            .fee_account(block.header().proposer)
            .cloned()
            .unwrap_or_else(|| self.fee_accounts[0].1.clone());
        let transactions: Vec<&Verified<SignedTransaction>> =
            transactions.iter().map(|shared| &**shared).collect();
        let applied = self
            .ledger
            .apply(height, timestamp, &fee_account, &transactions)?;
        for piece in &block.body().evidence {
            self.ledger.record_offence(piece.digest(chain));
        }
        let ledger_root = self.ledger.root();
        Ok(Committed {
            roots: Roots {
                height,
                application: application_root(&ledger_root),
                receipts: applied.receipts_root(),
            },
            receipts: applied.receipts.into(),
            expired: applied.expired,
            ledger_root,
            block,
            certificate,
        })
    }
}
