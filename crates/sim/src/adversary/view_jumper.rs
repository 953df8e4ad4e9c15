//! Asks for views far away.

use super::{Adversary, Scene};
use polity_consensus::fbpbft::Message;
use polity_types::{ReplicaId, View};

/// A member that asks for the same far view at every height (W4c).
#[derive(Clone, Copy, Debug)]
pub struct ViewJumper {
    /// The view it asks for.
    pub view: View,
}

impl Adversary for ViewJumper {
    fn name(&self) -> &'static str {
        "view jumper"
    }

    fn hears(&mut self, scene: &mut Scene<'_>, from: ReplicaId, _: &polity_replica::Frame) {
        let said = scene.view_change(scene.height(), self.view, None);
        scene.say(from, Message::ViewChange(said));
    }
}
