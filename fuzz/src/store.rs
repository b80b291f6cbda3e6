//! A data directory with any files: it is opened or refused with words. What was restored once is
//! restored again, and goes on: what is logged then is there after the next start.
//!
//! The input is a list of pieces ([`input`]); see [`fill`] for what they do.

use core::net::{IpAddr, Ipv4Addr};
use std::io::Write;

use zk_core::id::Zxid;
use zk_core::peer::{Ceilings, Disk as Want, Options, Peer};
use zk_core::time::Now;
use zk_core::tree::Seeds;
use zk_core::wire::client::ConnectRequest;
use zk_core::wire::file::{FileHeader, SnapshotDigest};
use zk_core::wire::jute::{Buffer, Trailing};
use zk_std::load::PeerLoad;
use zk_std::store::restore::Findings;
use zk_std::store::simulated::{Disk, Simulated};
use zk_std::store::{self, Directory, Error, Restored, Store};

use crate::picture::Picture;
use crate::support::{encode, new_peer};
use crate::{golden, input};

/// What an input begins with: a bit for each way to restore it.
mod way {
    pub(crate) const TRUST_EMPTY: u8 = 1;
    pub(crate) const ACCEPT_GAPS: u8 = 2;
    pub(crate) const SHORT_READS: u8 = 4;
    pub(crate) const PLAIN_TYPES: u8 = 8;
}

/// Runs one input.
///
/// # Panics
/// When it finds something.
pub fn run(data: &[u8]) {
    let Some((&way, script)) = data.split_first() else { return };
    let disk = Disk::new(1);
    fill(&disk, script);
    disk.set_short_reads(way & way::SHORT_READS != 0);
    look(&disk, way);
    let Ok((mut store, mut peer, restored)) = restore(&disk, way) else { return };
    let first = Picture::of(&peer);
    // Whatever had to be repaired is repaired.
    let (_, again, repeated) = restore(&disk, way).expect("what was restored once");
    first.must_be(&Picture::of(&again), "restored again");
    assert_eq!((restored.zxid, restored.snapshot), (repeated.zxid, repeated.snapshot));
    if restored.zxid == Zxid::NONE {
        return;
    }
    go_on(&mut store, &mut peer, &restored);
    drop(store);
    disk.crash();
    // A server that stands alone goes on into the next epoch when the zxids of one are used up, and
    // leaves the files of epochs as they are: they are an ensemble's.
    let last = peer.tree().last_zxid();
    let again = if last.epoch() == restored.zxid.epoch() { restore } else { restore_alone };
    let (mut store, after, _) = again(&disk, way).expect("what was just written");
    Picture::of(&peer).must_be(&Picture::of(&after), "after more transactions");
    store.purge(3, None).expect("no disk fails");
}

/// Files from the pieces of an input.
///
/// - `f`: a file, its name (to the end of the line) and its bytes;
/// - `l`, `t`, `z`: a log begins, named by these bytes; a transaction with the right checksum;
///   bytes as they are;
/// - `s`, `g`: a snapshot with the right checksums, named by the first two bytes, of the body
///   behind them; the same with gzip.
fn fill(disk: &Disk, script: &[u8]) {
    let mut log: Option<(String, Vec<u8>)> = None;
    for (what, bytes) in input::pieces(script) {
        match (what, &mut log) {
            (b'f', _) => {
                let end = bytes.iter().position(|&byte| byte == b'\n').unwrap_or(bytes.len());
                let (name, content) = bytes.split_at(end);
                let Ok(name) = core::str::from_utf8(name) else { continue };
                // A name is one; some lie beside the files of the version.
                let place = if name == store::MY_ID || name == store::INITIALIZE {
                    ""
                } else {
                    "version-2/"
                };
                if !name.is_empty() && !name.contains(['/', '\0']) {
                    disk.write(
                        &format!("data/{place}{name}"),
                        content.get(1..).unwrap_or_default(),
                    );
                }
            }
            (b'l', _) => {
                save(disk, log.take());
                log = Some((format!("log.{:x}", number(bytes)), encode(&FileHeader::LOG)));
            }
            (b't', Some((_, log))) => {
                log.extend(i64::from(adler2::adler32_slice(bytes)).to_be_bytes());
                log.extend((bytes.len() as i32).to_be_bytes());
                log.extend(bytes);
                log.push(b'B');
            }
            (b'z', Some((_, log))) => log.extend(bytes),
            (b's' | b'g', _) => {
                let (name, body) = bytes.split_at(bytes.len().min(2));
                let zxid = Zxid(number(name));
                let mut snapshot = encode(&FileHeader::SNAPSHOT);
                let mut seal = |part: &[u8]| {
                    snapshot.extend(part);
                    let sum = i64::from(adler2::adler32_slice(&snapshot));
                    snapshot.extend(sum.to_be_bytes());
                    snapshot.extend(b"\0\0\0\x01/");
                };
                seal(body);
                seal(&encode(&SnapshotDigest { zxid, version: 2, tree_digest: 7 }));
                seal(&zxid.0.to_be_bytes());
                let name = format!("data/version-2/snapshot.{:x}", zxid.0);
                if what == b's' {
                    disk.write(&name, &snapshot);
                } else {
                    let mut gzip =
                        flate2::write::GzEncoder::new(vec![], flate2::Compression::fast());
                    gzip.write_all(&snapshot).expect("a vector is never full");
                    disk.write(&format!("{name}.gz"), &gzip.finish().expect("a vector"));
                }
            }
            _ => {}
        }
    }
    save(disk, log);
}

