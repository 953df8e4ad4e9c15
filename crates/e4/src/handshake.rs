//! Negotiation of hashes with peers that know no trust.

use crate::score::Score;
use crate::tree::{compat_leaf_hash, leaf_hash};
use crate::{Mode, Refusal};
use std::collections::BTreeMap;

/// Version that E4 advertises and never checks.
pub const VERSION: u16 = 1;
/// Peers that a controller remembers.
pub const PEERS_MAX: usize = 65_536;

/// What hashes are spoken with a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CompatibilityMode {
    /// Without trust.
    LegacyOnly,
    /// Both.
    DualHash,
    /// With trust.
    E4Only,
}

/// What a peer says it can.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Capability {
    /// No trust.
    PreE4,
    /// Both.
    E4Dual,
    /// Trust alone is enough.
    E4Full,
}

impl CompatibilityMode {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::LegacyOnly, Self::DualHash, Self::E4Only];

    /// E4's label.
    pub fn label(self) -> &'static str {
        match self {
            Self::LegacyOnly => "legacy_only",
            Self::DualHash => "dual_hash",
            Self::E4Only => "e4_only",
        }
    }

    /// The mode of a label.
    pub fn from_label(label: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.label() == label)
    }

    /// What a peer in this mode advertises.
    pub fn advertised(self) -> Capability {
        match self {
            Self::LegacyOnly => Capability::PreE4,
            Self::DualHash => Capability::E4Dual,
            Self::E4Only => Capability::E4Full,
        }
    }

    /// The table of negotiation.
    pub fn negotiate(self, remote: Capability) -> Self {
        match (self, remote) {
            (Self::LegacyOnly, Capability::PreE4) => Self::LegacyOnly,
            (Self::E4Only, Capability::E4Full) => Self::E4Only,
            (Self::LegacyOnly, Capability::E4Dual | Capability::E4Full)
            | (Self::DualHash, _)
            | (Self::E4Only, Capability::PreE4 | Capability::E4Dual) => Self::DualHash,
        }
    }
}

impl Capability {
    /// All of them, by their values 0 to 2.
    pub const ALL: [Self; 3] = [Self::PreE4, Self::E4Dual, Self::E4Full];

    /// E4's label.
    pub fn label(self) -> &'static str {
        match self {
            Self::PreE4 => "PRE_E4",
            Self::E4Dual => "E4_DUAL",
            Self::E4Full => "E4_FULL",
        }
    }

    /// The capability of a label.
    pub fn from_label(label: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.label() == label)
    }

    /// Its number.
    pub fn value(self) -> u8 {
        match self {
            Self::PreE4 => 0,
            Self::E4Dual => 1,
            Self::E4Full => 2,
        }
    }
}

/// What was negotiated with whom.
#[derive(Clone, Debug)]
pub struct Controller {
    default: CompatibilityMode,
    peers: BTreeMap<String, (Capability, CompatibilityMode)>,
    mode: Mode,
}

impl Controller {
    /// A controller that knows nobody.
    pub fn new(default: CompatibilityMode, mode: Mode) -> Self {
        Self {
            default,
            peers: BTreeMap::new(),
            mode,
        }
    }

    /// Changes what unknown peers get; what was negotiated stays.
    pub fn set_default(&mut self, default: CompatibilityMode) {
        self.default = default;
    }

    /// The mode with a peer.
    pub fn mode_for(&self, peer: &str) -> CompatibilityMode {
        self.peers.get(peer).map_or(self.default, |(_, mode)| *mode)
    }

    /// Takes a handshake. It is not signed.
    ///
    /// # Errors
    ///
    /// If there are [`PEERS_MAX`] peers already, and in strict mode if it would lower what was
    /// negotiated (B6).
    pub fn handshake(
        &mut self,
        peer: &str,
        capability: Capability,
    ) -> Result<CompatibilityMode, Refusal> {
        let negotiated = self.default.negotiate(capability);
        match self.peers.get(peer) {
            None if self.peers.len() >= PEERS_MAX => {
                return Err(Refusal::TooMany("peers", PEERS_MAX));
            }
            Some((known, mode))
                if self.mode == Mode::Strict && (negotiated < *mode || capability < *known) =>
            {
                return Err(Refusal::Downgrade);
            }
            _ => {}
        }
        self.peers.insert(peer.to_owned(), (capability, negotiated));
        Ok(negotiated)
    }

    /// Moves a peer one step up, if its capability allows; the answer is its mode afterwards.
    pub fn upgrade(&mut self, peer: &str) -> CompatibilityMode {
        let Some((capability, mode)) = self.peers.get_mut(peer) else {
            return self.default;
        };
        *mode = match *mode {
            CompatibilityMode::LegacyOnly if *capability >= Capability::E4Dual => {
                CompatibilityMode::DualHash
            }
            CompatibilityMode::DualHash if *capability == Capability::E4Full => {
                CompatibilityMode::E4Only
            }
            same => same,
        };
        *mode
    }

    /// Peers with full capability that are still spoken to with both hashes.
    pub fn ready_for_e4_only(&self) -> Vec<&str> {
        let ready = self
            .peers
            .iter()
            .filter(|(_, state)| **state == (Capability::E4Full, CompatibilityMode::DualHash));
        ready.map(|(peer, _)| peer.as_str()).collect()
    }

    /// Peers and what they said they can.
    pub fn known(&self) -> impl Iterator<Item = (&str, Capability)> {
        self.peers
            .iter()
            .map(|(peer, (capability, _))| (peer.as_str(), *capability))
    }

    /// How many peers are in a mode.
    pub fn count(&self, mode: CompatibilityMode) -> usize {
        self.peers.values().filter(|(_, one)| *one == mode).count()
    }
}

/// The digests that a mode asks for: with trust, and without. `trust` is the originator's score in
/// the tree; without a tree both are the digest of the data.
pub fn compute_hashes(
    mode: CompatibilityMode,
    data: &[u8],
    originator: &str,
    trust: Option<&Score>,
) -> (Option<String>, Option<String>) {
    let legacy = compat_leaf_hash(data);
    let e4 = trust.map_or_else(
        || legacy.clone(),
        |score| leaf_hash("", data, &score.to_text(), originator),
    );
    match mode {
        CompatibilityMode::E4Only => (Some(e4), None),
        CompatibilityMode::DualHash => (Some(e4), Some(legacy)),
        CompatibilityMode::LegacyOnly => (None, Some(legacy)),
    }
}
