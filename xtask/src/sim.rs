//! The simulator of an ensemble: `cargo xtask sim`, and the groups `sim` and `sim-long`.
//!
//! It is built with its own profile, because a search is worth as much as it is fast, and with the
//! bugs that can be planted; none is, unless `--planted` asks for it.

use std::process::Command;

use crate::checkout::Checkout;
use crate::command;
use crate::groups::Steps;

/// Seeds of the group `sim`.
const SEEDS: u64 = 1000;

/// Seeds of the group `sim-long`.
const SEEDS_LONG: u64 = 20_000;

/// The group: what an ensemble promises is kept, and every planted bug is found.
pub(crate) fn run(steps: &mut Steps<'_>) {
    let mut test = test(steps.checkout);
    steps.run(test.env("ZK_SIM_SEEDS", SEEDS.to_string()));
}

/// The long group: other seeds each time, behind those of the short one.
pub(crate) fn run_long(steps: &mut Steps<'_>) {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let from = now.map_or(SEEDS, |now| now.as_secs().max(SEEDS));
    let mut test = test(steps.checkout);
    test.env("ZK_SIM_SEEDS", SEEDS_LONG.to_string()).env("ZK_SIM_FROM", from.to_string());
    steps.run(test.arg(PROMISES));
}

/// What holds of an ensemble without bugs.
const PROMISES: &str = "an_ensemble_keeps_its_promises";

/// That each planted bug is found.
const PLANTED: &str = "planted_bugs_are_found";

/// The tests of the simulator, all of them unless a name is added.
fn test(checkout: &Checkout) -> Command {
    let mut test = checkout.cargo(["test", "--profile", "sim", "-p", "zk-std"]);
    // Another set of flags would build everything else anew.
    test.env("CARGO_TARGET_DIR", checkout.target.join("sim"));
    test.env("RUSTFLAGS", "--cfg zk_planted").env_remove("CARGO_ENCODED_RUSTFLAGS");
    test.args(["--test", "ensemble", "--", "--nocapture"]);
    test
}

/// What `cargo xtask sim` is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wish {
    /// Replay this one, and show what happens.
    pub(crate) seed: Option<String>,
    /// Run so many.
    pub(crate) seeds: Option<String>,
    /// Begin there.
    pub(crate) from: Option<String>,
    /// Kinds of faults that do not happen, by number.
    pub(crate) without: Option<String>,
    /// Search for the planted bugs.
    pub(crate) planted: bool,
    /// The one that is planted.
    pub(crate) bug: Option<String>,
}

impl Wish {
    /// Takes an option; `None` if there is no such.
    pub(crate) fn option(&mut self, name: &str) -> Option<&mut Option<String>> {
        match name {
            "--seed" => Some(&mut self.seed),
            "--seeds" => Some(&mut self.seeds),
            "--from" => Some(&mut self.from),
            "--without" => Some(&mut self.without),
            "--bug" => Some(&mut self.bug),
            _ => None,
        }
    }
}

/// `cargo xtask sim ..`: searches until something is found, or shows what one seed does.
pub(crate) fn wished(checkout: &Checkout, wish: &Wish) -> bool {
    let mut test = test(checkout);
    test.arg(if wish.planted { PLANTED } else { PROMISES });
    let variables = [
        ("ZK_SIM_SEED", &wish.seed),
        ("ZK_SIM_SEEDS", &wish.seeds),
        ("ZK_SIM_FROM", &wish.from),
        ("ZK_SIM_WITHOUT", &wish.without),
        ("ZK_SIM_BUG", &wish.bug),
    ];
    for (name, value) in variables {
        if let Some(value) = value {
            test.env(name, value);
        }
    }
    if wish.seed.is_some() {
        test.env("ZK_SIM_TRACE", "1");
    }
    if wish.seed.is_none() && wish.seeds.is_none() {
        test.env("ZK_SIM_SEEDS", SEEDS.to_string());
    }
    println!("$ {}", command::shown(&test));
    match test.status() {
        Ok(status) => status.success(),
        Err(error) => {
            println!("cannot start it: {error}");
            false
        }
    }
}
