//! A peer on the board that holds as little as the smallest boards, and whose members may be Apache's servers.
#![no_std]
#![no_main]

use common::arena::Arena;
use riscv_rt::entry;
use sifive_u::nor;
use zk_embedded::profile::TINY_APART;

static ARENA: Arena<{ TINY_APART.ram::<nor::Nor>() }> = Arena::new();

#[entry]
fn main() -> ! {
    sifive_u::run(&TINY_APART, ARENA.take().expect("this runs once"))
}
