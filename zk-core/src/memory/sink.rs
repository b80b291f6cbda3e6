//! Where bytes go: a buffer, a counter, a checksum, a queue.

use super::Full;

/// Takes bytes, one after the other.
pub trait Sink {
    /// Takes all of `bytes`, or nothing.
    ///
    /// # Errors
    /// [`Full`] when they do not fit.
    fn put(&mut self, bytes: &[u8]) -> Result<(), Full>;

    /// Takes `len` bytes that come in pieces. On an error, some of them may have been taken.
    ///
    /// # Errors
    /// [`Full`] when they do not fit.
    fn put_pieces<'p>(
        &mut self,
        len: usize,
        pieces: impl Iterator<Item = &'p [u8]>,
    ) -> Result<(), Full>
    where
        Self: Sized,
    {
        let _ = len;
        for piece in pieces {
            self.put(piece)?;
        }
        Ok(())
    }
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
