//! Running one command: its output passes through, its tests are counted, its time is limited.

use core::time::Duration;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::Instant;

/// How long the output of a process that has ended may stay open (a grandchild may hold it).
const LINGER: Duration = Duration::from_secs(5);

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Exit code 0.
    Success,
    /// Any other exit, or a signal.
    Failure,
    /// It was still running at the deadline and was killed.
    TimedOut,
    /// It could not be started.
    NotStarted,
}

/// The end of a command, and the tests that its output told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) end: End,
    pub(crate) tests: Tally,
}

/// Tests passed and failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u32,
    pub(crate) failed: u32,
}

impl Tally {
    pub(crate) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

/// Sums up what a command's lines say about tests.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    libtest: Tally,
    own: Option<Tally>,
}

impl Count {
    /// libtest closes each of its programs with a line, which add up. Our own programs close once,
    /// with `N passed, N failed`; the last such line counts.
    fn line(&mut self, line: &str) {
        let line = line.trim();
        if let Some(result) = line.strip_prefix("test result: ") {
            let number = |word: &str| {
                result
                    .split([';', '.'])
                    .find_map(|part| part.trim().strip_suffix(word)?.trim().parse().ok())
            };
            if let (Some(passed), Some(failed)) = (number("passed"), number("failed")) {
                self.libtest.add(Tally { passed, failed });
            }
        } else if let Some(tally) = closing_line(line) {
            self.own = Some(tally);
        }
    }

    fn tally(self) -> Tally {
        let mut sum = self.libtest;
        sum.add(self.own.unwrap_or_default());
        sum
    }
}

/// Reads `N passed, N failed`, alone on its line.
fn closing_line(line: &str) -> Option<Tally> {
    let (passed, failed) = line.split_once(", ")?;
    Some(Tally {
        passed: passed.strip_suffix(" passed")?.parse().ok()?,
        failed: failed.strip_suffix(" failed")?.parse().ok()?,
    })
}

enum Event {
    Line(String),
    Closed,
    Exit(std::io::Result<ExitStatus>),
}

/// The command as a person would type it, with the variables that it sets.
pub(crate) fn shown(command: &Command) -> String {
    let mut words: Vec<String> = command
        .get_envs()
        .filter_map(|(key, value)| Some(format!("{}={}", key.display(), quoted(value?))))
        .collect();
    words.push(named(command));
    words.join(" ")
}

/// The command without its variables.
pub(crate) fn named(command: &Command) -> String {
    let program = std::path::Path::new(command.get_program());
    let mut words = vec![program.file_name().unwrap_or_default().display().to_string()];
    words.extend(command.get_args().map(quoted));
    words.join(" ")
}

fn quoted(word: &std::ffi::OsStr) -> String {
    let word = word.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=,:+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word;
    }
    // Cargo keeps flags apart with a character that a terminal does not show.
    let escaped: String = word
        .chars()
        .map(|c| if c.is_ascii_control() { format!("\\x{:02x}", u32::from(c)) } else { c.into() })
        .collect();
    if escaped == word { format!("'{word}'") } else { format!("$'{escaped}'") }
}

/// Runs `command` without standard input until it ends or `deadline` passes.
pub(crate) fn run(command: &mut Command, deadline: Instant) -> Outcome {
    run_with(command, deadline, |line| println!("{line}"))
}

/// As [`run`]; `each` is given the lines of standard output instead of the terminal.
pub(crate) fn run_with(
    command: &mut Command,
    deadline: Instant,
    mut each: impl FnMut(&str),
) -> Outcome {
    println!("$ {}", shown(command));
    let mut child = match command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn() {
        Ok(child) => child,
        Err(error) => {
            println!("cannot start {}: {error}", command.get_program().display());
            return Outcome { end: End::NotStarted, tests: Tally::default() };
        }
    };
    let pid = child.id();
    let (events, receiver) = mpsc::channel();
    watch(&mut child, events.clone());
    thread::spawn(move || events.send(Event::Exit(child.wait())));

    let (mut count, mut open, mut killed) = (Count::default(), true, false);
    let (mut status, mut limit) = (None, deadline);
    while open || status.is_none() {
        match receiver.recv_timeout(limit.saturating_duration_since(Instant::now())) {
            Ok(Event::Line(line)) => {
                count.line(&line);
                each(&line);
            }
            Ok(Event::Closed) => open = false,
            Ok(Event::Exit(exit)) => {
                status = Some(exit);
                limit = Instant::now() + LINGER;
            }
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) if killed || status.is_some() => break,
            Err(RecvTimeoutError::Timeout) => {
                println!("out of time, killed: {}", named(command));
                kill(pid);
                killed = true;
                limit = Instant::now() + LINGER;
            }
        }
    }
    let end = match status {
        _ if killed => End::TimedOut,
        Some(Ok(status)) if status.success() => End::Success,
        _ => End::Failure,
    };
    Outcome { end, tests: count.tally() }
}

