//! Records in arrival order: pushed at the end, dropped at the front, found by zxid.

use super::{Full, Table};
use crate::id::Zxid;

/// Where a record lies.
#[derive(Clone, Copy, Debug, Default)]
pub struct Meta {
    zxid: Zxid,
    at: u32,
    len: u32,
}

/// A window of records, each contiguous, in one ring of bytes.
///
/// A record is known by its *sequence number*, counted from the first record ever pushed; cursors
/// into the window are sequence numbers.
#[derive(Debug)]
pub struct Records<'m> {
    bytes: Table<'m, u8>,
    metas: Table<'m, Meta>,
    /// Sequence numbers of the first record and of the one after the last.
    front: u64,
    end: u64,
    /// Where in the ring of metas the first record is.
    first: usize,
    /// Where in the ring of bytes the next record goes.
    tail: usize,
    /// The zxid before the first record's: where the window begins.
    before: Zxid,
}

/// The first size of an owned ring of bytes.
const SMALLEST: usize = 16 * 1024;

impl<'m> Records<'m> {
    /// An empty window.
    pub fn new(bytes: Table<'m, u8>, metas: Table<'m, Meta>) -> Self {
        Self { bytes, metas, front: 0, end: 0, first: 0, tail: 0, before: Zxid::ZERO }
    }

    /// Sequence number of the oldest record kept.
    pub fn front(&self) -> u64 {
        self.front
    }

    /// Sequence number that the next record will get.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Records in the window.
    pub fn len(&self) -> usize {
        (self.end - self.front) as usize
    }

    /// Whether the window is empty.
    pub fn is_empty(&self) -> bool {
        self.end == self.front
    }

    /// The zxid of the record before the oldest one kept: the window shows all that came after it.
    pub fn before(&self) -> Zxid {
        self.before
    }

    /// The zxid of the last record before number `seq`, as far back as the window knows.
    pub fn zxid_before(&self, seq: u64) -> Zxid {
        seq.checked_sub(1).and_then(|seq| self.meta(seq)).map_or(self.before, |meta| meta.zxid)
    }

    /// Bytes of the largest record that an empty window takes.
    pub fn ceiling(&self) -> usize {
        self.bytes.ceiling()
    }

    fn meta(&self, seq: u64) -> Option<Meta> {
        if seq < self.front || seq >= self.end {
            return None;
        }
        let at = self.first + (seq - self.front) as usize;
        let size = self.metas.len();
        self.metas.get(if at >= size { at - size } else { at }).copied()
    }

    /// The record with that number.
    pub fn get(&self, seq: u64) -> Option<(Zxid, &[u8])> {
        let meta = self.meta(seq)?;
        let at = meta.at as usize;
        Some((meta.zxid, self.bytes.get(at..at + meta.len as usize)?))
    }

