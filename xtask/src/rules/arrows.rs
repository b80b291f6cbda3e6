//! Which crate may use which, and which module of zk-core.

use std::path::{Path, PathBuf};

use super::files::{boards, rust_files};
use super::manifest;
use super::token::{self, Token};
use super::{Violation, read};

/// Each crate, and the crates of this workspace that it may depend on.
const CRATES: &[(&str, &[&str])] = &[
    ("zk-core", &[]),
    ("zk-std", &["zk-core"]),
    ("zk-embedded", &["zk-core"]),
    ("zk-cli", &["zk-std", "zk-core"]),
    ("xtask", &[]),
];

/// Each crate, and those that its tests alone may use: the simulator has members of both kinds.
const TESTS: &[(&str, &[&str])] = &[("zk-std", &["zk-embedded"])];

/// What firmware images may depend on.
const BOARDS: &[&str] = &["zk-core", "zk-embedded"];

/// Modules of zk-core from the ground up. Each may use those of the layers below its own, and none
/// of its own layer.
const LAYERS: &[&[&str]] = &[
    &["crc", "id", "planted", "text", "time", "trace"],
    &["memory"],
    &["quorum"],
    &["wire"],
    &["election", "zab", "tree", "session", "client"],
    &["request"],
    &["peer"],
];

/// What the layers would allow and the design does not: a tree never sees a quorum or a clock, only
/// `peer` sees both `zab` and `tree`, and the client's side is for programs.
const NEVER: &[(&str, &str)] = &[
    ("tree", "quorum"),
    ("tree", "time"),
    ("request", "zab"),
    ("request", "election"),
    ("request", "client"),
    ("peer", "client"),
];

/// Crates depend along the arrows, and all of them take the workspace's lints.
pub(super) fn crates(root: &Path) -> Vec<Violation> {
    let mut broken = Vec::new();
    let file = PathBuf::from("Cargo.toml");
    let Some(workspace) = read(root, &file, &mut broken) else { return broken };
    for member in manifest::members(&workspace) {
        let file = Path::new(member).join("Cargo.toml");
        let Some(text) = read(root, &file, &mut broken) else { continue };
        match CRATES.iter().find(|(name, _)| *name == member) {
            Some((_, allowed)) => {
                let tests = TESTS.iter().find(|(name, _)| *name == member);
                let tests = tests.map_or(&[][..], |(_, tests)| tests);
                broken.extend(dependencies(&file, &text, allowed, tests));
            }
            None => broken.push(Violation {
                file: file.clone(),
                line: 1,
                what: format!("`{member}` is not in xtask's table of crates"),
            }),
        }
        broken.extend(lints(&file, &text));
    }
    let file = boards().join("Cargo.toml");
    let Some(images) = read(root, &file, &mut broken) else { return broken };
    for profile in ["profile.size"] {
        if manifest::table(&workspace, profile) != manifest::table(&images, profile) {
            let what = format!("`[{profile}]` is not that of the root's Cargo.toml");
            broken.push(Violation { file: file.clone(), line: 1, what });
        }
    }
    for member in manifest::members(&images) {
        let file = boards().join(member).join("Cargo.toml");
        let Some(text) = read(root, &file, &mut broken) else { continue };
        broken.extend(dependencies(&file, &text, BOARDS, &[]));
        broken.extend(lints(&file, &text));
    }
    broken
}

/// A crate takes the lints of its workspace.
fn lints(file: &Path, text: &str) -> Option<Violation> {
    let taken = manifest::table(text, "lints").contains(&"workspace = true");
    (!taken).then(|| Violation {
        file: file.to_path_buf(),
        line: 1,
        what: "take the workspace's lints: `[lints]` `workspace = true`".to_owned(),
    })
}

