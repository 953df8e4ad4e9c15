//! Never alone: STATUS, catch-up and missing blocks (FB-12 to FB-14).

use super::block::{Block, SealedBlock};
use super::effect::{Effect, Halt};
use super::machine::{DropReason, Machine, Timer};
use super::message::{Decided, Message, Status};
use super::views::Justification;
use crate::committee::CommitteeTable;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;
use polity_crypto::{Sha256Digest, Signer, Verifier};
use polity_types::{Effects, Height, ReplicaId, Time, wire};

/// A peer's fetches are answered at most this often.
const SERVE_EVERY: Duration = Duration::from_millis(50);

/// Peers of whom something is remembered: members, and those who were or will be.
const PEERS_MAX: usize = 3 * CommitteeTable::MEMBERS_MAX;

/// A peer that decided more is given this long to have its votes arrive, before blocks are fetched:
/// in the normal case a replica is one message behind, not one block.
const FETCH_AFTER: Duration = Duration::from_millis(200);

/// A fetch that brought blocks is followed by the next after this time: what is still under way
/// arrives meanwhile.
const FETCH_PAUSE: Duration = Duration::from_millis(50);

/// What is known of the others, and what was asked of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Sync {
    /// The height each peer said it works on. Words, not proof: they only cause fetches.
    heights: BTreeMap<ReplicaId, Height>,
    /// When each peer's fetch was answered last.
    served: BTreeMap<ReplicaId, Time>,
    /// When each peer's STATUS was answered last.
    told: BTreeMap<ReplicaId, Time>,
    /// Verified decisions above the current height, at most as many as one fetch brings.
    ahead: BTreeMap<Height, Decided>,
    /// Number of fetches so far; requests go round.
    attempts: u64,
    /// One past the last height that was asked for.
    asked_until: Height,
    /// The application gets its state from elsewhere (FB-19).
    is_paused: bool,
}

impl Sync {
    /// Decisions ahead, their bytes, and members of whom something is known.
    pub(super) fn holdings(&self) -> (usize, usize, usize) {
        let bytes = self.ahead.values().map(wire::encoded_len).sum();
        let peers = [self.heights.len(), self.served.len(), self.told.len()];
        let peers = peers.into_iter().max().unwrap_or(0);
        (self.ahead.len(), bytes, peers)
    }
}

impl<S: Signer, V: Verifier> Machine<S, V> {
    pub(super) fn send_status(&mut self, out: &mut Effects<Effect>) {
        out.push(Effect::Broadcast(self.status()));
    }

    fn status(&self) -> Message {
        Message::Status(Status {
            height: self.height(),
            view: self.round.view,
            last_decided: self.parent.digest,
        })
    }

    /// FB-14: STATUS triggers help, never belief.
    pub(super) fn on_status(
        &mut self,
        now: Time,
        from: ReplicaId,
        status: &Status,
        out: &mut Effects<Effect>,
    ) {
        self.note_height(now, from, status.height);
        self.answer_status(now, from, status.height, out);
    }

    /// Who comes back hears at once how far others are. Only those who are behind are answered, so
    /// that no answer has an answer, and not for one height: the votes for it are under way.
    fn answer_status(
        &mut self,
        now: Time,
        to: ReplicaId,
        theirs: Height,
        out: &mut Effects<Effect>,
    ) {
        if theirs.next() >= self.height() {
            return;
        }
        let told = self.sync.told.get(&to);
        let again_at = told.map(|at| at.saturating_add(self.config.retransmit_after));
        if again_at.is_some_and(|at| now < at) {
            return;
        }
        if self.sync.told.len() >= PEERS_MAX && !self.sync.told.contains_key(&to) {
            // The host lets members in, past and future ones, so this is out of reach.
            self.sync.told.pop_first();
        }
        self.sync.told.insert(to, now);
        let message = self.status();
        out.push(Effect::Send { to, message });
    }

