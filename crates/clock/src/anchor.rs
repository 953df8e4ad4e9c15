//! Signed time anchors: warnings about clocks, never input of a decision (TR-18).

use crate::ClockContext;
use alloc::vec::Vec;
use core::time::Duration;
use polity_crypto::{
    Checker, PeerId, Preimage, Signature, Signer, Verified, Verifier, Verify, VerifyError, domain,
};
use polity_types::{ChainId, Epoch, Time};
use serde::{Deserialize, Serialize};

/// Anchors that arrived longer ago count no more.
const AGE_MAX: Duration = Duration::from_secs(600);

/// Publishers without which there is no median.
const PUBLISHERS_MIN: usize = 3;

/// A peer's word about the time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeAnchor {
    /// Who says so.
    pub publisher: PeerId,
    /// The epoch it was said in.
    pub epoch: Epoch,
    /// The time, in milliseconds.
    pub time: Time,
    /// Signature of the publisher.
    pub signature: Signature,
}

/// Why an anchor does not replace the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnchorError {
    /// It is from another publisher.
    #[error("the anchor is from another publisher")]
    Publisher,
    /// Epoch or time is not later.
    #[error("the anchor is not later than the one before")]
    NotLater,
}

impl TimeAnchor {
    /// Signs an anchor.
    pub fn new(
        chain: &ChainId,
        publisher: PeerId,
        epoch: Epoch,
        time: Time,
        signer: &impl Signer,
    ) -> Self {
        let signature = signer.sign(&preimage(chain, &publisher, epoch, time));
        Self {
            publisher,
            epoch,
            time,
            signature,
        }
    }

    /// Whether this anchor comes after `before`: a later time, and no earlier epoch.
    pub fn check_follows(&self, before: &Self) -> Result<(), AnchorError> {
        if self.publisher != before.publisher {
            return Err(AnchorError::Publisher);
        }
        if self.epoch < before.epoch || self.time <= before.time {
            return Err(AnchorError::NotLater);
        }
        Ok(())
    }
}

impl Verify for TimeAnchor {
    type Context = ClockContext;

    fn verify<V: Verifier>(
        &self,
        context: &ClockContext,
        checker: &mut Checker<V>,
    ) -> Result<(), VerifyError> {
        if self.publisher != context.owner {
            return Err(VerifyError);
        }
        let preimage = preimage(&context.chain, &self.publisher, self.epoch, self.time);
        checker.check(&context.key, &preimage, &self.signature)
    }
}

fn preimage(chain: &ChainId, publisher: &PeerId, epoch: Epoch, time: Time) -> Preimage {
    Preimage::new(domain::TIME_ANCHOR)
        .array(chain.as_bytes())
        .array(publisher.as_bytes())
        .u64(epoch.get())
        .u64(time.as_millis())
}

/// The lower median of what the publishers would say at `now`, if there are at least three. Each
/// anchor stands beside the monotonic time of its arrival and ages by it; a publisher counts once,
/// with its latest.
pub fn median(anchors: &[(Verified<TimeAnchor>, Time)], now: Time) -> Option<Time> {
    let mut samples: Vec<(PeerId, Time, Time)> = anchors
        .iter()
        .map(|(anchor, arrived)| (anchor, now.saturating_since(*arrived)))
        .filter(|(_, age)| *age <= AGE_MAX)
        .map(|(anchor, age)| {
            (
                anchor.publisher,
                anchor.time,
                anchor.time.saturating_add(age),
            )
        })
        .collect();
    // The latest of each publisher first.
    samples.sort_unstable_by(|a, b| a.0.cmp(&b.0).then(b.1.cmp(&a.1)));
    samples.dedup_by_key(|(publisher, _, _)| *publisher);
    if samples.len() < PUBLISHERS_MIN {
        return None;
    }
    let mut times: Vec<Time> = samples.into_iter().map(|(_, _, sample)| sample).collect();
    times.sort_unstable();
    times.get((times.len() - 1) / 2).copied()
}
