//! Proof that a member broke the rules (FB-16).
//!
//! A stranger checks evidence with the committee table alone. An honest replica cannot be framed:
//! it persists before it speaks, so it never signs two of what it may sign once, and every byte
//! that evidence relies on is under the accused's own signature.

use super::chain::Chain;
use super::message::{NewView, PrePrepare, ViewChange, Vote, VoteKind};
use super::view_change;
use crate::evidence::OffenceId;
use alloc::boxed::Box;
use polity_crypto::{Checker, Sha256Digest, Verifier, Verify, VerifyError, domain};
use polity_types::{Height, ReplicaId, View};
use serde::{Deserialize, Serialize};

/// Proof that a member broke the rules.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Evidence {
    /// A leader proposed two blocks in one view.
    TwoProposals(PrePrepare, PrePrepare),
    /// A member cast two votes of one kind in one view.
    TwoVotes(Vote, Vote),
    /// A member made two claims in VIEW-CHANGEs for one view. Certificates are left out.
    TwoViewChanges(ViewChange, ViewChange),
    /// A member sent COMMIT and later claimed not to have seen what it committed to.
    ForgottenLock {
        /// The COMMIT.
        commit: Vote,
        /// The VIEW-CHANGE for a later view that hides it.
        view_change: ViewChange,
    },
    /// A leader started a view with a NEW-VIEW whose parts do not justify it.
    UnjustifiedNewView(Box<NewView>),
}

impl Evidence {
    /// Number of the kind, part of the offence's identity.
    pub const fn kind(&self) -> u8 {
        match self {
            Self::TwoProposals(..) => 1,
            Self::TwoVotes(first, _) => match first.kind {
                VoteKind::Prepare => 2,
                VoteKind::Commit => 3,
            },
            Self::TwoViewChanges(..) => 4,
            Self::ForgottenLock { .. } => 5,
            Self::UnjustifiedNewView(_) => 6,
        }
    }

    /// Height and view of the offence.
    pub fn position(&self) -> (Height, View) {
        match self {
            Self::TwoProposals(first, _) => (first.height, first.view),
            Self::TwoVotes(first, _) => (first.height, first.view),
            Self::TwoViewChanges(first, _) => (first.height, first.view),
            Self::ForgottenLock { view_change, .. } => (view_change.height, view_change.view),
            Self::UnjustifiedNewView(new_view) => (new_view.height, new_view.view),
        }
    }

    /// Who is accused.
    pub fn accused(&self, chain: &Chain) -> ReplicaId {
        let (height, view) = self.position();
        match self {
            Self::TwoProposals(..) | Self::UnjustifiedNewView(_) => chain.leader(height, view),
            Self::TwoVotes(first, _) => first.signer,
            Self::TwoViewChanges(first, _) => first.signer,
            Self::ForgottenLock { commit, .. } => commit.signer,
        }
    }

    /// What the evidence is about, whatever bytes prove it.
    pub fn id(&self, chain: &Chain) -> OffenceId {
        let (height, view) = self.position();
        OffenceId {
            accused: self.accused(chain),
            kind: self.kind(),
            height,
            view,
        }
    }

    /// Digest of the offence's identity; no signature byte is in it (CR-3).
    pub fn digest(&self, chain: &Chain) -> Sha256Digest {
        let id = self.id(chain);
        chain
            .scope(domain::EVIDENCE, id.height, id.view)
            .u32(id.accused.get())
            .u8(id.kind)
            .sha256()
    }
}

impl Verify for Evidence {
    type Context = Chain;

    fn verify<V: Verifier>(
        &self,
        chain: &Chain,
        checker: &mut Checker<V>,
    ) -> Result<(), VerifyError> {
        let (height, _) = self.position();
        // FB-17: a key of another epoch convicts nobody.
        if !chain.is_known(height) || !chain.committee(height).contains(self.accused(chain)) {
            return Err(VerifyError);
        }
        let is_offence = match self {
            Self::TwoProposals(a, b) => {
                a.verify(chain, checker)?;
                b.verify(chain, checker)?;
                (a.height, a.view) == (b.height, b.view) && a.digest != b.digest
            }
            Self::TwoVotes(a, b) => {
                a.verify(chain, checker)?;
                b.verify(chain, checker)?;
                (a.kind, a.height, a.view, a.signer) == (b.kind, b.height, b.view, b.signer)
                    && a.value != b.value
            }
            Self::TwoViewChanges(a, b) => {
                a.verify_claim(chain, checker)?;
                b.verify_claim(chain, checker)?;
                // Certificates are no part of the proof; a canonical form leaves them out.
                a.certificate.is_none()
                    && b.certificate.is_none()
                    && (a.height, a.view, a.signer) == (b.height, b.view, b.signer)
                    && a.prepared != b.prepared
            }
            Self::ForgottenLock {
                commit,
                view_change,
            } => {
                commit.verify(chain, checker)?;
                view_change.verify_claim(chain, checker)?;
                view_change.certificate.is_none() && is_forgotten(commit, view_change)
            }
            Self::UnjustifiedNewView(new_view) => {
                new_view.verify_frame(chain, checker)?;
                view_change::justify(new_view, chain, checker).is_err()
            }
        };
        if is_offence { Ok(()) } else { Err(VerifyError) }
    }
}

/// Whether the VIEW-CHANGE hides what the COMMIT shows its sender to have seen.
pub(super) fn is_forgotten(commit: &Vote, view_change: &ViewChange) -> bool {
    let claims_it = view_change
        .prepared
        .is_some_and(|claim| claim.view >= commit.view);
    commit.kind == VoteKind::Commit
        && commit.signer == view_change.signer
        && commit.height == view_change.height
        && view_change.view > commit.view
        && !claims_it
}
