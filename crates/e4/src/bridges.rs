//! Gossip, streams and agent state around the trust of peers. None of them has a form on a wire.

use crate::adaptive::Outcome;
use crate::delta::Delta;
use crate::lattice::Lattice;
use crate::score::{PROBATION, Peers, Score};
use crate::{Mode, Refusal};
use std::collections::{BTreeMap, VecDeque};

/// Payloads that wait to go out, and streams that are open, in strict mode (P16).
pub const WAITING_MAX: usize = 1_024;
/// Keys of an agent's state in strict mode.
pub const KEYS_MAX: usize = 65_536;

/// Adaptive verification of a delta.
pub type Verify<'a> = dyn FnMut(&Delta) -> Result<Outcome, Refusal> + 'a;

/// What goes to other peers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Payload {
    /// Deltas of data.
    pub data: Vec<Delta>,
    /// Deltas of trust that were **received**; own observations never go out (L6).
    pub trust: Vec<Delta>,
    /// The sender, which E4 never looks at.
    pub peer: String,
}

/// Payloads that wait.
#[derive(Clone, Debug, Default)]
pub struct Gossip {
    outbound: VecDeque<Payload>,
    mode: Mode,
}

impl Gossip {
    /// An engine without payloads.
    pub fn new(mode: Mode) -> Self {
        Self {
            outbound: VecDeque::new(),
            mode,
        }
    }

    /// Builds a payload and keeps a copy until it is drained.
    ///
    /// # Errors
    ///
    /// In strict mode, if nobody drains (P16).
    pub fn prepare(
        &mut self,
        lattice: &mut Lattice,
        data: Vec<Delta>,
        has_trust: bool,
    ) -> Result<Payload, Refusal> {
        if self.mode == Mode::Strict && self.outbound.len() >= WAITING_MAX {
            return Err(Refusal::TooMany("payloads", WAITING_MAX));
        }
        let payload = Payload {
            data,
            trust: if has_trust {
                lattice.drain()
            } else {
                Vec::new()
            },
            peer: lattice.local().to_owned(),
        };
        self.outbound.push_back(payload.clone());
        Ok(payload)
    }

    /// Takes a payload: which deltas of data and of trust were accepted. `verify` is the adaptive
    /// verification, without which data pass; `receive` is the lattice. The sender is not looked at.
    ///
    /// # Errors
    ///
    /// Those of the two functions; in strict mode also a payload of more than [`WAITING_MAX`] deltas,
    /// and one that nobody can verify.
    pub fn receive(
        &self,
        payload: &Payload,
        verify: Option<&mut Verify<'_>>,
        mut receive: impl FnMut(&Delta) -> Result<bool, Refusal>,
    ) -> Result<(Vec<Delta>, Vec<Delta>), Refusal> {
        if self.mode == Mode::Strict {
            if payload.data.len() + payload.trust.len() > WAITING_MAX {
                return Err(Refusal::TooMany("deltas", WAITING_MAX));
            }
            if verify.is_none() {
                return Err(Refusal::Unsigned);
            }
        }
        let mut accepted = (Vec::new(), Vec::new());
        match verify {
            None => accepted.0.clone_from(&payload.data),
            Some(verify) => {
                for delta in &payload.data {
                    if verify(delta)?.is_accepted {
                        accepted.0.push(delta.clone());
                    }
                }
            }
        }
        for delta in &payload.trust {
            if receive(delta)? {
                accepted.1.push(delta.clone());
            }
        }
        Ok(accepted)
    }

    /// Payloads that wait.
    pub fn pending(&self) -> usize {
        self.outbound.len()
    }

    /// Takes all of them.
    pub fn drain(&mut self) -> Vec<Payload> {
        self.outbound.drain(..).collect()
    }
}

/// A part of a stream.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Chunk {
    /// What it carries.
    pub delta: Delta,
    /// Its number, from 0.
    pub sequence: i64,
    /// Its stream.
    pub stream: String,
}

