//! Says that it is far ahead.

use super::{Adversary, Scene, Sending, message_of};
use polity_consensus::fbpbft::{Message, Status};
use polity_replica::Frame;
use polity_types::{Height, ReplicaId, View};

/// A member that pretends to work on a height of a billion, and answers no fetch (R12).
#[derive(Clone, Copy, Debug, Default)]
pub struct StatusLiar;

impl Adversary for StatusLiar {
    fn name(&self) -> &'static str {
        "status liar"
    }

    fn sends(&mut self, _: &mut Scene<'_>, _: ReplicaId, frame: &Frame) -> Sending {
        match message_of(frame) {
            Some(Message::Status(_) | Message::Decided(_)) => Sending::Drop,
            Some(_) | None => Sending::Pass,
        }
    }

    fn is_restless(&self) -> bool {
        true
    }

    fn idles(&mut self, scene: &mut Scene<'_>) {
        let last_decided = scene.junk_digest();
        let height = match scene.random.below(3) {
            0 => Height::MAX,
            1 => scene.height().next(),
            _ => Height::new(1_000_000_000),
        };
        scene.shout(&Message::Status(Status {
            height,
            view: View::MAX,
            last_decided,
        }));
        // And it asks for everything all the time.
        let to = scene.anybody();
        let from = Height::new(scene.random.below(4));
        scene.say(to, Message::FetchDecided { from });
        let digest = scene.junk_digest();
        let height = scene.height();
        scene.say(to, Message::FetchBlock { height, digest });
    }
}
