//! How much a replica remembers, so that a host can watch its bounds (FB-12).

use super::intake::Intake;
use super::machine::Machine;
use alloc::collections::BTreeMap;
use polity_crypto::{Signer, Verifier};
use polity_types::{Height, ReplicaId, View, wire};

/// Entries and bytes that a machine holds about the undecided height and the ones ahead. All of it
/// was caused by messages of others, and each part has a largest size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holdings {
    /// Verified votes: at most one of each member for each kind and view of the window.
    pub votes: usize,
    /// Undecided blocks.
    pub blocks: usize,
    /// First proposals, by view.
    pub proposals: usize,
    /// VIEW-CHANGEs: a few of each member.
    pub view_changes: usize,
    /// Certificates of PREPAREs.
    pub certificates: usize,
    /// Views whose proposal got no vote.
    pub refused: usize,
    /// Pieces of evidence that no block holds yet.
    pub evidence: usize,
    /// Encoded bytes of them.
    pub evidence_bytes: usize,
    /// Decided blocks above the undecided height.
    pub ahead: usize,
    /// Encoded bytes of them.
    pub ahead_bytes: usize,
    /// Members of whom something is known.
    pub peers: usize,
}

impl<S: Signer, V: Verifier> Machine<S, V> {
    /// What it holds; walks over all of it.
    pub fn holdings(&self) -> Holdings {
        let round = &self.round;
        let (ahead, ahead_bytes, peers) = self.sync.holdings();
        Holdings {
            votes: round.tally.len(),
            blocks: round.blocks.len(),
            proposals: round.pre_prepares.len(),
            view_changes: round.view_changes.values().map(BTreeMap::len).sum(),
            certificates: round.prepared.len(),
            refused: round.refused.len(),
            evidence: self.evidence.len(),
            evidence_bytes: self.evidence.waiting().map(wire::encoded_len).sum(),
            ahead,
            ahead_bytes,
            peers,
        }
    }
}

impl Intake {
    /// Links for which something is kept.
    pub fn links(&self) -> impl Iterator<Item = ReplicaId> {
        self.links.keys().copied()
    }

    /// Entries kept for a link: votes and early proposals.
    pub fn entries(&self, link: ReplicaId) -> (usize, usize) {
        self.links
            .get(&link)
            .map_or((0, 0), |link| (link.votes.len(), link.proposals.len()))
    }

    /// The lowest and the highest height and the highest view of the votes kept for a link.
    pub fn span(&self, link: ReplicaId) -> Option<(Height, Height, View)> {
        let votes = &self.links.get(&link)?.votes;
        let (lowest, ..) = votes.keys().next()?;
        let (highest, ..) = votes.keys().next_back()?;
        let view = votes.keys().map(|(_, view, _)| *view).max()?;
        Some((*lowest, *highest, view))
    }

    /// The encoded size of what is kept for a link, added up anew.
    pub fn measured_bytes(&self, link: ReplicaId) -> usize {
        self.links.get(&link).map_or(0, |link| {
            let votes: usize = link.votes.values().map(wire::encoded_len).sum();
            let proposals: usize = link.proposals.values().map(wire::encoded_len).sum();
            votes + proposals
        })
    }
}
