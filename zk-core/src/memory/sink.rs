//! Where bytes go: a buffer, a counter, a checksum, a queue.

use super::Full;

/// Takes bytes, one after the other.
pub trait Sink {
    /// Takes all of `bytes`, or nothing.
    ///
    /// # Errors
    /// [`Full`] when they do not fit.
    fn put(&mut self, bytes: &[u8]) -> Result<(), Full>;
}

impl<S: Sink + ?Sized> Sink for &mut S {
    fn put(&mut self, bytes: &[u8]) -> Result<(), Full> {
        (**self).put(bytes)
    }
}

#[cfg(feature = "alloc")]
impl Sink for alloc::vec::Vec<u8> {
    fn put(&mut self, bytes: &[u8]) -> Result<(), Full> {
        self.extend_from_slice(bytes);
        Ok(())
    }
}
