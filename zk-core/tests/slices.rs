//! Operations that take long, in slices: others are served between two slices, and what a client is
//! told is nevertheless the state of one moment.

mod support;

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use support::{Client, World, create, encode, options};
use zk_core::id::{SessionId, Xid, Zxid};
use zk_core::peer::{Ceilings, Options, Peer};
use zk_core::time::Now;
use zk_core::tree::{DataTree, Seeds};
use zk_core::wire::client::{
    MultiHeader, PathRecord, PathVersion, PathWatch, ReplyHeader, SetDataRequest, SetWatches, Stat,
    WatcherEvent,
};
use zk_core::wire::jute::{self, List, Reader, Ustring};
use zk_core::wire::{Code, OpCode};

fn sliced(slice: usize) -> World {
    World::with(Options { slice, ..options() })
}

fn watch(path: &str) -> PathWatch<'_> {
    PathWatch { path: path.into(), watch: true }
}

fn gone(path: &str) -> PathVersion<'_> {
    PathVersion { path: path.into(), version: -1 }
}

impl World {
    /// Whether a slice is left to do.
    fn is_busy(&self) -> bool {
        self.peer.poll_timeout().is_some_and(|at| at <= self.now.monotonic)
    }

    /// Does a slice; the transactions that wait are written, and durable.
    fn slice(&mut self) {
        self.write();
        self.sync();
        self.peer.tick(self.now);
    }
}

fn names(body: &[u8]) -> Vec<String> {
    let list: List<'_, Ustring<'_>> = jute::decode(body).unwrap();
    list.iter().map(|name| String::from_utf8(name.bytes().to_vec()).unwrap()).collect()
}

fn header(frame: &[u8]) -> ReplyHeader {
    jute::decode(frame).unwrap()
}

fn event(frame: &[u8]) -> (Zxid, i32, String) {
    let header = header(frame);
    assert_eq!(header.xid, Xid::EVENT);
    let event: WatcherEvent<'_> = jute::decode(&frame[16..]).unwrap();
    (header.zxid, event.kind, String::from_utf8(event.path.bytes().to_vec()).unwrap())
}

#[test]
fn a_long_list_is_that_of_one_moment_and_others_are_served_meanwhile() {
    let mut world = sliced(4);
    let (mut reader, mut other) = (world.connect(), world.connect());
    world.create(&mut other, "/p", 0);
    for i in 0..20 {
        world.create(&mut other, &format!("/p/{i:02}"), 0);
    }
    let begun = world.peer.tree().last_zxid();
    let xid = world.ask(&mut reader, OpCode::GetChildren2, &watch("/p"));
    // Behind it, and in order.
    world.ask(
        &mut reader,
        OpCode::SetData,
        &SetDataRequest { path: "/p".into(), data: (&b"new"[..]).into(), version: -1 },
    );
    assert!(world.is_busy());
    world.peer.tick(world.now);
    assert!(world.frames(reader.link).is_empty());
    // The newest come first: 19 and 18 were told, 01 and 00 will not be there when they are come to.
    for path in ["/p/19", "/p/18", "/p/01", "/p/00"] {
        world.ask(&mut other, OpCode::Delete, &gone(path));
    }
    world.ask(&mut other, OpCode::Create, &create("/p/new", b"", 0));
    let mut pings = 0;
    let mut frames = vec![];
    while frames.is_empty() {
        world.ask(&mut other, OpCode::Ping, &());
        assert!(world.is_busy());
        world.slice();
        pings += world.frames(other.link).iter().filter(|f| header(f).xid == Xid::PING).count();
        frames = world.frames(reader.link);
    }
    assert!(pings >= 3, "only {pings} pings were answered between slices");
    assert_eq!((header(&frames[0]).xid, header(&frames[0]).zxid), (xid, begun));
    let mut list = names(&frames[0][16..]);
    list.sort();
    assert_eq!(list, (0..20).map(|i| format!("{i:02}")).collect::<Vec<_>>());
    let stat: Stat = jute::decode(&frames[0][frames[0].len() - 68..]).unwrap();
    assert_eq!((stat.num_children, stat.cversion, stat.pzxid), (20, 20, begun));
    // The event about the first change stays behind the reply that set the watch.
    assert_eq!(event(&frames[1]), (begun.successor(), 4, "/p".into()));
    assert_eq!(frames.len(), 2);
    world.settle();
    assert_eq!(world.frames(reader.link).len(), 1);
    assert_eq!(world.peer.tree().child_count(world.peer.tree().find(b"/p").unwrap()), 17);
    assert_eq!(world.peer.stats().digest_mismatches, 0);
}

