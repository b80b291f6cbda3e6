//! The groups of tests: what they run, what they need, how long they may take.

use core::time::Duration;
use std::collections::BTreeSet;
use std::process::Command;
use std::time::Instant;

use crate::bare::{self, Facts};
use crate::checkout::Checkout;
use crate::command::{self, End, Outcome, Tally};
use crate::install::Installing;
use crate::needs::Need;
use crate::report::{self, Row, Verdict};
use crate::targets::TARGETS;
use crate::{boards, fuzz, interop, qemu, rules, sim, size};

/// A group that takes this many times its budget hangs, and is killed.
const PATIENCE: u32 = 3;

/// A group of tests.
#[derive(Debug)]
pub(crate) struct Group {
    /// Its name on the command line.
    pub(crate) name: &'static str,
    what: &'static str,
    /// Seconds that it should take on two cores, its builds included.
    budget: u64,
    /// Run by `--long` or by its name only.
    long: bool,
    needs: &'static [Need],
    /// Whether the checkout has such tests.
    here: fn(&Checkout) -> bool,
    run: fn(&mut Steps<'_>),
}

const fn everywhere(_: &Checkout) -> bool {
    true
}

/// The switch of emulated boards has sockets of files.
const fn on_unix(_: &Checkout) -> bool {
    cfg!(unix)
}

/// With the second driver of the server. It adds a file and changes nothing else, so the other tests
/// need not be built without it as well; clippy is.
const TOKIO: [&str; 2] = ["--features", "zk-std/tokio"];

/// Every group, in the order in which they are run: quick answers first.
const GROUPS: &[Group] = &[
    Group {
        name: "fmt",
        what: "formatting",
        budget: 10,
        long: false,
        needs: &[Need::Rustfmt],
        here: everywhere,
        run: fmt,
    },
    Group {
        name: "arch",
        what: "architecture arrows and rules of the source",
        budget: 10,
        long: false,
        needs: &[],
        here: everywhere,
        run: rules::run,
    },
    Group {
        name: "core",
        what: "host tests of zk-core, with and without std",
        budget: 150,
        long: false,
        needs: &[],
        here: everywhere,
        run: core,
    },
    Group {
        name: "std",
        what: "host tests of zk-std and zk-cli",
        budget: 150,
        long: false,
        needs: &[],
        here: everywhere,
        run: std,
    },
    Group {
        name: "embedded",
        what: "host tests of zk-embedded, its flash cut everywhere, and of xtask",
        budget: 120,
        long: false,
        needs: &[],
        here: everywhere,
        run: embedded,
    },
    Group {
        name: "sim",
        what: "ensembles in the simulator, 1000 seeds, and planted bugs",
        budget: 340,
        long: false,
        needs: &[],
        here: everywhere,
        run: sim::run,
    },
    Group {
        name: "seeds",
        what: "the fuzz targets on their seeds",
        budget: 80,
        long: false,
        needs: &[],
        here: everywhere,
        run: seeds,
    },
    Group {
        name: "lint",
        what: "clippy, warnings are errors",
        budget: 150,
        long: false,
        needs: &[Need::Clippy],
        here: everywhere,
        run: lint,
    },
    Group {
        name: "doc",
        what: "documentation without warnings",
        budget: 60,
        long: false,
        needs: &[],
        here: everywhere,
        run: doc,
    },
    Group {
        name: "targets",
        what: "no_std builds of zk-core and zk-embedded for every target",
        budget: 320,
        long: false,
        needs: &[Need::BareMetal],
        here: everywhere,
        run: targets,
    },
    Group {
        name: "size",
        what: "flash, memory and stack of the core and of the boards' firmware",
        budget: 240,
        long: false,
        needs: &[Need::BareMetal],
        here: everywhere,
        run: size::run,
    },
    Group {
        name: "qemu",
        what: "zk-core's own tests on an emulated Cortex-M3",
        budget: 90,
        long: false,
        needs: &[Need::BareMetal, Need::QemuArm],
        here: everywhere,
        run: qemu::run,
    },
    Group {
        name: "boards",
        what: "boards: their drivers, and ensembles of emulated ones, which lose their power",
        budget: 620,
        long: false,
        needs: &[
            Need::BareMetal,
            Need::BareClippy,
            Need::QemuArm,
            Need::QemuRiscv,
            Need::Kazoo,
            Need::Java,
            Need::ZooKeeper,
        ],
        here: everywhere,
        run: boards::run,
    },
    Group {
        name: "interop",
        what: "ZooKeeper's own clients, server and files",
        budget: 780,
        long: false,
        needs: &[Need::Java, Need::ZooKeeper, Need::Kazoo],
        here: interop::here,
        run: interop::run,
    },
    Group {
        name: "interop-long",
        what: "the long form of interop",
        budget: 3600,
        long: true,
        needs: &[Need::Java, Need::ZooKeeper, Need::Kazoo],
        here: interop::here,
        run: interop::run_long,
    },
    Group {
        name: "boards-long",
        what: "three boards of the larger kind, and three on serial lines, lose their power",
        budget: 1200,
        long: true,
        needs: &[Need::BareMetal, Need::QemuArm, Need::QemuRiscv, Need::Kazoo],
        here: on_unix,
        run: boards::run_long,
    },
    Group {
        name: "sim-long",
        what: "ensembles in the simulator, 20000 other seeds each time",
        budget: 7200,
        long: true,
        needs: &[],
        here: everywhere,
        run: sim::run_long,
    },
    Group {
        name: "fuzz",
        what: "coverage-guided fuzzing of every decoder",
        budget: fuzz::BUDGET,
        long: true,
        needs: &[Need::Cpp],
        here: everywhere,
        run: fuzz::run,
    },
    Group {
        name: "search",
        what: "property tests of zk-core with 100 times as many cases",
        budget: 1800,
        long: true,
        needs: &[],
        here: everywhere,
        run: search,
    },
];

/// What a group that is being run has done so far.
#[derive(Debug)]
pub(crate) struct Steps<'c> {
    /// The workspace.
    pub(crate) checkout: &'c Checkout,
    /// When the group is stopped.
    pub(crate) deadline: Instant,
    tests: Tally,
    failures: Vec<String>,
}

