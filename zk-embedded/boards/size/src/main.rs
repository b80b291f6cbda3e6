//! zk-core with a driver that does nothing: what a peer's code takes in flash.
//!
//! Inputs and outputs go through [`black_box`], so that the compiler keeps what a real driver would
//! need.
#![no_std]
#![no_main]

use core::hint::black_box;
use core::panic::PanicInfo;

use cortex_m_rt::entry;

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    loop {
        core::hint::spin_loop();
    }
}

#[entry]
fn main() -> ! {
    loop {
        black_box(());
    }
}
