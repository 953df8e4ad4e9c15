//! One honest replica: the real engine, its journal, what it said, and the rules that it is held to.
//!
//! The rules are judged from the stream of effects alone. Nothing here asks the engine whether it
//! behaved; the engine is asked for its state only to tell states apart.

use crate::forge::{self, Messages};
use crate::scenario::{Fault, Grain, HEIGHT, NOW, QUORUM, World, signer};
use crate::table::Number;
use polity_consensus::fbpbft::{
    Effect, Engine, EngineInput, Extent, Intake, Keyring, Machine, Message, Payload, PreparedClaim,
    Record, Roots, Round, Value, VoteCertificate, VoteKind,
};
use polity_crypto::stub::{StubSigner, StubVerifier};
use polity_crypto::{Preimage, Sha256Digest, domain};
use polity_types::{Effects, ReplicaId, StateMachine as _, View};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// A rule that an honest replica broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Rule {
    /// Two PREPAREs, COMMITs, VIEW-CHANGEs or proposals of one view.
    OneVoteInAView,
    /// A message of a view that was left or never entered.
    NothingBelowTheFloor,
    /// A COMMIT without a stored certificate of its view and block.
    CommitFollowsCertificate,
    /// A VIEW-CHANGE that hides the highest stored certificate.
    ViewChangeClaimsHighest,
    /// The replica halted.
    NobodyHalts,
}

/// What happens to a replica.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    /// The timer of its view fires.
    Timeout,
    /// It stops and is restored from its journal.
    Restart,
    /// It stops in the middle of this step, when it has stored so many records of it, and is restored
    /// from its journal.
    Crash(Box<Step>, usize),
    /// It stops and starts without its journal. In broken models only.
    Forget,
    /// These messages arrive, one after the other, each over this link.
    Receive(Vec<(ReplicaId, Number)>),
}

/// A state of a replica.
#[derive(Clone, Debug)]
pub(crate) struct Replica {
    pub(crate) id: ReplicaId,
    engine: Engine<StubSigner, StubVerifier>,
    journal: Vec<Record>,
    /// Protocol messages that it signed and sent: the network, as far as it is concerned.
    pub(crate) sent: BTreeSet<Number>,
    pub(crate) said: Said,
    /// The number of `said`, once it is kept.
    pub(crate) speech: Number,
    /// Views entered above 0, as the journal says.
    entered: BTreeSet<View>,
    /// VIEW-CHANGEs that it got for a view that it leads and has not opened.
    heard: BTreeSet<Number>,
    /// View of the COMMITs, and the block.
    pub(crate) decided: Option<(View, Sha256Digest)>,
    pub(crate) broken: BTreeSet<Rule>,
    /// How often it stopped and was restored.
    pub(crate) restarts: usize,
    /// Records that it may still store before it stops.
    records_left: Option<usize>,
}

/// What a replica said, by view.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Said {
    pub(crate) prepares: BTreeMap<View, Value>,
    pub(crate) commits: BTreeMap<View, Sha256Digest>,
    pub(crate) view_changes: BTreeMap<View, (Option<PreparedClaim>, Number)>,
    /// Proposals and NEW-VIEWs.
    pub(crate) proposals: BTreeMap<View, (Sha256Digest, Number)>,
    /// The votes themselves.
    pub(crate) votes: BTreeMap<(VoteKind, View), Number>,
}

/// What makes two states of one replica the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Identity {
    /// Everything that it remembers of the height.
    Whole {
        id: ReplicaId,
        restarts: usize,
        round: Round,
        intake: Intake,
        sent: BTreeSet<Number>,
        decided: Option<(View, Sha256Digest)>,
        broken: BTreeSet<Rule>,
    },
    /// What later actions can depend on.
    Standing {
        id: ReplicaId,
        /// A restored replica remembers less, so it counts as another one.
        restarts: usize,
        /// Floor and view entered; none once it has decided.
        position: Option<(View, View)>,
        sent: BTreeSet<Number>,
        /// Certificates that a later VIEW-CHANGE could claim.
        claimable: Vec<VoteCertificate>,
        heard: BTreeSet<Number>,
        decided: Option<(View, Sha256Digest)>,
        broken: BTreeSet<Rule>,
    },
}