fn watch(child: &mut Child, events: Sender<Event>) {
    let Some(stdout) = child.stdout.take() else { return };
    thread::spawn(move || {
        let mut lines = BufReader::new(stdout);
        let mut line = Vec::new();
        while matches!(lines.read_until(b'\n', &mut line), Ok(n) if n > 0) {
            let text = String::from_utf8_lossy(&line).trim_end_matches(['\n', '\r']).to_owned();
            if events.send(Event::Line(text)).is_err() {
                return;
            }
            line.clear();
        }
        // Nobody listens any more once the deadline has passed: that is no error.
        events.send(Event::Closed).ok();
    });
}

/// Kills the process and all that it started: killing cargo alone would leave its test running.
fn kill(pid: u32) {
    let table = Command::new("ps").args(["-A", "-o", "pid=,ppid="]).output();
    let table = table.map(|out| String::from_utf8_lossy(&out.stdout).into_owned());
    let mut family = family(&table.unwrap_or_default(), pid);
    family.push(pid);
    let pids = family.iter().map(u32::to_string);
    if let Err(error) = Command::new("kill").arg("-KILL").args(pids).status() {
        println!("cannot kill process {pid}: {error}");
    }
}

/// The descendants of `root` in the output of `ps -A -o pid=,ppid=`.
fn family(table: &str, root: u32) -> Vec<u32> {
    let rows: Vec<(u32, u32)> = table
        .lines()
        .filter_map(|row| {
            let mut words = row.split_whitespace().map(|word| word.parse().ok());
            Some((words.next()??, words.next()??))
        })
        .collect();
    let (mut found, mut next) = (Vec::new(), vec![root]);
    while let Some(parent) = next.pop() {
        let children =
            rows.iter().filter(|row| row.1 == parent && row.0 != parent).map(|row| row.0);
        for child in children {
            if !found.contains(&child) {
                found.push(child);
                next.push(child);
            }
        }
    }
    found
}

/// The first line that a program prints on standard output, if it runs and succeeds.
pub(crate) fn first_line(program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).stdin(Stdio::null()).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    output.status.success().then(|| text.lines().next().unwrap_or_default().to_owned())
}

/// Sends a process a signal (`-TERM`).
///
/// # Errors
/// It cannot be sent.
pub(crate) fn signal(pid: u32, signal: &str) -> std::io::Result<()> {
    let status = Command::new("kill").args([signal, &pid.to_string()]).status()?;
    if status.success() { Ok(()) } else { Err(std::io::Error::other("it could not be killed")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_counted_from_what_libtest_prints() {
        let mut count = Count::default();
        for line in [
            "running 14 tests",
            "test id::tests::ids ... ok",
            "test result: ok. 14 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.02s",
            "test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.00s",
        ] {
            count.line(line);
        }
        assert_eq!(count.tally(), Tally { passed: 15, failed: 2 });
    }

    #[test]
    fn the_last_closing_line_of_our_own_programs_counts() {
        let mut count = Count::default();
        for line in ["1 passed, 0 failed", "8 passed, 1 failed", "9 passed, 1 failed (so far)"] {
            count.line(line);
        }
        assert_eq!(count.tally(), Tally { passed: 8, failed: 1 });
    }

    #[test]
    fn a_family_is_found_in_any_order() {
        let table = "  1 0\n 30 20\n 10 1\n 20 10\n 40 1\n 31 20\nnoise\n";
        let mut found = family(table, 10);
        found.sort_unstable();
        assert_eq!(found, [20, 30, 31]);
        assert!(family(table, 40).is_empty());
    }

    #[cfg(unix)]
    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[cfg(unix)]
    #[test]
    fn the_end_of_a_command_is_told() {
        let soon = Instant::now() + Duration::from_secs(60);
        let outcome = run(&mut shell("echo 3 passed, 0 failed"), soon);
        assert_eq!(outcome, Outcome { end: End::Success, tests: Tally { passed: 3, failed: 0 } });
        assert_eq!(run(&mut shell("exit 3"), soon).end, End::Failure);
        assert_eq!(run(&mut shell("kill -9 $$"), soon).end, End::Failure);
        assert_eq!(run(&mut Command::new("no-such-program-here"), soon).end, End::NotStarted);
    }

    #[cfg(unix)]
    #[test]
    fn what_hangs_is_killed_with_its_children() {
        let start = Instant::now();
        let mut pid = None;
        let mut command = shell("sleep 1000 & echo $!; wait");
        let outcome = run_with(&mut command, start + Duration::from_millis(300), |line| {
            pid = Some(line.to_owned());
        });
        assert_eq!(outcome.end, End::TimedOut);
        assert!(start.elapsed() < Duration::from_secs(60));
        // Where nobody waits for orphans a dead one stays in the table, as a zombie.
        let state = first_line("ps", &["-o", "stat=", "-p", &pid.unwrap_or_default()]);
        assert!(state.is_none_or(|state| state.starts_with('Z')));
    }

    #[test]
    fn a_command_is_shown_with_its_variables() {
        let mut command = Command::new("/usr/bin/cargo");
        command.env("RUSTDOCFLAGS", "-D warnings").env_remove("HOME").args(["doc", "--no-deps"]);
        assert_eq!(shown(&command), "RUSTDOCFLAGS='-D warnings' cargo doc --no-deps");
        command.env("RUSTDOCFLAGS", "-D\x1fwarnings");
        assert_eq!(shown(&command), r"RUSTDOCFLAGS=$'-D\x1fwarnings' cargo doc --no-deps");
    }
}
