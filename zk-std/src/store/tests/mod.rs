//! Tests of the store as a whole, over a simulated disk.

mod apache;
mod crash;
mod damage;
mod replaced;
mod rules;
mod writing;

use std::io::Read;

use zk_core::id::{Epoch, Zxid};
use zk_core::wire::file::{END, SnapshotAcl, SnapshotDigest, SnapshotNode, SnapshotSession};
use zk_core::wire::jute::{self, Buffer, Error as JuteError, Reader, Ustring};

use super::simulated::{Disk, Rng, Simulated};
use super::{Directory, Error, Load, Options, Refusal, Restored, SnapshotEnd, Store, Taken};

/// A zxid of epoch 1.
fn z(counter: u32) -> Zxid {
    Zxid::new(Epoch(1), counter)
}

/// A transaction with this payload behind its header.
fn txn(zxid: Zxid, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 12];
    bytes[7] = 9;
    bytes.extend_from_slice(&zxid.0.to_be_bytes());
    bytes.extend_from_slice(&[0, 0, 1, 2, 3, 4, 5, 6, 0, 0, 0, 5]);
    bytes.extend_from_slice(payload);
    bytes
}

/// What was loaded: each transaction's id and checksum, in order. Its snapshots carry that list
/// as the data of the root node, so whatever is lost, doubled or false on the way shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Ledger {
    entries: Vec<(Zxid, u32)>,
    nodes: usize,
    sessions: usize,
    stage: Stage,
    end: SnapshotEnd,
    /// The largest transaction's id up to which the snapshot went.
    base: Option<Zxid>,
    /// Everything of the body.
    body: Vec<u8>,
    refuse: Option<Refusal>,
    /// Bytes read and in all.
    progress: (u64, u64),
    /// From which transaction on the tree is another than their digests say.
    wrong: Option<Zxid>,
    mismatches: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    SessionCount,
    Sessions(i32),
    AclCount,
    Acls(i32),
    Nodes,
}

impl Ledger {
    fn add(&mut self, zxid: Zxid, txn: &[u8]) {
        self.entries.push((zxid, adler2::adler32_slice(txn)));
    }

    fn to_body(&self) -> Vec<u8> {
        let mut data = Vec::new();
        for (zxid, sum) in &self.entries {
            data.extend_from_slice(&zxid.0.to_be_bytes());
            data.extend_from_slice(&sum.to_be_bytes());
        }
        let mut body = vec![0; 8];
        let node = SnapshotNode { data: Buffer::new(&data), acl: -1, stat: Default::default() };
        jute::write(&(Ustring::new(b""), node), &mut body).unwrap();
        jute::write(&END, &mut body).unwrap();
        body
    }

    /// Reads one record; true for the end marker.
    fn record(&mut self, reader: &mut Reader<'_>) -> Result<bool, JuteError> {
        self.stage = match self.stage {
            Stage::SessionCount => Stage::Sessions(reader.i32()?),
            Stage::Sessions(n) if n > 0 => {
                reader.read::<SnapshotSession>()?;
                self.sessions += 1;
                Stage::Sessions(n - 1)
            }
            Stage::Sessions(_) => Stage::AclCount,
            Stage::AclCount => Stage::Acls(reader.i32()?),
            Stage::Acls(n) if n > 0 => {
                reader.read::<SnapshotAcl<'_>>()?;
                Stage::Acls(n - 1)
            }
            Stage::Acls(_) => Stage::Nodes,
            Stage::Nodes => {
                let path: Ustring<'_> = reader.read()?;
                if path == END {
                    return Ok(true);
                }
                let node: SnapshotNode<'_> = reader.read()?;
                if path.bytes().is_empty() {
                    self.entries = node
                        .data
                        .bytes()
                        .chunks_exact(12)
                        .map(|c| {
                            let (zxid, sum) = c.split_first_chunk::<8>().unwrap();
                            let sum = u32::from_be_bytes(sum.try_into().unwrap());
                            (Zxid(i64::from_be_bytes(*zxid)), sum)
                        })
                        .collect();
                }
                self.nodes += 1;
                Stage::Nodes
            }
        };
        Ok(false)
    }
}

impl Load for Ledger {
    fn reset(&mut self) {
        let (refuse, wrong) = (self.refuse.take(), self.wrong);
        *self = Self { refuse, wrong, ..Self::default() };
    }

    fn snapshot_bytes(&mut self, bytes: &[u8]) -> Result<Taken, Refusal> {
        if let Some(refusal) = &self.refuse {
            return Err(refusal.clone());
        }
        let mut reader = Reader::new(bytes);
        let mut consumed = 0;
        let done = loop {
            match self.record(&mut reader) {
                Ok(done) => {
                    consumed = bytes.len() - reader.rest().len();
                    if done {
                        break true;
                    }
                }
                Err(JuteError::Truncated) => break false,
                Err(e) => return Err(Refusal::Damaged(e.to_string())),
            }
        };
        self.body.extend_from_slice(&bytes[..consumed]);
        Ok(Taken { consumed, need: 0, done })
    }

