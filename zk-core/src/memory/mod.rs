//! Bounded storage: lent by the caller, or owned and growing up to a ceiling.
//!
//! Everything that the core remembers lies in a few tables. On a microcontroller they are slices
//! of statics; with the feature `alloc` they may be vectors that grow as they are used, never
//! past the ceiling that they were made with. One code path serves both: whoever holds a table
//! asks it to [`reach`](Table::reach) a length and is told whether it could.

mod cells;
mod index;
mod pipe;
mod records;
mod ring;
mod seeds;
mod sink;
mod slab;

use core::fmt;
use core::ops::{Deref, DerefMut};

pub(crate) use cells::copy_piece;
pub use cells::{CELL, CELL_BYTES, Cell, Cells, Chain, Chunks, Unit};
pub use index::{Index, Slot};
pub use pipe::Pipe;
pub use records::{Meta, Records};
pub use ring::Ring;
pub use seeds::Seeds;
pub use sink::Sink;
pub use slab::{Entry, Slab};

/// Number of an entry in a table.
///
/// Compile with `--cfg zk_handle16` for a peer of fewer than 65,535 nodes and cells: a node then
/// takes 80 bytes instead of 96, a cell 16 instead of 32.
#[cfg(not(zk_handle16))]
pub type Handle = u32;
/// Number of an entry in a table.
#[cfg(zk_handle16)]
pub type Handle = u16;

/// No entry.
pub const NIL: Handle = Handle::MAX;

/// A limit of capacity is reached. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a limit of the peer's capacity is reached")
    }
}

impl core::error::Error for Full {}

/// A row of entries, lent or owned.
pub struct Table<'m, T> {
    place: Place<'m, T>,
}

enum Place<'m, T> {
    Lent(&'m mut [T]),
    #[cfg(feature = "alloc")]
    Owned {
        items: alloc::vec::Vec<T>,
        ceiling: usize,
    },
}

impl<'m, T: Default> Table<'m, T> {
    /// A table in storage of the caller's: all its entries exist from the start.
    pub fn lent(items: &'m mut [T]) -> Self {
        Self { place: Place::Lent(items) }
    }

    /// A table that allocates as it grows, up to `ceiling` entries.
    #[cfg(feature = "alloc")]
    pub const fn owned(ceiling: usize) -> Self {
        Self { place: Place::Owned { items: alloc::vec::Vec::new(), ceiling } }
    }

    /// How many entries there can ever be.
    pub fn ceiling(&self) -> usize {
        match &self.place {
            Place::Lent(items) => items.len(),
            #[cfg(feature = "alloc")]
            Place::Owned { ceiling, .. } => *ceiling,
        }
    }

    /// Gives the memory of an owned table back, with all its entries.
    pub fn release(&mut self) {
        #[cfg(feature = "alloc")]
        if let Place::Owned { items, .. } = &mut self.place {
            *items = alloc::vec::Vec::new();
        }
    }

    /// Makes sure that the first `len` entries exist; `false` if they cannot.
    ///
    /// An owned table grows entry by entry into memory that its vector reserves ahead, so that
    /// growth never touches more than is used.
    #[must_use]
    pub fn reach(&mut self, len: usize) -> bool {
        match &mut self.place {
            Place::Lent(items) => len <= items.len(),
            #[cfg(feature = "alloc")]
            Place::Owned { items, ceiling } => {
                if len > *ceiling {
                    return false;
                }
                if items.len() < len {
                    items.resize_with(len, T::default);
                }
                true
            }
        }
    }
}

/// Nothing: an owned table that must not grow, or no storage at all.
impl<T: Default> Default for Table<'_, T> {
    fn default() -> Self {
        Self::lent(&mut [])
    }
}

impl<T> Deref for Table<'_, T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match &self.place {
            Place::Lent(items) => items,
            #[cfg(feature = "alloc")]
            Place::Owned { items, .. } => items,
        }
    }
}

impl<T> DerefMut for Table<'_, T> {
    fn deref_mut(&mut self) -> &mut [T] {
        match &mut self.place {
            Place::Lent(items) => items,
            #[cfg(feature = "alloc")]
            Place::Owned { items, .. } => items,
        }
    }
}

impl<T> fmt::Debug for Table<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Table({})", self.len())
    }
}
