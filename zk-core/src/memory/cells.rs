//! Byte strings in chains of small cells.
//!
//! A cell is content and a link to the next one; the last cell of a chain has no next one, and holds
//! content there, too. So a chain of `n` bytes takes [`Cells::needed`] cells, wherever they lie: what
//! fits by count always fits, however fragmented the table is, and nothing is ever moved. A chain that
//! was written into fresh cells lies in consecutive memory.

use super::{Full, Handle, NIL, Sink, Table};

/// Bytes of a cell: a power of two.
pub const CELL: usize = 8 * LINK;

/// Bytes of a link to the next cell.
const LINK: usize = size_of::<Handle>();

/// Bytes of the smallest cell that a peer has: of one with `--cfg zk_handle16`.
const SMALLEST: usize = 16;
#[cfg(zk_handle16)]
const _: () = assert!(CELL == SMALLEST);

/// Bytes of content in a cell that has a next one; the last one of a chain holds more.
pub const CELL_BYTES: usize = CELL - LINK;

/// A piece of a byte string, and where the next one lies, or more of it.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(zk_handle16), repr(align(4)))]
#[cfg_attr(zk_handle16, repr(align(2)))]
pub struct Cell {
    bytes: [u8; CELL],
}

impl Cell {
    /// Contents do not matter while a cell is free.
    pub const EMPTY: Self = Self { bytes: [0; CELL] };

    fn link(&self) -> Handle {
        self.bytes.last_chunk().map_or(NIL, |link| Handle::from_ne_bytes(*link))
    }

    fn set_link(&mut self, to: Handle) {
        if let Some(link) = self.bytes.last_chunk_mut() {
            *link = to.to_ne_bytes();
        }
    }
}

impl Default for Cell {
    fn default() -> Self {
        Self::EMPTY
    }
}

/// A byte string in cells: its holder keeps both.
#[derive(Clone, Copy, Debug)]
pub struct Chain {
    /// The first cell; [`NIL`] if there are no bytes.
    pub head: Handle,
    /// Bytes.
    pub len: usize,
}

/// The cells in which a peer says how much it holds: its own, or smaller ones of others.
///
/// What is full is decided by who leads, for all. A peer with larger cells that leads smaller ones must
/// count as they do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unit {
    /// Bytes of a cell. Those who have the smallest count in no other.
    #[cfg(not(zk_handle16))]
    cell: usize,
}

impl Unit {
    /// The peer's own.
    pub const OWN: Self = Self {
        #[cfg(not(zk_handle16))]
        cell: CELL,
    };

    /// The smallest that a peer has: one with `--cfg zk_handle16`.
    pub const SMALLEST: Self = Self {
        #[cfg(not(zk_handle16))]
        cell: SMALLEST,
    };

    /// Bytes of one.
    pub const fn bytes(self) -> usize {
        #[cfg(zk_handle16)]
        return CELL;
        #[cfg(not(zk_handle16))]
        self.cell
    }

    /// As [`Cells::needed`].
    pub const fn needed(self, bytes: usize) -> usize {
        // An eighth of a cell is the link.
        let cell = self.bytes();
        if bytes <= cell {
            return (bytes > 0) as usize;
        }
        (bytes - cell / 8).div_ceil(cell - cell / 8)
    }

    /// How many more a string may take when it grows by `bytes` bytes, however long it is.
    pub const fn grown(self, bytes: usize) -> usize {
        let cell = self.bytes();
        bytes.div_ceil(cell - cell / 8)
    }
}

/// All byte strings of a peer's tables.
#[derive(Debug)]
pub struct Cells<'m> {
    cells: Table<'m, Cell>,
    unit: Unit,
    free: Handle,
    used: usize,
    /// In units.
    len: usize,
}

impl<'m> Cells<'m> {
    /// No chains yet.
    pub fn new(cells: Table<'m, Cell>) -> Self {
        Self::counted(cells, Unit::OWN)
    }