impl Replica {
    /// A replica that has just started. The leader of view 0 has proposed.
    pub(crate) fn start(world: &World, messages: &Messages, id: ReplicaId) -> Self {
        let mut replica = Self {
            id,
            engine: engine(world, id, []),
            journal: Vec::new(),
            sent: BTreeSet::new(),
            said: Said::default(),
            speech: 0,
            entered: BTreeSet::new(),
            heard: BTreeSet::new(),
            decided: None,
            broken: BTreeSet::new(),
            restarts: 0,
            records_left: None,
        };
        replica.begin(world, messages);
        replica
    }

    fn begin(&mut self, world: &World, messages: &Messages) {
        // There is always something to decide, so the timer of a view runs from its start.
        let work = EngineInput::WorkPending(true);
        let effects = self.engine.handle(NOW, work);
        self.carry_out(world, messages, effects);
        let effects = self.engine.tick(NOW);
        self.carry_out(world, messages, effects);
    }

    /// The state after a step; nothing if the step changes nothing.
    pub(crate) fn after(&self, world: &World, messages: &Messages, step: &Step) -> Option<Self> {
        let mut next = self.clone();
        let acts = next.take(world, messages, step)?;
        let is_new = match world.scenario.grain {
            Grain::Message => next.identity(world) != self.identity(world),
            Grain::Action => acts,
        };
        is_new.then_some(next)
    }

    /// Takes a step. Says whether the replica acted, or nothing if there is no such step.
    fn take(&mut self, world: &World, messages: &Messages, step: &Step) -> Option<bool> {
        let acts = match step {
            Step::Timeout => self.time_out(world, messages),
            Step::Receive(deliveries) => {
                let mut acts = false;
                for (link, number) in deliveries {
                    acts |= self.receive(world, messages, *link, *number);
                }
                acts
            }
            Step::Restart => self.restore(world, messages),
            Step::Crash(step, records) => {
                self.records_left = Some(*records);
                self.take(world, messages, step)?;
                if self.records_left != Some(0) || self.decided.is_some() {
                    // It stored no more than that, so it did not stop in the middle.
                    return None;
                }
                self.restore(world, messages)
            }
            Step::Forget => {
                self.journal.clear();
                self.restore(world, messages)
            }
        };
        Some(acts)
    }

    fn time_out(&mut self, world: &World, messages: &Messages) -> bool {
        if world.scenario.fault == Fault::ForgetsCertificates {
            // FB-6 wants a certificate in front of a COMMIT, so the memory of both is lost.
            let is_kept = |record: &Record| {
                !matches!(record, Record::Prepared(_) | Record::CommitSent { .. })
            };
            self.journal.retain(is_kept);
            self.engine = engine(world, self.id, self.journal.iter().cloned());
            self.begin(world, messages);
        }
        let left = self.floor();
        let mut acts = false;
        // Retransmissions come before the timeout. They say again what is on the network for ever.
        while self.floor() == left && self.records_left != Some(0) {
            acts |= self.tick(world, messages);
        }
        acts
    }

    fn tick(&mut self, world: &World, messages: &Messages) -> bool {
        let deadline = self.engine.deadline().expect("a view has a timer");
        let longest = NOW.saturating_add(Duration::from_secs(7_200));
        assert!(deadline < longest, "the timer of the view is not running");
        let effects = self.engine.tick(deadline);
        self.carry_out(world, messages, effects)
    }

