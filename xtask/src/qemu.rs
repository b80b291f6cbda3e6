//! Runs zk-core's own tests on an emulated board, and counts its instructions.

use std::path::Path;
use std::process::Command;

use crate::bare::{self, Facts};
use crate::boards;
use crate::command::{self, End, Outcome, Tally};
use crate::groups::Steps;
use crate::targets::{Runner, TARGETS};

/// What the firmware prints before each test, behind it, and at the end.
const TEST: &str = "test ";
const OK: &str = " ok";
const DONE: &str = "done ";

/// The program that counts.
const COUNT: &str = "count";

/// What it counts.
const COUNTED: usize = 8;

/// An instruction takes 2^3 ns of QEMU's time, and the board's timer, of 25 MHz, counts each 40 ns.
const ICOUNT: &str = "shift=3";
const PER_COUNT: u64 = 40 / 8;

/// The group: every target of the table that has a runner.
pub(crate) fn run(steps: &mut Steps<'_>) {
    let Some(supply) = Facts::gather().supply() else {
        return steps.check("no compiler for bare-metal targets", false);
    };
    let checkout = steps.checkout;
    for target in TARGETS {
        let Some(runner) = &target.runner else { continue };
        let (mut build, image) =
            bare::firmware(checkout, supply, target.triple, runner.firmware, "");
        if steps.run(&mut build) {
            boot(steps, runner, &image);
        }
        let (mut build, image) =
            boards::built_alike(checkout, supply, target.triple, runner.firmware);
        if steps.run(&mut build) {
            count(steps, runner, &bare::program(&image, COUNT));
        }
    }
}

/// Boots the firmware until it has run all of its tests. A test that panics ends the firmware: it
/// is booted again and told to go on behind that one.
fn boot(steps: &mut Steps<'_>, runner: &Runner, image: &Path) {
    let mut progress = Progress::default();
    loop {
        let first = progress.next;
        let mut qemu = Command::new(runner.qemu);
        qemu.args(["-M", runner.machine, "-nographic", "-monitor", "none", "-serial", "none"]);
        qemu.arg("-semihosting-config");
        qemu.arg(format!("enable=on,target=native,arg=firmware,arg={first}"));
        qemu.arg("-kernel").arg(image);
        let outcome = command::run_with(&mut qemu, steps.deadline, |line| {
            println!("{line}");
            progress.line(line);
        });
        match progress.ended(outcome.end, first) {
            Next::Again => {}
            Next::Done(end) => {
                let what = format!("{} on {}", runner.firmware, runner.machine);
                steps.record(&what, Outcome { end, tests: progress.tests });
                return;
            }
        }
    }
}

/// Boots the program that counts, and shows how many instructions each of what it counts takes.
fn count(steps: &mut Steps<'_>, runner: &Runner, image: &Path) {
    let mut qemu = Command::new(runner.qemu);
    qemu.args(["-M", runner.machine, "-nographic", "-monitor", "none", "-serial", "none"]);
    qemu.args(["-semihosting-config", "enable=on,target=native", "-icount", ICOUNT]);
    qemu.arg("-kernel").arg(image);
    let mut counted = Vec::new();
    let mut done = false;
    let outcome = command::run_with(&mut qemu, steps.deadline, |line| {
        done |= line.trim_end() == DONE.trim_end();
        match instructions(line) {
            Some(found) => counted.push(found),
            None => println!("{line}"),
        }
    });
    println!("instructions of a {} for", runner.machine);
    for (instructions, what) in &counted {
        println!("{instructions:>12}  {what}");
    }
    let what = format!("{COUNT} on {}: {} kinds of requests", runner.machine, counted.len());
    steps.check(&what, outcome.end == End::Success && done && counted.len() == COUNTED);
}

/// How many instructions one of something takes, where a line says so.
fn instructions(line: &str) -> Option<(u64, String)> {
    let mut words = line.trim_end().strip_prefix("count ")?.splitn(3, ' ');
    let (counts, times): (u64, u64) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    Some(((counts * PER_COUNT).checked_div(times)?, words.next()?.to_owned()))
}

/// What the firmware has told so far, over all of its boots.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    pub(crate) tests: Tally,
    /// The number of the test to go on with.
    next: u32,
    /// A test was begun and did not end.
    inside: bool,
    done: bool,
}

/// What follows a boot.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Another one, for the tests behind the one that panicked.
    Again,
    Done(End),
}

impl Progress {
    pub(crate) fn line(&mut self, line: &str) {
        let line = line.trim_end();
        if line.strip_prefix(DONE).is_some_and(|count| count.parse() == Ok(self.next)) {
            self.done = true;
        } else if self.inside && line == OK {
            self.inside = false;
            self.tests.passed += 1;
        } else if line.starts_with(TEST) {
            self.inside = true;
            self.next += 1;
        }
    }

    /// A boot that started with test `first` has ended.
    pub(crate) fn ended(&mut self, end: End, first: u32) -> Next {
        if core::mem::take(&mut self.inside) {
            self.tests.failed += 1;
        }
        match end {
            End::Success if self.done => Next::Done(End::Success),
            // It panicked inside a test: the others still have their turn.
            End::Failure if self.next > first => Next::Again,
            // It ended without a reason, hung, or did not even boot.
            End::Success | End::Failure => Next::Done(End::Failure),
            End::TimedOut | End::NotStarted => Next::Done(end),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boot(progress: &mut Progress, lines: &str, end: End) -> Next {
        let first = progress.next;
        lines.lines().for_each(|line| progress.line(line));
        progress.ended(end, first)
    }

    #[test]
    fn counts_are_instructions() {
        let found = instructions("count 72640 50 getData of 20 bytes\n");
        assert_eq!(found, Some((7264, "getData of 20 bytes".to_owned())));
        for line in ["done", "count 7 0 nothing", "count 7 x y", "count 7 7", "test count 1 1 a"] {
            assert_eq!(instructions(line), None, "{line}");
        }
    }

    #[test]
    fn a_whole_run_passes() {
        let mut progress = Progress::default();
        let next = boot(&mut progress, "test a\n ok\ntest b\n ok\ndone 2\n", End::Success);
        assert_eq!(next, Next::Done(End::Success));
        assert_eq!(progress.tests, Tally { passed: 2, failed: 0 });
    }

    #[test]
    fn a_test_that_panics_does_not_hide_the_others() {
        let mut progress = Progress::default();
        let next = boot(&mut progress, "test a\n ok\ntest b\npanicked at x\n", End::Failure);
        assert_eq!((next, progress.next), (Next::Again, 2));
        let next = boot(&mut progress, "test c\n ok\ndone 3\n", End::Success);
        assert_eq!(next, Next::Done(End::Success));
        assert_eq!(progress.tests, Tally { passed: 2, failed: 1 });
    }

    #[test]
    fn a_firmware_that_ends_early_fails() {
        for (lines, end) in [
            ("", End::Success),
            ("", End::Failure),
            ("test a\n ok\n", End::Success),
            ("test a\n ok\ndone 2\n", End::Success),
        ] {
            let next = boot(&mut Progress::default(), lines, end);
            assert_eq!(next, Next::Done(End::Failure), "{lines}");
        }
        let mut progress = Progress::default();
        assert_eq!(boot(&mut progress, "test a\n", End::TimedOut), Next::Done(End::TimedOut));
        assert_eq!(progress.tests.failed, 1);
    }
}
