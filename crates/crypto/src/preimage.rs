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
    domain: Domain,
    bytes: Vec<u8>,
}

impl Preimage {
    /// Starts with the domain and a zero byte.
    pub fn new(domain: Domain) -> Self {
        let mut bytes = Vec::with_capacity(256);
        bytes.extend_from_slice(domain.as_str().as_bytes());
        bytes.push(0);
        Self { domain, bytes }
    }

    /// The domain it starts with.
    pub fn domain(&self) -> Domain {
        self.domain
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

    /// Appends bytes whose number follows from what stands before them.
    #[must_use]
    pub(crate) fn fixed(mut self, value: &[u8]) -> Self {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain;
    use alloc::string::ToString;
    use rstest::rstest;

    /// FIPS 180-4, examples of SHA-256; BLAKE3, its published test vectors and `b3sum`.
    #[rstest]
    #[case::empty(
        b"",
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
    )]
    #[case::abc(
        b"abc",
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85"
    )]
    #[case::two_blocks(
        b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
        "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
        "c19012cc2aaf0dc3d8e5c45a1b79114d2df42abb2a410bf54be09e891af06ff8"
    )]
    fn digests_agree_with_their_standards(
        #[case] bytes: &[u8],
        #[case] sha256: &str,
        #[case] blake3: &str,
    ) {
        let preimage = Preimage {
            domain: domain::TEST,
            bytes: bytes.to_vec(),
        };
        assert_eq!(preimage.sha256().to_string(), sha256);
        assert_eq!(preimage.blake3().to_string(), blake3);
    }

    #[test]
    fn cr_2_fields_have_one_layout() {
        let preimage = Preimage::new(domain::TEST)
            .u8(1)
            .u32(2)
            .u64(3)
            .u128(4)
            .array(&[5, 6])
            .bytes(&[7, 8, 9]);
        let mut expected = b"polity/test/v1\0\x01\x02\0\0\0\x03\0\0\0\0\0\0\0\x04".to_vec();
        expected.extend([0; 15]);
        expected.extend([5, 6, 3, 0, 0, 0, 7, 8, 9]);
        assert_eq!(preimage.as_slice(), expected);
    }
}
