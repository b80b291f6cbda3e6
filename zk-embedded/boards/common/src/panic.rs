//! What a board in QEMU does when it cannot go on: it says why and ends QEMU with a failure.

use core::fmt;
use core::panic::PanicInfo;

use semihosting::{eprintln, process};

/// QEMU's exit code then, as of a Rust program.
const CODE: i32 = 101;

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    stop(info)
}

/// Says why there is nothing more to be done.
pub fn stop(why: &dyn fmt::Display) -> ! {
    eprintln!("{why}");
    process::exit(CODE)
}
