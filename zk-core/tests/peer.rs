//! A standalone peer through its border: sessions, writes, reads, watches, restarts.

mod support;

use support::{World, create, encode, options};
use zk_core::id::{SessionId, Xid, Zxid};
use zk_core::peer::{Ceilings, Options, Peer, Received};
use zk_core::tree::snapshot::IMAGE_MORE;
use zk_core::wire::client::{
    AuthPacket, Create2Reply, GetDataReply, PathMode, PathRecord, PathVersion, PathWatch,
    ReplyHeader, RequestHeader, SetAclRequest, SetDataRequest, Stat, WatcherEvent,
};
use zk_core::wire::file::{END, SnapshotNode, StatPersisted};
use zk_core::wire::jute::{self, Buffer, List, Trailing, Ustring};
use zk_core::wire::{Code, OpCode};

fn watch(path: &str) -> PathWatch<'_> {
    PathWatch { path: path.into(), watch: true }
}

fn read(path: &str) -> PathWatch<'_> {
    PathWatch { path: path.into(), watch: false }
}

fn set<'a>(path: &'a str, data: &'a [u8], version: i32) -> SetDataRequest<'a> {
    SetDataRequest { path: path.into(), data: data.into(), version }
}

/// A request as it comes, in its frame.
fn framed(xid: i32, op: OpCode, body: &impl serde::Serialize) -> Vec<u8> {
    let mut payload = encode(&RequestHeader { xid: Xid(xid), op });
    payload.extend(encode(body));
    let mut frame = (payload.len() as u32).to_be_bytes().to_vec();
    frame.extend(payload);
    frame
}

/// The beginning of a frame that its shell cannot show whole waits, and holds up nothing before it.
#[test]
fn a_frame_that_comes_in_parts_waits_until_it_is_whole() {
    let mut world = World::with(Options { max_shown: 60, max_waiting: 400, ..options() });
    let client = world.connect();
    let (link, now) = (client.link, world.now);
    let taken = |consumed| Received { consumed, need: 1 };
    let first = framed(1, OpCode::Create, &create("/a", b"", 0));
    let second = framed(2, OpCode::SetData, &set("/a", &[7; 300], 0));
    let third = framed(3, OpCode::SetData, &set("/a", &[8; 100], 1));
    assert_eq!(world.peer.receive(now, link, &first).consumed, first.len());
    assert_eq!(world.peer.receive(now, link, &second[..50]), taken(50));
    assert_eq!(world.peer.receive(now, link, &[]), taken(0));
    // The one before it is answered meanwhile, and time goes on.
    world.settle();
    assert_eq!(world.frames(link).len(), 1);
    world.pass(1000);
    assert!(world.frames(link).is_empty());
    assert_eq!(world.peer.tree().last_zxid(), Zxid(2));
    // Its end, and the beginning of another, for which there is no room before it is answered.
    let last = [&second[50..], &third[..50]].concat();
    let blocked = Received { consumed: second.len() - 50, need: 0 };
    assert_eq!(world.peer.receive(world.now, link, &last), blocked);
    while world.peer.poll_link().is_some() {}
    world.settle();
    assert_eq!(world.peer.poll_link(), Some(link));
    assert_eq!(world.frames(link).len(), 1);
    assert_eq!(world.peer.receive(world.now, link, &third[..50]), taken(50));
    assert_eq!(
        world.peer.receive(world.now, link, &third[50..]),
        Received { consumed: third.len() - 50, need: 4 }
    );
    world.settle();
    let reply = world.frames(link).remove(0);
    let header: ReplyHeader = jute::decode(&reply).unwrap();
    assert_eq!((header.xid, header.err), (Xid(3), Code::Ok));
    // A connection that is closed in the middle of one leaves nothing to the next.
    assert_eq!(world.peer.receive(world.now, link, &second[..50]), taken(50));
    world.peer.closed(world.now, link);
    let mut next = world.connect();
    assert_eq!(world.call(&mut next, OpCode::GetData, &read("/a")).err(), Code::Ok);
    // No handshake is that long.
    let stranger = world.peer.open(world.now, std::net::Ipv4Addr::LOCALHOST.into()).unwrap();
    world.peer.receive(world.now, stranger, &second[..50]);
    assert!(world.peer.is_closing(stranger));
}

