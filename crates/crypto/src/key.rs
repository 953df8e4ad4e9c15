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
    /// ML-DSA-65 alone.
    MlDsa65 = 3,
    /// Ed25519 and ML-DSA-65 over one message; both must hold (CR-4).
    Hybrid = 4,
    /// ML-DSA-87 alone.
    MlDsa87 = 5,
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
    /// Tier 2: one scheme that convinces everybody.
    Ed25519,
    /// Tier 3: two schemes of different kinds, both of which would have to be broken.
    Hybrid,
}

impl Tier {
    /// Name in texts and in a genesis.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stub => "stub",
            Self::Hmac => "hmac",
            Self::Ed25519 => "ed25519",
            Self::Hybrid => "hybrid",
        }
    }
}

/// Length in bytes of the longest public key, which is one of ML-DSA-87.
pub const PUBLIC_KEY_BYTES_MAX: usize = 2_592;

/// Length in bytes of the longest signature, which is one of ML-DSA-87.
pub const SIGNATURE_BYTES_MAX: usize = 4_627;

impl Suite {
    /// Every suite, by number.
    pub const ALL: [Self; 6] = [
        Self::Stub,
        Self::Hmac,
        Self::Ed25519,
        Self::MlDsa65,
        Self::Hybrid,
        Self::MlDsa87,
    ];

    /// The suite with this number.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }

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
            Self::MlDsa65 => "ml-dsa-65",
            Self::Hybrid => "hybrid",
            Self::MlDsa87 => "ml-dsa-87",
        }
    }

    /// Length of a public key in bytes.
    pub const fn public_key_length(self) -> usize {
        match self {
            Self::Stub | Self::Hmac | Self::Ed25519 => 32,
            Self::MlDsa65 => 1_952,
            Self::Hybrid => 1_952 + 32,
            Self::MlDsa87 => PUBLIC_KEY_BYTES_MAX,
        }
    }

    /// Length of a signature in bytes.
    pub const fn signature_length(self) -> usize {
        match self {
            Self::Hmac => 32,
            Self::Stub | Self::Ed25519 => 64,
            Self::MlDsa65 => 3_309,
            Self::Hybrid => 3_309 + 64,
            Self::MlDsa87 => SIGNATURE_BYTES_MAX,
        }
    }

    /// The tier this suite reaches. ML-DSA alone is one scheme, however large its parameters.
    pub const fn tier(self) -> Tier {
        match self {
            Self::Stub => Tier::Stub,
            Self::Hmac => Tier::Hmac,
            Self::Ed25519 | Self::MlDsa65 | Self::MlDsa87 => Tier::Ed25519,
            Self::Hybrid => Tier::Hybrid,
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
    /// The key is none of its scheme, or one under which anybody can sign.
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
        let suite = Suite::from_number(*number).ok_or(KeyError::UnknownSuite)?;
        Self::new(suite, key)
    }

    /// The suite.
    pub fn suite(&self) -> Suite {
        Suite::from_number(self.bytes[0]).expect("a key is made with a suite")
    }

    /// The key without its suite.
    pub fn key_bytes(&self) -> &[u8] {
        &self.bytes[1..]
    }

    /// The ML-DSA-65 and the Ed25519 half of a hybrid key, as keys that nobody may use alone (CR-5).
    pub(crate) fn halves(&self) -> Option<[Self; 2]> {
        if self.suite() != Suite::Hybrid {
            return None;
        }
        let (post_quantum, classical) = self
            .key_bytes()
            .split_at(Suite::MlDsa65.public_key_length());
        let half = |suite, bytes| Self::new(suite, bytes).expect("the halves of a hybrid key");
        Some([
            half(Suite::MlDsa65, post_quantum),
            half(Suite::Ed25519, classical),
        ])
    }

    /// Full digest of suite and key, which stands for the key where space matters.
    pub fn fingerprint(&self) -> Sha256Digest {
        Preimage::new(domain::KEY).fixed(&self.bytes).sha256()
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
        if digits.len() != 2 * suite.public_key_length() || !digits.is_ascii() {
            return Err(KeyError::Text);
        }
        let mut key = Vec::with_capacity(suite.public_key_length());
        for at in (0..digits.len()).step_by(2) {
            let [byte] =
                polity_types::decode_hex(&digits[at..at + 2]).map_err(|_| KeyError::Text)?;
            key.push(byte);
        }
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
    use alloc::vec;
    use polity_types::wire;
    use rstest::rstest;

    #[test]
    fn text_and_wire_forms_round_trip() {
        for suite in Suite::ALL {
            let key = PublicKey::new(suite, &vec![9; suite.public_key_length()]).unwrap();
            assert_eq!(key.suite(), suite);
            assert_eq!(key.to_string().parse(), Ok(key.clone()));
            let bytes = wire::encode(&key);
            assert_eq!(wire::decode(&bytes, WIRE_MAX), Ok(key));
        }
    }

    /// Length, suite number and the longest key.
    const WIRE_MAX: usize = 2 + 1 + PUBLIC_KEY_BYTES_MAX;

    #[test]
    fn every_suite_has_its_number_and_stays_within_the_maxima() {
        for suite in Suite::ALL {
            assert_eq!(Suite::from_number(suite.number()), Some(suite));
            assert!(suite.public_key_length() <= PUBLIC_KEY_BYTES_MAX);
            assert!(suite.signature_length() <= SIGNATURE_BYTES_MAX);
        }
        assert_eq!(Suite::from_number(6), None);
    }

    #[test]
    fn a_key_has_the_length_of_its_suite_and_no_other() {
        for suite in Suite::ALL {
            let expected = suite.public_key_length();
            for found in [
                0,
                31,
                33,
                expected - 1,
                expected + 1,
                3 * PUBLIC_KEY_BYTES_MAX,
            ] {
                let refused = PublicKey::new(suite, &vec![9; found]);
                assert_eq!(refused, Err(KeyError::Length { expected, found }));
                let bytes = wire::encode(&crate::Signature::new(
                    &[&[suite.number()][..], &vec![9; found]].concat(),
                ));
                assert!(wire::decode::<PublicKey>(&bytes, bytes.len()).is_err());
            }
        }
    }

    #[rstest]
    #[case::no_colon("ed25519", KeyError::Text)]
    #[case::suite("rsa:00", KeyError::UnknownSuite)]
    #[case::short("ed25519:00", KeyError::Text)]
    #[case::not_ascii("ed25519:éééééééééééééééééééééééééééééééé", KeyError::Text)]
    #[case::key_of_another_suite(
        "hybrid:0000000000000000000000000000000000000000000000000000000000000000",
        KeyError::Text
    )]
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
