//! A peer on the board that holds as little as the smallest boards, to be of one ensemble with them.
#![no_std]
#![no_main]

use common::arena::Arena;
use common::firmware;
use common::watchdog::Absent;
use riscv_rt::entry;
use sifive_u::clock::Clock;
use sifive_u::{mac, nor};
use zk_embedded::profile::TINY;

static ARENA: Arena<{ TINY.ram::<nor::Nor>() }> = Arena::new();

#[entry]
fn main() -> ! {
    let ram = ARENA.take().expect("this runs once");
    let flash = nor::new().expect("the board's flash");
    let mac = |address| mac::new(address).expect("one MAC");
    firmware::run(&TINY, ram, Clock::new(), flash, mac, Absent)
}
