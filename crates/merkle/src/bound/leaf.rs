//! What is hashed.

use polity_crypto::{PeerId, Preimage, Sha256Digest, domain};
use polity_types::Epoch;
use sha2::{Digest as _, Sha256};

/// Longest key in bytes.
pub const KEY_BYTES_MAX: usize = 1_024;

/// What a tree binds to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct BoundLeaf {
    /// Digest of the value.
    pub value: Sha256Digest,
    /// Who wrote it.
    pub originator: PeerId,
    /// Trust of the originator at the write, in millionths, at most [`TRUST_MAX`](polity_types::TRUST_MAX).
    pub trust: u32,
    /// Epoch of the snapshot that says so.
    pub epoch: Epoch,
    /// Whose counter numbers the write.
    pub dot_peer: PeerId,
    /// Number of the write.
    pub dot_counter: u64,
}

impl BoundLeaf {
    /// Digest of the leaf with this key (TR-12).
    pub fn digest(&self, key: &[u8]) -> Sha256Digest {
        Preimage::new(domain::BOUND_LEAF)
            .bytes(key)
            .array(self.value.as_bytes())
            .array(self.originator.as_bytes())
            .u32(self.trust)
            .u64(self.epoch.get())
            .array(self.dot_peer.as_bytes())
            .u64(self.dot_counter)
            .sha256()
    }
}

/// Children of a wide node: a power of two from 16 to 1024, so that a child is a whole number of
/// bits of a key's digest and no position is shared or left over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FanOut(u16);

/// The fan-out is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a fan-out is a power of two from 16 to 1024, not {0}")]
pub struct FanOutError(pub u16);

impl FanOut {
    /// Checks the number of children.
    pub const fn new(children: u16) -> Result<Self, FanOutError> {
        if children < 16 || children > 1_024 || !children.is_power_of_two() {
            return Err(FanOutError(children));
        }
        Ok(Self(children))
    }

    /// Number of children.
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl Default for FanOut {
    /// 256: one byte of a key's digest per wide node.
    fn default() -> Self {
        Self(256)
    }
}

/// Where a key stands.
pub fn key_digest(key: &[u8]) -> Sha256Digest {
    Sha256Digest::new(Sha256::digest(key).into())
}

/// Root over the data: `top` is the digest of the topmost node, zero if there is none.
pub fn data_root(fan_out: FanOut, records: u64, top: &Sha256Digest) -> Sha256Digest {
    Preimage::new(domain::BOUND_DATA)
        .u32(u32::from(fan_out.0))
        .u64(records)
        .array(top.as_bytes())
        .sha256()
}

/// Binds data to a view of trust, a clock and an epoch (TR-13).
pub fn bound_root(
    data_root: &Sha256Digest,
    trust_root: &Sha256Digest,
    clock: &Sha256Digest,
    epoch: Epoch,
) -> Sha256Digest {
    Preimage::new(domain::BOUND_ROOT)
        .array(data_root.as_bytes())
        .array(trust_root.as_bytes())
        .array(clock.as_bytes())
        .u64(epoch.get())
        .sha256()
}

/// Digest of a node whose children part at `bit`, with `records` below it.
pub(crate) fn inner_digest(
    bit: u16,
    records: u64,
    left: &Sha256Digest,
    right: &Sha256Digest,
) -> Sha256Digest {
    let mut bytes = [0; 1 + 2 + 8 + 32 + 32];
    bytes[0] = 1;
    bytes[1..3].copy_from_slice(&bit.to_le_bytes());
    bytes[3..11].copy_from_slice(&records.to_le_bytes());
    bytes[11..43].copy_from_slice(left.as_bytes());
    bytes[43..].copy_from_slice(right.as_bytes());
    Sha256Digest::new(Sha256::digest(bytes).into())
}

/// A bit of a digest, the most significant bit of its first byte being number 0.
pub(crate) fn bit_of(digest: &Sha256Digest, bit: u16) -> bool {
    digest.as_bytes()[usize::from(bit / 8)] >> (7 - bit % 8) & 1 == 1
}

/// The first bit in which two digests differ; 256 if they are equal.
pub(crate) fn parting(a: &Sha256Digest, b: &Sha256Digest) -> u16 {
    let mut bit = 0;
    for (a, b) in a.as_bytes().iter().zip(b.as_bytes()) {
        let zeros = (a ^ b).leading_zeros() as u16;
        bit += zeros;
        if zeros < 8 {
            break;
        }
    }
    bit
}
