//! What a crate's manifest says about its dependencies and lints.

/// Dependencies that start with `zk` or are named `xtask`, of every kind, with their lines.
pub(super) fn own_dependencies(manifest: &str) -> Vec<(String, u32)> {
    let mut found = Vec::new();
    let mut inside = false;
    for (number, line) in (1..).zip(manifest.lines()) {
        let line = line.trim();
        if let Some(header) = line.strip_prefix('[') {
            let header = header.trim_end_matches(']');
            let (table, name) = match header.rsplit_once('.') {
                Some((table, name)) if is_dependencies(table) => (table, Some(name)),
                _ => (header, None),
            };
            inside = name.is_none() && is_dependencies(table);
            found.extend(name.filter(|name| is_own(name)).map(|name| (name.to_owned(), number)));
        } else if inside {
            let key = line.split(['=', '.', ' ']).next().unwrap_or_default().trim_matches('"');
            if is_own(key) {
                found.push((key.to_owned(), number));
            }
        }
        // A renamed dependency tells its package.
        if let Some((_, package)) = line.split_once("package = \"") {
            let package = package.split('"').next().unwrap_or_default();
            if is_own(package) {
                found.push((package.to_owned(), number));
            }
        }
    }
    found
}

/// Whether a line is of a table of dependencies for tests.
pub(super) fn is_for_tests(manifest: &str, line: u32) -> bool {
    let before = manifest.lines().take(line as usize);
    before
        .filter(|line| line.starts_with('['))
        .last()
        .is_some_and(|t| t.contains("dev-dependencies"))
}

fn is_dependencies(table: &str) -> bool {
    table.ends_with("dependencies") && table != "workspace.dependencies"
}

fn is_own(name: &str) -> bool {
    name == "xtask" || name == "zk" || name.starts_with("zk-")
}

/// The members of a workspace, each a string of the `members` list.
pub(super) fn members(manifest: &str) -> Vec<&str> {
    let list = manifest.split_once("members = [").and_then(|(_, rest)| rest.split_once(']'));
    let list = list.map_or("", |(list, _)| list);
    list.split(',').map(|name| name.trim().trim_matches('"')).filter(|n| !n.is_empty()).collect()
}

/// The lines of a table, without comments and blanks.
pub(super) fn table<'m>(manifest: &'m str, name: &str) -> Vec<&'m str> {
    let header = format!("[{name}]");
    manifest
        .lines()
        .map(str::trim)
        .skip_while(|line| *line != header)
        .skip(1)
        .take_while(|line| !line.starts_with('['))
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_are_found_in_every_form() {
        let manifest = "\
[package]
name = \"zk-cli\"
[dependencies]
zk-core = { workspace = true }
zk-std.workspace = true
serde = \"1\"
other = { package = \"zk-embedded\", path = \"x\" }
[dev-dependencies.zk-sim]
path = \"y\"
[target.'cfg(unix)'.build-dependencies]
xtask = \"1\"
[lints]
zk-no = 1
";
        let names: Vec<(String, u32)> = own_dependencies(manifest);
        let names: Vec<(&str, u32)> = names.iter().map(|(n, line)| (n.as_str(), *line)).collect();
        assert_eq!(
            names,
            [("zk-core", 4), ("zk-std", 5), ("zk-embedded", 7), ("zk-sim", 8), ("xtask", 11)]
        );
        let root = "[workspace.dependencies]\nzk-core = { path = \"zk-core\" }\n";
        assert!(own_dependencies(root).is_empty());
    }

    #[test]
    fn members_and_tables_are_read() {
        assert_eq!(members("members = [\"a\", \"b\"]\n"), ["a", "b"]);
        assert_eq!(members("members = [\n  \"a\",\n  \"b\",\n]\n"), ["a", "b"]);
        let manifest = "[a]\nx = 1\n[b]\n# why\ny = 2\n\nz = 3\n[c]\n";
        assert_eq!(table(manifest, "b"), ["y = 2", "z = 3"]);
        assert!(table(manifest, "d").is_empty());
    }
}
