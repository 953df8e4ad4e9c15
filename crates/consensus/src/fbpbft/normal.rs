//! The normal case: propose, PREPARE, COMMIT, decide (FB-3 to FB-7).

use super::block::{Block, Body, Counts, Header, SealedBlock};
use super::effect::{Effect, Extent, Halt};
use super::evidence::{self, Evidence};
use super::input::{Payload, Roots};
use super::machine::{BLOCKS_MAX, DropReason, Held, Machine, Pending, Round, Timer};
use super::message::{
    Message, NewView, PrePrepare, PreparedClaim, Proposal, Value, Vote, VoteCertificate, VoteKind,
    vote_preimage,
};
use super::record::Record;
use super::rules::{self, Parent};
use super::tally::Counted;
use crate::committee::CommitteeTable;
use alloc::sync::Arc;
use alloc::vec::Vec;
use polity_crypto::{Sha256Digest, Signer, Verifier};
use polity_types::{Effects, Height, Time, View, wire};

impl<S: Signer, V: Verifier> Machine<S, V> {
    /// FB-3: asks the application for a block, if this replica leads view 0.
    pub(super) fn request_proposal(&mut self, out: &mut Effects<Effect>) {
        let view = self.round.view;
        if self.leader() != self.id()
            || !self.has_vote()
            || !self.round.is_active()
            || self.roots.is_none()
            || self.round.proposed.contains_key(&view)
        {
            return;
        }
        out.push(Effect::RequestProposal {
            height: self.height(),
            view,
            is_due: view > View::ZERO || self.is_unrecorded,
            evidence: self.evidence_for_block(),
        });
    }

    /// Waiting evidence, as much as a block may carry.
    fn evidence_for_block(&self) -> Vec<Evidence> {
        let mut bytes = 0;
        self.evidence
            .waiting()
            .filter(|piece| rules::is_timely(&self.chain, self.height(), piece))
            .take_while(|piece| {
                bytes += wire::encoded_len(*piece);
                bytes <= self.evidence_bytes_max()
            })
            .take(self.config.evidence_per_block_max)
            .cloned()
            .collect()
    }

    /// The application's answer.
    pub(super) fn on_payload(&mut self, now: Time, payload: Payload, out: &mut Effects<Effect>) {
        let view = self.round.view;
        let is_asked_for = payload.height == self.height()
            && payload.view == view
            && self.leader() == self.id()
            && self.has_vote()
            && self.round.is_active()
            && !self.round.proposed.contains_key(&view);
        let Some(roots) = self.roots.filter(|_| is_asked_for) else {
            self.drop_message(DropReason::Unsolicited);
            return;
        };
        let header = Header {
            chain: self.chain.id(),
            epoch: self.chain.epoch(self.height()),
            height: self.height(),
            view,
            proposer: self.id(),
            parent: self.parent.digest,
            timestamp: rules::fresh_timestamp(now, self.parent.timestamp),
            body_root: Sha256Digest::ZERO,
            counts: Counts::default(),
            application_root: roots.application,
            receipts_root: roots.receipts,
            next_committee: self.chain.next_committee(self.height()),
        };
        let body = Body {
            transactions: payload.transactions,
            evidence: payload.evidence,
            parent_certificate: self.parent_certificate.clone(),
            late_commits: Vec::new(),
            application: payload.application,
        };
        let Some(block) = self.build_block(now, view, &roots, &header, body) else {
            return;
        };
        if view == View::ZERO {
            self.propose(now, block, out);
        } else {
            self.start_view(now, Some(block), out);
        }
    }

    /// Builds a block that others will accept. A payload that breaks a rule is a fault of the
    /// application; an empty block then keeps it from costing the turn, and the counter shows it.
    fn build_block(
        &mut self,
        now: Time,
        view: View,
        roots: &Roots,
        header: &Header,
        body: Body,
    ) -> Option<SealedBlock> {
        let empty = Body {
            parent_certificate: body.parent_certificate.clone(),
            ..Body::default()
        };
        for body in [body, empty] {
            let reason = match SealedBlock::build(&self.chain, header.clone(), body) {
                Err(_) => DropReason::Body,
                Ok(block) => {
                    let circumstances = self.circumstances(roots, view, None, now);
                    match rules::check_proposal(&circumstances, &block) {
                        Ok(()) => return Some(block),
                        Err(error) => DropReason::Header(error),
                    }
                }
            };
            self.drop_message(reason);
        }
        None
    }

