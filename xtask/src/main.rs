//! Builds, tests and measures every target of zk: `cargo xtask help`.

mod bare;
mod bench;
mod boards;
mod checkout;
mod command;
mod ensemble;
mod footprint;
mod fuzz;
mod groups;
mod guest;
mod install;
mod interop;
mod needs;
mod qemu;
#[cfg(all(unix, feature = "quorum"))]
mod quorum;
mod report;
mod rules;
mod sim;
mod size;
mod stack;
#[cfg(all(unix, feature = "quorum"))]
mod switch;
mod targets;

use std::process::ExitCode;

use crate::checkout::Checkout;
use crate::install::Installing;
use crate::sim::Wish;

const USAGE: &str = "\
cargo xtask test [--only GROUP,..] [--long] [--install]
    Run every group of tests, or only those named. --long adds long searches.
    --install: install what is missing with the system's package manager (on Debian and Ubuntu
    root does so without being asked).
cargo xtask doctor
    List what the groups need, what of it is missing, and the lines that install it. Runs nothing.
cargo xtask size [--install]
    Build the core alone and the firmware of every board, and hold flash, memory and stack to their
    budgets.
cargo xtask bench [--short] [--rounds N] [--seconds S] [--only TEXT,..] [--disk DIR] ..
    Compare zk with Apache ZooKeeper on this machine, in turn, and print ratios (Linux; needs
    Java, Apache ZooKeeper and valgrind). What misses its target is shown, and fails nothing; a
    wrong answer does. --only: groups with TEXT in their name: tmpfs, single, disk, ensemble,
    start, idle, tree, stalls (what another client waits), calls (the same of the core alone),
    instructions. docs/benchmarks.md says what the rows mean.
cargo xtask quorum [--board NAME,..] [--peers N] [--mixed | --apache SCRIPT] [--serial | --slow]
    [--dhcp] [--data DIR] [--seed S]
    Boot a quorum of emulated boards (3 of sifive-u, or of emcraft-sf2), joined by a switch that can
    lose, delay and cut; show what they log and who leads, and how to connect. Type `help` there.
    --board: several take turns, and hold what the smallest does. --mixed: with a server on this machine
    as another member. --apache: with one of Apache's, which its zkServer.sh starts. --serial: over their
    UARTs instead of Ethernet (emcraft-sf2). --slow: their flash takes 3 s for an erase, 3 ms for a page
    (emcraft-sf2). --dhcp: new boards that can (sifive-u) ask the network for their prefix and gateway.
    --data: where the boards' flash stays from run to run [target/quorum,
    target/quorum-serial, target/quorum-slow]. --seed: which frames are lost. DEFMT_LOG=debug makes them
    say more.
cargo xtask fuzz TARGET [FILE | -OPTION ..]
    Search with one fuzz target until something is found or you stop it, or run one FILE. Options
    are libFuzzer's (-max_total_time=SECONDS, -help=1).
cargo xtask sim [--seed S [--without KIND,..]] [--seeds N] [--from S] [--planted [--bug NAME]]
    Run ensembles in the simulator, on N seeds, until one fails; or replay one seed exactly and show
    what happens. --without: leave out kinds of faults, by the numbers that a failure names.
    --planted: plant each known bug in turn and search for it.

`cargo xtask test --only core,std` needs Rust alone.
";

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
enum Verb {
    Test {
        only: Option<Vec<String>>,
        long: bool,
        install: bool,
    },
    Doctor,
    Size {
        install: bool,
    },
    /// Measure; the arguments go to the program that does.
    Bench(Vec<String>),
    /// Search with a fuzz target; the arguments go to libFuzzer.
    Fuzz(String, Vec<String>),
    /// Run the simulator of an ensemble.
    Sim(Wish),
    /// Run a quorum of emulated boards; the arguments are its own.
    Quorum(Vec<String>),
    Help,
}

fn parse(args: &[String]) -> Result<Verb, String> {
    let (verb, mut rest) = match args.split_first() {
        None => return Ok(Verb::Help),
        Some((verb, rest)) => (verb.as_str(), rest.iter()),
    };
    let (mut only, mut long, mut install) = (None, false, false);
    let mut passed = Vec::new();
    let mut wish = Wish::default();
    while let Some(arg) = rest.next() {
        match (verb, arg.as_str()) {
            (_, "--help" | "-h") => return Ok(Verb::Help),
            ("bench" | "fuzz" | "quorum", arg) => passed.push(arg.to_owned()),
            ("sim", "--planted") => wish.planted = true,
            ("sim", name) => {
                let value =
                    wish.option(name).ok_or_else(|| format!("`sim` does not know `{name}`"))?;
                *value = Some(rest.next().ok_or_else(|| format!("{name} wants a value"))?.clone());
            }
            ("test", "--only") => {
                let names =
                    rest.next().ok_or("--only wants the names of groups: --only core,std")?;
                only = Some(split(names));
            }
            ("test", named) if named.starts_with("--only=") => {
                only = Some(split(&named["--only=".len()..]));
            }
            ("test", "--long") => long = true,
            ("test" | "size", "--install") => install = true,
            _ => return Err(format!("`{verb}` does not know `{arg}`")),
        }
    }
    match verb {
        "test" => Ok(Verb::Test { only, long, install }),
        "doctor" => Ok(Verb::Doctor),
        "size" => Ok(Verb::Size { install }),
        "bench" => Ok(Verb::Bench(passed)),
        "quorum" => Ok(Verb::Quorum(passed)),
        "fuzz" => match passed.split_first() {
            Some((target, args)) => Ok(Verb::Fuzz(target.clone(), args.to_vec())),
            None => Err(format!("fuzz wants a target: {}", fuzz::TARGETS.join(", "))),
        },
        "sim" if wish.bug.is_some() && !wish.planted => Err("--bug belongs to --planted".into()),
        "sim" => Ok(Verb::Sim(wish)),
        "help" | "--help" | "-h" => Ok(Verb::Help),
        _ => Err(format!("no such command: `{verb}`")),
    }
}

