//! Chunks coming in: verified one by one, put in order, and taken into a ledger.

use super::error::SyncError;
use super::message::{ChunkBytes, SyncRequest, Target};
use super::{IN_FLIGHT_MAX, STALL_AFTER, UNBACKED_WITHIN};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use polity_crypto::Sha256Digest;
use polity_ledger::{CHUNK_LENGTH_MAX, Genesis, Ledger, Restore, SnapshotError};
use polity_merkle::{InclusionProof, leaf_hash};
use polity_types::{ChainId, Height, ReplicaId, Seed, Time};

/// A snapshot as far as it is here. All of it is in the journal.
#[derive(Debug)]
pub(crate) struct Partial {
    pub(crate) target: Target,
    restore: Restore,
    /// The chunk that comes next.
    next: u32,
    /// Stalls in a row in which somebody said that it does not have this snapshot.
    pub(super) denials: u32,
}

impl Partial {
    pub(crate) fn new(
        genesis: &Genesis,
        chain: ChainId,
        target: Target,
        index_seed: Seed,
    ) -> Result<Self, SnapshotError> {
        let meta = &target.meta;
        let restore = Restore::new(genesis, chain, meta.height, meta.ledger_root, index_seed)?;
        Ok(Self {
            target,
            restore,
            next: 0,
            denials: 0,
        })
    }

    /// The height after which the snapshot was taken.
    pub(crate) fn height(&self) -> Height {
        self.target.meta.height
    }

    /// How many chunks are here.
    pub(crate) fn chunks(&self) -> u32 {
        self.next
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.next == self.target.chunks
    }

    /// Takes the next chunk.
    pub(crate) fn push(&mut self, chunk: &[u8]) -> Result<(), SnapshotError> {
        self.restore.push(chunk)?;
        self.next += 1;
        Ok(())
    }

    /// The ledger, if its root is the certified one.
    pub(crate) fn finish(self) -> Result<(Ledger, Target), SnapshotError> {
        Ok((self.restore.finish()?, self.target))
    }
}

/// What is under way to complete a [`Partial`].
#[derive(Clone, Debug)]
pub(super) struct Loading {
    /// Verified chunks that wait for one in front of them, at most [`IN_FLIGHT_MAX`].
    waiting: BTreeMap<u32, Vec<u8>>,
    /// Who was asked for which chunk, and until when it may answer.
    asked: BTreeMap<ReplicaId, (u32, Time)>,
    /// Peers that do not have this snapshot.
    gone: BTreeSet<ReplicaId>,
    /// When it came along last.
    progress_at: Time,
    /// Whether any chunk came.
    has_gained: bool,
    /// Since when nobody honest need have it; `None` while members of weight above F vouch for it.
    unbacked_since: Option<Time>,
    /// Whether blocks are not fetched meanwhile.
    pub(super) is_pausing: bool,
}

impl Loading {
    pub(super) fn new(now: Time) -> Self {
        Self {
            waiting: BTreeMap::new(),
            asked: BTreeMap::new(),
            gone: BTreeSet::new(),
            progress_at: now,
            has_gained: false,
            unbacked_since: Some(now),
            is_pausing: false,
        }
    }

    /// Says whether members of weight above F vouch for the snapshot now.
    pub(super) fn back(&mut self, now: Time, is_backed: bool) {
        self.unbacked_since = (!is_backed).then(|| self.unbacked_since.unwrap_or(now));
    }

    pub(super) fn is_backed(&self) -> bool {
        self.unbacked_since.is_none()
    }

    /// Whether it was fetched for as long as a snapshot may be that nobody honest need have.
    pub(super) fn is_overdue(&self, now: Time) -> bool {
        self.unbacked_until().is_some_and(|until| now >= until)
    }

    fn unbacked_until(&self) -> Option<Time> {
        let since = self.unbacked_since?;
        Some(since.saturating_add(UNBACKED_WITHIN))
    }

    pub(super) fn has_gained(&self) -> bool {
        self.has_gained
    }

    pub(super) fn is_stalled(&self, now: Time) -> bool {
        now >= self.deadline()
    }

    fn deadline(&self) -> Time {
        self.progress_at.saturating_add(STALL_AFTER)
    }

