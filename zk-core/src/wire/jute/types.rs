//! Types with a form of their own: nullable bytes, lists, fields that may be missing.

use core::fmt;
use core::marker::PhantomData;

use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Error, Reader, Slice, write};

// Names by which the types below make themselves known to this format. Any other serde format
// sees an ordinary newtype around ordinary bytes.
pub(super) const NULLABLE: &str = "jute::Nullable";
pub(super) const LIST: &str = "jute::List";
pub(super) const TRAILING: &str = "jute::Trailing";
pub(super) const REST: &str = "jute::Rest";

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
