//! Values of any type that can be read, drawn from a seed: a deserializer without a text behind it.
//!
//! A type asks for a number, a list or one of its variants, and gets some. So a new field or variant is
//! drawn without a word here. Types that check what they read may refuse; whoever draws draws again.

use polity_crypto::{PublicKey, Suite};
use polity_types::{Stream, wire};
use serde::de::value::{Error, U32Deserializer};
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error as _, Expected, IntoDeserializer as _,
    SeqAccess, VariantAccess, Visitor,
};
use std::sync::OnceLock;

/// Elements of a list, at most.
const ELEMENTS_MAX: u64 = 3;
/// Bytes of a byte string without a length of its own, at most.
const BYTES_MAX: u64 = 80;
/// Keys of each suite.
const KEYS: usize = 16;

/// Draws a value; an error is a value that the type refuses.
pub(crate) fn draw<T: serde::de::DeserializeOwned>(stream: &mut Stream) -> Result<T, Error> {
    T::deserialize(Drawn(stream))
}

struct Drawn<'a>(&'a mut Stream);

impl Drawn<'_> {
    /// A number of at most so many bits: short and long ones are as likely, because their encodings have
    /// different lengths.
    fn number(&mut self, bits: u32) -> u128 {
        let wide = u128::from(self.0.next_u64()) << 64 | u128::from(self.0.next_u64());
        let kept = self.0.below(u64::from(bits) + 1) as u32;
        wide.checked_shr(128 - kept).unwrap_or(0)
    }

    fn bytes(&mut self, length: u64) -> Vec<u8> {
        let mut bytes = vec![0; length as usize];
        self.0.fill(&mut bytes);
        bytes
    }

    fn text(&mut self, letters: &[u8], length_max: u64) -> String {
        let length = 1 + self.0.below(length_max);
        let mut letter = || letters[self.0.below(letters.len() as u64) as usize];
        (0..length).map(|_| char::from(letter())).collect()
    }
}

/// The wire forms of some keys: they are borrowed from what is read, so they have to stay.
fn keys() -> &'static [Vec<u8>] {
    static KEYS_DRAWN: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    KEYS_DRAWN.get_or_init(|| {
        let mut stream = polity_types::Seed::from_number(0).fork("keys").stream();
        let keys = Suite::ALL.into_iter().flat_map(|suite| [suite; KEYS]);
        keys.map(|suite| {
            let mut bytes = vec![0; suite.public_key_length()];
            stream.fill(&mut bytes);
            let key = PublicKey::new(suite, &bytes).expect("the length of the suite");
            // The list of bytes without its length.
            let (_, text) = wire::decode::<(u8, polity_crypto::Signature)>(
                &[vec![0], wire::encode(&key)].concat(),
                8_192,
            )
            .expect("a key is a byte string");
            text.as_slice().to_vec()
        })
        .collect()
    })
}

macro_rules! numbers {
    ($($method:ident $visit:ident $type:ty;)*) => {$(
        fn $method<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Error> {
            visitor.$visit(self.number(<$type>::BITS) as $type)
        }
    )*};
}

macro_rules! absent {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
            Err(Error::custom(concat!("nothing on the wire is read by ", stringify!($method))))
        }
    )*};
}

impl<'de> Deserializer<'de> for Drawn<'_> {
    type Error = Error;

    fn is_human_readable(&self) -> bool {
        false
    }

    numbers! {
        deserialize_u8 visit_u8 u8;
        deserialize_u16 visit_u16 u16;
        deserialize_u32 visit_u32 u32;
        deserialize_u64 visit_u64 u64;
        deserialize_u128 visit_u128 u128;
    }

    absent! {
        deserialize_any deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_f32
        deserialize_f64 deserialize_char deserialize_map deserialize_identifier deserialize_ignored_any
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_bool(self.0.below(2) == 1)
    }

    /// A checked text says what it expects.
    fn deserialize_str<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Error> {
        let text = match (&visitor as &dyn Expected).to_string().as_str() {
            "an address agent@platform" => {
                let agent = self.text(b"abcXYZ019!#$%&'*+-/=?^_`{|}~", 128);
                format!("{agent}@{}", self.text(b"abcxyz019-_.", 64))
            }
            "the name of a platform" => self.text(b"abcxyz019-_.", 64),
            _ => self.text(b"abc XYZ 019.", 64),
        };
        visitor.visit_string(text)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    /// A byte string of fixed length says so; what has to be borrowed is a key.
    fn deserialize_bytes<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Error> {
        let expected = (&visitor as &dyn Expected).to_string();
        if expected == "a borrowed byte array" {
            let keys = keys();
            return visitor.visit_borrowed_bytes(&keys[self.0.below(keys.len() as u64) as usize]);
        }
        let fixed = expected
            .strip_suffix(" bytes")
            .and_then(|length| length.parse().ok());
        let length = fixed.unwrap_or_else(|| self.0.below(BYTES_MAX + 1));
        let bytes = self.bytes(length);
        visitor.visit_byte_buf(bytes)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.0.below(2) == 0 {
            visitor.visit_none()
        } else {
            visitor.visit_some(self)
        }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let length = self.0.below(ELEMENTS_MAX + 1) as usize;
        self.deserialize_tuple(length, visitor)
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_seq(Elements(self.0, length))
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_tuple(length, visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_tuple(fields.len(), visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let variant = self.0.below(variants.len() as u64) as u32;
        visitor.visit_enum(Variant(self.0, variant))
    }
}

struct Elements<'a>(&'a mut Stream, usize);

impl<'de> SeqAccess<'de> for Elements<'_> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Error> {
        let Some(rest) = self.1.checked_sub(1) else {
            return Ok(None);
        };
        self.1 = rest;
        seed.deserialize(Drawn(self.0)).map(Some)
    }
}

struct Variant<'a>(&'a mut Stream, u32);

impl<'de, 'a> EnumAccess<'de> for Variant<'a> {
    type Error = Error;
    type Variant = Drawn<'a>;

    fn variant_seed<T: DeserializeSeed<'de>>(
        self,
        seed: T,
    ) -> Result<(T::Value, Drawn<'a>), Error> {
        let number: U32Deserializer<Error> = self.1.into_deserializer();
        Ok((seed.deserialize(number)?, Drawn(self.0)))
    }
}

impl<'de> VariantAccess<'de> for Drawn<'_> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Error> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_tuple(length, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_tuple(fields.len(), visitor)
    }
}
