//! Power cuts anywhere: what was acknowledged is there, what was not is there in order or not at
//! all.

use super::*;
use crate::store::purge::KEEP_MIN;
use crate::store::{Finding, epochs};

/// A payload with sectors of zeros, of anything, and of the bytes that end records.
fn payload(rng: &mut Rng) -> Vec<u8> {
    let max = if rng.below(8) == 0 { 6000 } else { 300 };
    let len = rng.below(max) as usize;
    match rng.below(3) {
        0 => vec![0; len],
        1 => vec![b'B'; len],
        _ => (0..len).map(|_| rng.next_u64() as u8).collect(),
    }
}

/// A server's life between two power cuts. Returns what it appended beyond what it was told was
/// durable.
fn live(disk: &Disk, rng: &mut Rng, durable: &mut Ledger) -> Result<(), Box<(Ledger, Error)>> {
    let fail = |durable: &Ledger| {
        let durable = durable.clone();
        move |e| Box::new((durable, e))
    };
    let (mut store, ledger, restored) = restore(disk).map_err(fail(durable))?;
    // Checked by the caller through `durable`, which it has set to what this finds.
    assert_eq!(ledger.entries, durable.entries);
    let mut appended = durable.clone();
    if restored.needs_snapshot {
        save(&mut store, &ledger, restored.zxid).map_err(fail(durable))?;
    }
    for _ in 0..rng.below(30) {
        let last = appended.entries.last().map_or(Zxid::ZERO, |&(zxid, _)| zxid);
        match rng.below(12) {
            0 => store.roll().map(|()| durable.clone_from(&appended)),
            1 => store.idle(),
            2 => {
                // Only what is durable was applied.
                let zxid = durable.entries.last().map_or(Zxid::ZERO, |&(zxid, _)| zxid);
                save(&mut store, durable, zxid).map(drop)
            }
            3 => store.purge(KEEP_MIN, None).map(drop),
            _ => {
                let mut result = Ok(());
                for i in 0..=rng.below(5) {
                    let zxid = Zxid(last.0 + 1 + i as i64);
                    let entry = txn(zxid, &payload(rng));
                    result = store.append(zxid, &entry);
                    appended.add(zxid, &entry);
                    if result.is_err() {
                        break;
                    }
                }
                result.and_then(|()| store.sync()).map(|()| durable.clone_from(&appended))
            }
        }
        .map_err(fail(&appended))?;
    }
    Ok(())
}

#[test]
fn acknowledged_transactions_survive_every_crash() {
    let (mut torn, mut kept, mut crashes) = (0, 0, 0);
    for seed in 0..2000 {
        let disk = Disk::new(seed);
        let mut rng = Rng::new(seed ^ 0x5eed);
        disk.set_short_reads(rng.coin());
        let mut durable = Ledger::default();
        for life in 0..5 {
            disk.cut_power_after(rng.below(120) + 1);
            let appended = match live(&disk, &mut rng, &mut durable) {
                Ok(()) => durable.clone(),
                Err(failed) => {
                    let (appended, error) = *failed;
                    let expected = matches!(
                        error,
                        Error::Io { .. } | Error::Stopped { .. } | Error::Directory { .. }
                    );
                    assert!(expected, "{error}");
                    appended
                }
            };
            disk.crash();
            crashes += 1;
            let (_, found, restored) =
                restore(&disk).unwrap_or_else(|e| panic!("seed {seed}, life {life}: {e}"));
            let about = format!("seed {seed}, life {life}, {restored:?}");
            assert!(found.entries.starts_with(&durable.entries), "lost: {about}");
            assert!(appended.entries.starts_with(&found.entries), "false: {about}");
            for finding in &restored.findings.kept {
                assert!(matches!(finding, Finding::Torn { .. }), "{about}");
                torn += 1;
            }
            kept += usize::from(found.entries.len() > durable.entries.len());
            durable.entries = found.entries;
        }
    }
    assert!(torn > 300 && kept > 150, "{torn} torn, {kept} kept more, of {crashes}");
}

/// Runs `f` with the power cut after each of its operations in turn, and `check` after each.
fn at_every_operation(
    disk: &Disk,
    f: impl Fn(&Disk) -> Result<(), Error>,
    check: impl Fn(&Disk, bool, u64),
) {
    for operations in 1.. {
        for seed in 0..8 {
            let disk = disk.fork(seed);
            disk.cut_power_after(operations);
            let done = f(&disk).is_ok();
            disk.crash();
            check(&disk, done, operations);
            if done && seed == 7 {
                return;
            }
        }
    }
}

#[test]
fn an_epoch_is_the_old_or_the_new_one() {
    let disk = Disk::new(1);
    open(&disk, options()).unwrap().epochs(z(1)).unwrap();
    at_every_operation(
        &disk,
        |disk| open(disk, options())?.set_current_epoch(Epoch(12)),
        |disk, done, at| {
            disk.write("data/version-2/acceptedEpoch", b"99");
            let epochs = open(disk, options()).unwrap().epochs(z(1)).unwrap();
            assert!(epochs.current == Epoch(12) || !done && epochs.current == Epoch(1), "{at}");
        },
    );
    at_every_operation(
        &Disk::new(1),
        |disk| epochs::set_my_id(&disk.root().join("data"), zk_core::id::ServerId(3)),
        |disk, done, at| {
            let id = epochs::my_id(&disk.root().join("data")).unwrap();
            assert!(id.is_some_and(|id| id.0 == 3) || !done && id.is_none(), "{at}");
        },
    );
}