    /// The number of the first record with a zxid of at least `zxid`; [`end`](Self::end) if there
    /// is none.
    pub fn seek(&self, zxid: Zxid) -> u64 {
        let (mut low, mut high) = (self.front, self.end);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.meta(middle) {
                Some(meta) if meta.zxid < zxid => low = middle + 1,
                _ => high = middle,
            }
        }
        low
    }

    /// Drops the oldest record.
    pub fn pop(&mut self) {
        let Some(meta) = self.meta(self.front) else { return };
        if !planted!(Zk4925) {
            self.before = meta.zxid;
        }
        self.front += 1;
        self.first += 1;
        if self.first >= self.metas.len() {
            self.first = 0;
        }
        if self.is_empty() {
            self.tail = 0;
        }
    }

    /// Drops the records from number `seq` on; their numbers are given again.
    pub fn truncate(&mut self, seq: u64) {
        let seq = seq.max(self.front);
        if seq >= self.end {
            return;
        }
        if let Some(meta) = self.meta(seq) {
            self.tail = meta.at as usize;
        }
        self.end = seq;
        if self.is_empty() {
            self.tail = 0;
        }
    }

    /// Drops everything; numbers go on, and the window begins anew behind `before`.
    pub fn clear(&mut self, before: Zxid) {
        self.front = self.end;
        self.first = 0;
        self.tail = 0;
        self.before = before;
    }

    /// Finds `len` contiguous bytes behind the last record.
    fn place(&self, len: usize) -> Option<usize> {
        let size = self.bytes.len();
        let Some(first) = self.meta(self.front) else { return (len <= size).then_some(0) };
        let head = first.at as usize;
        if self.tail > head {
            if size - self.tail >= len {
                return Some(self.tail);
            }
            return (len < head).then_some(0);
        }
        // `tail == head` with records is a full ring of empty records at most.
        (self.tail + len < head).then_some(self.tail)
    }

    /// Room for a record of up to `len` bytes; [`push`](Self::push) makes it one.
    ///
    /// # Errors
    /// [`Full`] when the window must be emptied first, or is too small altogether.
    pub fn room(&mut self, len: usize) -> Result<&mut [u8], Full> {
        if self.len() >= self.metas.len() {
            self.more_metas()?;
        }
        let at = match self.place(len) {
            Some(at) => at,
            None => {
                self.more_bytes(len)?;
                self.place(len).ok_or(Full)?
            }
        };
        self.tail = at;
        self.bytes.get_mut(at..at + len).ok_or(Full)
    }

    /// Makes the first `len` bytes of the last [`room`](Self::room) a record.
    pub fn push(&mut self, zxid: Zxid, len: usize) {
        let size = self.metas.len();
        let at = self.first + self.len();
        let at = if at >= size { at - size } else { at };
        let meta = Meta { zxid, at: self.tail as u32, len: len as u32 };
        if let Some(place) = self.metas.get_mut(at) {
            *place = meta;
            self.tail += len;
            self.end += 1;
        }
    }

    fn more_metas(&mut self) -> Result<(), Full> {
        let size = self.metas.len();
        let wanted = (size * 2).max(64).min(self.metas.ceiling());
        if wanted <= size || !self.metas.reach(wanted) {
            return Err(Full);
        }
        if self.first > 0 {
            // The ring was full: what came first moves to the new end, the gap is behind the rest.
            for at in (self.first..size).rev() {
                self.metas[at + wanted - size] = self.metas[at];
            }
            self.first += wanted - size;
        }
        Ok(())
    }

    fn more_bytes(&mut self, len: usize) -> Result<(), Full> {
        let size = self.bytes.len();
        let wanted = (size * 2).max(SMALLEST).max(size + len + 1).min(self.bytes.ceiling());
        if wanted <= size || !self.bytes.reach(wanted) {
            return Err(Full);
        }
        // Records that lie before the first one (the ring had wrapped) move behind the old end,
        // which has become the middle; where that is not enough room, the caller sees Full.
        let Some(first) = self.meta(self.front) else { return Ok(()) };
        if self.tail > first.at as usize {
            return Ok(());
        }
        if wanted - size < self.tail {
            return Ok(());
        }
        let wrapped = self.tail;
        self.bytes.copy_within(0..wrapped, size);
        let slots = self.metas.len();
        for i in 0..self.len() {
            let at = (self.first + i) % slots;
            if (self.metas[at].at as usize) < wrapped {
                self.metas[at].at += size as u32;
            }
        }
        self.tail += size;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::vec;
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    fn run(records: &mut Records<'_>, ops: &[(u8, usize)]) {
        let mut model: VecDeque<(u64, Vec<u8>)> = VecDeque::new();
        let mut next = 0u64;
        let mut before = Zxid::ZERO;
        for &(what, len) in ops {
            if what > 3 {
                let fill = vec![next as u8; len];
                // Ask for more than is used, as a writer does that only knows a bound.
                match records.room(len + 3) {
                    Ok(room) => {
                        room[..len].copy_from_slice(&fill);
                        records.push(Zxid(next as i64 * 10), len);
                        model.push_back((next, fill));
                        next += 1;
                    }
                    Err(Full) => assert!(!model.is_empty() || len + 3 > records.ceiling()),
                }
            } else if what > 0 {
                records.pop();
                if let Some((seq, _)) = model.pop_front() {
                    before = Zxid(seq as i64 * 10);
                }
            } else {
                let kept = model.len().saturating_sub(len / 8);
                records.truncate(records.front() + kept as u64);
                model.truncate(kept);
                next = records.end();
            }
            assert_eq!(records.before(), before);
            assert_eq!(records.zxid_before(records.front()), before);
            if let Some((last, _)) = model.back() {
                assert_eq!(records.zxid_before(next), Zxid(*last as i64 * 10));
            }
            assert_eq!(records.len(), model.len());
            for (seq, bytes) in &model {
                let (zxid, found) = records.get(*seq).unwrap();
                assert_eq!((zxid, found), (Zxid(*seq as i64 * 10), &bytes[..]));
                assert_eq!(records.seek(Zxid(*seq as i64 * 10 - 5)), *seq);
            }
            assert_eq!(records.seek(Zxid(i64::MAX)), next);
        }
    }

    proptest! {
        #[test]
        fn a_window_keeps_its_records(
            ops in proptest::collection::vec((0..10u8, 0..40usize), 0..200),
        ) {
            let (mut bytes, mut metas) = ([0; 200], [Meta::default(); 16]);
            run(&mut Records::new(Table::lent(&mut bytes), Table::lent(&mut metas)), &ops);
            #[cfg(feature = "alloc")]
            run(&mut Records::new(Table::owned(1000), Table::owned(100)), &ops);
        }
    }
}
