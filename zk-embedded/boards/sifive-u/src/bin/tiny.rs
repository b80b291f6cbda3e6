//! A peer on the board that holds as little as the smallest boards, to be of one ensemble with them.
#![no_std]
#![no_main]

use common::arena::Arena;
use riscv_rt::entry;
use sifive_u::nor;
use zk_embedded::profile::TINY;

static ARENA: Arena<{ TINY.ram::<nor::Nor>() }> = Arena::new();

#[entry]
fn main() -> ! {
    sifive_u::run(&TINY, ARENA.take().expect("this runs once"))
}