impl Steps<'_> {
    /// Runs a command; what it prints about tests is counted. Returns whether it succeeded.
    pub(crate) fn run(&mut self, command: &mut Command) -> bool {
        let outcome = command::run(command, self.deadline);
        self.record(&command::named(command), outcome)
    }

    /// Counts a command that was run. One that told of no tests is itself a test.
    pub(crate) fn record(&mut self, what: &str, outcome: Outcome) -> bool {
        let Outcome { end, mut tests } = outcome;
        let ok = end == End::Success && tests.failed == 0;
        if ok && tests.passed == 0 {
            tests.passed = 1;
        }
        if !ok {
            tests.failed = tests.failed.max(1);
            self.failures.push(match end {
                End::TimedOut => format!("{what} (killed: out of time)"),
                End::NotStarted => format!("{what} (could not be started)"),
                End::Success | End::Failure => what.to_owned(),
            });
        }
        self.tests.add(tests);
        ok
    }

    /// Counts a check that is no command.
    pub(crate) fn check(&mut self, what: &str, ok: bool) {
        let end = if ok { End::Success } else { End::Failure };
        self.record(what, Outcome { end, tests: Tally::default() });
    }

    fn verdict(self) -> (Verdict, Tally) {
        let verdict =
            if self.failures.is_empty() { Verdict::Passed } else { Verdict::Failed(self.failures) };
        (verdict, self.tests)
    }
}

/// The group of that name, which is one of the table's.
pub(crate) fn named(name: &str) -> &'static Group {
    let found = GROUPS.iter().find(|group| group.name == name);
    found.expect("a name from the table of groups")
}

/// The names of the groups that need something.
pub(crate) fn that_need(need: Need) -> Vec<&'static str> {
    GROUPS.iter().filter(|group| group.needs.contains(&need)).map(|group| group.name).collect()
}

/// Prints the table.
pub(crate) fn list() {
    println!("\nGroups:");
    for group in GROUPS {
        let long = if group.long { " (--long)" } else { "" };
        println!("  {:<12} {}{long}", group.name, group.what);
    }
}

