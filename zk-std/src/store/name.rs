//! Names of logs and snapshots: a prefix and a zxid in hex, `log.1a`, `snapshot.1a.gz`.

use std::io;

use zk_core::id::Zxid;

use super::directory::Directory;

/// What logs are called.
pub const LOG: &str = "log";
/// What snapshots are called.
pub const SNAPSHOT: &str = "snapshot";

/// The name of the log whose first record is `zxid`.
pub fn log(zxid: Zxid) -> String {
    format!("{LOG}.{:x}", zxid.0)
}

/// The zxid in a name, if its first part is `prefix` and the second is hex. Further parts are
/// allowed.
///
/// Answers to `persistence.Util.getZxidFromName`, for which -1 means that there is none.
pub fn zxid(name: &str, prefix: &str) -> Option<Zxid> {
    let mut parts = name.split('.');
    if parts.next() != Some(prefix) {
        return None;
    }
    let zxid = u64::from_str_radix(parts.next()?, 16).ok()?.cast_signed();
    (zxid != -1).then_some(Zxid(zxid))
}

/// The files of a kind in a directory, by ascending zxid.
pub(super) fn list<D: Directory>(directory: &D, prefix: &str) -> io::Result<Vec<(Zxid, String)>> {
    let mut found: Vec<_> = directory
        .list()?
        .into_iter()
        .filter_map(|name| Some((zxid(&name, prefix)?, name)))
        .collect();
    found.sort_unstable();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_apache_does() {
        for (name, expected) in [
            ("log.1a", Some(Zxid(0x1a))),
            ("log.1A", Some(Zxid(0x1a))),
            ("log.0", Some(Zxid(0))),
            ("log.100000001", Some(Zxid(0x1_0000_0001))),
            ("log.5.gz", Some(Zxid(5))),
            ("log.", None),
            ("log", None),
            ("log.x", None),
            ("log.0x5", None),
            ("logs.5", None),
            ("log.ffffffffffffffff", None),
            ("log.fffffffffffffffff", None),
            ("snapshot.5", None),
        ] {
            assert_eq!(zxid(name, LOG), expected, "{name}");
        }
        assert_eq!(log(Zxid(0x1_0000_0001)), "log.100000001");
        // Epochs above 2^31 make names that only zk reads back.
        let high = Zxid(i64::MIN + 1);
        assert_eq!(zxid(&log(high), LOG), Some(high));
    }
}
