//! A peer on the board: its memory, its drivers, and the loop of `common::firmware`.
#![no_std]
#![no_main]

use common::arena::Arena;
use common::firmware;
use common::watchdog::Absent;
use cortex_m_rt::entry;
use emcraft_sf2::clock::Clock;
use emcraft_sf2::{mac, nor};
use zk_embedded::profile::{Profile, TINY};

/// The flash's blocks are of 64 KiB: a snapshot fits one, and fewer of them are enough.
const PROFILE: Profile = Profile { blocks: 12, ..TINY };

/// What it may take of 64 KiB: the stack has 8, frames of the network 4.2.
const _: () = assert!(PROFILE.ram::<nor::Nor>() <= 52 * 1024);

static ARENA: Arena<{ PROFILE.ram::<nor::Nor>() }> = Arena::new();

#[entry]
fn main() -> ! {
    let core = cortex_m::Peripherals::take().expect("this runs once");
    let ram = ARENA.take().expect("this runs once");
    let flash = nor::new().expect("the module's flash");
    let mac = |address| mac::new(address).expect("one MAC");
    firmware::run(&PROFILE, ram, Clock::new(core.SYST), flash, mac, Absent)
}
