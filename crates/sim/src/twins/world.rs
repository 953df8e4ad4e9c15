//! Instances, the network between them and the time they live in.

use super::generator::Script;
use super::instance::{Asked, Instance, key};
use super::judge::{Judge, names};
use super::leaders::{WEIGHTS, drawn, genesis};
use super::partition::Cast;
use super::{Findings, MEMBERS, Played};
use crate::oracle::Violation;
use crate::oracle::progress::Pace;
use crate::outcome::{Failure, Verdict};
use core::fmt::Write as _;
use core::time::Duration;
use polity_consensus::committee::{CommitteeTable, Member};
use polity_consensus::fbpbft::{Chain, Effect, EngineInput, Message, Payload};
use polity_crypto::{Blake3Digest, Preimage, Sha256Digest, domain};
use polity_types::{Effects, ReplicaId, StateMachine as _, Time, Weight, wire};
use std::collections::{BTreeSet, VecDeque};
use std::rc::Rc;

/// How long a round takes, and a view before it is left.
pub(super) const ROUND: Duration = Duration::from_secs(1);

/// How long a frame is under way.
const TRAVEL: Duration = Duration::from_millis(1);

/// Ticks of one instance at one moment. More would mean a timer that never moves.
const TICKS_MAX: u32 = 1_000;

/// A frame under way.
#[derive(Debug)]
struct Frame {
    at: Time,
    from: usize,
    to: usize,
    bytes: Rc<[u8]>,
}

/// All that happens in one script.
#[derive(Debug)]
pub(super) struct World<'a> {
    script: &'a Script,
    cast: Cast,
    genesis: Blake3Digest,
    instances: Vec<Instance>,
    network: VecDeque<Frame>,
    now: Time,
    /// The round; the number of scripted ones after the heal.
    round: usize,
    judge: Judge,
    audit: blake3::Hasher,
    findings: Findings,
    /// The instance that is at work.
    speaker: usize,
    trace: Option<String>,
}

/// The chain of a genesis, with members of the weights that make leaders drawn.
pub(super) fn chain_of(number: u64) -> Chain {
    let members = WEIGHTS.iter().zip(0..).map(|(weight, id)| Member {
        id: ReplicaId::new(id),
        key: key(ReplicaId::new(id)),
        weight: Weight::new(*weight),
    });
    let committee = CommitteeTable::new(members).expect("distinct keys of fair weight");
    Chain::new(genesis(number), 1_000, committee, transaction_id)
}

/// All but the last byte, which plays a signature.
fn transaction_id(bytes: &[u8]) -> Option<Sha256Digest> {
    let (_, content) = bytes.split_last()?;
    Some(Preimage::new(domain::TEST).bytes(content).sha256())
}

impl<'a> World<'a> {
    pub(super) fn new(script: &'a Script, number: u64, is_traced: bool) -> Self {
        let cast = script.cast();
        let chain = chain_of(number);
        let instances = (0..cast.instances())
            .map(|instance| {
                let id = ReplicaId::new(cast.member(instance) as u32);
                Instance::new(instance, id, &chain).expect("members start")
            })
            .collect();
        Self {
            script,
            cast,
            genesis: genesis(number),
            instances,
            network: VecDeque::new(),
            now: Time::ZERO,
            round: 0,
            judge: Judge::new(cast, genesis(number)),
            audit: blake3::Hasher::new(),
            findings: Findings::default(),
            speaker: 0,
            trace: is_traced.then(String::new),
        }
    }

    /// Plays the script, heals the network and waits for what is due.
    pub(super) fn run(&mut self) -> Result<(), Failure> {
        for round in 0..=self.script.rounds.len() {
            self.round = round;
            self.now = start_of(round);
            self.begin_round()?;
            if round < self.script.rounds.len() {
                self.advance_to(start_of(round + 1), |_| false)?;
            }
        }
        self.findings.decided_before = self.judge.highest();
        self.check_disks()?;
        let healed = self.now;
        let until = healed.saturating_add(self.patience());
        self.advance_to(until, Self::is_done)?;
        self.findings.recovery_ms = self.now.saturating_since(healed).as_millis() as u64;
        self.check_disks()?;
        self.judge_forks()?;
        if self.script.shape.pairs == 1 && !self.is_done() {
            return Err(Failure::Liveness(format!(
                "{} ms after the heal: {}",
                self.patience().as_millis(),
                self.places()
            )));
        }
        Ok(())
    }

    /// Each instance, restored from its own disk alone, stands where it stands.
    fn check_disks(&self) -> Result<(), Failure> {
        for instance in &self.instances {
            if let Err(reason) = instance.check_disk() {
                let name = self.cast.name(instance.number);
                return Err(violation(format!("{name} does not restart: {reason}")).into());
            }
        }
        Ok(())
    }

