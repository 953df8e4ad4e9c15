//! Changing the view (FB-8 to FB-11).

use super::block::{Block, SealedBlock};
use super::effect::{Effect, Extent};
use super::evidence::{self, Evidence};
use super::machine::{DropReason, Machine, Timer};
use super::message::{
    Message, NewView, NewViewProposal, PreparedClaim, Value, ViewChange, Vote, VoteKind,
};
use super::record::Record;
use super::rules;
use super::view_change;
use crate::committee::Committee as _;
use alloc::sync::Arc;
use alloc::vec::Vec;
use polity_crypto::{Sha256Digest, Signer, Verifier};
use polity_types::{Effects, ReplicaId, Time, View, Weight};

/// VIEW-CHANGEs kept for each member. The highest counts; the ones below it serve the leaders of
/// their views, and a member that sends more only loses its own lower ones.
const VIEW_CHANGES_PER_MEMBER_MAX: usize = 4;

impl<S: Signer, V: Verifier> Machine<S, V> {
    /// FB-8: the entered view took too long.
    pub(super) fn on_view_timeout(&mut self, now: Time, out: &mut Effects<Effect>) {
        let target = self.round.floor.next();
        // The last view has no successor; it is out of reach of anything but a fault.
        let has_next = target > self.round.floor;
        let may_ask = has_next && self.has_vote();
        if may_ask && self.round.is_active() && self.has_something_to_decide() {
            self.send_view_change(now, target, out);
            self.follow_view_changes(now, out);
        }
    }

    /// FB-9: leaves every view below `target`, for good.
    fn send_view_change(&mut self, now: Time, target: View, out: &mut Effects<Effect>) {
        assert!(
            target > self.round.floor,
            "a VIEW-CHANGE for {target} at floor {}",
            self.round.floor
        );
        let height = self.height();
        self.round.floor = target;
        self.round.pending = None;
        self.timers.cancel(&Timer::View);
        let view_change = self.sign_view_change(target);
        out.push(Effect::Persist(Record::ViewLeft {
            height,
            view: target,
            prepared: view_change.prepared,
        }));
        self.keep_view_change(view_change.clone());
        out.push(Effect::Broadcast(Message::ViewChange(view_change)));
        self.arm_retransmission(now);
    }

    /// A VIEW-CHANGE that claims the highest certificate of a view below the new one. A later
    /// certificate, which forms when this replica is behind, is claimed when its view is left.
    pub(super) fn sign_view_change(&mut self, view: View) -> ViewChange {
        let certificate = self.round.prepared_below(view).cloned();
        let prepared = certificate.as_ref().map(|certificate| PreparedClaim {
            view: certificate.view,
            digest: certificate.value.digest,
        });
        let height = self.height();
        let preimage = ViewChange::preimage(&self.chain, height, view, prepared.as_ref());
        ViewChange {
            height,
            view,
            prepared,
            signer: self.id(),
            signature: self.sign(&preimage),
            certificate,
        }
    }

    pub(super) fn keep_view_change(&mut self, view_change: ViewChange) {
        let of_signer = self
            .round
            .view_changes
            .entry(view_change.signer)
            .or_default();
        of_signer.insert(view_change.view, view_change);
        if of_signer.len() > VIEW_CHANGES_PER_MEMBER_MAX {
            of_signer.pop_first();
        }
    }

    pub(super) fn on_view_change(
        &mut self,
        now: Time,
        view_change: ViewChange,
        out: &mut Effects<Effect>,
    ) {
        if view_change.height != self.height() {
            self.drop_message(DropReason::Stale);
            return;
        }
        let signer = view_change.signer;
        let known = self
            .round
            .view_changes
            .get(&signer)
            .and_then(|of_signer| of_signer.get(&view_change.view));
        match known {
            Some(first) if first.prepared == view_change.prepared => {
                self.drop_message(DropReason::Known);
                return;
            }
            Some(first) => {
                let evidence =
                    Evidence::TwoViewChanges(claim_of(first.clone()), claim_of(view_change));
                self.accuse(evidence, out);
                return;
            }
            None => {}
        }
        self.check_hidden_commits(&view_change, out);
        self.keep_view_change(view_change);
        self.follow_view_changes(now, out);
        self.try_start_view(now, out);
    }

    /// A VIEW-CHANGE that hides an earlier COMMIT of its sender.
    fn check_hidden_commits(&mut self, view_change: &ViewChange, out: &mut Effects<Effect>) {
        let hidden = self
            .round
            .tally
            .commits_of(view_change.signer)
            .map(|(view, value, signature)| Vote {
                kind: VoteKind::Commit,
                height: view_change.height,
                view,
                value,
                signer: view_change.signer,
                signature: signature.clone(),
            })
            .find(|commit| evidence::is_forgotten(commit, view_change));
        if let Some(commit) = hidden {
            let evidence = Evidence::ForgottenLock {
                commit,
                view_change: claim_of(view_change.clone()),
            };
            self.accuse(evidence, out);
        }
    }

