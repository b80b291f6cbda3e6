//! Bytes that wait: put at the end, taken from the front, always contiguous.

use super::{Full, Sink, Table, copy_piece};

/// A bounded queue of bytes; by default one in which nothing has room.
#[derive(Debug, Default)]
pub struct Pipe<'m> {
    bytes: Table<'m, u8>,
    from: usize,
    to: usize,
    /// Of an owned table, which may be told to hold less than it could.
    limit: usize,
}

impl<'m> Pipe<'m> {
    /// An empty pipe in `bytes`.
    pub fn new(bytes: Table<'m, u8>) -> Self {
        let limit = bytes.ceiling();
        Self { bytes, from: 0, to: 0, limit }
    }

    /// Bytes that wait.
    pub fn len(&self) -> usize {
        self.to - self.from
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.from == self.to
    }

    /// How many bytes there can ever be, whatever the limit is.
    pub fn capacity(&self) -> usize {
        self.bytes.ceiling()
    }

    /// How many bytes can wait at once.
    pub fn ceiling(&self) -> usize {
        self.limit
    }

    /// Bytes that can still be put.
    pub fn free(&self) -> usize {
        self.limit.saturating_sub(self.len())
    }

    /// What waits.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[self.from..self.to]
    }

    /// What waits, to be changed in place.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        let (from, to) = (self.from, self.to);
        &mut self.bytes[from..to]
    }

    /// Room for `len` bytes at the end, which wait from now on.
    ///
    /// # Errors
    /// [`Full`]; then nothing has changed.
    pub fn room(&mut self, len: usize) -> Result<&mut [u8], Full> {
        if len > self.free() {
            return Err(Full);
        }
        // Move what waits to the front when the end is reached, or when that is cheap.
        if self.from > 0
            && (self.to + len > self.bytes.ceiling().min(self.limit)
                || self.to + len > self.bytes.len() && self.len() <= self.from)
        {
            self.bytes.copy_within(self.from..self.to, 0);
            self.to -= self.from;
            self.from = 0;
        }
        if !self.bytes.reach(self.to + len) {
            return Err(Full);
        }
        let at = self.to;
        self.to += len;
        Ok(&mut self.bytes[at..at + len])
    }

    /// Drops the first `len` bytes.
    pub fn take(&mut self, len: usize) {
        self.from = (self.from + len).min(self.to);
        if self.from == self.to {
            self.from = 0;
            self.to = 0;
        }
    }

    /// Drops everything behind the first `len` bytes.
    pub fn truncate(&mut self, len: usize) {
        self.to = self.to.min(self.from + len);
        if self.is_empty() {
            self.clear();
        }
    }

    /// Drops the bytes from number `from` up to `to`.
    pub fn remove(&mut self, from: usize, to: usize) {
        let len = self.len();
        if from < to && to <= len {
            self.bytes_mut().copy_within(to.., from);
            self.truncate(len - (to - from));
        }
    }

    /// Drops everything.
    pub fn clear(&mut self) {
        self.from = 0;
        self.to = 0;
    }

    /// Gives memory back that nothing waits in, if the pipe owns it.
    pub fn shrink(&mut self) {
        if self.is_empty() {
            self.clear();
            self.bytes.release();
        }
    }

    /// Changes places with other lent memory, and takes along what waits. `false`: that has no room there.
    #[inline(never)] // once for all its callers
    pub(crate) fn swap(&mut self, memory: &mut Table<'m, u8>) -> bool {
        let len = self.len();
        let Some(place) = memory.get_mut(..len) else { return false };
        place.copy_from_slice(self.bytes());
        core::mem::swap(&mut self.bytes, memory);
        (self.from, self.to) = (0, len);
        self.limit = self.bytes.ceiling();
        true
    }

    /// Lets an owned pipe hold at most `limit` bytes; a lent one holds what it was lent.
    #[inline(never)] // once for all its callers
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit.min(self.bytes.ceiling());
    }
}

impl Sink for Pipe<'_> {
    fn put(&mut self, bytes: &[u8]) -> Result<(), Full> {
        self.room(bytes.len())?.copy_from_slice(bytes);
        Ok(())
    }

    // Room is made once, not for every piece.
    fn put_pieces<'p>(
        &mut self,
        len: usize,
        pieces: impl Iterator<Item = &'p [u8]>,
    ) -> Result<(), Full> {
        let mut room = self.room(len)?;
        for piece in pieces {
            let (place, rest) = room.split_at_mut_checked(piece.len()).ok_or(Full)?;
            copy_piece(place, piece);
            room = rest;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    fn run(pipe: &mut Pipe<'_>, ops: &[(u8, usize)]) {
        let mut model = VecDeque::new();
        for (i, &(what, n)) in ops.iter().enumerate() {
            match what {
                0 => {
                    let bytes: Vec<u8> = (0..n).map(|j| (i + j) as u8).collect();
                    if pipe.put(&bytes).is_ok() {
                        model.extend(bytes);
                    } else {
                        assert!(model.len() + n > pipe.ceiling());
                    }
                }
                1 => {
                    pipe.take(n);
                    model.drain(..n.min(model.len()));
                }
                2 => {
                    pipe.truncate(n);
                    model.truncate(n);
                }
                _ => pipe.shrink(),
            }
            assert_eq!(pipe.bytes(), model.make_contiguous());
        }
    }

    proptest! {
        #[test]
        fn a_pipe_is_a_queue(ops in proptest::collection::vec((0..4u8, 0..40usize), 0..200)) {
            let mut bytes = [0; 64];
            run(&mut Pipe::new(Table::lent(&mut bytes)), &ops);
            #[cfg(feature = "alloc")]
            {
                let mut pipe = Pipe::new(Table::owned(1000));
                pipe.set_limit(100);
                run(&mut pipe, &ops);
            }
        }
    }
}
