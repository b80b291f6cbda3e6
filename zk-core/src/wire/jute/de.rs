//! Decodes from a reader.

use core::fmt;

use serde::Deserializer;
use serde::de::{self, DeserializeSeed, SeqAccess, Visitor};

use super::types::{LIST, NULLABLE, REST, TRAILING};
use super::{Error, Reader};

impl de::Error for Error {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self::Unsupported
    }

    fn invalid_length(_: usize, _: &dyn de::Expected) -> Self {
        Self::Truncated
    }
}

pub(super) struct Decoder<'r, 'de> {
    pub(super) reader: &'r mut Reader<'de>,
}

impl<'de> Deserializer<'de> for &mut Decoder<'_, 'de> {
    type Error = Error;

    fn is_human_readable(&self) -> bool {
        false
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(Error::Unsupported)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_bool(self.reader.array::<1>()? != [0])
    }

    fn deserialize_u8<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_u8(self.reader.array::<1>()?[0])
    }

    fn deserialize_i32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_i32(self.reader.i32()?)
    }

    fn deserialize_i64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_i64(self.reader.i64()?)
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
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        match name {
            NULLABLE => match self.reader.nullable()? {
                None => visitor.visit_none(),
                Some(bytes) => visitor.visit_borrowed_bytes(bytes),
            },
            LIST => visitor.visit_seq(Fields { decoder: self, left: usize::MAX }),
            REST => visitor.visit_borrowed_bytes(self.reader.rest()),
            TRAILING if self.reader.rest().is_empty() => visitor.visit_none(),
            TRAILING => visitor.visit_some(self),
            _ => visitor.visit_newtype_struct(self),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_seq(Fields { decoder: self, left: len })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_tuple(fields.len(), visitor)
    }

    serde::forward_to_deserialize_any! {
        i8 i16 u16 u32 u64 f32 f64 char str string bytes byte_buf option seq map
        tuple_struct enum identifier ignored_any
    }
}

struct Fields<'d, 'r, 'de> {
    decoder: &'d mut Decoder<'r, 'de>,
    left: usize,
}

impl<'de> SeqAccess<'de> for Fields<'_, '_, 'de> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Error> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        seed.deserialize(&mut *self.decoder).map(Some)
    }
}
