//! Byte strings in chains of small cells.
//!
//! A chain of `n` bytes takes exactly `ceil(n / CELL_BYTES)` cells, wherever they lie: what fits by
//! count always fits, however fragmented the table is, and nothing is ever moved. A chain that was
//! written into fresh cells lies in consecutive memory.

use super::{Full, Handle, NIL, Sink, Table};

/// Bytes of content in a cell; with the link to the next cell it is a power of two.
#[cfg(not(zk_handle16))]
pub const CELL_BYTES: usize = 28;
/// Bytes of content in a cell; with the link to the next cell it is a power of two.
#[cfg(zk_handle16)]
pub const CELL_BYTES: usize = 14;

/// A piece of a byte string.
#[derive(Clone, Copy, Debug)]
pub struct Cell {
    bytes: [u8; CELL_BYTES],
    next: Handle,
}

impl Cell {
    /// Contents do not matter while a cell is free.
    pub const EMPTY: Self = Self { bytes: [0; CELL_BYTES], next: NIL };
}

impl Default for Cell {
    fn default() -> Self {
        Self::EMPTY
    }
}

/// All byte strings of a peer's tables. Whoever holds a chain keeps its first cell and its length.
#[derive(Debug)]
pub struct Cells<'m> {
    cells: Table<'m, Cell>,
    free: Handle,
    used: usize,
    len: usize,
}

impl<'m> Cells<'m> {
    /// No chains yet.
    pub fn new(cells: Table<'m, Cell>) -> Self {
        Self { cells, free: NIL, used: 0, len: 0 }
    }

    /// How many cells a string of `bytes` bytes takes.
    pub const fn needed(bytes: usize) -> usize {
        bytes.div_ceil(CELL_BYTES)
    }

    /// Cells in use.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no cell is in use.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Cells that can still be taken.
    pub fn available(&self) -> usize {
        self.cells.ceiling().min(NIL as usize) - self.len
    }

    /// Frees all chains at once.
    pub fn clear(&mut self) {
        self.free = NIL;
        self.used = 0;
        self.len = 0;
    }

    fn take(&mut self) -> Result<Handle, Full> {
        let at = if self.free != NIL {
            let at = self.free;
            self.free = self.cells[at as usize].next;
            at
        } else {
            let at = Handle::try_from(self.used).map_err(|_| Full)?;
            if at == NIL || !self.cells.reach(self.used + 1) {
                return Err(Full);
            }
            self.used += 1;
            at
        };
        self.len += 1;
        self.cells[at as usize].next = NIL;
        Ok(at)
    }

    fn give(&mut self, at: Handle) {
        self.cells[at as usize].next = self.free;
        self.free = at;
        self.len -= 1;
    }

    /// Stores the concatenation of `parts`.
    ///
    /// # Errors
    /// [`Full`]; then nothing is stored.
    pub fn insert(&mut self, parts: &[&[u8]]) -> Result<Handle, Full> {
        let total: usize = parts.iter().map(|part| part.len()).sum();
        if Self::needed(total) > self.available() {
            return Err(Full);
        }
        self.write(NIL, 0, parts)
    }

    /// Replaces everything behind the first `keep` bytes of the chain at `head` (of `len` bytes)
    /// by `tail`, in place, and returns the new head.
    ///
    /// # Errors
    /// [`Full`]; then nothing has changed.
    pub fn replace(
        &mut self,
        head: Handle,
        len: usize,
        keep: usize,
        tail: &[u8],
    ) -> Result<Handle, Full> {
        let (old, new) = (Self::needed(len), Self::needed(keep + tail.len()));
        if new > old && new - old > self.available() {
            return Err(Full);
        }
        self.write(head, keep, &[tail])
    }

    /// Writes `parts` from byte `at` of the chain, using its cells as far as they go, taking more
    /// and giving back the rest.
    fn write(&mut self, head: Handle, at: usize, parts: &[&[u8]]) -> Result<Handle, Full> {
        let mut head = head;
        let mut before = NIL;
        let mut cell = head;
        let mut offset = at;
        while offset >= CELL_BYTES && cell != NIL {
            before = cell;
            cell = self.cells[cell as usize].next;
            offset -= CELL_BYTES;
        }
        // `cell` is where the next byte goes, at `offset`; `before` is the one behind it.
        for part in parts {
            let mut rest = *part;
            while !rest.is_empty() {
                if offset == CELL_BYTES {
                    before = cell;
                    cell = self.cells[cell as usize].next;
                    offset = 0;
                }
                if cell == NIL {
                    cell = self.take()?;
                    match before {
                        NIL => head = cell,
                        before => self.cells[before as usize].next = cell,
                    }
                }
                let n = rest.len().min(CELL_BYTES - offset);
                let (now, later) = rest.split_at(n);
                copy_piece(&mut self.cells[cell as usize].bytes[offset..offset + n], now);
                rest = later;
                offset += n;
            }
        }
        // Cut the chain behind the last byte.
        let mut surplus = if offset == 0 {
            match before {
                NIL => core::mem::replace(&mut head, NIL),
                before => core::mem::replace(&mut self.cells[before as usize].next, NIL),
            }
        } else if cell != NIL {
            core::mem::replace(&mut self.cells[cell as usize].next, NIL)
        } else {
            NIL
        };
        while surplus != NIL {
            let next = self.cells[surplus as usize].next;
            self.give(surplus);
            surplus = next;
        }
        Ok(head)
    }

    /// Frees the chain at `head`.
    pub fn remove(&mut self, head: Handle) {
        let mut cell = head;
        while cell != NIL {
            let next = self.cells[cell as usize].next;
            self.give(cell);
            cell = next;
        }
    }

