//! When to ask whom for what.

use super::asking::Asking;
use super::error::SyncError;
use super::judging::rest;
use super::loading::{Loading, Partial};
use super::message::{SyncAnswer, SyncRecord, SyncRequest, Target};
use super::walk::Walk;
use super::{
    ANSWER_WITHIN, BACKOFF_MAX, BACKOFF_MIN, DENIALS_MAX, PEERS_MAX, SERVE_BURST, SERVE_EVERY,
};
use crate::genesis::Genesis;
use crate::restore::SnapshotMeta;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;
use polity_consensus::fbpbft::Chain;
use polity_crypto::{Checker, Sha256Digest, Verifier};
use polity_ledger::Ledger;
use polity_types::{Height, ReplicaId, Seed, Time};

/// Where the replica stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Here<'a> {
    /// The last applied block.
    pub(crate) height: Height,
    pub(crate) chain: &'a Chain,
    /// The height each peer says it works on: words, not proof.
    pub(crate) peers: &'a BTreeMap<ReplicaId, Height>,
    pub(crate) snapshot_after: u64,
}

/// What a sync asks of its replica.
#[derive(Debug)]
pub(crate) enum SyncEffect {
    Send {
        to: ReplicaId,
        request: SyncRequest,
    },
    Persist(SyncRecord),
    /// Blocks are fetched, or not, while the snapshot comes.
    PauseFetching(bool),
    /// Everything is here: go on from this state.
    Install(Box<Ledger>, SnapshotMeta),
}

/// A peer, or the whole attempt, is left alone for a while; longer each time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rest {
    pub(super) until: Time,
    pub(super) failures: u32,
}

impl Rest {
    pub(super) const NONE: Self = Self {
        until: Time::ZERO,
        failures: 0,
    };

    pub(super) fn fail(&mut self, now: Time) {
        let doublings = self.failures.min(16);
        let pause = BACKOFF_MIN.saturating_mul(1 << doublings).min(BACKOFF_MAX);
        self.until = now.saturating_add(pause);
        self.failures = self.failures.saturating_add(1);
    }
}

#[derive(Clone, Debug)]
pub(super) enum Phase {
    Idle,
    Asking(Asking),
    Loading(Loading),
}

/// How much a sync holds, so that a host can watch its bounds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SyncHoldings {
    /// Chunks that wait for one in front of them.
    pub chunks: usize,
    /// Bytes of them.
    pub chunk_bytes: usize,
    /// Offers.
    pub offers: usize,
    /// Ends of epochs.
    pub ends: usize,
    /// Peers of whom something is remembered.
    pub peers: usize,
}

/// Fetches a snapshot, and says who may be served. See the [module documentation](super).
#[derive(Debug)]
pub(crate) struct Syncer {
    pub(super) genesis: Arc<Genesis>,
    pub(super) index_seed: Seed,
    pub(super) walk: Walk,
    pub(super) phase: Phase,
    pub(super) partial: Option<Partial>,
    /// Peers that did not keep what they said, at most [`PEERS_MAX`].
    pub(super) rests: BTreeMap<ReplicaId, Rest>,
    /// Attempts as a whole.
    pub(super) retry: Rest,
    /// Peers that lied, for the life of this process, at most [`PEERS_MAX`].
    pub(super) excluded: BTreeSet<ReplicaId>,
    /// Snapshots that came to nothing, by those who vouched for them, at most [`PEERS_MAX`].
    pub(super) unfinished: BTreeMap<ReplicaId, u32>,
    /// Until when each peer's requests are paid for.
    pub(super) served: BTreeMap<ReplicaId, Time>,
    /// Requests so far; they go round.
    pub(super) turn: u64,
    pub(super) wake_at: Option<Time>,
}

impl Syncer {
    pub(crate) fn new(
        genesis: Arc<Genesis>,
        index_seed: Seed,
        walk: Walk,
        partial: Option<Partial>,
    ) -> Self {
        Self {
            genesis,
            index_seed,
            walk,
            phase: Phase::Idle,
            partial,
            rests: BTreeMap::new(),
            retry: Rest::NONE,
            excluded: BTreeSet::new(),
            unfinished: BTreeMap::new(),
            served: BTreeMap::new(),
            turn: 0,
            wake_at: None,
        }
    }

