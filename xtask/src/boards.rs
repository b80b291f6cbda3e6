//! Builds the firmware of every board, and lets the drivers of those that have an emulator try themselves in
//! QEMU.

use core::time::Duration;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use crate::bare::{self, Facts, Supply};
use crate::checkout::Checkout;
use crate::command::{self, End, Outcome};
use crate::groups::Steps;
use crate::guest::{Guest, Network, Scratch, Wiring, qemu};
use crate::qemu::{Next, Progress};
use crate::targets::{BOARDS, Board, Emulated, SERIAL, SIZED, SLOW, emulated};
use crate::{ensemble, needs, size};

/// The program of a board's package that tries the drivers.
pub(crate) const SELFTEST: &str = "selftest";

/// The feature of boards' packages with which the peer's own logs are in the firmware.
pub(crate) const LOGS: &str = "defmt";

/// The other packages of firmware, for the target whose image is measured.
const OTHERS: [&str; 2] = ["qemu-m3", "size"];

/// One ceiling for whatever one board or two are waited for.
const CEILING: Duration = Duration::from_secs(120);

/// How often a board is killed while it counts its starts.
const KILLS: u32 = 3;

/// The group.
pub(crate) fn run(steps: &mut Steps<'_>) {
    let Some(supply) = Facts::gather().supply() else {
        return steps.check("no compiler for bare-metal targets", false);
    };
    let checkout = steps.checkout;
    let mut shared = checkout.cargo(["test", "--lib", "-p", "common"]);
    for board in BOARDS.iter().filter(|board| board.emulator.is_none()) {
        shared.args(["-p", board.package]);
    }
    shared.current_dir(checkout.boards()).env("CARGO_TARGET_DIR", &checkout.target);
    steps.run(&mut shared);
    if cfg!(unix) {
        quorum(steps);
        // Before there is a ceiling of time.
        steps.run(&mut checkout.cargo(["build", "-p", "zk-cli"]));
    }
    let mut built = Vec::new();
    for board in BOARDS {
        let image = build(steps, supply, board);
        if let (Some(emulator), Some(image)) = (&board.emulator, image) {
            built.push((Emulated { board, emulator }, image));
        }
    }
    for package in OTHERS {
        steps.run(&mut clippy(checkout, supply, SIZED, package, None));
    }
    for (emulated, image) in &built {
        let package = emulated.board.package;
        drivers(steps, *emulated, image);
        let what = format!("{package} counts its starts");
        tried(steps, &what, CEILING, |deadline| count(*emulated, image, deadline));
        if cfg!(unix) {
            let what = format!("{package} stays down and says why");
            tried(steps, &what, CEILING, |deadline| {
                ensemble::stays_down(checkout, *emulated, deadline)
            });
        }
    }
    for (listens, connects) in pairs(built.len()) {
        let (listens, connects) = (&built[listens], &built[connects]);
        let what = format!("{} talks to {}", connects.0.board.package, listens.0.board.package);
        tried(steps, &what, CEILING, |deadline| talk(listens, connects, deadline));
    }
    if cfg!(unix) {
        for Emulated { board, .. } in emulated().filter(|it| it.board.package == SMALLEST) {
            ensemble(steps, board.package, false, CUTS);
            let what = format!("two {} are an ensemble with a server of Apache's", board.package);
            tried(steps, &what, ensemble::CEILING, |deadline| {
                let script = needs::apache_script().ok_or("there is no zkServer.sh")?;
                ensemble::beside_desktop(checkout, board.package, Some(&script), deadline)
            });
        }
        for Emulated { board, .. } in emulated().filter(|it| it.board.programs.contains(&SERIAL)) {
            ensemble(steps, board.package, true, CUTS_SERIAL);
        }
        for Emulated { board, .. } in emulated().filter(|it| it.board.programs.contains(&SLOW)) {
            let what = format!("three {} with slow flashes keep their leader", board.package);
            tried(steps, &what, ensemble::CEILING, |deadline| {
                ensemble::slow(checkout, board, deadline)
            });
        }
        let all = emulated().map(|it| it.board.package).collect::<Vec<_>>().join(",");
        let what = format!("{all} are an ensemble with a server of ours on this machine");
        tried(steps, &what, ensemble::CEILING, |deadline| {
            ensemble::beside_desktop(checkout, &all, None, deadline)
        });
    }
}