#[test]
fn a_list_costs_nothing_when_its_reader_goes() {
    let mut world = sliced(4);
    let (mut a, mut b, mut c) = (world.connect(), world.connect(), world.connect());
    world.create(&mut c, "/p", 0);
    for i in 0..20 {
        world.create(&mut c, &format!("/p/{i:02}"), 0);
    }
    for client in [&mut a, &mut b] {
        world.ask(client, OpCode::GetChildren, &watch("/p"));
    }
    world.peer.tick(world.now);
    world.peer.closed(world.now, a.link);
    // The number is used again, the turn is not.
    let d = world.connect();
    assert_eq!(d.link, a.link);
    while world.is_busy() {
        world.peer.tick(world.now);
    }
    assert!(world.frames(d.link).is_empty());
    assert_eq!(names(&world.frames(b.link)[0][16..]).len(), 20);
    // Its session is closed over it.
    world.ask(&mut b, OpCode::GetChildren, &watch("/p"));
    world.peer.tick(world.now);
    let again = world.connect_as(b.session, &b.passwd.clone());
    assert_eq!(again.session, b.session);
    assert!(world.peer.is_closing(b.link) && world.peer.output(b.link).is_empty());
    assert!(!world.is_busy());
}

#[test]
fn a_list_that_fits_no_output_is_an_error_and_events_stay() {
    let mut world = World::with(Options { slice: 2, max_reply: 400, ..options() });
    let (mut reader, mut other) = (world.connect(), world.connect());
    world.create(&mut other, "/p", 0);
    for i in 0..20 {
        world.create(&mut other, &format!("/p/{i:020}"), 0);
    }
    world.call(&mut reader, OpCode::Exists, &watch("/p"));
    world.ask(&mut reader, OpCode::GetChildren, &watch("/p"));
    world.peer.tick(world.now);
    let set = SetDataRequest { path: "/p".into(), data: (&b""[..]).into(), version: -1 };
    world.ask(&mut other, OpCode::SetData, &set);
    world.slice();
    world.settle();
    let frames = world.frames(reader.link);
    // The event is told; when it is taken the list is tried alone.
    assert_eq!((frames.len(), event(&frames[0]).1), (1, 3));
    world.settle();
    let frames = world.frames(reader.link);
    assert_eq!((frames.len(), header(&frames[0]).err), (1, Code::MarshallingError));
    // What was not told is not watched, except by a watch that was there before.
    assert!(world.peer.watches().is_empty());
    let path = encode(&Ustring::from("/p"));
    let child = SetWatches {
        relative_zxid: world.peer.tree().last_zxid(),
        data: List::EMPTY,
        exist: List::EMPTY,
        child: List::from_raw(1, &path),
    };
    assert_eq!(world.call(&mut reader, OpCode::SetWatches, &child).err(), Code::Ok);
    let refused = world.call(&mut reader, OpCode::GetChildren, &watch("/p"));
    assert_eq!(refused.err(), Code::MarshallingError);
    assert_eq!(world.peer.watches().counts(), (0, 1));
    // One that fits alone waits until the output is empty.
    for i in 0..12 {
        world.call(&mut other, OpCode::Delete, &gone(&format!("/p/{i:020}")));
    }
    for _ in 0..2 {
        world.ask(&mut reader, OpCode::GetChildren, &PathWatch { watch: false, ..watch("/p") });
    }
    world.settle();
    let mut lists = 0;
    while lists < 2 {
        let frames = world.frames(reader.link);
        assert!(!frames.is_empty());
        world.settle();
        let replies = frames.iter().filter(|frame| header(frame).xid != Xid::EVENT);
        lists += replies.inspect(|frame| assert_eq!(names(&frame[16..]).len(), 8)).count();
    }
}

