//! Proposes two blocks, and has friends who vote for both.

use super::{Adversary, Scene, Sending, message_of};
use polity_consensus::fbpbft::{Block, Message, NewViewProposal, Proposal, Value, Vote, VoteKind};
use polity_crypto::Sha256Digest;
use polity_replica::Frame;
use polity_types::{Height, ReplicaId, View};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;

/// What a leader and its accomplices agreed on: who is told what.
#[derive(Debug, Default)]
pub struct Plot {
    /// Those who are told of the second block.
    pub second: BTreeSet<ReplicaId>,
    /// One who is told of both, because even a liar makes mistakes.
    pub witness: Option<ReplicaId>,
    /// The values of both blocks, for each height and view.
    twins: BTreeMap<(Height, View), [Value; 2]>,
}

impl Plot {
    /// Tells these members of second blocks and all others of first ones.
    pub fn against(second: impl IntoIterator<Item = ReplicaId>) -> Rc<RefCell<Self>> {
        Rc::new(RefCell::new(Self {
            second: second.into_iter().collect(),
            witness: None,
            twins: BTreeMap::new(),
        }))
    }

    /// How many times two blocks were proposed.
    pub fn attempts(&self) -> usize {
        self.twins.len()
    }

    /// What a recipient is told.
    fn choose(&self, to: ReplicaId, first: Message, second: Message) -> Sending {
        let told = match (self.witness == Some(to), self.second.contains(&to)) {
            (true, false) => vec![first, second],
            (true, true) => vec![second, first],
            (false, false) => vec![first],
            (false, true) => vec![second],
        };
        Sending::Instead(told.into_iter().map(Frame::Consensus).collect())
    }

    /// What a vote for either block becomes for this recipient.
    fn for_recipient(&self, to: ReplicaId, vote: &Vote) -> Option<Value> {
        let twins = self.twins.get(&(vote.height, vote.view))?;
        let is_ours = twins.iter().any(|value| value.digest == vote.value.digest);
        let value = twins[usize::from(self.second.contains(&to))];
        is_ours.then_some(match vote.kind {
            VoteKind::Prepare => value,
            VoteKind::Commit => Value::of_block(value.digest),
        })
    }
}

/// A leader that proposes one block to some members and another one to the rest, in view 0 and in
/// views above it, and votes for both (W3, W8).
#[derive(Debug)]
pub struct Equivocator {
    plot: Rc<RefCell<Plot>>,
    /// Its second blocks; it serves them too.
    twins: BTreeMap<Sha256Digest, Arc<Block>>,
}

impl Equivocator {
    /// A leader that follows this plot.
    pub fn new(plot: Rc<RefCell<Plot>>) -> Self {
        Self {
            plot,
            twins: BTreeMap::new(),
        }
    }

    fn propose(&mut self, scene: &Scene<'_>, to: ReplicaId, proposal: &Proposal) -> Sending {
        let at = (proposal.pre_prepare.height, proposal.pre_prepare.view);
        let twin = scene.twin(&proposal.block);
        let digest = twin.header.digest();
        self.twins.insert(digest, twin.clone());
        let mut plot = self.plot.borrow_mut();
        plot.twins.insert(
            at,
            [
                Value::of_block(proposal.pre_prepare.digest),
                Value::of_block(digest),
            ],
        );
        let first = Message::Proposal(proposal.clone());
        let second = Message::Proposal(Proposal {
            pre_prepare: scene.pre_prepare(at.0, at.1, digest),
            block: twin,
        });
        plot.choose(to, first, second)
    }

    /// A NEW-VIEW whose block is fresh can be doubled like any other.
    fn start_view(
        &mut self,
        scene: &Scene<'_>,
        to: ReplicaId,
        proposal: &NewViewProposal,
    ) -> Sending {
        let new_view = &proposal.new_view;
        let is_fresh = new_view
            .view_changes
            .iter()
            .all(|part| part.prepared.is_none());
        if !is_fresh {
            return Sending::Pass;
        }
        let at = (new_view.height, new_view.view);
        let twin = scene.twin(&proposal.block);
        let digest = twin.header.digest();
        self.twins.insert(digest, twin.clone());
        let second = scene.new_view(
            new_view.view_changes.clone(),
            scene.pre_prepare(at.0, at.1, digest),
        );
        let values = [
            Value {
                digest: new_view.pre_prepare.digest,
                new_view: new_view.digest(),
            },
            Value {
                digest,
                new_view: second.digest(),
            },
        ];
        let mut plot = self.plot.borrow_mut();
        plot.twins.insert(at, values);
        let first = Message::NewView(proposal.clone());
        let second = Message::NewView(NewViewProposal {
            new_view: second,
            block: twin,
        });
        plot.choose(to, first, second)
    }
}

