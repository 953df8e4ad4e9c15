//! The discrete-event loop: replicas, network, disks and clients of one federation.

use crate::adversary::{Adversary, Scene, Sending, message_of};
use crate::clients::Clients;
use crate::federation::Federation;
use crate::moment::Moment;
use crate::network::{Arrival, Fate, Kind, Link, Network, Packet, position};
use crate::node::{CrashPoint, Node, SimReplica, Waiting, share};
use crate::oracle::progress::Pace;
use crate::oracle::{Agreement, Arithmetic, EvidenceWatch, Progress, SigningWatch, Violation};
use crate::outcome::Failure;
use crate::recording::{Basis, Door, EffectBytes, Recording, Refused, Step, replay};
use core::time::Duration;
use polity_consensus::fbpbft::{Decided, DropReason, Message};
use polity_crypto::{Blake3Digest, domain};
use polity_ledger::SignedTransaction;
use polity_replica::{Admission, Config, Effect, Frame, Purpose, Snapshot};
use polity_types::{Effects, Height, ReplicaId, Seed, StateMachine as _, Stream, wire};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::rc::Rc;

/// A snapshot is taken at every so many heights.
const SNAPSHOT_EVERY: u64 = 8;

/// Restless adversaries act this often.
const IDLE_EVERY: Duration = Duration::from_millis(100);

/// More events than this at one moment are a loop without progress.
const EVENTS_AT_ONCE_MAX: u64 = 1_000_000;

/// How a world starts.
pub struct Options {
    /// How links behave.
    pub link: Link,
    /// How long a sync of a journal takes. If it takes no time, every record is synced by itself.
    pub sync: Duration,
    /// Clocks are up to this much ahead.
    pub skew_max: Duration,
    /// Parameters of all replicas.
    pub config: Config,
    /// Members that break the rules.
    pub adversaries: BTreeMap<ReplicaId, Box<dyn Adversary>>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            link: Link::default(),
            sync: Duration::ZERO,
            skew_max: Duration::ZERO,
            config: Config::default(),
            adversaries: BTreeMap::new(),
        }
    }
}

impl Options {
    /// One member breaks the rules.
    #[must_use]
    pub fn with(mut self, id: ReplicaId, adversary: impl Adversary + 'static) -> Self {
        self.adversaries.insert(id, Box::new(adversary));
        self
    }
}

impl core::fmt::Debug for Options {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Options")
            .field("link", &self.link)
            .field("sync", &self.sync)
            .field("adversaries", &self.adversaries.keys())
            .finish_non_exhaustive()
    }
}

#[derive(Debug)]
enum Event {
    Arrives(Arrival),
    Wakes { node: usize, start: u32 },
    Synced { node: usize, start: u32 },
    Submits,
    Idles(usize),
}

/// How clients behave.
#[derive(Clone, Copy, Debug)]
struct Load {
    every: Duration,
    /// Replicas that get each transaction.
    copies: u64,
}

/// What a world came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Digest of everything that happened.
    pub audit_hash: Blake3Digest,
    /// Heights of the members.
    pub heights: Vec<u64>,
    /// Blocks decided.
    pub blocks: u64,
    /// Frames sent.
    pub messages: u64,
    /// Transactions decided.
    pub transactions: u64,
    /// Starts after a crash.
    pub restarts: u64,
    /// Time that passed.
    pub time: Moment,
    /// What happened, if it was written down.
    pub trace: Option<String>,
}

/// A federation in a box.
#[derive(Debug)]
pub struct World {
    federation: Rc<Federation>,
    config: Config,
    sync: Duration,
    now: Moment,
    events: BTreeMap<(Moment, u64), Event>,
    scheduled: u64,
    at_once: u64,
    nodes: Vec<Node>,
    network: Network,
    clients: Clients,
    load: Option<Load>,
    /// Whims of adversaries, and of disks that lose power.
    whims: Vec<Stream>,
    chance: Stream,
    agreement: Agreement,
    arithmetic: Arithmetic,
    signing: SigningWatch,
    evidence: EvidenceWatch,
    progress: Progress,
    failure: Option<Failure>,
    audit: blake3::Hasher,
    trace: Option<String>,
    /// Messages of the normal case, by height.
    normal_case: BTreeMap<u64, u64>,
    /// When a block was first proposed, and when each replica applied it.
    proposed_at: BTreeMap<u64, Moment>,
    applied_at: BTreeMap<(u64, ReplicaId), Moment>,
    restarts: u64,
}

