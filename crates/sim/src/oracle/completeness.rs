//! Whoever says two things to one honest replica is reported by it (FB-16).
//!
//! The watch reads the frames that members who break the rules send over their own links. If an honest
//! replica hears two statements of one member that contradict each other, both really signed, in one
//! life and at the height it works on, it has to report that member for it at once, unless it or a
//! block did before.

use crate::adversary::sign_vote;
use crate::keys::SimSigner;
use polity_consensus::fbpbft::{
    Chain, Message, PrePrepare, Proposal, Value, ViewChange, Vote, VoteCertificate, VoteKind,
};
use polity_crypto::{Sha256Digest, Signer as _};
use polity_types::{Height, ReplicaId, View};
use std::collections::BTreeMap;

/// VIEW-CHANGEs that are remembered of each member.
const VIEW_CHANGES_MAX: usize = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Statement {
    PrePrepare,
    Prepare,
    Commit,
    ViewChange,
}

impl Statement {
    /// How reports call the offence.
    fn offence(self) -> &'static str {
        match self {
            Self::PrePrepare => "two proposals",
            Self::Prepare => "two PREPAREs",
            Self::Commit => "two COMMITs",
            Self::ViewChange => "two VIEW-CHANGEs",
        }
    }
}

type Place = (ReplicaId, ReplicaId, Statement, Height, View);

/// Where a replica stands when it hears something.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Listener {
    pub(crate) id: ReplicaId,
    pub(crate) height: Height,
    pub(crate) view: View,
    /// Views ahead of its own of which it keeps votes.
    pub(crate) views_ahead: u64,
}

/// An offence that an honest replica has just seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Owed {
    pub(crate) by: ReplicaId,
    pub(crate) member: ReplicaId,
    pub(crate) offence: &'static str,
    pub(crate) height: Height,
    pub(crate) view: View,
}

/// Watches what is said to honest replicas.
#[derive(Clone, Debug, Default)]
pub struct Completeness {
    /// What each member said to each replica at its present height, in its present life.
    heard: BTreeMap<Place, Vec<u8>>,
    owed: u64,
}

impl Completeness {
    /// A replica forgets: it restarted.
    pub(crate) fn forgets(&mut self, listener: ReplicaId) {
        self.heard.retain(|place, _| place.0 != listener);
    }

    /// A message reaches an honest replica over the link of a member that breaks the rules. Returns
    /// the offence that it shows together with what was said before.
    pub(crate) fn hears(
        &mut self,
        listener: Listener,
        from: ReplicaId,
        members: Members<'_>,
        chain: &Chain,
        message: &Message,
    ) -> Option<Owed> {
        let said = match message {
            Message::Vote(vote) if vote.signer == from => vote_of(vote, members, chain),
            Message::ViewChange(said) if said.signer == from => {
                view_change_of(said, members, chain)
            }
            Message::Proposal(proposal) => {
                let said = &proposal.pre_prepare;
                let is_own = chain.leader(said.height, said.view) == from;
                (is_own && has_plain_body(proposal))
                    .then(|| proposal_of(said, members, chain))
                    .flatten()
            }
            _ => None,
        };
        let (statement, height, view, bytes) = said?;
        let is_near = match statement {
            // VIEW-CHANGEs of each member are kept for its four highest views.
            Statement::ViewChange => {
                let others = self.heard.keys().filter(|place| {
                    (place.0, place.1, place.2) == (listener.id, from, statement)
                        && place.3 == height
                        && place.4 != view
                });
                others.count() < VIEW_CHANGES_MAX
            }
            _ => view <= listener.view.saturating_add(listener.views_ahead),
        };
        if height != listener.height || !is_near {
            return None;
        }
        self.heard
            .retain(|place, _| place.0 != listener.id || place.3 >= height);
        let place = (listener.id, from, statement, height, view);
        let first = self.heard.entry(place).or_insert_with(|| bytes.clone());
        if *first == bytes {
            return None;
        }
        self.owed += 1;
        Some(Owed {
            by: listener.id,
            member: from,
            offence: statement.offence(),
            height,
            view,
        })
    }

    /// How many offences had to be known.
    pub fn owed(&self) -> u64 {
        self.owed
    }
}

type Said = (Statement, Height, View, Vec<u8>);

/// The keys and weights of all members, by number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Members<'a> {
    pub(crate) signers: &'a [SimSigner],
    pub(crate) weights: &'a [u64],
}