#[test]
fn a_truncated_history_has_no_holes() {
    let (disk, expected) = disk_with(&[1..=3, 4..=6, 7..=9, 10..=12]);
    let mut store = open(&disk, options()).unwrap();
    for at in [5, 8, 11] {
        let until = Ledger { entries: expected.entries[..at].into(), ..Ledger::default() };
        save(&mut store, &until, z(at as u32)).unwrap();
    }
    for to in [4, 6, 7] {
        at_every_operation(
            &disk,
            |disk| open(disk, options())?.truncate(z(to)),
            |disk, done, at| {
                let (mut store, ledger, restored) =
                    restore(disk).unwrap_or_else(|e| panic!("{at}: {e}"));
                let left = ledger.entries.len();
                assert_eq!(ledger.entries, expected.entries[..left], "{at}");
                assert!(left >= to as usize, "{at}");
                assert!(!done || left == to as usize, "{at}: {restored:?}");
                store.truncate(z(to)).unwrap();
                assert_eq!(store.restore(&mut Ledger::default()).unwrap().zxid, z(to), "{at}");
            },
        );
    }
}

#[test]
fn a_purged_directory_restores() {
    let (disk, expected) = disk_with(&[1..=3, 4..=6, 7..=9, 10..=12]);
    let mut store = open(&disk, options()).unwrap();
    for at in [2, 5, 8, 9, 11] {
        let until = Ledger { entries: expected.entries[..at].into(), ..Ledger::default() };
        save(&mut store, &until, z(at as u32)).unwrap();
    }
    at_every_operation(
        &disk,
        |disk| open(disk, options())?.purge(KEEP_MIN, None).map(drop),
        |disk, _, at| {
            let (_, ledger, restored) = restore(disk).unwrap();
            assert_eq!(
                (ledger.entries, restored.findings.count),
                (expected.entries.clone(), 0),
                "{at}"
            );
        },
    );
}

#[test]
fn a_snapshot_is_whole_or_not_there() {
    let (disk, expected) = disk_with(&[1..=5]);
    at_every_operation(
        &disk,
        |disk| {
            let mut store = open(disk, options())?;
            save(&mut store, &expected, z(5)).map(drop)
        },
        |disk, done, at| {
            let (_, ledger, restored) = restore(disk).unwrap();
            assert_eq!(ledger.entries, expected.entries, "{at}");
            assert_eq!(restored.findings.count, 0, "{at}");
            assert!(!done || restored.snapshot == Some(z(5)), "{at}");
            assert!(disk.paths().iter().all(|path| !path.ends_with(".tmp")), "{:?}", disk.paths());
        },
    );
}

/// At every moment there is the old history or the new one.
#[test]
fn a_snapshot_is_installed_wholly_or_not_at_all() {
    let (disk, old) = disk_with(&[1..=3, 4..=6, 7..=9]);
    let mut store = open(&disk, options()).unwrap();
    for at in [5, 8] {
        let until = Ledger { entries: old.entries[..at].into(), ..Ledger::default() };
        save(&mut store, &until, z(at as u32)).unwrap();
    }
    store.restore(&mut Ledger::default()).unwrap();
    store.idle().unwrap();
    let mut new = Ledger::default();
    new.add(z(1), b"another");
    // Behind what is there, inside of it, where a snapshot is, and before.
    for at in [z(12), z(6), z(5), Zxid::ZERO] {
        let (olds, news) = (core::cell::Cell::new(0), core::cell::Cell::new(0));
        at_every_operation(
            &disk,
            |disk| {
                let mut store = open(disk, options())?;
                store.restore(&mut Ledger::default())?;
                let mut writer = store.begin_install(at)?;
                writer.write(&new.to_body())?;
                let received = store.receive(writer)?;
                store.install(received)
            },
            |disk, done, operation| {
                // Whoever was interrupted may be interrupted again.
                disk.cut_power_after(operation % 7 + 1);
                let again = open(disk, options()).is_ok();
                disk.crash();
                let (_, found, restored) =
                    restore(disk).unwrap_or_else(|e| panic!("{at} {operation} {again}: {e}"));
                assert_eq!(restored.findings.count, 0, "{at} {operation}: {restored:?}");
                if found.entries == new.entries {
                    assert_eq!(restored.zxid, at);
                    let path = format!("data/version-2/snapshot.{:x}", at.0);
                    assert_eq!(disk.paths(), [path], "{operation}");
                    news.set(news.get() + 1);
                } else {
                    assert_eq!(found.entries, old.entries, "{at} {operation}");
                    assert_eq!(restored.zxid, z(9));
                    assert!(!done);
                    olds.set(olds.get() + 1);
                }
                assert!(disk.paths().iter().all(|path| !path.contains("install")));
            },
        );
        assert!(olds.get() > 20 && news.get() > 20, "{at}: {olds:?} {news:?}");
    }
}

/// Cutting a torn batch is itself cut short.
#[test]
fn a_repair_can_be_repeated() {
    for seed in 0..20 {
        let (disk, mut expected) = disk_with(&[1..=3]);
        let disk = disk.fork(seed);
        let (mut store, ..) = restore(&disk).unwrap();
        let synced = txn(z(4), b"synced");
        store.append(z(4), &synced).unwrap();
        store.sync().unwrap();
        expected.add(z(4), &synced);
        for counter in 5..=8 {
            store.append(z(counter), &txn(z(counter), &[0xee; 700])).unwrap();
        }
        // Written, and the power fails before it is synced.
        disk.cut_power_after(1);
        store.sync().unwrap_err();
        disk.crash();
        at_every_operation(
            &disk,
            |disk| restore(disk).map(drop),
            |disk, _, at| {
                let (_, ledger, _) = restore(disk).unwrap();
                assert!(ledger.entries.starts_with(&expected.entries), "{seed} {at}");
            },
        );
    }
}
