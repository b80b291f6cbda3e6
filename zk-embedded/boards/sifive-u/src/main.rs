//! A peer on the board: its memory, its drivers, and the loop of `common::firmware`.
#![no_std]
#![no_main]

use common::arena::Arena;
use riscv_rt::entry;
use sifive_u::nor;
use zk_embedded::profile::SMALL;

static ARENA: Arena<{ SMALL.ram::<nor::Nor>() }> = Arena::new();

#[entry]
fn main() -> ! {
    sifive_u::run(&SMALL, ARENA.take().expect("this runs once"))
}
