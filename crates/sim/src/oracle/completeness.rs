//! Whoever says two things to one honest replica is reported by it (FB-16).
//!
//! The watch reads the frames that members who break the rules send over their own links. If an honest
//! replica hears two statements of one member that contradict each other, both really signed, in one
//! life and at the height it works on, it has to report that member for it at once, unless it or a
//! block did before. So it has to if a VIEW-CHANGE hides a COMMIT that it heard, in whichever order,
//! and if a NEW-VIEW does not justify its proposal. Statements are judged by the committee of their
//! height.
//!
//! Three things need not be known, because a replica may not hold them any more or act on one offence
//! only: what a second VIEW-CHANGE for one view hides, which is an offence without that; which of more
//! than four VIEW-CHANGEs hides a COMMIT that comes after them; and a second NEW-VIEW of one view. A
//! NEW-VIEW with parts that are longer than real ones, or of strangers, is dropped unread.

use super::committees::Table;
use crate::adversary::sign_vote;
use crate::federation::Federation;
use crate::keys::SimSigner;
use polity_consensus::fbpbft::{
    Block, Chain, Message, NewView, PrePrepare, Value, ViewChange, Vote, VoteCertificate, VoteKind,
};
use polity_crypto::{Sha256Digest, Signer as _};
use polity_types::{Height, ReplicaId, View};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

/// VIEW-CHANGEs that are remembered of each member.
const VIEW_CHANGES_MAX: usize = 4;

/// Bytes of a signature, of either scheme.
const SIGNATURE_BYTES: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Statement {
    PrePrepare,
    Prepare,
    Commit,
    ViewChange,
    NewView,
}

impl Statement {
    /// How reports call the offence.
    fn offence(self) -> &'static str {
        match self {
            Self::PrePrepare => "two proposals",
            Self::Prepare => "two PREPAREs",
            Self::Commit => "two COMMITs",
            Self::ViewChange => "two VIEW-CHANGEs",
            Self::NewView => "an unjustified NEW-VIEW",
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
    /// It drops NEW-VIEWs of lower views.
    pub(crate) floor: View,
    /// Views ahead of its own of which it keeps votes.
    pub(crate) views_ahead: u64,
}

/// An offence that an honest replica has just seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Owed {
    pub(crate) by: ReplicaId,
    pub(crate) member: ReplicaId,
    pub(crate) offence: &'static str,
    pub(crate) height: Height,
    /// The views for which it may be reported. A lock is forgotten by every VIEW-CHANGE that hides it,
    /// and the replica may know of one that others relayed.
    pub(crate) views: RangeInclusive<View>,
}

/// Watches what is said to honest replicas.
#[derive(Clone, Debug, Default)]
pub struct Completeness {
    /// What each member said to each replica at its present height, in its present life.
    heard: BTreeMap<Place, Vec<u8>>,
    /// Members that sent a replica more VIEW-CHANGEs than are remembered of them.
    crowded: BTreeSet<(ReplicaId, ReplicaId)>,
    owed: u64,
}

impl Completeness {
    /// A replica forgets: it restarted.
    pub(crate) fn forgets(&mut self, listener: ReplicaId) {
        self.heard.retain(|place, _| place.0 != listener);
        self.crowded.retain(|place| place.0 != listener);
    }

