//! Walking from the epoch of a replica to that of a snapshot, by headers alone (FB-18).

use super::error::SyncError;
use super::message::Offer;
use super::{CHUNKS_MAX, RECENT_MAX};
use crate::executor::application_root;
use crate::restore::SnapshotMeta;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use polity_consensus::committee::{Committee as _, CommitteeTable};
use polity_consensus::fbpbft::Chain;
use polity_consensus::light::{EpochEnd, LightClient, LightError};
use polity_crypto::{Checker, Sha256Digest, Verifier};
use polity_types::{Epoch, Height, ReplicaId, Time, Weight};

/// A verified end of an epoch.
#[derive(Clone, Debug)]
struct Step {
    end: EpochEnd,
    /// Trusts the committee that the end names.
    after: LightClient,
    /// The first block after it, if it was verified: many peers show the same one.
    first: Option<Sha256Digest>,
}

/// What a replica knows of the epochs after its own.
#[derive(Clone, Debug)]
pub(crate) struct Walk {
    light: LightClient,
    /// The newest ends, at most [`RECENT_MAX`]: peers serve snapshots of the last few epochs.
    recent: BTreeMap<Epoch, Step>,
}

impl Walk {
    /// Starts from the committee of the height after `height`, which the chain knows.
    pub(crate) fn new(chain: &Chain, height: Height) -> Self {
        let next = height.next();
        let (epoch, table) = (chain.epoch(next), Arc::clone(chain.table(next)));
        Self {
            light: LightClient::from_trusted(chain, epoch, table, Time::ZERO),
            recent: BTreeMap::new(),
        }
    }

    /// The replica itself may have gone farther by blocks.
    pub(crate) fn follow(&mut self, chain: &Chain, height: Height) {
        if chain.epoch(height.next()) > self.light.epoch() {
            *self = Self::new(chain, height);
        }
    }

    /// The first epoch whose end is not known.
    pub(crate) fn epoch(&self) -> Epoch {
        self.light.epoch()
    }

    /// The newest committee that was verified.
    pub(crate) fn committee(&self) -> &CommitteeTable {
        self.light.chain().committee(Height::ZERO)
    }

    /// What peers weigh together in that committee.
    pub(crate) fn weight(&self, peers: impl IntoIterator<Item = ReplicaId>) -> Weight {
        let committee = self.committee();
        let members = peers.into_iter().filter(|id| committee.contains(*id));
        members.map(|id| committee.weight(id)).sum()
    }

    /// Whether peers weigh more than F in that committee, so that one of them is honest.
    pub(crate) fn has_honest(&self, peers: impl IntoIterator<Item = ReplicaId>) -> bool {
        self.weight(peers) > self.committee().thresholds().faulty_max()
    }

    /// Ends of epochs that are kept.
    pub(crate) fn len(&self) -> usize {
        self.recent.len()
    }

    /// Verifies the next end. Returns whether it is news.
    pub(crate) fn advance<V: Verifier>(
        &mut self,
        end: &EpochEnd,
        checker: &mut Checker<V>,
    ) -> Result<bool, SyncError> {
        let epoch = self.light.chain().epoch(end.last.header.height);
        if epoch < self.light.epoch() {
            return Ok(false);
        }
        self.light.advance(end, checker).map_err(SyncError::Epoch)?;
        self.keep(epoch, end.clone());
        Ok(true)
    }

    /// Takes an end back in that was verified before it was written to the own journal.
    pub(crate) fn remember(&mut self, end: EpochEnd) -> Result<(), SyncError> {
        let header = &end.last.header;
        let epoch = self.light.chain().epoch(header.height);
        if epoch != self.light.epoch() {
            return Ok(());
        }
        let other = SyncError::Epoch(LightError::OtherCommittee(header.height));
        let table = CommitteeTable::new(end.next.iter().cloned()).map_err(|_| other)?;
        self.light = LightClient::from_trusted(
            self.light.chain(),
            epoch.next(),
            Arc::new(table),
            header.timestamp,
        );
        self.keep(epoch, end);
        Ok(())
    }

    fn keep(&mut self, epoch: Epoch, end: EpochEnd) {
        let after = self.light.clone();
        let first = None;
        self.recent.insert(epoch, Step { end, after, first });
        if self.recent.len() > RECENT_MAX {
            self.recent.pop_first();
        }
    }

    /// Checks everything about an offer that can be checked, and says what it is an offer of. What
    /// is left is the word of the peer: the number of chunks and their root.
    pub(crate) fn check<V: Verifier>(
        &mut self,
        offer: &Offer,
        checker: &mut Checker<V>,
    ) -> Result<SnapshotMeta, SyncError> {
        let header = &offer.first.header;
        let chain = self.light.chain();
        let no_start = SyncError::NoEpochStart(header.height);
        let height = header.height.previous().ok_or(no_start.clone())?;
        if height == Height::ZERO || !chain.is_epoch_end(height) {
            return Err(no_start);
        }
        if !(1..=CHUNKS_MAX).contains(&offer.chunks) {
            return Err(SyncError::Chunks(offer.chunks));
        }
        let step = self.recent.get_mut(&chain.epoch(height));
        let step = step.ok_or(SyncError::UnknownEpoch(header.height))?;
        let last = &step.end.last;
        if header.parent != last.header.digest() {
            return Err(SyncError::OtherParent(header.height));
        }
        if header.application_root != application_root(&offer.ledger_root) {
            return Err(SyncError::OtherState(header.height));
        }
        // The costly question last, and once for each block.
        let digest = header.digest();
        if step.first != Some(digest) {
            let mut light = step.after.clone();
            light
                .verify(&offer.first, checker)
                .map_err(SyncError::First)?;
            step.first = Some(digest);
        }
        Ok(SnapshotMeta {
            height,
            digest: header.parent,
            timestamp: last.header.timestamp,
            certificate: Some(last.certificate.clone()),
            ledger_root: offer.ledger_root,
            header_application: last.header.application_root,
            receipts: header.receipts_root,
        })
    }
}
