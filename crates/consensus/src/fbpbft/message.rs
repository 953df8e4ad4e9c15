//! What goes over the wire, and what of it is signed.
//!
//! | message | body under the signature | from |
//! |---|---|---|
//! | PRE-PREPARE | digest of the block | leader of (height, view) |
//! | PREPARE | digest; in a view above 0 also the digest of the NEW-VIEW it follows | everyone |
//! | COMMIT | digest | everyone |
//! | VIEW-CHANGE | the highest prepared (view, digest), or none | everyone |
//! | NEW-VIEW | digest of all it contains, signature bytes included | leader of (height, view) |
//!
//! Every signature starts with [`Chain::scope`]. STATUS and the fetches are unsigned: they are
//! believed no further than the link they came over, and only cause that help is offered or asked.

use super::block::Block;
use super::chain::Chain;
use super::evidence::Evidence;
use crate::certificate::MultiSignature;
use crate::committee::Committee as _;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use polity_crypto::{
    Checker, Preimage, Sha256Digest, Signature, Verifier, Verify, VerifyError, domain,
};
use polity_types::{Height, ReplicaId, View};
use serde::{Deserialize, Serialize};

/// The leader's word that it proposes this block in this view. The signer is the leader of
/// (height, view), so it is not named.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PrePrepare {
    /// Height of the block.
    pub height: Height,
    /// View of the proposal.
    pub view: View,
    /// Digest of the block.
    pub digest: Sha256Digest,
    /// The leader's signature.
    pub signature: Signature,
}

impl PrePrepare {
    /// What the leader signs.
    pub fn preimage(chain: &Chain, height: Height, view: View, digest: &Sha256Digest) -> Preimage {
        chain
            .scope(domain::PRE_PREPARE, height, view)
            .array(digest.as_bytes())
    }
}

impl Verify for PrePrepare {
    type Context = Chain;

    fn verify<V: Verifier>(
        &self,
        chain: &Chain,
        checker: &mut Checker<V>,
    ) -> Result<(), VerifyError> {
        let leader = chain.leader(self.height, self.view);
        let preimage = Self::preimage(chain, self.height, self.view, &self.digest);
        check(
            chain,
            self.height,
            leader,
            &preimage,
            &self.signature,
            checker,
        )
    }
}

/// The two kinds of vote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum VoteKind {
    /// First: I accepted this proposal.
    Prepare,
    /// Second: I hold a certificate of PREPAREs.
    Commit,
}

/// What is voted for: the block and, for a PREPARE in a view above 0, the NEW-VIEW that proposed
/// it. Votes for different values are never counted together (FB-5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Value {
    /// Digest of the block.
    pub digest: Sha256Digest,
    /// Digest of the NEW-VIEW; zero in view 0 and in every COMMIT.
    pub new_view: Sha256Digest,
}

impl Value {
    /// A value outside of any NEW-VIEW.
    pub fn of_block(digest: Sha256Digest) -> Self {
        Self {
            digest,
            new_view: Sha256Digest::ZERO,
        }
    }
}

/// A PREPARE or COMMIT.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Vote {
    /// PREPARE or COMMIT.
    pub kind: VoteKind,
    /// Height voted on.
    pub height: Height,
    /// View voted in.
    pub view: View,
    /// What is voted for.
    pub value: Value,
    /// Who votes.
    pub signer: ReplicaId,
    /// The voter's signature.
    pub signature: Signature,
}

/// What a voter signs.
pub(super) fn vote_preimage(
    chain: &Chain,
    kind: VoteKind,
    height: Height,
    view: View,
    value: &Value,
) -> Preimage {
    match kind {
        VoteKind::Prepare => chain
            .scope(domain::PREPARE, height, view)
            .array(value.digest.as_bytes())
            .array(value.new_view.as_bytes()),
        VoteKind::Commit => chain
            .scope(domain::COMMIT, height, view)
            .array(value.digest.as_bytes()),
    }
}

/// Whether the NEW-VIEW digest is present exactly where it belongs.
pub(super) fn is_well_formed(kind: VoteKind, view: View, value: &Value) -> bool {
    let has_new_view = value.new_view != Sha256Digest::ZERO;
    match kind {
        VoteKind::Prepare => has_new_view == (view > View::ZERO),
        VoteKind::Commit => !has_new_view,
    }
}

impl Verify for Vote {
    type Context = Chain;

