//! FB-PBFT with one faulty member of four, under any schedule: agreement holds, nobody honest votes twice,
//! nobody is accused who did nothing, and what a journal holds makes the same machine again.
//!
//! An input is a list of operations: deliver, drop, change or repeat a frame, let time pass, stop a replica
//! and restore it, or let the faulty member say something of its own that it signed.

use crate::bytes::Bytes;
use crate::mutate::mutated;
use polity_consensus::fbpbft::{
    Engine, Machine, Message, Parent, Record, Roots, SealedBlock, Tip, Value, ViewChange,
    VoteCertificate, VoteKind,
};
use polity_crypto::Sha256Digest;
use polity_crypto::stub::{StubSigner, StubVerifier};
use polity_types::{Height, ReplicaId, StateMachine as _, View, wire};
use std::collections::{BTreeMap, BTreeSet};

// Both belong to the tests of `polity-consensus`, which nobody can import.
#[path = "../../consensus/support/cluster.rs"]
#[allow(
    unreachable_pub,
    clippy::redundant_pub_crate,
    reason = "support of another crate"
)]
mod cluster;
#[path = "../../consensus/tests/it/forge.rs"]
#[allow(dead_code, reason = "a part is enough here")]
mod forge;

use cluster::{Cluster, genesis_tip, keys, state_after};
use polity_consensus::fbpbft::{Config, EngineInput};

const MEMBERS: u64 = 4;
/// The member that breaks the rules; its own engine follows them, which helps it to be believed.
const FAULTY: ReplicaId = ReplicaId::new(3);
/// Operations of one input, at most.
const OPERATIONS_MAX: usize = 256;
/// Frames under way, at most: the oldest are lost.
const FRAMES_MAX: usize = 256;

/// The property.
pub(crate) fn machine(input: &[u8]) {
    let mut input = Bytes::new(input);
    let mut scene = Scene::new();
    for _ in 0..OPERATIONS_MAX {
        if input.is_empty() {
            break;
        }
        scene.operate(&mut input);
        scene.check();
    }
    for index in Scene::honest() {
        scene.restart(index);
        scene.check();
    }
}

struct Scene {
    cluster: Cluster<StubSigner, StubVerifier>,
    /// How much of each journal was looked at, and how many decisions.
    read: Vec<(usize, usize)>,
    /// What each honest replica said it signed: by replica, height, view and kind of word.
    words: BTreeMap<(usize, Height, View, &'static str), Record>,
    decisions: BTreeMap<Height, Sha256Digest>,
    /// How many frames the faulty member has heard.
    heard: u64,
    /// Digests and certificates that the faulty member has seen.
    digests: BTreeSet<Sha256Digest>,
    certificates: Vec<VoteCertificate>,
    view_changes: Vec<ViewChange>,
}

impl Scene {
    fn new() -> Self {
        let signers = (0..MEMBERS).map(StubSigner::new).collect();
        let cluster = Cluster::new(signers, || StubVerifier, Config::default());
        Self {
            read: vec![(0, 0); cluster.nodes.len()],
            cluster,
            words: BTreeMap::new(),
            decisions: BTreeMap::new(),
            heard: 0,
            digests: BTreeSet::new(),
            certificates: Vec::new(),
            view_changes: Vec::new(),
        }
    }

    fn honest() -> std::ops::Range<usize> {
        0..FAULTY.get() as usize
    }

    fn operate(&mut self, input: &mut Bytes<'_>) {
        match input.u8() % 16 {
            // Most of the time something arrives, or blocks never come.
            0..=3 => self.cluster.settle_some(1 + input.below(24)),
            4 => {
                if let Some(frame) = self.take(input) {
                    self.cluster.deliver(frame);
                }
            }
            5 => {
                let _ = self.take(input);
            }
            6 => {
                if let Some(frame) = self.take(input) {
                    self.cluster.network.push_back(frame.clone());
                    self.cluster.deliver(frame);
                }
            }
            7 => self.cluster.advance(),
            8 => {
                let index = input.below(FAULTY.get() as usize);
                self.restart(index);
            }
            9 => {
                let index = input.below(FAULTY.get() as usize);
                let is_pending = input.u8().is_multiple_of(2);
                self.cluster
                    .input(index, EngineInput::WorkPending(is_pending));
            }
            10 => self.mutate(input),
            11 => self.junk(input),
            12 => self.vote(input),
            13 => self.view_change(input),
            14 => self.new_view(input),
            _ => self.proposal(input),
        }
        while self.cluster.network.len() > FRAMES_MAX {
            self.cluster.network.pop_front();
        }
        self.listen();
    }

    fn take(&mut self, input: &mut Bytes<'_>) -> Option<cluster::Frame> {
        let place = input.below(self.cluster.network.len());
        self.cluster.network.remove(place)
    }