    /// The instance that was at work last.
    pub(super) fn speaker(&self) -> String {
        self.cast.name(self.speaker)
    }

    pub(super) fn finish(mut self, verdict: Verdict) -> Played {
        for instance in &self.instances {
            self.audit.update(instance.state.as_bytes());
            self.findings.records += instance.disk.len() as u64;
        }
        self.findings.decided = self.judge.highest();
        self.findings.reports = self.judge.reports;
        Played {
            verdict,
            audit_hash: Blake3Digest::new(*self.audit.finalize().as_bytes()),
            findings: self.findings,
            trace: self.trace,
        }
    }

    /// Forks end a run with one pair; with two they have to be somebody's.
    fn judge_forks(&mut self) -> Result<(), Failure> {
        self.findings.forks = self.judge.forks().count() as u64;
        let lowest = self.judge.forks().next();
        self.findings.is_fork_across_views = lowest.is_some_and(|(_, decisions)| {
            decisions.iter().any(|one| one.view != decisions[0].view)
        });
        let honest = self.instances.iter().filter(|one| self.is_honest(one));
        let honest: Vec<&Instance> = honest.collect();
        let blamed = self.judge.attribute(|height| {
            honest
                .iter()
                .flat_map(|instance| instance.new_views(height))
                .collect()
        })?;
        self.findings.blamed = blamed;
        if let (Some((height, _)), 1) = (self.judge.forks().next(), self.script.shape.pairs) {
            return Err(violation(format!("two blocks are decided at height {height}")).into());
        }
        if blamed != 0 {
            self.note(|| format!("the fork is the work of {}", names(blamed)));
        }
        Ok(())
    }

    fn is_honest(&self, instance: &Instance) -> bool {
        !self.cast.is_twinned(self.cast.member(instance.number))
    }

    /// The transactions that are due.
    fn due(&self) -> u16 {
        (1 << (self.round + 1)) - 1
    }

    /// Whether everybody without a twin has decided everything that is due, or has stopped.
    fn is_done(&self) -> bool {
        let due = self.due();
        self.instances
            .iter()
            .filter(|instance| self.is_honest(instance))
            .all(|instance| instance.waiting(due) == 0 || instance.halted.is_some())
    }

    /// In which time the timeouts make sure of a decision: catch up, finish the height under way,
    /// and decide one more, while twins may lead as often in a row as they are drawn.
    fn patience(&self) -> Duration {
        let honest = self.instances.iter().filter(|one| self.is_honest(one));
        let machines = honest.map(|instance| instance.engine.machine());
        let view = machines.map(|machine| machine.view_floor().get()).max();
        let mut longest = 0;
        let mut in_a_row = 0;
        for turn in 1..48 {
            let is_twinned = self.cast.is_twinned(drawn(&self.genesis, turn));
            in_a_row = if is_twinned { in_a_row + 1 } else { 0 };
            longest = in_a_row.max(longest);
        }
        let config = super::instance::config();
        let pace = Pace {
            timeout_base: config.timeout_base,
            timeout_max: config.timeout_max,
            retransmit_after: config.retransmit_after,
            status_every: config.status_every,
            fetch_timeout: config.fetch_timeout,
            travel: TRAVEL,
            sync: Duration::ZERO,
            silent: longest,
        };
        pace.heights(view.unwrap_or(0), 1)
    }

    fn places(&self) -> String {
        let places: Vec<String> = self
            .instances
            .iter()
            .map(|instance| {
                let machine = instance.engine.machine();
                format!(
                    "{} at height {} in view {} with floor {}",
                    self.cast.name(instance.number),
                    machine.height(),
                    machine.view(),
                    machine.view_floor()
                )
            })
            .collect();
        places.join(", ")
    }

    /// A transaction becomes due, and everybody knows of it.
    fn begin_round(&mut self) -> Result<(), Failure> {
        self.note(|| "a round begins".to_owned());
        for index in 0..self.instances.len() {
            self.handle(index, EngineInput::WorkPending(true))?;
            let due = self.due();
            let instance = &mut self.instances[index];
            if let Some(Asked(payload)) = instance.asked.take() {
                let transactions = instance.transactions(instance.waiting(due));
                let payload = Payload {
                    transactions,
                    ..payload
                };
                self.handle(index, EngineInput::Proposed(payload))?;
            }
        }
        Ok(())
    }

