//! When a proposal may be voted for (FB-4). Pure functions of what is known.

use super::block::{Header, SealedBlock};
use super::chain::Chain;
use super::config::Config;
use super::evidence::Evidence;
use super::input::Roots;
use super::message::PreparedClaim;
use alloc::collections::BTreeSet;
use core::time::Duration;
use polity_crypto::Sha256Digest;
use polity_types::{Height, Time, View, wire};

/// The last decided block, as far as the next one depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Parent {
    /// Its height; 0 for the genesis.
    pub height: Height,
    /// Its digest.
    pub digest: Sha256Digest,
    /// Its block time.
    pub timestamp: Time,
}

/// Why a proposal gets no vote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum HeaderError {
    /// Another chain or epoch, or a wrong next committee.
    #[error("the header is of another chain, epoch or committee")]
    Chain,
    /// It does not follow the last decided block.
    #[error("the header does not follow the last decided block")]
    Parent,
    /// It names another state than the one after its parent.
    #[error("the header names another state or other receipts after the parent")]
    Roots,
    /// A fresh block names another view or proposer, or a re-proposed one a later view.
    #[error("the header names another view or proposer")]
    Proposer,
    /// Its time is not above its parent's, or too far from this replica's.
    #[error("the block time is not above the parent's, or too far from ours")]
    Timestamp,
    /// More entries or bytes than a block may have.
    #[error("the block has more entries or bytes than allowed")]
    Size,
    /// The parent's certificate is missing, or stands where there is no parent.
    #[error("the parent's certificate is missing or out of place")]
    ParentCertificate,
    /// It holds evidence about a later height, or about an epoch that is too long over.
    #[error("the block holds evidence about another epoch than the present one and the last")]
    UntimelyEvidence,
    /// One offence stands in it twice.
    #[error("an offence stands in the block twice")]
    RepeatedEvidence,
}

/// The timeout of a view: doubled for each, up to a limit (FB-8).
pub fn timeout(config: &Config, view: View) -> Duration {
    let doublings = u32::try_from(view.get()).unwrap_or(u32::MAX);
    let factor = 2_u32.checked_pow(doublings).unwrap_or(u32::MAX);
    config
        .timeout_base
        .saturating_mul(factor)
        .min(config.timeout_max)
}

/// The block time of a fresh proposal: above the parent's even if our clock is behind (FB-4).
pub fn fresh_timestamp(now: Time, parent: Time) -> Time {
    now.max(parent.saturating_add(Duration::from_millis(1)))
}

/// What a proposal is judged by.
pub(super) struct Circumstances<'a> {
    pub(super) config: &'a Config,
    pub(super) chain: &'a Chain,
    /// The block below.
    pub(super) parent: &'a Parent,
    /// State after it.
    pub(super) roots: &'a Roots,
    /// The view of the proposal.
    pub(super) view: View,
    /// What a NEW-VIEW obliges its leader to propose again; without it the block is fresh.
    pub(super) claim: Option<&'a PreparedClaim>,
    pub(super) now: Time,
}

/// FB-4: checks everything about a proposal that needs no knowledge of the application.
pub(super) fn check_proposal(
    circumstances: &Circumstances<'_>,
    block: &SealedBlock,
) -> Result<(), HeaderError> {
    let Circumstances {
        config,
        chain,
        parent,
        roots,
        ..
    } = circumstances;
    let header = block.header();
    let height = parent.height.next();
    if header.chain != chain.id()
        || header.epoch != chain.epoch(height)
        || header.next_committee != chain.next_committee(height)
    {
        return Err(HeaderError::Chain);
    }
    if header.height != height || header.parent != parent.digest {
        return Err(HeaderError::Parent);
    }
    if header.application_root != roots.application || header.receipts_root != roots.receipts {
        return Err(HeaderError::Roots);
    }
    check_origin(circumstances, header)?;
    if header.timestamp <= parent.timestamp {
        return Err(HeaderError::Timestamp);
    }
    let body = block.body();
    let is_within_limits = body.transactions.len() <= config.transactions_max
        && body.evidence.len() <= config.evidence_per_block_max
        // No version fills this section yet.
        && body.late_commits.is_empty()
        && wire::encoded_len(&**block.block()) <= config.block_bytes_max;
    if !is_within_limits {
        return Err(HeaderError::Size);
    }
    let has_parent = parent.height > Height::ZERO;
    if body.parent_certificate.is_some() != has_parent {
        return Err(HeaderError::ParentCertificate);
    }
    if !body.evidence.iter().all(|p| is_timely(chain, height, p)) {
        return Err(HeaderError::UntimelyEvidence);
    }
    let offences: BTreeSet<_> = body.evidence.iter().map(|piece| piece.id(chain)).collect();
    if offences.len() != body.evidence.len() {
        return Err(HeaderError::RepeatedEvidence);
    }
    Ok(())
}

/// Whether a block at `height` may hold the evidence: it is about a height up to there, and about the
/// present epoch or the last one. Replicas that started from a snapshot know no older committee.
pub(super) fn is_timely(chain: &Chain, height: Height, evidence: &Evidence) -> bool {
    let (at, _) = evidence.position();
    at <= height && !is_outdated(chain, height, evidence)
}

/// Whether no block from `height` on may hold the evidence.
pub(super) fn is_outdated(chain: &Chain, height: Height, evidence: &Evidence) -> bool {
    let (at, _) = evidence.position();
    chain.epoch(at).next() < chain.epoch(height)
}

/// Who proposed it first, and when.
fn check_origin(circumstances: &Circumstances<'_>, header: &Header) -> Result<(), HeaderError> {
    let Circumstances {
        config,
        chain,
        view,
        claim,
        now,
        ..
    } = *circumstances;
    let is_of_its_leader = header.proposer == chain.leader(header.height, header.view);
    match claim {
        // Byte-identical to the certified block, since the digests are equal. Its time was
        // checked when it was fresh, however long the view changes took since (R3).
        Some(claim) if header.view <= claim.view && is_of_its_leader => Ok(()),
        None if header.view == view && is_of_its_leader => {
            let drift = now
                .saturating_since(header.timestamp)
                .max(header.timestamp.saturating_since(now));
            if drift > config.drift_max {
                Err(HeaderError::Timestamp)
            } else {
                Ok(())
            }
        }
        Some(_) | None => Err(HeaderError::Proposer),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fb_8_timeouts_double_up_to_the_limit() {
        let config = Config::default();
        let seconds = |view| timeout(&config, View::new(view)).as_secs();
        assert_eq!(
            [0, 1, 2, 5, 6, 7, 63, u64::MAX].map(seconds),
            [1, 2, 4, 32, 60, 60, 60, 60]
        );
    }

    #[test]
    fn fb_4_a_proposer_with_a_slow_clock_still_moves_time_forward() {
        let at = Time::from_millis;
        assert_eq!(fresh_timestamp(at(5), at(9)), at(10));
        assert_eq!(fresh_timestamp(at(50), at(9)), at(50));
    }
}
