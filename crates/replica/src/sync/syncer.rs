//! When to ask whom for what.

use super::error::{Blame, SyncError};
use super::loading::{Loading, Partial};
use super::message::{Offer, SyncAnswer, SyncRecord, SyncRequest, Target};
use super::walk::Walk;
use super::{
    ANSWER_WITHIN, BACKOFF_MAX, BACKOFF_MIN, ENDS_MAX, OFFERS_WITHIN, PEERS_MAX, SERVE_BURST,
    SERVE_EVERY,
};
use crate::genesis::Genesis;
use crate::restore::SnapshotMeta;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;
use polity_consensus::committee::Committee as _;
use polity_consensus::fbpbft::Chain;
use polity_consensus::light::EpochEnd;
use polity_crypto::{Checker, Sha256Digest, Verifier};
use polity_ledger::Ledger;
use polity_types::{Height, ReplicaId, Seed, Time, Weight};

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
struct Rest {
    until: Time,
    failures: u32,
}

impl Rest {
    const NONE: Self = Self {
        until: Time::ZERO,
        failures: 0,
    };

    fn fail(&mut self, now: Time) {
        let doublings = self.failures.min(16);
        let pause = BACKOFF_MIN.saturating_mul(1 << doublings).min(BACKOFF_MAX);
        self.until = now.saturating_add(pause);
        self.failures = self.failures.saturating_add(1);
    }
}

/// Ends of epochs and offers are gathered.
#[derive(Clone, Debug)]
struct Asking {
    /// Then the best offer is taken; later with each verified end of an epoch.
    until: Time,
    /// Who was asked, and until when an answer may come; `None` once it came or was late.
    asked: BTreeMap<ReplicaId, Option<Time>>,
    /// The newest offer of each, not verified yet.
    offers: BTreeMap<ReplicaId, Offer>,
    /// Whether one peer showed all ends that it has, so that all are asked for their offers.
    asks_all: bool,
}

#[derive(Clone, Debug)]
enum Phase {
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
    genesis: Arc<Genesis>,
    index_seed: Seed,
    walk: Walk,
    phase: Phase,
    partial: Option<Partial>,
    /// Peers that did not keep what they said.
    rests: BTreeMap<ReplicaId, Rest>,
    /// Attempts as a whole.
    retry: Rest,
    /// Peers that lied, for the life of this process.
    excluded: BTreeSet<ReplicaId>,
    /// Until when each peer's requests are paid for.
    served: BTreeMap<ReplicaId, Time>,
    /// Requests so far; they go round.
    turn: u64,
    wake_at: Option<Time>,
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
        let known = [self.rests.len(), self.excluded.len(), self.served.len()];
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
                    loading
                        .on_chunk(now, from, partial, index, bytes, &proof)
                        .map(|taken| {
                            self.rests.remove(&from);
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
                chunks_root,
            } => match self.loading(height, &chunks_root) {
                None => Err(SyncError::Unsolicited),
                Some((loading, _)) => loading.on_gone(from),
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
            self.partial = None;
            self.leave(out);
        }
        if matches!(self.phase, Phase::Idle)
            && now >= self.retry.until
            && !self.candidates(now, here).is_empty()
        {
            self.begin(now, out);
        }
        if let Phase::Asking(_) = self.phase {
            self.poll_asking(now, here, checker, out);
        }
        if let Phase::Loading(_) = self.phase {
            self.poll_loading(now, here, out);
        }
        self.wake_at = self.next_wake(now, here);
    }

    fn begin(&mut self, now: Time, out: &mut Vec<SyncEffect>) {
        match &self.partial {
            Some(partial) => {
                out.push(SyncEffect::PauseFetching(partial.target.is_backed));
                self.phase = Phase::Loading(Loading::new(now));
            }
            None => {
                self.phase = Phase::Asking(Asking {
                    until: now.saturating_add(OFFERS_WITHIN),
                    asked: BTreeMap::new(),
                    offers: BTreeMap::new(),
                    asks_all: false,
                });
            }
        }
    }

    /// Ends a fetch, whatever came of it. What is here stays for the next one.
    fn leave(&mut self, out: &mut Vec<SyncEffect>) {
        if let Phase::Loading(_) = self.phase {
            out.push(SyncEffect::PauseFetching(false));
        }
        self.phase = Phase::Idle;
    }

    /// Peers that say they are so far ahead that a snapshot is worth it.
    fn candidates(&self, now: Time, here: Here<'_>) -> Vec<ReplicaId> {
        let is_rested = |id: &ReplicaId| self.rests.get(id).is_none_or(|rest| rest.until <= now);
        let far = far_ahead(here).filter(|id| !self.excluded.contains(id));
        far.filter(is_rested).collect()
    }