    /// The bytes `[from, from + len)` of the chain at `head`, piece by piece.
    pub fn chunks(&self, head: Handle, from: usize, len: usize) -> Chunks<'_> {
        let mut cell = head;
        let mut offset = from;
        while offset >= CELL_BYTES && cell != NIL {
            cell = self.cells[cell as usize].next;
            offset -= CELL_BYTES;
        }
        Chunks { cells: &self.cells, cell, offset, left: len }
    }

    /// Whether those bytes are `bytes`.
    pub fn equal(&self, head: Handle, from: usize, bytes: &[u8]) -> bool {
        let mut rest = bytes;
        for chunk in self.chunks(head, from, bytes.len()) {
            match rest.strip_prefix(chunk) {
                Some(r) => rest = r,
                None => return false,
            }
        }
        rest.is_empty()
    }

    /// Copies the first bytes of the chain into `out`, and returns how many there were.
    pub fn copy(&self, head: Handle, from: usize, out: &mut [u8]) -> usize {
        let mut at = 0;
        for chunk in self.chunks(head, from, out.len()) {
            if let Some(place) = out.get_mut(at..at + chunk.len()) {
                copy_piece(place, chunk);
                at += chunk.len();
            }
        }
        at
    }

    /// Copies those bytes to a sink.
    ///
    /// # Errors
    /// What the sink answers.
    pub fn put<S: Sink>(
        &self,
        head: Handle,
        from: usize,
        len: usize,
        sink: &mut S,
    ) -> Result<(), Full> {
        sink.put_pieces(len, self.chunks(head, from, len))
    }
}

/// Copies a piece of a byte string. Most are whole cells, and a copy of a length that the compiler
/// knows is a few instructions.
///
/// # Panics
/// If `place` is not as long as `piece`.
pub(crate) fn copy_piece(place: &mut [u8], piece: &[u8]) {
    if let (Ok(place), Ok(piece)) =
        (<&mut [u8; CELL_BYTES]>::try_from(&mut *place), <&[u8; CELL_BYTES]>::try_from(piece))
    {
        *place = *piece;
    } else {
        place.copy_from_slice(piece);
    }
}

/// Pieces of a byte string, in order.
#[derive(Clone, Debug)]
pub struct Chunks<'c> {
    cells: &'c [Cell],
    cell: Handle,
    offset: usize,
    left: usize,
}

impl<'c> Iterator for Chunks<'c> {
    type Item = &'c [u8];

    fn next(&mut self) -> Option<&'c [u8]> {
        if self.left == 0 || self.cell == NIL {
            return None;
        }
        let cell = &self.cells[self.cell as usize];
        let n = self.left.min(CELL_BYTES - self.offset);
        let chunk = &cell.bytes[self.offset..self.offset + n];
        self.left -= n;
        self.offset = 0;
        self.cell = cell.next;
        Some(chunk)
    }
}

#[cfg(test)]
mod tests {
    use std::vec;
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    fn read(cells: &Cells<'_>, head: Handle, len: usize) -> Vec<u8> {
        cells.chunks(head, 0, len).flatten().copied().collect()
    }

    #[test]
    fn what_fits_by_count_fits() {
        let mut storage = [Cell::EMPTY; 4];
        let mut cells = Cells::new(Table::lent(&mut storage));
        let whole = vec![7; 4 * CELL_BYTES];
        let head = cells.insert(&[&whole]).unwrap();
        assert_eq!(cells.available(), 0);
        assert_eq!(cells.insert(&[b"x"]), Err(Full));
        assert_eq!(cells.insert(&[]), Ok(NIL));
        // Freed in pieces, taken again as one.
        let head = cells.replace(head, whole.len(), 1, b"").unwrap();
        assert_eq!(cells.available(), 3);
        let again = cells.insert(&[&whole[..3 * CELL_BYTES]]).unwrap();
        assert_eq!(cells.available(), 0);
        cells.remove(again);
        cells.remove(head);
        assert!(cells.is_empty());
    }

    proptest! {
        #[test]
        fn chains_keep_what_was_written(
            ops in proptest::collection::vec(
                (0..8usize, 0..3usize, proptest::collection::vec(any::<u8>(), 0..100), 0..100usize),
                0..60,
            ),
        ) {
            let mut storage = [Cell::EMPTY; 20];
            let mut cells = Cells::new(Table::lent(&mut storage));
            let mut model: Vec<Option<(Handle, Vec<u8>)>> = vec![None; 8];
            for (at, what, bytes, keep) in ops {
                match (what, model[at].take()) {
                    (0, Some((head, _))) => cells.remove(head),
                    (1, Some((head, old))) => {
                        let keep = keep.min(old.len());
                        let before = cells.available();
                        match cells.replace(head, old.len(), keep, &bytes) {
                            Ok(head) => {
                                let new = [&old[..keep], &bytes].concat();
                                model[at] = Some((head, new));
                            }
                            Err(Full) => {
                                prop_assert!(
                                    Cells::needed(keep + bytes.len()) - Cells::needed(old.len())
                                        > before
                                );
                                model[at] = Some((head, old));
                            }
                        }
                    }
                    (_, Some(kept)) => model[at] = Some(kept),
                    (_, None) => match cells.insert(&[&bytes[..bytes.len() / 2], &bytes[bytes.len() / 2..]]) {
                        Ok(head) => model[at] = Some((head, bytes)),
                        Err(Full) => prop_assert!(Cells::needed(bytes.len()) > cells.available()),
                    },
                }
                let mut used = 0;
                for (head, bytes) in model.iter().flatten() {
                    prop_assert_eq!(&read(&cells, *head, bytes.len()), bytes);
                    prop_assert!(cells.equal(*head, 0, bytes));
                    used += Cells::needed(bytes.len());
                }
                prop_assert_eq!(cells.len(), used);
            }
        }
    }
}