    /// FB-9: joins a view change that an honest member asks for, and enters views that a quorum
    /// asks for.
    pub(super) fn follow_view_changes(&mut self, now: Time, out: &mut Effects<Effect>) {
        // Each pass raises the floor or the view, and neither passes the highest VIEW-CHANGE.
        loop {
            let highest = self.highest_view_changes();
            if let Some(target) = self.view_to_join(&highest) {
                self.send_view_change(now, target, out);
            } else if let Some(view) = self.view_to_enter(&highest) {
                self.enter(now, view, out);
            } else {
                return;
            }
        }
    }

    /// The highest VIEW-CHANGE of each member.
    fn highest_view_changes(&self) -> Vec<(View, ReplicaId)> {
        self.round
            .view_changes
            .iter()
            .filter_map(|(id, of_signer)| Some((*of_signer.last_key_value()?.0, *id)))
            .collect()
    }

    /// The lowest view above the floor, if more than `F` ask for views above the floor.
    fn view_to_join(&self, highest: &[(View, ReplicaId)]) -> Option<View> {
        if !self.has_vote() {
            return None;
        }
        let committee = self.committee();
        let above = highest.iter().filter(|(view, _)| *view > self.round.floor);
        let weight: Weight = above.clone().map(|(_, id)| committee.weight(*id)).sum();
        committee
            .thresholds()
            .has_honest(weight)
            .then(|| above.map(|(view, _)| *view).min())
            .flatten()
    }

    /// The highest view from the floor on for which, or for later ones, a quorum asks.
    fn view_to_enter(&self, highest: &[(View, ReplicaId)]) -> Option<View> {
        let committee = self.committee();
        let mut descending = highest.to_vec();
        descending.sort();
        let mut weight = Weight::ZERO;
        for (view, id) in descending.into_iter().rev() {
            weight = weight.saturating_add(committee.weight(id));
            if committee.thresholds().is_quorum(weight) {
                return (view >= self.round.floor && view > self.round.view).then_some(view);
            }
        }
        None
    }

    /// Enters a view: its timer starts, and its leader tries to lead.
    fn enter(&mut self, now: Time, view: View, out: &mut Effects<Effect>) {
        // FB-11: no view is ever lowered.
        assert!(
            view >= self.round.floor && view > self.round.view,
            "entering {view} from {} at floor {}",
            self.round.view,
            self.round.floor
        );
        out.push(Effect::Persist(Record::Entered {
            height: self.height(),
            view,
        }));
        self.round.view = view;
        self.round.floor = view;
        self.round.pending = None;
        self.round.new_view = None;
        let timeout = rules::timeout(&self.config, view);
        self.timers.set(Timer::View, now.saturating_add(timeout));
        self.try_start_view(now, out);
    }

    /// FB-10: as the leader of the entered view, looks for VIEW-CHANGEs that allow a NEW-VIEW.
    pub(super) fn try_start_view(&mut self, now: Time, out: &mut Effects<Effect>) {
        let view = self.round.view;
        let may_lead = view > View::ZERO
            && self.round.is_active()
            && self.leader() == self.id()
            && self.has_vote()
            && !self.round.proposed.contains_key(&view);
        if !may_lead {
            return;
        }
        match self.justification() {
            Justification::NotYet => {}
            Justification::MissingBlock(digest, _) => match self.round.blocks.get(&digest) {
                // Fetched or restored: the application has to see it before others are asked to.
                Some(held) => out.push(Effect::RequestValidation {
                    block: held.block.clone(),
                    extent: Extent::Authorisations,
                }),
                None => self.fetch_missing(now, out),
            },
            Justification::Ready(_, None) => self.request_proposal(out),
            Justification::Ready(_, Some(_)) => self.start_view(now, None, out),
        }
    }

    /// Chooses VIEW-CHANGEs for exactly the entered view. Which quorum is the leader's choice, so
    /// those whose block it lacks are left out if the others suffice.
    pub(super) fn justification(&self) -> Justification {
        let view = self.round.view;
        let exact: Vec<&ViewChange> = self
            .round
            .view_changes
            .values()
            .filter_map(|of_signer| of_signer.get(&view))
            .collect();
        let committee = self.committee();
        let is_quorum = |parts: &[&ViewChange]| {
            let weight = parts.iter().map(|part| committee.weight(part.signer)).sum();
            committee.thresholds().is_quorum(weight)
        };
        if !is_quorum(&exact) {
            return Justification::NotYet;
        }
        let has_block = |part: &&ViewChange| {
            part.prepared.is_none_or(|claim| {
                let held = self.round.blocks.get(&claim.digest);
                held.is_some_and(|held| held.is_authorised)
            })
        };
        let usable: Vec<&ViewChange> = exact.iter().copied().filter(has_block).collect();
        if is_quorum(&usable) {
            let claim = view_change::highest_claim(usable.iter().copied());
            return Justification::Ready(usable.into_iter().cloned().collect(), claim);
        }
        let missing = exact
            .into_iter()
            .filter(|part| !has_block(part))
            .max_by_key(|part| part.prepared)
            .and_then(|part| part.certificate.as_ref());
        match missing {
            Some(certificate) => {
                let holders = certificate
                    .votes
                    .signers
                    .members(committee)
                    .unwrap_or_default();
                Justification::MissingBlock(certificate.value.digest, holders)
            }
            None => Justification::NotYet,
        }
    }