    /// The faulty member sees everything that is sent to it or to others.
    fn listen(&mut self) {
        let limit = self.cluster.config.message_bytes_max();
        // A broadcast is a row of frames with the same bytes, and what is repeated was heard.
        let new = (self.cluster.sent - self.heard) as usize;
        self.heard = self.cluster.sent;
        let mut last: &[u8] = &[];
        for frame in self.cluster.network.iter().rev().take(new) {
            if frame.bytes == last {
                continue;
            }
            last = &frame.bytes;
            let Ok(message) = wire::decode::<Message>(&frame.bytes, limit) else {
                continue;
            };
            match message {
                Message::Vote(vote) => {
                    self.digests.insert(vote.value.digest);
                }
                Message::Proposal(proposal) => {
                    self.digests.insert(proposal.pre_prepare.digest);
                }
                Message::ViewChange(view_change) => {
                    self.certificates.extend(view_change.certificate.clone());
                    if !self.view_changes.contains(&view_change) {
                        self.view_changes.push(view_change);
                    }
                }
                Message::Decided(decided) => self.certificates.push(decided.certificate),
                _ => {}
            }
        }
        self.certificates.dedup();
        keep_last(&mut self.certificates);
        keep_last(&mut self.view_changes);
        while self.digests.len() > 32 {
            self.digests.pop_first();
        }
    }

    fn say(&mut self, input: &mut Bytes<'_>, message: &Message) {
        let to = input.u8();
        for index in Self::honest() {
            if to % 8 == 7 || to >> index & 1 == 1 {
                self.cluster.receive(index, FAULTY, message.clone());
            }
        }
    }

    /// Somebody's frame, changed, over the link of the faulty member.
    fn mutate(&mut self, input: &mut Bytes<'_>) {
        let texts: Vec<&[u8]> = self
            .cluster
            .network
            .iter()
            .map(|frame| frame.bytes.as_slice())
            .collect();
        let Some(text) = input.pick(&texts) else {
            return;
        };
        let length = usize::from(input.u8() % 24);
        let mut choices = Bytes::new(input.take(length));
        let text = mutated(text, &texts, &mut choices);
        self.hear(input, &text);
    }

    fn junk(&mut self, input: &mut Bytes<'_>) {
        let length = usize::from(input.u8());
        let text = input.take(length);
        self.hear(input, text);
    }

    fn hear(&mut self, input: &mut Bytes<'_>, text: &[u8]) {
        let limit = self.cluster.config.message_bytes_max();
        if let Ok(message) = wire::decode::<Message>(text, limit) {
            self.say(input, &message);
        }
    }

    /// The height that most work on, or one beside it, and a view.
    fn position(&self, input: &mut Bytes<'_>) -> (u64, u64) {
        let index = input.below(FAULTY.get() as usize);
        let machine = self.cluster.nodes[index].engine.machine();
        let choice = input.u8();
        let height = machine.height().get() + u64::from(choice % 16 == 15);
        let view = machine.view().get() + u64::from(choice / 16 % 4);
        (height, view)
    }

    fn value(&self, input: &mut Bytes<'_>) -> Value {
        let digests: Vec<Sha256Digest> = self.digests.iter().copied().collect();
        let digest = input.pick(&digests).copied();
        Value::of_block(digest.unwrap_or(Sha256Digest::new([input.u8(); 32])))
    }

    fn vote(&mut self, input: &mut Bytes<'_>) {
        let at = self.position(input);
        let mut value = self.value(input);
        let kind = if input.u8().is_multiple_of(2) {
            VoteKind::Commit
        } else {
            VoteKind::Prepare
        };
        if kind == VoteKind::Prepare && at.1 > 0 {
            value.new_view = self.value(input).digest;
        }
        let vote = forge::vote(self.cluster.chain(), kind, at, value, FAULTY);
        self.say(input, &Message::Vote(vote));
    }

    fn own_view_change(&mut self, input: &mut Bytes<'_>, at: (u64, u64)) -> ViewChange {
        let certificates = self.certificates.iter();
        let certificates: Vec<_> = certificates
            .filter(|known| known.kind == VoteKind::Prepare && known.height.get() == at.0)
            .collect();
        let certificate = match input.u8() % 2 {
            0 => None,
            _ => input.pick(&certificates).copied().cloned(),
        };
        forge::view_change(self.cluster.chain(), at, certificate, FAULTY.get())
    }

    fn view_change(&mut self, input: &mut Bytes<'_>) {
        let (height, view) = self.position(input);
        let view_change = self.own_view_change(input, (height, view + 1));
        self.say(input, &Message::ViewChange(view_change));
    }

    /// A NEW-VIEW with VIEW-CHANGEs as they come, and a block that follows from them or not.
    fn new_view(&mut self, input: &mut Bytes<'_>) {
        let (height, view) = self.position(input);
        let view = self.led_view(height, view + 1);
        let own = self.own_view_change(input, (height, view));
        let mut parts: Vec<ViewChange> = self
            .view_changes
            .iter()
            .filter(|part| part.height.get() == height && part.view.get() == view)
            .filter(|_| !input.u8().is_multiple_of(8))
            .cloned()
            .collect();
        parts.push(own);
        parts.sort_by_key(|part| part.signer);
        let Some(block) = self.block(input, height, view) else {
            return;
        };
        let chain = self.cluster.chain();
        let pre_prepare = forge::pre_prepare(chain, &block, view);
        let new_view = forge::new_view(chain, (height, view), parts, pre_prepare);
        let message = Message::NewView(polity_consensus::fbpbft::NewViewProposal {
            new_view,
            block: block.block().clone(),
        });
        self.say(input, &message);
    }

