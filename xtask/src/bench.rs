//! Builds the server and the load generator, and lets them measure.

use std::process::Command;

use crate::checkout::Checkout;
use crate::install::System;
use crate::needs::Need;

/// Compares zk with Apache ZooKeeper; `args` go to the load generator, which knows them. Standard
/// output is its own alone, so that `--output json` can be read by a program.
pub(crate) fn run(checkout: &Checkout, args: &[String]) -> bool {
    let mut complete = true;
    for need in [Need::Java, Need::ZooKeeper] {
        if need.found(checkout).is_none() {
            complete = false;
            eprintln!("{} is missing. To install it:", need.name());
            for line in need.lines(checkout, System::here()) {
                eprintln!("    {line}");
            }
        }
    }
    if !complete {
        return false;
    }
    let zk = checkout.target.join("release").join(if cfg!(windows) { "zk.exe" } else { "zk" });
    let mut measure = checkout.cargo(["bench", "--quiet", "-p", "zk-std", "--bench", "compare"]);
    measure.args(["--", "--zk"]).arg(zk).args(args);
    succeeds(&mut checkout.cargo(["build", "--quiet", "--release", "-p", "zk-cli"]))
        && succeeds(&mut measure)
}

fn succeeds(command: &mut Command) -> bool {
    match command.status() {
        Ok(status) => status.success(),
        Err(error) => {
            eprintln!("cannot start {}: {error}", command.get_program().display());
            false
        }
    }
}