/// The board whose ensemble is tried each time: the one with less room.
const SMALLEST: &str = "emcraft-sf2";

/// How often the power of all of its boards is cut; and in the long group.
const CUTS: usize = 20;
const CUTS_LONG: usize = 50;

/// And on serial lines.
const CUTS_SERIAL: usize = 2;
const CUTS_SERIAL_LONG: usize = 9;

/// And in the long group of boards of all architectures.
const CUTS_BOTH: usize = 9;

/// The long group: ensembles of the other boards, on serial lines, and of all kinds. Members of one ensemble
/// hold the same.
pub(crate) fn run_long(steps: &mut Steps<'_>) {
    for Emulated { board, .. } in emulated().filter(|it| it.board.package != SMALLEST) {
        ensemble(steps, board.package, false, CUTS_LONG);
    }
    for Emulated { board, .. } in emulated().filter(|it| it.board.programs.contains(&SERIAL)) {
        ensemble(steps, board.package, true, CUTS_SERIAL_LONG);
    }
    let all: Vec<_> = emulated().map(|it| it.board.package).collect();
    ensemble(steps, &all.join(","), false, CUTS_BOTH);
}

fn ensemble(steps: &mut Steps<'_>, kinds: &str, serial: bool, cuts: usize) {
    let checkout = steps.checkout;
    let lines = if serial { " on serial lines" } else { "" };
    let what = format!("three {kinds}{lines} are an ensemble");
    tried(steps, &what, ensemble::CEILING, |deadline| {
        ensemble::run(checkout, kinds, serial, cuts, deadline)
    });
}

/// What joins boards to a quorum: the switch, their logs, their processes.
fn quorum(steps: &mut Steps<'_>) {
    let mut test = steps.checkout.cargo(["test", "-p", "xtask", "--features", "quorum"]);
    steps.run(test.args(["--", "quorum", "switch"]));
}

/// Each one with itself, and each two with each other.
fn pairs(len: usize) -> Vec<(usize, usize)> {
    (0..len).flat_map(|a| (a..len).map(move |b| (a, b))).collect()
}

/// Builds a board's package and looks at it with clippy. Answers with the program that tries the
/// drivers.
fn build(steps: &mut Steps<'_>, supply: Supply, board: &Board) -> Option<PathBuf> {
    let checkout = steps.checkout;
    let (mut build, image) = firmware(checkout, supply, board);
    let built = steps.run(&mut build);
    let features = format!("{LOGS},{}", board.programs.join(","));
    steps.run(&mut clippy(checkout, supply, board.triple, board.package, Some(&features)));
    built.then(|| bare::program(&image, SELFTEST))
}

/// The command that builds a board's package, and where its firmware is then.
pub(crate) fn firmware(checkout: &Checkout, supply: Supply, board: &Board) -> (Command, PathBuf) {
    built_alike(checkout, supply, board.triple, board.package)
}

/// The same of a package that is no board's, with the flags of boards.
pub(crate) fn built_alike(
    checkout: &Checkout,
    supply: Supply,
    triple: &str,
    package: &str,
) -> (Command, PathBuf) {
    let flags = size::flags(supply);
    let (mut build, image) = bare::firmware(checkout, supply, triple, package, &flags);
    unstable(&mut build);
    (build, image)
}

/// The same of another program of its package.
#[cfg(feature = "quorum")]
pub(crate) fn program(
    checkout: &Checkout,
    supply: Supply,
    board: &Board,
    name: &str,
) -> (Command, PathBuf) {
    let (mut build, image) = firmware(checkout, supply, board);
    build.args(["--features", name, "--bin", name]);
    (build, bare::program(&image, name))
}