    fn verify<V: Verifier>(
        &self,
        chain: &Chain,
        checker: &mut Checker<V>,
    ) -> Result<(), VerifyError> {
        if !is_well_formed(self.kind, self.view, &self.value) {
            return Err(VerifyError);
        }
        let preimage = vote_preimage(chain, self.kind, self.height, self.view, &self.value);
        check(
            chain,
            self.height,
            self.signer,
            &preimage,
            &self.signature,
            checker,
        )
    }
}

/// Votes of a quorum for one value: what was prepared, or what was decided.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct VoteCertificate {
    /// PREPARE or COMMIT.
    pub kind: VoteKind,
    /// Height of the votes.
    pub height: Height,
    /// View of the votes.
    pub view: View,
    /// What they are for.
    pub value: Value,
    /// The votes.
    pub votes: MultiSignature,
}

impl VoteCertificate {
    /// Collects votes of one kind, height, view and value.
    pub(super) fn collect(
        chain: &Chain,
        kind: VoteKind,
        height: Height,
        view: View,
        value: Value,
        votes: &BTreeMap<ReplicaId, Signature>,
    ) -> Self {
        Self {
            kind,
            height,
            view,
            value,
            votes: MultiSignature::collect(chain.committee(height), votes),
        }
    }
}

impl Verify for VoteCertificate {
    type Context = Chain;

    /// FB-2: bitmap, distinct signers, weight of a quorum, every signature.
    fn verify<V: Verifier>(
        &self,
        chain: &Chain,
        checker: &mut Checker<V>,
    ) -> Result<(), VerifyError> {
        if !is_well_formed(self.kind, self.view, &self.value) {
            return Err(VerifyError);
        }
        let committee = chain.committee(self.height);
        let preimage = vote_preimage(chain, self.kind, self.height, self.view, &self.value);
        // The weight is known without the signatures, so a light bitmap costs nothing.
        let claimed = self.votes.signers.members(committee)?;
        let weight = claimed.iter().map(|id| committee.weight(*id)).sum();
        if !committee.thresholds().is_quorum(weight) {
            return Err(VerifyError);
        }
        let verified = self.votes.verify(committee, &preimage, checker)?;
        assert_eq!(verified, weight, "both count the same signers");
        Ok(())
    }
}

/// A prepared value as a VIEW-CHANGE claims it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PreparedClaim {
    /// View of the certificate.
    pub view: View,
    /// Digest of the block.
    pub digest: Sha256Digest,
}

/// "I left the views below; this is the highest I saw prepared."
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ViewChange {
    /// Height that is not decided.
    pub height: Height,
    /// The new view.
    pub view: View,
    /// The highest prepared value of the sender, if any.
    pub prepared: Option<PreparedClaim>,
    /// Who sends it.
    pub signer: ReplicaId,
    /// The sender's signature over the fields above.
    pub signature: Signature,
    /// Proof of the claim, beside the signed part.
    pub certificate: Option<VoteCertificate>,
}

impl ViewChange {
    /// What the sender signs.
    pub fn preimage(
        chain: &Chain,
        height: Height,
        view: View,
        prepared: Option<&PreparedClaim>,
    ) -> Preimage {
        let scope = chain.scope(domain::VIEW_CHANGE, height, view);
        match prepared {
            None => scope.u8(0),
            Some(claim) => scope
                .u8(1)
                .u64(claim.view.get())
                .array(claim.digest.as_bytes()),
        }
    }

    /// Checks the signed part alone: all that evidence needs.
    pub(super) fn verify_claim<V: Verifier>(
        &self,
        chain: &Chain,
        checker: &mut Checker<V>,
    ) -> Result<(), VerifyError> {
        let preimage = Self::preimage(chain, self.height, self.view, self.prepared.as_ref());
        check(
            chain,
            self.height,
            self.signer,
            &preimage,
            &self.signature,
            checker,
        )
    }

    /// Whether the certificate is the one that the claim is about, signatures apart.
    pub(super) fn is_claim_backed(&self) -> bool {
        match (&self.prepared, &self.certificate) {
            (None, None) => true,
            (Some(claim), Some(certificate)) => {
                certificate.kind == VoteKind::Prepare
                    && certificate.height == self.height
                    && certificate.view == claim.view
                    && certificate.value.digest == claim.digest
                    && claim.view < self.view
            }
            (None, Some(_)) | (Some(_), None) => false,
        }
    }
}

impl Verify for ViewChange {
    type Context = Chain;

