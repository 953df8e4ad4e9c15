//! Forgets what it prepared.

use super::{Adversary, Scene, Sending, message_of};
use polity_consensus::fbpbft::Message;
use polity_replica::Frame;
use polity_types::ReplicaId;

/// A member that claims in every VIEW-CHANGE to have seen nothing prepared (R6).
#[derive(Clone, Copy, Debug, Default)]
pub struct Forgetful;

impl Adversary for Forgetful {
    fn name(&self) -> &'static str {
        "forgetful"
    }

    fn sends(&mut self, scene: &mut Scene<'_>, _: ReplicaId, frame: &Frame) -> Sending {
        match message_of(frame) {
            Some(Message::ViewChange(said)) => {
                let denial = scene.view_change(said.height, said.view, None);
                Sending::Instead(vec![Frame::Consensus(Message::ViewChange(denial))])
            }
            Some(_) | None => Sending::Pass,
        }
    }
}
