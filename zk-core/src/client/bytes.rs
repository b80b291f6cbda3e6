//! A bounded run of bytes, lent or owned: what the session keeps its requests, watches and
//! credentials in.

use core::ops::Range;

/// Bytes between a front and a back, in a slice lent by the caller or (feature `alloc`) in a
/// vector that grows up to a ceiling.
///
/// The bytes are always contiguous: when the back reaches the end of the storage, they are moved
/// to its start.
#[derive(Debug)]
pub struct Bytes<'m> {
    store: Store<'m>,
    start: usize,
    end: usize,
}

#[derive(Debug)]
enum Store<'m> {
    Lent(&'m mut [u8]),
    #[cfg(feature = "alloc")]
    Owned {
        bytes: alloc::vec::Vec<u8>,
        ceiling: usize,
    },
}

impl Store<'_> {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Lent(bytes) => bytes,
            #[cfg(feature = "alloc")]
            Self::Owned { bytes, .. } => bytes,
        }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        match self {
            Self::Lent(bytes) => bytes,
            #[cfg(feature = "alloc")]
            Self::Owned { bytes, .. } => bytes,
        }
    }

    fn ceiling(&self) -> usize {
        match self {
            Self::Lent(bytes) => bytes.len(),
            #[cfg(feature = "alloc")]
            Self::Owned { ceiling, .. } => *ceiling,
        }
    }

    /// Whether there are `len` bytes now, after growing if that is possible.
    fn grow(&mut self, len: usize) -> bool {
        match self {
            Self::Lent(bytes) => len <= bytes.len(),
            #[cfg(feature = "alloc")]
            Self::Owned { bytes, ceiling } => {
                if len > *ceiling {
                    return false;
                }
                if len > bytes.len() {
                    let goal = len.max(bytes.len().saturating_mul(2)).max(SMALLEST).min(*ceiling);
                    if bytes.try_reserve(goal - bytes.len()).is_err() {
                        return false;
                    }
                    bytes.resize(goal, 0);
                }
                true
            }
        }
    }
}

/// Bytes that an owned store begins with.
#[cfg(feature = "alloc")]
const SMALLEST: usize = 256;

impl<'m> Bytes<'m> {
    /// At most as many bytes as `storage` has.
    pub fn lent(storage: &'m mut [u8]) -> Self {
        Self { store: Store::Lent(storage), start: 0, end: 0 }
    }

    /// On the heap, at most `ceiling` bytes.
    #[cfg(feature = "alloc")]
    pub fn owned(ceiling: usize) -> Self {
        Self { store: Store::Owned { bytes: alloc::vec::Vec::new(), ceiling }, start: 0, end: 0 }
    }

    /// Number of bytes held.
    pub(super) fn len(&self) -> usize {
        self.end - self.start
    }

    /// The most it can ever hold.
    pub(super) fn ceiling(&self) -> usize {
        self.store.ceiling()
    }

    /// The bytes held.
    pub(super) fn get(&self) -> &[u8] {
        self.store.bytes().get(self.start..self.end).unwrap_or_default()
    }

    /// The bytes held.
    pub(super) fn get_mut(&mut self) -> &mut [u8] {
        self.store.bytes_mut().get_mut(self.start..self.end).unwrap_or_default()
    }

    /// Adds `n` bytes of unspecified content at the back, and lends them; `None` (and nothing
    /// changes) when they do not fit.
    pub(super) fn push(&mut self, n: usize) -> Option<&mut [u8]> {
        let end = self.end.checked_add(n)?;
        if end > self.store.bytes().len() {
            let len = self.len();
            // Moving is enough when that leaves the half free; otherwise rather grow.
            if self.start < len.max(n) && self.store.grow(end) {
                return self.extend(n);
            }
            self.store.bytes_mut().copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, len);
            if !self.store.grow(len.checked_add(n)?) {
                return None;
            }
        }
        self.extend(n)
    }

    fn extend(&mut self, n: usize) -> Option<&mut [u8]> {
        let place = self.store.bytes_mut().get_mut(self.end..self.end + n)?;
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
            let mut all = [Bytes::lent(&mut storage), Bytes::owned(16)];
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