    fn proposal(&mut self, input: &mut Bytes<'_>) {
        let (height, _) = self.position(input);
        let view = 0;
        if forge::leader(self.cluster.chain(), height, view) != FAULTY {
            return;
        }
        if let Some(block) = self.block(input, height, view) {
            let proposal = forge::proposal(self.cluster.chain(), &block);
            self.say(input, &Message::Proposal(proposal));
        }
    }

    /// The next view from this one on that the faulty member leads.
    fn led_view(&self, height: u64, from: u64) -> u64 {
        let chain = self.cluster.chain();
        (from..from + MEMBERS)
            .find(|view| forge::leader(chain, height, *view) == FAULTY)
            .unwrap_or(from)
    }

    /// A block for a height above somebody's last block.
    fn block(&self, input: &mut Bytes<'_>, height: u64, view: u64) -> Option<SealedBlock> {
        let index = input.below(FAULTY.get() as usize);
        let tip = tip_of(&self.cluster, &self.cluster.nodes[index].journal);
        let salt = u64::from(input.u8() % 4);
        let block = forge::block(self.cluster.chain(), &tip, view, salt);
        (block.header().height.get() == height).then_some(block)
    }

    /// Stops a replica and restores it from its records.
    fn restart(&mut self, index: usize) {
        let journal = self.cluster.nodes[index].journal.clone();
        let restore = || {
            Machine::restore(
                self.cluster.config.clone(),
                self.cluster.chain().clone(),
                keys(index),
                StubVerifier,
                tip_of(&self.cluster, &journal),
                journal.clone(),
            )
            .expect("a replica restores from its own records")
        };
        let (machine, again) = (restore(), restore());
        let live = self.cluster.nodes[index].engine.machine();
        assert_eq!(machine.round(), again.round());
        assert_eq!(machine.height(), live.height());
        assert_eq!(machine.parent(), live.parent());
        assert_eq!(machine.view_floor(), live.view_floor());
        assert_eq!(machine.view(), live.view());
        self.cluster.nodes[index].engine = Engine::new(machine);
        let effects = self.cluster.nodes[index].engine.tick(self.cluster.now);
        self.cluster.follow(index, effects);
    }

    /// Looks at what is new: journals and lists of decisions only grow.
    fn check(&mut self) {
        for index in Self::honest() {
            let node = &self.cluster.nodes[index];
            assert_eq!(node.engine.machine().halted(), None);
            let (records, decisions) = self.read[index];
            for record in &node.journal[records..] {
                let Some((view, kind)) = word(record) else {
                    continue;
                };
                let key = (index, record.height(), view, kind);
                let before = self.words.insert(key, record.clone());
                assert_eq!(
                    before, None,
                    "replica {index} says {kind} twice: {record:?}"
                );
            }
            for (block, _) in &node.decided[decisions..] {
                let height = block.header().height;
                let first = *self.decisions.entry(height).or_insert(block.digest());
                assert_eq!(first, block.digest(), "two blocks are decided at {height}");
            }
            self.read[index] = (node.journal.len(), node.decided.len());
        }
        for accused in self.cluster.reported.drain(..) {
            assert_eq!(accused, FAULTY, "somebody honest is accused");
        }
    }
}

fn keep_last<T>(list: &mut Vec<T>) {
    list.drain(..list.len().saturating_sub(32));
}

/// What a record says that its owner signed once, and never again.
fn word(record: &Record) -> Option<(View, &'static str)> {
    match record {
        Record::Proposed { view, .. } => Some((*view, "PRE-PREPARE")),
        Record::PrepareSent { view, .. } => Some((*view, "PREPARE")),
        Record::CommitSent { view, .. } => Some((*view, "COMMIT")),
        Record::ViewLeft { view, .. } => Some((*view, "VIEW-CHANGE")),
        Record::Block(_)
        | Record::Prepared(_)
        | Record::Entered { .. }
        | Record::NewView(_)
        | Record::Decided(_) => None,
    }
}

/// The last block that the records decide.
fn tip_of(cluster: &Cluster<StubSigner, StubVerifier>, records: &[Record]) -> Tip {
    let chain = cluster.chain();
    let mut tip = genesis_tip(chain);
    let mut blocks = BTreeMap::new();
    for record in records {
        match record {
            Record::Block(block) => {
                blocks.insert(block.header.digest(), block);
            }
            Record::Decided(certificate) => {
                let digest = certificate.value.digest;
                // A certificate may come before its block.
                let Some(block) = blocks.get(&digest) else {
                    continue;
                };
                tip = Tip {
                    parent: Parent {
                        height: certificate.height,
                        digest,
                        timestamp: block.header.timestamp,
                    },
                    certificate: Some(certificate.clone()),
                    roots: Roots {
                        height: certificate.height,
                        application: state_after(&digest),
                        receipts: polity_merkle::empty_root(),
                    },
                    is_unrecorded: true,
                };
            }
            _ => {}
        }
    }
    tip
}
