//! Paths of znodes, as bytes.
//!
//! A path is looked up as it came; only what is to be created is validated. Answers to
//! `PathUtils.validatePath`.

/// Root of what belongs to ZooKeeper itself.
pub const ZOOKEEPER: &[u8] = b"/zookeeper";
/// Root of quota nodes.
pub const QUOTA: &[u8] = b"/zookeeper/quota";
/// The node that holds the ensemble's configuration.
pub const CONFIG: &[u8] = b"/zookeeper/config";

/// Whether `path` may name a node.
///
/// It must be UTF-8, start with `/`, not end with `/` (but for the root), have no empty component
/// and none of `.` or `..`, and no character that Apache refuses: U+0000-001F, U+007F-009F,
/// U+D800-F8FF, U+FFF0-FFFF, or any above U+FFFF (Java sees surrogates there).
pub fn is_valid(path: &[u8]) -> bool {
    let Some(b'/') = path.first() else { return false };
    if path.len() == 1 {
        return true;
    }
    let names_are_names =
        path.split(|&b| b == b'/').skip(1).all(|name| !matches!(name, b"" | b"." | b".."));
    let Ok(text) = core::str::from_utf8(path) else { return false };
    names_are_names
        && text.chars().all(|c| {
            !matches!(c as u32,
                0..=0x1f | 0x7f..=0x9f | 0xd800..=0xf8ff | 0xfff0..)
        })
}

/// Parent and name: what stands before and behind the last slash. The parent of `/a` is the
/// empty path, another name of the root. `None` if there is no slash.
pub fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    let slash = path.iter().rposition(|&b| b == b'/')?;
    Some((&path[..slash], &path[slash + 1..]))
}

/// Parent and name, as [`split`], of a path that leads to one node below the root. `None` as well for
/// an empty name and for a parent that is written `/`: the tree would know such a node by two paths.
pub fn place(path: &[u8]) -> Option<(&[u8], &[u8])> {
    split(path).filter(|(parent, name)| !name.is_empty() && *parent != b"/")
}

/// Nodes that cannot be deleted. Answers to `DataTree.isSpecialPath`.
pub fn is_special(path: &[u8]) -> bool {
    [b"/", ZOOKEEPER, QUOTA, CONFIG].contains(&path)
}

/// Whether the node takes part in the tree's digest: all but what lies below `/zookeeper/`.
pub fn is_digested(path: &[u8]) -> bool {
    !path.starts_with(b"/zookeeper/")
}

/// The parent as watchers know it: `/` for the root.
pub fn shown(path: &[u8]) -> &[u8] {
    if path.is_empty() { b"/" } else { path }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_valid_as_in_apache() {
        for good in [
            "/",
            "/a",
            "/a/b.c",
            "/..a",
            "/a..",
            "/ ",
            "/\u{e000}".trim_end_matches('\u{e000}'),
            "/é/漢",
        ] {
            assert!(is_valid(good.as_bytes()), "{good:?}");
        }
        for bad in [
            "",
            "a",
            "/a/",
            "//",
            "/a//b",
            "/.",
            "/..",
            "/a/./b",
            "/a/../b",
            "/\0",
            "/\u{1}",
            "/\u{1f}",
            "/\u{7f}",
            "/\u{9f}",
            "/\u{f8ff}",
            "/\u{fff0}",
            "/\u{ffff}",
            "/\u{1f600}",
        ] {
            assert!(!is_valid(bad.as_bytes()), "{bad:?}");
        }
        assert!(is_valid("/\u{f900}".as_bytes()) && is_valid("/\u{ffef}".as_bytes()));
        assert!(!is_valid(b"/\xff"));
    }

    #[test]
    fn a_path_splits_at_its_last_slash() {
        assert_eq!(split(b"/a"), Some((&b""[..], &b"a"[..])));
        assert_eq!(split(b"/a/b"), Some((&b"/a"[..], &b"b"[..])));
        assert_eq!(split(b"a"), None);
        assert_eq!(place(b"/a/b"), Some((&b"/a"[..], &b"b"[..])));
        for none in [&b""[..], b"a", b"/", b"//", b"//a", b"/a/"] {
            assert_eq!(place(none), None);
        }
    }
}
