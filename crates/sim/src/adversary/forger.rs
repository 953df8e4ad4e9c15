//! Speaks in the names of others, without their keys.

use super::{Adversary, Scene, message_of};
use polity_consensus::fbpbft::{
    Evidence, Message, NewView, NewViewProposal, Proposal, TransactionBytes, Value, Vote, VoteKind,
};
use polity_replica::Frame;
use polity_types::{Height, ReplicaId};
use std::sync::Arc;

/// A member that sends votes in the names of others under junk, and copies of what it hears with
/// changed signatures, faster than the originals arrive (R10, R11).
#[derive(Clone, Copy, Debug, Default)]
pub struct Forger {
    /// The highest decided block that it imitated.
    decided: Height,
}

impl Forger {
    /// The message with one signature changed.
    fn spoilt(scene: &mut Scene<'_>, message: &Message) -> Option<Message> {
        let junk = scene.junk_signature();
        Some(match message.clone() {
            Message::Vote(vote) => Message::Vote(Vote {
                signature: junk,
                ..vote
            }),
            Message::Proposal(mut proposal) => {
                proposal.pre_prepare.signature = junk;
                Message::Proposal(proposal)
            }
            Message::ViewChange(mut said) => {
                said.signature = junk;
                Message::ViewChange(said)
            }
            Message::NewView(NewViewProposal {
                mut new_view,
                block,
            }) => {
                new_view.signature = junk;
                Message::NewView(NewViewProposal { new_view, block })
            }
            Message::Decided(mut decided) => {
                // No digest covers the signatures of transactions: change one of those.
                let mut block = (*decided.block).clone();
                let first = block.body.transactions.first_mut()?;
                let mut bytes = first.as_slice().to_vec();
                *bytes.last_mut()? ^= 1;
                *first = TransactionBytes::new(bytes);
                decided.block = Arc::new(block);
                Message::Decided(decided)
            }
            Message::Status(_)
            | Message::FetchDecided { .. }
            | Message::FetchBlock { .. }
            | Message::Block(_)
            | Message::Evidence(_) => return None,
        })
    }

    /// Whether the sender speaks for itself. Two forgers would otherwise imitate each other's
    /// imitations, more of them each time.
    fn is_first_hand(scene: &Scene<'_>, from: ReplicaId, message: &Message) -> bool {
        match message {
            Message::Vote(vote) => vote.signer == from,
            Message::ViewChange(said) => said.signer == from,
            Message::Proposal(Proposal { pre_prepare, .. })
            | Message::NewView(NewViewProposal {
                new_view: NewView { pre_prepare, .. },
                ..
            }) => scene.chain.leader(pre_prepare.height, pre_prepare.view) == from,
            // What nobody signs, and what is not imitated.
            Message::Decided(_)
            | Message::Status(_)
            | Message::FetchDecided { .. }
            | Message::FetchBlock { .. }
            | Message::Block(_)
            | Message::Evidence(_) => true,
        }
    }

    /// Two votes of an honest member that it never cast.
    fn frame(scene: &mut Scene<'_>, accused: ReplicaId) -> Evidence {
        let vote = |scene: &mut Scene<'_>| Vote {
            kind: VoteKind::Prepare,
            height: scene.height(),
            view: scene.view(),
            value: Value::of_block(scene.junk_digest()),
            signer: accused,
            signature: scene.junk_signature(),
        };
        Evidence::TwoVotes(vote(scene), vote(scene))
    }
}

impl Adversary for Forger {
    fn name(&self) -> &'static str {
        "forger"
    }

    fn hears(&mut self, scene: &mut Scene<'_>, from: ReplicaId, frame: &Frame) {
        let Some(message) = message_of(frame) else {
            return;
        };
        if !Self::is_first_hand(scene, from, message) {
            return;
        }
        if let Message::Decided(decided) = message {
            // Each block once, for the same reason.
            let height = decided.certificate.height;
            if height <= self.decided {
                return;
            }
            self.decided = height;
        }
        if let Some(spoilt) = Self::spoilt(scene, message) {
            scene.shout(&spoilt);
        }
        // What a leader proposed is what everybody will vote for: spoil the votes in advance.
        if let Message::Proposal(Proposal { pre_prepare, .. }) = message {
            let (height, view) = (pre_prepare.height, pre_prepare.view);
            let digest = pre_prepare.digest;
            for signer in scene.others() {
                for kind in [VoteKind::Prepare, VoteKind::Commit] {
                    let signature = scene.junk_signature();
                    scene.shout(&Message::Vote(Vote {
                        kind,
                        height,
                        view,
                        value: Value::of_block(digest),
                        signer,
                        signature,
                    }));
                }
            }
        }
    }

    fn is_restless(&self) -> bool {
        true
    }

    fn idles(&mut self, scene: &mut Scene<'_>) {
        // Votes for later heights and views, in everybody's name.
        for signer in scene.others() {
            let height = scene.height().saturating_add(scene.random.below(20));
            let view = scene.view().saturating_add(scene.random.below(40));
            let (digest, signature) = (scene.junk_digest(), scene.junk_signature());
            scene.shout(&Message::Vote(Vote {
                kind: VoteKind::Commit,
                height,
                view,
                value: Value::of_block(digest),
                signer,
                signature,
            }));
        }
        let accused = scene.anybody();
        let evidence = Self::frame(scene, accused);
        scene.shout(&Message::Evidence(evidence));
        // And transactions under junk, and bytes that are none.
        let to = scene.anybody();
        let junk = scene.junk_signature().as_slice().to_vec();
        let frame = Frame::Transactions(vec![TransactionBytes::new(junk)]);
        scene.out.push((to, frame));
    }
}
