//! Who is believed how much, and for how long.

use super::error::{Blame, SyncError};
use super::syncer::{Phase, Rest, SyncEffect, Syncer};
use super::{PEERS_MAX, UNFINISHED_MAX};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use polity_types::{ReplicaId, Time};

impl Syncer {
    /// An answer was refused.
    pub(super) fn judge(
        &mut self,
        now: Time,
        from: ReplicaId,
        error: &SyncError,
        out: &mut Vec<SyncEffect>,
    ) {
        match error.blame() {
            Blame::Nobody => {}
            Blame::Sender => self.exclude(now, from),
            Blame::Vouchers => {
                if let Some(partial) = self.partial.take() {
                    self.exclude_all(now, &partial.target.vouched);
                }
                self.leave(out);
            }
        }
    }

    pub(super) fn exclude_all(&mut self, now: Time, peers: &[ReplicaId]) {
        for peer in peers {
            self.exclude(now, *peer);
        }
        // The next offer is tried at once; there are no more of them than peers.
        self.retry = Rest {
            until: now,
            failures: 0,
        };
    }

    fn exclude(&mut self, now: Time, peer: ReplicaId) {
        if self.excluded.len() >= PEERS_MAX {
            self.excluded.pop_first();
        }
        self.excluded.insert(peer);
        if let Phase::Asking(asking) = &mut self.phase {
            asking.offers.remove(&peer);
            asking.ask_all(now);
        }
    }

    /// Whether what this peer offers counts: not if too much that it offered came to nothing.
    pub(super) fn may_vouch(&self, peer: ReplicaId) -> bool {
        let unfinished = self.unfinished.get(&peer).copied().unwrap_or(0);
        unfinished < UNFINISHED_MAX
    }

    /// A snapshot for which these vouched came to nothing, or will be one that nobody honest need have.
    pub(super) fn charge(&mut self, peers: impl IntoIterator<Item = ReplicaId>) {
        for peer in peers {
            if self.unfinished.len() >= PEERS_MAX && !self.unfinished.contains_key(&peer) {
                self.unfinished.pop_first();
            }
            let unfinished = self.unfinished.entry(peer).or_insert(0);
            *unfinished = unfinished.saturating_add(1);
        }
    }

    /// Ends a snapshot that will not come. Its records stay in the journal, so it is charged to those
    /// who are the reason: where honest members may go on giving it, to those who took their word back.
    /// What nobody honest need have had was charged when it began.
    pub(super) fn give_up(&mut self, now: Time, out: &mut Vec<SyncEffect>) {
        if let (Phase::Loading(loading), Some(partial)) = (&self.phase, self.partial.take()) {
            let vouched = partial.target.vouched;
            if self.walk.has_honest(vouched.iter().copied()) {
                let (is_backed, gone) = (loading.is_backed(), loading.gone().clone());
                let is_reason = |id: &ReplicaId| is_backed || gone.contains(id);
                self.charge(vouched.iter().copied().filter(is_reason));
            }
            for peer in vouched {
                rest(&mut self.rests, peer, now);
            }
        }
        self.leave(out);
    }

    /// Blocks led to the height of the snapshot. If it was a true one, that is as good as having it.
    pub(super) fn overtaken(&mut self) {
        if let Some(partial) = self.partial.take()
            && self.walk.has_honest(partial.target.vouched)
        {
            self.unfinished.clear();
        }
    }
}

/// Leaves a peer alone for a while.
pub(super) fn rest(rests: &mut BTreeMap<ReplicaId, Rest>, peer: ReplicaId, now: Time) {
    if rests.len() >= PEERS_MAX && !rests.contains_key(&peer) {
        rests.pop_first();
    }
    rests.entry(peer).or_insert(Rest::NONE).fail(now);
}
