//! What is restored, refused and repaired, case by case (scenarios D1-D18).

use super::*;
use crate::store::{Compression, Damage, Epochs, File, Finding, INITIALIZE, error};
use zk_core::id::{ServerId, SessionId, Xid};
use zk_core::wire::OpCode;
use zk_core::wire::txn::{CreateSessionTxn, TxnDigest, TxnHeader};

#[test]
fn what_was_written_is_restored() {
    let (disk, expected) = disk_with(&[1..=3, 4..=9]);
    let (mut store, ledger, restored) = restore(&disk).unwrap();
    assert_eq!(ledger.entries, expected.entries);
    assert_eq!((restored.zxid, restored.txns, restored.needs_snapshot), (z(9), 9, false));
    let total = ["data/version-2/snapshot.0", &log_path(1), &log_path(4)]
        .map(|path| disk.read(path).unwrap().len() as u64)
        .iter()
        .sum();
    assert_eq!(ledger.progress, (total, total));
    // From a snapshot in the middle, then with a next log.
    save(&mut store, &Ledger { entries: expected.entries[..5].into(), ..expected.clone() }, z(5))
        .unwrap();
    let entry = txn(z(10), b"more");
    store.append(z(10), &entry).unwrap();
    store.sync().unwrap();
    let (_, ledger, restored) = restore(&disk).unwrap();
    assert_eq!((restored.snapshot, restored.txns), (Some(z(5)), 5));
    assert_eq!(ledger.end.last_zxid, Some(z(5)));
    assert_eq!(ledger.entries.len(), 10);
    assert_eq!(ledger.entries[..9], expected.entries);
    assert_eq!(restored.findings.count, 0);
}

#[test]
fn an_empty_directory_is_new_or_lost() {
    let lost = Options { db_autocreate: false, ..options() };
    let disk = Disk::new(1);
    let (_, _, restored) = restore(&disk).unwrap();
    assert_eq!((restored.zxid, restored.needs_snapshot), (Zxid::ZERO, true));
    let (_, _, restored) = restore_with(&disk, lost.clone()).unwrap();
    assert_eq!((restored.zxid, restored.needs_snapshot), (Zxid::NONE, false));
    // `initialize` makes it a new one, until there is a snapshot.
    disk.write(&format!("data/{INITIALIZE}"), b"");
    for _ in 0..2 {
        let (_, _, restored) = restore_with(&disk, lost.clone()).unwrap();
        assert_eq!((restored.zxid, restored.needs_snapshot), (Zxid::ZERO, true));
    }
    let (mut store, ledger, _) = restore_with(&disk, lost.clone()).unwrap();
    save(&mut store, &ledger, Zxid::ZERO).unwrap();
    assert_eq!(disk.paths(), ["data/version-2/snapshot.0"]);
    let (_, _, restored) = restore_with(&disk, lost.clone()).unwrap();
    assert_eq!((restored.zxid, restored.needs_snapshot), (Zxid::ZERO, false));
    // In a database that is not empty it is used up at once.
    disk.write(&format!("data/{INITIALIZE}"), b"");
    restore_with(&disk, lost).unwrap();
    assert_eq!(disk.paths(), ["data/version-2/snapshot.0"]);
}

#[test]
fn logs_without_snapshot_are_refused() {
    let (disk, expected) = disk_with(&[1..=3, 4..=6]);
    remove(&disk, "data/version-2/snapshot.0");
    assert!(matches!(refused(&disk), Error::LogsAlone { .. }));
    // Also if only the beginning of one record is there, and twice: nothing was repaired.
    let torn = disk.fork(1);
    remove(&torn, &log_path(1));
    cut(&torn, &log_path(4), 40);
    assert!(matches!(refused(&torn), Error::LogsAlone { .. }));
    assert!(matches!(refused(&torn), Error::LogsAlone { .. }));
    // Also in a log that one without a record hides, which is removed then.
    let hidden = disk.fork(1);
    hidden.write("data/version-2/log.0", &hidden.read(&log_path(1)).unwrap());
    remove(&hidden, &log_path(1));
    remove(&hidden, &log_path(4));
    hidden.write("data/version-2/log.1", b"ZKLG");
    let torn = hidden.fork(1);
    cut(&torn, "data/version-2/log.0", 40);
    for disk in [&hidden, &torn] {
        for _ in 0..2 {
            assert!(matches!(refused(disk), Error::LogsAlone { .. }));
        }
    }
    // An upgrade from 3.4.
    let trust = Options { trust_empty: true, ..options() };
    // What is hidden is seen before it would be at the next start.
    hidden.write("data/version-2/log.0", &disk.read(&log_path(4)).unwrap());
    for _ in 0..2 {
        match restore_with(&hidden, trust.clone()).err() {
            Some(Error::Gap { last: Zxid::ZERO, found, .. }) => assert_eq!(found, z(4)),
            other => panic!("{other:?}"),
        }
    }
    let (_, ledger, restored) = restore_with(&disk, trust).unwrap();
    assert_eq!(ledger.entries, expected.entries);
    assert_eq!((restored.zxid, restored.needs_snapshot), (z(6), true));
}

