//! The Emcraft SmartFusion2 system-on-module, as QEMU has it (`-M emcraft-sf2`): a Cortex-M3 of
//! 142 MHz, 256 KiB of flash, 64 KiB of RAM, Ethernet, and 16 MiB of SPI flash.
//!
//! What a real module needs besides (clocks, pins, the link of the Ethernet PHY) its boot loader
//! would have to bring.
#![no_std]

pub mod clock;
pub mod mac;
pub mod nor;
pub mod uart;

use clock::Clock;
use common::arena::Lent;
use common::firmware;
// Where logs go.
use common::panic::stop;
use common::watchdog::Absent;
use cortex_m::peripheral::SCB;
use cortex_m_rt::{ExceptionFrame, exception};
use defmt_semihosting as _;
use zk_embedded::profile::{Profile, TINY};

/// How much a peer holds here. The flash's blocks are of 64 KiB: a snapshot fits one, and fewer of them
/// are enough.
pub const PROFILE: Profile = Profile { blocks: 12, ..TINY };

/// What it may take of 60 KiB: the stack has 6.2, frames of the network 4.2.
const _: () = assert!(PROFILE.ram::<nor::Nor>() <= 50 * 1024);

/// Runs a peer of that profile on the module, with Ethernet.
#[inline(always)] // the profile is known there
pub fn run(profile: &Profile, ram: Lent) -> ! {
    let core = cortex_m::Peripherals::take().expect("this runs once");
    let flash = nor::new().expect("the module's flash");
    let mac = |address| mac::new(address).expect("one MAC");
    firmware::run(profile, ram, Clock::new(core.SYST), flash, mac, Absent)
}

/// A fault is a bug in here, or the stack has no room: it is told, as a panic is.
///
/// # Safety
/// Only the processor calls it.
#[exception]
unsafe fn HardFault(frame: &ExceptionFrame) -> ! {
    stop(&format_args!("fault at {:#x}, behind {:#x}", frame.pc(), frame.lr()))
}

/// No interrupt has a handler (`clock`): there is no table of them, which would take 960 bytes.
#[used]
#[unsafe(link_section = ".vector_table.interrupts")]
#[unsafe(no_mangle)]
static __INTERRUPTS: [usize; 1] = [0];

/// For `common::reset`.
#[unsafe(no_mangle)]
fn zk_board_reset() -> ! {
    SCB::sys_reset()
}
