//! What is hashed and signed.

use crate::{Blake3Digest, Domain, Sha256Digest};
use alloc::vec::Vec;
use sha2::Digest as _;

/// Bytes to be hashed or signed: `domain ‖ 00 ‖ fields`.
///
/// Fields have fixed width, numbers are little-endian, and byte strings of variable length carry
/// their length, so a preimage can be read in one way only.
///
/// ```
/// use polity_crypto::{Preimage, domain};
///
/// let preimage = Preimage::new(domain::TEST).u64(7).bytes(b"abc");
/// assert_eq!(preimage.as_slice(), b"polity/test/v1\0\x07\0\0\0\0\0\0\0\x03\0\0\0abc");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preimage {
    bytes: Vec<u8>,
}

impl Preimage {
    /// Starts with the domain and a zero byte.
    pub fn new(domain: Domain) -> Self {
        let mut bytes = Vec::with_capacity(256);
        bytes.extend_from_slice(domain.as_str().as_bytes());
        bytes.push(0);
        Self { bytes }
    }

    /// Appends one byte.
    #[must_use]
    pub fn u8(mut self, value: u8) -> Self {
        self.bytes.push(value);
        self
    }

    /// Appends 4 bytes.
    #[must_use]
    pub fn u32(mut self, value: u32) -> Self {
        self.bytes.extend_from_slice(&value.to_le_bytes());
        self
    }

    /// Appends 8 bytes.
    #[must_use]
    pub fn u64(mut self, value: u64) -> Self {
        self.bytes.extend_from_slice(&value.to_le_bytes());
        self
    }

    /// Appends 16 bytes.
    #[must_use]
    pub fn u128(mut self, value: u128) -> Self {
        self.bytes.extend_from_slice(&value.to_le_bytes());
        self
    }

    /// Appends bytes whose number the layout fixes.
    #[must_use]
    pub fn array<const N: usize>(mut self, value: &[u8; N]) -> Self {
        self.bytes.extend_from_slice(value);
        self
    }

    /// Appends bytes of any number: their length in 4 bytes, then the bytes.
    ///
    /// # Panics
    ///
    /// Above 4 GiB, far beyond the limit of any decoder.
    #[must_use]
    pub fn bytes(mut self, value: &[u8]) -> Self {
        let length = u32::try_from(value.len()).expect("decoders limit the length");
        self.bytes.extend_from_slice(&length.to_le_bytes());
        self.bytes.extend_from_slice(value);
        self
    }

    /// The bytes so far.
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes
    }

    /// SHA-256 of the bytes: ids, blocks, trees and everything short.
    pub fn sha256(&self) -> Sha256Digest {
        Sha256Digest::new(sha2::Sha256::digest(&self.bytes).into())
    }

    /// BLAKE3 of the bytes: wherever a specification says so.
    pub fn blake3(&self) -> Blake3Digest {
        Blake3Digest::new(*blake3::hash(&self.bytes).as_bytes())
    }
}
