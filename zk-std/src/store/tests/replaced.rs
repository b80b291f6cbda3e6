//! A history that is cut, or that a leader's snapshot takes the place of.

use super::*;
use crate::store::{Extent, Received, snapshot};

#[test]
fn a_history_is_truncated() {
    for (to, logs) in [(6, &[1, 4][..]), (5, &[1, 4]), (4, &[1, 4]), (3, &[1]), (1, &[1])] {
        let (disk, expected) = disk_with(&[1..=3, 4..=6, 7..=9]);
        let (mut store, ledger, _) = restore(&disk).unwrap();
        save(&mut store, &ledger, z(9)).unwrap();
        store.truncate(z(to)).unwrap();
        let mut left = Ledger::default();
        let restored = store.restore(&mut left).unwrap();
        assert_eq!(left.entries, expected.entries[..to as usize]);
        assert_eq!((restored.zxid, restored.findings.count), (z(to), 0));
        for counter in [1, 4, 7] {
            let there = disk.read(&log_path(counter)).is_some();
            assert_eq!(there, logs.contains(&counter), "log of {counter} after {to}");
        }
        // It goes on in another way.
        store.append(z(to + 1), &txn(z(to + 1), b"other")).unwrap();
        store.sync().unwrap();
        let (_, ledger, _) = restore(&disk).unwrap();
        assert_eq!(ledger.entries.len(), to as usize + 1);
        assert_ne!(ledger.entries.get(to as usize), expected.entries.get(to as usize));
    }
}

#[test]
fn a_history_is_not_truncated_where_it_cannot_be() {
    // The transaction is in no log (1..=3, 5..=6), unless a snapshot ends there.
    let (disk, _) = disk_with(&[1..=3, 5..=6]);
    let mut store = open(&disk, options()).unwrap();
    let before = disk.operations();
    assert!(matches!(store.truncate(z(4)), Err(Error::Truncate { .. })));
    assert!(matches!(store.truncate(z(7)), Err(Error::Truncate { .. })));
    assert_eq!(disk.operations(), before);
    save(&mut store, &Ledger::default(), z(4)).unwrap();
    store.truncate(z(4)).unwrap();
    assert!(disk.read(&log_path(5)).is_none());
    assert_eq!(store.restore(&mut Ledger::default()).unwrap().zxid, z(4));
    // All snapshots are later.
    remove(&disk, "data/version-2/snapshot.0");
    assert!(matches!(store.truncate(z(2)), Err(Error::Truncate { .. })));
    // A snapshot of Apache that holds effects of later transactions is none to go back to.
    let (disk, ledger) = disk_with(&[1..=6]);
    let mut store = open(&disk, options()).unwrap();
    for (zxid, digest, last) in [(z(2), z(4), None), (z(3), z(4), Some(z(4)))] {
        let mut writer = store.begin_snapshot(zxid).unwrap();
        writer.write(&ledger.to_body()).unwrap();
        let digest = SnapshotDigest { zxid: digest, version: 2, tree_digest: 1 };
        writer.finish(Some(digest), last).unwrap();
    }
    let fuzzy = disk.fork(1);
    store.truncate(z(3)).unwrap();
    assert_eq!(store.candidates().unwrap().len(), 1);
    assert_eq!(store.restore(&mut Ledger::default()).unwrap().snapshot, Some(Zxid::ZERO));
    let mut store = open(&fuzzy, options()).unwrap();
    store.truncate(z(4)).unwrap();
    assert_eq!(store.candidates().unwrap().len(), 3);
}

/// Receives what the ledger holds, as a leader would send it.
fn receive(store: &mut Store<Simulated>, ledger: &Ledger, zxid: Zxid) -> Received<Simulated> {
    let mut writer = store.begin_install(zxid).unwrap();
    for piece in ledger.to_body().chunks(100) {
        writer.write(piece).unwrap();
    }
    store.receive(writer).unwrap()
}

#[test]
fn a_snapshot_takes_the_place_of_the_history() {
    // Before, inside and after what is there; and where a snapshot is.
    for at in [0, 4, 5, 6, 8, 20] {
        let (disk, ledger) = disk_with(&[1..=3, 5..=6]);
        let mut store = open(&disk, options()).unwrap();
        save(&mut store, &ledger, z(5)).unwrap();
        save(&mut store, &ledger, z(7)).unwrap();
        let mut other = Ledger::default();
        other.add(z(at), b"of another leader");
        let received = receive(&mut store, &other, z(at));
        assert_eq!(received.zxid(), z(at));
        let mut taken = Ledger::default();
        let reader = store.open_received(&received).unwrap();
        let end = snapshot::read(reader, &mut |bytes| taken.snapshot_bytes(bytes), &mut |_| {});
        assert_eq!(end.unwrap(), SnapshotEnd::default());
        assert_eq!(taken.entries, other.entries);
        store.install(received).unwrap();
        let path = format!("data/version-2/snapshot.{:x}", z(at).0);
        assert_eq!(disk.paths(), [path]);
        assert_eq!(store.extent(), Extent { last: z(at), log: None });
        // It goes on from there.
        let entry = txn(z(at + 1), b"next");
        store.append(z(at + 1), &entry).unwrap();
        store.sync().unwrap();
        other.add(z(at + 1), &entry);
        let (_, found, restored) = restore(&disk).unwrap();
        assert_eq!((found.entries, restored.findings.count), (other.entries, 0));
    }
}

#[test]
fn a_snapshot_that_is_not_installed_leaves_nothing() {
    let (disk, ledger) = disk_with(&[1..=3]);
    let mut store = open(&disk, options()).unwrap();
    let before = disk.paths();
    // Not to its end.
    let mut writer = store.begin_install(z(9)).unwrap();
    writer.write(b"half").unwrap();
    assert!(disk.paths() != before);
    assert!(matches!(store.receive(writer), Err(Error::Snapshot { .. })));
    assert_eq!(disk.paths(), before);
    // Whole, and not taken.
    let received = receive(&mut store, &Ledger::default(), z(9));
    assert!(disk.paths() != before);
    drop(received);
    assert_eq!(disk.paths(), before);
    // Neither before a crash.
    core::mem::forget(receive(&mut store, &Ledger::default(), z(9)));
    disk.crash();
    let (_, found, _) = restore(&disk).unwrap();
    assert_eq!((found.entries, disk.paths()), (ledger.entries, before));
}

#[test]
fn an_interrupted_installation_is_not_looked_into() {
    let (disk, _) = disk_with(&[1..=3]);
    let mut store = open(&disk, options()).unwrap();
    let received = receive(&mut store, &Ledger::default(), z(9));
    disk.cut_power_after(3);
    store.install(received).unwrap_err();
    disk.crash();
    let look = Options { read_only: true, ..options() };
    assert!(matches!(open(&disk, look.clone()), Err(Error::Directory { .. })));
    let damaged = disk.fork(1);
    damaged.flip("data/version-2/zk.installing", 0, 1);
    assert!(matches!(open(&damaged, options()), Err(Error::Directory { .. })));
    // A start installs it.
    let (_, found, restored) = restore(&disk).unwrap();
    assert_eq!((found.entries.len(), restored.zxid), (0, z(9)));
    open(&disk, look).unwrap();
}