    /// A peer works on `height`, so it has decided the one below.
    pub(super) fn note_height(&mut self, now: Time, peer: ReplicaId, height: Height) {
        if self.sync.heights.len() >= PEERS_MAX && !self.sync.heights.contains_key(&peer) {
            // The host lets members in, past and future ones, so this is out of reach.
            return;
        }
        self.sync.heights.insert(peer, height);
        if height > self.height() {
            let at = now.saturating_add(FETCH_AFTER);
            self.timers.set_if_unset(Timer::Fetch, at);
        }
    }

    /// Asks for what is missing: a block that is decided or must be proposed again, or the blocks
    /// that others have decided. Each try goes to another member (FB-14).
    pub(super) fn fetch_missing(&mut self, now: Time, out: &mut Effects<Effect>) {
        let height = self.height();
        let attempt = self.sync.attempts;
        let ahead: Vec<ReplicaId> = self
            .sync
            .heights
            .iter()
            .filter(|(_, theirs)| **theirs > height)
            .map(|(id, _)| *id)
            .collect();
        // Those who signed a decision hold its block, and may be gone; whoever is ahead has it, too.
        let is_decided = self.round.decision.is_some();
        let asks_others = is_decided
            && !ahead.is_empty()
            && !attempt.is_multiple_of(2)
            // Decisions come as a snapshot; the block of this height is still asked for by name.
            && !self.sync.is_paused;
        let missing = self.missing_block().filter(|_| !asks_others);
        let (message, candidates) = if let Some((digest, holders)) = missing {
            (Message::FetchBlock { height, digest }, holders)
        } else if self.sync.is_paused {
            self.timers.cancel(&Timer::Fetch);
            return;
        } else {
            self.sync.asked_until = height.saturating_add(self.config.fetch_blocks_max);
            (Message::FetchDecided { from: height }, ahead)
        };
        let candidates: Vec<ReplicaId> = candidates
            .into_iter()
            .filter(|id| *id != self.id())
            .collect();
        if candidates.is_empty() {
            self.timers.cancel(&Timer::Fetch);
            return;
        }
        let turn = if is_decided { attempt / 2 } else { attempt };
        let turn = (turn % candidates.len() as u64) as usize;
        self.sync.attempts += 1;
        out.push(Effect::Send {
            to: candidates[turn],
            message,
        });
        let at = now.saturating_add(self.config.fetch_timeout);
        self.timers.set(Timer::Fetch, at);
    }

    /// A block without which this replica cannot go on, and who holds it.
    fn missing_block(&self) -> Option<(Sha256Digest, Vec<ReplicaId>)> {
        if let Some(decision) = &self.round.decision {
            let digest = decision.value.digest;
            let holders = decision.votes.signers.members(self.committee()).ok()?;
            return (!self.round.blocks.contains_key(&digest)).then_some((digest, holders));
        }
        let leads = self.round.is_active() && self.leader() == self.id();
        match self.justification() {
            Justification::MissingBlock(digest, holders)
                if leads && !self.round.blocks.contains_key(&digest) =>
            {
                Some((digest, holders))
            }
            _ => None,
        }
    }

    /// Whether a block with this digest was asked for.
    pub(super) fn wants_block(&self, digest: &Sha256Digest) -> bool {
        self.missing_block()
            .is_some_and(|(wanted, _)| wanted == *digest)
    }

    /// Those who hold a block of an undecided height serve it until the height is decided.
    pub(super) fn on_fetch_block(
        &mut self,
        now: Time,
        from: ReplicaId,
        height: Height,
        digest: Sha256Digest,
        out: &mut Effects<Effect>,
    ) {
        if height < self.height() {
            // It was decided meanwhile: the decided block says more.
            self.serve(now, from, height, 1, out);
            return;
        }
        let held = self.round.blocks.get(&digest);
        let Some(block) = held.map(|held| held.block.block().clone()) else {
            self.drop_message(DropReason::Unsolicited);
            return;
        };
        if self.may_serve(now, from) {
            out.push(Effect::Send {
                to: from,
                message: Message::Block(block),
            });
        }
    }