#[test]
fn watches_come_back_and_go_in_slices() {
    let mut world = sliced(4);
    let (mut reader, mut other) = (world.connect(), world.connect());
    for i in 0..20 {
        world.create(&mut other, &format!("/{i:02}"), 0);
    }
    let seen = world.peer.tree().last_zxid();
    let paths: Vec<String> = (0..20).map(|i| format!("/{i:02}")).collect();
    let raw: Vec<u8> = paths.iter().flat_map(|p| encode(&Ustring::from(p.as_str()))).collect();
    let body = SetWatches {
        relative_zxid: seen,
        data: List::from_raw(20, &raw),
        exist: List::EMPTY,
        child: List::from_raw(20, &raw),
    };
    world.ask(&mut reader, OpCode::SetWatches, &body);
    world.peer.tick(world.now);
    world.peer.tick(world.now);
    // One that is watched again already, and one that is not.
    for path in ["/00", "/19"] {
        let set = SetDataRequest { path: path.into(), data: (&b""[..]).into(), version: -1 };
        world.ask(&mut other, OpCode::SetData, &set);
    }
    world.slice();
    world.settle();
    let frames = world.frames(reader.link);
    // What was found changed is told before the reply, as a change that was missed.
    assert_eq!(event(&frames[0]), (Zxid::NONE, 3, "/19".into()));
    assert_eq!((header(&frames[1]).xid.0, header(&frames[1]).zxid), (1, seen));
    assert_eq!(event(&frames[2]), (Zxid(seen.0 + 1), 3, "/00".into()));
    assert_eq!(frames.len(), 3);
    // Data watches of two nodes are gone, child watches are not.
    assert_eq!(world.peer.watches().len(), 20);
    world.peer.closed(world.now, reader.link);
    assert_eq!(world.peer.watches().len(), 16);
    // Nobody hears of changes any more, least of all who has the number next.
    let mut third = world.connect();
    assert_ne!(third.link, reader.link);
    world.peer.closed(world.now, third.link);
    third = world.connect();
    world.call(&mut other, OpCode::Delete, &gone("/05"));
    assert!(world.frames(third.link).is_empty());
    world.settle();
    assert_eq!((world.peer.watches().len(), world.peer.watches().path_count()), (0, 0));
    let fourth = world.connect();
    assert_eq!(fourth.link, reader.link);
}

#[test]
fn a_count_is_that_of_its_end() {
    let mut world = sliced(4);
    let (mut reader, mut other) = (world.connect(), world.connect());
    world.create(&mut other, "/p", 0);
    for i in 0..20 {
        world.create(&mut other, &format!("/p/{i:02}"), 0);
    }
    let count = PathRecord { path: "/p".into() };
    world.ask(&mut reader, OpCode::GetAllChildrenNumber, &count);
    world.peer.tick(world.now);
    world.peer.tick(world.now);
    world.ask(&mut other, OpCode::Delete, &gone("/p/00"));
    world.ask(&mut other, OpCode::Delete, &gone("/p/19"));
    world.ask(&mut other, OpCode::Create, &create("/p/a", b"", 0));
    world.ask(&mut other, OpCode::Create, &create("/p/a/b", b"", 0));
    world.ask(&mut other, OpCode::Create, &create("/q", b"", 0));
    world.write();
    world.sync();
    world.settle();
    let frames = world.frames(reader.link);
    assert_eq!(header(&frames[0]).zxid, world.peer.tree().last_zxid());
    assert_eq!(jute::decode::<i32>(&frames[0][16..]).unwrap(), 20);
    // The node itself goes.
    for path in (1..19).map(|i| format!("/p/{i:02}")).skip(6) {
        world.call(&mut other, OpCode::Delete, &gone(&path));
    }
    world.ask(&mut reader, OpCode::GetAllChildrenNumber, &count);
    world.peer.tick(world.now);
    for path in ["/p/a/b", "/p/a", "/p/01", "/p/02", "/p/03", "/p/04", "/p/05", "/p/06", "/p"] {
        world.ask(&mut other, OpCode::Delete, &gone(path));
    }
    world.write();
    world.sync();
    for _ in 0..9 {
        world.peer.durable(world.now, world.peer.tree().last_zxid().successor()).unwrap();
    }
    world.settle();
    let frames = world.frames(reader.link);
    assert_eq!(header(&frames[0]).err, Code::NoNode);
}

