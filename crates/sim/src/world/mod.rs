//! The world: one federation with everything around it, advanced event by event.

mod decrees;
mod drive;
mod effects;
mod faults;
mod finish;
mod life;
mod questions;
mod script;

use self::decrees::Decrees;
use crate::adversary::Adversary;
use crate::clients::Clients;
use crate::digester::Digester;
use crate::federation::Federation;
use crate::moment::Moment;
use crate::network::{Arrival, Link, Network};
use crate::node::Node;
use crate::oracle::{
    Agreement, Arithmetic, Committees, Completeness, EvidenceWatch, MemoryWatch, Progress,
    SigningWatch,
};
use crate::outcome::Failure;
use crate::recording::Basis;
use core::time::Duration;
use polity_consensus::fbpbft::Keyring;
use polity_crypto::{Blake3Digest, domain};
use polity_replica::{Config, Purpose};
use polity_types::{ReplicaId, Seed, Stream};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

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
    /// A snapshot is taken at every so many heights.
    pub snapshot_every: u64,
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
            snapshot_every: 8,
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

    /// The same, for one whose kind is not known here.
    #[must_use]
    pub fn with_boxed(mut self, id: ReplicaId, adversary: Box<dyn Adversary>) -> Self {
        self.adversaries.insert(id, adversary);
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
pub(crate) enum Event {
    Arrives(Arrival),
    Wakes { node: usize, start: u32 },
    Synced { node: usize, start: u32 },
    Submits,
    Decrees,
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
    /// Faults, by name: how often each happened.
    pub faults: BTreeMap<&'static str, u64>,
    /// Different NEW-VIEWs that honest leaders sent.
    pub new_views: u64,
    /// Offences that honest members reported, and accusations in decided blocks.
    pub evidence: (u64, u64),
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
    snapshot_every: u64,
    now: Moment,
    events: BTreeMap<(Moment, u64), Event>,
    scheduled: u64,
    at_once: u64,
    nodes: Vec<Node>,
    network: Network,
    clients: Clients,
    load: Option<Load>,
    decrees: Decrees,
    /// Whims of adversaries, and of disks that lose power.
    whims: Vec<Stream>,
    chance: Stream,
    agreement: Agreement,
    committees: Committees,
    arithmetic: Arithmetic,
    signing: SigningWatch,
    evidence: EvidenceWatch,
    completeness: Completeness,
    memory: MemoryWatch,
    progress: Progress,
    failure: Option<Failure>,
    audit: Digester,
    trace: Option<String>,
    /// Messages of the normal case, by height.
    normal_case: BTreeMap<u64, u64>,
    /// When a block was first proposed, and when each replica applied it.
    proposed_at: BTreeMap<u64, Moment>,
    applied_at: BTreeMap<(u64, ReplicaId), Moment>,
    restarts: u64,
    /// Faults that began, by name.
    faults: BTreeMap<&'static str, u64>,
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
            .zip(&federation.keyrings)
            .map(|(id, ring)| {
                let basis = Basis {
                    genesis: genesis.clone(),
                    purpose: Purpose::Simulation,
                    config: options.config.clone(),
                    keys: Keyring::new(id, ring.clone()),
                    verifier: federation.verifier.clone(),
                    index_seed: seed.fork(&format!("index {id}")),
                };
                let skew = Duration::from_millis(skews.below(skew_max.saturating_add(1)));
                Node::new(id, basis, skew, adversaries.remove(&id))
            })
            .collect();
        let mut audit = Digester::new(domain::SIMULATION_AUDIT);
        audit.update(seed.as_bytes());
        let block_bytes_max = genesis
            .consensus_config(&options.config.consensus)
            .block_bytes_max as u64;
        let memory = MemoryWatch::new(
            federation.ids().count() as u64,
            block_bytes_max,
            options.config.clone(),
        );
        let committees = Committees::new(&federation);
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
            snapshot_every: options.snapshot_every,
            now: Moment::ZERO,
            events: BTreeMap::new(),
            scheduled: 0,
            at_once: 0,
            nodes,
            load: None,
            agreement: Agreement::default(),
            committees,
            decrees: Decrees::default(),
            signing: SigningWatch::default(),
            completeness: Completeness::default(),
            memory,
            progress: Progress::default(),
            failure: None,
            audit,
            trace: is_traced.then(String::new),
            normal_case: BTreeMap::new(),
            proposed_at: BTreeMap::new(),
            applied_at: BTreeMap::new(),
            restarts: 0,
            faults: BTreeMap::new(),
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
}