/// The groups that the command line asks for.
///
/// # Errors
/// A name that is not in the table, or whose tests this checkout does not have.
pub(crate) fn choose(
    checkout: &Checkout,
    only: Option<&[String]>,
    long: bool,
) -> Result<Vec<&'static Group>, String> {
    let Some(only) = only else {
        return Ok(GROUPS
            .iter()
            .filter(|group| (long || !group.long) && (group.here)(checkout))
            .collect());
    };
    for name in only {
        let Some(group) = GROUPS.iter().find(|group| group.name == name) else {
            let names: Vec<&str> = GROUPS.iter().map(|group| group.name).collect();
            return Err(format!("no group `{name}`; there are {}", names.join(", ")));
        };
        if !(group.here)(checkout) {
            return Err(format!("this checkout has no tests of group `{name}`"));
        }
    }
    if only.is_empty() {
        return Err("--only wants the names of groups: --only core,std".to_owned());
    }
    let wanted = |group: &&Group| {
        only.iter().any(|name| name == group.name) || (long && group.long && (group.here)(checkout))
    };
    Ok(GROUPS.iter().filter(wanted).collect())
}

/// Runs groups one after the other, a failed one does not stop the next, and prints the table.
/// Returns whether all of them were run and passed.
pub(crate) fn run(checkout: &Checkout, chosen: &[&Group], installing: &mut Installing) -> bool {
    let mut rows = Vec::new();
    for group in chosen {
        println!("\n== {}: {}", group.name, group.what);
        let missing: Vec<String> = group
            .needs
            .iter()
            .filter_map(|need| installing.provide(checkout, *need).err())
            .flatten()
            .collect();
        let budget = Duration::from_secs(group.budget);
        let start = Instant::now();
        let (verdict, tests) = if missing.is_empty() {
            let deadline = start + budget * PATIENCE;
            let mut steps =
                Steps { checkout, deadline, tests: Tally::default(), failures: Vec::new() };
            (group.run)(&mut steps);
            steps.verdict()
        } else {
            println!("not run: {}", missing.join("\n"));
            (Verdict::NotRun(missing), Tally::default())
        };
        rows.push(Row { group: group.name, verdict, tests, took: start.elapsed(), budget });
    }
    print!("{}", report::table(&rows));
    report::all_passed(&rows)
}

fn fmt(steps: &mut Steps<'_>) {
    let checkout = steps.checkout;
    steps.run(&mut checkout.cargo(["fmt", "--all", "--check"]));
    for workspace in [checkout.boards(), checkout.fuzz()] {
        let mut own = checkout.cargo(["fmt", "--all", "--check"]);
        steps.run(own.arg("--manifest-path").arg(workspace.join("Cargo.toml")));
    }
}

fn lint(steps: &mut Steps<'_>) {
    let checkout = steps.checkout;
    let deny = ["--", "-D", "warnings"];
    let mut all = checkout.cargo(["clippy", "--workspace", "--all-targets"]);
    steps.run(all.args(["--features", "xtask/quorum"]).args(deny));
    let mut driver = checkout.cargo(["clippy", "-p", "zk-std", "--all-targets"]);
    steps.run(driver.args(TOKIO).args(deny));
    for features in ["", "alloc,log,defmt"] {
        let mut core = checkout.cargo(["clippy", "-p", "zk-core", "--no-default-features"]);
        steps.run(core.args(["--features", features]).args(deny));
    }
    let mut embedded = checkout.cargo(["clippy", "-p", "zk-embedded", "--features", "log,defmt"]);
    steps.run(embedded.args(deny));
    let mut fuzz = in_fuzz(checkout, checkout.cargo(["clippy", "--lib", "--tests"]));
    steps.run(fuzz.args(deny));
}

/// A command of cargo's in the workspace of the fuzz targets.
fn in_fuzz(checkout: &Checkout, mut command: Command) -> Command {
    command.current_dir(checkout.fuzz()).env("CARGO_TARGET_DIR", &checkout.target);
    command
}

fn seeds(steps: &mut Steps<'_>) {
    let checkout = steps.checkout;
    steps.run(&mut in_fuzz(checkout, checkout.cargo(["test", "--no-fail-fast", "--lib"])));
}

fn doc(steps: &mut Steps<'_>) {
    let mut doc = steps.checkout.cargo(["doc", "--workspace", "--no-deps"]);
    steps.run(doc.args(TOKIO).env("RUSTDOCFLAGS", "-D warnings"));
}

fn core(steps: &mut Steps<'_>) {
    let checkout = steps.checkout;
    steps.run(&mut checkout.cargo(["test", "--no-fail-fast", "-p", "zk-core"]));
    let mut bare = checkout.cargo(["test", "-p", "zk-core", "--no-default-features"]);
    steps.run(bare.args(["--no-fail-fast", "--features", "alloc"]));
}

