//! A long list of children, told a slice at a time while the tree changes.
//!
//! The list is that of the moment when it began. Children are linked, the newest first, so none that
//! is created later lies ahead of the walk. One mark for each node says that it is not to be told (any
//! more); a child that goes unmarked is told at once, into a queue that the next slice begins with.

use super::DataTree;
use crate::memory::{Full, Handle, NIL, Pipe, Sink, Table};

/// Storage of the list that is being told. Without it, lists are told in one go.
#[derive(Debug, Default)]
pub struct Storage<'m> {
    /// Marks: a bit for each node.
    pub marks: Table<'m, u8>,
    /// Names of children that went before they were told.
    pub missed: Table<'m, u8>,
}

/// The list that is being told, if any.
#[derive(Debug)]
pub(super) struct Listing<'m> {
    /// Whose children; NIL: nobody's.
    parent: Handle,
    /// The next to be told; NIL: none.
    next: Handle,
    marks: Table<'m, u8>,
    /// Nodes that have a mark.
    marked: usize,
    missed: Pipe<'m>,
    /// More was missed than there is room for.
    lost: bool,
}

/// How far a list has been told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// There is more.
    More,
    /// That was all.
    All,
    /// Too much has changed: it must be begun again.
    Lost,
}

impl<'m> Listing<'m> {
    pub(super) fn new(storage: Storage<'m>) -> Self {
        let Storage { marks, missed } = storage;
        let missed = Pipe::new(missed);
        Self { parent: NIL, next: NIL, marks, marked: 0, missed, lost: false }
    }

    pub(super) fn end(&mut self) {
        self.parent = NIL;
        self.next = NIL;
        self.missed.clear();
        self.missed.shrink();
        self.lost = false;
    }

    /// Marks a node; whether it was marked. Nodes that were added behind the last mark count as
    /// marked.
    fn mark(&mut self, at: Handle) -> bool {
        if at as usize >= self.marked {
            return true;
        }
        let Some(byte) = self.marks.get_mut(at as usize / 8) else { return true };
        let bit = 1 << (at % 8);
        let before = *byte & bit != 0;
        *byte |= bit;
        before
    }

    /// A node was born below `parent`.
    pub(super) fn born(&mut self, at: Handle, parent: Handle) {
        if parent == self.parent {
            self.mark(at);
        }
    }
}

impl DataTree<'_> {
    /// Begins to tell the children of a node; a list that was begun before is forgotten. `false` if
    /// there is no room for marks: it must be told in one go.
    pub fn listing_begin(&mut self, at: Handle) -> bool {
        let marked = self.nodes.used();
        let bytes = marked.div_ceil(8);
        let first = self.children(at).next().unwrap_or(NIL);
        let listing = &mut self.listing;
        listing.end();
        if !listing.marks.reach(bytes) {
            return false;
        }
        listing.marks[..bytes].fill(0);
        listing.marked = marked;
        listing.parent = at;
        listing.next = first;
        true
    }

    /// Tells up to `most` of them, and those that went meanwhile, as `ustring`s.
    ///
    /// # Errors
    /// [`Full`] when `out` is full; then begin again.
    pub fn listing_step(&mut self, most: usize, out: &mut Pipe<'_>) -> Result<Told, Full> {
        if self.listing.lost {
            return Ok(Told::Lost);
        }
        out.put(self.listing.missed.bytes())?;
        self.listing.missed.clear();
        for _ in 0..most {
            let at = self.listing.next;
            if at == NIL {
                return Ok(Told::All);
            }
            self.listing.mark(at);
            self.put_name(at, out)?;
            self.listing.next = self.nodes[at].next;
        }
        Ok(Told::More)
    }

    /// Forgets the list.
    pub fn listing_end(&mut self) {
        self.listing.end();
    }

    /// Before a node goes: tells its name, if it is in the list and was not told.
    pub(super) fn tell_before(&mut self, at: Handle) {
        let node = &self.nodes[at];
        if node.parent != self.listing.parent {
            return;
        }
        if self.listing.next == at {
            self.listing.next = node.next;
        }
        if !self.listing.mark(at) {
            let mut missed = core::mem::take(&mut self.listing.missed);
            self.listing.lost |= self.put_name(at, &mut missed).is_err();
            self.listing.missed = missed;
        }
    }
}
