//! Ends of epochs and offers: finding a snapshot that is worth to be fetched.

use super::error::SyncError;
use super::judging::rest;
use super::loading::Partial;
use super::message::{Offer, SyncRecord, SyncRequest, Target};
use super::syncer::{Here, Phase, SyncEffect, Syncer, far_ahead};
use super::walk::Walk;
use super::{ANSWER_WITHIN, ENDS_MAX, OFFERS_WITHIN, UNBACKED_CHUNKS_MAX};
use crate::restore::SnapshotMeta;
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use polity_consensus::light::EpochEnd;
use polity_crypto::{Checker, Sha256Digest, Verifier};
use polity_types::{Height, ReplicaId, Time, Weight};

/// Ends of epochs and offers are gathered.
#[derive(Clone, Debug)]
pub(super) struct Asking {
    /// Then the best offer is taken; later with each verified end of an epoch.
    pub(super) until: Time,
    /// Who was asked, and until when an answer may come; `None` once it came or was late.
    pub(super) asked: BTreeMap<ReplicaId, Option<Time>>,
    /// The newest offer of each, not verified yet.
    pub(super) offers: BTreeMap<ReplicaId, Offer>,
    /// Whether one peer showed all ends that it has, so that all are asked for their offers.
    asks_all: bool,
}

impl Asking {
    pub(super) fn new(now: Time) -> Self {
        Self {
            until: now.saturating_add(OFFERS_WITHIN),
            asked: BTreeMap::new(),
            offers: BTreeMap::new(),
            asks_all: false,
        }
    }

    /// From now on all are asked, and all of them have the time to answer.
    pub(super) fn ask_all(&mut self, now: Time) {
        if !self.asks_all {
            self.asks_all = true;
            self.until = self.until.max(now.saturating_add(OFFERS_WITHIN));
        }
    }

    /// When something is due.
    pub(super) fn wake_at(&self) -> Time {
        let answers = self.asked.values().flatten().copied();
        answers.fold(self.until, Time::min)
    }
}

impl Syncer {
    pub(super) fn on_epochs<V: Verifier>(
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
            asking.ask_all(now);
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

    pub(super) fn poll_asking<V: Verifier>(
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
        let mut is_late = false;
        for (peer, deadline) in &mut asking.asked {
            if deadline.is_some_and(|at| at <= now) {
                *deadline = None;
                is_late = true;
                rest(&mut self.rests, *peer, now);
            }
        }
        if is_late {
            // Waiting for one after the other would let a few silent ones use the time up.
            asking.ask_all(now);
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
            None if is_over => self.give_up_asking(now, here),
            None => {}
        }
    }

    /// The offer to take: one of weight above F at once, and the heaviest when time is up, if it is not
    /// too large for the word of so few.
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
            if !self.may_vouch(*peer) {
                continue;
            }
            let Some(meta) = usable(&mut self.walk, here, offer, checker) else {
                continue;
            };
            let key = (meta.height, offer.chunks_root, offer.chunks);
            let group = groups.entry(key).or_insert_with(|| Target {
                meta,
                chunks: offer.chunks,
                chunks_root: offer.chunks_root,
                vouched: Vec::new(),
            });
            group.vouched.push(*peer);
        }
        let walk = &self.walk;
        let is_backed = |target: &Target| walk.has_honest(target.vouched.iter().copied());
        let candidates = groups.into_values();
        candidates
            .filter(|target| is_backed(target) || is_over && target.chunks <= UNBACKED_CHUNKS_MAX)
            .max_by_key(|target| {
                let is_backed = is_backed(target);
                let weight = if is_backed {
                    Weight::ZERO
                } else {
                    walk.weight(target.vouched.iter().copied())
                };
                (is_backed, weight, target.meta.height)
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
        if !self.walk.has_honest(target.vouched.iter().copied()) {
            self.charge(target.vouched.iter().copied());
        }
        out.push(SyncEffect::Persist(SyncRecord::Started(Box::new(target))));
        self.partial = Some(partial);
        self.begin(now);
    }

    /// Nobody had what its STATUS made hope for, or nobody's word was good enough.
    fn give_up_asking(&mut self, now: Time, here: Here<'_>) {
        let Phase::Asking(asking) = core::mem::replace(&mut self.phase, Phase::Idle) else {
            return;
        };
        for peer in asking.asked.keys() {
            rest(&mut self.rests, *peer, now);
        }
        // What up to F members say costs them alone: one that boasts must not keep the others from
        // being asked when they are ahead.
        if self.walk.has_honest(far_ahead(here)) {
            self.retry.fail(now);
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
