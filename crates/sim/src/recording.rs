//! What one replica was told, so that it can be told again.
//!
//! A replica is a function: one list of steps gives one list of effects, whoever drives it. The
//! world records the steps of its replicas, and [`replay`] drives a bare [`Replica`] with them; a
//! node's driver that is fed the same steps has to come to the same digest of effects.

use crate::digester::Digester;
use polity_consensus::fbpbft::{Halt, Keyring};
use polity_crypto::{Blake3Digest, Checker, Signer, Tier, Verifier, domain};
use polity_replica::{
    Admission, AdmitError, Config, Effect, Frame, Genesis, Input, Purpose, Record, Replayed,
    Replica, RestoreError, Restorer, Snapshot, SnapshotMeta, admit,
};
use polity_types::wire::{self, DecodeError};
use polity_types::{ChainId, Effects, Height, ReplicaId, Seed, StateMachine as _, Time};
use serde::{Deserialize, Serialize};
use std::rc::Rc;

/// Largest encoded record of a journal.
pub const RECORD_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Something that a replica was told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// Its deadline came.
    Tick,
    /// A frame came over the link of a member, as bytes.
    Frame {
        /// The link.
        from: ReplicaId,
        /// The encoded frame, shared by all that it reaches.
        bytes: Rc<[u8]>,
    },
    /// A client submitted encoded transactions.
    Submit(Vec<Vec<u8>>),
}

/// The life of a replica from a start to a stop.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recording {
    /// The snapshot from which it was restored, if it was.
    pub snapshot: Option<(SnapshotMeta, Vec<Vec<u8>>)>,
    /// The encoded records from which it was restored.
    pub journal: Vec<Vec<u8>>,
    /// What it was told, and when by its own clock.
    pub steps: Vec<(Time, Step)>,
}

/// What a replica is built from.
#[derive(Clone, Debug)]
pub struct Basis<S, V> {
    /// What the founders agreed on.
    pub genesis: Rc<Genesis>,
    /// Which keys the genesis may hold.
    pub purpose: Purpose,
    /// Parameters of the replica.
    pub config: Config,
    /// Its number and its keys.
    pub keys: Keyring<S>,
    /// The predicate of signatures.
    pub verifier: V,
    /// Keys private look-up tables.
    pub index_seed: Seed,
}

/// Why a replica could not be built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// A record is not what was written.
    #[error("record {index} of the journal: {error}")]
    Record {
        /// Zero-based place.
        index: usize,
        /// What is wrong.
        error: DecodeError,
    },
    /// The records make no replica.
    #[error(transparent)]
    Restore(#[from] RestoreError),
}

impl<S: Signer + Clone, V: Verifier + Clone> Basis<S, V> {
    /// Builds a replica from a snapshot and encoded records; `applied` sees each block that is
    /// applied again, and each snapshot that was installed.
    pub fn build(
        &self,
        snapshot: Option<Snapshot>,
        journal: &[Vec<u8>],
        mut applied: impl FnMut(Replayed),
    ) -> Result<Replica<S, V>, BuildError> {
        let verifier = self.verifier.clone();
        let mut restorer = match snapshot {
            None => Restorer::new(&self.genesis, self.purpose, verifier, self.index_seed)?,
            Some(snapshot) => Restorer::from_snapshot(
                &self.genesis,
                self.purpose,
                verifier,
                self.index_seed,
                snapshot,
            )?,
        };
        for (index, bytes) in journal.iter().enumerate() {
            let record: Record = wire::decode(bytes, RECORD_BYTES_MAX)
                .map_err(|error| BuildError::Record { index, error })?;
            if let Some(replayed) = restorer.record(record)? {
                applied(replayed);
            }
        }
        Ok(restorer.finish_with(self.config.clone(), self.keys.clone())?)
    }
}

/// What did not pass the doors in front of a replica.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    /// Frames that do not decode.
    pub frames: u64,
    /// Transactions that are none, or not authorised.
    pub transactions: u64,
}

/// The doors in front of a replica: strict decoding of frames, and [`admit`] for transactions.
///
/// There is no other way in. A [`Verified`](polity_crypto::Verified) value cannot be made by hand:
///
/// ```compile_fail,E0423
/// fn forge(transaction: polity_ledger::SignedTransaction)
///     -> polity_crypto::Verified<polity_ledger::SignedTransaction>
/// {
///     polity_crypto::Verified(transaction)
/// }
/// ```
///
/// It exists only if a checker accepted every signature:
///
/// ```
/// fn honest(
///     bytes: &[u8],
///     chain: polity_types::ChainId,
///     checker: &mut polity_crypto::Checker<polity_sim::SimVerifier>,
/// ) -> Option<polity_crypto::Verified<polity_ledger::SignedTransaction>> {
///     polity_replica::admit(bytes, chain, polity_crypto::Tier::Stub, checker).ok()
/// }
/// ```
#[derive(Debug)]
pub struct Door<V> {
    chain: ChainId,
    floor: Tier,
    frame_bytes_max: usize,
    checker: Checker<V>,
    refused: Refused,
}

impl<V: Verifier + Clone> Door<V> {
    /// The door of a replica of this federation.
    pub fn new<S>(basis: &Basis<S, V>, chain: ChainId) -> Self {
        let consensus = basis.genesis.consensus_config(&basis.config.consensus);
        Self {
            chain,
            floor: basis.genesis.tiers.transactions,
            frame_bytes_max: consensus.message_bytes_max(),
            checker: Checker::new(basis.verifier.clone(), 0),
            refused: Refused::default(),
        }
    }

    /// What did not pass so far.
    pub fn refused(&self) -> Refused {
        self.refused
    }

