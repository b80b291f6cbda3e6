//! The drivers of the board try themselves: see `common::selftest`.
#![no_std]
#![no_main]

use common::selftest;
use cortex_m_rt::entry;
use emcraft_sf2::clock::Clock;
use emcraft_sf2::{PROFILE, mac, nor};
use zk_embedded::profile::Profile;

/// Bytes of RAM that one more of some things takes, in the order in which `cargo xtask size` names them.
static ZK_MORE: [u32; 10] = [
    more(Profile { nodes: PROFILE.nodes + 1, ..PROFILE }),
    more(Profile { cells: PROFILE.cells + 1, ..PROFILE }),
    more(Profile { sessions: PROFILE.sessions + 1, ..PROFILE }),
    more(Profile { clients: PROFILE.clients + 1, ..PROFILE }),
    more(Profile { watches: PROFILE.watches + 1, ..PROFILE }),
    more(Profile { servers: PROFILE.servers + 1, ..PROFILE }),
    more(Profile { proposals: PROFILE.proposals + 1, ..PROFILE }),
    more(Profile { changes: PROFILE.changes + 1, ..PROFILE }),
    more(Profile { blocks: PROFILE.blocks + 1, ..PROFILE }),
    more(Profile {
        frame: PROFILE.frame + 64,
        txn: PROFILE.txn + 64,
        reply: PROFILE.reply + 64,
        ..PROFILE
    }),
];

const fn more(profile: Profile) -> u32 {
    (profile.ram::<nor::Nor>() - PROFILE.ram::<nor::Nor>()) as u32
}

#[entry]
fn main() -> ! {
    // So that it is in the image.
    core::hint::black_box(&ZK_MORE);
    let core = cortex_m::Peripherals::take().expect("this runs once");
    let flash = nor::new().expect("the module's flash");
    selftest::run(Clock::new(core.SYST), flash, |address| mac::new(address).expect("one MAC"))
}
