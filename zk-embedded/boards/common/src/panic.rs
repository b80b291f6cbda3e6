//! What a board does when it cannot go on: it says why and starts anew, or, where nothing is to start
//! anew, ends QEMU with a failure.

use core::fmt;
use core::panic::PanicInfo;

use semihosting::{eprintln, process};

use crate::reset;

/// QEMU's exit code then, as of a Rust program.
const CODE: i32 = 101;

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    stop(info)
}

/// Says why there is nothing more to be done.
pub fn stop(why: &dyn fmt::Display) -> ! {
    eprintln!("{why}");
    reset::with(why);
    process::exit(CODE)
}