    fn verify<V: Verifier>(
        &self,
        chain: &Chain,
        checker: &mut Checker<V>,
    ) -> Result<(), VerifyError> {
        if self.view == View::ZERO || !self.is_claim_backed() {
            return Err(VerifyError);
        }
        self.verify_claim(chain, checker)?;
        match &self.certificate {
            Some(certificate) => certificate.verify(chain, checker),
            None => Ok(()),
        }
    }
}

/// The leader's proof that a view starts, and the proposal that follows from it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct NewView {
    /// Height that is not decided.
    pub height: Height,
    /// The view that starts.
    pub view: View,
    /// VIEW-CHANGEs of a quorum for exactly this view.
    pub view_changes: Vec<ViewChange>,
    /// The proposal.
    pub pre_prepare: PrePrepare,
    /// The leader's signature over everything above.
    pub signature: Signature,
}

impl NewView {
    /// Digest of all parts, signature bytes included, so that a relay cannot swap a part and
    /// frame the leader.
    pub fn content(view_changes: &[ViewChange], pre_prepare: &PrePrepare) -> Sha256Digest {
        let start = Preimage::new(domain::NEW_VIEW_CONTENT).u64(view_changes.len() as u64);
        let preimage = view_changes.iter().fold(start, |preimage, part| {
            let preimage = preimage
                .u64(part.height.get())
                .u64(part.view.get())
                .u32(part.signer.get())
                .bytes(part.signature.as_slice());
            let preimage = match &part.prepared {
                None => preimage.u8(0),
                Some(claim) => preimage
                    .u8(1)
                    .u64(claim.view.get())
                    .array(claim.digest.as_bytes()),
            };
            match &part.certificate {
                None => preimage.u8(0),
                Some(certificate) => preimage
                    .u8(match certificate.kind {
                        VoteKind::Prepare => 1,
                        VoteKind::Commit => 2,
                    })
                    .u64(certificate.height.get())
                    .u64(certificate.view.get())
                    .array(certificate.value.digest.as_bytes())
                    .array(certificate.value.new_view.as_bytes())
                    .bytes(certificate.votes.signers.as_slice())
                    .bytes(&certificate.votes.signatures),
            }
        });
        preimage
            .u64(pre_prepare.height.get())
            .u64(pre_prepare.view.get())
            .array(pre_prepare.digest.as_bytes())
            .bytes(pre_prepare.signature.as_slice())
            .sha256()
    }

    /// What the leader signs.
    pub fn preimage(chain: &Chain, height: Height, view: View, content: &Sha256Digest) -> Preimage {
        chain
            .scope(domain::NEW_VIEW, height, view)
            .array(content.as_bytes())
    }

    /// Digest by which PREPAREs refer to this NEW-VIEW.
    pub fn digest(&self) -> Sha256Digest {
        Self::content(&self.view_changes, &self.pre_prepare)
    }

    /// Whether the parts are no more and no longer than members could send. A leader can sign any
    /// number of bytes; without this bound its own offence would be evidence too long for a block.
    fn is_bounded(&self, chain: &Chain) -> bool {
        let committee = chain.committee(self.height);
        let is_part = |part: &ViewChange| {
            let length_max = committee
                .key(part.signer)
                .map_or(0, |key| key.suite().signature_length());
            part.signature.as_slice().len() <= length_max
                && part
                    .certificate
                    .as_ref()
                    .is_none_or(|certificate| certificate.votes.is_bounded(committee))
        };
        self.view_changes.len() <= committee.members().len()
            && self.view_changes.iter().all(is_part)
    }

    /// Checks the leader's signature over the content, not the parts.
    pub(super) fn verify_frame<V: Verifier>(
        &self,
        chain: &Chain,
        checker: &mut Checker<V>,
    ) -> Result<(), VerifyError> {
        if !self.is_bounded(chain) {
            return Err(VerifyError);
        }
        let leader = chain.leader(self.height, self.view);
        let preimage = Self::preimage(chain, self.height, self.view, &self.digest());
        check(
            chain,
            self.height,
            leader,
            &preimage,
            &self.signature,
            checker,
        )
    }
}

/// A fresh proposal of view 0.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Proposal {
    /// The signed part.
    pub pre_prepare: PrePrepare,
    /// The block.
    pub block: Arc<Block>,
}

/// A NEW-VIEW with the block that it proposes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct NewViewProposal {
    /// The signed part.
    pub new_view: NewView,
    /// The block.
    pub block: Arc<Block>,
}

/// A decided block with its proof.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Decided {
    /// The block.
    pub block: Arc<Block>,
    /// COMMITs of a quorum.
    pub certificate: VoteCertificate,
}

