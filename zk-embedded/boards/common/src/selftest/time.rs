//! The clock's tests.

use super::Tests;
use crate::clock::Clock;

/// How often the clock is read while nothing else happens.
const READS: u32 = 200_000;

/// Milliseconds of the sleeps: short ones, and one behind the end of a period of any board's timer.
const SLEEPS: [u64; 4] = [1, 20, 100, 2500];

/// Naps of a millisecond, and milliseconds that all of them may take: a board whose nap is only ended
/// by something that comes every other second takes longer.
const NAPS: u64 = 50;
const NAPS_MS: u64 = 30_000;

#[inline(never)] // on its own, its frame fits a board's stack
pub(super) fn run(tests: &mut Tests, clock: &mut impl Clock) {
    tests.run("time_passes_and_never_goes_backwards", || {
        let start = clock.now();
        let mut last = start;
        for _ in 0..READS {
            let now = clock.now();
            assert!(now >= last, "{} ms behind {} ms", now.0, last.0);
            last = now;
        }
        assert!(last > start, "no time passes");
    });
    tests.run("sleep_ends_when_the_time_has_come", || {
        for ms in SLEEPS {
            let until = clock.now().plus(ms);
            clock.sleep_until(Some(until), || false);
            let now = clock.now();
            assert!(now >= until, "woken {} ms too early", until.since(now));
        }
    });
    tests.run("a_nap_is_no_sleep", || {
        let start = clock.now();
        for _ in 0..NAPS {
            let until = clock.now().plus(1);
            clock.sleep_until(Some(until), || false);
        }
        let took = clock.now().since(start);
        assert!(took < NAPS_MS, "{NAPS} naps of 1 ms took {took} ms");
    });
    tests.run("who_is_ready_does_not_sleep", || {
        clock.sleep_until(None, || true);
        let past = clock.now();
        clock.sleep_until(Some(past), || false);
    });
}
