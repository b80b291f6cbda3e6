//! zk-core with a driver that does nothing: what a peer's code takes in flash.
//!
//! Inputs and outputs go through [`black_box`], so that the compiler keeps what a real driver would
//! need. Everything that zk-core offers a board belongs in here: what is not called is not measured.
#![no_std]
#![no_main]

mod tree;
mod wire;

use core::hint::black_box;
use core::panic::PanicInfo;

use cortex_m_rt::entry;

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    loop {
        core::hint::spin_loop();
    }
}

/// What came in; the compiler does not know.
pub(crate) fn input() -> &'static [u8] {
    black_box(&[])
}

#[entry]
fn main() -> ! {
    let mut memory = tree::Memory::new();
    let mut state = tree::State::new(&mut memory);
    loop {
        wire::request();
        wire::transaction(&mut state);
        state.snapshot();
        state.watches();
        state.sessions();
    }
}