    fn next_wake(&self, now: Time, here: Here<'_>) -> Option<Time> {
        match &self.phase {
            Phase::Idle => {
                let far = far_ahead(here).filter(|id| !self.excluded.contains(id));
                let rested = |id: ReplicaId| self.rests.get(&id).map_or(now, |rest| rest.until);
                Some(far.map(rested).min()?.max(self.retry.until))
            }
            Phase::Asking(asking) => {
                let answers = asking.asked.values().flatten().copied();
                Some(answers.fold(asking.until, Time::min))
            }
            Phase::Loading(loading) => Some(loading.wake_at()),
        }
    }

    // ---- ends of epochs, and offers

    fn on_epochs<V: Verifier>(
        &mut self,
        now: Time,
        from: ReplicaId,
        ends: Vec<EpochEnd>,
        offer: Option<Offer>,
        checker: &mut Checker<V>,
        out: &mut Vec<SyncEffect>,
    ) -> Result<(), SyncError> {
        let Phase::Asking(asking) = &mut self.phase else {
            return Err(SyncError::Unsolicited);
        };
        let deadline = asking.asked.get_mut(&from).and_then(Option::take);
        deadline.ok_or(SyncError::Unsolicited)?;
        if ends.len() > ENDS_MAX {
            return Err(SyncError::Page(ends.len()));
        }
        let mut is_news = false;
        for end in ends {
            if self.walk.advance(&end, checker)? {
                is_news = true;
                out.push(SyncEffect::Persist(SyncRecord::Epoch(Box::new(end))));
            }
        }
        if is_news {
            asking.until = now.saturating_add(OFFERS_WITHIN);
            // There may be more: the same peer is asked again.
            asking.asked.remove(&from);
        } else {
            asking.asks_all = true;
        }
        if let Some(offer) = offer {
            match self.walk.check(&offer, checker) {
                // Its epoch may be one that is not reached yet.
                Ok(_) | Err(SyncError::UnknownEpoch(_)) => {
                    asking.offers.insert(from, offer);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn poll_asking<V: Verifier>(
        &mut self,
        now: Time,
        here: Here<'_>,
        checker: &mut Checker<V>,
        out: &mut Vec<SyncEffect>,
    ) {
        let candidates = self.candidates(now, here);
        let Phase::Asking(asking) = &mut self.phase else {
            return;
        };
        for (peer, deadline) in &mut asking.asked {
            if deadline.is_some_and(|at| at <= now) {
                *deadline = None;
                // Waiting for one after the other would let a few silent ones use the time up.
                asking.asks_all = true;
                self.rests.entry(*peer).or_insert(Rest::NONE).fail(now);
            }
        }
        let (from, until) = (self.walk.epoch(), now.saturating_add(ANSWER_WITHIN));
        let start = self.turn as usize % candidates.len().max(1);
        let (back, front) = candidates.split_at(start.min(candidates.len()));
        for peer in front.iter().chain(back) {
            let is_busy = asking.asked.values().any(Option::is_some);
            if asking.asked.contains_key(peer) || is_busy && !asking.asks_all {
                continue;
            }
            asking.asked.insert(*peer, Some(until));
            self.turn = self.turn.wrapping_add(1);
            let request = SyncRequest::Epochs { from };
            out.push(SyncEffect::Send { to: *peer, request });
        }
        let is_over = now >= asking.until;
        match self.choose(here, is_over, checker) {
            Some(target) => self.start(now, target, out),
            None if is_over => self.give_up_asking(now, here, checker),
            None => {}
        }
    }

    /// The offer to take: one of weight above F at once, and the heaviest when time is up.
    fn choose<V: Verifier>(
        &mut self,
        here: Here<'_>,
        is_over: bool,
        checker: &mut Checker<V>,
    ) -> Option<Target> {
        let Phase::Asking(asking) = &self.phase else {
            return None;
        };
        let mut groups: BTreeMap<(Height, Sha256Digest, u32), Target> = BTreeMap::new();
        for (peer, offer) in &asking.offers {
            let Some(meta) = usable(&mut self.walk, here, offer, checker) else {
                continue;
            };
            let key = (meta.height, offer.chunks_root, offer.chunks);
            let group = groups.entry(key).or_insert_with(|| Target {
                meta,
                chunks: offer.chunks,
                chunks_root: offer.chunks_root,
                vouched: Vec::new(),
                is_backed: false,
            });
            group.vouched.push(*peer);
        }
        let committee = self.walk.committee();
        let needed = committee.thresholds().faulty_max();
        let weight = |target: &Target| -> Weight {
            let members = target.vouched.iter().filter(|id| committee.contains(**id));
            members.map(|id| committee.weight(*id)).sum()
        };
        for target in groups.values_mut() {
            target.is_backed = weight(target) > needed;
        }
        let candidates = groups.into_values();
        candidates
            .filter(|target| target.is_backed || is_over)
            .max_by_key(|target| {
                let weight = if target.is_backed {
                    Weight::ZERO
                } else {
                    weight(target)
                };
                (target.is_backed, weight, target.meta.height)
            })
    }

    fn start(&mut self, now: Time, target: Target, out: &mut Vec<SyncEffect>) {
        let chain = self.genesis.chain().map(|chain| chain.id());
        let partial = chain.ok().and_then(|chain| {
            Partial::new(&self.genesis.ledger, chain, target.clone(), self.index_seed).ok()
        });
        // The genesis was checked at the start, so there is one.
        let Some(partial) = partial else {
            self.retry.fail(now);
            return self.phase = Phase::Idle;
        };
        out.push(SyncEffect::Persist(SyncRecord::Started(Box::new(target))));
        self.partial = Some(partial);
        self.begin(now, out);
    }

    /// Nobody had what its STATUS made hope for.
    fn give_up_asking<V: Verifier>(&mut self, now: Time, here: Here<'_>, checker: &mut Checker<V>) {
        let Phase::Asking(asking) = core::mem::replace(&mut self.phase, Phase::Idle) else {
            return;
        };
        for peer in asking.asked.keys() {
            let offer = asking.offers.get(peer);
            if offer.is_none_or(|offer| usable(&mut self.walk, here, offer, checker).is_none()) {
                self.rests.entry(*peer).or_insert(Rest::NONE).fail(now);
            }
        }
        while self.rests.len() > PEERS_MAX {
            self.rests.pop_first();
        }
        self.retry.fail(now);
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
            self.rests.entry(peer).or_insert(Rest::NONE).fail(now);
        }
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
        let is_useful = |id: ReplicaId| !self.excluded.contains(&id) && !loading.is_gone(id);
        let is_hopeless = loading.is_quiet() && !far_ahead(here).any(is_useful);
        if is_hopeless || loading.is_stalled(now) {
            if loading.has_gained() && !is_hopeless {
                self.retry = Rest::NONE;
            } else {
                // Nobody has it any more, or nobody gives it.
                self.partial = None;
            }
            self.retry.fail(now);
            self.leave(out);
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
                out.push(SyncEffect::Persist(SyncRecord::Installed { height }));
                out.push(SyncEffect::Install(Box::new(ledger), target.meta));
            }
            Err(_) => self.exclude_all(now, &vouched),
        }
    }

    // ---- liars

    fn judge(&mut self, now: Time, from: ReplicaId, error: &SyncError, out: &mut Vec<SyncEffect>) {
        match error.blame() {
            Blame::Nobody => {}
            Blame::Sender => self.exclude(from),
            Blame::Vouchers => {
                if let Some(partial) = self.partial.take() {
                    self.exclude_all(now, &partial.target.vouched);
                }
                self.leave(out);
            }
        }
    }

    fn exclude_all(&mut self, now: Time, peers: &[ReplicaId]) {
        for peer in peers {
            self.exclude(*peer);
        }
        // The next offer is tried at once; there are no more of them than peers.
        self.retry = Rest {
            until: now,
            failures: 0,
        };
    }

    fn exclude(&mut self, peer: ReplicaId) {
        if self.excluded.len() >= PEERS_MAX {
            self.excluded.pop_first();
        }
        self.excluded.insert(peer);
        if let Phase::Asking(asking) = &mut self.phase {
            asking.offers.remove(&peer);
            asking.asks_all = true;
        }
    }
}

/// What an offer is of, if it is worth to be taken.
fn usable<V: Verifier>(
    walk: &mut Walk,
    here: Here<'_>,
    offer: &Offer,
    checker: &mut Checker<V>,
) -> Option<SnapshotMeta> {
    let meta = walk.check(offer, checker).ok()?;
    let least = here.height.saturating_add(here.snapshot_after);
    (meta.height >= least).then_some(meta)
}

/// Peers that say they have decided so many heights more. Words, not proof.
fn far_ahead(here: Here<'_>) -> impl Iterator<Item = ReplicaId> {
    let least = here.height.saturating_add(here.snapshot_after);
    let peers = here.peers.iter();
    peers
        .filter(move |(_, works_on)| **works_on > least)
        .map(|(id, _)| *id)
}
