//! The replica's protocol state, and the table of what happens when.

use super::block::SealedBlock;
use super::chain::Chain;
use super::config::{Config, ConfigError};
use super::effect::{Effect, Halt};
use super::evidence::Evidence;
use super::input::{Input, Roots};
use super::keyring::Keyring;
use super::message::{
    Message, NewView, NewViewProposal, PrePrepare, Proposal, Value, ViewChange, Vote,
    VoteCertificate, VoteKind,
};
use super::record::Record;
use super::rules::{HeaderError, Parent};
use super::tally::Tally;
use crate::committee::CommitteeTable;
use crate::evidence::EvidencePool;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use polity_crypto::{Checker, Preimage, PublicKey, Sha256Digest, Signature, Signer, Verifier};
use polity_types::{Effects, Height, ReplicaId, StateMachine, Time, Timers, View, wire};

/// The last decided block and the state after it: where a replica starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tip {
    /// What the next block depends on.
    pub parent: Parent,
    /// Why it is decided; absent for the genesis.
    pub certificate: Option<VoteCertificate>,
    /// State of the application after it.
    pub roots: Roots,
    /// Whether no header names these roots yet, so that one more block is due (FB-8).
    pub is_unrecorded: bool,
}

impl Tip {
    /// The start of a chain whose application begins with the given root.
    pub fn genesis(chain: &Chain, timestamp: Time, application: Sha256Digest) -> Self {
        Self {
            parent: Parent {
                height: Height::ZERO,
                digest: chain.genesis_block(),
                timestamp,
            },
            certificate: None,
            roots: Roots {
                height: Height::ZERO,
                application,
                receipts: polity_merkle::empty_root(),
            },
            is_unrecorded: false,
        }
    }
}

/// Why a machine cannot start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// A parameter makes no sense.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The signing key is not in the committee table.
    #[error("the signing key is not one of the committee's")]
    NotAMember,
    /// The chain was not followed up to this height.
    #[error("the committee of height {0} or of the epoch after it is not known")]
    UnknownCommittee(Height),
    /// The journal holds votes that this replica has no key for any more.
    #[error(
        "the journal holds votes at height {0}, but the key that cast them is not among this replica's"
    )]
    KeyMissing(Height),
    /// The journal says that this replica did what no replica does.
    #[error("the journal contradicts itself at height {0}: it is damaged or not this replica's")]
    Contradiction(Height),
}

/// Why a message had no effect. Counted, so that an operator sees who sends what (FB-11).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DropReason {
    /// For a height or view that is over.
    Stale,
    /// Farther ahead than the window.
    Ahead,
    /// Seen before.
    Known,
    /// Not from a member, or about one who is none.
    Stranger,
    /// A part stands where it may not.
    Malformed,
    /// A signature does not hold.
    Signature,
    /// A proposal of a view above 0 outside of its NEW-VIEW.
    BareProposal,
    /// A proposal in a view that this replica left or did not enter.
    ViewNotActive,
    /// The body is not the one that the header covers.
    Body,
    /// The header breaks a rule.
    Header(HeaderError),
    /// The application refused the block.
    Refused,
    /// Nobody asked for it.
    Unsolicited,
    /// The sender's buffer is full.
    BufferFull,
    /// This replica has halted.
    Halted,
}

/// A block of the height being decided.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Held {
    pub(super) block: SealedBlock,
    pub(super) is_durable: bool,
    /// The application accepted its transactions' signatures.
    pub(super) is_authorised: bool,
}

/// A proposal that the application is judging.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Pending {
    pub(super) view: View,
    pub(super) value: Value,
    pub(super) block: SealedBlock,
    pub(super) new_view: Option<NewView>,
}

