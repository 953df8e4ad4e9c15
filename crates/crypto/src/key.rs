//! Public keys, and the suites and tiers they belong to.

use crate::{Preimage, Sha256Digest, domain};
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;
use polity_types::byte_string;

byte_string!(
    /// Short name of a key: the first 8 bytes of its fingerprint (CR-7).
    KeyId, 8
);

/// A signature scheme (CR-7). The numbers are part of key ids and of the wire format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Suite {
    /// Checksum for simulations: anybody can make it.
    Stub = 0,
    /// HMAC-SHA256 with a key that two peers share.
    Hmac = 1,
    /// Ed25519, strict.
    Ed25519 = 2,
}

/// How strong a suite is. Which tier a message kind needs is fixed in the genesis (CR-6).
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// Tier 0: simulations and tests.
    Stub,
    /// Tier 1: convinces the other end of a link and nobody else.
    Hmac,
    /// Tier 2: convinces everybody.
    Ed25519,
}

impl Suite {
    /// Every suite.
    pub const ALL: [Self; 3] = [Self::Stub, Self::Hmac, Self::Ed25519];

    /// Number on the wire and in key ids.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// Name in texts.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stub => "stub",
            Self::Hmac => "hmac",
            Self::Ed25519 => "ed25519",
        }
    }

    /// Length of a public key in bytes.
    pub const fn public_key_length(self) -> usize {
        match self {
            Self::Stub | Self::Hmac | Self::Ed25519 => 32,
        }
    }

    /// Length of a signature in bytes.
    pub const fn signature_length(self) -> usize {
        match self {
            Self::Hmac => 32,
            Self::Stub | Self::Ed25519 => 64,
        }
    }

    /// The tier this suite reaches.
    pub const fn tier(self) -> Tier {
        match self {
            Self::Stub => Tier::Stub,
            Self::Hmac => Tier::Hmac,
            Self::Ed25519 => Tier::Ed25519,
        }
    }
}

/// Why bytes or a text are no public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The suite is not one of [`Suite::ALL`].
    #[error("unknown signature suite")]
    UnknownSuite,
    /// The key is too short or too long for its suite.
    #[error("a public key of this suite has {expected} bytes, not {found}")]
    Length {
        /// Bytes the suite needs.
        expected: usize,
        /// Bytes that were given.
        found: usize,
    },
    /// The text is not `suite:hexadecimal`.
    #[error("a public key is written as its suite, a colon and lower-case hexadecimal digits")]
    Text,
    /// The key is no point of the curve, or one of small order that signs everything.
    #[error("the key is weak or no key at all")]
    Weak,
}

/// A public key with its suite. The text form is `ed25519:03a1…`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey {
    /// Suite number, then the key: also the wire form.
    bytes: Vec<u8>,
}

impl PublicKey {
    /// A key of the given suite. Only its length is checked; whether it is weak says the
    /// [`Verifier`](crate::Verifier) at registration.
    pub fn new(suite: Suite, key: &[u8]) -> Result<Self, KeyError> {
        let expected = suite.public_key_length();
        if key.len() != expected {
            return Err(KeyError::Length {
                expected,
                found: key.len(),
            });
        }
        let mut bytes = Vec::with_capacity(1 + expected);
        bytes.push(suite.number());
        bytes.extend_from_slice(key);
        Ok(Self { bytes })
    }

    fn from_wire(bytes: &[u8]) -> Result<Self, KeyError> {
        let (number, key) = bytes.split_first().ok_or(KeyError::UnknownSuite)?;
        let suite = Suite::ALL
            .into_iter()
            .find(|suite| suite.number() == *number)
            .ok_or(KeyError::UnknownSuite)?;
        Self::new(suite, key)
    }

    /// The suite.
    pub fn suite(&self) -> Suite {
        match self.bytes[0] {
            0 => Suite::Stub,
            1 => Suite::Hmac,
            _ => Suite::Ed25519,
        }
    }

    /// The key without its suite.
    pub fn key_bytes(&self) -> &[u8] {
        &self.bytes[1..]
    }

    /// Full digest of suite and key, which stands for the key where space matters.
    pub fn fingerprint(&self) -> Sha256Digest {
        let mut preimage = Preimage::new(domain::KEY).u8(self.suite().number());
        for byte in self.key_bytes() {
            preimage = preimage.u8(*byte);
        }
        preimage.sha256()
    }

    /// Short name of the key (CR-7).
    pub fn key_id(&self) -> KeyId {
        let fingerprint = self.fingerprint();
        let mut id = [0; 8];
        id.copy_from_slice(&fingerprint.as_bytes()[..8]);
        KeyId::new(id)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.suite().name())?;
        polity_types::write_hex(self.key_bytes(), f)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let (name, digits) = text.split_once(':').ok_or(KeyError::Text)?;
        let suite = Suite::ALL
            .into_iter()
            .find(|suite| suite.name() == name)
            .ok_or(KeyError::UnknownSuite)?;
        let key: [u8; 32] = polity_types::decode_hex(digits).map_err(|_| KeyError::Text)?;
        Self::new(suite, &key)
    }
}

impl serde::Serialize for PublicKey {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            serializer.serialize_bytes(&self.bytes)
        }
    }
}

impl<'de> serde::Deserialize<'de> for PublicKey {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;
        if deserializer.is_human_readable() {
            let text = String::deserialize(deserializer)?;
            text.parse().map_err(D::Error::custom)
        } else {
            let bytes: &[u8] = serde::Deserialize::deserialize(deserializer)?;
            Self::from_wire(bytes).map_err(D::Error::custom)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use polity_types::wire;
    use rstest::rstest;

    #[test]
    fn text_and_wire_forms_round_trip() {
        for suite in Suite::ALL {
            let key = PublicKey::new(suite, &[9; 32]).unwrap();
            assert_eq!(key.suite(), suite);
            assert_eq!(key.to_string().parse(), Ok(key.clone()));
            let bytes = wire::encode(&key);
            assert_eq!(wire::decode(&bytes, 64), Ok(key));
        }
    }

    #[rstest]
    #[case::no_colon("ed25519", KeyError::Text)]
    #[case::suite("rsa:00", KeyError::UnknownSuite)]
    #[case::short("ed25519:00", KeyError::Text)]
    #[case::upper_case(
        "ed25519:AA00000000000000000000000000000000000000000000000000000000000000",
        KeyError::Text
    )]
    fn refuses_texts(#[case] text: &str, #[case] expected: KeyError) {
        assert_eq!(text.parse::<PublicKey>(), Err(expected));
    }

    #[rstest]
    #[case::empty(&[0])]
    #[case::unknown_suite(&[2, 9, 1])]
    #[case::short(&[2, 2, 1])]
    fn refuses_bytes(#[case] bytes: &[u8]) {
        assert!(wire::decode::<PublicKey>(bytes, 64).is_err());
    }
}
