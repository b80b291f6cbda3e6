//! Every byte flipped, every length cut: no panic, no false record, nothing that was synced lost
//! without a word.

use proptest::prelude::*;

use super::*;
use crate::store::{Compression, Finding};

/// Logs of one record each size, the last two in one file.
fn sample(logs: &[core::ops::RangeInclusive<u32>]) -> (Disk, Ledger) {
    let disk = Disk::new(1);
    let mut store = open(&disk, Options { preallocate: 1024, ..options() }).unwrap();
    let mut ledger = Ledger::default();
    save(&mut store, &ledger, Zxid::ZERO).unwrap();
    for counters in logs {
        for counter in counters.clone() {
            // Some of the payload is zero, but no sector of it.
            let payload: Vec<u8> =
                (0..counter * 90).map(|i| if i % 11 < 4 { 0 } else { i as u8 }).collect();
            let entry = txn(z(counter), &payload);
            store.append(z(counter), &entry).unwrap();
            ledger.add(z(counter), &entry);
            store.sync().unwrap();
        }
        store.roll().unwrap();
    }
    (disk, ledger)
}

/// A flipped byte is either refused or does not matter: everything is there.
#[test]
fn a_flipped_byte_in_a_log_is_never_taken_for_a_crash() {
    let (disk, expected) = sample(&[1..=3, 4..=6]);
    let mut harmless = Vec::new();
    for counter in [1, 4] {
        let path = log_path(counter);
        let good = disk.read(&path).unwrap();
        for offset in 0..good.len() {
            for bits in [1, 0x80, 0xff] {
                let disk = disk.fork(1);
                disk.flip(&path, offset, bits);
                match restore(&disk) {
                    Err(Error::Rot { .. } | Error::Gap { .. }) => {}
                    Err(other) => panic!("{path} {offset}: {other}"),
                    Ok((_, ledger, _)) => {
                        assert_eq!(ledger.entries, expected.entries, "{path} at {offset}");
                        harmless.push(offset);
                    }
                }
            }
        }
        // Version and dbid are not looked at; the zeros at the end hold nothing.
        let end = good.iter().rposition(|&b| b != 0).unwrap();
        assert!(harmless.drain(..).all(|at| (4..16).contains(&at) || at > end), "{path}");
    }
}

/// A record whose checksum begins at the end of a sector, with the four zeros that each begins with: no
/// sector of it is missing.
#[test]
fn the_zeros_of_a_checksum_are_not_a_sector_that_was_lost() {
    for before in 1..=8 {
        let disk = Disk::new(1);
        let mut store = open(&disk, options()).unwrap();
        let mut ledger = Ledger::default();
        save(&mut store, &ledger, Zxid::ZERO).unwrap();
        let overhead = 13 + 32;
        for (counter, payload) in [(1, 512 - before - 16 - overhead), (2, 200)] {
            let entry = txn(z(counter), &vec![7; payload]);
            store.append(z(counter), &entry).unwrap();
            ledger.add(z(counter), &entry);
            store.sync().unwrap();
        }
        drop(store);
        let path = log_path(1);
        let start = 512 - before;
        assert_eq!(disk.read(&path).unwrap()[start..start + 4], [0; 4]);
        disk.flip(&path, start + overhead + 100, 1);
        let restored = restore(&disk);
        assert!(matches!(restored, Err(Error::Rot { .. })), "{before}: {restored:?}");
    }
}

/// The newest log, cut at any length, keeps the records that are whole; with a hint, a cut below
/// it is refused or reported. An older log that was cut is refused.
#[test]
fn a_log_cut_at_any_length() {
    let (disk, expected) = sample(&[1..=3, 4..=6]);
    let good = disk.read(&log_path(4)).unwrap();
    let ends: Vec<usize> = (4..=6)
        .scan(16, |at, n| {
            *at += 13 + 32 + n * 90;
            Some(*at)
        })
        .collect();
    for len in 0..good.len() {
        let disk = disk.fork(1);
        disk.write(&log_path(4), &good[..len]);
        let (_, ledger, restored) = restore(&disk).unwrap();
        let whole = ends.iter().filter(|&&end| end <= len).count();
        assert_eq!(ledger.entries, expected.entries[..3 + whole], "{len}");
        // A few zeros are no record.
        let end = whole.checked_sub(1).map_or(16, |last| ends[last]);
        let clean = len >= end && good[end..len].iter().all(|&b| b == 0);
        let torn = matches!(restored.findings.kept[..], [Finding::Torn { .. }]);
        assert_eq!(torn, !clean, "{len}: {restored:?}");
        // The second time there is nothing left to repair.
        assert_eq!(restore(&disk).unwrap().2.findings.count, 0, "{len}");
    }
    let older = disk.read(&log_path(1)).unwrap();
    let end = older.iter().rposition(|&b| b != 0).unwrap() + 1;
    for len in 0..older.len() {
        let disk = disk.fork(1);
        disk.write(&log_path(1), &older[..len]);
        match restore(&disk) {
            Ok((_, ledger, _)) => {
                assert!(len >= end, "{len}");
                assert_eq!(ledger.entries, expected.entries);
            }
            Err(Error::Rot { .. } | Error::Gap { .. }) => assert!(len < end, "{len}"),
            Err(other) => panic!("{len}: {other}"),
        }
    }
}

