//! What a peer counts, and the digests that it compares and keeps.
#![cfg(feature = "stats")]

mod support;

use support::{World, create};
use zk_core::id::{SessionId, Xid, Zxid};
use zk_core::peer::{Ceilings, DigestEntry, Peer, Summary};
use zk_core::tree::Seeds;
use zk_core::wire::client::{PathMode, PathWatch, SetDataRequest};
use zk_core::wire::file::SnapshotDigest;
use zk_core::wire::txn::{Txn, TxnDigest};
use zk_core::wire::{Code, OpCode};

fn set(path: &str) -> SetDataRequest<'_> {
    SetDataRequest { path: path.into(), data: (&b"new"[..]).into(), version: -1 }
}

#[test]
fn what_happens_is_counted() {
    let mut world = World::new();
    let mut client = world.connect();
    let counters = world.peer.counters(client.link);
    assert_eq!((counters.received, counters.sent), (1, 1));
    assert_eq!((counters.last_op, counters.last_cxid), (OpCode::CreateSession, Xid(0)));
    assert_eq!((counters.last_zxid, counters.latency.count), (Zxid(1), 1));
    assert_eq!(world.peer.stats().replies.all, Summary::default());

    let created = world.create(&mut client, "/a", 0);
    let refused = world.create(&mut client, "/a", 0);
    assert_eq!(refused.err(), Code::NodeExists);
    let counters = world.peer.counters(client.link);
    assert_eq!((counters.last_op, counters.last_cxid), (OpCode::Error, Xid(2)));
    let watch = PathWatch { path: "/a".into(), watch: true };
    let read = world.call(&mut client, OpCode::GetData, &watch);
    // A write that takes 7 ms, and tells its own client of it first.
    world.ask(&mut client, OpCode::SetData, &set("/a"));
    world.now.monotonic = world.now.monotonic.plus(7);
    world.settle();
    let frames = world.frames(client.link);
    let [event, written] = &frames[..] else { panic!("not an event and a reply") };
    world.call(&mut client, OpCode::Ping, &());

    let counters = world.peer.counters(client.link);
    assert_eq!((counters.received, counters.sent, counters.queued), (6, 7, 0));
    assert_eq!((counters.last_op, counters.last_cxid), (OpCode::Ping, Xid(4)));
    assert_eq!((counters.last_zxid, counters.last_latency), (Zxid(4), 0));
    assert_eq!(counters.latency, Summary { count: 6, total: 7, min: 0, max: 7 });
    let stats = *world.peer.stats();
    assert_eq!((stats.received, stats.sent), (6, 7));
    assert_eq!((stats.handshakes, stats.reconnects), (1, 0));
    assert_eq!((stats.reads.count, stats.updates.count), (2, 4));
    assert_eq!(stats.latency(), counters.latency);
    let reply = |reply: &support::Reply| 16 + reply.body.len();
    let replies = reply(&created) + reply(&refused) + reply(&read) + written.len();
    assert_eq!((stats.reply_bytes, stats.event_bytes), (replies as u64, event.len() as u64));
    assert_eq!((stats.replies.all.count, stats.replies.all.min), (6, 16));
    assert_eq!(stats.replies.all.max, reply(&read) as u64);
    assert_eq!(stats.replies.last, 16);

    // Events that a client missed while it was away.
    let (session, passwd) = (client.session, client.passwd.clone());
    let mut again = world.connect_as(session, &passwd);
    assert_eq!(world.peer.stats().reconnects, 1);
    let counters = world.peer.counters(again.link);
    assert_eq!((counters.last_op, counters.last_cxid), (OpCode::Error, Xid(-1)));
    let path = support::encode(&zk_core::wire::jute::Ustring::new(b"/a"));
    let none = zk_core::wire::jute::List::EMPTY;
    let watches = zk_core::wire::client::SetWatches {
        relative_zxid: Zxid(2),
        data: zk_core::wire::jute::List::from_raw(1, &path),
        exist: none,
        child: none,
    };
    let reply = world.call(&mut again, OpCode::SetWatches, &watches);
    assert_eq!(reply.events.len(), 1);
    let after = world.peer.stats();
    assert_eq!(after.event_bytes - stats.event_bytes, event.len() as u64);
    assert_eq!(after.reply_bytes - stats.reply_bytes, 16);
    assert_eq!(world.peer.counters(again.link).sent, 3);

    world.peer.reset_counters();
    world.peer.reset_stats();
    let counters = world.peer.counters(again.link);
    assert_eq!((counters.sent, counters.latency), (0, Summary::default()));
    assert_eq!(world.peer.stats().latency(), Summary::default());
}