fn dependencies(file: &Path, text: &str, allowed: &[&str], tests: &[&str]) -> Vec<Violation> {
    let found = manifest::own_dependencies(text).into_iter();
    found
        .filter(|(name, _)| !allowed.contains(&name.as_str()))
        .filter(|(name, line)| {
            !(tests.contains(&name.as_str()) && manifest::is_for_tests(text, *line))
        })
        .map(|(name, line)| Violation {
            file: file.to_path_buf(),
            line,
            what: format!("no arrow leads to `{name}`"),
        })
        .collect()
}

/// Modules of zk-core use each other along the arrows; tests too.
pub(super) fn modules(root: &Path) -> Vec<Violation> {
    let mut broken = Vec::new();
    let source = Path::new("zk-core").join("src");
    for file in rust_files(root, &source) {
        let Some(text) = read(root, &file, &mut broken) else { continue };
        let within = file.strip_prefix(&source).unwrap_or(&file);
        broken.extend(uses_of(&file, &module_path(within), &text));
    }
    broken
}

/// The module that a file below `src` holds.
fn module_path(file: &Path) -> Vec<String> {
    let path = file.with_extension("");
    let mut path: Vec<String> =
        path.components().map(|part| part.as_os_str().display().to_string()).collect();
    if path.last().is_some_and(|last| last == "mod" || last == "lib") {
        path.pop();
    }
    path
}

/// The arrows that a file of zk-core breaks.
fn uses_of(file: &Path, module: &[String], text: &str) -> Vec<Violation> {
    let tokens = token::tokens(text);
    // The root only names the modules.
    let Some(from) = module.first() else { return Vec::new() };
    let mut found = Uses::default();
    found.walk(&tokens, module);
    found
        .modules
        .iter()
        .filter_map(|(to, line)| {
            let what = allowed(from, to).err()?;
            Some(Violation { file: file.to_path_buf(), line: *line, what })
        })
        .collect()
}

fn layer(module: &str) -> Result<usize, String> {
    LAYERS
        .iter()
        .position(|layer| layer.contains(&module))
        .ok_or_else(|| format!("`{module}` is not in xtask's table of zk-core's modules"))
}

fn allowed(from: &str, to: &str) -> Result<(), String> {
    let (above, below) = (layer(from)?, layer(to)?);
    if from == to || (below < above && !NEVER.contains(&(from, to))) {
        Ok(())
    } else {
        Err(format!("no arrow leads from `{from}` to `{to}`"))
    }
}

/// Modules below the crate's root that paths lead to.
#[derive(Debug, Default)]
struct Uses {
    modules: Vec<(String, u32)>,
}

