//! Rules of the source that a machine can check. They run as a group of `cargo xtask test`, and
//! each is an ordinary test besides.

mod arrows;
mod files;
mod manifest;
mod token;

use std::fmt;
use std::path::{Path, PathBuf};

use crate::checkout::Checkout;
use crate::groups::Steps;

/// A place where a rule is broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    /// The file, from the root of the workspace.
    pub(crate) file: PathBuf,
    /// The line, from 1.
    pub(crate) line: u32,
    /// What is wrong, and what would be right.
    pub(crate) what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file.display(), self.line, self.what)
    }
}

/// A rule: its name and its check.
type Rule = (&'static str, fn(&Path) -> Vec<Violation>);

const RULES: [Rule; 7] = [
    ("crates depend along the arrows", arrows::crates),
    ("modules of zk-core depend along the arrows", arrows::modules),
    ("zk-core does without std outside its tests", files::no_std),
    ("no unsafe outside zk-embedded/boards", files::no_unsafe),
    ("tokio and smoltcp are named in one file each", files::named_in_one_file),
    ("every source file starts with what it is", files::headers),
    ("no paths of one machine", files::no_machine_paths),
];

/// The group.
pub(crate) fn run(steps: &mut Steps<'_>) {
    let Checkout { root, .. } = steps.checkout;
    for (name, check) in RULES {
        let broken = check(root);
        println!("{name}: {}", if broken.is_empty() { "ok" } else { "BROKEN" });
        for violation in &broken {
            println!("  {violation}");
        }
        steps.check(name, broken.is_empty());
    }
}

/// Reads a file of the workspace; one that cannot be read breaks the rule that asked for it.
fn read(root: &Path, file: &Path, broken: &mut Vec<Violation>) -> Option<String> {
    match std::fs::read_to_string(root.join(file)) {
        Ok(text) => Some(text),
        Err(error) => {
            broken.push(Violation { file: file.to_path_buf(), line: 1, what: error.to_string() });
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(rule: fn(&Path) -> Vec<Violation>) {
        let broken: Vec<String> =
            rule(&Checkout::here().root).iter().map(ToString::to_string).collect();
        assert!(broken.is_empty(), "\n{}", broken.join("\n"));
    }

    #[test]
    fn crates_depend_along_the_arrows() {
        holds(arrows::crates);
    }

    #[test]
    fn modules_of_the_core_depend_along_the_arrows() {
        holds(arrows::modules);
    }

    #[test]
    fn the_core_does_without_std() {
        holds(files::no_std);
    }

    #[test]
    fn nothing_is_unsafe_outside_boards() {
        holds(files::no_unsafe);
    }

    #[test]
    fn tokio_and_smoltcp_are_named_in_one_file_each() {
        holds(files::named_in_one_file);
    }

    #[test]
    fn every_file_starts_with_what_it_is() {
        holds(files::headers);
    }

    #[test]
    fn no_path_of_one_machine_is_written_down() {
        holds(files::no_machine_paths);
    }
}
