//! Proof-carrying operations: 128 bytes over witnesses that travel elsewhere.
//!
//! ```text
//! signature 64 ‖ aggregate 32 ‖ version 2 ‖ flags 2 ‖ seconds 8 ‖ zero 20
//! ```
//!
//! The signature covers the aggregate, and the aggregate the root, the clock, the trust digest and the
//! new hashes of the bounds. It covers no metadata, no originator, no path, no depth, no old hash and
//! nothing of the delta (P1, P2). Strict mode therefore hands out a [`Statement`] of what is covered.

use crate::clock::{Clock, Order};
use crate::hash::{is_digest, sha256};
use crate::keys::{Backend, Registry, verify_signature};
use crate::score::QUARANTINE;
use crate::{Mode, Refusal};

/// Length on the wire.
pub const WIRE: usize = 128;
/// Bounds of one operation in strict mode (P15).
pub const BOUNDS_MAX: usize = 1_024;
/// Steps by which one strict operation may be ahead of the local clock (P8, C1).
pub const AHEAD_MAX: u64 = 65_536;

/// Signs bytes with the local key.
pub type Sign<'a> = dyn Fn(&[u8]) -> Vec<u8> + 'a;

/// A subtree that an operation changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bound {
    /// Where, in E4's sense of paths, which do not describe a position.
    pub path: Vec<i64>,
    /// Distance from the root.
    pub depth: i64,
    /// Digest before.
    pub old_hash: String,
    /// Digest after: all that is covered.
    pub new_hash: String,
}

/// Everything that the aggregate covers, and the originator that it does not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Witnesses {
    /// Whose operation it is said to be.
    pub originator: String,
    /// Root of the originator's tree.
    pub merkle_root: String,
    /// Bytes of its clock.
    pub clock: Vec<u8>,
    /// Digest of its own score.
    pub trust_hash: String,
    /// What it changes.
    pub bounds: Vec<Bound>,
}

impl Witnesses {
    /// Digest over the new hashes.
    pub fn bounds_hash(&self) -> [u8; 32] {
        sha256(self.bounds.iter().map(|bound| bound.new_hash.as_bytes()))
    }

    /// What is signed. Without lengths, so that parts can change their boundaries (P3).
    pub fn aggregate(&self) -> [u8; 32] {
        sha256([
            self.merkle_root.as_bytes(),
            &self.clock,
            self.trust_hash.as_bytes(),
            &self.bounds_hash(),
        ])
    }
}

/// The 128 bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Over the aggregate. 64 bytes on the wire; E4's objects can hold others.
    pub signature: Vec<u8>,
    /// Digest of the witnesses.
    pub aggregate: [u8; 32],
    /// Version, flags, seconds and padding: not covered.
    pub metadata: [u8; 32],
}

/// An operation with its witnesses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// What travels.
    pub header: Header,
    /// What has no format.
    pub witnesses: Witnesses,
}

/// What the verifier holds locally. Checks of an absent part pass in compatible mode (P7).
#[derive(Clone, Copy, Debug, Default)]
pub struct State<'a> {
    /// Root of the local tree.
    pub root: Option<&'a str>,
    /// The local clock.
    pub clock: Option<&'a Clock>,
}

/// What the verifier knows.
#[derive(Clone, Copy, Debug, Default)]
pub struct Context<'a> {
    /// Keys; without one every 64 bytes are a signature (P11).
    pub registry: Option<&'a Registry>,
    /// Whether Ed25519 is there.
    pub backend: Backend,
    /// Local tree and clock.
    pub state: State<'a>,
    /// Mean score of the originator, if there is a lattice to ask.
    pub originator_overall: Option<f64>,
}

/// What a strict verifier may believe: the originator signed that these belong together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// Root of the originator's tree.
    pub merkle_root: String,
    /// Bytes of its clock, canonical.
    pub clock: Vec<u8>,
    /// Digest of its own score.
    pub trust_hash: String,
    /// New hashes in their order; where they belong is not covered.
    pub new_hashes: Vec<String>,
}

