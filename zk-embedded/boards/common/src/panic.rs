//! What a board does when it cannot go on: it says why and starts anew, or, where nothing is to start
//! anew, ends QEMU with a failure, or waits for its watchdog.

use core::fmt;
use core::panic::PanicInfo;

use crate::reset;

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    stop(info)
}

/// Says why there is nothing more to be done.
pub fn stop(why: &dyn fmt::Display) -> ! {
    tell::last(why);
    reset::with(why);
    tell::end()
}

#[cfg(feature = "semihosting")]
mod tell {
    use core::fmt;

    use semihosting::{eprintln, process};

    /// QEMU's exit code then, as of a Rust program.
    const CODE: i32 = 101;

    pub(super) fn last(why: &dyn fmt::Display) {
        eprintln!("{why}");
    }

    pub(super) fn end() -> ! {
        process::exit(CODE)
    }
}

#[cfg(not(feature = "semihosting"))]
mod tell {
    use core::fmt;
    use core::sync::atomic::{AtomicBool, Ordering};

    static TOLD: AtomicBool = AtomicBool::new(false);

    pub(super) fn last(why: &dyn fmt::Display) {
        // What panics while it logs must not log that.
        if !TOLD.load(Ordering::Relaxed) {
            TOLD.store(true, Ordering::Relaxed);
            defmt::error!("{}", defmt::Display2Format(why));
        }
    }

    pub(super) fn end() -> ! {
        loop {
            core::hint::spin_loop();
        }
    }
}