    pub(crate) fn genesis(&self) -> &Arc<Genesis> {
        &self.genesis
    }

    /// When it is to be polled.
    pub(crate) fn deadline(&self) -> Option<Time> {
        self.wake_at
    }

    /// The snapshot that is fetched, and how many of its chunks are here.
    pub(crate) fn progress(&self) -> Option<(&Target, u32)> {
        let partial = self.partial.as_ref()?;
        Some((&partial.target, partial.chunks()))
    }

    pub(crate) fn excluded(&self) -> &BTreeSet<ReplicaId> {
        &self.excluded
    }

    pub(crate) fn holdings(&self) -> SyncHoldings {
        let (chunks, chunk_bytes) = match &self.phase {
            Phase::Loading(loading) => loading.holdings(),
            Phase::Idle | Phase::Asking(_) => (0, 0),
        };
        let offers = match &self.phase {
            Phase::Asking(asking) => asking.offers.len(),
            Phase::Idle | Phase::Loading(_) => 0,
        };
        let known = [
            self.rests.len(),
            self.excluded.len(),
            self.unfinished.len(),
            self.served.len(),
        ];
        SyncHoldings {
            chunks,
            chunk_bytes,
            offers,
            ends: self.walk.len(),
            peers: known.into_iter().max().unwrap_or(0),
        }
    }

    /// Whether a request is answered now: so many at once, then so many a second.
    pub(crate) fn may_serve(&mut self, now: Time, peer: ReplicaId) -> bool {
        let paid = self.served.get(&peer).copied().unwrap_or(Time::ZERO);
        if paid > now.saturating_add(SERVE_BURST) {
            return false;
        }
        if self.served.len() >= PEERS_MAX && !self.served.contains_key(&peer) {
            // The host lets members in, past and future ones, so this is out of reach.
            self.served.pop_first();
        }
        let paid = paid.max(now).saturating_add(SERVE_EVERY);
        self.served.insert(peer, paid);
        true
    }

    /// A peer answered. What is refused changes nothing but who is asked next.
    ///
    /// # Errors
    ///
    /// The step that failed.
    pub(crate) fn on_answer<V: Verifier>(
        &mut self,
        now: Time,
        from: ReplicaId,
        answer: SyncAnswer,
        checker: &mut Checker<V>,
        out: &mut Vec<SyncEffect>,
    ) -> Result<(), SyncError> {
        let result = match answer {
            SyncAnswer::Epochs { ends, offer } => {
                let offer = offer.map(|offer| *offer);
                self.on_epochs(now, from, ends, offer, checker, out)
            }
            SyncAnswer::Chunk {
                height,
                chunks_root,
                index,
                bytes,
                proof,
            } => match self.loading(height, &chunks_root) {
                None => Err(SyncError::Unsolicited),
                Some((loading, partial)) => {
                    let bytes = bytes.into_bytes();
                    let taken = loading.on_chunk(now, from, partial, index, bytes, &proof);
                    // Nobody honest need have vouched for what is unbacked: no merit in sending it.
                    let is_backed = loading.is_backed();
                    taken.map(|taken| {
                        if is_backed {
                            self.rests.remove(&from);
                        }
                        out.extend(
                            taken
                                .into_iter()
                                .map(|chunk| SyncEffect::Persist(SyncRecord::Chunk(chunk))),
                        );
                    })
                }
            },
            SyncAnswer::Gone {
                height,
                chunks,
                chunks_root,
            } => match self.loading(height, &chunks_root) {
                Some((loading, partial)) if partial.target.chunks == chunks => {
                    loading.on_gone(from)
                }
                Some(_) | None => Err(SyncError::Unsolicited),
            },
        };
        if let Err(error) = &result {
            self.judge(now, from, error, out);
        }
        result
    }