/// Metadata of an operation.
pub fn metadata(version: u16, flags: u16, seconds: u64) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[..2].copy_from_slice(&version.to_be_bytes());
    bytes[2..4].copy_from_slice(&flags.to_be_bytes());
    bytes[4..12].copy_from_slice(&seconds.to_be_bytes());
    bytes
}

impl Header {
    /// The bytes on the wire.
    ///
    /// # Errors
    ///
    /// If the signature is not 64 bytes (P14).
    pub fn to_wire(&self) -> Result<[u8; WIRE], Refusal> {
        let signature: &[u8; 64] = self
            .signature
            .as_slice()
            .try_into()
            .map_err(|_| Refusal::SignatureLength)?;
        let mut bytes = [0; WIRE];
        bytes[..64].copy_from_slice(signature);
        bytes[64..96].copy_from_slice(&self.aggregate);
        bytes[96..].copy_from_slice(&self.metadata);
        Ok(bytes)
    }

    /// Reads the first 128 bytes; E4 ignores what follows.
    ///
    /// # Errors
    ///
    /// If there are fewer, and in strict mode if there are more (P10, P14).
    pub fn from_wire(bytes: &[u8], mode: Mode) -> Result<Self, Refusal> {
        if bytes.len() > WIRE && mode == Mode::Strict {
            return Err(Refusal::NotCanonical);
        }
        let (signature, rest) = bytes.split_first_chunk::<64>().ok_or(Refusal::Truncated)?;
        let (aggregate, rest) = rest.split_first_chunk().ok_or(Refusal::Truncated)?;
        let metadata = rest.first_chunk().ok_or(Refusal::Truncated)?;
        Ok(Self {
            signature: signature.to_vec(),
            aggregate: *aggregate,
            metadata: *metadata,
        })
    }
}

impl Operation {
    /// Builds an operation. `sign` gets the 32 bytes of the aggregate; without one the signature is 64
    /// zero bytes, as in E4, which strict verifiers refuse.
    ///
    /// # Errors
    ///
    /// If the signature is not 64 bytes (P14).
    pub fn build(
        witnesses: Witnesses,
        metadata: [u8; 32],
        sign: Option<&Sign<'_>>,
    ) -> Result<Self, Refusal> {
        let aggregate = witnesses.aggregate();
        let signature = match sign {
            None => vec![0; 64],
            Some(sign) => sign(&aggregate),
        };
        if signature.len() != 64 {
            return Err(Refusal::SignatureLength);
        }
        let header = Header {
            signature,
            aggregate,
            metadata,
        };
        Ok(Self { header, witnesses })
    }

    /// E4's verification at a level, bit-exact. Levels other than 0, 1 and 3 are level 2.
    ///
    /// # Errors
    ///
    /// If the clock's bytes are malformed, where E4 crashes (P9).
    pub fn verify(&self, level: u8, context: &Context<'_>) -> Result<bool, Refusal> {
        if level == 3
            || self.witnesses.aggregate() != self.header.aggregate
            || !self.is_signed(context)
        {
            return Ok(false);
        }
        if level == 0 {
            return Ok(true);
        }
        let root = &self.witnesses.merkle_root;
        if let Some(local) = context.state.root
            && !crate::tree::is_plausible_root(root, local)
        {
            return Ok(false);
        }
        if level == 1 {
            return Ok(true);
        }
        if let Some(local) = context.state.clock
            && !local.is_consistent_with(&self.witnesses.clock, Mode::Compatible)?
        {
            return Ok(false);
        }
        if context.originator_overall.is_some_and(
            |overall| !matches!(overall.partial_cmp(&QUARANTINE), Some(o) if o.is_ge()),
        ) {
            return Ok(false);
        }
        let mut bounds = self.witnesses.bounds.iter();
        Ok(bounds.all(|bound| bound.depth >= 0 && bound.old_hash != bound.new_hash))
    }

    fn is_signed(&self, context: &Context<'_>) -> bool {
        let Some(registry) = context.registry else {
            return self.header.signature.len() == 64;
        };
        registry.get(&self.witnesses.originator).is_some_and(|key| {
            let Header {
                aggregate,
                signature,
                ..
            } = &self.header;
            verify_signature(key, aggregate, signature, context.backend)
        })
    }