    /// No chains yet; as many units as there are cells.
    pub fn counted(cells: Table<'m, Cell>, unit: Unit) -> Self {
        Self { cells, unit, free: NIL, used: 0, len: 0 }
    }

    /// How many cells a string of `bytes` bytes takes.
    pub const fn needed(bytes: usize) -> usize {
        Unit::OWN.needed(bytes)
    }

    /// What is counted in.
    pub fn unit(&self) -> Unit {
        self.unit
    }

    /// Cells in use.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no cell is in use.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Cells that can still be taken. There are as many: a string takes no more cells than units.
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
            self.free = self.cells[at as usize].link();
            at
        } else {
            let at = Handle::try_from(self.used).map_err(|_| Full)?;
            if at == NIL || !self.cells.reach(self.used + 1) {
                return Err(Full);
            }
            self.used += 1;
            at
        };
        Ok(at)
    }

    /// Gives back `count` cells of a chain, from `cell` on.
    fn give(&mut self, cell: Handle, count: usize) {
        let mut at = cell;
        for _ in 0..count {
            let cell = &mut self.cells[at as usize];
            let next = cell.link();
            cell.set_link(self.free);
            self.free = at;
            at = next;
        }
    }

    /// Stores the concatenation of `parts`, and returns the chain's head.
    ///
    /// # Errors
    /// [`Full`]; then nothing is stored.
    pub fn insert(&mut self, parts: &[&[u8]]) -> Result<Handle, Full> {
        let empty = Chain { head: NIL, len: 0 };
        self.write(empty, 0, &[], parts)
    }

    /// Replaces everything behind the first `keep` bytes of a chain by `tail`, in place, and returns
    /// the new head.
    ///
    /// # Errors
    /// [`Full`]; then nothing has changed.
    pub fn replace(&mut self, chain: Chain, keep: usize, tail: &[u8]) -> Result<Handle, Full> {
        // What is kept stays where it is, but for a few bytes: where one of the two chains ends, the
        // other goes on in the next cell.
        let (had, need) = (Self::needed(chain.len), Self::needed(keep + tail.len()));
        let from = keep.min(had.min(need) * CELL_BYTES);
        let mut moved = [0; LINK];
        let moved = moved.get_mut(..keep - from).ok_or(Full)?;
        self.copy(chain, from, moved);
        self.write(chain, from, moved, &[tail])
    }

    /// Writes `first` and `parts` from byte `from` of the chain, using its cells as far as they go,
    /// taking more and giving back the rest. `from` is in a cell of both, or at the end of one.
    fn write(
        &mut self,
        chain: Chain,
        from: usize,
        first: &[u8],
        parts: &[&[u8]],
    ) -> Result<Handle, Full> {
        let total = from + first.len() + parts.iter().map(|part| part.len()).sum::<usize>();
        let (had, need) = (Self::needed(chain.len), Self::needed(total));
        let len = self.len - self.unit.needed(chain.len) + self.unit.needed(total);
        if len > self.len && len - self.len > self.available() {
            return Err(Full);
        }
        let mut head = chain.head;
        let mut before = NIL;
        let mut cell = head;
        let begin = (from / CELL_BYTES).min(need.saturating_sub(1));
        for at in 0..begin {
            before = cell;
            cell = if at + 1 < had { self.cells[cell as usize].link() } else { NIL };
        }
        let mut offset = from - begin * CELL_BYTES;
        let mut parts = parts.iter();
        let mut rest = first;
        for at in begin..need {
            // The last cell's link may be overwritten.
            let mut next = NIL;
            if at < had {
                next = self.cells[cell as usize].link();
            } else {
                cell = self.take()?;
                match before {
                    NIL => head = cell,
                    before => self.cells[before as usize].set_link(cell),
                }
            }
            let end = if at + 1 < need { CELL_BYTES } else { CELL };
            while offset < end {
                if rest.is_empty() {
                    match parts.next() {
                        Some(part) => rest = part,
                        None => break,
                    }
                }
                let (now, later) = rest.split_at(rest.len().min(end - offset));
                let place = offset..offset + now.len();
                copy_piece(&mut self.cells[cell as usize].bytes[place], now);
                offset += now.len();
                rest = later;
            }
            offset = 0;
            before = cell;
            cell = next;
        }
        if need < had {
            self.give(cell, had - need);
        }
        self.len = len;
        Ok(if need == 0 { NIL } else { head })
    }

    /// Frees a chain.
    pub fn remove(&mut self, chain: Chain) {
        self.give(chain.head, Self::needed(chain.len));
        self.len -= self.unit.needed(chain.len);
    }

    /// The bytes `[from, from + len)` of a chain, piece by piece.
    pub fn chunks(&self, chain: Chain, from: usize, len: usize) -> Chunks<'_> {
        let Chain { head: mut cell, len: mut rest } = chain;
        let mut offset = from.min(rest);
        let left = len.min(rest - offset);
        while rest > CELL && offset >= CELL_BYTES {
            cell = self.cells[cell as usize].link();
            rest -= CELL_BYTES;
            offset -= CELL_BYTES;
        }
        Chunks { cells: &self.cells, chain: Chain { head: cell, len: rest }, offset, left }
    }

    /// Whether those bytes are `bytes`.
    pub fn equal(&self, chain: Chain, from: usize, bytes: &[u8]) -> bool {
        let mut rest = bytes;
        for chunk in self.chunks(chain, from, bytes.len()) {
            match rest.strip_prefix(chunk) {
                Some(r) => rest = r,
                None => return false,
            }
        }
        rest.is_empty()
    }

    /// Fills `out` with the bytes from `from` on, and returns how many there were.
    pub fn copy(&self, chain: Chain, from: usize, out: &mut [u8]) -> usize {
        let mut at = 0;
        for chunk in self.chunks(chain, from, out.len()) {
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
        chain: Chain,
        from: usize,
        len: usize,
        sink: &mut S,
    ) -> Result<(), Full> {
        sink.put_pieces(len, self.chunks(chain, from, len))
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
    /// From the cell of the next piece on.
    chain: Chain,
    offset: usize,
    left: usize,
}

impl<'c> Iterator for Chunks<'c> {
    type Item = &'c [u8];

    fn next(&mut self) -> Option<&'c [u8]> {
        if self.left == 0 {
            return None;
        }
        let cell = &self.cells[self.chain.head as usize];
        let last = self.chain.len <= CELL;
        let end = if last { self.chain.len } else { CELL_BYTES };
        let n = self.left.min(end - self.offset);
        let chunk = &cell.bytes[self.offset..self.offset + n];
        self.left -= n;
        self.offset = 0;
        if !last {
            self.chain = Chain { head: cell.link(), len: self.chain.len - CELL_BYTES };
        }
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
        cells.chunks(Chain { head, len }, 0, len).flatten().copied().collect()
    }

    #[test]
    fn what_fits_by_count_fits() {
        let mut storage = [Cell::EMPTY; 4];
        let mut cells = Cells::new(Table::lent(&mut storage));
        let whole = vec![7; 4 * CELL_BYTES + LINK];
        assert_eq!(cells.insert(&[&whole, b"x"]), Err(Full));
        let head = cells.insert(&[&whole]).unwrap();
        assert_eq!(cells.available(), 0);
        assert_eq!(cells.insert(&[b"x"]), Err(Full));
        assert_eq!(cells.insert(&[]), Ok(NIL));
        // Freed in pieces, taken again as one.
        let head = cells.replace(Chain { head, len: whole.len() }, 1, b"").unwrap();
        assert_eq!(cells.available(), 3);
        let len = 3 * CELL_BYTES + LINK;
        let again = cells.insert(&[&whole[..len]]).unwrap();
        assert_eq!(cells.available(), 0);
        cells.remove(Chain { head: again, len });
        cells.remove(Chain { head, len: 1 });
        assert!(cells.is_empty());
    }

    /// From every length to every other, with every length kept: no byte is lost where a cell becomes
    /// the last one, or no longer is.
    #[test]
    fn chains_grow_and_shrink() {
        let most = 3 * CELL;
        let bytes: Vec<u8> = (0..2 * most).map(|at| at as u8).collect();
        let mut storage = vec![Cell::EMPTY; Cells::needed(most)];
        let mut cells = Cells::new(Table::lent(&mut storage));
        for old in 0..=most {
            for keep in 0..=old {
                for new in keep..=most {
                    let chain = Chain { head: cells.insert(&[&bytes[..old]]).unwrap(), len: old };
                    let tail = &bytes[most..most + new - keep];
                    let head = cells.replace(chain, keep, tail).unwrap();
                    assert_eq!(cells.len(), Cells::needed(new));
                    assert!(
                        Cells::needed(new)
                            <= Cells::needed(old) + Unit::OWN.grown(new.saturating_sub(old))
                    );
                    let expected = [&bytes[..keep], tail].concat();
                    assert_eq!(read(&cells, head, new), expected, "{old} {keep} {new}");
                    cells.remove(Chain { head, len: new });
                    assert!(cells.is_empty());
                }
            }
        }
    }

    /// Counted in the cells of the smallest, a table is full when theirs is, and never before its own
    /// cells are all in use.
    #[test]
    #[cfg(not(zk_handle16))]
    fn a_table_is_full_when_a_table_of_smaller_cells_is() {
        let unit = Unit::SMALLEST;
        // As a board needs: 14 bytes in each, and 16 in the last.
        let lengths = [0, 1, 16, 17, 30, 31, 44, 45, 512];
        assert_eq!(lengths.map(|len| unit.needed(len)), [0, 1, 1, 2, 2, 3, 3, 4, 37]);
        for bytes in 0..4 * CELL {
            assert!(Cells::needed(bytes) <= unit.needed(bytes), "{bytes}");
            assert!((0..CELL).all(|more| {
                unit.needed(bytes + more) <= unit.needed(bytes) + unit.grown(more)
            }));
        }
        let mut storage = [Cell::EMPTY; 4];
        let mut cells = Cells::counted(Table::lent(&mut storage), unit);
        assert_eq!(cells.insert(&[&[7; 59]]), Err(Full));
        let chain = Chain { head: cells.insert(&[&[7; 31]]).unwrap(), len: 31 };
        assert_eq!((cells.len(), cells.available()), (3, 1));
        assert_eq!(cells.replace(chain, 31, &[7; 28]), Err(Full));
        let chain = Chain { head: cells.replace(chain, 31, &[7; 27]).unwrap(), len: 58 };
        assert_eq!((cells.available(), read(&cells, chain.head, 58)), (0, vec![7; 58]));
        let chain = Chain { head: cells.replace(chain, 16, &[]).unwrap(), len: 16 };
        assert_eq!(cells.len(), 1);
        cells.remove(chain);
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
                    (0, Some((head, old))) => cells.remove(Chain { head, len: old.len() }),
                    (1, Some((head, old))) => {
                        let keep = keep.min(old.len());
                        let before = cells.available();
                        match cells.replace(Chain { head, len: old.len() }, keep, &bytes) {
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
                    let chain = Chain { head: *head, len: bytes.len() };
                    prop_assert!(cells.equal(chain, 0, bytes));
                    let from = bytes.len() / 3;
                    prop_assert!(cells.equal(chain, from, &bytes[from..]));
                    let piece: Vec<u8> = cells.chunks(chain, from, from).flatten().copied().collect();
                    prop_assert_eq!(&piece[..], &bytes[from..from + from]);
                    used += Cells::needed(bytes.len());
                }
                prop_assert_eq!(cells.len(), used);
            }
        }
    }
}
