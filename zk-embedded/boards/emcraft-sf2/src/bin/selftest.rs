//! The drivers of the board try themselves: see `common::selftest`.
#![no_std]
#![no_main]

use common::selftest;
use cortex_m_rt::entry;
use emcraft_sf2::clock::Clock;
use emcraft_sf2::{mac, nor};

#[entry]
fn main() -> ! {
    let core = cortex_m::Peripherals::take().expect("this runs once");
    let flash = nor::new().expect("the module's flash");
    selftest::run(Clock::new(core.SYST), flash, |address| mac::new(address).expect("one MAC"))
}