    fn snapshot_done(&mut self, zxid: Zxid, end: &SnapshotEnd) -> Result<(), Refusal> {
        (self.base, self.end) = (Some(zxid), *end);
        Ok(())
    }

    fn progress(&mut self, done: u64, total: u64) {
        assert!(done >= self.progress.0 && done <= total, "{done} of {total}");
        self.progress = (done, total);
    }

    fn mismatches(&self) -> u64 {
        self.mismatches
    }

    fn txn(&mut self, zxid: Zxid, txn: &[u8]) -> Result<(), Refusal> {
        self.mismatches += u64::from(self.wrong.is_some_and(|wrong| zxid >= wrong));
        self.add(zxid, txn);
        Ok(())
    }
}

fn options() -> Options {
    Options { preallocate: 16 << 10, reserve: 0, ..Options::default() }
}

fn open(disk: &Disk, options: Options) -> Result<Store<Simulated>, Error> {
    let data = disk.root().join("data");
    Store::open(data.clone(), data, options)
}

/// Opens and restores with the usual options.
fn restore(disk: &Disk) -> Result<(Store<Simulated>, Ledger, Restored), Error> {
    restore_with(disk, options())
}

fn restore_with(
    disk: &Disk,
    options: Options,
) -> Result<(Store<Simulated>, Ledger, Restored), Error> {
    let mut store = open(disk, options)?;
    let mut ledger = Ledger::default();
    let restored = store.restore(&mut ledger)?;
    Ok((store, ledger, restored))
}

/// Writes what the ledger holds as a snapshot.
fn save(store: &mut Store<Simulated>, ledger: &Ledger, zxid: Zxid) -> Result<String, Error> {
    let mut writer = store.begin_snapshot(zxid)?;
    for piece in ledger.to_body().chunks(100) {
        writer.write(piece)?;
    }
    let digest = SnapshotDigest { zxid, version: 2, tree_digest: 7 };
    writer.finish(Some(digest), Some(zxid))
}

/// A disk with a snapshot of nothing and these logs, each a range of counters of epoch 1.
fn disk_with(logs: &[core::ops::RangeInclusive<u32>]) -> (Disk, Ledger) {
    let disk = Disk::new(1);
    let (mut store, mut ledger, _) = restore(&disk).unwrap();
    save(&mut store, &ledger, Zxid::ZERO).unwrap();
    for counters in logs {
        for counter in counters.clone() {
            let entry = txn(z(counter), &[counter as u8; 40]);
            store.append(z(counter), &entry).unwrap();
            ledger.add(z(counter), &entry);
            store.sync().unwrap();
        }
        store.roll().unwrap();
    }
    (disk, ledger)
}

fn log_path(counter: u32) -> String {
    format!("data/version-2/{}", super::name::log(z(counter)))
}

/// A file of the test data, decompressed if it is.
fn testdata(name: &str) -> Vec<u8> {
    let path = format!("{}/testdata/store/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn gunzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    flate2::read::MultiGzDecoder::new(bytes).read_to_end(&mut out).unwrap();
    out
}

/// The files of a tar archive.
fn untar(archive: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    let mut at = 0;
    while archive.get(at).is_some_and(|&b| b != 0) {
        let text = |range: core::ops::Range<usize>| {
            let field = &archive[at..][range];
            let end = field.iter().position(|&b| b == 0).unwrap_or(field.len());
            core::str::from_utf8(&field[..end]).unwrap().trim().to_string()
        };
        let len = usize::from_str_radix(&text(124..136), 8).unwrap();
        if archive[at + 156] == b'0' {
            let bytes = archive[at + 512..at + 512 + len].to_vec();
            files.push((text(0..100), bytes));
        }
        at += 512 + len.div_ceil(512) * 512;
    }
    files
}

fn refused(disk: &Disk) -> Error {
    match restore(disk) {
        Ok((_, _, restored)) => panic!("{restored:?}"),
        Err(e) => e,
    }
}

fn cut(disk: &Disk, path: &str, len: usize) {
    let bytes = disk.read(path).unwrap();
    disk.write(path, &bytes[..len]);
}

fn remove(disk: &Disk, path: &str) {
    let (directory, name) = path.rsplit_once('/').unwrap();
    let directory = directory.split('/').fold(disk.root(), |d, part| d.join(part));
    directory.unlink(name).unwrap();
    directory.sync().unwrap();
}