impl Members<'_> {
    fn signer(&self, id: ReplicaId) -> Option<&SimSigner> {
        self.signers.get(id.get() as usize)
    }

    /// Whether the votes in a certificate are real ones of a quorum.
    fn is_real(&self, chain: &Chain, certificate: &VoteCertificate) -> bool {
        let (height, view) = (certificate.height, certificate.view);
        let (kind, value) = (certificate.kind, &certificate.value);
        if !is_well_formed(kind, view, value) {
            return false;
        }
        let bits = certificate.votes.signers.as_slice();
        if bits.len() != self.signers.len().div_ceil(8) {
            return false;
        }
        let (mut signatures, mut weight) = (Vec::new(), 0);
        for (place, (signer, own)) in self.signers.iter().zip(self.weights).enumerate() {
            if bits[place / 8] >> (place % 8) & 1 == 1 {
                let signature = sign_vote(signer, chain, kind, height, view, value);
                signatures.extend_from_slice(signature.as_slice());
                weight += own;
            }
        }
        let total: u64 = self.weights.iter().sum();
        // More than half of everybody and of those who may be faulty.
        2 * weight > total + (total - 1) / 3 && signatures == certificate.votes.signatures
    }
}

/// Whether nothing stands in the block beside transactions that could have it refused at the door,
/// where nobody reads on.
fn has_plain_body(proposal: &Proposal) -> bool {
    let (header, body) = (&proposal.block.header, &proposal.block.body);
    let is_plain = |certificate: &VoteCertificate| {
        certificate.kind == VoteKind::Commit
            && certificate.height.next() == header.height
            && certificate.value.digest == header.parent
    };
    body.evidence.is_empty() && body.parent_certificate.as_ref().is_none_or(is_plain)
}

fn is_well_formed(kind: VoteKind, view: View, value: &Value) -> bool {
    let has_new_view = value.new_view != Sha256Digest::ZERO;
    match kind {
        VoteKind::Prepare => has_new_view == (view > View::ZERO),
        VoteKind::Commit => !has_new_view,
    }
}

fn vote_of(vote: &Vote, members: Members<'_>, chain: &Chain) -> Option<Said> {
    let statement = match vote.kind {
        VoteKind::Prepare => Statement::Prepare,
        VoteKind::Commit => Statement::Commit,
    };
    let signer = members.signer(vote.signer)?;
    let real = sign_vote(
        signer,
        chain,
        vote.kind,
        vote.height,
        vote.view,
        &vote.value,
    );
    let mut bytes = vote.value.digest.as_bytes().to_vec();
    bytes.extend_from_slice(vote.value.new_view.as_bytes());
    let counts = is_well_formed(vote.kind, vote.view, &vote.value) && real == vote.signature;
    counts.then_some((statement, vote.height, vote.view, bytes))
}

fn view_change_of(said: &ViewChange, members: Members<'_>, chain: &Chain) -> Option<Said> {
    let preimage = ViewChange::preimage(chain, said.height, said.view, said.prepared.as_ref());
    let is_signed = members.signer(said.signer)?.sign(&preimage) == said.signature;
    let is_backed = match (&said.prepared, &said.certificate) {
        (None, None) => true,
        (Some(claim), Some(certificate)) => {
            certificate.kind == VoteKind::Prepare
                && certificate.height == said.height
                && certificate.view == claim.view
                && certificate.value.digest == claim.digest
                && claim.view < said.view
                && members.is_real(chain, certificate)
        }
        (None, Some(_)) | (Some(_), None) => false,
    };
    let bytes = said.prepared.map_or_else(Vec::new, |claim| {
        let mut bytes = claim.view.get().to_le_bytes().to_vec();
        bytes.extend_from_slice(claim.digest.as_bytes());
        bytes
    });
    (is_signed && is_backed && said.view > View::ZERO).then_some((
        Statement::ViewChange,
        said.height,
        said.view,
        bytes,
    ))
}

fn proposal_of(said: &PrePrepare, members: Members<'_>, chain: &Chain) -> Option<Said> {
    let leader = chain.leader(said.height, said.view);
    let preimage = PrePrepare::preimage(chain, said.height, said.view, &said.digest);
    (members.signer(leader)?.sign(&preimage) == said.signature).then(|| {
        let bytes = said.digest.as_bytes().to_vec();
        (Statement::PrePrepare, said.height, said.view, bytes)
    })
}
