//! Memory of a small profile, lent: all of it is counted.

use std::boxed::Box;
use std::vec::Vec;

use crate::flash;
use crate::profile::{Profile, Ram, TINY};

/// What the boards of the tests hold: a flash of words and small blocks.
pub(super) const PROFILE: Profile =
    Profile { blocks: FLASH.blocks - 1, write: FLASH.write, ..TINY };

/// Servers of an ensemble.
pub(super) const SERVERS: usize = PROFILE.servers;
/// Clients' sockets.
pub(super) const CLIENTS: usize = 4;
/// Bytes of the longest frame of a client.
pub(super) const FRAME: usize = PROFILE.frame;

/// The geometry of a flash.
pub(super) const FLASH: flash::simulated::Geometry =
    flash::simulated::Geometry { write: 4, page: 256, erase: 4096, blocks: 32 };

/// Counts what is lent.
#[derive(Debug, Default)]
pub(super) struct Heap(pub(super) usize);

impl Ram<'static> for Heap {
    fn lend<T: 'static>(&mut self, len: usize, entry: impl FnMut() -> T) -> &'static mut [T] {
        self.0 += len * size_of::<T>();
        let entries: Vec<T> = core::iter::repeat_with(entry).take(len).collect();
        Box::leak(entries.into_boxed_slice())
    }

    fn place<T: 'static>(&mut self, make: impl FnOnce() -> T) -> &'static mut T {
        self.0 += size_of::<T>();
        Box::leak(Box::new(make()))
    }
}
