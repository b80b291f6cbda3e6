//! A peer on the board whose flash takes as long as data sheets allow at the most: otherwise it is as the
//! firmware with Ethernet.
#![no_std]
#![no_main]

use common::arena::Arena;
use common::firmware;
use common::watchdog::Absent;
use cortex_m_rt::entry;
use emcraft_sf2::clock::{self, Clock};
use emcraft_sf2::{PROFILE, mac, nor};
use zk_core::time::Instant;
use zk_embedded::flash::{Rated, Rating};
use zk_embedded::profile::Profile;

/// With two blocks less the rest of the memory is enough.
const SLOW: Profile = Profile { blocks: PROFILE.blocks - 2, ..PROFILE };

type Nor = Rated<nor::Nor, fn() -> Instant>;

static ARENA: Arena<{ SLOW.ram::<Nor>() }> = Arena::new();

#[entry]
fn main() -> ! {
    let core = cortex_m::Peripherals::take().expect("this runs once");
    let ram = ARENA.take().expect("this runs once");
    let clock = Clock::new(core.SYST);
    let flash = nor::new().expect("the module's flash");
    let now: fn() -> Instant = clock::now;
    let flash: Nor = Rated::new(flash, now, Rating::SLOWEST, |offset| {
        firmware::tell_erase(clock::now(), offset);
    });
    let mac = |address| mac::new(address).expect("one MAC");
    firmware::run(&SLOW, ram, clock, flash, mac, Absent)
}
