//! Jute, ZooKeeper's encoding, as a serde data format.
//!
//! | type | bytes |
//! |---|---|
//! | `bool`, `u8` | 1 (any non-zero byte reads as `true`, as Java's `readBoolean`) |
//! | `i32`, `i64` | 4, 8, big-endian |
//! | [`Ustring`], [`Buffer`] | `i32` length and that many bytes; null is length -1 |
//! | [`List`] | `i32` count and the elements; null is count -1; counts below -1 read as empty |
//! | struct, tuple | its fields, nothing between them |
//! | trailing fields the writer may have left out | [`Trailing`] |
//!
//! There are no tags and no framing. Decoding borrows from the input and allocates nothing; every
//! length is checked against the bytes that are there, so work and memory are bounded by the
//! input. Answers to `org.apache.jute.BinaryInputArchive` and `BinaryOutputArchive`.

use core::fmt;
use core::marker::PhantomData;

use serde::de::{self, DeserializeSeed, SeqAccess, Visitor};
use serde::ser::{self, SerializeStruct, SerializeTuple};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::memory::Full;
pub use crate::memory::Sink;

/// Why bytes were not the record they should have been, or a record did not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The input ends inside the record.
    Truncated,
    /// A length that no reader may accept (negative, or above the limit).
    Length,
    /// The output has no room for the record.
    Full,
    /// The type has no Jute form.
    Unsupported,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Truncated => "the input ends inside the record",
            Self::Length => "unreasonable length",
            Self::Full => "the output has no room for the record",
            Self::Unsupported => "the type has no Jute form",
        })
    }
}

impl core::error::Error for Error {}

impl From<Full> for Error {
    fn from(_: Full) -> Self {
        Self::Full
    }
}

impl de::Error for Error {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self::Unsupported
    }

    fn invalid_length(_: usize, _: &dyn de::Expected) -> Self {
        Self::Truncated
    }
}

impl ser::Error for Error {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self::Unsupported
    }
}

/// A sink that fills a slice.
#[derive(Debug)]
pub struct Slice<'b> {
    bytes: &'b mut [u8],
    len: usize,
}

impl<'b> Slice<'b> {
    /// Fills `bytes` from its start.
    pub fn new(bytes: &'b mut [u8]) -> Self {
        Self { bytes, len: 0 }
    }

    /// Bytes written so far.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing was written yet.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What was written.
    pub fn written(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    /// Drops what was written behind the first `len` bytes.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Overwrites four bytes at `at` that were written before (a length known only afterwards).
    /// Does nothing if they were not.
    pub fn patch(&mut self, at: usize, value: i32) {
        if let Some(place) = self.bytes.get_mut(at..at.wrapping_add(4)) {
            place.copy_from_slice(&value.to_be_bytes());
        }
    }
}

impl Sink for Slice<'_> {
    fn put(&mut self, bytes: &[u8]) -> Result<(), Full> {
        let end = self.len.checked_add(bytes.len()).ok_or(Full)?;
        self.bytes.get_mut(self.len..end).ok_or(Full)?.copy_from_slice(bytes);
        self.len = end;
        Ok(())
    }
}

/// A sink that only counts.
#[derive(Debug, Default)]
pub struct Count(pub usize);

impl Sink for Count {
    fn put(&mut self, bytes: &[u8]) -> Result<(), Full> {
        self.0 = self.0.saturating_add(bytes.len());
        Ok(())
    }
}

/// Encodes `value` into `out`, and returns the length.
///
/// # Errors
/// [`Error::Full`] when `out` is too small.
pub fn encode<T: Serialize + ?Sized>(value: &T, out: &mut [u8]) -> Result<usize, Error> {
    let mut slice = Slice::new(out);
    write(value, &mut slice)?;
    Ok(slice.len())
}

/// Appends the encoding of `value` to `sink`.
///
/// # Errors
/// What the sink answers.
pub fn write<T: Serialize + ?Sized, S: Sink>(value: &T, sink: &mut S) -> Result<(), Error> {
    value.serialize(&mut Encoder { sink, inside: Inside::Record })
}

