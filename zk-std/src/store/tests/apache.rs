//! Files that Apache 3.8.0 wrote are read, and written alike.

use super::*;
use crate::store::Compression;
use crate::store::log_reader::{LogReader, Step};

fn entries(disk: &Disk, path: &str) -> Vec<(Zxid, Vec<u8>)> {
    let file = disk.root().open(path).unwrap();
    let mut reader = LogReader::new(file, path.into(), 1 << 20);
    let mut entries = Vec::new();
    while let Step::Record { zxid, .. } = reader.step().unwrap() {
        entries.push((zxid, reader.entry().to_vec()));
    }
    entries
}

/// The same transactions make the same file, down to the zeros behind them.
#[test]
fn a_log_is_written_as_apache_does() {
    let disk = Disk::new(1);
    let golden = gunzip(&testdata("log.1.gz"));
    disk.write("golden", &golden);
    let entries = entries(&disk, "golden");
    assert_eq!(entries.len(), 19);
    let mut store = open(&disk, Options { preallocate: 64 << 10, ..options() }).unwrap();
    for (zxid, entry) in &entries {
        store.append(*zxid, entry).unwrap();
        store.sync().unwrap();
    }
    assert!(disk.read("data/version-2/log.1").unwrap() == golden);
    assert_eq!(store.log_len(), 0x85a);
    // In one batch as well.
    let disk = Disk::new(1);
    let mut store = open(&disk, Options { preallocate: 64 << 10, ..options() }).unwrap();
    for (zxid, entry) in &entries {
        store.append(*zxid, entry).unwrap();
    }
    store.sync().unwrap();
    assert!(disk.read("data/version-2/log.1").unwrap() == golden);
}

/// A transaction and its frame from the fact sheet, byte for byte.
#[test]
fn a_record_has_the_annotated_bytes() {
    let mut entry = vec![0x01, 0, 0, 0x0e, 0xce, 0xe0, 0, 0, 0, 0, 0, 0];
    entry.extend_from_slice(&0x1_0000_0001_u64.to_be_bytes());
    entry.extend_from_slice(&0x0000_01a2_079f_37a8_u64.to_be_bytes());
    entry.extend_from_slice(&[0xff, 0xff, 0xff, 0xf6, 0, 0, 0x1f, 0x40]);
    entry.extend_from_slice(&[0, 0, 0, 2, 0, 0, 0, 0, 0x51, 0xc6, 0xd6, 0x60]);
    let disk = Disk::new(1);
    let mut store = open(&disk, Options { preallocate: 0, ..options() }).unwrap();
    store.append(Zxid(0x1_0000_0001), &entry).unwrap();
    store.sync().unwrap();
    let mut expected = b"ZKLG\0\0\0\x02\0\0\0\0\0\0\0\0".to_vec();
    expected.extend_from_slice(&[0, 0, 0, 0, 0xd1, 0x3e, 0x0a, 0x89, 0, 0, 0, 0x30]);
    expected.extend_from_slice(&entry);
    expected.push(0x42);
    assert_eq!(disk.read("data/version-2/log.100000001").unwrap(), expected);
}

#[test]
fn a_snapshot_of_each_compression_is_read_and_written() {
    let plain = testdata("snapshot.13");
    let mut bodies = Vec::new();
    for (name, compression) in [
        ("snapshot.13", Compression::Plain),
        ("snapshot.13.gz", Compression::Gzip),
        ("snapshot.13.snappy", Compression::Snappy),
    ] {
        let disk = Disk::new(1);
        disk.write(&format!("data/version-2/{name}"), &testdata(name));
        let (mut store, ledger, restored) =
            restore_with(&disk, Options { compression, ..options() }).unwrap();
        let ledger = Ledger { progress: (0, 0), ..ledger };
        assert_eq!((restored.zxid, restored.snapshot), (Zxid(0x13), Some(Zxid(0x13))), "{name}");
        assert_eq!(restored.findings.count, 0, "{name}");
        let digest = ledger.end.digest.unwrap();
        assert_eq!((digest.zxid, digest.version), (Zxid(0x13), 2));
        assert_eq!(ledger.end.last_zxid, None, "3.8 does not write it");
        // Written again, it holds the same bytes; uncompressed it is the same file.
        let mut writer = store.begin_snapshot(Zxid(0x13)).unwrap();
        for piece in ledger.body.chunks(7) {
            writer.write(piece).unwrap();
        }
        assert_eq!(writer.finish(Some(digest), None).unwrap(), name);
        let written = disk.read(&format!("data/version-2/{name}")).unwrap();
        match compression {
            Compression::Plain => assert_eq!(written, plain),
            Compression::Gzip => assert_eq!(gunzip(&written), plain),
            Compression::Snappy => assert_eq!(written[..16], testdata(name)[..16]),
        }
        let (_, again, _) = restore(&disk).unwrap();
        assert_eq!(Ledger { progress: (0, 0), ..again }, ledger, "{name}");
        bodies.push(ledger);
    }
    assert!(bodies[0].nodes > 5 && bodies[0].sessions > 0);
    assert!(bodies.iter().all(|other| *other == bodies[0]));
}

/// From each of its snapshots, the logs of a server with many restarts lead to the same end.
#[test]
fn a_directory_of_many_restarts_is_restored() {
    let path =
        concat!(env!("CARGO_MANIFEST_DIR"), "/../interop/fixtures/apache-3.8.0-standalone.tgz");
    let archive = std::fs::read(path).unwrap_or_else(|e| panic!("{path}: {e}"));
    let files = untar(&gunzip(&archive));
    assert_eq!(files.len(), 34);
    let disk = Disk::new(1);
    for (name, bytes) in &files {
        disk.write(name, bytes);
    }
    let before: Vec<_> = disk.paths();
    let mut ends = Vec::new();
    let mut store = open(&disk, options()).unwrap();
    loop {
        let mut ledger = Ledger::default();
        let restored = store.restore(&mut ledger).unwrap();
        assert_eq!(restored.findings.count, 0, "{:?}", restored.findings.kept);
        let snapshot = restored.snapshot.unwrap();
        // Every transaction from the snapshot on came, once and in order.
        let expected: Vec<_> = (snapshot.0 + 1..=restored.zxid.0).map(Zxid).collect();
        let found: Vec<_> = ledger.entries.iter().map(|&(zxid, _)| zxid).collect();
        assert_eq!(found, expected, "from {snapshot}");
        assert!(ledger.nodes >= 4);
        ends.push(restored.zxid);
        let newest = store.candidates().unwrap().remove(0);
        if store.candidates().unwrap().len() == 1 {
            break;
        }
        store.snapshots.unlink(&newest.name).unwrap();
    }
    assert!(ends.len() == 17 && ends.iter().all(|end| *end == ends[0]), "{ends:?}");
    assert_eq!(before.iter().filter(|p| p.contains("log.")).count() + 1, disk.paths().len());
}