#[test]
fn many_sessions_expire_in_slices() {
    let mut world = sliced(16);
    let mut clients: Vec<Client> = (0..9).map(|_| world.connect()).collect();
    for (i, client) in clients.iter_mut().enumerate() {
        world.create(client, &format!("/{i}"), 1);
    }
    world.now.monotonic = world.now.monotonic.plus(60_000);
    world.peer.tick(world.now);
    // Each counts as much as its nodes and itself.
    assert_eq!(world.peer.stats().expired, 1);
    assert!(world.is_busy());
    world.settle();
    assert_eq!(world.peer.stats().expired, 9);
    assert_eq!((world.peer.sessions().len(), world.peer.tree().ephemeral_count()), (0, 0));
}

fn stats(world: &World) -> String {
    let tree = world.peer.tree();
    let at = tree.find(b"/zookeeper/quota/p/zookeeper_stats").unwrap();
    let bytes = tree.data(at).unwrap().1.flatten().copied().collect();
    assert_eq!(tree.node(at).stat().version, 0);
    String::from_utf8(bytes).unwrap()
}

#[test]
fn a_quota_is_filled_in_slices() {
    let script = |slice: usize| {
        let mut world = sliced(slice);
        let mut client = world.connect();
        world.create(&mut client, "/p", 0);
        for i in 0..20 {
            world.create(&mut client, &format!("/p/{i:02}"), 0);
        }
        world.create(&mut client, "/zookeeper/quota/p", 0);
        world.create(&mut client, "/zookeeper/quota/p/zookeeper_limits", 0);
        world.ask(
            &mut client,
            OpCode::Create,
            &create("/zookeeper/quota/p/zookeeper_stats", b"count=7", 0),
        );
        world.write();
        world.sync();
        let set = |path: &'static str, data: &'static [u8]| SetDataRequest {
            path: path.into(),
            data: data.into(),
            version: -1,
        };
        for round in 0..3 {
            assert!(round > 0 || slice > 100 || world.is_busy());
            match round {
                0 => {
                    world.ask(&mut client, OpCode::SetData, &set("/p/19", b"1234567"));
                    world.ask(&mut client, OpCode::Delete, &gone("/p/18"));
                    world.ask(&mut client, OpCode::Create, &create("/p/19/x", b"12", 0));
                }
                1 => {
                    world.ask(&mut client, OpCode::SetData, &set("/p/00", b""));
                    world.ask(&mut client, OpCode::Delete, &gone("/p/01"));
                    world.ask(&mut client, OpCode::Create, &create("/p/00/x", b"12", 0));
                }
                _ => {}
            }
            for _ in 0..4 {
                world.slice();
            }
        }
        world.settle();
        stats(&world)
    };
    // 21 nodes of 4 bytes each; then two more, two less.
    let whole = script(4096);
    assert_eq!(whole, "count=21,bytes=79");
    for slice in [1, 2, 5, 8, 16] {
        assert_eq!(script(slice), whole);
    }
}