    /// Stops, and starts from what the journal holds.
    fn restore(&mut self, world: &World, messages: &Messages) -> bool {
        self.records_left = None;
        self.restarts += 1;
        self.heard.clear();
        self.engine = engine(world, self.id, self.journal.iter().cloned());
        self.begin(world, messages);
        // What was stored and perhaps not sent is sent now, by the first retransmission.
        self.tick(world, messages);
        true
    }

    /// Hands one message in. Says whether the replica acted.
    fn receive(
        &mut self,
        world: &World,
        messages: &Messages,
        link: ReplicaId,
        number: Number,
    ) -> bool {
        let mut message = (*messages.get(number)).clone();
        if let Message::ViewChange(view_change) = &message
            && world.leader(view_change.view) == self.id
            && !self.said.proposals.contains_key(&view_change.view)
        {
            self.heard.insert(number);
        }
        if world.scenario.fault == Fault::TrustsBareProposals
            && let Message::Proposal(proposal) = &message
            && proposal.pre_prepare.view > View::ZERO
        {
            let view = proposal.pre_prepare.view;
            let parts = (0..QUORUM as u32)
                .map(|id| forge::sign_view_change(world, ReplicaId::new(id), view, None, None));
            message = forge::new_view(world, view, parts.collect(), &proposal.block);
        }
        let input = EngineInput::Received {
            from: link,
            message,
        };
        let effects = self.engine.handle(NOW, input);
        self.carry_out(world, messages, effects)
    }

    /// Plays the host: stores, sends, and answers at once for an application that agrees with
    /// everything. Says whether the replica stored or sent anything but evidence.
    fn carry_out(&mut self, world: &World, messages: &Messages, effects: Effects<Effect>) -> bool {
        let mut acts = false;
        let mut queue: VecDeque<Effect> = effects.into_iter().collect();
        while let Some(effect) = queue.pop_front() {
            if self.records_left == Some(0) {
                // It has stopped: nothing further is stored, sent or answered.
                break;
            }
            let answer = match effect {
                Effect::Persist(record) => {
                    acts = true;
                    self.records_left = self.records_left.map(|left| left - 1);
                    if let Record::Entered { view, .. } = record {
                        self.entered.insert(view);
                    }
                    self.journal.push(record);
                    None
                }
                Effect::Broadcast(message) => {
                    acts |= self.say(messages, message);
                    None
                }
                Effect::RequestProposal { height, view, .. } if height == HEIGHT => {
                    Some(EngineInput::Proposed(Payload {
                        height,
                        view,
                        transactions: Vec::new(),
                        // Evidence stays outside of blocks, so what is known of offenders has no
                        // effect on what is proposed.
                        evidence: Vec::new(),
                        application: Vec::new(),
                    }))
                }
                Effect::RequestValidation { block, extent } => {
                    if extent == Extent::Whole {
                        messages.keep_block((**block.block()).clone());
                    }
                    Some(EngineInput::Validated {
                        digest: block.digest(),
                        extent,
                        is_valid: true,
                    })
                }
                Effect::Decide { block, certificate } => {
                    assert_eq!(self.decided, None, "one height is searched");
                    self.decided = Some((certificate.view, certificate.value.digest));
                    let digest = block.digest();
                    let state = Preimage::new(domain::TEST).array(digest.as_bytes());
                    Some(EngineInput::Applied {
                        roots: Roots {
                            height: HEIGHT,
                            application: state.sha256(),
                            receipts: world.tip.roots.receipts,
                        },
                        next: None,
                    })
                }
                Effect::Halt(_) => {
                    self.broken.insert(Rule::NobodyHalts);
                    None
                }
                // The next height is not searched. Blocks that are asked for arrive as steps of
                // their own or with the step that needs them; evidence is for others to judge.
                Effect::RequestProposal { .. }
                | Effect::Send { .. }
                | Effect::ServeDecided { .. }
                | Effect::Report(_) => None,
            };
            if let Some(answer) = answer {
                queue.extend(self.engine.handle(NOW, answer));
            }
        }
        let opened = &self.said.proposals;
        self.heard.retain(|number| match &*messages.get(*number) {
            Message::ViewChange(part) => !opened.contains_key(&part.view),
            _ => false,
        });
        acts
    }