impl World {
    /// A federation whose members have just been switched on.
    pub fn new(
        federation: Rc<Federation>,
        seed: &Seed,
        options: Options,
        is_traced: bool,
    ) -> Result<Self, Failure> {
        let genesis = Rc::new(federation.genesis.clone());
        let mut adversaries = options.adversaries;
        let byzantine: BTreeSet<ReplicaId> = adversaries.keys().copied().collect();
        let mut skews = seed.fork("skew").stream();
        let skew_max = options.skew_max.as_millis() as u64;
        let nodes = federation
            .ids()
            .zip(&federation.signers)
            .map(|(id, signer)| {
                let basis = Basis {
                    genesis: genesis.clone(),
                    purpose: Purpose::Simulation,
                    config: options.config.clone(),
                    signer: signer.clone(),
                    verifier: federation.verifier.clone(),
                    index_seed: seed.fork(&format!("index {id}")),
                };
                let skew = Duration::from_millis(skews.below(skew_max.saturating_add(1)));
                Node::new(id, basis, skew, adversaries.remove(&id))
            })
            .collect();
        let mut audit = blake3::Hasher::new();
        audit.update(domain::SIMULATION_AUDIT.as_str().as_bytes());
        audit.update(&[0]);
        audit.update(seed.as_bytes());
        let mut world = Self {
            arithmetic: Arithmetic::new(&federation.genesis),
            evidence: EvidenceWatch::new(&federation.genesis, byzantine),
            clients: Clients::new(federation.clone(), seed.fork("clients").stream()),
            network: Network::new(options.link, seed.fork("network").stream()),
            whims: federation
                .ids()
                .map(|id| seed.fork(&format!("whims {id}")).stream())
                .collect(),
            chance: seed.fork("chance").stream(),
            federation,
            config: options.config,
            sync: options.sync,
            now: Moment::ZERO,
            events: BTreeMap::new(),
            scheduled: 0,
            at_once: 0,
            nodes,
            load: None,
            agreement: Agreement::default(),
            signing: SigningWatch::default(),
            progress: Progress::default(),
            failure: None,
            audit,
            trace: is_traced.then(String::new),
            normal_case: BTreeMap::new(),
            proposed_at: BTreeMap::new(),
            applied_at: BTreeMap::new(),
            restarts: 0,
        };
        for node in 0..world.nodes.len() {
            world.start(node);
            if world.nodes[node]
                .adversary
                .as_ref()
                .is_some_and(|adversary| adversary.is_restless())
            {
                world.schedule(IDLE_EVERY, Event::Idles(node));
            }
        }
        world.check()?;
        Ok(world)
    }

    // ---- What scenarios do ----------------------------------------------------------------

    /// The time.
    pub fn now(&self) -> Moment {
        self.now
    }

    /// Everything that the members have in common.
    pub fn federation(&self) -> &Rc<Federation> {
        &self.federation
    }

    /// Lets time pass.
    pub fn run_for(&mut self, span: Duration) -> Result<(), Failure> {
        let until = self.now.after(span);
        while self.events.first_key_value().is_some_and(|((at, _), _)| *at <= until) {
            self.turn()?;
        }
        self.now = until;
        Ok(())
    }

    /// Lets time pass until `is_done`, at most for `limit`. Returns whether it is done.
    pub fn run_until(
        &mut self,
        limit: Duration,
        mut is_done: impl FnMut(&Self) -> bool,
    ) -> Result<bool, Failure> {
        let until = self.now.after(limit);
        loop {
            if is_done(self) {
                return Ok(true);
            }
            if self.events.first_key_value().is_none_or(|((at, _), _)| *at > until) {
                self.now = until;
                return Ok(is_done(self));
            }
            self.turn()?;
        }
    }

    /// Lets time pass until `is_done`; it is a failure of liveness if that takes longer than
    /// `limit`.
    pub fn expect(
        &mut self,
        limit: Duration,
        what: &str,
        is_done: impl FnMut(&Self) -> bool,
    ) -> Result<(), Failure> {
        if self.run_until(limit, is_done)? {
            return Ok(());
        }
        let stand: Vec<String> = self
            .nodes
            .iter()
            .map(|node| match &node.replica {
                None => format!("{} down at {}", node.id, node.store.len()),
                Some(replica) => {
                    let machine = replica.machine();
                    format!(
                        "{}{} works on {} in view {} above {}",
                        node.id,
                        if node.is_honest() { "" } else { " (byzantine)" },
                        machine.height(),
                        machine.view(),
                        machine.view_floor()
                    )
                }
            })
            .collect();
        Err(Failure::Liveness(format!(
            "{what} did not happen within {} ms, until {} ms: {}",
            limit.as_millis(),
            self.now,
            stand.join("; ")
        )))
    }

