//! The composed machine.

use crate::admit::AdmitError;
use crate::executor::{Executor, Shared, application_root};
use crate::genesis::{Genesis, GenesisError, GenesisMember, Purpose};
use crate::input::{Committed, Effect, Frame, Input, Record};
use crate::pool::{Pool, PoolConfig, Standing};
use crate::restore::{Snapshot, SnapshotMeta};
use crate::sync::{SyncError, Syncer, Walk};
use crate::waiting::principal;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;
use polity_consensus::fbpbft::{
    self, Chain, Engine, EngineInput, Extent, Keyring, Machine, Payload, SealedBlock, Tip,
    VoteCertificate,
};
use polity_crypto::{Checker, PublicKey, Sha256Digest, Signer, Verified, Verifier};
use polity_ledger::{Inadmissible, Ledger, SignedTransaction, TransactionId};
use polity_types::{Effects, Height, ReplicaId, Seed, StateMachine, Time, View, wire};

/// Parameters that may differ from replica to replica. What replicas must agree on comes from the
/// genesis and overrides the same fields of `consensus`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Timeouts and buffers of consensus.
    pub consensus: fbpbft::Config,
    /// Bounds of the pool.
    pub pool: PoolConfig,
    /// A transaction that came from another member is sent to all after this time in the pool.
    pub forward_after: Duration,
    /// Transactions of clients are gathered for this long before they are sent to all.
    pub gather: Duration,
    /// Transactions in one frame, at most.
    pub gather_max: usize,
    /// A replica that is so many heights behind takes a snapshot instead of the blocks (FB-19).
    pub snapshot_after: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            consensus: fbpbft::Config::default(),
            pool: PoolConfig::default(),
            forward_after: Duration::from_millis(500),
            gather: Duration::from_millis(1),
            gather_max: 256,
            snapshot_after: 1_000,
        }
    }
}