    /// Holds what the replica sends against the rules, and puts it on the network.
    fn say(&mut self, messages: &Messages, message: Message) -> bool {
        let mut broken: Vec<Rule> = Vec::new();
        let left = self.said.view_changes.keys().next_back().copied();
        let entered = self.entered.last().copied().unwrap_or(View::ZERO);
        let floor = left.map_or(entered, |left| left.max(entered));
        let mut position = |view: View| {
            if view != entered || view < floor {
                broken.push(Rule::NothingBelowTheFloor);
            }
        };
        let said = &mut self.said;
        let is_twice = match &message {
            Message::Proposal(proposal) => {
                let PrePrepareKey { view, digest } = PrePrepareKey::of(&proposal.pre_prepare);
                position(view);
                let number = messages.keep(message.clone());
                let first = *said.proposals.entry(view).or_insert((digest, number));
                first != (digest, number)
            }
            Message::NewView(proposal) => {
                let PrePrepareKey { view, digest } =
                    PrePrepareKey::of(&proposal.new_view.pre_prepare);
                position(view);
                let number = messages.keep(message.clone());
                let first = *said.proposals.entry(view).or_insert((digest, number));
                first != (digest, number)
            }
            Message::Vote(vote) if vote.kind == VoteKind::Prepare => {
                position(vote.view);
                *said.prepares.entry(vote.view).or_insert(vote.value) != vote.value
            }
            Message::Vote(vote) => {
                position(vote.view);
                let digest = vote.value.digest;
                if !stores_certificate(&self.journal, vote.view, &digest) {
                    broken.push(Rule::CommitFollowsCertificate);
                }
                *said.commits.entry(vote.view).or_insert(digest) != digest
            }
            Message::ViewChange(view_change) => {
                let view = view_change.view;
                let number = messages.keep(message.clone());
                let claim = view_change.prepared;
                let is_first = !said.view_changes.contains_key(&view);
                if is_first && view <= floor {
                    broken.push(Rule::NothingBelowTheFloor);
                }
                let first = *said.view_changes.entry(view).or_insert((claim, number));
                // Said again later, it still claims what was the highest then.
                if is_first && claim != highest_certificate(&self.journal, view) {
                    broken.push(Rule::ViewChangeClaimsHighest);
                }
                first.0 != claim
            }
            Message::Status(_)
            | Message::FetchDecided { .. }
            | Message::Decided(_)
            | Message::FetchBlock { .. }
            | Message::Block(_)
            | Message::Evidence(_) => return false,
        };
        if is_twice {
            broken.push(Rule::OneVoteInAView);
        }
        self.broken.extend(broken);
        let slot = match &message {
            Message::Vote(vote) => Some((vote.kind, vote.view)),
            _ => None,
        };
        let number = messages.keep(message);
        if let Some(slot) = slot {
            self.said.votes.entry(slot).or_insert(number);
        }
        self.sent.insert(number)
    }

    /// What makes this state the same as another.
    pub(crate) fn identity(&self, world: &World) -> Identity {
        let (id, decided, restarts) = (self.id, self.decided, self.restarts);
        let (sent, broken) = (self.sent.clone(), self.broken.clone());
        match world.scenario.grain {
            Grain::Message => Identity::Whole {
                id,
                restarts,
                round: self.engine.machine().round().clone(),
                intake: self.engine.intake().clone(),
                sent,
                decided,
                broken,
            },
            Grain::Action => {
                let is_over = decided.is_some();
                let floor = self.floor();
                let may_leave = !is_over && floor < world.scenario.last_view();
                let claimable = if may_leave {
                    claimable(&self.journal, floor, world.scenario.last_view())
                } else {
                    Vec::new()
                };
                Identity::Standing {
                    id,
                    restarts,
                    position: (!is_over).then(|| (floor, self.view())),
                    sent,
                    claimable,
                    heard: if is_over {
                        BTreeSet::new()
                    } else {
                        self.heard.clone()
                    },
                    decided,
                    broken,
                }
            }
        }
    }