fn clippy(
    checkout: &Checkout,
    supply: Supply,
    triple: &str,
    package: &str,
    feature: Option<&str>,
) -> Command {
    let flags = size::flags(supply);
    let mut clippy = bare::clippy(checkout, supply, triple, package, (&flags, feature));
    unstable(&mut clippy);
    clippy
}

/// One of the flags is an unstable one.
fn unstable(command: &mut Command) -> &mut Command {
    command.env("RUSTC_BOOTSTRAP", "1")
}

fn tried(
    steps: &mut Steps<'_>,
    what: &str,
    ceiling: Duration,
    attempt: impl FnOnce(Instant) -> Result<(), String>,
) {
    let deadline = steps.deadline.min(Instant::now() + ceiling);
    match attempt(deadline) {
        Ok(()) => steps.check(what, true),
        Err(error) => {
            println!("{what}: {error}");
            steps.check(&format!("{what}: {error}"), false);
        }
    }
}

/// The tests of flash and clock, counted one by one.
fn drivers(steps: &mut Steps<'_>, emulated: Emulated, image: &PathBuf) {
    let Emulated { board, emulator } = emulated;
    let deadline = steps.deadline.min(Instant::now() + CEILING);
    let run = |deadline| -> Result<Outcome, String> {
        let scratch = Scratch::new()?;
        let flash = scratch.flash("flash", emulator.flash)?;
        let wiring = Wiring { image, args: &["drivers"], flash: Some(&flash), network: None };
        let mut progress = Progress::default();
        let outcome = command::run_with(&mut qemu(emulator, &wiring), deadline, |line| {
            println!("{line}");
            progress.line(line);
        });
        let end = match progress.ended(outcome.end, 0) {
            Next::Done(end) => end,
            Next::Again => End::Failure,
        };
        Ok(Outcome { end, tests: progress.tests })
    };
    let what = format!("the drivers of {}", board.package);
    match run(deadline) {
        Ok(outcome) => {
            steps.record(&what, outcome);
        }
        Err(error) => steps.check(&format!("{what}: {error}"), false),
    }
}

/// A flash keeps what was written before its board was killed.
fn count(emulated: Emulated, image: &PathBuf, deadline: Instant) -> Result<(), String> {
    let Emulated { board, emulator } = emulated;
    let scratch = Scratch::new()?;
    let flash = scratch.flash("flash", emulator.flash)?;
    for start in 1..=KILLS {
        let wiring = Wiring { image, args: &["count"], flash: Some(&flash), network: None };
        let guest = Guest::start(board.package, &mut qemu(emulator, &wiring))?;
        let counted = guest.line("counted ", deadline)?;
        guest.cut_power()?;
        if counted != start.to_string() {
            return Err(format!("start {start} counted as {counted}"));
        }
    }
    Ok(())
}

/// Two boards exchange bytes.
fn talk(
    (listens, listener): &(Emulated, PathBuf),
    (connects, connector): &(Emulated, PathBuf),
    deadline: Instant,
) -> Result<(), String> {
    let scratch = Scratch::new()?;
    let (one, two) = (scratch.path("1.sock"), scratch.path("2.sock"));
    let wiring = Wiring {
        image: listener,
        args: &["listen", "1"],
        flash: None,
        network: Some(Network::Frames(&one, &two)),
    };
    let name = format!("{} 1", listens.board.package);
    let listening = Guest::start(&name, &mut qemu(listens.emulator, &wiring))?;
    listening.line("listening", deadline)?;
    let wiring = Wiring {
        image: connector,
        args: &["connect", "2", "1"],
        flash: None,
        network: Some(Network::Frames(&two, &one)),
    };
    let name = format!("{} 2", connects.board.package);
    let connecting = Guest::start(&name, &mut qemu(connects.emulator, &wiring))?;
    connecting.end(deadline)?;
    listening.end(deadline)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_board_meets_each_other_and_its_like() {
        assert_eq!(pairs(2), [(0, 0), (0, 1), (1, 1)]);
        assert_eq!(pairs(0), []);
    }
}