/// Why a replica cannot start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// The genesis makes no sense.
    #[error("genesis: {0}")]
    Genesis(#[from] GenesisError),
    /// Consensus cannot start.
    #[error(transparent)]
    Consensus(#[from] fbpbft::StartError),
    /// A parameter of this crate makes no sense.
    #[error(transparent)]
    Config(#[from] fbpbft::ConfigError),
}

/// The open question of consensus for a block.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    height: Height,
    view: View,
    is_due: bool,
    evidence: Vec<fbpbft::Evidence>,
}

/// Consensus, ledger and pool as one machine. See the [crate documentation](crate).
#[derive(Debug)]
pub struct Replica<S, V> {
    pub(crate) config: Config,
    pub(crate) engine: Engine<S, V>,
    pub(crate) executor: Executor,
    pub(crate) pool: Pool,
    pub(crate) syncer: Syncer,
    /// Answers about snapshots that were of no use: the last one, and their number.
    pub(crate) sync_refused: (Option<SyncError>, u64),
    /// Verifies the transactions of blocks that the pool has not verified.
    pub(crate) checker: Checker<V>,
    /// Consensus wants a block, and nothing was there to put into it.
    pub(crate) request: Option<Request>,
    /// Blocks of the current height with their verified transactions; a few at most.
    pub(crate) verified: VecDeque<(SealedBlock, Vec<Shared>)>,
    pub(crate) is_work_pending: bool,
    /// When the oldest of what was sent to all members is sent again, if no block comes before.
    pub(crate) repeat_at: Option<Time>,
    /// Height and view at which the pool was searched last for what cannot be used any more.
    pub(crate) pruned: (Height, View),
    pub(crate) tip: Tip,
    /// The header of the last block names this state root.
    pub(crate) tip_application: Sha256Digest,
    evidence_seen: u64,
    /// The parked transaction that was looked at last.
    pub(crate) unparked: Option<TransactionId>,
}

/// Blocks of one height whose verified transactions are kept.
const VERIFIED_MAX: usize = 4;

/// What was sent to all members and still waits is sent again after this time without a block: the
/// frame may have been lost, and nobody else may have anything to decide (FB-13).
const REPEAT_AFTER: Duration = Duration::from_secs(5);

impl<S: Signer, V: Verifier + Clone> Replica<S, V> {
    /// A replica that never spoke before.
    ///
    /// `index_seed` keys private look-up tables; it should be secret and changes nothing that
    /// anybody can see.
    pub fn new(
        genesis: &Genesis,
        purpose: Purpose,
        config: Config,
        signer: S,
        verifier: V,
        index_seed: Seed,
    ) -> Result<Self, StartError> {
        genesis.validate(purpose, &verifier)?;
        let committee = genesis.committee().map_err(GenesisError::from)?;
        let keys = Keyring::of_member(&committee, signer)?;
        Self::with_keys(genesis, purpose, config, keys, verifier, index_seed)
    }

    /// The same for a replica that need not be a member yet: it follows until a committee has one of
    /// its keys beside its number (FB-17).
    pub fn with_keys(
        genesis: &Genesis,
        purpose: Purpose,
        config: Config,
        keys: Keyring<S>,
        verifier: V,
        index_seed: Seed,
    ) -> Result<Self, StartError> {
        genesis.validate(purpose, &verifier)?;
        let chain = genesis.chain().map_err(GenesisError::from)?;
        let mut ledger =
            Ledger::new(&genesis.ledger, chain.id(), index_seed).map_err(GenesisError::from)?;
        let root = application_root(&ledger.root());
        let tip = Tip::genesis(&chain, genesis.start, root);
        let executor = Executor::new(genesis, ledger);
        let chain = executor
            .chain_here(&chain, &verifier)
            .map_err(GenesisError::from)?;
        let walk = Walk::new(&chain, Height::ZERO);
        Self::assemble(
            config,
            keys,
            verifier,
            Start {
                chain,
                executor,
                tip,
                tip_application: root,
                records: Vec::new(),
                pooled: Vec::new(),
                syncer: Syncer::new(Arc::new(genesis.clone()), index_seed, walk, None),
            },
        )
    }

    pub(crate) fn assemble(
        config: Config,
        keys: Keyring<S>,
        verifier: V,
        start: Start,
    ) -> Result<Self, StartError> {
        check_config(&config)?;
        let machine = Machine::restore(
            (start.syncer.genesis()).consensus_config(&config.consensus),
            start.chain,
            keys,
            verifier.clone(),
            start.tip.clone(),
            start.records,
        )?;
        let mut replica = Self {
            // Blocks bring each transaction once, so remembering verdicts would only cost memory.
            checker: Checker::new(verifier, 0),
            engine: Engine::new(machine),
            executor: start.executor,
            pool: Pool::new(config.pool.clone()),
            syncer: start.syncer,
            sync_refused: (None, 0),
            config,
            request: None,
            verified: VecDeque::new(),
            is_work_pending: false,
            repeat_at: None,
            pruned: (Height::ZERO, View::ZERO),
            tip: start.tip,
            tip_application: start.tip_application,
            evidence_seen: 0,
            unparked: None,
        };
        let next = replica.next_height();
        for transaction in start.pooled {
            let id = transaction.id();
            let ledger = &replica.executor.ledger;
            let check = ledger.check(next, &transaction);
            let cannot_pay = check == Err(Inadmissible::CannotPayFee);
            if replica.pool.contains(&id) || check.is_err() && !cannot_pay {
                continue;
            }
            // It was promised, even if its key is nobody's by now.
            let (principal, _) = principal(ledger, &transaction);
            let standing = Standing::Promised;
            // What no longer fits a smaller pool is lost as if it had expired.
            let _ = replica
                .pool
                .insert(Time::ZERO, principal, standing, transaction);
            if cannot_pay {
                replica.pool.park(&id);
            }
        }
        Ok(replica)
    }

    /// This replica.
    pub fn id(&self) -> ReplicaId {
        self.engine.machine().id()
    }

    /// The chain it works on.
    pub fn chain(&self) -> &Chain {
        self.engine.machine().chain()
    }

    /// The ledger after the last decided block.
    pub fn ledger(&self) -> &Ledger {
        &self.executor.ledger
    }

    /// The same, for proofs, which bring the tree up to date.
    pub fn ledger_mut(&mut self) -> &mut Ledger {
        &mut self.executor.ledger
    }

    /// The transactions that wait.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Gives up keys, for good; see [`Machine::retain_keys`].
    pub fn retain_keys(&mut self, keep: impl FnMut(&PublicKey) -> bool) {
        self.engine.retain_keys(keep);
    }

    /// Consensus, to look at.
    pub fn machine(&self) -> &Machine<S, V> {
        self.engine.machine()
    }

    /// The engine of consensus, to look at.
    pub fn engine(&self) -> &Engine<S, V> {
        &self.engine
    }

    /// The last decided block and the state after it.
    pub fn tip(&self) -> &Tip {
        &self.tip
    }

    /// The members of the epoch of the next height.
    pub fn members(&self) -> &[GenesisMember] {
        self.executor.members()
    }

    /// The members of the epoch before it; those of the genesis before the second one.
    pub fn past_members(&self) -> &[GenesisMember] {
        self.executor.past_members()
    }

    /// The members of the epoch after it, if no further change is decided.
    pub fn next_members(&self) -> Vec<GenesisMember> {
        self.executor.next_members(self.checker.verifier())
    }

    /// Offences that this replica has seen since it started.
    pub fn evidence_seen(&self) -> u64 {
        self.evidence_seen
    }

    /// The whole state after the last decided block (LG-13).
    pub fn snapshot(&mut self) -> Snapshot {
        let ledger_root = self.executor.ledger.root();
        Snapshot {
            meta: SnapshotMeta {
                ledger_root,
                height: self.tip.parent.height,
                digest: self.tip.parent.digest,
                timestamp: self.tip.parent.timestamp,
                certificate: self.tip.certificate.clone(),
                header_application: self.tip_application,
                receipts: self.tip.roots.receipts,
            },
            chunks: self.executor.ledger.snapshot().collect(),
        }
    }

    pub(crate) fn next_height(&self) -> Height {
        self.tip.parent.height.next()
    }

    /// Carries the requests of consensus out, as far as they concern the application.
    pub(crate) fn pump(
        &mut self,
        now: Time,
        effects: Effects<fbpbft::Effect>,
        out: &mut Effects<Effect>,
    ) {
        let mut queue: VecDeque<fbpbft::Effect> = effects.into_iter().collect();
        while let Some(effect) = queue.pop_front() {
            let answer = self.carry_out(now, effect, out);
            if let Some(input) = answer {
                // What the answer causes stands behind the rest: the machine had asked for all of
                // that before it was answered, so a record in it may be what a later vote rests on.
                queue.extend(self.engine.handle(now, input));
            }
        }
    }

    fn carry_out(
        &mut self,
        now: Time,
        effect: fbpbft::Effect,
        out: &mut Effects<Effect>,
    ) -> Option<EngineInput> {
        match effect {
            fbpbft::Effect::Persist(record) => {
                out.push(Effect::Persist(Record::Consensus(record)));
                None
            }
            fbpbft::Effect::Send { to, message } => {
                out.push(Effect::Send {
                    to,
                    frame: Frame::Consensus(message),
                });
                None
            }
            fbpbft::Effect::Broadcast(message) => {
                out.push(Effect::Broadcast(Frame::Consensus(message)));
                None
            }
            fbpbft::Effect::RequestProposal {
                height,
                view,
                is_due,
                evidence,
            } => {
                self.request = Some(Request {
                    height,
                    view,
                    is_due,
                    evidence,
                });
                self.propose(now)
            }
            fbpbft::Effect::RequestValidation { block, extent } => {
                let digest = block.digest();
                let is_valid = self.judge(&block, extent);
                Some(EngineInput::Validated {
                    digest,
                    extent,
                    is_valid,
                })
            }
            fbpbft::Effect::Decide { block, certificate } => {
                let committed = self.apply(block, certificate);
                self.unpark(now);
                let roots = committed.roots;
                out.push(Effect::Committed(committed));
                let chain = self.engine.machine().chain();
                let next = self.executor.next_committee(chain, self.checker.verifier());
                Some(EngineInput::Applied { roots, next })
            }
            fbpbft::Effect::ServeDecided {
                to,
                from,
                count_max,
                bytes_max,
            } => {
                out.push(Effect::ServeDecided {
                    to,
                    from,
                    count_max,
                    bytes_max,
                });
                None
            }
            fbpbft::Effect::Report(evidence) => {
                let chain = self.engine.machine().chain();
                let next = self.next_height();
                if self
                    .executor
                    .new_evidence(chain, next, [&evidence])
                    .is_empty()
                {
                    // The ledger acted on it before, or enough of this member in this epoch.
                    return Some(EngineInput::Settled(evidence.id(chain)));
                }
                self.evidence_seen += 1;
                out.push(Effect::Report(evidence));
                None
            }
            fbpbft::Effect::Halt(halt) => {
                out.push(Effect::Halt(halt));
                None
            }
        }
    }

    /// FB-3: a block, if consensus wants one and there is something to decide.
    fn propose(&mut self, now: Time) -> Option<EngineInput> {
        let request = self.request.take()?;
        let chain = self.engine.machine().chain();
        let evidence: Vec<fbpbft::Evidence> = self
            .executor
            .new_evidence(chain, request.height, &request.evidence)
            .into_iter()
            .cloned()
            .collect();
        let time = fbpbft::fresh_timestamp(now, self.tip.parent.timestamp);
        let has_due_lock = self
            .executor
            .ledger
            .next_expiry()
            .is_some_and(|at| at <= time);
        let transactions = self.select(time, wire::encoded_len(&evidence));
        let is_wanted =
            request.is_due || has_due_lock || !transactions.is_empty() || !evidence.is_empty();
        if !is_wanted {
            self.request = Some(request);
            return None;
        }
        Some(EngineInput::Proposed(Payload {
            height: request.height,
            view: request.view,
            transactions,
            evidence,
            application: Vec::new(),
        }))
    }

    /// FB-4: whether a block may be voted for; or, if it is decided, whether its transactions are
    /// authorised.
    fn judge(&mut self, block: &SealedBlock, extent: Extent) -> bool {
        let is_known = self.verified.iter().any(|(known, _)| is_copy(known, block));
        if !is_known {
            let pool = &self.pool;
            let authorised = self
                .executor
                .authorise(block, &mut self.checker, |id, bytes| {
                    pool.verified(id, bytes)
                });
            let Ok(transactions) = authorised else {
                return false;
            };
            self.verified.push_back((block.clone(), transactions));
            if self.verified.len() > VERIFIED_MAX {
                self.verified.pop_front();
            }
        }
        match extent {
            Extent::Authorisations => true,
            Extent::Whole => {
                let chain = self.engine.machine().chain();
                let mut verified = self.verified.iter();
                verified
                    .find(|(known, _)| is_copy(known, block))
                    .is_some_and(|(_, transactions)| {
                        self.executor.is_valid(chain, block, transactions)
                    })
            }
        }
    }

    /// FB-7: applies a decided block.
    ///
    /// # Panics
    ///
    /// If the ledger refuses it: a quorum found it valid on the same state, whose root this
    /// replica compared before, so this replica contradicts itself.
    fn apply(&mut self, block: SealedBlock, certificate: VoteCertificate) -> Committed {
        let digest = block.digest();
        let known = self
            .verified
            .iter()
            .position(|(known, _)| is_copy(known, &block))
            .and_then(|place| self.verified.remove(place));
        let transactions = known.map_or_else(
            || {
                let pool = &self.pool;
                self.executor
                    .authorise(&block, &mut self.checker, |id, bytes| {
                        pool.verified(id, bytes)
                    })
                    .unwrap_or_else(|error: AdmitError| {
                        panic!("an authorised block lost its authorisation: {error}")
                    })
            },
            |(_, transactions)| transactions,
        );
        self.verified.clear();
        let header = block.header().clone();
        let chain = self.engine.machine().chain();
        let committed = self
            .executor
            .apply(
                chain,
                block,
                certificate,
                &transactions,
                self.checker.verifier(),
            )
            .unwrap_or_else(|error| panic!("block {digest} was decided and is invalid: {error}"));
        for receipt in &*committed.receipts {
            self.pool.remove(&receipt.id);
        }
        self.tip = tip_after(&committed);
        self.tip_application = header.application_root;
        self.request = None;
        if self.engine.machine().has_vote() {
            // Its turn to lead comes. Who only follows has nobody to rely on but those who heard it,
            // however many blocks pass.
            self.repeat_at = None;
        }
        committed
    }

    /// Tells consensus when there is something to decide, and answers its open question.
    pub(crate) fn settle(&mut self, now: Time, out: &mut Effects<Effect>) {
        self.prune();
        let has_due_lock = self
            .executor
            .ledger
            .next_expiry()
            .is_some_and(|at| at <= now);
        if !self.pool.has_forwarded() {
            self.repeat_at = None;
        } else if self.repeat_at.is_none() {
            self.repeat_at = Some(now.saturating_add(REPEAT_AFTER));
        }
        let is_pending = self.pool.has_forwarded() || has_due_lock;
        if is_pending != self.is_work_pending {
            self.is_work_pending = is_pending;
            let effects = self
                .engine
                .handle(now, EngineInput::WorkPending(is_pending));
            self.pump(now, effects, out);
        }
        if let Some(input) = self.propose(now) {
            let effects = self.engine.handle(now, input);
            self.pump(now, effects, out);
        }
    }
}

impl<S: Signer, V: Verifier + Clone> StateMachine for Replica<S, V> {
    type Input = Input;
    type Effect = Effect;

    fn handle(&mut self, now: Time, input: Input) -> Effects<Effect> {
        let mut out = Effects::none();
        match input {
            Input::Received { from, message } => {
                let effects = self
                    .engine
                    .handle(now, EngineInput::Received { from, message });
                self.pump(now, effects, &mut out);
            }
            Input::Gossiped {
                from: _,
                transactions,
            } => self.on_gossiped(now, transactions),
            Input::Submitted(transactions) => self.on_submitted(now, transactions, &mut out),
            Input::Sync { from, message } => self.on_sync(now, from, message, &mut out),
        }
        self.settle(now, &mut out);
        self.catch_up(now, &mut out);
        out
    }

    fn tick(&mut self, now: Time) -> Effects<Effect> {
        let mut out = Effects::none();
        self.forward(now, &mut out);
        self.repeat(now, &mut out);
        let effects = self.engine.tick(now);
        self.pump(now, effects, &mut out);
        self.settle(now, &mut out);
        self.catch_up(now, &mut out);
        out
    }

    fn deadline(&self) -> Option<Time> {
        let engine = self.engine.deadline()?;
        // A lock that becomes due is something to decide, even if nobody says anything.
        let expiry = (!self.is_work_pending)
            .then(|| self.executor.ledger.next_expiry())
            .flatten();
        [
            Some(engine),
            self.pool.next_forward(),
            self.repeat_at,
            self.syncer.deadline(),
            expiry,
        ]
        .into_iter()
        .flatten()
        .min()
    }
}

/// Whether two blocks are the same to the last byte of their transactions. The digest alone does
/// not say so: it covers no signature.
fn is_copy(a: &SealedBlock, b: &SealedBlock) -> bool {
    a.digest() == b.digest() && a.body().transactions == b.body().transactions
}

/// What a replica starts from, apart from its configuration.
pub(crate) struct Start {
    pub(crate) chain: Chain,
    pub(crate) executor: Executor,
    pub(crate) tip: Tip,
    pub(crate) tip_application: Sha256Digest,
    pub(crate) records: Vec<fbpbft::Record>,
    pub(crate) pooled: Vec<Verified<SignedTransaction>>,
    pub(crate) syncer: Syncer,
}

/// The tip after a block.
pub(crate) fn tip_after(committed: &Committed) -> Tip {
    let header = committed.block.header();
    Tip {
        parent: fbpbft::Parent {
            height: header.height,
            digest: committed.block.digest(),
            timestamp: header.timestamp,
        },
        certificate: Some(committed.certificate.clone()),
        is_unrecorded: is_unrecorded(
            &header.application_root,
            &committed.roots.application,
            &committed.roots.receipts,
        ),
        roots: committed.roots,
    }
}

/// Whether no header names these roots yet (FB-8).
pub(crate) fn is_unrecorded(
    header: &Sha256Digest,
    application: &Sha256Digest,
    receipts: &Sha256Digest,
) -> bool {
    header != application || *receipts != polity_merkle::empty_root()
}

fn check_config(config: &Config) -> Result<(), fbpbft::ConfigError> {
    let rules = [
        (config.pool.count_max > 0, "pool.count_max", "above zero"),
        (
            config.pool.bytes_max >= SignedTransaction::LENGTH_MAX,
            "pool.bytes_max",
            "at least the longest transaction, 65536",
        ),
        (
            config.pool.per_account_max > 0,
            "pool.per_account_max",
            "above zero",
        ),
        (
            (1..=4_096).contains(&config.gather_max),
            "gather_max",
            "from 1 to 4096",
        ),
        (config.snapshot_after > 0, "snapshot_after", "above zero"),
    ];
    match rules.into_iter().find(|(is_met, ..)| !is_met) {
        Some((_, field, wanted)) => Err(fbpbft::ConfigError { field, wanted }),
        None => Ok(()),
    }
}
