//! Keeps its COMMITs to itself, or to one member.

use super::{Adversary, Scene, Sending, message_of};
use polity_consensus::fbpbft::{Message, VoteKind};
use polity_replica::Frame;
use polity_types::ReplicaId;

/// A member that sends its COMMITs to one favourite at most, and answers nobody who fetches what
/// was decided through them (W4a).
#[derive(Clone, Copy, Debug, Default)]
pub struct Withholder {
    /// The only one who hears its COMMITs.
    pub favourite: Option<ReplicaId>,
}

impl Adversary for Withholder {
    fn name(&self) -> &'static str {
        "withheld COMMITs"
    }

    fn sends(&mut self, _: &mut Scene<'_>, to: ReplicaId, frame: &Frame) -> Sending {
        let is_withheld = match message_of(frame) {
            Some(Message::Vote(vote)) => vote.kind == VoteKind::Commit,
            Some(Message::Decided(_) | Message::Status(_)) => true,
            Some(_) | None => false,
        };
        if is_withheld && self.favourite != Some(to) {
            Sending::Drop
        } else {
            Sending::Pass
        }
    }
}
