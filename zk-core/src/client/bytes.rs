//! A bounded run of bytes: what the session keeps its requests, watches and credentials in.

use core::ops::Range;

use crate::memory::Table;

/// Bytes between a front and a back of a table.
///
/// They are always contiguous: when the back reaches the end of the table, they are moved to its
/// start.
#[derive(Debug)]
pub(super) struct Bytes<'m> {
    table: Table<'m, u8>,
    start: usize,
    end: usize,
}

impl<'m> Bytes<'m> {
    pub(super) fn new(table: Table<'m, u8>) -> Self {
        Self { table, start: 0, end: 0 }
    }

    /// Number of bytes held.
    pub(super) fn len(&self) -> usize {
        self.end - self.start
    }

    /// The most it can ever hold.
    pub(super) fn ceiling(&self) -> usize {
        self.table.ceiling()
    }

    /// The bytes held.
    pub(super) fn get(&self) -> &[u8] {
        self.table.get(self.start..self.end).unwrap_or_default()
    }

    /// The bytes held.
    pub(super) fn get_mut(&mut self) -> &mut [u8] {
        self.table.get_mut(self.start..self.end).unwrap_or_default()
    }

    /// Adds `n` bytes of unspecified content at the back, and lends them; `None` (and nothing
    /// changes) when they do not fit.
    pub(super) fn push(&mut self, n: usize) -> Option<&mut [u8]> {
        let len = self.len();
        let end = self.end.checked_add(n)?;
        // Moving leaves at least half of the table free, or is the last resort.
        let move_first = end > self.table.len() && self.start >= len.max(n);
        if move_first || !self.table.reach(end) {
            self.table.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, len);
            if !self.table.reach(len.checked_add(n)?) {
                return None;
            }
        }
        self.extend(n)
    }

    fn extend(&mut self, n: usize) -> Option<&mut [u8]> {
        let place = self.table.get_mut(self.end..self.end + n)?;
        self.end += n;
        Some(place)
    }

    /// Takes `n` bytes from the front (or all, if there are fewer).
    pub(super) fn pop(&mut self, n: usize) {
        self.start = self.start.saturating_add(n).min(self.end);
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Takes `range` (positions from the front) out.
    pub(super) fn remove(&mut self, range: Range<usize>) {
        let held = self.get_mut();
        let len = held.len();
        if range.start <= range.end && range.end <= len {
            held.copy_within(range.end..len, range.start);
            self.end -= range.end - range.start;
        }
    }

    /// Takes out all but the first `len` bytes.
    pub(super) fn truncate(&mut self, len: usize) {
        self.end = self.end.min(self.start.saturating_add(len));
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    fn put(bytes: &mut Bytes<'_>, what: &[u8]) -> bool {
        bytes.push(what.len()).is_some_and(|place| {
            place.copy_from_slice(what);
            true
        })
    }

    proptest! {
        /// Both kinds of storage behave as a plain vector with a ceiling.
        #[test]
        fn bytes_are_a_bounded_queue(steps in proptest::collection::vec((0u8..4, 0usize..9), 0..200)) {
            let mut storage = [0; 16];
            let mut all = [Table::lent(&mut storage[..]), Table::owned(16)].map(Bytes::new);
            let mut model = Vec::new();
            for (i, (what, n)) in steps.into_iter().enumerate() {
                match what {
                    0 => {
                        let new = std::vec![i as u8; n];
                        let fits = model.len() + n <= 16;
                        for bytes in &mut all {
                            prop_assert_eq!(put(bytes, &new), fits);
                        }
                        if fits { model.extend(new); }
                    }
                    1 => {
                        all.iter_mut().for_each(|bytes| bytes.pop(n));
                        model.drain(..n.min(model.len()));
                    }
                    2 => {
                        all.iter_mut().for_each(|bytes| bytes.truncate(n));
                        model.truncate(n);
                    }
                    _ => {
                        let range = n / 2..n;
                        all.iter_mut().for_each(|bytes| bytes.remove(range.clone()));
                        if range.end <= model.len() { model.drain(range); }
                    }
                }
                for bytes in &all {
                    prop_assert_eq!(bytes.get(), &model[..]);
                    prop_assert_eq!(bytes.len(), model.len());
                }
            }
        }
    }
}
