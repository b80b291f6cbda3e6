//! Rules that hold file by file.

use std::path::{Path, PathBuf};

use super::token::{self, Token};
use super::{Violation, read};

/// Directories that hold nothing of ours.
const SKIPPED: [&str; 4] = ["target", "zk-data", "__pycache__", "node_modules"];
/// Files that are text and may be searched.
const TEXT: [&str; 10] = ["rs", "toml", "md", "py", "sh", "txt", "java", "yml", "cfg", "x"];
/// Directories that hold people's or build machines' checkouts.
const PRIVATE: [&str; 7] = ["home", "root", "Users", "mnt", "work", "builds", "workspace"];

/// Keywords that a path may follow.
const KEYWORDS: [&str; 12] =
    ["use", "as", "return", "in", "if", "match", "mut", "dyn", "impl", "for", "where", "else"];

/// Where firmware images live, from the root.
pub(super) fn boards() -> PathBuf {
    Path::new("zk-embedded").join("boards")
}

/// Every file below `dir`, from the root, in order.
fn files(root: &Path, dir: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = root.join(dir).read_dir() else { return };
    let mut entries: Vec<_> = entries.flatten().collect();
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let name = entry.file_name().display().to_string();
        let path = dir.join(&name);
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => {
                let hidden = name.starts_with('.') && name != ".ci" && name != ".cargo";
                if !hidden && !SKIPPED.contains(&name.as_str()) {
                    files(root, &path, found);
                }
            }
            Ok(kind) if kind.is_file() => found.push(path),
            _ => {}
        }
    }
}

fn has_extension(file: &Path, wanted: &[&str]) -> bool {
    file.extension().is_some_and(|found| wanted.iter().any(|wanted| found == *wanted))
}

/// Rust files below `dir`.
pub(super) fn rust_files(root: &Path, dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    files(root, dir, &mut found);
    found.retain(|file| has_extension(file, &["rs"]));
    found
}

/// zk-core runs where there is no operating system.
pub(super) fn no_std(root: &Path) -> Vec<Violation> {
    let mut broken = Vec::new();
    let (mut seen, mut tests) = (Vec::new(), Vec::new());
    for file in rust_files(root, &Path::new("zk-core").join("src")) {
        let Some(text) = read(root, &file, &mut broken) else { continue };
        let tokens = token::tokens(&text);
        let (kept, modules) = token::without_tests(&tokens);
        let home = match file.file_stem() {
            Some(stem) if stem != "lib" && stem != "mod" => file.with_extension(""),
            _ => file.parent().unwrap_or_else(|| Path::new("")).to_path_buf(),
        };
        tests.extend(modules.iter().map(|name| home.join(name)));
        seen.extend(uses_std(&kept).into_iter().map(|line| Violation {
            file: file.clone(),
            line,
            what: "use `core` or `alloc`: this has to build without an operating system".to_owned(),
        }));
    }
    seen.retain(|violation| !tests.iter().any(|module| belongs(&violation.file, module)));
    broken.extend(seen);
    broken
}

/// Whether a file is that of a module, or below it.
fn belongs(file: &Path, module: &Path) -> bool {
    file.with_extension("") == module || file.starts_with(module)
}