fn save(disk: &Disk, log: Option<(String, Vec<u8>)>) {
    if let Some((name, bytes)) = log {
        disk.write(&format!("data/version-2/{name}"), &bytes);
    }
}

fn number(bytes: &[u8]) -> i64 {
    bytes.iter().take(8).fold(0, |number, &byte| number << 8 | i64::from(byte))
}

fn open(disk: &Disk, way: u8, read_only: bool) -> Result<Store<Simulated>, Error> {
    let options = store::Options {
        preallocate: 4096,
        record_max: 1 << 16,
        batch_max: 4096,
        reserve: 0,
        trust_empty: way & way::TRUST_EMPTY != 0,
        accept_gaps: way & way::ACCEPT_GAPS != 0,
        read_only,
        ..store::Options::default()
    };
    let data = disk.root().join("data");
    Store::open(data.clone(), data, options)
}

/// What looks into a directory without being its server.
fn look(disk: &Disk, way: u8) {
    let Ok(store) = open(disk, way, true) else { return };
    let before: Vec<(String, Option<Vec<u8>>)> =
        disk.paths().into_iter().map(|path| (path.clone(), disk.read(&path))).collect();
    let mut findings = Findings::default();
    if let Ok(mut replay) = store.read_log(Zxid(1), &store.extent()) {
        while let Ok(true) = replay.advance(&mut findings) {
            assert!(!replay.entry().is_empty());
        }
    }
    for candidate in store.candidates().expect("no disk fails") {
        let Ok(mut reader) = store.open_snapshot(&candidate) else { continue };
        while let Ok(shown) = reader.show(1) {
            let len = shown.len();
            reader.consume(len);
        }
        assert!(reader.offset() > 0);
    }
    // Refused when it is not a number.
    let _ = store.my_id();
    for (path, bytes) in before {
        assert_eq!(disk.read(&path), bytes, "looking changed {path}");
    }
}

