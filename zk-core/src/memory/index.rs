//! From hashes to handles: open addressing that grows a few slots per operation.

use super::{Full, Handle};

/// A slot: hash in the high half, handle plus one in the low half; 0 is empty, so that fresh
/// memory of the operating system needs no initialising.
#[cfg(not(zk_handle16))]
pub type Slot = u64;
/// A slot: hash in the high half, handle plus one in the low half; 0 is empty.
#[cfg(zk_handle16)]
pub type Slot = u32;

const EMPTY: Slot = 0;

/// Slots moved to the larger table by every change while the index grows. Growth starts at 3/4 of
/// the smaller table, and the larger one fills to 3/4 no sooner than after that many changes again
/// as there are slots to move.
#[cfg(feature = "alloc")]
const MOVED_PER_CHANGE: usize = 8;

/// The smallest table that an owned index allocates.
#[cfg(feature = "alloc")]
const SMALLEST: usize = 64;

fn slot(hash: Handle, handle: Handle) -> Slot {
    (Slot::from(hash) << Handle::BITS) | (Slot::from(handle) + 1)
}

fn hash_of(slot: Slot) -> Handle {
    (slot >> Handle::BITS) as Handle
}

fn handle_of(slot: Slot) -> Handle {
    (slot as Handle).wrapping_sub(1)
}

/// One power of two of slots.
#[derive(Debug)]
struct Slots<'m> {
    slots: Place<'m>,
    len: usize,
}

#[derive(Debug)]
enum Place<'m> {
    Lent(&'m mut [Slot]),
    #[cfg(feature = "alloc")]
    Owned(alloc::vec::Vec<Slot>),
}

impl Slots<'_> {
    #[cfg(feature = "alloc")]
    fn allocate(size: usize) -> Self {
        Self { slots: Place::Owned(alloc::vec![EMPTY; size]), len: 0 }
    }

    fn slots(&self) -> &[Slot] {
        match &self.slots {
            Place::Lent(slots) => slots,
            #[cfg(feature = "alloc")]
            Place::Owned(slots) => slots,
        }
    }

    fn slots_mut(&mut self) -> &mut [Slot] {
        match &mut self.slots {
            Place::Lent(slots) => slots,
            #[cfg(feature = "alloc")]
            Place::Owned(slots) => slots,
        }
    }

    fn find(&self, hash: Handle, mut is: impl FnMut(Handle) -> bool) -> Option<usize> {
        let mut step = 0;
        loop {
            let at = self.candidate(hash, &mut step)?;
            if is(handle_of(self.slots()[at])) {
                return Some(at);
            }
        }
    }

    // One copy of the probing serves every kind of entry.
    /// The next slot with that hash, `step` slots behind its home or later.
    fn candidate(&self, hash: Handle, step: &mut usize) -> Option<usize> {
        let slots = self.slots();
        let mask = slots.len().checked_sub(1)?;
        // Never all slots are taken, but no loop without a bound.
        while *step <= mask {
            let at = (hash as usize).wrapping_add(*step) & mask;
            *step += 1;
            let found = slots[at];
            if found == EMPTY {
                return None;
            }
            if hash_of(found) == hash {
                return Some(at);
            }
        }
        None
    }

    fn insert(&mut self, new: Slot) {
        let slots = self.slots_mut();
        let mask = slots.len() - 1;
        let mut at = hash_of(new) as usize & mask;
        while slots[at] != EMPTY {
            at = (at + 1) & mask;
        }
        slots[at] = new;
        self.len += 1;
    }

    /// Empties slot `at` and moves later slots of its cluster up, so that no probe meets a gap.
    fn remove(&mut self, at: usize) {
        let slots = self.slots_mut();
        let mask = slots.len() - 1;
        let mut gap = at;
        let mut next = (at + 1) & mask;
        while slots[next] != EMPTY && next != at {
            let home = hash_of(slots[next]) as usize & mask;
            // It may move into the gap unless its home lies behind the gap.
            if (next.wrapping_sub(home) & mask) >= (next.wrapping_sub(gap) & mask) {
                slots[gap] = slots[next];
                gap = next;
            }
            next = (next + 1) & mask;
        }
        slots[gap] = EMPTY;
        self.len -= 1;
    }
}

/// A map from hashes to handles; whoever holds the entries tells equal hashes apart.
#[derive(Debug)]
pub struct Index<'m> {
    current: Slots<'m>,
    #[cfg(feature = "alloc")]
    growing: Option<Growing>,
    #[cfg(feature = "alloc")]
    ceiling: usize,
}

/// The smaller table whose slots are on their way to the current one.
#[cfg(feature = "alloc")]
#[derive(Debug)]
struct Growing {
    from: Slots<'static>,
    /// Next slot to move. All clusters before it are gone; it stands at the start of one.
    at: usize,
    left: usize,
}

impl<'m> Index<'m> {
    /// An index in `slots`, of which the largest power of two is used, to 7/8.
    pub fn lent(slots: &'m mut [Slot]) -> Self {
        let size = match slots.len() {
            0 => 0,
            n => 1 << n.ilog2(),
        };
        let slots = &mut slots[..size];
        slots.fill(EMPTY);
        Self {
            current: Slots { slots: Place::Lent(slots), len: 0 },
            #[cfg(feature = "alloc")]
            growing: None,
            #[cfg(feature = "alloc")]
            ceiling: 0,
        }
    }

