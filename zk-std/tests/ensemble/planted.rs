//! Bugs of the past, planted one by one: a search that cannot find them says nothing when it finds
//! nothing.
//!
//! `ZK_SIM_PLANTED=1` searches for all of them from the first seed on and prints how many seeds each
//! took, `ZK_SIM_BUG=name` for one. Otherwise the seed that has found a bug before comes first.

use zk_core::planted::{Bug, choose};

use super::search::{Failure, Found, attempt, quietly, search};
use super::{exclusive, variable, violations};

/// Seeds among which each bug must be found.
const SEEDS: u64 = 400;

/// A seed that finds each.
const FOUND: &[(Bug, u64)] = &[];

/// The lowest seed that finds the bug which is planted.
fn look() -> Option<(u64, Failure)> {
    let Found { mut failures, .. } = search(0..SEEDS, 1);
    (!failures.is_empty()).then(|| failures.swap_remove(0))
}

#[test]
fn planted_bugs_are_found() {
    violations::listen();
    let _exclusive = exclusive();
    let anew = variable("ZK_SIM_PLANTED").is_some();
    let named = std::env::var("ZK_SIM_BUG").ok();
    let mut missed = vec![];
    for &bug in Bug::ALL {
        if named.as_ref().is_some_and(|name| *name != format!("{bug:?}")) {
            continue;
        }
        choose(Some(bug));
        let known = FOUND.iter().find(|(known, _)| *known == bug).map(|(_, seed)| *seed);
        let known = known.filter(|_| !anew).and_then(|seed| {
            let failure = quietly(|| attempt(seed, &[])).err()?;
            Some((seed, failure))
        });
        let found = known.or_else(look);
        choose(None);
        match found {
            Some((seed, Failure { why, place })) => {
                let why: String = why.chars().take(160).collect();
                println!("{:<16} seed {seed:>4}: {why} ({place})", format!("{bug:?}"));
            }
            None => {
                println!("{:<16} not found in {SEEDS} seeds", format!("{bug:?}"));
                missed.push(bug);
            }
        }
    }
    assert!(missed.is_empty(), "not found: {missed:?}");
}
