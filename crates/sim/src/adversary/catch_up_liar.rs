//! Helps those who are behind with what was never decided.

use super::{Adversary, Scene, Sending, message_of};
use polity_consensus::fbpbft::{Decided, Message, Status, TransactionBytes, Value, VoteKind};
use polity_replica::Frame;
use polity_types::{ReplicaId, View};
use std::sync::Arc;

/// A member that answers every fetch with lies: decided blocks with another body, a certificate of
/// PREPAREs, of too few, or of another block, and unasked-for blocks far ahead (FB-14).
#[derive(Clone, Debug, Default)]
pub struct CatchUpLiar {
    heard: Option<Decided>,
    turn: u64,
}

impl CatchUpLiar {
    fn lie(&mut self, scene: &mut Scene<'_>, truth: &Decided) -> Decided {
        self.turn += 1;
        let mut lie = truth.clone();
        let other = |lie: &mut Decided, scene: &mut Scene<'_>| {
            let block = scene.twin(&truth.block);
            lie.certificate.value = Value::of_block(block.header.digest());
            lie.block = block;
        };
        match self.turn % 7 {
            // Signatures for another block.
            0 => other(&mut lie, scene),
            // What it can sign by itself: one vote, where a quorum has to stand.
            1 => {
                other(&mut lie, scene);
                let certificate = &lie.certificate;
                let own = scene.vote(
                    VoteKind::Commit,
                    certificate.height,
                    certificate.view,
                    certificate.value,
                );
                let length =
                    lie.certificate.votes.signatures.len() / own.signature.as_slice().len();
                lie.certificate.votes.signatures = own.signature.as_slice().repeat(length);
            }
            2 => lie.certificate.kind = VoteKind::Prepare,
            3 => lie.certificate.view = View::new(lie.certificate.view.get() + 1),
            4 => {
                lie.certificate.votes.signatures.truncate(64);
            }
            5 => {
                let mut block = (*lie.block).clone();
                block
                    .body
                    .transactions
                    .push(TransactionBytes::new(vec![7; 90]));
                lie.block = Arc::new(block);
            }
            _ => {
                // The right block at another height.
                lie.certificate.height = lie.certificate.height.saturating_add(3);
            }
        }
        lie
    }
}

impl Adversary for CatchUpLiar {
    fn name(&self) -> &'static str {
        "catch-up liar"
    }

    fn sends(&mut self, scene: &mut Scene<'_>, _: ReplicaId, frame: &Frame) -> Sending {
        match message_of(frame) {
            Some(Message::Decided(truth)) => {
                self.heard = Some(truth.clone());
                let lie = self.lie(scene, truth);
                Sending::Instead(vec![Frame::Consensus(Message::Decided(lie))])
            }
            Some(Message::Status(status)) => {
                // It is always a little ahead, so it is always asked.
                let ahead = Status {
                    height: status.height.saturating_add(2),
                    ..*status
                };
                Sending::Instead(vec![Frame::Consensus(Message::Status(ahead))])
            }
            Some(_) | None => Sending::Pass,
        }
    }

    fn hears(&mut self, scene: &mut Scene<'_>, from: ReplicaId, frame: &Frame) {
        let asked = match message_of(frame) {
            Some(Message::FetchDecided { from }) => *from,
            Some(Message::FetchBlock { height, .. }) => *height,
            Some(Message::Proposal(proposal)) => {
                // A block that is only proposed, as if it were decided.
                if let Some(certificate) = proposal.block.body.parent_certificate.clone() {
                    let decided = Decided {
                        block: proposal.block.clone(),
                        certificate,
                    };
                    self.heard = Some(decided.clone());
                    scene.shout(&Message::Decided(decided));
                }
                return;
            }
            Some(_) | None => return,
        };
        if let Some(truth) = self.heard.clone() {
            let mut lie = self.lie(scene, &truth);
            if scene.random.below(2) == 0 {
                lie.certificate.height = asked;
            }
            scene.say(from, Message::Decided(lie));
            scene.say(from, Message::Block(scene.twin(&truth.block)));
        }
    }
}