/// Everything about the height being decided; gone when it is.
///
/// Its content is private. It can be compared and hashed, so that a model checker knows a state that
/// it has seen before.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Round {
    /// The highest view entered.
    pub(super) view: View,
    /// The highest view entered or named in an own VIEW-CHANGE (FB-9).
    pub(super) floor: View,
    pub(super) tally: Tally,
    pub(super) blocks: BTreeMap<Sha256Digest, Held>,
    /// The first PRE-PREPARE seen in each view.
    pub(super) pre_prepares: BTreeMap<View, PrePrepare>,
    /// What this replica sent PREPARE for.
    pub(super) accepted: BTreeMap<View, Value>,
    /// Views whose proposal this replica found good while it had no vote.
    pub(super) followed: BTreeSet<View>,
    /// What this replica sent COMMIT for.
    pub(super) committed: BTreeMap<View, Sha256Digest>,
    /// What this replica proposed.
    pub(super) proposed: BTreeMap<View, Sha256Digest>,
    /// The proposal that the application is judging.
    pub(super) pending: Option<Pending>,
    /// A proposal that came before the application had applied the parent.
    pub(super) early: Option<Message>,
    /// Certificates of PREPAREs: the highest up to the floor, and those above it, which form when
    /// this replica is behind.
    pub(super) prepared: BTreeMap<View, VoteCertificate>,
    /// Proposals that got no vote, and when each was judged last.
    pub(super) refused: BTreeMap<View, (Sha256Digest, Time)>,
    /// VIEW-CHANGEs of each member, own ones included.
    pub(super) view_changes: BTreeMap<ReplicaId, BTreeMap<View, ViewChange>>,
    /// The NEW-VIEW of the entered view, sent or accepted.
    pub(super) new_view: Option<NewView>,
    /// Why the height is decided, while the block or its parent's state is still missing.
    pub(super) decision: Option<VoteCertificate>,
}

impl Round {
    /// The highest certificate of a view below `view`: what a VIEW-CHANGE for it claims.
    pub(super) fn prepared_below(&self, view: View) -> Option<&VoteCertificate> {
        self.prepared
            .range(..view)
            .next_back()
            .map(|(_, certificate)| certificate)
    }

    /// Keeps a certificate; one that a higher one below the floor replaces falls out.
    pub(super) fn keep_prepared(&mut self, certificate: VoteCertificate) {
        self.prepared.insert(certificate.view, certificate);
        while let Some((second, _)) = self.prepared.iter().nth(1)
            && *second <= self.floor
        {
            self.prepared.pop_first();
        }
    }

    /// Whether the proposal of a view was found good.
    pub(super) fn has_judged(&self, view: View) -> bool {
        self.accepted.contains_key(&view) || self.followed.contains(&view)
    }

