//! Bugs of the past, planted one by one: a search that cannot find them says nothing when it finds
//! nothing.
//!
//! Each is searched for from the first seed on, and it is printed how many seeds that took.
//! `ZK_SIM_BUG=name` is for one of them.

use zk_core::planted::{Bug, choose};

use super::search::{Failure, search};
use super::{exclusive, violations};

/// Seeds among which each bug must be found.
const SEEDS: u64 = 200;

#[test]
fn planted_bugs_are_found() {
    violations::listen();
    let _exclusive = exclusive();
    let named = std::env::var("ZK_SIM_BUG").ok();
    let mut missed = vec![];
    for &bug in Bug::ALL {
        if named.as_ref().is_some_and(|name| *name != format!("{bug:?}")) {
            continue;
        }
        choose(Some(bug));
        let found = search(0..SEEDS, 1);
        choose(None);
        match found.failures.first() {
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
