//! Starts views that nobody asked for.

use super::{Adversary, Scene};
use polity_consensus::fbpbft::{Block, Body, Message, NewViewProposal, ViewChange};
use polity_replica::Frame;
use polity_types::{Height, ReplicaId, View};
use std::sync::Arc;

/// A member that sends NEW-VIEWs with junk in the place of proofs, for views below and above the
/// current one, whether it leads them or not (V3).
#[derive(Debug, Default)]
pub struct JunkNewView {
    heard: Option<Arc<Block>>,
}

impl JunkNewView {
    fn parts(scene: &mut Scene<'_>, height: Height, view: View) -> Vec<ViewChange> {
        let own = scene.view_change(height, view, None);
        match scene.random.below(4) {
            0 => Vec::new(),
            // Its own word, as often as a quorum has members.
            1 => vec![own; 3],
            // The others' names under junk.
            2 => scene
                .others()
                .into_iter()
                .map(|signer| ViewChange {
                    signer,
                    signature: scene.junk_signature(),
                    ..own.clone()
                })
                .collect(),
            // For another view than the one it starts.
            _ => vec![scene.view_change(height, view.next(), None); 4],
        }
    }
}

impl Adversary for JunkNewView {
    fn name(&self) -> &'static str {
        "junk NEW-VIEW"
    }

    fn hears(&mut self, _: &mut Scene<'_>, _: ReplicaId, frame: &Frame) {
        if let Some(Message::Proposal(proposal)) = super::message_of(frame) {
            self.heard = Some(proposal.block.clone());
        }
    }

    fn is_restless(&self) -> bool {
        true
    }

    fn idles(&mut self, scene: &mut Scene<'_>) {
        let Some(pattern) = self.heard.clone() else {
            return;
        };
        let height = scene.height();
        let count = scene.others().len() as u64 + 1;
        let first = scene.view();
        // The next view that it leads, and any other.
        let led = (1..=count)
            .map(|step| first.saturating_add(step))
            .find(|view| scene.chain.leader(height, *view) == scene.id);
        let other = View::new(scene.random.below(12));
        for view in led.into_iter().chain([other]) {
            let parts = Self::parts(scene, height, view);
            let id = scene.id;
            // An empty body: the one of another height would be refused for its certificate.
            let bare = Block {
                header: pattern.header.clone(),
                body: Body::default(),
            };
            let block = scene.changed(&bare, |header| {
                header.height = height;
                header.view = view;
                header.proposer = id;
            });
            let pre_prepare = scene.pre_prepare(height, view, block.header.digest());
            let new_view = scene.new_view(parts, pre_prepare);
            scene.shout(&Message::NewView(NewViewProposal { new_view, block }));
        }
    }
}