    /// A message reaches an honest replica over the link of a member that breaks the rules. Returns
    /// the offence that it shows together with what was said before.
    pub(crate) fn hears(
        &mut self,
        listener: Listener,
        from: ReplicaId,
        members: Members<'_>,
        message: &Message,
    ) -> Option<Owed> {
        let said = match message {
            Message::Vote(vote) if vote.signer == from => vote_of(vote, members),
            Message::ViewChange(said) if said.signer == from => view_change_of(said, members),
            Message::Proposal(proposal) => {
                let said = &proposal.pre_prepare;
                let is_own = members.leader(said.height, said.view) == from;
                (is_own && has_plain_body(&proposal.block))
                    .then(|| proposal_of(said, members))
                    .flatten()
            }
            Message::NewView(proposal) => {
                let said = &proposal.new_view;
                // Whoever relays it, it is judged once.
                let is_first = has_plain_body(&proposal.block) && is_framed(said, members);
                is_first.then(|| (Statement::NewView, said.height, said.view, Vec::new()))
            }
            _ => None,
        };
        let (statement, height, view, bytes) = said?;
        if height != listener.height {
            return None;
        }
        let before = self.heard.len();
        self.heard
            .retain(|place, _| place.0 != listener.id || place.3 >= height);
        if self.heard.len() < before {
            self.crowded.retain(|place| place.0 != listener.id);
        }
        let is_near = match statement {
            // VIEW-CHANGEs of each member are kept for its four highest views.
            Statement::ViewChange => {
                let others = self.said(listener.id, from, statement);
                let is_new = |(other, _): &(View, _)| *other != view;
                let is_near = others.filter(is_new).count() < VIEW_CHANGES_MAX;
                if !is_near {
                    self.crowded.insert((listener.id, from));
                }
                is_near
            }
            Statement::NewView => view >= listener.floor,
            Statement::PrePrepare | Statement::Prepare | Statement::Commit => {
                view <= listener.view.saturating_add(listener.views_ahead)
            }
        };
        if !is_near {
            return None;
        }
        let member = match statement {
            Statement::NewView => members.leader(height, view),
            _ => from,
        };
        let place = (listener.id, member, statement, height, view);
        let first = self.heard.get(&place);
        let offence = match (first, statement, message) {
            (None, Statement::NewView, Message::NewView(proposal)) => {
                is_unjustified(&proposal.new_view, members)
                    .then(|| (statement.offence(), view..=view))
            }
            (None, Statement::Commit, _) if !self.crowded.contains(&(listener.id, from)) => {
                let hides = |(later, claim): &(View, &[u8])| hides(*later, claim, view);
                let mut claims = self.said(listener.id, from, Statement::ViewChange);
                let is_hidden = claims.any(|claim| hides(&claim));
                is_hidden.then(|| (FORGOTTEN, view.next()..=View::MAX))
            }
            (None, Statement::ViewChange, _) => {
                let mut commits = self.said(listener.id, from, Statement::Commit);
                let hidden = commits.find(|(commit, _)| hides(view, &bytes, *commit));
                hidden.map(|(commit, _)| (FORGOTTEN, commit.next()..=View::MAX))
            }
            (None, ..) | (Some(_), Statement::NewView, _) => None,
            (Some(first), ..) => (*first != bytes).then(|| (statement.offence(), view..=view)),
        };
        self.heard.entry(place).or_insert(bytes);
        let (offence, views) = offence?;
        self.owed += 1;
        Some(Owed {
            by: listener.id,
            member,
            offence,
            height,
            views,
        })
    }

    /// What a member said to a replica of one kind, by view.
    fn said(
        &self,
        listener: ReplicaId,
        member: ReplicaId,
        statement: Statement,
    ) -> impl Iterator<Item = (View, &[u8])> {
        let is_asked_for =
            move |place: &Place| (place.0, place.1, place.2) == (listener, member, statement);
        let all = self.heard.iter();
        all.filter(move |(place, _)| is_asked_for(place))
            .map(|(place, bytes)| (place.4, bytes.as_slice()))
    }

    /// How many offences had to be known.
    pub fn owed(&self) -> u64 {
        self.owed
    }
}

type Said = (Statement, Height, View, Vec<u8>);

/// How reports call the other offence of two statements.
const FORGOTTEN: &str = "a forgotten lock";

/// Whether a VIEW-CHANGE for `later` with this claim hides a COMMIT in `view`.
fn hides(later: View, claim: &[u8], view: View) -> bool {
    let claimed = claim
        .first_chunk::<8>()
        .map(|bytes| View::new(u64::from_le_bytes(*bytes)));
    later > view && claimed.is_none_or(|claimed| claimed < view)
}

/// The members of the epoch of a message, and whoever can sign for them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Members<'a> {
    pub(crate) table: &'a Table,
    pub(crate) federation: &'a Federation,
}

