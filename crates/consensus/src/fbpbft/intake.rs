//! The stage before the machine: what to verify, when, and what to keep until then (FB-12).
//!
//! Signatures dominate the cost of consensus, and most votes that arrive are never needed: at four
//! members three votes decide and the fourth comes late. So votes wait here unverified until those
//! for one value could complete a quorum; then just enough of them are checked. Every vote that is
//! counted was verified, so a certificate still convinces a stranger.
//!
//! Three exceptions keep that honest:
//!
//! * A vote takes a slot unverified only if it came over its sender's own authenticated link. A
//!   relayed one is verified first, so nobody fills another's slots (R10).
//! * A vote that contradicts another of its sender is checked at once, for evidence.
//! * A failed check frees the slot and blames the link, so a junk signature that comes first does
//!   not keep the real vote out (R11).
//!
//! Bounds, for each link: one slot for each (height, view, kind) inside the window, one proposal
//! for each of the next two heights, and a number of bytes; what is farthest ahead falls out first.

use super::evidence::{self, Evidence};
use super::input::Input;
use super::machine::{DropReason, Machine};
use super::message::{self, Message, Proposal, Value, ViewChange, Vote, VoteKind};
use crate::committee::Committee as _;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use polity_crypto::{Signer, Verified, Verifier};
use polity_types::{Height, ReplicaId, Time, View, Weight, wire};

/// Proposals are kept this many heights ahead.
const PROPOSALS_AHEAD: u64 = 2;

/// What one link sent ahead of its time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Link {
    pub(super) votes: BTreeMap<(Height, View, VoteKind), Vote>,
    pub(super) proposals: BTreeMap<Height, Proposal>,
    /// Encoded size of all of it.
    bytes: usize,
    /// Signatures from this link that did not hold.
    failures: u64,
}

/// Unverified votes and early proposals, by link.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Intake {
    pub(super) links: BTreeMap<ReplicaId, Link>,
    /// The height for which everything was released.
    released: Height,
}

impl Intake {
    /// Signatures from a link that did not hold.
    pub fn failures(&self, link: ReplicaId) -> u64 {
        self.links.get(&link).map_or(0, |link| link.failures)
    }

    /// Bytes kept for a link.
    pub fn bytes(&self, link: ReplicaId) -> usize {
        self.links.get(&link).map_or(0, |link| link.bytes)
    }

    /// Takes a message in. Returns what the machine should see now.
    pub fn admit<S: Signer, V: Verifier>(
        &mut self,
        now: Time,
        machine: &mut Machine<S, V>,
        link: ReplicaId,
        message: Message,
    ) -> Vec<Input> {
        if link == machine.id() || !may_send(machine, link, &message) {
            machine.drop_message(DropReason::Stranger);
            return Vec::new();
        }
        if message
            .block()
            .is_some_and(|block| block.body.evidence.len() > machine.config.evidence_per_block_max)
        {
            // Each piece would cost signature checks.
            machine.drop_message(DropReason::Malformed);
            return Vec::new();
        }
        match message {
            Message::Vote(vote) => self.admit_vote(now, machine, link, vote),
            Message::Proposal(proposal) => self.admit_proposal(now, machine, link, proposal),
            Message::ViewChange(view_change) => {
                self.admit_view_change(now, machine, link, view_change)
            }
            Message::NewView(proposal) => {
                let (height, view) = (proposal.new_view.height, proposal.new_view.view);
                let digest = &proposal.new_view.pre_prepare.digest;
                if height == machine.height() && !machine.may_judge(now, link, view, digest) {
                    machine.drop_message(DropReason::Known);
                    Vec::new()
                } else if height != machine.height() || view < machine.view_floor() {
                    refuse_position(now, machine, link, height)
                } else {
                    self.verify(machine, link, Message::NewView(proposal))
                }
            }
            Message::Decided(decided) if decided.certificate.height < machine.parent.height => {
                machine.drop_message(DropReason::Stale);
                Vec::new()
            }
            Message::Decided(decided) if !machine.chain.is_known(decided.certificate.height) => {
                // Blocks of the next epoch come again when its committee is known.
                machine.drop_message(DropReason::Ahead);
                Vec::new()
            }
            Message::Block(block) if !machine.wants_block(&block.header.digest()) => {
                machine.drop_message(DropReason::Unsolicited);
                Vec::new()
            }
            Message::Evidence(evidence) => {
                // Heights far ahead have no committee yet, and known offences need no check.
                let id = evidence.id(&machine.chain);
                let latest = machine
                    .height()
                    .saturating_add(machine.config.heights_ahead_max);
                if id.height > latest || !machine.chain.is_known(id.height) {
                    machine.drop_message(DropReason::Ahead);
                    Vec::new()
                } else if machine.evidence.contains(&id) {
                    machine.drop_message(DropReason::Known);
                    Vec::new()
                } else {
                    self.verify(machine, link, Message::Evidence(evidence))
                }
            }
            other @ (Message::Decided(_)
            | Message::Status(_)
            | Message::FetchDecided { .. }
            | Message::FetchBlock { .. }
            | Message::Block(_)) => self.verify(machine, link, other),
        }
    }