/// The number of bytes that [`encode`] would write.
pub fn size<T: Serialize + ?Sized>(value: &T) -> usize {
    let mut count = Count(0);
    match write(value, &mut count) {
        Ok(()) => count.0,
        // A count is never full; a type without a Jute form has no size.
        Err(_) => usize::MAX,
    }
}

/// Decodes a `T` from the start of `bytes`; bytes behind it are ignored, as Apache does with the
/// rest of a frame.
///
/// # Errors
/// [`Error::Truncated`] or [`Error::Length`].
pub fn decode<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, Error> {
    Reader::new(bytes).read()
}

/// Decodes one record after the other from a slice.
#[derive(Clone, Debug)]
pub struct Reader<'de> {
    rest: &'de [u8],
}

impl<'de> Reader<'de> {
    /// Starts at the first of `bytes`.
    pub fn new(bytes: &'de [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What was not read yet.
    pub fn rest(&self) -> &'de [u8] {
        self.rest
    }

    /// Reads the next record.
    ///
    /// # Errors
    /// [`Error::Truncated`] or [`Error::Length`]; the reader then stands somewhere inside it.
    pub fn read<T: Deserialize<'de>>(&mut self) -> Result<T, Error> {
        T::deserialize(&mut Decoder { reader: self })
    }

    /// Takes `n` bytes as they are.
    ///
    /// # Errors
    /// [`Error::Truncated`] when there are fewer.
    pub fn take(&mut self, n: usize) -> Result<&'de [u8], Error> {
        let (head, rest) = self.rest.split_at_checked(n).ok_or(Error::Truncated)?;
        self.rest = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or(Error::Truncated)?;
        self.rest = rest;
        Ok(*head)
    }

    /// Reads an `i32`.
    ///
    /// # Errors
    /// [`Error::Truncated`].
    pub fn i32(&mut self) -> Result<i32, Error> {
        self.array().map(i32::from_be_bytes)
    }

    /// Reads an `i64`.
    ///
    /// # Errors
    /// [`Error::Truncated`].
    pub fn i64(&mut self) -> Result<i64, Error> {
        self.array().map(i64::from_be_bytes)
    }

    /// Reads a length and that many bytes; `None` is null.
    fn nullable(&mut self) -> Result<Option<&'de [u8]>, Error> {
        match self.i32()? {
            -1 => Ok(None),
            n => self.take(usize::try_from(n).map_err(|_| Error::Length)?).map(Some),
        }
    }
}

// Names by which the types below make themselves known to this format. Any other serde format
// sees an ordinary newtype around ordinary bytes.
const NULLABLE: &str = "jute::Nullable";
const LIST: &str = "jute::List";
const TRAILING: &str = "jute::Trailing";
const REST: &str = "jute::Rest";

macro_rules! nullable_bytes {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name<'a>(pub Option<&'a [u8]>);

        impl<'a> $name<'a> {
            /// The null form (length -1).
            pub const NULL: Self = Self(None);

            /// These bytes, not null.
            pub const fn new(bytes: &'a [u8]) -> Self {
                Self(Some(bytes))
            }

            /// The bytes; none for null.
            pub fn bytes(&self) -> &'a [u8] {
                self.0.unwrap_or_default()
            }
        }

        impl<'a> From<&'a [u8]> for $name<'a> {
            fn from(bytes: &'a [u8]) -> Self {
                Self(Some(bytes))
            }
        }

        impl<'a> From<&'a str> for $name<'a> {
            fn from(text: &'a str) -> Self {
                Self(Some(text.as_bytes()))
            }
        }

        impl Serialize for $name<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_newtype_struct(NULLABLE, &Nullable(self.0))
            }
        }

        impl<'de: 'a, 'a> Deserialize<'de> for $name<'a> {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_newtype_struct(NULLABLE, NullableVisitor).map(Self)
            }
        }
    };
}

nullable_bytes! {
    /// A `buffer`: bytes, or null.
    Buffer
}