    /// FB-10: sends NEW-VIEW with the block that follows from the VIEW-CHANGEs, or with `fresh`
    /// if none follows.
    pub(super) fn start_view(
        &mut self,
        now: Time,
        fresh: Option<SealedBlock>,
        out: &mut Effects<Effect>,
    ) {
        let (height, view) = (self.height(), self.round.view);
        let Justification::Ready(view_changes, claim) = self.justification() else {
            return;
        };
        // A claim may have come while the application prepared a fresh block; it goes first.
        let certified = claim.and_then(|claim| self.round.blocks.get(&claim.digest));
        let block = match (certified, fresh) {
            (Some(held), _) => held.block.clone(),
            (None, Some(fresh)) => fresh,
            (None, None) => return,
        };
        let digest = block.digest();
        let wire_block = block.block().clone();
        let pre_prepare = self.sign_pre_prepare(height, view, digest);
        let content = NewView::content(&view_changes, &pre_prepare);
        let preimage = NewView::preimage(&self.chain, height, view, &content);
        let new_view = NewView {
            height,
            view,
            view_changes,
            pre_prepare: pre_prepare.clone(),
            signature: self.sign(&preimage),
        };
        self.hold(block, true);
        self.persist_block(&digest, out);
        out.push(Effect::Persist(Record::Proposed {
            height,
            view,
            digest,
        }));
        out.push(Effect::Persist(Record::NewView(new_view.clone())));
        let value = Value {
            digest,
            new_view: content,
        };
        out.push(Effect::Persist(Record::PrepareSent {
            height,
            view,
            value,
        }));
        self.round.proposed.insert(view, digest);
        self.round.pre_prepares.insert(view, pre_prepare);
        self.round.new_view = Some(new_view.clone());
        out.push(Effect::Broadcast(Message::NewView(NewViewProposal {
            new_view,
            block: wire_block,
        })));
        self.send_prepare(now, view, value, out);
    }

    /// FB-4, FB-9: a NEW-VIEW enters its view by itself.
    pub(super) fn on_new_view(
        &mut self,
        now: Time,
        new_view: NewView,
        block: Arc<Block>,
        out: &mut Effects<Effect>,
    ) {
        let view = new_view.view;
        if new_view.height != self.height() || view < self.round.floor || view == View::ZERO {
            self.drop_message(DropReason::Stale);
            return;
        }
        let is_known = view == self.round.view
            && (self.round.accepted.contains_key(&view)
                || self.round.pending.as_ref().is_some_and(|p| p.view == view));
        if is_known {
            // A second NEW-VIEW of this view may still be an offence.
            if self.round.new_view.as_ref() != Some(&new_view) {
                match self.justify(&new_view) {
                    Ok(_) => self.note_pre_prepare(&new_view.pre_prepare, out),
                    Err(_) => self.accuse(Evidence::UnjustifiedNewView(new_view.into()), out),
                }
            }
            self.drop_message(DropReason::Known);
            return;
        }
        let Ok(claim) = self.justify(&new_view) else {
            self.accuse(Evidence::UnjustifiedNewView(new_view.into()), out);
            return;
        };
        self.note_pre_prepare(&new_view.pre_prepare, out);
        if view > self.round.view {
            self.enter(now, view, out);
        }
        let pre_prepare = new_view.pre_prepare.clone();
        self.consider(now, pre_prepare, block, Some((new_view, claim)), out);
    }

    fn justify(
        &mut self,
        new_view: &NewView,
    ) -> Result<Option<PreparedClaim>, view_change::Unjustified> {
        view_change::justify(new_view, &self.chain, &mut self.checker)
    }
}

/// What the VIEW-CHANGEs at hand allow the leader of the entered view to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Justification {
    /// Too few for exactly this view.
    NotYet,
    /// A quorum, but the block that follows from it is missing, or the application has not seen
    /// it; these members hold it.
    MissingBlock(Sha256Digest, Vec<ReplicaId>),
    /// These parts, and the claim whose block must be proposed again.
    Ready(Vec<ViewChange>, Option<PreparedClaim>),
}

/// The signed part, as evidence carries it.
fn claim_of(view_change: ViewChange) -> ViewChange {
    ViewChange {
        certificate: None,
        ..view_change
    }
}
