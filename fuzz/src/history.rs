//! What a peer loads: any snapshot in any pieces, any transactions. What it accepts is a tree, and
//! the server that starts from it does not stop: it is used, sessions expire, nodes are reaped, and
//! after all of that a restart finds the same state.
//!
//! The input is a list of pieces ([`input`]): `s` is the body of a snapshot, `t` a
//! transaction, `r` a transaction's type and record.

use zk_core::id::{SessionId, Xid, Zxid};
use zk_core::peer::{Ceilings, Options, Peer, State};
use zk_core::time::Now;
use zk_core::tree::{self, Seeds};
use zk_core::wire::client::{PathVersion, PathWatch, SetDataRequest};
use zk_core::wire::file::FileHeader;
use zk_core::wire::txn::TxnHeader;
use zk_core::wire::{Code, OpCode};

use crate::picture::Picture;
use crate::support::{self, World, create, encode};
use crate::{golden, input};

/// What an input begins with: a bit for each way to load it.
mod way {
    /// Little storage and small limits.
    pub(crate) const SMALL: u8 = 1;
    /// Without `extendedTypesEnabled`.
    pub(crate) const PLAIN_TYPES: u8 = 2;
    /// Seven bytes more each time.
    pub(crate) const FRAGMENTS: u8 = 4;
}

/// Types of transactions.
const OPS: [i32; 14] = [1, 2, 5, 7, 13, 14, 15, 16, 19, 20, 21, -1, -10, -11];

/// The zxid of every snapshot.
const SNAPSHOT: Zxid = Zxid(0x13);

/// Runs one input.
///
/// # Panics
/// When it finds something.
pub fn run(data: &[u8]) {
    let Some((&way, script)) = data.split_first() else { return };
    let now = Now::new(1000, 1_700_000_000_000);
    let mut peer = support::new_peer(options(way), ceilings(way), Seeds(1, 2), now);
    peer.load_reset();
    let mut last = Zxid::ZERO;
    for (what, bytes) in input::pieces(script) {
        let done = match what {
            b's' => {
                last = SNAPSHOT;
                load_snapshot(&mut peer, bytes, way & way::FRAGMENTS != 0)
            }
            b't' => peer.load_txn(bytes).is_ok(),
            b'r' => {
                last = Zxid(last.0 + 1);
                peer.load_txn(&txn(last, bytes)).is_ok()
            }
            _ => true,
        };
        if !done {
            // Nothing of a history that cannot be loaded is kept.
            peer.load_reset();
        }
    }
    peer.serve(now);
    assert_eq!(peer.state(), State::Standalone);
    let loaded = Picture::of(&peer);
    let mut world = World::around(peer, ceilings(way), now);
    same_after_restart(&world, &loaded, "as it was loaded");
    use_it(&mut world, &loaded);
}

fn options(way: u8) -> Options {
    let options = Options {
        extended_types: way & way::PLAIN_TYPES == 0,
        tick_time: 1000,
        skip_acl: true,
        snap_count: 20,
        container_check_interval: 1000,
        container_max_never_used: 1000,
        max_txn: 1 << 16,
        ..Options::default()
    };
    if way & way::SMALL == 0 {
        options
    } else {
        Options { max_frame: 256, max_txn: 512, ..options }
    }
}

fn ceilings(way: u8) -> Ceilings {
    if way & way::SMALL == 0 {
        return Ceilings::default();
    }
    Ceilings {
        tree: tree::Ceilings {
            nodes: 16,
            cells: 120,
            acls: 6,
            owners: 3,
            snapshot: 2048,
            ..Default::default()
        },
        sessions: 4,
        changes: 16,
        pending: 4,
        history: 4096,
        history_records: 8,
        ..Ceilings::default()
    }
}

fn load_snapshot(peer: &mut Peer<'_>, body: &[u8], fragments: bool) -> bool {
    peer.load_reset();
    let mut waiting: Vec<u8> = vec![];
    let mut rest = body;
    loop {
        let more = if fragments { 7.min(rest.len()) } else { rest.len() };
        let (piece, behind) = rest.split_at(more);
        waiting.extend_from_slice(piece);
        rest = behind;
        let Ok(taken) = peer.load_snapshot(&waiting) else { return false };
        assert!(taken.consumed <= waiting.len());
        waiting.drain(..taken.consumed);
        if taken.done {
            peer.load_snapshot_end(SNAPSHOT, None);
            return true;
        }
        assert!(taken.need > 0);
        if rest.is_empty() {
            return false;
        }
    }
}