impl Uses {
    fn walk(&mut self, tokens: &[Token<'_>], module: &[String]) {
        let text = |at: usize| tokens.get(at).map_or("", |token| token.text);
        // Inline modules: their names deepen what `super` counts, up to the brace that closes them.
        let mut inline: Vec<(String, usize)> = Vec::new();
        for at in 0..tokens.len() {
            inline.retain(|(_, end)| at < *end);
            let starts = at == 0 || text(at - 1) != "::";
            match text(at) {
                "mod" if text(at + 2) == "{" => {
                    inline.push((text(at + 1).to_owned(), token::block(tokens, at + 2)));
                }
                "crate" if starts && text(at + 1) == "::" => {
                    self.tree(tokens, at + 2, Vec::new());
                }
                "self" | "super" if starts && text(at + 1) == "::" => {
                    let here = module.iter().chain(inline.iter().map(|(name, _)| name));
                    self.tree(tokens, at, here.cloned().collect());
                }
                _ => {}
            }
        }
    }

    /// Follows a path, or the paths of a braced list, that starts at `at` in module `base`.
    fn tree(&mut self, tokens: &[Token<'_>], at: usize, mut base: Vec<String>) {
        let Some(token) = tokens.get(at) else { return };
        match token.text {
            "super" => {
                base.pop();
                self.tree(tokens, at + 2, base);
            }
            "self" => self.tree(tokens, at + 2, base),
            "{" => {
                let end = token::block(tokens, at);
                let mut place = at + 1;
                while place + 1 < end {
                    self.tree(tokens, place, base.clone());
                    while place + 1 < end && tokens[place].text != "," {
                        let open = tokens[place].text == "{";
                        place = if open { token::block(tokens, place) } else { place + 1 };
                    }
                    place += 1;
                }
            }
            // A macro that the crate exports is no module.
            name if base.is_empty() && tokens.get(at + 1).is_none_or(|next| next.text != "!") => {
                self.modules.push((name.to_owned(), token.line));
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken(file: &str, source: &str) -> Vec<(u32, String)> {
        let file = Path::new(file);
        let found = uses_of(file, &module_path(file), source);
        found.into_iter().map(|violation| (violation.line, violation.what)).collect()
    }

    #[test]
    fn files_are_modules() {
        assert_eq!(module_path(Path::new("wire/jute.rs")), ["wire", "jute"]);
        assert_eq!(module_path(Path::new("wire/mod.rs")), ["wire"]);
        assert_eq!(module_path(Path::new("id.rs")), ["id"]);
        assert!(module_path(Path::new("lib.rs")).is_empty());
    }

    #[test]
    fn arrows_that_are_drawn_are_quiet() {
        let source = "use crate::id::Zxid;\nuse crate::{wire::{jute, txn}, time::Now};\n\
                      use super::node;\nuse self::x;\nfn f() { crate::tree::g(); crate::mac!() }\n\
                      // crate::peer\n";
        assert_eq!(broken("request/mod.rs", "use crate::{tree, session, wire, id};"), []);
        assert_eq!(broken("zab/x.rs", &source.replace("tree", "zab")), []);
        assert_eq!(broken("lib.rs", "pub use crate::peer::Peer;"), []);
    }

    #[test]
    fn a_planted_wrong_arrow_is_found() {
        let wrong = |from: &str, to: &str| format!("no arrow leads from `{from}` to `{to}`");
        assert_eq!(
            broken("wire/jute.rs", "\nuse crate::tree::Tree;"),
            [(2, wrong("wire", "tree"))]
        );
        assert_eq!(
            broken("election/vote.rs", "use crate::{id::Zxid,\n zab::{self, History}};"),
            [(2, wrong("election", "zab"))]
        );
        assert_eq!(broken("zab/mod.rs", "fn f() -> crate::election::Vote {}").len(), 1);
        assert_eq!(broken("zab.rs", "use super::tree::Tree;"), [(1, wrong("zab", "tree"))]);
        assert_eq!(broken("tree/mod.rs", "use super::{time, id};"), [(1, wrong("tree", "time"))]);
        assert_eq!(
            broken("tree/a.rs", "mod t { use super::super::super::{session, wire}; }"),
            [(1, wrong("tree", "session"))]
        );
        assert_eq!(broken("id.rs", "use crate::time;"), [(1, wrong("id", "time"))]);
    }

    #[test]
    fn what_hides_arrows_is_found() {
        // Neither a name that the root re-exports nor all of them tells the module.
        assert!(broken("wire/mod.rs", "use crate::Peer;")[0].1.contains("`Peer`"));
        assert!(broken("wire/mod.rs", "use crate::*;")[0].1.contains("`*`"));
        assert!(broken("oddity.rs", "use crate::id;")[0].1.contains("`oddity`"));
    }

    #[test]
    fn a_planted_wrong_dependency_is_found() {
        let manifest = "[dependencies]\nzk-core = \"1\"\nzk-std = \"1\"\n";
        let found = dependencies(Path::new("Cargo.toml"), manifest, &["zk-core"], &["zk-std"]);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].line, found[0].what.as_str()), (3, "no arrow leads to `zk-std`"));
        let manifest = "[dependencies]\nserde = \"1\"\n[dev-dependencies]\nzk-std = \"1\"\n";
        let found = |tests| dependencies(Path::new("Cargo.toml"), manifest, &[], tests).len();
        assert_eq!((found(&["zk-std"]), found(&[])), (0, 1));
    }
}
