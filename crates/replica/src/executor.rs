//! The ledger as the application of consensus.

use crate::admit::{AdmitError, admit};
use crate::genesis::{Genesis, GenesisMember};
use crate::input::Committed;
use crate::membership::{Membership, table};
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use polity_consensus::committee::{CommitteeError, CommitteeTable};
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

/// The ledger, and who votes on it.
#[derive(Clone, Debug)]
pub(crate) struct Executor {
    pub(crate) ledger: Ledger,
    membership: Membership,
    /// The weakest tier of transactions.
    pub(crate) floor: Tier,
    /// The weakest tier of a member's key.
    members_floor: Tier,
}

impl Executor {
    pub(crate) fn new(genesis: &Genesis, ledger: Ledger) -> Self {
        Self {
            ledger,
            membership: Membership::new(&genesis.members),
            floor: genesis.tiers.transactions,
            members_floor: genesis.tiers.of_members().1,
        }
    }

    /// The executor of a ledger from a snapshot; none if its committees are none.
    pub(crate) fn of_snapshot(genesis: &Genesis, ledger: Ledger) -> Option<Self> {
        let membership = Membership::of_rows(&genesis.members, ledger.committee())?;
        Some(Self {
            membership,
            ..Self::new(genesis, ledger)
        })
    }

    pub(crate) fn fee_account(&self, proposer: ReplicaId) -> Option<&Address> {
        self.membership.fee_account(proposer)
    }

    /// The members of the epoch of the next height.
    pub(crate) fn members(&self) -> &[GenesisMember] {
        self.membership.present()
    }

    /// The members of the epoch before it.
    pub(crate) fn past_members(&self) -> &[GenesisMember] {
        self.membership.past()
    }

    /// The members of the epoch after that, as it looks now.
    pub(crate) fn next_members<V: Verifier>(&self, verifier: &V) -> Vec<GenesisMember> {
        let changes = self.ledger.committee_changes();
        self.membership.after(changes, self.members_floor, verifier)
    }

    /// FB-17: the committee of the next epoch, once the block before the last one of an epoch is
    /// applied.
    pub(crate) fn next_committee<V: Verifier>(
        &self,
        chain: &Chain,
        verifier: &V,
    ) -> Option<Arc<CommitteeTable>> {
        let last = self.ledger.height().next();
        chain.is_epoch_end(last).then(|| {
            let members = self.next_members(verifier);
            Arc::new(table(&members).expect("every accepted change makes a committee"))
        })
    }

    /// Notes the committee of the next epoch in a chain that follows the ledger.
    pub(crate) fn schedule<V: Verifier>(&self, chain: &mut Chain, verifier: &V) {
        if let Some(table) = self.next_committee(chain, verifier) {
            chain.schedule(chain.last_epoch().next(), table);
        }
    }

    /// What is known of the chain after the last applied block.
    pub(crate) fn chain_here<V: Verifier>(
        &self,
        chain: &Chain,
        verifier: &V,
    ) -> Result<Chain, CommitteeError> {
        let mut chain = self.membership.chain_after(chain, self.ledger.height())?;
        self.schedule(&mut chain, verifier);
        Ok(chain)
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
    pub(crate) fn apply<V: Verifier>(
        &mut self,
        chain: &Chain,
        block: SealedBlock,
        certificate: VoteCertificate,
        transactions: &[Shared],
        verifier: &V,
    ) -> Result<Committed, BlockError> {
        let (height, timestamp) = (block.header().height, block.header().timestamp);
        // A proposer without a row never passes consensus; its fees would go to the first member.
        let fee_account = self
            .fee_account(block.header().proposer)
            .unwrap_or(&self.members()[0].fee_account)
            .clone();
        // FB-17: what this block itself decides waits for the epoch after the next.
        let is_last = chain.is_epoch_end(height);
        let next = is_last.then(|| self.next_members(verifier));
        let next_committee = is_last.then(|| Arc::clone(chain.table(height.next())));
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
        if let (Some(members), Some(before)) = (next, height.previous()) {
            self.ledger.take_committee_changes(before);
            let rows = self.membership.enter(members);
            self.ledger.set_committee(rows);
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
            next_committee,
            block,
            certificate,
        })
    }
}