    fn circumstances<'a>(
        &'a self,
        roots: &'a Roots,
        view: View,
        claim: Option<&'a PreparedClaim>,
        now: Time,
    ) -> rules::Circumstances<'a> {
        rules::Circumstances {
            config: &self.config,
            chain: &self.chain,
            parent: &self.parent,
            roots,
            view,
            claim,
            now,
        }
    }

    /// FB-3: persists and broadcasts a fresh block of view 0, and votes for it.
    fn propose(&mut self, now: Time, block: SealedBlock, out: &mut Effects<Effect>) {
        let (height, view, digest) = (self.height(), View::ZERO, block.digest());
        let pre_prepare = self.sign_pre_prepare(height, view, digest);
        let proposal = Proposal {
            pre_prepare: pre_prepare.clone(),
            block: block.block().clone(),
        };
        self.hold(block, true);
        self.persist_block(&digest, out);
        out.push(Effect::Persist(Record::Proposed {
            height,
            view,
            digest,
        }));
        self.round.proposed.insert(view, digest);
        self.round.pre_prepares.insert(view, pre_prepare);
        out.push(Effect::Persist(Record::PrepareSent {
            height,
            view,
            value: Value::of_block(digest),
        }));
        out.push(Effect::Broadcast(Message::Proposal(proposal)));
        self.send_prepare(now, view, Value::of_block(digest), out);
    }

    pub(super) fn sign_pre_prepare(
        &mut self,
        height: Height,
        view: View,
        digest: Sha256Digest,
    ) -> PrePrepare {
        let preimage = PrePrepare::preimage(&self.chain, height, view, &digest);
        PrePrepare {
            height,
            view,
            digest,
            signature: self.sign(&preimage),
        }
    }

    pub(super) fn on_proposal(
        &mut self,
        now: Time,
        pre_prepare: PrePrepare,
        block: Arc<Block>,
        out: &mut Effects<Effect>,
    ) {
        if pre_prepare.height != self.height() {
            self.drop_message(DropReason::Stale);
            return;
        }
        self.note_pre_prepare(&pre_prepare, out);
        if pre_prepare.view > View::ZERO {
            // FB-4: only a NEW-VIEW proposes in a view above 0 (R1).
            self.drop_message(DropReason::BareProposal);
            return;
        }
        self.consider(now, pre_prepare, block, None, out);
    }

    /// Remembers the first PRE-PREPARE of each view; a second one that differs is evidence.
    pub(super) fn note_pre_prepare(&mut self, pre_prepare: &PrePrepare, out: &mut Effects<Effect>) {
        let is_near =
            pre_prepare.view <= self.round.view.saturating_add(self.config.views_ahead_max);
        match self.round.pre_prepares.get(&pre_prepare.view) {
            Some(first) if first.digest != pre_prepare.digest => {
                let evidence = Evidence::TwoProposals(first.clone(), pre_prepare.clone());
                self.accuse(evidence, out);
            }
            None if is_near => {
                self.round
                    .pre_prepares
                    .insert(pre_prepare.view, pre_prepare.clone());
            }
            Some(_) | None => {}
        }
    }

    /// FB-4: checks a proposal of the entered view and asks the application about it.
    pub(super) fn consider(
        &mut self,
        now: Time,
        pre_prepare: PrePrepare,
        block: Arc<Block>,
        justified: Option<(NewView, Option<PreparedClaim>)>,
        out: &mut Effects<Effect>,
    ) {
        let view = pre_prepare.view;
        if view != self.round.view || !self.round.is_active() {
            self.drop_message(DropReason::ViewNotActive);
            return;
        }
        let is_known = self.round.has_judged(view)
            || self.round.pending.as_ref().is_some_and(|p| p.view == view);
        if is_known {
            self.drop_message(DropReason::Known);
            return;
        }
        let Some(roots) = self.roots else {
            // The application is still busy with the parent.
            self.round.early = Some(match justified {
                None => Message::Proposal(Proposal { pre_prepare, block }),
                Some((new_view, _)) => {
                    Message::NewView(super::message::NewViewProposal { new_view, block })
                }
            });
            return;
        };
        // A proposal is something to decide, whatever it is worth: its leader has had its turn.
        self.arm_view_timer(now);
        let sealed = match SealedBlock::new(&self.chain, block) {
            Ok(sealed) if sealed.digest() == pre_prepare.digest => sealed,
            Ok(_) | Err(_) => {
                self.refuse(now, view, pre_prepare.digest, DropReason::Body);
                return;
            }
        };
        let claim = justified.as_ref().and_then(|(_, claim)| claim.as_ref());
        let checked = rules::check_proposal(&self.circumstances(&roots, view, claim, now), &sealed);
        if let Err(error) = checked {
            self.refuse(now, view, sealed.digest(), DropReason::Header(error));
            return;
        }
        let new_view = justified.map(|(new_view, _)| new_view);
        let value = Value {
            digest: sealed.digest(),
            new_view: new_view
                .as_ref()
                .map_or(Sha256Digest::ZERO, NewView::digest),
        };
        self.round.pending = Some(Pending {
            view,
            value,
            block: sealed.clone(),
            new_view,
        });
        out.push(Effect::RequestValidation {
            block: sealed,
            extent: Extent::Whole,
        });
    }

    /// The application's judgement.
    pub(super) fn on_validated(
        &mut self,
        now: Time,
        digest: Sha256Digest,
        extent: Extent,
        is_valid: bool,
        out: &mut Effects<Effect>,
    ) {
        match extent {
            Extent::Authorisations => self.on_authorised(now, digest, is_valid, out),
            Extent::Whole => {
                let is_pending = |p: &mut Pending| p.block.digest() == digest;
                match self.round.pending.take_if(is_pending) {
                    None => self.drop_message(DropReason::Unsolicited),
                    Some(pending) if !is_valid => {
                        self.refuse(now, pending.view, digest, DropReason::Refused);
                    }
                    Some(pending) => self.accept(now, pending, out),
                }
            }
        }
    }

    /// Remembers that a proposal got no vote, so that copies of it cost nothing.
    fn refuse(&mut self, now: Time, view: View, digest: Sha256Digest, reason: DropReason) {
        self.drop_message(reason);
        self.round.refused.insert(view, (digest, now));
    }

    /// FB-4: the proposal is good. The body is durable before PREPARE, and so is the NEW-VIEW.
    fn accept(&mut self, now: Time, pending: Pending, out: &mut Effects<Effect>) {
        let Pending {
            view,
            value,
            block,
            new_view,
        } = pending;
        self.hold(block, true);
        if view != self.round.view || !self.round.is_active() {
            self.drop_message(DropReason::ViewNotActive);
            return;
        }
        if !self.has_vote() {
            // It follows: the block is here when its votes are, and copies of it cost nothing.
            self.round.followed.insert(view);
            self.try_decide(now, out);
            return;
        }
        self.persist_block(&value.digest, out);
        if let Some(new_view) = new_view {
            out.push(Effect::Persist(Record::NewView(new_view.clone())));
            self.round.new_view = Some(new_view);
        }
        out.push(Effect::Persist(Record::PrepareSent {
            height: self.height(),
            view,
            value,
        }));
        self.send_prepare(now, view, value, out);
    }

    /// Votes PREPARE; the record is already in front of it.
    pub(super) fn send_prepare(
        &mut self,
        now: Time,
        view: View,
        value: Value,
        out: &mut Effects<Effect>,
    ) {
        // FB-9: nothing below the floor, ever.
        assert_eq!(view, self.round.floor, "a vote outside of the active view");
        let earlier = self.round.accepted.insert(view, value);
        assert_eq!(earlier, None, "two PREPAREs in one view");
        self.vote(VoteKind::Prepare, view, value, out);
        self.arm_view_timer(now);
        self.arm_retransmission(now);
        self.check_prepared(now, view, value, out);
        self.try_decide(now, out);
    }

    /// Signs, counts and broadcasts a vote; its record is already in front of it.
    fn vote(&mut self, kind: VoteKind, view: View, value: Value, out: &mut Effects<Effect>) {
        let vote = self.sign_vote(kind, view, value);
        self.round.tally.count_own(&vote);
        out.push(Effect::Broadcast(Message::Vote(vote)));
    }

    pub(super) fn sign_vote(&mut self, kind: VoteKind, view: View, value: Value) -> Vote {
        let height = self.height();
        let preimage = vote_preimage(&self.chain, kind, height, view, &value);
        Vote {
            kind,
            height,
            view,
            value,
            signer: self.id(),
            signature: self.sign(&preimage),
        }
    }

    /// FB-5: counts a vote of another member.
    pub(super) fn on_vote(&mut self, now: Time, vote: &Vote, out: &mut Effects<Effect>) {
        if vote.height != self.height() {
            self.drop_message(DropReason::Stale);
            return;
        }
        match self.round.tally.count(vote) {
            Counted::Known => self.drop_message(DropReason::Known),
            Counted::Contradiction(first) => {
                self.accuse(Evidence::TwoVotes(first, vote.clone()), out);
            }
            Counted::New => match vote.kind {
                VoteKind::Prepare => self.check_prepared(now, vote.view, vote.value, out),
                VoteKind::Commit => {
                    self.check_forgotten(vote, out);
                    self.check_committed(now, vote.view, vote.value, out);
                }
            },
        }
    }

    /// A COMMIT after a VIEW-CHANGE that hides it.
    fn check_forgotten(&mut self, commit: &Vote, out: &mut Effects<Effect>) {
        let hiding = self
            .round
            .view_changes
            .get(&commit.signer)
            .and_then(|of_signer| {
                of_signer
                    .values()
                    .find(|view_change| evidence::is_forgotten(commit, view_change))
            })
            .cloned();
        if let Some(view_change) = hiding {
            let evidence = Evidence::ForgottenLock {
                commit: commit.clone(),
                view_change: super::message::ViewChange {
                    certificate: None,
                    ..view_change
                },
            };
            self.accuse(evidence, out);
        }
    }

    fn is_quorum(&self, kind: VoteKind, view: View, value: &Value) -> bool {
        let committee = self.committee();
        let weight = self.round.tally.weight(committee, kind, view, value);
        committee.thresholds().is_quorum(weight)
    }

    fn certificate(&self, kind: VoteKind, view: View, value: Value) -> VoteCertificate {
        let votes = self.round.tally.signatures(kind, view, &value);
        VoteCertificate::collect(&self.chain, kind, self.height(), view, value, &votes)
    }

    /// FB-6: with PREPAREs of a quorum, persists the certificate and sends COMMIT.
    fn check_prepared(&mut self, now: Time, view: View, value: Value, out: &mut Effects<Effect>) {
        if !self.is_quorum(VoteKind::Prepare, view, &value) {
            return;
        }
        // Certificates that form late are kept too: a VIEW-CHANGE reports the highest below its
        // view.
        let highest = self.round.prepared_below(self.round.floor.next());
        let is_needed = view > self.round.floor || highest.is_none_or(|p| p.view < view);
        if is_needed && !self.round.prepared.contains_key(&view) {
            let certificate = self.certificate(VoteKind::Prepare, view, value);
            out.push(Effect::Persist(Record::Prepared(certificate.clone())));
            self.round.keep_prepared(certificate);
        }
        let is_accepted = self.round.accepted.get(&view) == Some(&value);
        let is_current = view == self.round.view && self.round.is_active();
        // It may have voted PREPARE with a key that the host took away since.
        let may_commit = is_accepted && is_current && self.has_vote();
        if !may_commit || self.round.committed.contains_key(&view) {
            return;
        }
        let digest = value.digest;
        // FB-6: this replica can show what it commits to.
        assert!(
            self.round.prepared.contains_key(&view),
            "COMMIT without the certificate of its view"
        );
        out.push(Effect::Persist(Record::CommitSent {
            height: self.height(),
            view,
            digest,
        }));
        self.round.committed.insert(view, digest);
        self.vote(VoteKind::Commit, view, Value::of_block(digest), out);
        self.check_committed(now, view, Value::of_block(digest), out);
    }

    /// FB-7: with COMMITs of a quorum, of any one view, the height is decided.
    fn check_committed(&mut self, now: Time, view: View, value: Value, out: &mut Effects<Effect>) {
        if self.round.decision.is_none() && self.is_quorum(VoteKind::Commit, view, &value) {
            self.round.decision = Some(self.certificate(VoteKind::Commit, view, value));
            self.try_decide(now, out);
        }
    }

    /// FB-7: applies a decision as soon as the block and the state before it are here.
    pub(super) fn try_decide(&mut self, now: Time, out: &mut Effects<Effect>) {
        let Some(certificate) = self.round.decision.clone() else {
            return;
        };
        let digest = certificate.value.digest;
        let Some(held) = self.round.blocks.get(&digest).cloned() else {
            if self.timers.get(&Timer::Fetch).is_none() {
                self.fetch_missing(now, out);
            }
            return;
        };
        let header = held.block.header();
        if header.parent != self.parent.digest {
            let halt = Halt::Forked {
                height: self.height(),
                theirs: digest,
                ours: self.parent.digest,
            };
            self.halt(halt, out);
            return;
        }
        let Some(roots) = self.roots else {
            return;
        };
        if header.application_root != roots.application || header.receipts_root != roots.receipts {
            let (theirs, ours) = if header.application_root == roots.application {
                (header.receipts_root, roots.receipts)
            } else {
                (header.application_root, roots.application)
            };
            let halt = Halt::Diverged {
                height: self.height(),
                theirs,
                ours,
            };
            self.halt(halt, out);
            return;
        }
        let ours = self.chain.next_committee(self.height());
        if header.next_committee != ours {
            // FB-7: it would take everything of the next epoch for forged.
            let halt = Halt::Diverged {
                height: self.height(),
                theirs: header.next_committee,
                ours,
            };
            self.halt(halt, out);
            return;
        }
        if !held.is_authorised {
            out.push(Effect::RequestValidation {
                block: held.block,
                extent: Extent::Authorisations,
            });
            return;
        }
        self.persist_block(&digest, out);
        out.push(Effect::Persist(Record::Decided(certificate.clone())));
        out.push(Effect::Decide {
            block: held.block.clone(),
            certificate: certificate.clone(),
        });
        for piece in &held.block.body().evidence {
            self.evidence.settle(piece.id(&self.chain));
        }
        self.advance(&held.block, certificate);
    }

    /// The height is decided: everything about it but its result is forgotten.
    fn advance(&mut self, block: &SealedBlock, certificate: VoteCertificate) {
        let header = block.header();
        self.parent = Parent {
            height: header.height,
            digest: block.digest(),
            timestamp: header.timestamp,
        };
        self.parent_application = header.application_root;
        self.parent_certificate = Some(certificate);
        self.roots = None;
        self.is_unrecorded = false;
        self.round = Round::default();
        self.timers.cancel(&Timer::View);
        self.timers.cancel(&Timer::Retransmit);
        self.chain.enter(self.height());
        self.forget_strangers();
        self.pause_fetching();
    }

    /// The application applied the last decided block.
    pub(super) fn on_applied(
        &mut self,
        now: Time,
        roots: Roots,
        next: Option<Arc<CommitteeTable>>,
        out: &mut Effects<Effect>,
    ) {
        if roots.height != self.parent.height || self.roots.is_some() {
            self.drop_message(DropReason::Unsolicited);
            return;
        }
        self.roots = Some(roots);
        let height = self.height();
        if self.chain.is_epoch_end(height) {
            // FB-17: the block of this height names who votes from the next one on.
            let table = next.unwrap_or_else(|| Arc::clone(self.chain.table(height)));
            let epoch = self.chain.epoch(height).next();
            self.chain.schedule(epoch, table);
        }
        let chain = &self.chain;
        self.evidence
            .retain(|piece| !rules::is_outdated(chain, height, piece));
        // FB-8: roots that no header names yet cannot be proven to anybody.
        self.is_unrecorded = roots.application != self.parent_application
            || roots.receipts != polity_merkle::empty_root();
        self.resume(now, out);
    }

    /// Starts or continues a height whose parent is applied.
    pub(super) fn resume(&mut self, now: Time, out: &mut Effects<Effect>) {
        self.arm_view_timer(now);
        self.arm_retransmission(now);
        if let Some(early) = self.round.early.take() {
            match early {
                Message::Proposal(Proposal { pre_prepare, block }) => {
                    self.consider(now, pre_prepare, block, None, out);
                }
                Message::NewView(proposal) => {
                    self.on_new_view(now, proposal.new_view, proposal.block, out);
                }
                other => unreachable!("only proposals wait for the application: {other:?}"),
            }
        }
        if self.round.view == View::ZERO {
            self.request_proposal(out);
        } else {
            self.try_start_view(now, out);
        }
        self.continue_sync(now, out);
        self.try_decide(now, out);
    }

    /// FB-8: whether the application has something to decide that everybody knows of.
    pub(super) fn on_work(&mut self, now: Time, is_pending: bool) {
        self.is_work_pending = is_pending;
        if is_pending {
            self.arm_view_timer(now);
        } else if !self.has_something_to_decide() {
            self.timers.cancel(&Timer::View);
        }
    }

    /// FB-8: what starts the timer of an entered view.
    pub(super) fn has_something_to_decide(&self) -> bool {
        let view = self.round.view;
        view > View::ZERO
            || self.is_work_pending
            || self.is_unrecorded
            || self.round.pre_prepares.contains_key(&view)
            // After a restart the proposal is known by the vote alone; without this a committee
            // that restarts between PREPARE and COMMIT would wait for ever (R6).
            || self.round.accepted.contains_key(&view)
    }

    pub(super) fn arm_view_timer(&mut self, now: Time) {
        if self.round.is_active() && self.has_something_to_decide() {
            let timeout = rules::timeout(&self.config, self.round.view);
            self.timers
                .set_if_unset(Timer::View, now.saturating_add(timeout));
        }
    }

    /// Keeps a block of this height. Of two copies that differ in signatures, which no digest
    /// covers, the one that the application accepted stays.
    pub(super) fn hold(&mut self, block: SealedBlock, is_authorised: bool) {
        let digest = block.digest();
        let held = self.round.blocks.entry(digest).or_insert_with(|| Held {
            block: block.clone(),
            is_durable: false,
            is_authorised,
        });
        if is_authorised && !held.is_authorised {
            held.is_durable &= held.block == block;
            held.block = block;
            held.is_authorised = true;
        }
        self.forget_blocks(&digest);
    }

    /// Forgets blocks that nobody can ask this replica for, if there are too many.
    fn forget_blocks(&mut self, latest: &Sha256Digest) {
        let round = &self.round;
        let decided = round.decision.as_ref().map(|d| &d.value.digest);
        let is_spare = |digest: &Sha256Digest| {
            digest != latest
                && Some(digest) != decided
                && round.accepted.values().all(|value| value.digest != *digest)
                && round.prepared.values().all(|p| p.value.digest != *digest)
        };
        let spare: Vec<(View, Sha256Digest)> = round
            .blocks
            .iter()
            .filter(|(digest, _)| is_spare(digest))
            .map(|(digest, held)| (held.block.header().view, *digest))
            .collect();
        if spare.len() >= BLOCKS_MAX
            && let Some((_, oldest)) = spare.iter().min()
        {
            self.round.blocks.remove(oldest);
        }
    }

    /// Asks for the block to be stored, unless it is.
    pub(super) fn persist_block(&mut self, digest: &Sha256Digest, out: &mut Effects<Effect>) {
        if let Some(held) = self.round.blocks.get_mut(digest)
            && !held.is_durable
        {
            held.is_durable = true;
            out.push(Effect::Persist(Record::Block(held.block.block().clone())));
        }
    }
}