#[test]
fn counters_that_a_client_takes_over_are_not_filled() {
    let mut world = sliced(2);
    let mut client = world.connect();
    world.create(&mut client, "/p", 0);
    for i in 0..20 {
        world.create(&mut client, &format!("/p/{i:02}"), 0);
    }
    world.create(&mut client, "/zookeeper/quota/p", 0);
    world.create(&mut client, "/zookeeper/quota/p/zookeeper_limits", 0);
    let path = "/zookeeper/quota/p/zookeeper_stats";
    // Deleted and made again in the middle, then written by a client.
    for _ in 0..2 {
        world.ask(&mut client, OpCode::Create, &create(path, b"", 0));
        world.slice();
        world.slice();
        assert!(world.is_busy());
        world.ask(&mut client, OpCode::Delete, &gone(path));
        world.slice();
    }
    // What has the number next is left alone.
    world.ask(&mut client, OpCode::Create, &create("/other", b"data", 0));
    world.slice();
    world.settle();
    let data = |world: &World, path: &str| -> Vec<u8> {
        let at = world.peer.tree().find(path.as_bytes()).unwrap();
        world.peer.tree().data(at).unwrap().1.flatten().copied().collect()
    };
    assert_eq!(data(&world, "/other"), b"data");
    world.ask(&mut client, OpCode::Create, &create(path, b"", 0));
    world.settle();
    assert_eq!(stats(&world), "count=21,bytes=84");
    world.call(&mut client, OpCode::Delete, &gone(path));
    world.ask(&mut client, OpCode::Create, &create(path, b"", 0));
    world.slice();
    let set =
        SetDataRequest { path: path.into(), data: (&b"count=1,bytes=1"[..]).into(), version: 0 };
    world.ask(&mut client, OpCode::SetData, &set);
    world.slice();
    world.settle();
    assert_eq!(data(&world, path), b"count=1,bytes=1");
}

/// What there is after a transaction.
#[derive(Clone, Debug, Default)]
struct Picture {
    nodes: BTreeMap<String, Stat>,
}

impl Picture {
    fn of(tree: &DataTree<'_>) -> Self {
        fn visit(tree: &DataTree<'_>, at: zk_core::memory::Handle, out: &mut Picture) {
            let mut room = [0; 512];
            let path = tree.path_of(at, &mut room).unwrap().to_vec();
            out.nodes.insert(String::from_utf8(path).unwrap(), tree.stat(at));
            for child in tree.children(at) {
                visit(tree, child, out);
            }
        }
        let mut picture = Self::default();
        visit(tree, tree.find(b"/").unwrap(), &mut picture);
        picture
    }

    fn below<'a>(&'a self, path: &'a str) -> impl Iterator<Item = &'a str> {
        self.nodes.keys().filter_map(move |key| key.strip_prefix(path)?.strip_prefix('/'))
    }

    fn children(&self, path: &str) -> BTreeSet<String> {
        self.below(path).filter(|name| !name.contains('/')).map(Into::into).collect()
    }

    fn ephemerals(&self, session: SessionId) -> BTreeSet<String> {
        let own = |(_, stat): &(&String, &Stat)| stat.ephemeral_owner == session.0;
        self.nodes.iter().filter(own).map(|(path, _)| path.clone()).collect()
    }
}

/// A request that waits for its reply.
#[derive(Clone, Debug)]
struct Asked {
    xid: Xid,
    op: OpCode,
    path: String,
    watch: bool,
}

#[derive(Clone, Debug)]
enum Step {
    Ask { client: usize, op: u8, path: String, watch: bool },
    Write,
    Sync,
    Tick,
    Read { client: usize },
}

fn path() -> impl Strategy<Value = String> {
    proptest::collection::vec("[a-f]", 1..3)
        .prop_map(|names| names.iter().map(|name| format!("/{name}")).collect())
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        10 => (0..3usize, 0..12u8, path(), any::<bool>())
            .prop_map(|(client, op, path, watch)| Step::Ask { client, op, path, watch }),
        3 => Just(Step::Write),
        3 => Just(Step::Sync),
        6 => Just(Step::Tick),
        2 => (0..3usize).prop_map(|client| Step::Read { client }),
    ]
}

