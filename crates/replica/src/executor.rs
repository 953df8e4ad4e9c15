//! The ledger as the application of consensus.

use crate::admit::{AdmitError, admit};
use crate::genesis::Genesis;
use crate::input::Committed;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use polity_consensus::fbpbft::{Chain, Evidence, Roots, SealedBlock, VoteCertificate};
use polity_crypto::{Checker, Preimage, Sha256Digest, Tier, Verified, Verifier, domain};
use polity_ledger::{Address, BlockError, Ledger, SignedTransaction};
use polity_types::{Height, ReplicaId};

/// A verified transaction that pool, validation and execution share.
pub(crate) type Shared = Arc<Verified<SignedTransaction>>;

/// Offences of one member that blocks of one epoch hold (FB-16).
const OFFENCES_PER_EPOCH_MAX: u32 = 8;

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
        if self
            .new_evidence(chain, header.height, &body.evidence)
            .len()
            != body.evidence.len()
        {
            return false;
        }
        let transactions: Vec<&Verified<SignedTransaction>> =
            transactions.iter().map(|shared| &**shared).collect();
        self.ledger
            .validate(header.height, header.timestamp, &fee_account, &transactions)
            .is_ok()
    }

    /// Those pieces that a block at `height` may hold: offences that were not acted on before, and
    /// no more of one member than [`OFFENCES_PER_EPOCH_MAX`] in the epoch. One conviction says what
    /// a hundred say, and views are numbers that an offender picks (FB-16).
    pub(crate) fn new_evidence<'a>(
        &self,
        chain: &Chain,
        height: Height,
        pieces: impl IntoIterator<Item = &'a Evidence>,
    ) -> Vec<&'a Evidence> {
        let mut left: BTreeMap<ReplicaId, usize> = BTreeMap::new();
        let mut is_new = |piece: &&Evidence| {
            let accused = piece.accused(chain);
            let left = left
                .entry(accused)
                .or_insert_with(|| self.free_slots(chain, height, accused).len());
            if *left == 0 || self.ledger.has_offence(&piece.digest(chain)) {
                return false;
            }
            *left -= 1;
            true
        };
        pieces.into_iter().filter(|piece| is_new(piece)).collect()
    }

    /// What is left of a member's places for offences in the epoch of `height`. They stand among
    /// the offences of the ledger, so they are under the state root.
    fn free_slots(&self, chain: &Chain, height: Height, accused: ReplicaId) -> Vec<Sha256Digest> {
        (0..OFFENCES_PER_EPOCH_MAX)
            .map(|place| {
                Preimage::new(domain::OFFENCE_SLOT)
                    .u64(chain.epoch(height).get())
                    .u32(accused.get())
                    .u32(place)
                    .sha256()
            })
            .filter(|slot| !self.ledger.has_offence(slot))
            .collect()
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
            let slots = self.free_slots(chain, height, piece.accused(chain));
            if let Some(slot) = slots.first() {
                self.ledger.record_offence(*slot);
                self.ledger.record_offence(piece.digest(chain));
            }
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
