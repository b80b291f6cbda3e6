//! A peer on the board: its memory, its drivers, and the loop of `common::firmware`.
#![no_std]
#![no_main]

use common::arena::Arena;
use common::firmware;
use cortex_m::singleton;
use cortex_m_rt::entry;
use w5500_evb_pico2::clock::Clock;
use w5500_evb_pico2::mac::Wires;
use w5500_evb_pico2::w5500::Frames;
use w5500_evb_pico2::watchdog::Watchdog;
use w5500_evb_pico2::{mac, nor};
use zk_embedded::profile::{Profile, SMALL};

/// All blocks of the store but the first, which says who the board is: the more there are, the longer each
/// one lasts.
const PROFILE: Profile = Profile { blocks: 255, ..SMALL };

static ARENA: Arena<{ PROFILE.ram::<nor::Nor>() }> = Arena::new();

#[entry]
fn main() -> ! {
    let chip = embassy_rp::init(embassy_rp::config::Config::default());
    let ram = ARENA.take().expect("this runs once");
    let wires = Wires {
        spi: chip.SPI0,
        miso: chip.PIN_16,
        select: chip.PIN_17,
        clock: chip.PIN_18,
        mosi: chip.PIN_19,
        reset: chip.PIN_20,
        interrupt: chip.PIN_21,
    };
    let frames = singleton!(: Frames = Frames::new()).expect("this runs once");
    let mac = |address| mac::new(wires, address, frames).expect("the board's W5500");
    let watchdog = Watchdog::new(chip.WATCHDOG);
    firmware::run(&PROFILE, ram, Clock::new(), nor::new(chip.FLASH), mac, watchdog)
}