    /// Lets everything happen that happens before `until`, or until `is_over`.
    fn advance_to(&mut self, until: Time, is_over: impl Fn(&Self) -> bool) -> Result<(), Failure> {
        let mut ticks = 0;
        while !is_over(self) {
            let deadlines = self.instances.iter().filter_map(Instance::deadline);
            let frame = self.network.front().map(|frame| frame.at);
            let Some(next) = deadlines.chain(frame).min() else {
                break;
            };
            if next >= until {
                break;
            }
            if next > self.now {
                self.now = next;
                ticks = 0;
            }
            while self.network.front().is_some_and(|f| f.at <= self.now) {
                if let Some(frame) = self.network.pop_front() {
                    self.deliver(&frame)?;
                }
            }
            for index in 0..self.instances.len() {
                let is_due = |at: Time| at <= self.now;
                if self.instances[index].deadline().is_some_and(is_due) {
                    ticks += 1;
                    assert!(ticks < TICKS_MAX, "a timer does not move");
                    self.speaker = index;
                    let effects = self.instances[index].engine.tick(self.now);
                    self.carry_out_all(index, effects)?;
                }
            }
        }
        if !is_over(self) {
            self.now = until;
        }
        Ok(())
    }

    fn deliver(&mut self, frame: &Frame) -> Result<(), Failure> {
        let limit = self.instances[frame.to]
            .engine
            .machine()
            .config()
            .message_bytes_max();
        let message: Message = wire::decode(&frame.bytes, limit)
            .map_err(|error| violation(format!("what an instance sends is no message: {error}")))?;
        self.findings.frames += 1;
        let from = self.instances[frame.from].id;
        self.handle(frame.to, EngineInput::Received { from, message })
    }

    fn handle(&mut self, index: usize, input: EngineInput) -> Result<(), Failure> {
        self.speaker = index;
        let effects = self.instances[index].engine.handle(self.now, input);
        self.carry_out_all(index, effects)
    }

    /// Carries effects out in order; what answers cause stands behind.
    fn carry_out_all(&mut self, index: usize, effects: Effects<Effect>) -> Result<(), Failure> {
        let mut queue: VecDeque<Effect> = effects.into_iter().collect();
        while let Some(effect) = queue.pop_front() {
            if let Some(answer) = self.carry_out(index, effect)? {
                queue.extend(self.instances[index].engine.handle(self.now, answer));
            }
        }
        Ok(())
    }

    fn carry_out(&mut self, index: usize, effect: Effect) -> Result<Option<EngineInput>, Failure> {
        let (due, cast) = (self.due(), self.cast);
        match effect {
            Effect::Persist(record) => {
                // It is on the disk before the next effect is looked at.
                self.instances[index].disk.push(wire::encode(&record));
            }
            Effect::Send { to, message } => self.send(index, Some(to), &message)?,
            Effect::Broadcast(message) => self.send(index, None, &message)?,
            Effect::RequestProposal {
                height,
                view,
                is_due,
                evidence,
            } => {
                let instance = &mut self.instances[index];
                let waiting = instance.waiting(due);
                let payload = Payload {
                    height,
                    view,
                    transactions: instance.transactions(waiting),
                    evidence,
                    application: Vec::new(),
                };
                if is_due || waiting != 0 {
                    return Ok(Some(EngineInput::Proposed(payload)));
                }
                instance.asked = Some(Asked(payload));
            }
            Effect::RequestValidation { block, extent } => {
                let is_valid = self.instances[index].is_valid(&block, extent, due);
                return Ok(Some(EngineInput::Validated {
                    digest: block.digest(),
                    extent,
                    is_valid,
                }));
            }
            Effect::Decide { block, certificate } => {
                let instance = &mut self.instances[index];
                let last = instance.store.last();
                let parent = (
                    instance.store.len() as u64,
                    last.map(|decided| decided.certificate.value.digest),
                );
                let roots = instance.apply(&block, certificate.clone());
                let (state, waiting) = (instance.state, instance.waiting(due));
                self.judge
                    .decided(index, parent, &block, &certificate, state)?;
                self.note(|| {
                    let header = block.header();
                    format!(
                        "{} decides {} in view {}: {}",
                        cast.name(index),
                        header.height,
                        certificate.view,
                        block.digest()
                    )
                });
                if waiting == 0 {
                    let effects = self.instances[index]
                        .engine
                        .handle(self.now, EngineInput::WorkPending(false));
                    assert!(effects.is_empty(), "less work asks for nothing");
                }
                return Ok(Some(EngineInput::Applied { roots, next: None }));
            }
            Effect::ServeDecided {
                to,
                from,
                count_max,
                ..
            } => {
                for decided in self.instances[index].served(from, count_max) {
                    self.send(index, Some(to), &Message::Decided(decided))?;
                }
            }
            Effect::Report(evidence) => {
                self.judge.reported(index, &evidence)?;
                self.note(|| format!("{} reports {evidence:?}", cast.name(index)));
            }
            Effect::Halt(halt) => {
                let name = cast.name(index);
                if self.script.shape.pairs == 1 {
                    return Err(violation(format!("{name} stops: {halt}")).into());
                }
                self.note(|| format!("{name} stops: {halt}"));
                self.instances[index].halted = Some(halt);
            }
        }
        Ok(None)
    }

