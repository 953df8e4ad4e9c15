//! Fixed-size byte strings: hexadecimal for people, raw bytes on the wire.

use core::fmt;

/// Why a hexadecimal text is not the expected byte string.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HexError {
    /// The text has the wrong number of digits.
    #[error("expected {expected} hexadecimal digits, found {found}")]
    Length {
        /// Digits that the type needs.
        expected: usize,
        /// Digits that were given.
        found: usize,
    },
    /// A character is no lower-case hexadecimal digit.
    #[error("character {position} is not one of 0-9 a-f")]
    Digit {
        /// Zero-based position of the character.
        position: usize,
    },
}

/// Writes `bytes` as lower-case hexadecimal digits.
pub fn write_hex(bytes: &[u8], out: &mut impl fmt::Write) -> fmt::Result {
    for byte in bytes {
        write!(out, "{byte:02x}")?;
    }
    Ok(())
}

/// Serde form of byte strings of any length: lower-case hexadecimal for people, raw bytes on the
/// wire. For fields: `#[serde(with = "polity_types::hex_bytes")]`.
pub mod hex_bytes {
    use super::{HexError, nibble, write_hex};
    use alloc::borrow::Cow;
    use alloc::string::String;
    use alloc::vec::Vec;
    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serializer};

    /// Serializes the bytes.
    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        if !serializer.is_human_readable() {
            return serializer.serialize_bytes(bytes);
        }
        let mut text = String::with_capacity(bytes.len() * 2);
        write_hex(bytes, &mut text).map_err(serde::ser::Error::custom)?;
        serializer.serialize_str(&text)
    }

    /// Deserializes bytes of any length.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        if !deserializer.is_human_readable() {
            return serde_bytes::deserialize(deserializer);
        }
        let text = Cow::<str>::deserialize(deserializer)?;
        let digits = text.as_bytes();
        if !digits.len().is_multiple_of(2) {
            let error = HexError::Length {
                expected: digits.len() + 1,
                found: digits.len(),
            };
            return Err(D::Error::custom(error));
        }
        (0..digits.len())
            .step_by(2)
            .map(|at| Ok(nibble(digits, at)? << 4 | nibble(digits, at + 1)?))
            .collect::<Result<_, HexError>>()
            .map_err(D::Error::custom)
    }
}

/// Reads exactly `N` bytes of lower-case hexadecimal.
///
/// Upper case is refused: one value has one text.
pub fn decode_hex<const N: usize>(text: &str) -> Result<[u8; N], HexError> {
    let digits = text.as_bytes();
    if digits.len() != N * 2 {
        return Err(HexError::Length {
            expected: N * 2,
            found: digits.len(),
        });
    }
    let mut out = [0; N];
    for (index, byte) in out.iter_mut().enumerate() {
        let high = nibble(digits, index * 2)?;
        let low = nibble(digits, index * 2 + 1)?;
        *byte = high << 4 | low;
    }
    Ok(out)
}

fn nibble(digits: &[u8], position: usize) -> Result<u8, HexError> {
    match digits[position] {
        digit @ b'0'..=b'9' => Ok(digit - b'0'),
        digit @ b'a'..=b'f' => Ok(digit - b'a' + 10),
        _ => Err(HexError::Digit { position }),
    }
}

/// Defines a newtype over `[u8; N]` with hexadecimal text and raw-bytes wire form.
///
/// Human-readable formats (JSON, TOML) see lower-case hexadecimal, binary formats a byte string.
#[macro_export]
macro_rules! byte_string {
    ($(#[$meta:meta])* $name:ident, $length:literal) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; $length]);

        impl $name {
            /// Length in bytes.
            pub const LENGTH: usize = $length;
            /// All bytes zero: the value that stands for "none" in fixed layouts.
            pub const ZERO: Self = Self([0; $length]);

            /// Wraps the bytes.
            pub const fn new(bytes: [u8; $length]) -> Self {
                Self(bytes)
            }

            /// The bytes.
            pub const fn as_bytes(&self) -> &[u8; $length] {
                &self.0
            }
        }

        impl ::core::fmt::Display for $name {
            fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                $crate::write_hex(&self.0, f)
            }
        }

        impl ::core::fmt::Debug for $name {
            fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                write!(f, "{}(", stringify!($name))?;
                $crate::write_hex(&self.0[..$length.min(6)], f)?;
                f.write_str("..)")
            }
        }

        impl ::core::str::FromStr for $name {
            type Err = $crate::HexError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                $crate::decode_hex(text).map(Self)
            }
        }

        impl ::serde::Serialize for $name {
            fn serialize<S: ::serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() {
                    serializer.collect_str(self)
                } else {
                    serializer.serialize_bytes(&self.0)
                }
            }
        }

        impl<'de> ::serde::Deserialize<'de> for $name {
            fn deserialize<D: ::serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Visitor;
                impl ::serde::de::Visitor<'_> for Visitor {
                    type Value = $name;

                    fn expecting(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                        write!(f, "{} bytes", $length)
                    }

                    fn visit_str<E: ::serde::de::Error>(self, text: &str) -> Result<$name, E> {
                        text.parse().map_err(E::custom)
                    }

                    fn visit_bytes<E: ::serde::de::Error>(self, bytes: &[u8]) -> Result<$name, E> {
                        bytes
                            .try_into()
                            .map($name)
                            .map_err(|_| E::invalid_length(bytes.len(), &self))
                    }
                }
                if deserializer.is_human_readable() {
                    deserializer.deserialize_str(Visitor)
                } else {
                    deserializer.deserialize_bytes(Visitor)
                }
            }
        }
    };
}

byte_string!(
    /// Names one chain: `BLAKE3("polity/chain/v1" ‖ 00 ‖ genesis_id ‖ fork_id)`.
    ///
    /// Forks of one genesis have different ids, so they never share a signature.
    ChainId, 32
);

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn text_form_round_trips_and_has_one_spelling() {
        let id = ChainId::new([0xab; 32]);
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(
            id.to_string().to_uppercase().parse::<ChainId>(),
            Err(HexError::Digit { position: 0 })
        );
        assert_eq!(
            "ab".parse::<ChainId>(),
            Err(HexError::Length {
                expected: 64,
                found: 2
            })
        );
    }

    #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    struct Sample(#[serde(with = "hex_bytes")] alloc::vec::Vec<u8>);

    #[test]
    fn byte_strings_are_hexadecimal_for_people_and_raw_on_the_wire() {
        let sample = Sample(alloc::vec![0, 0xab, 0xff]);
        let json = serde_json::to_string(&sample).unwrap();
        assert_eq!(json, "\"00abff\"");
        assert_eq!(serde_json::from_str::<Sample>(&json).unwrap(), sample);
        assert_eq!(crate::wire::encode(&sample), [3, 0, 0xab, 0xff]);
        assert_eq!(crate::wire::decode(&[3, 0, 0xab, 0xff], 9), Ok(sample));
        for bad in ["\"0\"", "\"0g\"", "\"AB\"", "[1,2]", "7"] {
            assert!(serde_json::from_str::<Sample>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn wire_form_refuses_other_lengths() {
        let id = ChainId::new([7; 32]);
        let bytes = crate::wire::encode(&id);
        assert_eq!(bytes.len(), 33);
        assert_eq!(crate::wire::decode::<ChainId>(&bytes, 33), Ok(id));
        let mut short = bytes[..32].to_vec();
        short[0] = 31;
        assert!(crate::wire::decode::<ChainId>(&short, 33).is_err());
    }
}
