//! zk-core's own tests on a Cortex-M3 under QEMU, told over semihosting.
//!
//! The tests are those of `zk-core/tests/on_target`, which the host runs too. The second semihosting
//! argument is the number of the first test to run: a test that panics ends the firmware, and whoever
//! boots it again goes on behind that one. Every test prints `test NAME`, then ` ok`; `done N` tells
//! that all N tests of the table had their turn.
#![no_std]
#![no_main]

use cortex_m_rt::entry;
use semihosting::{println, process};

/// A test: its name and its body.
type Test = (&'static str, fn());

/// Lists the tests of a file. On the host the same name makes each of them a `#[test]`.
macro_rules! tests {
    ($($name:ident),* $(,)?) => {
        /// The tests of this file.
        pub(crate) const TESTS: &[crate::Test] =
            &[$((concat!(module_path!(), "::", stringify!($name)), $name)),*];
    };
}

#[path = "../../../../zk-core/tests/on_target/codec.rs"]
mod codec;
#[path = "../../../../zk-core/tests/on_target/election.rs"]
mod election;
#[path = "../../../../zk-core/tests/on_target/profile.rs"]
mod profile;
#[path = "../../../../zk-core/tests/on_target/restore.rs"]
mod restore;
#[path = "../../../../zk-core/tests/on_target/tree.rs"]
mod tree;

const FILES: &[&[Test]] = &[codec::TESTS, tree::TESTS, restore::TESTS, election::TESTS];

#[entry]
fn main() -> ! {
    let Some(first) = first() else {
        println!("the second argument is not the number of a test");
        process::exit(2);
    };
    let tests = FILES.iter().copied().flatten();
    for (name, test) in tests.clone().skip(first) {
        println!("test {name}");
        test();
        println!(" ok");
    }
    println!("done {}", tests.count());
    process::exit(0);
}

fn first() -> Option<usize> {
    let args = semihosting::experimental::env::args::<256>().ok()?;
    match args.into_iter().nth(1) {
        Some(number) => number.ok()?.parse().ok(),
        None => Some(0),
    }
}