/// Clients that read, write and watch, and all that there ever was.
struct Run {
    world: World,
    clients: Vec<Client>,
    asked: Vec<Vec<Asked>>,
    last: Vec<Zxid>,
    /// Paths whose children a client watches, and since when.
    watched: Vec<BTreeMap<String, Zxid>>,
    pictures: BTreeMap<Zxid, Picture>,
    shadow: Peer<'static>,
    shadowed: usize,
    long: usize,
}

impl Run {
    fn new(slice: usize) -> Self {
        let mut world = sliced(slice);
        let clients: Vec<Client> = (0..3).map(|_| world.connect()).collect();
        let now = Now::new(0, 0);
        let shadow =
            Peer::owned(options(), Ceilings::default(), Seeds(3, 4), SessionId(1), now).unwrap();
        Self {
            world,
            clients,
            asked: vec![vec![]; 3],
            last: vec![Zxid::ZERO; 3],
            watched: vec![BTreeMap::new(); 3],
            pictures: BTreeMap::new(),
            shadow,
            shadowed: 0,
            long: 0,
        }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Ask { client, op, path, watch } => self.ask(*client, *op, path, *watch),
            Step::Write => self.world.write(),
            Step::Sync => self.world.sync(),
            Step::Tick => self.world.peer.tick(self.world.now),
            Step::Read { client } => self.read(*client),
        }
    }

    fn ask(&mut self, at: usize, op: u8, path: &str, watch: bool) {
        let client = &mut self.clients[at];
        let (op, body) = match op {
            0..=2 => (OpCode::Create, encode(&create(path, b"d", 0))),
            3 => (OpCode::Create, encode(&create(path, b"d", 1))),
            4..=5 => (OpCode::Delete, encode(&gone(path))),
            6 => (OpCode::GetChildren, encode(&PathWatch { path: path.into(), watch })),
            7 => (OpCode::GetChildren2, encode(&PathWatch { path: path.into(), watch })),
            8 => (OpCode::GetChildren2, encode(&PathWatch { path: "/".into(), watch })),
            9 => {
                let path = if watch { "/" } else { path };
                (OpCode::GetAllChildrenNumber, encode(&PathRecord { path: path.into() }))
            }
            10 => (OpCode::GetEphemerals, encode(&PathRecord { path: "/".into() })),
            _ => {
                let mut body = vec![];
                for path in ["/", path, "/a"] {
                    let header = MultiHeader { op: OpCode::GetChildren, done: false, err: -1 };
                    let read = PathWatch { path: path.into(), watch: false };
                    body.extend(encode(&(header, read)));
                }
                body.extend(encode(&MultiHeader::END));
                (OpCode::MultiRead, body)
            }
        };
        let root = [
            encode(&PathWatch { path: "/".into(), watch }),
            encode(&PathRecord { path: "/".into() }),
        ];
        let path = if root.contains(&body) { "/" } else { path };
        client.xid += 1;
        let xid = Xid(client.xid);
        let mut payload = encode(&(xid, op));
        payload.extend(body);
        self.asked[at].push(Asked { xid, op, path: path.into(), watch });
        let before = self.world.is_busy();
        self.world.send(client, &payload);
        self.long += usize::from(!before && self.world.is_busy());
    }

    /// The tree as it was right behind a transaction.
    fn at(&mut self, zxid: Zxid) -> &Picture {
        while self.shadowed < self.world.log.len() {
            let (zxid, txn) = &self.world.log[self.shadowed];
            self.shadow.load_txn(txn).unwrap();
            self.pictures.insert(*zxid, Picture::of(self.shadow.tree()));
            self.shadowed += 1;
        }
        &self.pictures[&zxid]
    }

    fn read(&mut self, client: usize) {
        for frame in self.world.frames(self.clients[client].link) {
            let head = header(&frame);
            if head.xid == Xid::EVENT {
                let (zxid, kind, path) = event(&frame);
                let since = self.watched[client].remove(&path);
                let since = since.unwrap_or_else(|| panic!("nobody watches {path}"));
                assert_eq!(self.next_change(&path, since), Some((zxid, kind)));
            } else {
                let asked = self.asked[client].remove(0);
                assert_eq!(head.xid, asked.xid);
                self.check(client, &asked, head, &frame[16..]);
            }
            assert!(head.zxid >= self.last[client], "zxids never go back");
            self.last[client] = head.zxid;
        }
    }

    /// The first change of a list of children after `since`, and the event about it.
    fn next_change(&mut self, path: &str, since: Zxid) -> Option<(Zxid, i32)> {
        let key = path.trim_end_matches('/');
        let before = *self.at(since).nodes.get(key)?;
        let (zxid, picture) = self
            .pictures
            .range(since.successor()..)
            .find(|(_, picture)| picture.nodes.get(key).is_none_or(|s| s.pzxid != before.pzxid))?;
        Some((*zxid, if picture.nodes.contains_key(key) { 4 } else { 2 }))
    }

    fn check(&mut self, client: usize, asked: &Asked, head: ReplyHeader, body: &[u8]) {
        let session = self.clients[client].session;
        let key = asked.path.trim_end_matches('/').to_owned();
        let picture = self.at(head.zxid);
        let stat = picture.nodes.get(&key).copied();
        let set = |body: &[u8]| {
            let list = names(body);
            let set: BTreeSet<String> = list.iter().cloned().collect();
            assert_eq!(set.len(), list.len(), "nothing is told twice");
            set
        };
        match asked.op {
            OpCode::GetChildren | OpCode::GetChildren2 | OpCode::GetAllChildrenNumber
                if stat.is_none() =>
            {
                assert_eq!(head.err, Code::NoNode);
                return;
            }
            OpCode::GetChildren => assert_eq!(set(body), picture.children(&key)),
            OpCode::GetChildren2 => {
                let (list, shown) = body.split_at(body.len() - 68);
                assert_eq!(set(list), picture.children(&key));
                assert_eq!(Some(jute::decode::<Stat>(shown).unwrap()), stat);
            }
            OpCode::GetAllChildrenNumber => {
                assert_eq!(jute::decode::<i32>(body).unwrap(), picture.below(&key).count() as i32);
            }
            OpCode::GetEphemerals => assert_eq!(set(body), picture.ephemerals(session)),
            OpCode::MultiRead => {
                let mut reader = Reader::new(body);
                for key in ["", &key, "/a"] {
                    let header: MultiHeader = reader.read().unwrap();
                    if picture.nodes.contains_key(key) {
                        let list: List<'_, Ustring<'_>> = reader.read().unwrap();
                        assert_eq!(set(&encode(&list)), picture.children(key));
                    } else {
                        assert_eq!((header.op, header.err), (OpCode::Error, Code::NoNode.0));
                        let _: Code = reader.read().unwrap();
                    }
                }
                assert!(reader.read::<MultiHeader>().unwrap().done);
            }
            _ => return,
        }
        if asked.watch && matches!(asked.op, OpCode::GetChildren | OpCode::GetChildren2) {
            self.watched[client].entry(asked.path.clone()).or_insert(head.zxid);
        }
    }

    fn end(&mut self) {
        self.world.settle();
        for client in 0..3 {
            self.read(client);
            assert!(self.asked[client].is_empty(), "everything is answered");
            for (path, since) in core::mem::take(&mut self.watched[client]) {
                assert_eq!(self.next_change(&path, since), None, "{path} is watched since {since}");
            }
        }
        assert_eq!(self.world.peer.stats().digest_mismatches, 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn what_a_client_is_told_is_the_state_of_one_moment(
        steps in proptest::collection::vec(step(), 0..200),
        slice in 1..4usize,
    ) {
        let mut run = Run::new(slice);
        for step in &steps {
            run.step(step);
        }
        run.end();
    }
}
