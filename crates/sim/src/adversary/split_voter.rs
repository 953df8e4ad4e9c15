//! Tells half of the members something else.

use super::{Adversary, Scene, Sending, message_of};
use polity_consensus::fbpbft::{Message, Value, Vote};
use polity_crypto::Sha256Digest;
use polity_replica::Frame;
use polity_types::ReplicaId;

/// A member that sends members with odd numbers other PREPAREs, COMMITs and VIEW-CHANGEs than
/// those with even ones (FB-16).
#[derive(Clone, Copy, Debug, Default)]
pub struct SplitVoter;

impl SplitVoter {
    fn other(vote: &Vote) -> Value {
        let mut digest = *vote.value.digest.as_bytes();
        digest[0] ^= 1;
        Value {
            digest: Sha256Digest::new(digest),
            ..vote.value
        }
    }
}

impl Adversary for SplitVoter {
    fn name(&self) -> &'static str {
        "split voter"
    }

    fn sends(&mut self, scene: &mut Scene<'_>, to: ReplicaId, frame: &Frame) -> Sending {
        if to.get().is_multiple_of(2) {
            return Sending::Pass;
        }
        let message = match message_of(frame) {
            Some(Message::Vote(vote)) if vote.signer == scene.id => {
                let value = Self::other(vote);
                Message::Vote(scene.vote(vote.kind, vote.height, vote.view, value))
            }
            Some(Message::ViewChange(said)) if said.prepared.is_some() => {
                Message::ViewChange(scene.view_change(said.height, said.view, None))
            }
            Some(_) | None => return Sending::Pass,
        };
        Sending::Instead(vec![Frame::Consensus(message)])
    }
}
