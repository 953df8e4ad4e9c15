//! Tells everybody two things, one after the other.

use super::{Adversary, Scene, Sending, message_of};
use polity_consensus::fbpbft::{Message, Value, Vote, VoteKind};
use polity_crypto::Sha256Digest;
use polity_replica::Frame;
use polity_types::ReplicaId;

/// A member that votes twice towards each member: at once, while the first vote still waits, or
/// once the others have counted it (FB-16).
#[derive(Clone, Copy, Debug, Default)]
pub struct DoubleVoter;

impl DoubleVoter {
    fn other(scene: &Scene<'_>, vote: &Vote) -> Message {
        let mut digest = *vote.value.digest.as_bytes();
        digest[31] ^= 1;
        let value = Value {
            digest: Sha256Digest::new(digest),
            ..vote.value
        };
        Message::Vote(scene.vote(vote.kind, vote.height, vote.view, value))
    }
}

impl Adversary for DoubleVoter {
    fn name(&self) -> &'static str {
        "double voter"
    }

    fn sends(&mut self, scene: &mut Scene<'_>, _: ReplicaId, frame: &Frame) -> Sending {
        match message_of(frame) {
            Some(Message::Vote(vote)) if vote.signer == scene.id => {
                if scene.random.below(4) != 0 {
                    return Sending::Pass;
                }
                let other = Frame::Consensus(Self::other(scene, vote));
                Sending::Instead(vec![frame.clone(), other])
            }
            Some(_) | None => Sending::Pass,
        }
    }

    fn hears(&mut self, scene: &mut Scene<'_>, from: ReplicaId, frame: &Frame) {
        // Whoever sends COMMIT has counted PREPAREs, its own perhaps among them.
        if let Some(Message::Vote(vote)) = message_of(frame)
            && vote.kind == VoteKind::Commit
            && vote.view.get() == 0
        {
            let prepare = Vote {
                kind: VoteKind::Prepare,
                ..vote.clone()
            };
            let other = Self::other(scene, &prepare);
            scene.say(from, other);
        }
    }
}