    /// Sends to a member, or to all others: to every instance that hears the sender now.
    fn send(
        &mut self,
        from: usize,
        to: Option<ReplicaId>,
        message: &Message,
    ) -> Result<(), Failure> {
        let sender = &mut self.instances[from];
        let id = sender.id;
        sender.watch.sent(id, message)?;
        if let Message::NewView(proposal) = message {
            let parts = proposal.new_view.view_changes.iter();
            let claims = parts.filter_map(|part| part.prepared);
            let blocks: BTreeSet<Sha256Digest> = claims.map(|claim| claim.digest).collect();
            self.findings.proposed_again += u64::from(!blocks.is_empty());
            self.findings.chosen += u64::from(blocks.len() > 1);
        }
        let view = sender.engine.machine().view().get();
        self.findings.view = self.findings.view.max(view);
        let round = self.script.rounds.get(self.round);
        let vote = match message {
            Message::Vote(vote) => Some(vote.kind),
            _ => None,
        };
        let hears = |instance: &&Instance| {
            instance.id != id
                && to.is_none_or(|to| to == instance.id)
                && round.is_none_or(|round| round.hears(instance.number, from, vote))
        };
        let receivers: Vec<usize> = self
            .instances
            .iter()
            .filter(hears)
            .map(|instance| instance.number)
            .collect();
        let cast = self.cast;
        self.note(|| {
            let names: Vec<String> = receivers.iter().map(|to| cast.name(*to)).collect();
            let names = names.join(" ");
            format!("{} to [{names}]: {}", cast.name(from), outline(message))
        });
        if receivers.is_empty() {
            return Ok(());
        }
        let bytes: Rc<[u8]> = wire::encode(message).into();
        self.audit.update(&self.now.as_millis().to_le_bytes());
        self.audit.update(&[from as u8, receivers.len() as u8]);
        self.audit.update(&bytes);
        let at = self.now.saturating_add(TRAVEL);
        for to in receivers {
            self.audit.update(&[to as u8]);
            let bytes = Rc::clone(&bytes);
            self.network.push_back(Frame {
                at,
                from,
                to,
                bytes,
            });
        }
        Ok(())
    }

    fn note(&mut self, line: impl FnOnce() -> String) {
        if self.trace.is_some() {
            let line = format!("{:>6} {:>2}  {}", self.now.as_millis(), self.round, line());
            if let Some(trace) = &mut self.trace {
                let _ = writeln!(trace, "{line}");
            }
        }
    }
}

fn start_of(round: usize) -> Time {
    Time::ZERO.saturating_add(ROUND * round as u32)
}

/// A message in a few words.
fn outline(message: &Message) -> String {
    match message {
        Message::Proposal(proposal) => {
            let said = &proposal.pre_prepare;
            format!("PRE-PREPARE {}/{} {}", said.height, said.view, said.digest)
        }
        Message::Vote(vote) => format!(
            "{:?} {}/{} {}",
            vote.kind, vote.height, vote.view, vote.value.digest
        ),
        Message::ViewChange(said) => match &said.prepared {
            None => format!("VIEW-CHANGE {}/{}", said.height, said.view),
            Some(claim) => format!(
                "VIEW-CHANGE {}/{} prepared {} {}",
                said.height, said.view, claim.view, claim.digest
            ),
        },
        Message::NewView(proposal) => {
            let said = &proposal.new_view;
            format!(
                "NEW-VIEW {}/{} {}",
                said.height, said.view, said.pre_prepare.digest
            )
        }
        Message::Status(status) => format!("STATUS {}/{}", status.height, status.view),
        Message::FetchDecided { from } => format!("FETCH from {from}"),
        Message::Decided(decided) => format!(
            "DECIDED {}/{} {}",
            decided.certificate.height, decided.certificate.view, decided.certificate.value.digest
        ),
        Message::FetchBlock { height, digest } => format!("FETCH {height} {digest}"),
        Message::Block(block) => format!("BLOCK {} {}", block.header.height, block.header.digest()),
        Message::Evidence(evidence) => format!("EVIDENCE {evidence:?}"),
    }
}

fn violation(detail: impl Into<String>) -> Violation {
    Violation::new("twins", detail)
}

const _: () = assert!(MEMBERS == WEIGHTS.len());
