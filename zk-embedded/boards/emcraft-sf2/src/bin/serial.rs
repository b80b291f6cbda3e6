//! A peer on the board whose network is a serial line: otherwise it is as the firmware with Ethernet.
#![no_std]
#![no_main]

use common::arena::Arena;
use common::firmware;
use common::watchdog::Absent;
use cortex_m_rt::entry;
use emcraft_sf2::clock::Clock;
use emcraft_sf2::{PROFILE, nor, uart};
use zk_embedded::profile::Ram as _;
use zk_embedded::serial::{Memory, Serial};

static ARENA: Arena<{ PROFILE.ram::<nor::Nor>() }> = Arena::new();
static LINE: Arena<{ size_of::<Memory>() }> = Arena::new();

#[entry]
fn main() -> ! {
    let core = cortex_m::Peripherals::take().expect("this runs once");
    let ram = ARENA.take().expect("this runs once");
    let flash = nor::new().expect("the module's flash");
    let line = |_| {
        let mut memory = LINE.take().expect("this runs once");
        Serial::new(uart::new().expect("one UART"), memory.place(Memory::new))
    };
    firmware::run(&PROFILE, ram, Clock::new(core.SYST), flash, line, Absent)
}
