//! Repeats what it heard.

use super::{Adversary, Scene};
use polity_replica::Frame;
use polity_types::ReplicaId;
use std::collections::VecDeque;

/// Frames it remembers; the oldest fall out.
const HEARD_MAX: usize = 512;

/// A member that sends old frames of everybody to anybody, over its own link.
#[derive(Debug, Default)]
pub struct Replayer {
    heard: VecDeque<Frame>,
}

impl Adversary for Replayer {
    fn name(&self) -> &'static str {
        "replayer"
    }

    fn hears(&mut self, scene: &mut Scene<'_>, _: ReplicaId, frame: &Frame) {
        self.heard.push_back(frame.clone());
        if self.heard.len() > HEARD_MAX {
            self.heard.pop_front();
        }
        // A third of what it hears is passed on at once, so that relayed copies race the original.
        if scene.random.below(3) == 0 {
            let to = scene.anybody();
            scene.out.push((to, frame.clone()));
        }
    }

    fn is_restless(&self) -> bool {
        true
    }

    fn idles(&mut self, scene: &mut Scene<'_>) {
        for _ in 0..8 {
            let place = scene.random.below(self.heard.len() as u64) as usize;
            if let Some(frame) = self.heard.get(place) {
                let to = scene.anybody();
                scene.out.push((to, frame.clone()));
            }
        }
    }
}
