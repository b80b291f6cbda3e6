//! A peer on the board: its memory, its drivers, and the loop of `common::firmware`.
//!
//! It does not run yet: what the smallest profile and the network take of 64 KiB leaves some 9 KiB of
//! stack, and the start takes more.
#![no_std]
#![no_main]

use common::arena::Arena;
use common::firmware;
use cortex_m_rt::entry;
use emcraft_sf2::clock::Clock;
use emcraft_sf2::{mac, nor};
use zk_embedded::profile::TINY;

/// What the tables may take of 64 KiB.
const _: () = assert!(TINY.ram::<nor::Nor>() <= 56 * 1024);

static ARENA: Arena<{ TINY.ram::<nor::Nor>() }> = Arena::new();

#[entry]
fn main() -> ! {
    let core = cortex_m::Peripherals::take().expect("this runs once");
    let ram = ARENA.take().expect("this runs once");
    let flash = nor::new().expect("the module's flash");
    let mac = |address| mac::new(address).expect("one MAC");
    firmware::run(&TINY, ram, Clock::new(core.SYST), flash, mac)
}
