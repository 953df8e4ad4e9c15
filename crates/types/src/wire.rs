//! The one encoding: postcard, made canonical.
//!
//! postcard by itself ignores trailing bytes and accepts over-long varints, so two texts can mean
//! one value. Decoding here takes a size limit, wants the input used up, and compares the
//! re-encoding, so a value has exactly one text.
//!
//! Signed and hashed bytes are never this encoding: they are fixed-layout preimages (see
//! `polity_crypto::Preimage`).

use alloc::vec::Vec;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Why bytes are not a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum DecodeError {
    /// Longer than the receiver takes.
    #[error("{length} bytes are more than the limit of {limit}")]
    TooLong {
        /// Length of the input in bytes.
        length: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// The bytes do not have the shape of the type.
    #[error("the bytes do not have the expected shape")]
    Malformed,
    /// A value, and then more.
    #[error("bytes follow the value")]
    Trailing,
    /// The value would be encoded with other bytes.
    #[error("the encoding is not canonical")]
    NotCanonical,
}

/// Encodes a value.
///
/// # Panics
///
/// If the type refuses to be serialized. Types of this workspace do not: they hold no maps with
/// keys that are not text and no fields whose serializer fails.
pub fn encode<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    // Room for a vote or a small record, so that most values take one allocation.
    let bytes = Vec::with_capacity(256);
    postcard::to_extend(value, bytes).expect("serialization into memory does not fail")
}

/// Length of the encoding in bytes, without making it.
pub fn encoded_len<T: Serialize + ?Sized>(value: &T) -> usize {
    postcard::serialize_with_flavor(value, Length(0)).expect("counting does not fail")
}

/// Decodes a value from exactly `bytes`, which are at most `limit` long.
pub fn decode<T: Serialize + DeserializeOwned>(
    bytes: &[u8],
    limit: usize,
) -> Result<T, DecodeError> {
    if bytes.len() > limit {
        return Err(DecodeError::TooLong {
            length: bytes.len(),
            limit,
        });
    }
    let (value, rest) =
        postcard::take_from_bytes::<T>(bytes).map_err(|_| DecodeError::Malformed)?;
    if !rest.is_empty() {
        return Err(DecodeError::Trailing);
    }
    // Compare while encoding: no second copy of a large message.
    let comparison = postcard::serialize_with_flavor(
        &value,
        Comparison {
            expected: bytes,
            is_equal: true,
        },
    );
    match comparison {
        Ok(true) => Ok(value),
        _ => Err(DecodeError::NotCanonical),
    }
}

/// A serializer output that counts instead of storing.
struct Length(usize);

impl postcard::ser_flavors::Flavor for Length {
    type Output = usize;

    fn try_extend(&mut self, data: &[u8]) -> postcard::Result<()> {
        self.0 += data.len();
        Ok(())
    }

    fn try_push(&mut self, _: u8) -> postcard::Result<()> {
        self.0 += 1;
        Ok(())
    }

    fn finalize(self) -> postcard::Result<usize> {
        Ok(self.0)
    }
}

/// A serializer output that compares instead of storing.
struct Comparison<'a> {
    expected: &'a [u8],
    is_equal: bool,
}

impl postcard::ser_flavors::Flavor for Comparison<'_> {
    type Output = bool;

    fn try_extend(&mut self, data: &[u8]) -> postcard::Result<()> {
        match self.expected.split_at_checked(data.len()) {
            Some((head, tail)) if head == data => self.expected = tail,
            _ => self.is_equal = false,
        }
        Ok(())
    }

    fn try_push(&mut self, data: u8) -> postcard::Result<()> {
        self.try_extend(&[data])
    }

    fn finalize(self) -> postcard::Result<bool> {
        Ok(self.is_equal && self.expected.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::String;
    use alloc::vec;
    use proptest::prelude::*;
    use rstest::rstest;

    type Sample = (u64, Vec<String>, Option<bool>);

    #[rstest]
    #[case::empty(&[], DecodeError::Malformed)]
    #[case::cut_short(&[5, 1, 3, b'a'], DecodeError::Malformed)]
    #[case::trailing(&[5, 0, 0, 0], DecodeError::Trailing)]
    #[case::long_varint(&[0x85, 0x00, 0, 0], DecodeError::NotCanonical)]
    #[case::huge_length(&[5, 0xff, 0xff, 0xff, 0xff, 0x0f], DecodeError::Malformed)]
    #[case::bad_option(&[5, 0, 2], DecodeError::Malformed)]
    #[case::too_long(&[0; 17], DecodeError::TooLong { length: 17, limit: 16 })]
    fn refuses(#[case] bytes: &[u8], #[case] expected: DecodeError) {
        assert_eq!(decode::<Sample>(bytes, 16), Err(expected));
    }

    #[test]
    fn accepts_at_the_limit() {
        let value: Sample = (300, vec!["ab".into()], Some(true));
        let bytes = encode(&value);
        assert_eq!(decode(&bytes, bytes.len()), Ok(value));
    }

    proptest! {
        #[test]
        fn a_value_has_one_text(bytes in prop::collection::vec(any::<u8>(), 0..24)) {
            if let Ok(value) = decode::<Sample>(&bytes, 64) {
                prop_assert_eq!(encode(&value), bytes);
            }
        }

        #[test]
        fn round_trips(value: Sample) {
            let bytes = encode(&value);
            prop_assert_eq!(encoded_len(&value), bytes.len());
            prop_assert_eq!(decode::<Sample>(&bytes, bytes.len()), Ok(value));
        }
    }
}