fn std(steps: &mut Steps<'_>) {
    let mut test = steps.checkout.cargo(["test", "--no-fail-fast"]);
    steps.run(test.args(["-p", "zk-std", "-p", "zk-cli"]).args(TOKIO));
}

fn embedded(steps: &mut Steps<'_>) {
    let mut test = steps.checkout.cargo(["test", "--no-fail-fast"]);
    steps.run(test.args(["-p", "zk-embedded", "-p", "xtask"]));
    // The programs that docs/embedded.md shows.
    for program in ["your_board", "embassy_task"] {
        let mut example = steps.checkout.cargo(["run", "--quiet", "-p", "zk-embedded"]);
        steps.run(example.args(["--example", program]));
    }
}

fn targets(steps: &mut Steps<'_>) {
    let Some(supply) = Facts::gather().supply() else {
        return steps.check("no compiler for bare-metal targets", false);
    };
    let checkout = steps.checkout;
    let sets: BTreeSet<&str> = TARGETS.iter().flat_map(|target| target.features).copied().collect();
    for features in sets {
        let with = TARGETS.iter().filter(|target| target.features.contains(&features));
        let triples: Vec<&str> = with.map(|target| target.triple).collect();
        let build = |triples: &[&str]| {
            let mut build = bare::build(checkout, supply, triples);
            build.args(["-p", "zk-core", "--no-default-features", "--features", features]);
            // It has no features of its own; with those of the core, once.
            if features.is_empty() {
                build.args(["-p", "zk-embedded"]);
            }
            build
        };
        // All at once is quicker; one by one tells which of them fails.
        let together = command::run(&mut build(&triples), steps.deadline).end == End::Success;
        for triple in triples {
            if together {
                steps.check(triple, true);
            } else {
                steps.run(&mut build(&[triple]));
            }
        }
    }
}

fn search(steps: &mut Steps<'_>) {
    let mut test = steps.checkout.cargo(["test", "--release", "-p", "zk-core"]);
    steps.run(test.env("PROPTEST_CASES", "25600"));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(only: Option<&[&str]>, long: bool) -> Result<Vec<&'static str>, String> {
        let checkout = Checkout::here();
        let only: Option<Vec<String>> =
            only.map(|names| names.iter().map(ToString::to_string).collect());
        let chosen = choose(&checkout, only.as_deref(), long)?;
        Ok(chosen.iter().map(|group| group.name).collect())
    }

    #[test]
    fn groups_are_chosen_by_name() {
        assert_eq!(names(Some(&["std", "core"]), false), Ok(vec!["core", "std"]));
        let with_long = names(Some(&["core"]), true).unwrap_or_default();
        assert!(with_long.starts_with(&["core"]) && with_long.ends_with(&["fuzz", "search"]));
        assert_eq!(names(Some(&["search"]), false), Ok(vec!["search"]));
        assert!(names(Some(&["cor"]), false).is_err());
        assert!(names(Some(&[]), false).is_err());
        let all = names(None, false).unwrap_or_default();
        assert!(all.contains(&"qemu") && !all.contains(&"search"));
    }

    #[test]
    fn the_contributors_loop_needs_rust_alone_and_five_minutes() {
        let chosen = [named("core"), named("std")];
        assert!(chosen.iter().all(|group| group.needs.is_empty()));
        assert!(chosen.iter().map(|group| group.budget).sum::<u64>() <= 300);
        let all: u64 = GROUPS.iter().filter(|group| !group.long).map(|group| group.budget).sum();
        assert!(all <= 52 * 60, "{all} seconds in all");
    }

    #[test]
    fn a_command_without_tests_is_a_test_itself() {
        let checkout = Checkout::here();
        let deadline = Instant::now();
        let mut steps =
            Steps { checkout: &checkout, deadline, tests: Tally::default(), failures: Vec::new() };
        steps.check("held", true);
        let tests = Tally { passed: 7, failed: 0 };
        assert!(steps.record("tests", Outcome { end: End::Success, tests }));
        // A program may die after its tests, or fail them and still exit with 0.
        assert!(!steps.record("died", Outcome { end: End::Failure, tests }));
        let failed = Tally { passed: 0, failed: 2 };
        assert!(!steps.record("lied", Outcome { end: End::Success, tests: failed }));
        let (verdict, tests) = steps.verdict();
        assert_eq!(verdict, Verdict::Failed(vec!["died".to_owned(), "lied".to_owned()]));
        assert_eq!(tests, Tally { passed: 15, failed: 3 });
    }
}
