//! Following a chain by its epochs, without its blocks (FB-18).
//!
//! Whoever trusts the committee of one epoch can check what it decides. The last block of each epoch
//! names the next committee, so its certificate hands the trust over:
//!
//! ```text
//!  genesis          end of epoch 0          end of epoch 1
//!  committee 0 ──▶ header + certificate ──▶ header + certificate ──▶ committee 2
//!                  names committee 1        names committee 2
//!       └──────────────────── skip: within the trusting period ───────────▶
//! ```
//!
//! Walking rests on each committee in turn: no more than `F` of it may ever sign against the rules.
//! "Ever" includes members of long ago that sell their keys; a client that fears this starts from a
//! recent header that somebody it believes gave it, not from the genesis.
//!
//! Skipping saves the steps between. A later committee is believed if members that weigh more than
//! `F` of the trusted one signed for it, **under keys that are the same in both tables**: at least one
//! of them is honest. That holds only while those members can still be held to account, so a client
//! skips within a trusting period and walks beyond it.
//!
//! # What it is not
//!
//! It verifies no transactions and no state; proofs under the roots of a verified header do that. It
//! does not find out which headers exist: whoever provides them can withhold newer ones.

use crate::committee::{Committee as _, CommitteeTable, Member};
use crate::fbpbft::{Chain, Header, VoteCertificate, VoteKind};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;
use polity_crypto::{Checker, Sha256Digest, Verifier, Verify as _};
use polity_types::{Epoch, Height, Time, Weight};
use serde::{Deserialize, Serialize};

/// When a client may skip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SkipRules {
    /// How long after a trusted header.
    pub trusting_period: Duration,
    /// How far the clock of a proposer may be ahead of the client's; not less than the genesis lets
    /// the clocks of members differ.
    pub drift_max: Duration,
}

impl Default for SkipRules {
    /// 14 days, and 30 seconds.
    fn default() -> Self {
        Self {
            trusting_period: Duration::from_secs(14 * 24 * 60 * 60),
            drift_max: Duration::from_secs(30),
        }
    }
}

/// A decided header.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecidedHeader {
    /// The header.
    pub header: Header,
    /// COMMITs of a quorum for its digest.
    pub certificate: VoteCertificate,
}

/// The end of an epoch: who decides from then on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EpochEnd {
    /// The last block of the epoch.
    pub last: DecidedHeader,
    /// The committee that it names.
    pub next: Vec<Member>,
}

/// Why a light client does not believe what it was shown. It is afterwards as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LightError {
    /// The header is of another chain.
    #[error("the header belongs to another chain")]
    OtherChain,
    /// The header is of an epoch whose committee is not known here.
    #[error("the header is of epoch {found}, but the trusted committee is that of epoch {trusted}")]
    OtherEpoch {
        /// The epoch of the trusted committee.
        trusted: Epoch,
        /// The epoch of the header.
        found: Epoch,
    },
    /// The certificate is about something else, or does not hold.
    #[error("the certificate does not show that the header at height {0} is decided")]
    Certificate(Height),
    /// The header is not the last of its epoch.
    #[error("the header at height {0} does not end its epoch")]
    NoEpochEnd(Height),
    /// The table is no committee, or not the one that the header names.
    #[error("the committee beside the header at height {0} is not the one that it names")]
    OtherCommittee(Height),
    /// A step back.
    #[error("the header is older than what is trusted already")]
    Older,
    /// The trusted header is too old to skip from.
    #[error(
        "the trusted header is older than the trusting period: walk over the ends of epochs, or get a newer header to trust"
    )]
    Expired,
    /// The header claims to be from the future.
    #[error("the header is from the future: check the clock")]
    FromTheFuture,
    /// Too few of the trusted committee signed.
    #[error(
        "members of the trusted committee that signed weigh {found}; more than {needed} is needed: walk over the ends of epochs"
    )]
    TooFewTrusted {
        /// Their weight.
        found: Weight,
        /// What it has to exceed.
        needed: Weight,
    },
}

/// What somebody knows of a chain who trusts one committee of it.
#[derive(Clone, Debug)]
pub struct LightClient {
    /// The chain, with the trusted committee alone.
    chain: Chain,
    epoch: Epoch,
    /// Block time of the newest header that was believed.
    time: Time,
}

impl LightClient {
    /// Trusts the genesis, which started at `start`.
    pub fn from_genesis(chain: &Chain, start: Time) -> Self {
        let committee = Arc::clone(chain.table(Height::ZERO.next()));
        Self::from_trusted(chain, Epoch::ZERO, committee, start)
    }

    /// Trusts the committee of an epoch, of which a header with this block time is known: for
    /// example from somebody whom the operator believes.
    pub fn from_trusted(
        chain: &Chain,
        epoch: Epoch,
        committee: Arc<CommitteeTable>,
        time: Time,
    ) -> Self {
        Self {
            chain: chain.at(epoch, committee),
            epoch,
            time,
        }
    }

    /// The epoch whose committee is trusted.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Block time of the newest header that was believed.
    pub fn time(&self) -> Time {
        self.time
    }

    /// The chain with the trusted committee: what proofs about headers of this epoch are checked
    /// with.
    pub fn chain(&self) -> &Chain {
        &self.chain
    }

