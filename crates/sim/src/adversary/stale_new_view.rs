//! Starts views with the words of others, used wrongly.

use super::{Adversary, Scene, Sending, message_of};
use polity_consensus::fbpbft::{Message, NewViewProposal, Value, ViewChange, VoteKind};
use polity_replica::Frame;
use polity_types::{Height, ReplicaId, View};
use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

/// NEW-VIEWs it remembers.
const HEARD_MAX: usize = 16;

/// Ways to forge a NEW-VIEW.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forgery {
    /// All parts, and another block than follows from them.
    OtherBlock,
    /// Only those parts that bind it to nothing.
    FewerParts,
    /// The same, with its own denial of what it saw.
    Denial,
    /// Parts for other views that bind it to nothing.
    OldParts,
    /// All parts, with their claims cut out.
    StrippedParts,
}

const FORGERIES: [Forgery; 5] = [
    Forgery::OtherBlock,
    Forgery::FewerParts,
    Forgery::Denial,
    Forgery::OldParts,
    Forgery::StrippedParts,
];

/// A leader that starts its views with real VIEW-CHANGEs and another block than follows from them,
/// or with parts that do not bind it, votes for that block, and repeats NEW-VIEWs that are over
/// (FB-10).
#[derive(Debug, Default)]
pub struct StaleNewView {
    heard: VecDeque<NewViewProposal>,
    /// VIEW-CHANGEs of others at the present height.
    parts: Vec<ViewChange>,
    turn: usize,
    /// The only way it knows; else it takes turns and tells every second member the truth.
    only: Option<Forgery>,
    /// What it started each view with.
    forged: BTreeMap<(Height, View), NewViewProposal>,
    count: Rc<Cell<u64>>,
}

impl StaleNewView {
    /// A leader that tells everybody one kind of lie.
    pub fn always(forgery: Forgery) -> Self {
        Self {
            only: Some(forgery),
            ..Self::default()
        }
    }

    /// Where the number of forged NEW-VIEWs appears.
    pub fn count(&self) -> Rc<Cell<u64>> {
        self.count.clone()
    }

    fn forge(&mut self, scene: &mut Scene<'_>, proposal: &NewViewProposal) -> NewViewProposal {
        let forgery = self.only.unwrap_or(FORGERIES[self.turn % FORGERIES.len()]);
        self.turn += 1;
        self.count.set(self.count.get() + 1);
        let (height, view) = (proposal.new_view.height, proposal.new_view.view);
        let mut parts = proposal.new_view.view_changes.clone();
        let id = scene.id;
        // Of a view that it led it has another block at hand.
        let claimed = parts.iter().filter_map(|part| part.prepared).max();
        let led = claimed
            .map(|claim| claim.view)
            .filter(|led| forgery == Forgery::OtherBlock && scene.chain.leader(height, *led) == id);
        let block = scene.changed(&proposal.block, |header| {
            header.view = led.unwrap_or(view);
            header.proposer = id;
            header.timestamp = header
                .timestamp
                .saturating_add(core::time::Duration::from_millis(3));
        });
        let is_free = |part: &ViewChange| part.prepared.is_none();
        match forgery {
            Forgery::OtherBlock => {}
            Forgery::FewerParts => parts.retain(is_free),
            Forgery::Denial => {
                parts.retain(|part| part.signer != id && is_free(part));
                parts.push(scene.view_change(height, view, None));
            }
            Forgery::OldParts => {
                let mut old: BTreeMap<ReplicaId, ViewChange> = BTreeMap::new();
                for part in &self.parts {
                    if part.height == height && part.view != view && is_free(part) {
                        old.insert(part.signer, part.clone());
                    }
                }
                parts = old.into_values().collect();
            }
            Forgery::StrippedParts => {
                for part in &mut parts {
                    part.prepared = None;
                    part.certificate = None;
                }
            }
        }
        let pre_prepare = scene.pre_prepare(height, view, block.header.digest());
        NewViewProposal {
            new_view: scene.new_view(parts, pre_prepare),
            block,
        }
    }

    /// What its forged block of a view is voted for as.
    fn value(&self, height: Height, view: View) -> Option<Value> {
        let forged = self.forged.get(&(height, view))?;
        Some(Value {
            digest: forged.block.header.digest(),
            new_view: forged.new_view.digest(),
        })
    }
}

impl Adversary for StaleNewView {
    fn name(&self) -> &'static str {
        "stale or forged NEW-VIEW"
    }

    fn sends(&mut self, scene: &mut Scene<'_>, to: ReplicaId, frame: &Frame) -> Sending {
        let is_told_the_truth = self.only.is_none() && !to.get().is_multiple_of(2);
        let said = match message_of(frame) {
            Some(_) if is_told_the_truth => return Sending::Pass,
            Some(Message::NewView(proposal)) => {
                let at = (proposal.new_view.height, proposal.new_view.view);
                if !self.forged.contains_key(&at) {
                    let forged = self.forge(scene, proposal);
                    self.forged.insert(at, forged);
                }
                self.forged.get(&at).cloned().map(Message::NewView)
            }
            Some(Message::Vote(vote)) if vote.signer == scene.id => {
                self.value(vote.height, vote.view).map(|value| {
                    let value = match vote.kind {
                        VoteKind::Prepare => value,
                        VoteKind::Commit => Value::of_block(value.digest),
                    };
                    Message::Vote(scene.vote(vote.kind, vote.height, vote.view, value))
                })
            }
            Some(_) | None => None,
        };
        match said {
            Some(message) => Sending::Instead(vec![Frame::Consensus(message)]),
            None => Sending::Pass,
        }
    }

    fn hears(&mut self, scene: &mut Scene<'_>, from: ReplicaId, frame: &Frame) {
        match message_of(frame) {
            Some(Message::NewView(proposal)) => {
                self.heard.push_back(proposal.clone());
                if self.heard.len() > HEARD_MAX {
                    self.heard.pop_front();
                }
            }
            Some(Message::ViewChange(said)) => {
                let height = scene.height();
                self.parts.retain(|part| part.height == height);
                self.forged.retain(|(at, _), _| *at >= height);
                let is_new = !self
                    .parts
                    .iter()
                    .any(|part| (part.signer, part.view) == (said.signer, said.view));
                if said.height == height && is_new && self.parts.len() < 64 {
                    self.parts.push(said.clone());
                }
            }
            // Whoever falls for it gets its COMMIT, too.
            Some(Message::Vote(vote)) if vote.kind == VoteKind::Prepare => {
                let value = self.value(vote.height, vote.view);
                if let Some(value) = value.filter(|value| *value == vote.value) {
                    let value = Value::of_block(value.digest);
                    let commit = scene.vote(VoteKind::Commit, vote.height, vote.view, value);
                    scene.say(from, Message::Vote(commit));
                }
            }
            Some(_) | None => {}
        }
    }

    fn is_restless(&self) -> bool {
        true
    }

    fn idles(&mut self, scene: &mut Scene<'_>) {
        let place = scene.random.below(self.heard.len() as u64) as usize;
        if let Some(stale) = self.heard.get(place).cloned()
            && scene.random.below(4) == 0
        {
            scene.shout(&Message::NewView(stale));
        }
    }
}
