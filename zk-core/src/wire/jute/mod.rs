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

mod de;
mod reader;
mod ser;
mod sink;
mod types;

use core::fmt;

use serde::{Deserialize, Serialize};

pub use self::reader::Reader;
use self::ser::{Encoder, Inside};
pub use self::sink::{Count, Slice};
pub use self::types::{Buffer, Iter, List, Trailing, Ustring};
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