    /// Returns what has become due through what the machine did: it moved to another height, or
    /// counted a vote beside which those that wait here could complete a quorum.
    pub fn release<S: Signer, V: Verifier>(&mut self, machine: &mut Machine<S, V>) -> Vec<Input> {
        let height = machine.height();
        let counted = machine.round.tally.take_counted();
        if self.released == height {
            return counted
                .into_iter()
                .flat_map(|(kind, view, value)| self.complete(machine, view, kind, &value))
                .collect();
        }
        self.released = height;
        self.links.retain(|id, _| machine.chain.knows(*id));
        for link in self.links.values_mut() {
            link.forget_below(height);
        }
        let mut inputs = Vec::new();
        let proposals: Vec<(ReplicaId, Proposal)> = self
            .links
            .iter_mut()
            .filter_map(|(id, link)| Some((*id, link.take_proposal(height)?)))
            .collect();
        for (link, proposal) in proposals {
            inputs.extend(self.verify(machine, link, Message::Proposal(proposal)));
        }
        let values: BTreeSet<(View, VoteKind, Value)> = self
            .votes_at(height)
            .map(|(_, vote)| (vote.view, vote.kind, vote.value))
            .collect();
        for (view, kind, value) in values {
            inputs.extend(self.complete(machine, view, kind, &value));
        }
        inputs
    }

    /// The one door: what does not verify is dropped, and its link blamed.
    fn verify<S: Signer, V: Verifier>(
        &mut self,
        machine: &mut Machine<S, V>,
        from: ReplicaId,
        message: Message,
    ) -> Vec<Input> {
        if let Ok(message) = Verified::check(message, &machine.chain, &mut machine.checker) {
            return alloc::vec![Input::Message { from, message }];
        }
        self.links.entry(from).or_default().failures += 1;
        machine.drop_message(DropReason::Signature);
        Vec::new()
    }

    fn admit_proposal<S: Signer, V: Verifier>(
        &mut self,
        now: Time,
        machine: &mut Machine<S, V>,
        link: ReplicaId,
        proposal: Proposal,
    ) -> Vec<Input> {
        let height = proposal.pre_prepare.height;
        let current = machine.height();
        if height == current {
            let view = proposal.pre_prepare.view;
            let digest = &proposal.pre_prepare.digest;
            let known = machine.round.pre_prepares.get(&view);
            let is_known = known.is_some_and(|known| known.digest == *digest)
                && !machine.awaits_proposal(view);
            if is_known || !machine.may_judge(now, link, view, digest) {
                machine.drop_message(DropReason::Known);
                return Vec::new();
            }
            return self.verify(machine, link, Message::Proposal(proposal));
        }
        let is_near = height > current
            && height <= current.saturating_add(PROPOSALS_AHEAD)
            && machine.chain.is_known(height);
        if !is_near || link != machine.chain.leader(height, View::ZERO) {
            return refuse_position(now, machine, link, height);
        }
        machine.note_height(now, link, height);
        let early = &self.links.entry(link).or_default().proposals;
        if let Some(first) = early.get(&height).map(|early| &early.pre_prepare) {
            if first.digest == proposal.pre_prepare.digest {
                machine.drop_message(DropReason::Known);
                return Vec::new();
            }
            let evidence = Evidence::TwoProposals(first.clone(), proposal.pre_prepare);
            return self.verify(machine, link, Message::Evidence(evidence));
        }
        let bytes_max = machine.config.bytes_per_sender_max;
        let is_kept = self
            .links
            .entry(link)
            .or_default()
            .keep_proposal(proposal, bytes_max);
        if !is_kept {
            machine.drop_message(DropReason::BufferFull);
        }
        Vec::new()
    }