    /// Whether this replica is in its view: entered and not left.
    pub(super) fn is_active(&self) -> bool {
        self.view == self.floor
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Timer {
    /// The first tick.
    Start,
    /// The entered view takes too long.
    View,
    /// Own messages are due again.
    Retransmit,
    /// STATUS is due.
    Status,
    /// Something missing is to be asked for, again or for the first time.
    Fetch,
}

/// FB-PBFT for one replica. See the [module documentation](super) for the protocol.
///
/// The first [`tick`](StateMachine::tick) starts it; its deadline is due from the beginning.
#[derive(Clone, Debug)]
pub struct Machine<S, V> {
    pub(super) config: Config,
    pub(super) chain: Chain,
    pub(super) keys: Keyring<S>,
    pub(super) checker: Checker<V>,
    pub(super) parent: Parent,
    pub(super) parent_certificate: Option<VoteCertificate>,
    /// State after the parent, once the application has applied it.
    pub(super) roots: Option<Roots>,
    /// The parent's header names this application root.
    pub(super) parent_application: Sha256Digest,
    pub(super) is_unrecorded: bool,
    pub(super) round: Round,
    pub(super) sync: super::sync::Sync,
    pub(super) evidence: EvidencePool<Evidence>,
    pub(super) timers: Timers<Timer>,
    pub(super) is_work_pending: bool,
    pub(super) halted: Option<Halt>,
    pub(super) drops: BTreeMap<DropReason, u64>,
}

/// Blocks of one undecided height that are kept beside those this replica voted for. The latter
/// stay until the height is decided (FB-10): one for each view it was in, and views take longer
/// and longer.
pub(super) const BLOCKS_MAX: usize = 8;

/// Offences remembered as settled, to avoid work; the application remembers all.
const SETTLED_MAX: usize = 4_096;

impl<S: Signer, V: Verifier> Machine<S, V> {
    /// A member that never spoke before and starts at `tip`.
    pub fn new(
        config: Config,
        mut chain: Chain,
        signer: S,
        verifier: V,
        tip: Tip,
    ) -> Result<Self, StartError> {
        let height = tip.parent.height.next();
        let keys = Keyring::of_member(chain.committee(height), signer)?;
        if chain.is_epoch_end(height) && !chain.is_known(height.next()) {
            // Nothing was decided that could change the committee.
            let table = Arc::clone(chain.table(height));
            chain.schedule(chain.epoch(height).next(), table);
        }
        Self::restore(config, chain, keys, verifier, tip, [])
    }

    /// A replica that continues, as a member or following. `records` are all it persisted, in order;
    /// those about heights up to that of `tip` are passed over.
    ///
    /// The chain knows the committee of the height after `tip` and, if that height ends its epoch,
    /// the one of the next epoch.
    pub fn restore(
        config: Config,
        mut chain: Chain,
        keys: Keyring<S>,
        verifier: V,
        tip: Tip,
        records: impl IntoIterator<Item = Record>,
    ) -> Result<Self, StartError> {
        config.validate()?;
        let height = tip.parent.height.next();
        if !is_complete(&chain, height) {
            return Err(StartError::UnknownCommittee(height));
        }
        chain.enter(height);
        let mut timers = Timers::new();
        timers.set(Timer::Start, Time::ZERO);
        let mut machine = Self {
            checker: Checker::new(verifier, config.verdicts_max),
            evidence: EvidencePool::new(config.evidence_per_accused_max, SETTLED_MAX),
            keys,
            chain,
            config,
            parent: tip.parent,
            parent_certificate: tip.certificate,
            parent_application: tip.roots.application,
            roots: Some(tip.roots),
            is_unrecorded: tip.is_unrecorded,
            round: Round::default(),
            sync: super::sync::Sync::default(),
            timers,
            is_work_pending: false,
            halted: None,
            drops: BTreeMap::new(),
        };
        for record in records {
            if record.height() == height {
                machine.remember(record)?;
            }
        }
        Ok(machine)
    }

    /// Goes on after a later decided block that others decided, without the blocks between (FB-19).
    /// Whoever calls this has verified that it is decided, and has the state after it. The first tick
    /// is due at once again.
    ///
    /// It keeps its keys, and forgets the height it worked on: that is decided, and what it signed
    /// about it is about no height from now on (FB-15).
    ///
    /// # Panics
    ///
    /// If the block is not above the last decided one, or the chain was not followed up to it: see
    /// [`restore`](Self::restore).
    pub fn jump(&mut self, mut chain: Chain, tip: Tip) {
        let height = tip.parent.height.next();
        assert!(
            height > self.height(),
            "a replica that works on {} never goes back to {height}",
            self.height()
        );
        assert!(
            is_complete(&chain, height),
            "the committee of height {height} or of the epoch after it is not known"
        );
        chain.enter(height);
        self.chain = chain;
        self.parent = tip.parent;
        self.parent_certificate = tip.certificate;
        self.parent_application = tip.roots.application;
        self.roots = Some(tip.roots);
        self.is_unrecorded = tip.is_unrecorded;
        self.round = Round::default();
        self.evidence = EvidencePool::new(self.config.evidence_per_accused_max, SETTLED_MAX);
        self.is_work_pending = false;
        self.timers = Timers::new();
        self.timers.set(Timer::Start, Time::ZERO);
        self.forget_sync();
    }

    /// This replica.
    pub fn id(&self) -> ReplicaId {
        self.keys.id()
    }

    /// Gives up the keys for which `keep` says no, for good: the host knows when a key ends. Without the
    /// key of the present epoch it follows from here on and signs nothing; what it signed before stands,
    /// and is repeated as it was. To the others that is a member that fell silent, which is always safe.
    pub fn retain_keys(&mut self, keep: impl FnMut(&PublicKey) -> bool) {
        self.keys.retain(keep);
    }

    /// Whether it has a vote at the height being decided, or follows.
    pub fn has_vote(&self) -> bool {
        self.keys.signer(self.committee()).is_some()
    }

    /// Signs with the key of the present epoch.
    ///
    /// # Panics
    ///
    /// If this replica has no vote: its callers asked.
    pub(super) fn sign(&mut self, preimage: &Preimage) -> Signature {
        let committee = self.chain.committee(self.parent.height.next());
        let signer = self.keys.signer(committee);
        let signer = signer.expect("a replica without a vote signs nothing");
        self.checker.sign(signer, preimage)
    }

    /// The chain it works on.
    pub fn chain(&self) -> &Chain {
        &self.chain
    }

    /// Its parameters.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The height being decided.
    pub fn height(&self) -> Height {
        self.parent.height.next()
    }

    /// The view entered.
    pub fn view(&self) -> View {
        self.round.view
    }

    /// The lowest view in which it may still act (FB-9).
    pub fn view_floor(&self) -> View {
        self.round.floor
    }

    /// The last decided block.
    pub fn parent(&self) -> &Parent {
        &self.parent
    }

    /// Who leads the entered view.
    pub fn leader(&self) -> ReplicaId {
        self.chain.leader(self.height(), self.round.view)
    }

    /// Why it halted, if it did.
    pub fn halted(&self) -> Option<Halt> {
        self.halted
    }

    /// How many messages had no effect, by reason.
    pub fn drops(&self) -> &BTreeMap<DropReason, u64> {
        &self.drops
    }

    /// How many signatures were verified.
    pub fn signatures_checked(&self) -> u64 {
        self.checker.checked()
    }

    /// Known evidence that no block contains yet.
    pub fn evidence_waiting(&self) -> usize {
        self.evidence.len()
    }

    /// What it remembers of the height being decided, to compare.
    pub fn round(&self) -> &Round {
        &self.round
    }

    pub(super) fn committee(&self) -> &CommitteeTable {
        self.chain.committee(self.height())
    }

    /// Whether a proposal that got no vote may be judged again: only from its leader, whose word
    /// a relay may have changed, and only now and then.
    pub(super) fn may_judge(
        &self,
        now: Time,
        link: ReplicaId,
        view: View,
        digest: &Sha256Digest,
    ) -> bool {
        match self.round.refused.get(&view) {
            Some((refused, at)) if refused == digest => {
                link == self.chain.leader(self.height(), view)
                    && now >= at.saturating_add(self.config.retransmit_after)
            }
            Some(_) | None => true,
        }
    }

    /// Whether a proposal of this view is known by its digest only.
    pub(super) fn awaits_proposal(&self, view: View) -> bool {
        view == self.round.view
            && self.round.is_active()
            && !self.round.has_judged(view)
            && self.round.pending.is_none()
    }

    pub(super) fn drop_message(&mut self, reason: DropReason) {
        *self.drops.entry(reason).or_default() += 1;
    }

    /// Reports an offence the first time it is seen, and tells everybody.
    pub(super) fn accuse(&mut self, evidence: Evidence, out: &mut Effects<Effect>) {
        if self.keep_evidence(&evidence, out) {
            out.push(Effect::Broadcast(Message::Evidence(evidence)));
        }
    }

    /// Keeps and reports new evidence. What no block could hold is not worth keeping.
    fn keep_evidence(&mut self, evidence: &Evidence, out: &mut Effects<Effect>) -> bool {
        let id = evidence.id(&self.chain);
        let is_new = wire::encoded_len(evidence) <= self.evidence_bytes_max()
            && self.evidence.insert(id, evidence.clone());
        if is_new {
            out.push(Effect::Report(evidence.clone()));
        }
        is_new
    }

    /// Bytes of evidence that a block may carry.
    pub(super) fn evidence_bytes_max(&self) -> usize {
        self.config.block_bytes_max / 2
    }

    pub(super) fn halt(&mut self, halt: Halt, out: &mut Effects<Effect>) {
        self.halted = Some(halt);
        out.push(Effect::Halt(halt));
    }

    fn on_message(
        &mut self,
        now: Time,
        from: ReplicaId,
        message: Message,
        out: &mut Effects<Effect>,
    ) {
        match message {
            Message::Proposal(Proposal { pre_prepare, block }) => {
                self.on_proposal(now, pre_prepare, block, out);
            }
            Message::NewView(NewViewProposal { new_view, block }) => {
                self.on_new_view(now, new_view, block, out);
            }
            Message::Vote(vote) => self.on_vote(now, &vote, out),
            Message::ViewChange(view_change) => self.on_view_change(now, view_change, out),
            Message::Status(status) => self.on_status(now, from, &status, out),
            Message::FetchDecided { from: first } => self.on_fetch(now, from, first, out),
            Message::Decided(decided) => self.on_decided(now, from, decided, out),
            Message::FetchBlock { height, digest } => {
                self.on_fetch_block(now, from, height, digest, out);
            }
            Message::Block(block) => self.on_block(now, block, out),
            Message::Evidence(evidence) => {
                if !self.keep_evidence(&evidence, out) {
                    self.drop_message(DropReason::Known);
                }
            }
        }
    }

    /// Everything of this replica that others may still need (FB-13).
    fn retransmit(&mut self, now: Time, out: &mut Effects<Effect>) {
        let (height, view) = (self.height(), self.round.view);
        let mut messages = alloc::vec::Vec::new();
        if self.round.is_active() {
            if self.round.proposed.contains_key(&view) {
                messages.extend(self.proposal_message(view));
            }
            for kind in [VoteKind::Prepare, VoteKind::Commit] {
                messages.extend(self.own_vote(kind, height, view).map(Message::Vote));
            }
        }
        if let Some(own) = self.round.view_changes.get(&self.id()) {
            messages.extend(
                own.range(view..)
                    .map(|(_, vc)| Message::ViewChange(vc.clone())),
            );
        }
        if messages.is_empty() {
            return;
        }
        for message in messages {
            out.push(Effect::Broadcast(message));
        }
        self.arm_retransmission(now);
    }

    /// The proposal that this replica sent in `view`, as it was sent.
    fn proposal_message(&self, view: View) -> Option<Message> {
        let pre_prepare = self.round.pre_prepares.get(&view)?.clone();
        let block = self
            .round
            .blocks
            .get(&pre_prepare.digest)?
            .block
            .block()
            .clone();
        if view == View::ZERO {
            return Some(Message::Proposal(Proposal { pre_prepare, block }));
        }
        let new_view = self.round.new_view.clone()?;
        Some(Message::NewView(NewViewProposal { new_view, block }))
    }

    fn own_vote(&self, kind: VoteKind, height: Height, view: View) -> Option<Vote> {
        let value = self.round.tally.value_of(kind, view, self.id())?;
        let signature = self
            .round
            .tally
            .signatures(kind, view, &value)
            .remove(&self.id())?;
        Some(Vote {
            kind,
            height,
            view,
            value,
            signer: self.id(),
            signature,
        })
    }

    pub(super) fn arm_retransmission(&mut self, now: Time) {
        let at = now.saturating_add(self.config.retransmit_after);
        self.timers.set_if_unset(Timer::Retransmit, at);
    }
}

/// Whether the committees are known without which nothing at `height` can be judged.
fn is_complete(chain: &Chain, height: Height) -> bool {
    chain.is_known(height) && (!chain.is_epoch_end(height) || chain.is_known(height.next()))
}

impl<S: Signer, V: Verifier> StateMachine for Machine<S, V> {
    type Input = Input;
    type Effect = Effect;

    fn handle(&mut self, now: Time, input: Input) -> Effects<Effect> {
        let mut out = Effects::none();
        if self.halted.is_some() {
            self.drop_message(DropReason::Halted);
            return out;
        }
        match input {
            Input::Message { from, message } => {
                self.on_message(now, from, message.into_inner(), &mut out);
            }
            Input::Proposed(payload) => self.on_payload(now, payload, &mut out),
            Input::Validated {
                digest,
                extent,
                is_valid,
            } => self.on_validated(now, digest, extent, is_valid, &mut out),
            Input::Applied { roots, next } => self.on_applied(now, roots, next, &mut out),
            Input::WorkPending(is_pending) => self.on_work(now, is_pending),
            Input::Settled(id) => self.evidence.settle(id),
            Input::FetchPaused(is_paused) => self.on_fetch_paused(now, is_paused),
        }
        out
    }

    fn tick(&mut self, now: Time) -> Effects<Effect> {
        let mut out = Effects::none();
        for timer in self.timers.take_due(now) {
            if self.halted.is_some() {
                break;
            }
            match timer {
                Timer::Start => {
                    self.timers
                        .set(Timer::Status, now.saturating_add(self.config.status_every));
                    self.send_status(&mut out);
                    self.resume(now, &mut out);
                }
                Timer::View => self.on_view_timeout(now, &mut out),
                Timer::Retransmit => self.retransmit(now, &mut out),
                Timer::Status => {
                    self.timers
                        .set(Timer::Status, now.saturating_add(self.config.status_every));
                    self.send_status(&mut out);
                }
                Timer::Fetch => self.fetch_missing(now, &mut out),
            }
        }
        out
    }

    fn deadline(&self) -> Option<Time> {
        if self.halted.is_some() {
            return None;
        }
        self.timers.next()
    }
}