fn split(names: &str) -> Vec<String> {
    names.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let verb = match parse(&args) {
        Ok(verb) => verb,
        Err(message) => {
            eprintln!("{message}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let checkout = Checkout::here();
    let ok = match verb {
        Verb::Help => {
            print!("{USAGE}");
            groups::list();
            true
        }
        Verb::Doctor => needs::doctor(&checkout),
        Verb::Test { only, long, install } => {
            let chosen = match groups::choose(&checkout, only.as_deref(), long) {
                Ok(chosen) => chosen,
                Err(message) => {
                    eprintln!("{message}");
                    return ExitCode::from(2);
                }
            };
            groups::run(&checkout, &chosen, &mut Installing::new(install))
        }
        Verb::Sim(wish) => sim::wished(&checkout, &wish),
        Verb::Bench(args) => bench::run(&checkout, &args),
        Verb::Fuzz(target, args) => match fuzz::wished(&checkout, &target, &args) {
            Ok(found_nothing) => found_nothing,
            Err(message) => {
                eprintln!("{message}");
                return ExitCode::from(2);
            }
        },
        Verb::Quorum(args) => match quorum(&checkout, &args) {
            Ok(ran) => ran,
            Err(message) => {
                eprintln!("{message}");
                return ExitCode::from(2);
            }
        },
        Verb::Size { install } => {
            groups::run(&checkout, &[groups::named("size")], &mut Installing::new(install))
        }
    };
    if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[cfg(all(unix, feature = "quorum"))]
use quorum::wished as quorum;

/// What that takes is not built for whoever only wants to test: xtask is built again, with it.
#[cfg(all(unix, not(feature = "quorum")))]
fn quorum(checkout: &Checkout, args: &[String]) -> Result<bool, String> {
    use std::os::unix::process::CommandExt;
    let mut again = checkout.cargo(["run", "--quiet", "-p", "xtask", "--features", "quorum"]);
    // In the place of this program: Ctrl-C and the terminal are its own.
    Err(format!("cannot start cargo: {}", again.args(["--", "quorum"]).args(args).exec()))
}

/// QEMU's network is joined by sockets that only Unix has.
#[cfg(not(unix))]
fn quorum(_: &Checkout, _: &[String]) -> Result<bool, String> {
    Err("a quorum of boards needs Linux or macOS".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Verb, String> {
        parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn the_command_line_is_read() {
        let only = Some(vec!["core".to_owned(), "std".to_owned()]);
        let test = Verb::Test { only, long: false, install: false };
        assert_eq!(parsed("test --only core,std"), Ok(test));
        let test = Verb::Test { only: Some(vec!["qemu".to_owned()]), long: true, install: true };
        assert_eq!(parsed("test --only=qemu --long --install"), Ok(test));
        assert_eq!(parsed("doctor"), Ok(Verb::Doctor));
        assert_eq!(parsed("size --install"), Ok(Verb::Size { install: true }));
        let bench = Verb::Bench(vec!["--output".to_owned(), "json".to_owned()]);
        assert_eq!(parsed("bench --output json"), Ok(bench));
        let fuzz = Verb::Fuzz("peer".to_owned(), vec!["-runs=9".to_owned()]);
        assert_eq!(parsed("fuzz peer -runs=9"), Ok(fuzz));
        let wish = Wish { seed: Some("7".into()), without: Some("1,2".into()), ..Wish::default() };
        assert_eq!(parsed("sim --seed 7 --without 1,2"), Ok(Verb::Sim(wish)));
        let wish = Wish { planted: true, bug: Some("Zk2310".into()), ..Wish::default() };
        assert_eq!(parsed("sim --planted --bug Zk2310"), Ok(Verb::Sim(wish)));
        let quorum = Verb::Quorum(vec!["--peers".to_owned(), "5".to_owned()]);
        assert_eq!(parsed("quorum --peers 5"), Ok(quorum));
        assert_eq!(parsed("bench --help"), Ok(Verb::Help));
        assert_eq!(parsed(""), Ok(Verb::Help));
        assert_eq!(parsed("test --help"), Ok(Verb::Help));
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for line in [
            "tset",
            "test --olny core",
            "test --only",
            "doctor --install",
            "size --long",
            "fuzz",
            "sim --sede 1",
            "sim --seed",
            "sim --bug Zk2310",
        ] {
            assert!(parsed(line).is_err(), "{line}");
        }
    }
}
