//! Milliseconds from SysTick; one of the two timers of the chip ends sleep.
//!
//! SysTick counts a 32nd of the processor's clock down, 2 s long, again and again; its handler counts
//! the rounds. The timer is no measure of time: QEMU lets it run at 100 MHz whatever the board says,
//! so that it ends a sleep too early, and the rest is slept again.
//!
//! The interrupts of the timer, of the Ethernet MAC and of the UART have no handlers. They are only let
//! through while a flag of the processor keeps it from taking them: they wake it, and that is all.

use core::sync::atomic::{AtomicU32, Ordering};

use common::register::Register;
use cortex_m::interrupt::InterruptNumber;
use cortex_m::peripheral::syst::SystClkSource;
use cortex_m::peripheral::{NVIC, SCB, SYST};
use cortex_m::{asm, interrupt};
use cortex_m_rt::exception;
use zk_core::time::Instant;

/// Milliseconds of a round.
const ROUND_MS: u64 = 2000;
/// Counts of a round: 142 MHz / 32.
const ROUND: u32 = 142_000_000 / 32 * 2;
const _: () = assert!(ROUND as u64 == 142_000_000 / 32 * ROUND_MS / 1000 && ROUND < 1 << 24);

/// Counts of the timer in a millisecond: half of the processor's clock.
const TIMER_MS: u32 = 71_000;
/// Milliseconds that the timer is set to at the most.
const TIMER_MAX_MS: u64 = 60_000;
const _: () = assert!(TIMER_MAX_MS * TIMER_MS as u64 <= u32::MAX as u64);

// SAFETY: the first timer's reload value.
const LOAD: Register = unsafe { Register::at(0x4000_4004) };
// SAFETY: the first timer's control.
const CONTROL: Register = unsafe { Register::at(0x4000_400c) };
/// It counts, once, and interrupts.
const ONCE: u32 = 1 | 1 << 1 | 1 << 2;
// SAFETY: the first timer's interrupt, which writing 1 takes back.
const EXPIRED: Register = unsafe { Register::at(0x4000_4010) };

/// What wakes the processor.
#[derive(Clone, Copy, Debug)]
enum Wakes {
    Uart = 10,
    Mac = 12,
    Timer = 14,
}

// SAFETY: all are numbers of the chip's interrupts, below 240, and always the same.
unsafe impl InterruptNumber for Wakes {
    fn number(self) -> u16 {
        self as u16
    }
}

/// Rounds that have ended.
static ROUNDS: AtomicU32 = AtomicU32::new(0);

/// Counts a round.
#[exception]
fn SysTick() {
    let rounds = ROUNDS.load(Ordering::Relaxed);
    // Nobody else writes it.
    ROUNDS.store(rounds.wrapping_add(1), Ordering::Relaxed);
}

/// SysTick, which runs.
#[derive(Debug)]
pub struct Clock(());

impl Clock {
    /// Starts it.
    pub fn new(mut timer: SYST) -> Self {
        timer.set_clock_source(SystClkSource::External);
        timer.set_reload(ROUND - 1);
        timer.clear_current();
        timer.enable_interrupt();
        timer.enable_counter();
        // Until its first count it stands at the end of a round.
        while SYST::get_current() == 0 {}
        Self(())
    }
}

/// The time since a [`Clock`] was started.
pub fn now() -> Instant {
    loop {
        let rounds = ROUNDS.load(Ordering::Relaxed);
        let left = SYST::get_current();
        // Its handler may be kept from counting.
        let pending = SCB::is_pendst_pending() && left > ROUND / 2;
        if rounds == ROUNDS.load(Ordering::Relaxed) {
            let rounds = u64::from(rounds) + u64::from(pending);
            let passed = u64::from(ROUND - 1 - left);
            return Instant(rounds * ROUND_MS + passed * ROUND_MS / u64::from(ROUND));
        }
    }
}

impl common::clock::Clock for Clock {
    fn now(&self) -> Instant {
        now()
    }

    fn sleep_until(&mut self, until: Option<Instant>, ready: impl Fn() -> bool) {
        loop {
            let now = self.now();
            if until.is_some_and(|until| until <= now) {
                return;
            }
            interrupt::disable();
            CONTROL.write(0);
            EXPIRED.write(1);
            if let Some(until) = until {
                LOAD.write(until.since(now).min(TIMER_MAX_MS) as u32 * TIMER_MS);
                CONTROL.write(ONCE);
            }
            // What has come before this is seen in the ring, what comes later wakes.
            for wakes in [Wakes::Uart, Wakes::Mac, Wakes::Timer] {
                NVIC::unpend(wakes);
                // SAFETY: nobody relies on it being masked, and none is taken while all are disabled.
                unsafe { NVIC::unmask(wakes) };
            }
            let awake = ready();
            if !awake {
                asm::dsb();
                asm::wfi();
            }
            for wakes in [Wakes::Uart, Wakes::Mac, Wakes::Timer] {
                NVIC::mask(wakes);
            }
            asm::dsb();
            asm::isb();
            // SAFETY: they were enabled before, and nothing in here relies on it that they are not.
            unsafe { interrupt::enable() };
            if awake {
                return;
            }
        }
    }
}
