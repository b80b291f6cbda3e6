//! Writing the log: syncs that fail, full disks, and who reads it meanwhile.

use super::*;
use crate::store::{Damage, Extent};

#[test]
fn a_failed_sync_is_final() {
    let (disk, mut expected) = disk_with(&[1..=2]);
    let (mut store, ..) = restore(&disk).unwrap();
    let entry = txn(z(3), b"three");
    store.append(z(3), &entry).unwrap();
    expected.add(z(3), &entry);
    disk.fail_syncs(1);
    let stopped = |result: Result<(), Error>| match result.unwrap_err() {
        Error::Stopped { cause } => assert!(cause.contains("log.100000003 could not be synced")),
        other => panic!("{other}"),
    };
    stopped(store.sync());
    stopped(store.sync());
    stopped(store.append(z(4), &txn(z(4), b"")));
    stopped(store.roll());
    stopped(store.idle());
    stopped(store.truncate(z(1)));
    stopped(store.set_current_epoch(Epoch(7)));
    stopped(store.purge(3, None).map(drop));
    stopped(store.begin_snapshot(z(2)).map(drop));
    stopped(store.restore(&mut Ledger::default()).map(drop));
    // What is there is found out by starting again.
    disk.crash();
    let (_, ledger, _) = restore(&disk).unwrap();
    assert!(expected.entries.starts_with(&ledger.entries) && ledger.entries.len() >= 2);
}

#[test]
fn a_full_disk_has_a_reserve() {
    let disk = Disk::new(1);
    let with_reserve = Options { reserve: 64 << 10, ..options() };
    disk.set_capacity(Some(256 << 10));
    let (mut store, ledger, _) = restore_with(&disk, with_reserve.clone()).unwrap();
    save(&mut store, &ledger, Zxid::ZERO).unwrap();
    assert!(store.has_reserve());
    let reserve = "data/version-2/zk.reserve";
    assert_eq!(disk.read(reserve).unwrap().len(), 64 << 10);
    let mut counter = 0;
    let mut append = |store: &mut Store<Simulated>| {
        counter += 1;
        store.append(z(counter), &txn(z(counter), &[7; 8000])).unwrap();
        store.sync()
    };
    while store.has_reserve() {
        append(&mut store).unwrap();
    }
    assert!(disk.read(reserve).is_none());
    assert!(store.space().unwrap().unwrap() < 64 << 10);
    // Epochs go on, until nothing is left.
    store.set_accepted_epoch(Epoch(3)).unwrap();
    let full = loop {
        if let Err(e) = append(&mut store) {
            break e;
        }
    };
    assert!(full.is_full(), "{full}");
    assert!(store.sync().unwrap_err().is_full());
    // With room again the batch that was refused is written, and the reserve comes back.
    disk.set_capacity(Some(1 << 20));
    store.sync().unwrap();
    store.idle().unwrap();
    assert!(store.has_reserve() && disk.read(reserve).is_some());
    drop(store);
    let (_, ledger, restored) = restore_with(&disk, with_reserve).unwrap();
    assert_eq!(ledger.entries.len(), counter as usize);
    assert_eq!(restored.findings.count, 0);
    // A snapshot that does not fit leaves nothing.
    disk.set_capacity(Some(0));
    let mut store = open(&disk, options()).unwrap();
    assert!(save(&mut store, &ledger, restored.zxid).unwrap_err().is_full());
    assert!(disk.paths().iter().all(|path| !path.contains(".tmp")));
    assert_eq!(store.candidates().unwrap().len(), 1);
}

#[test]
fn what_could_not_be_read_back_is_not_logged() {
    let (disk, _) = disk_with(&[]);
    let mut store = open(&disk, Options { record_max: 100, ..options() }).unwrap();
    let refused = store.append(z(1), &txn(z(1), &[0; 69])).unwrap_err();
    assert!(matches!(refused, Error::Transaction { len: 101, .. }), "{refused}");
    assert!(matches!(store.append(z(1), &[0; 20]), Err(Error::Transaction { .. })));
    assert!(matches!(store.append(z(1), &txn(z(2), b"")), Err(Error::Transaction { .. })));
    store.append(z(1), &txn(z(1), &[0; 68])).unwrap();
    store.sync().unwrap();
    // One that is there and too large is damage that no crash leaves.
    match restore_with(&disk, Options { record_max: 99, ..options() }) {
        Err(Error::Rot { damage: Damage::Length(100), .. }) => {}
        other => panic!("{:?}", other.map(|(_, _, restored)| restored)),
    }
}