    /// Checks that a header of the trusted epoch is decided.
    pub fn verify<V: Verifier>(
        &mut self,
        decided: &DecidedHeader,
        checker: &mut Checker<V>,
    ) -> Result<(), LightError> {
        self.check_epoch(&decided.header)?;
        check_decided(&self.chain, decided, checker)?;
        self.time = self.time.max(decided.header.timestamp);
        Ok(())
    }

    /// Walks to the next epoch.
    pub fn advance<V: Verifier>(
        &mut self,
        end: &EpochEnd,
        checker: &mut Checker<V>,
    ) -> Result<(), LightError> {
        let header = &end.last.header;
        self.check_epoch(header)?;
        if !self.chain.is_epoch_end(header.height) {
            return Err(LightError::NoEpochEnd(header.height));
        }
        let committee = table(&end.next, header.height, &header.next_committee)?;
        check_decided(&self.chain, &end.last, checker)?;
        self.move_to(self.epoch.next(), committee, header.timestamp);
        Ok(())
    }

    /// Skips to a later epoch, by any decided header of it and its committee. `now` is the client's
    /// clock.
    pub fn skip<V: Verifier>(
        &mut self,
        now: Time,
        rules: SkipRules,
        decided: &DecidedHeader,
        committee: &[Member],
        checker: &mut Checker<V>,
    ) -> Result<(), LightError> {
        let header = &decided.header;
        if header.chain != self.chain.id() {
            return Err(LightError::OtherChain);
        }
        let epoch = self.chain.epoch(header.height);
        if epoch <= self.epoch || header.timestamp < self.time {
            return Err(LightError::Older);
        }
        if now > self.time.saturating_add(rules.trusting_period) {
            return Err(LightError::Expired);
        }
        if header.timestamp > now.saturating_add(rules.drift_max) {
            return Err(LightError::FromTheFuture);
        }
        // No header names the table of its own epoch; every COMMIT in the certificate covers it.
        let table = ordered(committee, header.height)?;
        let there = self.chain.at(epoch, Arc::new(table));
        // The cheap question first: a stranger's certificate costs no signature check.
        let found = self.trusted_weight(&there, decided)?;
        let needed = self.committee().thresholds().faulty_max();
        if found <= needed {
            return Err(LightError::TooFewTrusted { found, needed });
        }
        check_decided(&there, decided, checker)?;
        self.move_to(
            epoch,
            Arc::clone(there.table(header.height)),
            header.timestamp,
        );
        Ok(())
    }

    /// Weight, in the trusted committee, of those who signed under keys that are the same in both.
    fn trusted_weight(&self, there: &Chain, decided: &DecidedHeader) -> Result<Weight, LightError> {
        let height = decided.header.height;
        let table = there.committee(height);
        let signers = decided.certificate.votes.signers.members(table);
        let signers = signers.map_err(|_| LightError::Certificate(height))?;
        let trusted = self.committee();
        Ok(signers
            .into_iter()
            .filter(|id| trusted.key(*id).is_some() && trusted.key(*id) == table.key(*id))
            .map(|id| trusted.weight(id))
            .sum())
    }

    fn committee(&self) -> &CommitteeTable {
        // The chain knows this one table.
        self.chain.committee(Height::ZERO)
    }

    fn check_epoch(&self, header: &Header) -> Result<(), LightError> {
        if header.chain != self.chain.id() {
            return Err(LightError::OtherChain);
        }
        let found = self.chain.epoch(header.height);
        if found != self.epoch || header.epoch != found {
            return Err(LightError::OtherEpoch {
                trusted: self.epoch,
                found,
            });
        }
        Ok(())
    }

    fn move_to(&mut self, epoch: Epoch, committee: Arc<CommitteeTable>, time: Time) {
        self.chain = self.chain.at(epoch, committee);
        self.epoch = epoch;
        self.time = self.time.max(time);
    }
}

/// The table of these members, if it has this digest.
fn table(
    members: &[Member],
    height: Height,
    digest: &Sha256Digest,
) -> Result<Arc<CommitteeTable>, LightError> {
    let table = ordered(members, height)?;
    if table.digest() == *digest {
        Ok(Arc::new(table))
    } else {
        Err(LightError::OtherCommittee(height))
    }
}

/// The table of these members, if they stand in its order: one committee has one text.
fn ordered(members: &[Member], height: Height) -> Result<CommitteeTable, LightError> {
    let other = LightError::OtherCommittee(height);
    let table = CommitteeTable::new(members.iter().cloned()).map_err(|_| other)?;
    if table.rows() == members {
        Ok(table)
    } else {
        Err(other)
    }
}

/// Checks that a header is decided by the committee of its height, which `chain` knows.
fn check_decided<V: Verifier>(
    chain: &Chain,
    decided: &DecidedHeader,
    checker: &mut Checker<V>,
) -> Result<(), LightError> {
    let DecidedHeader {
        header,
        certificate,
    } = decided;
    let is_about_header = certificate.kind == VoteKind::Commit
        && certificate.height == header.height
        && certificate.value.digest == header.digest()
        && header.chain == chain.id()
        && header.epoch == chain.epoch(header.height);
    if !is_about_header || certificate.verify(chain, checker).is_err() {
        return Err(LightError::Certificate(header.height));
    }
    Ok(())
}
