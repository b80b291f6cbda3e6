//! The chip's watchdog.
//!
//! The ROM uses it too, to reboot, and the chip only says that it has run out. So a word that nothing but a
//! loss of power or the reset button clears says that it was ours: the one that the ROM overwrites when it
//! reboots, as Raspberry Pi's own library has it.

use embassy_rp::Peri;
use embassy_rp::peripherals::WATCHDOG;
use embassy_rp::watchdog::ResetReason;
use embassy_time::Duration;

/// Milliseconds that it waits, of 16.7 s that it can. In one call of `Node::poll` at the most 16 blocks are
/// erased, one in each round of its loop (`resting`), which takes 400 ms each at the most.
const PATIENCE_MS: u64 = 16_000;

const WORD: usize = 4;
const OURS: u32 = u32::from_le_bytes(*b"zkwd");

/// The watchdog.
#[expect(missing_debug_implementations, reason = "the chip's crate has none")]
pub struct Watchdog {
    chip: embassy_rp::watchdog::Watchdog,
    bitten: bool,
}

impl Watchdog {
    /// Reads why the chip was reset, and does not start it yet.
    pub fn new(watchdog: Peri<'static, WATCHDOG>) -> Self {
        let mut chip = embassy_rp::watchdog::Watchdog::new(watchdog);
        let ours = chip.get_scratch(WORD) == OURS;
        let bitten = ours && chip.reset_reason() == Some(ResetReason::TimedOut);
        chip.set_scratch(WORD, 0);
        Self { chip, bitten }
    }
}

impl common::watchdog::Watchdog for Watchdog {
    const PATIENCE_MS: Option<u64> = Some(PATIENCE_MS);

    fn has_bitten(&self) -> bool {
        self.bitten
    }

    fn start(&mut self) {
        self.chip.set_scratch(WORD, OURS);
        self.chip.start(Duration::from_millis(PATIENCE_MS));
    }

    fn feed(&mut self) {
        self.chip.feed(Duration::from_millis(PATIENCE_MS));
    }
}
