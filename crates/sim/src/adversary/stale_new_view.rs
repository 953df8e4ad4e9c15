//! Starts views with the words of others, used wrongly.

use super::{Adversary, Scene, Sending, message_of};
use polity_consensus::fbpbft::{Message, NewViewProposal, ViewChange};
use polity_replica::Frame;
use polity_types::ReplicaId;
use std::collections::VecDeque;

/// NEW-VIEWs it remembers.
const HEARD_MAX: usize = 16;

/// A leader that starts its views with real VIEW-CHANGEs and another block than follows from them,
/// or leaves out those that bind it, and a relay of NEW-VIEWs that are over (FB-10).
#[derive(Debug, Default)]
pub struct StaleNewView {
    heard: VecDeque<NewViewProposal>,
    /// VIEW-CHANGEs of others at the present height.
    parts: Vec<ViewChange>,
    turn: u64,
}

impl StaleNewView {
    fn forged(&mut self, scene: &mut Scene<'_>, proposal: &NewViewProposal) -> NewViewProposal {
        self.turn += 1;
        let (height, view) = (proposal.new_view.height, proposal.new_view.view);
        let mut parts = proposal.new_view.view_changes.clone();
        let id = scene.id;
        // A fresh block of its own in the place of the one that must be proposed again.
        let block = scene.changed(&proposal.block, |header| {
            header.view = view;
            header.proposer = id;
            header.timestamp = header
                .timestamp
                .saturating_add(core::time::Duration::from_millis(3));
        });
        match self.turn % 4 {
            // All parts, the wrong block.
            0 => {}
            // Without those that claim something.
            1 => parts.retain(|part| part.prepared.is_none()),
            // Its own part denies what it saw.
            2 => {
                parts.retain(|part| part.signer != id && part.prepared.is_none());
                parts.push(scene.view_change(height, view, None));
            }
            // Parts for other views.
            _ => {
                let other = |part: &&ViewChange| part.height == height && part.view != view;
                let others: Vec<ViewChange> = self.parts.iter().filter(other).cloned().collect();
                parts.retain(|part| part.prepared.is_none());
                parts.extend(others);
            }
        }
        let pre_prepare = scene.pre_prepare(height, view, block.header.digest());
        NewViewProposal {
            new_view: scene.new_view(parts, pre_prepare),
            block,
        }
    }
}

impl Adversary for StaleNewView {
    fn name(&self) -> &'static str {
        "stale or forged NEW-VIEW"
    }

    fn sends(&mut self, scene: &mut Scene<'_>, to: ReplicaId, frame: &Frame) -> Sending {
        match message_of(frame) {
            // Every second member is told the truth.
            Some(Message::NewView(proposal)) if to.get().is_multiple_of(2) => {
                let forged = self.forged(scene, proposal);
                Sending::Instead(vec![Frame::Consensus(Message::NewView(forged))])
            }
            Some(_) | None => Sending::Pass,
        }
    }

    fn hears(&mut self, scene: &mut Scene<'_>, _: ReplicaId, frame: &Frame) {
        match message_of(frame) {
            Some(Message::NewView(proposal)) => {
                self.heard.push_back(proposal.clone());
                if self.heard.len() > HEARD_MAX {
                    self.heard.pop_front();
                }
            }
            Some(Message::ViewChange(said)) => {
                let height = scene.height();
                self.parts.retain(|part| part.height == height);
                if said.height == height && self.parts.len() < 64 {
                    self.parts.push(said.clone());
                }
            }
            Some(_) | None => {}
        }
    }

    fn is_restless(&self) -> bool {
        true
    }

    fn idles(&mut self, scene: &mut Scene<'_>) {
        let place = scene.random.below(self.heard.len() as u64) as usize;
        if let Some(stale) = self.heard.get(place).cloned()
            && scene.random.below(4) == 0
        {
            scene.shout(&Message::NewView(stale));
        }
    }
}