/// The digests that the log promises, by zxid.
fn promised(world: &World) -> Vec<DigestEntry> {
    let entries = world.log.iter().filter_map(|(zxid, bytes)| {
        let digest = Txn::decode(bytes).unwrap().digest?.tree_digest;
        Some(DigestEntry { zxid: *zxid, digest })
    });
    entries.collect()
}

#[test]
fn digests_are_kept_every_128_transactions() {
    let mut world = World::new();
    let mut client = world.connect();
    for i in 0..300 {
        world.create(&mut client, &format!("/{i}"), 0);
    }
    let expected: Vec<_> =
        promised(&world).into_iter().filter(|entry| entry.zxid.0 % 128 == 0).collect();
    assert_eq!(expected.len(), 2);
    assert_eq!(world.peer.digests().collect::<Vec<_>>(), expected);
    world.restart();
    assert_eq!(world.peer.digests().collect::<Vec<_>>(), expected);
}

#[test]
fn a_log_that_promises_another_digest_is_noticed() {
    let mut world = World::new();
    let mut client = world.connect();
    for name in ["/a", "/b", "/c"] {
        world.create(&mut client, name, 0);
    }
    *world.log[2].1.last_mut().unwrap() ^= 1;
    world.restart();
    assert_eq!(world.peer.stats().digest_mismatches, 1);
}

#[test]
fn the_digest_of_a_fuzzy_snapshot_holds_where_it_ends() {
    let mut world = World::new();
    let mut client = world.connect();
    for name in ["/a", "/b", "/c", "/d"] {
        world.create(&mut client, name, 0);
    }
    world.peer.require_snapshot();
    world.settle();
    let (zxid, body) = world.snapshot.take().unwrap();
    assert_eq!(zxid, Zxid(5));
    let add = PathMode { path: "/".into(), mode: 0 };
    world.call(&mut client, OpCode::AddWatch, &add);
    world.call(&mut client, OpCode::Create, &create("/e", b"", 0));
    let digests = promised(&world);
    // It is named after 2, and shows what 3, 4 and 5 have done.
    for (of, wrong, log_ends, mismatches) in [
        (5, 0, 6, 0),
        (5, 0, 5, 0),
        // Nothing but the snapshot speaks for itself.
        (5, 1, 5, 1),
        // It shows a part of the transaction behind its digest: the log says what comes of it.
        (4, 0, 6, 0),
        (4, 0, 5, 0),
        // The log ends before.
        (6, 0, 5, 0),
    ] {
        let options = world.peer.options().clone();
        let (ceilings, first) = (Ceilings::default(), SessionId(1));
        let mut peer = Peer::owned(options, ceilings, Seeds(3, 4), first, world.now).unwrap();
        peer.load_reset();
        peer.load_snapshot(&body).unwrap();
        let digest = SnapshotDigest {
            zxid: Zxid(of as i64),
            version: TxnDigest::VERSION,
            tree_digest: digests[of - 1].digest ^ wrong,
        };
        peer.load_snapshot_end(Zxid(2), Some(digest));
        for (_, entry) in &world.log[2..log_ends] {
            peer.load_txn(entry).unwrap();
        }
        peer.serve(world.now);
        assert_eq!(peer.stats().digest_mismatches, mismatches, "{of} {wrong} {log_ends}");
        assert_eq!(peer.tree().digest(), digests[log_ends - 1].digest);
    }
}
