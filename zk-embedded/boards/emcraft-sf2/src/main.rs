//! A peer on the board: its memory, its drivers, and the loop of `common::firmware`.
#![no_std]
#![no_main]

use common::arena::Arena;
use cortex_m_rt::entry;
use emcraft_sf2::{PROFILE, nor};

static ARENA: Arena<{ PROFILE.ram::<nor::Nor>() }> = Arena::new();

#[entry]
fn main() -> ! {
    emcraft_sf2::run(&PROFILE, ARENA.take().expect("this runs once"))
}