nullable_bytes! {
    /// A `ustring`: text, or null.
    ///
    /// Held as bytes: Apache's reader replaces malformed UTF-8 instead of refusing it, so a
    /// malformed path must decode, and then be refused as a path or simply not be found.
    Ustring
}

impl<'a> Ustring<'a> {
    /// The text; `None` for null and for what is not UTF-8.
    pub fn as_str(&self) -> Option<&'a str> {
        core::str::from_utf8(self.0?).ok()
    }
}

impl fmt::Debug for Ustring<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0, self.as_str()) {
            (_, Some(text)) => fmt::Debug::fmt(text, f),
            (Some(bytes), None) => fmt::Debug::fmt(bytes, f),
            (None, None) => f.write_str("null"),
        }
    }
}

impl fmt::Debug for Buffer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(bytes) = self.0 else { return f.write_str("null") };
        f.write_str("x'")?;
        for byte in bytes {
            write!(f, "{byte:02x}")?;
        }
        f.write_str("'")
    }
}

/// The inside of the two types above: an optional byte string in any serde format.
struct Nullable<'a>(Option<&'a [u8]>);

struct RawBytes<'a>(&'a [u8]);

impl Serialize for RawBytes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

impl Serialize for Nullable<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            None => serializer.serialize_none(),
            Some(bytes) => serializer.serialize_some(&RawBytes(bytes)),
        }
    }
}

struct NullableVisitor;

impl<'de> Visitor<'de> for NullableVisitor {
    type Value = Option<&'de [u8]>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes or null")
    }

    fn visit_none<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_borrowed_bytes<E: de::Error>(self, bytes: &'de [u8]) -> Result<Self::Value, E> {
        Ok(Some(bytes))
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, d: D) -> Result<Self::Value, D::Error> {
        Option::<&'de [u8]>::deserialize(d)
    }
}

/// A `vector<T>`, left encoded: decoded element by element when iterated, so that a list of any
/// length costs nothing to hold. Null (count -1) and the empty list differ on the wire only.
pub struct List<'a, T> {
    count: i32,
    raw: &'a [u8],
    of: PhantomData<fn() -> T>,
}

impl<T> Clone for List<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for List<'_, T> {}

impl<T> Default for List<'_, T> {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl<T> PartialEq for List<'_, T> {
    fn eq(&self, other: &Self) -> bool {
        self.count == other.count && self.raw == other.raw
    }
}

impl<T> Eq for List<'_, T> {}

impl<T> List<'_, T> {
    /// No elements (count 0).
    pub const EMPTY: Self = Self { count: 0, raw: &[], of: PhantomData };
    /// The null list (count -1).
    pub const NULL: Self = Self { count: -1, raw: &[], of: PhantomData };
}

impl<'a, T> List<'a, T> {
    /// Encodes `items` into `out`, and returns the list that lies there.
    ///
    /// # Errors
    /// [`Error::Full`] when `out` is too small.
    pub fn encode(items: &[T], out: &'a mut [u8]) -> Result<Self, Error>
    where
        T: Serialize,
    {
        let mut slice = Slice::new(out);
        for item in items {
            write(item, &mut slice)?;
        }
        let Slice { bytes, len } = slice;
        let count = i32::try_from(items.len()).map_err(|_| Error::Length)?;
        Ok(Self { count, raw: bytes.get(..len).unwrap_or_default(), of: PhantomData })
    }

    /// A list of `count` elements whose encodings are `raw`. The caller vouches that they are:
    /// iteration ends early if not.
    pub fn from_raw(count: i32, raw: &'a [u8]) -> Self {
        Self { count, raw, of: PhantomData }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        usize::try_from(self.count).unwrap_or(0)
    }

    /// Whether there are no elements (or no list).
    pub fn is_empty(&self) -> bool {
        self.count <= 0
    }

    /// Whether the list is null.
    pub fn is_null(&self) -> bool {
        self.count == -1
    }

    /// The encoded elements, one after the other.
    pub fn raw(&self) -> &'a [u8] {
        self.raw
    }