impl Verify for Decided {
    type Context = Chain;

    fn verify<V: Verifier>(
        &self,
        chain: &Chain,
        checker: &mut Checker<V>,
    ) -> Result<(), VerifyError> {
        let is_about_block = self.certificate.kind == VoteKind::Commit
            && self.certificate.height == self.block.header.height
            && self.certificate.value.digest == self.block.header.digest();
        if !is_about_block {
            return Err(VerifyError);
        }
        self.certificate.verify(chain, checker)
    }
}

/// Where a replica stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Status {
    /// The height it works on.
    pub height: Height,
    /// The view it is in.
    pub view: View,
    /// Digest of its last decided block.
    pub last_decided: Sha256Digest,
}

/// A message between replicas.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Message {
    /// PRE-PREPARE of view 0, with its block.
    Proposal(Proposal),
    /// PREPARE or COMMIT.
    Vote(Vote),
    /// VIEW-CHANGE.
    ViewChange(ViewChange),
    /// NEW-VIEW, with its block.
    NewView(NewViewProposal),
    /// STATUS.
    Status(Status),
    /// Asks for decided blocks from this height on.
    FetchDecided {
        /// First height wanted.
        from: Height,
    },
    /// A decided block.
    Decided(Decided),
    /// Asks for the block of an undecided proposal.
    FetchBlock {
        /// Its height.
        height: Height,
        /// Its digest.
        digest: Sha256Digest,
    },
    /// The block of an undecided proposal; what it is worth says its digest.
    Block(Arc<Block>),
    /// Proof of an offence.
    Evidence(Evidence),
}

impl Message {
    /// The block that the message carries.
    pub fn block(&self) -> Option<&Block> {
        match self {
            Self::Proposal(proposal) => Some(&proposal.block),
            Self::NewView(proposal) => Some(&proposal.block),
            Self::Decided(decided) => Some(&decided.block),
            Self::Block(block) => Some(block),
            Self::Vote(_)
            | Self::ViewChange(_)
            | Self::Status(_)
            | Self::FetchDecided { .. }
            | Self::FetchBlock { .. }
            | Self::Evidence(_) => None,
        }
    }
}

impl Verify for Message {
    type Context = Chain;

    fn verify<V: Verifier>(
        &self,
        chain: &Chain,
        checker: &mut Checker<V>,
    ) -> Result<(), VerifyError> {
        match self {
            Self::Proposal(proposal) => {
                proposal.pre_prepare.verify(chain, checker)?;
                verify_body(chain, &proposal.block, checker)
            }
            Self::Vote(vote) => vote.verify(chain, checker),
            Self::ViewChange(view_change) => view_change.verify(chain, checker),
            // The parts are judged by the machine: a bad part is the leader's offence, because
            // the leader's signature covers it.
            Self::NewView(proposal) => {
                proposal.new_view.verify_frame(chain, checker)?;
                verify_body(chain, &proposal.block, checker)
            }
            Self::Decided(decided) => {
                decided.verify(chain, checker)?;
                verify_body(chain, &decided.block, checker)
            }
            Self::Evidence(evidence) => evidence.verify(chain, checker),
            Self::Block(block) => verify_body(chain, block, checker),
            Self::Status(_) | Self::FetchDecided { .. } | Self::FetchBlock { .. } => Ok(()),
        }
    }
}

/// Checks what a block carries beside transactions: the parent's certificate and evidence. The
/// application checks the transactions.
fn verify_body<V: Verifier>(
    chain: &Chain,
    block: &Block,
    checker: &mut Checker<V>,
) -> Result<(), VerifyError> {
    if let Some(certificate) = &block.body.parent_certificate {
        let is_about_parent = certificate.kind == VoteKind::Commit
            && certificate.height.next() == block.header.height
            && certificate.value.digest == block.header.parent;
        if !is_about_parent {
            return Err(VerifyError);
        }
        certificate.verify(chain, checker)?;
    }
    block
        .body
        .evidence
        .iter()
        .try_for_each(|evidence| evidence.verify(chain, checker))
}

/// Checks one member's signature.
pub(super) fn check<V: Verifier>(
    chain: &Chain,
    height: Height,
    signer: ReplicaId,
    preimage: &Preimage,
    signature: &Signature,
    checker: &mut Checker<V>,
) -> Result<(), VerifyError> {
    let key = chain.committee(height).key(signer).ok_or(VerifyError)?;
    checker.check(key, preimage, signature)
}
