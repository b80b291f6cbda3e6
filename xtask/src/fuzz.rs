//! Coverage-guided fuzzing: the programs of `fuzz/`, instrumented, each run for a while.
//!
//! libFuzzer and rustc's own `sancov-module` pass are all that it takes, on any toolchain. What was
//! found worth keeping stays in `target/fuzz/corpus` and is where the next run begins.

use std::fs;
use std::io;
use std::path::{MAIN_SEPARATOR, Path, PathBuf};
use std::process::Command;

use crate::checkout::Checkout;
use crate::command::{self, End, first_line};
use crate::groups::Steps;

/// The targets; each is a module of `fuzz/src` that says what it holds.
pub(crate) const TARGETS: [&str; 7] =
    ["records", "peer", "client", "history", "store", "config", "flash"];

/// A target whose bug is known: without feedback from the code nobody would ever find it.
const PLANTED: &str = "planted";

/// Seconds of each target in the group.
const SECONDS: u64 = 150;

/// Seconds within which the planted bug must be found.
const PLANTED_SECONDS: u64 = 180;

/// Seconds of the build, libFuzzer's own included.
const BUILD_SECONDS: u64 = 240;

/// Seconds that the group takes.
pub(crate) const BUDGET: u64 = BUILD_SECONDS + PLANTED_SECONDS + SECONDS * TARGETS.len() as u64;

/// Instruments every crate: a counter for each edge, and what comparisons compared.
const RUSTFLAGS: &str = "-Cpasses=sancov-module \
                         -Cllvm-args=-sanitizer-coverage-level=4 \
                         -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
                         -Cllvm-args=-sanitizer-coverage-pc-table \
                         -Cllvm-args=-sanitizer-coverage-trace-compares";

/// An input that takes longer, in seconds, is a finding.
const SLOWEST: u64 = 25;

/// Directories of a target.
struct Place {
    corpus: PathBuf,
    findings: PathBuf,
}

impl Place {
    fn of(checkout: &Checkout, target: &str) -> io::Result<Self> {
        let home = home(checkout);
        let place = Self {
            corpus: home.join("corpus").join(target),
            findings: home.join("findings").join(target),
        };
        fs::create_dir_all(&place.corpus)?;
        fs::create_dir_all(&place.findings)?;
        Ok(place)
    }
}

fn home(checkout: &Checkout) -> PathBuf {
    checkout.target.join("fuzz")
}

/// The group: the planted bug is found, and in a while no other is.
pub(crate) fn run(steps: &mut Steps<'_>) {
    let checkout = steps.checkout;
    let Some(programs) = build(checkout, &TARGETS, &mut |command| steps.run(command)) else {
        return;
    };
    find_the_planted_bug(steps, &programs);
    for target in TARGETS {
        match search(checkout, &programs, target) {
            Ok((mut search, corpus)) => {
                search.arg(format!("-max_total_time={SECONDS}")).arg(corpus);
                search.args(["-verbosity=0", "-print_final_stats=1"]);
                if !steps.run(&mut search) {
                    println!("to repeat it: cargo xtask fuzz {target} FILE");
                }
            }
            Err(error) => steps.check(&format!("directories of {target}: {error}"), false),
        }
    }
}

/// `cargo xtask fuzz TARGET ..`: what follows the target goes to libFuzzer, which runs a file that is
/// named there and no other. Without an end of its own the search goes on until it is stopped.
///
/// # Errors
/// A target that is not there, and what cannot be run.
pub(crate) fn wished(checkout: &Checkout, target: &str, args: &[String]) -> Result<bool, String> {
    let Some(target) = TARGETS.into_iter().find(|known| *known == target) else {
        return Err(format!("no target `{target}`; there are {}", TARGETS.join(", ")));
    };
    let mut run = |command: &mut Command| {
        println!("$ {}", command::shown(command));
        match command.status() {
            Ok(status) => status.success(),
            Err(error) => {
                println!("cannot start it: {error}");
                false
            }
        }
    };
    let Some(programs) = build(checkout, &[target], &mut run) else { return Ok(false) };
    let (mut search, corpus) =
        search(checkout, &programs, target).map_err(|error| error.to_string())?;
    search.args(args);
    if args.iter().all(|arg| arg.starts_with('-')) {
        search.arg(corpus);
    }
    Ok(run(&mut search))
}

/// Builds the programs with `run`, and returns where they are.
fn build(
    checkout: &Checkout,
    targets: &[&str],
    run: &mut dyn FnMut(&mut Command) -> bool,
) -> Option<PathBuf> {
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let host = first_line(&rustc, &["--print", "host-tuple"]).unwrap_or_default();
    let mut build = checkout.cargo(["build", "--release", "--features", "libfuzzer"]);
    build.current_dir(checkout.fuzz()).env("CARGO_TARGET_DIR", home(checkout));
    // Because a target is named, build scripts and macros are built without the flags.
    build.args(["--target", &host]).env("RUSTFLAGS", RUSTFLAGS);
    build.env_remove("CARGO_ENCODED_RUSTFLAGS");
    for target in targets.iter().chain(&[PLANTED]) {
        build.args(["--bin", target]);
    }
    run(&mut build).then(|| home(checkout).join(host).join("release"))
}

fn program(programs: &Path, target: &str) -> PathBuf {
    programs.join(target).with_extension(std::env::consts::EXE_EXTENSION)
}

/// The command that searches with a target, to which options of libFuzzer's may be added, and its
/// corpus.
fn search(checkout: &Checkout, programs: &Path, target: &str) -> io::Result<(Command, PathBuf)> {
    let place = Place::of(checkout, target)?;
    let mut command = Command::new(program(programs, target));
    command.env("RUST_BACKTRACE", "1").arg(format!("-timeout={SLOWEST}"));
    command.arg(prefix(&place.findings));
    Ok((command, place.corpus))
}

/// Where libFuzzer leaves the input that it has found.
fn prefix(findings: &Path) -> String {
    format!("-artifact_prefix={}{MAIN_SEPARATOR}", findings.display())
}

/// A fuzzer that is blind looks like a program without bugs.
fn find_the_planted_bug(steps: &mut Steps<'_>, programs: &Path) {
    println!("a bug is planted, and the panic that follows has to be:");
    let place = home(steps.checkout).join("findings").join(PLANTED);
    let corpus = home(steps.checkout).join("corpus").join(PLANTED);
    // Nothing of an earlier run may count as found, or help.
    let cleared = [&place, &corpus].into_iter().all(|directory| {
        let absent = match fs::remove_dir_all(directory) {
            Ok(()) => true,
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        };
        absent && fs::create_dir_all(directory).is_ok()
    });
    let mut command = Command::new(program(programs, PLANTED));
    command.arg(format!("-max_total_time={PLANTED_SECONDS}")).arg("-verbosity=0");
    // How near a comparison came counts as new, too.
    command.arg(prefix(&place)).arg("-use_value_profile=1").arg(corpus);
    let end = command::run(&mut command, steps.deadline).end;
    let found = fs::read_dir(&place).is_ok_and(|mut files| files.next().is_some());
    steps.check("the planted bug is found", cleared && found && end == End::Failure);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_of_the_workspace_is_run() {
        let checkout = Checkout::here();
        let manifest = fs::read_to_string(checkout.fuzz().join("Cargo.toml")).unwrap_or_default();
        let programs: Vec<&str> = manifest
            .split("[[bin]]")
            .skip(1)
            .filter_map(|table| table.split('"').nth(1))
            .filter(|name| *name != PLANTED)
            .collect();
        assert_eq!(programs, TARGETS);
    }
}
