//! Why a board was reset, and how often in a row: memory that a reset leaves as it is. After the power has
//! failed it is noise, and says nothing.

use core::cell::UnsafeCell;
use core::fmt::{self, Write as _};
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicBool, Ordering};

/// So often a board may be reset without having served in between; then it stays down and says why.
pub const STARTS_MAX: u32 = 3;

/// Bytes of the text of why; the rest is cut.
pub const WHY_MAX: usize = 96;

const MAGIC: u32 = u32::from_le_bytes(*b"zkwy");

unsafe extern "Rust" {
    /// Resets the board; each board's own crate has it.
    safe fn zk_board_reset() -> !;
}

/// What is kept.
#[derive(Debug)]
#[repr(C)]
struct Record {
    magic: u32,
    /// Of all below.
    sum: u32,
    count: u32,
    len: u32,
    why: [u8; WHY_MAX],
}

struct Kept(UnsafeCell<MaybeUninit<Record>>);

// SAFETY: only what runs on the one core uses it: the loop, or what ends it.
unsafe impl Sync for Kept {}

#[unsafe(link_section = ".uninit.zk_reset")]
static KEPT: Kept = Kept(UnsafeCell::new(MaybeUninit::uninit()));

/// Whether what stops this program resets the board.
static ARMED: AtomicBool = AtomicBool::new(false);

impl Record {
    /// FNV-1a: noise does not have it.
    fn summed(&self) -> u32 {
        let words = [self.count, self.len];
        let bytes = words.iter().flat_map(|word| word.to_le_bytes()).chain(self.why);
        bytes.fold(0x811c_9dc5, |sum, byte| (sum ^ u32::from(byte)).wrapping_mul(0x0100_0193))
    }

    fn clear(&mut self) {
        (self.magic, self.count, self.len, self.why) = (MAGIC, 0, 0, [0; WHY_MAX]);
        self.sum = self.summed();
    }
}

impl fmt::Write for Record {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for (to, &from) in self.why.iter_mut().skip(self.len as usize).zip(text.as_bytes()) {
            *to = from;
            self.len += 1;
        }
        Ok(())
    }
}

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
        if record.magic != MAGIC || record.sum != record.summed() {
            record.clear();
        }
        Some(Self(record))
    }

    /// Resets in a row without having served.
    pub fn count(&self) -> u32 {
        self.0.count
    }

    /// Why, or nothing.
    pub fn why(&self) -> &[u8] {
        self.0.why.get(..self.0.len as usize).unwrap_or_default()
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
    record.len = 0;
    record.count = record.count.saturating_add(1);
    // Nothing is refused: it is cut.
    let _ = write!(record, "{why}");
    record.sum = record.summed();
    zk_board_reset()
}