type Whole = (Store<Simulated>, Peer<'static>, Restored);

/// What a member of an ensemble does. Epochs that make no sense are an error, too.
fn restore(disk: &Disk, way: u8) -> Result<Whole, Error> {
    let (mut store, peer, restored) = restore_alone(disk, way)?;
    store.epochs(restored.zxid).map_err(told)?;
    Ok((store, peer, restored))
}

fn told(error: Error) -> Error {
    assert!(!error.to_string().is_empty());
    error
}

fn restore_alone(disk: &Disk, way: u8) -> Result<Whole, Error> {
    let now = Now::new(1000, 1_700_000_000_000);
    let options = Options {
        extended_types: way & way::PLAIN_TYPES == 0,
        tick_time: 1000,
        max_txn: 1 << 16,
        ..Options::default()
    };
    let mut peer = new_peer(options, Ceilings::default(), Seeds(3, 4), now);
    let mut store = open(disk, way, false).map_err(told)?;
    let (mut done, mut total) = (0, 0);
    let mut progress = |so_far, of| {
        assert!(so_far <= of, "{so_far} of {of}");
        (done, total) = (so_far, of);
    };
    let restored = store.restore(&mut PeerLoad::new(&mut peer, &mut progress)).map_err(told)?;
    assert_eq!(done, total);
    peer.serve(now);
    if restored.needs_snapshot {
        peer.require_snapshot();
    }
    Ok((store, peer, restored))
}

/// A client connects, and sessions expire: transactions, and a snapshot.
fn go_on(store: &mut Store<Simulated>, peer: &mut Peer<'_>, restored: &Restored) {
    let mut now = Now::new(1000, 1_700_000_000_000);
    // A made snapshot has a made digest.
    let mismatches = peer.stats().digest_mismatches;
    let link = peer.open(now, IpAddr::V4(Ipv4Addr::LOCALHOST)).expect("room");
    let request = encode(&ConnectRequest {
        protocol_version: 0,
        last_zxid_seen: Zxid::ZERO,
        timeout: 4000,
        session_id: zk_core::id::SessionId::NONE,
        passwd: Buffer::new(&[0; 16]),
        read_only: Trailing(Some(false)),
    });
    peer.receive(now, link, &[&(request.len() as i32).to_be_bytes(), &request[..]].concat());
    write(store, peer, now);
    let session = peer.session(link).expect("the client has a session");
    peer.closed(now, link);
    for _ in 0..3 {
        now.monotonic = now.monotonic.plus(1 << 17);
        peer.tick(now);
        write(store, peer, now);
    }
    assert_eq!(peer.sessions().find(session), None);
    assert!(peer.tree().last_zxid() > restored.zxid);
    assert_eq!(peer.stats().digest_mismatches, mismatches);
}

/// Does what the peer wants of its disk.
fn write(store: &mut Store<Simulated>, peer: &mut Peer<'_>, now: Now) {
    let mut snapshot = None;
    while let Some(want) = peer.poll_disk() {
        match want {
            Want::Append(batch) => {
                let last = batch.last();
                for (zxid, txn) in batch.iter() {
                    store.append(zxid, txn).expect("no disk fails");
                }
                store.sync().expect("no disk fails");
                peer.durable(now, last).expect("the peer goes on");
            }
            Want::Roll => store.roll().expect("no disk fails"),
            Want::SnapshotBegin(zxid) => {
                snapshot = Some(store.begin_snapshot(zxid).expect("no disk fails"));
            }
            Want::SnapshotBytes(bytes) => {
                let len = bytes.len();
                snapshot.as_mut().expect("it has begun").write(bytes).expect("no disk fails");
                peer.snapshot_written(len);
            }
            Want::SnapshotEnd(digest) => {
                let snapshot = snapshot.take().expect("it has begun");
                snapshot.finish(Some(digest), Some(digest.zxid)).expect("no disk fails");
                peer.snapshot_done();
            }
            Want::SnapshotDrop => snapshot = None,
            Want::Ensemble(order) => unreachable!("a peer alone orders {order:?}"),
        }
    }
}

/// Apache's files as they are, and made of their parts.
pub fn seeds() -> Vec<Vec<u8>> {
    let (log, body) = (golden::log(), golden::snapshot_body());
    let file = |name: &str, bytes: &[u8]| [name.as_bytes(), b"\n", bytes].concat();
    let whole_log = file("log.1", &log);
    let snapshots = ["", ".gz", ".snappy"]
        .map(|kind| file(&format!("snapshot.13{kind}"), &golden::snapshot(kind)));
    let named_body = [b"\0\x13", &body[..]].concat();
    let txns = golden::txns(&log);
    let mut made: Vec<(u8, &[u8])> = vec![(b'l', b"\x01")];
    for (at, txn) in txns.iter().enumerate() {
        if at == txns.len() / 2 {
            made.push((b'l', txn.get(12..20).unwrap_or_default()));
        }
        made.push((b't', txn));
    }
    made.push((b'z', &[0; 40]));
    // The root, `/zookeeper` and nothing else: a snapshot of zxid 0 to begin with.
    let empty = {
        let disk = Disk::new(1);
        let (mut store, mut peer, _) = restore(&disk, 0).expect("a new directory");
        write(&mut store, &mut peer, Now::new(1000, 0));
        disk.read("data/version-2/snapshot.0").expect("the first snapshot")
    };
    let empty = file("snapshot.0", &empty);
    let mut scripts = vec![];
    for snapshot in &snapshots {
        scripts.push(vec![(b'f', &snapshot[..])]);
    }
    scripts.push(vec![(b'f', &empty[..]), (b'f', &whole_log)]);
    scripts.push([&[(b'f', &empty[..])], &made[..]].concat());
    scripts.push(made.clone());
    scripts.push(vec![(b's', &named_body[..]), (b'f', &whole_log)]);
    scripts.push(vec![
        (b'g', &named_body[..]),
        (b'f', b"currentEpoch\n0"),
        (b'f', b"acceptedEpoch\n1"),
    ]);
    // The zxids of its epoch are used up by what is written next.
    let mut late = txns[0].to_vec();
    late[12..20].copy_from_slice(&0xffff_fffe_i64.to_be_bytes());
    scripts.push(vec![
        (b'f', &empty[..]),
        (b'l', b"\xff\xff\xff\xfe"),
        (b't', &late[..]),
        (b'f', b"currentEpoch\n0"),
        (b'f', b"acceptedEpoch\n0"),
    ]);
    scripts.push(vec![
        (b'f', b"myid\n5\n"),
        (b'f', b"initialize\n"),
        (b'f', b"zk.synced\nlog.1 99 1 7 5\n"),
    ]);
    let ways = [0, way::TRUST_EMPTY, way::ACCEPT_GAPS | way::SHORT_READS, way::PLAIN_TYPES];
    ways.iter()
        .flat_map(|&way| scripts.iter().map(move |s| [&[way], &input::join(s)[..]].concat()))
        .collect()
}