    /// Decodes the elements in order.
    pub fn iter(&self) -> Iter<'a, T> {
        Iter { left: self.len(), reader: Reader::new(self.raw), of: PhantomData }
    }
}

impl<'a, T: Deserialize<'a>> IntoIterator for List<'a, T> {
    type Item = T;
    type IntoIter = Iter<'a, T>;

    fn into_iter(self) -> Iter<'a, T> {
        self.iter()
    }
}

impl<'a, T: Deserialize<'a> + fmt::Debug> fmt::Debug for List<'a, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// The elements of a [`List`].
#[derive(Clone, Debug)]
pub struct Iter<'a, T> {
    left: usize,
    reader: Reader<'a>,
    of: PhantomData<fn() -> T>,
}

impl<'a, T: Deserialize<'a>> Iterator for Iter<'a, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.left = self.left.checked_sub(1)?;
        // The elements were checked when the list was read; `None` ends a list made by hand.
        self.reader.read().ok()
    }
}

impl<'a, T: Serialize + Deserialize<'a>> Serialize for List<'a, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_newtype_struct(LIST, &(self.count, RawBytes(self.raw)))
    }
}

impl<'de: 'a, 'a, T: Deserialize<'de>> Deserialize<'de> for List<'a, T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(LIST, ListVisitor(PhantomData))
    }
}

struct ListVisitor<'a, T>(PhantomData<fn() -> List<'a, T>>);

impl<'de: 'a, 'a, T: Deserialize<'de>> Visitor<'de> for ListVisitor<'a, T> {
    type Value = List<'a, T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    // Jute: count, then elements, each decoded once so that their end is known.
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let missing = || de::Error::custom("");
        let count: i32 = seq.next_element()?.ok_or_else(missing)?;
        let Rest(from) = seq.next_element()?.ok_or_else(missing)?;
        // Every element has at least a byte, so a short input cannot claim endless work.
        if usize::try_from(count).unwrap_or(0) > from.len() {
            return Err(de::Error::invalid_length(from.len(), &self));
        }
        for _ in 0..count {
            let _: T = seq.next_element()?.ok_or_else(missing)?;
        }
        let Rest(to) = seq.next_element()?.ok_or_else(missing)?;
        let raw = from.get(..from.len() - to.len()).unwrap_or_default();
        Ok(List { count: count.max(-1), raw, of: PhantomData })
    }

    // Any other format: the count and the encoded elements.
    fn visit_newtype_struct<D: Deserializer<'de>>(self, d: D) -> Result<Self::Value, D::Error> {
        let (count, raw) = <(i32, &'de [u8])>::deserialize(d)?;
        Ok(List { count, raw, of: PhantomData })
    }
}

/// The rest of the input, read without consuming it.
struct Rest<'a>(&'a [u8]);

impl<'de: 'a, 'a> Deserialize<'de> for Rest<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer
            .deserialize_newtype_struct(REST, NullableVisitor)
            .map(|r| Self(r.unwrap_or_default()))
    }
}

/// A last field that older writers leave out: absent when the input ends before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Trailing<T>(pub Option<T>);

impl<T: Serialize> Serialize for Trailing<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_newtype_struct(TRAILING, &self.0)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Trailing<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct V<T>(PhantomData<fn() -> T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for V<T> {
            type Value = Option<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value or the end")
            }

            fn visit_none<E: de::Error>(self) -> Result<Self::Value, E> {
                Ok(None)
            }

            fn visit_some<D: Deserializer<'de>>(self, d: D) -> Result<Self::Value, D::Error> {
                T::deserialize(d).map(Some)
            }

            fn visit_newtype_struct<D: Deserializer<'de>>(
                self,
                d: D,
            ) -> Result<Self::Value, D::Error> {
                Option::<T>::deserialize(d)
            }
        }
        deserializer.deserialize_newtype_struct(TRAILING, V(PhantomData)).map(Self)
    }
}

struct Encoder<'s, S> {
    sink: &'s mut S,
    inside: Inside,
}

