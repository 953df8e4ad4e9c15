//! Is late on purpose.

use super::{Adversary, Scene, Sending, message_of};
use core::time::Duration;
use polity_consensus::fbpbft::{Message, VoteKind};
use polity_replica::Frame;
use polity_types::{ReplicaId, Time};
use std::collections::VecDeque;

/// Frames it keeps back; beyond these it says nothing.
const KEPT_MAX: usize = 4_096;

/// A member that says some things later than it could.
#[derive(Debug)]
pub struct Slow {
    what: Late,
    by: Duration,
    kept: VecDeque<(Time, ReplicaId, Frame)>,
}

/// What it is late with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Late {
    Prepares,
    Proposals,
}

impl Slow {
    /// Its PREPAREs come when nobody waits for them any more, often in a view that others left.
    pub fn preparer(by: Duration) -> Self {
        Self::new(Late::Prepares, by)
    }

    /// A leader that is barely alive: its proposals come just in front of the timeout, so that
    /// nobody changes the view and nothing is fast.
    pub fn leader(by: Duration) -> Self {
        Self::new(Late::Proposals, by)
    }

    fn new(what: Late, by: Duration) -> Self {
        Self {
            what,
            by,
            kept: VecDeque::new(),
        }
    }
}

impl Adversary for Slow {
    fn name(&self) -> &'static str {
        match self.what {
            Late::Prepares => "delayed PREPAREs",
            Late::Proposals => "barely alive leader",
        }
    }

    fn sends(&mut self, scene: &mut Scene<'_>, to: ReplicaId, frame: &Frame) -> Sending {
        let is_late = match (self.what, message_of(frame)) {
            (Late::Prepares, Some(Message::Vote(vote))) => vote.kind == VoteKind::Prepare,
            (Late::Proposals, Some(Message::Proposal(_) | Message::NewView(_))) => true,
            _ => false,
        };
        if !is_late {
            return Sending::Pass;
        }
        if self.kept.len() < KEPT_MAX {
            let at = scene.now.saturating_add(self.by);
            self.kept.push_back((at, to, frame.clone()));
        }
        Sending::Drop
    }

    fn is_restless(&self) -> bool {
        true
    }

    fn idles(&mut self, scene: &mut Scene<'_>) {
        while let Some((at, ..)) = self.kept.front()
            && *at <= scene.now
        {
            if let Some((_, to, frame)) = self.kept.pop_front() {
                scene.out.push((to, frame));
            }
        }
    }
}
