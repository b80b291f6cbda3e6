//! A bounded queue of entries.

use super::Table;

/// The first size of an owned ring.
const SMALLEST: usize = 16;

/// Entries that wait, first in, first out.
#[derive(Debug)]
pub struct Ring<'m, T> {
    entries: Table<'m, T>,
    first: usize,
    len: usize,
}

impl<'m, T: Copy + Default> Ring<'m, T> {
    /// An empty ring in `entries`.
    pub fn new(entries: Table<'m, T>) -> Self {
        Self { entries, first: 0, len: 0 }
    }

    /// Entries that wait.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether one more entry can be [`push`](Self::push)ed; makes room where that is possible.
    pub fn has_room(&mut self) -> bool {
        let size = self.entries.len();
        if self.len < size {
            return true;
        }
        let wanted = (size * 2).max(SMALLEST).min(self.entries.ceiling());
        if wanted <= size || !self.entries.reach(wanted) {
            return false;
        }
        if self.first > 0 {
            // The ring was full: what came first moves to the new end, the gap is behind the rest.
            let by = wanted - size;
            for at in (self.first..size).rev() {
                self.entries[at + by] = self.entries[at];
            }
            self.first += by;
        }
        true
    }

    fn place(&self, number: usize) -> usize {
        let at = self.first + number;
        let size = self.entries.len();
        if at >= size { at - size } else { at }
    }

    /// Puts an entry at the end. Where there is no [room](Self::has_room), it is dropped.
    pub fn push(&mut self, entry: T) {
        if self.len < self.entries.len() {
            let at = self.place(self.len);
            self.entries[at] = entry;
            self.len += 1;
        }
    }

    /// Takes the oldest entry.
    pub fn pop(&mut self) -> Option<T> {
        if self.len == 0 {
            return None;
        }
        let entry = self.entries.get(self.first).copied();
        self.first = self.place(1);
        self.len -= 1;
        entry
    }

    /// Keeps the oldest `len` entries.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Drops all entries.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// Does something to every entry, oldest first.
    pub fn for_each(&mut self, mut f: impl FnMut(&mut T)) {
        for number in 0..self.len {
            let at = self.place(number);
            f(&mut self.entries[at]);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    fn run(ring: &mut Ring<'_, usize>, ops: &[(u8, usize)], ceiling: usize) {
        let mut model = VecDeque::new();
        for (i, &(what, n)) in ops.iter().enumerate() {
            match what {
                0..=4 => {
                    let room = ring.has_room();
                    assert_eq!(room, model.len() < ceiling);
                    ring.push(i);
                    if room {
                        model.push_back(i);
                    }
                }
                5..=7 => assert_eq!(ring.pop(), model.pop_front()),
                8 => {
                    ring.truncate(n);
                    model.truncate(n);
                }
                _ => {
                    let mut seen = Vec::new();
                    ring.for_each(|entry| seen.push(*entry));
                    assert_eq!(seen, model.make_contiguous());
                }
            }
            assert_eq!((ring.len(), ring.is_empty()), (model.len(), model.is_empty()));
        }
    }

    proptest! {
        #[test]
        fn a_ring_is_a_queue(ops in proptest::collection::vec((0..10u8, 0..40usize), 0..200)) {
            let mut entries = [0; 5];
            run(&mut Ring::new(Table::lent(&mut entries)), &ops, 5);
            #[cfg(feature = "alloc")]
            run(&mut Ring::new(Table::owned(50)), &ops, 50);
        }
    }
}
