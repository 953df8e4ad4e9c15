//! Asks for views far away.

use super::{Adversary, Scene};
use polity_consensus::fbpbft::Message;
use polity_replica::Frame;
use polity_types::{Height, ReplicaId, View};
use std::collections::BTreeSet;

/// A member that asks for the same far view at every height (W4c).
#[derive(Clone, Debug)]
pub struct ViewJumper {
    /// The view it asks for.
    pub view: View,
    /// The height at which it speaks, and whom it told already: two of a kind would otherwise
    /// answer each other for ever.
    told: (Height, BTreeSet<ReplicaId>),
}

impl ViewJumper {
    /// A member that asks for this view.
    pub fn to(view: View) -> Self {
        Self {
            view,
            told: (Height::ZERO, BTreeSet::new()),
        }
    }
}

impl Adversary for ViewJumper {
    fn name(&self) -> &'static str {
        "view jumper"
    }

    fn hears(&mut self, scene: &mut Scene<'_>, from: ReplicaId, _: &Frame) {
        let height = scene.height();
        if self.told.0 != height {
            self.told = (height, BTreeSet::new());
        }
        if self.told.1.insert(from) {
            let said = scene.view_change(height, self.view, None);
            scene.say(from, Message::ViewChange(said));
        }
    }
}
