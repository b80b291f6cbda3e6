//! A peer on the board whose members may be Apache's servers: otherwise it is as the firmware with Ethernet,
//! with shorter frames.
#![no_std]
#![no_main]

use common::arena::Arena;
use cortex_m_rt::entry;
use emcraft_sf2::{PROFILE, nor};
use zk_embedded::profile::{Profile, TINY_APART};

const APART: Profile = Profile { blocks: PROFILE.blocks, ..TINY_APART };

static ARENA: Arena<{ APART.ram::<nor::Nor>() }> = Arena::new();

#[entry]
fn main() -> ! {
    emcraft_sf2::run(&APART, ARENA.take().expect("this runs once"))
}