    /// Bounds what a peer's requests can cost.
    fn may_serve(&mut self, now: Time, peer: ReplicaId) -> bool {
        let last = self.sync.served.get(&peer);
        let is_early = last.is_some_and(|at| now < at.saturating_add(SERVE_EVERY));
        if is_early {
            self.drop_message(DropReason::Unsolicited);
            return false;
        }
        if self.sync.served.len() >= PEERS_MAX {
            // The host lets members in, past and future ones, so this is out of reach.
            self.sync.served.pop_first();
        }
        self.sync.served.insert(peer, now);
        true
    }

    pub(super) fn on_fetch(
        &mut self,
        now: Time,
        from: ReplicaId,
        first: Height,
        out: &mut Effects<Effect>,
    ) {
        self.serve(now, from, first, self.config.fetch_blocks_max, out);
    }

    fn serve(
        &mut self,
        now: Time,
        to: ReplicaId,
        first: Height,
        count_max: u64,
        out: &mut Effects<Effect>,
    ) {
        if first >= self.height() || first == Height::ZERO {
            self.drop_message(DropReason::Unsolicited);
        } else if self.may_serve(now, to) {
            out.push(Effect::ServeDecided {
                to,
                from: first,
                count_max,
                bytes_max: self.config.fetch_bytes_max,
            });
        }
    }

    /// Whether the block is no longer than a block may be. Its digest does not say so: what proves
    /// an offence may be longer in one copy than in another.
    fn fits(&self, block: &Block) -> bool {
        wire::encoded_len(block) <= self.config.block_bytes_max
    }

    /// A block that was asked for by its digest.
    pub(super) fn on_block(&mut self, now: Time, block: Arc<Block>, out: &mut Effects<Effect>) {
        if !self.fits(&block) {
            self.drop_message(DropReason::Body);
            return;
        }
        match SealedBlock::new(&self.chain, block) {
            Err(_) => self.drop_message(DropReason::Body),
            Ok(sealed) if self.wants_block(&sealed.digest()) => {
                self.hold(sealed, false);
                self.timers.cancel(&Timer::Fetch);
                self.try_decide(now, out);
                self.try_start_view(now, out);
            }
            Ok(_) => self.drop_message(DropReason::Unsolicited),
        }
    }

    /// FB-14: a decided block with its certificate, verified whoever sent it.
    pub(super) fn on_decided(
        &mut self,
        now: Time,
        from: ReplicaId,
        decided: Decided,
        out: &mut Effects<Effect>,
    ) {
        let height = decided.certificate.height;
        let known = self.sync.heights.get(&from).copied();
        self.note_height(now, from, known.unwrap_or(height).max(height.next()));
        if height < self.height() {
            let is_fork = height == self.parent.height
                && decided.certificate.value.digest != self.parent.digest;
            if is_fork {
                let halt = Halt::Forked {
                    height,
                    theirs: decided.certificate.value.digest,
                    ours: self.parent.digest,
                };
                self.halt(halt, out);
            } else {
                self.drop_message(DropReason::Stale);
            }
        } else if height == self.height() {
            self.take_decision(now, decided, out);
        } else if height < self.height().saturating_add(self.config.fetch_blocks_max) {
            self.keep_ahead(height, decided);
        } else {
            self.drop_message(DropReason::Ahead);
        }
    }

    fn keep_ahead(&mut self, height: Height, decided: Decided) {
        let bytes: usize = self
            .sync
            .ahead
            .values()
            .map(|kept| wire::encoded_len(&*kept.block))
            .sum();
        if bytes + wire::encoded_len(&*decided.block) > self.config.fetch_bytes_max {
            self.drop_message(DropReason::BufferFull);
        } else {
            self.sync.ahead.entry(height).or_insert(decided);
        }
    }

