//! What has been counted (FB-5).

use super::message::{Value, Vote, VoteKind};
use crate::committee::{Committee as _, CommitteeTable};
use alloc::collections::{BTreeMap, BTreeSet};
use polity_crypto::Signature;
use polity_types::{ReplicaId, View, Weight};

/// Verified votes of one height. Each member counts once for each kind and view, so votes for
/// different values are never counted together.
///
/// Bounded by members, two kinds, and the views that intake lets through.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Tally {
    votes: BTreeMap<(VoteKind, View, ReplicaId), (Value, Signature)>,
    /// Values that got a vote which intake does not know of yet.
    counted: BTreeSet<(VoteKind, View, Value)>,
}

/// What counting a vote showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Counted {
    /// It counts.
    New,
    /// It was counted before.
    Known,
    /// The member voted for another value before: here is that vote.
    Contradiction(Vote),
}

impl Tally {
    /// Counts a verified vote of this height.
    pub fn count(&mut self, vote: &Vote) -> Counted {
        let key = (vote.kind, vote.view, vote.signer);
        match self.votes.get(&key) {
            None => {
                self.votes.insert(key, (vote.value, vote.signature.clone()));
                self.counted.insert((vote.kind, vote.view, vote.value));
                Counted::New
            }
            Some((value, _)) if *value == vote.value => Counted::Known,
            Some((value, signature)) => Counted::Contradiction(Vote {
                value: *value,
                signature: signature.clone(),
                ..vote.clone()
            }),
        }
    }

    /// Counts a vote that this replica just signed.
    pub(super) fn count_own(&mut self, vote: &Vote) {
        let counted = self.count(vote);
        assert!(
            !matches!(counted, Counted::Contradiction(_)),
            "this replica votes twice: {vote:?} and {counted:?}"
        );
    }

    /// What was counted since the last call: beside it, votes that wait could be enough.
    pub(super) fn take_counted(&mut self) -> BTreeSet<(VoteKind, View, Value)> {
        core::mem::take(&mut self.counted)
    }

    /// Votes that count.
    pub(super) fn len(&self) -> usize {
        self.votes.len()
    }

    /// The value for which a member's vote counts.
    pub fn value_of(&self, kind: VoteKind, view: View, signer: ReplicaId) -> Option<Value> {
        self.votes
            .get(&(kind, view, signer))
            .map(|(value, _)| *value)
    }

    /// The COMMITs of one member, with their views.
    pub fn commits_of(&self, signer: ReplicaId) -> impl Iterator<Item = (View, Value, &Signature)> {
        self.votes
            .iter()
            .filter(move |((kind, _, id), _)| *kind == VoteKind::Commit && *id == signer)
            .map(|((_, view, _), (value, signature))| (*view, *value, signature))
    }

    /// The weight behind a value.
    pub fn weight(
        &self,
        committee: &CommitteeTable,
        kind: VoteKind,
        view: View,
        value: &Value,
    ) -> Weight {
        self.of_view(kind, view)
            .filter(|(_, (voted, _))| voted == value)
            .map(|(id, _)| committee.weight(id))
            .sum()
    }

    /// The signatures behind a value.
    pub fn signatures(
        &self,
        kind: VoteKind,
        view: View,
        value: &Value,
    ) -> BTreeMap<ReplicaId, Signature> {
        self.of_view(kind, view)
            .filter(|(_, (voted, _))| voted == value)
            .map(|(id, (_, signature))| (id, signature.clone()))
            .collect()
    }

    fn of_view(
        &self,
        kind: VoteKind,
        view: View,
    ) -> impl Iterator<Item = (ReplicaId, &(Value, Signature))> {
        self.votes
            .range((kind, view, ReplicaId::ZERO)..=(kind, view, ReplicaId::MAX))
            .map(|((_, _, id), vote)| (*id, vote))
    }
}
