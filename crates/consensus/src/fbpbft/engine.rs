//! Intake and machine as one: what a host or a simulator drives.

use super::chain::Chain;
use super::effect::{Effect, Extent};
use super::input::{Input as Fact, Payload, Roots};
use super::intake::Intake;
use super::machine::{Machine, Tip};
use super::message::Message;
use crate::committee::CommitteeTable;
use crate::evidence::OffenceId;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use polity_crypto::{PublicKey, Sha256Digest, Signer, Verifier};
use polity_types::{Effects, ReplicaId, StateMachine, Time};

/// A fact for the engine. Like [`super::Input`], but messages come unverified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EngineInput {
    /// A decoded message came over the authenticated link of `from`.
    Received {
        /// The link.
        from: ReplicaId,
        /// The message.
        message: Message,
    },
    /// Answer to [`Effect::RequestProposal`].
    Proposed(Payload),
    /// Answer to [`Effect::RequestValidation`].
    Validated {
        /// Digest of the block.
        digest: Sha256Digest,
        /// What was asked.
        extent: Extent,
        /// The judgement.
        is_valid: bool,
    },
    /// Answer to [`Effect::Decide`].
    Applied {
        /// State after the block.
        roots: Roots,
        /// Who votes in the next epoch, if that changes.
        next: Option<Arc<CommitteeTable>>,
    },
    /// Whether there is something to decide that all members know of.
    WorkPending(bool),
    /// The application acted on this offence before, or will not act on it.
    Settled(OffenceId),
    /// Whether decided blocks are not asked for, because a snapshot comes (FB-19).
    FetchPaused(bool),
}

/// FB-PBFT behind its intake stage.
#[derive(Clone, Debug)]
pub struct Engine<S, V> {
    machine: Machine<S, V>,
    intake: Intake,
}

impl<S: Signer, V: Verifier> Engine<S, V> {
    /// Puts an intake stage before the machine.
    pub fn new(machine: Machine<S, V>) -> Self {
        Self {
            machine,
            intake: Intake::default(),
        }
    }

    /// The machine, to look at.
    pub fn machine(&self) -> &Machine<S, V> {
        &self.machine
    }

    /// Gives up keys; see [`Machine::retain_keys`].
    pub fn retain_keys(&mut self, keep: impl FnMut(&PublicKey) -> bool) {
        self.machine.retain_keys(keep);
    }

    /// Goes on after a later decided block; see [`Machine::jump`].
    pub fn jump(&mut self, chain: Chain, tip: Tip) {
        self.machine.jump(chain, tip);
        self.intake = Intake::default();
    }

    /// The intake stage, to look at.
    pub fn intake(&self) -> &Intake {
        &self.intake
    }

    /// Gives the machine these facts and everything that becomes due through them.
    fn run(&mut self, now: Time, facts: impl IntoIterator<Item = Fact>) -> Effects<Effect> {
        let mut out = Effects::none();
        let mut queue: VecDeque<Fact> = facts.into_iter().collect();
        queue.extend(self.intake.release(&mut self.machine));
        while let Some(fact) = queue.pop_front() {
            out.append(self.machine.handle(now, fact));
            queue.extend(self.intake.release(&mut self.machine));
        }
        out
    }
}

impl<S: Signer, V: Verifier> StateMachine for Engine<S, V> {
    type Input = EngineInput;
    type Effect = Effect;

    fn handle(&mut self, now: Time, input: EngineInput) -> Effects<Effect> {
        match input {
            EngineInput::Received { from, message } => {
                let facts = self.intake.admit(now, &mut self.machine, from, message);
                self.run(now, facts)
            }
            EngineInput::Proposed(payload) => self.run(now, [Fact::Proposed(payload)]),
            EngineInput::Validated {
                digest,
                extent,
                is_valid,
            } => self.run(
                now,
                [Fact::Validated {
                    digest,
                    extent,
                    is_valid,
                }],
            ),
            EngineInput::Applied { roots, next } => self.run(now, [Fact::Applied { roots, next }]),
            EngineInput::Settled(id) => self.run(now, [Fact::Settled(id)]),
            EngineInput::FetchPaused(is_paused) => self.run(now, [Fact::FetchPaused(is_paused)]),
            EngineInput::WorkPending(is_pending) => self.run(now, [Fact::WorkPending(is_pending)]),
        }
    }

    fn tick(&mut self, now: Time) -> Effects<Effect> {
        let mut out = self.machine.tick(now);
        out.append(self.run(now, []));
        out
    }

    fn deadline(&self) -> Option<Time> {
        self.machine.deadline()
    }
}
