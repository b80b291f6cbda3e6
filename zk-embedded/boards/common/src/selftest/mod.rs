//! The drivers of a board try themselves, told over semihosting.
//!
//! | arguments behind the first | |
//! |---|---|
//! | `drivers` | the flash and the clock, test by test |
//! | `count` | counts the starts in the flash, says `counted N`, and waits to be killed |
//! | `listen N`, `connect N M` | two boards whose networks are joined exchange bytes: node N and node M |
//!
//! Every test prints `test NAME`, then ` ok`; `done N` tells that all N tests had their turn. What
//! fails says why and ends QEMU with a failure.

mod flash;
mod network;
mod time;

use semihosting::{experimental, println, process};
use zk_embedded::flash::Nor;

use crate::clock::Clock;
use crate::ethernet::Mac;

/// Runs what the arguments say. `mac` makes the network's device, with its hardware address.
pub fn run<D: Mac>(
    mut clock: impl Clock,
    mut flash: impl Nor,
    mac: impl FnOnce([u8; 6]) -> D,
) -> ! {
    let args = experimental::env::args::<256>().expect("arguments of at most 256 bytes");
    let mut args = args.skip(1).map(|arg| arg.expect("an argument in UTF-8"));
    let verb = args.next().expect("an argument that says what to do");
    let mut node = || args.next().and_then(|arg| arg.parse().ok()).expect("a node's number");
    match verb {
        "drivers" => {
            let mut tests = Tests(0);
            flash::run(&mut tests, &mut flash);
            time::run(&mut tests, &mut clock);
            tests.done();
        }
        "count" => {
            println!("counted {}", flash::count(&mut flash));
            clock.sleep_until(None, || false);
        }
        "listen" => network::listen(&mut clock, mac, node()),
        "connect" => network::connect(&mut clock, mac, node(), node()),
        other => panic!("`{other}` is nothing that can be tried"),
    }
    process::exit(0)
}

/// Tests that were run.
struct Tests(u32);

impl Tests {
    #[inline(never)] // one test's frame at a time
    fn run(&mut self, name: &str, test: impl FnOnce()) {
        println!("test {name}");
        test();
        println!(" ok");
        self.0 += 1;
    }

    fn done(self) {
        println!("done {}", self.0);
    }
}
