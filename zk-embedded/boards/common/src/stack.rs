//! How much of the stack was used, since the start.
//!
//! Whatever is below the stack's pointer at the start is painted. What is not painted any more was used.

use core::ptr::{addr_of, addr_of_mut};

unsafe extern "C" {
    /// Where the stack begins; it grows down from there (`memory.x`).
    static _stack_start: u32;
    /// Where it has to end.
    static mut _stack_end: u32;
}

const PAINT: u32 = 0x7a6b_7a6b;

/// Bytes below what a function knows of that it may use itself.
const OWN: usize = 256;

/// Bytes that there are.
pub fn size() -> usize {
    addr_of!(_stack_start).addr() - addr_of!(_stack_end).addr()
}

/// Paints what is not used yet. A board does so first of all.
#[inline(never)]
pub fn paint() {
    let here = 0_u32;
    let end = (&raw const here).addr() - OWN;
    let mut word = addr_of_mut!(_stack_end);
    while word.addr() < end {
        // SAFETY: it is the stack's, and far enough below this function that nobody has put anything there;
        // handlers of interrupts put it there and take it away between two of these.
        unsafe {
            word.write_volatile(PAINT);
            word = word.add(1);
        }
    }
}

/// Bytes that were used, at the most, since it was painted.
pub fn used() -> usize {
    let start = addr_of!(_stack_start).addr();
    let mut word = addr_of!(_stack_end);
    // SAFETY: it is the stack's; that somebody writes there meanwhile does no harm.
    while word.addr() < start && unsafe { word.read_volatile() } == PAINT {
        // SAFETY: at the most, that is the stack's start.
        word = unsafe { word.add(1) };
    }
    start - word.addr()
}