/// E4's answer to a chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChunkResult {
    /// Whether it is taken.
    pub is_accepted: bool,
    /// Its number.
    pub sequence: i64,
    /// E4's words, empty if it is taken.
    pub reason: String,
}

/// Streams that are open.
#[derive(Clone, Debug, Default)]
pub struct Streams {
    /// Peer and next number by stream.
    open: BTreeMap<String, (String, i64)>,
    mode: Mode,
}

impl Streams {
    /// No stream.
    pub fn new(mode: Mode) -> Self {
        Self {
            open: BTreeMap::new(),
            mode,
        }
    }

    /// Opens a stream for a peer with enough trust, or begins it anew.
    ///
    /// # Errors
    ///
    /// In strict mode: another peer's stream (B3), or too many.
    pub fn accept(
        &mut self,
        peer: &str,
        stream: &str,
        score: &Score,
        trust_min: f64,
    ) -> Result<bool, Refusal> {
        if !matches!(score.overall().partial_cmp(&trust_min), Some(o) if o.is_ge()) {
            return Ok(false);
        }
        if self.mode == Mode::Strict {
            match self.open.get(stream) {
                Some((owner, _)) if owner != peer => return Err(Refusal::ChunkOutOfPlace),
                None if self.open.len() >= WAITING_MAX => {
                    return Err(Refusal::TooMany("streams", WAITING_MAX));
                }
                _ => {}
            }
        }
        self.open.insert(stream.to_owned(), (peer.to_owned(), 0));
        Ok(true)
    }

    /// Forgets a stream.
    pub fn close(&mut self, stream: &str) {
        self.open.remove(stream);
    }

    /// Streams that are open.
    pub fn open(&self) -> impl Iterator<Item = &str> {
        self.open.keys().map(String::as_str)
    }

    /// Judges a chunk by what the verifier said; without a verifier everything passes. E4 looks at
    /// neither number nor peer, and needs no open stream.
    ///
    /// # Errors
    ///
    /// In strict mode: a chunk that is not the next one of its peer's stream (B3).
    pub fn chunk(
        &mut self,
        peer: &str,
        chunk: &Chunk,
        verdict: Option<&Outcome>,
    ) -> Result<ChunkResult, Refusal> {
        if self.mode == Mode::Strict {
            match self.open.get_mut(&chunk.stream) {
                Some((owner, next)) if owner == peer && *next == chunk.sequence => {
                    *next = next.saturating_add(1);
                }
                _ => return Err(Refusal::ChunkOutOfPlace),
            }
        }
        Ok(ChunkResult {
            is_accepted: verdict.is_none_or(|outcome| outcome.is_accepted),
            sequence: chunk.sequence,
            reason: verdict
                .map(|outcome| outcome.reason.clone())
                .unwrap_or_default(),
        })
    }

    /// Judges chunks up to the first that is refused.
    ///
    /// # Errors
    ///
    /// Those of [`Self::chunk`] and of the verifier.
    pub fn validate(
        &mut self,
        peer: &str,
        chunks: &[Chunk],
        mut verify: impl FnMut(&Delta) -> Result<Option<Outcome>, Refusal>,
    ) -> Result<Vec<ChunkResult>, Refusal> {
        let mut results = Vec::new();
        for chunk in chunks {
            let result = self.chunk(peer, chunk, verify(&chunk.delta)?.as_ref())?;
            let is_accepted = result.is_accepted;
            results.push(result);
            if !is_accepted {
                break;
            }
        }
        Ok(results)
    }
}

/// A value in an agent's state.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The value.
    pub value: Vec<u8>,
    /// Who wrote it.
    pub peer: String,
    /// Mean trust of the writer at that time.
    pub trust: f64,
    /// Seconds.
    pub timestamp: f64,
}

/// Values by key.
#[derive(Clone, Debug, Default)]
pub struct Agent {
    entries: BTreeMap<String, Entry>,
    is_weighted: bool,
    mode: Mode,
}

