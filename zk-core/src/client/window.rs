//! Sending a packet through a buffer that may be smaller than the packet.

use crate::memory::{Full, Sink};

/// A sink that keeps only what lies behind the first `skip` bytes and fits `out`, and counts all.
///
/// A packet is encoded anew for each piece of it: no packet is ever stored to be sent.
#[derive(Debug)]
pub(super) struct Window<'b> {
    out: &'b mut [u8],
    skip: usize,
    kept: usize,
    total: usize,
}

impl<'b> Window<'b> {
    pub(super) fn new(skip: usize, out: &'b mut [u8]) -> Self {
        Self { out, skip, kept: 0, total: 0 }
    }

    /// How much was put into the buffer, and whether that was the packet's end.
    pub(super) fn piece(&self) -> (usize, bool) {
        (self.kept, self.skip + self.kept >= self.total)
    }
}

impl Sink for Window<'_> {
    fn put(&mut self, bytes: &[u8]) -> Result<(), Full> {
        let skipped = self.skip.saturating_sub(self.total).min(bytes.len());
        let wanted = bytes.get(skipped..).unwrap_or_default();
        let room = self.out.get_mut(self.kept..).unwrap_or_default();
        let n = wanted.len().min(room.len());
        if let (Some(to), Some(from)) = (room.get_mut(..n), wanted.get(..n)) {
            to.copy_from_slice(from);
        }
        self.kept += n;
        self.total = self.total.saturating_add(bytes.len());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    #[test]
    fn pieces_make_the_whole() {
        let parts: [&[u8]; 4] = [b"ab", b"", b"cdefg", b"h"];
        for size in 1..10 {
            let mut whole: Vec<u8> = Vec::new();
            loop {
                let mut out = std::vec![0; size];
                let mut window = Window::new(whole.len(), &mut out);
                for part in parts {
                    window.put(part).unwrap();
                }
                let (n, done) = window.piece();
                whole.extend(&out[..n]);
                if done {
                    break;
                }
                assert_eq!(n, size);
            }
            assert_eq!(whole, b"abcdefgh");
        }
    }
}