impl Adversary for Equivocator {
    fn name(&self) -> &'static str {
        "equivocator"
    }

    fn sends(&mut self, scene: &mut Scene<'_>, to: ReplicaId, frame: &Frame) -> Sending {
        match message_of(frame) {
            Some(Message::Proposal(proposal)) => self.propose(scene, to, proposal),
            Some(Message::NewView(proposal)) => self.start_view(scene, to, proposal),
            Some(Message::Vote(vote)) => vote_for_twin(&self.plot, scene, to, vote),
            Some(_) | None => Sending::Pass,
        }
    }

    fn hears(&mut self, scene: &mut Scene<'_>, from: ReplicaId, frame: &Frame) {
        if let Some(Message::FetchBlock { digest, .. }) = message_of(frame)
            && let Some(twin) = self.twins.get(digest)
        {
            scene.say(from, Message::Block(twin.clone()));
        }
    }
}

/// A member that votes for the block that each recipient was told of, and so for both.
#[derive(Debug)]
pub struct Accomplice {
    plot: Rc<RefCell<Plot>>,
}

impl Accomplice {
    /// A member that follows this plot.
    pub fn new(plot: Rc<RefCell<Plot>>) -> Self {
        Self { plot }
    }
}

impl Adversary for Accomplice {
    fn name(&self) -> &'static str {
        "accomplice"
    }

    fn sends(&mut self, scene: &mut Scene<'_>, to: ReplicaId, frame: &Frame) -> Sending {
        match message_of(frame) {
            Some(Message::Vote(vote)) => vote_for_twin(&self.plot, scene, to, vote),
            Some(_) | None => Sending::Pass,
        }
    }

    /// It sends COMMIT as soon as anybody PREPAREs, whatever it has seen itself.
    fn hears(&mut self, scene: &mut Scene<'_>, from: ReplicaId, frame: &Frame) {
        let Some(Message::Vote(vote)) = message_of(frame) else {
            return;
        };
        let value = self.plot.borrow().for_recipient(from, vote);
        if let (VoteKind::Prepare, Some(value)) = (vote.kind, value) {
            let commit = Value::of_block(value.digest);
            let commit = scene.vote(VoteKind::Commit, vote.height, vote.view, commit);
            scene.say(from, Message::Vote(commit));
        }
    }
}

fn vote_for_twin(plot: &RefCell<Plot>, scene: &Scene<'_>, to: ReplicaId, vote: &Vote) -> Sending {
    if vote.signer != scene.id {
        return Sending::Pass;
    }
    match plot.borrow().for_recipient(to, vote) {
        None => Sending::Pass,
        Some(value) => instead(Message::Vote(scene.vote(
            vote.kind,
            vote.height,
            vote.view,
            value,
        ))),
    }
}

/// A leader that, instead of a NEW-VIEW, sends a bare PRE-PREPARE for another block in view 1
/// (R1).
#[derive(Debug, Default)]
pub struct BareProposer {
    /// The first block it heard of, as a pattern for its own.
    heard: Option<Arc<Block>>,
    proposed: BTreeSet<Height>,
    said: Rc<RefCell<BTreeSet<Sha256Digest>>>,
}

impl BareProposer {
    /// Where the digests of its blocks appear.
    pub fn said(&self) -> Rc<RefCell<BTreeSet<Sha256Digest>>> {
        self.said.clone()
    }
}

impl Adversary for BareProposer {
    fn name(&self) -> &'static str {
        "bare proposer"
    }

    fn sends(&mut self, _: &mut Scene<'_>, _: ReplicaId, frame: &Frame) -> Sending {
        match message_of(frame) {
            Some(Message::NewView(_)) => Sending::Drop,
            Some(_) | None => Sending::Pass,
        }
    }

    fn hears(&mut self, _: &mut Scene<'_>, _: ReplicaId, frame: &Frame) {
        if let Some(Message::Proposal(proposal)) = message_of(frame) {
            self.heard = Some(proposal.block.clone());
        }
    }

    fn is_restless(&self) -> bool {
        true
    }

    fn idles(&mut self, scene: &mut Scene<'_>) {
        let (height, view) = (scene.height(), View::new(1));
        let is_mine = scene.chain.leader(height, view) == scene.id;
        let Some(pattern) = self.heard.clone() else {
            return;
        };
        // Only once the others have moved to view 1.
        if !is_mine || pattern.header.height != height || scene.view() != view {
            return;
        }
        let id = scene.id;
        let block = scene.changed(&pattern, |header| {
            header.view = view;
            header.proposer = id;
        });
        let digest = block.header.digest();
        self.said.borrow_mut().insert(digest);
        if self.proposed.insert(height) {
            scene.shout(&Message::Proposal(Proposal {
                pre_prepare: scene.pre_prepare(height, view, digest),
                block,
            }));
        }
        // Votes for it, as if there had been a NEW-VIEW.
        let value = Value {
            digest,
            new_view: Sha256Digest::new([1; 32]),
        };
        let prepare = scene.vote(VoteKind::Prepare, height, view, value);
        scene.shout(&Message::Vote(prepare));
    }
}

fn instead(message: Message) -> Sending {
    Sending::Instead(vec![Frame::Consensus(message)])
}