impl Agent {
    /// A state without values. `is_weighted` prefers writers with more trust.
    pub fn new(is_weighted: bool, mode: Mode) -> Self {
        Self {
            entries: BTreeMap::new(),
            is_weighted,
            mode,
        }
    }

    /// The values.
    pub fn entries(&self) -> &BTreeMap<String, Entry> {
        &self.entries
    }

    /// Writes a value, unless the present one wins. The timestamp's default in E4 is 0.0, which
    /// keeps the old value (B4).
    ///
    /// # Errors
    ///
    /// In strict mode: two values that nothing orders (B4), timestamps that are no numbers, and too
    /// many keys.
    pub fn put(
        &mut self,
        key: &str,
        value: &[u8],
        peer: &str,
        timestamp: f64,
        lattice: Option<&Peers>,
    ) -> Result<(), Refusal> {
        let trust = lattice.map_or(PROBATION, |peers| live(peers, peer));
        let entry = Entry {
            value: value.to_vec(),
            peer: peer.to_owned(),
            trust,
            timestamp,
        };
        let winner = if let Some(existing) = self.entries.get(key) {
            self.choose(existing, &entry, lattice)?.clone()
        } else {
            self.check(&entry)?;
            entry
        };
        self.entries.insert(key.to_owned(), winner);
        Ok(())
    }

    fn check(&self, entry: &Entry) -> Result<(), Refusal> {
        if self.mode == Mode::Strict {
            if !entry.timestamp.is_finite() {
                return Err(Refusal::TimestampNotFinite);
            }
            if self.entries.len() >= KEYS_MAX {
                return Err(Refusal::TooMany("keys", KEYS_MAX));
            }
        }
        Ok(())
    }

    /// Removes a value and leaves no trace, so a merge brings it back (B4).
    pub fn delete(&mut self, key: &str) {
        self.entries.remove(key);
    }

    /// The union with another state; this one is the left operand, which wins ties.
    ///
    /// # Errors
    ///
    /// As [`Self::put`].
    pub fn merge(&self, other: &Self, lattice: Option<&Peers>) -> Result<Self, Refusal> {
        let mut merged = self.clone();
        for (key, entry) in &other.entries {
            let winner = if let Some(mine) = self.entries.get(key) {
                self.choose(mine, entry, lattice)?
            } else {
                merged.check(entry)?;
                entry
            };
            merged.entries.insert(key.clone(), winner.clone());
        }
        Ok(merged)
    }

    fn choose<'a>(
        &self,
        left: &'a Entry,
        right: &'a Entry,
        lattice: Option<&Peers>,
    ) -> Result<&'a Entry, Refusal> {
        if self.mode == Mode::Strict {
            if !right.timestamp.is_finite() {
                return Err(Refusal::TimestampNotFinite);
            }
            // Trust differs from replica to replica, so nothing but time may order values.
            if left.timestamp == right.timestamp && left != right {
                return Err(Refusal::Tie);
            }
        }
        if self.is_weighted {
            let trust =
                |entry: &Entry| lattice.map_or(entry.trust, |peers| live(peers, &entry.peer));
            let (a, b) = (trust(left), trust(right));
            if a != b {
                return Ok(if a > b { left } else { right });
            }
        }
        Ok(if left.timestamp >= right.timestamp {
            left
        } else {
            right
        })
    }

    /// Values by falling trust at the time of writing.
    pub fn ranked(&self) -> Vec<(&str, &Entry)> {
        let mut ranked: Vec<_> = self.entries.iter().map(|(k, e)| (k.as_str(), e)).collect();
        ranked.sort_by(|a, b| b.1.trust.total_cmp(&a.1.trust));
        ranked
    }

    /// How many values each peer has.
    pub fn contributions(&self) -> BTreeMap<&str, usize> {
        let mut counts = BTreeMap::new();
        for entry in self.entries.values() {
            *counts.entry(entry.peer.as_str()).or_insert(0) += 1;
        }
        counts
    }
}

fn live(peers: &Peers, peer: &str) -> f64 {
    peers.get(peer).cloned().unwrap_or_default().overall()
}
