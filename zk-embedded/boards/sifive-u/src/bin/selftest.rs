//! The drivers of the board try themselves: see `common::selftest`.
#![no_std]
#![no_main]

use common::selftest;
use riscv_rt::entry;
use sifive_u::clock::Clock;
use sifive_u::{mac, nor};

#[entry]
fn main() -> ! {
    let flash = nor::new().expect("the board's flash");
    selftest::run(Clock::new(), flash, |address| mac::new(address).expect("one MAC"))
}
