//! What resets a board whose loop does not come round.
//!
//! It is fed when the node has done all that it could at the time, and at nothing else: a loop within it
//! that does not end, or a device that is waited for, is what it is for. So no sleep may be longer than it
//! waits; [`Watchdog::awake`] cuts it.

use zk_core::time::Instant;

/// Why the last run ended, where a watchdog has ended it.
pub const WHY: &str = "the watchdog: the loop did not come round";

/// A watchdog.
pub trait Watchdog {
    /// Milliseconds that it waits to be fed; nothing where there is none.
    const PATIENCE_MS: Option<u64>;

    /// Whether it has reset the board, and that was the last reset.
    fn has_bitten(&self) -> bool;

    /// From now on it resets the board if it is not fed in time.
    fn start(&mut self);

    /// The loop has come round.
    fn feed(&mut self);

    /// How long the board may sleep that wants to be called at a time, or when something happens.
    fn awake(&self, until: Option<Instant>, now: Instant) -> Option<Instant> {
        // Twice in that time it is fed: the clocks of both need not agree.
        let fed = Self::PATIENCE_MS.map(|patience| now.plus(patience / 2));
        [until, fed].into_iter().flatten().min()
    }
}

/// A board without one.
#[derive(Clone, Copy, Debug)]
pub struct Absent;

impl Watchdog for Absent {
    const PATIENCE_MS: Option<u64> = None;

    fn has_bitten(&self) -> bool {
        false
    }

    fn start(&mut self) {}

    fn feed(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bites if it was not fed for its time.
    struct Timer(Instant);

    impl Watchdog for Timer {
        const PATIENCE_MS: Option<u64> = Some(1000);

        fn has_bitten(&self) -> bool {
            false
        }

        fn start(&mut self) {}

        fn feed(&mut self) {}
    }

    #[test]
    fn nobody_sleeps_longer_than_the_watchdog_waits() {
        let mut dog = Timer(Instant(0));
        let mut now = Instant(0);
        for until in [None, Some(Instant(1)), Some(Instant(700)), None, Some(Instant(u64::MAX))] {
            let awake = dog.awake(until, now).unwrap();
            assert!(until.is_none_or(|until| awake <= until));
            assert!(awake.since(dog.0) < 1000);
            now = awake.max(now);
            dog.0 = now;
        }
        assert_eq!(now, Instant(500 + 200 + 500 + 500));
    }

    #[test]
    fn without_one_sleep_is_as_long_as_it_likes() {
        assert_eq!(Absent.awake(None, Instant(5)), None);
        assert_eq!(Absent.awake(Some(Instant(u64::MAX)), Instant(5)), Some(Instant(u64::MAX)));
        assert!(!Absent.has_bitten());
    }
}
