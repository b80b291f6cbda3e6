//! Builds the server and the load generator, and lets them measure.

use std::process::Command;

use crate::checkout::Checkout;
use crate::install::System;
use crate::needs::Need;

/// What the load generator needs for its groups of rows.
const GROUPS: [(&str, &[Need]); 9] = [
    ("tmpfs", APACHE),
    ("single", APACHE),
    ("disk", APACHE),
    ("start", APACHE),
    ("idle", APACHE),
    ("tree", APACHE),
    ("stalls", APACHE),
    ("calls", &[]),
    ("instructions", &[Need::Valgrind]),
];
const APACHE: &[Need] = &[Need::Java, Need::ZooKeeper];

/// Whether any group needs it.
pub(crate) fn needs(need: Need) -> bool {
    GROUPS.iter().any(|(_, needs)| needs.contains(&need))
}

/// What the groups that `args` name need, each once; the load generator chooses in the same way.
fn wanted(args: &[String]) -> Vec<Need> {
    let only = args.iter().position(|arg| arg == "--only").and_then(|at| args.get(at + 1));
    let wants = |group: &str| only.is_none_or(|only| only.split(',').any(|o| group.contains(o)));
    let mut all = Vec::new();
    for (_, needs) in GROUPS.iter().filter(|(group, _)| wants(group)) {
        for need in *needs {
            if !all.contains(need) {
                all.push(*need);
            }
        }
    }
    all
}

/// Compares zk with Apache ZooKeeper; `args` go to the load generator, which knows them. Standard
/// output is its own alone, so that `--output json` can be read by a program.
pub(crate) fn run(checkout: &Checkout, args: &[String]) -> bool {
    let mut complete = true;
    for need in wanted(args) {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(line: &str) -> Vec<Need> {
        super::wanted(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn groups_want_no_more_than_they_need() {
        assert_eq!(wanted(""), [Need::Java, Need::ZooKeeper, Need::Valgrind]);
        assert_eq!(wanted("--rounds 3 --only calls"), []);
        assert_eq!(wanted("--only instr,calls --short"), [Need::Valgrind]);
        assert_eq!(wanted("--only single"), [Need::Java, Need::ZooKeeper]);
        assert!(needs(Need::Valgrind) && !needs(Need::Kazoo));
    }
}
