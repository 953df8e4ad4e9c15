//! Uses signatures where they were not made for.

use super::{Adversary, Scene, Sending, message_of, sign_vote};
use polity_consensus::fbpbft::{Chain, Message, Vote, VoteKind};
use polity_replica::Frame;
use polity_types::{Height, ReplicaId, View};
use std::cell::Cell;
use std::rc::Rc;

/// Signatures made for one place, used in another (W12).
///
/// Its own votes reach the others only with a signature over another chain, another kind, another
/// height or another view, so they must count for nothing.
#[derive(Debug)]
pub struct Foreigner {
    elsewhere: Chain,
    turn: u64,
    said: Rc<Cell<u64>>,
}

impl Foreigner {
    /// A member of two chains that mixes them up.
    pub fn new(elsewhere: Chain) -> Self {
        Self {
            elsewhere,
            turn: 0,
            said: Rc::default(),
        }
    }

    /// Where the number of misplaced signatures appears.
    pub fn said(&self) -> Rc<Cell<u64>> {
        self.said.clone()
    }
}

impl Adversary for Foreigner {
    fn name(&self) -> &'static str {
        "foreigner"
    }

    fn sends(&mut self, scene: &mut Scene<'_>, _: ReplicaId, frame: &Frame) -> Sending {
        let Some(Message::Vote(vote)) = message_of(frame) else {
            return Sending::Pass;
        };
        self.turn += 1;
        self.said.set(self.said.get() + 1);
        let other_kind = match vote.kind {
            VoteKind::Prepare => VoteKind::Commit,
            VoteKind::Commit => VoteKind::Prepare,
        };
        // One epoch further in a federation of short epochs.
        let later = Height::new(vote.height.get() + 5);
        let (chain, kind, height, view) = match self.turn % 4 {
            0 => (&self.elsewhere, vote.kind, vote.height, vote.view),
            1 => (scene.chain, other_kind, vote.height, vote.view),
            2 => (scene.chain, vote.kind, later, vote.view),
            _ => (scene.chain, vote.kind, vote.height, View::new(9)),
        };
        let signature = sign_vote(scene.signer, chain, kind, height, view, &vote.value);
        let misplaced = Message::Vote(Vote {
            signature,
            ..vote.clone()
        });
        Sending::Instead(vec![Frame::Consensus(misplaced)])
    }
}
