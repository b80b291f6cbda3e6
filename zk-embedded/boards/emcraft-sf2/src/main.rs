//! A peer on the board: its memory, its drivers, and the loop of `common::firmware`.
#![no_std]
#![no_main]

use common::arena::Arena;
use common::firmware;
use common::watchdog::Absent;
use cortex_m_rt::entry;
use emcraft_sf2::clock::Clock;
use emcraft_sf2::{PROFILE, mac, nor};

static ARENA: Arena<{ PROFILE.ram::<nor::Nor>() }> = Arena::new();

#[entry]
fn main() -> ! {
    let core = cortex_m::Peripherals::take().expect("this runs once");
    let ram = ARENA.take().expect("this runs once");
    let flash = nor::new().expect("the module's flash");
    let mac = |address| mac::new(address).expect("one MAC");
    firmware::run(&PROFILE, ram, Clock::new(core.SYST), flash, mac, Absent)
}
