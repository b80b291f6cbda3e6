//! Takes numbers and records from a slice of bytes.

use serde::Deserialize;

use super::Error;
use super::de::Decoder;

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

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
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
    pub(super) fn nullable(&mut self) -> Result<Option<&'de [u8]>, Error> {
        match self.i32()? {
            -1 => Ok(None),
            n => self.take(usize::try_from(n).map_err(|_| Error::Length)?).map(Some),
        }
    }
}