    /// Goes on: gives up what is over, asks who is free, installs what is complete.
    pub(crate) fn poll<V: Verifier>(
        &mut self,
        now: Time,
        here: Here<'_>,
        checker: &mut Checker<V>,
        out: &mut Vec<SyncEffect>,
    ) {
        self.walk.follow(here.chain, here.height);
        if (self.partial.as_ref()).is_some_and(|partial| partial.height() <= here.height) {
            // Blocks were faster.
            self.overtaken();
            self.leave(out);
        }
        if matches!(self.phase, Phase::Idle) && far_ahead(here).next().is_none() {
            // As after nearly every input.
            self.wake_at = None;
            return;
        }
        if matches!(self.phase, Phase::Idle)
            && now >= self.retry.until
            && !self.candidates(now, here).is_empty()
        {
            self.begin(now);
        }
        if let Phase::Asking(_) = self.phase {
            self.poll_asking(now, here, checker, out);
        }
        if let Phase::Loading(_) = self.phase {
            self.poll_loading(now, here, out);
        }
        self.wake_at = self.next_wake(now, here);
    }

    pub(super) fn begin(&mut self, now: Time) {
        self.phase = match &self.partial {
            Some(_) => Phase::Loading(Loading::new(now)),
            None => Phase::Asking(Asking::new(now)),
        };
    }

    /// Ends a fetch, whatever came of it. What is here stays for the next one.
    pub(super) fn leave(&mut self, out: &mut Vec<SyncEffect>) {
        if matches!(&self.phase, Phase::Loading(loading) if loading.is_pausing) {
            out.push(SyncEffect::PauseFetching(false));
        }
        self.phase = Phase::Idle;
    }

    /// Peers that say they are so far ahead that a snapshot is worth it.
    pub(super) fn candidates(&self, now: Time, here: Here<'_>) -> Vec<ReplicaId> {
        let far = far_ahead(here).filter(|id| !self.excluded.contains(id));
        far.filter(|id| self.is_rested(now, *id)).collect()
    }

    fn is_rested(&self, now: Time, peer: ReplicaId) -> bool {
        let rest = self.rests.get(&peer);
        rest.is_none_or(|rest| rest.until <= now)
    }

    fn next_wake(&self, now: Time, here: Here<'_>) -> Option<Time> {
        let far = far_ahead(here).filter(|id| !self.excluded.contains(id));
        let rested = |id: ReplicaId| self.rests.get(&id).map_or(now, |rest| rest.until);
        // Who rests is asked when it has.
        let later = |at: &Time| *at > now;
        match &self.phase {
            Phase::Idle => Some(far.map(rested).min()?.max(self.retry.until)),
            Phase::Asking(asking) => {
                let unasked = far.filter(|id| !asking.asked.contains_key(id));
                let ends = unasked.map(rested).filter(later);
                Some(ends.fold(asking.wake_at(), Time::min))
            }
            Phase::Loading(loading) => {
                let useful = far.filter(|id| !loading.gone().contains(id));
                let ends = useful.map(rested).filter(later);
                Some(ends.fold(loading.wake_at(), Time::min))
            }
        }
    }

    // ---- chunks

    fn loading(
        &mut self,
        height: Height,
        chunks_root: &Sha256Digest,
    ) -> Option<(&mut Loading, &mut Partial)> {
        let (Phase::Loading(loading), Some(partial)) = (&mut self.phase, &mut self.partial) else {
            return None;
        };
        let is_meant = partial.height() == height && partial.target.chunks_root == *chunks_root;
        is_meant.then_some((loading, partial))
    }

    fn poll_loading(&mut self, now: Time, here: Here<'_>, out: &mut Vec<SyncEffect>) {
        if self.partial.as_ref().is_some_and(Partial::is_complete) {
            return self.complete(now, out);
        }
        let Phase::Loading(loading) = &mut self.phase else {
            return;
        };
        for peer in loading.expire(now) {
            rest(&mut self.rests, peer, now);
        }
        self.judge_backing(now, out);
        let candidates = self.candidates(now, here);
        let (Phase::Loading(loading), Some(partial)) = (&mut self.phase, &self.partial) else {
            return;
        };
        let until = now.saturating_add(ANSWER_WITHIN);
        let start = self.turn as usize % candidates.len().max(1);
        let (back, front) = candidates.split_at(start.min(candidates.len()));
        for peer in front.iter().chain(back) {
            if let Some(request) = loading.ask(partial, *peer, until) {
                self.turn = self.turn.wrapping_add(1);
                out.push(SyncEffect::Send { to: *peer, request });
            }
        }
        let is_stalled = loading.is_stalled(now);
        if is_stalled {
            self.count_stall();
        }
        if self.is_hopeless(now, here) {
            self.give_up(now, out);
        } else if is_stalled {
            self.retry.fail(now);
            self.leave(out);
        }
    }

