//! Milliseconds from the time that all harts share, which counts microseconds.
//!
//! No interrupt is ever taken: those of the time and of the Ethernet MAC are let through as far as it
//! takes to wake the hart from its sleep, and no further.

use common::register::Register;
use riscv::asm;
use riscv::register::mie;
use zk_core::time::Instant;

use crate::mac;

/// Counts of a millisecond.
const MS: u64 = 1000;

const CLINT: usize = 0x0200_0000;
// SAFETY: the lower half of the time at which this hart is interrupted.
const WAKE_LOW: Register = unsafe { Register::at(CLINT + 0x4000) };
// SAFETY: the upper half.
const WAKE_HIGH: Register = unsafe { Register::at(CLINT + 0x4004) };
// SAFETY: the lower half of the time.
const TIME_LOW: Register = unsafe { Register::at(CLINT + 0xbff8) };
// SAFETY: the upper half.
const TIME_HIGH: Register = unsafe { Register::at(CLINT + 0xbffc) };

/// What interrupts the first hart, of the devices.
const PLIC: usize = 0x0c00_0000;
// SAFETY: how urgent the MAC's interrupt is.
const URGENCY: Register = unsafe { Register::at(PLIC + 4 * mac::INTERRUPT as usize) };
// SAFETY: the word of those that the first hart gets, which has the MAC's.
const GETS: Register = unsafe { Register::at(PLIC + 0x2000 + 4 * (mac::INTERRUPT as usize / 32)) };
// SAFETY: how urgent one must be.
const THRESHOLD: Register = unsafe { Register::at(PLIC + 0x20_0000) };
// SAFETY: the most urgent one; writing it says that it was served.
const CLAIM: Register = unsafe { Register::at(PLIC + 0x20_0004) };

/// The time, and what wakes.
#[derive(Debug)]
pub struct Clock(());

impl Clock {
    /// Lets both interrupts wake the hart.
    pub fn new() -> Self {
        wake_at(u64::MAX);
        THRESHOLD.write(0);
        URGENCY.write(1);
        GETS.write(1 << (mac::INTERRUPT % 32));
        // SAFETY: interrupts are disabled as a whole since the start: none is taken.
        unsafe { mie::set_mtimer() };
        // SAFETY: as above.
        unsafe { mie::set_mext() };
        Self(())
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

fn wake_at(time: u64) {
    // Never a time in between that has passed.
    WAKE_HIGH.write(u32::MAX);
    WAKE_LOW.write(time as u32);
    WAKE_HIGH.write((time >> 32) as u32);
}

impl common::clock::Clock for Clock {
    fn now(&self) -> Instant {
        loop {
            let high = TIME_HIGH.read();
            let low = TIME_LOW.read();
            if high == TIME_HIGH.read() {
                return Instant((u64::from(high) << 32 | u64::from(low)) / MS);
            }
        }
    }

    fn sleep_until(&mut self, until: Option<Instant>, ready: impl Fn() -> bool) {
        wake_at(until.map_or(u64::MAX, |until| until.0.saturating_mul(MS)));
        loop {
            if until.is_some_and(|until| until <= self.now()) {
                return;
            }
            // What has come before this is seen in the ring, what comes later wakes.
            let claimed = CLAIM.read();
            mac::acknowledge();
            if claimed != 0 {
                CLAIM.write(claimed);
            }
            if ready() {
                return;
            }
            asm::wfi();
        }
    }
}