/// A transaction of the type that the first byte says, of the session that the second one says.
fn txn(zxid: Zxid, bytes: &[u8]) -> Vec<u8> {
    const SESSIONS: [i64; 5] = [0, 0x0100_0000_0000_0001, 7, -1, i64::MIN];
    let at = |n: usize| usize::from(bytes.get(n).copied().unwrap_or(0));
    let header = TxnHeader {
        client_id: SessionId(SESSIONS[at(1) % SESSIONS.len()]),
        cxid: Xid(1),
        zxid,
        time: 1_700_000_000_000,
        op: OpCode(OPS[at(0) % OPS.len()]),
    };
    [&encode(&header), bytes.get(2..).unwrap_or_default()].concat()
}

fn same_after_restart(world: &World, live: &Picture, when: &str) {
    let peer = world.loaded(world.snapshot.as_ref(), world.now);
    live.must_be(&Picture::of(&peer), when);
}

/// Does to each node what clients do, and lets time pass.
fn use_it(world: &mut World, loaded: &Picture) {
    // A file may have promised anything; what is done now keeps its own promises.
    let before = world.peer.stats().digest_mismatches;
    let alive = |world: &World| {
        assert_eq!(world.peer.state(), State::Standalone);
        assert_eq!(world.peer.stats().digest_mismatches, before);
    };
    if world.peer.sessions().available() > 0 {
        let mut client = world.connect();
        for path in loaded.paths() {
            let Ok(path) = core::str::from_utf8(path) else { continue };
            if path.len() > 100 {
                continue;
            }
            for op in [OpCode::GetData, OpCode::GetChildren2] {
                world.call(&mut client, op, &PathWatch { path: path.into(), watch: true });
            }
            let set = SetDataRequest { path: path.into(), data: b"x"[..].into(), version: -1 };
            world.call(&mut client, OpCode::SetData, &set);
            let child = format!("{path}/fuzz");
            world.call(&mut client, OpCode::Create, &create(&child, b"data", 1));
            alive(world);
        }
        for path in loaded.paths().rev() {
            let Ok(path) = core::str::from_utf8(path) else { continue };
            if path.len() > 100 {
                continue;
            }
            let delete = PathVersion { path: path.into(), version: -1 };
            let reply = world.call(&mut client, OpCode::Delete, &delete);
            assert_ne!(reply.err(), Code::SessionExpired);
            alive(world);
        }
        world.peer.closed(world.now, client.link);
    }
    for _ in 0..40 {
        world.pass(2000);
        alive(world);
    }
    world.settle();
    let live = Picture::of(&world.peer);
    same_after_restart(world, &live, "after everything");
}

/// The golden snapshot and transactions, alone and together.
pub fn seeds() -> Vec<Vec<u8>> {
    let (log, body) = (golden::log(), golden::snapshot_body());
    assert_eq!(log[..4], FileHeader::LOG.magic.to_be_bytes());
    let txns = golden::txns(&log);
    let whole: Vec<(u8, &[u8])> = txns.iter().map(|txn| (b't', *txn)).collect();
    let records: Vec<Vec<u8>> = txns
        .iter()
        .map(|txn| {
            let op = i32::from_be_bytes([txn[28], txn[29], txn[30], txn[31]]);
            let place = OPS.iter().position(|&known| known == op).unwrap_or(0) as u8;
            [&[place, 1], &txn[32..]].concat()
        })
        .collect();
    let records: Vec<(u8, &[u8])> = records.iter().map(|record| (b'r', &record[..])).collect();
    let mut scripts =
        vec![input::join(&whole), input::join(&records), input::join(&[(b's', &body)])];
    scripts.push(input::join(&[&[(b's', &body[..])], &records[..]].concat()));
    scripts.extend(records.chunks(3).map(input::join));
    let ways = [0, way::SMALL, way::PLAIN_TYPES, way::FRAGMENTS];
    ways.iter()
        .flat_map(|&way| scripts.iter().map(move |script| [&[way], &script[..]].concat()))
        .collect()
}