/// What the encoder is writing: some newtypes have a form of their own.
#[derive(PartialEq)]
enum Inside {
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

struct Decoder<'r, 'de> {
    reader: &'r mut Reader<'de>,
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
            REST => visitor.visit_borrowed_bytes(self.reader.rest),
            TRAILING if self.reader.rest.is_empty() => visitor.visit_none(),
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

#[cfg(test)]
mod tests {
    use std::{vec, vec::Vec};

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Sample<'a> {
        number: i32,
        #[serde(borrow)]
        text: Ustring<'a>,
        data: Buffer<'a>,
        flag: bool,
        list: List<'a, Ustring<'a>>,
        long: i64,
        last: Trailing<bool>,
    }

    fn sample<'a>(list: List<'a, Ustring<'a>>, last: Option<bool>) -> Sample<'a> {
        Sample {
            number: -2,
            text: "/x".into(),
            data: Buffer::NULL,
            flag: true,
            list,
            long: 7,
            last: Trailing(last),
        }
    }

    #[test]
    fn fields_are_concatenated() {
        let mut room = [0; 32];
        let list = List::encode(&["a".into(), Ustring::NULL], &mut room).unwrap();
        let value = sample(list, Some(true));
        let mut out = [0; 64];
        let n = encode(&value, &mut out).unwrap();
        let expected = [
            &[0xff, 0xff, 0xff, 0xfe][..],
            &[0, 0, 0, 2, b'/', b'x'],
            &[0xff; 4],
            &[1],
            &[0, 0, 0, 2, 0, 0, 0, 1, b'a', 0xff, 0xff, 0xff, 0xff],
            &[0, 0, 0, 0, 0, 0, 0, 7],
            &[1],
        ]
        .concat();
        assert_eq!(&out[..n], &expected[..]);
        assert_eq!(size(&value), n);
        assert_eq!(decode::<Sample<'_>>(&out[..n]).unwrap(), value);
        // The trailing field may be missing; anything shorter is truncated.
        let short = decode::<Sample<'_>>(&out[..n - 1]).unwrap();
        assert_eq!(short.last, Trailing(None));
        assert_eq!(size(&short), n - 1);
        for cut in 0..n - 1 {
            assert!(decode::<Sample<'_>>(&out[..cut]).is_err(), "cut at {cut}");
        }
        for room in 0..n {
            assert_eq!(encode(&value, &mut vec![0; room]), Err(Error::Full));
        }
    }

    #[test]
    fn lists_iterate_what_was_decoded() {
        let bytes = [0, 0, 0, 2, 0, 0, 0, 1, b'a', 0, 0, 0, 0, 9];
        let mut reader = Reader::new(&bytes);
        let list: List<'_, Ustring<'_>> = reader.read().unwrap();
        assert_eq!(list.iter().collect::<Vec<_>>(), ["a".into(), "".into()]);
        assert_eq!(reader.rest(), [9]);
        // Null, and Java's reading of other negative counts.
        assert!(decode::<List<'_, Ustring<'_>>>(&[0xff; 4]).unwrap().is_null());
        let empty = decode::<List<'_, Ustring<'_>>>(&[0xff, 0xff, 0xff, 0xfe]).unwrap();
        assert_eq!(empty.len(), 0);
    }

    #[test]
    fn hostile_lengths_end_at_once() {
        assert!(decode::<List<'_, Ustring<'_>>>(&[0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0]).is_err());
        assert!(decode::<Ustring<'_>>(&[0x7f, 0xff, 0xff, 0xff]).is_err());
        assert_eq!(decode::<Ustring<'_>>(&[0xff, 0xff, 0xff, 0xfe]), Err(Error::Length));
    }

    #[test]
    fn the_same_types_have_a_postcard_form() {
        let mut room = [0; 32];
        let list = List::encode(&["a".into()], &mut room).unwrap();
        let value = sample(list, Some(false));
        let mut out = [0; 64];
        let bytes = postcard::to_slice(&value, &mut out).unwrap();
        assert_eq!(postcard::from_bytes::<Sample<'_>>(bytes).unwrap(), value);
    }
}
