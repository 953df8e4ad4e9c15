//! The delta trust lattice: scores of peers, and what goes out when one of them changes.
//!
//! Two versions differ: up to 0.9.7 everything is normalised after each step, so the join is none (L1),
//! from 0.10.0 on normalised scores are a view.

use crate::breaker::Breaker;
use crate::delta::Delta;
use crate::evidence::{self, Evidence};
use crate::hash::{hex_sha256, sha256};
use crate::pco::{self, Bound, Operation, Witnesses};
use crate::score::{Peers, Score, join_peers, normalized, trust_root};
use crate::{Mode, Refusal};
use std::collections::{BTreeSet, VecDeque};

/// Peers of a strict lattice (L12).
pub const PEERS_MAX: usize = 65_536;
/// Evidence that is remembered; the oldest falls out of a compatible log, a strict one is full.
pub const LOG_MAX: usize = 65_536;
/// Deltas that wait for gossip; E4 has no bound. When it is reached, further ones are not queued.
pub const QUEUE_MAX: usize = 65_536;

/// Which behaviour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// Up to 0.9.7: stored scores are normalised.
    Old,
    /// From 0.10.0 on.
    New,
}

/// What the local peer puts into its operations.
pub struct Local<'a> {
    /// Root of its tree.
    pub root: &'a str,
    /// Bytes of its clock.
    pub clock: Vec<u8>,
    /// Seconds since 1970.
    pub seconds: u64,
    /// Signs 32 bytes.
    pub sign: Option<&'a pco::Sign<'a>>,
}

impl core::fmt::Debug for Local<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Local")
            .field("root", &self.root)
            .finish_non_exhaustive()
    }
}

/// A lattice.
#[derive(Clone, Debug)]
pub struct Lattice {
    local: String,
    version: Version,
    mode: Mode,
    peers: Peers,
    log: VecDeque<Evidence>,
    taken: BTreeSet<String>,
    queue: VecDeque<Delta>,
    breaker: Option<Breaker>,
}

impl Lattice {
    /// A lattice over scores; without a breaker nothing trips.
    ///
    /// # Errors
    ///
    /// In strict mode: the old version (L1, L16), too many peers (L12), and what [`Score::check`]
    /// refuses.
    pub fn new(
        local: &str,
        version: Version,
        mode: Mode,
        peers: Peers,
        breaker: Option<Breaker>,
    ) -> Result<Self, Refusal> {
        if mode == Mode::Strict && version == Version::Old {
            return Err(Refusal::OldLattice);
        }
        if mode == Mode::Strict {
            if peers.len() > PEERS_MAX {
                return Err(Refusal::TooMany("peers", PEERS_MAX));
            }
            peers.values().try_for_each(Score::check)?;
        }
        Ok(Self {
            local: local.to_owned(),
            version,
            mode,
            peers,
            log: VecDeque::new(),
            taken: BTreeSet::new(),
            queue: VecDeque::new(),
            breaker,
        })
    }

    /// The local peer.
    pub fn local(&self) -> &str {
        &self.local
    }

    /// Scores that are stored.
    pub fn peers(&self) -> &Peers {
        &self.peers
    }

    /// The score of a peer; an unknown one is empty and is not stored.
    pub fn trust(&self, peer: &str) -> Score {
        self.peers.get(peer).cloned().unwrap_or_default()
    }

    /// Evidence that was recorded.
    pub fn log(&self) -> impl Iterator<Item = &Evidence> {
        self.log.iter()
    }

    /// Deltas that wait for gossip: received ones, also those that were refused later (L6).
    pub fn pending(&self) -> usize {
        self.queue.len()
    }

    /// Puts a delta into the queue, as the receiver of one does.
    pub fn push(&mut self, delta: Delta) {
        if self.queue.len() < QUEUE_MAX {
            self.queue.push_back(delta);
        }
    }

    /// Takes all that wait.
    pub fn drain(&mut self) -> Vec<Delta> {
        self.queue.drain(..).collect()
    }

    /// Digest of all scores.
    pub fn trust_root(&self) -> String {
        trust_root(&self.peers)
    }

    /// The normalised scores, as a view.
    pub fn normalized(&self) -> Peers {
        normalized(&self.peers, self.peers.len() as i64)
    }

    /// The union with another one. The local id, version and breaker stay; log and queue do not go
    /// along (L15).
    ///
    /// # Errors
    ///
    /// In strict mode, too many peers, observers or accusations.
    pub fn merge(&self, other: &Self) -> Result<Self, Refusal> {
        let peers = join_peers(&self.peers, &other.peers);
        let breaker = self.breaker.clone();
        let mut merged = Self::new(&self.local, self.version, self.mode, peers, breaker)?;
        if self.mode == Mode::Strict {
            merged.taken = &self.taken | &other.taken;
            if merged.taken.len() > LOG_MAX {
                return Err(Refusal::TooMany("accusations", LOG_MAX));
            }
        }
        merged.settle();
        Ok(merged)
    }

