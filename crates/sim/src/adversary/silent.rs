//! Says nothing.

use super::{Adversary, Scene, Sending, message_of};
use polity_consensus::fbpbft::Message;
use polity_replica::Frame;
use polity_types::ReplicaId;

/// A member that keeps silent: as a leader only, or always (V1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Silent {
    /// It votes, but never proposes.
    AsLeader,
    /// It hears everything and says nothing.
    Always,
}

impl Adversary for Silent {
    fn name(&self) -> &'static str {
        "silent"
    }

    fn sends(&mut self, _: &mut Scene<'_>, _: ReplicaId, frame: &Frame) -> Sending {
        let is_leading = matches!(
            message_of(frame),
            Some(Message::Proposal(_) | Message::NewView(_))
        );
        match self {
            Self::AsLeader if !is_leading => Sending::Pass,
            Self::AsLeader | Self::Always => Sending::Drop,
        }
    }
}
