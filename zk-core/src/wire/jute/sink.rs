//! Where encodings go: a slice, or only a count.

use super::Sink;
use crate::memory::Full;

/// A sink that fills a slice.
#[derive(Debug)]
pub struct Slice<'b> {
    pub(super) bytes: &'b mut [u8],
    pub(super) len: usize,
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

    /// Bytes that can still be written.
    pub fn free(&self) -> usize {
        self.bytes.len() - self.len
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