    /// Records own evidence and builds the delta that tells of it. The delta is queued nowhere, and it
    /// does not carry the evidence (L6).
    ///
    /// # Errors
    ///
    /// A tripped breaker, a self-accusation, evidence that does not verify; divergence of roots
    /// verifies and still cannot be recorded (L7). In strict mode everything of
    /// [`Evidence::verify_strict`], a repeated accusation (L2), and one that would lift (L4).
    pub fn observe(
        &mut self,
        now: f64,
        evidence: &Evidence,
        context: &evidence::Context<'_>,
        local: &Local<'_>,
    ) -> Result<Delta, Refusal> {
        if self.is_tripped(now) {
            return Err(Refusal::BreakerTripped);
        }
        if evidence.observer == evidence.target {
            return Err(Refusal::SelfAccusation);
        }
        self.verify(evidence, context)?;
        let (old, new) = self.apply(now, evidence)?;
        if self.log.len() >= LOG_MAX {
            self.log.pop_front();
        }
        self.log.push_back(evidence.clone());

        let (old_text, new_text) = (old.to_text(), new.to_text());
        let old_hash = hex_sha256([old_text.as_bytes()]);
        let new_hash = hex_sha256([new_text.as_bytes()]);
        // E4 takes a hash that differs from process to process.
        let slot = i64::from(sha256([evidence.target.as_bytes()])[0]);
        let bounds = vec![Bound {
            path: vec![slot],
            depth: 1,
            old_hash: old_hash.clone(),
            new_hash,
        }];
        let witnesses = Witnesses {
            originator: self.local.clone(),
            merkle_root: local.root.to_owned(),
            clock: local.clock.clone(),
            trust_hash: self.trust(&self.local).hash(),
            bounds: bounds.clone(),
        };
        let metadata = pco::metadata(1, 0, local.seconds);
        let operation = Operation::build(witnesses, metadata, local.sign)?;
        let key = format!("trust:{}", evidence.target);
        Ok(Delta {
            source: evidence.observer.clone(),
            subtrees: bounds,
            updates: [(key, (old_hash, new_text.into_bytes()))].into(),
            operation: Some(operation),
            ..Delta::default()
        })
    }

    /// Takes a delta of trust. `evidence` is what its decoder found; E4's own decoder finds nothing
    /// that verifies, so without one the answer is no, yet a delta of a trusted source is queued.
    ///
    /// A yes is the new score of the accused before normalisation, which E4 then fixes in its tree with
    /// [`Tree::set_trust`](crate::tree::Tree::set_trust) (M5). Self-accusations pass here, and the log
    /// stays as it is.
    ///
    /// The counter-evidence that E4 then makes never verifies either, and is left out (L5).
    ///
    /// # Errors
    ///
    /// A malformed clock (P9). In strict mode every reason for a no.
    pub fn receive(
        &mut self,
        now: f64,
        delta: &Delta,
        evidence: Option<&Evidence>,
        operation_context: &pco::Context<'_>,
        evidence_context: &evidence::Context<'_>,
    ) -> Result<Option<Score>, Refusal> {
        let answer = self.take(now, delta, evidence, operation_context, evidence_context);
        match answer {
            Ok(score) => Ok(Some(score)),
            Err(refusal @ (Refusal::Truncated | Refusal::NotUtf8)) => Err(refusal),
            Err(_) if self.mode == Mode::Compatible => Ok(None),
            Err(refusal) => Err(refusal),
        }
    }

    fn take(
        &mut self,
        now: f64,
        delta: &Delta,
        evidence: Option<&Evidence>,
        operation_context: &pco::Context<'_>,
        evidence_context: &evidence::Context<'_>,
    ) -> Result<Score, Refusal> {
        if self.is_tripped(now) {
            return Err(Refusal::BreakerTripped);
        }
        let level = self.trust(&delta.source).level();
        let operation = delta.operation.as_ref().ok_or(Refusal::Unsigned)?;
        match self.mode {
            Mode::Strict => {
                if level == 3 {
                    return Err(Refusal::Quarantined);
                }
                delta.check()?;
                operation.verify_strict(operation_context)?;
            }
            Mode::Compatible => {
                if !operation.verify(level, operation_context)? {
                    return Err(Refusal::BadSignature);
                }
                if level < 2 {
                    self.push(delta.clone());
                }
            }
        }
        let evidence = evidence.ok_or(Refusal::EvidenceInvalid)?;
        self.verify(evidence, evidence_context)?;
        self.apply(now, evidence).map(|(_, new)| new)
    }

    fn is_tripped(&mut self, now: f64) -> bool {
        self.breaker
            .as_mut()
            .is_some_and(|breaker| breaker.is_tripped(now))
    }

    fn verify(&self, evidence: &Evidence, context: &evidence::Context<'_>) -> Result<(), Refusal> {
        match self.mode {
            Mode::Compatible => {
                // Recording verifies once more, and without a root. Nobody asks for the age.
                let first = evidence::Context {
                    age_max: None,
                    ..*context
                };
                let again = evidence::Context {
                    expected_root: None,
                    ..first
                };
                if !evidence.verify(&first) || !evidence.verify(&again) {
                    return Err(Refusal::EvidenceInvalid);
                }
            }
            Mode::Strict => {
                evidence.verify_strict(context)?;
                if self.taken.contains(&evidence.id()) {
                    return Err(Refusal::Replay);
                }
                if self.taken.len() >= LOG_MAX {
                    return Err(Refusal::TooMany("accusations", LOG_MAX));
                }
                if self.peers.len() >= PEERS_MAX && !self.peers.contains_key(&evidence.target) {
                    return Err(Refusal::TooMany("peers", PEERS_MAX));
                }
            }
        }
        Ok(())
    }

    fn apply(&mut self, now: f64, evidence: &Evidence) -> Result<(Score, Score), Refusal> {
        let old = self.trust(&evidence.target);
        let new = old.record(
            &evidence.observer,
            &evidence.dimension,
            evidence.amount,
            self.mode,
        )?;
        // From here on the evidence counts.
        self.peers.insert(evidence.target.clone(), new.clone());
        if self.mode == Mode::Strict {
            self.taken.insert(evidence.id());
        }
        self.settle();
        if let Some(breaker) = &mut self.breaker {
            breaker.record(now, old.overall(), new.overall());
        }
        Ok((old, new))
    }

    fn settle(&mut self) {
        if self.version == Version::Old {
            self.peers = self.normalized();
        }
    }
}