    fn take_decision(&mut self, now: Time, decided: Decided, out: &mut Effects<Effect>) {
        let sealed = SealedBlock::new(&self.chain, Arc::clone(&decided.block));
        let Some(sealed) = sealed.ok().filter(|_| self.fits(&decided.block)) else {
            self.drop_message(DropReason::Body);
            return;
        };
        self.hold(sealed, false);
        if self.round.decision.is_none() {
            self.round.decision = Some(decided.certificate);
        }
        self.try_decide(now, out);
    }

    /// The application judged the signatures in a decided block.
    pub(super) fn on_authorised(
        &mut self,
        now: Time,
        digest: Sha256Digest,
        is_valid: bool,
        out: &mut Effects<Effect>,
    ) {
        match self.round.blocks.get_mut(&digest) {
            None => self.drop_message(DropReason::Unsolicited),
            Some(held) if is_valid => {
                held.is_authorised = true;
                self.try_decide(now, out);
                self.try_start_view(now, out);
            }
            Some(_) => {
                // The committee decided these transactions, so the sender changed their
                // signatures, which no digest covers. Another member has the real ones.
                self.round.blocks.remove(&digest);
                self.drop_message(DropReason::Refused);
                let at = now.saturating_add(self.config.fetch_timeout);
                self.timers.set_if_unset(Timer::Fetch, at);
            }
        }
    }

    /// FB-19: blocks are not asked for while a snapshot comes.
    pub(super) fn on_fetch_paused(&mut self, now: Time, is_paused: bool) {
        self.sync.is_paused = is_paused;
        if !is_paused {
            let at = now.saturating_add(FETCH_AFTER);
            self.timers.set_if_unset(Timer::Fetch, at);
        }
    }

    /// The height each peer said it works on. Words, not proof.
    pub fn peer_heights(&self) -> &BTreeMap<ReplicaId, Height> {
        &self.sync.heights
    }

    /// What was asked for is of no use any more.
    pub(super) fn forget_sync(&mut self) {
        self.sync.ahead.clear();
        self.sync.asked_until = Height::ZERO;
        self.sync.is_paused = false;
        self.forget_strangers();
    }

    /// Forgets what is known of those who are members no more.
    pub(super) fn forget_strangers(&mut self) {
        let chain = &self.chain;
        self.sync.heights.retain(|id, _| chain.knows(*id));
        self.sync.served.retain(|id, _| chain.knows(*id));
        self.sync.told.retain(|id, _| chain.knows(*id));
    }

    /// A height was decided without a fetch: the clock of "behind" starts anew.
    pub(super) fn pause_fetching(&mut self) {
        if self.height() >= self.sync.asked_until {
            self.timers.cancel(&Timer::Fetch);
        }
    }

    /// Goes on with decisions that came early, and asks for more if others are still ahead.
    pub(super) fn continue_sync(&mut self, now: Time, out: &mut Effects<Effect>) {
        let height = self.height();
        self.sync.ahead.retain(|kept, _| *kept >= height);
        if let Some(next) = self.sync.ahead.remove(&height) {
            self.take_decision(now, next, out);
            return;
        }
        let is_behind = self.sync.heights.values().any(|theirs| *theirs > height);
        if !is_behind {
            self.sync.asked_until = Height::ZERO;
        } else if self.sync.asked_until == Height::ZERO {
            let at = now.saturating_add(FETCH_AFTER);
            self.timers.set_if_unset(Timer::Fetch, at);
        } else if height >= self.sync.asked_until {
            // The last fetch is used up.
            self.fetch_missing(now, out);
        } else {
            // It may have been cut short by its limit of bytes.
            let at = now.saturating_add(FETCH_PAUSE);
            self.timers.set(Timer::Fetch, at);
        }
    }
}
