//! Encodes into a sink.

use core::fmt;

use serde::ser::{self, SerializeStruct, SerializeTuple};
use serde::{Serialize, Serializer};

use super::types::{LIST, TRAILING};
use super::{Error, Sink};

impl ser::Error for Error {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self::Unsupported
    }
}

pub(super) struct Encoder<'s, S> {
    pub(super) sink: &'s mut S,
    pub(super) inside: Inside,
}

/// What the encoder is writing: some newtypes have a form of their own.
#[derive(PartialEq)]
pub(super) enum Inside {
    Record,
    /// Count and elements: the bytes have no length of their own.
    List,
    /// An absent value leaves no bytes.
    Trailing,
}

impl<S: Sink> Encoder<'_, S> {
    fn nullable(&mut self, bytes: Option<&[u8]>) -> Result<(), Error> {
        let Some(bytes) = bytes else { return Ok(self.sink.put(&(-1i32).to_be_bytes())?) };
        let len = i32::try_from(bytes.len()).map_err(|_| Error::Length)?;
        self.sink.put(&len.to_be_bytes())?;
        Ok(self.sink.put(bytes)?)
    }

    fn with<T: Serialize + ?Sized>(&mut self, inside: Inside, value: &T) -> Result<(), Error> {
        let outside = core::mem::replace(&mut self.inside, inside);
        let result = value.serialize(&mut *self);
        self.inside = outside;
        result
    }
}

macro_rules! no_jute {
    ($($name:ident: $t:ty),*) => {
        $(fn $name(self, _: $t) -> Result<(), Error> { Err(Error::Unsupported) })*
    };
}

impl<S: Sink> Serializer for &mut Encoder<'_, S> {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = ser::Impossible<(), Error>;
    type SerializeTuple = Self;
    type SerializeTupleStruct = ser::Impossible<(), Error>;
    type SerializeTupleVariant = ser::Impossible<(), Error>;
    type SerializeMap = ser::Impossible<(), Error>;
    type SerializeStruct = Self;
    type SerializeStructVariant = ser::Impossible<(), Error>;

    fn is_human_readable(&self) -> bool {
        false
    }

    no_jute!(serialize_i8: i8, serialize_i16: i16, serialize_u16: u16, serialize_u32: u32,
             serialize_u64: u64, serialize_f32: f32, serialize_f64: f64, serialize_char: char);

    fn serialize_bool(self, v: bool) -> Result<(), Error> {
        Ok(self.sink.put(&[u8::from(v)])?)
    }

    fn serialize_u8(self, v: u8) -> Result<(), Error> {
        Ok(self.sink.put(&[v])?)
    }

    fn serialize_i32(self, v: i32) -> Result<(), Error> {
        Ok(self.sink.put(&v.to_be_bytes())?)
    }

    fn serialize_i64(self, v: i64) -> Result<(), Error> {
        Ok(self.sink.put(&v.to_be_bytes())?)
    }

    fn serialize_str(self, v: &str) -> Result<(), Error> {
        self.nullable(Some(v.as_bytes()))
    }

    fn serialize_bytes(self, v: &[u8]) -> Result<(), Error> {
        if self.inside == Inside::List { Ok(self.sink.put(v)?) } else { self.nullable(Some(v)) }
    }

    fn serialize_none(self) -> Result<(), Error> {
        if self.inside == Inside::Trailing { Ok(()) } else { self.nullable(None) }
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Error> {
        self.with(Inside::Record, value)
    }

    fn serialize_unit(self) -> Result<(), Error> {
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Error> {
        Ok(())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        let inside = match name {
            LIST => Inside::List,
            TRAILING => Inside::Trailing,
            _ => Inside::Record,
        };
        self.with(inside, value)
    }

    fn serialize_tuple(self, _: usize) -> Result<Self, Error> {
        Ok(self)
    }

    fn serialize_tuple_struct(
        self,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleStruct, Error> {
        Err(Error::Unsupported)
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self, Error> {
        Ok(self)
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, _: &'static str) -> Result<(), Error> {
        Err(Error::Unsupported)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<(), Error> {
        Err(Error::Unsupported)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Self::SerializeSeq, Error> {
        Err(Error::Unsupported)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, Error> {
        Err(Error::Unsupported)
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self::SerializeMap, Error> {
        Err(Error::Unsupported)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, Error> {
        Err(Error::Unsupported)
    }

    fn collect_str<T: fmt::Display + ?Sized>(self, _: &T) -> Result<(), Error> {
        Err(Error::Unsupported)
    }
}

impl<S: Sink> SerializeStruct for &mut Encoder<'_, S> {
    type Ok = ();
    type Error = Error;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        _: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        value.serialize(&mut **self)
    }

    fn end(self) -> Result<(), Error> {
        Ok(())
    }
}

impl<S: Sink> SerializeTuple for &mut Encoder<'_, S> {
    type Ok = ();
    type Error = Error;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        value.serialize(&mut **self)
    }

    fn end(self) -> Result<(), Error> {
        Ok(())
    }
}
