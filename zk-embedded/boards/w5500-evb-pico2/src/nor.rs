//! The board's flash, a W25Q16JV, of which the last half is the store's (`memory.x`).
//!
//! The firmware runs from the same flash, which cannot be read while it erases or programs: then nothing
//! runs but some code in RAM that waits, with interrupts off. A block of 4 KiB takes 45 ms, at the most 400; a
//! page takes 0.4 ms, at the most 3 (datasheet of the W25Q16JV, 9.6). The store begins one of either at a
//! time, and after each block the loop has its turn. That code is the chip's crate's: it leaves the mode in which the
//! flash is memory, lets the ROM erase or program, throws away what the cache has of the flash, and enters
//! that mode again as the ROM did at the start.

use core::ptr::addr_of;

use embassy_rp::Peri;
use embassy_rp::flash::{Blocking as Mode, Flash};
use embassy_rp::peripherals::FLASH;
use zk_embedded::flash::Blocking;

use crate::partition::Partition;
use crate::resting::Resting;

/// Bytes of the flash.
const CAPACITY: usize = 2 << 20;

unsafe extern "C" {
    /// Where the store begins, in bytes from the beginning of the flash (`memory.x`).
    static _store_offset: u8;
    /// Bytes of it.
    static _store_len: u8;
}

/// The store's part of the flash.
pub type Nor = Partition<Resting<Blocking<Flash<'static, FLASH, Mode, CAPACITY>>>>;

/// The store's part of the flash.
pub fn new(flash: Peri<'static, FLASH>) -> Nor {
    // They are numbers, not places: both fit, as they are of a flash of 2 MiB.
    let (offset, len) = (addr_of!(_store_offset).addr() as u32, addr_of!(_store_len).addr() as u32);
    let flash = Resting::new(Blocking(Flash::new_blocking(flash)));
    Partition::new(flash, offset, len)
}