fn uses_std(tokens: &[Token<'_>]) -> Vec<u32> {
    let text = |at: Option<usize>| at.and_then(|at| tokens.get(at)).map_or("", |token| token.text);
    let mut lines = Vec::new();
    for (at, token) in tokens.iter().enumerate().filter(|(_, token)| token.text == "std") {
        let (before, after) = (text(at.checked_sub(1)), text(Some(at + 1)));
        // `::std` behind a keyword or a sign is the crate; behind a name it is an item of that name.
        let earlier = text(at.checked_sub(2));
        let named = earlier.starts_with(|c: char| c.is_alphabetic() || c == '_');
        let inside = before == "::" && named && !KEYWORDS.contains(&earlier);
        if !inside && (after == "::" || matches!(before, "use" | "crate")) {
            lines.push(token.line);
        }
    }
    lines
}

/// `unsafe` is for registers, and registers are for boards.
pub(super) fn no_unsafe(root: &Path) -> Vec<Violation> {
    let mut broken = Vec::new();
    for file in rust_files(root, Path::new("")) {
        if file.starts_with(boards()) {
            continue;
        }
        let Some(text) = read(root, &file, &mut broken) else { continue };
        for token in token::tokens(&text).iter().filter(|token| token.text == "unsafe") {
            let what = "`unsafe` belongs in zk-embedded/boards".to_owned();
            broken.push(Violation { file: file.clone(), line: token.line, what });
        }
    }
    broken
}

/// Crates that one file names, so that the others stand on what it makes of them; xtask, which uses none of
/// our crates, has one of its own.
const NAMED: [(&str, &[&str]); 2] = [
    ("tokio", &["zk-std/src/server/tokio.rs"]),
    ("smoltcp", &["zk-embedded/src/net.rs", "xtask/src/switch/host.rs"]),
];

/// A server does not know who waits for it, nor a board whose TCP it has: tokio and smoltcp are named
/// in one file each, apart from tests, examples and a line that declares a module.
pub(super) fn named_in_one_file(root: &Path) -> Vec<Violation> {
    let mut broken = Vec::new();
    for file in rust_files(root, Path::new("")) {
        if !file.components().any(|part| part.as_os_str() == "src") {
            continue;
        }
        let Some(text) = read(root, &file, &mut broken) else { continue };
        let tokens = token::tokens(&text);
        for (name, homes) in NAMED {
            if homes.iter().any(|home| file == Path::new(home)) {
                continue;
            }
            broken.extend(names(&tokens, name).into_iter().map(|line| Violation {
                file: file.clone(),
                line,
                what: format!("{name} belongs in {}", homes.join(" and ")),
            }));
        }
    }
    broken
}

fn names(tokens: &[Token<'_>], name: &str) -> Vec<u32> {
    let declared = |at: usize| at > 0 && tokens[at - 1].text == "mod";
    let named = tokens.iter().enumerate().filter(|(_, token)| token.text == name);
    named.filter(|(at, _)| !declared(*at)).map(|(_, token)| token.line).collect()
}

/// A reader learns from the first line what a file is for.
pub(super) fn headers(root: &Path) -> Vec<Violation> {
    let mut broken = Vec::new();
    for file in rust_files(root, Path::new("")) {
        let Some(text) = read(root, &file, &mut broken) else { continue };
        if !has_header(&text) {
            let what = "say what this file is, with `//!` in its first line".to_owned();
            broken.push(Violation { file, line: 1, what });
        }
    }
    broken
}

fn has_header(text: &str) -> bool {
    text.strip_prefix("//! ").is_some_and(|rest| rest.starts_with(|c: char| !c.is_whitespace()))
}

/// Nothing in the tree names a place that only one machine has.
pub(super) fn no_machine_paths(root: &Path) -> Vec<Violation> {
    let mut own: Vec<String> = vec![root.display().to_string()];
    own.extend(std::env::var("HOME").ok());
    // `/` or `/zk` says nothing about a machine.
    own.retain(|path| path.matches(['/', '\\']).count() > 1);
    let (mut broken, mut all) = (Vec::new(), Vec::new());
    files(root, Path::new(""), &mut all);
    all.retain(|file| has_extension(file, &TEXT) || file.starts_with(".ci"));
    for file in all {
        let Some(text) = read(root, &file, &mut broken) else { continue };
        for (line, text) in (1..).zip(text.lines()) {
            let place = own.iter().find(|path| text.contains(path.as_str())).cloned();
            if let Some(path) = place.or_else(|| private_path(text)) {
                let what = format!("`{path}` exists on one machine only");
                broken.push(Violation { file: file.clone(), line, what });
            }
        }
    }
    broken
}

/// An absolute path into a directory that holds checkouts or homes.
fn private_path(line: &str) -> Option<String> {
    line.match_indices('/').find_map(|(at, _)| {
        let before = line[..at].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || "/._-})>*~]".contains(c)) {
            return None;
        }
        let (first, rest) = line[at + 1..].split_once('/')?;
        let named = rest.starts_with(|c: char| c.is_alphanumeric() || c == '.');
        (named && PRIVATE.contains(&first)).then(|| format!("/{first}/"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(source: &str) -> Vec<u32> {
        uses_std(&token::without_tests(&token::tokens(source)).0)
    }

    #[test]
    fn a_planted_std_is_found() {
        assert_eq!(lines("use core::fmt;\nuse std::fmt;"), [2]);
        assert_eq!(lines("fn f() -> ::std::string::String {}"), [1]);
        assert_eq!(lines("extern crate std;"), [1]);
        assert_eq!(lines("use std as s;"), [1]);
        assert!(lines("#[cfg(test)]\nmod tests { use std::vec; }").is_empty());
        let other = lines("#[cfg(feature = \"std\")] // std::x\nuse other::std::y; let std = 1;");
        assert!(other.is_empty());
    }

    #[test]
    fn a_planted_tokio_is_found() {
        let lines = |source| names(&token::tokens(source), "tokio");
        assert_eq!(lines("use std::io;\nuse tokio::time;"), [2]);
        assert_eq!(lines("fn f() { tokio::spawn(g()); }"), [1]);
        assert_eq!(lines("use {std::io, tokio};"), [1]);
        assert!(lines("#[cfg(feature = \"tokio\")]\nmod tokio; // tokio::spawn").is_empty());
    }

    #[test]
    fn modules_that_only_tests_see_are_known_by_their_path() {
        let model = Path::new("zk-core/src/tree/model");
        assert!(belongs(Path::new("zk-core/src/tree/model.rs"), model));
        assert!(belongs(Path::new("zk-core/src/tree/model/node.rs"), model));
        assert!(!belongs(Path::new("zk-core/src/tree/models.rs"), model));
    }

    #[test]
    fn a_header_says_something() {
        assert!(has_header("//! Zxids.\n"));
        for text in ["", "//!\n//! x", "// x", "use x;\n//! x"] {
            assert!(!has_header(text), "{text}");
        }
    }

    #[test]
    fn a_planted_machine_path_is_found() {
        let path = |first: &str| format!("see /{first}/someone/zk for it");
        for first in PRIVATE {
            assert_eq!(private_path(&path(first)), Some(format!("/{first}/")));
        }
        for line in ["/usr/share/java", "a/home/b", "/home", "https://x.org/home/y", "/homes/x"] {
            assert_eq!(private_path(line), None, "{line}");
        }
    }
}
