//! Milliseconds from the chip's timer, which counts microseconds; one of its alarms ends sleep.
//!
//! The interrupts of the alarm and of the W5500's line are never taken. They are only let through while a
//! flag of the processor keeps it from taking them: they wake it, and that is all.

use cortex_m::peripheral::NVIC;
use cortex_m::{asm, interrupt};
use embassy_rp::pac::timer::regs::{Armed, Int};
use embassy_rp::pac::{IO_BANK0, Interrupt, TIMER0};
use w5500_ll::eh1::embedded_hal::delay::DelayNs;
use zk_core::time::Instant;

use crate::mac;

/// Counts of a millisecond.
const MS: u64 = 1000;

/// Milliseconds that the alarm is set to at the most: it has 32 bits of the time.
const ALARM_MAX_MS: u64 = 60_000;

/// The alarm, the first of four: its number and its bit.
const ALARM: usize = 0;
const ALARM_BIT: u32 = 1 << ALARM;

/// The pins of a word.
const PINS: usize = 8;

const WAKES: [Interrupt; 2] = [Interrupt::TIMER0_IRQ_0, Interrupt::IO_IRQ_BANK0];

/// The timer. It runs since the chip's clocks do.
#[derive(Debug)]
pub struct Clock(());

impl Clock {
    /// What wakes will not be taken as an interrupt.
    pub fn new() -> Self {
        for wakes in WAKES {
            NVIC::mask(wakes);
        }
        TIMER0.inte().write_value(Int(ALARM_BIT));
        Self(())
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

/// Lets the W5500's line interrupt while it is low, or no more.
fn listen(listens: bool) {
    let pins = IO_BANK0.int_proc(0).inte(mac::INTERRUPT / PINS);
    pins.modify(|pins| pins.set_level_low(mac::INTERRUPT % PINS, listens));
}

impl common::clock::Clock for Clock {
    fn now(&self) -> Instant {
        loop {
            let high = TIMER0.timerawh().read();
            let low = TIMER0.timerawl().read();
            if high == TIMER0.timerawh().read() {
                return Instant((u64::from(high) << 32 | u64::from(low)) / MS);
            }
        }
    }

    fn sleep_until(&mut self, until: Option<Instant>, ready: impl Fn() -> bool) {
        loop {
            let now = self.now();
            if until.is_some_and(|until| until <= now) {
                return;
            }
            let ms = until.map_or(ALARM_MAX_MS, |until| until.since(now).min(ALARM_MAX_MS));
            interrupt::disable();
            // It is a millisecond away at the least. What is left of a long sleep is slept then.
            let at = TIMER0.timerawl().read().wrapping_add((ms * MS) as u32);
            TIMER0.alarm(ALARM).write_value(at);
            listen(true);
            for wakes in WAKES {
                NVIC::unpend(wakes);
                // SAFETY: nobody relies on it being masked, and none is taken while all are disabled.
                unsafe { NVIC::unmask(wakes) };
            }
            // The line is looked at behind this: it wakes as long as it is low.
            let awake = ready();
            if !awake {
                asm::dsb();
                asm::wfi();
            }
            for wakes in WAKES {
                NVIC::mask(wakes);
            }
            listen(false);
            // Writing 1 stops the alarm, and takes its interrupt back.
            TIMER0.armed().write_value(Armed(ALARM_BIT));
            TIMER0.intr().write_value(Int(ALARM_BIT));
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

/// Waits without sleeping: for the W5500's reset.
#[derive(Debug)]
pub(crate) struct Wait;

impl DelayNs for Wait {
    fn delay_ns(&mut self, ns: u32) {
        let since = TIMER0.timerawl().read();
        // What has begun of a microsecond does not count.
        let us = ns.div_ceil(1000) + 1;
        while TIMER0.timerawl().read().wrapping_sub(since) < us {}
    }
}