impl Members<'_> {
    fn chain(&self) -> &Chain {
        self.table.chain()
    }

    fn leader(&self, height: Height, view: View) -> ReplicaId {
        self.chain().leader(height, view)
    }

    fn signer(&self, id: ReplicaId) -> Option<&SimSigner> {
        self.federation.signer(&self.table.row(id)?.key)
    }

    /// Whether the votes in a certificate are real ones of a quorum.
    fn is_real(&self, certificate: &VoteCertificate) -> bool {
        let (height, view) = (certificate.height, certificate.view);
        let (kind, value) = (certificate.kind, &certificate.value);
        if !is_well_formed(kind, view, value) {
            return false;
        }
        let bits = certificate.votes.signers.as_slice();
        let rows = self.table.rows();
        if bits.len() != rows.len().div_ceil(8) {
            return false;
        }
        let (mut signatures, mut weight) = (Vec::new(), 0);
        for (place, row) in rows.iter().enumerate() {
            if bits[place / 8] >> (place % 8) & 1 == 1 {
                let Some(signer) = self.federation.signer(&row.key) else {
                    return false;
                };
                let signature = sign_vote(signer, self.chain(), kind, height, view, value);
                signatures.extend_from_slice(signature.as_slice());
                weight += row.weight.get();
            }
        }
        self.table.is_quorum(weight) && signatures == certificate.votes.signatures
    }
}

/// Whether the leader really sent a NEW-VIEW, of which no part is longer than a real one.
fn is_framed(said: &NewView, members: Members<'_>) -> bool {
    let content = NewView::content(&said.view_changes, &said.pre_prepare);
    let preimage = NewView::preimage(members.chain(), said.height, said.view, &content);
    let leader = members.leader(said.height, said.view);
    let signer = members.signer(leader);
    let rows = members.table.rows();
    let is_short = |part: &ViewChange| {
        let certificate = part
            .certificate
            .as_ref()
            .map(|certificate| &certificate.votes);
        let is_short = certificate.is_none_or(|votes| {
            votes.signers.as_slice().len() <= rows.len().div_ceil(8)
                && votes.signatures.len() <= rows.len() * SIGNATURE_BYTES
        });
        let length = part.signature.as_slice().len();
        is_short && length <= SIGNATURE_BYTES && members.table.row(part.signer).is_some()
    };
    said.view > View::ZERO
        && said.view_changes.iter().all(is_short)
        && said.view_changes.len() <= rows.len()
        && signer.is_some_and(|signer| signer.sign(&preimage) == said.signature)
}

/// Whether what the leader signed does not justify its proposal (FB-10).
fn is_unjustified(said: &NewView, members: Members<'_>) -> bool {
    let here = (said.height, said.view);
    let parts = &said.view_changes;
    let is_part = |part: &ViewChange| {
        (part.height, part.view) == here && view_change_of(part, members).is_some()
    };
    let signers: BTreeSet<ReplicaId> = parts.iter().map(|part| part.signer).collect();
    let weight = signers.iter().map(|id| members.table.weight(*id)).sum();
    let proposal = &said.pre_prepare;
    let claims = parts.iter().filter_map(|part| part.prepared.as_ref());
    let highest = claims.max_by_key(|claim| (claim.view, claim.digest));
    let follows = highest.is_none_or(|claim| claim.digest == proposal.digest);
    let is_justified = (proposal.height, proposal.view) == here
        && proposal_of(proposal, members).is_some()
        && signers.len() == parts.len()
        && members.table.is_quorum(weight)
        && parts.iter().all(is_part)
        && follows;
    !is_justified
}

/// Whether nothing stands in the block beside transactions that could have it refused at the door,
/// where nobody reads on.
fn has_plain_body(block: &Block) -> bool {
    let (header, body) = (&block.header, &block.body);
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

fn vote_of(vote: &Vote, members: Members<'_>) -> Option<Said> {
    let statement = match vote.kind {
        VoteKind::Prepare => Statement::Prepare,
        VoteKind::Commit => Statement::Commit,
    };
    let signer = members.signer(vote.signer)?;
    let real = sign_vote(
        signer,
        members.chain(),
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

fn view_change_of(said: &ViewChange, members: Members<'_>) -> Option<Said> {
    let chain = members.chain();
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
                && members.is_real(certificate)
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

fn proposal_of(said: &PrePrepare, members: Members<'_>) -> Option<Said> {
    let chain = members.chain();
    let leader = chain.leader(said.height, said.view);
    let preimage = PrePrepare::preimage(chain, said.height, said.view, &said.digest);
    (members.signer(leader)?.sign(&preimage) == said.signature).then(|| {
        let bytes = said.digest.as_bytes().to_vec();
        (Statement::PrePrepare, said.height, said.view, bytes)
    })
}
