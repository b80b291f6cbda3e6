//! A peer on the board whose members may be Apache's servers: otherwise it is as the firmware with Ethernet,
//! with shorter frames.
#![no_std]
#![no_main]

use common::arena::Arena;
use common::firmware;
use common::watchdog::Absent;
use cortex_m_rt::entry;
use emcraft_sf2::clock::Clock;
use emcraft_sf2::{PROFILE, mac, nor};
use zk_embedded::profile::{Profile, TINY_APART};

const APART: Profile = Profile { blocks: PROFILE.blocks, ..TINY_APART };

static ARENA: Arena<{ APART.ram::<nor::Nor>() }> = Arena::new();

#[entry]
fn main() -> ! {
    let core = cortex_m::Peripherals::take().expect("this runs once");
    let ram = ARENA.take().expect("this runs once");
    let flash = nor::new().expect("the module's flash");
    let mac = |address| mac::new(address).expect("one MAC");
    firmware::run(&APART, ram, Clock::new(core.SYST), flash, mac, Absent)
}