    /// An index that allocates as it grows, up to `ceiling` entries.
    #[cfg(feature = "alloc")]
    pub const fn owned(ceiling: usize) -> Self {
        Self {
            current: Slots { slots: Place::Owned(alloc::vec::Vec::new()), len: 0 },
            growing: None,
            ceiling,
        }
    }

    /// Entries.
    pub fn len(&self) -> usize {
        #[cfg(feature = "alloc")]
        if let Some(growing) = &self.growing {
            return self.current.len + growing.from.len;
        }
        self.current.len
    }

    /// Whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many entries there can ever be.
    pub fn ceiling(&self) -> usize {
        match &self.current.slots {
            Place::Lent(slots) => slots.len() / 8 * 7,
            #[cfg(feature = "alloc")]
            Place::Owned(_) => self.ceiling,
        }
    }

    /// The entry with that hash for which `is` holds.
    pub fn find(&self, hash: Handle, mut is: impl FnMut(Handle) -> bool) -> Option<Handle> {
        if let Some(at) = self.current.find(hash, &mut is) {
            return Some(handle_of(self.current.slots()[at]));
        }
        #[cfg(feature = "alloc")]
        if let Some(growing) = &self.growing {
            let at = growing.from.find(hash, &mut is)?;
            return Some(handle_of(growing.from.slots()[at]));
        }
        None
    }

    /// Adds an entry that is not there yet.
    ///
    /// # Errors
    /// [`Full`] at the ceiling.
    pub fn insert(&mut self, hash: Handle, handle: Handle) -> Result<(), Full> {
        if self.len() >= self.ceiling() {
            return Err(Full);
        }
        self.grow();
        self.current.insert(slot(hash, handle));
        Ok(())
    }

    /// Removes an entry, if it is there.
    pub fn remove(&mut self, hash: Handle, handle: Handle) {
        self.grow();
        let found = self.current.find(hash, |h| h == handle);
        if let Some(at) = found {
            self.current.remove(at);
        }
        #[cfg(feature = "alloc")]
        if found.is_none()
            && let Some(growing) = &mut self.growing
            && let Some(at) = growing.from.find(hash, |h| h == handle)
        {
            growing.from.remove(at);
        }
    }

    /// Removes all entries.
    pub fn clear(&mut self) {
        self.current.slots_mut().fill(EMPTY);
        self.current.len = 0;
        #[cfg(feature = "alloc")]
        {
            self.growing = None;
        }
    }

    #[cfg(not(feature = "alloc"))]
    fn grow(&mut self) {}

    #[cfg(feature = "alloc")]
    fn grow(&mut self) {
        if matches!(self.current.slots, Place::Lent(_)) {
            return;
        }
        if let Some(growing) = &mut self.growing {
            let size = growing.from.slots().len();
            let mask = size - 1;
            let mut moved = 0;
            // A cluster moves as a whole: none is ever cut in two.
            while growing.left > 0 {
                let found = growing.from.slots()[growing.at];
                if found == EMPTY && moved >= MOVED_PER_CHANGE {
                    break;
                }
                if found != EMPTY {
                    self.current.insert(found);
                    growing.from.slots_mut()[growing.at] = EMPTY;
                    growing.from.len -= 1;
                }
                growing.at = (growing.at + 1) & mask;
                growing.left -= 1;
                moved += 1;
            }
            if growing.left == 0 {
                self.growing = None;
            }
            return;
        }
        let size = self.current.slots().len();
        if (self.current.len + 1) * 4 <= size * 3 {
            return;
        }
        let larger = Slots::allocate((size * 2).max(SMALLEST));
        let old = core::mem::replace(&mut self.current, larger);
        let Place::Owned(slots) = old.slots else { return };
        if old.len == 0 {
            return;
        }
        // Start behind an empty slot, so that no cluster lies across the start.
        let at = slots.iter().position(|&s| s == EMPTY).unwrap_or(0);
        let left = slots.len();
        self.growing =
            Some(Growing { from: Slots { slots: Place::Owned(slots), len: old.len }, at, left });
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn run(index: &mut Index<'_>, ops: &[(bool, u16)], spread: u16) {
        // Handles are keys here; the hash is a bad one on purpose, so that clusters are long.
        let hash = |key: u16| Handle::from(key / spread).wrapping_mul(7);
        let mut model = BTreeSet::new();
        for &(add, key) in ops {
            let handle = Handle::from(key);
            if add && !model.contains(&key) {
                match index.insert(hash(key), handle) {
                    Ok(()) => {
                        model.insert(key);
                    }
                    Err(Full) => assert_eq!(model.len(), index.ceiling()),
                }
            } else if !add {
                index.remove(hash(key), handle);
                model.remove(&key);
            }
            assert_eq!(index.len(), model.len());
        }
        for key in 0..1000 {
            let handle = Handle::from(key);
            let found = index.find(hash(key), |h| h == handle);
            assert_eq!(found.is_some(), model.contains(&key), "key {key}");
        }
    }

    proptest! {
        #[test]
        fn an_index_finds_what_is_in_it(
            ops in proptest::collection::vec((proptest::bool::weighted(0.7), 0..1000u16), 0..2000),
            spread in 1..40u16,
        ) {
            let mut slots = [EMPTY; 300];
            run(&mut Index::lent(&mut slots), &ops, spread);
            #[cfg(feature = "alloc")]
            run(&mut Index::owned(800), &ops, spread);
        }
    }
}