    fn admit_view_change<S: Signer, V: Verifier>(
        &mut self,
        now: Time,
        machine: &mut Machine<S, V>,
        link: ReplicaId,
        view_change: ViewChange,
    ) -> Vec<Input> {
        if view_change.height != machine.height() {
            return refuse_position(now, machine, link, view_change.height);
        }
        let known = machine
            .round
            .view_changes
            .get(&view_change.signer)
            .and_then(|of_signer| of_signer.get(&view_change.view));
        if known.is_some_and(|known| known.prepared == view_change.prepared) {
            machine.drop_message(DropReason::Known);
            return Vec::new();
        }
        // A COMMIT that waits here and that this VIEW-CHANGE hides is evidence, if it is real.
        let hidden: Vec<(ReplicaId, Vote)> = self
            .votes_at(machine.height())
            .filter(|(_, vote)| evidence::is_forgotten(vote, &view_change))
            .map(|(owner, vote)| (owner, vote.clone()))
            .collect();
        let mut inputs = Vec::new();
        for (owner, commit) in hidden {
            let slot = (commit.height, commit.view, commit.kind);
            self.links.entry(owner).or_default().remove_vote(&slot);
            inputs = self.verify(machine, owner, Message::Vote(commit.clone()));
            if inputs.is_empty() {
                // Junk in one view does not cover what another one shows.
                continue;
            }
            let evidence = Evidence::ForgottenLock {
                commit,
                view_change: ViewChange {
                    certificate: None,
                    ..view_change.clone()
                },
            };
            inputs.extend(self.verify(machine, link, Message::Evidence(evidence)));
            break;
        }
        inputs.extend(self.verify(machine, link, Message::ViewChange(view_change)));
        inputs
    }

    fn admit_vote<S: Signer, V: Verifier>(
        &mut self,
        now: Time,
        machine: &mut Machine<S, V>,
        link: ReplicaId,
        vote: Vote,
    ) -> Vec<Input> {
        let current = machine.height();
        if !machine.chain.committee(vote.height).contains(vote.signer)
            || !message::is_well_formed(vote.kind, vote.view, &vote.value)
        {
            machine.drop_message(DropReason::Malformed);
            return Vec::new();
        }
        if vote.height < current {
            machine.drop_message(DropReason::Stale);
            return Vec::new();
        }
        if vote.signer == machine.id() {
            // What this replica said it counted when it said it.
            machine.drop_message(DropReason::Known);
            return Vec::new();
        }
        let base = if vote.height == current {
            machine.view()
        } else {
            machine.note_height(now, link, vote.height);
            View::ZERO
        };
        if vote.height > current.saturating_add(machine.config.heights_ahead_max)
            // Who votes there is not decided yet.
            || !machine.chain.is_known(vote.height)
            || vote.view > base.saturating_add(machine.config.views_ahead_max)
        {
            machine.drop_message(DropReason::Ahead);
            return Vec::new();
        }
        if vote.signer != link {
            return self.admit_relayed(machine, link, vote);
        }
        let (height, view, kind, value) = (vote.height, vote.view, vote.kind, vote.value);
        if height == current
            && let Some(counted) = machine.round.tally.value_of(kind, view, link)
        {
            if counted == value {
                machine.drop_message(DropReason::Known);
                return Vec::new();
            }
            // The machine holds the other one and makes the evidence.
            return self.verify(machine, link, Message::Vote(vote));
        }
        let slot = (height, view, kind);
        let held = self.links.entry(link).or_default().votes.get(&slot);
        match held {
            Some(held) if held.value == value && held.signature == vote.signature => {
                machine.drop_message(DropReason::Known);
                return Vec::new();
            }
            Some(held) => {
                let held = held.clone();
                return self.settle_contradiction(machine, link, held, vote);
            }
            None => {}
        }
        if height == current && kind == VoteKind::Commit {
            let hiding = machine.round.view_changes.get(&link).and_then(|of_signer| {
                of_signer
                    .values()
                    .find(|view_change| evidence::is_forgotten(&vote, view_change))
            });
            if hiding.is_some() {
                return self.verify(machine, link, Message::Vote(vote));
            }
        }
        let bytes_max = machine.config.bytes_per_sender_max;
        if !self
            .links
            .entry(link)
            .or_default()
            .keep_vote(vote, bytes_max)
        {
            machine.drop_message(DropReason::BufferFull);
            return Vec::new();
        }
        if height == current {
            self.complete(machine, view, kind, &value)
        } else {
            Vec::new()
        }
    }

