//! Accuses honest members with what they really said.

use super::{Adversary, Scene, message_of};
use polity_consensus::fbpbft::{Evidence, Message, NewView, PrePrepare, ViewChange, Vote};
use polity_replica::Frame;
use polity_types::ReplicaId;
use std::collections::VecDeque;

/// Statements of a kind that it remembers.
const HEARD_MAX: usize = 64;

/// A member that makes evidence of real statements of others, none of which is an offence: one
/// statement twice, votes of two heights, views or kinds, a COMMIT with a VIEW-CHANGE that does not
/// hide it, NEW-VIEWs with a part exchanged; and that changes one statement of a pair (FB-16).
#[derive(Debug, Default)]
pub struct EvidenceForger {
    votes: VecDeque<Vote>,
    view_changes: VecDeque<ViewChange>,
    proposals: VecDeque<PrePrepare>,
    new_views: VecDeque<NewView>,
}

fn keep<T>(heard: &mut VecDeque<T>, statement: T) {
    heard.push_back(statement);
    if heard.len() > HEARD_MAX {
        heard.pop_front();
    }
}

fn any<T: Clone>(scene: &mut Scene<'_>, heard: &VecDeque<T>) -> Option<T> {
    let place = scene.random.below(heard.len() as u64) as usize;
    heard.get(place).cloned()
}

impl EvidenceForger {
    fn forged(&self, scene: &mut Scene<'_>) -> Option<Evidence> {
        let bare = |said: ViewChange| ViewChange {
            certificate: None,
            ..said
        };
        Some(match scene.random.below(8) {
            0 => {
                let vote = any(scene, &self.votes)?;
                Evidence::TwoVotes(vote.clone(), vote)
            }
            1 => {
                // Another height, view, kind or member.
                let (first, second) = (any(scene, &self.votes)?, any(scene, &self.votes)?);
                Evidence::TwoVotes(first, second)
            }
            2 => {
                let first = any(scene, &self.votes)?;
                let mut second = first.clone();
                second.value.digest = scene.junk_digest();
                second.signature = scene
                    .vote(second.kind, second.height, second.view, second.value)
                    .signature;
                Evidence::TwoVotes(first, second)
            }
            3 => {
                let first = bare(any(scene, &self.view_changes)?);
                let second = bare(any(scene, &self.view_changes)?);
                Evidence::TwoViewChanges(first, second)
            }
            4 => Evidence::ForgottenLock {
                commit: any(scene, &self.votes)?,
                view_change: bare(any(scene, &self.view_changes)?),
            },
            5 => {
                let (first, second) = (any(scene, &self.proposals)?, any(scene, &self.proposals)?);
                Evidence::TwoProposals(first, second)
            }
            6 => Evidence::UnjustifiedNewView(any(scene, &self.new_views)?.into()),
            _ => {
                let mut new_view = any(scene, &self.new_views)?;
                new_view.view_changes.pop();
                Evidence::UnjustifiedNewView(new_view.into())
            }
        })
    }
}

impl Adversary for EvidenceForger {
    fn name(&self) -> &'static str {
        "evidence forger"
    }

    fn hears(&mut self, _: &mut Scene<'_>, _: ReplicaId, frame: &Frame) {
        match message_of(frame) {
            Some(Message::Vote(vote)) => keep(&mut self.votes, vote.clone()),
            Some(Message::ViewChange(said)) => keep(&mut self.view_changes, said.clone()),
            Some(Message::Proposal(proposal)) => {
                keep(&mut self.proposals, proposal.pre_prepare.clone());
            }
            Some(Message::NewView(proposal)) => {
                keep(&mut self.new_views, proposal.new_view.clone());
                keep(&mut self.proposals, proposal.new_view.pre_prepare.clone());
                for part in &proposal.new_view.view_changes {
                    keep(&mut self.view_changes, part.clone());
                }
            }
            Some(_) | None => {}
        }
    }

    fn is_restless(&self) -> bool {
        true
    }

    fn idles(&mut self, scene: &mut Scene<'_>) {
        for _ in 0..6 {
            if let Some(forged) = self.forged(scene) {
                scene.shout(&Message::Evidence(forged));
            }
        }
    }
}