#[test]
fn a_large_batch_is_synced_in_parts() {
    let (disk, _) = disk_with(&[]);
    let mut store = open(&disk, Options { batch_max: 10_000, ..options() }).unwrap();
    for counter in 1..=10 {
        store.append(z(counter), &txn(z(counter), &[1; 3000])).unwrap();
    }
    let synced = store.synced().unwrap();
    assert_eq!((synced.zxid, store.log_len()), (z(9), 16 + 10 * 3045));
    // A record larger than a batch goes alone.
    store.append(z(11), &txn(z(11), &[1; 20_000])).unwrap();
    assert_eq!(store.synced().unwrap().zxid, z(10));
}

#[test]
fn existing_logs_are_not_overwritten() {
    let (disk, expected) = disk_with(&[1..=3]);
    let (mut store, ..) = restore(&disk).unwrap();
    assert!(store.append(z(1), &txn(z(1), b"other")).is_err());
    let (_, ledger, _) = restore(&disk).unwrap();
    assert_eq!(ledger.entries, expected.entries);
}

#[test]
fn the_log_is_read_while_it_is_written() {
    let (disk, mut expected) = disk_with(&[1..=3, 4..=6]);
    let (mut store, ..) = restore(&disk).unwrap();
    for counter in 7..=9 {
        let entry = txn(z(counter), b"live");
        store.append(z(counter), &entry).unwrap();
        store.sync().unwrap();
        expected.add(z(counter), &entry);
    }
    store.append(z(10), &txn(z(10), b"not synced")).unwrap();
    for start in 1..=10 {
        let mut replay = store.read_log(z(start), &store.extent()).unwrap();
        let mut found = Ledger::default();
        while replay.advance(&mut Default::default()).unwrap() {
            found.add(replay.zxid(), replay.entry());
        }
        assert_eq!(found.entries, expected.entries[start as usize - 1..]);
    }
    store.sync().unwrap();
    store.roll().unwrap();
    store.append(z(11), &txn(z(11), b"of a log with nothing synced")).unwrap();
    let mut replay = store.read_log(z(9), &store.extent()).unwrap();
    let mut count = 0;
    while replay.advance(&mut Default::default()).unwrap() {
        count += 1;
    }
    assert_eq!(count, 2);
}

/// Another view of the directory sees what is durable by the word of the one that writes.
#[test]
fn the_log_is_read_through_another_view() {
    let (disk, _) = disk_with(&[1..=3]);
    let (mut store, ..) = restore(&disk).unwrap();
    let reader = open(&disk, Options { read_only: true, ..options() }).unwrap();
    let read = |extent: &Extent| {
        let mut replay = reader.read_log(z(1), extent).unwrap();
        let mut last = Zxid::ZERO;
        while replay.advance(&mut Default::default()).unwrap() {
            last = replay.zxid();
        }
        last
    };
    assert_eq!(read(&Extent::default()), Zxid::ZERO);
    let mut append = |counters: core::ops::RangeInclusive<u32>, roll: bool| {
        for counter in counters {
            store.append(z(counter), &txn(z(counter), b"live")).unwrap();
        }
        let before = store.extent();
        store.sync().unwrap();
        if roll {
            store.roll().unwrap();
        }
        before
    };
    // Nothing is written since the start, then parts of a log, then a log that was left.
    for (counters, roll, durable) in
        [(4..=5, false, 3), (6..=7, true, 5), (8..=8, false, 7), (9..=9, false, 8)]
    {
        let extent = append(counters, roll);
        assert_eq!(read(&extent), z(durable));
        assert_eq!(extent.last, z(durable));
    }
    assert_eq!(read(&store.extent()), z(9));
}