    /// A vote that came through another member is verified first. If its sender said something else
    /// over its own link, which still waits here, that is looked at beside it.
    fn admit_relayed<S: Signer, V: Verifier>(
        &mut self,
        machine: &mut Machine<S, V>,
        link: ReplicaId,
        vote: Vote,
    ) -> Vec<Input> {
        let (signer, value) = (vote.signer, vote.value);
        let slot = (vote.height, vote.view, vote.kind);
        let mut inputs = self.verify(machine, link, Message::Vote(vote));
        let is_current = slot.0 == machine.height();
        if is_current
            && !inputs.is_empty()
            && let Some(of_signer) = self.links.get_mut(&signer)
            && let Some(held) = of_signer.votes.get(&slot)
            && held.value != value
            && let Some(held) = of_signer.remove_vote(&slot)
        {
            // The machine counts the first and makes the evidence of the second.
            inputs.extend(self.verify(machine, signer, Message::Vote(held)));
        }
        inputs
    }

    /// Two different votes for one slot: either one signature is junk, or it is evidence.
    fn settle_contradiction<S: Signer, V: Verifier>(
        &mut self,
        machine: &mut Machine<S, V>,
        link: ReplicaId,
        held: Vote,
        vote: Vote,
    ) -> Vec<Input> {
        let slot = (held.height, held.view, held.kind);
        if Verified::check(
            Message::Vote(held.clone()),
            &machine.chain,
            &mut machine.checker,
        )
        .is_err()
        {
            // R11: the junk that came first gives way.
            let of_link = self.links.entry(link).or_default();
            of_link.failures += 1;
            of_link.remove_vote(&slot);
            let (view, kind, value) = (vote.view, vote.kind, vote.value);
            let is_current = vote.height == machine.height();
            of_link.keep_vote(vote, machine.config.bytes_per_sender_max);
            return if is_current {
                self.complete(machine, view, kind, &value)
            } else {
                Vec::new()
            };
        }
        if held.value == vote.value {
            // One vote with two signatures: the first holds, so the second adds nothing.
            machine.drop_message(DropReason::Known);
            return Vec::new();
        }
        self.verify(
            machine,
            link,
            Message::Evidence(Evidence::TwoVotes(held, vote)),
        )
    }

    /// Votes of the given height that wait here, by link.
    fn votes_at(&self, height: Height) -> impl Iterator<Item = (ReplicaId, &Vote)> {
        let first = (height, View::ZERO, VoteKind::Prepare);
        let last = (height, View::MAX, VoteKind::Commit);
        self.links.iter().flat_map(move |(id, link)| {
            link.votes
                .range(first..=last)
                .map(move |(_, vote)| (*id, vote))
        })
    }

    /// Checks just enough waiting votes for one value, if they could complete a quorum.
    fn complete<S: Signer, V: Verifier>(
        &mut self,
        machine: &mut Machine<S, V>,
        view: View,
        kind: VoteKind,
        value: &Value,
    ) -> Vec<Input> {
        let height = machine.height();
        let committee = machine.committee();
        let thresholds = committee.thresholds();
        let mut weight = machine.round.tally.weight(committee, kind, view, value);
        if thresholds.is_quorum(weight) {
            return Vec::new();
        }
        let tally = &machine.round.tally;
        let slot = (height, view, kind);
        // Every vote that arrives comes through here, so nothing is copied until a quorum is near.
        let waiting: Vec<(ReplicaId, Weight)> = self
            .links
            .iter()
            .filter(|(_, link)| {
                let vote = link.votes.get(&slot);
                vote.is_some_and(|vote| vote.value == *value)
            })
            // One that also came through a relay counts already.
            .filter(|(id, _)| tally.value_of(kind, view, **id).is_none())
            .map(|(id, _)| (*id, committee.weight(*id)))
            .collect();
        let mut potential = waiting
            .iter()
            .fold(weight, |sum, (_, part)| sum.saturating_add(*part));
        let mut inputs = Vec::new();
        for (link, part) in waiting {
            if thresholds.is_quorum(weight) || !thresholds.is_quorum(potential) {
                break;
            }
            let Some(vote) = self.links.entry(link).or_default().remove_vote(&slot) else {
                continue;
            };
            let verified = self.verify(machine, link, Message::Vote(vote));
            if verified.is_empty() {
                potential = Weight::new(potential.get().saturating_sub(part.get()));
            } else {
                weight = weight.saturating_add(part);
            }
            inputs.extend(verified);
        }
        inputs
    }
}