    /// Tells the replica what happened, as a node does.
    pub fn drive<S: Signer>(
        &mut self,
        replica: &mut Replica<S, V>,
        now: Time,
        step: &Step,
    ) -> Effects<Effect> {
        match step {
            Step::Tick => replica.tick(now),
            Step::Frame { from, bytes } => match Frame::decode(bytes, self.frame_bytes_max) {
                Ok(Frame::Consensus(message)) => {
                    let from = *from;
                    replica.handle(now, Input::Received { from, message })
                }
                Ok(Frame::Transactions(encoded)) => {
                    let transactions = encoded
                        .iter()
                        .filter_map(|bytes| self.admit(bytes.as_slice()).ok())
                        .collect();
                    let from = *from;
                    replica.handle(now, Input::Gossiped { from, transactions })
                }
                Ok(Frame::Sync(message)) => {
                    let from = *from;
                    replica.handle(now, Input::Sync { from, message })
                }
                Err(_) => {
                    self.refused.frames += 1;
                    Effects::none()
                }
            },
            Step::Submit(encoded) => {
                let transactions = encoded
                    .iter()
                    .filter_map(|bytes| self.admit(bytes).ok())
                    .collect();
                replica.handle(now, Input::Submitted(transactions))
            }
        }
    }

    fn admit(
        &mut self,
        bytes: &[u8],
    ) -> Result<polity_crypto::Verified<polity_ledger::SignedTransaction>, AdmitError> {
        let admitted = admit(bytes, self.chain, self.floor, &mut self.checker);
        self.refused.transactions += u64::from(admitted.is_err());
        admitted
    }
}

/// An effect as bytes: what goes to the disk or the network, and what is hashed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EffectBytes {
    /// Which effect.
    pub tag: u8,
    /// Whom it concerns; 0 if nobody.
    pub peer: u32,
    /// The encoded record or frame, or else a fixed layout of what the effect says.
    pub bytes: Vec<u8>,
}

impl EffectBytes {
    /// Encodes an effect.
    pub fn of(effect: &Effect) -> Self {
        let (tag, peer, bytes) = match effect {
            Effect::Persist(record) => (1, 0, wire::encode(record)),
            Effect::Send { to, frame } => (2, to.get(), frame.encode()),
            Effect::Broadcast(frame) => (3, 0, frame.encode()),
            Effect::Answer { id, result } => {
                let mut bytes = id.as_bytes().to_vec();
                match result {
                    Ok(Admission::Pending) => bytes.push(0),
                    Ok(Admission::Known) => bytes.push(1),
                    Ok(Admission::Passing) => bytes.push(4),
                    Ok(Admission::Decided(receipt)) => {
                        bytes.push(2);
                        bytes.extend(wire::encode(receipt));
                    }
                    Err(refusal) => {
                        bytes.push(3);
                        bytes.extend_from_slice(refusal.to_string().as_bytes());
                    }
                }
                (4, 0, bytes)
            }
            Effect::Committed(committed) => {
                let mut bytes = committed.block.digest().as_bytes().to_vec();
                bytes.extend_from_slice(committed.roots.application.as_bytes());
                bytes.extend_from_slice(committed.roots.receipts.as_bytes());
                bytes.extend(wire::encode(&committed.certificate));
                bytes.extend(wire::encode(&committed.receipts[..]));
                bytes.extend(wire::encode(&committed.expired));
                (5, 0, bytes)
            }
            Effect::ServeDecided {
                to,
                from,
                count_max,
                bytes_max,
            } => (
                6,
                to.get(),
                wire::encode(&(*from, *count_max, *bytes_max as u64)),
            ),
            Effect::Report(evidence) => (7, 0, wire::encode(evidence)),
            Effect::Halt(halt) => {
                let (Halt::Diverged { height, .. } | Halt::Forked { height, .. }) = halt;
                let height: Height = *height;
                (8, 0, wire::encode(&(height, halt.to_string())))
            }
            Effect::ServeSync { to, request } => (9, to.get(), wire::encode(request)),
            Effect::Installed(installed) => {
                let mut bytes = wire::encode(&installed.meta);
                bytes.extend(wire::encode(&installed.receipts));
                (10, 0, bytes)
            }
        };
        Self { tag, peer, bytes }
    }
}

/// A running digest of effects.
#[derive(Clone, Debug)]
pub struct EffectHash(Digester);

impl Default for EffectHash {
    fn default() -> Self {
        Self(Digester::new(domain::SIMULATION_EFFECTS))
    }
}

impl EffectHash {
    /// Takes the next effect in.
    pub fn absorb(&mut self, effect: &EffectBytes) {
        self.0.update(&[effect.tag]);
        self.0.update(&effect.peer.to_le_bytes());
        self.0.update(&(effect.bytes.len() as u64).to_le_bytes());
        self.0.update(&effect.bytes);
    }

    /// The digest so far.
    pub fn digest(&self) -> Blake3Digest {
        self.0.digest()
    }
}

/// Drives a bare replica with a recording, and returns the digest of its effects.
pub fn replay<S: Signer + Clone, V: Verifier + Clone>(
    basis: &Basis<S, V>,
    recording: &Recording,
) -> Result<Blake3Digest, BuildError> {
    let snapshot = recording
        .snapshot
        .clone()
        .map(|(meta, chunks)| Snapshot { meta, chunks });
    let mut replica = basis.build(snapshot, &recording.journal, |_| {})?;
    let mut door = Door::new(basis, replica.chain().id());
    let mut hash = EffectHash::default();
    for (now, step) in &recording.steps {
        for effect in door.drive(&mut replica, *now, step) {
            hash.absorb(&EffectBytes::of(&effect));
        }
    }
    Ok(hash.digest())
}
