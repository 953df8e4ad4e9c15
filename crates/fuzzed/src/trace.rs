//! The encoding, written a second time: it shares no code with postcard, and notes what each byte is.
//!
//! So it says whether the encoder does what the format promises, and where a text can be written
//! differently without another meaning.

use serde::ser::{self, Serialize};
use std::fmt;

/// What starts at a place of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    /// A number in groups of seven bits.
    Varint,
    /// The length of a list or of bytes, in groups of seven bits.
    Length,
    /// 0 or 1: a truth value, or whether something is there.
    Flag,
}

/// A token of a text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) token: Token,
    /// Its first byte.
    pub(crate) at: usize,
    /// The byte behind its last one.
    pub(crate) end: usize,
}

/// Encodes a value, and lists its tokens.
pub(crate) fn trace<T: Serialize + ?Sized>(value: &T) -> (Vec<u8>, Vec<Place>) {
    let mut tracer = Tracer::default();
    value
        .serialize(&mut tracer)
        .expect("every type of the wire can be traced");
    (tracer.bytes, tracer.places)
}

#[derive(Default)]
struct Tracer {
    bytes: Vec<u8>,
    places: Vec<Place>,
}

impl Tracer {
    fn put(&mut self, token: Token, bytes: &[u8]) {
        let at = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        let end = self.bytes.len();
        self.places.push(Place { token, at, end });
    }

    fn number(&mut self, token: Token, mut number: u128) {
        let mut groups = Vec::new();
        while number >= 0x80 {
            groups.push((number & 0x7f) as u8 | 0x80);
            number >>= 7;
        }
        groups.push(number as u8);
        self.put(token, &groups);
    }

    fn signed(&mut self, number: i64) {
        let folded = (number.wrapping_shl(1) ^ (number >> 63)).cast_unsigned();
        self.number(Token::Varint, u128::from(folded));
    }
}

/// A type that the wire does not have.
#[derive(Debug)]
pub(crate) struct Foreign(String);

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Foreign {}

impl ser::Error for Foreign {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

type Done = Result<(), Foreign>;

impl ser::Serializer for &mut Tracer {
    type Ok = ();
    type Error = Foreign;
    type SerializeSeq = Self;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Self;
    type SerializeTupleVariant = Self;
    type SerializeMap = Self;
    type SerializeStruct = Self;
    type SerializeStructVariant = Self;

    fn is_human_readable(&self) -> bool {
        false
    }

    fn serialize_bool(self, value: bool) -> Done {
        self.put(Token::Flag, &[u8::from(value)]);
        Ok(())
    }

    fn serialize_u8(self, value: u8) -> Done {
        self.bytes.push(value);
        Ok(())
    }

    fn serialize_i8(self, value: i8) -> Done {
        self.serialize_u8(value.cast_unsigned())
    }

    fn serialize_u16(self, value: u16) -> Done {
        self.serialize_u128(value.into())
    }

    fn serialize_u32(self, value: u32) -> Done {
        self.serialize_u128(value.into())
    }

    fn serialize_u64(self, value: u64) -> Done {
        self.serialize_u128(value.into())
    }

    fn serialize_u128(self, value: u128) -> Done {
        self.number(Token::Varint, value);
        Ok(())
    }

    fn serialize_i16(self, value: i16) -> Done {
        self.serialize_i64(value.into())
    }

    fn serialize_i32(self, value: i32) -> Done {
        self.serialize_i64(value.into())
    }

    fn serialize_i64(self, value: i64) -> Done {
        self.signed(value);
        Ok(())
    }

    fn serialize_f32(self, _: f32) -> Done {
        Err(ser::Error::custom("no fractions"))
    }

    fn serialize_f64(self, _: f64) -> Done {
        Err(ser::Error::custom("no fractions"))
    }

    fn serialize_char(self, value: char) -> Done {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, value: &str) -> Done {
        self.serialize_bytes(value.as_bytes())
    }

    fn serialize_bytes(self, value: &[u8]) -> Done {
        self.number(Token::Length, value.len() as u128);
        self.bytes.extend_from_slice(value);
        Ok(())
    }

    fn serialize_none(self) -> Done {
        self.put(Token::Flag, &[0]);
        Ok(())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Done {
        self.put(Token::Flag, &[1]);
        value.serialize(self)
    }

    fn serialize_unit(self) -> Done {
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Done {
        Ok(())
    }

    fn serialize_unit_variant(self, _: &'static str, index: u32, _: &'static str) -> Done {
        self.serialize_u32(index)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Done {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        index: u32,
        _: &'static str,
        value: &T,
    ) -> Done {
        self.serialize_u32(index)?;
        value.serialize(self)
    }

    fn serialize_seq(self, length: Option<usize>) -> Result<Self, Foreign> {
        let length = length.ok_or_else(|| ser::Error::custom("a list knows its length"))?;
        self.number(Token::Length, length as u128);
        Ok(self)
    }

    fn serialize_tuple(self, _: usize) -> Result<Self, Foreign> {
        Ok(self)
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self, Foreign> {
        Ok(self)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        index: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self, Foreign> {
        self.serialize_u32(index)?;
        Ok(self)
    }

    fn serialize_map(self, length: Option<usize>) -> Result<Self, Foreign> {
        self.serialize_seq(length)
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self, Foreign> {
        Ok(self)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        index: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self, Foreign> {
        self.serialize_u32(index)?;
        Ok(self)
    }
}

/// The parts of a compound stand one after the other.
macro_rules! compound {
    ($($name:ident $method:ident ($($key:ty)?);)*) => {$(
        impl ser::$name for &mut Tracer {
            type Ok = ();
            type Error = Foreign;

            fn $method<T: Serialize + ?Sized>(&mut self, $(_: $key,)? value: &T) -> Done {
                value.serialize(&mut **self)
            }

            fn end(self) -> Done {
                Ok(())
            }
        }
    )*};
}

compound! {
    SerializeSeq serialize_element ();
    SerializeTuple serialize_element ();
    SerializeTupleStruct serialize_field ();
    SerializeTupleVariant serialize_field ();
    SerializeStruct serialize_field (&'static str);
    SerializeStructVariant serialize_field (&'static str);
}

impl ser::SerializeMap for &mut Tracer {
    type Ok = ();
    type Error = Foreign;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Done {
        key.serialize(&mut **self)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Done {
        value.serialize(&mut **self)
    }

    fn end(self) -> Done {
        Ok(())
    }
}
