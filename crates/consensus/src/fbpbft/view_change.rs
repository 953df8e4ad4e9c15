//! Which proposal a NEW-VIEW must carry (FB-10).
//!
//! Safety, in one paragraph. Let (h, v, d) be decided. Honest members of weight at least `Q - F`
//! sent COMMIT in v, hold the certificate of (v, d), and never again act below their floor, which
//! is above v once they leave it. Any `Q` VIEW-CHANGEs for a later view contain one of them, since
//! `2Q - W - F > 0`, so the highest certificate among them is of a view from v on; by induction over
//! the views it is for d. So every justified NEW-VIEW above v proposes d.

use super::chain::Chain;
use super::message::{NewView, PreparedClaim, ViewChange};
use crate::committee::Committee as _;
use alloc::collections::BTreeSet;
use polity_crypto::{Checker, Verifier, Verify};

/// Why a NEW-VIEW does not justify its proposal. Each is the leader's offence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unjustified {
    /// The parts are for other heights or views.
    #[error("a part is for another height or view")]
    Position,
    /// One member stands in it twice.
    #[error("a member stands in it twice")]
    RepeatedSigner,
    /// A part does not verify.
    #[error("a part does not verify")]
    Part,
    /// The parts weigh less than a quorum.
    #[error("the parts are no quorum")]
    NoQuorum,
    /// The proposal is not the highest prepared block.
    #[error("the proposal is not the highest prepared block")]
    WrongProposal,
}

/// The highest claim among VIEW-CHANGEs: what must be proposed again.
///
/// Two certificates of one view are for one digest, unless more than `F` are faulty; then any of
/// them will do, and ordering by digest makes all replicas choose the same.
pub fn highest_claim<'a>(
    view_changes: impl IntoIterator<Item = &'a ViewChange>,
) -> Option<PreparedClaim> {
    view_changes
        .into_iter()
        .filter_map(|part| part.prepared)
        .max()
}

/// Checks that the parts of a NEW-VIEW justify its proposal. The leader's own signature was
/// checked before.
///
/// Returns the claim whose block is proposed again, or nothing if a fresh block may come.
pub fn justify<V: Verifier>(
    new_view: &NewView,
    chain: &Chain,
    checker: &mut Checker<V>,
) -> Result<Option<PreparedClaim>, Unjustified> {
    let (height, view) = (new_view.height, new_view.view);
    let proposal = &new_view.pre_prepare;
    let is_here = |h, v| (h, v) == (height, view);
    let parts_are_here = new_view
        .view_changes
        .iter()
        .all(|part| is_here(part.height, part.view));
    if !parts_are_here || !is_here(proposal.height, proposal.view) {
        return Err(Unjustified::Position);
    }
    let signers: BTreeSet<_> = new_view
        .view_changes
        .iter()
        .map(|part| part.signer)
        .collect();
    if signers.len() != new_view.view_changes.len() {
        return Err(Unjustified::RepeatedSigner);
    }
    let committee = chain.committee(height);
    let weight = signers.iter().map(|id| committee.weight(*id)).sum();
    if !committee.thresholds().is_quorum(weight) {
        return Err(Unjustified::NoQuorum);
    }
    proposal
        .verify(chain, checker)
        .map_err(|_| Unjustified::Part)?;
    for part in &new_view.view_changes {
        part.verify(chain, checker).map_err(|_| Unjustified::Part)?;
    }
    let claim = highest_claim(&new_view.view_changes);
    match claim {
        Some(claim) if claim.digest != proposal.digest => Err(Unjustified::WrongProposal),
        claim => Ok(claim),
    }
}