/// Whether a link may send this. Those who vote at a height speak about it. What is decided and who
/// is how far may come from everybody whom the host lets in, who joins and who left included: it is
/// verified without its sender, or only causes that blocks are asked for (FB-14).
fn may_send<S: Signer, V: Verifier>(
    machine: &Machine<S, V>,
    link: ReplicaId,
    message: &Message,
) -> bool {
    let height = match message {
        Message::Status(_)
        | Message::FetchDecided { .. }
        | Message::FetchBlock { .. }
        | Message::Decided(_)
        | Message::Block(_) => return true,
        Message::Evidence(_) => return machine.chain.knows(link),
        Message::Vote(vote) => vote.height,
        Message::Proposal(proposal) => proposal.pre_prepare.height,
        Message::ViewChange(view_change) => view_change.height,
        Message::NewView(proposal) => proposal.new_view.height,
    };
    // Of an unknown committee it is only learned that it exists.
    if machine.chain.is_known(height) {
        machine.chain.committee(height).contains(link)
    } else {
        machine.chain.knows(link)
    }
}

/// Counts a message that is for another height, and learns from it where its sender is.
fn refuse_position<S: Signer, V: Verifier>(
    now: Time,
    machine: &mut Machine<S, V>,
    link: ReplicaId,
    height: Height,
) -> Vec<Input> {
    if height > machine.height() {
        machine.note_height(now, link, height);
        machine.drop_message(DropReason::Ahead);
    } else {
        machine.drop_message(DropReason::Stale);
    }
    Vec::new()
}

impl Link {
    fn remove_vote(&mut self, slot: &(Height, View, VoteKind)) -> Option<Vote> {
        let vote = self.votes.remove(slot)?;
        self.bytes -= wire::encoded_len(&vote);
        Some(vote)
    }

    fn take_proposal(&mut self, height: Height) -> Option<Proposal> {
        let proposal = self.proposals.remove(&height)?;
        self.bytes -= wire::encoded_len(&proposal);
        Some(proposal)
    }

    /// Keeps a vote; votes farther ahead fall out to make room. Says whether it is kept.
    fn keep_vote(&mut self, vote: Vote, bytes_max: usize) -> bool {
        let slot = (vote.height, vote.view, vote.kind);
        let size = wire::encoded_len(&vote);
        while self.bytes + size > bytes_max {
            match self.votes.last_key_value().map(|(slot, _)| *slot) {
                Some(farthest) if farthest > slot => {
                    self.remove_vote(&farthest);
                }
                Some(_) | None => return false,
            }
        }
        self.bytes += size;
        self.votes.insert(slot, vote);
        true
    }

    /// Keeps a proposal if its height has none and there is room.
    fn keep_proposal(&mut self, proposal: Proposal, bytes_max: usize) -> bool {
        let height = proposal.pre_prepare.height;
        let size = wire::encoded_len(&proposal);
        if self.proposals.contains_key(&height) || self.bytes + size > bytes_max {
            return false;
        }
        self.bytes += size;
        self.proposals.insert(height, proposal);
        true
    }

    fn forget_below(&mut self, height: Height) {
        while let Some((slot, _)) = self.votes.first_key_value()
            && slot.0 < height
        {
            let slot = *slot;
            self.remove_vote(&slot);
        }
        while let Some((below, _)) = self.proposals.first_key_value()
            && *below < height
        {
            let below = *below;
            self.take_proposal(below);
        }
    }
}
