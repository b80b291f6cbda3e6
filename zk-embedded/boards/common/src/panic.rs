//! What a board in QEMU does when it cannot go on: it says why and ends QEMU.

use core::panic::PanicInfo;

use semihosting::{eprintln, process};

/// QEMU's exit code then, as of a Rust program.
const CODE: i32 = 101;

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    eprintln!("{info}");
    process::exit(CODE)
}
