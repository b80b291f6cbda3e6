//! What the firmware needs of the chip without asking for it.

use common::panic::stop;
use cortex_m_rt::{ExceptionFrame, exception};
// Where logs go: to memory that a debug probe reads.
use defmt_rtt as _;
use embassy_rp::peripherals::WATCHDOG;
use embassy_rp::watchdog::Watchdog;

/// A fault is a bug in here, or the stack has no room: it is told, as a panic is.
///
/// # Safety
/// Only the processor calls it.
#[exception]
unsafe fn HardFault(frame: &ExceptionFrame) -> ! {
    stop(&format_args!("fault at {:#x}, behind {:#x}", frame.pc(), frame.lr()))
}

/// For `common::reset`. RAM stays as it is.
#[unsafe(no_mangle)]
fn zk_board_reset() -> ! {
    // SAFETY: whoever has the watchdog does not go on.
    let watchdog = unsafe { WATCHDOG::steal() };
    Watchdog::new(watchdog).trigger_reset();
    loop {
        core::hint::spin_loop();
    }
}