    /// Verifies what is covered, and says what that is.
    ///
    /// # Errors
    ///
    /// The first of the reasons for which E4 would have been too kind (P2, P3, P7–P15).
    pub fn verify_strict(&self, context: &Context<'_>) -> Result<Statement, Refusal> {
        let witnesses = &self.witnesses;
        if witnesses.bounds.len() > BOUNDS_MAX {
            return Err(Refusal::TooMany("bounds", BOUNDS_MAX));
        }
        let seconds = self
            .header
            .metadata
            .get(4..12)
            .and_then(|s| s.try_into().ok());
        let seconds = u64::from_be_bytes(seconds.unwrap_or_default());
        if self.header.metadata != metadata(1, 0, seconds) {
            return Err(Refusal::MetadataUnsigned);
        }
        if witnesses.merkle_root.is_empty() || context.state.root.is_none() {
            return Err(Refusal::RootUnchecked);
        }
        for (name, text) in [
            ("merkle root", &witnesses.merkle_root),
            ("trust hash", &witnesses.trust_hash),
        ] {
            if !is_digest(text) {
                return Err(Refusal::DigestForm(name));
            }
        }
        for bound in &witnesses.bounds {
            if !is_digest(&bound.new_hash) {
                return Err(Refusal::DigestForm("new hash"));
            }
        }
        let clock = Clock::from_bytes(&witnesses.clock, Mode::Strict)?;
        if witnesses.aggregate() != self.header.aggregate {
            return Err(Refusal::AggregateMismatch);
        }
        let registry = context.registry.ok_or(Refusal::Unsigned)?;
        let signature = &self.header.signature;
        registry.verify_strict(&witnesses.originator, &self.header.aggregate, signature)?;
        if registry.is_shared(&witnesses.originator) {
            return Err(Refusal::SharedKey);
        }
        match context.originator_overall {
            Some(overall) if overall >= QUARANTINE => {}
            _ => return Err(Refusal::Quarantined),
        }
        if context.state.root != Some(witnesses.merkle_root.as_str()) {
            return Err(Refusal::RootMismatch);
        }
        if let Some(local) = context.state.clock {
            check_ahead(&clock, local)?;
        }
        Ok(Statement {
            merkle_root: witnesses.merkle_root.clone(),
            clock: witnesses.clock.clone(),
            trust_hash: witnesses.trust_hash.clone(),
            new_hashes: witnesses
                .bounds
                .iter()
                .map(|b| b.new_hash.clone())
                .collect(),
        })
    }
}

/// Clocks that are late are honest delay; clocks that are far ahead are assertions.
fn check_ahead(clock: &Clock, local: &Clock) -> Result<(), Refusal> {
    if matches!(clock.order(local), Order::Before | Order::Equal) {
        return Ok(());
    }
    for (peer, entry) in &clock.entries {
        let known = local.entries.get(peer).map_or(0, |entry| entry.time);
        if entry.time.saturating_sub(known) > AHEAD_MAX {
            return Err(Refusal::ClockAhead);
        }
    }
    Ok(())
}

/// Aggregates that were taken, each once (P4).
///
/// E4 has no number in what is signed, so a taken operation has to be remembered. When the window is
/// full nothing falls out: new operations are refused until the host begins a new window with new keys.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    aggregates: std::collections::BTreeSet<[u8; 32]>,
}

/// Operations that a window remembers.
pub const SEEN_MAX: usize = 65_536;

impl Seen {
    /// Takes an operation once.
    ///
    /// # Errors
    ///
    /// If it was taken before, or the window is full.
    pub fn take(&mut self, header: &Header) -> Result<(), Refusal> {
        if self.aggregates.contains(&header.aggregate) {
            return Err(Refusal::Replay);
        }
        if self.aggregates.len() >= SEEN_MAX {
            return Err(Refusal::TooMany("operations", SEEN_MAX));
        }
        self.aggregates.insert(header.aggregate);
        Ok(())
    }
}