    /// When something is due.
    pub(super) fn wake_at(&self) -> Time {
        let answers = self.asked.values().map(|(_, until)| *until);
        let dues = answers.chain(self.unbacked_until());
        dues.fold(self.deadline(), Time::min)
    }

    /// Waiting chunks and their bytes.
    pub(super) fn holdings(&self) -> (usize, usize) {
        let bytes = self.waiting.values().map(Vec::len).sum();
        (self.waiting.len(), bytes)
    }

    /// Peers that do not have this snapshot.
    pub(super) fn gone(&self) -> &BTreeSet<ReplicaId> {
        &self.gone
    }

    /// Whether nothing is asked for.
    pub(super) fn is_quiet(&self) -> bool {
        self.asked.is_empty()
    }

    /// Takes back what was asked of those who did not answer, and names them.
    pub(super) fn expire(&mut self, now: Time) -> Vec<ReplicaId> {
        let late = |(_, (_, until)): &(&ReplicaId, &(u32, Time))| *until <= now;
        let late: Vec<ReplicaId> = self.asked.iter().filter(late).map(|(id, _)| *id).collect();
        for peer in &late {
            self.asked.remove(peer);
        }
        late
    }

    /// The next chunk to ask `peer` for, if it has a hand free and something is wanted.
    pub(super) fn ask(
        &mut self,
        partial: &Partial,
        peer: ReplicaId,
        until: Time,
    ) -> Option<SyncRequest> {
        if self.asked.len() >= IN_FLIGHT_MAX
            || self.asked.contains_key(&peer)
            || self.gone.contains(&peer)
        {
            return None;
        }
        let end = partial.next.saturating_add(IN_FLIGHT_MAX as u32);
        let is_wanted = |index: &u32| {
            !self.waiting.contains_key(index)
                && !self.asked.values().any(|(asked, _)| asked == index)
        };
        let index = (partial.next..end.min(partial.target.chunks)).find(is_wanted)?;
        self.asked.insert(peer, (index, until));
        Some(SyncRequest::Chunk {
            height: partial.height(),
            chunks: partial.target.chunks,
            chunks_root: partial.target.chunks_root,
            index,
        })
    }

    /// A peer does not have this snapshot.
    pub(super) fn on_gone(&mut self, from: ReplicaId) -> Result<(), SyncError> {
        self.asked.remove(&from).ok_or(SyncError::Unsolicited)?;
        self.gone.insert(from);
        Ok(())
    }

    /// Verifies a chunk; returns those that are in order now.
    pub(super) fn on_chunk(
        &mut self,
        now: Time,
        from: ReplicaId,
        partial: &mut Partial,
        index: u32,
        bytes: Vec<u8>,
        proof: &InclusionProof,
    ) -> Result<Vec<ChunkBytes>, SyncError> {
        if self.asked.get(&from).map(|(asked, _)| *asked) != Some(index) {
            return Err(SyncError::Unsolicited);
        }
        self.asked.remove(&from);
        let target = &partial.target;
        if proof.size != u64::from(target.chunks) {
            // It has another snapshot than this one, for which it need not have vouched.
            self.gone.insert(from);
            return Err(SyncError::ChunkCount(proof.size));
        }
        check_chunk(&target.chunks_root, index, &bytes, proof)?;
        self.waiting.insert(index, bytes);
        let mut taken = Vec::new();
        while let Some(chunk) = self.waiting.remove(&partial.next) {
            partial.push(&chunk).map_err(SyncError::Content)?;
            taken.push(ChunkBytes::new(chunk));
            self.progress_at = now;
            self.has_gained = true;
        }
        Ok(taken)
    }
}

fn check_chunk(
    chunks_root: &Sha256Digest,
    index: u32,
    bytes: &[u8],
    proof: &InclusionProof,
) -> Result<(), SyncError> {
    if bytes.len() > CHUNK_LENGTH_MAX {
        return Err(SyncError::ChunkLength(bytes.len()));
    }
    if proof.index != u64::from(index) {
        return Err(SyncError::ChunkPlace);
    }
    let holds = proof.verify(chunks_root, &leaf_hash(bytes));
    holds.map_err(|_| SyncError::ChunkProof)
}
