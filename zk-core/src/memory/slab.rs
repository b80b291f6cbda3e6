//! Entries with stable numbers, allocated and freed in any order.

use core::ops::{Index, IndexMut};

use super::{Full, Handle, NIL, Table};

/// What a [`Slab`] holds: a type that can remember, while it is vacant, which vacant entry
/// follows it.
pub trait Entry: Default {
    /// Makes this entry vacant, followed by `next`.
    fn vacate(&mut self, next: Handle);

    /// The vacant entry behind this one, or `None` if this one is in use.
    fn vacant(&self) -> Option<Handle>;
}

/// A table of entries, some of them vacant.
#[derive(Debug)]
pub struct Slab<'m, T> {
    items: Table<'m, T>,
    /// First vacant entry below `used`.
    free: Handle,
    /// Entries from here on were never used.
    used: usize,
    len: usize,
}

impl<'m, T: Entry> Slab<'m, T> {
    /// An empty slab in `items`.
    pub fn new(items: Table<'m, T>) -> Self {
        Self { items, free: NIL, used: 0, len: 0 }
    }

    /// Entries in use.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no entry is in use.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many entries can be in use at once.
    pub fn ceiling(&self) -> usize {
        // NIL is no number of an entry.
        self.items.ceiling().min(NIL as usize)
    }

    /// All entries that were ever used have numbers below this.
    pub fn used(&self) -> usize {
        self.used
    }

    /// Puts `value` into a vacant entry.
    ///
    /// # Errors
    /// [`Full`] when there is none.
    pub fn insert(&mut self, value: T) -> Result<Handle, Full> {
        let handle = if self.free != NIL {
            let handle = self.free;
            self.free = self[handle].vacant().unwrap_or(NIL);
            handle
        } else {
            let handle = Handle::try_from(self.used).map_err(|_| Full)?;
            if self.used >= self.ceiling() || !self.items.reach(self.used + 1) {
                return Err(Full);
            }
            self.used += 1;
            handle
        };
        self.len += 1;
        self[handle] = value;
        Ok(handle)
    }

    /// Vacates an entry that is in use.
    pub fn remove(&mut self, handle: Handle) {
        debug_assert!(self[handle].vacant().is_none(), "an entry is removed once");
        let next = self.free;
        self[handle].vacate(next);
        self.free = handle;
        self.len -= 1;
    }

    /// The entry of that number, if it is in use.
    pub fn get(&self, handle: Handle) -> Option<&T> {
        let at = handle as usize;
        if at >= self.used {
            return None;
        }
        self.items.get(at).filter(|item| item.vacant().is_none())
    }

    /// Forgets all entries.
    pub fn clear(&mut self) {
        self.free = NIL;
        self.used = 0;
        self.len = 0;
    }
}

impl<T> Index<Handle> for Slab<'_, T> {
    type Output = T;

    fn index(&self, handle: Handle) -> &T {
        &self.items[handle as usize]
    }
}

impl<T> IndexMut<Handle> for Slab<'_, T> {
    fn index_mut(&mut self, handle: Handle) -> &mut T {
        &mut self.items[handle as usize]
    }
}