#[test]
fn a_bad_snapshot_gives_way_to_an_older_one() {
    let (disk, expected) = disk_with(&[1..=3, 4..=6]);
    let (mut store, ledger, _) = restore(&disk).unwrap();
    let name = format!("data/version-2/{}", save(&mut store, &ledger, z(6)).unwrap());
    let spoil: [&dyn Fn(&Disk); 4] = [
        // Empty, cut, with a wrong byte, with a wrong end.
        &|disk| disk.write(&name, b""),
        &|disk| cut(disk, &name, 60),
        &|disk| disk.flip(&name, 40, 1),
        &|disk| disk.flip(&name, disk.read(&name).unwrap().len() - 1, 1),
    ];
    for (case, spoil) in spoil.iter().enumerate() {
        let disk = disk.fork(1);
        spoil(&disk);
        let (_, ledger, restored) = restore(&disk).unwrap();
        assert_eq!(restored.snapshot, Some(Zxid::ZERO), "{case}");
        assert_eq!(ledger.entries, expected.entries, "{case}");
        let skipped = matches!(restored.findings.kept[..], [Finding::SnapshotSkipped { .. }]);
        assert_eq!(skipped, case == 2, "{case}: the others do not even look whole");
        // Without the older one, or without its logs, there is no way.
        let without = disk.fork(1);
        remove(&without, "data/version-2/snapshot.0");
        match case {
            2 => assert!(matches!(refused(&without), Error::NoSnapshot { tried: 1, .. })),
            _ => assert!(matches!(refused(&without), Error::LogsAlone { .. })),
        }
        remove(&disk, &log_path(1));
        match refused(&disk) {
            Error::Gap { last: Zxid::ZERO, found, .. } => assert_eq!(found, z(4), "{case}"),
            other => panic!("{case}: {other}"),
        }
    }
}

/// What a snapshot took the place of may be there again after a power cut; it is not all.
#[test]
fn a_bad_snapshot_does_not_give_way_to_less() {
    let (disk, _) = disk_with(&[1..=3]);
    let (mut store, ledger, _) = restore(&disk).unwrap();
    let name = format!("data/version-2/{}", save(&mut store, &ledger, z(4)).unwrap());
    assert_eq!(restore(&disk).unwrap().2.zxid, z(4));
    disk.flip(&name, 40, 1);
    let refused = refused(&disk);
    assert!(matches!(refused, Error::SnapshotLost { last, .. } if last == z(3)), "{refused}");
    for part in ["snapshot.100000004 ", "checksum", "0x100000003", "move version-2 away"] {
        assert!(refused.to_string().contains(part), "{refused}");
    }
    cut(&disk, &name, 60);
    let refused = self::refused(&disk).to_string();
    assert!(refused.contains("it is not whole"), "{refused}");
}

#[test]
fn a_loader_that_refuses_is_heard() {
    let (disk, _) = disk_with(&[1..=3]);
    let mut store = open(&disk, options()).unwrap();
    let mut full = Ledger {
        refuse: Some(Refusal::Stop("the node table is full".into())),
        ..Ledger::default()
    };
    match store.restore(&mut full).unwrap_err() {
        Error::Load { what, .. } => assert_eq!(what, "the node table is full"),
        other => panic!("{other}"),
    }
    // Unless what it refuses is not what was written.
    let (rotten, _) = disk_with(&[1..=3]);
    rotten.flip("data/version-2/snapshot.0", 20, 1);
    match open(&rotten, options()).unwrap().restore(&mut full).unwrap_err() {
        Error::NoSnapshot { newest, .. } => assert!(newest.contains("checksum"), "{newest}"),
        other => panic!("{other}"),
    }
    let mut sees_damage =
        Ledger { refuse: Some(Refusal::Damaged("bad".into())), ..Ledger::default() };
    let refused = store.restore(&mut sees_damage).unwrap_err();
    assert!(matches!(refused, Error::NoSnapshot { tried: 1, .. }), "{refused}");
    assert_eq!(refused.exit_code(), 1);
}

