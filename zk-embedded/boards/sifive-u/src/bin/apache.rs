//! A peer on the board that holds as little as the smallest boards, and whose members may be Apache's servers.
#![no_std]
#![no_main]

use common::arena::Arena;
use common::firmware;
use common::watchdog::Absent;
use riscv_rt::entry;
use sifive_u::clock::Clock;
use sifive_u::{mac, nor};
use zk_embedded::profile::TINY_APART;

static ARENA: Arena<{ TINY_APART.ram::<nor::Nor>() }> = Arena::new();

#[entry]
fn main() -> ! {
    let ram = ARENA.take().expect("this runs once");
    let flash = nor::new().expect("the board's flash");
    let mac = |address| mac::new(address).expect("one MAC");
    firmware::run(&TINY_APART, ram, Clock::new(), flash, mac, Absent)
}
