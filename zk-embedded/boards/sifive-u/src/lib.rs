//! The SiFive FU540, as QEMU has it (`-M sifive_u`): its first hart, a RISC-V of 32 bits (RV32IMAC)
//! without an operating system, Ethernet, and 32 MiB of SPI flash. The other harts sleep.
//!
//! What a real chip needs besides (clocks, pins, the link of the Ethernet PHY) its boot loader would
//! have to bring.
#![no_std]

pub mod clock;
pub mod mac;
pub mod nor;

use clock::Clock;
use common::arena::Lent;
use common::firmware;
// Where logs go.
use common::panic::stop;
use common::register::Register;
use common::watchdog::Absent;
use defmt_semihosting as _;
use riscv_rt::TrapFrame;
use zk_embedded::profile::Profile;

/// Runs a peer of that profile on the board, with Ethernet.
#[inline(always)] // the profile is known there
pub fn run(profile: &Profile, ram: Lent) -> ! {
    let flash = nor::new().expect("the board's flash");
    let mac = |address| mac::new(address).expect("one MAC");
    firmware::run(profile, ram, Clock::new(), flash, mac, Absent)
}

/// Nothing is let through that could trap but a bug in here: it is told, as a panic is.
#[unsafe(export_name = "ExceptionHandler")]
fn exception(_: &TrapFrame) -> ! {
    let cause = riscv::register::mcause::read().bits();
    stop(&format_args!("exception {cause:#x} at {:#x}", riscv::register::mepc::read()))
}

// SAFETY: which pins are driven, and how.
const DRIVEN: Register = unsafe { Register::at(0x1006_0008) };
// SAFETY: as above.
const LEVEL: Register = unsafe { Register::at(0x1006_000c) };
/// The pin that resets the board when it is low.
const RESET: u32 = 1 << 10;

/// For `common::reset`.
#[unsafe(no_mangle)]
fn zk_board_reset() -> ! {
    LEVEL.write(LEVEL.read() | RESET);
    DRIVEN.write(DRIVEN.read() | RESET);
    LEVEL.write(LEVEL.read() & !RESET);
    loop {
        riscv::asm::wfi();
    }
}