    pub(crate) fn floor(&self) -> View {
        self.engine.machine().view_floor()
    }

    pub(crate) fn view(&self) -> View {
        self.engine.machine().view()
    }

    /// Whether the timer of its view runs.
    pub(crate) fn is_waiting(&self) -> bool {
        self.decided.is_none() && self.view() == self.floor()
    }

    /// Whether it stored a certificate of PREPAREs of this view.
    pub(crate) fn has_certificate(&self, view: View) -> bool {
        self.journal
            .iter()
            .any(|record| matches!(record, Record::Prepared(c) if c.view == view))
    }

    /// Whether it voted for the block, so that it has it.
    pub(crate) fn has_block(&self, digest: &Sha256Digest) -> bool {
        self.said
            .prepares
            .values()
            .any(|value| value.digest == *digest)
    }
}

/// The parts of a PRE-PREPARE that a rule is about.
struct PrePrepareKey {
    view: View,
    digest: Sha256Digest,
}

impl PrePrepareKey {
    fn of(pre_prepare: &polity_consensus::fbpbft::PrePrepare) -> Self {
        Self {
            view: pre_prepare.view,
            digest: pre_prepare.digest,
        }
    }
}

fn engine(
    world: &World,
    id: ReplicaId,
    records: impl IntoIterator<Item = Record>,
) -> Engine<StubSigner, StubVerifier> {
    let machine = Machine::restore(
        world.config.clone(),
        world.chain.clone(),
        Keyring::new(id, vec![signer(id)]),
        StubVerifier,
        world.tip.clone(),
        records,
    );
    Engine::new(machine.expect("a member with its own journal starts"))
}

fn certificates(journal: &[Record]) -> impl Iterator<Item = &VoteCertificate> {
    journal.iter().filter_map(|record| match record {
        Record::Prepared(certificate) => Some(certificate),
        _ => None,
    })
}

/// Whether the journal holds PREPAREs of enough members for this view and block. The bits are counted
/// here, by themselves.
fn stores_certificate(journal: &[Record], view: View, digest: &Sha256Digest) -> bool {
    certificates(journal).any(|certificate| {
        let bits = certificate.votes.signers.as_slice();
        let signers: u32 = bits.iter().map(|byte| byte.count_ones()).sum();
        certificate.kind == VoteKind::Prepare
            && certificate.view == view
            && certificate.value.digest == *digest
            && signers as usize >= QUORUM
    })
}

/// The claim of the highest certificate stored for a view below `view`.
fn highest_certificate(journal: &[Record], view: View) -> Option<PreparedClaim> {
    certificates(journal)
        .filter(|certificate| certificate.view < view)
        .max_by_key(|certificate| certificate.view)
        .map(|certificate| PreparedClaim {
            view: certificate.view,
            digest: certificate.value.digest,
        })
}

/// Certificates that a VIEW-CHANGE above `floor`, up to `last`, could claim: the highest up to the
/// floor, and those above it.
fn claimable(journal: &[Record], floor: View, last: View) -> Vec<VoteCertificate> {
    let below_last = |certificate: &&VoteCertificate| certificate.view < last;
    let highest = certificates(journal)
        .filter(|certificate| certificate.view <= floor)
        .max_by_key(|certificate| certificate.view);
    let mut claimable: Vec<VoteCertificate> = certificates(journal)
        .filter(|certificate| certificate.view > floor)
        .chain(highest)
        .filter(below_last)
        .cloned()
        .collect();
    claimable.sort();
    claimable
}