#[test]
fn a_snapshot_with_a_wrong_byte_or_length_is_not_loaded() {
    for compression in [Compression::Plain, Compression::Gzip, Compression::Snappy] {
        let (disk, ledger) = sample(&[1..=6]);
        let with = Options { compression, ..options() };
        let mut store = open(&disk, with).unwrap();
        let name = format!("data/version-2/{}", save(&mut store, &ledger, z(6)).unwrap());
        let good = disk.read(&name).unwrap();
        let end = restore(&disk).unwrap().1.end;
        // Whether it was loaded all the same; then it is what was written.
        let loads = |bytes: &[u8], about: String| {
            let disk = disk.fork(1);
            disk.write(&name, bytes);
            let (_, loaded, restored) = restore(&disk).unwrap();
            assert_eq!(loaded.entries, ledger.entries, "{compression:?} {about}");
            let loads = restored.snapshot == Some(z(6));
            assert!(!loads || loaded.end == end || about.contains("cut"), "{about}");
            loads
        };
        let mut harmless = 0;
        for offset in 0..good.len() {
            for bits in [1, 0xff] {
                let mut bytes = good.clone();
                bytes[offset] ^= bits;
                harmless += usize::from(loads(&bytes, format!("flip {bits} at {offset}")));
            }
        }
        // gzip has a time and a system in its header, unused bits, and more than one way to say
        // the same (which zeros are repeated); snappy has versions. None of it is content.
        match compression {
            Compression::Plain => assert_eq!(harmless, 0),
            Compression::Gzip | Compression::Snappy => assert!(harmless < 30, "{harmless}"),
        }
        for len in 0..good.len() {
            // Behind a seal it is a snapshot without the later trailers.
            let trailers = [21, 54].contains(&(good.len() - len));
            let expected = compression == Compression::Plain && trailers;
            assert_eq!(loads(&good[..len], format!("cut at {len}")), expected, "{len}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Any bytes at all as a log and as snapshots: no panic, and no record without its checksum.
    #[test]
    fn rubbish_is_survived(
        log in proptest::collection::vec(any::<u8>(), 0..300),
        header in any::<bool>(),
        snapshot in proptest::collection::vec(any::<u8>(), 0..300),
        kind in 0..3_usize,
    ) {
        let (disk, expected) = sample(&[1..=2]);
        let mut bytes = if header { b"ZKLG\0\0\0\x02\0\0\0\0\0\0\0\0".to_vec() } else { Vec::new() };
        bytes.extend_from_slice(&log);
        disk.write(&log_path(3), &bytes);
        let (name, begin) = [
            ("snapshot.5", &b"ZKSN\0\0\0\x02\0\0\0\0\0\0\0\0"[..]),
            ("snapshot.5.gz", b"\x1f\x8b\x08\0\0\0\0\0\0\0"),
            ("snapshot.5.snappy", b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01"),
        ][kind];
        let mut bytes = begin.to_vec();
        bytes.extend_from_slice(&snapshot);
        bytes.extend_from_slice(b"\0\0\0\x01/");
        disk.write(&format!("data/version-2/{name}"), &bytes);
        if let Ok((_, ledger, _)) = restore(&disk) {
            prop_assert_eq!(ledger.entries, expected.entries);
        }
    }

    /// Several bytes damaged at once in one of the logs.
    #[test]
    fn more_damage_is_no_better(
        damage in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..6),
        newest in any::<bool>(),
    ) {
        let (disk, expected) = sample(&[1..=3, 4..=6]);
        let path = log_path(if newest { 4 } else { 1 });
        let len = disk.read(&path).unwrap().len();
        for (at, bits) in damage {
            disk.flip(&path, at.index(len), bits);
        }
        if let Ok((_, ledger, restored)) = restore(&disk) {
            prop_assert!(expected.entries.starts_with(&ledger.entries));
            prop_assert!(ledger.entries.len() == 6 || restored.findings.count > 0);
        }
    }
}
