//! Why a board was reset, and how often in a row: memory that a reset leaves as it is. After the power has
//! failed it is noise, and says nothing.

use core::cell::UnsafeCell;
use core::fmt;
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicBool, Ordering};

use crate::record::Record;

/// So often a board may be reset without having served in between; then it stays down and says why.
pub const STARTS_MAX: u32 = 3;

unsafe extern "Rust" {
    /// Resets the board; each board's own crate has it.
    safe fn zk_board_reset() -> !;
}

struct Kept(UnsafeCell<MaybeUninit<Record>>);

// SAFETY: only what runs on the one core uses it: the loop, or what ends it.
unsafe impl Sync for Kept {}

#[unsafe(link_section = ".uninit.zk_reset")]
static KEPT: Kept = Kept(UnsafeCell::new(MaybeUninit::uninit()));

/// Whether what stops this program resets the board.
static ARMED: AtomicBool = AtomicBool::new(false);

/// Why the last run ended, if it did not with the power, and how often in a row that was.
#[derive(Debug)]
pub struct Last(&'static mut Record);

impl Last {
    /// Reads it, once: the second time, nothing.
    pub fn take() -> Option<Self> {
        // Boards without compare-and-swap have one core, and ask before they allow interrupts.
        if TAKEN.load(Ordering::Relaxed) {
            return None;
        }
        TAKEN.store(true, Ordering::Relaxed);
        let kept = KEPT.0.get();
        // SAFETY: nobody else has it, as `TAKEN` says, but who ends this program. Whatever the memory has is
        // a `Record`; the compiler, which knows of nobody who wrote it, is told that somebody did.
        let record = unsafe {
            for word in 0..size_of::<Record>() / size_of::<u32>() {
                let word = kept.cast::<u32>().add(word);
                word.write_volatile(word.read_volatile());
            }
            (*kept).assume_init_mut()
        };
        record.check();
        Some(Self(record))
    }

    /// Resets in a row without having served.
    pub fn count(&self) -> u32 {
        self.0.count()
    }

    /// Why, or nothing.
    pub fn why(&self) -> &[u8] {
        self.0.why()
    }

    /// The last run ended so, and could not say it itself.
    pub fn ended(&mut self, why: &dyn fmt::Display) {
        self.0.ended(why);
    }

    /// The board serves: what was before does not count any more.
    pub fn served(&mut self) {
        self.0.clear();
    }
}

/// Whether it was taken.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// From now on what stops this program resets the board.
pub fn arm() {
    ARMED.store(true, Ordering::Relaxed);
}

/// Keeps why this run ends, and resets the board; does nothing where that is not [armed](arm).
pub fn with(why: &dyn fmt::Display) {
    if !ARMED.load(Ordering::Relaxed) {
        return;
    }
    // What fails from here on must not come back.
    ARMED.store(false, Ordering::Relaxed);
    // SAFETY: whoever took it does not go on, and has made it a `Record` before this was armed.
    let record = unsafe { (*KEPT.0.get()).assume_init_mut() };
    record.ended(why);
    zk_board_reset()
}
