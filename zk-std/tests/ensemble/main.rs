//! A whole ensemble in virtual time: peers with the real file store on simulated disks, links that
//! delay, cut, clog, break and are left half open, clients that pipeline and watch, and faults of
//! every kind.
//!
//! A run has a *safety phase*, in which anything may break, and a *liveness phase*: everything is
//! healed, and the ensemble must agree, serve, and explain everything that clients were ever told.
//!
//! `cargo xtask sim` drives it, by these variables: `ZK_SIM_SEED=n` replays one seed,
//! `ZK_SIM_SEEDS=n` runs so many, `ZK_SIM_FROM=n` begins there, `ZK_SIM_FAILURES=n` goes on until
//! so many have failed, `ZK_SIM_TRACE=1` prints what happens, `ZK_SIM_WITHOUT=n,m` leaves kinds of faults out.

mod apache;
mod check;
mod client;
mod config;
mod faults;
mod history;
mod linear;
mod met;
mod misread;
mod model;
mod net;
mod node;
#[cfg(zk_planted)]
mod planted;
mod search;
mod small;
mod tap;
mod trace;
mod violations;
mod world;

use std::sync::{Mutex, MutexGuard, PoisonError};

use faults::Weather;
use met::Met;
use search::{Found, search};
use world::World;

/// Seeds of a run that is not told how many.
const SEEDS: u64 = 30;

/// So many seeds must have met everything once.
const MEET: u64 = 1000;

/// One run, without some kinds of faults: what it has met, and a number that tells its trace apart
/// from others.
fn run(seed: u64, without: &[usize], print: bool) -> (Met, u64) {
    violations::forget();
    let mut world = World::new(seed, without, print);
    world.safety();
    world.liveness();
    violations::judge(world.reconfig, world.has_smaller());
    if world.has_smaller() {
        let retreats = violations::retreats();
        world.met.retreated += retreats;
        world.met.came_back += u64::from(retreats > 0);
    }
    let hash = world.hash();
    (world.met, hash)
}

/// Kinds of faults that do not happen, by number.
fn without() -> Vec<usize> {
    let text = std::env::var("ZK_SIM_WITHOUT").unwrap_or_default();
    let numbers = text.split(',').filter(|number| !number.is_empty());
    numbers.map(|number| number.parse().expect("a number")).collect()
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

/// One test at a time: a planted bug is everybody's.
fn exclusive() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn an_ensemble_keeps_its_promises() {
    violations::listen();
    let _exclusive = exclusive();
    if let Some(seed) = variable("ZK_SIM_SEED") {
        let print = variable("ZK_SIM_TRACE").is_some();
        violations::print(print);
        let (met, hash) = run(seed, &without(), print);
        println!("seed {seed}, trace {hash:016x}");
        report(&met);
        return;
    }
    let from = variable("ZK_SIM_FROM").unwrap_or(0);
    let seeds = variable("ZK_SIM_SEEDS").unwrap_or(SEEDS);
    let most = variable("ZK_SIM_FAILURES").unwrap_or(1);
    let Found { met, failures, .. } = search(from..from.saturating_add(seeds), most);
    println!("{seeds} seeds from {from} on:");
    report(&met);
    for (seed, failure) in &failures {
        println!("seed {seed} fails: {} ({})", failure.why, failure.place);
    }
    if let Some((seed, failure)) = failures.first() {
        let spared = search::spare(*seed, failure);
        let names: Vec<String> = spared.iter().map(|kind| Weather::name(*kind)).collect();
        let numbers: Vec<String> = spared.iter().map(ToString::to_string).collect();
        panic!(
            "{} seeds fail; seed {seed} fails even without {}. What happens: cargo xtask sim --seed \
             {seed} --without {numbers}, or\n    ZK_SIM_SEED={seed} ZK_SIM_WITHOUT={numbers} \
             ZK_SIM_TRACE=1 cargo test -p zk-std --test ensemble an_ensemble -- --nocapture",
            failures.len(),
            names.join(", "),
            numbers = numbers.join(","),
        );
    }
    // A short search need not meet everything.
    if seeds >= MEET {
        assert!(met.undecided * 10 <= met.linear, "too many histories are undecided");
        for (group, what, times) in met.counts() {
            assert!(times > 0 || what == met::MAY_BE_ZERO, "{group}: {what}: never met");
        }
    }
}

#[test]
fn a_seed_always_runs_the_same() {
    violations::listen();
    let _exclusive = exclusive();
    let hash = |seed| run(seed, &[], false).1;
    let first = hash(1);
    assert_eq!(first, hash(1));
    assert_ne!(first, hash(2), "the trace says nothing");
}

fn report(met: &Met) {
    let mut last = "";
    for (group, what, times) in met.counts() {
        if group != last {
            println!("  {group}");
            last = group;
        }
        println!("    {times:>9} {what}");
    }
}