#[test]
fn a_session_writes_and_reads() {
    // The last two see frames in parts, which wait in the peer until they are whole.
    let whole = usize::MAX;
    for (fragment, max_shown) in
        [(1, whole), (7, whole), (64, whole), (whole, whole), (7, 60), (60, 60)]
    {
        let mut world = World::with(Options { max_shown, ..options() });
        world.fragment = fragment;
        let mut client = world.connect();
        assert_eq!(client.session, SessionId(0x0100_0000_0000_0001));
        assert_eq!(client.timeout, 10_000);
        let reply = world.create(&mut client, "/a", 0);
        assert_eq!(reply.header.zxid, Zxid(2));
        assert_eq!(reply.read::<Ustring<'_>>(), "/a".into());
        assert_eq!(world.create(&mut client, "/a", 0).err(), Code::NodeExists);
        let reply = world.call(&mut client, OpCode::Create2, &create("/a/s-", b"x", 3));
        let created: Create2Reply<'_> = reply.read();
        assert_eq!(created.path, "/a/s-0000000000".into());
        assert_eq!(created.stat.ephemeral_owner, client.session.0);
        let reply = world.call(&mut client, OpCode::GetData, &read("/a"));
        // The failed create took a zxid, too.
        assert_eq!(reply.header.zxid, Zxid(4));
        let data: GetDataReply<'_> = reply.read();
        assert_eq!(data.data.bytes(), b"data");
        assert_eq!((data.stat.num_children, data.stat.cversion), (1, 1));
        let reply = world.call(&mut client, OpCode::SetData, &set("/a", b"new", 0));
        assert_eq!(reply.read::<Stat>().version, 1);
        assert_eq!(
            world.call(&mut client, OpCode::SetData, &set("/a", b"new", 0)).err(),
            Code::BadVersion
        );
        let delete = PathVersion { path: "/a".into(), version: -1 };
        assert_eq!(world.call(&mut client, OpCode::Delete, &delete).err(), Code::NotEmpty);
        assert_eq!(world.peer.stats().digest_mismatches, 0);
        // Closing takes the ephemeral node along.
        world.call(&mut client, OpCode::CloseSession, &());
        assert!(world.peer.is_closing(client.link));
        world.peer.closed(world.now, client.link);
        let mut other = world.connect();
        let reply = world.call(&mut other, OpCode::GetChildren, &read("/a"));
        assert!(reply.read::<List<'_, Ustring<'_>>>().is_empty());
        assert_eq!(world.peer.stats().digest_mismatches, 0);
    }
}

#[test]
fn the_root_changes_like_any_node() {
    let mut world = World::new();
    let mut client = world.connect();
    let reply = world.call(&mut client, OpCode::SetData, &set("/", b"data", 0));
    assert_eq!(reply.read::<Stat>().version, 1);
    let acl = SetAclRequest { path: "/".into(), acl: support::open_acl(), version: 0 };
    assert_eq!(world.call(&mut client, OpCode::SetAcl, &acl).read::<Stat>().aversion, 1);
    world.create(&mut client, "/a", 0);
    assert_eq!(world.peer.stats().digest_mismatches, 0);
    let digest = world.peer.tree().digest();
    world.restart();
    assert_eq!(world.peer.tree().digest(), digest);
}

#[test]
fn nothing_is_answered_or_seen_before_it_is_durable() {
    let mut world = World::new();
    let mut writer = world.connect();
    let mut reader = world.connect();
    world.ask(&mut writer, OpCode::Create, &create("/a", b"", 0));
    world.write();
    assert!(world.frames(writer.link).is_empty());
    assert_eq!(world.call_now(&mut reader, OpCode::Exists, &read("/a")).err(), Code::NoNode);
    // Pipelined: validated against what is proposed, answered in order.
    world.ask(&mut writer, OpCode::Create, &create("/a/b", b"", 0));
    world.ask(&mut writer, OpCode::Exists, &read("/a/b"));
    world.ask(&mut writer, OpCode::SetData, &set("/a/b", b"1", 0));
    world.ask(&mut writer, OpCode::GetData, &read("/a/b"));
    assert!(world.frames(writer.link).is_empty());
    world.settle();
    let frames = world.frames(writer.link);
    let headers: Vec<ReplyHeader> =
        frames.iter().map(|frame| jute::decode(frame).unwrap()).collect();
    assert_eq!(headers.iter().map(|h| h.xid.0).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    assert!(headers.iter().all(|h| h.err == Code::Ok));
    // The read before the second write was answered from the tree before it.
    assert_eq!(jute::decode::<Stat>(&frames[2][16..]).unwrap().version, 0);
    assert_eq!(jute::decode::<GetDataReply<'_>>(&frames[4][16..]).unwrap().stat.version, 1);
    assert_eq!(world.peer.stats().digest_mismatches, 0);
}

impl World {
    /// A call that needs no disk.
    fn call_now(
        &mut self,
        client: &mut support::Client,
        op: OpCode,
        body: &impl serde::Serialize,
    ) -> support::Reply {
        self.ask(client, op, body);
        let frame = self.frames(client.link).pop().unwrap();
        support::Reply {
            events: vec![],
            header: jute::decode(&frame).unwrap(),
            body: frame[16..].to_vec(),
        }
    }
}

#[test]
fn watches_fire_once_and_before_the_reply() {
    let mut world = World::new();
    let mut client = world.connect();
    assert_eq!(world.call(&mut client, OpCode::Exists, &watch("/a")).err(), Code::NoNode);
    let reply = world.create(&mut client, "/a", 0);
    assert_eq!(reply.events.len(), 1);
    let header: ReplyHeader = jute::decode(&reply.events[0]).unwrap();
    assert_eq!((header.xid, header.zxid), (Xid::EVENT, reply.header.zxid));
    let event: WatcherEvent<'_> = jute::decode(&reply.events[0][16..]).unwrap();
    assert_eq!((event.kind, event.state, event.path), (1, 3, "/a".into()));
    assert!(world.call(&mut client, OpCode::SetData, &set("/a", b"", -1)).events.is_empty());
    // Persistent and recursive: one event for one change.
    let add = |mode| PathMode { path: "/a".into(), mode };
    world.call(&mut client, OpCode::AddWatch, &add(0));
    world.call(&mut client, OpCode::AddWatch, &add(1));
    for version in 1..4 {
        let reply = world.call(&mut client, OpCode::SetData, &set("/a", b"", version));
        assert_eq!(reply.events.len(), 1);
    }
    // A child: the persistent watch hears of the list, the recursive one of the node.
    assert_eq!(world.create(&mut client, "/a/b", 0).events.len(), 2);
    let remove = PathMode { path: "/a".into(), mode: 3 };
    assert_eq!(world.call(&mut client, OpCode::RemoveWatches, &remove).err(), Code::Ok);
    assert_eq!(world.call(&mut client, OpCode::RemoveWatches, &remove).err(), Code::NoWatcher);
    assert!(world.peer.watches().is_empty());
}

#[test]
fn sessions_expire_and_take_their_nodes_along() {
    let mut world = World::new();
    let (mut a, mut b) = (world.connect(), world.connect());
    world.create(&mut a, "/e", 1);
    world.call(&mut b, OpCode::Exists, &watch("/e"));
    let mut events = vec![];
    for _ in 0..12 {
        world.pass(1000);
        events.extend(world.call(&mut b, OpCode::Ping, &()).events);
    }
    // Only the session that was heard of is left.
    assert_eq!(events.len(), 1);
    let event: WatcherEvent<'_> = jute::decode(&events[0][16..]).unwrap();
    assert_eq!((event.kind, event.path), (2, "/e".into()));
    assert!(world.peer.is_closing(a.link) && !world.peer.is_closing(b.link));
    assert_eq!((world.peer.sessions().len(), world.peer.stats().expired), (1, 1));
    assert_eq!(world.peer.stats().digest_mismatches, 0);
}

#[test]
fn a_multi_is_all_or_nothing() {
    use zk_core::wire::client::MultiHeader;
    let mut world = World::new();
    let mut client = world.connect();
    let header = |op| MultiHeader { op, done: false, err: -1 };
    let body = |second: &str| {
        let mut body = encode(&(header(OpCode::Create), create("/m", b"", 0)));
        body.extend(encode(&(header(OpCode::Create2), create(second, b"", 0))));
        body.extend(encode(&(header(OpCode::SetData), set("/m", b"x", 0))));
        body.extend(encode(&MultiHeader::END));
        body
    };
    let raw = |world: &mut World, client: &mut support::Client, body: &[u8]| {
        client.xid += 1;
        let mut payload = encode(&(Xid(client.xid), OpCode::Multi));
        payload.extend_from_slice(body);
        world.send(client, &payload);
        world.settle();
        world.frames(client.link).pop().unwrap()
    };
    let failed = raw(&mut world, &mut client, &body("/no/parent"));
    let expected = [
        &[0xff; 4][..],
        &[0],
        &[0; 4],
        &[0; 4],
        &[0xff; 4],
        &[0],
        &[0xff, 0xff, 0xff, 0x9b],
        &[0xff, 0xff, 0xff, 0x9b],
        &[0xff; 4],
        &[0],
        &[0xff, 0xff, 0xff, 0xfe],
        &[0xff, 0xff, 0xff, 0xfe],
        &[0xff; 4],
        &[1],
        &[0xff; 4],
    ]
    .concat();
    assert_eq!(failed[12..16], [0; 4]);
    assert_eq!(failed[16..], expected);
    assert_eq!(world.call(&mut client, OpCode::Exists, &read("/m")).err(), Code::NoNode);
    raw(&mut world, &mut client, &body("/m/child"));
    assert_eq!(
        world
            .call(&mut client, OpCode::GetData, &read("/m"))
            .read::<GetDataReply<'_>>()
            .stat
            .version,
        1
    );
    assert_eq!(world.peer.stats().digest_mismatches, 0);
    // Replays to the same.
    let digest = world.peer.tree().digest();
    world.restart();
    assert_eq!(world.peer.tree().digest(), digest);
    assert!(world.peer.tree().find(b"/m/child").is_some());
}

#[test]
fn a_parent_after_two_billion_children_keeps_its_digest() {
    use zk_core::wire::txn::{CreateTxn, TxnHeader};
    let mut world = World::new();
    let mut client = world.connect();
    world.create(&mut client, "/a", 0);
    // The count of creations can go no further.
    let header = TxnHeader {
        client_id: client.session,
        cxid: Xid(9),
        zxid: Zxid(3),
        time: world.now.wall,
        op: OpCode::Create,
    };
    let txn = CreateTxn {
        path: "/a/last".into(),
        data: (&b""[..]).into(),
        acl: support::open_acl(),
        ephemeral: false,
        parent_cversion: Trailing(Some(i32::MAX)),
    };
    world.log.push((Zxid(3), encode(&(header, txn))));
    world.restart();
    let mut client = world.connect();
    assert_eq!(world.create(&mut client, "/a/one", 0).err(), Code::Ok);
    let reply = world.create(&mut client, "/a/s-", 2);
    assert_eq!(reply.read::<Ustring<'_>>(), "/a/s-2147483647".into());
    assert_eq!(world.create(&mut client, "/a/s-", 2).err(), Code::NodeExists);
    assert_eq!(world.peer.stats().digest_mismatches, 0);
}

#[test]
fn a_session_survives_a_restart() {
    let mut world = World::new();
    let mut client = world.connect();
    world.create(&mut client, "/e", 1);
    world.create(&mut client, "/p", 0);
    world.restart();
    let wrong = world.connect_as(client.session, &[1; 16]);
    assert_eq!((wrong.session, wrong.timeout), (SessionId::NONE, 0));
    assert!(world.peer.is_closing(wrong.link));
    let (session, passwd) = (client.session, client.passwd.clone());
    let mut client = world.connect_as(session, &passwd);
    assert_eq!(client.session, session);
    assert_eq!(world.call(&mut client, OpCode::Exists, &read("/e")).err(), Code::Ok);
    // A second connection takes the session over.
    let again = world.connect_as(session, &passwd);
    assert_eq!(again.session, session);
    assert!(world.peer.is_closing(client.link) && !world.peer.is_closing(again.link));
    // New sessions have new ids.
    assert_ne!(world.connect().session, session);
}

#[test]
fn identities_open_what_lists_close() {
    let mut world = World::new();
    let (mut owner, mut other) = (world.connect(), world.connect());
    let auth = AuthPacket { kind: 0, scheme: "digest".into(), auth: (&b"bob:pw"[..]).into() };
    world.call(&mut owner, OpCode::Auth, &auth);
    let acl = encode(&zk_core::wire::client::Acl {
        perms: 31,
        id: zk_core::wire::client::Id { scheme: "auth".into(), id: "".into() },
    });
    let mut request = create("/secret", b"s", 0);
    request.acl = List::from_raw(1, &acl);
    assert_eq!(world.call(&mut other, OpCode::Create, &request).err(), Code::InvalidAcl);
    assert_eq!(world.call(&mut owner, OpCode::Create, &request).err(), Code::Ok);
    assert_eq!(world.call(&mut other, OpCode::GetData, &watch("/secret")).err(), Code::NoAuth);
    assert_eq!(world.call(&mut owner, OpCode::GetData, &read("/secret")).err(), Code::Ok);
    // An event about what one may not read is not told.
    let add = PathMode { path: "/secret".into(), mode: 0 };
    world.call(&mut other, OpCode::AddWatch, &add);
    world.call(&mut owner, OpCode::SetData, &set("/secret", b"t", -1));
    assert!(world.frames(other.link).is_empty());
    let bad = AuthPacket { scheme: "nosuch".into(), ..auth };
    assert_eq!(world.call(&mut other, OpCode::Auth, &bad).err(), Code::AuthFailed);
    assert!(world.peer.is_closing(other.link));
}

/// Each entry of a scheme "auth" stands for all identities: the list is far longer than the request, and than
/// any request before.
#[test]
fn a_list_may_be_longer_than_its_request() {
    let mut world = World::new();
    let mut owner = world.connect();
    for user in 0..10 {
        let auth = format!("user{user}:pw");
        let auth = AuthPacket { kind: 0, scheme: "digest".into(), auth: auth.as_bytes().into() };
        world.call(&mut owner, OpCode::Auth, &auth);
    }
    let id = zk_core::wire::client::Id { scheme: "auth".into(), id: "".into() };
    let entries = [1, 2, 4, 8].map(|perms| encode(&zk_core::wire::client::Acl { perms, id }));
    let entries = entries.concat();
    let mut request = create("/many", b"", 0);
    request.acl = List::from_raw(4, &entries);
    assert!(encode(&request).len() < 128);
    assert_eq!(world.call(&mut owner, OpCode::Create, &request).err(), Code::Ok);
    let tree = world.peer.tree();
    assert!(tree.acls().bytes() > 1500, "{}", tree.acls().bytes());
}

/// A node is longer in a snapshot than in the shortest transaction that can have written it.
#[test]
fn what_the_longest_transaction_has_written_is_loaded() {
    let options = Options { max_txn: 600, ..options() };
    let now = zk_core::time::Now::new(0, 0);
    for (len, loaded) in [(600 + IMAGE_MORE, true), (601 + IMAGE_MORE, false)] {
        let session = SessionId(1);
        let seeds = zk_core::tree::Seeds(1, 2);
        let mut peer =
            Peer::owned(options.clone(), Ceilings::default(), seeds, session, now).unwrap();
        let mut body = encode(&(0i32, 0i32));
        let data = vec![7; len - "/a".len() - 2 * 4 - SnapshotNode::TAIL];
        for (path, data) in [(&b""[..], Buffer::NULL), (b"/a", Buffer::new(&data))] {
            let node = SnapshotNode { data, acl: -1, stat: StatPersisted::default() };
            body.extend(encode(&(Ustring::new(path), node)));
        }
        // All but its last byte is shown: the rest may still come, or there is too much of it.
        let shown = peer.load_snapshot(&body[..body.len() - 1]);
        assert_eq!(shown.map(|taken| taken.need).ok(), loaded.then_some(len), "{len}");
    }
}

/// A file may say that a parent's children changed later than they can have: what goes leaves that as
/// it is, in the tree and in the digest that is promised.
#[test]
fn deletions_below_a_parent_that_is_ahead_keep_the_digest() {
    let ahead = Zxid(i64::MAX >> 1);
    let stat = StatPersisted { cversion: i32::MAX, pzxid: ahead, ..StatPersisted::default() };
    let node = SnapshotNode { data: Buffer::NULL, acl: -1, stat };
    let mut body = encode(&(0i32, 0i32));
    for path in [&b""[..], b"/a", b"/a/b"] {
        body.extend(encode(&(Ustring::new(path), node)));
    }
    body.extend(encode(&END));
    let mut world = World::new();
    world.snapshot = Some((Zxid(9), body));
    world.log.clear();
    world.restart();
    let mut client = world.connect();
    world.create(&mut client, "/a/ephemeral", 1).read::<Ustring<'_>>();
    let delete = PathVersion { path: "/a/b".into(), version: -1 };
    assert_eq!(world.call(&mut client, OpCode::Delete, &delete).err(), Code::Ok);
    assert_eq!(world.peer.stats().digest_mismatches, 0, "a node");
    world.call(&mut client, OpCode::CloseSession, &());
    assert_eq!(world.peer.stats().digest_mismatches, 0, "a session's nodes");
    let at = world.peer.tree().find(b"/a").unwrap();
    assert_eq!(world.peer.tree().stat(at).pzxid, ahead);
}

#[test]
fn unknown_operations_end_the_connection() {
    for op in
        [OpCode(99), OpCode::Check, OpCode::CreateSession, OpCode::Error, OpCode::DeleteContainer]
    {
        let mut world = World::new();
        let mut client = world.connect();
        let reply = world.call(&mut client, op, &PathRecord { path: "/".into() });
        assert_eq!((reply.err(), reply.header.zxid), (Code::Unimplemented, Zxid::NONE));
        assert!(world.peer.is_closing(client.link));
    }
}

#[test]
fn long_paths_and_long_lists_are_no_different() {
    let mut world = World::new();
    let (mut owner, mut other) = (world.connect(), world.connect());
    let mut path = String::new();
    for _ in 0..20 {
        path.push('/');
        path.push_str(&"p".repeat(200));
        assert_eq!(world.create(&mut owner, &path, 0).err(), Code::Ok);
    }
    let container = format!("{path}/{}", "c".repeat(2000));
    assert_eq!(
        world.call(&mut owner, OpCode::CreateContainer, &create(&container, b"", 4)).err(),
        Code::Ok
    );
    world.create(&mut owner, &format!("{container}/child"), 0);
    let child = format!("{container}/child");
    let delete = PathVersion { path: child.as_str().into(), version: -1 };
    assert_eq!(world.call(&mut owner, OpCode::Delete, &delete).err(), Code::Ok);
    // A list of many kilobytes, whose last entry is the one that counts.
    let mut entries = vec![];
    for i in 0..900 {
        let id = format!("user{i}:{}", "h".repeat(28));
        entries.extend(encode(&zk_core::wire::client::Acl {
            perms: 1,
            id: zk_core::wire::client::Id { scheme: "digest".into(), id: id.as_str().into() },
        }));
    }
    entries.extend(encode(&zk_core::wire::client::Acl {
        perms: 1,
        id: zk_core::wire::client::Id { scheme: "ip".into(), id: "127.0.0.1".into() },
    }));
    let long = format!("{path}/e");
    let mut request = create(&long, b"x", 1);
    request.acl = List::from_raw(901, &entries);
    assert_eq!(world.call(&mut owner, OpCode::Create, &request).err(), Code::Ok);
    assert_eq!(world.call(&mut other, OpCode::GetData, &watch(&long)).err(), Code::Ok);
    let reply = world.call(&mut other, OpCode::GetAcl, &PathRecord { path: long.as_str().into() });
    let shown = String::from_utf8_lossy(&reply.body).into_owned();
    assert!(shown.contains("user899:x") && !shown.contains("hhhh"), "secrets are hidden");
    let all = PathRecord { path: "".into() };
    let reply = world.call(&mut owner, OpCode::GetEphemerals, &all);
    assert_eq!(reply.read::<List<'_, Ustring<'_>>>().iter().next(), Some(long.as_str().into()));
    // The session goes, its node with it; who may read it hears of it.
    world.call(&mut owner, OpCode::CloseSession, &());
    assert!(world.peer.tree().find(long.as_bytes()).is_none());
    assert_eq!(world.frames(other.link).len(), 1);
    // The container goes, too.
    for _ in 0..70 {
        world.pass(1000);
        world.call(&mut other, OpCode::Ping, &());
    }
    assert!(world.peer.tree().find(container.as_bytes()).is_none());
    assert_eq!(world.peer.stats().digest_mismatches, 0);
    world.restart();
    assert!(world.peer.tree().find(path.as_bytes()).is_some());
}

/// However long the list of a closeSession is, also where it just fits the room that is tried first
/// and what comes behind it does not: the session is closed, and not taken for closed before.
#[test]
fn a_session_is_closed_however_long_its_list_is() {
    let mut world = World::new();
    let mut other = world.connect();
    for len in 1000..1300 {
        let mut client = world.connect();
        let path = format!("/{}", "e".repeat(len));
        assert_eq!(world.create(&mut client, &path, 1).err(), Code::Ok);
        let reply = world.call(&mut client, OpCode::CloseSession, &());
        assert_eq!(reply.err(), Code::Ok, "{len}");
        world.peer.closed(world.now, client.link);
        assert_eq!(world.call(&mut other, OpCode::Exists, &read(&path)).err(), Code::NoNode);
    }
    assert_eq!(world.peer.sessions().len(), 1);
    assert_eq!(world.peer.stats().digest_mismatches, 0);
}
