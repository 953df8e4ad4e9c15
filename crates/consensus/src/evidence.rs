//! A bounded pool of proofs that somebody broke the rules.

use alloc::collections::{BTreeMap, BTreeSet};
use polity_types::{Height, ReplicaId, View};

/// What evidence is about. Two proofs of one offence have one id, whatever bytes prove it (FB-16).
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub struct OffenceId {
    /// Who broke the rules.
    pub accused: ReplicaId,
    /// Which rule: the number of the evidence kind in its protocol.
    pub kind: u8,
    /// At which height.
    pub height: Height,
    /// In which view.
    pub view: View,
}

/// Evidence that is known but not yet in a block.
///
/// Bounded per accused, so a flood of one offender's offences does not push out another's. When an
/// accused is at the limit, further offences of the same replica are dropped: more of them prove
/// nothing new.
#[derive(Clone, Debug)]
pub struct EvidencePool<E> {
    waiting: BTreeMap<OffenceId, E>,
    /// By height, so that what falls out is the oldest.
    settled: BTreeSet<(Height, OffenceId)>,
    per_accused_max: usize,
    settled_max: usize,
}

impl<E: Clone> EvidencePool<E> {
    /// A pool that holds at most `per_accused_max` offences of each replica and remembers the last
    /// `settled_max` that blocks contained.
    pub fn new(per_accused_max: usize, settled_max: usize) -> Self {
        Self {
            waiting: BTreeMap::new(),
            settled: BTreeSet::new(),
            per_accused_max,
            settled_max,
        }
    }

    /// Whether the offence is known, waiting or settled.
    pub fn contains(&self, id: &OffenceId) -> bool {
        self.waiting.contains_key(id) || self.settled.contains(&(id.height, *id))
    }

    /// Takes in evidence. Says whether it is new.
    pub fn insert(&mut self, id: OffenceId, evidence: E) -> bool {
        let of_accused = self
            .waiting
            .keys()
            .filter(|known| known.accused == id.accused)
            .count();
        if self.contains(&id) || of_accused >= self.per_accused_max {
            return false;
        }
        self.waiting.insert(id, evidence);
        true
    }

    /// Forgets waiting evidence for which `keep` says no.
    pub fn retain(&mut self, keep: impl Fn(&E) -> bool) {
        self.waiting.retain(|_, evidence| keep(evidence));
    }

    /// The evidence that has no block yet.
    pub fn waiting(&self) -> impl Iterator<Item = &E> {
        self.waiting.values()
    }

    /// Number of pieces without a block.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether every known piece is in a block.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The offence needs no block any more. The application remembers for ever; this memory only
    /// avoids work, so the oldest offence falls out when it is full.
    pub fn settle(&mut self, id: OffenceId) {
        self.waiting.remove(&id);
        self.settled.insert((id.height, id));
        if self.settled.len() > self.settled_max {
            self.settled.pop_first();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn offence(accused: u32, height: u64) -> OffenceId {
        OffenceId {
            accused: ReplicaId::new(accused),
            kind: 1,
            height: Height::new(height),
            view: View::ZERO,
        }
    }

    #[test]
    fn fb_16_offences_count_once_and_are_bounded_per_accused() {
        let mut pool = EvidencePool::new(2, 4);
        assert!(pool.insert(offence(1, 1), "first proof"));
        assert!(!pool.insert(offence(1, 1), "second proof"));
        assert!(pool.insert(offence(1, 2), "other height"));
        assert!(!pool.insert(offence(1, 3), "one too many"));
        assert!(pool.insert(offence(2, 3), "other accused"));
        pool.settle(offence(1, 1));
        assert!(!pool.insert(offence(1, 1), "already in a block"));
        let waiting: Vec<_> = pool.waiting().copied().collect();
        assert_eq!(waiting, ["other height", "other accused"]);
        for height in 10..30 {
            pool.settle(offence(0, height));
        }
        assert_eq!(pool.settled.len(), 4);
        assert!(pool.contains(&offence(0, 29)), "the newest stay");
        assert!(!pool.contains(&offence(0, 10)));
    }
}
