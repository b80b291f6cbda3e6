//! Memory of a board, lent to a peer once and for good.
//!
//! ```text
//! static ARENA: Arena<{ TINY.ram::<Nor>() }> = Arena::new();
//! let mut ram = ARENA.take().expect("it is taken once");
//! ```
use core::cell::UnsafeCell;
use core::mem::{MaybeUninit, align_of, size_of};
use core::sync::atomic::{AtomicBool, Ordering};

use zk_embedded::profile::Ram;

/// So many bytes.
#[derive(Debug)]
pub struct Arena<const LEN: usize> {
    bytes: UnsafeCell<[MaybeUninit<u8>; LEN]>,
    taken: AtomicBool,
}

// SAFETY: the bytes are reached through `take` alone, which gives them away once.
unsafe impl<const LEN: usize> Sync for Arena<LEN> {}

impl<const LEN: usize> Arena<LEN> {
    /// All of it, as a `static`: it takes no flash.
    pub const fn new() -> Self {
        Self {
            bytes: UnsafeCell::new([const { MaybeUninit::uninit() }; LEN]),
            taken: AtomicBool::new(false),
        }
    }

    /// Gives the memory away; to who asks first.
    pub fn take(&'static self) -> Option<Lent> {
        // Boards without compare-and-swap have one core, and ask before they allow interrupts.
        if self.taken.load(Ordering::Acquire) {
            return None;
        }
        self.taken.store(true, Ordering::Release);
        // SAFETY: it was not taken before, and is not taken again.
        Some(Lent { rest: unsafe { &mut *self.bytes.get() } })
    }
}

impl<const LEN: usize> Default for Arena<LEN> {
    fn default() -> Self {
        Self::new()
    }
}

/// What was not lent yet.
#[derive(Debug)]
pub struct Lent {
    rest: &'static mut [MaybeUninit<u8>],
}

impl Lent {
    /// Bytes that were not lent.
    pub fn left(&self) -> usize {
        self.rest.len()
    }

    /// A piece for so many entries, aligned for them; nothing else has it.
    fn room<T: 'static>(&mut self, len: usize) -> *mut T {
        self.piece(align_of::<T>(), len * size_of::<T>()).as_mut_ptr().cast()
    }

    // Once, and not for each table: that is nearly 1 KB of flash.
    #[inline(never)]
    fn piece(&mut self, align: usize, len: usize) -> &'static mut [MaybeUninit<u8>] {
        let rest = core::mem::take(&mut self.rest);
        let skip = rest.as_ptr().align_offset(align);
        let (piece, rest) = rest[skip..].split_at_mut(len);
        self.rest = rest;
        piece
    }
}

impl Ram<'static> for Lent {
    /// # Panics
    /// When there is not enough: `Profile::ram` says how much a profile takes.
    fn lend<T: 'static>(&mut self, len: usize, mut entry: impl FnMut() -> T) -> &'static mut [T] {
        let first = self.room::<T>(len);
        for at in 0..len {
            // SAFETY: the piece is aligned for `T`, has room for `len` of them, and is nobody else's.
            unsafe { first.add(at).write(entry()) };
        }
        // SAFETY: as above, and all `len` of them were written.
        unsafe { core::slice::from_raw_parts_mut(first, len) }
    }

    /// # Panics
    /// As [`lend`](Self::lend).
    fn place<T: 'static>(&mut self, make: impl FnOnce() -> T) -> &'static mut T {
        let place = self.room::<T>(1);
        // SAFETY: the piece is aligned for `T`, has room for one, and is nobody else's.
        unsafe {
            place.write(make());
            &mut *place
        }
    }
}