#[test]
fn a_torn_batch_is_cut_and_new_records_go_elsewhere() {
    let (disk, expected) = disk_with(&[1..=3, 4..=6]);
    let record = 13 + 72;
    cut(&disk, &log_path(4), 16 + 2 * record + 50);
    let (mut store, ledger, restored) = restore(&disk).unwrap();
    assert_eq!(ledger.entries, expected.entries[..5]);
    match &restored.findings.kept[..] {
        [Finding::Torn { offset, extent, damage: Damage::Short, .. }] => {
            assert_eq!((*offset, *extent), (16 + 2 * record as u64, 16 + 2 * record as u64 + 50));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(disk.read(&log_path(4)).unwrap().len(), 16 + 2 * record);
    store.append(z(6), &txn(z(6), b"again")).unwrap();
    store.sync().unwrap();
    let (_, ledger, restored) = restore(&disk).unwrap();
    assert_eq!((ledger.entries.len(), restored.findings.count), (6, 0));
    assert!(disk.read(&log_path(6)).is_some());
}

#[test]
fn an_empty_newest_log_is_removed_and_an_empty_older_one_refused() {
    for len in [0, 1, 15] {
        let (disk, expected) = disk_with(&[1..=3, 4..=6]);
        disk.write(&log_path(7), &b"ZKLG\0\0\0\x02\0\0\0\0\0\0\0\0"[..len]);
        let (_, ledger, _) = restore(&disk).unwrap();
        assert_eq!(ledger.entries, expected.entries);
        assert!(disk.read(&log_path(7)).is_none(), "{len}");
        cut(&disk, &log_path(1), len);
        let refused = refused(&disk);
        assert!(matches!(refused, Error::Rot { offset: 0, .. }), "{refused}");
    }
}

/// A log is named by its first transaction, so even one that holds none shows what came before it.
/// Accepted today, it would be refused tomorrow, behind transactions that were acknowledged meanwhile.
#[test]
fn the_name_of_a_log_shows_what_is_missing_before_it() {
    let header = b"ZKLG\0\0\0\x02\0\0\0\0\0\0\0\0";
    for content in [&header[..], &[&header[..], &[0; 100]].concat()] {
        let (disk, _) = disk_with(&[]);
        disk.write(&log_path(7), content);
        match refused(&disk) {
            Error::Gap { path, last, found, .. } => {
                assert_eq!((last, found), (Zxid::ZERO, z(7)));
                assert!(path.ends_with(super::super::name::log(z(7))));
            }
            other => panic!("{other}"),
        }
        // It may be the snapshot that is missing.
        remove(&disk, "data/version-2/snapshot.0");
        assert!(matches!(refused(&disk), Error::LogsAlone { .. }));
        // Directly behind the snapshot it is merely empty.
        let (disk, expected) = disk_with(&[1..=3]);
        disk.write(&log_path(4), content);
        assert_eq!(restore(&disk).unwrap().1.entries, expected.entries);
    }
}

/// What a log holds below its own name was never looked at, and the first transaction that follows
/// would have to be written over it.
#[test]
fn a_log_does_not_begin_before_its_name() {
    for (base, name) in [(0, 1), (2, 3)] {
        let (disk, _) = disk_with(&[1..=base]);
        let mut store = open(&disk, options()).unwrap();
        store.append(z(name), &txn(z(name), b"right")).unwrap();
        store.sync().unwrap();
        let mut log = disk.read(&log_path(name)).unwrap();
        // The same record, of the transaction before, with its own checksum.
        let entry = txn(z(name - 1), b"right");
        log[16..24].copy_from_slice(&i64::from(adler2::adler32_slice(&entry)).to_be_bytes());
        log[28..28 + entry.len()].copy_from_slice(&entry);
        disk.write(&log_path(name), &log);
        match refused(&disk) {
            Error::Rot { damage, .. } => assert_eq!(damage, Damage::Name(z(name - 1))),
            other => panic!("{other}"),
        }
    }
}

/// Reading only changes nothing, and tells the same.
#[test]
fn reading_only_leaves_all_as_it_is() {
    let (disk, expected) = disk_with(&[1..=3]);
    cut(&disk, &log_path(1), 150);
    let before = disk.operations();
    let (_, ledger, restored) =
        restore_with(&disk, Options { read_only: true, ..options() }).unwrap();
    assert_eq!(ledger.entries, expected.entries[..1]);
    assert!(matches!(restored.findings.kept[..], [Finding::Torn { .. }]));
    assert_eq!(disk.operations(), before);
    assert_eq!(disk.read(&log_path(1)).unwrap().len(), 150);
}

/// Apache leaves a torn tail behind and goes on with another file: nothing is missing then.
#[test]
fn a_torn_tail_in_an_older_log_is_accepted_if_nothing_is_missing() {
    let (disk, mut expected) = disk_with(&[1..=3, 4..=6]);
    let record = 13 + 72;
    // Record 4 was torn in the first log and written anew into the second.
    let mut first = disk.read(&log_path(1)).unwrap();
    let torn = 16 + 3 * record..16 + 3 * record + 30;
    first[torn.clone()].copy_from_slice(&disk.read(&log_path(4)).unwrap()[16..46]);
    disk.write(&log_path(1), &first);
    let (_, ledger, restored) = restore(&disk).unwrap();
    assert_eq!(ledger.entries, expected.entries);
    assert!(matches!(restored.findings.kept[..], [Finding::PartialTail { .. }]));
    assert_eq!(disk.read(&log_path(1)).unwrap(), first, "it is left alone");
    // The file may also simply end there.
    cut(&disk, &log_path(1), torn.end);
    restore(&disk).unwrap();
    // A new epoch may begin there as well; only its digest shows what was lost before it.
    let disk = disk.fork(1);
    remove(&disk, &log_path(4));
    let mut store = open(&disk, options()).unwrap();
    expected.entries.truncate(3);
    let first_of_epoch = Zxid::new(Epoch(2), 1);
    let entry = txn(first_of_epoch, b"epoch");
    store.append(first_of_epoch, &entry).unwrap();
    store.sync().unwrap();
    expected.add(first_of_epoch, &entry);
    let (_, ledger, restored) = restore(&disk).unwrap();
    assert_eq!(ledger.entries, expected.entries);
    assert!(matches!(restored.findings.kept[..], [Finding::PartialTail { .. }]));
    let mut differs = Ledger { wrong: Some(first_of_epoch), ..Ledger::default() };
    match open(&disk, options()).unwrap().restore(&mut differs).unwrap_err() {
        Error::Rot { path, last, .. } => {
            assert!(path.ends_with(log_path(1)), "{}", path.display());
            assert_eq!(last, z(3));
        }
        other => panic!("{other}"),
    }
    // One that comes later is nothing that the end of that log could explain, unless it is the first.
    for (digest, explains) in [(true, false), (false, true)] {
        let disk = disk.fork(1);
        remove(&disk, &format!("data/version-2/{}", crate::store::name::log(first_of_epoch)));
        let mut store = open(&disk, options()).unwrap();
        let second = first_of_epoch.successor();
        for (zxid, digest) in [(first_of_epoch, digest), (second, true)] {
            store.append(zxid, &session(zxid, digest)).unwrap();
        }
        store.sync().unwrap();
        differs.wrong = Some(second);
        let restored = open(&disk, options()).unwrap().restore(&mut differs);
        assert_eq!(restored.is_err(), explains, "{restored:?}");
    }
}

/// A session is opened, with or without a digest behind it.
fn session(zxid: Zxid, digest: bool) -> Vec<u8> {
    let (client_id, cxid, op) = (SessionId(1), Xid(0), OpCode::CreateSession);
    let header = TxnHeader { client_id, cxid, zxid, time: 1, op };
    let mut txn = vec![];
    jute::write(&(header, CreateSessionTxn { timeout: 1 }), &mut txn).unwrap();
    if digest {
        jute::write(&TxnDigest { version: TxnDigest::VERSION, tree_digest: 1 }, &mut txn).unwrap();
    }
    txn
}

#[test]
fn missing_transactions_are_refused() {
    // A file is missing.
    let (disk, _) = disk_with(&[1..=3, 4..=6, 7..=9]);
    remove(&disk, &log_path(4));
    match refused(&disk) {
        Error::Gap { last, found, .. } => assert_eq!((last, found), (z(3), z(7))),
        other => panic!("{other}"),
    }
    let (_, ledger, restored) =
        restore_with(&disk, Options { accept_gaps: true, ..options() }).unwrap();
    assert_eq!(ledger.entries.len(), 6);
    // Between files and at the first record.
    assert!(matches!(restored.findings.kept[..], [Finding::Gap { .. }, Finding::Gap { .. }]));
    // Records are missing within a file.
    let (disk, _) = disk_with(&[1..=3, 5..=6]);
    assert!(matches!(refused(&disk), Error::Gap { .. }));
    let (disk, _) = disk_with(&[1..=3]);
    let mut store = open(&disk, options()).unwrap();
    for zxid in [z(4), z(6)] {
        store.append(zxid, &txn(zxid, b"")).unwrap();
    }
    store.sync().unwrap();
    match refused(&disk) {
        Error::Gap { last, found, offset, .. } => {
            assert_eq!((last, found, offset), (z(4), z(6), 16 + 13 + 32));
        }
        other => panic!("{other}"),
    }
    // An epoch that does not begin with its first transaction.
    let (disk, _) = disk_with(&[1..=3]);
    let mut store = open(&disk, options()).unwrap();
    let zxid = Zxid::new(Epoch(2), 2);
    store.append(zxid, &txn(zxid, b"")).unwrap();
    store.sync().unwrap();
    assert!(matches!(refused(&disk), Error::Gap { .. }));
    // Covered by a snapshot, it does not matter.
    save(&mut store, &Ledger::default(), Zxid::new(Epoch(2), 1)).unwrap();
    restore(&disk).unwrap();
}

/// Its name would come before those of the logs that hold what is written next.
#[test]
fn a_log_without_a_record_behind_an_accepted_gap_is_removed() {
    let (disk, _) = disk_with(&[1..=3]);
    disk.write(&log_path(7), b"ZKLG\0\0\0\x02\0\0\0\0\0\0\0\0");
    let accept = Options { accept_gaps: true, ..options() };
    let (mut store, mut ledger, restored) = restore_with(&disk, accept.clone()).unwrap();
    assert_eq!(restored.zxid, z(3));
    for counter in 4..=9 {
        let entry = txn(z(counter), b"");
        store.append(z(counter), &entry).unwrap();
        ledger.add(z(counter), &entry);
        store.sync().unwrap();
        if counter == 7 {
            save(&mut store, &ledger, z(7)).unwrap();
        }
    }
    let (_, again, restored) = restore_with(&disk, accept).unwrap();
    assert_eq!((restored.zxid, again.entries.len()), (z(9), ledger.entries.len()));
}

#[test]
fn repeated_transactions_are_reported_and_loaded() {
    let (disk, _) = disk_with(&[1..=5, 3..=6]);
    let (mut store, ledger, restored) = restore(&disk).unwrap();
    let counters = |ledger: &Ledger| -> Vec<_> {
        ledger.entries.iter().map(|(zxid, _)| zxid.counter()).collect()
    };
    assert_eq!(counters(&ledger), [1, 2, 3, 4, 5, 3, 4, 5, 6]);
    assert_eq!(restored.zxid, z(6));
    match &restored.findings.kept[..] {
        [Finding::OutOfOrder { zxid, after, .. }] => assert_eq!((*zxid, *after), (z(3), z(5))),
        other => panic!("{other:?}"),
    }
    // The end is cut off all logs that have it.
    store.truncate(z(4)).unwrap();
    let mut left = Ledger::default();
    assert_eq!(store.restore(&mut left).unwrap().zxid, z(4));
    assert_eq!(counters(&left), [1, 2, 3, 4, 3, 4]);
}

/// A sector of another log, read in place of one of the newest, may begin where a record does.
#[test]
fn what_repeats_an_earlier_part_and_breaks_off_in_it_is_refused() {
    let record = 13 + 72;
    let torn = |whole: usize| {
        let (disk, _) = disk_with(&[1..=5, 3..=6]);
        cut(&disk, &log_path(3), 16 + whole * record + 50);
        disk
    };
    for whole in [1, 2] {
        let refused = refused(&torn(whole));
        assert!(matches!(refused, Error::Rot { .. }), "{refused}");
    }
    // It has come back to where it was.
    let (_, _, restored) = restore(&torn(3)).unwrap();
    assert_eq!(restored.zxid, z(5));
}

#[test]
fn directories_are_checked() {
    let disk = Disk::new(1);
    let strict = Options { datadir_autocreate: false, ..options() };
    let refused = open(&disk, strict.clone()).unwrap_err();
    assert_eq!(refused.exit_code(), 3);
    assert!(refused.to_string().contains("create this directory manually"), "{refused}");
    open(&disk, options()).unwrap();
    open(&disk, strict).unwrap();
    // The files of one in the other.
    let (data, logs) = (disk.root().join("data"), disk.root().join("logs"));
    Store::open(data.clone(), logs.clone(), options()).unwrap();
    for (path, what) in [
        ("logs/version-2/snapshot.0", "Log directory has snapshot files"),
        ("data/version-2/log.1", "Snapshot directory has log files"),
    ] {
        disk.write(path, b"");
        let refused = Store::open(data.clone(), logs.clone(), options()).unwrap_err();
        assert_eq!(refused.exit_code(), 3);
        assert!(refused.to_string().contains(what), "{refused}");
        remove(&disk, path);
    }
    Store::open(data, logs, options()).unwrap();
}

#[test]
fn logs_and_snapshots_may_be_apart() {
    let disk = Disk::new(1);
    let (data, logs) = (disk.root().join("data"), disk.root().join("logs"));
    let mut store = Store::open(data.clone(), logs.clone(), options()).unwrap();
    let mut ledger = Ledger::default();
    store.restore(&mut ledger).unwrap();
    save(&mut store, &ledger, Zxid::ZERO).unwrap();
    store.append(z(1), &txn(z(1), b"x")).unwrap();
    store.roll().unwrap();
    assert!(disk.read("data/version-2/snapshot.0").is_some());
    assert!(disk.read("logs/version-2/log.100000001").is_some());
    let mut store = Store::open(data, logs, options()).unwrap();
    assert_eq!(store.restore(&mut ledger).unwrap().zxid, z(1));
}

#[test]
fn a_real_directory_does_the_same() {
    let root = tempfile::tempdir().unwrap();
    let data = crate::store::OsDirectory::new(root.path()).join("data");
    let with = Options { reserve: 10_000, ..options() };
    let mut store = Store::open(data.clone(), data.clone(), with.clone()).unwrap();
    let mut ledger = Ledger::default();
    assert!(store.restore(&mut ledger).unwrap().needs_snapshot);
    let mut writer = store.begin_snapshot(Zxid::ZERO).unwrap();
    writer.write(&ledger.to_body()).unwrap();
    writer.finish(None, None).unwrap();
    for counter in 1..=6 {
        let entry = txn(z(counter), &[3; 5000]);
        store.append(z(counter), &entry).unwrap();
        ledger.add(z(counter), &entry);
        if counter % 2 == 0 {
            store.roll().unwrap();
        } else {
            store.sync().unwrap();
            store.idle().unwrap();
        }
    }
    assert!(store.has_reserve());
    drop(store);
    let mut store = Store::open(data.clone(), data.clone(), with).unwrap();
    let mut found = Ledger::default();
    assert_eq!(store.restore(&mut found).unwrap().findings.count, 0);
    assert_eq!(found.entries, ledger.entries);
    store.truncate(z(3)).unwrap();
    assert_eq!(store.restore(&mut found).unwrap().zxid, z(3));
    assert!(store.purge(3, None).unwrap().is_empty());
    store.set_current_epoch(Epoch(1)).unwrap();
    let mut names = data.join("version-2").list().unwrap();
    names.sort();
    let expected = ["currentEpoch", "log.100000001", "log.100000003", "snapshot.0", "zk.reserve"];
    assert_eq!(names, expected);
}

#[test]
fn a_hint_tells_rot_from_a_torn_batch() {
    let (disk, expected) = disk_with(&[]);
    let mut store = open(&disk, options()).unwrap();
    for counter in 1..=4 {
        store.append(z(counter), &txn(z(counter), &[0; 2000])).unwrap();
        store.sync().unwrap();
        if counter == 2 {
            store.idle().unwrap();
        }
    }
    drop(expected);
    let record = 13 + 32 + 2000;
    // Whole sectors of zeros, as a torn batch leaves them.
    let wipe = |counter: usize| {
        let disk = disk.fork(1);
        let mut bytes = disk.read(&log_path(1)).unwrap();
        let at = 16 + (counter - 1) * record;
        bytes[at + 20..at + 1800].fill(0);
        disk.write(&log_path(1), &bytes);
        disk
    };
    for counter in [3, 4] {
        let (_, ledger, restored) = restore(&wipe(counter)).unwrap();
        assert_eq!(ledger.entries.len(), counter - 1);
        assert!(matches!(restored.findings.kept[..], [Finding::Torn { .. }]));
    }
    for counter in [1, 2] {
        match refused(&wipe(counter)) {
            Error::Rot { last, damage: Damage::Checksum, .. } => {
                assert_eq!(last, if counter == 1 { Zxid::ZERO } else { z(1) });
            }
            other => panic!("{other}"),
        }
    }
    // Zeros to the end.
    let disk2 = disk.fork(1);
    let mut bytes = disk2.read(&log_path(1)).unwrap();
    bytes[16 + record..].fill(0);
    disk2.write(&log_path(1), &bytes);
    assert!(matches!(refused(&disk2), Error::Rot { damage: Damage::BelowHint, .. }));
    // A file that was cut between two records was truncated on purpose; that is reported.
    cut(&disk, &log_path(1), 16 + record);
    let (_, ledger, restored) = restore(&disk).unwrap();
    assert_eq!(ledger.entries.len(), 1);
    match restored.findings.kept[..] {
        [Finding::BehindHint { synced, last }] => assert_eq!((synced, last), (z(2), z(1))),
        ref other => panic!("{other:?}"),
    }
}

/// A crash can only damage the last batch.
#[test]
fn damage_far_from_the_end_is_rot() {
    let small = Options { batch_max: 4000, record_max: 2000, ..options() };
    let (disk, _) = disk_with(&[]);
    let mut store = open(&disk, small.clone()).unwrap();
    for counter in 1..=8 {
        store.append(z(counter), &txn(z(counter), &[1; 1500])).unwrap();
        store.sync().unwrap();
    }
    let record = 13 + 32 + 1500;
    for counter in 1..=8 {
        let disk = disk.fork(1);
        let mut bytes = disk.read(&log_path(1)).unwrap();
        let at = 16 + (counter - 1) * record;
        bytes[at + 20..at + 1400].fill(0);
        disk.write(&log_path(1), &bytes);
        let left = (9 - counter) * record;
        match restore_with(&disk, small.clone()) {
            Ok((_, ledger, _)) => {
                assert!(left <= 4016);
                assert_eq!(ledger.entries.len(), counter - 1);
            }
            Err(Error::Rot { offset, .. }) => {
                assert!(left > 4016);
                assert_eq!(offset, at as u64);
            }
            Err(other) => panic!("{other}"),
        }
    }
}

#[test]
fn purging_leaves_what_is_needed() {
    let (disk, ledger) = disk_with(&[1..=3, 4..=6, 7..=9, 10..=12]);
    let mut store = open(&disk, options()).unwrap();
    for at in [2, 5, 6, 9, 11] {
        let until = Ledger { entries: ledger.entries[..at].into(), ..Ledger::default() };
        save(&mut store, &until, z(at as u32)).unwrap();
    }
    // One that does not look whole is not counted.
    disk.write("data/version-2/snapshot.10000000c", b"rubbish");
    assert_eq!(store.purge(1, Some(z(5))).unwrap().len(), 3, "two snapshots and a log");
    let removed = store.purge(1, None).unwrap();
    assert_eq!(removed.len(), 1, "{removed:?}");
    let expected: Vec<_> = ["log.100000004", "log.100000007", "log.10000000a"]
        .into_iter()
        .chain(["snapshot.100000006", "snapshot.100000009", "snapshot.10000000b"])
        .chain(["snapshot.10000000c"])
        .map(|name| format!("data/version-2/{name}"))
        .collect();
    assert_eq!(disk.paths(), expected);
    // From each of the three the whole can be restored.
    for at in [11, 9, 6] {
        let (_, restored, _) = restore(&disk).unwrap();
        assert_eq!((&restored.entries, restored.base), (&ledger.entries, Some(z(at))));
        remove(&disk, &format!("data/version-2/snapshot.{:x}", z(at).0));
    }
}

#[test]
fn epochs_are_derived_checked_and_repaired() {
    let zxid = Zxid::new(Epoch(5), 1);
    let file = |name: &str| format!("data/version-2/{name}");
    let text =
        |disk: &Disk, name: &str| String::from_utf8(disk.read(&file(name)).unwrap()).unwrap();
    let with = |files: &[(&str, &str)]| {
        let disk = Disk::new(1);
        for (name, content) in files {
            disk.write(&file(name), content.as_bytes());
        }
        let epochs = open(&disk, options()).unwrap().epochs(zxid);
        (disk, epochs.map(|Epochs { current, accepted }| (current.0, accepted.0)))
    };
    let (disk, epochs) = with(&[]);
    assert_eq!(epochs.unwrap(), (5, 5));
    assert_eq!(
        (text(&disk, "currentEpoch"), text(&disk, "acceptedEpoch")),
        ("5".into(), "5".into())
    );
    assert_eq!(with(&[("currentEpoch", "6"), ("acceptedEpoch", "7\n")]).1.unwrap(), (6, 7));
    for (current, accepted) in [("4", "4"), ("6", "5"), ("x", "7"), ("", "7"), ("6", "4294967296")]
    {
        let refused =
            with(&[("currentEpoch", current), ("acceptedEpoch", accepted)]).1.unwrap_err();
        assert!(matches!(refused, Error::Number { .. }), "{current} {accepted}");
    }
    // A crash between the history of a new epoch and its file.
    for accepted in ["5", "7"] {
        let (disk, epochs) = with(&[("currentEpoch", "4"), ("acceptedEpoch", accepted)]);
        assert_eq!(epochs.unwrap(), (5, accepted.parse().unwrap()));
        assert_eq!(text(&disk, "currentEpoch"), "5");
    }
    // As Apache leaves it.
    let with_left = |accepted, left| {
        let files =
            [("currentEpoch", "4"), ("acceptedEpoch", accepted), ("currentEpoch.tmp", left)];
        with(&files)
    };
    let (disk, epochs) = with_left("5", "5");
    assert_eq!(epochs.unwrap(), (5, 5));
    assert_eq!(text(&disk, "currentEpoch"), "5");
    assert!(disk.read(&file("currentEpoch.tmp")).is_none());
    for left in ["4", "5", "", "rubbish"] {
        assert!(with_left("4", left).1.is_err(), "{left}");
    }
    // What Apache writes beside an empty database.
    let disk = Disk::new(1);
    disk.write(&file("currentEpoch"), b"-1");
    disk.write(&file("acceptedEpoch"), b"-1");
    let epochs = open(&disk, options()).unwrap().epochs(Zxid::NONE).unwrap();
    assert_eq!(epochs, Epochs { current: Epoch(0), accepted: Epoch(0) });
}

#[test]
fn my_id_is_read_and_written() {
    let disk = Disk::new(1);
    let data = disk.root().join("data");
    let store = open(&disk, options()).unwrap();
    assert_eq!(store.my_id().unwrap(), None);
    crate::store::epochs::set_my_id(&data, ServerId(7)).unwrap();
    assert_eq!(store.my_id().unwrap(), Some(ServerId(7)));
    disk.write("data/myid", b" 12 \nrest");
    assert_eq!(store.my_id().unwrap(), Some(ServerId(12)));
    disk.write("data/myid", b"one");
    assert!(matches!(store.my_id(), Err(Error::Number { .. })));
}

#[test]
fn trailers_may_be_missing_or_old() {
    let (disk, _) = disk_with(&[]);
    let mut store = open(&disk, options()).unwrap();
    let body = Ledger::default().to_body();
    let digest = |zxid| SnapshotDigest { zxid, version: 2, tree_digest: -5 };
    for (given, last, kept) in [
        (None, None, None),
        (None, Some(z(9)), None),
        (Some(digest(z(1))), None, Some(digest(z(1)))),
        (Some(digest(z(3))), Some(z(9)), Some(digest(z(3)))),
        // Empty, and below the snapshot.
        (Some(digest(Zxid::ZERO)), Some(z(9)), None),
        (Some(digest(Zxid(5))), None, None),
    ] {
        let mut writer = store.begin_snapshot(z(1)).unwrap();
        writer.write(&body).unwrap();
        writer.finish(given, last).unwrap();
        let (_, ledger, restored) = restore(&disk).unwrap();
        assert_eq!(restored.snapshot, Some(z(1)));
        assert_eq!(ledger.end, SnapshotEnd { digest: kept, last_zxid: last });
    }
    // A body without an end is none.
    let mut writer = store.begin_snapshot(z(2)).unwrap();
    writer.write(&body[..body.len() - 1]).unwrap();
    assert!(matches!(writer.finish(None, None), Err(Error::Snapshot { .. })));
    let mut writer = store.begin_snapshot(z(2)).unwrap();
    writer.write(&body).unwrap();
    writer.abort();
    assert_eq!(disk.paths().len(), 2, "{:?}", disk.paths());
}

#[test]
fn a_snapshot_cannot_ask_for_more_than_the_limit() {
    let (disk, _) = disk_with(&[]);
    let small = Options { record_max: 1000, compression: Compression::Gzip, ..options() };
    let limit = small.snapshot_record_max();
    let mut store = open(&disk, small.clone()).unwrap();
    // A hundred thousand times its compressed size, in one node.
    let mut body = vec![0; 8];
    let data = vec![0; 4 * limit];
    let node = SnapshotNode { data: Buffer::new(&data), acl: -1, stat: Default::default() };
    jute::write(&(Ustring::new(b""), node), &mut body).unwrap();
    jute::write(&END, &mut body).unwrap();
    let mut writer = store.begin_snapshot(z(1)).unwrap();
    writer.write(&body).unwrap();
    writer.finish(None, None).unwrap();
    match open(&disk, small).unwrap().restore(&mut Ledger::default()).unwrap_err() {
        Error::SnapshotLost { why, .. } => assert!(why.contains("are allowed"), "{why}"),
        other => panic!("{other}"),
    }
}

#[test]
fn errors_say_where_and_what_to_do() {
    let (disk, _) = disk_with(&[1..=3]);
    disk.flip(&log_path(1), 16 + 85 + 50, 1);
    let rot = refused(&disk).to_string();
    for part in ["log.100000001", "offset 101", "0x100000001", "checksum", "move version-2 away"] {
        assert!(rot.contains(part), "{rot}");
    }
    let full = std::io::Error::from(std::io::ErrorKind::QuotaExceeded);
    assert!(error::is_full(&full));
    assert!(disk.root().open("data/version-2/snapshot.0").unwrap().len().unwrap() > 0);
}