    /// The same for a step of the schedule itself, which says nothing about the protocol.
    pub fn arrange(
        &mut self,
        limit: Duration,
        what: &str,
        is_done: impl FnMut(&Self) -> bool,
    ) -> Result<(), Failure> {
        if self.run_until(limit, is_done)? {
            return Ok(());
        }
        Err(Failure::Inconclusive(format!(
            "{what} did not come about within {} ms",
            limit.as_millis()
        )))
    }

    /// Lets clients send a transaction every so often, each to so many replicas.
    pub fn load(&mut self, every: Duration, copies: u64) {
        if self.load.is_none() {
            self.schedule(Duration::ZERO, Event::Submits);
        }
        self.load = Some(Load { every, copies });
    }

    /// Sends the clients home.
    pub fn idle(&mut self) {
        self.load = None;
    }

    /// A client sends the next transaction to this replica alone.
    pub fn submit(&mut self, to: ReplicaId) -> Result<SignedTransaction, Failure> {
        let transaction = self.next_transaction();
        self.tell(to.get() as usize, Step::Submit(vec![transaction.encode()]));
        self.check()?;
        Ok(transaction)
    }

    /// Links behave like this from now on.
    pub fn set_link(&mut self, link: Link) {
        self.network.set_link(link);
    }

    /// Frames go through this filter from now on.
    pub fn filter(&mut self, filter: impl FnMut(&Packet<'_>) -> Fate + 'static) {
        self.network.set_filter(Some(Box::new(filter)));
    }

    /// Removes the filter.
    pub fn unfilter(&mut self) {
        self.network.set_filter(None);
    }

    /// Sends everything that the filter held.
    pub fn release(&mut self) {
        for arrival in self.network.release(self.now) {
            self.arrive(arrival);
        }
    }

    /// Cuts one direction of a link.
    pub fn cut(&mut self, from: ReplicaId, to: ReplicaId) {
        self.note(|| format!("cut {from} > {to}"));
        self.network.cut(from, to);
    }

    /// Cuts a member off in both directions.
    pub fn isolate(&mut self, id: ReplicaId) {
        for other in self.federation.others(&[id]) {
            self.cut(id, other);
            self.cut(other, id);
        }
    }

    /// Cuts every link between `side` and the rest.
    pub fn partition(&mut self, side: &[ReplicaId]) {
        for inside in side {
            for outside in self.federation.others(side) {
                self.cut(*inside, outside);
                self.cut(outside, *inside);
            }
        }
    }

    /// Mends every cut link.
    pub fn mend(&mut self) {
        self.note(|| "mend".to_owned());
        self.network.mend();
    }

    /// A replica loses power; some bytes of the tail that was not synced may be on the disk.
    pub fn crash(&mut self, id: ReplicaId) {
        let node = id.get() as usize;
        if self.nodes[node].is_up() {
            let disk = &self.nodes[node].disk;
            let tail = (disk.end() - disk.synced()) as u64;
            let kept = self.chance.below(tail + 1) as usize;
            self.lose_power(node, kept);
        }
    }

    /// A replica loses power when it persists a certain record.
    pub fn crash_at(&mut self, id: ReplicaId, point: CrashPoint) {
        self.nodes[id.get() as usize].crash_at = Some(point);
    }

    /// Switches a replica on again; nothing happens if it is on.
    pub fn restart(&mut self, id: ReplicaId) -> Result<(), Failure> {
        let node = id.get() as usize;
        if !self.nodes[node].is_up() {
            self.restarts += 1;
            self.start(node);
        }
        self.check()
    }

    /// Ends every fault: links are calm and whole, filters are gone, everybody is up.
    pub fn heal(&mut self) -> Result<(), Failure> {
        self.network.set_link(Link::default());
        self.unfilter();
        self.mend();
        self.release();
        for id in self.federation.ids() {
            self.nodes[id.get() as usize].crash_at = None;
            self.restart(id)?;
        }
        Ok(())
    }

    /// All honest members that are up decide so many more heights, in the time that the timeouts
    /// allow once faults have stopped; then everything that was promised to clients is decided.
    pub fn progress(&mut self, more: u32) -> Result<(), Failure> {
        let pace = self.pace();
        let floor = self.highest_floor();
        let target = self.agreement.highest() + u64::from(more);
        self.load(Duration::from_millis(40), 2);
        let limit = pace.heights(floor, more);
        self.expect(limit, &format!("height {target}"), |world| {
            world.lowest_height() >= target
        })?;
        self.idle();
        // Transactions that nobody forwarded yet travel first; the block after them records them.
        let limit = pace.heights(self.highest_floor(), 4) + self.config.forward_after * 4;
        self.expect(limit, "a block for every promised transaction", |world| {
            world.progress.open() == 0
        })
    }

    /// Ends every fault, and expects progress.
    pub fn settle(&mut self, more: u32) -> Result<(), Failure> {
        self.heal()?;
        self.progress(more)
    }

    // ---- What scenarios ask ---------------------------------------------------------------

    /// The height up to which a replica decided.
    pub fn height(&self, id: ReplicaId) -> u64 {
        self.agreement.height(id)
    }

    /// The height up to which every honest replica that is up decided.
    pub fn lowest_height(&self) -> u64 {
        self.nodes
            .iter()
            .filter(|node| node.is_honest() && node.is_up())
            .map(|node| self.agreement.height(node.id))
            .min()
            .unwrap_or(0)
    }

    /// A replica, if it is up.
    pub fn replica(&self, id: ReplicaId) -> Option<&SimReplica> {
        self.nodes[id.get() as usize].replica.as_ref()
    }

    /// The view that a replica is in at the height it works on; 0 if it is down.
    pub fn view(&self, id: ReplicaId) -> u64 {
        self.replica(id).map_or(0, |replica| replica.machine().view().get())
    }

    /// The lowest view in which a replica may still act; 0 if it is down.
    pub fn floor(&self, id: ReplicaId) -> u64 {
        self.replica(id)
            .map_or(0, |replica| replica.machine().view_floor().get())
    }

    /// How many messages a replica dropped for a reason since it started.
    pub fn drops(&self, id: ReplicaId, reason: DropReason) -> u64 {
        self.replica(id)
            .and_then(|replica| replica.machine().drops().get(&reason).copied())
            .unwrap_or(0)
    }

    /// The decided blocks of a replica, from height 1 on.
    pub fn store(&self, id: ReplicaId) -> &[Decided] {
        &self.nodes[id.get() as usize].store
    }

    /// What was refused in front of a replica.
    pub fn refused(&self, id: ReplicaId) -> Refused {
        self.nodes[id.get() as usize].refused()
    }

    /// How many records a replica has persisted.
    pub fn records(&self, id: ReplicaId) -> u64 {
        self.nodes[id.get() as usize].records
    }

    /// Whether a replica is switched on.
    pub fn is_up(&self, id: ReplicaId) -> bool {
        self.nodes[id.get() as usize].is_up()
    }

    /// One block at each height.
    pub fn agreement(&self) -> &Agreement {
        &self.agreement
    }

    /// What honest members said.
    pub fn signing(&self) -> &SigningWatch {
        &self.signing
    }

    /// Who was accused.
    pub fn evidence(&self) -> &EvidenceWatch {
        &self.evidence
    }

    /// What was promised and decided.
    pub fn promises(&self) -> &Progress {
        &self.progress
    }

    /// Messages of the normal case about a height.
    pub fn normal_case_messages(&self, height: u64) -> u64 {
        self.normal_case.get(&height).copied().unwrap_or(0)
    }

    /// Frames of a kind that were sent.
    pub fn sent(&self, kind: Kind) -> u64 {
        self.network.sent().get(&kind).copied().unwrap_or(0)
    }

    /// From the first proposal at a height until a replica had decided it.
    pub fn decision_time(&self, id: ReplicaId, height: u64) -> Option<Duration> {
        let proposed = self.proposed_at.get(&height)?;
        Some(self.applied_at.get(&(height, id))?.since(*proposed))
    }

    /// What bounds the time of a decision.
    pub fn pace(&self) -> Pace {
        let consensus = &self.config.consensus;
        let link = self.network.link();
        Pace {
            timeout_base: consensus.timeout_base,
            timeout_max: consensus.timeout_max,
            retransmit_after: consensus.retransmit_after,
            status_every: consensus.status_every,
            fetch_timeout: consensus.fetch_timeout,
            travel: link.latency + link.jitter,
            sync: self.sync,
            silent: self.nodes.iter().filter(|node| !node.is_honest() || !node.is_up()).count() as u32,
        }
    }

    /// Replays the life of one honest member.
    pub fn replay_somebody(&mut self) -> Result<(), Failure> {
        let honest: Vec<usize> = (0..self.nodes.len())
            .filter(|node| self.nodes[*node].is_honest())
            .collect();
        let place = self.chance.below(honest.len() as u64) as usize;
        honest.get(place).map_or(Ok(()), |node| self.replay(*node))
    }

    /// Adds everything up.
    pub fn finish(mut self) -> Summary {
        for node in &self.nodes {
            for life in node.all_lives() {
                self.audit.update(life.effects.as_bytes());
            }
        }
        Summary {
            audit_hash: Blake3Digest::new(*self.audit.finalize().as_bytes()),
            heights: self
                .nodes
                .iter()
                .map(|node| node.store.len() as u64)
                .collect(),
            blocks: self.agreement.highest(),
            messages: self.network.sent().values().sum(),
            transactions: self.progress.decided() as u64,
            restarts: self.restarts,
            time: self.now,
            trace: self.trace,
        }
    }

    /// Drives bare replicas with what one member was told, and compares what they ask for.
    pub fn replay_of(&self, id: ReplicaId) -> Result<(), Failure> {
        self.replay(id.get() as usize)
    }

    /// The steps of a member since its last start.
    pub fn recording(&self, id: ReplicaId) -> &Recording {
        &self.nodes[id.get() as usize].recording
    }

    fn replay(&self, node: usize) -> Result<(), Failure> {
        let node = &self.nodes[node];
        for life in node.all_lives() {
            let digest = replay(&node.basis, &life.recording);
            if digest.as_ref() != Ok(&life.effects) {
                return Err(Violation::new(
                    "replay",
                    format!("replica {} asked for {} but its recording gives {digest:?}", node.id, life.effects),
                )
                .into());
            }
        }
        Ok(())
    }

    // ---- The loop -------------------------------------------------------------------------

    fn schedule(&mut self, after: Duration, event: Event) {
        let at = self.now.after(after);
        self.schedule_at(at, event);
    }

    fn schedule_at(&mut self, at: Moment, event: Event) {
        self.scheduled += 1;
        self.events.insert((at.max(self.now), self.scheduled), event);
    }

    fn arrive(&mut self, arrival: Arrival) {
        self.schedule_at(arrival.at, Event::Arrives(arrival));
    }

    fn turn(&mut self) -> Result<(), Failure> {
        let Some(((at, _), event)) = self.events.pop_first() else {
            return Ok(());
        };
        if at > self.now {
            self.at_once = 0;
        }
        self.at_once += 1;
        if self.at_once > EVENTS_AT_ONCE_MAX {
            return Err(Failure::Liveness(format!("time stands still at {at} ms")));
        }
        self.now = at;
        match event {
            Event::Arrives(arrival) => self.on_arrival(&arrival),
            Event::Wakes { node, start } => self.on_wake(node, start),
            Event::Synced { node, start } => self.on_synced(node, start),
            Event::Submits => self.on_submit(),
            Event::Idles(node) => {
                self.schedule(IDLE_EVERY, Event::Idles(node));
                self.perform(node, |adversary, scene| adversary.idles(scene));
            }
        }
        self.check()
    }

    fn check(&mut self) -> Result<(), Failure> {
        self.failure.take().map_or(Ok(()), Err)
    }

    fn fail(&mut self, result: Result<(), Violation>) {
        if let Err(violation) = result
            && self.failure.is_none()
        {
            self.note(|| format!("VIOLATION {violation}"));
            self.failure = Some(violation.into());
        }
    }

    fn note(&mut self, line: impl FnOnce() -> String) {
        let now = self.now;
        if let Some(trace) = &mut self.trace {
            let _ = writeln!(trace, "{now} {}", line());
        }
    }

    // ---- Starting and stopping ------------------------------------------------------------

    fn start(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        let (id, start) = (node.id, node.start);
        let journal = node.disk.recover();
        let snapshot = match (&node.snapshot, self.chance.below(2)) {
            (Some(snapshot), 0) => Some(snapshot.clone()),
            _ => None,
        };
        let base = snapshot.as_ref().map_or(0, |snapshot| snapshot.meta.height.get());
        let mut applied = Vec::new();
        let built = node
            .basis
            .build(snapshot.clone(), &journal, |committed| applied.push(committed));
        let replica = match built {
            Ok(replica) => replica,
            Err(error) => {
                let reason = format!("replica {id} cannot go on: {error}");
                self.fail(Err(Violation::new("recovery", reason)));
                return;
            }
        };
        let records = journal.len();
        node.door = Door::new(&node.basis, replica.chain().id());
        node.replica = Some(replica);
        node.halted = None;
        node.recording = Recording {
            snapshot: snapshot.map(|Snapshot { meta, chunks }| (meta, chunks)),
            journal,
            steps: Vec::new(),
        };
        if node.is_honest() {
            self.agreement.restarted(id, base);
            for committed in &applied {
                let agreed = self.agreement.committed(id, committed);
                self.fail(agreed);
            }
            self.compare(index);
        }
        for committed in applied {
            self.keep(index, &committed);
        }
        self.note(|| format!("{id} starts ({start}) from {records} records above height {base}"));
        self.set_alarm(index);
    }

    fn lose_power(&mut self, index: usize, kept: usize) {
        let id = self.nodes[index].id;
        self.note(|| format!("{id} loses power, {kept} bytes of its tail are kept"));
        self.nodes[index].crash(kept);
    }

    // ---- Telling replicas -----------------------------------------------------------------

    fn tell(&mut self, index: usize, step: Step) {
        let node = &mut self.nodes[index];
        let Some(replica) = &mut node.replica else {
            return;
        };
        let now = self.now.shown(node.skew);
        self.audit.update(&self.now.as_micros().to_le_bytes());
        self.audit.update(&(index as u32).to_le_bytes());
        match &step {
            Step::Tick => self.audit.update(&[0]),
            Step::Frame { from, bytes } => {
                self.audit.update(&[1]);
                self.audit.update(&from.get().to_le_bytes());
                self.audit.update(bytes)
            }
            Step::Submit(transactions) => {
                self.audit.update(&[2]);
                self.audit.update(&wire::encode(transactions))
            }
        };
        let effects = node.door.drive(replica, now, &step);
        node.recording.steps.push((now, step));
        self.carry_out_all(index, effects);
    }

    fn carry_out_all(&mut self, index: usize, effects: Effects<Effect>) {
        let effects: Vec<(Effect, EffectBytes)> = effects
            .into_iter()
            .map(|effect| {
                let bytes = EffectBytes::of(&effect);
                (effect, bytes)
            })
            .collect();
        let start = self.nodes[index].start;
        let mut has_applied = false;
        for (effect, bytes) in &effects {
            self.nodes[index].effects.absorb(bytes);
            has_applied |= matches!(effect, Effect::Committed(_));
            if self.nodes[index].is_honest() {
                self.observe(index, effect);
            }
        }
        if has_applied && self.nodes[index].is_honest() {
            self.compare(index);
        }
        for (effect, bytes) in effects {
            if matches!(effect, Effect::Persist(_)) {
                self.persist(index, &bytes);
            } else if self.sync.is_zero() {
                // Every record is synced by itself, so everything in front is durable.
                let end = self.nodes[index].disk.end();
                self.nodes[index].disk.sync_to(end);
                self.carry_out(index, effect, &bytes);
            } else {
                let position = self.nodes[index].disk.end();
                self.nodes[index].waiting.push_back(Waiting {
                    position,
                    effect,
                    bytes,
                });
            }
            if self.nodes[index].start != start {
                // It lost power on the way.
                return;
            }
        }
        if self.sync.is_zero() {
            let end = self.nodes[index].disk.end();
            self.nodes[index].disk.sync_to(end);
        } else {
            self.work_off(index);
        }
        self.set_alarm(index);
    }

    fn persist(&mut self, index: usize, bytes: &EffectBytes) {
        let node = &mut self.nodes[index];
        let before = node.disk.end();
        let end = node.disk.append(&bytes.bytes);
        let number = node.records;
        node.records += 1;
        let hits = node.crash_at.filter(|point| point.record == number);
        if let Some(point) = hits {
            node.crash_at = None;
            // What came before it in this batch is on the disk, and so much of the record.
            node.disk.sync_to(before);
            let part = point.kept.unwrap_or(usize::MAX).min(end - before);
            self.lose_power(index, part);
        }
    }

    /// Releases what is durable, and starts the next sync.
    fn work_off(&mut self, index: usize) {
        let start = self.nodes[index].start;
        while self.nodes[index].start == start {
            let node = &mut self.nodes[index];
            let synced = node.disk.synced();
            let is_free = node.waiting.front().is_some_and(|first| first.position <= synced);
            if !is_free {
                break;
            }
            if let Some(first) = node.waiting.pop_front() {
                self.carry_out(index, first.effect, &first.bytes);
            }
        }
        let sync = self.sync;
        let node = &mut self.nodes[index];
        if node.is_up() && node.syncing.is_none() && node.disk.end() > node.disk.synced() {
            node.syncing = Some(node.disk.end());
            let start = node.start;
            self.schedule(sync, Event::Synced { node: index, start });
        }
    }

    fn on_synced(&mut self, index: usize, start: u32) {
        let node = &mut self.nodes[index];
        if node.start != start {
            return;
        }
        if let Some(position) = node.syncing.take() {
            node.disk.sync_to(position);
            self.work_off(index);
        }
    }

    /// What oracles see at once: what a replica applied and whom it accuses.
    fn observe(&mut self, index: usize, effect: &Effect) {
        let id = self.nodes[index].id;
        match effect {
            Effect::Committed(committed) => {
                let height = committed.block.header().height.get();
                let digest = committed.block.digest();
                self.note(|| format!("{id} decides {height} {digest}"));
                self.applied_at.entry((height, id)).or_insert(self.now);
                let result = self
                    .agreement
                    .committed(id, committed)
                    .and_then(|()| self.arithmetic.committed(committed))
                    .and_then(|()| self.evidence.committed(id, committed));
                self.progress.committed(committed);
                self.fail(result);
            }
            Effect::Report(evidence) => {
                self.note(|| format!("{id} reports {evidence:?}"));
                let result = self.evidence.reported(id, evidence);
                self.fail(result);
            }
            Effect::Halt(halt) => {
                let reason = format!("honest replica {id} halts: {halt}");
                self.fail(Err(Violation::new("agreement", reason)));
            }
            Effect::Persist(_)
            | Effect::Send { .. }
            | Effect::Broadcast(_)
            | Effect::Answer { .. }
            | Effect::ServeDecided { .. } => {}
        }
    }

    fn compare(&mut self, index: usize) {
        let Some(replica) = &self.nodes[index].replica else {
            return;
        };
        let ledger = replica.ledger();
        let result = self
            .arithmetic
            .compare(ledger.height().get(), ledger.accounts());
        self.fail(result);
    }

    // ---- Carrying out ---------------------------------------------------------------------

    fn carry_out(&mut self, index: usize, effect: Effect, bytes: &EffectBytes) {
        let id = self.nodes[index].id;
        match effect {
            Effect::Persist(_) => unreachable!("records go to the disk"),
            Effect::Send { to, frame } => {
                self.speak(index, &frame);
                self.transmit(index, to, &frame, &share(bytes));
            }
            Effect::Broadcast(frame) => {
                self.speak(index, &frame);
                let shared = share(bytes);
                for to in self.federation.others(&[id]) {
                    self.transmit(index, to, &frame, &shared);
                }
            }
            Effect::Answer { id, result } => {
                if self.nodes[index].is_honest() && result == Ok(Admission::Pending) {
                    self.progress.promised(id);
                }
            }
            Effect::Committed(committed) => {
                self.keep(index, &committed);
                self.take_snapshot(index, committed.block.header().height);
            }
            Effect::ServeDecided {
                to,
                from,
                count_max,
                bytes_max,
            } => self.serve(index, to, from, count_max, bytes_max),
            Effect::Report(_) => {}
            Effect::Halt(halt) => self.nodes[index].halted = Some(halt),
        }
    }

    /// What an honest replica says is watched.
    fn speak(&mut self, index: usize, frame: &Frame) {
        let node = &self.nodes[index];
        if let Some(message) = message_of(frame)
            && node.is_honest()
        {
            let id = node.id;
            if let Message::Proposal(proposal) = message {
                let height = proposal.pre_prepare.height.get();
                self.proposed_at.entry(height).or_insert(self.now);
            }
            let result = self.signing.sent(id, message);
            self.fail(result);
        }
    }

    fn keep(&mut self, index: usize, committed: &polity_replica::Committed) {
        let store = &mut self.nodes[index].store;
        if committed.block.header().height.get() == store.len() as u64 + 1 {
            store.push(Decided {
                block: committed.block.block().clone(),
                certificate: committed.certificate.clone(),
            });
        }
    }

    fn take_snapshot(&mut self, index: usize, height: Height) {
        let node = &mut self.nodes[index];
        // Only what is durable may be in it: nothing above the block that was just released.
        if height.get() % SNAPSHOT_EVERY == 0
            && let Some(replica) = &mut node.replica
            && replica.tip().parent.height == height
        {
            node.snapshot = Some(replica.snapshot());
        }
    }

    fn serve(
        &mut self,
        index: usize,
        to: ReplicaId,
        from: Height,
        count_max: u64,
        bytes_max: usize,
    ) {
        let first = from.get().saturating_sub(1) as usize;
        let store = &self.nodes[index].store;
        let wanted: Vec<Decided> = store
            .iter()
            .skip(first)
            .take(count_max as usize)
            .cloned()
            .collect();
        let mut length = 0;
        for decided in wanted {
            let frame = Frame::Consensus(Message::Decided(decided));
            let bytes: Rc<[u8]> = Rc::from(frame.encode());
            length += bytes.len();
            if length > bytes_max && length > bytes.len() {
                return;
            }
            self.transmit(index, to, &frame, &bytes);
        }
    }

    fn transmit(&mut self, index: usize, to: ReplicaId, frame: &Frame, bytes: &Rc<[u8]>) {
        let mut sending = Sending::Pass;
        self.perform(index, |adversary, scene| {
            sending = adversary.sends(scene, to, frame);
        });
        match sending {
            Sending::Pass => self.route(index, to, frame, bytes),
            Sending::Drop => {}
            Sending::Instead(frames) => {
                for frame in frames {
                    self.route(index, to, &frame, &Rc::from(frame.encode()));
                }
            }
        }
    }

    fn route(&mut self, index: usize, to: ReplicaId, frame: &Frame, bytes: &Rc<[u8]>) {
        let from = self.nodes[index].id;
        if to == from || to.get() as usize >= self.nodes.len() {
            return;
        }
        let kind = Kind::of(frame);
        let (height, view) = position(frame);
        if kind.is_normal_case() {
            *self.normal_case.entry(height.get()).or_default() += 1;
        }
        let packet = Packet {
            at: self.now,
            from,
            to,
            frame,
        };
        let arrivals = self.network.send(&packet, bytes);
        let count = arrivals.len();
        self.note(|| {
            let fate = match count {
                0 => " lost or held",
                1 => "",
                _ => " twice",
            };
            format!("{from} > {to} {kind:?} {height}/{view}{fate}")
        });
        for arrival in arrivals {
            self.arrive(arrival);
        }
    }

    /// Lets an adversary act, if the node is one.
    fn perform(&mut self, index: usize, act: impl FnOnce(&mut dyn Adversary, &mut Scene<'_>)) {
        let federation = self.federation.clone();
        let node = &mut self.nodes[index];
        let (Some(adversary), Some(replica)) = (&mut node.adversary, &node.replica) else {
            return;
        };
        let mut scene = Scene {
            id: node.id,
            now: self.now.shown(node.skew),
            chain: &federation.chain,
            signer: &node.basis.signer,
            replica,
            random: &mut self.whims[index],
            out: Vec::new(),
        };
        act(adversary.as_mut(), &mut scene);
        let said = core::mem::take(&mut scene.out);
        for (to, frame) in said {
            self.route(index, to, &frame, &Rc::from(frame.encode()));
        }
    }

    // ---- Events ---------------------------------------------------------------------------

    fn on_arrival(&mut self, arrival: &Arrival) {
        let index = arrival.to.get() as usize;
        if !self.nodes[index].is_up() {
            return;
        }
        if !self.nodes[index].is_honest() {
            let Ok(frame) = Frame::decode(&arrival.bytes, usize::MAX) else {
                return;
            };
            self.perform(index, |adversary, scene| {
                adversary.hears(scene, arrival.from, &frame);
            });
            // Its replica must not learn what it said behind the replica's back.
            let is_own = match message_of(&frame) {
                Some(Message::Vote(vote)) => vote.signer == arrival.to,
                Some(Message::ViewChange(said)) => said.signer == arrival.to,
                Some(_) | None => false,
            };
            if is_own {
                return;
            }
        }
        self.tell(
            index,
            Step::Frame {
                from: arrival.from,
                bytes: arrival.bytes.to_vec(),
            },
        );
    }

    fn on_wake(&mut self, index: usize, start: u32) {
        let node = &mut self.nodes[index];
        if node.start != start || node.wake_at != Some(self.now) {
            return;
        }
        node.wake_at = None;
        let now = self.now.shown(node.skew);
        let deadline = node.replica.as_ref().and_then(|replica| replica.deadline());
        if deadline.is_some_and(|at| at <= now) {
            self.tell(index, Step::Tick);
        } else {
            self.set_alarm(index);
        }
    }

    /// Wakes the node at its deadline.
    fn set_alarm(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        let Some(deadline) = node.replica.as_ref().and_then(|replica| replica.deadline()) else {
            return;
        };
        let at = Moment::of_clock(deadline, node.skew).max(self.now);
        if node.wake_at.is_none_or(|earlier| at < earlier) {
            node.wake_at = Some(at);
            let start = node.start;
            self.schedule_at(at, Event::Wakes { node: index, start });
        }
    }

    fn next_transaction(&mut self) -> SignedTransaction {
        let height = Height::new(self.agreement.highest());
        let now = self.now.shown(Duration::ZERO);
        self.clients.next(now, height)
    }

    fn on_submit(&mut self) {
        let Some(load) = self.load else {
            return;
        };
        self.schedule(load.every, Event::Submits);
        let up: Vec<usize> = (0..self.nodes.len())
            .filter(|index| self.nodes[*index].is_up() && self.nodes[*index].is_honest())
            .collect();
        if up.is_empty() {
            return;
        }
        let transaction = self.next_transaction().encode();
        let first = self.clients.random().below(up.len() as u64) as usize;
        for copy in 0..load.copies.min(up.len() as u64) {
            let index = up[(first + copy as usize) % up.len()];
            self.tell(index, Step::Submit(vec![transaction.clone()]));
        }
    }

    fn highest_floor(&self) -> u64 {
        self.nodes
            .iter()
            .filter(|node| node.is_honest())
            .filter_map(|node| node.replica.as_ref())
            .map(|replica| replica.machine().view_floor().get())
            .max()
            .unwrap_or(0)
    }
}