    /// A while passed without a chunk.
    fn count_stall(&mut self) {
        let (Phase::Loading(loading), Some(partial)) = (&self.phase, &mut self.partial) else {
            return;
        };
        if loading.has_gained() {
            self.retry = Rest::NONE;
            partial.denials = 0;
        }
        if !loading.gone().is_empty() {
            partial.denials = partial.denials.saturating_add(1);
        }
    }

    /// Whether what is fetched will not come: it was there, and somebody honest has it no more, so that
    /// soon nobody does; or nobody is left to ask; or whoever answers does not have it, again and again;
    /// or nobody honest need have it, and it comes slowly or not at all. Silence alone is no reason to give
    /// up what members of weight above F vouch for: after an outage they go on.
    fn is_hopeless(&self, now: Time, here: Here<'_>) -> bool {
        let (Phase::Loading(loading), Some(partial)) = (&self.phase, &self.partial) else {
            return false;
        };
        let gone = loading.gone();
        let is_useful = |id: ReplicaId| !self.excluded.contains(&id) && !gone.contains(&id);
        let was_backed = self.walk.has_honest(partial.target.vouched.iter().copied());
        was_backed && self.walk.has_honest(gone.iter().copied())
            || loading.is_quiet() && !far_ahead(here).any(is_useful)
            || partial.denials >= DENIALS_MAX
            || !loading.is_backed() && (loading.is_stalled(now) || loading.is_overdue(now))
    }

    /// Who vouched and does not have it, or lied, vouches no more. Blocks are not fetched only while
    /// members of weight above F vouch for the snapshot that have answered in time so far.
    fn judge_backing(&mut self, now: Time, out: &mut Vec<SyncEffect>) {
        let (Phase::Loading(loading), Some(partial)) = (&self.phase, &self.partial) else {
            return;
        };
        let is_meant = |id: &ReplicaId| !self.excluded.contains(id) && !loading.gone().contains(id);
        let vouchers = partial.target.vouched.iter().copied().filter(is_meant);
        let is_backed = self.walk.has_honest(vouchers.clone());
        let is_pausing = self
            .walk
            .has_honest(vouchers.filter(|id| self.is_rested(now, *id)));
        let Phase::Loading(loading) = &mut self.phase else {
            return;
        };
        loading.back(now, is_backed);
        if loading.is_pausing != is_pausing {
            loading.is_pausing = is_pausing;
            out.push(SyncEffect::PauseFetching(is_pausing));
        }
    }

    /// Every chunk is here.
    fn complete(&mut self, now: Time, out: &mut Vec<SyncEffect>) {
        self.leave(out);
        let Some(partial) = self.partial.take() else {
            return;
        };
        let (height, vouched) = (partial.height(), partial.target.vouched.clone());
        match partial.finish() {
            Ok((ledger, target)) => {
                self.retry = Rest::NONE;
                self.rests.clear();
                self.unfinished.clear();
                out.push(SyncEffect::Persist(SyncRecord::Installed { height }));
                out.push(SyncEffect::Install(Box::new(ledger), target.meta));
            }
            Err(_) => self.exclude_all(now, &vouched),
        }
    }
}

/// Peers that say they have decided so many heights more. Words, not proof.
pub(super) fn far_ahead(here: Here<'_>) -> impl Iterator<Item = ReplicaId> {
    let least = here.height.saturating_add(here.snapshot_after);
    let peers = here.peers.iter();
    peers
        .filter(move |(_, works_on)| **works_on > least)
        .map(|(id, _)| *id)
}
