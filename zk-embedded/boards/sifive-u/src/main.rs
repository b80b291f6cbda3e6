//! A peer on the board: its memory, its drivers, and the loop of `common::firmware`.
#![no_std]
#![no_main]

use common::arena::Arena;
use common::firmware;
use common::watchdog::Absent;
use riscv_rt::entry;
use sifive_u::clock::Clock;
use sifive_u::{mac, nor};
use zk_embedded::profile::SMALL;

static ARENA: Arena<{ SMALL.ram::<nor::Nor>() }> = Arena::new();

#[entry]
fn main() -> ! {
    let ram = ARENA.take().expect("this runs once");
    let flash = nor::new().expect("the board's flash");
    let mac = |address| mac::new(address).expect("one MAC");
    firmware::run(&SMALL, ram, Clock::new(), flash, mac, Absent)
}
